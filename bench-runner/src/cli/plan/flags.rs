//! A plan from options: each writes its field of the plan document, so that one reader checks them all.

use std::path::{Path, PathBuf};

use clap::Args;
use contract::axis::Attentions;
use contract::case::Variant;
use planner::Plan;
use planner::agent::presets;
use planner::document::plan::ModelRef;
use planner::document::precision::{ActivationPrecision, CachePrecision, WeightPrecision};
use serde_json::{Map, Value, json};

use crate::cli::CliError;
use crate::model::{config_reference, folder_reference, gguf_reference, safetensors_reference};
use crate::{machine, sweep};

/// Plan: what a model takes on a GPU or in host memory, without running it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    bench-runner plan --model meta-llama/Llama-3.1-8B --gpu h100-sxm-80gb --precision bf16 --batch 8 --prompt 2048\n  \
    bench-runner plan --model Qwen/Qwen3-32B --engine vllm --gpu h100-sxm-80gb --gpus 2 --prompt 2048 --generate 512 --batch 16\n  \
    bench-runner plan --model meta-llama/Llama-3.1-8B --engine transformers --gpu rtx-4090-24gb --train qlora --lora-rank 16 \\\n      \
    --lora-targets q_proj,v_proj --sequence 2048\n  \
    bench-runner plan --model meta-llama/Llama-3.1-8B --engine deepspeed --gpu h100-sxm-80gb --data 8 --train full \\\n      \
    --preset deepspeed-zero-3\n  \
    bench-runner plan --model model.gguf                     on this machine's processor\n  \
    bench-runner plan --json plan.json                       a plan document in, an estimate out\n  \
    bench-runner plan --jsonl - < plans.jsonl                a document a line in, an estimate or an error a line out")]
pub(in crate::cli) struct PlanArgs {
    #[command(flatten)]
    options: PlanOptions,
    /// Print the estimate document instead of a table
    #[arg(long, env = "PLIMSOLL_ESTIMATE", help_heading = "Documents")]
    estimate: bool,
    /// A plan document a line, - for standard input; answers an estimate or {"error":…} a line, in order
    #[arg(
        long,
        value_name = "FILE",
        group = "documents",
        conflicts_with = "model",
        help_heading = "Documents"
    )]
    pub(super) jsonl: Option<PathBuf>,
    #[command(flatten)]
    cost: Cost,
}

/// A plan, by options or as a document.
#[derive(Debug, Args)]
pub(in crate::cli) struct PlanOptions {
    /// A catalogue id, a .gguf file, a safetensors file or index (with config.json beside it), a model's folder, a config.json
    #[arg(short, long, env = "PLIMSOLL_MODEL", value_name = "MODEL", required_unless_present = "documents")]
    model: Option<String>,
    /// Settings of a known system by its name (`presets` lists them), an agent's memory or a training recipe; repeat it for
    /// more. What other options say counts more
    #[arg(long = "preset", env = "PLIMSOLL_PRESET", value_name = "NAME", value_delimiter = ',')]
    presets: Vec<String>,
    /// Any other field of the plan document, by its dotted path; repeat it for more
    #[arg(long = "set", value_name = "PATH=VALUE", help_heading = "Documents")]
    set: Vec<String>,
    /// A plan document, - for standard input; answers a document
    #[arg(
        long,
        value_name = "FILE",
        group = "documents",
        conflicts_with = "model",
        help_heading = "Documents"
    )]
    pub(in crate::cli) json: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    layout: Layout,
    #[command(flatten)]
    training: Training,
}

/// What an hour costs and draws.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where")]
struct Cost {
    /// Price of one GPU for an hour
    #[arg(long, env = "PLIMSOLL_PRICE", value_name = "PRICE")]
    price: Option<f64>,
    /// Power of one GPU under load, in watts
    #[arg(long, env = "PLIMSOLL_POWER", value_name = "W")]
    power: Option<f64>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Where")]
struct Place {
    /// A catalogue id (`gpus` lists them); cpu is this machine's host memory
    #[arg(long, env = "PLIMSOLL_GPU", value_name = "ID", default_value = "cpu")]
    gpu: String,
    /// GPUs, tensor parallel
    #[arg(long, env = "PLIMSOLL_GPUS", value_name = "N", default_value = "1")]
    gpus: u32,
    /// Memory that a program sees, where it differs from the catalogue's, in MiB
    #[arg(long, env = "PLIMSOLL_MEMORY_MIB", value_name = "MIB")]
    memory_mib: Option<u64>,
    /// Memory that others have taken, in MiB
    #[arg(long, env = "PLIMSOLL_IN_USE_MIB", value_name = "MIB")]
    in_use_mib: Option<u64>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "How")]
struct How {
    /// Engine, with @VERSION if not the newest: candle, vllm, tensorrt-llm, sglang, llama.cpp, transformers, litgpt,
    /// torchtune, torchtitan, megatron, deepspeed
    #[arg(short, long, env = "PLIMSOLL_ENGINE", value_name = "NAME", default_value = "candle")]
    engine: String,
    /// Candle's decoder: stock (candle-transformers' models), plimsoll (our own) [default: plimsoll; stock where it lacks
    /// the model]
    #[arg(long, env = "PLIMSOLL_VARIANT", value_name = "V")]
    variant: Option<Variant>,
    /// Precision of the weights [default: the checkpoint's]
    #[arg(short, long, env = "PLIMSOLL_PRECISION", value_name = "P")]
    precision: Option<WeightPrecision>,
    /// Precision of the KV cache [default: as activations]
    #[arg(long, env = "PLIMSOLL_KV_CACHE", value_name = "P")]
    kv_cache: Option<CachePrecision>,
    /// Precision of activations [default: bf16]
    #[arg(long, env = "PLIMSOLL_ACTIVATIONS", value_name = "P")]
    activations: Option<ActivationPrecision>,
    /// Attention: default, eager, memory-efficient, flash, sliding-window:TOKENS
    #[arg(long, env = "PLIMSOLL_ATTENTION", value_name = "A", default_value = "default")]
    attention: Attentions,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What is served")]
struct What {
    /// Sequences at once
    #[arg(short, long, env = "PLIMSOLL_BATCH", value_name = "N", default_value = "1")]
    batch: u64,
    /// Tokens of each prompt
    #[arg(long, env = "PLIMSOLL_PROMPT", value_name = "N", default_value = "128")]
    prompt: u64,
    /// Tokens generated after the prompt
    #[arg(short, long, env = "PLIMSOLL_GENERATE", value_name = "N", default_value = "32")]
    generate: u64,
    /// Longest sequence admitted [default: prompt + output]
    #[arg(long, env = "PLIMSOLL_MAX_MODEL_LEN", value_name = "N")]
    max_model_len: Option<u64>,
    /// Tokens of one step [default: the engine's]
    #[arg(long, env = "PLIMSOLL_MAX_BATCHED_TOKENS", value_name = "N")]
    max_batched_tokens: Option<u64>,
    /// The scheduler's limit of sequences [default: the engine's]
    #[arg(long, env = "PLIMSOLL_MAX_SEQUENCES", value_name = "N")]
    max_sequences: Option<u64>,
    /// Share of memory that the engine may fill [default: the engine's]
    #[arg(long, env = "PLIMSOLL_MEMORY_FRACTION", value_name = "SHARE")]
    memory_fraction: Option<f64>,
    /// Layers on the GPU, llama.cpp's -ngl [default: all]
    #[arg(long, env = "PLIMSOLL_GPU_LAYERS", value_name = "N")]
    gpu_layers: Option<u32>,
    #[command(flatten)]
    beside: Beside,
}

/// What stands beside a served model.
#[derive(Debug, Args)]
#[command(next_help_heading = "Beside the model")]
struct Beside {
    /// Tokens that every prompt begins with and that the cache holds once
    #[arg(long, env = "PLIMSOLL_SHARED_PREFIX", value_name = "N")]
    shared_prefix: Option<u64>,
    /// Host memory for cache that leaves the GPUs, in MiB
    #[arg(long, env = "PLIMSOLL_HOST_CACHE_MIB", value_name = "MIB")]
    host_cache_mib: Option<u64>,
    /// Images in each prompt
    #[arg(long, env = "PLIMSOLL_IMAGES", value_name = "N")]
    images: Option<u64>,
    /// Size of each image in pixels [default: the tower's own, 1024x1024 where it is free]
    #[arg(long, env = "PLIMSOLL_IMAGE_SIZE", value_name = "WIDTHxHEIGHT", requires = "images")]
    image_size: Option<String>,
    /// Low-rank adapters on the GPU at once
    #[arg(long, env = "PLIMSOLL_ADAPTERS", value_name = "N")]
    adapters: Option<u64>,
    /// Largest rank of an adapter
    #[arg(
        long,
        env = "PLIMSOLL_ADAPTER_RANK",
        value_name = "N",
        default_value = "16",
        requires = "adapters"
    )]
    adapter_rank: u32,
    /// Modules that the adapters change, suffixes in the checkpoint [default: every linear module]
    #[arg(
        long,
        env = "PLIMSOLL_ADAPTER_TARGETS",
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "adapters"
    )]
    adapter_targets: Vec<String>,
    /// Speculative decoding by a draft model: its catalogue id
    #[arg(long, env = "PLIMSOLL_DRAFT", value_name = "MODEL", group = "speculates")]
    draft: Option<String>,
    /// How the draft's weights are stored [default: as its checkpoint is]
    #[arg(long, env = "PLIMSOLL_DRAFT_PRECISION", value_name = "PRECISION", requires = "draft")]
    draft_precision: Option<String>,
    /// Speculative decoding by the model's own layers for further tokens
    #[arg(long, env = "PLIMSOLL_MTP", group = "speculates")]
    mtp: bool,
    /// Speculative decoding by n-grams of the prompt
    #[arg(long, env = "PLIMSOLL_NGRAM", group = "speculates")]
    ngram: bool,
    /// Tokens proposed at once [default: 4; with --mtp 1]
    #[arg(long, env = "PLIMSOLL_PROPOSED", value_name = "N", requires = "speculates")]
    proposed: Option<u32>,
    /// Share of proposed tokens that are accepted, for the speed
    #[arg(long, env = "PLIMSOLL_ACCEPTANCE", value_name = "SHARE", requires = "speculates")]
    acceptance: Option<f64>,
}

impl Beside {
    /// The first option that is given, and means something only where the plan serves.
    fn given(&self) -> Option<&'static str> {
        [
            ("--shared-prefix", self.shared_prefix.is_some()),
            ("--host-cache-mib", self.host_cache_mib.is_some()),
            ("--images", self.images.is_some()),
            ("--adapters", self.adapters.is_some()),
            ("--draft", self.draft.is_some()),
            ("--mtp", self.mtp),
            ("--ngram", self.ngram),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }

    fn write(&self, document: &mut Document) {
        document.given("workload.shared_prefix_tokens", self.shared_prefix);
        document.given("workload.host_cache_mib", self.host_cache_mib);
        if let Some(images) = self.images {
            document.put("workload.images.per_prompt", json!(images));
        }
        if let Some(size) = &self.image_size {
            let (width, height) = size.split_once(['x', '×']).unwrap_or((size, size));
            // What is no number is refused by name when the document is read.
            let pixels = |text: &str| text.trim().parse::<u64>().map_or_else(|_| json!(text), Value::from);
            document.put("workload.images.width", pixels(width));
            document.put("workload.images.height", pixels(height));
        }
        if let Some(count) = self.adapters {
            document.put("workload.lora_adapters.count", json!(count));
            document.put("workload.lora_adapters.rank", json!(self.adapter_rank));
            if !self.adapter_targets.is_empty() {
                document.put("workload.lora_adapters.targets", json!(self.adapter_targets));
            }
        }
        let kind = match (&self.draft, self.mtp, self.ngram) {
            (Some(_), _, _) => "draft-model",
            (None, true, _) => "mtp",
            (None, false, true) => "ngram",
            (None, false, false) => return,
        };
        document.put("workload.speculation.kind", json!(kind));
        document.given("workload.speculation.model.id", self.draft.as_deref());
        document.given("workload.speculation.precision", self.draft_precision.as_deref());
        let proposed = self.proposed.unwrap_or(if self.mtp { 1 } else { 4 });
        document.put("workload.speculation.tokens", json!(proposed));
        document.given("workload.speculation.acceptance", self.acceptance);
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Layout")]
struct Layout {
    /// Pipeline stages
    #[arg(long, env = "PLIMSOLL_PIPELINE", value_name = "N")]
    pipeline: Option<u32>,
    /// Data parallel replicas
    #[arg(long, env = "PLIMSOLL_DATA", value_name = "N")]
    data: Option<u32>,
    /// Expert parallel ranks
    #[arg(long, env = "PLIMSOLL_EXPERT", value_name = "N")]
    expert: Option<u32>,
    /// Context parallel ranks
    #[arg(long, env = "PLIMSOLL_CONTEXT", value_name = "N")]
    context: Option<u32>,
    /// Sequence parallelism
    #[arg(long, env = "PLIMSOLL_SEQUENCE_PARALLEL")]
    sequence_parallel: bool,
    /// Sharding of states, gradients and parameters over data ranks: 0, 1, 2, 3 (3 is the full shard of FSDP)
    #[arg(long, env = "PLIMSOLL_ZERO", value_name = "STAGE")]
    zero: Option<u8>,
    /// Where optimizer states are kept: none, cpu, nvme
    #[arg(long, env = "PLIMSOLL_OFFLOAD_OPTIMIZER", value_name = "WHERE")]
    offload_optimizer: Option<String>,
    /// Where parameters are kept: none, cpu, nvme
    #[arg(long, env = "PLIMSOLL_OFFLOAD_PARAMETERS", value_name = "WHERE")]
    offload_parameters: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What is trained")]
struct Training {
    /// Train instead of serving: full, lora, qlora, distill
    #[arg(long, env = "PLIMSOLL_TRAIN", value_name = "METHOD", conflicts_with = "embed")]
    train: Option<String>,
    /// Embed whole sequences instead of serving
    #[arg(long, env = "PLIMSOLL_EMBED")]
    embed: bool,
    /// Tokens of a trained or embedded sequence
    #[arg(long, env = "PLIMSOLL_SEQUENCE", value_name = "N", default_value = "512")]
    sequence: u64,
    /// Sequences in one forward pass
    #[arg(long, env = "PLIMSOLL_MICRO_BATCH", value_name = "N", requires = "train")]
    micro_batch: Option<u64>,
    /// Forward passes to one step
    #[arg(long, env = "PLIMSOLL_ACCUMULATE", value_name = "N", requires = "train")]
    accumulate: Option<u64>,
    /// adamw, adamw-8bit, paged-adamw-8bit, sgd, sgd-momentum, adafactor, lion, muon
    #[arg(long, env = "PLIMSOLL_OPTIMIZER", value_name = "NAME", requires = "train")]
    optimizer: Option<String>,
    /// none, selective, full
    #[arg(long, env = "PLIMSOLL_CHECKPOINTING", value_name = "KIND", requires = "train")]
    checkpointing: Option<String>,
    /// No fp32 master weights
    #[arg(long, env = "PLIMSOLL_NO_MASTERS", requires = "train")]
    no_masters: bool,
    /// Rank of the adapters
    #[arg(long, env = "PLIMSOLL_LORA_RANK", value_name = "R", requires = "train")]
    lora_rank: Option<u32>,
    /// Suffixes of the modules that get adapters, commas between them
    #[arg(
        long,
        env = "PLIMSOLL_LORA_TARGETS",
        value_name = "LIST",
        requires = "train",
        value_delimiter = ','
    )]
    lora_targets: Vec<String>,
}

impl PlanArgs {
    /// Whether the estimate document is asked for.
    pub(super) const fn wants_document(&self) -> bool {
        self.estimate
    }

    /// A plan document to be answered.
    pub(super) fn json(&self) -> Option<&Path> {
        self.options.json.as_deref()
    }

    /// The plan that the options describe.
    pub(super) fn plan(&self) -> Result<Plan, CliError> {
        self.options.with(|document| {
            document.given("gpu.price_per_hour", self.cost.price);
            document.given("gpu.power_w", self.cost.power);
        })
    }
}

impl PlanOptions {
    /// The plan that the options describe.
    pub(in crate::cli) fn plan(&self) -> Result<Plan, CliError> {
        self.with(|_| {})
    }

    /// The same, with what a command adds before the fields of `--set`.
    fn with(&self, add: impl FnOnce(&mut Document)) -> Result<Plan, CliError> {
        let mut document = Document(json!({ "schema": planner::document::plan::SCHEMA }));
        document.put("model", serde_json::to_value(self.model()?).map_err(CliError::work)?);
        self.presets(&mut document)?;
        self.place(&mut document);
        self.how(&mut document)?;
        self.layout(&mut document);
        let serves = !self.training.embed && self.training.train.is_none();
        if let Some(option) = self.what.beside.given().filter(|_| !serves) {
            return Err(CliError::Input(format!(
                "{option}: stands beside a served model; leave it out, or leave --train and --embed out"
            )));
        }
        self.workload(&mut document);
        add(&mut document);
        for pair in &self.set {
            document.set(pair)?;
        }
        Plan::from_value(document.0).map_err(CliError::input)
    }

    fn model(&self) -> Result<ModelRef, CliError> {
        let text = self.model.clone().unwrap_or_default();
        let path = Path::new(&text);
        let wrong = |e: crate::model::LoadError| CliError::Input(format!("--model: {e}"));
        match path.extension().and_then(|e| e.to_str()) {
            _ if planner::catalogue::model(&text).is_some() => Ok(ModelRef::catalogue(text)),
            Some("gguf") => gguf_reference(path).map_err(wrong),
            Some("json") if path.file_name().is_some_and(|name| name == "config.json") => {
                config_reference(path).map_err(wrong)
            }
            Some("safetensors" | "json") => safetensors_reference(path).map_err(wrong),
            _ if path.is_dir() => folder_reference(path).map_err(wrong),
            // The planner says which ids are near.
            _ => Ok(ModelRef::catalogue(text)),
        }
    }

    fn presets(&self, document: &mut Document) -> Result<(), CliError> {
        let kind = match (&self.training.train, self.training.embed) {
            (Some(_), _) => "train",
            (None, true) => "embed",
            (None, false) => "serve",
        };
        document.put("workload.kind", json!(kind));
        for name in &self.presets {
            presets::apply(&mut document.0, name).map_err(|e| CliError::Input(format!("--{e}")))?;
        }
        Ok(())
    }

    fn place(&self, document: &mut Document) {
        let on_cpu = self.place.gpu == planner::catalogue::CPU;
        document.put("gpu.id", json!(self.place.gpu));
        let mut memory_mib = self.place.memory_mib;
        if on_cpu {
            let machine = machine::machine(None);
            memory_mib = memory_mib.or_else(|| Some(machine::memory_mib(&machine)));
            document.put("host", json!(machine::host(&machine, sweep::default_threads())));
        }
        document.given("gpu.memory_mib", memory_mib);
        document.given("gpu.in_use_mib", self.place.in_use_mib);
    }

    fn how(&self, document: &mut Document) -> Result<(), CliError> {
        let (name, version) = match self.how.engine.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (self.how.engine.as_str(), None),
        };
        document.put("engine.name", json!(name));
        document.given("engine.version", version);
        document.given("engine.variant", self.how.variant.map(Variant::as_str));
        document.given("precision.weights", self.how.precision);
        document.given("precision.kv_cache", self.how.kv_cache);
        document.given("precision.activations", self.how.activations);
        match self.how.attention.0.as_slice() {
            [] => {}
            [one] => document.put("attention", serde_json::to_value(one).map_err(CliError::work)?),
            _ => return Err(CliError::Input("--attention: one variant is planned at a time".into())),
        }
        Ok(())
    }

    fn layout(&self, document: &mut Document) {
        let layout = &self.layout;
        document.given("parallelism.tensor", Some(self.place.gpus).filter(|n| *n != 1));
        document.given("parallelism.pipeline", layout.pipeline);
        document.given("parallelism.data", layout.data);
        document.given("parallelism.expert", layout.expert);
        document.given("parallelism.context", layout.context);
        document.given("parallelism.sequence", layout.sequence_parallel.then_some(true));
        document.given("parallelism.zero_stage", layout.zero);
        document.given("parallelism.offload.optimizer", layout.offload_optimizer.as_deref());
        document.given("parallelism.offload.parameters", layout.offload_parameters.as_deref());
    }

    fn workload(&self, document: &mut Document) {
        let (what, training) = (&self.what, &self.training);
        if training.embed {
            document.put("workload.kind", json!("embed"));
            document.put("workload.sequence_tokens", json!(training.sequence));
            document.put("workload.batch", json!(what.batch));
        } else if let Some(method) = &training.train {
            document.put("workload.kind", json!("train"));
            document.put("workload.method", json!(method));
            document.put("workload.sequence_tokens", json!(training.sequence));
            document.given("workload.micro_batch", training.micro_batch);
            document.given("workload.gradient_accumulation", training.accumulate);
            document.given("workload.optimizer", training.optimizer.as_deref());
            document.given("workload.checkpointing", training.checkpointing.as_deref());
            document.given("workload.master_weights", training.no_masters.then_some(false));
            document.given("workload.lora.rank", training.lora_rank);
            if training.lora_rank.is_some() || !training.lora_targets.is_empty() {
                document.put("workload.lora.targets", json!(training.lora_targets));
            }
        } else {
            document.put("workload.kind", json!("serve"));
            document.put("workload.prompt_tokens", json!(what.prompt));
            document.put("workload.output_tokens", json!(what.generate));
            document.put("workload.concurrent_sequences", json!(what.batch));
            document.given("workload.max_model_len", what.max_model_len);
            document.given("workload.max_batched_tokens", what.max_batched_tokens);
            document.given("workload.max_sequences", what.max_sequences);
            document.given("workload.memory_fraction", what.memory_fraction);
            document.given("workload.gpu_layers", what.gpu_layers);
            what.beside.write(document);
        }
    }
}

/// A plan document as it is written.
struct Document(Value);

impl Document {
    /// Writes the field of a dotted path.
    fn put(&mut self, path: &str, value: Value) {
        let mut place = &mut self.0;
        for key in path.split('.') {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[key];
        }
        *place = value;
    }

    /// The same, where it is given.
    fn given<T: serde::Serialize>(&mut self, path: &str, value: Option<T>) {
        if let Some(value) = value {
            self.put(path, json!(value));
        }
    }

    /// `path=value`: JSON where it is JSON, else a word.
    fn set(&mut self, pair: &str) -> Result<(), CliError> {
        let Some((path, text)) = pair.split_once('=').filter(|(path, _)| !path.is_empty()) else {
            return Err(CliError::Input(format!(
                "--set {pair}: give a field's dotted path and its value, for example workload.max_model_len=4096"
            )));
        };
        self.put(path, serde_json::from_str(text).unwrap_or_else(|_| json!(text)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        plan: PlanArgs,
    }

    fn read(line: &str) -> Result<Plan, CliError> {
        let words = std::iter::once("plan").chain(line.split_whitespace());
        <Cli as clap::Parser>::try_parse_from(words).unwrap().plan.plan()
    }

    #[test]
    fn options_write_their_fields() {
        let model = "--model meta-llama/Llama-3.1-8B --gpu h100-sxm-80gb";
        for (line, path, expected) in [
            ("--engine vllm@0.19.0", "/engine", json!({ "name": "vllm", "version": "0.19.0" })),
            ("--variant stock", "/engine/variant", json!("stock")),
            ("--gpus 4", "/parallelism/tensor", json!(4)),
            ("--zero 3 --data 8", "/parallelism/zero_stage", json!(3)),
            ("--offload-optimizer cpu", "/parallelism/offload/optimizer", json!("cpu")),
            ("--memory-fraction 0.85 --max-model-len 8192", "/workload/memory_fraction", json!(0.85)),
            ("--shared-prefix 512", "/workload/shared_prefix_tokens", json!(512)),
            ("--images 2 --image-size 1280x720", "/workload/images/height", json!(720)),
            ("--adapters 4 --adapter-rank 32", "/workload/lora_adapters/rank", json!(32)),
            (
                "--adapters 1 --adapter-targets q_proj,v_proj",
                "/workload/lora_adapters/targets/1",
                json!("v_proj"),
            ),
            ("--draft meta-llama/Llama-3.2-1B", "/workload/speculation/tokens", json!(4)),
            ("--mtp --acceptance 0.8", "/workload/speculation/kind", json!("mtp")),
            ("--host-cache-mib 65536", "/workload/host_cache_mib", json!(65536)),
            ("--train full --sequence 4096 --optimizer lion", "/workload/optimizer", json!("lion")),
            (
                "--train qlora --lora-rank 8 --lora-targets q_proj,v_proj",
                "/workload/lora",
                json!({ "rank": 8, "targets": ["q_proj", "v_proj"], "train_embeddings": false }),
            ),
            (
                "--embed --sequence 128 --batch 4",
                "/workload",
                json!({ "kind": "embed", "sequence_tokens": 128, "batch": 4 }),
            ),
            ("--attention flash", "/attention/kind", json!("flash")),
            ("--preset zep", "/agent_memory/policy/top_k", json!(20)),
            ("--preset zep --set agent_memory.turns=9", "/agent_memory/turns", json!(9)),
            ("--train full --preset deepspeed-zero-3,apex-amp-o1", "/parallelism/zero_stage", json!(3)),
            ("--train full --preset deepspeed-zero-3,apex-amp-o1", "/precision/weights", json!("fp32")),
            // An option counts more than a preset.
            ("--train full --preset deepspeed-zero-3 --zero 1", "/parallelism/zero_stage", json!(1)),
            ("--set compression.prune={\"kind\":\"2:4\"}", "/compression/prune/kind", json!("2:4")),
            ("--set gpu.gpus_per_node=4", "/gpu/gpus_per_node", json!(4)),
            ("--set engine.version=\"0.18\"", "/engine/version", json!("0.18")),
        ] {
            let plan = read(&format!("{model} {line}")).unwrap_or_else(|e| panic!("{line}: {e}"));
            let plan = serde_json::to_value(plan).unwrap();
            assert_eq!(plan.pointer(path), Some(&expected), "{line}");
        }
    }

    #[test]
    fn a_folder_and_its_configuration_are_models() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.json");
        let llama = planner::catalogue::model("HuggingFaceTB/SmolLM2-135M").unwrap();
        std::fs::write(&config, serde_json::to_string(&llama.config).unwrap()).unwrap();
        let of = |path: &Path| read(&format!("--model {} --gpu h100-sxm-80gb", path.display())).unwrap();
        let (by_file, by_folder) = (of(&config), of(folder.path()));
        assert_eq!(by_file, by_folder);
        let by_id = read("--model HuggingFaceTB/SmolLM2-135M --gpu h100-sxm-80gb").unwrap();
        let weights = |plan: &Plan| planner::estimate(plan).unwrap().per_gpu.weights;
        assert_eq!(weights(&by_file), weights(&by_id));
        std::fs::remove_file(&config).unwrap();
        let error = read(&format!("--model {}", folder.path().display())).unwrap_err();
        assert!(error.to_string().contains("config.json"), "{error}");
    }

    #[test]
    fn wrong_options_name_the_field() {
        let model = "--model meta-llama/Llama-3.1-8B --gpu h100-sxm-80gb";
        for (line, needle) in [
            ("--engine turbo", "turbo"),
            ("--train sideways", "sideways"),
            ("--offload-optimizer attic", "attic"),
            ("--set nonsense", "dotted path"),
            ("--preset zeppelin", "--preset: \"zeppelin\" is unknown"),
            ("--preset apex-amp-o1", "workload.kind train"),
            ("--train full --preset zep", "workload.kind serve"),
            ("--set workload.depth=3", "depth"),
        ] {
            let error = read(&format!("{model} {line}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(needle), "{line}: {error}");
        }
    }
}
