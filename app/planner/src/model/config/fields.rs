//! The fields of a configuration, read with their ranges.

use serde_json::{Map, Value};

use super::super::{Architecture, Dtype, ModelError};

/// Ranges that keep every product below 2^63 and every list small; the largest published models are far inside.
pub(super) const MAX_LAYERS: u64 = 1024;
pub(super) const MAX_HIDDEN: u64 = 1 << 20;
pub(super) const MAX_INTERMEDIATE: u64 = 1 << 24;
pub(super) const MAX_VOCAB: u64 = 1 << 24;
pub(super) const MAX_HEADS: u64 = 1 << 16;
pub(super) const MAX_HEAD_SIZE: u64 = 1 << 14;
pub(super) const MAX_TOKENS: u64 = 1 << 30;
/// Routed experts of a layer.
pub(super) const MAX_EXPERTS: u64 = 1 << 14;
/// Ranks, states and taps of latent and recurrent mixers.
pub(super) const MAX_RANK: u64 = 1 << 16;
const MAX_ATTENTION_WIDTH: u64 = 1 << 22;

pub(super) fn check_width(heads: u64, head_size: u64) -> Result<(), ModelError> {
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

pub(super) fn kind_of(value: &Value) -> &'static str {
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
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 60 { text.chars().take(57).chain("...".chars()).collect() } else { text }
}

pub(super) fn known() -> String {
    Architecture::ALL.iter().map(|a| a.model_type()).collect::<Vec<_>>().join(", ")
}

/// The fields of a configuration, read with their ranges.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// The configuration around it, where it is the `text_config` of a model that also sees.
    outer: Option<&'a Map<String, Value>>,
}

impl<'a> Fields<'a> {
    pub(super) const fn new(map: &'a Map<String, Value>) -> Self {
        Self { map, outer: None }
    }

    /// The fields of an object within, or of the whole where it is not there.
    pub(super) fn within(&self, field: &'static str) -> Result<Self, ModelError> {
        match self.map.get(field).filter(|v| !v.is_null()) {
            None => Ok(Self { map: self.map, outer: self.outer }),
            Some(Value::Object(inner)) => Ok(Self { map: inner, outer: Some(self.map) }),
            Some(other) => Err(ModelError::Invalid {
                field,
                problem: format!("{} is not an object; give it as config.json does", shown(other)),
            }),
        }
    }

    /// The fields of an object within; none where it is not there.
    pub(super) fn object(&self, field: &'static str) -> Option<Self> {
        match self.map.get(field) {
            Some(Value::Object(inner)) => Some(Self { map: inner, outer: None }),
            _ => None,
        }
    }

    /// A field as text.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.get(field).and_then(Value::as_str)
    }

    /// Number of entries of a list.
    pub(super) fn list(&self, field: &str) -> Option<&Vec<Value>> {
        self.get(field).and_then(Value::as_array)
    }

    /// The first of some names that is there.
    pub(super) fn first(&self, names: &[&'static str], min: u64, max: u64) -> Result<u64, ModelError> {
        for name in names {
            if let Some(n) = self.optional(name, min, max)? {
                return Ok(n);
            }
        }
        Err(ModelError::Missing { field: names.first().copied().unwrap_or_default(), min, max })
    }

    /// A flag of the model as a whole: here, else around.
    pub(super) fn outer_flag(&self, field: &'static str, default: bool) -> Result<bool, ModelError> {
        match (self.get(field), self.outer) {
            (None, Some(outer)) => Fields::new(outer).flag(field, default),
            _ => self.flag(field, default),
        }
    }

    /// Classes that `architectures` names, here or around.
    pub(super) fn classes(&self) -> impl Iterator<Item = &str> {
        let list = |map: &'a Map<String, Value>| map.get("architectures").and_then(Value::as_array);
        self.outer.and_then(list).or_else(|| list(self.map)).into_iter().flatten().filter_map(Value::as_str)
    }

    /// A field that is there and not null.
    pub(super) fn get(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|v| !v.is_null())
    }

    pub(super) fn optional(
        &self,
        field: &'static str,
        min: u64,
        max: u64,
    ) -> Result<Option<u64>, ModelError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.as_u64() {
            Some(n) if (min..=max).contains(&n) => Ok(Some(n)),
            _ => Err(ModelError::OutOfRange { field, given: shown(value), min, max }),
        }
    }

    pub(super) fn required(&self, field: &'static str, min: u64, max: u64) -> Result<u64, ModelError> {
        self.optional(field, min, max)?.ok_or(ModelError::Missing { field, min, max })
    }

    pub(super) fn flag(&self, field: &'static str, default: bool) -> Result<bool, ModelError> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Bool(b)) => Ok(*b),
            Some(other) => {
                Err(ModelError::Invalid { field, problem: format!("{} is not true or false", shown(other)) })
            }
        }
    }

    /// Whether a number is given; null says no, and a field that is left out says `default`.
    pub(super) fn number_or_null(&self, field: &'static str, default: bool) -> Result<bool, ModelError> {
        match self.map.get(field) {
            None => Ok(default),
            Some(Value::Null) => Ok(false),
            Some(Value::Number(_)) => Ok(true),
            Some(other) => Err(ModelError::Invalid {
                field,
                problem: format!("{} is not a number or null", shown(other)),
            }),
        }
    }

    pub(super) fn architecture(&self) -> Result<Architecture, ModelError> {
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

    /// Elements of a head that are rotated: a share of it, under the name that the family or its age gives it.
    pub(super) fn rotary_size(&self, head_size: u64, default: u64) -> Result<u64, ModelError> {
        if let Some(rotated) = self.optional("rotary_dim", 1, head_size)? {
            return Ok(rotated);
        }
        let nested = self.object("rope_parameters");
        let nested = nested.as_ref().and_then(|n| n.get("partial_rotary_factor"));
        for field in ["partial_rotary_factor", "rotary_pct", "rotary_emb_fraction"] {
            let Some(value) = self.get(field).or(nested) else { continue };
            return match value.as_f64() {
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
            };
        }
        Ok(default)
    }

    pub(super) fn dtype(&self) -> Result<Option<Dtype>, ModelError> {
        // transformers 5 writes `dtype`, older ones `torch_dtype`.
        for field in ["dtype", "torch_dtype"] {
            let around = self.outer.and_then(|o| o.get(field)).filter(|v| !v.is_null());
            let Some(value) = self.get(field).or(around) else { continue };
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
}
