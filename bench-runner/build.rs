//! Facts of the build that every run records: commit, candle's version, flags. Nothing here fails outside a checkout.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    set("PLIMSOLL_COMMIT", &commit(&root));
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).unwrap_or_default();
    for (variable, name) in [
        ("PLIMSOLL_CANDLE_VERSION", "candle-core"),
        ("PLIMSOLL_NVML_VERSION", "nvml-wrapper"),
        ("PLIMSOLL_CUDARC_VERSION", "cudarc"),
        ("PLIMSOLL_FLASH_ATTN_VERSION", "candle-flash-attn"),
    ] {
        set(variable, &locked_version(&lock, name));
    }
    set("PLIMSOLL_RUSTFLAGS", &rustflags());
    set("PLIMSOLL_PROFILE", &std::env::var("PROFILE").unwrap_or_default());
    set("PLIMSOLL_TARGET_FEATURES", &std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default());
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../Cargo.lock");
    println!("cargo:rerun-if-env-changed=RUSTFLAGS");
}

fn set(name: &str, value: &str) {
    println!("cargo:rustc-env={name}={value}");
}

/// The commit, `-dirty` where the tree differs from it; `unknown` outside a checkout.
fn commit(root: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(file) = git(&["rev-parse", "--git-path", name]) {
            let file = root.join(file);
            if file.exists() {
                println!("cargo:rerun-if-changed={}", file.display());
            }
        }
    }
    match git(&["rev-parse", "--short=12", "HEAD"]) {
        Some(commit) if !commit.is_empty() => {
            let dirty =
                git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| !s.is_empty());
            if dirty { format!("{commit}-dirty") } else { commit }
        }
        _ => "unknown".to_owned(),
    }
}

/// The version of a crate that the lock file holds.
fn locked_version(lock: &str, name: &str) -> String {
    let heading = format!("name = \"{name}\"");
    let version = lock
        .lines()
        .skip_while(|line| *line != heading)
        .nth(1)
        .and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version.unwrap_or("unknown").to_owned()
}

/// Flags of the compiler, from the environment or from `.cargo/config.toml` (Cargo hands both in one variable).
fn rustflags() -> String {
    std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().replace('\u{1f}', " ")
}
