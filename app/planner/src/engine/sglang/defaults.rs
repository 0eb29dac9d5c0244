//! What `SGLang` sets where nothing is given: by release, by the memory that `nvidia-smi` reports, and by ranks
//! (`srt/server_args.py` of 0.4.6, 0.5.2, 0.5.4, 0.5.10 and 0.5.15; between two of them the change is placed at the later one).

use crate::error::PlanError;

/// The newest release in the table. Later ones size the pool after they captured their graphs.
pub(super) const NEWEST: &str = "0.5.15";

/// Which rules a release follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// 0.4: a share by the number of ranks.
    Ranks,
    /// 0.5.0 to 0.5.2: a reserve by the size of the GPU.
    Size,
    /// From 0.5.3 on: a reserve by the tokens of a step and the largest captured batch.
    Steps,
}

/// What is set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Defaults {
    /// `mem_fraction_static`: weights and pool, as a share of the memory that is free before loading.
    pub(super) fraction: f64,
    /// `chunked_prefill_size`: tokens of one step.
    pub(super) step: u64,
    /// `cuda_graph_max_bs`: the largest captured batch.
    pub(super) largest_batch: u64,
    /// Captured batches.
    pub(super) graphs: u64,
}

/// The rules of a release, and the name to echo.
///
/// # Errors
/// Releases outside the table.
pub(super) fn rules(given: Option<&str>) -> Result<(Rules, String), PlanError> {
    let given = given.unwrap_or(NEWEST);
    let shown: String = given.chars().take(40).collect();
    let digits = |n: &str| n.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok();
    let mut numbers = given.trim_start_matches('v').split('.').map(digits);
    match (numbers.next().flatten(), numbers.next().flatten(), numbers.next().flatten()) {
        (Some(0), Some(4), _) => Ok((Rules::Ranks, shown)),
        (Some(0), Some(5), Some(0..=2) | None) => Ok((Rules::Size, shown)),
        (Some(0), Some(5), Some(3..=15)) => Ok((Rules::Steps, shown)),
        (Some(_), Some(_), _) => Err(PlanError::not_planned_yet(
            "engine.version",
            format!("SGLang {shown}"),
            format!("give 0.4.0 to {NEWEST}, or leave it out"),
        )),
        _ => Err(PlanError::invalid(
            "engine.version",
            format!("\"{shown}\" is no release of SGLang"),
            format!("give one as it is published, for example {NEWEST}, or leave it out"),
        )),
    }
}

impl Rules {
    /// The defaults for a GPU of `mib` MiB, `tensor` · `pipeline` ranks, and what the plan says of step and batch; `reserve` MiB
    /// more are left free for speculation.
    pub(super) fn defaults(
        self,
        mib: u64,
        tensor: u64,
        pipeline: u64,
        step: Option<u64>,
        batch: Option<u64>,
        reserve: u64,
    ) -> Defaults {
        let gib = |n: u64| n * 1024;
        let ranks = tensor * pipeline;
        let step = step.unwrap_or(match self {
            Self::Ranks if mib < 25_000 => 2048,
            Self::Ranks => 8192,
            Self::Size | Self::Steps if mib < gib(35) => 2048,
            Self::Steps if mib < gib(60) => 4096,
            _ if mib < gib(160) => 8192,
            _ => 16_384,
        });
        let small = match self {
            Self::Ranks => mib < 25_000,
            _ => mib < gib(35),
        };
        let largest = match self {
            Self::Ranks | Self::Size => match (small, tensor < 4) {
                (true, true) => 8,
                (true, false) => 80,
                _ if mib > gib(160) && self == Self::Size => 512,
                _ if mib > gib(90) => 256,
                _ => 160,
            },
            Self::Steps => match tensor < 4 {
                _ if mib < gib(20) => 8,
                true if mib < gib(35) => 16,
                false if mib < gib(35) => 80,
                true if mib < gib(60) => 32,
                false if mib < gib(60) => 160,
                true if mib < gib(160) => 256,
                _ => 512,
            },
        };
        let largest_batch = batch.map_or(largest, |b| b.min(largest)).max(1);
        Defaults {
            fraction: self.fraction(mib, (tensor, ranks), step, largest, reserve),
            step,
            largest_batch,
            graphs: self.captures(largest_batch),
        }
    }

    fn fraction(self, mib: u64, (tensor, ranks): (u64, u64), step: u64, largest: u64, reserve: u64) -> f64 {
        let memory = mib.max(1) as f64;
        let reserved = match self {
            Self::Ranks if mib <= 81_920 => {
                return match tensor {
                    16.. => 0.79,
                    8.. => 0.81,
                    4.. => 0.85,
                    2.. => 0.87,
                    _ => 0.88,
                };
            }
            Self::Ranks => 13.0 * 1024.0,
            Self::Size => {
                let ranks = ranks as f64;
                1024.0
                    * match mib {
                        0..35_840 => 2.8 + ranks / 10.0,
                        35_840..92_160 => 9.5 + ranks / 2.0,
                        92_160..163_840 => 12.0 + ranks / 2.0,
                        _ => 32.0,
                    }
            }
            Self::Steps => {
                let reserved =
                    512.0 + step.max(2048) as f64 * 1.5 + largest as f64 * 2.0 + ranks as f64 / 8.0 * 1024.0;
                if mib > 61_440 { reserved.max(10.0 * 1024.0) } else { reserved }
            }
        };
        let reserved = reserved + reserve as f64;
        (((memory - reserved) / memory) * 1000.0).round().max(0.0) / 1000.0
    }

    /// Number of captured batches up to `limit`.
    fn captures(self, limit: u64) -> u64 {
        let steps =
            |from: u64, to: u64, step: u64| if limit < from { 0 } else { (limit.min(to) - from) / step + 1 };
        match self {
            // 1, 2, 4, 8, every 8 from 16 to 256, every 16 to 512.
            Self::Ranks | Self::Size => {
                [1, 2, 4, 8].iter().filter(|n| **n <= limit).count() as u64
                    + steps(16, 256, 8)
                    + steps(272, 512, 16)
            }
            // 1, 2, 4, 8, 12, every 8 from 16 to 256, every 16 to 496, every 32 from 512.
            Self::Steps => {
                [1, 2, 4, 8, 12].iter().filter(|n| **n <= limit).count() as u64
                    + steps(16, 256, 8)
                    + steps(272, 496, 16)
                    + steps(512, u64::MAX, 32)
            }
        }
    }
}
