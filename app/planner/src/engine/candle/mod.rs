//! Candle's memory: what stays after loading, and what is alive at the peaks of prefill and decode.
//!
//! Nothing here is fitted. Each family is its forward pass of candle-transformers 0.11.1, statement by statement, over
//! tensors without numbers ([`tensor`]), with the copies, upcasts and workspaces of the CPU backend ([`gemm`],
//! [`quantized`]). On a CUDA device the same pass is walked without the CPU kernels' workspaces; CUDA's own (cuBLAS, the
//! quantized kernels' buffers) are outside tensors and not counted here.
//!
//! Figures are those after one warm-up of the same sizes: repacked weights and the threads' workspaces, which Candle
//! makes when first needed and keeps, count as present.

#![allow(clippy::many_single_char_names, reason = "the walks keep the names of the sources they follow")]

mod bert;
mod eager;
mod gemm;
mod graph;
mod kv;
mod llama;
mod load;
mod plimsoll;
mod policy;
mod quantized;
mod quantized_gemma3;
mod quantized_llama;
mod quantized_qwen2;
mod quantized_qwen3;
mod qwen3;
mod storage;
mod tensor;
mod training;

pub(crate) use load::reads;
pub(crate) use policy::prepare;

use gemm::Caches;
use quantized::Isa;
use tensor::{Context, Element, Refused, Tensor};

use super::request::{CandlePeaks, CandleRequest, CandleTask, Peak, PhaseOfPeak, WeightStorage};
use super::tape::{Alive, Kind};
use crate::bytes::{Bytes, Tokens};
use crate::document::plan::Host;
use crate::error::PlanError;
use crate::model::{Architecture, Attention, DenseFeedForward, Layer, Model};

/// The Candle that is planned.
pub(crate) const CANDLE_VERSION: &str = "0.11.1";

/// Instruction set assumed where a plan names none: what nearly every x86 server and desktop has.
const ASSUMED_ISA: Isa = Isa::Avx2;
/// Threads assumed where a plan names none. Each costs a slab of the level 2 cache's size.
const ASSUMED_THREADS: u32 = 8;

/// Positions of all sequences beyond which no machine is meant.
const MAX_POSITIONS: u64 = 1 << 40;

/// A family's model, loaded.
trait Family {
    /// Logits of the last position of `ids` (batch × tokens), which follow `position` tokens.
    fn forward(&mut self, ids: &Tensor, position: u64) -> Result<Tensor, Refused>;
    /// Back to the state after loading, but for what the kernels keep.
    fn reset(&mut self);
    /// As if decode steps had gone on until `tokens` are cached. At least one step was done.
    fn seek(&mut self, tokens: u64);
}

/// What `model` takes in Candle for `request`.
///
/// # Errors
/// The field of the plan that Candle cannot do, and what it can; families whose forward pass is not walked here yet.
pub fn peaks(model: &Model, request: &CandleRequest) -> Result<CandlePeaks, PlanError> {
    check(request)?;
    let cx = Context::new(request.device, Processor::of(&request.host)?);
    let run = Run { cx: &cx, request };
    let mut loaded = match request.task {
        CandleTask::Generate => Loaded::Decoder(load(&cx, model, request)?),
        CandleTask::Embed => Loaded::Encoder(Box::new(load_encoder(&cx, model, request)?)),
    };
    let load_peak = cx.tape.peak().total();
    let mut repetition = || match &mut loaded {
        Loaded::Decoder(family) => run.generation(family.as_mut()),
        Loaded::Encoder(encoder) => run.embedding(encoder),
    };
    repetition()?;
    let (prefill, decode) = repetition()?;
    let end = cx.tape.alive();
    let (phase, high) = if decode.total() > prefill.total() {
        (PhaseOfPeak::Decode, decode)
    } else {
        (PhaseOfPeak::Prefill, prefill)
    };
    let peak = if load_peak > high.total() {
        Peak {
            phase: PhaseOfPeak::Load,
            kv_cache: Bytes::ZERO,
            activations: Bytes::ZERO,
            temporary: load_peak - high.weights,
        }
    } else {
        Peak { phase, kv_cache: high.cache, activations: high.activations, temporary: high.temporary }
    };
    Ok(CandlePeaks {
        weights_bytes: high.weights,
        kv_cache_bytes: end.cache,
        load_peak,
        prefill_peak: prefill.total(),
        decode_peak: decode.total(),
        peak,
    })
}

/// The cache that is held once the prompt of `request` is computed, without the peaks on the way.
///
/// # Errors
/// As [`peaks`].
fn cache_held(model: &Model, request: &CandleRequest) -> Result<Bytes, PlanError> {
    let request = &CandleRequest { generate: Tokens(0), ..request.clone() };
    check(request)?;
    let cx = Context::new(request.device, Processor::of(&request.host)?);
    let mut family = load(&cx, model, request)?;
    Run { cx: &cx, request }.generation(family.as_mut())?;
    Ok(cx.tape.alive().cache)
}

/// That a request has a size.
fn check(request: &CandleRequest) -> Result<(), PlanError> {
    let (sequences, length) = match request.task {
        CandleTask::Generate => ("workload.concurrent_sequences", "workload.prompt_tokens"),
        CandleTask::Embed => ("workload.batch", "workload.sequence_tokens"),
    };
    for (field, number) in [(sequences, request.batch), (length, request.prompt.0)] {
        if number == 0 {
            return Err(PlanError::invalid(field, "is 0", "give at least 1"));
        }
    }
    let tokens = request.prompt.0.saturating_add(request.generate.0);
    if request.batch.saturating_mul(tokens) > MAX_POSITIONS {
        return Err(PlanError::invalid(
            "workload",
            format!("{} sequences of {tokens} tokens are more than 2^40 positions", request.batch),
            "give fewer sequences or shorter ones",
        ));
    }
    Ok(())
}

/// What of a processor decides the memory of its kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Processor {
    isa: Isa,
    /// At least 1.
    threads: u64,
    caches: Caches,
}

impl Processor {
    /// As the plan says, or as is assumed where it says nothing.
    fn of(host: &Host) -> Result<Self, PlanError> {
        let isa = match &host.isa {
            None => ASSUMED_ISA,
            Some(word) => Isa::from_word(word).ok_or_else(|| {
                let why = format!("\"{word}\" is unknown");
                PlanError::invalid("host.isa", why, format!("accepted: {}", Isa::WORDS))
            })?,
        };
        Ok(Self {
            isa,
            threads: u64::from(host.threads.unwrap_or(ASSUMED_THREADS)).max(1),
            caches: Caches::of([host.l1d_cache_kib, host.l2_cache_kib, host.l3_cache_kib]),
        })
    }
}

/// What a request runs.
enum Loaded {
    Decoder(Box<dyn Family>),
    Encoder(Box<bert::Bert>),
}

/// Whether Candle's pass of the model's family is walked as far as its hidden states.
fn embeds(model: &Model) -> Result<(), PlanError> {
    if model.architecture == Architecture::Bert {
        return Ok(());
    }
    Err(PlanError::not_planned_yet(
        "model",
        format!("Candle's memory for embeddings of {}", model.architecture),
        "plan a model of the family bert, or give the engine transformers or vllm",
    ))
}

/// Loads an encoder.
fn load_encoder(cx: &Context, model: &Model, request: &CandleRequest) -> Result<bert::Bert, PlanError> {
    embeds(model)?;
    let WeightStorage::Dense(dtype) = request.weights else {
        return Err(PlanError::unsupported(
            "precision.weights",
            "candle-transformers' BERT reads no GGUF weights",
            "give fp32",
        ));
    };
    bert::Bert::load(model, &mut load::Dense::new(cx, model, dtype, request.loaded_from))
}

/// Loads the family's model.
fn load(cx: &Context, model: &Model, request: &CandleRequest) -> Result<Box<dyn Family>, PlanError> {
    let family = model.architecture;
    if let Some(asked) = request.decoder {
        return Ok(Box::new(plimsoll::Decoder::load(cx, model, request, asked)?));
    }
    if !model.towers.is_empty() {
        return Err(not_walked("a vision tower"));
    }
    match &request.weights {
        WeightStorage::Dense(dtype) => {
            let mut weights = load::Dense::new(cx, model, *dtype, request.loaded_from);
            match family {
                Architecture::Llama => Ok(Box::new(llama::Llama::load(cx, model, *dtype, &mut weights)?)),
                Architecture::Mistral
                | Architecture::Qwen2
                | Architecture::Phi3
                | Architecture::Gemma2
                | Architecture::Gemma3 => Ok(Box::new(eager::Eager::load(cx, model, *dtype, &mut weights)?)),
                Architecture::Qwen3 => Ok(Box::new(qwen3::Qwen3::load(cx, model, *dtype, &mut weights)?)),
                Architecture::Bert => Ok(Box::new(bert::Bert::load(model, &mut weights)?)),
                _ => Err(not_walked(&format!("{} from safetensors", family.model_type()))),
            }
        }
        WeightStorage::Fp8 => Err(PlanError::unsupported(
            "precision.weights",
            "fp8: candle-transformers' models compute no fp8",
            "give fp32, bf16 or fp16, or engine.variant plimsoll",
        )),
        WeightStorage::Gguf { types, .. } => {
            let mut weights = load::Gguf::new(cx, model, types, None)?;
            if request.batch > 1 {
                return Err(PlanError::unsupported(
                    "workload.concurrent_sequences",
                    "Candle 0.11.1's quantized models take one sequence at a time: with more, the last position's rows \
                     are not contiguous, which its quantized product refuses",
                    "plan 1 sequence, or dense weights",
                ));
            }
            match family {
                Architecture::Llama => {
                    Ok(Box::new(quantized_llama::QuantizedLlama::load(cx, model, &mut weights)?))
                }
                Architecture::Qwen2 => {
                    Ok(Box::new(quantized_qwen2::QuantizedQwen2::load(cx, model, &mut weights)?))
                }
                Architecture::Qwen3 => {
                    Ok(Box::new(quantized_qwen3::QuantizedQwen3::load(cx, model, &mut weights)?))
                }
                Architecture::Gemma3 => {
                    Ok(Box::new(quantized_gemma3::QuantizedGemma3::load(cx, model, &mut weights)?))
                }
                _ => Err(not_walked(&format!("{} from GGUF", family.model_type()))),
            }
        }
    }
}

/// The layer's softmax attention: the only mixer of the families that are walked.
fn softmax(layer: &Layer) -> Result<&Attention, PlanError> {
    layer.attention().ok_or_else(|| not_walked("layers without softmax attention"))
}

/// The layer's dense feed-forward.
fn dense(layer: &Layer) -> Result<&DenseFeedForward, PlanError> {
    layer.dense().ok_or_else(|| not_walked("a mixture of experts"))
}

fn not_walked(what: &str) -> PlanError {
    PlanError::not_planned_yet(
        "model",
        format!("Candle's memory for {what}"),
        "plan one of llama, mistral, qwen2, qwen3, gemma2, gemma3, phi3, bert from safetensors or llama, qwen2, qwen3, gemma3 \
         from GGUF, or measure this one with `bench-runner run`",
    )
}

fn refused(Refused(what): Refused) -> PlanError {
    PlanError::unsupported(
        "workload",
        format!("Candle 0.11.1 refuses {what}"),
        "change the batch, the lengths or the weights' precision, or plan another engine",
    )
}

/// One prompt and its generation, as a program runs it: prefill, then greedy decode on the device; or one batch embedded.
struct Run<'a> {
    cx: &'a Context,
    request: &'a CandleRequest,
}

impl Run<'_> {
    /// Peaks of prefill and decode.
    fn generation(&self, family: &mut dyn Family) -> Result<(Alive, Alive), PlanError> {
        let (batch, prompt) = (self.request.batch, self.request.prompt.0);
        family.reset();
        let ids = Tensor::new(self.cx, &[batch, prompt], Element::U32, Kind::Activation);
        self.cx.tape.reset_peak();
        let mut token = next(family, &ids, 0).map_err(refused)?;
        let prefill = self.cx.tape.peak();
        self.cx.tape.reset_peak();
        // The prefill gives the first token. Caches grow with every step, so the first and the last step are the ones
        // to walk: the first repacks and copies what later steps find done.
        let steps = self.request.generate.0.saturating_sub(1);
        if steps > 0 {
            token = next(family, &token, prompt).map_err(refused)?;
        }
        if steps > 1 {
            let last = prompt.saturating_add(steps - 1);
            family.seek(last);
            token = next(family, &token, last).map_err(refused)?;
        }
        drop(token);
        Ok((prefill, self.cx.tape.peak()))
    }

    /// The peak of embedding a batch, and what stays.
    fn embedding(&self, encoder: &bert::Bert) -> Result<(Alive, Alive), PlanError> {
        self.cx.tape.reset_peak();
        let shape = [self.request.batch, self.request.prompt.0];
        let ids = Tensor::new(self.cx, &shape, Element::U32, Kind::Activation);
        let mask = Tensor::new(self.cx, &shape, Element::U32, Kind::Activation);
        encoder.embedding(&ids, &mask).map_err(refused)?;
        let pass = self.cx.tape.peak();
        drop((ids, mask));
        Ok((pass, self.cx.tape.alive()))
    }
}

/// A forward pass and the choice of the likeliest token of every sequence.
fn next(family: &mut dyn Family, ids: &Tensor, position: u64) -> Result<Tensor, Refused> {
    let logits = family.forward(ids, position)?;
    let chosen = logits.argmax();
    Ok(chosen.reshape(&[ids.dims()[0], 1]))
}

#[cfg(test)]
mod tests;
