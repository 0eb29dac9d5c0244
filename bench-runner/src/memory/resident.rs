//! Resident bytes of this process, as Linux counts them.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A field of `/proc/self/status` in bytes; none where the system has no such file.
fn status_field(name: &str) -> Option<u64> {
    parse_status(&fs::read_to_string("/proc/self/status").ok()?, name)
}

/// A field of a text like `/proc/self/status` in bytes.
pub(crate) fn parse_status(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Resident bytes now (`VmRSS`).
#[must_use]
pub fn resident() -> Option<u64> {
    status_field("VmRSS")
}

/// Most resident bytes since the start or the latest [`reset_high_mark`] (`VmHWM`).
#[must_use]
pub fn high_mark() -> Option<u64> {
    status_field("VmHWM")
}

/// Begins a new high mark (proc(5): writing 5 to `clear_refs`); false where the system does not allow it.
#[must_use]
pub fn reset_high_mark() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// A thread that reads a figure every 10 ms and keeps the largest: for figures without a high mark of their own.
pub struct Sampler {
    highest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Every so often the figure is read.
    pub const PERIOD: Duration = Duration::from_millis(10);

    /// Starts reading `figure`.
    pub fn start(figure: impl Fn() -> Option<u64> + Send + 'static) -> Self {
        let (highest, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (highest, stop) = (Arc::clone(&highest), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some(bytes) = figure() {
                        highest.fetch_max(bytes, Ordering::Relaxed);
                    }
                    std::thread::park_timeout(Self::PERIOD);
                }
            }
        });
        Self { highest, stop, thread: Some(thread) }
    }

    /// Begins anew.
    pub fn reset(&self) {
        self.highest.store(0, Ordering::Relaxed);
    }

    /// The largest figure seen; none where none was.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        Some(self.highest.load(Ordering::Relaxed)).filter(|b| *b > 0)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in the figure's reader has been printed already; a destructor has nothing to add.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Sampler, parse_status};

    #[test]
    fn reads_status_fields_as_proc_5_writes_them() {
        let status = "Name:\tbench\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n";
        assert_eq!(parse_status(status, "VmRSS"), Some(1 << 20));
        assert_eq!(parse_status(status, "VmHWM"), Some(2 << 20));
        assert_eq!(parse_status(status, "VmSwap"), None);
        assert_eq!(parse_status("VmRSS:\tmany kB", "VmRSS"), None);
    }

    #[test]
    fn a_sampler_keeps_the_largest_figure() {
        let (ask, asked) = std::sync::mpsc::sync_channel(0);
        let sampler = Sampler::start(move || asked.recv().ok());
        for bytes in [3, 9, 4, 0] {
            // A rendezvous: the thread took this figure; those before it have been kept.
            ask.send(bytes).unwrap();
        }
        drop(ask);
        assert_eq!(sampler.highest(), Some(9));
        sampler.reset();
        assert_eq!(sampler.highest(), None);
    }
}
