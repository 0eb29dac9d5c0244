//! How the server is started: options, and what is made of them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Parser;
use uuid::Uuid;

use crate::access::{Access, Secret};

/// Serves Plimsoll's pages and REST interface, and hands jobs to runners.
///
/// On a loopback address nobody needs to log in. On any other the server asks for an admin token before it
/// starts, and for every write after.
#[derive(Debug, Clone, Parser)]
#[command(name = "server", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Options {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3000", env = "PLIMSOLL_LISTEN", value_parser = address)]
    pub listen: SocketAddr,
    /// Database of results, created where it is missing
    #[arg(long, value_name = "FILE", default_value = "plimsoll.db", env = "PLIMSOLL_DB")]
    pub db: PathBuf,
    /// Token that every write must show; required on an address that is not loopback
    #[arg(long, value_name = "TOKEN", env = "PLIMSOLL_ADMIN_TOKEN", hide_env_values = true, value_parser = token)]
    pub admin_token: Option<Secret>,
    /// Token that runners must show; left out: made once and kept in FILE.runner-token beside the database
    #[arg(long, value_name = "TOKEN", env = "PLIMSOLL_RUNNER_TOKEN", hide_env_values = true, value_parser = token)]
    pub runner_token: Option<Secret>,
    /// Start this bench-runner beside the server, and start it again when it ends
    #[arg(long, value_name = "PROGRAM", env = "PLIMSOLL_WITH_RUNNER")]
    pub with_runner: Option<PathBuf>,
    /// Folder of GGUF files and safetensors folders that the runner started here may use
    #[arg(long, value_name = "FOLDER", env = "PLIMSOLL_MODELS_DIR")]
    pub models_dir: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  server                                        pages at http://127.0.0.1:3000, database plimsoll.db
  server --with-runner target/release/bench-runner
                                                the same, and jobs run on this machine
  PLIMSOLL_ADMIN_TOKEN=$(openssl rand -hex 24) server --listen 0.0.0.0:3000
                                                for a team: everyone reads, whoever has the token writes

RUST_LOG sets what is logged to standard error, for example RUST_LOG=debug.";

/// Why the server cannot start with these options.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// Open to the network, and nobody would be asked for a token.
    #[error(
        "--listen {0} can be reached from other machines, so writes need a token: give one with --admin-token or \
         PLIMSOLL_ADMIN_TOKEN (for example from `openssl rand -hex 24`), or listen on 127.0.0.1"
    )]
    TokenMissing(SocketAddr),
    /// The kept runner token cannot be read or made.
    #[error("cannot keep the runner token in {}: {source}; give one with --runner-token", path.display())]
    RunnerToken {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The runner to start is not a file.
    #[error("--with-runner {}: there is no such program; name the bench-runner that was built", .0.display())]
    NoRunner(PathBuf),
    /// The models' folder is none.
    #[error("--models-dir {}: there is no such folder", .0.display())]
    NoModels(PathBuf),
}

impl Options {
    /// Whether the server may start so; changes nothing.
    ///
    /// # Errors
    /// Where the options contradict each other or name what is not there.
    pub fn check(&self) -> Result<(), OptionsError> {
        if self.admin_token.is_none() && !self.listen.ip().to_canonical().is_loopback() {
            return Err(OptionsError::TokenMissing(self.listen));
        }
        if let Some(program) = self.with_runner.as_ref().filter(|p| !p.is_file()) {
            return Err(OptionsError::NoRunner(program.clone()));
        }
        if let Some(folder) = self.models_dir.as_ref().filter(|p| !p.is_dir()) {
            return Err(OptionsError::NoModels(folder.clone()));
        }
        Ok(())
    }

    /// What is asked of writers; makes and keeps a runner token where none is given.
    ///
    /// # Errors
    /// Those of [`Options::check`], and where the token's file cannot be read or made.
    pub fn access(&self) -> Result<Access, OptionsError> {
        self.check()?;
        let runner = if let Some(token) = &self.runner_token {
            token.clone()
        } else {
            let path = beside(&self.db, "runner-token");
            kept_token(&path).map_err(|source| OptionsError::RunnerToken { path, source })?
        };
        Ok(Access { runner, admin: self.admin_token.clone() })
    }
}

/// `plimsoll.db` → `plimsoll.db.EXTENSION`
#[must_use]
pub fn beside(db: &Path, extension: &str) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

fn address(given: &str) -> Result<SocketAddr, String> {
    let given =
        given.strip_prefix("localhost:").map_or_else(|| given.to_owned(), |port| format!("127.0.0.1:{port}"));
    given.parse().map_err(|_| {
        "accepted: an IP address and a port, like 127.0.0.1:3000, 0.0.0.0:80, [::1]:3000".to_owned()
    })
}

fn token(given: &str) -> Result<Secret, String> {
    if given.is_empty() || !given.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("accepted: letters, digits and signs of ASCII without spaces, at least one".to_owned());
    }
    Ok(Secret::new(given))
}

/// The token in the file; made, readable by its owner only, where there is none.
fn kept_token(path: &Path) -> io::Result<Secret> {
    // 244 random bits.
    let fresh = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            writeln!(file, "{fresh}")?;
            Ok(Secret::new(fresh))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let kept = fs::read_to_string(path)?;
            token(kept.trim())
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it holds no token; delete it"))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
