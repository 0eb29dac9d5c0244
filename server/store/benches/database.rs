//! Fills a database with made-up cases, for `server/benches/pages.py` to measure the pages over.
//!
//! `cargo bench -p store --bench database -- FILE [CASES]`. Shapes and plans are real, estimates too or scaled from real ones,
//! and figures are drawn around them, the same ones every time. The store's own calls write them, as if runs had been measured and jobs had been asked.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use contract::case::{Case, CaseSpec, CaseStatus, Device, Variant};
use contract::edge::{Edge, EdgeAxis, EdgeProbe, EdgeSpec};
use contract::ids::{CaseId, JobId, LeaseId, MachineId, RunId, RunnerId, UnixMillis};
use contract::job::{Job, JobState, Progress};
use contract::machine::{Cpu, GpuDevice, Machine};
use contract::measurement::{Measurement, Methods, Phase, PhaseMemory, Quality, Sample, StepSample};
use contract::protocol::{AdvertisedModel, Outcome, Registration, WeightSource};
use contract::run::{Run, RunDetail, RunOrigin, RunStatus, RunnerBuild};
use contract::sweep::{Sweep, is_encoder};
use contract::telemetry::{MemoryTrace, PhaseEnergy, Spread, Telemetry, TraceSpan};
use contract::training::{ALL_TARGETS, Training};
use contract::view::SavedView;
use planner::document::plan::{Attention, CacheKind, Lora, Optimizer, TrainMethod};
use planner::document::precision::WeightPrecision;
use planner::{Bytes, Compiled, Estimate, Plan, Tokens};
use serde_json::{Value, json};
use store::Store;
use uuid::Uuid;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// When the first run began: 2026-01-01T00:00:00Z.
const BEGIN: i64 = 1_767_225_600_000;
/// How long all runs take, in milliseconds: a year.
const YEAR: i64 = 365 * 86_400_000;

/// Numbers that look random and are the same every time (xorshift, Marsaglia 2003).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        self.below(1 << 30) as f64 / f64::from(1 << 30)
    }

    fn chance(&mut self, share: f64) -> bool {
        self.share() < share
    }

    /// Around 1, mostly within `spread` of it.
    fn around(&mut self, spread: f64) -> f64 {
        1.0 + spread * (self.share() + self.share() + self.share() - 1.5)
    }

    fn uuid(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.next(), self.next())
    }
}

/// A figure with as many digits as a clock or meter gives.
fn rounded(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes far below 2^53")]
fn bytes(figure: f64) -> Bytes {
    Bytes(figure.max(0.0) as u64)
}

const GPUS: [(&str, &str, u64); 10] = [
    ("h100-sxm-80gb", "NVIDIA H100 80GB HBM3", 81_559),
    ("h200-sxm-141gb", "NVIDIA H200", 143_771),
    ("a100-sxm-80gb", "NVIDIA A100-SXM4-80GB", 81_920),
    ("a100-sxm-40gb", "NVIDIA A100-SXM4-40GB", 40_960),
    ("l40s-48gb", "NVIDIA L40S", 46_068),
    ("rtx-4090-24gb", "NVIDIA GeForce RTX 4090", 24_564),
    ("rtx-3090-24gb", "NVIDIA GeForce RTX 3090", 24_576),
    ("a10g-24gb", "NVIDIA A10G", 23_028),
    ("t4-16gb", "Tesla T4", 15_360),
    ("cpu", "", 65_536),
];

const DRIVERS: [(&str, &str); 4] =
    [("550.90.07", "12.4"), ("560.35.03", "12.6"), ("570.86.15", "12.8"), ("580.65.06", "13.0")];
const COMMITS: [&str; 8] = [
    "43b390424a0c",
    "5fd1e0b7c2aa",
    "77120c9d3b41",
    "8a0e4dd51f06",
    "9c7be2104e88",
    "b26f683a1d90",
    "d7e4c4f02b13",
    "e8f81a4c6620",
];

fn machines() -> Vec<Machine> {
    let machine = |(n, (id, name, mib)): (usize, &(&str, &str, u64))| Machine {
        id: MachineId(Uuid::from_u64_pair(0x6d61_6368, n as u64)),
        name: format!("node-{:02}", n + 1),
        os: "Debian GNU/Linux 12 (bookworm), Linux 6.1".to_owned(),
        cpu: Cpu {
            model: ["AMD EPYC 9554", "Intel(R) Xeon(R) Platinum 8480+"][n % 2].to_owned(),
            logical_cores: 64,
            isa: "avx2".to_owned(),
        },
        memory_bytes: Bytes::from_mib(65_536),
        gpus: if name.is_empty() {
            Vec::new()
        } else {
            vec![GpuDevice {
                uuid: format!("GPU-{n:08x}"),
                name: (*name).to_owned(),
                catalogue_id: Some((*id).to_owned()),
                memory_bytes: Bytes::from_mib(*mib),
                driver: DRIVERS[DRIVERS.len() - 1].0.to_owned(),
                cuda: DRIVERS[DRIVERS.len() - 1].1.to_owned(),
                power_limit_w: Some(700.0),
                max_sm_clock_mhz: Some(1980),
            }]
        },
    };
    GPUS.iter().enumerate().map(machine).collect()
}

fn attentions() -> Vec<Attention> {
    vec![
        Attention::Eager,
        Attention::MemoryEfficient,
        Attention::Flash,
        Attention::SlidingWindow { window: Tokens(1024) },
        Attention::Longformer { window: Tokens(256), global_tokens: Tokens(16) },
        Attention::BigBird { block: Tokens(64), window_blocks: 3, global_blocks: 2, random_blocks: 3 },
    ]
}

/// A grid that is measured again and again.
struct Template {
    name: String,
    sweep: Sweep,
    /// How often.
    times: usize,
}

/// Models that Candle runs, with so many parameters at most.
fn names(most: u64, encoders: bool) -> Vec<String> {
    let runs = |id: &str| {
        let spec = CaseSpec {
            model: id.to_owned(),
            precision: "bf16".to_owned(),
            variant: Some(if encoders { Variant::Stock } else { Variant::Plimsoll }),
            batch: 1,
            prompt_tokens: Tokens(64),
            generate_tokens: Tokens(if encoders { 0 } else { 4 }),
            ..CaseSpec::default()
        };
        plan(
            &CaseSpec { precision: if encoders { "fp32" } else { "bf16" }.to_owned(), ..spec },
            "cpu",
            65_536,
        )
        .is_some_and(|plan| planner::estimate(&plan).is_ok())
    };
    planner::catalogue::models()
        .iter()
        .filter(|entry| entry.parameters <= most && is_encoder(&entry.id) == encoders && runs(&entry.id))
        .map(|entry| entry.id.clone())
        .collect()
}

const PRECISIONS: [&str; 12] = [
    "bf16",
    "fp16",
    "fp32",
    "tf32",
    "fp8",
    "gguf:q4_0",
    "gguf:q4_1",
    "gguf:q5_0",
    "gguf:q5_1",
    "gguf:q8_0",
    "gguf:bf16",
    "gguf:f16",
];

/// The first of `some`, `n` of them, from the `k`-th on and round again.
fn around<T: Clone>(some: &[T], k: usize, n: usize) -> Vec<T> {
    some.iter().cycle().skip(k % some.len().max(1)).take(n.min(some.len())).cloned().collect()
}

/// What is measured, so that all of it together has about `cases`.
fn templates(cases: usize) -> Vec<Template> {
    let decoders = around(&names(80_000_000_000, false), 0, 36);
    let caches = [CacheKind::Growing, CacheKind::Slab, CacheKind::Rotating];
    let tokens = |some: &[u64]| some.iter().map(|n| Tokens(*n)).collect::<Vec<_>>();
    let precisions: Vec<String> = PRECISIONS.map(str::to_owned).to_vec();
    let cuda = Sweep { device: Device::Cuda(0), repetitions: 3, ..Sweep::default() };
    let variants = vec![Variant::Plimsoll];
    let mut all = Vec::new();
    // A tenth in runs of ten thousand cases.
    for k in 0..3 {
        let sweep = Sweep {
            models: around(&decoders, 9 * k, 4),
            precisions: around(&precisions, 3 * k, 5),
            variants: variants.clone(),
            attentions: around(&attentions(), k, 5),
            caches: caches[..2].to_vec(),
            batches: vec![1, 2, 4, 8, 16],
            prompts: tokens(&[128, 512, 1024, 2048, 4096]),
            generates: tokens(&[8, 16]),
            ..cuda.clone()
        };
        all.push(Template { name: format!("whole grid {}", k + 1), sweep, times: cases / 300_000 });
    }
    // Four tenths in runs of about two thousand.
    for k in 0..25 {
        let sweep = Sweep {
            models: around(&decoders, 2 * k, 3),
            precisions: around(&precisions, 5 * k, 6),
            variants: variants.clone(),
            attentions: around(&attentions(), k, 2),
            caches: around(&caches, k, 2),
            batches: vec![1, 4, 16],
            prompts: tokens(&[256, 1024, 4096]),
            generates: tokens(&[8, 16, 32]),
            ..cuda.clone()
        };
        all.push(Template {
            name: format!("release grid {}", k + 1),
            sweep,
            times: cases * 4 / 10 / 25 / 1944,
        });
    }
    // As much in runs of a few hundred.
    for k in 0..160 {
        let on_cpu = k % 8 == 7;
        let sweep = Sweep {
            models: around(&decoders, k, 2),
            precisions: around(&precisions, k, 4),
            variants: if k % 3 == 0 { vec![Variant::Stock] } else { variants.clone() },
            kv_caches: if k % 5 == 1 {
                around(&["fp8", "int8"].map(str::parse).into_iter().flatten().collect::<Vec<_>>(), k, 1)
            } else {
                Vec::new()
            },
            batches: vec![1, 2, 8, 32],
            prompts: tokens(&[128, 512, 2048]),
            generates: tokens(&[4, 16]),
            device: if on_cpu { Device::Cpu } else { Device::Cuda(0) },
            quality: (k % 16 == 3).then_some(Tokens(1024)),
            ..cuda.clone()
        };
        all.push(Template { name: format!("models {}", k + 1), sweep, times: cases * 4 / 10 / 160 / 192 });
    }
    all.extend(special(cases, &decoders, &cuda));
    // One that runs every night, so that its cases have long histories.
    let sweep = Sweep {
        models: around(&decoders, 0, 2),
        precisions: around(&precisions, 0, 2),
        variants,
        batches: vec![1, 8],
        prompts: tokens(&[128, 512]),
        generates: tokens(&[16]),
        ..cuda
    };
    let others: usize = all.iter().map(|template| template.times.max(1) * template.sweep.len()).sum();
    let times = cases.saturating_sub(others).div_ceil(sweep.len());
    all.push(Template { name: "nightly".to_owned(), sweep, times });
    all
}

/// Training, embedding and searches of an edge: eight of each.
fn special(cases: usize, decoders: &[String], cuda: &Sweep) -> Vec<Template> {
    let encoders = around(&names(u64::MAX, true), 0, 4);
    let tokens = |some: &[u64]| some.iter().map(|n| Tokens(*n)).collect::<Vec<_>>();
    let mut all = Vec::new();
    for k in 0..8 {
        let lora =
            |rank| Lora { rank, targets: ALL_TARGETS.map(str::to_owned).to_vec(), train_embeddings: false };
        let step = |method, lora, optimizer| Training { optimizer, ..Training::of(method, lora) };
        let sweep = Sweep {
            models: around(decoders, 3 * k, 3),
            precisions: around(&PRECISIONS[..3], k, 2).into_iter().map(str::to_owned).collect(),
            variants: vec![Variant::Plimsoll],
            trainings: vec![
                step(TrainMethod::Full, None, Optimizer::Adamw),
                step(TrainMethod::Full, None, Optimizer::Sgd),
                step(TrainMethod::Lora, Some(lora(8)), Optimizer::Adamw),
                step(TrainMethod::Qlora, Some(lora(16)), Optimizer::Adamw),
            ],
            batches: vec![1, 2, 4],
            prompts: tokens(&[128, 512, 2048]),
            generates: tokens(&[0]),
            ..cuda.clone()
        };
        all.push(Template { name: format!("training {}", k + 1), sweep, times: cases * 5 / 100 / 8 / 216 });
        let sweep = Sweep {
            models: around(&encoders, k, 2),
            precisions: vec!["fp32".to_owned()],
            variants: vec![Variant::Stock],
            batches: vec![1, 8, 64, 256],
            prompts: tokens(&[32, 128, 512]),
            generates: tokens(&[0]),
            ..cuda.clone()
        };
        all.push(Template { name: format!("embedding {}", k + 1), sweep, times: cases * 2 / 100 / 8 / 24 });
        let sweep = Sweep {
            models: around(decoders, 5 * k, 4),
            precisions: around(&PRECISIONS, k, 4).into_iter().map(str::to_owned).collect(),
            variants: vec![Variant::Plimsoll],
            batches: vec![1],
            prompts: tokens(&[512, 2048]),
            generates: tokens(&[16]),
            memory_limit: Some(Bytes::from_mib(16_384)),
            edge: Some(EdgeSpec::exact(EdgeAxis::Batch)),
            ..cuda.clone()
        };
        all.push(Template { name: format!("edge {}", k + 1), sweep, times: cases / 100 / 8 / 32 });
    }
    all
}

/// The plan of a case on a GPU; none where the planner has no words for it.
fn plan(spec: &CaseSpec, gpu: &str, mib: u64) -> Option<Plan> {
    let weights = spec.precision.parse::<WeightPrecision>().ok()?;
    // What is quantised leaves it to the decoder.
    let activations = match weights {
        WeightPrecision::Fp32 | WeightPrecision::Tf32 => Some("fp32"),
        WeightPrecision::Fp16 => Some("fp16"),
        WeightPrecision::Bf16 => Some("bf16"),
        _ => None,
    };
    let is_encoder = is_encoder(&spec.model);
    let workload = if let Some(training) = &spec.training {
        json!({
            "kind": "train", "method": training.method, "sequence_tokens": spec.prompt_tokens, "micro_batch": spec.batch,
            "optimizer": training.optimizer, "mixed_precision": activations != Some("fp32"), "master_weights": false,
            "lora": training.lora,
        })
    } else if is_encoder {
        json!({ "kind": "embed", "sequence_tokens": spec.prompt_tokens, "batch": spec.batch })
    } else {
        json!({
            "kind": "serve", "prompt_tokens": spec.prompt_tokens, "output_tokens": spec.generate_tokens,
            "concurrent_sequences": spec.batch,
        })
    };
    let mut document = json!({
        "schema": 1,
        "model": { "id": spec.model },
        "gpu": { "id": gpu, "memory_mib": mib },
        "engine": { "name": "candle", "version": "0.11.1", "variant": spec.decoder().as_str() },
        "precision": { "weights": weights },
        "workload": workload,
    });
    let fields = document.as_object_mut()?;
    if let Some(activations) = activations {
        fields["precision"]["activations"] = Value::from(activations);
    }
    if let Some(attention) = &spec.attention {
        fields.insert("attention".to_owned(), serde_json::to_value(attention).ok()?);
    }
    if let Some(cache) = spec.cache {
        fields.insert("cache".to_owned(), json!({ "kind": cache }));
    }
    if let Some(kv_cache) = spec.kv_cache {
        fields["precision"]["kv_cache"] = Value::from(kv_cache.as_str());
    }
    if gpu == "cpu" {
        fields.insert("host".to_owned(), json!({ "isa": "avx2", "threads": 64 }));
    }
    Plan::from_value(document).ok()
}

/// What is the same each time a grid is measured on one machine.
struct Planned {
    spec: CaseSpec,
    plan: Option<Plan>,
    estimate: Option<Estimate>,
}

fn planned(sweep: &Sweep, machine: &Machine) -> Vec<Planned> {
    let (gpu, mib) = match (sweep.device, machine.gpus.first()) {
        (Device::Cuda(_), Some(gpu)) => {
            (gpu.catalogue_id.clone().unwrap_or_default(), gpu.memory_bytes.0 >> 20)
        }
        _ => ("cpu".to_owned(), 65_536),
    };
    // The planner walks every operation of a case, which takes milliseconds: asked once for each way to compute, its answer is
    // scaled to the other batches and lengths.
    let mut asked: HashMap<String, (CaseSpec, Option<Estimate>)> = HashMap::new();
    let of = |spec: CaseSpec| {
        let plan = plan(&spec, &gpu, mib);
        let way = CaseSpec { batch: 0, prompt_tokens: Tokens(0), generate_tokens: Tokens(0), ..spec.clone() };
        let (of, estimate) = asked.entry(way.key()).or_insert_with(|| {
            let compiled = plan.as_ref().and_then(|plan| Compiled::new(plan).ok());
            (spec.clone(), compiled.and_then(|compiled| compiled.estimate().ok()))
        });
        let tokens =
            |spec: &CaseSpec| f64::from(spec.batch) * (spec.prompt_tokens.0 + spec.generate_tokens.0) as f64;
        let estimate = estimate.as_ref().map(|estimate| scaled(estimate, tokens(&spec) / tokens(of)));
        Planned { spec, plan, estimate }
    };
    sweep.cases().into_iter().map(of).collect()
}

/// An estimate for so many times the tokens.
fn scaled(estimate: &Estimate, times: f64) -> Estimate {
    let mut estimate = estimate.clone();
    let before = estimate.totals.allocated.0 as f64;
    let parts = &mut estimate.per_gpu;
    for part in [&mut parts.kv_cache, &mut parts.activations, &mut parts.temporary] {
        let more = bytes(part.0 as f64 * times);
        parts.total = parts.total + more - *part;
        *part = more;
    }
    let total = parts.total;
    let factor = total.0 as f64 / before;
    let grown = |size: Bytes| bytes(size.0 as f64 * factor);
    for phase in estimate.phases.iter_mut().flatten() {
        phase.peak_bytes = grown(phase.peak_bytes);
    }
    (estimate.error_band.low, estimate.error_band.high) =
        (grown(estimate.error_band.low), grown(estimate.error_band.high));
    let totals = &mut estimate.totals;
    (totals.allocated, totals.reserved, totals.process) = (total, total, total);
    estimate.fits = total <= estimate.capacity_bytes;
    estimate
}

/// How a case of a run is told.
struct Told<'a> {
    run: &'a Run,
    machine: &'a Machine,
    position: usize,
    driver: (&'a str, &'a str),
    /// How fast the commit is.
    speed: f64,
    finished_at: UnixMillis,
}

fn case(planned: &Planned, told: &Told<'_>, draw: &mut Draw) -> Case {
    let spec = &planned.spec;
    let room = match (spec.device, told.machine.gpus.first()) {
        (Device::Cuda(_), Some(gpu)) => gpu.memory_bytes,
        _ => told.machine.memory_bytes,
    };
    let estimated = planned.estimate.as_ref().map_or(2.5e9, |e| e.totals.allocated.0 as f64);
    let peak = estimated * draw.around(0.03);
    let status = if spec.edge.is_none() && estimated > room.0 as f64 * 1.1 {
        CaseStatus::PredictedOutOfMemory
    } else if spec.edge.is_none() && peak > room.0 as f64 {
        CaseStatus::OutOfMemory
    } else {
        match draw.below(400) {
            0 => CaseStatus::Failed,
            1 => CaseStatus::Crashed,
            2 => CaseStatus::Refused,
            _ => CaseStatus::Ok,
        }
    };
    let error = match status {
        CaseStatus::Ok => None,
        CaseStatus::PredictedOutOfMemory => {
            Some(format!("the planner says that it takes {}, {room} are there", bytes(estimated)))
        }
        CaseStatus::OutOfMemory => {
            Some("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")".to_owned())
        }
        _ => Some("the case's process ended with signal 11".to_owned()),
    };
    let variant = spec.decoder().as_str();
    Case {
        id: CaseId::derive(told.run.id, &spec.key()),
        run_id: told.run.id,
        position: u32::try_from(told.position).unwrap_or(u32::MAX),
        engine: format!("candle 0.11.1 {variant}"),
        plan: planned.plan.clone(),
        estimate: planned.estimate.clone(),
        status,
        error,
        measurement: (status == CaseStatus::Ok).then(|| measurement(planned, told, peak, draw)),
        finished_at: told.finished_at,
        spec: spec.clone(),
    }
}

fn measurement(planned: &Planned, told: &Told<'_>, peak: f64, draw: &mut Draw) -> Measurement {
    let spec = &planned.spec;
    let phases: &[Phase] = match (&spec.training, spec.generate_tokens.0) {
        (Some(_), _) => &[Phase::Load, Phase::Forward, Phase::Backward, Phase::Optimizer],
        (None, 0) => &[Phase::Load, Phase::Prefill],
        _ => &[Phase::Load, Phase::Prefill, Phase::Decode],
    };
    let on_gpu = spec.device != Device::Cpu;
    let weights = planned.estimate.as_ref().map_or(1e9, |e| e.per_gpu.weights.0 as f64);
    let memory = |phase: Phase, share: f64| PhaseMemory {
        phase,
        peak_allocated: bytes(weights + (peak - weights) * share),
        live_at_end: bytes(weights),
        peak_reserved: on_gpu.then(|| bytes(peak * 1.02)),
        process: Some(bytes(peak * 1.1)),
        device: on_gpu.then(|| bytes(peak * 1.15)),
    };
    let phases: Vec<PhaseMemory> =
        phases.iter().zip([0.2, 1.0, 0.93, 0.9]).map(|(phase, share)| memory(*phase, share)).collect();
    // Weights are read once a token, at a terabyte a second, or fifty gigabytes on a processor.
    let rate = if on_gpu { 1e12 } else { 5e10 } * told.speed;
    let token = 1e3 * (weights + (peak - weights) * 0.3) / rate;
    let prefill = token * (1.0 + f64::from(spec.batch) * spec.prompt_tokens.0 as f64 / 400.0);
    let mut timed = |ms: f64| rounded(ms * draw.around(0.04));
    let further = spec.generate_tokens.0.saturating_sub(1);
    let samples = if spec.training.is_some() { 0 } else { spec.repetitions };
    let samples = (0..samples)
        .map(|_| {
            let prefill_ms = timed(prefill);
            let token_ms = (0..further).map(|_| timed(token)).collect();
            Sample { prefill_ms, ttft_ms: rounded(prefill_ms + 0.07), token_ms }
        })
        .collect();
    let steps = if spec.training.is_some() { spec.repetitions } else { 0 };
    let steps = (0..steps)
        .map(|_| StepSample {
            forward_ms: timed(prefill),
            backward_ms: timed(2.0 * prefill),
            optimizer_ms: timed(token),
            loss: timed(9.8),
        })
        .collect();
    let energy = |phase: &PhaseMemory, ms: f64| PhaseEnergy {
        phase: phase.phase,
        joules: rounded(ms * 0.4),
        milliseconds: rounded(ms),
        times: if phase.phase == Phase::Load { 1 } else { spec.repetitions },
    };
    let energy =
        phases.iter().zip([900.0, prefill, token * 20.0, token]).map(|(p, ms)| energy(p, ms)).collect();
    let spread = |around: f64| Spread { min: around * 0.9, median: around, max: around * 1.05 };
    let telemetry = Telemetry {
        gpu_uuid: told.machine.gpus.first().filter(|_| on_gpu).map(|gpu| gpu.uuid.clone()),
        driver: on_gpu.then(|| told.driver.0.to_owned()),
        cuda: on_gpu.then(|| told.driver.1.to_owned()),
        clock_mhz: Some(spread(1800.0)),
        power_w: on_gpu.then(|| spread(420.0)),
        temperature_max_c: on_gpu.then_some(61),
        looks: 40,
        ..Telemetry::default()
    };
    let memory_trace = draw.chance(0.005).then(|| MemoryTrace {
        at_us: (0..512).map(|n| n * 5_000).collect(),
        allocated: (0..512u32).map(|n| bytes(peak * (0.3 + 0.7 * f64::from(n) / 512.0))).collect(),
        process: Vec::new(),
        spans: vec![TraceSpan { phase: Phase::Load, warm_up: false, begin_us: 0, end_us: 900_000 }],
    });
    Measurement {
        phases,
        load_ms: 900.0,
        samples,
        steps,
        methods: Methods {
            allocated: if on_gpu { "CUDA pool, used high mark" } else { "counting allocator" }.to_owned(),
            process: "VmHWM of /proc/self/status, reset by phase".to_owned(),
            time: "monotonic clock around each call, device synchronised".to_owned(),
            ..Methods::default()
        },
        threads: (!on_gpu).then_some(64),
        energy,
        telemetry: Some(telemetry),
        memory_trace,
        quality: spec.quality.map(|tokens| quality(tokens, draw)),
        edge: spec.edge.map(|edge| searched(edge, draw)),
        ..Measurement::default()
    }
}

fn quality(tokens: Tokens, draw: &mut Draw) -> Quality {
    Quality {
        perplexity: rounded(12.0 * draw.around(0.04)),
        perplexity_error: 0.4,
        reference_perplexity: 12.0,
        reference: "bf16, plimsoll, eager".to_owned(),
        top1_agreement: 0.96,
        kl_mean: rounded(0.01 * draw.around(0.04)),
        kl_p99: 0.2,
        tokens: tokens.0 / 2,
        window: 512,
        text: "a text, 0123456789ab".to_owned(),
        method: "a window in one pass".to_owned(),
    }
}

fn searched(edge: EdgeSpec, draw: &mut Draw) -> Edge {
    let largest = 8 + draw.below(56);
    let probe = |value, status| EdgeProbe { value, status, peak_allocated: None, inferred_from: None };
    Edge {
        axis: edge.axis,
        largest,
        smallest_failed: Some(largest + 1),
        predicted: Some(largest),
        probes: vec![probe(largest, CaseStatus::Ok), probe(largest + 1, CaseStatus::OutOfMemory)],
    }
}

fn build(commit: &str) -> RunnerBuild {
    RunnerBuild {
        version: "0.1.0".to_owned(),
        commit: commit.to_owned(),
        candle: "0.11.1".to_owned(),
        features: vec!["cuda".to_owned()],
        build: "release".to_owned(),
        ..RunnerBuild::default()
    }
}

/// A run of a template with its cases, and those of its attempts that a later one takes the place of.
struct Measured {
    detail: RunDetail,
    again: Option<RunDetail>,
}

/// Makes every run, in the order in which they began.
fn measure(cases: usize, to: &mpsc::SyncSender<Measured>) {
    let (machines, templates) = (machines(), templates(cases));
    let mut draw = Draw(0x9E37_79B9_7F4A_7C15);
    let mut order: Vec<(usize, usize)> = Vec::new();
    for (place, template) in templates.iter().enumerate() {
        order.extend((0..template.times.max(1)).map(|time| (place, time)));
    }
    for at in (1..order.len()).rev() {
        order.swap(at, usize::try_from(draw.below(at as u64 + 1)).unwrap_or(0));
    }
    let mut known: HashMap<(usize, usize), Vec<Planned>> = HashMap::new();
    let runs = order.len();
    for (n, (place, time)) in order.into_iter().enumerate() {
        let template = &templates[place];
        // Each grid is at home on two machines, those of processors on the last.
        let at = match template.sweep.device {
            Device::Cpu => machines.len() - 1,
            Device::Cuda(_) => (place + time % 2) % (machines.len() - 1),
        };
        let machine = &machines[at];
        let planned = known.entry((place, at)).or_insert_with(|| planned(&template.sweep, machine));
        let done = n as f64 / runs as f64;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let of = |n: usize| (done * n as f64) as usize;
        let (commit, driver) = (COMMITS[of(COMMITS.len())], DRIVERS[of(DRIVERS.len())]);
        let started =
            UnixMillis(BEGIN + YEAR / i64::try_from(runs).unwrap_or(1) * i64::try_from(n).unwrap_or(0));
        let each = 1_000;
        let run = Run {
            id: RunId(draw.uuid()),
            name: format!("{} #{}", template.name, time + 1),
            job_id: None,
            machine_id: machine.id,
            sweep: template.sweep.clone(),
            runner: build(commit),
            status: if draw.chance(0.02) { RunStatus::Cancelled } else { RunStatus::Finished },
            origin: RunOrigin::Local,
            started_at: started,
            finished_at: Some(started.plus_ms(each * i64::try_from(planned.len()).unwrap_or(0))),
        };
        let speed = 1.0 + 0.05 * of(COMMITS.len()) as f64;
        let ends = |position: usize| started.plus_ms(each * i64::try_from(position + 1).unwrap_or(0));
        let told = |position: usize| Told {
            run: &run,
            machine,
            position,
            driver,
            speed,
            finished_at: ends(position),
        };
        let cases: Vec<Case> =
            planned.iter().enumerate().map(|(at, one)| case(one, &told(at), &mut draw)).collect();
        // Now and then what failed is run again.
        let failed: Vec<usize> =
            cases.iter().enumerate().filter(|(_, c)| c.status.is_failure()).map(|(at, _)| at).collect();
        let again = (draw.chance(0.1) && !failed.is_empty()).then(|| {
            let mut again: Vec<Case> =
                failed.iter().take(20).map(|at| case(&planned[*at], &told(*at), &mut draw)).collect();
            again.retain(|case| case.status.is_final());
            for case in &mut again {
                case.finished_at = case.finished_at.plus_ms(60_000);
            }
            RunDetail { run: run.clone(), machine: machine.clone(), cases: again }
        });
        let detail = RunDetail { run, machine: machine.clone(), cases };
        if to.send(Measured { detail, again }).is_err() {
            return;
        }
    }
}

/// Jobs by way of leases, as a runner has them.
async fn jobs(store: &Store) -> Result<(), Failure> {
    let mut draw = Draw(0x2545_F491_4F6C_DD1D);
    let machine = machines().swap_remove(0);
    let models: Vec<String> = names(2_000_000_000, false).into_iter().take(4).collect();
    let runner = RunnerId(Uuid::from_u64_pair(0x7275_6e6e, 1));
    let advertised = |name: &String| AdvertisedModel {
        name: name.clone(),
        weights: WeightSource::Synthetic,
        precisions: vec!["bf16".to_owned(), "fp16".to_owned()],
        parameters: 1_000_000_000,
        max_tokens: 8192,
    };
    let registration = Registration {
        name: machine.name.clone(),
        models: models.iter().map(advertised).collect(),
        machine: machine.clone(),
        devices: vec![Device::Cpu, Device::Cuda(0)],
        build: build(COMMITS[7]),
    };
    store.upsert_runner(runner, &registration, UnixMillis(BEGIN)).await?;
    for n in 0..200 {
        let sweep = Sweep {
            models: around(&models, n, 1),
            precisions: vec!["bf16".to_owned(), "fp16".to_owned()],
            variants: vec![Variant::Plimsoll],
            batches: vec![1, 4],
            prompts: vec![Tokens(128), Tokens(512)],
            generates: vec![Tokens(8)],
            device: Device::Cuda(0),
            repetitions: 3,
            ..Sweep::default()
        };
        let now = UnixMillis(BEGIN + YEAR + 60_000 * i64::try_from(n)?);
        let cases = planned(&sweep, &machine);
        let job = Job {
            id: JobId(draw.uuid()),
            name: format!("asked {}", n + 1),
            progress: Progress { total: u32::try_from(cases.len())?, ..Progress::default() },
            sweep,
            runner_id: None,
            state: JobState::Queued,
            held_by: None,
            run_id: None,
            cancel_requested: false,
            attempts: 0,
            error: None,
            created_at: now,
            finished_at: None,
        };
        store.create_job(&job).await?;
        let (lease, run) = (LeaseId(draw.uuid()), RunId(draw.uuid()));
        if store.claim(runner, now, lease, run).await?.is_none() {
            continue;
        }
        let Some(begun) = store.run(run).await?.map(|detail| detail.run) else { continue };
        for (position, one) in cases.iter().enumerate() {
            let driver = DRIVERS[3];
            let told =
                Told { run: &begun, machine: &machine, position, driver, speed: 1.4, finished_at: now };
            store.upload_case(job.id, lease, &case(one, &told, &mut draw), now).await?;
        }
        store.finish(job.id, lease, &Outcome::Finished, now).await?;
    }
    for (name, query) in
        [("slow to begin", "order=ttft"), ("large", "order=peak&status=ok"), ("fp8", "precision=fp8")]
    {
        let view = SavedView { name: name.to_owned(), query: query.to_owned(), saved_at: UnixMillis(BEGIN) };
        store.save_view(&view).await?;
    }
    Ok(())
}

async fn fill(path: &Path, cases: usize) -> Result<(), Failure> {
    let began = Instant::now();
    let store = Store::open(path).await?;
    if !store.is_empty().await? {
        return Err(format!("{} has runs already; name a file that is not there", path.display()).into());
    }
    let (to, made) = mpsc::sync_channel(8);
    let maker = std::thread::spawn(move || measure(cases, &to));
    let (mut runs, mut stored, mut unestimated, mut told) = (0usize, 0usize, 0usize, 0usize);
    while let Ok(Measured { detail, again }) = made.recv() {
        store.import_run(&detail, RunOrigin::Local).await?;
        if let Some(again) = again {
            store.import_run(&again, RunOrigin::Local).await?;
        }
        runs += 1;
        stored += detail.cases.len();
        unestimated += detail.cases.iter().filter(|case| case.estimate.is_none()).count();
        if stored / 100_000 > told {
            told = stored / 100_000;
            eprintln!("{stored} cases of {runs} runs, {:.0} s", began.elapsed().as_secs_f64());
        }
    }
    maker.join().map_err(|_| "making the runs failed")?;
    jobs(&store).await?;
    store.close().await;
    eprintln!(
        "{stored} cases of {runs} runs and 200 jobs in {}, {unestimated} without an estimate, {:.0} s",
        path.display(),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

fn main() -> Result<(), Failure> {
    // Cargo says `--bench` to what it runs.
    let given: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let Some(path) = given.first() else {
        eprintln!(
            "fills a database with made-up cases: cargo bench -p store --bench database -- FILE [CASES]"
        );
        return Ok(());
    };
    let cases = given.get(1).map_or(Ok(1_000_000), |n| n.parse())?;
    // The store's writes follow each other, so one thread is all they take.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fill(Path::new(path), cases))
}
