//! Training with `ZeRO`, under Hugging Face's Trainer.
//!
//! Read in `DeepSpeed` 0.10 to 0.14 (`runtime/zero/stage_1_and_2.py`, `stage3.py`, `parameter_offload.py`): what each stage
//! holds, its buckets, and what its step makes.

use std::fmt::Write as _;

use crate::bytes::Bytes;
use crate::document::estimate::{HostMemory, Warning};
use crate::document::plan::{Checkpointing, EngineName, Offload, OffloadTo, Train};
use crate::engine::accept::absent;
use crate::engine::fitted::Constant;
use crate::engine::policy::{Numbers, Policy, Spread};
use crate::engine::resolved::Resolved;
use crate::engine::stored::Format;
use crate::engine::training::cost::Cost;
use crate::engine::training::run::{Resident, Trainer};
use crate::engine::training::zero::{Cluster, Zero, deepspeed_zero2, deepspeed_zero3, model_states};
use crate::engine::training::{accept, saved, teacher, trained, weights};
use crate::engine::transformers::train as trainer;
use crate::error::PlanError;
use crate::model::Dtype;

/// The version that is planned.
const VERSION: &str = "0.14";
/// Elements of stage 1 and 2's bucket of gradients in the configuration that the Trainer's documentation gives
/// (`reduce_bucket_size`; `DeepSpeed`'s own default is 5·10^8). Two are allocated whole where communication overlaps
/// (`stage_1_and_2.py`, `ipg_buffer`).
const BUCKET: u64 = 200_000_000;
/// Parameters of stage 3 that may be gathered at once (`stage3_max_live_parameters`).
const LIVE: u64 = 1_000_000_000;
/// Parameters of stage 3 that are stepped at once (`sub_group_size`).
const SUB_GROUP: u64 = 1_000_000_000;
/// GPUs of a node where the plan does not say.
const GPUS_PER_NODE: u64 = 8;

/// Prepares a plan.
pub(super) fn prepare(resolved: &Resolved, train: &Train) -> Result<Box<dyn Policy>, PlanError> {
    let (plan, model) = (&resolved.plan, &resolved.model);
    accept::common("DeepSpeed", plan, train)?;
    absent("DeepSpeed", &[("workload.optimizer_in_backward", train.optimizer_in_backward)])?;
    let zero = accept::data_parallel("DeepSpeed", resolved, &[0, 1, 2, 3])?;
    let offload = resolved.layout().offload;
    check_offload(zero, offload)?;
    let mut warnings = Vec::new();
    let engine = trainer::version(EngineName::Deepspeed, plan, VERSION, &mut warnings);
    let adapters = accept::adapters(model, train)?;
    let whole = adapters.is_empty();
    let dtype = trainer::compute(plan);
    let element = dtype.bytes();
    let base = trainer::base(plan, model)?;
    if whole && !matches!(base, Format::Plain(_)) {
        return Err(PlanError::unsupported(
            "precision.weights",
            "quantized weights cannot be trained whole",
            "give bf16, or method qlora",
        ));
    }
    // The engine casts the whole module to the precision of the computation.
    let base = if matches!(base, Format::Plain(_)) { Format::Plain(dtype) } else { base };
    if element == 2 && !train.master_weights {
        warnings.push(Warning::new(
            "masters-always",
            "DeepSpeed keeps fp32 masters of everything that it trains in 16 bit: planned with them.",
        ));
    }
    let mut group = if whole {
        trained::everything(model, element)
    } else {
        let mut adapters = trained::of_adapters(&adapters, element);
        adapters.tensors.extend(trained::of_embeddings(model, train.lora.as_ref(), element).tensors);
        adapters
    };
    // States are those of the fp32 masters.
    group.state = Dtype::F32.bytes();
    let n = group.parameters();
    let masters = if element == 2 { n.saturating_mul(4) } else { 0 };
    let states = group.states(train.optimizer);
    let frozen = weights::stored(model, base, weights::Head::Plain);
    let all = if whole { frozen } else { frozen.saturating_add(group.bytes()) };
    let moments = zero.optimizer(masters.saturating_add(states.device));
    let on_host = offload.optimizer != OffloadTo::None;
    let parameters_on_host = offload.parameters != OffloadTo::None;

    let head_trained = whole || train.lora.as_ref().is_some_and(|l| l.train_embeddings);
    let layers = saved::layers(model, &adapters, &trainer::style(plan, train, base, whole), train);
    let gathered = gathered(resolved, zero, base, element, parameters_on_host);
    let (step, step_blocks) = step(zero, &group, element, on_host);
    let buffers = buckets(zero, n, model.hidden, element);
    let nccl = if zero.ranks > 1 { trainer::COMMUNICATOR } else { 0 };
    warnings.extend(trainer::offload_warning(&layers, &resolved.numbers));
    let gradients = zero.gradients(group.bytes());
    if whole && element == 2 {
        warnings.push(own_estimate(resolved, zero, n, weights::largest_layer(model, base).parameters));
    }
    let ranks = zero.ranks.min(plan.gpu.gpus_per_node.map_or(GPUS_PER_NODE, u64::from));
    Ok(Box::new(Trainer {
        engine,
        resident: Resident {
            weights: if parameters_on_host { 0 } else { zero.parameters(all) },
            optimizer: if on_host { 0 } else { moments },
            paged: if on_host { 0 } else { states.paged },
            buffers,
            // Stage 3 builds divided parameters one by one, then moves them into one buffer: their blocks stay behind.
            left_over: if zero.stage == 3 { zero.parameters(group.bytes()) } else { 0 },
        },
        // Offloaded gradients go to the host as they come.
        gradients: if on_host { 0 } else { gradients },
        gradients_stay: zero.stage >= 2,
        gradients_in_flight: group.largest().saturating_mul(element),
        saved: layers.kept,
        layer: layers.one + Cost::fixed(trainer::dequantized(model, base)),
        loss: trainer::loss(model, train, element, false, head_trained),
        gathered,
        step,
        step_blocks,
        teacher: teacher::teacher(model, train, element)?,
        host: host(zero, offload, all, n, ranks),
        runtime: resolved.fitted.whole(Constant::TrainerSlack) + nccl,
        context: trainer::CONTEXT,
        spread: spread(),
        warnings,
        command: Box::new(command(resolved, train, zero)),
    }))
}

/// Offload needs a stage that divides what is offloaded.
fn check_offload(zero: Zero, offload: Offload) -> Result<(), PlanError> {
    if offload.optimizer != OffloadTo::None && zero.stage == 0 {
        return Err(PlanError::unsupported(
            "parallelism.offload.optimizer",
            "stage 0 offloads nothing",
            "give parallelism.zero_stage 1, 2 or 3",
        ));
    }
    if offload.optimizer == OffloadTo::Nvme && zero.stage < 3 {
        return Err(PlanError::unsupported(
            "parallelism.offload.optimizer",
            "only stage 3 offloads to a disk",
            "give cpu, or parallelism.zero_stage 3",
        ));
    }
    if offload.parameters != OffloadTo::None && zero.stage < 3 {
        return Err(PlanError::unsupported(
            "parallelism.offload.parameters",
            "only stage 3 offloads parameters",
            "give parallelism.zero_stage 3",
        ));
    }
    Ok(())
}

/// What `DeepSpeed` and the paper would say of the model's states alone: people hold plans against these.
fn own_estimate(resolved: &Resolved, zero: Zero, parameters: u64, largest_layer: u64) -> Warning {
    let each = resolved.plan.gpu.gpus_per_node.map_or(GPUS_PER_NODE, u64::from).min(zero.ranks).max(1);
    let cluster = Cluster { gpus_per_node: each, nodes: zero.ranks.div_ceil(each) };
    let offload = resolved.layout().offload;
    let message = match zero.stage {
        0 | 1 => format!(
            "ZeRO's paper counts {} of model states for each GPU; the plan adds buckets, the step and activations.",
            Bytes(model_states(parameters, zero))
        ),
        stage => {
            let estimated = if stage == 2 {
                deepspeed_zero2(parameters, cluster, offload)
            } else {
                deepspeed_zero3(parameters, largest_layer, cluster, offload, true)
            };
            format!(
                "DeepSpeed's own estimate is {} of model states for each GPU and {} of memory for each host, without \
                 activations.",
                Bytes(estimated.gpu),
                Bytes(estimated.host)
            )
        }
    };
    Warning::new("model-states", message)
}

/// Buckets of gradients: two whole ones in stages 1 and 2; two of hidden² in stage 3 (`reduce_bucket_size` "auto").
fn buckets(zero: Zero, trained: u64, hidden: u64, element: u64) -> u64 {
    let elements = match zero.stage {
        0 if zero.ranks > 1 => return trained.saturating_mul(element),
        0 => 0,
        3 => hidden.saturating_mul(hidden),
        _ => BUCKET,
    };
    elements.saturating_mul(element).saturating_mul(2)
}

/// Parameters of stage 3 that are whole while a pass runs: as many as may be live. One rank has nothing to gather, unless
/// they come from the host.
fn gathered(resolved: &Resolved, zero: Zero, base: Format, element: u64, from_host: bool) -> u64 {
    if zero.stage < 3 || (zero.ranks == 1 && !from_host) {
        return 0;
    }
    let model = &resolved.model;
    let largest =
        weights::largest_layer(model, base).parameters.max(model.vocab.saturating_mul(model.hidden));
    model.parameters().total.min(LIVE.max(largest)).saturating_mul(element)
}

/// What the step makes beside its states, and the blocks it takes.
///
/// Stages 1 and 2 flatten the rank's gradients and copy them to fp32 (`stage_1_and_2.py`, `step`). Stage 3 first takes the norm
/// of each gradient in fp64, then does the same with the gradients of one sub-group (`stage3.py`, `get_grad_norm_direct`,
/// `_prepare_fp32_grad_for_sub_group`).
fn step(zero: Zero, group: &trained::Group, element: u64, on_host: bool) -> (u64, [u64; 3]) {
    if on_host {
        return (0, [0; 3]);
    }
    let n = group.parameters();
    let (part, norm) = if zero.stage == 3 {
        (zero.parameters(n).min(SUB_GROUP), zero.parameters(group.largest()).saturating_mul(8))
    } else {
        (zero.optimizer(n), 0)
    };
    let flat = part.saturating_mul(element);
    let upcast = if element == 2 { part.saturating_mul(4) } else { 0 };
    (flat.saturating_add(upcast).max(norm), [flat, upcast, norm])
}

/// Host memory of one node: 16 bytes a parameter for offloaded masters, moments and gradients (`DeepSpeed`'s own estimate,
/// before its buffers), `2` for parameters. On a disk, only the sub-group that is stepped is in memory.
fn host(zero: Zero, offload: Offload, stored: u64, trained: u64, ranks: u64) -> HostMemory {
    let of_rank = |n: u64| match offload.optimizer {
        OffloadTo::None => 0,
        OffloadTo::Cpu => n.saturating_mul(16),
        OffloadTo::Nvme => n.min(SUB_GROUP).saturating_mul(16),
    };
    let weights = match offload.parameters {
        OffloadTo::Cpu => zero.parameters(stored).saturating_mul(ranks),
        OffloadTo::None | OffloadTo::Nvme => 0,
    };
    HostMemory {
        weights: Bytes(weights),
        optimizer: Bytes(of_rank(zero.optimizer(trained)).saturating_mul(ranks)),
        ..HostMemory::default()
    }
}

fn spread() -> Spread {
    Spread {
        weights: 0.01,
        cache: 0.0,
        activations: 0.25,
        states: 0.08,
        overhead: 0.6,
        basis: "n=18 runs of QwenLM/Qwen's finetune.py on one A100 80 GB (ZeRO-3 whole, ZeRO-2 with adapters on GPTQ)"
            .to_owned(),
    }
}

fn command(
    resolved: &Resolved,
    train: &Train,
    zero: Zero,
) -> impl Fn(&Numbers) -> Option<String> + Send + Sync + use<> {
    let name = resolved.model.name.clone();
    let dtype = if trainer::compute(&resolved.plan) == Dtype::F16 { "fp16" } else { "bf16" };
    let offload = resolved.layout().offload.optimizer != OffloadTo::None;
    let optimizer = trainer::optimizer_flag(train.optimizer);
    let checkpointing = train.checkpointing == Checkpointing::Full;
    let lora = train.lora.clone();
    move |n| {
        let offload = if offload { "_offload" } else { "" };
        let mut line = format!(
            "deepspeed --num_gpus {} trl/scripts/sft.py --deepspeed zero{}{offload}.json --model_name_or_path {name} --{dtype} \
             --max_length {} --per_device_train_batch_size {} --gradient_accumulation_steps {} --optim {}",
            zero.ranks, zero.stage, n.sequence, n.micro_batch, n.gradient_accumulation, optimizer?
        );
        if checkpointing {
            line.push_str(" --gradient_checkpointing");
        }
        if let Some(lora) = &lora {
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
