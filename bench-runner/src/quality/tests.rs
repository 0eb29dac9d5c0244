//! The text, its tokens, and what is refused. The real model is SmolLM2-135M-Instruct's `Q4_1` in `PLIMSOLL_TEST_MODELS`.

use std::path::PathBuf;

use super::{TEXT, Vocabulary, Windows, check, text_name};
use crate::model::Model;

/// SmolLM2, where `make test` put it.
fn smollm2() -> Model {
    let folder = std::env::var("PLIMSOLL_TEST_MODELS").expect("PLIMSOLL_TEST_MODELS: make test sets it");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| {
        path.extension().is_some_and(|e| e == "gguf") && path.to_string_lossy().contains("SmolLM2")
    };
    let path = files
        .into_iter()
        .find(is_it)
        .unwrap_or_else(|| panic!("no SmolLM2*.gguf in {folder}: .ci/tools models smollm2"));
    Model::from_path(&path).unwrap()
}

/// Tokens as llama.cpp has them: `Llama(model_path=…, vocab_only=True).tokenize(text, add_bos=False, special=True)` of
/// llama-cpp-python 0.3.36 with the same file.
const KNOWN: [(&str, &[u32]); 8] = [
    ("Hello world", &[19556, 905]),
    (
        "The quick brown fox jumps over the lazy dog.",
        &[504, 2365, 6354, 16438, 27003, 690, 260, 23790, 2767, 30],
    ),
    (" leading space", &[2899, 1898]),
    (
        "It's 2024, isn't it? We'll see 12345.",
        &[
            1589, 506, 216, 34, 32, 34, 36, 28, 3247, 982, 357, 47, 1046, 3060, 963, 216, 33, 34, 35, 36, 37,
            30,
        ],
    ),
    ("tabs\tand\nnew\n\nlines   spaces", &[100, 7366, 197, 397, 198, 2241, 198, 198, 5110, 256, 5600]),
    (
        "naïve café — “quotes” 日本語 🦀",
        &[
            3546, 46494, 37366, 1841, 619, 385, 2346, 573, 17097, 241, 115, 40993, 179, 120, 248, 15107, 116,
            218,
        ],
    ),
    ("def f(x):\n    return x**2", &[1604, 275, 24, 104, 727, 472, 1003, 1792, 828, 34]),
    ("<|im_start|>user\nHi<|im_end|>", &[1, 4093, 198, 26843, 2]),
];

#[test]
fn a_gguf_files_tokens_are_llama_cpps() {
    let words = Vocabulary::of(&smollm2()).unwrap();
    for (text, want) in KNOWN {
        assert_eq!(words.ids(text).unwrap(), want, "{text:?}");
    }
}

#[test]
fn tokens_become_the_text_again() {
    let words = Vocabulary::of(&smollm2()).unwrap();
    let ids = words.ids(TEXT).unwrap();
    assert_eq!(words.text(&ids).unwrap(), TEXT);
    assert!((10_000..20_000).contains(&ids.len()), "{} tokens", ids.len());
    // The same tokens by a tokenizer.json, as it lies beside safetensors.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    words.save(&path).unwrap();
    assert_eq!(Vocabulary::of_file(&path).unwrap().ids(TEXT).unwrap(), ids);
}

#[test]
fn windows_are_whole_and_their_second_halves_predicted() {
    let model = smollm2();
    for (most, ids, window, predicted) in
        [(4096, 4096, 512, 255), (1000, 512, 512, 255), (128, 128, 128, 63), (4, 4, 4, 1), (3, 3, 3, 1)]
    {
        let windows = Windows::of(TEXT, &model, most).unwrap();
        assert_eq!(
            (windows.ids.len(), windows.window, windows.predicted()),
            (ids, window, predicted),
            "{most}"
        );
        assert_eq!(windows.begin, None, "the file says add_bos_token false");
    }
    let short = Model { context_tokens: 100, ..model.clone() };
    let windows = Windows::of(TEXT, &short, 1000).unwrap();
    assert_eq!((windows.ids.len(), windows.window), (1000, 100));
    let mut small = model;
    small.shape.vocab = 1000;
    let error = Windows::of(TEXT, &small, 100).unwrap_err().to_string();
    assert!(error.contains("its vocabulary has 1000"), "{error}");
}

#[test]
fn random_weights_and_encoders_have_no_quality() {
    for (name, part) in [
        ("HuggingFaceTB/SmolLM2-135M", "random weights have no quality"),
        ("sentence-transformers/all-MiniLM-L6-v2", "random weights have no quality"),
    ] {
        let error = check(&Model::resolve(name, None).unwrap()).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(name), "{error}");
    }
    let dir = std::env::var("PLIMSOLL_TEST_MODELS").unwrap();
    let encoder = Model::from_path(&PathBuf::from(dir).join("all-MiniLM-L6-v2")).unwrap();
    assert!(check(&encoder).unwrap_err().to_string().contains("an encoder predicts no tokens"));
    assert_eq!(check(&smollm2()), Ok(()));
}

#[test]
fn a_folder_without_a_tokenizer_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let error = Vocabulary::of_file(&dir.path().join("tokenizer.json")).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json") && error.contains("leave --quality out"), "{error}");
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    assert!(Vocabulary::of_file(&dir.path().join("tokenizer.json")).is_err());
}

#[test]
fn the_text_is_the_one_that_results_name() {
    assert!(TEXT.len() <= 64 << 10, "{} bytes", TEXT.len());
    assert_eq!(text_name(), "Persuasion, chapters 8 to 10 (sha256 c068104a)");
}
