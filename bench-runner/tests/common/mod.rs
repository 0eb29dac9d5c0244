//! What the tests of the binary share: a tiny model, and the binary itself.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use contract::run::RunDetail;

/// A Llama of 0.1 million parameters.
pub const TINY: &str = r#"{
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "torch_dtype": "float32"
}"#;

/// The runner, with nothing of this machine's settings.
pub fn runner(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-runner"));
    command.args(arguments).current_dir(dir).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PLIMSOLL_")) {
        command.env_remove(name);
    }
    command.env("RAYON_NUM_THREADS", "2");
    command
}

/// Runs it to its end.
pub fn output(command: &mut Command) -> Output {
    command.output().expect("the binary starts")
}

/// The run that it printed.
pub fn detail(output: &Output) -> RunDetail {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        panic!("{e}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    })
}

/// `DIR/tiny/config.json`: a shape for random weights.
pub fn shape(dir: &Path) -> PathBuf {
    let path = dir.join("tiny/config.json");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, TINY).unwrap();
    path
}

/// `DIR/tiny-weights`: the same with weights, as `transformers` saves it.
pub fn weights(dir: &Path) -> PathBuf {
    let folder = dir.join("tiny-weights");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.json"), TINY).unwrap();
    let mut tensors: Vec<(String, Vec<usize>)> =
        vec![("model.embed_tokens.weight".into(), vec![256, 64]), ("model.norm.weight".into(), vec![64])];
    for layer in 0..2 {
        for (name, shape) in [
            ("input_layernorm", vec![64]),
            ("post_attention_layernorm", vec![64]),
            ("self_attn.q_proj", vec![64, 64]),
            ("self_attn.k_proj", vec![32, 64]),
            ("self_attn.v_proj", vec![32, 64]),
            ("self_attn.o_proj", vec![64, 64]),
            ("mlp.gate_proj", vec![128, 64]),
            ("mlp.up_proj", vec![128, 64]),
            ("mlp.down_proj", vec![64, 128]),
        ] {
            tensors.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    let (mut header, mut offset) = (serde_json::Map::new(), 0);
    for (name, shape) in &tensors {
        let end = offset + 4 * shape.iter().product::<usize>();
        header.insert(
            name.clone(),
            serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [offset, end] }),
        );
        offset = end;
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = fs::File::create(folder.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    for index in 0..offset / 4 {
        // Between -0.05 and 0.05, without a pattern that a matrix's width repeats.
        let value = (index * 7919 % 1013) as f32 / 10_130.0 - 0.05;
        file.write_all(&value.to_le_bytes()).unwrap();
    }
    folder
}
