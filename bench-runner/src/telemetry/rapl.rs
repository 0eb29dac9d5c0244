//! Energy of the processor's packages, as the kernel's `powercap` shows it (Intel's RAPL, and AMD's under the same names).
//!
//! `Documentation/power/powercap/powercap.rst` of Linux: `energy_uj` counts microjoules and starts again at 0 after
//! `max_energy_range_uj`. Since Linux 5.10 only root may read it.

use std::path::Path;

use super::proc_file::ProcFile;

/// Where the kernel shows it.
pub const POWERCAP: &str = "/sys/class/powercap";

/// One package's counter.
#[derive(Debug)]
struct Package {
    energy: ProcFile,
    range: u64,
    last: u64,
}

/// The packages of this machine.
#[derive(Debug)]
pub struct Rapl {
    packages: Vec<Package>,
    total: u64,
}

impl Rapl {
    /// Opens every package under `powercap`.
    ///
    /// # Errors
    /// Why there is none that can be read: a phrase.
    pub fn open(powercap: &Path) -> Result<Self, String> {
        let shown = powercap.display();
        let folders = std::fs::read_dir(powercap).map_err(|e| format!("{shown}: {e}"))?;
        let mut packages = Vec::new();
        for folder in folders.filter_map(Result::ok).map(|entry| entry.path()) {
            let name = std::fs::read_to_string(folder.join("name")).unwrap_or_default();
            // `core`, `uncore` and `dram` are parts of a package or stand beside it.
            if !name.starts_with("package") {
                continue;
            }
            let path = folder.join("energy_uj");
            let unreadable = |e: std::io::Error| format!("{}: {e}", path.display());
            let energy = ProcFile::open(&path).map_err(unreadable)?;
            let range = ProcFile::open(folder.join("max_energy_range_uj")).ok().and_then(|f| f.number());
            match (energy.number(), range) {
                (Some(last), Some(range)) => packages.push(Package { energy, range, last }),
                _ => return Err(format!("{}: holds no number", path.display())),
            }
        }
        if packages.is_empty() {
            Err(format!("{shown}: no package"))
        } else {
            Ok(Self { packages, total: 0 })
        }
    }

    /// Microjoules since it was opened, all packages together. Right as long as it is read once in each package's range
    /// (some 260 kJ: twenty minutes at 200 W).
    pub fn microjoules(&mut self) -> Option<u64> {
        for package in &mut self.packages {
            let now = package.energy.number()?;
            let grown = now.checked_sub(package.last).unwrap_or_else(|| {
                // It began again at 0.
                now.saturating_add(package.range.saturating_sub(package.last))
            });
            self.total = self.total.saturating_add(grown);
            package.last = now;
        }
        Some(self.total)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Rapl;

    fn domain(root: &Path, folder: &str, name: &str, energy: u64) {
        let folder = root.join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("name"), format!("{name}\n")).unwrap();
        std::fs::write(folder.join("max_energy_range_uj"), "1000\n").unwrap();
        std::fs::write(folder.join("energy_uj"), format!("{energy}\n")).unwrap();
    }

    #[test]
    fn packages_are_added_and_a_counter_that_began_again_is_followed() {
        let root = tempfile::tempdir().unwrap();
        domain(root.path(), "intel-rapl:0", "package-0", 100);
        domain(root.path(), "intel-rapl:1", "package-1", 900);
        domain(root.path(), "intel-rapl:0:0", "core", 5);
        let mut rapl = Rapl::open(root.path()).unwrap();
        assert_eq!(rapl.microjoules(), Some(0));
        domain(root.path(), "intel-rapl:0", "package-0", 150);
        assert_eq!(rapl.microjoules(), Some(50));
        domain(root.path(), "intel-rapl:1", "package-1", 30);
        assert_eq!(rapl.microjoules(), Some(50 + 130), "900 to the range's 1000, then 30");
        domain(root.path(), "intel-rapl:0:0", "core", 500);
        assert_eq!(rapl.microjoules(), Some(180), "a part of a package is not added to it");
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let root = tempfile::tempdir().unwrap();
        let error = |path: &Path| Rapl::open(path).unwrap_err();
        assert!(error(&root.path().join("absent")).contains("No such file"));
        assert!(error(root.path()).contains("no package"));
        domain(root.path(), "intel-rapl:0", "package-0", 1);
        std::fs::write(root.path().join("intel-rapl:0/energy_uj"), "?").unwrap();
        assert!(error(root.path()).contains("energy_uj: holds no number"));
    }
}
