//! A server without a socket, over a database of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use contract::case::{Case, CaseStatus, Device};
use contract::ids::{CaseId, MachineId, RunId, RunnerId, UnixMillis};
use contract::machine::{Cpu, Machine};
use contract::measurement::{Measurement, Methods, Phase, PhaseMemory, Sample};
use contract::protocol::{AdvertisedModel, Registration, WeightSource};
use contract::run::RunnerBuild;
use contract::sweep::Sweep;
use planner::{Bytes, Plan, Tokens};
use serde_json::{Value, json};
use store::Store;
use tempfile::TempDir;
use tower::ServiceExt;
use uuid::Uuid;

use crate::access::{Access, Secret};
use crate::{AppState, build_router};

pub(crate) const RUNNER: &str = "runner-token";
pub(crate) const ADMIN: &str = "admin-token";
pub(crate) const T0: i64 = 1_790_000_000_000;
pub(crate) const RUNNER_ID: RunnerId = RunnerId(Uuid::from_u128(7));

/// A server whose clock only moves when it is told to.
pub(crate) struct Server {
    pub state: AppState,
    router: Router,
    now: Arc<AtomicI64>,
    #[allow(dead_code, reason = "held so that the folder stays")]
    folder: Option<TempDir>,
}

/// What it answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn read<T: serde::de::DeserializeOwned>(&self) -> T {
        assert!(self.status.is_success(), "{self:?}");
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
    }

    /// Status, code and field of an error.
    pub fn problem(&self) -> (u16, String, Option<String>) {
        let envelope: contract::error::ApiError =
            serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        assert!(envelope.error.message.len() > 10, "a sentence: {envelope:?}");
        (self.status.as_u16(), envelope.error.code, envelope.error.field)
    }
}

impl Server {
    /// On loopback, without an admin token.
    pub async fn new() -> Self {
        Self::with(None).await
    }

    pub async fn with(admin: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self::at(&folder.path().join("plimsoll.db"), admin).await;
        server.folder = Some(folder);
        server
    }

    pub async fn at(db: &Path, admin: Option<&str>) -> Self {
        let now = Arc::new(AtomicI64::new(T0));
        let clock = {
            let now = now.clone();
            Arc::new(move || UnixMillis(now.load(Ordering::Relaxed)))
        };
        let access = Access { runner: Secret::new(RUNNER), admin: admin.map(Secret::new) };
        let state = AppState::new(Store::open(db).await.unwrap(), access, clock);
        Self { router: build_router(state.clone()), state, now, folder: None }
    }

    pub fn pass(&self, ms: i64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }

    pub async fn response(&self, request: Request<Body>) -> axum::response::Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.response(request).await;
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(with_json(Method::POST, path, body)).await
    }

    /// As a browser sends a form of this site.
    pub async fn form(&self, path: &str, fields: &str) -> Answer {
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("host", "localhost:3000")
            .header("origin", "http://localhost:3000")
            .body(Body::from(fields.to_owned()));
        self.send(request.unwrap()).await
    }

    /// As a runner.
    pub async fn runner(&self, method: Method, path: &str, body: &Value) -> Answer {
        let mut request = with_json(method, path, body);
        request.headers_mut().insert("authorization", format!("Bearer {RUNNER}").parse().unwrap());
        self.send(request).await
    }

    /// Registers the runner of the tests.
    pub async fn register(&self) {
        let body = serde_json::to_value(registration()).unwrap();
        let answer = self.runner(Method::PUT, &format!("/api/v1/runners/{RUNNER_ID}"), &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
}

pub(crate) fn with_json(method: Method, path: &str, body: &Value) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

pub(crate) fn registration() -> Registration {
    let model = |name: &str| AdvertisedModel {
        name: name.to_owned(),
        weights: WeightSource::Synthetic,
        precisions: vec!["fp32".to_owned(), "bf16".to_owned()],
        parameters: 134_515_008,
        max_tokens: 2048,
    };
    Registration {
        name: "desk".to_owned(),
        machine: Machine {
            id: MachineId(Uuid::from_u128(8)),
            name: "desk".to_owned(),
            os: "Linux 6.1".to_owned(),
            cpu: Cpu { model: "a processor".to_owned(), logical_cores: 2, isa: "avx2".to_owned() },
            memory_bytes: Bytes::from_mib(8192),
            gpus: vec![],
        },
        models: vec![model("HuggingFaceTB/SmolLM2-135M"), model("tiny")],
        devices: vec![Device::Cpu],
        build: RunnerBuild {
            version: "0.1.0".to_owned(),
            commit: "0123abc".to_owned(),
            candle: "0.11.1".to_owned(),
            features: vec![],
            build: "release".to_owned(),
            ..RunnerBuild::default()
        },
    }
}

/// Two cases of the model `tiny`.
pub(crate) fn sweep() -> Sweep {
    Sweep {
        models: vec!["tiny".to_owned()],
        precisions: vec!["fp32".to_owned()],
        batches: vec![1, 2],
        prompts: vec![Tokens(16)],
        generates: vec![Tokens(4)],
        device: Device::Cpu,
        repetitions: 1,
        ..Sweep::default()
    }
}

/// A plan that has an answer.
pub(crate) fn plan() -> Value {
    json!({
        "schema": 1,
        "model": { "id": "meta-llama/Llama-3.1-8B" },
        "gpu": { "id": "h100-sxm-80gb" },
        "engine": { "name": "candle" },
        "precision": { "weights": "bf16", "activations": "bf16" },
        "workload": { "kind": "serve", "prompt_tokens": 2048, "output_tokens": 512 }
    })
}

pub(crate) fn case(run: RunId, position: usize) -> Case {
    let spec = sweep().cases()[position].clone();
    let memory = |phase| PhaseMemory {
        phase,
        peak_allocated: Bytes(600_000_000),
        live_at_end: Bytes(550_000_000),
        ..PhaseMemory::default()
    };
    Case {
        id: CaseId::derive(run, &spec.key()),
        run_id: run,
        position: u32::try_from(position).unwrap(),
        spec,
        engine: "candle 0.11.1 stock llama".to_owned(),
        plan: Some(serde_json::from_value::<Plan>(plan()).unwrap()),
        estimate: None,
        status: CaseStatus::Ok,
        error: None,
        measurement: Some(Measurement {
            phases: vec![memory(Phase::Prefill), memory(Phase::Decode)],
            load_ms: 5.0,
            samples: vec![Sample { prefill_ms: 8.0, ttft_ms: 9.0, token_ms: vec![2.0; 3] }],
            methods: Methods {
                allocated: "counting allocator".to_owned(),
                process: "VmHWM".to_owned(),
                time: "monotonic clock".to_owned(),
                ..Methods::default()
            },
            threads: Some(2),
            ..Measurement::default()
        }),
        finished_at: UnixMillis(T0),
    }
}
