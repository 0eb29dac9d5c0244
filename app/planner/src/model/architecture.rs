//! The families of models that the planner knows.

use std::fmt;

macro_rules! families {
    ($($(#[doc = $doc:literal])+ $variant:ident = $model_type:literal, [$($prefix:literal),+];)+) => {
        /// A family of models: which tensors a layer has, and which engine code runs it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Architecture { $($(#[doc = $doc])+ $variant),+ }

        impl Architecture {
            /// Every family.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// `model_type` of its `config.json`.
            #[must_use]
            pub const fn model_type(self) -> &'static str {
                match self { $(Self::$variant => $model_type),+ }
            }
        }

        /// What the names of a family's classes begin with.
        const PREFIXES: &[(&str, Architecture)] = &[$($(($prefix, Architecture::$variant)),+),+];
    };
}

families! {
    /// Llama 2, Llama 3, `SmolLM2` and everything stored as `LlamaForCausalLM`.
    Llama = "llama", ["Llama"];
    /// Mistral 7B and its kin: Llama with an optional window.
    Mistral = "mistral", ["Mistral"];
    /// Qwen 2 and 2.5: Llama with biases on query, key and value.
    Qwen2 = "qwen2", ["Qwen2"];
    /// Qwen 3: norms on query and key heads.
    Qwen3 = "qwen3", ["Qwen3"];
    /// Gemma 2: four norms a layer, every other layer windowed, capped scores.
    Gemma2 = "gemma2", ["Gemma2"];
    /// Gemma 3: five windowed layers to one full.
    Gemma3 = "gemma3_text", ["Gemma3"];
    /// Phi-3 and Phi-4: fused projections.
    Phi3 = "phi3", ["Phi3"];
    /// BERT.
    Bert = "bert", ["Bert"];
    /// `RoBERTa` and XLM-RoBERTa: BERT with another tokenizer and shifted positions.
    Roberta = "roberta", ["XLMRoberta", "Roberta"];
    /// `DistilBERT`: no token types, no pooler.
    DistilBert = "distilbert", ["DistilBert"];
    /// Gemma 1.
    Gemma = "gemma", ["Gemma"];
    /// Granite 3: Llama with scaled residuals.
    Granite = "granite", ["Granite"];
    /// `SmolLM3`: every fourth layer without rotation.
    SmolLm3 = "smollm3", ["SmolLM3"];
    /// GLM-4 9B: biases, gate and up in one matrix.
    Glm = "glm", ["Glm"];
    /// GLM-4 0414: the same with four norms a layer.
    Glm4 = "glm4", ["Glm4"];
    /// `InternLM2`: query, key and value in one matrix.
    InternLm2 = "internlm2", ["InternLM2"];
    /// `OLMo` 2: norms behind attention and feed-forward, and over all heads.
    Olmo2 = "olmo2", ["Olmo2"];
    /// Command R: one norm for attention and feed-forward side by side.
    Cohere = "cohere", ["Cohere"];
    /// Command R7B: the same, three windowed layers to one full.
    Cohere2 = "cohere2", ["Cohere2"];
    /// `StableLM` 3B and 2.
    StableLm = "stablelm", ["StableLm"];
    /// `StarCoder` 2: biases, a feed-forward without a gate.
    Starcoder2 = "starcoder2", ["Starcoder2"];
    /// Phi-1.5 and Phi-2: attention and feed-forward side by side.
    Phi = "phi", ["Phi"];
    /// Qwen 1: query, key and value in one matrix.
    Qwen = "qwen", ["QWen"];
    /// GPT-NeoX, Pythia, `StableLM` alpha.
    GptNeoX = "gpt_neox", ["GPTNeoX"];
    /// GPT-2: learned positions.
    Gpt2 = "gpt2", ["GPT2"];
    /// BLOOM: `ALiBi`.
    Bloom = "bloom", ["Bloom"];
    /// OPT: learned positions.
    Opt = "opt", ["OPT"];
    /// MPT: `ALiBi`, no biases.
    Mpt = "mpt", ["MPT", "Mpt"];
    /// Falcon 7B and 40B: one or few key heads, no biases.
    Falcon = "falcon", ["Falcon", "RW"];
    /// Mixtral: experts that replace the feed-forward.
    Mixtral = "mixtral", ["Mixtral"];
    /// Qwen 1.5 and 2 with experts, one of them shared and gated.
    Qwen2Moe = "qwen2_moe", ["Qwen2Moe"];
    /// Qwen 3 with experts.
    Qwen3Moe = "qwen3_moe", ["Qwen3Moe"];
    /// `OLMoE`.
    OlmoE = "olmoe", ["Olmoe"];
    /// Phi-3.5-MoE.
    PhiMoe = "phimoe", ["PhiMoE"];
    /// Granite 3 with experts.
    GraniteMoe = "granitemoe", ["GraniteMoe"];
    /// gpt-oss: experts with biases, sinks, every other layer windowed.
    GptOss = "gpt_oss", ["GptOss"];
    /// `MiniMax` M2.
    MiniMaxM2 = "minimax_m2", ["MiniMaxM2"];
    /// Llama 4: one routed and one shared expert, three chunked layers to one full.
    Llama4 = "llama4_text", ["Llama4"];
    /// GLM-4.5: experts after the first dense layers.
    Glm4Moe = "glm4_moe", ["Glm4Moe"];
    /// `DeepSeek` V2: latent attention, experts.
    DeepSeekV2 = "deepseek_v2", ["DeepseekV2"];
    /// `DeepSeek` V3 and R1, Kimi K2, Moonlight.
    DeepSeekV3 = "deepseek_v3", ["DeepseekV3"];
    /// Qwen3-Next: three gated delta layers to one of gated attention, experts.
    Qwen3Next = "qwen3_next", ["Qwen3Next"];
    /// Qwen 3.5 and 3.6: the same, dense.
    Qwen35 = "qwen3_5_text", ["Qwen3_5"];
    /// Qwen 3.5 and 3.6: the same with experts.
    Qwen35Moe = "qwen3_5_moe_text", ["Qwen3_5Moe"];
    /// Mamba.
    Mamba = "mamba", ["Mamba"];
    /// Falcon Mamba.
    FalconMamba = "falcon_mamba", ["FalconMamba"];
    /// Mamba 2, Codestral Mamba.
    Mamba2 = "mamba2", ["Mamba2"];
    /// Jamba: seven Mamba layers to one of attention, experts in every other.
    Jamba = "jamba", ["Jamba"];
    /// Nemotron-H and Nemotron 3: Mamba 2, attention and feed-forwards by a written pattern.
    NemotronH = "nemotron_h", ["NemotronH"];
    /// Granite 4: Mamba 2 with a few layers of attention.
    GraniteHybrid = "granitemoehybrid", ["GraniteMoeHybrid"];
    /// `MPNet`: BERT with relative positions.
    MpNet = "mpnet", ["MPNet"];
    /// Nomic Embed: rotated positions, a gated feed-forward.
    NomicBert = "nomic_bert", ["NomicBert"];
    /// `ModernBERT`: rotated positions, two windowed layers to one full.
    ModernBert = "modernbert", ["ModernBert"];
}

/// Other spellings of a `model_type`: older files, and wrappers whose language model is of a known family.
const SYNONYMS: &[(&str, Architecture)] = &[
    ("xlm-roberta", Architecture::Roberta),
    ("camembert", Architecture::Roberta),
    ("kimi_k2", Architecture::DeepSeekV3),
    ("RefinedWeb", Architecture::Falcon),
    ("RefinedWebModel", Architecture::Falcon),
    ("llama4", Architecture::Llama4),
    ("gemma3", Architecture::Gemma3),
    ("qwen2_5_vl", Architecture::Qwen2),
    ("qwen2_5_vl_text", Architecture::Qwen2),
    ("qwen3_vl", Architecture::Qwen3),
    ("qwen3_vl_text", Architecture::Qwen3),
    ("qwen3_vl_moe", Architecture::Qwen3Moe),
    ("qwen3_vl_moe_text", Architecture::Qwen3Moe),
    ("qwen3_5", Architecture::Qwen35),
    ("qwen3_5_moe", Architecture::Qwen35Moe),
];

impl Architecture {
    /// The family of a `model_type`.
    #[must_use]
    pub fn from_model_type(model_type: &str) -> Option<Self> {
        let known = Self::ALL.iter().copied().find(|a| a.model_type() == model_type);
        known.or_else(|| SYNONYMS.iter().find(|(name, _)| *name == model_type).map(|(_, family)| *family))
    }

    /// The family of a class name in `architectures`, for example `LlamaForCausalLM`.
    #[must_use]
    pub fn from_class(class: &str) -> Option<Self> {
        // `Qwen2MoeForCausalLM` and `Qwen2VLFor…` are other families than Qwen 2: what follows must be the head's name.
        let is_head = |head: &str| {
            head.starts_with("For")
                || matches!(head, "Model" | "LMHeadModel" | "TextModel" | "TextForCausalLM")
        };
        PREFIXES
            .iter()
            .find(|(prefix, _)| class.strip_prefix(prefix).is_some_and(is_head))
            .map(|(_, family)| *family)
    }

    /// Whether it is an encoder: no cache, no generation.
    #[must_use]
    pub const fn is_encoder(self) -> bool {
        matches!(
            self,
            Self::Bert | Self::Roberta | Self::DistilBert | Self::MpNet | Self::NomicBert | Self::ModernBert
        )
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model_type())
    }
}
