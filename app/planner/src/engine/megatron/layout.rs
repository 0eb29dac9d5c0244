//! Which layers a pipeline stage holds, and how many microbatches it keeps.

use crate::document::plan::{Parallelism, PipelineSchedule};
use crate::error::PlanError;

/// Ranks along Megatron's axes. `expert` ranks are taken out of tensor · context · data; what is left of them replicates
/// the experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ranks {
    pub(super) tensor: u64,
    pub(super) pipeline: u64,
    pub(super) data: u64,
    pub(super) context: u64,
    pub(super) expert: u64,
    /// Tensor parallel ranks inside one expert (`--expert-tensor-parallel-size`).
    pub(super) expert_tensor: u64,
    /// Ranks that hold the same experts.
    pub(super) expert_data: u64,
    /// Whether what tensor parallelism would repeat is divided along the sequence.
    pub(super) sequence: bool,
}

impl Ranks {
    /// The ranks of a layout. Experts are divided over tensor ranks too (Megatron's default) where data and context ranks
    /// alone hold all of them; else each expert is whole on one rank.
    ///
    /// # Errors
    /// Where the expert ranks do not divide the rest.
    pub(super) fn of(p: &Parallelism, experts: Option<u64>) -> Result<Self, PlanError> {
        let (tensor, data, context, expert) =
            (u64::from(p.tensor), u64::from(p.data), u64::from(p.context), u64::from(p.expert));
        let (expert_tensor, expert_data) = match experts {
            None if expert > 1 => {
                return Err(PlanError::invalid(
                    "parallelism.expert",
                    "the model has no experts to divide",
                    "give 1, or leave it out",
                ));
            }
            None => (tensor, data.saturating_mul(context)),
            Some(count) if !count.is_multiple_of(expert) => {
                return Err(PlanError::invalid(
                    "parallelism.expert",
                    format!("{expert} does not divide the {count} experts"),
                    "give a divisor of them",
                ));
            }
            Some(_) if data.saturating_mul(context).is_multiple_of(expert) => {
                (tensor, data.saturating_mul(context) / expert)
            }
            Some(_) => {
                let ranks = tensor.saturating_mul(data).saturating_mul(context);
                if !ranks.is_multiple_of(expert) {
                    return Err(PlanError::invalid(
                        "parallelism.expert",
                        format!("{expert} does not divide tensor · data · context = {ranks}"),
                        "give a divisor of it",
                    ));
                }
                (1, ranks / expert)
            }
        };
        if experts.is_some() && tensor > 1 && !p.sequence {
            return Err(PlanError::unsupported(
                "parallelism.sequence",
                "Megatron trains experts under tensor parallelism only with sequence parallelism",
                "give true, or tensor 1",
            ));
        }
        Ok(Self {
            tensor,
            pipeline: u64::from(p.pipeline),
            data,
            context,
            expert,
            expert_tensor,
            expert_data,
            sequence: p.sequence && tensor > 1,
        })
    }

    /// Tensor ranks that divide what sequence parallelism divides: 1 without it.
    pub(super) const fn sequence_ranks(&self) -> u64 {
        if self.sequence { self.tensor } else { 1 }
    }
}

/// First layer of each model chunk and one past its last, by stage: `chunks[stage][virtual stage]`.
///
/// Layers are divided evenly. Where they do not divide, the first and the last stage take fewer
/// (`--decoder-first-pipeline-num-layers`, `--decoder-last-pipeline-num-layers`), as Llama 3 405B did (arXiv 2407.21783,
/// section 3.3.2).
///
/// # Errors
/// Where virtual stages leave a remainder, which Megatron refuses.
pub(super) fn chunks(
    layers: u64,
    stages: u64,
    schedule: PipelineSchedule,
) -> Result<Vec<Vec<(u64, u64)>>, PlanError> {
    let virtual_stages = match schedule {
        PipelineSchedule::Interleaved { virtual_stages } => u64::from(virtual_stages),
        PipelineSchedule::OneFOneB | PipelineSchedule::Gpipe => 1,
    };
    let field = "parallelism.pipeline_schedule.virtual_stages";
    if virtual_stages == 0 || virtual_stages > layers {
        return Err(PlanError::invalid(
            field,
            format!("{virtual_stages} is out of range"),
            format!("give 1 to {layers}"),
        ));
    }
    if virtual_stages > 1 {
        let all = stages.saturating_mul(virtual_stages);
        if stages < 2 {
            return Err(PlanError::unsupported(
                field,
                "one stage has nothing to interleave",
                "give 1f1b, or more than one pipeline stage",
            ));
        }
        if !layers.is_multiple_of(all) {
            return Err(PlanError::unsupported(
                field,
                format!("{layers} layers do not divide into {stages} · {virtual_stages} chunks"),
                "give virtual stages that divide them",
            ));
        }
        let each = layers / all;
        return Ok((0..stages)
            .map(|s| {
                (0..virtual_stages).map(|v| ((v * stages + s) * each, (v * stages + s + 1) * each)).collect()
            })
            .collect());
    }
    let sizes: Vec<u64> = if layers.is_multiple_of(stages) {
        vec![layers / stages; usize::try_from(stages).unwrap_or_default()]
    } else if stages == 2 {
        vec![layers / 2, layers - layers / 2]
    } else {
        let mut inner = layers.div_ceil(stages);
        while inner * (stages - 2) + 2 > layers {
            inner -= 1;
        }
        let ends = layers - inner * (stages - 2);
        let mut sizes = vec![inner; usize::try_from(stages).unwrap_or_default()];
        if let Some(first) = sizes.first_mut() {
            *first = ends / 2;
        }
        if let Some(last) = sizes.last_mut() {
            *last = ends - ends / 2;
        }
        sizes
    };
    let mut start = 0;
    Ok(sizes
        .into_iter()
        .map(|size| {
            let chunk = (start, start + size);
            start += size;
            vec![chunk]
        })
        .collect())
}

/// Forward passes that stage `stage` holds before its first backward pass ends, counted in model chunks.
///
/// `megatron/core/pipeline_parallel/schedules.py`, core 0.14: without interleaving a stage warms up with
/// `stages - stage - 1` forward passes, with it with `2 (stages - stage - 1) + (virtual - 1) stages` chunks; the steady
/// state adds one. `GPipe` (arXiv 1811.06965) keeps all.
pub(in crate::engine) const fn in_flight(
    stage: u64,
    stages: u64,
    virtual_stages: u64,
    gpipe: bool,
    microbatches: u64,
) -> u64 {
    let all = microbatches.saturating_mul(virtual_stages);
    if gpipe {
        return all;
    }
    let after = stages.saturating_sub(stage + 1);
    let warm_up = if virtual_stages > 1 { 2 * after + (virtual_stages - 1) * stages } else { after };
    let held = warm_up + 1;
    if held < all { held } else { all }
}

/// How often chunk `chunk` of a stage is among the first `held` forward passes: groups of `stages` microbatches go through
/// one chunk, then through the next.
pub(in crate::engine) const fn held_of_chunk(held: u64, chunk: u64, stages: u64, virtual_stages: u64) -> u64 {
    if virtual_stages <= 1 {
        return held;
    }
    let cycle = stages.saturating_mul(virtual_stages);
    let rest = (held % cycle).saturating_sub(chunk.saturating_mul(stages));
    (held / cycle) * stages + if rest < stages { rest } else { stages }
}
