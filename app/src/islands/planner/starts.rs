//! Plans to start from.

use leptos::prelude::*;

/// A name and the plan's link.
const STARTS: [(&str, &str); 8] = [
    (
        "Chat service on vLLM",
        "model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb&engine=vllm&weights=bf16&context=3072&output=1024&batch=64\
         &max_len=8192",
    ),
    (
        "RAG",
        "model=Qwen/Qwen2.5-7B&gpu=l40s-48gb&engine=vllm&weights=bf16&context=12288&output=512&batch=16&max_len=16384",
    ),
    (
        "Long document",
        "model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb&engine=vllm&weights=bf16&context=100000&output=1000\
         &max_len=131072",
    ),
    (
        "8B quantised on 12 GB",
        "model=meta-llama/Llama-3.1-8B&gpu=rtx-3060-12gb&weights=gguf:q4_k_m&context=2048&output=512",
    ),
    (
        "Full fine-tune on 8 GPUs",
        "model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb&engine=torchtune&weights=bf16&parallelism.data=8\
         &parallelism.zero_stage=3&workload.kind=train&workload.sequence_tokens=4096&workload.checkpointing=full",
    ),
    (
        "QLoRA on one card",
        "model=meta-llama/Llama-3.1-8B&gpu=rtx-4090-24gb&engine=transformers&workload.kind=train&workload.method=qlora\
         &workload.sequence_tokens=2048&workload.checkpointing=full",
    ),
    (
        "Agent of 500 turns",
        "model=Qwen/Qwen3-8B&gpu=rtx-4090-24gb&engine=vllm&weights=bf16&context=4096&output=512&max_len=32768\
         &agent_memory=true&agent_memory.turns=500&agent_memory.tokens_per_turn=350&agent_memory.policy.kind=consolidate",
    ),
    (
        "Small model on this processor",
        "model=HuggingFaceTB/SmolLM2-135M&gpu=cpu&weights=bf16&context=256&output=16&batch=2",
    ),
];

/// Links to them.
pub(super) fn starts() -> AnyView {
    let chips = STARTS
        .into_iter()
        .map(|(name, query)| view! { <a class="chip" href=format!("/planner?{query}")>{name}</a> })
        .collect_view();
    view! {
        <p class="starts">
            <small>"Start from"</small>
        </p>
        <div class="chips">{chips}</div>
        <p class="starts">
            <small>
                <a href="/answers">"What people ask first, with computed numbers"</a>
            </small>
        </p>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link;

    #[test]
    fn every_start_has_an_answer() {
        for (name, query) in STARTS {
            let plan = link::read(query).unwrap_or_else(|error| panic!("{name}: {error}"));
            let answer = ::planner::estimate(&plan);
            assert!(answer.is_ok(), "{name}: {answer:?}");
        }
    }
}
