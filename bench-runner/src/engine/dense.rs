//! Models with dense weights: from safetensors, or random in a given shape.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{bert, gemma2, gemma3, llama, mistral, phi3, qwen2, qwen3};
use serde_json::Value;

use super::random::RandomTensors;
use super::session::{Cloned, Forward, Loaded, Session};
use super::{EngineError, Precision, Refusal, Stock, config};

/// Llama keeps its cache beside the model.
#[derive(Clone)]
struct Llama {
    model: llama::Llama,
    cache: llama::Cache,
}

impl Forward for Llama {
    fn forward(&mut self, tokens: &Tensor, position: usize) -> candle_core::Result<Tensor> {
        self.model.forward(tokens, position, &mut self.cache)
    }
}

macro_rules! forward {
    ($($model:ty),+ $(,)?) => {
        $(impl Forward for $model {
            fn forward(&mut self, tokens: &Tensor, position: usize) -> candle_core::Result<Tensor> {
                <$model>::forward(self, tokens, position)
            }
        })+
    };
}

forward!(
    mistral::Model,
    qwen2::ModelForCausalLM,
    qwen3::ModelForCausalLM,
    gemma2::Model,
    gemma3::Model,
    phi3::Model,
);

/// Loads a folder of safetensors, mapped into memory; each tensor is copied from the map in the type asked.
///
/// # Errors
/// Where a file cannot be read, lacks a tensor, or the device has no memory.
pub(super) fn load_files(
    dir: &Path,
    config: &Value,
    stock: Stock,
    precision: Precision,
    flash: bool,
    device: &Device,
) -> Result<Loaded, EngineError> {
    let files = weight_files(dir)?;
    // SAFETY: the files must not be changed while they are mapped, which is the promise of whoever runs a benchmark on
    // them; a file cut short meanwhile ends this case's process, not the runner.
    let weights = unsafe { VarBuilder::from_mmaped_safetensors(&files, dtype(precision)?, device) }?;
    build(weights, config, stock, flash)
}

/// The folder's weight files, in order.
pub(crate) fn weight_files(dir: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let io = |source| EngineError::Io { path: dir.display().to_string(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Makes a model of random weights.
///
/// # Errors
/// Where the device has no memory.
pub(super) fn load_random(
    config: &Value,
    stock: Stock,
    precision: Precision,
    flash: bool,
    seed: u64,
    device: &Device,
) -> Result<Loaded, EngineError> {
    let text = config.get("text_config").unwrap_or(config);
    let tied = text.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false);
    let tensors = RandomTensors { tied, seed };
    build(
        VarBuilder::from_backend(Box::new(tensors), dtype(precision)?, device.clone()),
        config,
        stock,
        flash,
    )
}

fn dtype(precision: Precision) -> Result<DType, Refusal> {
    match precision {
        Precision::Dense(dtype) => Ok(dtype),
        other => Err(Refusal(format!("{} weights are not dense", String::from(other)))),
    }
}

fn build(weights: VarBuilder<'_>, config: &Value, stock: Stock, flash: bool) -> Result<Loaded, EngineError> {
    if stock == Stock::Bert {
        let model = bert::BertModel::load(weights, &config::parse(stock, config)?)?;
        return Ok(Loaded::Encoder(Box::new(model)));
    }
    decoder(weights, config, stock, flash).map(Loaded::Decoder)
}

fn decoder(
    weights: VarBuilder<'_>,
    config: &Value,
    stock: Stock,
    flash: bool,
) -> Result<Box<dyn Session>, EngineError> {
    Ok(match stock {
        Stock::Llama => {
            let config = config::parse::<llama::LlamaConfig>(stock, config)?.into_config(flash);
            let cache = llama::Cache::new(true, weights.dtype(), &config, weights.device())?;
            Box::new(Cloned::new(Llama { model: llama::Llama::load(weights, &config)?, cache }))
        }
        Stock::Mistral => {
            let mut config: mistral::Config = config::parse(stock, config)?;
            config.use_flash_attn = flash;
            Box::new(Cloned::new(mistral::Model::new(&config, weights)?))
        }
        Stock::Qwen2 => {
            Box::new(Cloned::new(qwen2::ModelForCausalLM::new(&config::parse(stock, config)?, weights)?))
        }
        Stock::Qwen3 => {
            Box::new(Cloned::new(qwen3::ModelForCausalLM::new(&config::parse(stock, config)?, weights)?))
        }
        Stock::Gemma2 => {
            Box::new(Cloned::new(gemma2::Model::new(flash, &config::parse(stock, config)?, weights)?))
        }
        Stock::Gemma3 => {
            Box::new(Cloned::new(gemma3::Model::new(flash, &config::parse(stock, config)?, weights)?))
        }
        Stock::Phi3 => Box::new(Cloned::new(phi3::Model::new(&config::parse(stock, config)?, weights)?)),
        Stock::QuantizedLlama
        | Stock::QuantizedQwen2
        | Stock::QuantizedQwen3
        | Stock::QuantizedGemma3
        | Stock::QuantizedPhi3 => {
            return Err(Refusal(format!("{} takes a GGUF file, not dense weights", stock.module())).into());
        }
        Stock::Bert => return Err(Refusal(format!("{} generates nothing", stock.module())).into()),
    })
}
