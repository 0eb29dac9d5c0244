//! A result with where it comes from: what histories and comparisons are made of.

use planner::Bytes;

use crate::case::{CaseSpec, CaseStatus, Device};
use crate::ids::{CaseId, RunId, UnixMillis};
use crate::machine::Machine;
use crate::measurement::Measurement;
use crate::run::RunnerBuild;

/// A case that ended, without its plan and estimate, and the run and machine that it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The case.
    pub id: CaseId,
    /// What it is.
    pub spec: CaseSpec,
    /// The engine that ran it.
    pub engine: String,
    /// How it ended.
    pub status: CaseStatus,
    /// Why, where it is not ok.
    pub error: Option<String>,
    /// What was measured.
    pub measurement: Option<Measurement>,
    /// When it ended.
    pub finished_at: UnixMillis,
    /// Its run.
    pub run_id: RunId,
    /// What people call the run.
    pub run_name: String,
    /// The program that measured.
    pub runner: RunnerBuild,
    /// Where it ran.
    pub machine: Machine,
}

impl Outcome {
    /// The processor or GPU by its product name.
    #[must_use]
    pub fn device_name(&self) -> String {
        device_name(self.spec.device, &self.machine)
    }

    /// The driver's version while it was measured; where that was not recorded, the one that the machine told last.
    #[must_use]
    pub fn driver(&self) -> Option<String> {
        driver(self.spec.device, &self.machine, self.measurement.as_ref())
    }

    /// Most bytes alive at once.
    #[must_use]
    pub fn peak_allocated(&self) -> Option<Bytes> {
        self.measurement.as_ref().and_then(Measurement::peak_allocated)
    }
}

/// The product name of a device of a machine; the device's own name where the machine does not say.
#[must_use]
pub fn device_name(device: Device, machine: &Machine) -> String {
    match device {
        Device::Cpu => machine.cpu.model.clone(),
        Device::Cuda(ordinal) => {
            machine.gpus.get(ordinal as usize).map_or_else(|| device.to_string(), |gpu| gpu.name.clone())
        }
    }
}

/// The driver's version while a case was measured; where that was not recorded, the one that the machine told last. None on a
/// processor.
#[must_use]
pub fn driver(device: Device, machine: &Machine, measurement: Option<&Measurement>) -> Option<String> {
    let Device::Cuda(ordinal) = device else { return None };
    let recorded = measurement.and_then(|m| m.telemetry.as_ref()?.driver.clone());
    recorded.or_else(|| machine.gpus.get(ordinal as usize).map(|gpu| gpu.driver.clone()))
}

#[cfg(test)]
pub(crate) mod tests {
    use planner::Tokens;
    use uuid::Uuid;

    use super::*;
    use crate::ids::MachineId;
    use crate::machine::{Cpu, GpuDevice};
    use crate::measurement::{Phase, PhaseMemory, Sample};
    use crate::telemetry::Telemetry;

    /// A result of a small case whose tokens took so many milliseconds, one number a repetition.
    pub(crate) fn outcome(n: u128, at: i64, token_ms: &[f64]) -> Outcome {
        let sample = |ms: &f64| Sample { prefill_ms: ms * 4.0, ttft_ms: ms * 5.0, token_ms: vec![*ms; 3] };
        let memory =
            PhaseMemory { phase: Phase::Decode, peak_allocated: Bytes(1000), ..PhaseMemory::default() };
        Outcome {
            id: CaseId(Uuid::from_u128(n)),
            spec: CaseSpec {
                model: "tiny".to_owned(),
                precision: "bf16".to_owned(),
                batch: 2,
                prompt_tokens: Tokens(16),
                generate_tokens: Tokens(4),
                repetitions: 3,
                ..CaseSpec::default()
            },
            engine: "candle 0.11.1 stock llama".to_owned(),
            status: CaseStatus::Ok,
            error: None,
            measurement: Some(Measurement {
                phases: vec![memory],
                samples: token_ms.iter().map(sample).collect(),
                ..Measurement::default()
            }),
            finished_at: UnixMillis(at),
            run_id: RunId(Uuid::from_u128(1)),
            run_name: "a run".to_owned(),
            runner: RunnerBuild { commit: "0123abc".to_owned(), ..RunnerBuild::default() },
            machine: Machine {
                id: MachineId(Uuid::from_u128(9)),
                name: "desk".to_owned(),
                os: "Linux 6.1".to_owned(),
                cpu: Cpu { model: "a processor".to_owned(), logical_cores: 2, isa: "avx2".to_owned() },
                memory_bytes: Bytes::from_mib(8192),
                gpus: vec![GpuDevice {
                    uuid: "GPU-1".to_owned(),
                    name: "NVIDIA H200".to_owned(),
                    catalogue_id: None,
                    memory_bytes: Bytes::from_mib(1024),
                    driver: "570.0".to_owned(),
                    cuda: "12.8".to_owned(),
                    power_limit_w: None,
                    max_sm_clock_mhz: None,
                }],
            },
        }
    }

    #[test]
    fn the_driver_is_the_one_of_then_where_that_is_known() {
        let mut one = outcome(1, 1, &[1.0]);
        assert_eq!((one.device_name().as_str(), one.driver()), ("a processor", None));
        one.spec.device = Device::Cuda(0);
        assert_eq!((one.device_name().as_str(), one.driver().as_deref()), ("NVIDIA H200", Some("570.0")));
        if let Some(measurement) = &mut one.measurement {
            let driver = Some("565.1".to_owned());
            measurement.telemetry = Some(Telemetry { driver, ..Telemetry::default() });
        }
        assert_eq!(one.driver().as_deref(), Some("565.1"));
        one.spec.device = Device::Cuda(7);
        assert_eq!(one.device_name(), "cuda:7");
    }
}
