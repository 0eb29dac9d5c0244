//! Engines: how each allocates what a model needs.

mod accept;
pub(crate) mod candle;
mod deepspeed;
pub mod fitted;
mod litgpt;
mod llama_cpp;
mod megatron;
mod policy;
mod request;
pub(crate) mod resolved;
pub(crate) mod serving;
mod sglang;
mod shard;
pub(crate) mod stored;
mod tape;
mod tensorrt_llm;
mod torch;
mod torchtitan;
mod torchtune;
mod training;
mod transformers;
mod vllm;

pub use fitted::{Constant, Fitted};
pub use policy::{Breakdown, Numbers, Policy, Pool, Spread};
pub use request::{
    CacheElement, CandlePeaks, CandleRequest, CandleTask, Decoder, Device, Peak, PhaseOfPeak, WeightStorage,
};

use crate::document::plan::EngineName;
use crate::error::PlanError;
use resolved::Resolved;

/// The engine of a plan, prepared for it.
///
/// # Errors
/// The field that the engine refuses, and what it accepts.
pub(crate) fn prepare(resolved: &Resolved) -> Result<Box<dyn Policy>, PlanError> {
    serving::check(resolved)?;
    let policy = match resolved.plan.engine.name {
        EngineName::Candle => candle::prepare(resolved),
        EngineName::Vllm => vllm::prepare(resolved),
        EngineName::TensorrtLlm => tensorrt_llm::prepare(resolved),
        EngineName::Sglang => sglang::prepare(resolved),
        EngineName::LlamaCpp => llama_cpp::prepare(resolved),
        EngineName::Transformers => transformers::prepare(resolved),
        EngineName::Litgpt => litgpt::prepare(resolved),
        EngineName::Torchtune => torchtune::prepare(resolved),
        EngineName::Torchtitan => torchtitan::prepare(resolved),
        EngineName::Megatron => megatron::prepare(resolved),
        EngineName::Deepspeed => deepspeed::prepare(resolved),
    }?;
    serving::beside(resolved, policy)
}
