//! The weight tensors of a model, as its published checkpoint holds them.

use super::{Head, Layer, Model, Norm, NormPlace};

/// A learned tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightTensor {
    /// What it does.
    pub role: Role,
    /// Its layer; none for what is outside the layers.
    pub layer: Option<u64>,
    /// Rows (outputs) of a matrix; 1 for a vector.
    pub rows: u64,
    /// Columns (inputs) of a matrix; the length of a vector. A row is what block quantization divides.
    pub columns: u64,
}

/// What a tensor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the field's own")]
pub enum Role {
    TokenEmbedding,
    PositionEmbedding,
    TokenTypeEmbedding,
    EmbeddingNorm,
    EmbeddingNormBias,
    Query,
    Key,
    Value,
    /// Query, key and value in one matrix.
    QueryKeyValue,
    QueryBias,
    KeyBias,
    ValueBias,
    QueryNorm,
    KeyNorm,
    AttentionOutput,
    AttentionOutputBias,
    Gate,
    Up,
    /// Gate and up in one matrix.
    GateUp,
    Down,
    GateBias,
    UpBias,
    DownBias,
    /// A norm of a layer.
    LayerNorm(NormPlace),
    /// Its bias.
    LayerNormBias(NormPlace),
    FinalNorm,
    FinalNormBias,
    OutputHead,
    Pooler,
    PoolerBias,
}

impl WeightTensor {
    /// Number of elements.
    #[must_use]
    pub const fn elements(&self) -> u64 {
        self.rows.saturating_mul(self.columns)
    }

    /// Whether it is a matrix (what is quantized) rather than a norm or a bias (what is not).
    #[must_use]
    pub const fn is_matrix(&self) -> bool {
        matches!(
            self.role,
            Role::TokenEmbedding
                | Role::PositionEmbedding
                | Role::TokenTypeEmbedding
                | Role::Query
                | Role::Key
                | Role::Value
                | Role::QueryKeyValue
                | Role::AttentionOutput
                | Role::Gate
                | Role::Up
                | Role::GateUp
                | Role::Down
                | Role::OutputHead
                | Role::Pooler
        )
    }
}

/// Exact numbers of parameters, equal to what the published checkpoint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parameters {
    /// All of the below.
    pub total: u64,
    /// Token, position and type embeddings.
    pub embedding: u64,
    /// The output head, where it is not the embedding.
    pub output_head: u64,
    /// Attention of every layer, its biases and head norms included.
    pub attention: u64,
    /// Feed-forward of every layer.
    pub feed_forward: u64,
    /// Norms outside attention, poolers.
    pub other: u64,
}

impl Model {
    /// Every weight tensor, from the input to the output. Tied embeddings appear once, as the embedding.
    #[must_use]
    pub fn tensors(&self) -> Vec<WeightTensor> {
        let mut list = List { tensors: Vec::new(), layer: None };
        list.matrix(Role::TokenEmbedding, self.vocab, self.hidden);
        if self.embeddings.positions > 0 {
            list.matrix(Role::PositionEmbedding, self.embeddings.positions, self.hidden);
        }
        if self.embeddings.token_types > 0 {
            list.matrix(Role::TokenTypeEmbedding, self.embeddings.token_types, self.hidden);
        }
        list.norm(self.embeddings.norm, Role::EmbeddingNorm, Role::EmbeddingNormBias, self.hidden);
        for (index, layer) in (0u64..).zip(&self.layers) {
            list.layer = Some(index);
            list.layer(layer, self.hidden);
        }
        list.layer = None;
        list.norm(self.final_norm, Role::FinalNorm, Role::FinalNormBias, self.hidden);
        match self.head {
            Head::LanguageModel { .. } if !self.tied_embeddings => {
                list.matrix(Role::OutputHead, self.vocab, self.hidden);
            }
            Head::Pooler => {
                list.matrix(Role::Pooler, self.hidden, self.hidden);
                list.vector(Role::PoolerBias, self.hidden);
            }
            Head::LanguageModel { .. } | Head::None => {}
        }
        list.tensors
    }

    /// Exact numbers of parameters.
    #[must_use]
    pub fn parameters(&self) -> Parameters {
        let mut sum = Parameters::default();
        for tensor in self.tensors() {
            let n = tensor.elements();
            let part = match tensor.role {
                Role::TokenEmbedding | Role::PositionEmbedding | Role::TokenTypeEmbedding => {
                    &mut sum.embedding
                }
                Role::OutputHead => &mut sum.output_head,
                Role::Query
                | Role::Key
                | Role::Value
                | Role::QueryKeyValue
                | Role::QueryBias
                | Role::KeyBias
                | Role::ValueBias
                | Role::QueryNorm
                | Role::KeyNorm
                | Role::AttentionOutput
                | Role::AttentionOutputBias => &mut sum.attention,
                Role::Gate
                | Role::Up
                | Role::GateUp
                | Role::Down
                | Role::GateBias
                | Role::UpBias
                | Role::DownBias => &mut sum.feed_forward,
                Role::EmbeddingNorm
                | Role::EmbeddingNormBias
                | Role::LayerNorm(_)
                | Role::LayerNormBias(_)
                | Role::FinalNorm
                | Role::FinalNormBias
                | Role::Pooler
                | Role::PoolerBias => &mut sum.other,
            };
            *part = part.saturating_add(n);
            sum.total = sum.total.saturating_add(n);
        }
        sum
    }
}

/// The list as it grows.
struct List {
    tensors: Vec<WeightTensor>,
    layer: Option<u64>,
}

impl List {
    fn matrix(&mut self, role: Role, rows: u64, columns: u64) {
        self.tensors.push(WeightTensor { role, layer: self.layer, rows, columns });
    }

    fn vector(&mut self, role: Role, length: u64) {
        self.matrix(role, 1, length);
    }

    fn norm(&mut self, norm: Option<Norm>, weight: Role, bias: Role, length: u64) {
        match norm {
            None => {}
            Some(Norm::Rms) => self.vector(weight, length),
            Some(Norm::Layer) => {
                self.vector(weight, length);
                self.vector(bias, length);
            }
        }
    }

    fn layer(&mut self, layer: &Layer, hidden: u64) {
        for n in &layer.norms {
            self.norm(Some(n.norm), Role::LayerNorm(n.place), Role::LayerNormBias(n.place), hidden);
        }
        let a = &layer.attention;
        let (q, kv) = (a.query_width(), a.kv_width());
        if a.fused_qkv {
            self.matrix(Role::QueryKeyValue, q.saturating_add(kv.saturating_mul(2)), hidden);
        } else {
            self.matrix(Role::Query, q, hidden);
            self.matrix(Role::Key, kv, hidden);
            self.matrix(Role::Value, kv, hidden);
        }
        if a.qkv_bias {
            self.vector(Role::QueryBias, q);
            self.vector(Role::KeyBias, kv);
            self.vector(Role::ValueBias, kv);
        }
        if a.qk_norm {
            self.vector(Role::QueryNorm, a.head_size);
            self.vector(Role::KeyNorm, a.head_size);
        }
        self.matrix(Role::AttentionOutput, hidden, q);
        if a.output_bias {
            self.vector(Role::AttentionOutputBias, hidden);
        }
        let f = &layer.feed_forward;
        if f.gated && f.fused_gate_up {
            self.matrix(Role::GateUp, f.intermediate.saturating_mul(2), hidden);
        } else {
            if f.gated {
                self.matrix(Role::Gate, f.intermediate, hidden);
            }
            self.matrix(Role::Up, f.intermediate, hidden);
        }
        self.matrix(Role::Down, hidden, f.intermediate);
        if f.bias {
            if f.gated {
                self.vector(Role::GateBias, f.intermediate);
            }
            self.vector(Role::UpBias, f.intermediate);
            self.vector(Role::DownBias, hidden);
        }
    }
}
