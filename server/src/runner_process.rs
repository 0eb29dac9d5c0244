//! The runner beside the server: started, watched, started again when it ends, stopped with the server.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::{self, Signal};
use nix::unistd::{Pid, getppid};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::access::Secret;
use crate::events::stopped;

/// Wait before the first new start, doubled with each that follows.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait before a new start.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A runner that lived this long starts the waits anew.
const HEALTHY: Duration = Duration::from_mins(1);
/// How long a runner may take to give its job back.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// How the runner is started.
#[derive(Debug, Clone)]
pub struct RunnerProcess {
    /// The `bench-runner` program.
    pub program: PathBuf,
    /// The server's address, `http://127.0.0.1:3000`.
    pub server: String,
    /// The runner token; it goes by the environment, where other users cannot see it.
    pub token: Secret,
    /// Folder of its id and what it keeps.
    pub state_dir: PathBuf,
    /// Folder of models.
    pub models_dir: Option<PathBuf>,
}

impl RunnerProcess {
    /// Keeps the runner running until `stopping` becomes true, then stops it.
    pub async fn supervise(self, mut stopping: watch::Receiver<bool>) {
        let mut wait = FIRST_WAIT;
        loop {
            let began = Instant::now();
            match self.command().spawn() {
                Ok(mut child) => {
                    tracing::info!(pid = child.id(), program = %self.program.display(), "runner started");
                    tokio::select! {
                        ended = child.wait() => match ended {
                            Ok(status) => tracing::warn!(%status, "the runner ended"),
                            Err(error) => tracing::error!(%error, "the runner cannot be waited for"),
                        },
                        () = stopped(&mut stopping) => return stop(child).await,
                    }
                }
                Err(error) => {
                    tracing::error!(%error, program = %self.program.display(), "the runner cannot be started");
                }
            }
            if began.elapsed() >= HEALTHY {
                wait = FIRST_WAIT;
            }
            tracing::info!(seconds = wait.as_secs(), "the runner is started again soon");
            tokio::select! {
                () = sleep(wait) => {}
                () = stopped(&mut stopping) => return,
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("daemon").arg("--server").arg(&self.server).arg("--state").arg(&self.state_dir);
        if let Some(models) = &self.models_dir {
            command.arg("--models-dir").arg(models);
        }
        command
            .env("PLIMSOLL_RUNNER_TOKEN", self.token.expose())
            // These are the server's own, and the runner is told what concerns it.
            .env_remove("PLIMSOLL_ADMIN_TOKEN")
            .env_remove("PLIMSOLL_DB")
            .stdin(Stdio::null())
            // Standard output of the server is one line that programs read.
            .stdout(Stdio::null())
            // Out of the terminal's group: Ctrl-C reaches the server alone, which then stops the runner.
            .process_group(0)
            .kill_on_drop(true);
        let server = Pid::this();
        // SAFETY: between fork and exec only two system calls are made, both safe there.
        unsafe {
            command.pre_exec(move || {
                // A server that is killed takes its runner along; the next one starts its own.
                prctl::set_pdeathsig(Signal::SIGTERM)?;
                // It may have died before that.
                if getppid() == server { Ok(()) } else { Err(std::io::ErrorKind::NotConnected.into()) }
            });
        }
        command
    }
}

/// Asks the runner to stop, so that it gives its job back, and kills it where it does not.
async fn stop(mut child: Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid
        && let Err(error) = signal::kill(Pid::from_raw(pid), Signal::SIGTERM)
    {
        tracing::warn!(%error, "the runner cannot be asked to stop");
    }
    if timeout(STOP_WITHIN, child.wait()).await.is_ok() {
        tracing::info!("the runner stopped");
        return;
    }
    tracing::warn!("the runner does not stop and is killed");
    if let Err(error) = child.kill().await {
        tracing::error!(%error, "the runner cannot be killed");
    }
}

#[cfg(test)]
mod tests;
