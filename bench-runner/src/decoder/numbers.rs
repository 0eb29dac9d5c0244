//! What a decoder needs beside its shape: numbers of `config.json` or of a GGUF header's metadata.

use candle_core::quantized::gguf_file::{Content, Value as Metadata};
use planner::model::Architecture;
use serde_json::Value;

use crate::engine::{Refusal, move_rope};

/// The feed-forward's gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// x · sigmoid(x).
    Silu,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// GELU by the error function.
    Gelu,
}

/// How rotary frequencies are changed for longer contexts.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scaling {
    /// Not at all.
    None,
    /// Positions divided by a factor (`linear`).
    Linear(f64),
    /// Llama 3.1 (`transformers/modeling_rope_utils.py`, `_compute_llama3_parameters`).
    Llama3 { factor: f64, low: f64, high: f64, original: f64 },
    /// Phi-3 (`_compute_longrope_parameters`): a divisor of each frequency, and a factor on cosines and sines.
    LongRope { short: Vec<f64>, long: Vec<f64>, original: u64, attention: f64 },
    /// A divisor of each frequency, as a GGUF file's `rope_freqs.weight` has it.
    Divisors(Vec<f64>),
}

/// Rotation of one kind of layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rotation {
    pub(super) theta: f64,
    pub(super) scaling: Scaling,
}

/// A decoder's numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Numbers {
    /// Added to the mean square in norms.
    pub(super) epsilon: f64,
    pub(super) activation: Activation,
    /// Of layers that see everything.
    pub(super) rotation: Rotation,
    /// Of layers with a window.
    pub(super) windowed_rotation: Rotation,
    /// What queries are multiplied by; none: 1 / √(head size).
    pub(super) query_scale: Option<f64>,
    /// Cap of the scores.
    pub(super) score_cap: Option<f64>,
    /// Cap of the logits.
    pub(super) logit_cap: Option<f64>,
    /// What embeddings are multiplied by.
    pub(super) embedding_scale: Option<f64>,
    /// Added to the weights of norms: Gemma's checkpoints hold them less one, its GGUF files do not.
    pub(super) norm_offset: f64,
}

/// Families that the decoder computes.
pub(super) const FAMILIES: &str = "llama, mistral, qwen2, qwen3, gemma2, gemma3_text, phi3, mixtral";

/// Whether the decoder computes a family.
pub(super) const fn is_known(family: Architecture) -> bool {
    matches!(
        family,
        Architecture::Llama
            | Architecture::Mistral
            | Architecture::Qwen2
            | Architecture::Qwen3
            | Architecture::Gemma2
            | Architecture::Gemma3
            | Architecture::Phi3
            | Architecture::Mixtral
    )
}

const fn is_gemma(family: Architecture) -> bool {
    matches!(family, Architecture::Gemma2 | Architecture::Gemma3)
}

/// `rms_norm_eps` where a file leaves it out: the default of the family's class in `transformers`.
const fn default_epsilon(family: Architecture) -> f64 {
    match family {
        Architecture::Phi3 | Architecture::Mixtral => 1e-5,
        _ => 1e-6,
    }
}

const fn default_theta(family: Architecture) -> f64 {
    match family {
        Architecture::Gemma3 | Architecture::Mixtral => 1_000_000.0,
        _ => 10_000.0,
    }
}

impl Numbers {
    /// Those of a `config.json`.
    ///
    /// # Errors
    /// A rotary scaling or an activation that the decoder does not compute.
    pub(super) fn of_config(family: Architecture, config: &Value) -> Result<Self, Refusal> {
        let mut fields = config.get("text_config").unwrap_or(config).as_object().cloned().unwrap_or_default();
        // `Gemma2Config` has caps where a file leaves them out; null is none.
        let cap = |name: &str, default: f64| match fields.get(name) {
            None => (family == Architecture::Gemma2).then_some(default),
            Some(given) => given.as_f64(),
        };
        let (score_cap, logit_cap) =
            (cap("attn_logit_softcapping", 50.0), cap("final_logit_softcapping", 30.0));
        fields.retain(|_, v| !v.is_null());
        move_rope(&mut fields);
        check_biases(family, &fields)?;
        let number = |name: &str| fields.get(name).and_then(Value::as_f64);
        let gemma = is_gemma(family);
        let activation = fields.get("hidden_activation").or_else(|| fields.get("hidden_act"));
        let activation = match activation.and_then(Value::as_str) {
            // Gemma's early files say "gelu" where its code takes the tanh approximation.
            _ if gemma => Activation::GeluTanh,
            None | Some("silu") => Activation::Silu,
            Some("gelu_pytorch_tanh" | "gelu_new") => Activation::GeluTanh,
            Some("gelu") => Activation::Gelu,
            Some(other) => {
                return Err(Refusal(format!(
                    "hidden_act {other}: not computed by our decoder; accepted: silu, gelu, gelu_pytorch_tanh"
                )));
            }
        };
        let theta = number("rope_theta").unwrap_or(default_theta(family));
        let whole = number("max_position_embeddings").unwrap_or(0.0);
        let original = number("original_max_position_embeddings");
        let rotation = Rotation { theta, scaling: scaling(fields.get("rope_scaling"), whole, original)? };
        let windowed_rotation = if family == Architecture::Gemma3 {
            let theta = number("rope_local_base_freq").unwrap_or(10_000.0);
            Rotation { theta, scaling: scaling(fields.get("rope_local_scaling"), whole, original)? }
        } else {
            rotation.clone()
        };
        Ok(Self {
            epsilon: number("rms_norm_eps").unwrap_or(default_epsilon(family)),
            activation,
            rotation,
            windowed_rotation,
            query_scale: gemma.then(|| number("query_pre_attn_scalar").unwrap_or(256.0).powf(-0.5)),
            score_cap,
            logit_cap,
            embedding_scale: gemma.then(|| number("hidden_size").unwrap_or(1.0).sqrt()),
            norm_offset: if gemma { 1.0 } else { 0.0 },
        })
    }

    /// Those of a GGUF header, with the divisors that the file holds; `config` is the configuration made of the header.
    ///
    /// # Errors
    /// As [`Numbers::of_config`].
    pub(super) fn of_gguf(
        family: Architecture,
        content: &Content,
        config: &Value,
        divisors: Divisors,
    ) -> Result<Self, Refusal> {
        let mut numbers = Self::of_config(family, config)?;
        let prefix = match content.metadata.get("general.architecture") {
            Some(Metadata::String(name)) => name.as_str(),
            _ => family.model_type(),
        };
        let number = |key: &str| match content.metadata.get(&format!("{prefix}.{key}")) {
            Some(Metadata::F32(x)) => Some(f64::from(*x)),
            Some(Metadata::F64(x)) => Some(*x),
            Some(Metadata::U32(x)) => Some(f64::from(*x)),
            Some(Metadata::I32(x)) => Some(f64::from(*x)),
            #[allow(clippy::cast_precision_loss, reason = "counts of tokens, layers and widths")]
            Some(Metadata::U64(x)) => Some(*x as f64),
            _ => None,
        };
        numbers.epsilon = number("attention.layer_norm_rms_epsilon").unwrap_or(numbers.epsilon);
        numbers.rotation.theta = number("rope.freq_base").unwrap_or(numbers.rotation.theta);
        if family == Architecture::Gemma3 {
            numbers.windowed_rotation.theta = number("rope.freq_base_swa")
                .or_else(|| number("rope.local_freq_base"))
                .unwrap_or(numbers.windowed_rotation.theta);
        } else {
            numbers.windowed_rotation.theta = numbers.rotation.theta;
        }
        let kind = match content.metadata.get(&format!("{prefix}.rope.scaling.type")) {
            Some(Metadata::String(kind)) => kind.as_str(),
            _ => "none",
        };
        let scaling = match (divisors, kind) {
            (Divisors { short: Some(short), long: Some(long), .. }, _) => Scaling::LongRope {
                short,
                long,
                // llama.cpp: `n_ctx_orig_yarn`, and `rope_attn_factor`, 1 where a file leaves it out (`llama-model.cpp`).
                original: tokens(
                    number("rope.scaling.original_context_length")
                        .or_else(|| number("context_length"))
                        .unwrap_or(0.0),
                ),
                attention: number("rope.scaling.attn_factor").unwrap_or(1.0),
            },
            (Divisors { short: Some(_), .. } | Divisors { long: Some(_), .. }, _) | (_, "longrope") => {
                return Err(Refusal(
                    "rope_factors_short.weight and rope_factors_long.weight: the file does not hold both; convert the model \
                     again"
                        .into(),
                ));
            }
            (Divisors { all: Some(divisors), .. }, _) => Scaling::Divisors(divisors),
            (_, "none") => Scaling::None,
            (_, "linear") => Scaling::Linear(number("rope.scaling.factor").unwrap_or(1.0)),
            (_, other) => return Err(unknown_scaling(other)),
        };
        if family != Architecture::Gemma3 {
            numbers.windowed_rotation.scaling = scaling.clone();
        }
        numbers.rotation.scaling = scaling;
        if is_gemma(family) {
            // Gemma's larger sizes scale queries by the width of a head of the whole residual stream, which the header
            // does not say (llama.cpp `src/llama-model.cpp`, f_attention_scale).
            let heads = number("attention.head_count").unwrap_or(1.0);
            let hidden = number("embedding_length").unwrap_or(1.0);
            let key = number("attention.key_length").unwrap_or(256.0);
            let layers = number("block_count").unwrap_or(0.0);
            let by_width = match family {
                Architecture::Gemma2 => (layers - 46.0).abs() < 0.5,
                _ => (layers - 62.0).abs() < 0.5,
            };
            numbers.query_scale = Some(if by_width { hidden / heads } else { key }.powf(-0.5));
            numbers.norm_offset = 0.0;
        }
        Ok(numbers)
    }
}

/// Divisors of the rotary frequencies in a GGUF file.
#[derive(Debug, Default)]
pub(super) struct Divisors {
    /// `rope_freqs.weight`: for every context (Llama 3.1).
    pub(super) all: Option<Vec<f64>>,
    /// `rope_factors_short.weight`: for contexts of at most the original length (Phi-3).
    pub(super) short: Option<Vec<f64>>,
    /// `rope_factors_long.weight`: for longer ones.
    pub(super) long: Option<Vec<f64>>,
}

/// Biases that a configuration asks for and the family's class in `transformers` does not have would be left out unseen.
fn check_biases(family: Architecture, fields: &serde_json::Map<String, Value>) -> Result<(), Refusal> {
    let asked = |name: &str| fields.get(name).and_then(Value::as_bool).unwrap_or(false);
    let lacks_attention =
        matches!(family, Architecture::Mistral | Architecture::Mixtral | Architecture::Phi3);
    for (name, lacks) in [("attention_bias", lacks_attention), ("mlp_bias", family != Architecture::Llama)] {
        if lacks && asked(name) {
            return Err(Refusal(format!(
                "{name} true: {} has no such biases; accepted: false, or the family that the checkpoint is of",
                family.model_type()
            )));
        }
    }
    Ok(())
}

/// A number of tokens of a configuration; 0 where it is none.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn tokens(n: f64) -> u64 {
    n as u64
}

fn unknown_scaling(kind: &str) -> Refusal {
    Refusal(format!(
        "rotary scaling of kind {kind}: not computed by our decoder; accepted: default, linear, llama3, longrope"
    ))
}

fn scaling(given: Option<&Value>, whole: f64, original: Option<f64>) -> Result<Scaling, Refusal> {
    let Some(given) = given else { return Ok(Scaling::None) };
    let kind = given.get("rope_type").or_else(|| given.get("type")).and_then(Value::as_str);
    let number = |name: &str| given.get(name).and_then(Value::as_f64);
    let needed = |name: &str| {
        number(name)
            .ok_or_else(|| Refusal(format!("rope_scaling.{name}: missing; the model's own file has it")))
    };
    match kind {
        None | Some("default") => Ok(Scaling::None),
        Some("linear") => Ok(Scaling::Linear(needed("factor")?)),
        Some("llama3") => Ok(Scaling::Llama3 {
            factor: needed("factor")?,
            low: needed("low_freq_factor")?,
            high: needed("high_freq_factor")?,
            original: needed("original_max_position_embeddings")?,
        }),
        Some("longrope" | "su") => {
            let list = |name: &str| -> Result<Vec<f64>, Refusal> {
                let values = given.get(name).and_then(Value::as_array);
                values.map(|v| v.iter().filter_map(Value::as_f64).collect()).ok_or_else(|| {
                    Refusal(format!("rope_scaling.{name}: missing; the model's own file has it"))
                })
            };
            let original = number("original_max_position_embeddings").or(original).filter(|n| *n > 1.0);
            // Where the file tells the context that the model was first made for, the ratio counts and not `factor`.
            let factor = match original {
                Some(original) => whole / original,
                None => number("factor").unwrap_or(1.0),
            };
            let original = original.unwrap_or(whole);
            let computed = if factor > 1.0 { (1.0 + factor.ln() / original.ln()).sqrt() } else { 1.0 };
            Ok(Scaling::LongRope {
                short: list("short_factor")?,
                long: list("long_factor")?,
                original: tokens(original),
                attention: number("attention_factor").unwrap_or(computed),
            })
        }
        Some(other) => Err(unknown_scaling(other)),
    }
}

impl Numbers {
    /// Whether lists of divisors are as long as a head of `rotated` rotated elements has pairs.
    ///
    /// # Errors
    /// Names the list that is not.
    pub(super) fn check(&self, rotated: usize) -> Result<(), Refusal> {
        let pairs = rotated / 2;
        let of = |scaling: &Scaling| match scaling {
            Scaling::LongRope { short, long, .. } => {
                vec![("rope_scaling.short_factor", short.len()), ("rope_scaling.long_factor", long.len())]
            }
            Scaling::Divisors(all) => vec![("rope_freqs.weight", all.len())],
            Scaling::None | Scaling::Linear(_) | Scaling::Llama3 { .. } => Vec::new(),
        };
        for rotation in [&self.rotation, &self.windowed_rotation] {
            if let Some((name, count)) = of(&rotation.scaling).into_iter().find(|(_, n)| *n != pairs) {
                return Err(Refusal(format!(
                    "{name}: {count} numbers for the {pairs} pairs of a head's {rotated} rotated elements; give one for each"
                )));
            }
        }
        Ok(())
    }
}

impl Rotation {
    /// The angle that each pair of elements turns by per position, for `size` rotated elements of sequences of up to
    /// `tokens`, and what cosines and sines are multiplied by.
    pub(super) fn frequencies(&self, size: usize, tokens: usize) -> (Vec<f64>, f64) {
        #[allow(clippy::cast_precision_loss, reason = "sizes of heads")]
        let plain = (0..size / 2).map(|i| self.theta.powf(-2.0 * i as f64 / size as f64));
        let divided = |by: &[f64], plain: &mut dyn Iterator<Item = f64>| -> Vec<f64> {
            plain.zip(by).map(|(f, d)| f / d).collect()
        };
        let mut plain = plain;
        match &self.scaling {
            Scaling::None => (plain.collect(), 1.0),
            Scaling::Linear(factor) => (plain.map(|f| f / factor).collect(), 1.0),
            Scaling::Divisors(by) => (divided(by, &mut plain), 1.0),
            Scaling::LongRope { short, long, original, attention } => {
                let by = if tokens as u64 > *original { long } else { short };
                (divided(by, &mut plain), *attention)
            }
            Scaling::Llama3 { factor, low, high, original } => {
                let scaled = plain.map(|f| {
                    let wavelength = 2.0 * std::f64::consts::PI / f;
                    if wavelength < original / high {
                        f
                    } else if wavelength > original / low {
                        f / factor
                    } else {
                        let smooth = (original / wavelength - low) / (high - low);
                        (1.0 - smooth) * f / factor + smooth * f
                    }
                });
                (scaled.collect(), 1.0)
            }
        }
    }
}

#[cfg(test)]
mod tests;
