//! Reads headers and configurations from files; what they say is the planner's to understand.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use planner::document::plan::{ModelRef, StoredBlock};
use planner::gguf::{self, GgufHeader, HeaderError};
use planner::safetensors::{self, SafetensorsHeader};
use serde_json::Value;

use super::{LoadError, Model, ModelSource, absolute, name_of};

/// The first attempt at a header reads this much of the file.
const FIRST_READ: u64 = 1 << 20;
/// A configuration longer than this is none.
const LONGEST_CONFIG: u64 = 16 << 20;

/// A GGUF file as a model.
pub(super) fn gguf_model(name: &str, path: &Path) -> Result<Model, LoadError> {
    let header = gguf_header(path)?;
    let wrong = |e: planner::ModelError| LoadError::Header { path: path.to_owned(), problem: e.to_string() };
    let shape = header.model(name).map_err(wrong)?;
    let reference = header.model_ref(name).map_err(wrong)?;
    let family = header
        .metadata
        .get("general.architecture")
        .and_then(|v| v.as_str())
        .unwrap_or_else(|| shape.architecture.model_type())
        .to_owned();
    Ok(Model {
        name: name.to_owned(),
        source: ModelSource::Gguf { path: absolute(path) },
        family,
        config: reference.config.unwrap_or(Value::Null),
        context_tokens: shape.max_tokens.0,
        shape,
    })
}

fn gguf_header(path: &Path) -> Result<GgufHeader, LoadError> {
    read_header(path, gguf::parse)
}

/// Reads as much of a file as its header needs.
fn read_header<H>(path: &Path, parse: impl Fn(&[u8], u64) -> Result<H, HeaderError>) -> Result<H, LoadError> {
    let io = |source| LoadError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut prefix = Vec::new();
    let mut wanted = FIRST_READ;
    loop {
        let missing = wanted.min(length).saturating_sub(prefix.len() as u64);
        let read = file.by_ref().take(missing).read_to_end(&mut prefix).map_err(io)?;
        match parse(&prefix, length) {
            Ok(header) => return Ok(header),
            // Twice what is asked, so that a long list of strings does not cost an attempt each.
            Err(HeaderError::NeedMore { bytes }) if read > 0 => wanted = bytes.saturating_mul(2),
            Err(error) => {
                return Err(LoadError::Header { path: path.to_owned(), problem: error.to_string() });
            }
        }
    }
}

/// A `config.json`.
pub(super) fn read_config(path: &Path) -> Result<Value, LoadError> {
    let io = |source| LoadError::Read { path: path.to_owned(), source };
    let mut text = Vec::new();
    File::open(path).map_err(io)?.take(LONGEST_CONFIG).read_to_end(&mut text).map_err(io)?;
    serde_json::from_slice(&text).map_err(|source| LoadError::Json { path: path.to_owned(), source })
}

/// Sizes by number format of all `*.safetensors` of a folder.
pub(super) fn safetensors_stored(dir: &Path) -> Result<Vec<StoredBlock>, LoadError> {
    Ok(safetensors::stored(&headers(&weight_files(dir)?)?))
}

fn headers(files: &[PathBuf]) -> Result<Vec<SafetensorsHeader>, LoadError> {
    files.iter().map(|file| read_header(file, safetensors::parse)).collect()
}

fn weight_files(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let io = |source| LoadError::Read { path: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(LoadError::NotAModel { path: dir.to_owned() });
    }
    Ok(files)
}

/// A GGUF file as a plan refers to it: name, configuration, exact sizes.
///
/// # Errors
/// Where the file cannot be read or its header is wrong.
pub fn gguf_reference(path: &Path) -> Result<ModelRef, LoadError> {
    gguf_header(path)?
        .model_ref(&name_of(path))
        .map_err(|e| LoadError::Header { path: path.to_owned(), problem: e.to_string() })
}

/// A folder of a model as a plan refers to it: its safetensors files, or where it has none its `config.json` alone.
///
/// # Errors
/// Where a file cannot be read or its header is wrong.
pub fn folder_reference(dir: &Path) -> Result<ModelRef, LoadError> {
    match weight_files(dir) {
        Ok(files) => {
            let config = read_config(&dir.join("config.json"))?;
            Ok(safetensors::model_ref(&name_of(dir), config, &headers(&files)?))
        }
        Err(LoadError::NotAModel { .. }) => config_reference(&dir.join("config.json")),
        Err(error) => Err(error),
    }
}

/// A `config.json` as a plan refers to it: the model's shape, and no checkpoint.
///
/// # Errors
/// Where the file cannot be read or is no JSON.
pub fn config_reference(path: &Path) -> Result<ModelRef, LoadError> {
    Ok(ModelRef { config: Some(read_config(path)?), name: Some(name_of(path)), ..ModelRef::default() })
}

/// A safetensors file, or the index of several, as a plan refers to it; `config.json` lies beside it.
///
/// # Errors
/// Where a file cannot be read or its header is wrong.
pub fn safetensors_reference(path: &Path) -> Result<ModelRef, LoadError> {
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let config = read_config(&dir.join("config.json"))?;
    let files = if path.extension().is_some_and(|e| e == "json") {
        let text = std::fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        let index = safetensors::parse_index(&text)
            .map_err(|e| LoadError::Header { path: path.to_owned(), problem: e.to_string() })?;
        index.files().into_iter().map(|f| dir.join(f)).collect()
    } else {
        vec![path.to_owned()]
    };
    Ok(safetensors::model_ref(&name_of(dir), config, &headers(&files)?))
}
