//! Server and runner as processes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{HarnessError, Result, binary};

/// How long a program may take to be ready.
const READY: Duration = Duration::from_mins(1);
/// The token that test runners use.
pub const RUNNER_TOKEN: &str = "test-runner-token";

/// A running program whose output is read line by line; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    program: String,
    // In a lock only so that threads may share what holds the process.
    lines: Mutex<Receiver<String>>,
    said: String,
}

impl Process {
    /// Starts `command`; standard output and standard error are read together.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| HarnessError::Io { what: format!("start {program}"), source })?;
        let (sender, lines) = channel();
        let pipes: [Option<Box<dyn std::io::Read + Send>>; 2] = [
            child.stdout.take().map(|p| Box::new(p) as Box<dyn std::io::Read + Send>),
            child.stderr.take().map(|p| Box::new(p) as Box<dyn std::io::Read + Send>),
        ];
        for pipe in pipes.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(std::result::Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { child, program, lines: Mutex::new(lines), said: String::new() })
    }

    /// Waits for a line that contains `wanted` and returns it.
    ///
    /// # Errors
    /// The program ends, or [`READY`] passes, without such a line.
    pub fn wait_for_line(&mut self, wanted: &str) -> Result<String> {
        let until = Instant::now() + READY;
        loop {
            let lines = self.lines.get_mut().unwrap_or_else(PoisonError::into_inner);
            match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push_str(&line);
                    self.said.push('\n');
                    if line.contains(wanted) {
                        return Ok(line);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(HarnessError::NotReady {
                        program: self.program.clone(),
                        wanted: wanted.to_owned(),
                        said: std::mem::take(&mut self.said),
                    });
                }
            }
        }
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name (`INT`, `TERM`) and waits for the end.
    ///
    /// # Errors
    /// The signal cannot be sent or the end not be waited for.
    pub fn signal(&mut self, name: &str) -> Result<ExitStatus> {
        let io = |source| HarnessError::Io { what: format!("send SIG{name}"), source };
        Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().map_err(io)?;
        self.child.wait().map_err(io)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server on a free port over a database in `dir`.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
}

impl Server {
    /// Starts one on a free port, with further arguments.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(dir: &Path, arguments: &[&str]) -> Result<Self> {
        Self::start_at(dir, "127.0.0.1:0", arguments)
    }

    /// Starts one at `listen`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_at(dir: &Path, listen: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(binary("server")?);
        command
            .args(["--listen", listen, "--runner-token", RUNNER_TOKEN, "--db"])
            .arg(dir.join("plimsoll.db"))
            .args(arguments)
            .current_dir(dir);
        let mut process = Process::start(&mut command)?;
        let line = process.wait_for_line("listening on http://")?;
        let url = line.split_whitespace().last().unwrap_or_default().to_owned();
        Ok(Self { process, url })
    }

    /// The address without the scheme, for starting another in its place.
    #[must_use]
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

/// Starts a runner that pulls jobs from `server`, with its state in `dir/NAME`.
///
/// # Errors
/// It does not register.
pub fn start_runner(dir: &Path, server: &str, name: &str, models: Option<&Path>) -> Result<Process> {
    let state: PathBuf = dir.join(name);
    let mut command = Command::new(binary("bench-runner")?);
    command
        .args(["daemon", "--server", server, "--token", RUNNER_TOKEN, "--name", name, "--state"])
        .arg(state);
    if let Some(models) = models {
        command.arg("--models-dir").arg(models);
    }
    let mut process = Process::start(&mut command)?;
    process.wait_for_line("registered with")?;
    Ok(process)
}

/// Runs a binary to its end and returns its exit code, standard output and standard error.
///
/// # Errors
/// It does not start.
pub fn run_to_end(name: &str, arguments: &[&str], dir: &Path) -> Result<(Option<i32>, String, String)> {
    let output = Command::new(binary(name)?)
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| HarnessError::Io { what: format!("start {name}"), source })?;
    Ok((
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}
