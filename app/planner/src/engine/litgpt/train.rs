//! Fine-tuning with `LitGPT`.
//!
//! Read in Lightning-AI/litgpt at 8641822 (`finetune/lora.py`, `finetune/full.py`, `lit_gpt/model.py`, `lit_gpt/lora.py`) on
//! `PyTorch` 2.1 and bitsandbytes 0.41. What a block saves was checked with autograd's saved-tensor hooks on that code.

use crate::document::estimate::HostMemory;
use crate::document::plan::{Attention, EngineName, OffloadTo, Optimizer, Train, TrainMethod};
use crate::document::precision::WeightPrecision;
use crate::engine::accept::absent;
use crate::engine::fitted::Constant;
use crate::engine::policy::{Numbers, Policy, Spread};
use crate::engine::resolved::Resolved;
use crate::engine::stored::Format;
use crate::engine::training::cost::Cost;
use crate::engine::training::loss::Loss;
use crate::engine::training::run::{Resident, Trainer};
use crate::engine::training::saved::{self, Kernel, Linears, NormStyle, Qkv, Style};
use crate::engine::training::weights::Head;
use crate::engine::training::{accept, teacher, trained, weights};
use crate::engine::transformers::train as trainer;
use crate::error::PlanError;
use crate::model::Dtype;

/// The commit that is planned.
const VERSION: &str = "8641822";

/// Prepares a plan.
pub(super) fn prepare(resolved: &Resolved, train: &Train) -> Result<Box<dyn Policy>, PlanError> {
    let (plan, model) = (&resolved.plan, &resolved.model);
    accept::common("LitGPT", plan, train)?;
    let offload = resolved.layout().offload;
    absent(
        "LitGPT",
        &[
            ("workload.optimizer_in_backward", train.optimizer_in_backward),
            ("workload.activation_offload", train.activation_offload),
            ("workload.teacher", train.method == TrainMethod::Distill),
            ("workload.lora.train_embeddings", train.lora.as_ref().is_some_and(|l| l.train_embeddings)),
            ("parallelism.offload.optimizer", offload.optimizer != OffloadTo::None),
            ("parallelism.offload.parameters", offload.parameters != OffloadTo::None),
        ],
    )?;
    let zero = accept::data_parallel("LitGPT", resolved, &[0, 3])?;
    let mut warnings = Vec::new();
    let engine = trainer::version(EngineName::Litgpt, plan, VERSION, &mut warnings);
    let adapters = accept::adapters(model, train)?;
    let whole = adapters.is_empty();
    let dtype = trainer::compute(plan);
    // bf16-true holds everything in 16 bit; bf16-mixed keeps 32-bit parameters and casts.
    let mixed = train.mixed_precision && dtype.bytes() == 2;
    let base = trainer::base(plan, model)?;
    let quantized = !matches!(base, Format::Plain(_));
    check_quantized(train, quantized, mixed, zero.ranks)?;
    let base = match base {
        Format::Plain(_) if mixed => Format::Plain(Dtype::F32),
        Format::Plain(_) => Format::Plain(dtype),
        other => other,
    };
    let element = dtype.bytes();
    let parameter = if mixed { Dtype::F32.bytes() } else { element };
    let group = if whole {
        trained::everything(model, parameter)
    } else {
        trained::of_adapters(&adapters, parameter)
    };
    // Lightning replaces every linear module, the head's too.
    let stored = weights::stored(model, base, Head::Quantized);
    let all = if whole { stored } else { stored.saturating_add(group.bytes()) };
    let states = group.states(train.optimizer);
    // On quantized weights the script takes bitsandbytes' paged AdamW.
    let paged = quantized && train.optimizer == Optimizer::Adamw;
    let style = Style {
        element,
        kernel: match plan.attention {
            Some(Attention::Eager) => Kernel::Eager { upcast: false },
            _ => Kernel::Fused,
        },
        norm: NormStyle::Composed,
        dropout: false,
        linears: match (whole, quantized) {
            (true, _) => Linears::Trained,
            (false, true) => Linears::FrozenButSaved,
            (false, false) => Linears::Frozen,
        },
        qkv: Qkv::View,
        repeats_kv: true,
        adapter_dropout: true,
        scatters_adapters: true,
    };
    let layers = saved::layers(model, &adapters, &style, train);
    let largest = weights::largest_layer(model, base);
    let (sharded, gradients, gathered) = if zero.stage == 3 && zero.ranks > 1 {
        // FSDP with flat parameters makes gradients of all of a block's parameters, frozen ones included.
        let root = trained::embedding_elements(model).saturating_mul(parameter);
        let block = largest.bytes;
        (zero.parameters(all), zero.gradients(all), block.saturating_mul(3).saturating_add(root))
    } else {
        (all, group.bytes(), 0)
    };
    let casts = if mixed { largest.linear.saturating_mul(element) } else { 0 };
    let dequantized = trainer::dequantized(model, base);
    let foreach = if paged { 0 } else { zero.optimizer(group.foreach(train.optimizer)) };
    let nccl = if zero.ranks > 1 { trainer::COMMUNICATOR } else { 0 };
    Ok(Box::new(Trainer {
        engine,
        resident: Resident {
            weights: sharded,
            optimizer: if paged { 0 } else { zero.optimizer(states.device) },
            paged: if paged { states.device } else { states.paged },
            buffers: if zero.stage == 0 && zero.ranks > 1 { group.bytes() } else { 0 },
            left_over: 0,
        },
        gradients,
        gradients_stay: false,
        gradients_in_flight: group.largest().saturating_mul(parameter),
        saved: layers.kept,
        layer: layers.one + Cost::fixed(dequantized.saturating_add(casts)),
        loss: loss(model.vocab, model.hidden, train.fused_cross_entropy, whole, quantized, element),
        gathered,
        step: foreach,
        step_blocks: [0; 3],
        teacher: teacher::teacher(model, train, element)?,
        host: HostMemory::default(),
        runtime: resolved.fitted.whole(Constant::TrainerSlack) + nccl,
        context: trainer::CONTEXT,
        spread: spread(),
        warnings,
        command: Box::new(command(resolved, train)),
    }))
}

/// What the scripts refuse of quantized weights.
fn check_quantized(train: &Train, quantized: bool, mixed: bool, ranks: u64) -> Result<(), PlanError> {
    if !quantized {
        return Ok(());
    }
    if mixed {
        return Err(PlanError::unsupported(
            "workload.mixed_precision",
            "LitGPT's quantized weights do not go with mixed precision",
            "give false",
        ));
    }
    if ranks > 1 {
        return Err(PlanError::unsupported(
            "parallelism.data",
            "LitGPT trains on quantized weights on one GPU only",
            "give 1, or 16-bit weights",
        ));
    }
    if train.lora.is_none() {
        return Err(PlanError::unsupported(
            "precision.weights",
            "quantized weights cannot be trained whole",
            "give bf16, or method qlora",
        ));
    }
    Ok(())
}

/// Fabric casts the logits to fp32 on their way out of the model; the log-softmax of each chunk of 128 tokens is as large, and
/// all chunks' are alive when the backward pass begins. Without chunks the gradient of all logits is a third.
fn loss(vocab: u64, hidden: u64, chunked: bool, whole: bool, quantized: bool, element: u64) -> Loss {
    let each = if chunked { 8 } else { 12 };
    let table = vocab.saturating_mul(hidden).saturating_mul(element);
    // The head in 16 bit while a quantized one is multiplied, or its gradient.
    let fixed = if quantized || whole { table } else { 0 };
    let cost = Cost { fixed, token: vocab.saturating_mul(each), pair: 0 };
    Loss { allocated: cost, reserved: cost, block: Cost::ZERO }
}

fn spread() -> Spread {
    Spread {
        weights: 0.01,
        cache: 0.0,
        activations: 0.1,
        states: 0.05,
        overhead: 0.6,
        basis: "n=9 fine-tuning runs of LitGPT's resource tables on one A100 40 GB".to_owned(),
    }
}

fn command(resolved: &Resolved, train: &Train) -> impl Fn(&Numbers) -> Option<String> + Send + Sync + use<> {
    let name = resolved.model.name.clone();
    let gpus = resolved.gpus;
    let script = if train.lora.is_some() { "finetune_lora" } else { "finetune_full" };
    let rank = train.lora.as_ref().map(|l| l.rank);
    let half = if trainer::compute(&resolved.plan) == Dtype::F16 { "16" } else { "bf16" };
    let precision = if train.mixed_precision { format!("{half}-mixed") } else { format!("{half}-true") };
    let quantize = match resolved.plan.precision.weights {
        Some(WeightPrecision::Nf4) => " --quantize bnb.nf4",
        Some(WeightPrecision::Nf4Dq) => " --quantize bnb.nf4-dq",
        Some(WeightPrecision::Int8) => " --quantize bnb.int8-training",
        _ => "",
    };
    move |n| {
        let batch = n.micro_batch.saturating_mul(n.gradient_accumulation).saturating_mul(gpus);
        let rank = rank.map(|r| format!(" --lora_r {r}")).unwrap_or_default();
        Some(format!(
            "litgpt {script} {name} --devices {gpus} --precision {precision}{quantize}{rank} --train.micro_batch_size {} \
             --train.global_batch_size {batch} --train.max_seq_length {}",
            n.micro_batch, n.sequence
        ))
    }
}
