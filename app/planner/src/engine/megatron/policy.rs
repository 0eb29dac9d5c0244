//! Megatron-LM as an engine of plans.

use super::command;
use super::layer::Numerics;
use super::layout::Ranks;
use super::stage::{self, Alive, Pipeline, Recipe, Stage};
use super::theoretical::{Run, theoretical};
use crate::bytes::Bytes;
use crate::document::estimate::{Components, EngineVersion, Estimate, HostMemory, PhasePeak, Warning};
use crate::document::plan::{
    Attention, Checkpointing, EngineName, OffloadTo, Optimizer, PipelineSchedule, Plan, Train, TrainMethod,
    Workload,
};
use crate::document::precision::{ActivationPrecision, WeightPrecision};
use crate::engine::accept;
use crate::engine::policy::{Breakdown, Numbers, Policy, Spread};
use crate::engine::resolved::Resolved;
use crate::engine::training::cost::Microbatch;
use crate::error::PlanError;
use crate::model::Model;

/// The Megatron-LM core that is planned.
const VERSION: &str = "0.14";

/// The CUDA context with the modules of `PyTorch`, cuBLAS and Transformer Engine. Assumed, not measured: the band carries
/// it.
const CUDA_CONTEXT: Bytes = Bytes::from_mib(600);
/// Buffers of one NCCL communicator among the GPUs of a node. Assumed, not measured: the band carries it.
const COMMUNICATOR: Bytes = Bytes::from_mib(256);
/// Share of the allocator's pool that is tensors at the peak: `mem_factor` of `SimuMax` 1.2's strategies, which its
/// authors took from Megatron runs (`configs/strategy/*.json`).
const POOL_SHARE_PERCENT: u64 = 94;

struct Megatron {
    plan: Plan,
    train: Train,
    model: Model,
    ranks: Ranks,
    pipeline: Pipeline,
    /// What each of `pipeline.each` always holds.
    constant: Vec<Constant>,
    communicators: Bytes,
    warnings: Vec<Warning>,
}

/// What a stage holds whatever the numbers are.
#[derive(Debug, Clone, Copy, Default)]
struct Constant {
    weights: u64,
    gradients: u64,
    optimizer: u64,
    /// Made-up gradients and workspaces.
    workspaces: u64,
    /// Masters and moments that are kept on the host instead.
    host: u64,
}

impl Constant {
    const fn total(self) -> u64 {
        self.weights
            .saturating_add(self.gradients)
            .saturating_add(self.optimizer)
            .saturating_add(self.workspaces)
    }
}

/// Whether the plan computes in IEEE half precision.
pub(super) fn is_fp16(plan: &Plan) -> bool {
    plan.precision.activations == Some(ActivationPrecision::Fp16)
        || plan.precision.weights == Some(WeightPrecision::Fp16)
}

/// Prepares a plan.
///
/// # Errors
/// The field that the engine refuses, and what it accepts.
pub(crate) fn prepare(resolved: &Resolved) -> Result<Box<dyn Policy>, PlanError> {
    let plan = &resolved.plan;
    if resolved.embeds() {
        return Err(accept::embeds_nothing("Megatron-LM"));
    }
    let Workload::Train(train) = &plan.workload else {
        return Err(PlanError::unsupported(
            "workload.kind",
            "Megatron-LM is planned as a trainer",
            "give train, or another engine",
        ));
    };
    check(resolved, train)?;
    let model = &resolved.model;
    let experts = model.layers.iter().find_map(|l| l.experts()).map(|x| x.routed);
    let ranks = Ranks::of(&plan.parallelism, experts)?;
    check_heads(model, &ranks)?;
    let element = if train.mixed_precision { 2 } else { 4 };
    let recipe = Recipe {
        numerics: Numerics {
            element,
            linear_input: if train.float8_linear { 1 } else { element },
            eager: plan.attention == Some(Attention::Eager),
        },
        checkpointing: train.checkpointing,
        fused_loss: train.fused_cross_entropy,
        fp8: train.float8_linear,
        schedule: plan.parallelism.pipeline_schedule,
    };
    let pipeline = stage::pipeline(model, &ranks, &recipe)?;
    let offloaded = plan.parallelism.offload.optimizer == OffloadTo::Cpu;
    let workspaces = Workspaces::of(resolved);
    let constant = pipeline
        .each
        .iter()
        .map(|s| constant(s, plan, train, &ranks, recipe, workspaces, offloaded))
        .collect();
    let groups = [ranks.tensor, ranks.pipeline, ranks.data * ranks.context, ranks.context, ranks.expert];
    let communicators = COMMUNICATOR * groups.into_iter().filter(|n| *n > 1).count() as u64;
    Ok(Box::new(Megatron {
        plan: plan.clone(),
        train: train.clone(),
        model: model.clone(),
        ranks,
        pipeline,
        constant,
        communicators,
        warnings: warnings(resolved, train, &ranks),
    }))
}

/// Workspaces of matrix products, in bytes.
#[derive(Clone, Copy)]
struct Workspaces {
    /// `PyTorch`'s and Transformer Engine's, one each.
    plain: u64,
    /// One for each of the four streams of grouped products.
    grouped: u64,
}

impl Workspaces {
    /// 32 MiB each on GPUs with fp8 tensor cores of the Hopper line on, else 8.125 MiB (`aten/src/ATen/cuda/
    /// CUDABlas.cpp`, `parseChosenWorkspaceSize`) and 4 MiB (Transformer Engine, `pytorch/module/base.py`,
    /// `get_cublas_workspace_size_bytes`); grouped products have `_NUM_MAX_CUBLAS_STREAMS` = 4.
    fn of(resolved: &Resolved) -> Self {
        let recent = resolved.gpu.is_some_and(|g| g.tflops.fp8.is_some());
        let (torch, engine) = if recent { (32 << 20, 32 << 20) } else { (8320 << 10, 4 << 20) };
        Self { plain: torch + engine, grouped: 4 * engine }
    }
}

fn constant(
    stage: &Stage,
    plan: &Plan,
    train: &Train,
    ranks: &Ranks,
    recipe: Recipe,
    workspaces: Workspaces,
    offloaded: bool,
) -> Constant {
    let held = stage.held;
    let all = held.dense.saturating_add(held.expert);
    let moments = match train.optimizer {
        Optimizer::Sgd => 0,
        Optimizer::SgdMomentum => 4,
        _ => 8,
    };
    // fp32 training needs no second copy of the weights.
    let states = moments + if train.mixed_precision { 4 } else { 0 };
    let (by_dense, by_expert) = if plan.parallelism.zero_stage >= 1 {
        (ranks.data.saturating_mul(ranks.context), ranks.expert_data)
    } else {
        (1, 1)
    };
    let optimizer = held
        .dense
        .saturating_mul(states)
        .div_ceil(by_dense)
        .saturating_add(held.expert.saturating_mul(states).div_ceil(by_expert));
    // Rows and columns of each weight in fp8, cast once a step.
    let fp8 = if recipe.fp8 { held.linear.saturating_mul(2) } else { 0 };
    let grouped = if stage.experts { workspaces.grouped } else { 0 };
    Constant {
        weights: all.saturating_mul(recipe.numerics.element).saturating_add(fp8),
        gradients: all.saturating_mul(4),
        optimizer: if offloaded { 0 } else { optimizer },
        host: if offloaded { optimizer } else { 0 },
        workspaces: stage.dummy_gradients.saturating_add(workspaces.plain).saturating_add(grouped),
    }
}

/// The field of the plan that Megatron cannot do, or that is not planned of it.
#[allow(clippy::too_many_lines, reason = "one list of what is refused")]
fn check(resolved: &Resolved, train: &Train) -> Result<(), PlanError> {
    let plan = &resolved.plan;
    if let Some(version) = plan.engine.version.as_deref()
        && !matches!(version, "0.14" | "0.14.0" | "core_v0.14.0")
    {
        let shown: String = version.chars().take(40).collect();
        return Err(PlanError::not_planned_yet(
            "engine.version",
            format!("Megatron-LM core {shown}"),
            format!("give {VERSION}, or leave it out"),
        ));
    }
    if plan.engine.variant.is_some() {
        return Err(PlanError::unsupported("engine.variant", "Megatron-LM has no variants", "leave it out"));
    }
    if resolved.gpu.is_none() {
        return Err(PlanError::unsupported(
            "gpu.id",
            "Megatron-LM trains on GPUs",
            "give a GPU of the catalogue",
        ));
    }
    if !resolved.model.is_decoder() {
        return Err(PlanError::unsupported(
            "model",
            format!("{} is no decoder; pretrain_gpt.py trains decoders", resolved.model.name),
            "give a model that generates",
        ));
    }
    let unsupported: [(&str, bool, &str, &str); 9] = [
        (
            "workload.method",
            train.method != TrainMethod::Full,
            "Megatron-LM trains every parameter",
            "give full, or another engine",
        ),
        (
            "workload.optimizer",
            !matches!(train.optimizer, Optimizer::Adamw | Optimizer::Sgd | Optimizer::SgdMomentum),
            "Megatron-LM core 0.14 has Adam and SGD",
            "give adamw or sgd-momentum",
        ),
        (
            "workload.master_weights",
            train.mixed_precision && !train.master_weights,
            "Megatron-LM keeps fp32 masters of 16-bit parameters",
            "give true, or leave it out",
        ),
        (
            "workload.optimizer_in_backward",
            train.optimizer_in_backward,
            "Megatron-LM steps after the last backward pass",
            "give false",
        ),
        (
            "workload.compile",
            train.compile,
            "Megatron-LM's layers are fused by hand, not compiled",
            "give false",
        ),
        (
            "workload.async_tensor_parallel",
            train.async_tensor_parallel && !(plan.parallelism.sequence && plan.parallelism.tensor > 1),
            "overlap needs tensor and sequence parallelism",
            "give sequence true and tensor above 1, or false",
        ),
        (
            "parallelism.offload.parameters",
            plan.parallelism.offload.parameters != OffloadTo::None,
            "Megatron-LM keeps its parameters on the GPU",
            "give none",
        ),
        (
            "parallelism.offload.optimizer",
            plan.parallelism.offload.optimizer == OffloadTo::Nvme,
            "Megatron-LM offloads optimizer states to host memory only",
            "give cpu or none",
        ),
        (
            "workload.lora",
            train.lora.is_some() || train.teacher.is_some(),
            "Megatron-LM trains every parameter of one model",
            "leave it out",
        ),
    ];
    if let Some((field, _, problem, remedy)) = unsupported.into_iter().find(|(_, refused, ..)| *refused) {
        return Err(PlanError::unsupported(field, problem, remedy));
    }
    let not_yet: [(&str, bool, &str, &str); 3] = [
        (
            "parallelism.zero_stage",
            plan.parallelism.zero_stage > 1,
            "sharding of gradients and parameters in Megatron-LM",
            "give 0 or 1 (the distributed optimizer)",
        ),
        (
            "workload.activation_offload",
            train.activation_offload,
            "offloading of activations in Megatron-LM",
            "give false",
        ),
        (
            "model",
            !resolved.model.towers.is_empty(),
            "training of a vision tower in Megatron-LM",
            "give a text model",
        ),
    ];
    if let Some((field, _, what, remedy)) = not_yet.into_iter().find(|(_, refused, ..)| *refused) {
        return Err(PlanError::not_planned_yet(field, what, remedy));
    }
    let trainable = matches!(
        plan.precision.weights,
        None | Some(
            WeightPrecision::Bf16 | WeightPrecision::Fp16 | WeightPrecision::Fp32 | WeightPrecision::Tf32
        )
    );
    if !trainable {
        return Err(PlanError::unsupported(
            "precision.weights",
            "Megatron-LM trains 16- and 32-bit parameters",
            "give bf16, fp16 or fp32; for fp8 products give workload.float8_linear",
        ));
    }
    match &plan.attention {
        None
        | Some(
            Attention::Eager
            | Attention::Flash
            | Attention::MemoryEfficient
            | Attention::SlidingWindow { .. },
        ) => Ok(()),
        Some(Attention::Longformer { .. } | Attention::BigBird { .. }) => Err(PlanError::unsupported(
            "attention.kind",
            "Megatron-LM has eager and flash attention, with or without a window",
            "give flash or eager",
        )),
    }
}

/// Heads must divide over tensor ranks (`megatron/training/arguments.py`).
fn check_heads(model: &Model, ranks: &Ranks) -> Result<(), PlanError> {
    for layer in &model.layers {
        let (heads, groups) = match &layer.mixer {
            crate::model::Mixer::Attention(a) => (a.heads, a.kv_heads),
            crate::model::Mixer::Latent(a) => (a.heads, a.heads),
            crate::model::Mixer::Recurrent(_) => continue,
        };
        if !heads.is_multiple_of(ranks.tensor) || !groups.is_multiple_of(ranks.tensor) {
            return Err(PlanError::unsupported(
                "parallelism.tensor",
                format!("{} does not divide {heads} query and {groups} key heads", ranks.tensor),
                "give a divisor of both",
            ));
        }
    }
    Ok(())
}

fn warnings(resolved: &Resolved, train: &Train, ranks: &Ranks) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if resolved.model.layers.iter().any(|l| l.experts().is_some()) {
        warnings.push(Warning::new(
            "expert-load-even",
            "Planned with tokens spread evenly over experts; an uneven batch takes more on the rank it favours.",
        ));
    }
    if !resolved.model.next_token_layers.is_empty() {
        warnings.push(Warning::new(
            "next-token-layers-not-trained",
            "The layers that predict further tokens are left out, as Megatron does without --mtp-num-layers.",
        ));
    }
    if train.float8_linear {
        warnings.push(Warning::new(
            "fp8-not-measured",
            "fp8 copies of weights and inputs are counted from Transformer Engine's code; no measured run to hold them \
             against.",
        ));
    }
    let divided = ranks.pipeline > 1
        && !(resolved.model.layers.len() as u64).is_multiple_of(ranks.pipeline)
        && !matches!(resolved.layout().pipeline_schedule, PipelineSchedule::Interleaved { .. });
    if divided {
        warnings.push(Warning::new(
            "pipeline-uneven",
            "Layers do not divide over the stages: the first and the last stage take fewer \
             (--decoder-first-pipeline-num-layers, --decoder-last-pipeline-num-layers).",
        ));
    }
    warnings
}

impl Megatron {
    fn microbatch(&self, numbers: &Numbers) -> Microbatch {
        let sequence = numbers.sequence.0;
        let tokens = sequence.saturating_mul(numbers.micro_batch);
        Microbatch {
            tokens: tokens.div_ceil(self.ranks.context),
            pairs: tokens.saturating_mul(sequence).div_ceil(self.ranks.context),
        }
    }

    /// The stage that carries most.
    fn most(&self, numbers: &Numbers) -> (Constant, Alive) {
        let batch = self.microbatch(numbers);
        let mut most = (Constant::default(), Alive::default());
        let mut total = 0;
        for (stage, &constant) in self.pipeline.each.iter().zip(&self.constant) {
            let alive = stage.peak(&self.pipeline, batch, numbers.gradient_accumulation);
            let sum = constant.total().saturating_add(alive.kept).saturating_add(alive.added);
            if sum >= total {
                (most, total) = ((constant, alive), sum);
            }
        }
        most
    }

    /// Buffers of overlapped tensor parallelism: eight products have one of the residual stream's size each, outside the
    /// allocator (Transformer Engine, `pytorch/module/base.py`, `initialize_ub`).
    fn overlap_buffers(&self, numbers: &Numbers) -> Bytes {
        if self.train.async_tensor_parallel {
            let tokens = self.microbatch(numbers).tokens;
            Bytes(tokens.saturating_mul(self.model.hidden).saturating_mul(16))
        } else {
            Bytes::ZERO
        }
    }
}

impl Policy for Megatron {
    fn engine(&self) -> EngineVersion {
        EngineVersion { name: EngineName::Megatron, version: VERSION.to_owned(), variant: None }
    }

    fn breakdown(&self, numbers: &Numbers) -> Result<Breakdown, PlanError> {
        let (constant, alive) = self.most(numbers);
        let allocated = constant.total().saturating_add(alive.kept).saturating_add(alive.added);
        let reserved = allocated.saturating_div(POOL_SHARE_PERCENT).saturating_mul(100);
        Ok(Breakdown {
            parts: Components {
                weights: Bytes(constant.weights),
                gradients: Bytes(constant.gradients),
                optimizer: Bytes(constant.optimizer),
                activations: Bytes(alive.kept),
                temporary: Bytes(alive.added.saturating_add(constant.workspaces)),
                runtime: Bytes(reserved.saturating_sub(allocated))
                    + self.communicators
                    + self.overlap_buffers(numbers),
                context: CUDA_CONTEXT,
                ..Components::default()
            },
            allocated: Bytes(allocated),
            reserved: Bytes(reserved),
            host: HostMemory { optimizer: Bytes(constant.host), ..HostMemory::default() },
            capacity: numbers.free_memory(),
            ..Breakdown::default()
        })
    }

    fn complete(&self, numbers: &Numbers, estimate: &mut Estimate) -> Result<(), PlanError> {
        let (constant, alive) = self.most(numbers);
        let states = constant.total();
        let phases = [
            ("forward", states.saturating_add(alive.kept)),
            ("backward", states.saturating_add(alive.kept).saturating_add(alive.added)),
            ("step", states),
        ];
        estimate.phases = Some(
            phases
                .map(|(phase, peak)| PhasePeak { phase: phase.to_owned(), peak_bytes: Bytes(peak) })
                .to_vec(),
        );
        Ok(())
    }

    fn warnings(&self, numbers: &Numbers) -> Vec<Warning> {
        let mut warnings = self.warnings.clone();
        let run = Run {
            ranks: self.ranks,
            distributed_optimizer: self.plan.parallelism.zero_stage == 1,
            schedule: self.plan.parallelism.pipeline_schedule,
            sequence: numbers.sequence.0,
            micro_batch: numbers.micro_batch,
            microbatches: numbers.gradient_accumulation,
        };
        let printed = theoretical(&self.model, &run);
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        let activations = if self.ranks.sequence && self.train.checkpointing == Checkpointing::Selective {
            format!(", activation={:.2} MB", mib(printed.activations))
        } else {
            String::new()
        };
        warnings.push(Warning::new(
            "megatron-prints",
            format!(
                "Megatron's own log will say: weight and optimizer={:.2} MB{activations} (its MB are MiB; workspaces, \
                 experts' activations and the output layer's gradient are not in it).",
                mib(printed.weights_and_optimizer)
            ),
        ));
        warnings
    }

    fn spread(&self) -> Spread {
        Spread {
            weights: 0.001,
            cache: 0.0,
            activations: 0.03,
            states: 0.001,
            overhead: 0.5,
            basis: "tensors counted from Megatron-LM core 0.14 and Transformer Engine 2.11, nothing fitted; n=6 measured \
                    runs of two models on B200 (allocator's peak): mean error 0.2 %, worst 0.5 %; context, NCCL and the \
                    allocator's slack assumed, from half to twice"
                .to_owned(),
        }
    }

    fn command(&self, numbers: &Numbers) -> Option<String> {
        Some(command::command(&self.plan, &self.train, &self.model, &self.ranks, numbers))
    }
}
