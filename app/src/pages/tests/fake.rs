//! A backend of made-up rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use contract::case::{Case, CaseSpec, CaseStatus, Device};
use contract::compare::{CompareQuery, Comparison};
use contract::edge::{Edge, EdgeAxis, EdgeProbe, EdgeSpec};
use contract::explore::{CaseLine, CaseListing, CaseQuery, Facet, FacetValue, Task};
use contract::history::{Attempt, Before, CaseHistory};
use contract::ids::{CaseId, JobId, RunId, UnixMillis};
use contract::job::{Job, JobState, Progress};
use contract::link::StoredPlan;
use contract::machine::{Cpu, Machine};
use contract::measurement::{Measurement, Methods, Phase, PhaseMemory, Quality, Sample, StepSample};
use contract::outcome::Outcome;
use contract::points::{self, CasePoint, CasePoints};
use contract::protocol::{AdvertisedModel, Registration, Runner, WeightSource};
use contract::run::{
    Page, Run, RunDetail, RunFigures, RunFilter, RunOrigin, RunPage, RunStatus, RunSummary, RunnerBuild,
};
use contract::statistics::CaseSpeed;
use contract::sweep::Sweep;
use contract::telemetry::{MemoryTrace, PhaseEnergy, Spread, Telemetry, TraceSpan};
use contract::training::Training;
use contract::view::SavedView;
use planner::answers::{Reader, Topic, answer};
use planner::document::plan::TrainMethod;
use planner::{Bytes, Plan, Tokens};

use crate::backend::{Answer, Asked, Backend, BackendError, CaseDetail, Facets, Site, Today};
use crate::link;

pub(super) const ID: &str = "018f5b0e-0000-7000-8000-000000000001";
const MODEL: &str = "HuggingFaceTB/SmolLM2-135M";
const NOW: UnixMillis = UnixMillis(1_795_376_885_000);

/// Answers with one run, one job, one runner and one plan, unless told otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fake {
    pub(super) empty: bool,
    pub(super) offline: bool,
    pub(super) broken: bool,
    pub(super) job: JobState,
}

impl Default for Fake {
    fn default() -> Self {
        Self { empty: false, offline: false, broken: false, job: JobState::Running }
    }
}

impl Fake {
    fn answer<T: Send + 'static>(&self, answer: Result<T, BackendError>) -> Answer<'_, T> {
        let answer = if self.broken { Err(BackendError::Unavailable) } else { answer };
        Box::pin(async move { answer })
    }
}

impl Backend for Fake {
    fn site(&self) -> Answer<'_, Site> {
        self.answer(Ok(Site {
            writes_need_token: false,
            is_empty: self.empty,
            has_examples: false,
            examples_available: true,
            may_write: true,
            now: NOW,
        }))
    }

    fn runs(&self, filter: RunFilter) -> Answer<'_, Page<RunSummary>> {
        let detail = detail();
        let summary = RunSummary {
            machine_name: detail.machine.name.clone(),
            device_name: detail.machine.cpu.model.clone(),
            cases_total: 10,
            cases_done: 10,
            cases_ok: 8,
            best_decode_tokens_per_second: Some(61.3),
            largest_peak: Some(Bytes::from_mib(812)),
            run: detail.run,
        };
        let mut other = summary.clone();
        other.run.origin = RunOrigin::Example;
        other.run.status = RunStatus::Running;
        other.run.started_at = UnixMillis(NOW.0 - 86_400_000 * 3);
        let rows = if self.empty { Vec::new() } else { vec![summary, other] };
        let page = filter.page.unwrap_or(1);
        let total = rows.len() as u64;
        let items = if page == 1 { rows } else { Vec::new() };
        self.answer(Ok(Page { total, items, page, per_page: 50 }))
    }

    fn run(&self, id: RunId, from: u32) -> Answer<'_, RunPage> {
        let RunDetail { run, machine, cases } = detail();
        let lines: Vec<CaseLine> = cases.iter().map(case_line).collect();
        let figures = RunFigures {
            done: 1200,
            ok: 8,
            best_decode_tokens_per_second: Some(61.3),
            largest_peak: Some(Bytes::from_mib(812)),
            mean_error: Some(0.012),
            estimated: 8,
        };
        let previous = (from > 0).then_some(0);
        let page = RunPage { run, machine, figures, lines, cases, previous, next: Some(50) };
        self.answer(if id.to_string() == ID { Ok(page) } else { Err(missing("run", &id)) })
    }

    fn cases(&self, query: CaseQuery) -> Answer<'_, CaseListing> {
        let lines: Vec<CaseLine> = detail().cases.iter().map(case_line).collect();
        let none = self.empty || query.search.is_some();
        let values = |value: &str| vec![FacetValue { value: value.to_owned(), cases: 12_000 }];
        let mut facets: BTreeMap<Facet, Vec<FacetValue>> =
            Facet::ALL.iter().map(|facet| (*facet, values("only"))).collect();
        let batches = ["1", "2", "4", "8", "16", "32", "64", "128", "256", "512"];
        let batches = batches.map(|b| FacetValue { value: b.to_owned(), cases: 1200 });
        facets.insert(Facet::Batch, batches.to_vec());
        facets.insert(Facet::Precision, [values("bf16"), values("fp32")].concat());
        self.answer(Ok(CaseListing {
            total: if none { 0 } else { 12_000 },
            items: if none { Vec::new() } else { lines },
            facets,
            next: (!none).then(|| "12.5_7".to_owned()),
            previous: query.after.map(|place| place.to_string()),
        }))
    }

    fn points(&self, query: CaseQuery, _detailed: bool) -> Answer<'_, CasePoints> {
        let point = |case: &Case| {
            let estimate = case.estimate.as_ref();
            let detail = points::CaseDetail {
                parts: estimate.map(|e| e.per_gpu),
                band: estimate.map(|e| (e.error_band.low, e.error_band.high)),
                ..points::CaseDetail::default()
            };
            CasePoint { line: case_line(case), detail }
        };
        let none = self.empty || query.search.is_some();
        let items = if none { Vec::new() } else { detail().cases.iter().map(point).collect() };
        let facets = [(Facet::Batch, ["1", "2"]), (Facet::Precision, ["bf16", "fp32"])];
        let facets = facets.map(|(facet, values)| {
            (facet, values.map(|v| FacetValue { value: v.to_owned(), cases: 5 }).to_vec())
        });
        self.answer(Ok(CasePoints { total: if none { 0 } else { 3000 }, items, facets: facets.into() }))
    }

    fn case(&self, id: CaseId) -> Answer<'_, CaseDetail> {
        let RunDetail { run, machine, cases } = detail();
        let found = cases.into_iter().chain(special_cases()).find(|case| case.id == id);
        let answer = found.map(|case| CaseDetail { case, run, machine });
        self.answer(answer.ok_or_else(|| missing("case", &id)))
    }

    fn today(&self, plans: Vec<(CaseId, Plan)>) -> Answer<'_, HashMap<CaseId, Today>> {
        // The last is not known yet.
        let known = plans.len().saturating_sub(usize::from(plans.len() > 1));
        let today = |(id, plan): (CaseId, Plan)| (id, Arc::new(planner::estimate(&plan)));
        self.answer(Ok(plans.into_iter().take(known).map(today).collect()))
    }

    fn ask(&self, topic: Topic, reader: Reader) -> Answer<'_, Arc<Asked>> {
        self.answer(Ok(Arc::new(answer(topic, &reader))))
    }

    fn history(&self, id: CaseId, before: Option<Before>) -> Answer<'_, CaseHistory> {
        let case = detail().cases.into_iter().chain(special_cases()).find(|case| case.id == id);
        let attempt = Attempt {
            status: CaseStatus::Crashed,
            error: Some("It was killed from <outside>.".to_owned()),
            engine: "candle 0.11.1 stock llama".to_owned(),
            finished_at: UnixMillis(NOW.0 - 900_000),
        };
        let answer = case.map(|case| {
            let outcomes = past(&case).into_iter().skip(if before.is_some() { 2 } else { 0 }).collect();
            CaseHistory::of(case.spec.key(), outcomes, 3, vec![attempt])
        });
        self.answer(answer.ok_or_else(|| missing("case", &id)))
    }

    fn compare(&self, query: CompareQuery) -> Answer<'_, Comparison> {
        let mut outcomes: Vec<Outcome> = Vec::new();
        for (place, run) in query.runs.iter().enumerate() {
            // Each run is a little faster than the one before, and lacks the case at its place. One failed in the second.
            for (n, mut case) in detail().cases.into_iter().enumerate().filter(|(n, _)| *n != place) {
                if (place, n) == (1, 3) {
                    (case.status, case.measurement) = (CaseStatus::Crashed, None);
                }
                outcomes.push(outcome(case, *run, 1.0 - 0.1 * place as f64, i64::try_from(n).unwrap()));
            }
        }
        let unknown = query.runs.iter().find(|run| run.0.as_u128() & 0xffff == 0xffff);
        let answer = match (query.by, unknown) {
            (_, Some(run)) => Err(missing("run", run)),
            (Some(axis), _) => {
                let cases = detail().cases;
                let outcomes = cases.into_iter().map(|case| outcome(case, ID.parse().unwrap(), 1.0, 0));
                Ok(Comparison::by(axis, query.base.as_deref(), outcomes.collect(), 1200))
            }
            (None, _) => Ok(Comparison::of_runs(&query.runs, outcomes)),
        };
        self.answer(answer)
    }

    fn views(&self) -> Answer<'_, Vec<SavedView>> {
        let view = |name: &str, query: &str| SavedView {
            name: name.to_owned(),
            query: query.to_owned(),
            saved_at: NOW,
        };
        self.answer(Ok(vec![view("largest <peaks>", "order=peak"), view("x", "batch=8&columns=peak")]))
    }

    fn machines(&self) -> Answer<'_, Vec<Machine>> {
        self.answer(Ok(vec![detail().machine]))
    }

    fn facets(&self) -> Answer<'_, Facets> {
        self.answer(Ok(Facets {
            models: vec![MODEL.to_owned()],
            machines: vec!["desk".to_owned()],
            precisions: vec!["bf16".to_owned(), "fp32".to_owned()],
        }))
    }

    fn jobs(&self, _page: u32) -> Answer<'_, Page<Job>> {
        self.answer(Ok(Page { items: vec![job(self.job)], total: 1, page: 1, per_page: 50 }))
    }

    fn job(&self, id: JobId) -> Answer<'_, Job> {
        let known = id.to_string() == ID;
        self.answer(if known { Ok(job(self.job)) } else { Err(missing("job", &id)) })
    }

    fn runners(&self) -> Answer<'_, Vec<Runner>> {
        self.answer(Ok(if self.offline { Vec::new() } else { vec![runner()] }))
    }

    fn plan(&self, id: String) -> Answer<'_, StoredPlan> {
        self.answer(if id == "0123456789" { Ok(stored()) } else { Err(missing("plan", &id)) })
    }
}

fn case_line(case: &Case) -> CaseLine {
    let speed = case.measurement.as_ref().map(|m| CaseSpeed::of(&case.spec, m));
    let standard = || "default".to_owned();
    CaseLine {
        id: case.id,
        run_id: case.run_id,
        machine_id: detail().machine.id,
        model: case.spec.model.clone(),
        task: Task::of(case),
        training: case.spec.training.as_ref().map(Training::name),
        precision: case.spec.precision.clone(),
        variant: standard(),
        attention: standard(),
        cache: "slab".to_owned(),
        kv_cache: standard(),
        engine: case.engine.clone(),
        device: "a processor".to_owned(),
        status: case.status,
        batch: case.spec.batch,
        prompt_tokens: case.spec.prompt_tokens,
        generate_tokens: case.spec.generate_tokens,
        decode_tokens_per_second: speed.as_ref().and_then(|s| s.decode_tokens_per_second).map(|d| d.p50),
        prefill_tokens_per_second: speed.as_ref().and_then(|s| s.prefill_tokens_per_second).map(|d| d.p50),
        ttft_ms: speed.as_ref().and_then(|s| s.ttft_ms).map(|d| d.p50),
        peak_allocated: case.measurement.as_ref().and_then(Measurement::peak_allocated),
        estimated: case.estimate.as_ref().map(|e| e.totals.allocated),
        finished_at: case.finished_at,
    }
}

fn missing(what: &'static str, id: &impl ToString) -> BackendError {
    BackendError::NotFound { what, id: id.to_string() }
}

fn stored() -> StoredPlan {
    let plan = link::first_plan().unwrap();
    let mut estimate = planner::estimate(&plan).unwrap();
    estimate.per_gpu.total = Bytes(123_456_789);
    StoredPlan {
        id: "0123456789".to_owned(),
        plan,
        estimate,
        planner_version: "0.0.9".to_owned(),
        created_at: UnixMillis(NOW.0 - 7_200_000),
    }
}

fn build() -> RunnerBuild {
    RunnerBuild {
        version: "0.1.0".to_owned(),
        commit: "2143c33".to_owned(),
        candle: "0.11.1".to_owned(),
        features: Vec::new(),
        build: "release".to_owned(),
        ..RunnerBuild::default()
    }
}

fn machine() -> Machine {
    Machine {
        id: ID.parse().unwrap(),
        name: "desk".to_owned(),
        os: "Linux 6.1".to_owned(),
        cpu: Cpu { model: "AMD EPYC 7B13".to_owned(), logical_cores: 2, isa: "avx2".to_owned() },
        memory_bytes: Bytes(16 << 30),
        gpus: Vec::new(),
    }
}

fn runner() -> Runner {
    let model = |name: &str, parameters| AdvertisedModel {
        name: name.to_owned(),
        weights: WeightSource::Synthetic,
        precisions: vec!["fp32".to_owned(), "bf16".to_owned(), "fp16".to_owned()],
        parameters,
        max_tokens: 8192,
    };
    Runner {
        id: ID.parse().unwrap(),
        registration: Registration {
            name: "desk-runner".to_owned(),
            machine: machine(),
            models: vec![
                model(MODEL, 134_515_008),
                model("Qwen/Qwen3-0.6B", 596_049_920),
                model("meta-llama/Llama-3.2-1B", 1_235_814_400),
            ],
            devices: vec![Device::Cpu],
            build: build(),
        },
        last_seen_at: NOW,
        online: true,
    }
}

fn sweep() -> Sweep {
    Sweep {
        models: vec![MODEL.to_owned()],
        precisions: vec!["bf16".to_owned(), "fp32".to_owned()],
        batches: vec![1, 2, 4, 8, 16],
        prompts: vec![Tokens(256)],
        generates: vec![Tokens(32)],
        device: Device::Cpu,
        repetitions: 3,
        ..Sweep::default()
    }
}

fn job(state: JobState) -> Job {
    Job {
        id: ID.parse().unwrap(),
        name: "SmolLM2 over batches".to_owned(),
        sweep: sweep(),
        runner_id: None,
        state,
        held_by: Some("desk-runner".to_owned()),
        run_id: Some(ID.parse().unwrap()),
        progress: Progress {
            done: 4,
            total: 10,
            current: Some(format!("{MODEL} bf16 b16 p256 g32 cpu r3")),
            phase: Some("repetition 2 of 3".to_owned()),
            eta_ms: Some(95_000),
        },
        cancel_requested: false,
        attempts: 1,
        error: None,
        created_at: UnixMillis(NOW.0 - 130_000),
        finished_at: None,
    }
}

fn detail() -> RunDetail {
    RunDetail {
        run: Run {
            id: ID.parse().unwrap(),
            name: "SmolLM2 over batches".to_owned(),
            job_id: Some(ID.parse().unwrap()),
            machine_id: ID.parse().unwrap(),
            sweep: sweep(),
            runner: build(),
            status: RunStatus::Finished,
            origin: RunOrigin::Job,
            started_at: UnixMillis(NOW.0 - 400_000),
            finished_at: Some(UnixMillis(NOW.0 - 120_000)),
        },
        machine: machine(),
        cases: cases(),
    }
}

pub(super) fn cases() -> Vec<Case> {
    sweep().cases().into_iter().enumerate().map(|(i, spec)| case(u32::try_from(i).unwrap(), spec)).collect()
}

fn case(position: u32, spec: CaseSpec) -> Case {
    let run: RunId = ID.parse().unwrap();
    let query = format!(
        "model={}&gpu=cpu&weights={}&context={}&output={}&batch={}",
        spec.model, spec.precision, spec.prompt_tokens, spec.generate_tokens, spec.batch
    );
    let plan = planner::link::from_query(&query).unwrap();
    let estimate = planner::estimate(&plan).unwrap();
    let (status, error) = match position {
        4 => (CaseStatus::OutOfMemory, Some("The device had no memory for <it>.".to_owned())),
        9 => (CaseStatus::Refused, Some("The engine does not batch this model.".to_owned())),
        _ => (CaseStatus::Ok, None),
    };
    let measurement = (status == CaseStatus::Ok).then(|| measurement(&spec, estimate.totals.allocated));
    Case {
        id: CaseId::derive(run, &spec.key()),
        run_id: run,
        position,
        spec,
        engine: "candle 0.11.1 stock llama".to_owned(),
        plan: Some(plan),
        estimate: Some(estimate),
        status,
        error,
        measurement,
        finished_at: UnixMillis(NOW.0 - 300_000 + i64::from(position) * 10_000),
    }
}

/// A case as a result of `run`, its times multiplied by `factor`.
fn outcome(case: Case, run: RunId, factor: f64, later: i64) -> Outcome {
    let mut measurement = case.measurement;
    for sample in measurement.iter_mut().flat_map(|m| &mut m.samples) {
        sample.prefill_ms *= factor;
        sample.ttft_ms *= factor;
        sample.token_ms.iter_mut().for_each(|ms| *ms *= factor);
    }
    Outcome {
        id: case.id,
        spec: case.spec,
        engine: case.engine,
        status: case.status,
        error: case.error,
        measurement,
        finished_at: UnixMillis(case.finished_at.0 + later),
        run_id: run,
        run_name: format!("run {}", run.0.as_u128() & 0xff),
        runner: build(),
        machine: machine(),
    }
}

/// Results of a case on four days, the newest first: itself, one a tenth slower, one that failed, one on another machine.
fn past(case: &Case) -> Vec<Outcome> {
    let day = |n: i64| -n * 86_400_000;
    let other = |n: u8| -> CaseId { format!("018f5b0e-0000-7000-8000-0000000001{n:02}").parse().unwrap() };
    let run: RunId = ID.parse().unwrap();
    let now = outcome(case.clone(), run, 1.0, 0);
    let slower = Outcome { id: other(2), ..outcome(case.clone(), run, 1.1, day(1)) };
    let failed = Outcome {
        id: other(3),
        status: CaseStatus::OutOfMemory,
        error: Some("no memory".to_owned()),
        measurement: None,
        ..outcome(case.clone(), run, 1.0, day(2))
    };
    let mut elsewhere = Outcome { id: other(4), ..outcome(case.clone(), run, 1.11, day(3)) };
    "rack".clone_into(&mut elsewhere.machine.name);
    vec![now, slower, failed, elsewhere]
}

/// Cases with what few have: one that searched an edge and recorded all that there is, one that trained.
pub(super) fn special_cases() -> Vec<Case> {
    let spec = sweep().cases()[0].clone();
    let mut rich = case(20, CaseSpec { edge: Some(EdgeSpec::exact(EdgeAxis::Batch)), ..spec.clone() });
    if let Some(measurement) = &mut rich.measurement {
        let probe = |value, status, inferred_from| EdgeProbe {
            value,
            status,
            peak_allocated: (status == CaseStatus::Ok).then(|| Bytes::from_mib(100 * value)),
            inferred_from,
        };
        measurement.edge = Some(Edge {
            axis: EdgeAxis::Batch,
            largest: 6,
            smallest_failed: Some(7),
            predicted: Some(8),
            probes: vec![
                probe(8, CaseStatus::OutOfMemory, None),
                probe(6, CaseStatus::Ok, None),
                probe(7, CaseStatus::OutOfMemory, Some("a smaller case".to_owned())),
            ],
        });
        measurement.quality = Some(Quality {
            perplexity: 17.25,
            perplexity_error: 0.31,
            reference_perplexity: 17.02,
            reference: "fp32 stock".to_owned(),
            top1_agreement: 0.973,
            kl_mean: 0.0042,
            kl_p99: 0.051,
            tokens: 2048,
            window: 512,
            text: "a novel, 3fa4c1d2".to_owned(),
            method: "a window in one pass".to_owned(),
        });
        let energy = |phase, joules| PhaseEnergy { phase, joules, milliseconds: 1500.0, times: 3 };
        measurement.energy = vec![energy(Phase::Prefill, 60.0), energy(Phase::Decode, 180.0)];
        measurement.telemetry = Some(Telemetry {
            clock_mhz: Some(Spread { min: 2400.0, median: 2900.0, max: 3100.0 }),
            looks: 42,
            methods: BTreeMap::from([
                ("clock_mhz".to_owned(), "cpufreq of each core".to_owned()),
                ("energy".to_owned(), "RAPL package 0".to_owned()),
                ("power_w".to_owned(), "no meter may be read".to_owned()),
            ]),
            ..Telemetry::default()
        });
        measurement.memory_trace = Some(MemoryTrace {
            at_us: (0..40).map(|n| n * 50_000).collect(),
            allocated: (0..40).map(|n| Bytes::from_mib(100 + 10 * (n % 13))).collect(),
            process: Vec::new(),
            spans: vec![
                TraceSpan { phase: Phase::Load, warm_up: false, begin_us: 0, end_us: 600_000 },
                TraceSpan { phase: Phase::Prefill, warm_up: true, begin_us: 700_000, end_us: 1_000_000 },
                TraceSpan { phase: Phase::Decode, warm_up: false, begin_us: 1_000_000, end_us: 1_900_000 },
            ],
        });
    }
    if let Some(estimate) = &mut rich.estimate {
        estimate.per_gpu.activations = Bytes(estimate.per_gpu.activations.0 * 2);
    }
    let mut trained = case(21, CaseSpec { training: Some(Training::of(TrainMethod::Full, None)), ..spec });
    if let Some(measurement) = &mut trained.measurement {
        let step = |loss| StepSample { forward_ms: 100.0, backward_ms: 190.0, optimizer_ms: 12.0, loss };
        (measurement.samples, measurement.steps) = (Vec::new(), vec![step(4.5), step(4.25)]);
    }
    vec![rich, trained]
}

/// Figures as a machine would give them: rates that grow with the batch, a peak two percent beside the estimate.
fn measurement(spec: &CaseSpec, estimated: Bytes) -> Measurement {
    let batch = f64::from(spec.batch);
    let slow = if spec.precision == "fp32" { 1.4 } else { 1.0 };
    let peak = Bytes(estimated.0 / 100 * 102);
    let memory = |phase, part: u64| PhaseMemory {
        phase,
        peak_allocated: Bytes(peak.0 / 100 * part),
        live_at_end: Bytes(peak.0 / 100 * (part / 2)),
        process: Some(Bytes(peak.0 + (80 << 20))),
        ..PhaseMemory::default()
    };
    let sample = |k: f64| Sample {
        prefill_ms: 180.0 * batch * slow * k,
        ttft_ms: 183.0 * batch * slow * k,
        token_ms: (0..spec.generate_tokens.0.saturating_sub(1))
            .map(|i| (24.0 + 6.0 * batch) * slow * k + (i % 5) as f64)
            .collect(),
    };
    Measurement {
        phases: vec![memory(Phase::Load, 60), memory(Phase::Prefill, 100), memory(Phase::Decode, 70)],
        load_ms: 812.0,
        samples: vec![sample(1.0), sample(1.03), sample(0.98)],
        methods: Methods {
            allocated: "counting allocator".to_owned(),
            process: "VmHWM of /proc/self/status, reset by phase".to_owned(),
            time: "monotonic clock around each forward pass".to_owned(),
            ..Methods::default()
        },
        threads: Some(2),
        ..Measurement::default()
    }
}
