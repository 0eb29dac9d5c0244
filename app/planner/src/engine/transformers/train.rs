//! Training: Hugging Face's Trainer with PEFT's adapters, on one GPU, by DDP or by FSDP.

use std::fmt::Write as _;

use crate::bytes::Bytes;
use crate::document::estimate::{EngineVersion, HostMemory, Warning};
use crate::document::plan::{Attention, Checkpointing, EngineName, OffloadTo, Optimizer, Plan, Train};
use crate::document::precision::{ActivationPrecision, WeightPrecision};
use crate::engine::accept::absent;
use crate::engine::fitted::Constant;
use crate::engine::policy::{Numbers, Policy, Spread};
use crate::engine::resolved::Resolved;
use crate::engine::stored::Format;
use crate::engine::training::cost::Cost;
use crate::engine::training::loss::Loss;
use crate::engine::training::run::{Resident, Trainer};
use crate::engine::training::saved::{self, Kernel, Layers, Linears, NormStyle, Qkv, Style};
use crate::engine::training::{accept, teacher, trained, weights};
use crate::error::PlanError;
use crate::model::{Dtype, Model, WeightTensor};

/// Versions whose code was read: Transformers, with PEFT 0.5 and `PyTorch` 2.0.
const VERSION: &str = "4.37";

/// The CUDA context of `PyTorch` 2.0 with CUDA 11.8 on an A100, kernels loaded lazily. Assumed; the band carries it.
pub(in crate::engine) const CONTEXT: u64 = 450 << 20;
/// Buffers of one NCCL communicator among the GPUs of a node. Assumed; the band carries it.
pub(in crate::engine) const COMMUNICATOR: u64 = 256 << 20;

/// The number format of the computation.
pub(in crate::engine) fn compute(plan: &Plan) -> Dtype {
    match plan.precision.activations {
        Some(ActivationPrecision::Fp32 | ActivationPrecision::Tf32) => Dtype::F32,
        Some(ActivationPrecision::Fp16) => Dtype::F16,
        Some(ActivationPrecision::Bf16) | None => Dtype::Bf16,
    }
}

/// The base model's storage.
pub(in crate::engine) fn base(plan: &Plan, model: &Model) -> Result<Format, PlanError> {
    match plan.precision.weights {
        Some(precision) => weights::format("precision.weights", precision),
        None => Ok(Format::Plain(model.native.unwrap_or(Dtype::Bf16))),
    }
}

/// How Hugging Face's models run a layer in training.
pub(in crate::engine) fn style(plan: &Plan, train: &Train, format: Format, whole: bool) -> Style {
    let element = compute(plan).bytes();
    // The compiler makes one kernel of a norm.
    let norm = if train.compile { NormStyle::Fused } else { NormStyle::ComposedFp32 };
    let linears = match format {
        _ if whole => Linears::Trained,
        Format::Nf4 { .. } | Format::Int8Row { .. } => Linears::FrozenButSaved,
        _ => Linears::Frozen,
    };
    Style {
        element,
        kernel: match plan.attention {
            Some(Attention::Eager) => Kernel::Eager { upcast: true },
            _ => Kernel::Fused,
        },
        norm,
        dropout: false,
        linears,
        qkv: Qkv::Separate,
        // `repeat_kv` copies for all kernels but FlashAttention's own.
        repeats_kv: !matches!(plan.attention, Some(Attention::Flash)),
        adapter_dropout: true,
        scatters_adapters: false,
    }
}

/// What the product with quantized weights makes of the largest layer: GPTQ's fallback unpacks a whole matrix to 32-bit and
/// 16-bit integers and multiplies it out (12 bytes a parameter; `auto_gptq/nn_modules/qlinear/qlinear_cuda_old.py`), and
/// autograd keeps the 16-bit result of every matrix of the layer; bitsandbytes makes one 16-bit matrix at a time.
pub(in crate::engine) fn dequantized(model: &Model, format: Format) -> u64 {
    let sum = weights::largest_layer(model, format);
    match format {
        Format::Int4Group { .. } => {
            sum.linear.saturating_mul(2).saturating_add(sum.largest_matrix.saturating_mul(12))
        }
        Format::Nf4 { .. } | Format::Int8Row { .. } => sum.largest_matrix.saturating_mul(2),
        _ => 0,
    }
}

/// The loss as Hugging Face's models compute it.
pub(in crate::engine) fn loss(
    model: &Model,
    train: &Train,
    element: u64,
    autocast: bool,
    head_trained: bool,
) -> Loss {
    if train.fused_cross_entropy {
        Loss::liger(model.vocab, model.hidden, element, head_trained)
    } else {
        let mut loss = Loss::whole(model.vocab, element, autocast);
        if head_trained {
            // The head's new gradient, before it is added to the old one.
            let head = Cost::fixed(model.vocab.saturating_mul(model.hidden).saturating_mul(element));
            loss.allocated += head;
            loss.reserved += head;
        }
        loss
    }
}

/// A warning where activations go to the host.
pub(in crate::engine) fn offload_warning(layers: &Layers, numbers: &Numbers) -> Option<Warning> {
    let bytes = Bytes(layers.offloaded.at(numbers));
    (bytes > Bytes::ZERO).then(|| {
        Warning::new(
            "activations-on-host",
            format!("The saved activations take {bytes} of pinned host memory for each GPU."),
        )
    })
}

/// Whether the Trainer of a version takes `PyTorch`'s fused `AdamW` by default, whose step copies nothing
/// (`training_args.py`, `default_optim`, of 5).
fn has_fused_adamw(version: &str) -> bool {
    let major = version.trim_start_matches('v').split('.').next();
    major.and_then(|m| m.parse::<u32>().ok()).is_some_and(|m| m >= 5)
}

/// Echoes a version and says where another one's code was read.
pub(in crate::engine) fn version(
    name: EngineName,
    plan: &Plan,
    known: &str,
    warnings: &mut Vec<Warning>,
) -> EngineVersion {
    if let Some(given) = plan.engine.version.as_deref().filter(|v| *v != known) {
        let shown: String = given.chars().take(40).collect();
        warnings.push(Warning::new(
            "version-as",
            format!("Training is planned as in {known}; what {shown} changed is not known here."),
        ));
    }
    EngineVersion { name, version: known.to_owned(), variant: None }
}

/// Prepares a plan.
pub(super) fn prepare(resolved: &Resolved, train: &Train) -> Result<Box<dyn Policy>, PlanError> {
    let (plan, model) = (&resolved.plan, &resolved.model);
    accept::common("Transformers' Trainer", plan, train)?;
    let zero = accept::data_parallel("Transformers' Trainer", resolved, &[0, 3])?;
    let offload = resolved.layout().offload;
    for (field, to) in [
        ("parallelism.offload.optimizer", offload.optimizer),
        ("parallelism.offload.parameters", offload.parameters),
    ] {
        if to != OffloadTo::None {
            return Err(PlanError::unsupported(
                field,
                "the Trainer alone offloads nothing",
                "give deepspeed",
            ));
        }
    }
    absent("Transformers' Trainer", &[("workload.optimizer_in_backward", train.optimizer_in_backward)])?;
    let mut warnings = Vec::new();
    let fused = plan.engine.version.as_deref().is_some_and(has_fused_adamw);
    let engine = if fused {
        let version = plan.engine.version.as_deref().unwrap_or(VERSION).chars().take(40).collect();
        EngineVersion { name: EngineName::Transformers, version, variant: None }
    } else {
        version(EngineName::Transformers, plan, VERSION, &mut warnings)
    };
    let adapters = accept::adapters(model, train)?;
    let whole = adapters.is_empty();
    let dtype = compute(plan);
    let element = dtype.bytes();
    let format = base(plan, model)?;
    if whole && !matches!(format, Format::Plain(_)) {
        return Err(PlanError::unsupported(
            "precision.weights",
            "quantized weights cannot be trained whole",
            "give bf16, or method qlora",
        ));
    }
    // Autocast computes in 16 bit on parameters that stay in 32.
    let masters = whole && train.mixed_precision && train.master_weights;
    let format = if masters { Format::Plain(Dtype::F32) } else { format };
    let stored_element = if let Format::Plain(dtype) = format { dtype.bytes() } else { element };

    let groups = if whole {
        vec![trained::everything(model, stored_element)]
    } else {
        // PEFT makes adapters in fp32 (up to 0.5, and again from 0.11 as `autocast_adapter_dtype`).
        vec![
            trained::of_adapters(&adapters, Dtype::F32.bytes()),
            trained::of_embeddings(model, train.lora.as_ref(), stored_element),
        ]
    };
    let sum = |of: &dyn Fn(&trained::Group) -> u64| groups.iter().map(of).fold(0, u64::saturating_add);
    let gradients = zero.gradients(sum(&trained::Group::bytes));
    let stored = weights::stored(model, format, weights::Head::Plain);
    let with_adapters = if whole { stored } else { stored.saturating_add(sum(&trained::Group::bytes)) };
    let style = style(plan, train, format, whole);
    let layers = saved::layers(model, &adapters, &style, train);
    // Autocast's 16-bit copies of trained 32-bit parameters live as long as the forward pass.
    let casts = if train.mixed_precision { cast_copies(&groups, element) } else { 0 };
    let head_trained = whole || train.lora.as_ref().is_some_and(|l| l.train_embeddings);
    let one = weights::largest_layer(model, format);
    let gathered = if zero.stage == 3 && zero.ranks > 1 {
        let root = trained::embedding_elements(model).saturating_mul(stored_element);
        one.bytes.saturating_mul(2).saturating_add(root)
    } else {
        0
    };
    let buckets = if zero.stage == 0 && zero.ranks > 1 { gradients } else { 0 };
    let copies = !(fused && train.optimizer == Optimizer::Adamw);
    let foreach = groups
        .iter()
        .filter(|_| copies)
        .map(|g| zero.optimizer(g.foreach(train.optimizer)))
        .max()
        .unwrap_or(0);
    let nccl = if zero.ranks > 1 { COMMUNICATOR } else { 0 };
    warnings.extend(offload_warning(&layers, &resolved.numbers));
    Ok(Box::new(Trainer {
        engine,
        resident: Resident {
            weights: zero.parameters(with_adapters),
            optimizer: zero.optimizer(sum(&|g| g.states(train.optimizer).device)),
            paged: sum(&|g| g.states(train.optimizer).paged),
            buffers: buckets,
            left_over: 0,
        },
        gradients,
        gradients_stay: false,
        gradients_in_flight: groups.iter().map(|g| g.largest().saturating_mul(g.element)).max().unwrap_or(0),
        saved: layers.kept + Cost::fixed(casts),
        layer: layers.one + Cost::fixed(dequantized(model, format)),
        loss: loss(model, train, element, train.mixed_precision && element == 2, head_trained),
        gathered,
        step: foreach,
        step_blocks: [0; 3],
        teacher: teacher::teacher(model, train, element)?,
        host: HostMemory::default(),
        runtime: resolved.fitted.whole(Constant::TrainerSlack) + nccl,
        context: CONTEXT,
        spread: spread(),
        warnings,
        command: Box::new(command(plan, model, train, zero.ranks)),
    }))
}

/// 16-bit copies of the matrices that are trained in 32 bit.
fn cast_copies(groups: &[trained::Group], element: u64) -> u64 {
    let matrices = |g: &trained::Group| {
        g.tensors.iter().filter(|t| t.is_matrix()).map(WeightTensor::elements).fold(0, u64::saturating_add)
    };
    groups
        .iter()
        .filter(|g| g.element > element)
        .map(|g| matrices(g).saturating_mul(element))
        .fold(0, u64::saturating_add)
}

fn spread() -> Spread {
    Spread {
        weights: 0.01,
        cache: 0.0,
        activations: 0.25,
        states: 0.05,
        overhead: 0.6,
        basis: "n=24 runs of QwenLM/Qwen's finetune.py on one A100 80 GB (adapters, lengths 256 to 8192, two models)"
            .to_owned(),
    }
}

/// How a precision of the base model is said to Transformers.
fn quantization(precision: Option<WeightPrecision>) -> &'static str {
    match precision {
        Some(WeightPrecision::Nf4) => " --load_in_4bit --bnb_4bit_quant_type nf4",
        Some(WeightPrecision::Nf4Dq) => " --load_in_4bit --bnb_4bit_quant_type nf4 --use_bnb_nested_quant",
        Some(WeightPrecision::Int8) => " --load_in_8bit",
        _ => "",
    }
}

/// TRL's script, which takes all of it as flags.
fn command(
    plan: &Plan,
    model: &Model,
    train: &Train,
    ranks: u64,
) -> impl Fn(&Numbers) -> Option<String> + Send + Sync + use<> {
    let name = model.name.clone();
    let train = train.clone();
    let dtype = if compute(plan) == Dtype::F16 { "fp16" } else { "bf16" };
    let precision = quantization(plan.precision.weights);
    let flash = if matches!(plan.attention, Some(Attention::Flash)) {
        " --attn_implementation flash_attention_2"
    } else {
        ""
    };
    move |n| {
        let optimizer = optimizer_flag(train.optimizer)?;
        let mut line = format!(
            "torchrun --nproc_per_node {ranks} trl/scripts/sft.py --model_name_or_path {name} --{dtype} \
             --max_length {} --per_device_train_batch_size {} --gradient_accumulation_steps {} --optim {optimizer}\
             {precision}{flash}",
            n.sequence, n.micro_batch, n.gradient_accumulation
        );
        if train.checkpointing == Checkpointing::Full {
            line.push_str(" --gradient_checkpointing");
        }
        if train.fused_cross_entropy {
            line.push_str(" --use_liger_kernel");
        }
        if let Some(lora) = &train.lora {
            let _ = write!(
                line,
                " --use_peft --lora_r {} --lora_target_modules {}",
                lora.rank,
                lora.targets.join(" ")
            );
        }
        Some(line)
    }
}

/// The optimizer's name in `TrainingArguments.optim`; none where it has none.
pub(in crate::engine) const fn optimizer_flag(optimizer: Optimizer) -> Option<&'static str> {
    match optimizer {
        Optimizer::Adamw => Some("adamw_torch"),
        Optimizer::Adamw8bit => Some("adamw_bnb_8bit"),
        Optimizer::PagedAdamw8bit => Some("paged_adamw_8bit"),
        Optimizer::Sgd => Some("sgd"),
        Optimizer::Adafactor => Some("adafactor"),
        Optimizer::Lion => Some("lion_32bit"),
        Optimizer::SgdMomentum | Optimizer::Muon => None,
    }
}
