//! A plan whose names are looked up and whose numbers are checked against the contract, the catalogue and the model. What an
//! engine refuses is the engine's to say.

use super::fitted::Fitted;
use super::policy::Numbers;
use super::vllm::rotary;
use crate::bytes::{Bytes, Tokens};
use crate::catalogue::{self, CPU, Gpu, VisibleMemory};
use crate::document::estimate::Warning;
use crate::document::plan::{EngineName, GpuRef, Host, Parallelism, Plan, SCHEMA, Serve, Train, Workload};
use crate::error::PlanError;
use crate::model::Model;

/// The most sequences at once that a plan may ask.
pub(crate) const MAX_SEQUENCES: u64 = 1 << 20;
/// The most ranks along one axis.
const MAX_RANKS: u32 = 1 << 16;
/// The most tokens of one step, and of a trained sequence.
const MAX_TOKENS: u64 = 1 << 30;

/// A plan, looked up and checked.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    /// The plan as it was given.
    pub(crate) plan: Plan,
    /// What runs.
    pub(crate) model: Model,
    /// The GPU; none: the processor.
    pub(crate) gpu: Option<&'static Gpu>,
    /// GPUs in all: tensor · pipeline · data · context.
    pub(crate) gpus: u64,
    /// The plan's numbers.
    pub(crate) numbers: Numbers,
    /// Whether the matrices are pruned two of four and stored so.
    pub(crate) sparse: bool,
    /// What the reader should know.
    pub(crate) warnings: Vec<Warning>,
    /// Figures that were read off measurements.
    pub(crate) fitted: Fitted,
}

impl Resolved {
    /// Looks up and checks.
    pub(crate) fn of(plan: &Plan) -> Result<Self, PlanError> {
        if plan.schema != SCHEMA {
            return Err(PlanError::invalid(
                "schema",
                format!("version {} of the contract is unknown", plan.schema),
                format!("give {SCHEMA}"),
            ));
        }
        let mut warnings = Vec::new();
        let mut model = Model::from_ref(&plan.model)?;
        let sparse = crate::compress::apply(plan, &mut model, &mut warnings)?;
        check_gpu_facts(plan)?;
        let gpu = resolve_gpu(&plan.gpu)?;
        let gpus = check_layout(plan, gpu)?;
        plan.attention.as_ref().map_or(Ok(()), crate::pattern::check)?;
        check_host(&plan.host)?;
        let mut numbers = workload(plan, &model)?;
        if let Workload::Serve(serve) = &plan.workload
            && let Some(images) = serve.images.filter(|i| i.per_prompt > 0)
        {
            let tokens = numbers.prompt - serve.prompt_tokens;
            warnings.push(Warning::new(
                "image-tokens",
                format!(
                    "{} of the prompt's tokens are images: {} for each of {}.",
                    tokens,
                    tokens.0 / images.per_prompt,
                    images.per_prompt
                ),
            ));
        }
        let memory = memory(&plan.gpu, gpu, &mut warnings)?;
        (numbers.memory, numbers.in_use) = (memory, Bytes::from_mib(plan.gpu.in_use_mib));
        let fitted = Fitted::default();
        Ok(Self { plan: plan.clone(), model, gpu, gpus, numbers, sparse, warnings, fitted })
    }

    /// The same plan spread otherwise, without looking anything up again.
    ///
    /// # Errors
    /// As for a plan with that layout.
    pub(crate) fn spread(&self, layout: Parallelism) -> Result<Self, PlanError> {
        let mut changed = self.clone();
        changed.plan.parallelism = layout;
        changed.plan.gpu.count = None;
        changed.gpus = check_layout(&changed.plan, changed.gpu)?;
        check_stages(&changed.plan, &changed.model)?;
        Ok(changed)
    }

    /// The workload, where it serves.
    pub(crate) fn serve(&self) -> Option<&Serve> {
        match &self.plan.workload {
            Workload::Serve(serve) => Some(serve),
            Workload::Train(_) | Workload::Embed { .. } => None,
        }
    }

    /// The workload, where it trains.
    pub(crate) fn train(&self) -> Option<&Train> {
        match &self.plan.workload {
            Workload::Train(train) => Some(train),
            Workload::Serve(_) | Workload::Embed { .. } => None,
        }
    }

    /// Whether the workload embeds.
    pub(crate) const fn embeds(&self) -> bool {
        matches!(self.plan.workload, Workload::Embed { .. })
    }

    /// How the model is spread.
    pub(crate) const fn layout(&self) -> &Parallelism {
        &self.plan.parallelism
    }
}

impl Numbers {
    /// Visible memory less what is in use; zero where it is not known.
    #[must_use]
    pub fn free_memory(&self) -> Bytes {
        self.memory - self.in_use
    }
}

fn out_of_range(field: &str, given: impl std::fmt::Display, accepted: &str) -> PlanError {
    PlanError::invalid(field, format!("{given} is out of range"), format!("give {accepted}"))
}

fn resolve_gpu(reference: &GpuRef) -> Result<Option<&'static Gpu>, PlanError> {
    if reference.id == CPU {
        return Ok(None);
    }
    catalogue::gpu(&reference.id).map(Some).ok_or_else(|| {
        let slices = catalogue::slices().iter().filter(|_| reference.id.contains(':'));
        let names = catalogue::gpus().iter().chain(slices).map(|g| g.id.as_str()).chain([CPU]);
        let nearest = catalogue::nearest(&reference.id, names, 4).join(", ");
        let shown: String = reference.id.chars().take(80).collect();
        PlanError::invalid(
            "gpu.id",
            format!("\"{shown}\" is not in the catalogue"),
            format!("nearest: {nearest}"),
        )
    })
}

/// Numbers of the processor, whether the engine uses them or not.
fn check_host(host: &Host) -> Result<(), PlanError> {
    if host.threads == Some(0) {
        return Err(out_of_range("host.threads", 0, "at least 1, or leave it out"));
    }
    let caches = [
        ("host.l1d_cache_kib", host.l1d_cache_kib, 1 << 10),
        ("host.l2_cache_kib", host.l2_cache_kib, 1 << 18),
        ("host.l3_cache_kib", host.l3_cache_kib, 1 << 22),
    ];
    for (field, size, most) in caches {
        if let Some(size) = size.filter(|size| !(1..=most).contains(size)) {
            return Err(out_of_range(field, size, &format!("1 to {most}, or leave it out")));
        }
    }
    Ok(())
}

/// Numbers that must be numbers, whether the engine uses them or not.
fn check_gpu_facts(plan: &Plan) -> Result<(), PlanError> {
    for (field, value) in [("gpu.price_per_hour", plan.gpu.price_per_hour), ("gpu.power_w", plan.gpu.power_w)]
    {
        if let Some(value) = value.filter(|v| !v.is_finite() || *v < 0.0) {
            return Err(out_of_range(field, value, "a number of at least 0"));
        }
    }
    if plan.gpu.gpus_per_node == Some(0) {
        return Err(out_of_range("gpu.gpus_per_node", 0, "at least 1, or leave it out"));
    }
    if plan.gpu.memory_mib == Some(0) {
        return Err(out_of_range("gpu.memory_mib", 0, "at least 1, or leave it out"));
    }
    Ok(())
}

/// Ranks along each axis, and their product.
fn check_layout(plan: &Plan, gpu: Option<&Gpu>) -> Result<u64, PlanError> {
    let p = &plan.parallelism;
    let talking = match plan.workload {
        Workload::Train(_) => p.data.max(p.expert),
        Workload::Serve(_) | Workload::Embed { .. } => p.expert,
    };
    let divided = p.tensor.max(p.pipeline).max(p.context).max(talking) > 1;
    if let Some(slice) = gpu.filter(|g| g.id.contains(':') && divided) {
        return Err(PlanError::unsupported(
            "gpu.id",
            format!("{} reaches no other GPU: a model cannot be divided over slices", slice.name),
            "give a whole GPU, or replicas that serve (parallelism.data) only",
        ));
    }
    let axes = [
        ("parallelism.tensor", p.tensor),
        ("parallelism.pipeline", p.pipeline),
        ("parallelism.data", p.data),
        ("parallelism.expert", p.expert),
        ("parallelism.context", p.context),
    ];
    for (field, n) in axes {
        if !(1..=MAX_RANKS).contains(&n) {
            return Err(out_of_range(field, n, &format!("1 to {MAX_RANKS}, or leave it out")));
        }
    }
    if p.zero_stage > 3 {
        return Err(out_of_range("parallelism.zero_stage", p.zero_stage, "0, 1, 2 or 3"));
    }
    let spread = u64::from(p.data) * u64::from(p.tensor);
    if !spread.is_multiple_of(u64::from(p.expert)) {
        return Err(PlanError::invalid(
            "parallelism.expert",
            format!("{} does not divide data · tensor = {spread}", p.expert),
            "give a divisor of it",
        ));
    }
    if u64::from(p.pipeline) > plan_layers_limit() {
        return Err(out_of_range("parallelism.pipeline", p.pipeline, "at most one stage a layer"));
    }
    let product =
        [p.tensor, p.pipeline, p.data, p.context].into_iter().map(u64::from).fold(1, u64::saturating_mul);
    match plan.gpu.count {
        Some(count) if u64::from(count) != product => Err(PlanError::invalid(
            "gpu.count",
            format!("{count} is not tensor · pipeline · data · context = {product}"),
            format!("give {product}, or leave it out"),
        )),
        _ => Ok(product),
    }
}

/// No model has more layers than this.
const fn plan_layers_limit() -> u64 {
    1024
}

/// At most a stage for each layer.
fn check_stages(plan: &Plan, model: &Model) -> Result<(), PlanError> {
    if u64::from(plan.parallelism.pipeline) > model.layers.len() as u64 {
        return Err(PlanError::invalid(
            "parallelism.pipeline",
            format!(
                "{} stages are more than the {} layers of {}",
                plan.parallelism.pipeline,
                model.layers.len(),
                model.name
            ),
            format!("give 1 to {}", model.layers.len()),
        ));
    }
    Ok(())
}

/// Checks the workload against the contract and the model.
fn workload(plan: &Plan, model: &Model) -> Result<Numbers, PlanError> {
    check_stages(plan, model)?;
    match &plan.workload {
        Workload::Serve(serve) => {
            let images = image_tokens(serve, plan, model)?;
            self::serve(serve, images, model, plan.engine.name)
        }
        Workload::Train(train) => self::train(train, model),
        Workload::Embed { sequence_tokens, batch } => embed(*sequence_tokens, *batch, model),
    }
}

/// Most tokens of one image in Qwen's towers: 12845056 pixels of 28² or 16777216 of 32² to a token, and the least: 3136 or 65536
/// pixels (`preprocessor_config.json` of Qwen2.5-VL and of Qwen3-VL).
const QWEN_TOKENS: u64 = 16_384;
const QWEN_LEAST: [u64; 2] = [4, 64];

/// The tokens of the images in each prompt.
fn image_tokens(serve: &Serve, plan: &Plan, model: &Model) -> Result<Tokens, PlanError> {
    let Some(images) = serve.images else { return Ok(Tokens(0)) };
    if !(1..=MAX_TOKENS).contains(&images.per_prompt) {
        return Err(out_of_range(
            "workload.images.per_prompt",
            images.per_prompt,
            "at least 1, or leave images out",
        ));
    }
    let Some(shape) = model.towers.iter().find_map(|t| t.shape).filter(|s| s.tokens_per_image > 0) else {
        return Err(PlanError::unsupported(
            "workload.images",
            format!("{} sees no images, or the shape of its tower is not known", model.name),
            "leave it out, or give a model with a vision tower",
        ));
    };
    for (field, pixels) in
        [("workload.images.width", images.width), ("workload.images.height", images.height)]
    {
        if let Some(pixels) = pixels.filter(|p| !(1..=1 << 16).contains(p)) {
            return Err(out_of_range(field, pixels, "1 to 65536 pixels, or leave it out"));
        }
    }
    let config = rotary::config(plan);
    let kind =
        config.and_then(|c| c.get("model_type")).and_then(serde_json::Value::as_str).unwrap_or_default();
    let each = match (images.width.or(images.height), kind) {
        // Scaled to the tower's size, whatever it is.
        (None, _) | (_, "gemma3") => shape.tokens_per_image,
        (Some(edge), "mistral3") => {
            shape.row_tokens(images.width.unwrap_or(edge), images.height.unwrap_or(edge))
        }
        (Some(edge), _) if rotary::free_images(config) => {
            let least = QWEN_LEAST[usize::from(kind != "qwen2_5_vl")];
            let (width, height) = (images.width.unwrap_or(edge), images.height.unwrap_or(edge));
            shape.resized_tokens(width, height, least, QWEN_TOKENS)
        }
        _ => {
            return Err(PlanError::not_planned_yet(
                "workload.images.width",
                format!("how {} divides an image into tiles", model.name),
                "leave width and height out for one tile, and count the tiles as images",
            ));
        }
    };
    Ok(Tokens(each.saturating_mul(images.per_prompt)))
}

fn serve(serve: &Serve, images: Tokens, model: &Model, engine: EngineName) -> Result<Numbers, PlanError> {
    if !model.is_decoder() {
        return Err(PlanError::invalid(
            "workload.kind",
            format!(
                "{} is an encoder ({}), which generates nothing to serve",
                model.name, model.architecture
            ),
            "give a model that generates, or the workload embed",
        ));
    }
    if !(1..=MAX_SEQUENCES).contains(&serve.concurrent_sequences) {
        let accepted = format!("1 to {MAX_SEQUENCES}");
        return Err(out_of_range("workload.concurrent_sequences", serve.concurrent_sequences, &accepted));
    }
    let longest = model.max_tokens;
    // A plan without a prompt asks what loading takes: published sizes of files are such plans. Candle computes a prompt.
    let idle = serve.sequence_tokens() == Tokens(0) && engine != EngineName::Candle;
    if (serve.prompt_tokens == Tokens(0) && !idle) || serve.prompt_tokens > longest {
        return Err(PlanError::invalid(
            "workload.prompt_tokens",
            format!(
                "{} is out of range: {} takes sequences of at most {longest} tokens",
                serve.prompt_tokens, model.name
            ),
            format!("give 1 to {longest}"),
        ));
    }
    if serve.shared_prefix_tokens > serve.prompt_tokens {
        return Err(PlanError::invalid(
            "workload.shared_prefix_tokens",
            format!(
                "{} are more than the {} tokens of the prompt that they are a part of",
                serve.shared_prefix_tokens, serve.prompt_tokens
            ),
            format!("give at most {}", serve.prompt_tokens),
        ));
    }
    let prompt = serve.prompt_tokens + images;
    if prompt > longest {
        return Err(PlanError::invalid(
            "workload.images",
            format!(
                "{images} tokens of images make the prompt {prompt} long: {} takes sequences of at most {longest} tokens",
                model.name
            ),
            "give fewer or smaller images, or a shorter prompt",
        ));
    }
    let sequence = prompt + serve.output_tokens;
    if sequence > longest {
        return Err(PlanError::invalid(
            "workload.output_tokens",
            format!(
                "{} after a prompt of {prompt} make {sequence}: {} takes sequences of at most {longest} tokens",
                serve.output_tokens, model.name
            ),
            format!("give at most {}", longest - prompt),
        ));
    }
    if let Some(max) = serve.max_model_len.filter(|max| *max < sequence || *max > longest) {
        return Err(PlanError::invalid(
            "workload.max_model_len",
            format!("{max} is out of range: prompt and output make {sequence}, the model takes {longest}"),
            format!("give {sequence} to {longest}, or leave it out"),
        ));
    }
    if let Some(n) = serve.max_batched_tokens.filter(|n| !(1..=MAX_TOKENS).contains(&n.0)) {
        return Err(out_of_range(
            "workload.max_batched_tokens",
            n,
            &format!("1 to {MAX_TOKENS}, or leave it out"),
        ));
    }
    if let Some(n) = serve.max_sequences.filter(|n| !(1..=MAX_SEQUENCES).contains(n)) {
        return Err(out_of_range(
            "workload.max_sequences",
            n,
            &format!("1 to {MAX_SEQUENCES}, or leave it out"),
        ));
    }
    if let Some(share) = serve.memory_fraction.filter(|f| !(f.is_finite() && *f > 0.0 && *f <= 1.0)) {
        return Err(out_of_range("workload.memory_fraction", share, "a share above 0 and at most 1"));
    }
    Ok(Numbers {
        prompt,
        output: serve.output_tokens,
        sequences: serve.concurrent_sequences,
        max_model_len: serve.max_model_len.unwrap_or(sequence),
        max_batched_tokens: serve.max_batched_tokens,
        max_sequences: serve.max_sequences,
        memory_fraction: serve.memory_fraction,
        gpu_layers: serve.gpu_layers,
        shared_prefix: serve.shared_prefix_tokens,
        proposed: serve.speculation.as_ref().map_or(0, |s| u64::from(s.tokens())),
        ..Numbers::default()
    })
}

fn train(train: &Train, model: &Model) -> Result<Numbers, PlanError> {
    let length = train.sequence_tokens;
    // Positions that are learned end; rotated ones can be trained further.
    let longest = if model.embeddings.positions > 0 { model.max_tokens.0 } else { MAX_TOKENS };
    if !(1..=longest).contains(&length.0) {
        return Err(out_of_range("workload.sequence_tokens", length, &format!("1 to {longest}")));
    }
    for (field, n) in [
        ("workload.micro_batch", train.micro_batch),
        ("workload.gradient_accumulation", train.gradient_accumulation),
    ] {
        if !(1..=MAX_SEQUENCES).contains(&n) {
            return Err(out_of_range(field, n, &format!("1 to {MAX_SEQUENCES}")));
        }
    }
    Ok(Numbers {
        sequence: length,
        micro_batch: train.micro_batch,
        gradient_accumulation: train.gradient_accumulation,
        ..Numbers::default()
    })
}

fn embed(length: Tokens, batch: u32, model: &Model) -> Result<Numbers, PlanError> {
    if length.0 == 0 || length > model.max_tokens {
        return Err(PlanError::invalid(
            "workload.sequence_tokens",
            format!(
                "{length} is out of range: {} takes sequences of at most {} tokens",
                model.name, model.max_tokens
            ),
            format!("give 1 to {}", model.max_tokens),
        ));
    }
    if batch == 0 || u64::from(batch) > MAX_SEQUENCES {
        return Err(out_of_range("workload.batch", batch, &format!("1 to {MAX_SEQUENCES}")));
    }
    Ok(Numbers { sequence: length, sequences: u64::from(batch), ..Numbers::default() })
}

/// Visible memory; zero where it is not known.
fn memory(
    reference: &GpuRef,
    gpu: Option<&'static Gpu>,
    warnings: &mut Vec<Warning>,
) -> Result<Bytes, PlanError> {
    let visible = match (reference.memory_mib, gpu) {
        (Some(mib), _) => Bytes::from_mib(mib),
        (None, Some(gpu)) => match gpu.visible() {
            VisibleMemory::Reported(bytes) => bytes,
            VisibleMemory::Assumed(bytes) => {
                warnings.push(Warning::new(
                    "visible-memory-assumed",
                    format!(
                        "How much of its memory {} shows to a program is not known here: planned with {bytes}, 1.5 % less \
                         than physical. Give gpu.memory_mib for your card.",
                        gpu.name
                    ),
                ));
                bytes
            }
        },
        (None, None) => {
            warnings.push(Warning::new(
                "cpu-memory-unknown",
                "Whether it fits is not known: give gpu.memory_mib, the host's memory in MiB.",
            ));
            Bytes::ZERO
        }
    };
    let in_use = Bytes::from_mib(reference.in_use_mib);
    if visible > Bytes::ZERO && in_use > visible {
        return Err(PlanError::invalid(
            "gpu.in_use_mib",
            format!("{} MiB are more than the {visible} that are there", reference.in_use_mib),
            format!("give 0 to {}", visible.0 >> 20),
        ));
    }
    Ok(visible)
}
