//! Which type llama.cpp's quantizer gives to each tensor of a model.
//!
//! The rules of `llama_tensor_get_type_impl`, `tensor_allows_quantization` and `tensor_type_fallback` in llama.cpp's
//! `src/llama-quant.cpp` (commit 007dbbf): dense models, experts, latent attention and recurrent mixers. The mixes
//! `iq1` to `iq3` are made with an importance matrix, the others without, as llama.cpp's own table of sizes has them.

use std::collections::BTreeMap;

use crate::bytes::Bytes;
use crate::document::plan::StoredBlock;
use crate::document::precision::WeightPrecision;
use crate::ggml::GgmlType;
use crate::model::{Architecture, Layer, Mixer, Model, Role, WeightTensor};

/// The type that a mix begins with: `llama_ftype_get_default_type`.
const fn base_of(mix: WeightPrecision) -> Option<GgmlType> {
    use WeightPrecision as P;
    Some(match mix {
        P::GgufF32 => GgmlType::F32,
        P::GgufF16 => GgmlType::F16,
        P::GgufBf16 => GgmlType::Bf16,
        P::GgufQ8_0 => GgmlType::Q8_0,
        P::GgufQ6K => GgmlType::Q6_K,
        P::GgufQ5_1 => GgmlType::Q5_1,
        P::GgufQ5_0 => GgmlType::Q5_0,
        P::GgufQ4_1 => GgmlType::Q4_1,
        P::GgufQ4_0 => GgmlType::Q4_0,
        P::GgufQ5KM | P::GgufQ5KS => GgmlType::Q5_K,
        P::GgufQ4KM | P::GgufQ4KS => GgmlType::Q4_K,
        P::GgufQ3KL | P::GgufQ3KM | P::GgufQ3KS => GgmlType::Q3_K,
        P::GgufQ2K | P::GgufQ2KS => GgmlType::Q2_K,
        P::GgufIq4Nl => GgmlType::Iq4Nl,
        P::GgufIq4Xs => GgmlType::Iq4Xs,
        P::GgufIq3M | P::GgufIq3S | P::GgufIq3Xs => GgmlType::Iq3S,
        P::GgufIq3Xxs => GgmlType::Iq3Xxs,
        P::GgufIq2M => GgmlType::Iq2S,
        P::GgufIq2S | P::GgufIq2Xs => GgmlType::Iq2Xs,
        P::GgufIq2Xxs => GgmlType::Iq2Xxs,
        P::GgufIq1M => GgmlType::Iq1M,
        P::GgufIq1S => GgmlType::Iq1S,
        _ => return None,
    })
}

/// Types of all tensors of [`Model::tensors`], in its order, and their size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Type of each tensor.
    pub types: Vec<GgmlType>,
    /// Size of all tensors.
    pub bytes: Bytes,
}

/// The types that llama.cpp's quantizer gives to the tensors of `model`; none for what is no GGUF precision.
#[must_use]
pub fn recipe(model: &Model, precision: WeightPrecision) -> Option<Recipe> {
    let base = base_of(precision)?;
    let tensors = model.tensors();
    let values = tensors.iter().filter(|t| is_value(t.role)).count() as u64;
    let mut state = State {
        mix: precision,
        base,
        layers: model.layers.len() as u64,
        values,
        experts: model.layers.iter().find_map(Layer::experts).map_or(1, |e| e.routed.max(1)),
        groups: groups(model),
        falcon: model.architecture == Architecture::Falcon,
        attention_values: 0,
        downs: 0,
        gates: 0,
        ups: 0,
    };
    let types: Vec<GgmlType> = tensors.iter().map(|tensor| state.choose(model, tensor)).collect();
    let bytes = bytes_of(&tensors, &types);
    Some(Recipe { types, bytes })
}

/// Query heads to a key head of the first layer that attends (`n_gqa`); latent attention has one key head.
fn groups(model: &Model) -> u64 {
    model
        .layers
        .iter()
        .find_map(|l| match &l.mixer {
            Mixer::Attention(a) => Some(a.heads / a.kv_heads.max(1)),
            Mixer::Latent(a) => Some(a.heads),
            Mixer::Recurrent(_) => None,
        })
        .unwrap_or(1)
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
        .map(|(tensor, kind)| {
            Bytes(
                kind.tensor_bytes(tensor.rows, tensor.columns)
                    .unwrap_or(u64::MAX)
                    .saturating_mul(tensor.copies),
            )
        })
        .sum()
}

/// `category_is_attn_v`: what quantization hurts most.
const fn is_value(role: Role) -> bool {
    matches!(role, Role::Value | Role::QueryKeyValue)
}

/// The quantizer's counters as it walks over the tensors, layer by layer.
struct State {
    mix: WeightPrecision,
    base: GgmlType,
    layers: u64,
    /// Value projections that there are.
    values: u64,
    /// Routed experts; 1 without.
    experts: u64,
    /// Query heads to a key head.
    groups: u64,
    falcon: bool,
    attention_values: u64,
    downs: u64,
    gates: u64,
    ups: u64,
}

impl State {
    fn choose(&mut self, model: &Model, tensor: &WeightTensor) -> GgmlType {
        match tensor.role {
            // Another file (`mmproj`), which the converter writes in f16.
            Role::Tower(_) => return GgmlType::F16,
            // Position and type embeddings, routers and the gate of shared experts stay in f32.
            Role::PositionEmbedding | Role::TokenTypeEmbedding | Role::Router | Role::SharedExpertGate => {
                return GgmlType::F32;
            }
            // One-dimensional tensors and convolutions too.
            _ if !tensor.is_matrix() => return GgmlType::F32,
            _ => {}
        }
        let base = self.base;
        if !base.is_quantized() {
            return base;
        }
        let wanted = match tensor.role {
            Role::OutputHead => self.output_type(tensor.columns),
            // A tied embedding is quantized as the output head that it also is.
            Role::TokenEmbedding if model.tied_embeddings => self.output_type(tensor.columns),
            Role::TokenEmbedding => self.embedding_type(),
            role if is_value(role) => self.value_type(model),
            Role::Key => self.key_type(),
            Role::Query => self.query_type(),
            Role::AttentionOutput => self.attention_output_type(),
            Role::Down | Role::ExpertDown | Role::SharedDown => self.down_type(tensor.layer),
            Role::Gate | Role::ExpertGate | Role::SharedGate => {
                let index = Self::index(self.experts, &mut self.gates, tensor.layer);
                self.gate_type(index)
            }
            Role::Up | Role::ExpertUp | Role::SharedUp | Role::GateUp => {
                let index = Self::index(self.experts, &mut self.ups, tensor.layer);
                self.gate_type(index)
            }
            _ => base,
        };
        fallback(wanted, tensor.columns)
    }

    /// `layer_info`: the layer where there are experts, else how many came before.
    fn index(experts: u64, counter: &mut u64, layer: Option<u64>) -> u64 {
        let count = *counter;
        *counter += 1;
        if experts > 1 { layer.unwrap_or(count) } else { count }
    }

    /// The mixes of one to two bits, which have rules of their own.
    const fn is_tiny(&self) -> bool {
        use WeightPrecision as P;
        matches!(
            self.mix,
            P::GgufIq2Xxs | P::GgufIq2Xs | P::GgufIq2S | P::GgufIq2M | P::GgufIq1S | P::GgufIq1M
        )
    }

    const fn is_iq2_s_or_m(&self) -> bool {
        matches!(self.mix, WeightPrecision::GgufIq2S | WeightPrecision::GgufIq2M)
    }

    fn output_type(&self, columns: u64) -> GgmlType {
        if self.falcon || self.base == GgmlType::Q8_0 || !columns.is_multiple_of(self.base.block_elements()) {
            GgmlType::Q8_0
        } else if self.is_tiny() || self.mix == WeightPrecision::GgufIq3Xxs {
            GgmlType::Q5_K
        } else {
            GgmlType::Q6_K
        }
    }

    const fn embedding_type(&self) -> GgmlType {
        use WeightPrecision as P;
        match self.mix {
            P::GgufIq2Xxs | P::GgufIq2Xs | P::GgufIq1S | P::GgufIq1M => GgmlType::Q2_K,
            P::GgufIq2S | P::GgufIq2M | P::GgufIq3Xxs => GgmlType::Iq3S,
            _ => self.base,
        }
    }

    fn value_type(&mut self, model: &Model) -> GgmlType {
        use WeightPrecision as P;
        let index = self.attention_values;
        self.attention_values += 1;
        let grouped = self.groups >= 4;
        if self.is_tiny() {
            return match (grouped || self.experts >= 4, self.is_iq2_s_or_m()) {
                (true, _) => GgmlType::Q4_K,
                (false, true) => GgmlType::Iq3S,
                (false, false) => GgmlType::Q2_K,
            };
        }
        let kind = match self.mix {
            P::GgufQ2K | P::GgufQ2KS | P::GgufIq3Xxs | P::GgufIq3Xs | P::GgufIq3S if grouped => {
                GgmlType::Q4_K
            }
            P::GgufQ2K => GgmlType::Q3_K,
            P::GgufQ3KM if index < 2 => GgmlType::Q5_K,
            P::GgufQ3KM | P::GgufIq3M => GgmlType::Q4_K,
            P::GgufQ3KL => GgmlType::Q5_K,
            P::GgufIq4Nl | P::GgufIq4Xs if grouped => GgmlType::Q5_K,
            P::GgufQ4KM | P::GgufQ5KM if more_bits(index, self.values) => GgmlType::Q6_K,
            P::GgufQ4KS if index < 4 => GgmlType::Q5_K,
            _ => self.base,
        };
        // `LLM_TYPE_70B`: 80 layers of Llama with grouped heads, or of Qwen 2. llama.cpp spends a bit more there.
        let is_70b = self.layers == 80
            && match model.architecture {
                Architecture::Llama | Architecture::Mistral => self.groups > 1,
                Architecture::Qwen2 => true,
                _ => false,
            };
        if self.experts == 8 {
            GgmlType::Q8_0
        } else if is_70b && matches!(kind, GgmlType::Q3_K | GgmlType::Q4_K) {
            GgmlType::Q5_K
        } else {
            kind
        }
    }

    const fn key_type(&self) -> GgmlType {
        use WeightPrecision as P;
        match self.mix {
            _ if self.experts == 8 && self.is_tiny() => GgmlType::Q4_K,
            _ if self.experts == 8 => GgmlType::Q8_0,
            P::GgufIq3Xs => GgmlType::Iq3Xxs,
            P::GgufIq3Xxs => GgmlType::Iq2S,
            _ => self.base,
        }
    }

    const fn query_type(&self) -> GgmlType {
        use WeightPrecision as P;
        match self.mix {
            P::GgufIq3Xs => GgmlType::Iq3Xxs,
            P::GgufIq3Xxs => GgmlType::Iq2S,
            _ => self.base,
        }
    }

    const fn attention_output_type(&self) -> GgmlType {
        use WeightPrecision as P;
        match self.mix {
            P::GgufQ3KL if self.falcon => GgmlType::Q4_K,
            _ if self.falcon && !self.is_tiny() => self.base,
            P::GgufIq2Xxs
            | P::GgufIq2Xs
            | P::GgufIq2S
            | P::GgufIq2M
            | P::GgufIq1S
            | P::GgufIq1M
            | P::GgufQ2K
            | P::GgufIq3Xs
            | P::GgufIq3Xxs
            | P::GgufQ3KS
            | P::GgufQ3KM
            | P::GgufIq4Nl
            | P::GgufQ4KS
            | P::GgufQ4KM
            | P::GgufIq3S
            | P::GgufIq3M
            | P::GgufIq4Xs
                if self.experts == 8 =>
            {
                GgmlType::Q5_K
            }
            _ if self.experts == 8 => self.base,
            P::GgufIq1S | P::GgufIq1M => GgmlType::Iq2Xxs,
            P::GgufIq2S | P::GgufIq2M | P::GgufIq3Xxs => GgmlType::Iq3S,
            P::GgufQ2K => GgmlType::Q3_K,
            P::GgufQ3KM | P::GgufIq3M => GgmlType::Q4_K,
            P::GgufQ3KL => GgmlType::Q5_K,
            _ => self.base,
        }
    }

    fn down_type(&mut self, layer: Option<u64>) -> GgmlType {
        use WeightPrecision as P;
        let counted = self.downs;
        let index = Self::index(self.experts, &mut self.downs, layer);
        let n = self.layers;
        if self.is_tiny() {
            return match (counted < n / 8, self.is_iq2_s_or_m()) {
                (true, true) => GgmlType::Iq3S,
                (true, false) => GgmlType::Q2_K,
                (false, _) => self.base,
            };
        }
        match self.mix {
            P::GgufQ2K => GgmlType::Q3_K,
            P::GgufQ2KS if index < n / 8 => GgmlType::Q4_K,
            P::GgufQ3KM if index < n / 16 => GgmlType::Q5_K,
            P::GgufQ3KM if !self.falcon || more_bits(index, n) => GgmlType::Q4_K,
            P::GgufIq3M if index < n / 8 || (self.experts == 8 && more_bits(index, n)) => GgmlType::Q4_K,
            P::GgufQ3KL if self.falcon => GgmlType::Q4_K,
            P::GgufQ3KL => GgmlType::Q5_K,
            P::GgufQ4KM if self.falcon && index < n / 16 => GgmlType::Q6_K,
            P::GgufQ4KM if self.falcon && more_bits(index, n) => GgmlType::Q5_K,
            P::GgufQ4KM if self.falcon => self.base,
            P::GgufQ4KM | P::GgufQ5KM if more_bits(index, n) => GgmlType::Q6_K,
            P::GgufIq4Nl | P::GgufIq4Xs if index < n / 8 => GgmlType::Q5_K,
            P::GgufQ4KS if !self.falcon && index < n / 8 => GgmlType::Q5_K,
            _ => self.base,
        }
    }

    /// Gate and up projections.
    fn gate_type(&self, index: u64) -> GgmlType {
        let middle = index >= self.layers / 8 && index < 7 * self.layers / 8;
        if self.mix == WeightPrecision::GgufIq3Xs && middle { GgmlType::Iq3Xxs } else { self.base }
    }
}

/// `use_more_bits`: the first and last eighth, and every third layer between.
const fn more_bits(index: u64, layers: u64) -> bool {
    let eighth = layers / 8;
    index < eighth || index >= 7 * layers / 8 || (index - eighth) % 3 == 2
}

/// A type whose blocks divide the rows.
fn fallback(wanted: GgmlType, columns: u64) -> GgmlType {
    if columns.is_multiple_of(wanted.block_elements()) {
        return wanted;
    }
    let other = match wanted {
        GgmlType::Iq1S
        | GgmlType::Iq1M
        | GgmlType::Iq2Xxs
        | GgmlType::Iq2Xs
        | GgmlType::Iq2S
        | GgmlType::Iq3Xxs
        | GgmlType::Iq3S
        | GgmlType::Iq4Xs => GgmlType::Iq4Nl,
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
