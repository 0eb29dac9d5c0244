//! Finds the site to embed: `PLIMSOLL_SITE_DIR`, else the folder `site` of the target directory, which
//! `app/build-site.sh` fills. Without it the server still builds; its pages work, unstyled and without
//! scripts.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-env-changed=PLIMSOLL_SITE_DIR");
    println!("cargo::rerun-if-changed=examples");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let site = match env::var_os("PLIMSOLL_SITE_DIR") {
        Some(folder) => PathBuf::from(folder),
        // <target>/<profile>/build/server-<hash>/out
        None => out.ancestors().nth(4).map_or_else(|| out.join("site"), |target| target.join("site")),
    };
    // An empty folder rather than none, so that cargo sees when it is filled.
    fs::create_dir_all(&site)?;
    println!("cargo::rerun-if-changed={}", site.display());
    println!("cargo::rustc-env=PLIMSOLL_SITE_DIR={}", fs::canonicalize(&site)?.display());
    Ok(())
}
