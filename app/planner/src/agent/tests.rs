//! What a conversation holds, by hand, and what an index takes, by faiss' own figures.

use serde_json::{Value, json};

use super::*;
use crate::bytes::Tokens;
use crate::document::merge;
use crate::document::plan::Plan;
use crate::estimate;

fn memory(turns: u32, each: u64, system: u64, policy: &Value) -> AgentMemory {
    serde_json::from_value(json!({
        "turns": turns, "tokens_per_turn": each, "system_tokens": system, "policy": policy
    }))
    .unwrap()
}

#[test]
fn tokens_after_each_turn() {
    let cases: [(Value, &[u64], u64); 5] = [
        (json!({ "kind": "full-history" }), &[110, 120, 130, 140, 150, 160], 0),
        // Full after three turns; then each turn moves the 20 older tokens that stay.
        (json!({ "kind": "window", "tokens": 30 }), &[110, 120, 130, 130, 130, 130], 60),
        // After turn 3: turns 1 and 2 become 0.5 × 20 = 10; after turn 6: 10 and turns 3 to 5 become 20.
        (
            json!({ "kind": "consolidate", "every_turns": 3, "ratio": 0.5, "keep_recent_turns": 1 }),
            &[110, 120, 120, 130, 140, 130],
            20 + 30,
        ),
        // One recent turn and two chunks of 8, of which no more than the past has.
        (
            json!({ "kind": "retrieve", "top_k": 2, "chunk_tokens": 8, "keep_recent_turns": 1 }),
            &[110, 120, 126, 126, 126, 126],
            10 + 4 * 16,
        ),
        // The last two turns: nothing moves until the third.
        (
            json!({ "kind": "retrieve", "top_k": 0, "chunk_tokens": 0, "keep_recent_turns": 2 }),
            &[110, 120, 120, 120, 120, 120],
            4 * 10,
        ),
    ];
    for (policy, held, again) in cases {
        let agent = Agent::of(&memory(6, 10, 100, &policy)).unwrap();
        assert_eq!(agent.tokens, held, "{policy}");
        assert_eq!(agent.reprefill, again, "{policy}");
    }
}

/// faiss' wiki, "Guidelines to choose an index": bytes a vector are 4·d (flat), 4·d + 2·M·4 (HNSW), d/8 (binary), and of PQ
/// codes M + 8 for their id.
#[test]
fn an_index_takes_what_faiss_says() {
    let of = |element: &str, index: Value| {
        let store = json!({ "vectors": 1_000_000, "dimensions": 768, "element": element, "index": index });
        index::bytes(&serde_json::from_value(store).unwrap()).0 as f64 / 1e6
    };
    let flat = json!({ "kind": "flat" });
    for (element, bytes) in [("fp32", 3072.0), ("fp16", 1536.0), ("int8", 768.0), ("binary", 96.0)] {
        assert!((of(element, flat.clone()) - bytes).abs() < 1e-9, "{element}");
    }
    let hnsw = of("fp32", json!({ "kind": "hnsw", "m": 32 }));
    // 256 bytes of links on the lowest level, 32 · 4 / 31 above, 12 of offsets.
    assert!((hnsw - (3072.0 + 256.0 + 128.0 / 31.0 + 12.0)).abs() < 0.01, "{hnsw}");
    let pq = of("pq", json!({ "kind": "ivf-pq" }));
    // 96 bytes of code and 8 of id; 4000 centroids and 256 entries of 3072 bytes.
    assert!((pq - (104.0 + 4256.0 * 3072.0 / 1e6)).abs() < 0.01, "{pq}");
}

#[test]
fn the_turn_at_which_memory_ends_is_the_first_that_does_not_fit() {
    let plan = |turns: u32, gpu: Value| {
        Plan::from_value(json!({
            "schema": 1, "model": { "id": "meta-llama/Llama-3.1-8B" }, "gpu": gpu,
            "workload": { "kind": "serve", "prompt_tokens": 512, "output_tokens": 1 },
            "agent_memory": { "turns": turns, "tokens_per_turn": 1000, "policy": { "kind": "full-history" } }
        }))
        .unwrap()
    };
    let agent = |turns, gpu| estimate(&plan(turns, gpu)).unwrap().agent.unwrap();
    // The model takes 131072 tokens: the 132nd thousand is too much where memory is not.
    let long = agent(200, json!({ "id": "cpu", "memory_mib": 1u64 << 30 }));
    assert_eq!(long.exhausted_turn, Some(132));
    assert_eq!(long.tokens_after_turn.len(), 200);
    assert_eq!(agent(100, json!({ "id": "cpu", "memory_mib": 1u64 << 30 })).exhausted_turn, None);
    // On a card, the turn before fits and the turn itself does not.
    let short = agent(60, json!({ "id": "rtx-4090-24gb" })).exhausted_turn.unwrap();
    let mut before = plan(1, json!({ "id": "rtx-4090-24gb" }));
    before.agent_memory = None;
    let fits = |turn: u32| {
        let held = crate::solve::with_context(&before, Tokens(u64::from(turn) * 1000)).unwrap();
        estimate(&held).unwrap().fits
    };
    assert!(fits(short - 1) && !fits(short), "{short}");
}

#[test]
fn the_command_admits_the_longest_turn() {
    let command = |turns: u32, max: Option<u64>| {
        let plan = Plan::from_value(json!({
            "schema": 1, "model": { "id": "meta-llama/Llama-3.1-8B" }, "gpu": { "id": "h100-sxm-80gb" },
            "engine": { "name": "vllm" },
            "workload": { "kind": "serve", "prompt_tokens": 512, "output_tokens": 1, "max_model_len": max },
            "agent_memory": { "turns": turns, "tokens_per_turn": 1000, "policy": { "kind": "full-history" } }
        }))
        .unwrap();
        estimate(&plan).unwrap().command.unwrap()
    };
    assert!(command(5, None).contains("--max-model-len 5000 "), "{}", command(5, None));
    // The model takes 131072 tokens; what the plan says counts.
    assert!(command(200, None).contains("--max-model-len 131000 "), "{}", command(200, None));
    assert!(command(5, Some(2048)).contains("--max-model-len 2048 "), "{}", command(5, Some(2048)));
}

#[test]
fn what_runs_on_the_gpu_beside_the_model_is_auxiliary() {
    let with = |agent: Value| {
        let plan = Plan::from_value(json!({
            "schema": 1, "model": { "id": "meta-llama/Llama-3.1-8B" }, "gpu": { "id": "h100-sxm-80gb" },
            "workload": { "kind": "serve", "prompt_tokens": 512, "output_tokens": 64 }, "agent_memory": agent
        }))
        .unwrap();
        estimate(&plan).unwrap()
    };
    let store = |on_gpu: bool| {
        json!({ "turns": 3, "tokens_per_turn": 100, "policy": { "kind": "full-history" },
            "embedding_model": { "id": "sentence-transformers/all-MiniLM-L6-v2" },
            "store": { "vectors": 1000, "dimensions": 384, "element": "fp32", "index": { "kind": "flat" }, "on_gpu": on_gpu } })
    };
    let embedding = catalogue_bytes("sentence-transformers/all-MiniLM-L6-v2");
    let (off, on) = (with(store(false)), with(store(true)));
    assert_eq!(off.per_gpu.auxiliary, embedding);
    assert_eq!(on.per_gpu.auxiliary, embedding + Bytes(1000 * 384 * 4));
    assert_eq!(on.agent.unwrap().index_bytes, Bytes(1000 * 384 * 4));
    assert_eq!(off.agent.unwrap().embedding_bytes, embedding);
}

fn catalogue_bytes(id: &str) -> Bytes {
    Bytes(crate::catalogue::model(id).unwrap().parameters * 4)
}

#[test]
fn every_preset_is_fields_of_a_plan() {
    let mut names: Vec<&str> = presets::PRESETS.iter().map(|p| p.name).collect();
    for preset in presets::PRESETS {
        let change = presets::fields(preset.name).unwrap_or_else(|| panic!("{} has no fields", preset.name));
        assert!(!preset.source.is_empty() && !preset.behaviour.is_empty());
        let mut plan = match preset.kind {
            presets::PresetKind::AgentMemory => {
                json!({ "schema": 1, "model": { "id": "m" }, "gpu": { "id": "g" },
                "workload": { "kind": "serve", "prompt_tokens": 1 },
                "agent_memory": { "turns": 9, "tokens_per_turn": 100 } })
            }
            presets::PresetKind::Training => {
                json!({ "schema": 1, "model": { "id": "m" }, "gpu": { "id": "g" },
                "workload": { "kind": "train", "method": "full", "sequence_tokens": 9 } })
            }
        };
        merge(&mut plan, &change);
        let plan = Plan::from_value(plan).unwrap_or_else(|e| panic!("{}: {e}", preset.name));
        if let Some(memory) = &plan.agent_memory {
            assert_eq!(Agent::of(memory).unwrap().tokens.len(), 9);
        }
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), presets::PRESETS.len(), "names are distinct");
    assert_eq!(presets::fields("LangChain nothing"), None);
}

/// What the sources say, by hand.
#[test]
fn presets_retrieve_what_their_sources_say() {
    for (name, retrieved, recent) in [("Zep", 1600, 3), ("Hindsight", 4096, 1)] {
        let fields = presets::fields(name).unwrap();
        let policy = &fields["agent_memory"]["policy"];
        let shown = policy["top_k"].as_u64().unwrap() * policy["chunk_tokens"].as_u64().unwrap();
        assert_eq!((shown, policy["keep_recent_turns"].as_u64()), (retrieved, Some(recent)), "{name}");
    }
}

#[test]
fn a_preset_is_written_into_a_document_of_its_workload() {
    let serve = || json!({ "workload": { "kind": "serve", "prompt_tokens": 1 } });
    let train = || json!({ "workload": { "kind": "train", "method": "full", "optimizer": "lion" } });

    let mut document = serve();
    presets::apply(&mut document, "letta-memgpt").unwrap();
    assert_eq!(document["agent_memory"]["turns"], 200);
    assert_eq!(document["agent_memory"]["policy"]["kind"], "consolidate");
    // Another policy takes its place whole, and the conversation stays.
    document["agent_memory"]["turns"] = json!(7);
    presets::apply(&mut document, "langchain conversationbuffermemory").unwrap();
    assert_eq!(document["agent_memory"]["policy"], json!({ "kind": "full-history" }));
    assert_eq!(document["agent_memory"]["turns"], 7);

    let mut document = train();
    presets::apply(&mut document, "deepspeed-zero-3").unwrap();
    presets::apply(&mut document, "apex-amp-o2").unwrap();
    assert_eq!(document["parallelism"]["zero_stage"], 3);
    assert_eq!(document["workload"]["optimizer"], "lion", "what the preset does not name stays");
    assert_eq!(document["precision"]["weights"], "fp16");

    for (mut document, name, said) in
        [(serve(), "Zepp", "unknown"), (serve(), "Apex AMP O1", "train"), (train(), "Zep", "serve")]
    {
        let before = document.clone();
        let error = presets::apply(&mut document, name).unwrap_err();
        assert_eq!((error.field.as_str(), &document), ("preset", &before));
        assert!(error.problem.contains(said), "{error}");
    }
}

#[test]
fn presets_are_listed_with_their_fields() {
    let list = presets::list();
    assert_eq!(list.len(), presets::PRESETS.len());
    assert!(list.iter().all(|preset| preset.fields.is_object() && !preset.source.is_empty()));
}

#[test]
fn what_is_refused_names_its_field() {
    let full = json!({ "kind": "full-history" });
    let mut endless = memory(1, 1, 0, &full);
    endless.turns = 0;
    assert_eq!(Agent::of(&endless).unwrap_err().field, "agent_memory.turns");
    endless.turns = u32::MAX;
    assert_eq!(Agent::of(&endless).unwrap_err().field, "agent_memory.turns");
    let every = json!({ "kind": "consolidate", "every_turns": 0, "ratio": 0.2, "keep_recent_turns": 5 });
    assert_eq!(Agent::of(&memory(1, 1, 0, &every)).unwrap_err().field, "agent_memory.policy.every_turns");
    let ratio = json!({ "kind": "consolidate", "every_turns": 1, "ratio": 1.2, "keep_recent_turns": 5 });
    assert_eq!(Agent::of(&memory(1, 1, 0, &ratio)).unwrap_err().field, "agent_memory.policy.ratio");
    let mut store = memory(1, 1, 0, &full);
    store.store = serde_json::from_value(
        json!({ "vectors": 1, "dimensions": 8, "element": "fp32", "index": { "kind": "ivf-pq" } }),
    )
    .ok();
    assert_eq!(Agent::of(&store).unwrap_err().field, "agent_memory.store.element");
    let mut unknown = memory(1, 1, 0, &full);
    unknown.embedding_model = Some(crate::document::plan::ModelRef::catalogue("nobody/none"));
    assert_eq!(Agent::of(&unknown).unwrap_err().field, "agent_memory.embedding_model.id");
}
