//! A model from a Hugging Face `config.json`.

use serde_json::{Map, Value};

use super::{
    Architecture, Attention, DenseFeedForward, Dtype, Embeddings, FeedForward, Head, Layer, LayerNorm, Mixer,
    Model, ModelError, Norm, NormPlace, QkNorm,
};
use crate::bytes::Tokens;

/// Ranges that keep every product below 2^63 and every list small; the largest published models are far inside.
const MAX_LAYERS: u64 = 1024;
const MAX_HIDDEN: u64 = 1 << 20;
const MAX_INTERMEDIATE: u64 = 1 << 24;
const MAX_VOCAB: u64 = 1 << 24;
const MAX_HEADS: u64 = 1 << 16;
const MAX_HEAD_SIZE: u64 = 1 << 14;
const MAX_ATTENTION_WIDTH: u64 = 1 << 22;
const MAX_TOKENS: u64 = 1 << 30;

impl Model {
    /// The model that a Hugging Face `config.json` describes. Fields that are left out take the defaults of the family's
    /// class in `transformers`; the fields that decide the size have none and are required.
    ///
    /// # Errors
    /// Names the field, what it says and what is accepted; for an unknown family it lists the known ones.
    pub fn from_config(name: &str, config: &Value) -> Result<Self, ModelError> {
        let Value::Object(map) = config else {
            return Err(ModelError::NotAnObject { found: kind_of(config) });
        };
        let fields = Fields(map);
        let architecture = fields.architecture()?;
        if architecture.is_encoder() {
            encoder(name, architecture, &fields)
        } else {
            decoder(name, architecture, &fields)
        }
    }
}

fn decoder(name: &str, architecture: Architecture, fields: &Fields<'_>) -> Result<Model, ModelError> {
    use Architecture::{Gemma2, Gemma3, Llama, Mistral, Phi3, Qwen2, Qwen3};
    let gemma = matches!(architecture, Gemma2 | Gemma3);
    let hidden = fields.required("hidden_size", 1, MAX_HIDDEN)?;
    let count = fields.required("num_hidden_layers", 1, MAX_LAYERS)?;
    let vocab = fields.required("vocab_size", 1, MAX_VOCAB)?;
    let intermediate = fields.required("intermediate_size", 1, MAX_INTERMEDIATE)?;
    let heads = fields.required("num_attention_heads", 1, MAX_HEADS)?;
    let kv_heads = match architecture {
        // Their classes take the number of query heads where it is left out; the others' defaults belong to one model.
        Llama | Phi3 => fields.optional("num_key_value_heads", 1, heads)?.unwrap_or(heads),
        _ => fields.required("num_key_value_heads", 1, heads)?,
    };
    if heads % kv_heads != 0 {
        return Err(ModelError::Invalid {
            field: "num_key_value_heads",
            problem: format!("{kv_heads} does not divide num_attention_heads {heads}; give a divisor of it"),
        });
    }
    let head_size = match fields.optional("head_dim", 1, MAX_HEAD_SIZE)? {
        Some(size) => size,
        None if architecture == Qwen3 => 128,
        None if gemma => 256,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            return Err(ModelError::Invalid {
                field: "num_attention_heads",
                problem: format!(
                    "{heads} does not divide hidden_size {hidden}; correct one of them, or give head_dim"
                ),
            });
        }
    };
    check_width(heads, head_size)?;
    let rotary_size = fields.rotary_size(head_size)?;
    let max_tokens = Tokens(fields.required("max_position_embeddings", 1, MAX_TOKENS)?);
    let attention_bias = fields.flag("attention_bias", false)?;
    let template = Attention {
        heads,
        kv_heads,
        head_size,
        rotary_size,
        window: None,
        causal: true,
        qkv_bias: match architecture {
            Qwen2 => true,
            Llama | Qwen3 | Gemma2 | Gemma3 => attention_bias,
            _ => false,
        },
        output_bias: matches!(architecture, Llama | Qwen3 | Gemma2 | Gemma3) && attention_bias,
        qk_norm: if matches!(architecture, Qwen3 | Gemma3) { QkNorm::Head } else { QkNorm::None },
        fused_qkv: architecture == Phi3,
        softcap: architecture == Gemma2 && fields.number_or_null("attn_logit_softcapping", true)?,
        output_gate: false,
        sinks: false,
        cross: false,
    };
    let feed_forward = DenseFeedForward {
        intermediate,
        gated: true,
        fused_gate_up: architecture == Phi3,
        bias: architecture == Llama && fields.flag("mlp_bias", false)?,
    };
    let places: &[NormPlace] = if gemma {
        &[
            NormPlace::BeforeAttention,
            NormPlace::AfterAttention,
            NormPlace::BeforeFeedForward,
            NormPlace::AfterFeedForward,
        ]
    } else {
        &[NormPlace::BeforeAttention, NormPlace::BeforeFeedForward]
    };
    let norms: Vec<LayerNorm> = places.iter().map(|&place| LayerNorm { place, norm: Norm::Rms }).collect();
    let windows = fields.windows(architecture, count)?;
    let layers = windows
        .into_iter()
        .map(|window| Layer {
            mixer: Mixer::Attention(Attention { window, ..template.clone() }),
            feed_forward: FeedForward::Dense(feed_forward.clone()),
            norms: norms.clone(),
        })
        .collect();
    debug_assert!(matches!(architecture, Llama | Mistral | Qwen2 | Qwen3 | Gemma2 | Gemma3 | Phi3));
    Ok(Model {
        name: name.to_owned(),
        architecture,
        hidden,
        vocab,
        max_tokens,
        layers,
        tied_embeddings: fields.flag("tie_word_embeddings", gemma)?,
        embeddings: Embeddings::default(),
        final_norm: Some(Norm::Rms),
        head: Head::LanguageModel {
            softcap: architecture == Gemma2 && fields.number_or_null("final_logit_softcapping", true)?,
        },
        towers: Vec::new(),
        next_token_layers: Vec::new(),
        native: fields.dtype()?,
        stored: None,
    })
}

fn encoder(name: &str, architecture: Architecture, fields: &Fields<'_>) -> Result<Model, ModelError> {
    let distil = architecture == Architecture::DistilBert;
    let names: [&'static str; 4] = if distil {
        ["dim", "n_layers", "n_heads", "hidden_dim"]
    } else {
        ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"]
    };
    let hidden = fields.required(names[0], 1, MAX_HIDDEN)?;
    let count = fields.required(names[1], 1, MAX_LAYERS)?;
    let heads = fields.required(names[2], 1, MAX_HEADS)?;
    let intermediate = fields.required(names[3], 1, MAX_INTERMEDIATE)?;
    let vocab = fields.required("vocab_size", 1, MAX_VOCAB)?;
    let positions = fields.required("max_position_embeddings", 1, MAX_TOKENS)?;
    if hidden % heads != 0 {
        return Err(ModelError::Invalid {
            field: names[2],
            problem: format!("{heads} does not divide {} {hidden}; correct one of them", names[0]),
        });
    }
    let head_size = hidden / heads;
    check_width(heads, head_size)?;
    let attention = Attention {
        heads,
        kv_heads: heads,
        head_size,
        rotary_size: 0,
        window: None,
        causal: false,
        qkv_bias: true,
        output_bias: true,
        qk_norm: QkNorm::None,
        fused_qkv: false,
        softcap: false,
        output_gate: false,
        sinks: false,
        cross: false,
    };
    let feed_forward =
        FeedForward::Dense(DenseFeedForward { intermediate, gated: false, fused_gate_up: false, bias: true });
    let norms = [NormPlace::AfterAttention, NormPlace::AfterFeedForward]
        .map(|place| LayerNorm { place, norm: Norm::Layer })
        .to_vec();
    let layer = Layer { mixer: Mixer::Attention(attention), feed_forward, norms };
    // RoBERTa numbers positions from padding_idx + 1 = 2, so its table has two rows that no token uses.
    let unused = if architecture == Architecture::Roberta { 2 } else { 0 };
    if positions <= unused {
        return Err(ModelError::OutOfRange {
            field: "max_position_embeddings",
            given: positions.to_string(),
            min: unused + 1,
            max: MAX_TOKENS,
        });
    }
    Ok(Model {
        name: name.to_owned(),
        architecture,
        hidden,
        vocab,
        max_tokens: Tokens(positions - unused),
        layers: (0..count).map(|_| layer.clone()).collect(),
        tied_embeddings: true,
        embeddings: Embeddings {
            positions,
            token_types: if distil {
                0
            } else {
                fields.optional("type_vocab_size", 1, MAX_VOCAB)?.unwrap_or(2)
            },
            norm: Some(Norm::Layer),
        },
        final_norm: None,
        head: if distil { Head::None } else { Head::Pooler },
        towers: Vec::new(),
        next_token_layers: Vec::new(),
        native: fields.dtype()?,
        stored: None,
    })
}

fn check_width(heads: u64, head_size: u64) -> Result<(), ModelError> {
    let width = heads.saturating_mul(head_size);
    if width > MAX_ATTENTION_WIDTH {
        return Err(ModelError::Invalid {
            field: "num_attention_heads",
            problem: format!(
                "{heads} heads of {head_size} elements are {width}; at most {MAX_ATTENTION_WIDTH} together"
            ),
        });
    }
    Ok(())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A value as JSON, cut so that an error stays a line.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 60 { text.chars().take(57).chain("...".chars()).collect() } else { text }
}

fn known() -> String {
    Architecture::ALL.iter().map(|a| a.model_type()).collect::<Vec<_>>().join(", ")
}

/// The fields of a configuration, read with their ranges.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    /// A field that is there and not null.
    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|v| !v.is_null())
    }

    fn optional(&self, field: &'static str, min: u64, max: u64) -> Result<Option<u64>, ModelError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.as_u64() {
            Some(n) if (min..=max).contains(&n) => Ok(Some(n)),
            _ => Err(ModelError::OutOfRange { field, given: shown(value), min, max }),
        }
    }

    fn required(&self, field: &'static str, min: u64, max: u64) -> Result<u64, ModelError> {
        self.optional(field, min, max)?.ok_or(ModelError::Missing { field, min, max })
    }

    fn flag(&self, field: &'static str, default: bool) -> Result<bool, ModelError> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Bool(b)) => Ok(*b),
            Some(other) => {
                Err(ModelError::Invalid { field, problem: format!("{} is not true or false", shown(other)) })
            }
        }
    }

    /// Whether a number is given; null says no, and a field that is left out says `default`.
    fn number_or_null(&self, field: &'static str, default: bool) -> Result<bool, ModelError> {
        match self.0.get(field) {
            None => Ok(default),
            Some(Value::Null) => Ok(false),
            Some(Value::Number(_)) => Ok(true),
            Some(other) => Err(ModelError::Invalid {
                field,
                problem: format!("{} is not a number or null", shown(other)),
            }),
        }
    }

    fn architecture(&self) -> Result<Architecture, ModelError> {
        if let Some(value) = self.get("model_type") {
            let given = value.as_str().map_or_else(|| shown(value), str::to_owned);
            return Architecture::from_model_type(&given).ok_or(ModelError::UnknownArchitecture {
                field: "model_type",
                given,
                known: known(),
            });
        }
        match self.get("architectures") {
            Some(Value::Array(classes)) if !classes.is_empty() => {
                classes.iter().filter_map(Value::as_str).find_map(Architecture::from_class).ok_or_else(|| {
                    ModelError::UnknownArchitecture {
                        field: "architectures",
                        given: classes.first().map(shown).unwrap_or_default(),
                        known: known(),
                    }
                })
            }
            _ => Err(ModelError::NoArchitecture { known: known() }),
        }
    }

    /// Elements of a head that are rotated: `partial_rotary_factor` of it.
    fn rotary_size(&self, head_size: u64) -> Result<u64, ModelError> {
        let field = "partial_rotary_factor";
        let Some(value) = self.get(field) else { return Ok(head_size) };
        match value.as_f64() {
            // `head_size` is at most 2^14, so the product is exact enough to be truncated as transformers does.
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 0 and head_size, truncated like the original"
            )]
            Some(share) if share > 0.0 && share <= 1.0 => Ok((head_size as f64 * share) as u64),
            _ => Err(ModelError::Invalid {
                field,
                problem: format!("{} is out of range; give a number above 0, at most 1", shown(value)),
            }),
        }
    }

    fn dtype(&self) -> Result<Option<Dtype>, ModelError> {
        // transformers 5 writes `dtype`, older ones `torch_dtype`.
        for field in ["dtype", "torch_dtype"] {
            let Some(value) = self.get(field) else { continue };
            return match value.as_str().map(|s| s.trim_start_matches("torch.")) {
                Some("float32" | "float") => Ok(Some(Dtype::F32)),
                Some("bfloat16") => Ok(Some(Dtype::Bf16)),
                Some("float16" | "half") => Ok(Some(Dtype::F16)),
                _ => Err(ModelError::Invalid {
                    field,
                    problem: format!("{} is unknown; accepted: float32, bfloat16, float16", shown(value)),
                }),
            };
        }
        Ok(None)
    }

    /// The window of every layer: `layer_types` where it is given, else the family's own pattern.
    fn windows(&self, architecture: Architecture, count: u64) -> Result<Vec<Option<Tokens>>, ModelError> {
        let has_windows = match architecture {
            // Their configurations carry the field but use it only where a switch says so.
            Architecture::Qwen2 | Architecture::Qwen3 => self.flag("use_sliding_window", false)?,
            // Llama never reads it.
            Architecture::Llama => false,
            _ => true,
        };
        let window =
            if has_windows { self.optional("sliding_window", 1, MAX_TOKENS)?.map(Tokens) } else { None };
        if let Some(types) = self.get("layer_types") {
            return Self::typed_windows(types, window, count);
        }
        let sliding: Box<dyn Fn(u64) -> bool> = match architecture {
            // modeling_gemma2: every layer with an even index is windowed.
            Architecture::Gemma2 => Box::new(|i| i.is_multiple_of(2)),
            // modeling_gemma3: every sixth layer is full, or as sliding_window_pattern says.
            Architecture::Gemma3 => {
                let pattern = self.optional("sliding_window_pattern", 1, MAX_LAYERS)?.unwrap_or(6);
                Box::new(move |i| !(i + 1).is_multiple_of(pattern))
            }
            // modeling_qwen2: the first max_window_layers are full.
            Architecture::Qwen2 | Architecture::Qwen3 => {
                let full = self.optional("max_window_layers", 0, MAX_LAYERS)?.unwrap_or(28);
                Box::new(move |i| i >= full)
            }
            _ => Box::new(|_| true),
        };
        if matches!(architecture, Architecture::Gemma2 | Architecture::Gemma3) && window.is_none() {
            return Err(ModelError::Missing { field: "sliding_window", min: 1, max: MAX_TOKENS });
        }
        Ok((0..count).map(|i| window.filter(|_| sliding(i))).collect())
    }

    fn typed_windows(
        types: &Value,
        window: Option<Tokens>,
        count: u64,
    ) -> Result<Vec<Option<Tokens>>, ModelError> {
        let field = "layer_types";
        let invalid = |problem: String| ModelError::Invalid { field, problem };
        let Value::Array(types) = types else {
            return Err(invalid(format!("{} is not a list of layer types", shown(types))));
        };
        if types.len() as u64 != count {
            return Err(invalid(format!(
                "{} entries for num_hidden_layers {count}; give one for each",
                types.len()
            )));
        }
        types
            .iter()
            .map(|kind| match kind.as_str() {
                Some("full_attention") => Ok(None),
                Some("sliding_attention") => match window {
                    Some(w) => Ok(Some(w)),
                    None => Err(ModelError::Missing { field: "sliding_window", min: 1, max: MAX_TOKENS }),
                },
                _ => Err(invalid(format!(
                    "{} is unknown; accepted: full_attention, sliding_attention",
                    shown(kind)
                ))),
            })
            .collect()
    }
}
