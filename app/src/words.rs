//! A plan in words, as titles, exports and previews say it.

#[cfg(feature = "ssr")]
use planner::Estimate;
use planner::Plan;
use planner::document::plan::Workload;

#[cfg(feature = "ssr")]
use crate::components::answer::{self, Verdict};
use crate::{format, link};

/// Model and GPU: what a plan is called.
pub(crate) fn title(plan: &Plan) -> String {
    format!("{} on {}", link::model_name(&plan.model), place(plan))
}

/// What is planned, in a line.
pub(crate) fn line(plan: &Plan) -> String {
    format!("{}, {}", title(plan), settings(plan))
}

/// The GPUs by name, with their count where it is more than one.
pub(crate) fn place(plan: &Plan) -> String {
    let spread = &plan.parallelism;
    let ranks = [spread.tensor, spread.pipeline, spread.data, spread.context]
        .into_iter()
        .fold(1, u32::saturating_mul);
    let name = link::gpu_name(&plan.gpu.id);
    match plan.gpu.count.unwrap_or(ranks) {
        0 | 1 => name,
        count => format!("{} × {name}", format::count(u64::from(count))),
    }
}

/// How the weights are held and what is done with them.
pub(crate) fn settings(plan: &Plan) -> String {
    let weights = plan.precision.weights.map_or_else(|| "as stored".to_owned(), |w| w.to_string());
    format!("weights {weights} · {}", workload(&plan.workload))
}

/// The verdict with its number and how sure it is.
#[cfg(feature = "ssr")]
pub(crate) fn verdict(estimate: &Estimate) -> String {
    let total = estimate.per_gpu.total;
    format!(
        "{} {} {}, {}",
        Verdict::of(estimate).words().1,
        answer::sized(total, total),
        answer::usable(estimate),
        answer::between(estimate)
    )
}

fn workload(workload: &Workload) -> String {
    match workload {
        Workload::Serve(serve) => format!(
            "{} + {} tokens, {} at once",
            format::count(serve.prompt_tokens.0),
            format::count(serve.output_tokens.0),
            format::count(serve.concurrent_sequences)
        ),
        Workload::Train(train) => {
            let method = serde_json::to_value(train.method).unwrap_or_default();
            format!(
                "training ({}), {} × {} tokens a pass",
                method.as_str().unwrap_or_default(),
                format::count(train.micro_batch),
                format::count(train.sequence_tokens.0)
            )
        }
        Workload::Embed { sequence_tokens, batch } => format!(
            "embedding, {} × {} tokens at once",
            format::count(u64::from(*batch)),
            format::count(sequence_tokens.0)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_told_by_what_decides_most() {
        for (query, name, set) in [
            (
                "gpu=h100-sxm-80gb&weights=bf16&batch=4",
                "meta-llama/Llama-3.1-8B on NVIDIA H100 SXM 80 GB",
                "weights bf16 · 2,048 + 512 tokens, 4 at once",
            ),
            (
                "gpu=h100-sxm-80gb&parallelism.tensor=2&engine=vllm",
                "meta-llama/Llama-3.1-8B on 2 × NVIDIA H100 SXM 80 GB",
                "weights as stored · 2,048 + 512 tokens, 1 at once",
            ),
            (
                "gpu=h100-sxm-80gb&engine=torchtune&workload.kind=train&workload.method=lora",
                "meta-llama/Llama-3.1-8B on NVIDIA H100 SXM 80 GB",
                "weights as stored · training (lora), 1 × 2,048 tokens a pass",
            ),
        ] {
            let plan = link::read(query).unwrap();
            assert_eq!((title(&plan).as_str(), settings(&plan).as_str()), (name, set), "{query}");
        }
    }
}
