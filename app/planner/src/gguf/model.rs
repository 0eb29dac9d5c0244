//! A model from the metadata of a GGUF header.

use serde_json::{Map, Value, json};

use super::{GgufHeader, MetadataValue};
use crate::document::plan::ModelRef;
use crate::model::{Architecture, Model, ModelError};

/// Tensors that hold constants of the rotary embedding rather than parameters.
const CONSTANTS: &[&str] = &["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"];

/// Families by `general.architecture`. Mistral is stored as `llama`.
const FAMILIES: &[(&str, Architecture)] = &[
    ("llama", Architecture::Llama),
    ("qwen2", Architecture::Qwen2),
    ("qwen3", Architecture::Qwen3),
    ("gemma2", Architecture::Gemma2),
    ("gemma3", Architecture::Gemma3),
    ("phi3", Architecture::Phi3),
    ("gemma", Architecture::Gemma),
    ("olmo2", Architecture::Olmo2),
    ("command-r", Architecture::Cohere),
    ("granite", Architecture::Granite),
    ("smollm3", Architecture::SmolLm3),
    ("starcoder2", Architecture::Starcoder2),
    ("qwen2moe", Architecture::Qwen2Moe),
    ("qwen3moe", Architecture::Qwen3Moe),
    ("olmoe", Architecture::OlmoE),
    ("granitemoe", Architecture::GraniteMoe),
    ("gpt-oss", Architecture::GptOss),
    ("minimax-m2", Architecture::MiniMaxM2),
    ("deepseek2", Architecture::DeepSeekV2),
];

impl GgufHeader {
    /// The model that the metadata describe, with the exact sizes of this file.
    ///
    /// # Errors
    /// A family that is not planned yet, metadata that are missing or out of range, and a file whose tensors are not
    /// those that its metadata describe.
    pub fn model(&self, name: &str) -> Result<Model, ModelError> {
        let config = self.config()?;
        let mut model = Model::from_config(name, &config)?;
        let held: u64 = self
            .tensors
            .iter()
            .filter(|t| !CONSTANTS.contains(&t.name.as_str()))
            .map(super::TensorInfo::elements)
            .fold(0, u64::saturating_add);
        let described = model.parameters().total;
        if held != described {
            return Err(ModelError::Metadata {
                key: "general.architecture".into(),
                problem: format!(
                    "the file holds {held} parameters, its metadata describe a {} of {described}; variants with further \
                     tensors are not planned yet",
                    model.architecture
                ),
            });
        }
        model.stored = Some(self.stored());
        Ok(model)
    }

    /// The same for a plan: configuration and exact sizes by storage type.
    ///
    /// # Errors
    /// Those of [`GgufHeader::model`].
    pub fn model_ref(&self, name: &str) -> Result<ModelRef, ModelError> {
        let model = self.model(name)?;
        Ok(ModelRef {
            name: Some(name.to_owned()),
            config: Some(self.config()?),
            stored: model.stored,
            ..ModelRef::default()
        })
    }

    /// The metadata as a Hugging Face configuration.
    fn config(&self) -> Result<Value, ModelError> {
        let metadata_error =
            |key: &str, problem: String| ModelError::Metadata { key: key.to_owned(), problem };
        let Some(given) = self.metadata.get("general.architecture").and_then(MetadataValue::as_str) else {
            return Err(metadata_error(
                "general.architecture",
                "missing; the file does not say what it is".into(),
            ));
        };
        let Some((prefix, architecture)) = FAMILIES.iter().find(|(name, _)| *name == given) else {
            return Err(ModelError::UnknownArchitecture {
                field: "general.architecture",
                given: given.to_owned(),
                known: FAMILIES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
            });
        };
        let keys = Keys { header: self, prefix };
        let mut config = Map::new();
        let experts = keys.optional("expert_count")?.filter(|n| *n > 0);
        let architecture = match (*architecture, experts) {
            // Mixtral is stored as `llama` with experts.
            (Architecture::Llama, Some(_)) => Architecture::Mixtral,
            // The correction of the router's scores came with V3.
            (Architecture::DeepSeekV2, _) if self.tensors.iter().any(|t| t.name.contains("exp_probs_b")) => {
                Architecture::DeepSeekV3
            }
            (family, _) => family,
        };
        config.insert("model_type".into(), json!(architecture.model_type()));
        if let Some(experts) = experts {
            self.expert_fields(&keys, experts, &mut config)?;
        }
        for (field, key) in [
            ("hidden_size", "embedding_length"),
            ("num_hidden_layers", "block_count"),
            ("num_attention_heads", "attention.head_count"),
            ("max_position_embeddings", "context_length"),
        ] {
            config.insert(field.into(), json!(keys.required(key)?));
        }
        // A model of experts alone may name only theirs.
        let width = match (keys.optional("feed_forward_length")?.filter(|n| *n > 0), experts) {
            (Some(width), _) => width,
            (None, Some(_)) => keys.required("expert_feed_forward_length")?,
            (None, None) => keys.required("feed_forward_length")?,
        };
        config.insert("intermediate_size".into(), json!(width));
        let heads = keys.required("attention.head_count")?;
        let kv_heads = keys.optional("attention.head_count_kv")?.unwrap_or(heads);
        config.insert("num_key_value_heads".into(), json!(kv_heads));
        let embedding = self.tensor("token_embd.weight").ok_or_else(|| {
            metadata_error(
                "token_embd.weight",
                "this tensor is missing; the file holds no whole model".into(),
            )
        })?;
        config.insert("vocab_size".into(), json!(embedding.dimensions.get(1).copied().unwrap_or(0)));
        let latent = keys.optional("attention.kv_lora_rank")?;
        if let Some(rank) = latent {
            keys.latent_fields(rank, &mut config)?;
        }
        let head_size = match keys.optional("attention.key_length")? {
            _ if latent.is_some() => None,
            Some(size) => Some(size),
            None => keys.required("embedding_length")?.checked_div(heads),
        };
        if let Some(size) = head_size {
            config.insert("head_dim".into(), json!(size));
            if let Some(values) = keys.optional("attention.value_length")?.filter(|v| *v != size) {
                return Err(metadata_error(
                    &keys.full("attention.value_length"),
                    format!("{values} differs from the keys' {size}, which is not planned yet"),
                ));
            }
            if let Some(rotated) = keys.optional("rope.dimension_count")?.filter(|r| *r != size && size > 0) {
                config.insert("partial_rotary_factor".into(), json!(rotated as f64 / size as f64));
            }
        }
        config.insert("tie_word_embeddings".into(), json!(self.tensor("output.weight").is_none()));
        if self.tensor("blk.0.attn_q.bias").is_some() && architecture != Architecture::Qwen2 {
            config.insert("attention_bias".into(), json!(true));
        }
        let window = keys.optional("attention.sliding_window")?.filter(|w| *w > 0);
        if let Some(window) = window {
            config.insert("sliding_window".into(), json!(window));
        }
        for (field, key) in [
            ("attn_logit_softcapping", "attn_logit_softcapping"),
            ("final_logit_softcapping", "final_logit_softcapping"),
            ("rope_theta", "rope.freq_base"),
        ] {
            if let Some(MetadataValue::Float(value)) = self.metadata.get(&keys.full(key)) {
                config.insert(field.into(), json!(value));
            }
        }
        Ok(Value::Object(config))
    }

    /// The fields of a mixture of experts.
    fn expert_fields(
        &self,
        keys: &Keys<'_>,
        experts: u64,
        config: &mut Map<String, Value>,
    ) -> Result<(), ModelError> {
        for field in ["num_experts", "num_local_experts", "n_routed_experts"] {
            config.insert(field.into(), json!(experts));
        }
        config.insert("num_experts_per_tok".into(), json!(keys.required("expert_used_count")?));
        for (field, key) in [
            ("moe_intermediate_size", "expert_feed_forward_length"),
            ("shared_expert_intermediate_size", "expert_shared_feed_forward_length"),
            ("n_shared_experts", "expert_shared_count"),
            ("first_k_dense_replace", "leading_dense_block_count"),
        ] {
            if let Some(n) = keys.optional(key)? {
                config.insert(field.into(), json!(n));
            }
        }
        // Older Qwen files give the widths by their tensors alone.
        for (field, tensor) in [
            ("moe_intermediate_size", "blk.0.ffn_gate_exps.weight"),
            ("shared_expert_intermediate_size", "blk.0.ffn_gate_shexp.weight"),
        ] {
            let rows = self.tensor(tensor).and_then(|t| t.dimensions.get(1).copied());
            if let (Some(rows), false) = (rows, config.contains_key(field)) {
                config.insert(field.into(), json!(rows));
            }
        }
        Ok(())
    }
}

/// The metadata of a family.
struct Keys<'a> {
    header: &'a GgufHeader,
    prefix: &'a str,
}

impl Keys<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    /// A number; one for each layer only where all are the same.
    fn optional(&self, key: &str) -> Result<Option<u64>, ModelError> {
        let full = self.full(key);
        let error = |problem: &str| ModelError::Metadata { key: full.clone(), problem: problem.to_owned() };
        match self.header.metadata.get(&full) {
            None => Ok(None),
            Some(MetadataValue::Array(values)) => match values.first().and_then(MetadataValue::as_u64) {
                Some(first) if values.iter().all(|v| v.as_u64() == Some(first)) => Ok(Some(first)),
                _ => Err(error("differs from layer to layer, which is not planned yet")),
            },
            Some(value) => {
                value.as_u64().map(Some).ok_or_else(|| error("is not a whole number of at least 0"))
            }
        }
    }

    /// The fields of latent attention. Files since llama.cpp's own latent cache give a head's sizes under `…_mla`.
    fn latent_fields(&self, rank: u64, config: &mut Map<String, Value>) -> Result<(), ModelError> {
        let either = |new: &str, old: &str| match self.optional(new)? {
            Some(size) => Ok(size),
            None => self.required(old),
        };
        let key = either("attention.key_length_mla", "attention.key_length")?;
        let rope = self.required("rope.dimension_count")?;
        let value = either("attention.value_length_mla", "attention.value_length")?;
        config.insert("kv_lora_rank".into(), json!(rank));
        config.insert("qk_rope_head_dim".into(), json!(rope));
        config.insert("qk_nope_head_dim".into(), json!(key.saturating_sub(rope)));
        config.insert("v_head_dim".into(), json!(value));
        if let Some(rank) = self.optional("attention.q_lora_rank")?.filter(|r| *r > 0) {
            config.insert("q_lora_rank".into(), json!(rank));
        }
        Ok(())
    }

    fn required(&self, key: &str) -> Result<u64, ModelError> {
        self.optional(key)?.ok_or_else(|| ModelError::Metadata {
            key: self.full(key),
            problem: "missing; the header does not describe the model".into(),
        })
    }
}
