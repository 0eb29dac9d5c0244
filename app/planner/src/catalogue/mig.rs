//! Slices of NVIDIA's GPUs (Multi-Instance GPU), each a GPU of its own: `h100-sxm-80gb:3g.40gb`.

use std::sync::LazyLock;

use super::gpu::{Gpu, Tflops, gpus};

/// A profile of a GPU.
struct Profile {
    gpus: &'static [&'static str],
    name: &'static str,
    /// Memory in hundredths of a GiB, as `nvidia-smi mig -lgip` prints it and a program sees it.
    gib_100: u64,
    multiprocessors: u64,
    /// Eighths of the memory's bandwidth and of the level 2 cache ("Fraction of Memory" in NVIDIA's MIG user guide,
    /// "Supported MIG Profiles").
    eighths: u64,
}

const fn profile(
    gpus: &'static [&'static str],
    name: &'static str,
    gib_100: u64,
    multiprocessors: u64,
    eighths: u64,
) -> Profile {
    Profile { gpus, name, gib_100, multiprocessors, eighths }
}

const H100: &[&str] = &["h100-sxm-80gb"];
const A100_40: &[&str] = &["a100-sxm-40gb", "a100-pcie-40gb"];
const A100_80: &[&str] = &["a100-sxm-80gb", "a100-pcie-80gb"];
const B200: &[&str] = &["b200-sxm-192gb"];
const GH200: &[&str] = &["gh200-144gb"];

/// Memory and multiprocessors as `nvidia-smi mig -lgip` lists them: A100 in NVIDIA's MIG user guide, "Creating GPU instances";
/// H100 in a listing of 2026 (jbarrow.ai, field notes); B200 in NVIDIA/mig-parted#187; GH200 in NVIDIA/mig-parted#139.
const PROFILES: &[Profile] = &[
    profile(A100_40, "1g.5gb", 475, 14, 1),
    profile(A100_40, "2g.10gb", 975, 28, 2),
    profile(A100_40, "3g.20gb", 1962, 42, 4),
    profile(A100_40, "4g.20gb", 1962, 56, 4),
    profile(A100_40, "7g.40gb", 3925, 98, 8),
    profile(A100_80, "1g.10gb", 950, 14, 1),
    profile(A100_80, "2g.20gb", 1950, 28, 2),
    profile(A100_80, "3g.40gb", 3925, 42, 4),
    profile(A100_80, "4g.40gb", 3925, 56, 4),
    profile(A100_80, "7g.80gb", 7875, 98, 8),
    profile(H100, "1g.10gb", 975, 16, 1),
    profile(H100, "1g.20gb", 1962, 26, 2),
    profile(H100, "2g.20gb", 1962, 32, 2),
    profile(H100, "3g.40gb", 3950, 60, 4),
    profile(H100, "4g.40gb", 3950, 64, 4),
    profile(H100, "7g.80gb", 7925, 132, 8),
    profile(B200, "1g.23gb", 2050, 18, 1),
    profile(B200, "1g.45gb", 4425, 30, 2),
    profile(B200, "2g.45gb", 4425, 36, 2),
    profile(GH200, "1g.18gb", 1750, 16, 1),
    profile(GH200, "1g.36gb", 3525, 26, 2),
    profile(GH200, "2g.36gb", 3525, 32, 2),
];

static SLICES: LazyLock<Vec<Gpu>> = LazyLock::new(|| {
    let slices = PROFILES.iter().flat_map(|profile| {
        let wholes = gpus().iter().filter(|g| profile.gpus.contains(&g.id.as_str()));
        wholes.map(|gpu| slice(gpu, profile))
    });
    slices.collect()
});

fn slice(gpu: &Gpu, profile: &Profile) -> Gpu {
    let mib = profile.gib_100 * 1024 / 100;
    let of = profile.multiprocessors as f64 / gpu.sm_count.unwrap_or(profile.multiprocessors).max(1) as f64;
    let of_memory = profile.eighths as f64 / 8.0;
    let share = |rate: Option<f64>| rate.map(|r| r * of);
    let t = gpu.tflops;
    Gpu {
        id: format!("{}:{}", gpu.id, profile.name),
        name: format!("{} MIG {}", gpu.name, profile.name),
        nominal_gb: gpu.nominal_gb * profile.eighths / 8,
        physical_mib: Some(mib),
        visible_mib: Some(mib),
        bandwidth_gb_s: gpu.bandwidth_gb_s.map(|b| b * of_memory),
        tflops: Tflops {
            fp32: share(t.fp32),
            tf32: share(t.tf32),
            bf16: share(t.bf16),
            fp16: share(t.fp16),
            fp8: share(t.fp8),
            int8: share(t.int8),
            fp4: share(t.fp4),
        },
        // Slices reach no other: neither NVLink nor peer copies.
        interconnect: None,
        sm_count: Some(profile.multiprocessors),
        l2_mib: gpu.l2_mib.map(|l2| l2 * of_memory),
        // The limit is the whole card's.
        power_w: None,
        source: "nvidia-smi mig -lgip; NVIDIA MIG user guide, Supported MIG Profiles".to_owned(),
        note: Some(format!("A slice of {}: rates by its share of multiprocessors and memory.", gpu.name)),
        ..gpu.clone()
    }
}

/// Every slice that is known, by the order of their GPUs' generations.
#[must_use]
pub fn slices() -> &'static [Gpu] {
    &SLICES
}
