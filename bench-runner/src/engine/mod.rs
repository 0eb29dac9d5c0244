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
use contract::case::{CaseSpec, Device, Variant};
use serde::{Deserialize, Serialize};

pub use precision::Precision;
use precision::TF32;
pub use prompt::{prompt, seeded_prompt};
pub use session::{Encoder, Loaded, Session};
pub use stock::Stock;
pub use synthetic::{GgufLayout, quantised_types};

pub(crate) use config::move_rope;
pub(crate) use dense::weight_files;
pub(crate) use random::{random_tensor, seeded_tensor};
pub(crate) use stock::unreadable;
pub(crate) use synthetic::{RandomMatrices, fitting};

use crate::decoder::training::{self, Trainer};
use crate::decoder::{self, Decoder};
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
    runs: Runs,
    precision: Precision,
    /// Whether fp32 products may be computed in TF32.
    #[serde(default)]
    tf32: bool,
    device: Device,
    /// What random weights are made from.
    seed: u64,
}

/// What computes a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Runs {
    /// A model of candle-transformers.
    Stock {
        /// Which.
        module: Stock,
        /// Whether it is asked for flash attention.
        flash: bool,
    },
    /// Our decoder.
    Decoder {
        /// What of it.
        options: decoder::Options,
        /// `model_type` of the family.
        family: String,
    },
    /// A training step of our decoder.
    Training {
        /// What it does.
        options: training::Options,
        /// `model_type` of the family.
        family: String,
    },
}

impl Runs {
    /// Which of Candle's decoders.
    #[must_use]
    pub const fn variant(&self) -> Variant {
        match self {
            Self::Stock { .. } => Variant::Stock,
            Self::Decoder { .. } | Self::Training { .. } => Variant::Plimsoll,
        }
    }
}

/// The decoder of a sweep that names none: ours where it computes every model, else candle-transformers' models. One for
/// all, so that a sweep's rows can be compared.
#[must_use]
pub fn default_variant<'a>(models: impl IntoIterator<Item = &'a Model>) -> Variant {
    if models.into_iter().all(|model| decoder::computes(model).is_ok()) {
        Variant::Plimsoll
    } else {
        Variant::Stock
    }
}

/// Decides whether the engine can run `spec` on `model`.
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
    if spec.quality.is_some() {
        crate::quality::check(model)?;
    }
    crate::telemetry::settings::check(spec)?;
    let precision = Precision::parse(&spec.precision, model)?;
    let tf32 = spec.precision == TF32;
    if tf32 && spec.device == Device::Cpu {
        return Err(Refusal(
            "precision tf32: a format of NVIDIA's tensor cores, which cpu does not have; accepted: fp32, or a CUDA device"
                .into(),
        ));
    }
    let family = || model.shape.architecture.model_type().to_owned();
    let runs = match (&spec.training, spec.decoder()) {
        (Some(asked), _) => Runs::Training {
            options: training::Options::of_case(spec, asked, model, precision)?,
            family: family(),
        },
        (None, Variant::Stock) => {
            let module = Stock::choose(model, precision)?;
            module.check(model, spec)?;
            if module.is_encoder() && spec.generate_tokens.0 > 0 {
                return Err(Refusal(format!(
                    "generate {}: {} is an encoder ({}), which generates nothing; accepted: generate 0",
                    spec.generate_tokens, model.name, model.family
                )));
            }
            Runs::Stock { module, flash: module.flash(spec, precision)? }
        }
        (None, Variant::Plimsoll) => {
            Runs::Decoder { options: decoder::Options::of_case(spec, model, precision)?, family: family() }
        }
    };
    let context = match &runs {
        Runs::Stock { module, .. } => module.context_tokens(model),
        Runs::Decoder { .. } | Runs::Training { .. } => model.context_tokens,
    };
    let asked = spec.prompt_tokens + spec.generate_tokens;
    if asked.0 > context {
        return Err(Refusal(format!(
            "prompt {} + generate {} is {asked} tokens, more than the {context} that {} {}",
            spec.prompt_tokens,
            spec.generate_tokens,
            model.name,
            match &runs {
                Runs::Stock { module, .. } if context < model.context_tokens => {
                    format!("can have under Candle's stock {} (its rotary table ends there)", module.module())
                }
                _ => "was made for".to_owned(),
            }
        )));
    }
    Ok(Prepared {
        source: model.source.clone(),
        config: model.config.clone(),
        runs,
        precision,
        tf32,
        device: spec.device,
        seed: spec.seed,
    })
}

/// The precisions of a model that a decoder of this runner computes, stock or ours.
#[must_use]
pub fn precisions(model: &Model) -> Vec<String> {
    let ours = decoder::computes(model).is_ok();
    let computed = |given: &String| {
        Precision::parse(given, model).is_ok_and(|precision| ours || Stock::choose(model, precision).is_ok())
    };
    Precision::accepted(model).into_iter().filter(computed).collect()
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
    /// The engine's name as results carry it: `candle 0.11.1 stock quantized_llama`, `candle 0.11.1 plimsoll llama`.
    #[must_use]
    pub fn engine(&self) -> String {
        let variant = self.runs.variant().as_str();
        match &self.runs {
            Runs::Stock { module, .. } => format!("candle {CANDLE_VERSION} {variant} {}", module.module()),
            Runs::Decoder { family, .. } | Runs::Training { family, .. } => {
                format!("candle {CANDLE_VERSION} {variant} {family}")
            }
        }
    }

    /// What will run.
    #[must_use]
    pub const fn runs(&self) -> &Runs {
        &self.runs
    }

    /// Whether fp32 products may be computed in TF32.
    #[must_use]
    pub const fn tf32(&self) -> bool {
        self.tf32
    }

    /// How weights are stored.
    #[must_use]
    pub const fn precision(&self) -> Precision {
        self.precision
    }

    /// Opens the device, and tells its library whether products of single precision may be computed in TF32: a setting of
    /// the whole process, which is this case's own.
    ///
    /// # Errors
    /// Where there is none such.
    pub fn open_device(&self) -> Result<candle_core::Device, EngineError> {
        Ok(match self.device {
            Device::Cpu => candle_core::Device::Cpu,
            Device::Cuda(ordinal) => {
                candle_core::cuda::set_gemm_reduced_precision_f32(self.tf32);
                candle_core::Device::new_cuda(ordinal as usize)?
            }
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
            // Our decoder makes random blocks in memory.
            (ModelSource::Synthetic { .. }, Precision::Quantised(kind))
                if self.runs.variant() == Variant::Stock =>
            {
                Some(synthetic::write_gguf(&self.config, kind, self.seed)?)
            }
            _ => None,
        };
        let random = match (&self.source, self.precision) {
            (ModelSource::Synthetic { .. }, Precision::Quantised(kind)) if gguf.is_none() => {
                RandomMatrices::of_config(&self.config, kind, self.seed)?
            }
            _ => RandomMatrices::seeded(self.seed),
        };
        Ok(Staged { gguf, random })
    }

    /// Loads the model onto `device`.
    ///
    /// # Errors
    /// Where a file is not what it says, the device has no memory, or Candle fails.
    pub fn load(&self, staged: &Staged, device: &candle_core::Device) -> Result<Loaded, EngineError> {
        let from = || match (&staged.gguf, &self.source) {
            (Some(file), _) => decoder::From::Gguf(file),
            (None, ModelSource::Safetensors { dir }) => decoder::From::Files(dir),
            (None, _) => decoder::From::Random(staged.random.clone()),
        };
        let (stock, flash) = match &self.runs {
            Runs::Stock { module, flash } => (*module, *flash),
            Runs::Training { options, .. } => {
                let trainer = Trainer::load(&from(), &self.config, self.precision, options, device)?;
                return Ok(Loaded::Trainer(Box::new(trainer)));
            }
            Runs::Decoder { options, .. } => {
                let compute = decoder::compute_type(self.precision, self.device);
                let options = options.clone();
                let loaded = Decoder::load(&from(), &self.config, self.precision, options, compute, device)?;
                return Ok(Loaded::Decoder(Box::new(loaded)));
            }
        };
        match (&staged.gguf, &self.source) {
            (Some(file), _) => gguf::load(file, stock, flash, device).map(Loaded::Decoder),
            (None, ModelSource::Safetensors { dir }) => {
                dense::load_files(dir, &self.config, stock, self.precision, flash, device)
            }
            (None, _) => dense::load_random(&self.config, stock, self.precision, flash, self.seed, device),
        }
    }
}

/// Files made ready for loading.
#[derive(Debug)]
pub struct Staged {
    gguf: Option<File>,
    /// Tiles of random blocks.
    random: RandomMatrices,
}

#[cfg(test)]
impl Staged {
    /// Of a GGUF file.
    pub(crate) fn of(file: File) -> Self {
        Self { gguf: Some(file), random: RandomMatrices::default() }
    }

    /// The GGUF file, opened.
    pub(crate) fn into_gguf(self) -> Option<File> {
        self.gguf
    }
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
