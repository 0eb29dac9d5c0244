//! Models from GGUF files.

use std::fs::File;
use std::io::BufReader;

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::{
    quantized_gemma3, quantized_llama, quantized_phi3, quantized_qwen2, quantized_qwen3,
};

use super::session::{Cleared, Cloned, Forward, Session};
use super::{EngineError, Refusal, Stock};

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
    quantized_llama::ModelWeights,
    quantized_qwen2::ModelWeights,
    quantized_qwen3::ModelWeights,
    quantized_gemma3::ModelWeights,
    quantized_phi3::ModelWeights,
);

/// Loads a GGUF file.
///
/// # Errors
/// Where the file cannot be read, is not what its header says, or the device has no memory.
pub(super) fn load(
    file: &File,
    stock: Stock,
    flash: bool,
    device: &Device,
) -> Result<Box<dyn Session>, EngineError> {
    let mut reader = BufReader::new(file);
    let content = Content::read(&mut reader)?;
    Ok(match stock {
        Stock::QuantizedLlama => {
            Box::new(Cloned::new(quantized_llama::ModelWeights::from_gguf(content, &mut reader, device)?))
        }
        // It cannot be cloned; the masks that it keeps by length stay from the warm-up on.
        Stock::QuantizedQwen2 => Box::new(Cleared::new(
            quantized_qwen2::ModelWeights::from_gguf(content, &mut reader, device)?,
            quantized_qwen2::ModelWeights::clear_kv_cache,
        )),
        // Its CPU cache is a plain buffer of 4096 positions from loading on.
        Stock::QuantizedQwen3 => Box::new(Cleared::new(
            quantized_qwen3::ModelWeights::from_gguf(content, &mut reader, device)?,
            quantized_qwen3::ModelWeights::clear_kv_cache,
        )),
        Stock::QuantizedGemma3 => {
            Box::new(Cloned::new(quantized_gemma3::ModelWeights::from_gguf(content, &mut reader, device)?))
        }
        Stock::QuantizedPhi3 => Box::new(Cloned::new(quantized_phi3::ModelWeights::from_gguf(
            flash,
            content,
            &mut reader,
            device,
        )?)),
        Stock::Llama
        | Stock::Mistral
        | Stock::Qwen2
        | Stock::Qwen3
        | Stock::Gemma2
        | Stock::Gemma3
        | Stock::Phi3
        | Stock::Bert => {
            return Err(Refusal(format!("{} takes dense weights, not a GGUF file", stock.module())).into());
        }
    })
}
