//! Recipes of torchtune.
//!
//! Read in pytorch/torchtune at 0031bfb (`recipes/{full,lora}_finetune_{single_device,distributed}.py`, `torchtune/modules/`,
//! `torchtune/modules/loss/ce_chunked_output_loss.py`) with torchao's NF4 and bitsandbytes' optimizers. Everything is in the
//! recipe's one dtype; `log_peak_memory_stats` reads the allocator.

use crate::document::estimate::HostMemory;
use crate::document::plan::{Attention, Checkpointing, EngineName, OffloadTo, Optimizer, Train, TrainMethod};
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

/// The release after the commit that was read.
const VERSION: &str = "0.5";

/// Prepares a plan.
pub(super) fn prepare(resolved: &Resolved, train: &Train) -> Result<Box<dyn Policy>, PlanError> {
    let (plan, model) = (&resolved.plan, &resolved.model);
    accept::common("torchtune", plan, train)?;
    let offload = resolved.layout().offload;
    let dtype = trainer::compute(plan);
    absent(
        "torchtune",
        &[
            ("workload.mixed_precision", train.mixed_precision && dtype.bytes() == 2),
            ("workload.lora.train_embeddings", train.lora.as_ref().is_some_and(|l| l.train_embeddings)),
            ("parallelism.offload.optimizer", offload.optimizer != OffloadTo::None),
            ("parallelism.offload.parameters", offload.parameters != OffloadTo::None),
        ],
    )?;
    let zero = accept::data_parallel("torchtune", resolved, &[0, 3])?;
    let mut warnings = Vec::new();
    let engine = trainer::version(EngineName::Torchtune, plan, VERSION, &mut warnings);
    let adapters = accept::adapters(model, train)?;
    let whole = adapters.is_empty();
    if !whole && train.optimizer_in_backward {
        return Err(PlanError::unsupported(
            "workload.optimizer_in_backward",
            "torchtune's adapter recipes step after the backward pass",
            "leave it out, or give method full",
        ));
    }
    let element = dtype.bytes();
    let base = match trainer::base(plan, model)? {
        Format::Plain(_) => Format::Plain(dtype),
        nf4 @ Format::Nf4 { .. } if !whole => nf4,
        _ => {
            return Err(PlanError::unsupported(
                "precision.weights",
                "torchtune quantizes to NF4 only, and only under adapters",
                "give bf16, or nf4-dq with method qlora",
            ));
        }
    };
    let group =
        if whole { trained::everything(model, element) } else { trained::of_adapters(&adapters, element) };
    let stored = weights::stored(model, base, Head::Plain);
    let all = if whole { stored } else { stored.saturating_add(group.bytes()) };
    let states = group.states(train.optimizer);
    let style = Style {
        element,
        kernel: match plan.attention {
            Some(Attention::Eager) => Kernel::Eager { upcast: false },
            _ => Kernel::Fused,
        },
        // The compiler makes one kernel of a norm.
        norm: if train.compile { NormStyle::Fused } else { NormStyle::ComposedFp32 },
        dropout: false,
        linears: if whole { Linears::Trained } else { Linears::Frozen },
        qkv: Qkv::Separate,
        repeats_kv: true,
        adapter_dropout: false,
        scatters_adapters: false,
    };
    let layers = saved::layers(model, &adapters, &style, train);
    let largest = weights::largest_layer(model, base);
    let gathered = if zero.stage == 3 && zero.ranks > 1 {
        let root = trained::embedding_elements(model).saturating_mul(element);
        largest.bytes.saturating_mul(2).saturating_add(root)
    } else {
        0
    };
    let nccl = if zero.ranks > 1 { trainer::COMMUNICATOR } else { 0 };
    warnings.extend(trainer::offload_warning(&layers, &resolved.numbers));
    let gradients = if train.optimizer_in_backward { 0 } else { zero.gradients(group.bytes()) };
    Ok(Box::new(Trainer {
        engine,
        resident: Resident {
            weights: zero.parameters(all),
            optimizer: zero.optimizer(states.device),
            paged: zero.optimizer(states.paged),
            buffers: if zero.stage == 0 && zero.ranks > 1 { group.bytes() } else { 0 },
            left_over: 0,
        },
        gradients,
        gradients_stay: false,
        gradients_in_flight: group.largest().saturating_mul(element),
        saved: layers.kept,
        layer: layers.one + Cost::fixed(trainer::dequantized(model, base)),
        loss: loss(model.vocab, model.hidden, train, element, whole),
        gathered,
        // The recipes ask for the fused form, which copies nothing.
        step: 0,
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

/// The chunked loss makes the logits of all chunks first; its compiled kernel reads them in place, so that the gradients of all
/// chunks, which exist before the first goes through the head, take their place one by one. A trained head adds each chunk's
/// gradient to the sum of the others': twice its size.
fn loss(vocab: u64, hidden: u64, train: &Train, element: u64, head_trained: bool) -> Loss {
    let head = if head_trained { vocab.saturating_mul(hidden).saturating_mul(element) } else { 0 };
    if train.fused_cross_entropy {
        let chunk = vocab.saturating_mul(element) / 8;
        let token = vocab.saturating_mul(element).saturating_add(chunk);
        let cost = Cost { fixed: head.saturating_mul(2), token, pair: 0 };
        Loss { allocated: cost, reserved: cost, block: Cost::ZERO }
    } else {
        let mut loss = Loss::whole(vocab, element, element == 2);
        loss.allocated += Cost::fixed(head);
        loss.reserved += Cost::fixed(head);
        loss
    }
}

fn spread() -> Spread {
    Spread {
        weights: 0.01,
        cache: 0.0,
        activations: 0.15,
        states: 0.05,
        overhead: 0.6,
        basis: "n=2 runs of torchtune's README on one RTX 4090; the rest derived from its source".to_owned(),
    }
}

/// The recipe and what differs from its configuration.
fn command(resolved: &Resolved, train: &Train) -> impl Fn(&Numbers) -> Option<String> + Send + Sync + use<> {
    let gpus = resolved.gpus;
    let name = resolved.model.name.clone();
    let adapters = train.lora.is_some();
    let place = if gpus > 1 { "distributed" } else { "single_device" };
    let recipe = match train.method {
        TrainMethod::Distill => "knowledge_distillation",
        _ if adapters => "lora_finetune",
        _ => "full_finetune",
    };
    let optimizer = match train.optimizer {
        Optimizer::Adamw => Some("torch.optim.AdamW"),
        Optimizer::Adamw8bit => Some("bitsandbytes.optim.AdamW8bit"),
        Optimizer::PagedAdamw8bit => Some("bitsandbytes.optim.PagedAdamW8bit"),
        Optimizer::Sgd => Some("torch.optim.SGD"),
        Optimizer::SgdMomentum | Optimizer::Adafactor | Optimizer::Lion | Optimizer::Muon => None,
    };
    let in_backward = train.optimizer_in_backward;
    let checkpointing = train.checkpointing != Checkpointing::None;
    move |n| {
        let launch = if gpus > 1 { format!("--nproc_per_node {gpus} ") } else { String::new() };
        let in_backward = if in_backward { " optimizer_in_bwd=True" } else { "" };
        Some(format!(
            "tune run {launch}{recipe}_{place} --config {name} batch_size={} gradient_accumulation_steps={} \
             tokenizer.max_seq_len={} optimizer._component_={} enable_activation_checkpointing={}{in_backward}",
            n.micro_batch,
            n.gradient_accumulation,
            n.sequence,
            optimizer?,
            if checkpointing { "True" } else { "False" },
        ))
    }
}
