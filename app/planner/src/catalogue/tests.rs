//! The data files: complete, unique, and equal to what was published.

use super::*;

#[test]
fn every_file_is_a_model_with_the_published_count() {
    for text in FILES {
        serde_json::from_str::<ModelEntry>(text).unwrap_or_else(|e| panic!("{e}: {}", &text[..80]));
    }
    let mut wrong = Vec::new();
    for entry in models() {
        let model = entry.model().unwrap_or_else(|e| panic!("{}: {e}", entry.id));
        let counted = model.parameters().total;
        let ahead: u64 = model.next_token_tensors().iter().map(crate::model::WeightTensor::elements).sum();
        if (counted, ahead) != (entry.parameters, entry.next_token_parameters) {
            wrong.push(format!("{}: {counted} + {ahead}, published {}", entry.id, entry.parameters));
        }
        assert!(model.native.is_some(), "{} says no precision", entry.id);
        assert!(!entry.source.is_empty());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Counts written down apart from the data files: from the safetensors headers and model cards on the Hub.
#[test]
fn counts_are_those_of_the_published_checkpoints() {
    let published = [
        ("meta-llama/Llama-3.1-8B", 8_030_261_248),
        ("meta-llama/Llama-3.1-70B", 70_553_706_496),
        ("meta-llama/Llama-3.1-405B", 405_853_388_800),
        ("meta-llama/Llama-3.2-1B", 1_235_814_400),
        ("meta-llama/Llama-2-7b-hf", 6_738_415_616),
        ("meta-llama/Llama-2-13b-hf", 13_015_864_320),
        ("HuggingFaceTB/SmolLM2-135M", 134_515_008),
        ("HuggingFaceTB/SmolLM2-360M", 361_821_120),
        ("mistralai/Mistral-7B-v0.3", 7_248_023_552),
        ("Qwen/Qwen2.5-0.5B", 494_032_768),
        ("Qwen/Qwen2.5-7B", 7_615_616_512),
        ("Qwen/Qwen2.5-72B", 72_706_203_648),
        ("Qwen/Qwen3-0.6B", 596_049_920),
        ("Qwen/Qwen3-8B", 8_190_735_360),
        ("Qwen/Qwen3-32B", 32_762_123_264),
        ("google/gemma-2-2b", 2_614_341_888),
        ("google/gemma-2-9b-it", 9_241_705_984),
        ("google/gemma-2-27b-it", 27_227_128_320),
        ("google/gemma-3-1b", 999_885_952),
        ("google/gemma-3-270m", 268_098_176),
        ("microsoft/Phi-3-mini-4k-instruct", 3_821_079_552),
        ("microsoft/phi-4", 14_659_507_200),
        ("sentence-transformers/all-MiniLM-L6-v2", 22_713_216),
    ];
    for (id, count) in published {
        let parameters = model(id).unwrap().model().unwrap().parameters();
        assert_eq!(parameters.total, count, "{id}");
        let parts = parameters.embedding
            + parameters.output_head
            + parameters.attention
            + parameters.feed_forward
            + parameters.other;
        assert_eq!(parts, count, "{id}: the parts do not add up");
    }
}

#[test]
fn ids_and_aliases_are_unique() {
    let mut seen = std::collections::HashSet::new();
    for entry in models() {
        for id in std::iter::once(&entry.id).chain(&entry.aliases) {
            assert!(seen.insert(id.as_str()), "{id} twice");
            assert_eq!(model(id).unwrap().id, entry.id);
        }
    }
}

#[test]
fn windows_follow_the_family() {
    let windows = |id: &str| -> Vec<bool> {
        model(id)
            .unwrap()
            .model()
            .unwrap()
            .layers
            .iter()
            .map(|l| l.attention().unwrap().window.is_some())
            .collect()
    };
    let gemma2 = windows("google/gemma-2-2b");
    assert_eq!(&gemma2[..4], &[true, false, true, false]);
    let gemma3 = windows("google/gemma-3-270m");
    assert_eq!(gemma3.iter().filter(|w| !**w).count(), 3, "18 layers, every sixth full");
    assert!(!gemma3[5] && !gemma3[11] && !gemma3[17]);
    assert!(windows("Qwen/Qwen2.5-7B").iter().all(|w| !w), "use_sliding_window is false");
    assert!(windows("microsoft/Phi-3-mini-4k-instruct").iter().all(|w| *w));
}

#[test]
fn gpus_parse_and_are_plausible() {
    assert!(gpus().len() >= 60);
    let mut seen = std::collections::HashSet::new();
    for gpu in gpus() {
        assert!(seen.insert(&gpu.id), "{} twice", gpu.id);
        assert_ne!(gpu.id, CPU);
        let nominal = gpu.nominal_gb as f64;
        let visible = gpu.visible().bytes().gib();
        let least = if gpu.unified_memory { 0.74 } else { 0.88 };
        assert!(visible > nominal * least && visible <= nominal, "{}: {visible} GiB of {nominal}", gpu.id);
        if let (Some(physical), Some(visible)) = (gpu.physical_mib, gpu.visible_mib) {
            assert!(visible < physical, "{}", gpu.id);
        }
        assert!(gpu.bandwidth_gb_s.is_none_or(|b| (100.0..=10_000.0).contains(&b)), "{}", gpu.id);
        assert!(!gpu.source.is_empty());
    }
    // 79.19 GiB, as vLLM's logs print on an H100 SXM.
    assert_eq!(gpu("h100-sxm-80gb").unwrap().visible(), VisibleMemory::Reported(Bytes::from_mib(81_090)));
}

#[test]
fn the_nearest_names_are_those_one_meant() {
    let names = || models().iter().map(|m| m.id.as_str());
    assert_eq!(nearest("meta-llama/Llama-3.1-8b", names(), 1), ["meta-llama/Llama-3.1-8B"]);
    assert_eq!(nearest("llama-3.1-8", names(), 1), ["meta-llama/Llama-3.1-8B"]);
    assert_eq!(nearest("SmolLM-135M", names(), 1), ["HuggingFaceTB/SmolLM2-135M"]);
    assert_eq!(nearest("", names(), 2).len(), 2);
    let gpu_names = gpus().iter().map(|g| g.id.as_str());
    assert_eq!(nearest("h100", gpu_names, 3).len(), 3);
}

use crate::bytes::Bytes;

/// What the families' layers are, apart from their counts: elements that a cache keeps of a token, states, experts.
#[test]
fn layers_are_those_of_the_published_models() {
    let shape = |id: &str| model(id).unwrap().model().unwrap();
    // DeepSeek-V3 technical report, arXiv 2412.19437, section 4.2: 512 + 64 elements a layer, 61 layers, 3 of them dense.
    let deepseek = shape("deepseek-ai/DeepSeek-V3");
    assert_eq!(deepseek.cache_elements_per_token(), 61 * 576);
    assert_eq!(deepseek.layers.iter().filter(|l| l.experts().is_some()).count(), 58);
    // One layer of four attends, over 4 key heads of 256.
    let qwen = shape("Qwen/Qwen3.6-27B");
    assert_eq!(qwen.cache_elements_per_token(), 16 * 2 * 4 * 256);
    assert_eq!(qwen.next_token_layers.len(), 1);
    assert_eq!(qwen.towers.len(), 2);
    // Jamba, arXiv 2403.19887: one layer of eight attends, every other has experts.
    let jamba = shape("ai21labs/Jamba-v0.1");
    assert_eq!(jamba.layers.iter().filter(|l| l.attention().is_some()).count(), 4);
    assert_eq!(jamba.layers.iter().filter(|l| l.experts().is_some()).count(), 16);
    // Llama 4: every fourth layer sees everything, the others chunks of 8192.
    let llama = shape("meta-llama/Llama-4-Scout-17B-16E-Instruct");
    assert_eq!(llama.layers.iter().filter(|l| l.attention().is_some_and(|a| a.window.is_none())).count(), 12);
    // A reranker has one label behind its dense layer.
    assert_eq!(shape("BAAI/bge-reranker-v2-m3").head, crate::model::Head::Classifier { labels: 1 });
}

#[test]
fn a_pattern_of_blocks_must_begin_with_a_mixer() {
    let mut config = model("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16").unwrap().config.clone();
    for bad in ["EM", "M-E", "MX", ""] {
        config["hybrid_override_pattern"] = serde_json::json!(bad);
        let error = Model::from_config("m", &config).unwrap_err();
        assert_eq!(error.field(), Some("hybrid_override_pattern"), "{bad}: {error}");
    }
}
