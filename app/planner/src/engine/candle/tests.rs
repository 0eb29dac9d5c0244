//! The walk against what an allocator counted.

use serde::Deserialize;
use serde_json::Value;

use super::peaks;
use crate::bytes::{Bytes, Tokens};
use crate::document::plan::Host;
use crate::engine::{CandleRequest, CandleTask, Device, WeightStorage};
use crate::ggml::GgmlType;
use crate::model::{Dtype, Model, Role};

/// Measured by a program with a counting global allocator around candle-transformers 0.11.1 (gemm 0.19.0), on an AMD
/// EPYC (Milan), x86-64, AVX2, 2 threads unless `threads` says otherwise (`RAYON_NUM_THREADS`), caches 32 KiB / 512 KiB / 32 MiB: one warm-up, then one repetition; prefill
/// of `prompt` tokens and greedy choice, then `generate` − 1 decode steps. Bytes are live bytes less those before loading,
/// as the program asked for them; `realloc` counts its difference. `smollm2-135m.q4_1` is the published file
/// (`SmolLM2-135M-Instruct.Q4_1.gguf`); the others have random weights.
const RECORDED: &str = include_str!("recorded.jsonl");

#[derive(Deserialize)]
struct Recorded {
    id: String,
    config: Value,
    weights: Option<String>,
    gguf: Option<Value>,
    /// 2 where not said.
    threads: Option<u32>,
    batch: u64,
    prompt: u64,
    generate: u64,
    /// Not where weights were made rather than read.
    load_peak: Option<u64>,
    prefill_peak: u64,
    decode_peak: u64,
}

impl Recorded {
    fn all() -> Vec<Self> {
        RECORDED.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn model(&self) -> Model {
        Model::from_config(&self.id, &self.config).unwrap()
    }

    fn request(&self, model: &Model) -> CandleRequest {
        let (weights, activations) = match (&self.weights, &self.gguf) {
            (Some(dtype), None) => {
                let dtype = match dtype.as_str() {
                    "f32" => Dtype::F32,
                    "bf16" => Dtype::Bf16,
                    "f16" => Dtype::F16,
                    other => panic!("{other}"),
                };
                (WeightStorage::Dense(dtype), dtype)
            }
            (None, Some(types)) => (stored(model, types), Dtype::F32),
            _ => panic!("{}: weights or gguf", self.id),
        };
        CandleRequest {
            task: CandleTask::Generate,
            weights,
            loaded_from: None,
            activations,
            batch: self.batch,
            prompt: Tokens(self.prompt),
            generate: Tokens(self.generate),
            device: Device::Cpu,
            host: Host { isa: Some("avx2".to_owned()), threads: self.threads.or(Some(2)), ..Host::default() },
            attention: None,
            decoder: None,
        }
    }
}

fn stored(model: &Model, types: &Value) -> WeightStorage {
    let types: Vec<GgmlType> = model
        .tensors()
        .iter()
        .map(|t| {
            let name = match t.role {
                Role::TokenEmbedding => "token_embd",
                Role::OutputHead => "output",
                Role::Query => "attn_q",
                Role::Key => "attn_k",
                Role::Value => "attn_v",
                Role::AttentionOutput => "attn_output",
                Role::Gate => "ffn_gate",
                Role::Up => "ffn_up",
                Role::Down => "ffn_down",
                _ => return GgmlType::F32,
            };
            let word = types.get(name).unwrap_or(&types["default"]).as_str().unwrap();
            GgmlType::from_name(word).unwrap()
        })
        .collect();
    let total_bytes = model
        .tensors()
        .iter()
        .zip(&types)
        .map(|(t, kind)| Bytes(kind.tensor_bytes(t.rows, t.columns).unwrap()))
        .sum();
    WeightStorage::Gguf { types, total_bytes }
}

fn percent(predicted: Bytes, measured: u64) -> f64 {
    (predicted.0 as f64 / measured as f64 - 1.0) * 100.0
}

#[test]
fn peaks_are_what_an_allocator_counted() {
    let cases = Recorded::all();
    assert!(cases.len() >= 20, "{} recorded cases", cases.len());
    let mut errors = Vec::new();
    println!(
        "{:<32} {:>12} {:>8} {:>12} {:>8} {:>12} {:>8}",
        "case", "load", "error %", "prefill", "error %", "decode", "error %"
    );
    for case in &cases {
        let model = case.model();
        let found = peaks(&model, &case.request(&model)).unwrap();
        print!("{:<32}", case.id);
        for (predicted, measured) in [
            (found.load_peak, case.load_peak),
            (found.prefill_peak, Some(case.prefill_peak)),
            (found.decode_peak, Some(case.decode_peak)),
        ] {
            match measured {
                Some(measured) => {
                    let error = percent(predicted, measured);
                    print!(" {measured:>12} {error:>8.3}");
                    errors.push((case.id.clone(), error));
                }
                None => print!(" {:>21}", ""),
            }
        }
        println!();
        let parts = found.weights_bytes + found.peak.kv_cache + found.peak.activations + found.peak.temporary;
        let largest = found.load_peak.max(found.prefill_peak).max(found.decode_peak);
        assert_eq!(parts, largest, "{}: the parts of {:?}", case.id, found.peak);
    }
    let mean = errors.iter().map(|(_, e)| e.abs()).sum::<f64>() / errors.len() as f64;
    println!("{} cases, {} peaks, mean absolute error {mean:.4} %", cases.len(), errors.len());
    assert!(mean <= 0.1, "mean absolute error {mean:.3} %");
    for (id, error) in errors {
        assert!(error.abs() <= 0.5, "{id}: {error:.3} %");
    }
}

fn llama() -> (Model, CandleRequest) {
    let case = Recorded::all().into_iter().find(|c| c.id == "llama-160m.f32.b2.p300").unwrap();
    let model = case.model();
    let request = case.request(&model);
    (model, request)
}

#[test]
fn each_thread_costs_a_slab() {
    let (model, request) = llama();
    let with = |threads| {
        let host = Host { threads: Some(threads), ..request.host.clone() };
        peaks(&model, &CandleRequest { host, ..request.clone() }).unwrap().prefill_peak
    };
    assert_eq!(with(8) - with(4), Bytes(4 * (512 << 10)));
}

/// As `L2_SLAB` has it: what a thread keeps is as large as its level 2 cache.
#[test]
fn a_slab_is_as_large_as_the_cache() {
    let (model, request) = llama();
    let with = |l1d, l2| {
        let host = Host { l1d_cache_kib: l1d, l2_cache_kib: l2, ..request.host.clone() };
        peaks(&model, &CandleRequest { host, ..request.clone() }).unwrap().prefill_peak
    };
    assert_eq!(with(Some(32), Some(512)), with(None, None), "as is assumed");
    assert_eq!(with(None, Some(1024)) - with(None, None), Bytes(2 * (512 << 10)), "two threads");
}

#[test]
fn a_cuda_device_has_no_workspaces_of_the_processor() {
    let (model, request) = llama();
    let cuda = CandleRequest { device: Device::Cuda, ..request.clone() };
    let (cpu, cuda) = (peaks(&model, &request).unwrap(), peaks(&model, &cuda).unwrap());
    assert!(cuda.prefill_peak < cpu.prefill_peak);
    assert_eq!(cuda.weights_bytes, cpu.weights_bytes);
    assert_eq!(cuda.kv_cache_bytes, cpu.kv_cache_bytes);
}

#[test]
fn a_growing_cache_holds_a_token_less_than_is_generated() {
    let (model, request) = llama();
    let found = peaks(&model, &request).unwrap();
    // The last token that is chosen is not computed with any more.
    let tokens = request.prompt.0 + request.generate.0 - 1;
    assert_eq!(found.kv_cache_bytes, Bytes(model.cache_elements_per_token() * 4 * tokens * request.batch));
}

#[test]
fn instruction_sets_decide_what_is_repacked() {
    let case = Recorded::all().into_iter().find(|c| c.id == "wide.q8_0.p128").unwrap();
    let model = case.model();
    let request = case.request(&model);
    let with = |isa: &str| {
        let host = Host { isa: Some(isa.to_owned()), ..request.host.clone() };
        peaks(&model, &CandleRequest { host, ..request.clone() })
    };
    // q8_0 has tiles of the same size as its blocks from AVX-VNNI on; its embedding is a table in f32 as well.
    let matrices: u64 = model
        .tensors()
        .iter()
        .filter(|t| t.is_matrix() && t.role != Role::TokenEmbedding)
        .map(|t| t.elements() / 32 * 34)
        .sum();
    let (avx2, vnni) = (with("avx2").unwrap(), with("avx-vnni").unwrap());
    assert_eq!(vnni.weights_bytes - avx2.weights_bytes, Bytes(matrices));
    let error = with("sse9").unwrap_err();
    assert_eq!(error.field, "host.isa");
    assert!(error.remedy.contains("avx512"), "{error}");
}

#[test]
fn what_candle_refuses_is_an_error() {
    let case = Recorded::all().into_iter().find(|c| c.id == "smollm2-135m.q4_1.p16").unwrap();
    let model = case.model();
    let two = CandleRequest { batch: 2, ..case.request(&model) };
    assert_eq!(peaks(&model, &two).unwrap_err().field, "workload.concurrent_sequences");
    let nothing = CandleRequest { prompt: Tokens(0), ..case.request(&model) };
    assert_eq!(peaks(&model, &nothing).unwrap_err().field, "workload.prompt_tokens");
    let endless = CandleRequest { generate: Tokens(u64::MAX), ..case.request(&model) };
    assert_eq!(peaks(&model, &endless).unwrap_err().field, "workload");

    // Gemma 3's slabs take contiguous tensors only, which several heads' values are not.
    let case = Recorded::all().into_iter().find(|c| c.id == "gemma3.f32.b1.p200").unwrap();
    let mut config = case.config.clone();
    config["num_key_value_heads"] = 2.into();
    let model = Model::from_config("several heads", &config).unwrap();
    let error = peaks(&model, &case.request(&model)).unwrap_err();
    assert!(error.problem.contains("contiguous"), "{error}");
}

fn minilm(change: &Value) -> Result<crate::Estimate, crate::PlanError> {
    let mut plan = serde_json::json!({
        "schema": 1, "model": {"id": "sentence-transformers/all-MiniLM-L6-v2"}, "gpu": {"id": "cpu"},
        "engine": {"name": "candle"}, "host": {"isa": "avx2", "threads": 2},
        "workload": {"kind": "embed", "sequence_tokens": 128, "batch": 8}
    });
    for (key, value) in change.as_object().into_iter().flatten() {
        plan[key] = value.clone();
    }
    crate::estimate(&serde_json::from_value(plan).unwrap())
}

/// Six layers of 384 in 12 heads; weights without the pooler, as `bert.rs` loads them. At the peak, the end of the softmax, these
/// live: the layer's input, queries, keys and values, each again as a contiguous copy, and the scores five times (scaled,
/// masked, less their maximum, their exponentials, the answer).
#[test]
fn an_embedding_is_a_prefill_and_keeps_nothing() {
    let answer = minilm(&serde_json::json!({})).unwrap();
    let pooler = 384 * 384 + 384;
    assert_eq!(answer.per_gpu.weights, Bytes((22_713_216 - pooler) * 4));
    assert_eq!(answer.per_gpu.kv_cache, Bytes::ZERO);
    let phases: Vec<(String, u64)> =
        answer.phases.unwrap().into_iter().map(|p| (p.phase, p.peak_bytes.0)).collect();
    assert_eq!(phases.iter().map(|p| p.0.as_str()).collect::<Vec<_>>(), ["load", "prefill"]);
    let floor = answer.per_gpu.weights.0 + 8 * 128 * 7 * 384 * 4 + 5 * 8 * 12 * 128 * 128 * 4;
    assert!((floor..floor + (4 << 20)).contains(&phases[1].1), "{} is not about {floor}", phases[1].1);
}

#[test]
fn what_candle_cannot_embed_names_who_can() {
    use serde_json::json;
    for (change, field, part) in [
        (json!({"precision": {"weights": "bf16"}}), "precision.weights", "NaN"),
        (json!({"precision": {"weights": "fp16"}}), "precision.weights", "transformers or vllm"),
        (json!({"precision": {"weights": "gguf:q8_0"}}), "precision.weights", "GGUF"),
        (json!({"model": {"id": "thenlper/gte-base"}}), "precision.weights", "give fp32"),
        (json!({"model": {"id": "BAAI/bge-m3"}}), "model", "transformers or vllm"),
        (json!({"model": {"id": "Qwen/Qwen3-Embedding-0.6B"}}), "model", "transformers or vllm"),
        (json!({"cache": {"kind": "growing"}}), "cache", "leave it out"),
    ] {
        let error = minilm(&change).unwrap_err();
        assert_eq!(error.field, field, "{change}: {error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let reranker = minilm(&json!({"model": {"id": "cross-encoder/ms-marco-MiniLM-L-6-v2"}})).unwrap();
    assert!(reranker.warnings.iter().any(|w| w.code == "classifier-left-out"));
}
