//! The command that runs a plan in Megatron-LM.

use super::layout::Ranks;
use crate::document::plan::{Checkpointing, Optimizer, PipelineSchedule, Plan, Train};
use crate::engine::policy::Numbers;
use crate::model::{FeedForward, Mixer, Model, Norm};

/// `torchrun … pretrain_gpt.py …`, without data, tokenizer and learning rate.
pub(super) fn command(plan: &Plan, train: &Train, model: &Model, ranks: &Ranks, numbers: &Numbers) -> String {
    let gpus =
        [ranks.pipeline, ranks.data, ranks.context].into_iter().fold(ranks.tensor, u64::saturating_mul);
    let per_node = u64::from(plan.gpu.gpus_per_node.unwrap_or(8)).min(gpus).max(1);
    let mut words = Words(vec![format!("torchrun --nproc-per-node {per_node}")]);
    if gpus > per_node {
        words.0.push(format!("--nnodes {}", gpus.div_ceil(per_node)));
    }
    words.0.push("pretrain_gpt.py --use-mcore-models --transformer-impl transformer_engine".to_owned());
    shape(model, &mut words);
    words.number("--seq-length", numbers.sequence.0);
    words.number("--max-position-embeddings", model.max_tokens.0.max(numbers.sequence.0));
    words.number("--micro-batch-size", numbers.micro_batch);
    let global = numbers.micro_batch.saturating_mul(numbers.gradient_accumulation).saturating_mul(ranks.data);
    words.number("--global-batch-size", global);
    words.number("--tensor-model-parallel-size", ranks.tensor);
    words.number("--pipeline-model-parallel-size", ranks.pipeline);
    if let PipelineSchedule::Interleaved { virtual_stages } = plan.parallelism.pipeline_schedule {
        words.number("--num-virtual-stages-per-pipeline-rank", u64::from(virtual_stages));
    }
    if ranks.context > 1 {
        words.number("--context-parallel-size", ranks.context);
    }
    if ranks.sequence {
        words.word("--sequence-parallel");
    }
    if plan.parallelism.zero_stage == 1 {
        words.word("--use-distributed-optimizer");
    }
    if train.mixed_precision {
        words.word(if super::policy::is_fp16(plan) { "--fp16" } else { "--bf16" });
    }
    if train.float8_linear {
        words.word("--fp8-format hybrid");
    }
    match train.checkpointing {
        Checkpointing::None => {}
        Checkpointing::Selective => words.word("--recompute-granularity selective"),
        Checkpointing::Full => {
            words.word("--recompute-granularity full --recompute-method uniform --recompute-num-layers 1");
        }
    }
    if train.fused_cross_entropy {
        words.word("--cross-entropy-loss-fusion --cross-entropy-fusion-impl te");
    }
    if train.async_tensor_parallel {
        words.word("--tp-comm-overlap");
    }
    if plan.parallelism.offload.optimizer != crate::document::plan::OffloadTo::None {
        words.word("--optimizer-cpu-offload --use-precision-aware-optimizer");
    }
    if train.optimizer != Optimizer::Adamw {
        words.word("--optimizer sgd");
    }
    words.0.join(" ")
}

struct Words(Vec<String>);

impl Words {
    fn word(&mut self, word: &str) {
        self.0.push(word.to_owned());
    }

    fn number(&mut self, flag: &str, n: u64) {
        self.0.push(format!("{flag} {n}"));
    }
}

fn shape(model: &Model, words: &mut Words) {
    words.number("--num-layers", model.layers.len() as u64);
    words.number("--hidden-size", model.hidden);
    words.number("--vocab-size", model.vocab);
    let dense = model.layers.iter().find_map(|l| l.dense());
    let experts = model.layers.iter().find_map(|l| l.experts());
    let inner = dense.map(|f| f.intermediate).or_else(|| experts.map(|x| x.expert.intermediate));
    if let Some(inner) = inner {
        words.number("--ffn-hidden-size", inner);
    }
    let gated = dense.map_or_else(|| experts.is_some_and(|x| x.expert.gated), |f| f.gated);
    if gated {
        words.word("--swiglu");
    }
    match model.layers.first().map(|l| &l.mixer) {
        Some(Mixer::Attention(a)) => {
            words.number("--num-attention-heads", a.heads);
            words.number("--kv-channels", a.head_size);
            if a.kv_heads < a.heads {
                words.number("--group-query-attention --num-query-groups", a.kv_heads);
            }
            if a.rotary_size > 0 {
                words.word("--position-embedding-type rope");
            }
        }
        Some(Mixer::Latent(a)) => {
            words.number("--multi-latent-attention --num-attention-heads", a.heads);
            if let Some(rank) = a.query_rank {
                words.number("--q-lora-rank", rank);
            }
            words.number("--kv-lora-rank", a.kv_rank);
            words.number("--qk-head-dim", a.nope_size);
            words.number("--qk-pos-emb-head-dim", a.rope_size);
            words.number("--v-head-dim", a.value_size);
            words.word("--position-embedding-type rope --qk-layernorm");
        }
        Some(Mixer::Recurrent(_)) | None => {}
    }
    if let Some(x) = experts {
        words.number("--num-experts", x.routed);
        words.number("--moe-router-topk", x.active);
        words.number("--moe-ffn-hidden-size", x.expert.intermediate);
        if let Some(shared) = &x.shared {
            words.number("--moe-shared-expert-intermediate-size", shared.intermediate);
        }
        let pattern: Vec<&str> = model
            .layers
            .iter()
            .map(|l| if matches!(l.feed_forward, FeedForward::Experts(_)) { "1" } else { "0" })
            .collect();
        words.word(&format!("--moe-layer-freq \"[{}]\"", pattern.join(",")));
        words.word("--moe-grouped-gemm --moe-token-dispatcher-type alltoall --moe-permute-fusion");
    }
    if model.final_norm == Some(Norm::Rms) {
        words.word("--normalization RMSNorm");
    }
    let bias = dense.is_some_and(|f| f.bias);
    if !bias {
        words.word("--disable-bias-linear");
    }
    if !model.tied_embeddings {
        words.word("--untie-embeddings-and-output-weights");
    }
}
