//! How a case's weights are stored and computed.

use candle_core::DType;
use candle_core::quantized::GgmlDType;
use planner::model::Architecture;
use serde::{Deserialize, Serialize};

use super::{Refusal, synthetic};
use crate::model::{Model, ModelSource};

/// Single precision whose products a GPU's tensor cores compute with 10 bits of mantissa.
pub(super) const TF32: &str = "tf32";

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
        let accepted = Self::accepted(model);
        let refuse =
            |why: &str| Err(Refusal(format!("precision {given}: {why}; accepted: {}", accepted.join(", "))));
        match given {
            "native" if matches!(model.source, ModelSource::Gguf { .. }) => Ok(Self::AsStored),
            "native" => match native(model) {
                DType::F32 => Ok(Self::Dense(DType::F32)),
                _ if knows_fp32_alone(model) => refuse(&format!("the checkpoint is in 16 bit, {NAN}")),
                dtype => Ok(Self::Dense(dtype)),
            },
            // Stored so; what products are computed in is the device's (`super::Prepared`).
            "fp32" | TF32 => Ok(Self::Dense(DType::F32)),
            "bf16" | "fp16" if knows_fp32_alone(model) => refuse(NAN),
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

    /// The precisions that a model can be run in.
    #[must_use]
    pub fn accepted(model: &Model) -> Vec<String> {
        // No build without CUDA has a device for it.
        let tf32 = cfg!(feature = "cuda").then(|| TF32.to_owned());
        let dense = ["native", "fp32", "bf16", "fp16", "fp8"].map(str::to_owned).into_iter().chain(tf32);
        match model.source {
            _ if knows_fp32_alone(model) => {
                let native = (native(model) == DType::F32).then(|| "native".to_owned());
                native.into_iter().chain(["fp32".to_owned()]).collect()
            }
            _ => {
                let quantised = synthetic::quantised_types().map(|(name, _)| format!("gguf:{name}"));
                dense.chain(quantised).collect()
            }
        }
    }
}

/// `bert.rs` of candle-transformers 0.11.1, `get_extended_attention_mask`: a visible token's `(1 − 1) · f32::MIN`, where
/// `f32::MIN` is minus infinity in 16 bit. A test beside the encoder holds candle to it.
const NAN: &str =
    "candle's BERT answers nothing but NaN in 16 bit, where its mask multiplies 0 by minus infinity";

/// Whether candle computes the model in fp32 alone.
fn knows_fp32_alone(model: &Model) -> bool {
    model.shape.architecture == Architecture::Bert
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

/// The checkpoint's own type, as `config.json` says it (`torch_dtype`, since transformers 4.56 `dtype`); where it does not,
/// fp32 for an encoder, as those were saved before it did, and bf16 for the rest.
fn native(model: &Model) -> DType {
    let config = &model.config;
    let text = config.get("text_config").unwrap_or(config);
    let said = [text, config]
        .iter()
        .find_map(|c| c.get("torch_dtype").or_else(|| c.get("dtype")))
        .and_then(serde_json::Value::as_str);
    match said {
        Some("float32") => DType::F32,
        Some("float16") => DType::F16,
        None if model.shape.architecture.is_encoder() => DType::F32,
        _ => DType::BF16,
    }
}
