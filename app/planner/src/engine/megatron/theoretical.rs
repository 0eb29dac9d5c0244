//! Megatron's own estimate, which it prints when training starts.
//!
//! `megatron/training/theoretical_memory_usage.py`, core 0.14.0, line by line. It is kept so that a reader can hold the
//! plan against the log; it leaves out the output layer's gradient, workspaces, and what experts add to activations.

use super::layout::Ranks;
use super::stage::padded_vocabulary;
use crate::document::plan::PipelineSchedule;
use crate::model::{DenseFeedForward, FeedForward, Mixer, Model};

/// What Megatron prints, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Theoretical {
    /// `weight and optimizer`, of the stage that holds most.
    pub(super) weights_and_optimizer: f64,
    /// `activation`; Megatron prints it only under sequence parallelism with selective recomputation.
    pub(super) activations: f64,
}

/// What a training run is, in the script's terms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Run {
    pub(super) ranks: Ranks,
    pub(super) distributed_optimizer: bool,
    pub(super) schedule: PipelineSchedule,
    pub(super) sequence: u64,
    pub(super) micro_batch: u64,
    pub(super) microbatches: u64,
}

/// Megatron's estimate of a model.
pub(super) fn theoretical(model: &Model, run: &Run) -> Theoretical {
    let h = model.hidden as f64;
    let (tensor, pipeline) = (run.ranks.tensor as f64, run.ranks.pipeline as f64);
    let embedding = h * padded_vocabulary(model.vocab, run.ranks.tensor) as f64;
    // The script counts two elements a norm, a bias being there or not.
    let block: f64 =
        model.layers.iter().map(|l| mixer(&l.mixer, h) + feed_forward(&l.feed_forward, h)).sum::<f64>()
            + 2.0 * h;
    let mut most = (block / pipeline + embedding) / tensor;
    if !model.tied_embeddings && run.ranks.pipeline == 1 {
        most += embedding / tensor;
    }
    let bytes = if run.distributed_optimizer { 6.0 + 12.0 / run.ranks.data as f64 } else { 18.0 };
    Theoretical { weights_and_optimizer: most * bytes, activations: activations(model, run) }
}

fn mixer(mixer: &Mixer, h: f64) -> f64 {
    match mixer {
        Mixer::Attention(a) => {
            let (heads, groups) = (a.heads as f64, a.kv_heads as f64);
            2.0 * h * h * ((1.0 + groups / heads) * (a.query_width() as f64 / h))
        }
        Mixer::Latent(a) => {
            let (heads, rope) = (a.heads as f64, a.rope_size as f64);
            let (nope, value) = (a.nope_size as f64, a.value_size as f64);
            let query = match a.query_rank {
                None => h * heads * (nope + rope),
                Some(rank) => rank as f64 * (h + heads * (nope + rope) + 1.0),
            };
            query + a.kv_rank as f64 * (h + heads * (nope + value) + 1.0) + h * rope + heads * value * h
        }
        Mixer::Recurrent(_) => 0.0,
    }
}

fn feed_forward(f: &FeedForward, h: f64) -> f64 {
    let wide = |f: &DenseFeedForward| f.intermediate as f64 * if f.gated { 1.5 } else { 1.0 };
    let inner = match f {
        FeedForward::Dense(f) => wide(f),
        FeedForward::Experts(x) => wide(&x.expert) * x.routed as f64 + x.shared.as_ref().map_or(0.0, wide),
        FeedForward::None => 0.0,
    };
    2.0 * h * (inner + 2.0)
}

/// The inner width that the script's formula knows: the dense layers' (`--ffn-hidden-size`).
fn inner(model: &Model) -> f64 {
    let dense = model.layers.iter().find_map(|l| l.dense().map(|f| f.intermediate));
    let expert = model.layers.iter().find_map(|l| l.experts().map(|x| x.expert.intermediate));
    dense.or(expert).unwrap_or_default() as f64
}

fn activations(model: &Model, run: &Run) -> f64 {
    let h = model.hidden as f64;
    let (tensor, pipeline) = (run.ranks.tensor as f64, run.ranks.pipeline as f64);
    let tokens = run.sequence as f64 * run.micro_batch as f64;
    let mut bytes = tokens * h * (18.0 + 4.0 * (inner(model) / h)) * model.layers.len() as f64;
    bytes += 8.0 * tokens * pipeline + tokens * h * pipeline;
    match run.schedule {
        PipelineSchedule::Interleaved { virtual_stages } => {
            bytes *= 1.0 + (pipeline - 1.0) / (pipeline * f64::from(virtual_stages));
        }
        PipelineSchedule::OneFOneB | PipelineSchedule::Gpipe if run.ranks.pipeline > 1 => {
            bytes *= (run.microbatches as f64 / pipeline).min(1.0);
        }
        PipelineSchedule::OneFOneB | PipelineSchedule::Gpipe => {}
    }
    if run.ranks.pipeline == 1 {
        let vocabulary = padded_vocabulary(model.vocab, run.ranks.tensor) as f64;
        bytes += tokens * h * 4.0 * (1.0 + vocabulary / h);
    }
    bytes / tensor
}
