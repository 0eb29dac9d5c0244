//! llama.cpp: `llama-server` over a GGUF file.
//!
//! Four buffers, all allocated before the first token: the model's tensors; the cache of every slot for the whole context
//! (`llama_kv_cache` in `src/llama-kv-cache.cpp`, `llama_kv_cache_iswa` for windows, `llama_memory_recurrent`); the compute
//! buffer, sized by building the graph of a full micro batch (`sched_reserve` in `src/llama-context.cpp`); and the outputs,
//! in host memory. The token embedding always stays in host memory; of the layers the last `-ngl` go to the GPU, the output
//! head first.

mod cache;
mod compute;
mod version;
mod weights;

use std::fmt::Write as _;

use self::cache::Cache;
use self::compute::Widths;
use self::version::Behaviour;
use self::weights::Weights;
use super::accept;
use super::policy::{Breakdown, Numbers, Policy, Pool, Spread};
use super::resolved::Resolved;
use crate::bytes::{Bytes, Tokens};
use crate::document::estimate::{Components, EngineVersion, HostMemory, KvEstimate, Warning};
use crate::document::plan::{Attention, CacheKind, EngineName, Plan};
use crate::document::precision::CachePrecision;
use crate::error::PlanError;
use crate::ggml::GgmlType;

/// `--ubatch-size`.
const MICRO_BATCH: Tokens = Tokens(512);
/// `LLAMA_MAX_SEQ`.
const MAX_SLOTS: u64 = 256;
/// What the CUDA context and the kernels' modules take. Assumed: 0.3 to 0.75 GiB are reported as unaccounted.
const CONTEXT: Bytes = Bytes::from_mib(450);
/// The pool that the CUDA backend grows for quantized activations and dequantized matrices. Assumed.
const RUNTIME: Bytes = Bytes::from_mib(64);

#[allow(clippy::struct_excessive_bools, reason = "each says one thing of the run, independent of the others")]
struct LlamaCpp {
    behaviour: Behaviour,
    model: String,
    file: &'static str,
    weights: Weights,
    cache: Cache,
    widths: Widths,
    /// Devices that the layers are divided over.
    pipeline: u64,
    /// Devices that every matrix is divided over by rows.
    rows: u64,
    /// On the processor alone nothing is offloaded and what is counted is host memory.
    processor: bool,
    unified: bool,
    kv_name: &'static str,
    flash: bool,
    tower: bool,
}

/// Prepares a plan.
///
/// # Errors
/// The field that the engine refuses, and what it accepts.
pub(crate) fn prepare(resolved: &Resolved) -> Result<Box<dyn Policy>, PlanError> {
    let (plan, model, layout) = (&resolved.plan, &resolved.model, resolved.layout());
    if resolved.embeds() {
        return Err(accept::embedding_not_planned("llama.cpp"));
    }
    let Some(serve) = resolved.serve() else {
        return Err(PlanError::unsupported(
            "workload.kind",
            "llama.cpp is planned as a server that generates",
            "give serve, or another engine",
        ));
    };
    accept::no_training_layout("llama.cpp", layout)?;
    let processor = resolved.gpu.is_none();
    accept::absent(
        "llama.cpp",
        &[
            ("parallelism.context", layout.context > 1),
            ("parallelism.expert", layout.expert > 1),
            ("workload.memory_fraction", serve.memory_fraction.is_some()),
        ],
    )?;
    accept::absent(
        "llama.cpp on the processor",
        &[
            ("parallelism.tensor", processor && layout.tensor > 1),
            ("parallelism.pipeline", processor && layout.pipeline > 1),
            ("workload.gpu_layers", processor && serve.gpu_layers.is_some_and(|n| n > 0)),
        ],
    )?;
    if layout.tensor > 1 && layout.pipeline > 1 {
        return Err(PlanError::unsupported(
            "parallelism.pipeline",
            "llama.cpp divides by layers or by rows, not by both",
            "leave pipeline or tensor out",
        ));
    }
    accept::attention("llama.cpp", plan, &["eager", "flash"])?;
    accept::cache("llama.cpp", plan, CacheKind::Slab)?;
    for (field, slots) in [
        ("workload.concurrent_sequences", Some(serve.concurrent_sequences)),
        ("workload.max_sequences", serve.max_sequences),
    ] {
        if let Some(slots) = slots.filter(|n| *n > MAX_SLOTS) {
            return Err(PlanError::unsupported(
                field,
                format!("{slots} slots are more than llama.cpp's {MAX_SLOTS}"),
                format!("give at most {MAX_SLOTS}"),
            ));
        }
    }
    let behaviour = Behaviour::of(plan)?;
    let flash = match plan.attention {
        None => behaviour.flash_by_default,
        Some(Attention::Flash) => true,
        Some(_) => false,
    };
    let kv = cache_type(plan, flash)?;
    let (weights, file) = Weights::of(plan, model)?;
    let unified = resolved.gpu.is_some_and(|g| g.name.starts_with("Apple"));
    Ok(Box::new(LlamaCpp {
        model: model.name.clone(),
        file,
        weights,
        cache: Cache::of(model, kv),
        widths: Widths::of(model, &behaviour, flash),
        behaviour,
        pipeline: u64::from(layout.pipeline),
        rows: u64::from(layout.tensor),
        processor,
        unified,
        kv_name: kv.as_str(),
        flash,
        tower: !model.towers.is_empty(),
    }))
}

fn cache_type(plan: &Plan, flash: bool) -> Result<GgmlType, PlanError> {
    let kind = match plan.precision.kv_cache {
        None | Some(CachePrecision::Fp16) => GgmlType::F16,
        Some(CachePrecision::Bf16) => GgmlType::Bf16,
        Some(CachePrecision::Fp32) => GgmlType::F32,
        Some(CachePrecision::Q8_0) => GgmlType::Q8_0,
        Some(CachePrecision::Q5_1) => GgmlType::Q5_1,
        Some(CachePrecision::Q5_0) => GgmlType::Q5_0,
        Some(CachePrecision::Q4_1) => GgmlType::Q4_1,
        Some(CachePrecision::Q4_0) => GgmlType::Q4_0,
        Some(other) => {
            return Err(PlanError::unsupported(
                "precision.kv_cache",
                format!("llama.cpp has no {other} cache"),
                "give fp16, bf16, fp32, q8_0, q5_1, q5_0, q4_1 or q4_0, or leave it out",
            ));
        }
    };
    if kind.is_quantized() && !flash {
        return Err(PlanError::unsupported(
            "precision.kv_cache",
            "llama.cpp quantizes the cache only with flash attention",
            "give fp16, or the attention flash",
        ));
    }
    Ok(kind)
}

/// Slots of the server: `--parallel`.
fn slots(numbers: &Numbers) -> u64 {
    numbers.max_sequences.unwrap_or(numbers.sequences).max(1)
}

/// Tokens of a micro batch.
fn micro_batch(numbers: &Numbers) -> u64 {
    let context = cache::cells(numbers.max_model_len.0).saturating_mul(slots(numbers));
    numbers.max_batched_tokens.unwrap_or(MICRO_BATCH).0.min(context.max(1)).max(1)
}

/// What one device holds.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    weights: u64,
    cache: u64,
    state: u64,
}

impl LlamaCpp {
    /// The first layer on a GPU; the output head counts as the last.
    fn first_on_gpu(&self, numbers: &Numbers) -> u64 {
        let all = self.weights.layers() + 1;
        if self.processor { 0 } else { all - numbers.gpu_layers.map_or(all, |n| u64::from(n).min(all)) }
    }

    /// What the device with layers `from..to` holds, the head (layer `layers`) with it.
    fn held(&self, numbers: &Numbers, from: u64, to: u64) -> Held {
        let (slots, micro) = (slots(numbers), micro_batch(numbers));
        let layers = self.weights.layers();
        let (first, last) = (from.min(layers), to.min(layers));
        let head = if to > layers && from <= layers { self.weights.head } else { 0 };
        Held {
            weights: self.weights.between(first, last).saturating_add(head),
            cache: self.cache.bytes(first, last, numbers.max_model_len.0, micro, slots),
            state: self.cache.state(first, last, slots),
        }
    }

    /// The GPU that holds most.
    fn heaviest(&self, numbers: &Numbers) -> Held {
        let start = self.first_on_gpu(numbers);
        let all = self.weights.layers() + 1;
        let count = all - start;
        (0..self.pipeline.max(1))
            .map(|device| {
                let at = |d: u64| start + count * d / self.pipeline.max(1);
                self.held(numbers, at(device), at(device + 1))
            })
            .max_by_key(|h| h.weights.saturating_add(h.cache).saturating_add(h.state))
            .unwrap_or_default()
    }
}

impl Policy for LlamaCpp {
    fn engine(&self) -> EngineVersion {
        EngineVersion { name: EngineName::LlamaCpp, version: self.behaviour.version.clone(), variant: None }
    }

    fn breakdown(&self, numbers: &Numbers) -> Result<Breakdown, PlanError> {
        let (slots, micro) = (slots(numbers), micro_batch(numbers));
        let start = self.first_on_gpu(numbers);
        let layers = self.weights.layers();
        let on_gpu = self.heaviest(numbers);
        let host = self.held(numbers, 0, start);
        let cells = cache::cells(numbers.max_model_len.0);
        let context = cells.saturating_mul(slots);
        // Without a layer on the GPU there is still its context, and prompts are multiplied there.
        let copied = if start > 0 && !self.processor { self.weights.widest_feed_forward } else { 0 };
        let compute = self.widths.buffer(context, cells, micro, slots).saturating_add(copied);
        let input = self.weights.input;
        let (weights, host_weights) = if self.processor {
            (on_gpu.weights.saturating_add(input), 0)
        } else {
            (on_gpu.weights.div_ceil(self.rows.max(1)), host.weights.saturating_add(input))
        };
        let (outside, pool) =
            if self.processor || self.unified { (Bytes::ZERO, Bytes::ZERO) } else { (CONTEXT, RUNTIME) };
        let parts = Components {
            weights: Bytes(weights),
            kv_cache: Bytes(on_gpu.cache),
            recurrent_state: Bytes(on_gpu.state),
            activations: Bytes(compute),
            runtime: pool,
            context: outside,
            ..Components::default()
        };
        let allocated = parts.weights + parts.kv_cache + parts.recurrent_state + parts.activations;
        let per_sequence = self.cache.bytes(0, layers, numbers.max_model_len.0, micro, 1);
        Ok(Breakdown {
            parts,
            allocated,
            reserved: allocated,
            host: HostMemory {
                weights: Bytes(host_weights),
                kv_cache: Bytes(host.cache.saturating_add(host.state)),
                ..HostMemory::default()
            },
            kv: KvEstimate {
                bytes_per_token: Bytes(per_sequence.div_ceil(cells.max(1)).div_ceil(self.pipeline.max(1))),
                pool_bytes: Bytes(on_gpu.cache),
                pool_tokens: context,
                max_concurrent_sequences: if cells == 0 { 0 } else { slots },
            },
            capacity: numbers.free_memory(),
            pool: if slots < numbers.sequences { Pool::Short } else { Pool::Enough },
            ..Breakdown::default()
        })
    }

    fn warnings(&self, numbers: &Numbers) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let start = self.first_on_gpu(numbers);
        if start > 0 && !self.processor {
            warnings.push(Warning::new(
                "layers-on-host",
                format!(
                    "{start} of {} layers, the output head counted, stay in host memory: they run at its speed.",
                    self.weights.layers() + 1
                ),
            ));
        }
        if self.tower {
            warnings.push(Warning::new(
                "vision-in-its-own-file",
                "The vision tower is a file of its own (mmproj) in llama.cpp and is not counted here.",
            ));
        }
        if slots(numbers) < numbers.sequences {
            warnings.push(Warning::new(
                "fewer-slots-than-sequences",
                "There are fewer slots than sequences asked for at once: the rest waits.",
            ));
        }
        warnings
    }

    fn spread(&self) -> Spread {
        Spread {
            weights: 0.002,
            cache: 0.0,
            activations: 0.15,
            states: 0.0,
            overhead: 0.5,
            basis: "6 published file sizes within 0.2 %, caches counted exactly; compute buffers counted from the graph, \
                    within 1 % of 4 logged ones with all layers on the GPU, rough with some on the host; the CUDA \
                    context is assumed, from half to twice"
                .to_owned(),
        }
    }

    fn command(&self, numbers: &Numbers) -> Option<String> {
        let slots = slots(numbers);
        let context = cache::cells(numbers.max_model_len.0).saturating_mul(slots);
        let name = self.model.rsplit('/').next().unwrap_or(&self.model);
        let mut command =
            format!("llama-server -m {name}-{}.gguf -c {context} --parallel {slots}", self.file);
        // Writing to a string does not fail.
        if !self.processor {
            let all = self.weights.layers() + 1;
            let _ = write!(command, " -ngl {}", all - self.first_on_gpu(numbers));
        }
        if let Some(micro) = numbers.max_batched_tokens {
            let _ = write!(command, " -b {micro} -ub {micro}");
        }
        let _ = write!(command, " -fa {}", if self.flash { "on" } else { "off" });
        if self.kv_name != "f16" {
            let _ = write!(command, " -ctk {0} -ctv {0}", self.kv_name);
        }
        if self.rows > 1 {
            command.push_str(" -sm row");
        }
        Some(command)
    }
}

#[cfg(test)]
mod tests;
