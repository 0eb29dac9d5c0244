//! Generation with `litgpt generate`.
//!
//! Everything is allocated by `PyTorch`: parameters; a cache of `max_seq_length` tokens for every layer, filled in place
//! (`KVCache` in `litgpt/model.py`); a mask of `max_seq_length`², one byte each; rotary tables; and in the prompt's pass the
//! activations of one layer or the logits of all its tokens.
//!
//! bitsandbytes layers (`BitsandbytesPrecision` of Lightning Fabric) quantize every linear layer, the output head too, from
//! a half precision copy. A product with more than one token dequantizes the whole matrix to half precision first and, where
//! the computation is in bf16, copies it to bf16 (`MatMul4Bit` in bitsandbytes' `autograd/_functions.py`): twice the
//! largest matrix in 16 bit is alive. With a single token it multiplies as it is stored.

use crate::bytes::Bytes;
use crate::document::estimate::{Components, EngineVersion, KvEstimate, Warning};
use crate::document::plan::{CacheKind, EngineName, Plan, Serve};
use crate::document::precision::{CachePrecision, WeightPrecision};
use crate::engine::policy::{Breakdown, Numbers, Policy, Spread};
use crate::engine::resolved::Resolved;
use crate::engine::stored::{self, Format};
use crate::engine::{accept, torch};
use crate::error::PlanError;
use crate::model::{Attention, Dtype, FeedForward, Mixer, Model, Role, WeightTensor};

/// The version whose source was read.
const VERSION: &str = "0.5.13";

struct Litgpt {
    version: String,
    model: String,
    quantize: Option<&'static str>,
    precision: &'static str,
    weights: Bytes,
    /// Bytes of a token in all caches.
    cache: u64,
    /// Bytes of a position in the rotary tables, which every layer shares.
    rotary: u64,
    /// Bytes for each token of the prompt at the peak.
    activations: u64,
    /// Bytes of one token's logits while it is sampled.
    sampling: u64,
    /// What a product of more than one token dequantizes.
    dequantized: Bytes,
    cublas: Bytes,
    expanded: bool,
}

/// Prepares a plan that serves.
///
/// # Errors
/// The field that `LitGPT` refuses, and what it accepts.
pub(super) fn prepare(resolved: &Resolved, serve: &Serve) -> Result<Box<dyn Policy>, PlanError> {
    let (plan, model) = (&resolved.plan, &resolved.model);
    let gpu = torch::gpu("LitGPT", resolved.gpu)?;
    accept::one_device("LitGPT's generate", resolved.layout())?;
    accept::absent(
        "LitGPT",
        &[
            ("workload.max_batched_tokens", serve.max_batched_tokens.is_some()),
            ("workload.max_sequences", serve.max_sequences.is_some()),
            ("workload.memory_fraction", serve.memory_fraction.is_some()),
            ("workload.gpu_layers", serve.gpu_layers.is_some()),
        ],
    )?;
    accept::attention("LitGPT", plan, &["memory-efficient", "flash"])?;
    accept::cache("LitGPT", plan, CacheKind::Slab)?;
    let (version, expanded) = version(plan);
    let (format, quantize) = format(plan, model)?;
    let compute = compute(plan, quantize)?;
    cache_precision(plan, compute)?;
    let linears = linears(model);
    let weights = linears.iter().map(|t| format.tensor_bytes(t)).fold(0, u64::saturating_add).saturating_add(
        model
            .tensors()
            .iter()
            .filter(|t| !is_linear(t))
            .map(|t| plain(format, compute).tensor_bytes(t))
            .fold(0, u64::saturating_add),
    );
    let largest = largest_product(model, &linears);
    let dequantized = match format {
        // From half precision to another one.
        Format::Nf4 { .. } if compute == Dtype::Bf16 => largest.saturating_mul(4),
        Format::Nf4 { .. } => largest.saturating_mul(2),
        // The tiled copy of one layer (`CxB`), while the first is alive.
        Format::Int8Row { .. } => largest,
        _ => 0,
    };
    Ok(Box::new(Litgpt {
        version,
        model: model.name.clone(),
        quantize,
        precision: match compute {
            Dtype::F32 => "32-true",
            Dtype::Bf16 => "bf16-true",
            Dtype::F16 => "16-true",
        },
        weights: Bytes(weights),
        cache: cache_per_token(model, compute, expanded)?,
        rotary: rotary_per_position(model, compute),
        activations: activations_per_token(model, compute.bytes()),
        sampling: model.vocab.saturating_mul(compute.bytes()).saturating_mul(4),
        dequantized: Bytes(dequantized),
        cublas: torch::cublas_workspace(gpu),
        expanded,
    }))
}

/// The version, and whether its cache keeps keys and values repeated for every query head.
///
/// Until fabf765b (December 2024, released in 0.5.5) they were expanded before they were kept.
fn version(plan: &Plan) -> (String, bool) {
    let Some(given) = plan.engine.version.as_deref() else { return (VERSION.to_owned(), false) };
    let numbers: Vec<u64> = given.split('.').map_while(|part| part.parse().ok()).collect();
    // A commit of Lit-GPT or LitGPT, as the tables in tutorials/ cite it, is no dotted version.
    let expanded = numbers.len() < 2 || numbers.as_slice() < [0, 5, 5].as_slice();
    (given.chars().take(40).collect(), expanded)
}

fn format(plan: &Plan, model: &Model) -> Result<(Format, Option<&'static str>), PlanError> {
    let Some(precision) = plan.precision.weights else {
        return Ok((Format::Plain(model.native.unwrap_or(Dtype::Bf16)), None));
    };
    match precision {
        WeightPrecision::Nf4 => Ok((Format::Nf4 { double: false }, Some("bnb.nf4"))),
        WeightPrecision::Nf4Dq => Ok((Format::Nf4 { double: true }, Some("bnb.nf4-dq"))),
        WeightPrecision::Int8 => Ok((Format::Int8Row { scale_bytes: 4 }, Some("bnb.int8"))),
        other => stored::plain(other).map(|dtype| (Format::Plain(dtype), None)).ok_or_else(|| {
            PlanError::unsupported(
                "precision.weights",
                format!("LitGPT does not generate from {other}"),
                "give fp32, bf16, fp16, int8, nf4 or nf4-dq, or leave it out",
            )
        }),
    }
}

/// `16-true`, `bf16-true` or `32-true`: weights that are not quantized are in the format of the computation.
fn compute(plan: &Plan, quantize: Option<&str>) -> Result<Dtype, PlanError> {
    if quantize == Some("bnb.int8") && plan.precision.activations.is_none() {
        return Ok(Dtype::F16);
    }
    let compute = match (plan.precision.activations, plan.precision.weights.and_then(stored::plain)) {
        (None, Some(weights)) => weights,
        _ => torch::compute(plan),
    };
    if quantize == Some("bnb.int8") && compute != Dtype::F16 {
        return Err(PlanError::unsupported(
            "precision.activations",
            format!("bitsandbytes' int8 layers compute in fp16, not {}", compute.as_str()),
            "give fp16, or leave it out",
        ));
    }
    match plan.precision.weights.and_then(stored::plain) {
        Some(weights) if weights != compute => Err(PlanError::unsupported(
            "precision.activations",
            format!("LitGPT computes in the precision of its weights, {}", weights.as_str()),
            "give that, or leave it out",
        )),
        _ => Ok(compute),
    }
}

fn cache_precision(plan: &Plan, compute: Dtype) -> Result<(), PlanError> {
    match (plan.precision.kv_cache, compute) {
        (None, _)
        | (Some(CachePrecision::Fp32), Dtype::F32)
        | (Some(CachePrecision::Bf16), Dtype::Bf16)
        | (Some(CachePrecision::Fp16), Dtype::F16) => Ok(()),
        (Some(other), _) => Err(PlanError::unsupported(
            "precision.kv_cache",
            format!("LitGPT keeps keys and values as it computes them, in {}, not {other}", compute.as_str()),
            format!("give {}, or leave it out", compute.as_str()),
        )),
    }
}

const fn plain(format: Format, compute: Dtype) -> Format {
    match format {
        Format::Plain(dtype) => Format::Plain(dtype),
        _ => Format::Plain(compute),
    }
}

fn is_linear(t: &WeightTensor) -> bool {
    t.is_matrix()
        && !matches!(t.role, Role::TokenEmbedding | Role::PositionEmbedding | Role::TokenTypeEmbedding)
}

/// The linear layers; a tied head is one of its own, since the checkpoint's conversion copies it.
fn linears(model: &Model) -> Vec<WeightTensor> {
    let tensors = model.tensors();
    let head = tensors
        .iter()
        .find(|t| model.tied_embeddings && t.role == Role::TokenEmbedding)
        .map(|t| WeightTensor { role: Role::OutputHead, ..t.clone() });
    tensors.into_iter().filter(is_linear).chain(head).collect()
}

/// Elements of the largest matrix that is multiplied at once: query, key and value are one.
fn largest_product(model: &Model, linears: &[WeightTensor]) -> u64 {
    let fused = model
        .layers
        .iter()
        .filter_map(crate::model::Layer::attention)
        .map(|a| (a.query_width().saturating_add(a.cache_elements_per_token())).saturating_mul(model.hidden))
        .max()
        .unwrap_or(0);
    linears.iter().map(|t| t.rows.saturating_mul(t.columns)).max().unwrap_or(0).max(fused)
}

/// Bytes of a token in the caches of all layers.
fn cache_per_token(model: &Model, compute: Dtype, expanded: bool) -> Result<u64, PlanError> {
    let mut elements = 0u64;
    for layer in &model.layers {
        let of_layer = match &layer.mixer {
            // One key head is kept as one in every version.
            Mixer::Attention(a) if expanded && a.kv_heads != 1 => a.query_width().saturating_mul(2),
            Mixer::Attention(a) => a.cache_elements_per_token(),
            // `MultiheadLatentAttention.build_kv_cache`: keys and values of every head.
            Mixer::Latent(a) => {
                a.heads.saturating_mul(a.nope_size.saturating_add(a.rope_size).saturating_add(a.value_size))
            }
            Mixer::Recurrent(_) => {
                return Err(PlanError::unsupported(
                    "model",
                    format!("LitGPT has no recurrent layers, which {} has", model.name),
                    "give another model, or the engine transformers",
                ));
            }
        };
        elements = elements.saturating_add(of_layer);
    }
    Ok(elements.saturating_mul(compute.bytes()))
}

fn rotary_size(a: &Attention) -> u64 {
    a.rotary_size
}

fn rotary_per_position(model: &Model, compute: Dtype) -> u64 {
    let size = model.layers.iter().filter_map(crate::model::Layer::attention).map(rotary_size).max();
    size.unwrap_or(0).saturating_mul(2).saturating_mul(compute.bytes().min(4))
}

/// Bytes of the widest moment of a pass, for each of its tokens.
fn activations_per_token(model: &Model, bytes: u64) -> u64 {
    let of_layer = |layer: &crate::model::Layer| {
        // Residual, normed input.
        let stream = model.hidden.saturating_mul(bytes).saturating_mul(2);
        let mixer = match &layer.mixer {
            Mixer::Attention(a) => {
                let fused = a.query_width().saturating_add(a.cache_elements_per_token());
                // Query, expanded key and value; the rotation multiplies by half precision tables, so in fp32.
                let heads = a.query_width().saturating_mul(3);
                fused
                    .saturating_add(heads)
                    .saturating_mul(bytes)
                    .saturating_add(a.query_width().saturating_mul(12))
            }
            Mixer::Latent(a) => a
                .heads
                .saturating_mul(a.nope_size.saturating_add(a.rope_size).saturating_mul(2) + a.value_size)
                .saturating_mul(bytes)
                .saturating_mul(2),
            Mixer::Recurrent(_) => 0,
        };
        let inner = match &layer.feed_forward {
            // Gate, up, the activated gate and the product.
            FeedForward::Dense(f) => {
                f.intermediate.saturating_mul(if f.gated { 4 } else { 2 }).saturating_mul(bytes)
            }
            // One expert after another, over the tokens that it gets; at worst all.
            FeedForward::Experts(e) => e
                .expert
                .intermediate
                .saturating_mul(4)
                .saturating_add(model.hidden.saturating_mul(2))
                .saturating_mul(bytes),
            FeedForward::None => 0,
        };
        stream.saturating_add(mixer.max(inner))
    };
    let layers = model.layers.iter().map(of_layer).max().unwrap_or(0);
    // The head multiplies every token of the prompt.
    let head = model.vocab.saturating_add(model.hidden).saturating_mul(bytes);
    layers.max(head)
}

impl Policy for Litgpt {
    fn engine(&self) -> EngineVersion {
        EngineVersion { name: EngineName::Litgpt, version: self.version.clone(), variant: None }
    }

    fn breakdown(&self, numbers: &Numbers) -> Result<Breakdown, PlanError> {
        let longest = numbers.max_model_len.max(numbers.sequence_end()).0;
        let per_sequence = Bytes(self.cache) * longest;
        let kv_cache = per_sequence * numbers.sequences;
        let rotary = Bytes(self.rotary) * longest;
        let mask = Bytes(longest.saturating_mul(longest));
        let tokens = numbers.prompt.0.saturating_mul(numbers.sequences);
        let activations = (Bytes(self.activations) * tokens).max(Bytes(self.sampling) * numbers.sequences);
        let dequantized = if tokens > 1 { self.dequantized } else { Bytes::ZERO };
        let weights = self.weights + rotary;
        let temporary = dequantized + self.cublas + mask;
        let allocated = weights + kv_cache + activations + temporary;
        Ok(Breakdown {
            parts: Components {
                weights,
                kv_cache,
                activations,
                temporary,
                context: torch::CONTEXT,
                ..Components::default()
            },
            allocated,
            reserved: allocated,
            kv: KvEstimate { bytes_per_token: Bytes(self.cache), ..KvEstimate::default() },
            capacity: numbers.free_memory(),
            ..Breakdown::default()
        })
    }

    fn warnings(&self, numbers: &Numbers) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.expanded {
            warnings.push(Warning::new(
                "kv-heads-expanded",
                "This version keeps keys and values repeated for every query head; from 0.5.5 on it keeps the groups.",
            ));
        }
        if self.dequantized > Bytes::ZERO && numbers.prompt.0.saturating_mul(numbers.sequences) > 1 {
            warnings.push(Warning::new(
                "dequantized-copies",
                format!(
                    "The prompt's pass dequantizes whole matrices: {} of the peak is copies of the largest.",
                    self.dequantized
                ),
            ));
        }
        warnings
    }

    fn spread(&self) -> Spread {
        Spread {
            weights: 0.002,
            cache: 0.002,
            activations: 0.05,
            states: 0.0,
            overhead: 0.3,
            basis: "tensors counted from LitGPT's source: within 1 % of 7 published allocator peaks of 3 models on an A100, \
                    nothing fitted; the CUDA context is assumed"
                .to_owned(),
        }
    }

    fn command(&self, numbers: &Numbers) -> Option<String> {
        // One prompt at a time is all that the command takes.
        if numbers.sequences != 1 {
            return None;
        }
        let quantize = self.quantize.map(|q| format!(" --quantize {q}")).unwrap_or_default();
        Some(format!(
            "litgpt generate {} --precision {}{quantize} --max_new_tokens {}",
            self.model, self.precision, numbers.output
        ))
    }
}

#[cfg(test)]
mod tests;
