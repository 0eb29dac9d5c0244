//! The host as a source of looks: bytes of the allocator, resident bytes, the cores' clock, the packages' energy.

use std::path::Path;

use contract::telemetry::Telemetry;

use super::look::{Look, Source, State, Wanted, methods};
use super::proc_file::ProcFile;
use super::rapl::{POWERCAP, Rapl};
use crate::memory::{allocator, resident};

/// Cores whose clock is read, at most: each reading interrupts its core.
const MOST_CORES: usize = 16;

/// This process and its host.
#[derive(Debug)]
pub struct Host {
    /// Bytes alive when loading began; none before.
    zero: Option<u64>,
    status: Option<ProcFile>,
    clock: Clock,
    rapl: Result<Rapl, String>,
}

/// Where the cores' clock is read.
#[derive(Debug)]
enum Clock {
    /// `scaling_cur_freq` of the first cores, in kHz.
    CpuFreq(Vec<ProcFile>),
    /// The first cores of `/proc/cpuinfo`, in MHz.
    CpuInfo(ProcFile),
    /// Nowhere.
    None,
}

impl Host {
    /// Opens what there is.
    #[must_use]
    pub fn open() -> Self {
        Self {
            zero: None,
            status: ProcFile::open("/proc/self/status").ok(),
            clock: Clock::open(Path::new("/sys/devices/system/cpu")),
            rapl: Rapl::open(Path::new(POWERCAP)),
        }
    }
}

impl Clock {
    fn open(cpus: &Path) -> Self {
        let of_core = |n| ProcFile::open(cpus.join(format!("cpu{n}/cpufreq/scaling_cur_freq"))).ok();
        let files: Vec<ProcFile> = (0..MOST_CORES).map_while(of_core).collect();
        if !files.is_empty() {
            return Self::CpuFreq(files);
        }
        match ProcFile::open("/proc/cpuinfo") {
            Ok(file) if file.read(cpu_info_mhz).is_some() => Self::CpuInfo(file),
            _ => Self::None,
        }
    }

    /// Mean of the cores that are read, in MHz.
    fn mhz(&self) -> Option<u32> {
        match self {
            Self::CpuFreq(files) => mean(files.iter().filter_map(ProcFile::number).map(|khz| khz / 1000)),
            Self::CpuInfo(file) => file.read(cpu_info_mhz),
            Self::None => None,
        }
    }

    fn method(&self) -> String {
        match self {
            Self::CpuFreq(files) => format!("scaling_cur_freq, mean of the first {} cores", files.len()),
            Self::CpuInfo(_) => "cpu MHz of /proc/cpuinfo, mean of its first cores".to_owned(),
            Self::None => "not available: neither cpufreq nor /proc/cpuinfo tells it".to_owned(),
        }
    }
}

/// Mean of the lines `cpu MHz : 2445.432`.
fn cpu_info_mhz(text: &str) -> Option<u32> {
    // The last line may be cut off in the middle of its number.
    let (whole, _) = text.rsplit_once('\n')?;
    mean(whole.lines().filter_map(|line| {
        let (_, value) = line.strip_prefix("cpu MHz")?.split_once(':')?;
        value.trim().split('.').next()?.parse().ok()
    }))
}

fn mean(values: impl Iterator<Item = u64>) -> Option<u32> {
    let (sum, n) = values.fold((0u64, 0u64), |(sum, n), value| (sum.saturating_add(value), n + 1));
    u32::try_from(sum.checked_div(n)?).ok()
}

impl Source for Host {
    fn zero(&mut self) {
        self.zero = Some(allocator::live());
    }

    fn look(&mut self, wanted: Wanted) -> Look {
        let mut look = Look::default();
        if wanted.memory {
            look.allocated = self.zero.map(|zero| allocator::live().saturating_sub(zero));
            look.process =
                self.status.as_ref().and_then(|file| file.read(|text| resident::parse_status(text, "VmRSS")));
        }
        if wanted.state {
            // A counter that begins again at 0 is followed only where it is read often.
            self.energy_uj();
            look.state = State { clock_mhz: self.clock.mhz(), ..State::default() };
        }
        look
    }

    fn energy_uj(&mut self) -> Option<u64> {
        self.rapl.as_mut().ok()?.microjoules()
    }

    fn facts(&self) -> Telemetry {
        let energy = match &self.rapl {
            Ok(_) => "RAPL of the processor's packages (energy_uj of powercap)".to_owned(),
            Err(why) => format!("not available: {why}"),
        };
        Telemetry {
            methods: methods([("clock_mhz", self.clock.method()), ("energy", energy)]),
            ..Telemetry::default()
        }
    }

    /// The kernel and the allocator keep high marks.
    fn watches_memory(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::{Source, Wanted};
    use super::{Clock, Host, cpu_info_mhz};

    #[test]
    fn clocks_as_the_kernel_writes_them() {
        let text = "processor\t: 0\ncpu MHz\t\t: 2400.000\nflags\t: x\n\nprocessor\t: 1\ncpu MHz\t\t: 3000.999\ncpu M";
        assert_eq!(cpu_info_mhz(text), Some(2700));
        assert_eq!(cpu_info_mhz("cpu MHz\t\t: 24"), None, "a number that is cut off is none");
        assert_eq!(cpu_info_mhz("processor : 0\n"), None);
    }

    #[test]
    fn scaling_frequencies_are_averaged_over_cores() {
        let root = tempfile::tempdir().unwrap();
        for (core, khz) in [(0, "2000000\n"), (1, "3000000\n")] {
            let folder = root.path().join(format!("cpu{core}/cpufreq"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("scaling_cur_freq"), khz).unwrap();
        }
        let clock = Clock::open(root.path());
        assert_eq!(clock.mhz(), Some(2500));
        assert!(clock.method().contains("first 2 cores"), "{}", clock.method());
    }

    #[test]
    fn what_is_not_wanted_is_not_read() {
        let mut host = Host::open();
        let before = host.look(Wanted { memory: true, state: false });
        assert_eq!(before.allocated, None, "there is nothing to count from yet");
        host.zero();
        let nothing = host.look(Wanted { memory: false, state: false });
        assert_eq!(nothing, super::Look::default());
        let memory = host.look(Wanted { memory: true, state: false });
        assert!(memory.process.is_some_and(|bytes| bytes > 1 << 20), "{memory:?}");
        assert!(memory.allocated.is_some() && memory.device.is_none());
        let energy = &host.facts().methods["energy"];
        assert!(
            energy.starts_with("RAPL") || energy.starts_with("not available: /sys/class/powercap"),
            "{energy}"
        );
        assert_eq!(energy.starts_with("RAPL"), host.energy_uj().is_some());
    }
}
