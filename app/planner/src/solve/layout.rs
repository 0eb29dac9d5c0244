//! The best way to spread a plan over a number of GPUs.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::document::plan::{EngineName, Parallelism, Plan, Workload};
use crate::error::PlanError;
use crate::estimate::Compiled;
use crate::model::Mixer;

/// The most GPUs that are searched.
pub(super) const MAX_GPUS: u32 = 1024;

/// How slow a layout may be; none: as slow as it is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct SpeedLimits {
    /// Longest time to the first token in milliseconds, of all prompts at once.
    pub time_to_first_token_ms: Option<f64>,
    /// Longest time of an output token in milliseconds.
    pub time_per_output_token_ms: Option<f64>,
}

impl SpeedLimits {
    /// Whether neither is limited.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.time_to_first_token_ms.is_none() && self.time_per_output_token_ms.is_none()
    }
}

/// A layout that fits and is fast enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LayoutPoint {
    /// How it is spread.
    pub parallelism: Parallelism,
    /// Bytes of the GPU that carries most.
    pub total_bytes: Bytes,
    /// TTFT in milliseconds; none where speed is not known.
    pub time_to_first_token_ms: Option<f64>,
    /// TPOT in milliseconds.
    pub time_per_output_token_ms: Option<f64>,
    /// Output tokens a second.
    pub tokens_per_second: Option<f64>,
}

/// Layouts of `gpus` GPUs that fit and keep the limits, fastest first; where speed is not known, those that take least of a
/// GPU. Empty where none does. Tensor ranks are powers of two within a node; experts are cut or spread, whichever the model
/// allows.
///
/// # Errors
/// Those of [`crate::estimate()`] for the plan on one GPU, what no layout changes; more than 1024 GPUs.
pub fn best_layout(plan: &Plan, gpus: u32, limits: &SpeedLimits) -> Result<Vec<LayoutPoint>, PlanError> {
    let compiled = on_one(plan)?;
    search(&compiled, gpus, limits)
}

/// The plan on one GPU, prepared.
pub(super) fn on_one(plan: &Plan) -> Result<Compiled, PlanError> {
    let mut whole = plan.clone();
    whole.gpu.count = None;
    let p = &mut whole.parallelism;
    (p.tensor, p.pipeline, p.data, p.expert, p.context) = (1, 1, 1, 1, 1);
    Compiled::new(&whole)
}

pub(super) fn search(
    compiled: &Compiled,
    gpus: u32,
    limits: &SpeedLimits,
) -> Result<Vec<LayoutPoint>, PlanError> {
    if !(1..=MAX_GPUS).contains(&gpus) {
        return Err(PlanError::invalid(
            "gpu.count",
            format!("{gpus} is out of range"),
            format!("give 1 to {MAX_GPUS}"),
        ));
    }
    let mut found: Vec<LayoutPoint> =
        layouts(compiled, gpus).into_iter().filter_map(|layout| point(compiled, layout, limits)).collect();
    found.sort_by(|a, b| {
        let speed = |p: &LayoutPoint| p.tokens_per_second.unwrap_or(0.0);
        speed(b).total_cmp(&speed(a)).then(a.total_bytes.cmp(&b.total_bytes))
    });
    Ok(found)
}

/// One layout; none where it does not fit, is refused or too slow.
fn point(compiled: &Compiled, layout: Parallelism, limits: &SpeedLimits) -> Option<LayoutPoint> {
    let spread = compiled.spread(layout).ok()?;
    let numbers = spread.numbers();
    let speed = spread.speed(&numbers);
    let slow = |limit: Option<f64>, time: Option<f64>| limit.is_some_and(|l| time.is_none_or(|t| t > l));
    let (first, each) = (
        speed.as_ref().map(|s| s.time_to_first_token_ms),
        speed.as_ref().map(|s| s.time_per_output_token_ms),
    );
    if slow(limits.time_to_first_token_ms, first) || slow(limits.time_per_output_token_ms, each) {
        return None;
    }
    let breakdown = spread.breakdown(&numbers).ok().filter(|b| b.fits)?;
    Some(LayoutPoint {
        parallelism: spread.plan().parallelism.clone(),
        total_bytes: breakdown.parts.total,
        time_to_first_token_ms: first,
        time_per_output_token_ms: each,
        tokens_per_second: speed.map(|s| s.tokens_per_second),
    })
}

/// Every layout of `gpus` GPUs that makes sense for the plan's model and engine, without asking whether it fits.
#[must_use]
pub fn layouts(compiled: &Compiled, gpus: u32) -> Vec<Parallelism> {
    let plan = compiled.plan();
    let model = compiled.model();
    let per_node = plan.gpu.gpus_per_node.unwrap_or(8).max(1);
    let layers = u32::try_from(model.layers.len()).unwrap_or(u32::MAX);
    let heads = model
        .layers
        .iter()
        .filter_map(|l| match &l.mixer {
            Mixer::Attention(a) => Some(a.heads),
            Mixer::Latent(a) => Some(a.heads),
            Mixer::Recurrent(_) => None,
        })
        .min();
    let experts = model.layers.iter().filter_map(|l| l.experts()).map(|e| e.routed).min();
    let whole = matches!(plan.engine.name, EngineName::Candle | EngineName::Litgpt);
    let mut list = Vec::new();
    for tensor in (0..=10).map(|power| 1u32 << power).take_while(|t| *t <= gpus.min(per_node)) {
        if !gpus.is_multiple_of(tensor) || heads.is_some_and(|h| h % u64::from(tensor) != 0) {
            continue;
        }
        let rest = gpus / tensor;
        for pipeline in (1..=rest.min(layers)).filter(|p| rest.is_multiple_of(*p)) {
            let data = rest / pipeline;
            let mut ranks = vec![1];
            if let Some(routed) = experts {
                let group = data.saturating_mul(tensor);
                let shared = |e: &u32| group.is_multiple_of(*e) && routed.is_multiple_of(u64::from(*e));
                ranks.extend((1..=10).map(|power| 1u32 << power).take_while(|e| *e <= group).filter(shared));
            }
            for expert in ranks {
                let layout = Parallelism { tensor, pipeline, data, expert, ..plan.parallelism.clone() };
                if !(whole && (tensor > 1 || pipeline > 1 || expert > 1)) {
                    list.push(layout);
                }
            }
        }
    }
    // vLLM divides experts over all ranks of a stage or by tensor alone: what it refuses is not worth preparing.
    if plan.engine.name == EngineName::Vllm {
        list.retain(|p| p.expert == 1 || p.expert == p.data.saturating_mul(p.tensor));
    }
    // Replicas of training share one batch; those of serving need a sequence each.
    let sequences = match &plan.workload {
        Workload::Serve(serve) => serve.concurrent_sequences,
        Workload::Train(_) | Workload::Embed { .. } => u64::MAX,
    };
    list.retain(|p| u64::from(p.data) <= sequences);
    list
}
