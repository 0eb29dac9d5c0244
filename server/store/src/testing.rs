//! Rows for the tests.

use contract::case::{Case, CaseSpec, CaseStatus, Device};
use contract::ids::{CaseId, JobId, LeaseId, MachineId, RunId, RunnerId, UnixMillis};
use contract::job::{Job, JobState, Progress};
use contract::machine::{Cpu, GpuDevice, Machine};
use contract::measurement::{Measurement, Methods, Phase, PhaseMemory, Sample};
use contract::protocol::{AdvertisedModel, Registration, WeightSource};
use contract::run::{Run, RunOrigin, RunStatus, RunnerBuild};
use contract::sweep::Sweep;
use planner::{Bytes, Tokens};
use tempfile::TempDir;
use uuid::Uuid;

use crate::Store;

/// The moment that the tests begin at.
pub(crate) const T0: UnixMillis = UnixMillis(1_790_000_000_000);

pub(crate) fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// A store in a file of its own; the folder goes with the guard.
pub(crate) async fn temporary() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("plimsoll.db")).await.unwrap();
    (folder, store)
}

pub(crate) fn machine(n: u128, name: &str) -> Machine {
    Machine {
        id: MachineId(uuid(n)),
        name: name.to_owned(),
        os: "Linux 6.1".to_owned(),
        cpu: Cpu { model: format!("{name}'s processor"), logical_cores: 2, isa: "avx2".to_owned() },
        memory_bytes: Bytes::from_mib(8192),
        gpus: vec![GpuDevice {
            uuid: format!("GPU-{n}"),
            name: "NVIDIA H200".to_owned(),
            catalogue_id: None,
            memory_bytes: Bytes(150_754_820_096),
            driver: "570.0".to_owned(),
            cuda: "12.8".to_owned(),
            power_limit_w: Some(700.0),
            max_sm_clock_mhz: Some(1980),
        }],
    }
}

pub(crate) fn build() -> RunnerBuild {
    RunnerBuild {
        version: "0.1.0".to_owned(),
        commit: "0123abc".to_owned(),
        candle: "0.11.1".to_owned(),
        features: vec![],
        build: "release".to_owned(),
        ..RunnerBuild::default()
    }
}

/// Two batches × two prompts of one model: four cases.
pub(crate) fn sweep(model: &str) -> Sweep {
    Sweep {
        models: vec![model.to_owned()],
        precisions: vec!["native".to_owned()],
        batches: vec![1, 2],
        prompts: vec![Tokens(16), Tokens(32)],
        generates: vec![Tokens(4)],
        device: Device::Cpu,
        repetitions: 2,
        ..Sweep::default()
    }
}

pub(crate) fn run(n: u128, machine: &Machine, sweep: Sweep) -> Run {
    Run {
        id: RunId(uuid(n)),
        name: format!("run {n}"),
        job_id: None,
        machine_id: machine.id,
        sweep,
        runner: build(),
        status: RunStatus::Running,
        origin: RunOrigin::Local,
        started_at: T0.plus_ms(i64::try_from(n).unwrap()),
        finished_at: None,
    }
}

pub(crate) fn measurement(peak: u64, token_ms: f64) -> Measurement {
    let memory = |phase, bytes| PhaseMemory {
        phase,
        peak_allocated: Bytes(bytes),
        live_at_end: Bytes(bytes / 2),
        process: Some(Bytes(bytes * 2)),
        ..PhaseMemory::default()
    };
    Measurement {
        phases: vec![
            memory(Phase::Load, peak * 3),
            memory(Phase::Prefill, peak),
            memory(Phase::Decode, peak / 2),
        ],
        load_ms: 12.5,
        samples: vec![Sample { prefill_ms: 10.0, ttft_ms: 11.0, token_ms: vec![token_ms; 3] }; 2],
        methods: Methods {
            allocated: "counting allocator".to_owned(),
            process: "VmHWM".to_owned(),
            time: "monotonic clock".to_owned(),
            ..Methods::default()
        },
        threads: Some(2),
        ..Measurement::default()
    }
}

/// The case at `position` of the run's sweep, measured.
pub(crate) fn case(run: RunId, sweep: &Sweep, position: usize) -> Case {
    let spec: CaseSpec = sweep.cases()[position].clone();
    Case {
        id: CaseId::derive(run, &spec.key()),
        run_id: run,
        position: u32::try_from(position).unwrap(),
        engine: "candle 0.11.1 stock quantized_llama".to_owned(),
        plan: None,
        estimate: None,
        status: CaseStatus::Ok,
        error: None,
        measurement: Some(measurement(1000 * (position as u64 + 1), 2.0)),
        finished_at: T0.plus_ms(i64::try_from(position).unwrap()),
        spec,
    }
}

pub(crate) fn registration(name: &str, machine: Machine, models: &[&str]) -> Registration {
    Registration {
        name: name.to_owned(),
        machine,
        models: models
            .iter()
            .map(|name| AdvertisedModel {
                name: (*name).to_owned(),
                weights: WeightSource::Synthetic,
                precisions: vec!["native".to_owned(), "fp32".to_owned()],
                parameters: 1000,
                max_tokens: 2048,
            })
            .collect(),
        devices: vec![Device::Cpu],
        build: build(),
    }
}

pub(crate) fn job(n: u128, sweep: Sweep) -> Job {
    Job {
        id: JobId(uuid(n)),
        name: format!("job {n}"),
        progress: Progress { total: u32::try_from(sweep.cases().len()).unwrap(), ..Progress::default() },
        sweep,
        runner_id: None,
        state: JobState::Queued,
        held_by: None,
        run_id: None,
        cancel_requested: false,
        attempts: 0,
        error: None,
        created_at: T0.plus_ms(i64::try_from(n).unwrap()),
        finished_at: None,
    }
}

pub(crate) fn runner(n: u128) -> RunnerId {
    RunnerId(uuid(n))
}

pub(crate) fn lease(n: u128) -> LeaseId {
    LeaseId(uuid(n))
}
