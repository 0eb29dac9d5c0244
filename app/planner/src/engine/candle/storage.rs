//! How Candle holds the weights that a plan asks, and what it computes in.

use crate::bytes::Bytes;
use crate::document::estimate::Warning;
use crate::document::plan::{Plan, StoredBlock};
use crate::document::precision::{ActivationPrecision, CachePrecision, WeightPrecision};
use crate::engine::{Device, WeightStorage};
use crate::error::PlanError;
use crate::ggml::GgmlType;
use crate::model::{Dtype, Model};
use crate::recipe::{self, Recipe};

/// What Candle 0.11.1 accepts; its `GgmlDType` has no `iq…` types.
const ACCEPTED: &str =
    "fp32, bf16, fp16, fp8 (Plimsoll's decoder alone), or a GGUF precision from gguf:q2_k to gguf:f32";

/// Weights as they are held, and the number format of activations and cache.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) weights: WeightStorage,
    pub(super) compute: Dtype,
}

pub(super) fn storage(
    plan: &Plan,
    model: &Model,
    device: Device,
    warnings: &mut Vec<Warning>,
) -> Result<Storage, PlanError> {
    let weights = weights(plan.precision.weights, model, device)?;
    let compute = match weights {
        WeightStorage::Dense(dtype) => dtype,
        // candle-transformers' quantized models dequantise into f32 and stay there.
        WeightStorage::Gguf { .. } | WeightStorage::Fp8 => Dtype::F32,
    };
    check_compute(plan, &weights, compute, warnings)?;
    Ok(Storage { weights, compute })
}

/// The same for Plimsoll's decoder, which holds fp8 as well and whose cache is of a type of its own.
pub(super) fn storage_of_decoder(
    plan: &Plan,
    model: &Model,
    device: Device,
    warnings: &mut Vec<Warning>,
) -> Result<Storage, PlanError> {
    let weights = if plan.precision.weights == Some(WeightPrecision::Fp8) {
        WeightStorage::Fp8
    } else {
        weights(plan.precision.weights, model, device)?
    };
    let compute = super::plimsoll::compute(&weights, device);
    let asked = plan.precision.activations;
    let same = asked.is_none_or(|a| activation_dtype(a) == Some(compute));
    if let (Some(given), false) = (asked, same) {
        if matches!(weights, WeightStorage::Dense(_)) {
            return Err(PlanError::unsupported(
                "precision.activations",
                format!(
                    "{given}: Plimsoll's decoder computes in the weights' precision, here {}",
                    compute.as_str()
                ),
                format!("give {}, or leave it out", compute.as_str()),
            ));
        }
        warnings.push(Warning::new(
            format!("activations-{}", compute.as_str()),
            format!(
                "precision.activations {given}: Plimsoll's decoder computes in {} with these weights, planned so.",
                compute.as_str()
            ),
        ));
    }
    Ok(Storage { weights, compute })
}

/// How weights of a precision are held; none: as the model says.
///
/// # Errors
/// What Candle reads not.
pub(super) fn weights(
    precision: Option<WeightPrecision>,
    model: &Model,
    device: Device,
) -> Result<WeightStorage, PlanError> {
    let field = "precision.weights";
    let Some(precision) = precision else {
        return match (&model.stored, model.native) {
            (Some(blocks), _) => as_stored(model, blocks),
            (None, Some(dtype)) => Ok(WeightStorage::Dense(dtype)),
            (None, None) => Err(PlanError::invalid(
                field,
                "left out, and the configuration does not say what the checkpoint is stored in (torch_dtype)",
                format!("give {ACCEPTED}"),
            )),
        };
    };
    match precision {
        WeightPrecision::Tf32 if device == Device::Cpu => Err(PlanError::unsupported(
            field,
            "tf32: a format of NVIDIA's tensor cores, which a processor does not have",
            "give fp32, or a GPU",
        )),
        // Stored in single precision; only products are computed in fewer bits.
        WeightPrecision::Fp32 | WeightPrecision::Tf32 => Ok(WeightStorage::Dense(Dtype::F32)),
        WeightPrecision::Bf16 => Ok(WeightStorage::Dense(Dtype::Bf16)),
        WeightPrecision::Fp16 => Ok(WeightStorage::Dense(Dtype::F16)),
        other => match recipe::recipe(model, other) {
            Some(Recipe { types, bytes }) => Ok(WeightStorage::Gguf { types, total_bytes: bytes }),
            None => Err(PlanError::unsupported(
                field,
                format!("Candle holds no weights in {other}"),
                format!("give {ACCEPTED}"),
            )),
        },
    }
}

/// The weights as a file's header described them.
fn as_stored(model: &Model, blocks: &[StoredBlock]) -> Result<WeightStorage, PlanError> {
    let mut kinds: Vec<(GgmlType, u64, Bytes)> = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        match GgmlType::from_name(&block.kind) {
            Some(kind) if super::reads(kind) => kinds.push((kind, block.parameters, block.bytes)),
            // Position numbers and other buffers of integers are not loaded as weights.
            Some(GgmlType::I8 | GgmlType::I16 | GgmlType::I32 | GgmlType::I64) => {}
            _ if block.kind.starts_with('u') || block.kind == "bool" => {}
            _ => {
                return Err(PlanError::unsupported(
                    format!("model.stored[{index}].type"),
                    format!("Candle reads no weights in {}", block.kind),
                    format!("give precision.weights: {ACCEPTED}"),
                ));
            }
        }
    }
    let total_bytes = kinds.iter().map(|(_, _, bytes)| *bytes).sum();
    let Some(&(largest, _, _)) = kinds.iter().max_by_key(|(_, parameters, _)| *parameters) else {
        return Err(PlanError::invalid(
            "model.stored",
            "holds no weights",
            "give the sums of the file's header",
        ));
    };
    // A safetensors checkpoint is in one float format; a GGUF file of floats keeps its vectors in f32 beside them.
    let vectors: u64 =
        model.tensors().iter().filter(|t| !t.is_matrix()).map(crate::model::WeightTensor::elements).sum();
    let in_f32 = kinds.iter().filter(|(kind, _, _)| *kind == GgmlType::F32).map(|(_, n, _)| *n).sum::<u64>();
    let is_gguf =
        kinds.iter().any(|(kind, _, _)| kind.is_quantized()) || (in_f32 >= vectors && kinds.len() == 2);
    if !is_gguf {
        return Ok(WeightStorage::Dense(match largest {
            GgmlType::F16 => Dtype::F16,
            GgmlType::Bf16 => Dtype::Bf16,
            _ => Dtype::F32,
        }));
    }
    let types = match recipe::recognise(model, blocks) {
        Some(recipe) => recipe.types,
        None => likeliest(model, &kinds),
    };
    Ok(WeightStorage::Gguf { types, total_bytes })
}

/// Types for a file that no recipe explains: vectors in f32, then each matrix in the most precise type that still has
/// room. Those whose rows are whole blocks of fewer types choose first, then the larger, so that every type gets what the
/// header counts of it. The sum is exact either way; only which tensor has which type is a guess.
fn likeliest(model: &Model, kinds: &[(GgmlType, u64, Bytes)]) -> Vec<GgmlType> {
    let tensors = model.tensors();
    let mut left: Vec<(GgmlType, u64)> =
        kinds.iter().map(|(kind, parameters, _)| (*kind, *parameters)).collect();
    let bits = |kind: GgmlType| kind.block_bytes() * 8 * 256 / kind.block_elements();
    left.sort_by_key(|(kind, _)| std::cmp::Reverse(bits(*kind)));
    let mut types = vec![GgmlType::F32; tensors.len()];
    let mut order: Vec<usize> = (0..tensors.len()).filter(|&i| tensors[i].is_matrix()).collect();
    let fits = |index: usize, kind: GgmlType| tensors[index].columns.is_multiple_of(kind.block_elements());
    order.sort_by_key(|&i| {
        let choices = kinds.iter().filter(|(kind, ..)| fits(i, *kind)).count();
        (choices, std::cmp::Reverse(tensors[i].elements()))
    });
    for (kind, room) in &mut left {
        if *kind == GgmlType::F32 {
            let vectors: u64 =
                tensors.iter().filter(|t| !t.is_matrix()).map(crate::model::WeightTensor::elements).sum();
            *room = room.saturating_sub(vectors);
        }
    }
    for index in order {
        let tensor = &tensors[index];
        let place = left
            .iter()
            .position(|(kind, room)| fits(index, *kind) && *room >= tensor.elements())
            .or_else(|| (0..left.len()).filter(|&i| fits(index, left[i].0)).max_by_key(|&i| left[i].1));
        if let Some((kind, room)) = place.and_then(|i| left.get_mut(i)) {
            types[index] = *kind;
            *room = room.saturating_sub(tensor.elements());
        }
    }
    types
}

/// Stock Candle computes in, and caches in, one number format that follows from the weights.
fn check_compute(
    plan: &Plan,
    weights: &WeightStorage,
    compute: Dtype,
    warnings: &mut Vec<Warning>,
) -> Result<(), PlanError> {
    let quantized = matches!(weights, WeightStorage::Gguf { .. });
    let activations = plan.precision.activations.map(|a| (a.as_str(), activation_dtype(a)));
    let cache = plan.precision.kv_cache.map(|c| (c.as_str(), cache_dtype(c)));
    let asked = [("precision.activations", activations), ("precision.kv_cache", cache)];
    for (field, precision) in asked {
        let Some((given, dtype)) = precision else { continue };
        if dtype == Some(compute) {
            continue;
        }
        if quantized && dtype.is_some() {
            let what = field.trim_start_matches("precision.");
            warnings.push(Warning::new(
                format!("{}-fp32", what.replace('_', "-")),
                format!("{field} {given}: Candle keeps it in fp32 with GGUF weights, planned so."),
            ));
            continue;
        }
        let why = if quantized {
            "Candle's quantized models compute and cache in fp32".to_owned()
        } else {
            format!("stock Candle computes and caches in the weights' precision, here {}", compute.as_str())
        };
        return Err(PlanError::unsupported(
            field,
            format!("{given}: {why}"),
            format!("give {}, or leave it out", compute.as_str()),
        ));
    }
    Ok(())
}

const fn activation_dtype(precision: ActivationPrecision) -> Option<Dtype> {
    match precision {
        ActivationPrecision::Fp32 => Some(Dtype::F32),
        ActivationPrecision::Bf16 => Some(Dtype::Bf16),
        ActivationPrecision::Fp16 => Some(Dtype::F16),
        ActivationPrecision::Tf32 => None,
    }
}

const fn cache_dtype(precision: CachePrecision) -> Option<Dtype> {
    match precision {
        CachePrecision::Fp32 => Some(Dtype::F32),
        CachePrecision::Bf16 => Some(Dtype::Bf16),
        CachePrecision::Fp16 => Some(Dtype::F16),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;

    /// `SmolLM2`'s rows of 576 are no whole blocks of 256: quantised to `q4_k`, only the down projections (1536) are, the rest
    /// is `q5_0` (llama.cpp `llama-quant.cpp`, the fallback of `llama_tensor_get_type`).
    #[test]
    fn every_type_gets_what_the_header_counts_of_it() {
        let model = catalogue::model("HuggingFaceTB/SmolLM2-135M").unwrap().model().unwrap();
        let mut blocks: Vec<StoredBlock> = Vec::new();
        let mut wanted = Vec::new();
        for tensor in model.tensors() {
            let kind = match (tensor.is_matrix(), tensor.columns % 256) {
                (false, _) => GgmlType::F32,
                (true, 0) => GgmlType::Q4_K,
                (true, _) => GgmlType::Q5_0,
            };
            wanted.push(kind);
            let bytes = Bytes(kind.tensor_bytes(tensor.rows, tensor.columns).unwrap());
            if let Some(block) = blocks.iter_mut().find(|block| block.kind == kind.to_string()) {
                block.parameters += tensor.elements();
                block.bytes += bytes;
            } else {
                let parameters = tensor.elements();
                blocks.push(StoredBlock { kind: kind.to_string(), parameters, bytes });
            }
        }
        let WeightStorage::Gguf { types, .. } = as_stored(&model, &blocks).unwrap() else { panic!("GGUF") };
        assert_eq!(types, wanted);
    }
}
