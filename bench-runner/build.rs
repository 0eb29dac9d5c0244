//! Facts of the build that every run records: commit, candle's version, flags. Nothing here fails outside a checkout.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    set("PLIMSOLL_COMMIT", &commit(&root));
    set("PLIMSOLL_CANDLE_VERSION", &candle_version(&root.join("Cargo.lock")));
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

/// The version of candle-core that the lock file holds.
fn candle_version(lock: &Path) -> String {
    let lock = std::fs::read_to_string(lock).unwrap_or_default();
    let mut lines = lock.lines();
    while let Some(line) = lines.next() {
        if line == "name = \"candle-core\"" {
            return lines
                .next()
                .and_then(|l| l.strip_prefix("version = \""))
                .and_then(|l| l.strip_suffix('"'))
                .unwrap_or("unknown")
                .to_owned();
        }
    }
    "unknown".to_owned()
}

/// Flags of the compiler, from the environment or from `.cargo/config.toml` (Cargo hands both in one variable).
fn rustflags() -> String {
    std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().replace('\u{1f}', " ")
}
