//! Plans that say everything, each field by name, so that one that is new must be given here.

use planner::Tokens;
use planner::document::plan::{
    AgentMemory, Attention, Cache, CacheKind, Checkpointing, Compression, EngineName, EngineRef, GpuRef,
    Host, Images, Lora, LoraAdapters, MemoryPolicy, ModelRef, Offload, OffloadTo, Optimizer, Parallelism,
    PipelineSchedule, Plan, Precisions, Prune, SCHEMA, Serve, Speculation, Teacher, Train, TrainMethod,
    VectorElement, VectorIndex, VectorStore, Workload,
};
use planner::document::precision::{ActivationPrecision, CachePrecision, WeightPrecision};
use planner::model::Dtype;
use serde_json::Value;

/// One of every kind of each part, all fields of each said.
pub(super) fn plans() -> Vec<Plan> {
    let parts = Parts::default();
    let mut plans: Vec<Plan> = workloads().into_iter().map(|workload| plan(&parts, workload)).collect();
    let embed = || Workload::Embed { sequence_tokens: Tokens(1), batch: 1 };
    let attentions = [
        Attention::Eager,
        Attention::MemoryEfficient,
        Attention::Flash,
        Attention::SlidingWindow { window: Tokens(1) },
        Attention::Longformer { window: Tokens(1), global_tokens: Tokens(1) },
        Attention::BigBird { block: Tokens(1), window_blocks: 1, global_blocks: 1, random_blocks: 1 },
    ];
    let prunes = [
        Prune::None,
        Prune::Unstructured { sparsity: 0.5 },
        Prune::TwoOfFour,
        Prune::Depth { layers: 1 },
        Prune::Width { hidden: 0.5 },
    ];
    let schedules = [
        PipelineSchedule::OneFOneB,
        PipelineSchedule::Gpipe,
        PipelineSchedule::Interleaved { virtual_stages: 2 },
    ];
    let policies = [
        MemoryPolicy::FullHistory,
        MemoryPolicy::Window { tokens: Tokens(1) },
        MemoryPolicy::Consolidate { every_turns: 1, ratio: 0.5, keep_recent_turns: 1 },
        MemoryPolicy::Retrieve { top_k: 1, chunk_tokens: Tokens(1), keep_recent_turns: 1 },
    ];
    let indexes = [VectorIndex::Flat, VectorIndex::Hnsw { m: 16 }, VectorIndex::IvfPq];
    let mut add = |parts: Parts| plans.push(plan(&parts, embed()));
    for attention in attentions {
        add(Parts { attention, ..Parts::default() });
    }
    for prune in prunes {
        add(Parts { prune, ..Parts::default() });
    }
    for schedule in schedules {
        add(Parts { schedule, ..Parts::default() });
    }
    for policy in policies {
        add(Parts { policy, ..Parts::default() });
    }
    for index in indexes {
        add(Parts { index, ..Parts::default() });
    }
    plans
}

/// What comes in kinds.
struct Parts {
    attention: Attention,
    prune: Prune,
    schedule: PipelineSchedule,
    policy: MemoryPolicy,
    index: VectorIndex,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            attention: Attention::Eager,
            prune: Prune::None,
            schedule: PipelineSchedule::OneFOneB,
            policy: MemoryPolicy::FullHistory,
            index: VectorIndex::Flat,
        }
    }
}

fn plan(parts: &Parts, workload: Workload) -> Plan {
    Plan {
        schema: SCHEMA,
        model: ModelRef {
            id: Some(String::new()),
            name: Some(String::new()),
            config: Some(Value::Null),
            stored: Some(Vec::new()),
            loaded_from: Some(Dtype::F32),
            gguf: Some(String::new()),
            safetensors: Some(String::new()),
        },
        gpu: GpuRef {
            id: String::new(),
            count: Some(1),
            memory_mib: Some(1),
            in_use_mib: 1,
            gpus_per_node: Some(1),
            price_per_hour: Some(1.0),
            power_w: Some(1.0),
        },
        engine: EngineRef {
            name: EngineName::Candle,
            version: Some(String::new()),
            variant: Some(String::new()),
        },
        precision: Precisions {
            weights: Some(WeightPrecision::Bf16),
            kv_cache: Some(CachePrecision::Bf16),
            activations: Some(ActivationPrecision::Bf16),
        },
        attention: Some(parts.attention.clone()),
        cache: Some(Cache { kind: CacheKind::Paged, page_tokens: Some(1) }),
        parallelism: Parallelism {
            tensor: 1,
            pipeline: 1,
            data: 1,
            expert: 1,
            context: 1,
            sequence: true,
            pipeline_schedule: parts.schedule,
            zero_stage: 1,
            offload: Offload { optimizer: OffloadTo::Cpu, parameters: OffloadTo::Nvme },
        },
        workload,
        compression: Compression { prune: parts.prune.clone() },
        agent_memory: Some(AgentMemory {
            turns: 1,
            tokens_per_turn: Tokens(1),
            system_tokens: Tokens(1),
            policy: parts.policy.clone(),
            store: Some(VectorStore {
                vectors: 1,
                dimensions: 1,
                element: VectorElement::Pq,
                index: parts.index.clone(),
                on_gpu: true,
            }),
            embedding_model: Some(ModelRef::catalogue("")),
        }),
        host: Host {
            isa: Some(String::new()),
            threads: Some(1),
            l1d_cache_kib: Some(1),
            l2_cache_kib: Some(1),
            l3_cache_kib: Some(1),
        },
    }
}

fn workloads() -> Vec<Workload> {
    let acceptance = Some(0.5);
    let draft = Speculation::DraftModel {
        model: Box::new(ModelRef::catalogue("")),
        precision: Some(WeightPrecision::Bf16),
        tokens: 1,
        acceptance,
    };
    let further = Speculation::Mtp { tokens: 1, acceptance };
    let ngram = Speculation::Ngram { tokens: 1, acceptance };
    let served = [draft, further, ngram].map(|speculation| {
        Workload::Serve(Serve {
            prompt_tokens: Tokens(1),
            output_tokens: Tokens(1),
            concurrent_sequences: 1,
            max_model_len: Some(Tokens(1)),
            max_batched_tokens: Some(Tokens(1)),
            max_sequences: Some(1),
            memory_fraction: Some(0.5),
            gpu_layers: Some(1),
            shared_prefix_tokens: Tokens(1),
            images: Some(Images { per_prompt: 1, width: Some(1), height: Some(1) }),
            lora_adapters: Some(LoraAdapters { count: 1, rank: 1, targets: Some(vec![String::new()]) }),
            speculation: Some(speculation),
            host_cache_mib: 1,
        })
    });
    let trained = Workload::Train(Train {
        method: TrainMethod::Distill,
        sequence_tokens: Tokens(1),
        micro_batch: 1,
        gradient_accumulation: 1,
        optimizer: Optimizer::Muon,
        mixed_precision: true,
        master_weights: true,
        checkpointing: Checkpointing::Full,
        optimizer_in_backward: true,
        fused_cross_entropy: true,
        activation_offload: true,
        compile: true,
        float8_linear: true,
        async_tensor_parallel: true,
        lora: Some(Lora { rank: 1, targets: vec![String::new()], train_embeddings: true }),
        teacher: Some(Teacher { model: ModelRef::catalogue(""), precision: WeightPrecision::Bf16 }),
    });
    let embedded = Workload::Embed { sequence_tokens: Tokens(1), batch: 1 };
    served.into_iter().chain([trained, embedded]).collect()
}
