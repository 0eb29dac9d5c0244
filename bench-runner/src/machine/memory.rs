//! Host memory that this process may use.

use std::fs;

use planner::Bytes;

/// The host's memory, or the limit of this process's control group where that is lower.
#[must_use]
pub fn host_memory() -> Bytes {
    let total = fs::read_to_string("/proc/meminfo").ok().and_then(|t| meminfo(&t, "MemTotal"));
    let limits =
        limit_files().into_iter().filter_map(|f| fs::read_to_string(f).ok()).filter_map(|t| limit(&t));
    Bytes(total.into_iter().chain(limits).min().unwrap_or(0))
}

pub(super) fn meminfo(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Limits of this process's group and of those above it: cgroup v2, then v1.
fn limit_files() -> Vec<String> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut files = vec![
        "/sys/fs/cgroup/memory.max".to_owned(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    if let Some(path) = own.lines().find_map(|l| l.strip_prefix("0::")) {
        let mut path = path.trim_end_matches('/');
        while let Some((above, _)) = path.rsplit_once('/') {
            files.push(format!("/sys/fs/cgroup{path}/memory.max"));
            path = above;
        }
    }
    files
}

/// `max` is no limit.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{limit, meminfo};

    #[test]
    fn reads_proc_meminfo_and_limits() {
        assert_eq!(meminfo("MemTotal:       16 kB\nMemFree: 3 kB\n", "MemTotal"), Some(16 << 10));
        assert_eq!(meminfo("MemFree: 3 kB\n", "MemTotal"), None);
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("1073741824\n"), Some(1 << 30));
    }
}
