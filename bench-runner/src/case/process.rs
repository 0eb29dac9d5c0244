//! The runner's side: starts the child, follows it, and says how it ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use contract::case::CaseStatus;
use contract::measurement::Measurement;
use planner::Bytes;

use super::{EXIT_OUT_OF_MEMORY, EXIT_OVER_LIMIT, Event, Request, SUBCOMMAND};
use crate::stop::Stop;

/// How a case ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// It was measured.
    Measured(Box<Measurement>),
    /// It was not.
    Failed {
        /// How.
        status: CaseStatus,
        /// Why: a sentence.
        error: String,
    },
    /// It was stopped on request.
    Stopped,
}

/// The child could not be started or asked.
#[derive(Debug, thiserror::Error)]
#[error("the case's process could not be started: {0}")]
pub struct SpawnError(#[from] std::io::Error);

/// How often a request to stop is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Runs one case in a process of `executable`, telling `phase` what it begins.
///
/// # Errors
/// Where the process cannot be started.
pub fn run(
    executable: &Path,
    request: &Request,
    threads: Option<u32>,
    stop: &Stop,
    phase: &mut dyn FnMut(&str),
) -> Result<Ended, SpawnError> {
    let mut command = Command::new(executable);
    // The key is for people who look at the processes of the machine; the child reads its request.
    command
        .arg(SUBCOMMAND)
        .arg(request.spec.key())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A group of its own, so that a terminal's Ctrl-C reaches the runner only, which then ends the case.
    command.process_group(0).env("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
    // Candle appends a backtrace to an error's text, and a panic's pushes its reason out of the tail that is kept.
    command.env("RUST_BACKTRACE", "0").env("RUST_LIB_BACKTRACE", "0");
    if let Some(threads) = threads {
        command.env("RAYON_NUM_THREADS", threads.to_string()).env("CANDLE_NUM_THREADS", threads.to_string());
    }
    let kills = kernel_kills();
    let mut child = command.spawn()?;
    let input = child.stdin.take();
    let last_words = child.stderr.take().map(keep_tail);
    let events = child.stdout.take().map(read_events);
    // Held to the end: its closing tells the child that the runner is gone.
    let held = match input {
        Some(mut input) => {
            let mut line = serde_json::to_vec(request).map_err(std::io::Error::from)?;
            line.push(b'\n');
            // A child that died at once is seen below, by its exit.
            let _ = input.write_all(&line);
            Some(input)
        }
        None => None,
    };
    let outcome = follow(&mut child, events.as_ref(), stop, phase);
    let status = child.wait()?;
    drop(held);
    let words = last_words.and_then(|t| t.join().ok()).unwrap_or_default();
    let by_kernel = kills.zip(kernel_kills()).map(|(before, after)| after > before);
    Ok(outcome.unwrap_or_else(|| died(status, &words, request.spec.memory_limit, by_kernel)))
}

/// Processes that the kernel has killed for memory since the system started, its control groups' limits included; none
/// where the system does not count them (before Linux 4.13).
fn kernel_kills() -> Option<u64> {
    let counters = std::fs::read_to_string("/proc/vmstat").ok()?;
    counters.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Follows the events to the end of the child's output. None: it ended without a result.
fn follow(
    child: &mut Child,
    events: Option<&Receiver<Event>>,
    stop: &Stop,
    phase: &mut dyn FnMut(&str),
) -> Option<Ended> {
    let mut outcome = None;
    while let Some(events) = events {
        if stop.is_asked() {
            // It may have ended by itself meanwhile; `wait` sees either.
            let _ = child.kill();
            return Some(Ended::Stopped);
        }
        match events.recv_timeout(LOOK) {
            Ok(Event::Phase { phase: begun }) => phase(&begun),
            Ok(Event::Measured { measurement }) => outcome = Some(Ended::Measured(Box::new(measurement))),
            Ok(Event::Failed { out_of_memory, message }) => {
                let status = if out_of_memory { CaseStatus::OutOfMemory } else { CaseStatus::Failed };
                outcome = Some(Ended::Failed { status, error: message });
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return outcome,
        }
    }
    outcome
}

fn read_events(output: impl Read + Send + 'static) -> Receiver<Event> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // A library that writes to standard output is not an event.
            if let Ok(event) = serde_json::from_str(&line)
                && send.send(event).is_err()
            {
                break;
            }
        }
    });
    receive
}

/// Reads to the end and keeps the last lines, for the message of a crash.
fn keep_tail(mut output: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    const KEPT: usize = 2048;
    std::thread::spawn(move || {
        let (mut tail, mut buffer) = (Vec::new(), [0u8; 4096]);
        while let Ok(n @ 1..) = output.read(&mut buffer) {
            tail.extend_from_slice(&buffer[..n]);
            if tail.len() > KEPT {
                tail.drain(..tail.len() - KEPT);
            }
        }
        String::from_utf8_lossy(&tail).trim().to_owned()
    })
}

/// What an end without a result means. `by_kernel`: whether the kernel killed a process for memory meanwhile, where it
/// counts that.
fn died(status: ExitStatus, words: &str, limit: Option<Bytes>, by_kernel: Option<bool>) -> Ended {
    let said = last_line(words).map(|l| format!("; it said: {l}")).unwrap_or_default();
    let (status, error) = match (status.code(), status.signal()) {
        (Some(EXIT_OUT_OF_MEMORY), _) => {
            (CaseStatus::OutOfMemory, "the system refused an allocation: not enough host memory".to_owned())
        }
        (Some(EXIT_OVER_LIMIT), _) => {
            let limit = limit.map_or_else(String::new, |bytes| format!(" of {bytes} ({} bytes)", bytes.0));
            (
                CaseStatus::OutOfMemory,
                format!("an allocation was refused: it would have passed the memory limit{limit}"),
            )
        }
        (_, Some(9)) if by_kernel == Some(false) => (
            CaseStatus::Crashed,
            "killed by signal 9 (SIGKILL), and the kernel killed nothing for memory meanwhile: somebody else did".to_owned(),
        ),
        (_, Some(9)) => (
            CaseStatus::OutOfMemory,
            "killed by signal 9 (SIGKILL): almost always the kernel, because host memory ran out".to_owned(),
        ),
        (_, Some(signal)) => {
            (CaseStatus::Crashed, format!("ended by signal {signal} ({}){said}", signal_name(signal)))
        }
        (Some(code), None) => (CaseStatus::Crashed, format!("ended with code {code} and no result{said}")),
        (None, None) => (CaseStatus::Crashed, format!("ended without a result{said}")),
    };
    Ended::Failed { status, error }
}

/// The line of a panic that says why, or the last line.
fn last_line(words: &str) -> Option<&str> {
    let lines = || words.lines().map(str::trim).filter(|l| !l.is_empty());
    let panic = lines().skip_while(|l| !l.contains("panicked at")).nth(1);
    panic.or_else(|| lines().next_back())
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        _ => "no usual one",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use contract::case::CaseStatus;

    use super::{Ended, died, last_line};

    #[test]
    fn every_end_has_its_status() {
        // A wait status holds the signal in its low byte, else the code in the next (wait(2)).
        for (raw, by_kernel, want, part) in [
            (9, Some(true), CaseStatus::OutOfMemory, "the kernel, because host memory ran out"),
            (9, None, CaseStatus::OutOfMemory, "SIGKILL"),
            (9, Some(false), CaseStatus::Crashed, "SIGKILL"),
            (83 << 8, None, CaseStatus::OutOfMemory, "refused an allocation"),
            (84 << 8, None, CaseStatus::OutOfMemory, "the memory limit of 3.0 MiB (3145728 bytes)"),
            (6, None, CaseStatus::Crashed, "SIGABRT"),
            (11, Some(true), CaseStatus::Crashed, "SIGSEGV"),
            (101 << 8, None, CaseStatus::Crashed, "code 101 and no result; it said: boom"),
            (0, None, CaseStatus::Crashed, "code 0"),
        ] {
            let limit = Some(planner::Bytes::from_mib(3));
            let Ended::Failed { status, error } = died(ExitStatus::from_raw(raw), "boom", limit, by_kernel)
            else {
                panic!("{raw}")
            };
            assert_eq!(status, want, "{raw}");
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_panic_says_its_reason() {
        let words =
            "thread 'main' panicked at src/x.rs:1:2:\nindex out of bounds\nnote: run with RUST_BACKTRACE=1";
        assert_eq!(last_line(words), Some("index out of bounds"));
        assert_eq!(last_line("one\ntwo\n"), Some("two"));
        assert_eq!(last_line(""), None);
    }
}
