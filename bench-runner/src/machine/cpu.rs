//! The processor.

use std::fs;

/// Its model, as `/proc/cpuinfo` has it.
pub(super) fn model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    parse_model(&info).unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn parse_model(info: &str) -> Option<String> {
    let field = |name: &str| {
        info.lines()
            .filter_map(|l| l.split_once(':'))
            .find_map(|(key, value)| (key.trim() == name).then(|| value.trim().to_owned()))
            .filter(|v| !v.is_empty())
    };
    // Arm has no model name there, boards have a hardware line.
    field("model name").or_else(|| field("Hardware"))
}

/// Logical cores that this process may use.
pub(super) fn logical_cores() -> u32 {
    std::thread::available_parallelism().ok().and_then(|n| u32::try_from(n.get()).ok()).unwrap_or(1)
}

/// The instruction set of candle's quantised kernels, decided as candle 0.11 decides it at run time
/// (`candle_core::quantized::repack_x86::{level, amx_available}`): which weights are repacked depends on it.
pub(super) fn isa() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512vnni") {
            return if has_amx_int8() { "avx512-amx" } else { "avx512" };
        }
        if std::is_x86_feature_detected!("avxvnni") && std::is_x86_feature_detected!("avx2") {
            return "avx-vnni";
        }
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            return "avx2";
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            return "neon";
        }
    }
    "generic"
}

/// A core's caches of levels 1 (data) to 3 in KiB, as the crate that multiplies for candle reads them: it cuts products by
/// these, and each of its threads keeps a workspace as large as the second.
pub(super) fn caches_kib() -> [Option<u32>; 3] {
    gemm_common::cache::CACHE_INFO
        .map(|cache| u32::try_from(cache.cache_bytes >> 10).ok().filter(|kib| *kib > 0))
}

/// Whether the kernel lists AMX tiles and their products of 8-bit integers (it does only where it lets programs use them).
#[cfg(target_arch = "x86_64")]
fn has_amx_int8() -> bool {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = info.lines().find_map(|l| l.strip_prefix("flags")).unwrap_or_default();
    ["amx_tile", "amx_int8"].iter().all(|flag| flags.split_whitespace().any(|f| f == *flag))
}

#[cfg(test)]
mod tests {
    use super::parse_model;

    #[test]
    fn finds_the_model_of_x86_and_of_boards() {
        assert_eq!(parse_model("processor\t: 0\nmodel name\t: AMD EPYC\n"), Some("AMD EPYC".into()));
        assert_eq!(parse_model("processor\t: 0\nHardware\t: BCM2711\n"), Some("BCM2711".into()));
        assert_eq!(parse_model("processor\t: 0\n"), None);
    }
}
