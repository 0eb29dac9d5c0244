//! The walk against what an allocator counted.

use serde::Deserialize;
use serde_json::Value;

use super::peaks;
use crate::bytes::{Bytes, Tokens};
use crate::engine::{CandleRequest, Device, WeightStorage};
use crate::ggml::GgmlType;
use crate::model::{Dtype, Model, Role};

/// Measured by a program with a counting global allocator around candle-transformers 0.11.1 (gemm 0.19.0), on an AMD
/// EPYC (Milan), x86-64, AVX2, 2 threads, caches 32 KiB / 512 KiB / 32 MiB: one warm-up, then one repetition; prefill
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
            weights,
            activations,
            batch: self.batch,
            prompt: Tokens(self.prompt),
            generate: Tokens(self.generate),
            device: Device::Cpu,
            isa: Some("avx2".to_owned()),
            threads: Some(2),
            attention: None,
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
