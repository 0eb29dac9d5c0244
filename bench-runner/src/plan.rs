//! A case as a plan, so that the planner's answer stands beside what was measured.

use contract::case::{CaseSpec, Device};
use contract::machine::Machine;
use planner::Plan;
use planner::document::plan::{
    Cache, EngineName, EngineRef, GpuRef, Host, Precisions, SCHEMA, Serve, Train, Workload,
};
use planner::document::precision::{ActivationPrecision, WeightPrecision};

use crate::decoder::{compute_type, training};
use crate::engine::{CANDLE_VERSION, Precision, Prepared, Runs};
use crate::model::Model;

/// The plan of `spec` on `machine`.
#[must_use]
pub fn of_case(spec: &CaseSpec, model: &Model, prepared: &Prepared, machine: &Machine, threads: u32) -> Plan {
    let compute = match &spec.training {
        Some(asked) => training::compute_type(asked, prepared.precision()),
        None => compute_type(prepared.precision(), spec.device),
    };
    let activations = match compute {
        candle_core::DType::BF16 => ActivationPrecision::Bf16,
        candle_core::DType::F16 => ActivationPrecision::Fp16,
        _ => ActivationPrecision::Fp32,
    };
    let weights = match prepared.precision() {
        Precision::Dense(candle_core::DType::BF16) => Some(WeightPrecision::Bf16),
        Precision::Dense(candle_core::DType::F16) => Some(WeightPrecision::Fp16),
        Precision::Dense(_) if prepared.tf32() => Some(WeightPrecision::Tf32),
        Precision::Dense(_) => Some(WeightPrecision::Fp32),
        Precision::Fp8 => Some(WeightPrecision::Fp8),
        Precision::AsStored | Precision::Quantised(_) => None,
    };
    let (cache, kv_cache) = match prepared.runs() {
        Runs::Stock { .. } | Runs::Training { .. } => (None, None),
        Runs::Decoder { options, .. } => {
            let cache = Cache { kind: options.growth.kind(), page_tokens: None };
            (Some(cache), Some(options.element.precision()))
        }
    };
    let on_cpu = spec.device == Device::Cpu;
    let encodes = matches!(prepared.runs(), Runs::Stock { module, .. } if module.is_encoder());
    let workload = if let Some(asked) = &spec.training {
        Workload::Train(Train {
            method: asked.method,
            sequence_tokens: spec.prompt_tokens,
            micro_batch: u64::from(spec.batch),
            gradient_accumulation: u64::from(asked.gradient_accumulation),
            optimizer: asked.optimizer,
            mixed_precision: compute != candle_core::DType::F32,
            master_weights: asked.mixed_precision,
            checkpointing: asked.checkpointing,
            optimizer_in_backward: false,
            fused_cross_entropy: false,
            activation_offload: false,
            compile: false,
            float8_linear: false,
            async_tensor_parallel: false,
            lora: asked.lora.clone(),
            teacher: None,
        })
    } else if encodes {
        Workload::Embed { sequence_tokens: spec.prompt_tokens, batch: spec.batch }
    } else {
        Workload::Serve(Serve {
            prompt_tokens: spec.prompt_tokens,
            output_tokens: spec.generate_tokens,
            concurrent_sequences: u64::from(spec.batch),
            max_model_len: None,
            max_batched_tokens: None,
            max_sequences: None,
            memory_fraction: None,
            gpu_layers: None,
            shared_prefix_tokens: planner::Tokens(0),
            images: None,
            lora_adapters: None,
            speculation: None,
            host_cache_mib: 0,
        })
    };
    Plan {
        schema: SCHEMA,
        model: model.reference(prepared.precision()),
        gpu: gpu(spec, machine),
        engine: EngineRef {
            name: EngineName::Candle,
            version: Some(CANDLE_VERSION.to_owned()),
            variant: Some(prepared.runs().variant().as_str().to_owned()),
        },
        precision: Precisions { weights, kv_cache, activations: Some(activations) },
        attention: spec.attention.clone(),
        cache,
        parallelism: planner::document::plan::Parallelism::default(),
        workload,
        compression: planner::document::plan::Compression::default(),
        agent_memory: None,
        host: if on_cpu { crate::machine::host(machine, threads) } else { Host::default() },
    }
}

/// The device as the planner names it, with the memory that a program sees here, or that the case is limited to where that
/// is less, in whole MiB.
fn gpu(spec: &CaseSpec, machine: &Machine) -> GpuRef {
    let (id, bytes) = match spec.device {
        Device::Cpu => ("cpu".to_owned(), Some(machine.memory_bytes)),
        Device::Cuda(ordinal) => {
            let gpu = machine.gpus.get(ordinal as usize);
            let id = gpu.and_then(|g| g.catalogue_id.clone()).unwrap_or_else(|| format!("cuda:{ordinal}"));
            (id, gpu.map(|g| g.memory_bytes))
        }
    };
    let bytes = bytes.into_iter().chain(spec.memory_limit).min();
    GpuRef { memory_mib: bytes.map(|b| b.0 >> 20), ..GpuRef::one(id) }
}
