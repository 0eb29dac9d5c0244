//! How a case's weights are stored and computed.

use candle_core::DType;
use candle_core::quantized::GgmlDType;

use serde::{Deserialize, Serialize};

use super::{Refusal, synthetic};
use crate::model::{Model, ModelSource};

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Precision {
    /// As the GGUF file has them.
    AsStored,
    /// Dense, in this type; activations and cache as well.
    Dense(DType),
    /// Matrices in fp8 (E4M3) with a scale for each row, widened whenever they are used.
    Fp8,
    /// Matrices in blocks of this type, quantised while loading.
    Quantised(GgmlDType),
}

impl Precision {
    /// What `given` means for `model`.
    ///
    /// # Errors
    /// Names what is accepted for that model.
    pub fn parse(given: &str, model: &Model) -> Result<Self, Refusal> {
        let accepted = Self::accepted(&model.source);
        let refuse =
            |why: &str| Err(Refusal(format!("precision {given}: {why}; accepted: {}", accepted.join(", "))));
        if matches!(model.source, ModelSource::Gguf { .. }) {
            return match given {
                "native" => Ok(Self::AsStored),
                _ => refuse("a GGUF file runs as it is stored"),
            };
        }
        match given {
            "native" => Ok(Self::Dense(native(&model.config))),
            "fp32" => Ok(Self::Dense(DType::F32)),
            "bf16" => Ok(Self::Dense(DType::BF16)),
            "fp16" => Ok(Self::Dense(DType::F16)),
            "fp8" => Ok(Self::Fp8),
            _ => match given.strip_prefix("gguf:") {
                Some(kind) => match synthetic::quantised_type(kind) {
                    Some(kind) => Ok(Self::Quantised(kind)),
                    None => refuse("not a type that Candle can quantise to"),
                },
                None => refuse("unknown"),
            },
        }
    }

    /// The precisions that a model of this source can be run in.
    #[must_use]
    pub fn accepted(source: &ModelSource) -> Vec<String> {
        let dense = ["native", "fp32", "bf16", "fp16", "fp8"].map(str::to_owned);
        match source {
            ModelSource::Gguf { .. } => vec!["native".into()],
            ModelSource::Safetensors { .. } | ModelSource::Synthetic { .. } => {
                let quantised = synthetic::quantised_types().map(|(name, _)| format!("gguf:{name}"));
                dense.into_iter().chain(quantised).collect()
            }
        }
    }
}

/// As a request to a case's process spells it.
impl From<Precision> for String {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::AsStored => "as-stored".to_owned(),
            Precision::Dense(dtype) => dtype.as_str().to_owned(),
            Precision::Fp8 => "fp8".to_owned(),
            Precision::Quantised(kind) => format!("gguf:{}", synthetic::type_name(kind)),
        }
    }
}

impl TryFrom<String> for Precision {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        match text.as_str() {
            "as-stored" => return Ok(Self::AsStored),
            "fp8" => return Ok(Self::Fp8),
            _ => {}
        }
        if let Some(kind) = text.strip_prefix("gguf:").and_then(synthetic::quantised_type) {
            return Ok(Self::Quantised(kind));
        }
        text.parse().map(Self::Dense).map_err(|_| Refusal(format!("precision {text}: unknown")))
    }
}

/// The checkpoint's own type, as `config.json` says it (`torch_dtype`, since transformers 4.56 `dtype`); bf16 where it
/// does not.
fn native(config: &serde_json::Value) -> DType {
    let text = config.get("text_config").unwrap_or(config);
    let said = [text, config]
        .iter()
        .find_map(|c| c.get("torch_dtype").or_else(|| c.get("dtype")))
        .and_then(serde_json::Value::as_str);
    match said {
        Some("float32") => DType::F32,
        Some("float16") => DType::F16,
        _ => DType::BF16,
    }
}
