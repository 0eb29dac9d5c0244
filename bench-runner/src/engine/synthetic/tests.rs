//! A synthetic GGUF file is what its header says, as the planner's own reader understands it.

use std::io::Read;

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device};
use planner::model::Model;

use super::super::random::seeded_tensor;
use super::{GgufLayout, write_gguf};

fn config(kind: &str) -> serde_json::Value {
    serde_json::json!({
        "model_type": kind, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 6,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 256,
        "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "sliding_window": 32, "torch_dtype": "float32"
    })
}

#[test]
fn the_file_holds_what_the_layout_says() {
    for kind in ["llama", "qwen2", "qwen3", "gemma3_text"] {
        let config = config(kind);
        let shape = Model::from_config("m", &config).unwrap();
        let layout = GgufLayout::new(&shape, GgmlDType::Q8_0).unwrap();
        let mut bytes = Vec::new();
        write_gguf(&config, GgmlDType::Q8_0, 0).unwrap().read_to_end(&mut bytes).unwrap();
        let header =
            planner::gguf::parse(&bytes, bytes.len() as u64).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let read = header.model("m").unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert_eq!(read.parameters(), shape.parameters(), "{kind}");
        assert_eq!(read.layers, shape.layers, "{kind}");
        let sorted = |mut blocks: Vec<planner::document::plan::StoredBlock>| {
            blocks.sort_by(|a, b| a.kind.cmp(&b.kind));
            blocks
        };
        assert_eq!(sorted(header.stored()), sorted(layout.stored()), "{kind}");
    }
}

#[test]
fn a_seed_makes_other_numbers_of_the_same_size() {
    let written = |seed| {
        let mut bytes = Vec::new();
        write_gguf(&config("llama"), GgmlDType::Q8_0, seed).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    let (usual, other) = (written(0), written(1));
    assert_eq!(usual, written(0));
    assert_eq!(usual.len(), other.len());
    let differ = usual.iter().zip(&other).filter(|(a, b)| a != b).count();
    assert!(differ > usual.len() / 2, "{differ} of {} bytes", usual.len());
    // Dense weights, too.
    let tensor = |seed| {
        let tensor = seeded_tensor("w", seed, (8, 8).into(), DType::F32, &Device::Cpu).unwrap();
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(tensor(0), tensor(0));
    assert!(tensor(0).iter().zip(tensor(1)).all(|(a, b)| (a - b).abs() > 0.0));
}

#[test]
fn rows_that_are_no_whole_blocks_fall_back_as_in_llama_cpp() {
    // SmolLM2-135M has rows of 576 = 2.25 blocks of 256: its published Q4_K_M file holds them in q5_0.
    let shape = planner::catalogue::model("HuggingFaceTB/SmolLM2-135M").unwrap().model().unwrap();
    let stored = GgufLayout::new(&shape, GgmlDType::Q4K).unwrap().stored();
    let kinds: std::collections::BTreeSet<&str> = stored.iter().map(|b| b.kind.as_str()).collect();
    // The feed-forward's rows of 1536 are six blocks.
    assert_eq!(kinds, ["f32", "q4_k", "q5_0"].into());
    assert_eq!(stored.iter().map(|b| b.parameters).sum::<u64>(), shape.parameters().total);
}
