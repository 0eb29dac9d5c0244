//! The weight tensors of a model, as its published checkpoint holds them.

use super::{
    Attention, DenseFeedForward, Experts, FeedForward, Head, LatentAttention, Layer, Mixer, Model, Norm,
    NormPlace, QkNorm, Recurrent,
};

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
    /// How many of the same shape there are: 1, or one for each expert.
    pub copies: u64,
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
    OutputHeadBias,
    Pooler,
    PoolerBias,
    /// A classifier's scores.
    Classifier,
    ClassifierBias,
    /// A masked language model's norm before its logits.
    HeadNorm,
    /// A bias by relative position, shared by the layers.
    RelativePositionBias,
    /// Multi-token prediction: from hidden state and embedding together to the width (`eh_proj`), and its three norms.
    NextTokenInput,
    NextTokenNorm,
    /// Bias of queries and keys' norms.
    QueryNormBias,
    KeyNormBias,
    /// One learned logit for each head.
    Sinks,
    /// Latent attention: queries' compression (`q_a_proj`), its norm, and their expansion (`q_b_proj`).
    QueryDown,
    QueryDownNorm,
    QueryUp,
    /// Latent attention: the latent vector and the rotated key (`kv_a_proj_with_mqa`), its norm, and their expansion
    /// (`kv_b_proj`).
    KeyValueDown,
    KeyValueDownNorm,
    KeyValueUp,
    /// Mixture of experts: the router's scores and their bias.
    Router,
    RouterBias,
    /// One of `copies` routed experts.
    ExpertGate,
    ExpertUp,
    ExpertDown,
    ExpertGateBias,
    ExpertUpBias,
    ExpertDownBias,
    /// The shared experts, as one feed-forward.
    SharedGate,
    SharedUp,
    SharedDown,
    /// The learned gate of the shared experts' output.
    SharedExpertGate,
    /// Recurrent mixers: input projection, step and decay projections, output projection.
    RecurrentInput,
    RecurrentInputBias,
    /// Mamba: from the inner width to step, input and output matrices (`x_proj`). Gated delta: `in_proj_ba`.
    RecurrentSelect,
    /// Mamba's `dt_proj` and its bias, or the bias alone.
    RecurrentStep,
    RecurrentStepBias,
    /// `A_log` and `D`.
    RecurrentDecay,
    RecurrentSkip,
    RecurrentNorm,
    /// Norms of step, input and output matrices (Jamba).
    RecurrentSelectNorm,
    RecurrentOutput,
    RecurrentOutputBias,
    Convolution,
    ConvolutionBias,
    /// A block of weights beside the language model, by its place in [`Model::towers`].
    Tower(u32),
}

impl WeightTensor {
    /// Number of elements, all copies together.
    #[must_use]
    pub const fn elements(&self) -> u64 {
        self.rows.saturating_mul(self.columns).saturating_mul(self.copies)
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
                | Role::Classifier
                | Role::NextTokenInput
                | Role::QueryDown
                | Role::QueryUp
                | Role::KeyValueDown
                | Role::KeyValueUp
                | Role::Router
                | Role::ExpertGate
                | Role::ExpertUp
                | Role::ExpertDown
                | Role::SharedGate
                | Role::SharedUp
                | Role::SharedDown
                | Role::SharedExpertGate
                | Role::RecurrentInput
                | Role::RecurrentSelect
                | Role::RecurrentStep
                | Role::RecurrentOutput
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
    /// Attention (or the recurrent mixer) of every layer, its biases and head norms included.
    pub attention: u64,
    /// Feed-forward of every layer.
    pub feed_forward: u64,
    /// Norms outside attention, poolers, towers.
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
        if self.embeddings.relative_buckets > 0 {
            let heads = self.layers.iter().find_map(Layer::attention).map_or(0, |a| a.heads);
            list.matrix(Role::RelativePositionBias, self.embeddings.relative_buckets, heads);
        }
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
            Head::Pooler => list.projection(Role::Pooler, Role::PoolerBias, self.hidden, self.hidden, true),
            Head::Classifier { labels } => {
                list.projection(Role::Pooler, Role::PoolerBias, self.hidden, self.hidden, true);
                list.projection(Role::Classifier, Role::ClassifierBias, labels, self.hidden, true);
            }
            Head::MaskedLanguageModel => {
                list.matrix(Role::Pooler, self.hidden, self.hidden);
                list.vector(Role::HeadNorm, self.hidden);
                list.vector(Role::OutputHeadBias, self.vocab);
            }
            Head::LanguageModel { .. } | Head::None => {}
        }
        if self.head_bias {
            list.vector(Role::OutputHeadBias, self.vocab);
        }
        for (index, tower) in (0u32..).zip(&self.towers) {
            list.vector(Role::Tower(index), tower.parameters);
        }
        list.tensors
    }

    /// The tensors of the layers that predict further tokens (multi-token prediction), which [`Model::tensors`] leaves out:
    /// engines load them only to speculate. Each has, beside its layer, a projection of hidden state and embedding together
    /// and three norms (DeepSeek-V3, arXiv 2412.19437, section 2.2). Layers are counted on from those of the model.
    #[must_use]
    pub fn next_token_tensors(&self) -> Vec<WeightTensor> {
        let mut list = List { tensors: Vec::new(), layer: None };
        for (index, layer) in (self.layers.len() as u64..).zip(&self.next_token_layers) {
            list.layer = Some(index);
            list.matrix(Role::NextTokenInput, self.hidden, self.hidden.saturating_mul(2));
            list.copies(Role::NextTokenNorm, 1, self.hidden, 3);
            list.layer(layer, self.hidden);
        }
        list.tensors
    }

    /// Exact numbers of parameters, without the layers that predict further tokens.
    #[must_use]
    pub fn parameters(&self) -> Parameters {
        let mut sum = Parameters::default();
        for tensor in self.tensors() {
            let n = tensor.elements();
            let part = match tensor.role {
                Role::TokenEmbedding | Role::PositionEmbedding | Role::TokenTypeEmbedding => {
                    &mut sum.embedding
                }
                Role::OutputHead | Role::OutputHeadBias => &mut sum.output_head,
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
                | Role::AttentionOutputBias
                | Role::QueryNormBias
                | Role::KeyNormBias
                | Role::Sinks
                | Role::QueryDown
                | Role::QueryDownNorm
                | Role::QueryUp
                | Role::KeyValueDown
                | Role::KeyValueDownNorm
                | Role::KeyValueUp
                | Role::RecurrentInput
                | Role::RecurrentInputBias
                | Role::RecurrentSelect
                | Role::RecurrentStep
                | Role::RecurrentStepBias
                | Role::RecurrentDecay
                | Role::RecurrentSkip
                | Role::RecurrentNorm
                | Role::RecurrentSelectNorm
                | Role::RelativePositionBias
                | Role::RecurrentOutput
                | Role::RecurrentOutputBias
                | Role::Convolution
                | Role::ConvolutionBias => &mut sum.attention,
                Role::Gate
                | Role::Up
                | Role::GateUp
                | Role::Down
                | Role::GateBias
                | Role::UpBias
                | Role::DownBias
                | Role::Router
                | Role::RouterBias
                | Role::ExpertGate
                | Role::ExpertUp
                | Role::ExpertDown
                | Role::ExpertGateBias
                | Role::ExpertUpBias
                | Role::ExpertDownBias
                | Role::SharedGate
                | Role::SharedUp
                | Role::SharedDown
                | Role::SharedExpertGate => &mut sum.feed_forward,
                Role::EmbeddingNorm
                | Role::EmbeddingNormBias
                | Role::LayerNorm(_)
                | Role::LayerNormBias(_)
                | Role::FinalNorm
                | Role::FinalNormBias
                | Role::Pooler
                | Role::PoolerBias
                | Role::Classifier
                | Role::ClassifierBias
                | Role::HeadNorm
                | Role::NextTokenInput
                | Role::NextTokenNorm
                | Role::Tower(_) => &mut sum.other,
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
        self.copies(role, rows, columns, 1);
    }

    fn vector(&mut self, role: Role, length: u64) {
        self.matrix(role, 1, length);
    }

    fn copies(&mut self, role: Role, rows: u64, columns: u64, copies: u64) {
        self.tensors.push(WeightTensor { role, layer: self.layer, rows, columns, copies });
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
        match &layer.mixer {
            Mixer::Attention(a) => self.attention(a, hidden),
            Mixer::Latent(a) => self.latent(a, hidden),
            Mixer::Recurrent(r) => self.recurrent(r, hidden),
        }
        match &layer.feed_forward {
            FeedForward::Dense(f) => self.dense(f, hidden),
            FeedForward::Experts(e) => self.experts(e, hidden),
            FeedForward::None => {}
        }
    }

    fn attention(&mut self, a: &Attention, hidden: u64) {
        let (q, kv) = (a.query_width(), a.kv_width());
        let projected = if a.output_gate { q.saturating_mul(2) } else { q };
        if a.fused_qkv {
            self.matrix(Role::QueryKeyValue, projected.saturating_add(kv.saturating_mul(2)), hidden);
        } else {
            self.matrix(Role::Query, projected, hidden);
            self.matrix(Role::Key, kv, hidden);
            self.matrix(Role::Value, kv, hidden);
        }
        if a.qkv_bias {
            self.vector(Role::QueryBias, projected);
            self.vector(Role::KeyBias, kv);
            self.vector(Role::ValueBias, kv);
        }
        match a.qk_norm {
            QkNorm::None => {}
            QkNorm::Head => {
                self.vector(Role::QueryNorm, a.head_size);
                self.vector(Role::KeyNorm, a.head_size);
            }
            QkNorm::HeadWithBias => {
                self.vector(Role::QueryNorm, a.head_size);
                self.vector(Role::QueryNormBias, a.head_size);
                self.vector(Role::KeyNorm, a.head_size);
                self.vector(Role::KeyNormBias, a.head_size);
            }
            QkNorm::Full => {
                self.vector(Role::QueryNorm, q);
                self.vector(Role::KeyNorm, kv);
            }
        }
        if a.sinks {
            self.vector(Role::Sinks, a.heads);
        }
        self.matrix(Role::AttentionOutput, hidden, q);
        if a.output_bias {
            self.vector(Role::AttentionOutputBias, hidden);
        }
    }

    fn latent(&mut self, a: &LatentAttention, hidden: u64) {
        let query = a.heads.saturating_mul(a.nope_size.saturating_add(a.rope_size));
        match a.query_rank {
            None => self.matrix(Role::Query, query, hidden),
            Some(rank) => {
                self.matrix(Role::QueryDown, rank, hidden);
                self.vector(Role::QueryDownNorm, rank);
                self.matrix(Role::QueryUp, query, rank);
            }
        }
        self.matrix(Role::KeyValueDown, a.cache_elements_per_token(), hidden);
        self.vector(Role::KeyValueDownNorm, a.kv_rank);
        let expanded = a.heads.saturating_mul(a.nope_size.saturating_add(a.value_size));
        self.matrix(Role::KeyValueUp, expanded, a.kv_rank);
        self.matrix(Role::AttentionOutput, hidden, a.heads.saturating_mul(a.value_size));
    }

    fn recurrent(&mut self, r: &Recurrent, hidden: u64) {
        match *r {
            Recurrent::Mamba { inner, state_size, conv_kernel, step_rank, conv_bias, bias, norms } => {
                self.projection(
                    Role::RecurrentInput,
                    Role::RecurrentInputBias,
                    inner.saturating_mul(2),
                    hidden,
                    bias,
                );
                self.convolution(r.conv_channels(), conv_kernel, conv_bias);
                self.matrix(
                    Role::RecurrentSelect,
                    step_rank.saturating_add(state_size.saturating_mul(2)),
                    inner,
                );
                if norms {
                    self.vector(Role::RecurrentSelectNorm, step_rank);
                    self.copies(Role::RecurrentSelectNorm, 1, state_size, 2);
                }
                self.projection(Role::RecurrentStep, Role::RecurrentStepBias, inner, step_rank, true);
                self.vector(Role::RecurrentDecay, inner.saturating_mul(state_size));
                self.vector(Role::RecurrentSkip, inner);
                self.projection(Role::RecurrentOutput, Role::RecurrentOutputBias, hidden, inner, bias);
            }
            Recurrent::Mamba2 { heads, head_size, conv_kernel, conv_bias, bias, norm, .. } => {
                let inner = heads.saturating_mul(head_size);
                let rows = inner.saturating_add(r.conv_channels()).saturating_add(heads);
                self.projection(Role::RecurrentInput, Role::RecurrentInputBias, rows, hidden, bias);
                self.convolution(r.conv_channels(), conv_kernel, conv_bias);
                self.vector(Role::RecurrentStepBias, heads);
                self.vector(Role::RecurrentDecay, heads);
                self.vector(Role::RecurrentSkip, heads);
                if norm {
                    self.vector(Role::RecurrentNorm, inner);
                }
                self.projection(Role::RecurrentOutput, Role::RecurrentOutputBias, hidden, inner, bias);
            }
            Recurrent::GatedDelta { value_heads, value_size, conv_kernel, .. } => {
                let inner = value_heads.saturating_mul(value_size);
                self.matrix(Role::RecurrentInput, r.conv_channels().saturating_add(inner), hidden);
                self.matrix(Role::RecurrentSelect, value_heads.saturating_mul(2), hidden);
                self.convolution(r.conv_channels(), conv_kernel, false);
                self.vector(Role::RecurrentStepBias, value_heads);
                self.vector(Role::RecurrentDecay, value_heads);
                self.vector(Role::RecurrentNorm, value_size);
                self.matrix(Role::RecurrentOutput, hidden, inner);
            }
        }
    }

    fn projection(&mut self, weight: Role, bias: Role, rows: u64, columns: u64, has_bias: bool) {
        self.matrix(weight, rows, columns);
        if has_bias {
            self.vector(bias, rows);
        }
    }

    fn convolution(&mut self, channels: u64, kernel: u64, bias: bool) {
        self.matrix(Role::Convolution, channels, kernel);
        if bias {
            self.vector(Role::ConvolutionBias, channels);
        }
    }

    fn dense(&mut self, f: &DenseFeedForward, hidden: u64) {
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

    fn experts(&mut self, e: &Experts, hidden: u64) {
        self.matrix(Role::Router, e.routed, hidden);
        if e.router_bias {
            self.vector(Role::RouterBias, e.routed);
        }
        let (n, f) = (e.routed, &e.expert);
        if f.gated {
            self.copies(Role::ExpertGate, f.intermediate, hidden, n);
        }
        self.copies(Role::ExpertUp, f.intermediate, hidden, n);
        self.copies(Role::ExpertDown, hidden, f.intermediate, n);
        if f.bias {
            if f.gated {
                self.copies(Role::ExpertGateBias, 1, f.intermediate, n);
            }
            self.copies(Role::ExpertUpBias, 1, f.intermediate, n);
            self.copies(Role::ExpertDownBias, 1, hidden, n);
        }
        if let Some(shared) = &e.shared {
            if shared.gated {
                self.matrix(Role::SharedGate, shared.intermediate, hidden);
            }
            self.matrix(Role::SharedUp, shared.intermediate, hidden);
            self.matrix(Role::SharedDown, hidden, shared.intermediate);
            if e.shared_gate {
                self.matrix(Role::SharedExpertGate, 1, hidden);
            }
        }
    }
}
