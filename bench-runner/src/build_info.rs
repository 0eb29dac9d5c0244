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
    let flags = env!("PLIMSOLL_RUSTFLAGS");
    let flags = if flags.is_empty() { "no RUSTFLAGS".to_owned() } else { format!("RUSTFLAGS {flags}") };
    RunnerBuild {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("PLIMSOLL_COMMIT").to_owned(),
        candle: env!("PLIMSOLL_CANDLE_VERSION").to_owned(),
        features,
        build: format!("{}, {flags}", env!("PLIMSOLL_PROFILE")),
    }
}
