//! Which type llama.cpp's quantizer gives to each tensor of a model.
//!
//! The rules of `llama_tensor_get_type_impl`, `tensor_allows_quantization` and `tensor_type_fallback` in llama.cpp's
//! `src/llama-quant.cpp`, without an importance matrix, for dense models.

use std::collections::BTreeMap;

use crate::bytes::Bytes;
use crate::document::plan::StoredBlock;
use crate::document::precision::WeightPrecision;
use crate::ggml::GgmlType;
use crate::model::{Architecture, Model, Role, WeightTensor};

/// What `llama-quantize` is asked to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mix {
    /// Matrices in one type; the output head by its own rule.
    Pure(GgmlType),
    Q2K,
    Q2KS,
    Q3KS,
    Q3KM,
    Q3KL,
    Q4KS,
    Q4KM,
    Q5KS,
    Q5KM,
}

impl Mix {
    fn of(precision: WeightPrecision) -> Option<Self> {
        use WeightPrecision as P;
        Some(match precision {
            P::GgufF32 => Self::Pure(GgmlType::F32),
            P::GgufF16 => Self::Pure(GgmlType::F16),
            P::GgufBf16 => Self::Pure(GgmlType::Bf16),
            P::GgufQ8_0 => Self::Pure(GgmlType::Q8_0),
            P::GgufQ6K => Self::Pure(GgmlType::Q6_K),
            P::GgufQ5_1 => Self::Pure(GgmlType::Q5_1),
            P::GgufQ5_0 => Self::Pure(GgmlType::Q5_0),
            P::GgufQ4_1 => Self::Pure(GgmlType::Q4_1),
            P::GgufQ4_0 => Self::Pure(GgmlType::Q4_0),
            P::GgufQ5KM => Self::Q5KM,
            P::GgufQ5KS => Self::Q5KS,
            P::GgufQ4KM => Self::Q4KM,
            P::GgufQ4KS => Self::Q4KS,
            P::GgufQ3KL => Self::Q3KL,
            P::GgufQ3KM => Self::Q3KM,
            P::GgufQ3KS => Self::Q3KS,
            P::GgufQ2K => Self::Q2K,
            P::GgufQ2KS => Self::Q2KS,
            _ => return None,
        })
    }

    const fn base(self) -> GgmlType {
        match self {
            Self::Pure(kind) => kind,
            Self::Q2K | Self::Q2KS => GgmlType::Q2_K,
            Self::Q3KS | Self::Q3KM | Self::Q3KL => GgmlType::Q3_K,
            Self::Q4KS | Self::Q4KM => GgmlType::Q4_K,
            Self::Q5KS | Self::Q5KM => GgmlType::Q5_K,
        }
    }
}

/// Types of all tensors of [`Model::tensors`], in its order, and their size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Type of each tensor.
    pub types: Vec<GgmlType>,
    /// Size of all tensors.
    pub bytes: Bytes,
}

/// The types that llama.cpp's quantizer gives to the tensors of `model`; none for the mixes that need an importance
/// matrix (`iq…`), and for what is no GGUF precision.
#[must_use]
pub fn recipe(model: &Model, precision: WeightPrecision) -> Option<Recipe> {
    let mix = Mix::of(precision)?;
    let tensors = model.tensors();
    let mut state = State { mix, layers: model.layers.len() as u64, attention_values: 0, downs: 0 };
    let types: Vec<GgmlType> = tensors.iter().map(|tensor| state.choose(model, tensor)).collect();
    let bytes = bytes_of(&tensors, &types);
    Some(Recipe { types, bytes })
}

/// The types of a file of which only the sums by type are known: the recipe that gives the same sums.
///
/// None where no recipe does. Constants of the rotary embedding, which are f32, may be in the sums as well.
#[must_use]
pub fn recognise(model: &Model, stored: &[StoredBlock]) -> Option<Recipe> {
    let wanted: BTreeMap<GgmlType, u64> = stored
        .iter()
        .map(|b| GgmlType::from_name(&b.kind).map(|kind| (kind, b.parameters)))
        .collect::<Option<_>>()?;
    let tensors = model.tensors();
    WeightPrecision::ALL.iter().filter_map(|&precision| recipe(model, precision)).find(|recipe| {
        let mut sums: BTreeMap<GgmlType, u64> = BTreeMap::new();
        for (tensor, kind) in tensors.iter().zip(&recipe.types) {
            *sums.entry(*kind).or_default() += tensor.elements();
        }
        let same = |kind: &GgmlType| sums.get(kind) == wanted.get(kind);
        sums.keys().chain(wanted.keys()).all(|kind| *kind == GgmlType::F32 || same(kind))
    })
}

fn bytes_of(tensors: &[WeightTensor], types: &[GgmlType]) -> Bytes {
    tensors
        .iter()
        .zip(types)
        .map(|(tensor, kind)| Bytes(kind.tensor_bytes(tensor.rows, tensor.columns).unwrap_or(u64::MAX)))
        .sum()
}

/// The quantizer's counters as it walks over the tensors, layer by layer.
struct State {
    mix: Mix,
    layers: u64,
    attention_values: u64,
    downs: u64,
}

impl State {
    fn choose(&mut self, model: &Model, tensor: &WeightTensor) -> GgmlType {
        // One-dimensional tensors stay in f32 (the converter's choice), position and type embeddings too.
        if !tensor.is_matrix() || matches!(tensor.role, Role::PositionEmbedding | Role::TokenTypeEmbedding) {
            return GgmlType::F32;
        }
        let base = self.mix.base();
        if !base.is_quantized() {
            return base;
        }
        let wanted = match tensor.role {
            Role::OutputHead => output_type(base, tensor.columns),
            // A tied embedding is quantized as the output head that it also is.
            Role::TokenEmbedding if model.tied_embeddings => output_type(base, tensor.columns),
            Role::Value | Role::QueryKeyValue => self.value_type(model, base, tensor),
            Role::Down => self.down_type(base),
            Role::AttentionOutput => match self.mix {
                Mix::Q2K => GgmlType::Q3_K,
                Mix::Q3KM => GgmlType::Q4_K,
                Mix::Q3KL => GgmlType::Q5_K,
                _ => base,
            },
            _ => base,
        };
        fallback(wanted, tensor.columns)
    }

    fn value_type(&mut self, model: &Model, base: GgmlType, tensor: &WeightTensor) -> GgmlType {
        let index = self.attention_values;
        self.attention_values += 1;
        let groups = tensor
            .layer
            .and_then(|layer| model.layers.get(usize::try_from(layer).ok()?))
            .and_then(crate::model::Layer::attention)
            .map_or(1, |attention| attention.heads / attention.kv_heads.max(1));
        let kind = match self.mix {
            Mix::Q2K | Mix::Q2KS if groups >= 4 => GgmlType::Q4_K,
            Mix::Q2K => GgmlType::Q3_K,
            Mix::Q3KM if index < 2 => GgmlType::Q5_K,
            Mix::Q3KM => GgmlType::Q4_K,
            Mix::Q3KL => GgmlType::Q5_K,
            Mix::Q4KM | Mix::Q5KM if more_bits(index, self.layers) => GgmlType::Q6_K,
            Mix::Q4KS if index < 4 => GgmlType::Q5_K,
            _ => base,
        };
        // `LLM_TYPE_70B`: 80 layers of Llama with grouped heads, or of Qwen 2. llama.cpp spends a bit more there.
        let is_70b = self.layers == 80
            && match model.architecture {
                Architecture::Llama | Architecture::Mistral => groups > 1,
                Architecture::Qwen2 => true,
                _ => false,
            };
        if is_70b && matches!(kind, GgmlType::Q3_K | GgmlType::Q4_K) { GgmlType::Q5_K } else { kind }
    }

    fn down_type(&mut self, base: GgmlType) -> GgmlType {
        let index = self.downs;
        self.downs += 1;
        match self.mix {
            Mix::Q2K => GgmlType::Q3_K,
            Mix::Q2KS if index < self.layers / 8 => GgmlType::Q4_K,
            Mix::Q3KM if index < self.layers / 16 => GgmlType::Q5_K,
            Mix::Q3KM => GgmlType::Q4_K,
            Mix::Q3KL => GgmlType::Q5_K,
            Mix::Q4KM | Mix::Q5KM if more_bits(index, self.layers) => GgmlType::Q6_K,
            Mix::Q4KS if index < self.layers / 8 => GgmlType::Q5_K,
            _ => base,
        }
    }
}

/// `use_more_bits`: the first and last eighth, and every third layer between.
const fn more_bits(index: u64, layers: u64) -> bool {
    let eighth = layers / 8;
    index < eighth || index >= 7 * layers / 8 || (index - eighth) % 3 == 2
}

/// The type of the output head.
fn output_type(base: GgmlType, columns: u64) -> GgmlType {
    if base == GgmlType::Q8_0 || !columns.is_multiple_of(base.block_elements()) {
        GgmlType::Q8_0
    } else {
        GgmlType::Q6_K
    }
}

/// A type whose blocks divide the rows.
fn fallback(wanted: GgmlType, columns: u64) -> GgmlType {
    if columns.is_multiple_of(wanted.block_elements()) {
        return wanted;
    }
    let other = match wanted {
        GgmlType::Q2_K | GgmlType::Q3_K => GgmlType::Q4_0,
        GgmlType::Q4_K => GgmlType::Q5_0,
        GgmlType::Q5_K => GgmlType::Q5_1,
        GgmlType::Q6_K => GgmlType::Q8_0,
        _ => GgmlType::F16,
    };
    if columns.is_multiple_of(other.block_elements()) { other } else { GgmlType::F16 }
}

#[cfg(test)]
mod tests;
