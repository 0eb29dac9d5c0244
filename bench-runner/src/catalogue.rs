//! Which GPU of the planner's catalogue a driver's name means.

use planner::catalogue::{Gpu, gpus};

/// The catalogue's id of a GPU by the driver's name of it and its memory in bytes; none where none fits.
#[must_use]
pub fn gpu_id(driver_name: &str, memory: u64) -> Option<String> {
    let driver = words(driver_name);
    // What vendors call GB is close to GiB on cards of either kind of memory.
    let gib = planner::Bytes(memory).gib();
    let off = |gpu: &Gpu| (gpu.nominal_gb as f64 / gib - 1.0).abs();
    gpus()
        .iter()
        .filter(|gpu| {
            let product = product(gpu);
            !product.is_empty() && product.iter().all(|w| driver.contains(w))
        })
        .filter(|gpu| off(gpu) < 0.15)
        .max_by(|a, b| {
            // Drivers name the PCIe and NVL cards and leave the SXM one to its memory's kind.
            let form = |w: &[String]| ["PCIE", "NVL"].map(|form| w.iter().any(|w| w == form));
            let rank = |gpu: &Gpu| (form(&words(&gpu.name)) == form(&driver), product(gpu).len());
            rank(a).cmp(&rank(b)).then(off(b).total_cmp(&off(a)))
        })
        .map(|gpu| gpu.id.clone())
}

/// The words that name the product: `RTX`, `4090`, `TI` of `NVIDIA GeForce RTX 4090 Ti 24 GB`.
fn product(gpu: &Gpu) -> Vec<String> {
    let size = gpu.nominal_gb.to_string();
    let form = [
        "NVIDIA", "GEFORCE", "TESLA", "SXM", "PCIE", "GB", "NVL", "HBM2E", "HBM3", "HBM3E", "GDDR6", "GDDR7",
    ];
    let sized = [size.clone(), format!("{size}GB")];
    words(&gpu.name).into_iter().filter(|w| !form.contains(&w.as_str()) && !sized.contains(w)).collect()
}

fn words(name: &str) -> Vec<String> {
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|w| !w.is_empty())
        .map(str::to_ascii_uppercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::gpu_id;

    #[test]
    fn drivers_names_find_their_entry() {
        // Names as nvidia-smi prints them, memory as it reports it in MiB.
        for (name, mib, want) in [
            ("NVIDIA H100 80GB HBM3", 81_559, Some("h100-sxm-80gb")),
            ("NVIDIA H100 PCIe", 81_559, Some("h100-pcie-80gb")),
            ("NVIDIA H200", 143_771, Some("h200-sxm-141gb")),
            ("NVIDIA H200 NVL", 143_771, Some("h200-nvl-141gb")),
            ("NVIDIA GeForce GT 710", 2_048, None),
        ] {
            assert_eq!(gpu_id(name, mib << 20).as_deref(), want, "{name}");
        }
    }
}
