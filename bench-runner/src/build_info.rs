//! The program that measures, exactly.

use contract::run::RunnerBuild;

/// This build.
#[must_use]
pub fn build() -> RunnerBuild {
    let mut features = Vec::new();
    if cfg!(feature = "cuda") {
        features.push("cuda".to_owned());
    }
    if cfg!(feature = "flash-attn") {
        features.push("flash-attn".to_owned());
    }
    if cfg!(feature = "nvtx") {
        features.push("nvtx".to_owned());
    }
    let crates = [
        ("candle-core", env!("PLIMSOLL_CANDLE_VERSION"), true),
        ("nvml-wrapper", env!("PLIMSOLL_NVML_VERSION"), true),
        ("cudarc", env!("PLIMSOLL_CUDARC_VERSION"), cfg!(feature = "cuda")),
        ("candle-flash-attn", env!("PLIMSOLL_FLASH_ATTN_VERSION"), cfg!(feature = "flash-attn")),
    ];
    let built = crates.into_iter().filter(|(_, _, built)| *built);
    let flags = env!("PLIMSOLL_RUSTFLAGS");
    let flags = if flags.is_empty() { "no RUSTFLAGS".to_owned() } else { format!("RUSTFLAGS {flags}") };
    RunnerBuild {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("PLIMSOLL_COMMIT").to_owned(),
        candle: env!("PLIMSOLL_CANDLE_VERSION").to_owned(),
        features,
        build: format!("{}, {flags}", env!("PLIMSOLL_PROFILE")),
        crates: built.map(|(name, version, _)| (name.to_owned(), version.to_owned())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::build;

    #[test]
    fn the_crates_that_measure_are_named_with_their_versions() {
        let build = build();
        assert_eq!(build.crates["candle-core"], build.candle);
        for version in build.crates.values() {
            assert!(
                version.split('.').count() == 3 && version.starts_with(|c: char| c.is_ascii_digit()),
                "{version}"
            );
        }
        assert_eq!(build.crates.contains_key("cudarc"), build.features.iter().any(|f| f == "cuda"));
    }
}
