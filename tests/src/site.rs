//! A server over a database that has something for every page, and the list of those pages.
//!
//! The runs are the examples and `tests/data/runs.json`, which the runner measured: quality and memory over time, one sweep
//! before and after a change, training within too little memory, a search for the largest batch, embeddings. The jobs are in
//! every state; no runner works on them, so that the pages stay as they are. Beside it stands a server whose database is empty.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use contract::case::{Case, Device};
use contract::ids::{CaseId, JobId, LeaseId, RunId, RunnerId, UnixMillis};
use contract::job::{Job, JobState, Progress};
use contract::protocol::{AdvertisedModel, Outcome, Registration, WeightSource};
use contract::run::{RunDetail, RunOrigin};
use contract::view::SavedView;
use serde_json::json;
use store::Store;
use tempfile::TempDir;
use uuid::Uuid;

use crate::api::Api;
use crate::process::Server;
use crate::{HarnessError, Result};

const MEASURED: &str = include_str!("../data/runs.json");
const EXAMPLES: &str = include_str!("../../server/examples/smollm2-cpu.json");
/// What the registered runner offers.
pub const MODEL: &str = "HuggingFaceTB/SmolLM2-135M";
/// The link of a plan that fits.
pub const FITS: &str = "model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb&engine=vllm&weights=bf16&context=3072\
                        &output=1024&batch=64&max_len=8192";
/// The link of one that does not, and that advice helps.
pub const TOO_LARGE: &str =
    "model=meta-llama/Llama-3.1-8B&gpu=rtx-3060-12gb&weights=bf16&context=2048&output=512";

/// A page: what it is called, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its name, as a file may have it.
    pub name: String,
    /// Its address.
    pub url: String,
}

/// The server and what it serves.
#[derive(Debug)]
pub struct Site {
    /// The server.
    pub server: Server,
    _empty: Server,
    /// Every page, and those that look different from case to case more than once.
    pub pages: Vec<Page>,
    runs: Vec<RunDetail>,
    _dirs: [TempDir; 2],
}

impl Site {
    /// Fills a database and starts a server over it.
    ///
    /// # Errors
    /// The database cannot be filled, or the server does not start.
    pub fn start() -> Result<Self> {
        let folder = || tempfile::tempdir().map_err(HarnessError::io("make a temporary folder"));
        let dirs = [folder()?, folder()?];
        let runs: Vec<RunDetail> = parse("tests/data/runs.json", MEASURED)?;
        let jobs = filled(&dirs[0].path().join("plimsoll.db"), &runs)?;
        let server = Server::start(dirs[0].path(), &[])?;
        let empty = Server::start(dirs[1].path(), &[])?;
        let mut pages = pages(&server, &runs, &jobs)?;
        for path in ["", "runs", "cases", "plots", "jobs"] {
            let name = format!("empty-{}", if path.is_empty() { "home" } else { path });
            pages.push(Page { name, url: format!("{}/{path}", empty.url) });
        }
        Ok(Self { server, _empty: empty, pages, runs, _dirs: dirs })
    }

    /// The one that other tests of this process use at the same time, or a new one. What such a test writes it writes under
    /// a name of its own.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn shared() -> Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Site>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(site) = shared.upgrade() {
            return Ok(site);
        }
        let site = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&site);
        Ok(site)
    }

    /// The address of a path.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.server.url)
    }

    /// The measured run of a name.
    ///
    /// # Errors
    /// There is none.
    pub fn run(&self, name: &str) -> Result<&RunDetail> {
        named(&self.runs, name)
    }
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| HarnessError::Fixture { what: what.to_owned(), problem: error.to_string() })
}

fn named<'a>(runs: &'a [RunDetail], name: &str) -> Result<&'a RunDetail> {
    runs.iter().find(|detail| detail.run.name == name).ok_or_else(|| HarnessError::Fixture {
        what: "tests/data/runs.json".to_owned(),
        problem: format!("there is no run \"{name}\""),
    })
}

/// Fills a new database; the jobs it has, by their states.
fn filled(path: &Path, runs: &[RunDetail]) -> Result<Vec<(JobState, JobId)>> {
    let examples: Vec<RunDetail> = parse("the examples", EXAMPLES)?;
    // On a thread of its own, since the tests that ask for this run on a runtime already.
    let filled = std::thread::scope(|scope| {
        let fill = scope.spawn(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(HarnessError::io("start a runtime"))?
                .block_on(fill(path, runs, &examples))
        });
        fill.join()
    });
    filled.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

async fn fill(path: &Path, runs: &[RunDetail], examples: &[RunDetail]) -> Result<Vec<(JobState, JobId)>> {
    let store = Store::open(path).await?;
    for run in runs {
        store.import_run(run, RunOrigin::Local).await?;
    }
    for run in examples {
        store.import_run(run, RunOrigin::Example).await?;
    }
    let (name, query) = ("bf16 by peak".to_owned(), "precision=bf16&order=peak".to_owned());
    store.save_view(&SavedView { name, query, saved_at: now() }).await?;
    let jobs = queue(&store, named(runs, "After the change")?).await?;
    store.close().await;
    Ok(jobs)
}

/// A job in every state, of a runner that counts as online for a day and never asks.
async fn queue(store: &Store, like: &RunDetail) -> Result<Vec<(JobState, JobId)>> {
    let (now, tomorrow) = (now(), now().plus_ms(24 * 60 * 60 * 1000));
    let runner = RunnerId(Uuid::now_v7());
    let registration = Registration {
        name: "test-runner".to_owned(),
        machine: like.machine.clone(),
        models: vec![AdvertisedModel {
            name: MODEL.to_owned(),
            weights: WeightSource::Synthetic,
            precisions: ["bf16", "fp32", "gguf:q8_0"].map(str::to_owned).to_vec(),
            parameters: 134_515_008,
            max_tokens: 8192,
        }],
        devices: vec![Device::Cpu],
        build: like.run.runner.clone(),
    };
    store.upsert_runner(runner, &registration, now).await?;
    let mut jobs = Vec::new();
    // The last one claimed is the one that runs.
    for state in
        [JobState::Failed, JobState::Finished, JobState::Cancelled, JobState::Running, JobState::Queued]
    {
        let id = JobId(Uuid::now_v7());
        jobs.push((state, id));
        let sweep = like.run.sweep.clone();
        let total = u32::try_from(sweep.len()).unwrap_or(u32::MAX);
        let progress = Progress { total, ..Progress::default() };
        let name = format!("A sweep that is {}", state.as_str());
        store
            .create_job(&Job {
                id,
                name,
                sweep,
                runner_id: Some(runner),
                state: JobState::Queued,
                held_by: None,
                run_id: None,
                progress: progress.clone(),
                cancel_requested: false,
                attempts: 0,
                error: None,
                created_at: now,
                finished_at: None,
            })
            .await?;
        match state {
            JobState::Queued => continue,
            JobState::Cancelled => {
                store.request_cancel(id, now).await?;
                continue;
            }
            _ => {}
        }
        let (lease, run) = (LeaseId(Uuid::now_v7()), RunId(Uuid::now_v7()));
        let claim = store.claim(runner, now, lease, run).await?;
        assert_eq!(claim.map(|claim| claim.job.id), Some(id), "the oldest job in the queue");
        let measured = if state == JobState::Finished { like.cases.len() } else { like.cases.len() / 3 };
        for case in &like.cases[..measured] {
            let copy = Case { id: CaseId::derive(run, &case.spec.key()), run_id: run, ..case.clone() };
            store.upload_case(id, lease, &copy, now).await?;
        }
        let outcome = match state {
            JobState::Finished => Outcome::Finished,
            JobState::Failed => Outcome::Failed { message: "The disk of the runner is full.".to_owned() },
            _ => {
                let current = like.cases.get(measured).map(|case| case.spec.key());
                let phase = Some("repetition 2 of 3".to_owned());
                let progress = Progress { current, phase, eta_ms: Some(95_000), ..progress };
                store.heartbeat(id, lease, &progress, tomorrow).await?;
                continue;
            }
        };
        store.finish(id, lease, &outcome, now).await?;
    }
    store.upsert_runner(runner, &registration, tomorrow).await?;
    Ok(jobs)
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A plan's link as a value of another address.
#[must_use]
pub fn in_query(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Every page of the site.
fn pages(server: &Server, runs: &[RunDetail], jobs: &[(JobState, JobId)]) -> Result<Vec<Page>> {
    let page =
        |name: &str, path: String| Page { name: name.to_owned(), url: format!("{}{path}", server.url) };
    let run = |name: &str| named(runs, name).map(|detail| detail.run.id);
    let case =
        |name: &str, at: usize| named(runs, name).map(|detail| format!("/cases/{}", detail.cases[at].id));
    let plan = planner::link::from_query(FITS).map_err(|error| HarnessError::Fixture {
        what: "the plan that fits".to_owned(),
        problem: error.to_string(),
    })?;
    let (_, stored) = Api::new(&server.url).post("/plans", &json!(plan))?;
    let stored = stored["id"].as_str().unwrap_or_default().to_owned();
    let other = in_query(TOO_LARGE);
    let mut pages = vec![
        page("home", "/".to_owned()),
        page("runs", "/runs".to_owned()),
        page("runs-none", "/runs?model=no-such-model&status=odd".to_owned()),
        page("run", format!("/runs/{}", run("Instruct, with quality")?)),
        page("run-training", format!("/runs/{}", run("Training within 1.2 GB")?)),
        page("cases", "/cases".to_owned()),
        page("cases-chosen", "/cases?precision=bf16&columns=how,peak,status&order=peak&limit=5&colour=red".to_owned()),
        page("case", case("Instruct, with quality", 0)?),
        page("case-history", case("After the change", 0)?),
        page("case-training", case("Training within 1.2 GB", 0)?),
        page("case-out-of-memory", case("Training within 1.2 GB", 2)?),
        page("case-edge", case("Largest batch in 400 MiB", 0)?),
        page("compare", "/compare".to_owned()),
        page("compare-runs", format!("/compare?run={}&run={}", run("Before the change")?, run("After the change")?)),
        page("compare-axis", "/compare?by=precision".to_owned()),
        page("planner", "/planner".to_owned()),
        page("planner-fits", format!("/planner?{FITS}")),
        page("planner-too-large", format!("/planner?{TOO_LARGE}")),
        page("planner-no-answer", format!("/planner?{}", FITS.replace("batch=64", "batch=0"))),
        page("planner-unread", "/planner?model=no/such".to_owned()),
        page(
            "planner-training",
            "/planner?model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb&engine=torchtune&weights=bf16&parallelism.data=8\
             &parallelism.zero_stage=3&workload.kind=train&workload.sequence_tokens=4096&workload.checkpointing=full"
                .to_owned(),
        ),
        page(
            "planner-agent",
            "/planner?model=Qwen/Qwen3-8B&gpu=rtx-4090-24gb&engine=vllm&weights=bf16&context=4096&output=512\
             &max_len=32768&agent_memory=true&agent_memory.turns=500&agent_memory.tokens_per_turn=350\
             &agent_memory.policy.kind=consolidate"
                .to_owned(),
        ),
        page(
            "planner-measured",
            "/planner?model=HuggingFaceTB/SmolLM2-135M&gpu=cpu&weights=bf16&context=64&output=16&batch=2".to_owned(),
        ),
        page("planner-compared", format!("/planner?{FITS}&b={other}")),
        page("planner-diff", format!("/planner/diff?a={}&b={other}", in_query(FITS))),
        page("planner-export", format!("/planner/export?{FITS}")),
        page("embed", format!("/embed?{FITS}")),
        page("stored-plan", format!("/p/{stored}")),
        page("jobs", "/jobs".to_owned()),
        page(
            "jobs-errors",
            "/jobs?check=1&models=HuggingFaceTB/SmolLM2-135M&precisions=fp7&batches=0&prompts=&generates=4&repetitions=1&device=cpu".to_owned(),
        ),
        page("answers", "/answers".to_owned()),
        page("answers-can-i-run", "/answers/can-i-run".to_owned()),
        page(
            "answers-cannot-run",
            "/answers/can-i-run?model=meta-llama/Llama-3.1-70B&gpu=rtx-4090-24gb&context=many".to_owned(),
        ),
        page("answers-per-billion", "/answers/vram-per-billion".to_owned()),
        page("answers-quantize", "/answers/quantize".to_owned()),
        page("answers-attention", "/answers/flash-attention".to_owned()),
        page("answers-training", "/answers/fine-tune-or-lora".to_owned()),
        page("docs", "/docs".to_owned()),
        page("login", "/login".to_owned()),
        page("not-found", "/nothing/here".to_owned()),
    ];
    for kind in ["speed", "memory", "components", "pareto", "heat", "residual", "load-line"] {
        pages.push(page(&format!("plots-{kind}"), format!("/plots?plot={kind}")));
    }
    pages.push(page("plots-zoomed", "/plots?plot=speed&x=batch&x_from=0.5&x_to=2.5".to_owned()));
    for (state, id) in jobs {
        pages.push(page(&format!("job-{}", state.as_str()), format!("/jobs/{id}")));
    }
    for doc in ["measuring", "planning", "accuracy", "api", "operating"] {
        pages.push(page(&format!("docs-{doc}"), format!("/docs/{doc}")));
    }
    Ok(pages)
}
