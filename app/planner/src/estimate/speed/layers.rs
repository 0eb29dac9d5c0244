//! What one layer reads and computes, alike layers counted once.

use crate::document::plan::EngineName;
use crate::document::precision::{CachePrecision, WeightPrecision};
use crate::engine::resolved::Resolved;
use crate::engine::stored::{Format, plain};
use crate::model::{Attention, Dtype, FeedForward, Mixer, Model, Role, WeightTensor};
use crate::recipe::recipe;

/// Work of one layer for one token, whole: not yet divided over ranks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LayerWork {
    /// Bytes of weights that any step reads.
    pub(super) always: f64,
    /// Bytes of one routed expert.
    pub(super) expert: f64,
    /// Routed experts, and how many a token takes.
    pub(super) routed: f64,
    /// See `routed`.
    pub(super) active: f64,
    /// Parameters that multiply a token, the experts that it takes included.
    pub(super) multiplied: f64,
    /// Operations for one pair of a new token and one it sees.
    pub(super) pair: f64,
    /// Bytes of cache for one token of one sequence.
    pub(super) cache: f64,
    /// Tokens that a token sees at most.
    pub(super) window: f64,
    /// Bytes of recurrent state that a step reads and writes for one sequence.
    pub(super) state: f64,
    /// Ranks over which the cache is divided at most.
    pub(super) cache_ranks: f64,
    /// Kernel launches of an engine without graphs.
    pub(super) launches: f64,
}

/// A model's layers and what is outside of them.
#[derive(Debug, Clone)]
pub(super) struct Work {
    /// Alike layers with their number.
    pub(super) layers: Vec<(f64, LayerWork)>,
    /// Bytes of the output head.
    pub(super) head: f64,
    /// Parameters of the output head.
    pub(super) head_parameters: f64,
}

impl Work {
    pub(super) fn of(resolved: &Resolved) -> Self {
        let model = &resolved.model;
        let engine = resolved.plan.engine.name;
        let precision = resolved.plan.precision.weights;
        let tensors = model.tensors();
        let sizes = sizes(model, &tensors, precision, resolved.sparse);
        let mut by_layer = vec![(0.0, 0.0, 0.0, 0.0); model.layers.len()];
        let (mut head, mut head_parameters, mut embedding) = (0.0, 0.0, (0.0, 0.0));
        for (tensor, bytes) in tensors.iter().zip(sizes) {
            let elements = tensor.elements() as f64;
            match tensor.layer.and_then(|l| by_layer.get_mut(usize::try_from(l).ok()?)) {
                Some(layer) if is_routed(tensor.role) => {
                    layer.1 += bytes / (tensor.copies.max(1) as f64);
                    layer.3 += elements / (tensor.copies.max(1) as f64);
                }
                Some(layer) => {
                    layer.0 += bytes;
                    layer.2 += if tensor.is_matrix() { elements } else { 0.0 };
                }
                None if tensor.role == Role::OutputHead => (head, head_parameters) = (bytes, elements),
                None if tensor.role == Role::TokenEmbedding => embedding = (bytes, elements),
                None => {}
            }
        }
        if resolved.embeds() {
            // Hidden states are the answer.
            (head, head_parameters) = (0.0, 0.0);
        } else if head_parameters == 0.0 && model.is_decoder() {
            (head, head_parameters) = embedding;
        }
        let mut layers: Vec<(f64, LayerWork)> = Vec::new();
        for (layer, (always, expert, multiplied, expert_parameters)) in model.layers.iter().zip(by_layer) {
            let (routed, active) = layer.experts().map_or((0.0, 0.0), |e| (e.routed as f64, e.active as f64));
            let mixer = mixer(&layer.mixer, resolved);
            let launches = super::engine::launches(engine, layer).count(precision);
            let work = LayerWork {
                always,
                expert,
                routed,
                active,
                multiplied: multiplied + active * expert_parameters,
                launches,
                ..mixer
            };
            match layers.iter_mut().find(|(_, known)| *known == work) {
                Some((count, _)) => *count += 1.0,
                None => layers.push((1.0, work)),
            }
        }
        Self { layers, head, head_parameters }
    }
}

const fn is_routed(role: Role) -> bool {
    matches!(
        role,
        Role::ExpertGate
            | Role::ExpertUp
            | Role::ExpertDown
            | Role::ExpertGateBias
            | Role::ExpertUpBias
            | Role::ExpertDownBias
    )
}

fn mixer(mixer: &Mixer, resolved: &Resolved) -> LayerWork {
    let none = LayerWork {
        always: 0.0,
        expert: 0.0,
        routed: 0.0,
        active: 0.0,
        multiplied: 0.0,
        pair: 0.0,
        cache: 0.0,
        window: f64::INFINITY,
        state: 0.0,
        cache_ranks: 1.0,
        launches: 0.0,
    };
    let bytes = cache_bytes(resolved);
    match mixer {
        Mixer::Attention(a) => LayerWork {
            pair: 4.0 * a.query_width() as f64,
            cache: a.cache_elements_per_token() as f64 * bytes,
            window: visible(a, resolved),
            cache_ranks: a.kv_heads.max(1) as f64,
            ..none
        },
        // Absorbed: scores over latent and rotated part, values over the latent (DeepSeek-V2, section 2.1.2).
        Mixer::Latent(a) => LayerWork {
            pair: 2.0 * (a.heads * (2 * a.kv_rank + a.rope_size)) as f64,
            cache: a.cache_elements_per_token() as f64 * bytes,
            ..none
        },
        // Read and written once; states are kept in fp32.
        Mixer::Recurrent(r) => LayerWork {
            state: 8.0 * r.state_elements() as f64 + 4.0 * r.conv_state_elements() as f64,
            cache_ranks: f64::INFINITY,
            ..none
        },
    }
}

fn visible(attention: &Attention, resolved: &Resolved) -> f64 {
    use crate::document::plan::Attention as Kind;
    let own = attention.window.map_or(f64::INFINITY, |w| w.0 as f64);
    match resolved.plan.attention {
        Some(Kind::SlidingWindow { window }) => own.min(window.0 as f64),
        Some(Kind::Longformer { window, global_tokens }) => own.min((window + global_tokens).0 as f64),
        Some(Kind::BigBird { block, window_blocks, global_blocks, random_blocks }) => {
            let blocks = u64::from(window_blocks) + u64::from(global_blocks) + u64::from(random_blocks);
            own.min(block.0.saturating_mul(blocks) as f64)
        }
        _ => own,
    }
}

/// Bytes of one element of the cache, scales included.
fn cache_bytes(resolved: &Resolved) -> f64 {
    match resolved.plan.precision.kv_cache {
        Some(CachePrecision::Fp32) => 4.0,
        Some(CachePrecision::Fp8 | CachePrecision::Int8) => 1.0,
        Some(CachePrecision::Q8_0) => 34.0 / 32.0,
        Some(CachePrecision::Q5_1) => 24.0 / 32.0,
        Some(CachePrecision::Q5_0) => 22.0 / 32.0,
        Some(CachePrecision::Q4_1) => 20.0 / 32.0,
        Some(CachePrecision::Q4_0) => 18.0 / 32.0,
        None if resolved.plan.engine.name == EngineName::Candle => {
            let weights = resolved.plan.precision.weights;
            if weights.is_some_and(|p| p == WeightPrecision::Fp32 || p.as_str().starts_with("gguf:")) {
                4.0
            } else {
                2.0
            }
        }
        Some(CachePrecision::Bf16 | CachePrecision::Fp16) | None => 2.0,
    }
}

/// Bytes of every tensor as a step reads it.
fn sizes(
    model: &Model,
    tensors: &[WeightTensor],
    precision: Option<WeightPrecision>,
    sparse: bool,
) -> Vec<f64> {
    let native = model.native.unwrap_or(Dtype::Bf16);
    if let Some(recipe) = precision.and_then(|p| recipe(model, p)) {
        return tensors
            .iter()
            .zip(&recipe.types)
            .map(|(t, kind)| {
                kind.tensor_bytes(t.rows, t.columns).unwrap_or(0).saturating_mul(t.copies) as f64
            })
            .collect();
    }
    if let Some(stored) = &model.stored {
        // A header's sums: every tensor at their mean.
        let parameters: u64 = stored.iter().map(|b| b.parameters).fold(0, u64::saturating_add);
        let bytes: u64 = stored.iter().map(|b| b.bytes.0).fold(0, u64::saturating_add);
        let each = bytes as f64 / parameters.max(1) as f64;
        return tensors.iter().map(|t| t.elements() as f64 * each).collect();
    }
    if let Some(bits) = precision.and_then(mean_bits) {
        return tensors.iter().map(|t| t.elements() as f64 * bits / 8.0).collect();
    }
    let whole = precision.and_then(plain).unwrap_or(native);
    let format = precision.and_then(format).unwrap_or(Format::Plain(whole));
    let rest = Format::Plain(whole);
    tensors
        .iter()
        .map(|t| {
            let quantized = t.is_matrix() && t.layer.is_some() && t.role != Role::Router;
            let bytes = if quantized { format } else { rest }.tensor_bytes(t) as f64;
            if sparse && quantized { bytes * crate::compress::two_of_four_share(precision) } else { bytes }
        })
        .collect()
}

/// The storage format of a quantized precision; none for whole numbers and for GGUF mixes.
const fn format(precision: WeightPrecision) -> Option<Format> {
    use WeightPrecision as P;
    Some(match precision {
        P::Fp8 => Format::Fp8Tensor,
        P::Int8 | P::W8a8 => Format::Int8Row { scale_bytes: 2 },
        P::Int4G128 => Format::Int4Group { group: 128, zeros: true, indices: false },
        P::Nf4 => Format::Nf4 { double: false },
        P::Nf4Dq => Format::Nf4 { double: true },
        P::Mxfp4 => Format::Mxfp4,
        P::Nvfp4 => Format::Nvfp4,
        _ => return None,
    })
}

/// Mean bits of the mixes that need an importance matrix, from llama.cpp's table of Llama 3.1 8B
/// (`tools/quantize/README.md`), where their types are not planned tensor by tensor.
const fn mean_bits(precision: WeightPrecision) -> Option<f64> {
    use WeightPrecision as P;
    Some(match precision {
        P::GgufIq4Nl => 4.6818,
        P::GgufIq4Xs => 4.4597,
        P::GgufIq3M => 3.7628,
        P::GgufIq3S => 3.6606,
        P::GgufIq3Xs => 3.4977,
        P::GgufIq3Xxs => 3.2548,
        P::GgufIq2M => 2.9294,
        P::GgufIq2S => 2.7403,
        P::GgufIq2Xs => 2.5882,
        P::GgufIq2Xxs => 2.3824,
        P::GgufIq1M => 2.1460,
        P::GgufIq1S => 2.0042,
        _ => return None,
    })
}

/// Whether a layer has a feed-forward that is divided over expert ranks.
pub(super) fn has_experts(model: &Model) -> bool {
    model.layers.iter().any(|l| matches!(l.feed_forward, FeedForward::Experts(_)))
}
