//! The folder that a daemon keeps: its id, its lock, and cases that the server may not have yet.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use contract::ids::{RunId, RunnerId};
use uuid::Uuid;

use crate::sweep::{SinkError, SqliteSink};

/// The state cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another daemon uses it.
    #[error("--state {}: another daemon uses this folder; give each its own", .0.display())]
    InUse(PathBuf),
    /// The id in it is none.
    #[error("{}: holds no runner id; remove it to begin as a new runner", .0.display())]
    BadId(PathBuf),
    /// The cases kept in it cannot be read or written.
    #[error("the runner's own state: {0}")]
    Spool(#[from] SinkError),
}

/// A daemon's folder, locked while this lives.
pub struct State {
    dir: PathBuf,
    id: RunnerId,
    /// Two daemons of one id would take each other's leases.
    _lock: File,
}

impl State {
    /// Opens `dir`, made where it is not there; a new one gets a new id.
    ///
    /// # Errors
    /// Where it cannot be written, another daemon uses it, or its id is damaged.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Io { path, source }
        };
        std::fs::create_dir_all(dir).map_err(io(dir))?;
        let lock_path = dir.join("lock");
        let lock = File::create(&lock_path).map_err(io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse(dir.to_owned())),
            Err(TryLockError::Error(source)) => return Err(StateError::Io { path: lock_path, source }),
        }
        let id_path = dir.join("runner-id");
        let id = match std::fs::read_to_string(&id_path) {
            Ok(text) => text.trim().parse().map_err(|_| StateError::BadId(id_path))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let id = RunnerId(Uuid::new_v4());
                // Written beside and moved, so that a full disk leaves no half an id.
                let new = dir.join("runner-id.new");
                std::fs::write(&new, format!("{id}\n")).map_err(io(&new))?;
                std::fs::rename(&new, &id_path).map_err(io(&id_path))?;
                id
            }
            Err(source) => return Err(StateError::Io { path: id_path, source }),
        };
        Ok(Self { dir: dir.to_owned(), id, _lock: lock })
    }

    /// The runner's id.
    #[must_use]
    pub const fn id(&self) -> RunnerId {
        self.id
    }

    /// A run's file. One each: the server may take a job away and give it back after another was finished.
    fn spool_path(&self, run: RunId) -> PathBuf {
        self.dir.join(format!("spool-{run}.db"))
    }

    /// Where the cases of a run are kept until the server has them.
    pub(super) fn spool(&self, run: RunId) -> Result<SqliteSink, StateError> {
        Ok(SqliteSink::open(&self.spool_path(run))?)
    }

    /// Forgets the cases of a run: the server has them.
    pub(super) fn clear_spool(&self, run: RunId, spool: SqliteSink) -> Result<(), StateError> {
        // A connection that closes later would take away the log of the file's successor.
        spool.close();
        for suffix in ["", "-wal", "-shm"] {
            let mut path = self.spool_path(run).into_os_string();
            path.push(suffix);
            let path = PathBuf::from(path);
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StateError::Io { path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use contract::ids::RunId;
    use contract::run::RunDetail;
    use uuid::Uuid;

    use super::{State, StateError};
    use crate::sweep::Sink as _;

    #[test]
    fn an_id_is_kept_and_a_folder_is_one_daemons() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runner");
        let first = State::open(&path).unwrap();
        let id = first.id();
        assert!(matches!(State::open(&path), Err(StateError::InUse(_))));
        drop(first);
        assert_eq!(State::open(&path).unwrap().id(), id);
        std::fs::write(path.join("runner-id"), "nonsense").unwrap();
        assert!(matches!(State::open(&path), Err(StateError::BadId(_))));
    }

    #[test]
    fn what_is_kept_of_a_run_outlives_the_end_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let detail: RunDetail = serde_json::from_str(include_str!("../export/tests/run.json")).unwrap();
        let id = detail.run.id;
        let mut lost = state.spool(id).unwrap();
        lost.begin(&detail.run, &detail.machine).unwrap();
        lost.case(&detail.cases[0]).unwrap();
        drop(lost);
        let other = RunId(Uuid::from_u128(7));
        state.clear_spool(other, state.spool(other).unwrap()).unwrap();
        let kept = state.spool(id).unwrap();
        assert_eq!(kept.run(id).unwrap().unwrap().cases, [detail.cases[0].clone()]);
        state.clear_spool(id, kept).unwrap();
        assert!(state.spool(id).unwrap().run(id).unwrap().is_none());
    }
}
