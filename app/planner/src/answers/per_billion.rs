//! How much memory do a billion parameters take?

use super::reader::generating;
use super::{Planned, Reader, served};
use crate::bytes::{Bytes, Tokens};
use crate::catalogue;
use crate::document::plan::EngineName;
use crate::document::precision::WeightPrecision;
use crate::error::PlanError;
use crate::model::{Layer, Model};

/// What a billion parameters take in one precision.
#[derive(Debug, Clone, PartialEq)]
pub struct PerBillion {
    /// The precision.
    pub precision: WeightPrecision,
    /// Bytes of 10^9 parameters, the tensors that the precision leaves unquantised included.
    pub bytes: Bytes,
    /// Where the figure comes from.
    pub planned: Planned,
}

/// Precisions, each with the engine that stores it so.
const STORED: [(WeightPrecision, EngineName); 12] = [
    (WeightPrecision::Fp32, EngineName::Transformers),
    (WeightPrecision::Bf16, EngineName::Vllm),
    (WeightPrecision::Fp8, EngineName::Vllm),
    (WeightPrecision::W8a8, EngineName::Vllm),
    (WeightPrecision::Int4G128, EngineName::Vllm),
    (WeightPrecision::Nf4, EngineName::Transformers),
    (WeightPrecision::Nf4Dq, EngineName::Transformers),
    (WeightPrecision::GgufQ8_0, EngineName::LlamaCpp),
    (WeightPrecision::GgufQ6K, EngineName::LlamaCpp),
    (WeightPrecision::GgufQ5KM, EngineName::LlamaCpp),
    (WeightPrecision::GgufQ4KM, EngineName::LlamaCpp),
    (WeightPrecision::GgufQ3KM, EngineName::LlamaCpp),
];
/// Where all of them are planned: what weights take is the same on every GPU.
const ANYWHERE: &str = "h100-sxm-80gb";
/// As long a sequence as shows what the weights take.
const SHORT: Tokens = Tokens(128);

/// Models that show what the parameters alone do not say: a tiny one, one without grouped queries, one with, a mixture of
/// experts, one with latent attention.
const SHAPES: [&str; 5] = [
    "HuggingFaceTB/SmolLM2-135M",
    "meta-llama/Llama-2-7b-hf",
    "meta-llama/Llama-3.1-8B",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "deepseek-ai/DeepSeek-V3",
];
/// Engines that are asked for the whole of it, the first that takes the model answers: no pool hides what it needs.
const WHOLE: [(WeightPrecision, EngineName); 3] = [
    (WeightPrecision::Bf16, EngineName::Transformers),
    (WeightPrecision::GgufBf16, EngineName::LlamaCpp),
    (WeightPrecision::Bf16, EngineName::Vllm),
];
/// Engines that are asked for the cache, the same way: the first keeps it as small as the model allows.
const CACHED: [(WeightPrecision, EngineName); 2] =
    [(WeightPrecision::Bf16, EngineName::Vllm), (WeightPrecision::Bf16, EngineName::Transformers)];

/// What a model's parameters take, and what they do not say.
#[derive(Debug, Clone, PartialEq)]
pub struct Billion {
    /// The model's parameters.
    pub parameters: u64,
    /// Its weights by precision.
    pub rows: Vec<PerBillion>,
    /// All of it in 16 bits on the reader's card.
    pub whole: Planned,
    /// The reader's model first, then others that are unlike it.
    pub others: Vec<Other>,
}

/// What a billion parameters of a model bring with them.
#[derive(Debug, Clone, PartialEq)]
pub struct Other {
    /// The model's catalogue id.
    pub model: String,
    /// Its parameters.
    pub parameters: u64,
    /// Routed experts and those that a token takes, in a mixture of experts.
    pub experts: Option<(u64, u64)>,
    /// Bytes of 10^9 parameters in 16 bits.
    pub sixteen: Bytes,
    /// The same in `Q4_K_M`; none where llama.cpp is not planned with it.
    pub four: Option<Bytes>,
    /// Where cache and 16 bits come from.
    pub planned: Planned,
}

/// How much memory a billion parameters of `model` take by precision, weights alone. Precisions that no engine here has for
/// the model are left out.
///
/// # Errors
/// A model that the catalogue lacks or that generates nothing; where every precision is refused, why the first is.
pub fn per_billion(model: &str) -> Result<Vec<PerBillion>, PlanError> {
    let shape = generating(model)?;
    let rows: Vec<Result<PerBillion, PlanError>> = STORED
        .iter()
        .map(|&(precision, engine)| {
            let planned = Planned::of(served((model, ANYWHERE), engine, precision, short(&shape), 1)?)?;
            Ok(PerBillion { precision, bytes: each(&planned, parameters(model)), planned })
        })
        .collect();
    if rows.iter().all(Result::is_err) {
        return rows.into_iter().collect();
    }
    Ok(rows.into_iter().flatten().collect())
}

/// What a billion parameters of the reader's model take.
///
/// # Errors
/// A value of the reader's that is unknown; where no engine takes the model, why the first does not.
pub fn billion(reader: &Reader) -> Result<Billion, PlanError> {
    reader.model()?;
    let rows = per_billion(&reader.model)?;
    let whole = first(&WHOLE, reader.place(), reader.context, reader.batch)?;
    let shapes = SHAPES.iter().copied().filter(|model| *model != reader.model);
    let others =
        std::iter::once(reader.model.as_str()).chain(shapes).map(other).collect::<Result<_, PlanError>>()?;
    Ok(Billion { parameters: parameters(&reader.model), rows, whole, others })
}

/// What the first of these engines says that takes the model.
fn first(
    engines: &[(WeightPrecision, EngineName)],
    place: (&str, &str),
    context: Tokens,
    batch: u64,
) -> Result<Planned, PlanError> {
    let mut refused = None;
    for &(weights, engine) in engines {
        match Planned::of(served(place, engine, weights, context, batch)?) {
            Ok(planned) => return Ok(planned),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| PlanError::invalid("model", "is not planned", "choose another")))
}

fn other(model: &str) -> Result<Other, PlanError> {
    let shape = generating(model)?;
    let planned = first(&CACHED, (model, ANYWHERE), short(&shape), 1)?;
    let four = served((model, ANYWHERE), EngineName::LlamaCpp, WeightPrecision::GgufQ4KM, short(&shape), 1)?;
    let parameters = parameters(model);
    let experts = shape.layers.iter().find_map(Layer::experts);
    Ok(Other {
        model: model.to_owned(),
        parameters,
        experts: experts.map(|experts| (experts.routed, experts.active)),
        sixteen: each(&planned, parameters),
        four: Planned::of(four).ok().map(|planned| each(&planned, parameters)),
        planned,
    })
}

fn short(model: &Model) -> Tokens {
    SHORT.min(model.max_tokens)
}

/// Bytes of 10^9 parameters.
fn each(planned: &Planned, parameters: u64) -> Bytes {
    let bytes = planned.estimate.per_gpu.weights + planned.estimate.host.weights;
    let each = u128::from(bytes.0) * 1_000_000_000 / u128::from(parameters.max(1));
    Bytes(u64::try_from(each).unwrap_or(u64::MAX))
}

fn parameters(model: &str) -> u64 {
    catalogue::model(model).map_or(0, |entry| entry.parameters)
}
