//! Models that can be run: a GGUF file, a folder of safetensors, a shape with random weights.

mod error;
mod header;

use std::fmt::Display;
use std::path::{Path, PathBuf};

use contract::protocol::{AdvertisedModel, WeightSource};
use planner::catalogue;
use planner::document::plan::{ModelRef, StoredBlock};
use planner::model::Dtype;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use error::{LoadError, UnknownModel};
pub use header::{config_reference, folder_reference, gguf_reference, safetensors_reference};

use crate::engine::{self, GgufLayout, Precision};

/// Where a model's weights come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ModelSource {
    /// A GGUF file.
    Gguf {
        /// Where it is.
        path: PathBuf,
    },
    /// A folder with `config.json` and `*.safetensors`.
    Safetensors {
        /// Where it is.
        dir: PathBuf,
    },
    /// Random numbers in the shape of a `config.json`.
    Synthetic {
        /// The catalogue's id; none for a `config.json` of the reader's own.
        id: Option<String>,
    },
}

/// A model that can be run.
#[derive(Debug, Clone)]
pub struct Model {
    /// Its name in sweeps and results.
    pub name: String,
    /// Where its weights come from.
    pub source: ModelSource,
    /// `general.architecture` of a GGUF file, else `model_type`.
    pub family: String,
    /// Its `config.json`; for a GGUF file the same, made from its metadata.
    pub config: Value,
    /// Its shape.
    pub shape: planner::Model,
    /// Longest sequence in tokens.
    pub context_tokens: u64,
}

impl Model {
    /// The model that `text` means: the path of a `.gguf` file, of a folder of safetensors, of a `config.json`, or an id
    /// of the catalogue; a name without a path is looked for in `models_dir` too.
    ///
    /// # Errors
    /// Where there is none such, or its header or configuration is wrong.
    pub fn resolve(text: &str, models_dir: Option<&Path>) -> Result<Self, LoadError> {
        if let Some(entry) = catalogue::model(text) {
            return Self::synthetic(&entry.id, Some(entry.id.clone()), entry.config.clone());
        }
        let path = Path::new(text);
        if path.exists() {
            return Self::from_path(path);
        }
        let files = models_dir.map(in_folder).transpose()?.unwrap_or_default();
        let is_meant = |file: &&PathBuf| name_of(file) == text || file.file_name().is_some_and(|n| n == text);
        if let Some(file) = files.iter().find(is_meant) {
            return Self::from_path(file);
        }
        let names: Vec<String> = files.iter().map(|f| name_of(f)).collect();
        Err(UnknownModel::new(text, names.iter().chain(catalogue::models().iter().map(|m| &m.id))).into())
    }

    /// The model at a path.
    ///
    /// # Errors
    /// Where it is none, or its header or configuration is wrong.
    pub fn from_path(path: &Path) -> Result<Self, LoadError> {
        let name = name_of(path);
        if path.is_dir() {
            let config = header::read_config(&path.join("config.json"))?;
            let source = ModelSource::Safetensors { dir: absolute(path) };
            let mut model = Self::from_config(&name, source, config)?;
            model.shape.stored = Some(header::safetensors_stored(path)?);
            return Ok(model);
        }
        match path.extension().and_then(|e| e.to_str()) {
            Some("gguf") => header::gguf_model(&name, path),
            Some("json") => Self::synthetic(&name, None, header::read_config(path)?),
            _ => Err(LoadError::NotAModel { path: path.to_owned() }),
        }
    }

    /// Random weights in a shape.
    fn synthetic(name: &str, id: Option<String>, config: Value) -> Result<Self, LoadError> {
        Self::from_config(name, ModelSource::Synthetic { id }, config)
    }

    fn from_config(name: &str, source: ModelSource, config: Value) -> Result<Self, LoadError> {
        // Vision models keep their language model's shape in a field of its own.
        let text = config.get("text_config").unwrap_or(&config);
        let shape = planner::Model::from_config(name, text)
            .map_err(|source| LoadError::Shape { name: name.to_owned(), source })?;
        Ok(Self {
            name: name.to_owned(),
            source,
            family: shape.architecture.model_type().to_owned(),
            context_tokens: shape.max_tokens.0,
            config,
            shape,
        })
    }

    /// The model as a plan refers to it, weights stored as `precision` says.
    #[must_use]
    pub fn reference(&self, precision: Precision) -> ModelRef {
        let stored: Option<Vec<StoredBlock>> = match precision {
            Precision::AsStored => self.shape.stored.clone(),
            Precision::Quantised(kind) => GgufLayout::new(&self.shape, kind).ok().map(|l| l.stored()),
            Precision::Dense(_) | Precision::Fp8 => None,
        };
        match (&self.source, &stored) {
            (ModelSource::Synthetic { id: Some(id) }, None) => ModelRef::catalogue(id.clone()),
            _ => ModelRef {
                name: Some(self.name.clone()),
                config: Some(self.config.clone()),
                stored,
                loaded_from: self.files_format(),
                ..ModelRef::default()
            },
        }
    }

    /// The number format that most of a folder of safetensors is in.
    fn files_format(&self) -> Option<Dtype> {
        let ModelSource::Safetensors { .. } = self.source else { return None };
        let largest = self.shape.stored.iter().flatten().max_by_key(|block| block.parameters)?;
        match largest.kind.as_str() {
            "f32" => Some(Dtype::F32),
            "bf16" => Some(Dtype::Bf16),
            "f16" => Some(Dtype::F16),
            _ => None,
        }
    }

    /// As a runner advertises it.
    #[must_use]
    pub fn advertised(&self) -> AdvertisedModel {
        AdvertisedModel {
            name: self.name.clone(),
            weights: match self.source {
                ModelSource::Gguf { .. } => WeightSource::Gguf,
                ModelSource::Safetensors { .. } => WeightSource::Safetensors,
                ModelSource::Synthetic { .. } => WeightSource::Synthetic,
            },
            precisions: engine::precisions(self),
            parameters: self.shape.parameters().total,
            max_tokens: self.context_tokens,
        }
    }
}

/// Every model that can be run here: those of `models_dir`, then the catalogue's shapes whose weights fit `memory` bytes
/// in bf16. Files that cannot be read are answered beside, with the reason.
#[must_use]
pub fn available(models_dir: Option<&Path>, memory: planner::Bytes) -> (Vec<Model>, Vec<LoadError>) {
    let (mut models, mut errors) = (Vec::<Model>::new(), Vec::new());
    match models_dir.map(in_folder).transpose() {
        Err(error) => errors.push(error),
        Ok(files) => {
            for file in files.unwrap_or_default() {
                match Model::from_path(&file) {
                    Ok(model) if models.iter().any(|m| m.name == model.name) => {
                        errors.push(LoadError::NameTwice { name: model.name, path: file });
                    }
                    Ok(model) => models.push(model),
                    Err(error) => errors.push(error),
                }
            }
        }
    }
    for entry in catalogue::models() {
        // The catalogue's tests hold every entry to a readable shape.
        let Ok(model) = Model::synthetic(&entry.id, Some(entry.id.clone()), entry.config.clone()) else {
            continue;
        };
        let bytes = model.shape.parameters().total.saturating_mul(2);
        if !engine::precisions(&model).is_empty() && bytes <= memory.0 {
            models.push(model);
        }
    }
    (models, errors)
}

/// GGUF files and safetensors folders of a folder and of its own folders, by name.
fn in_folder(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let mut found = Vec::new();
    walk(dir, 3, &mut found).map_err(|source| LoadError::Read { path: dir.to_owned(), source })?;
    found.sort();
    Ok(found)
}

fn walk(dir: &Path, depth: u32, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.join("config.json").is_file() && holds_safetensors(&path) {
                found.push(path);
            } else if depth > 0 {
                // A folder that cannot be read holds no model for this user.
                let _ = walk(&path, depth - 1, found);
            }
        } else if path.extension().is_some_and(|e| e == "gguf") {
            found.push(path);
        }
    }
    Ok(())
}

fn holds_safetensors(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| {
        entries.any(|e| e.is_ok_and(|e| e.path().extension().is_some_and(|x| x == "safetensors")))
    })
}

/// A file's name without its last extension, a folder's whole; `config.json` is named after its folder.
fn name_of(path: &Path) -> String {
    let lossy =
        |name: Option<&std::ffi::OsStr>| name.map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let path = absolute(path);
    if path.is_dir() {
        lossy(path.file_name())
    } else if path.file_name().is_some_and(|n| n == "config.json") {
        lossy(path.parent().and_then(Path::file_name))
    } else {
        lossy(path.file_stem())
    }
}

/// A case's process may have another working folder one day; a path in its request never depends on it.
fn absolute(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// A list for a message: `a, b, c`.
fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|i| i.to_string()).collect::<Vec<_>>().join(", ")
}
