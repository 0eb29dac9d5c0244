//! What an engine is: numbers in, bytes out.

use crate::bytes::{Bytes, Tokens};
use crate::document::estimate::{Components, EngineVersion, Estimate, HostMemory, KvEstimate, Warning};
use crate::error::PlanError;

/// The numbers of a plan that can change from one evaluation to the next while model, engine, precisions and layout stay.
///
/// Fields of the other workloads are 0 (lengths, counts) or none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Numbers {
    /// Serve: tokens of each prompt.
    pub prompt: Tokens,
    /// Serve: tokens generated after it.
    pub output: Tokens,
    /// Serve: sequences at once. Embed: the batch.
    pub sequences: u64,
    /// Serve: longest sequence admitted, at least prompt + output.
    pub max_model_len: Tokens,
    /// Serve: tokens of one step; none: the engine's default.
    pub max_batched_tokens: Option<Tokens>,
    /// Serve: the scheduler's limit of sequences; none: the engine's default.
    pub max_sequences: Option<u64>,
    /// Serve: share of memory that the engine may fill, 0 to 1; none: the engine's default.
    pub memory_fraction: Option<f64>,
    /// Serve: llama.cpp's `-ngl`; none: all layers.
    pub gpu_layers: Option<u32>,
    /// Serve: tokens at the beginning of every prompt that the cache holds once; counted as far as the prompt goes.
    pub shared_prefix: Tokens,
    /// Serve: tokens of every sequence that are proposed and not yet accepted.
    pub proposed: u64,
    /// Train and embed: tokens of a sequence.
    pub sequence: Tokens,
    /// Train: sequences in one forward pass of one replica.
    pub micro_batch: u64,
    /// Train: forward passes to one step.
    pub gradient_accumulation: u64,
    /// Memory of one GPU that a program sees (CUDA's total); zero where it is not known.
    pub memory: Bytes,
    /// What others have taken of it.
    pub in_use: Bytes,
}

impl Numbers {
    /// Serve: prompt and output.
    #[must_use]
    pub fn sequence_end(&self) -> Tokens {
        self.prompt + self.output
    }

    /// Serve: prompt, output and what is proposed beyond it, which ends where the longest sequence does.
    #[must_use]
    pub fn sequence_held(&self) -> Tokens {
        (self.sequence_end() + Tokens(self.proposed)).min(self.max_model_len.max(self.sequence_end()))
    }

    /// Serve: tokens that a sequence has in common with all others.
    #[must_use]
    pub fn common(&self) -> Tokens {
        self.shared_prefix.min(self.prompt)
    }
}

/// What a plan takes, in bytes of the GPU that carries most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Breakdown {
    /// By component; `total` is set by [`Breakdown::finish`].
    pub parts: Components,
    /// Tensors alive at the peak, as the engine's own counter would say.
    pub allocated: Bytes,
    /// The allocator's pool at its largest.
    pub reserved: Bytes,
    /// Host memory; `total` is set by [`Breakdown::finish`].
    pub host: HostMemory,
    /// Cache and pool.
    pub kv: KvEstimate,
    /// Visible memory less what is in use, less what the engine leaves free.
    pub capacity: Bytes,
    /// Whether the pool, if the engine has one, holds what is asked.
    pub pool: Pool,
    /// Whether it fits; set by [`Breakdown::finish`].
    pub fits: bool,
}

/// The state of an engine's pool of cache pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pool {
    /// The engine has none.
    #[default]
    None,
    /// It holds one longest sequence and all concurrent ones.
    Enough,
    /// It does not.
    Short,
    /// Weights and activations leave nothing for it.
    Negative,
}

impl Breakdown {
    /// Sums up the parts, with the larger of cache and pool, and decides whether it fits. A capacity of zero is not known
    /// and holds everything.
    #[must_use]
    pub fn finish(mut self) -> Self {
        let p = &mut self.parts;
        p.total = p.weights
            + p.kv_cache.max(self.kv.pool_bytes)
            + p.recurrent_state
            + p.activations
            + p.temporary
            + p.gradients
            + p.optimizer
            + p.auxiliary
            + p.cuda_graphs
            + p.runtime
            + p.context;
        let h = &mut self.host;
        h.total = h.weights + h.kv_cache + h.optimizer;
        let within = self.capacity == Bytes::ZERO || self.parts.total <= self.capacity;
        self.fits = within && matches!(self.pool, Pool::None | Pool::Enough);
        self
    }
}

/// How far measured figures lie from the planned ones, one standard deviation as a share of the figure, by component. Where
/// nothing was measured it is an assumption, and `basis` says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    /// Of the weights.
    pub weights: f64,
    /// Of cache, pool and recurrent state.
    pub cache: f64,
    /// Of activations and temporary buffers.
    pub activations: f64,
    /// Of gradients and optimizer states.
    pub states: f64,
    /// Of CUDA graphs, runtime and context.
    pub overhead: f64,
    /// What it rests on, with n.
    pub basis: String,
}

/// An engine, prepared for one model, one set of precisions and one layout.
pub trait Policy: Send + Sync {
    /// The engine and the version that is planned.
    fn engine(&self) -> EngineVersion;

    /// What the numbers take. This is the hot path of every solver: no strings, no JSON, and (Candle's tape apart) no
    /// allocation. The answer is not finished.
    ///
    /// # Errors
    /// The field whose number the engine refuses, and what it accepts.
    fn breakdown(&self, numbers: &Numbers) -> Result<Breakdown, PlanError>;

    /// Fills in what only an estimate shows and no solver asks: phases, bytes per token where they cost more than the rest.
    /// The estimate has everything of the finished breakdown already.
    ///
    /// # Errors
    /// As [`Policy::breakdown`].
    fn complete(&self, numbers: &Numbers, estimate: &mut Estimate) -> Result<(), PlanError> {
        let _ = (numbers, estimate);
        Ok(())
    }

    /// What the reader should know of this plan in this engine.
    fn warnings(&self, numbers: &Numbers) -> Vec<Warning> {
        let _ = numbers;
        Vec::new()
    }

    /// How sure the figures are.
    fn spread(&self) -> Spread;

    /// The command that runs the plan, where one command does.
    fn command(&self, numbers: &Numbers) -> Option<String> {
        let _ = numbers;
        None
    }
}
