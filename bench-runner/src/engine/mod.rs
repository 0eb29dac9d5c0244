//! Engines: something that loads a model, computes a prompt and generates tokens, or embeds sequences.
//!
//! [`prepare`] decides before anything is loaded whether the engine can do what a case asks; [`Prepared::load`] then
//! gives a [`Session`] or an [`Encoder`].

mod config;
mod dense;
mod encoder;
mod gguf;
mod precision;
mod prompt;
mod random;
mod session;
mod stock;
mod synthetic;

use std::fs::File;

use candle_core::Tensor;
use contract::case::{CaseSpec, Device};
use serde::{Deserialize, Serialize};

pub use precision::Precision;
pub use prompt::prompt;
pub use session::{Encoder, Loaded, Session};
pub use stock::Stock;
pub use synthetic::{GgufLayout, quantised_types};

use crate::model::{Model, ModelSource};

/// Candle's version, as the lock file of this build had it.
pub const CANDLE_VERSION: &str = env!("PLIMSOLL_CANDLE_VERSION");

/// Why a case will not be run: a sentence for the reader of the results.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Why loading or computing failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The model's configuration is not one that the engine knows.
    #[error("config.json: {0}")]
    Config(#[from] serde_json::Error),
    /// Candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// A refusal that was found only while loading.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl EngineError {
    /// Whether the device had no memory for it. Candle wraps the driver's answer in several ways (a driver error, a
    /// cuBLAS status, either with context), so the names that the driver gives are looked for.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        let text = format!("{self:?}");
        ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED", "out of memory"]
            .iter()
            .any(|s| text.contains(s))
    }
}

/// A case that the engine can do: what to load and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepared {
    source: ModelSource,
    config: serde_json::Value,
    stock: Stock,
    precision: Precision,
    device: Device,
    flash: bool,
}

/// Decides whether the stock engine can run `spec` on `model`.
///
/// # Errors
/// A [`Refusal`] that says what it cannot do and what is accepted instead.
pub fn prepare(spec: &CaseSpec, model: &Model) -> Result<Prepared, Refusal> {
    if spec.batch == 0 {
        return Err(Refusal("batch 0: nothing would run; accepted: 1 or more".into()));
    }
    if spec.prompt_tokens.0 == 0 {
        return Err(Refusal("a prompt of 0 tokens: nothing would be computed; accepted: 1 or more".into()));
    }
    device_is_built(spec.device)?;
    let precision = Precision::parse(&spec.precision, model)?;
    let stock = Stock::choose(model, precision)?;
    stock.check(model, spec)?;
    if stock.is_encoder() && spec.generate_tokens.0 > 0 {
        return Err(Refusal(format!(
            "generate {}: {} is an encoder ({}), which generates nothing; accepted: generate 0",
            spec.generate_tokens, model.name, model.family
        )));
    }
    let context = stock.context_tokens(model);
    let asked = spec.prompt_tokens + spec.generate_tokens;
    if asked.0 > context {
        return Err(Refusal(format!(
            "prompt {} + generate {} is {asked} tokens, more than the {context} that {} {}",
            spec.prompt_tokens,
            spec.generate_tokens,
            model.name,
            if context < model.context_tokens {
                format!("can have under Candle's stock {} (its rotary table ends there)", stock.module())
            } else {
                "was made for".to_owned()
            }
        )));
    }
    let flash = stock.flash(spec, precision)?;
    Ok(Prepared {
        source: model.source.clone(),
        config: model.config.clone(),
        stock,
        precision,
        device: spec.device,
        flash,
    })
}

/// Whether this build can use `device`, by what was compiled in.
///
/// # Errors
/// Says what it lacks.
pub fn device_is_built(device: Device) -> Result<(), Refusal> {
    match device {
        Device::Cpu => Ok(()),
        Device::Cuda(_) if cfg!(feature = "cuda") => Ok(()),
        Device::Cuda(n) => Err(Refusal(format!(
            "device cuda:{n}: this build has no CUDA in it (cargo build --features cuda); accepted: cpu"
        ))),
    }
}

impl Prepared {
    /// The engine's name as results carry it: `candle 0.11.1 stock quantized_llama`.
    #[must_use]
    pub fn engine(&self) -> String {
        format!("candle {CANDLE_VERSION} stock {}", self.stock.module())
    }

    /// The stock model that will run.
    #[must_use]
    pub const fn stock(&self) -> Stock {
        self.stock
    }

    /// How weights are stored.
    #[must_use]
    pub const fn precision(&self) -> Precision {
        self.precision
    }

    /// Opens the device.
    ///
    /// # Errors
    /// Where there is none such.
    pub fn open_device(&self) -> Result<candle_core::Device, EngineError> {
        Ok(match self.device {
            Device::Cpu => candle_core::Device::Cpu,
            Device::Cuda(ordinal) => candle_core::Device::new_cuda(ordinal as usize)?,
        })
    }

    /// What must exist before loading begins, so that making it is not measured: a GGUF file is opened, a synthetic one
    /// written before.
    ///
    /// # Errors
    /// Where a file cannot be opened, or the temporary folder is full or cannot be written.
    pub fn stage(&self) -> Result<Staged, EngineError> {
        let gguf = match (&self.source, self.precision) {
            (ModelSource::Gguf { path }, _) => Some(
                File::open(path)
                    .map_err(|source| EngineError::Io { path: path.display().to_string(), source })?,
            ),
            (ModelSource::Synthetic { .. }, Precision::Quantised(kind)) => {
                Some(synthetic::write_gguf(&self.config, kind)?)
            }
            _ => None,
        };
        Ok(Staged { gguf })
    }

    /// Loads the model onto `device`.
    ///
    /// # Errors
    /// Where a file is not what it says, the device has no memory, or Candle fails.
    pub fn load(&self, staged: &Staged, device: &candle_core::Device) -> Result<Loaded, EngineError> {
        let (stock, precision, flash) = (self.stock, self.precision, self.flash);
        match (&staged.gguf, &self.source) {
            (Some(file), _) => gguf::load(file, stock, flash, device).map(Loaded::Decoder),
            (None, ModelSource::Safetensors { dir }) => {
                dense::load_files(dir, &self.config, stock, precision, flash, device)
            }
            (None, _) => dense::load_random(&self.config, stock, precision, flash, device),
        }
    }
}

/// Files made ready for loading.
#[derive(Debug)]
pub struct Staged {
    gguf: Option<File>,
}

/// The most likely next token of every sequence, chosen on the device: (batch, 1) from logits of (batch, vocabulary) or
/// (batch, 1, vocabulary).
///
/// # Errors
/// Where Candle fails.
pub fn greedy(logits: &Tensor) -> Result<Tensor, EngineError> {
    let chosen = logits.argmax(candle_core::D::Minus1)?;
    let batch = logits.dim(0)?;
    Ok(chosen.reshape((batch, 1))?)
}

#[cfg(test)]
mod tests;
