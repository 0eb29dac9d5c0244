//! `model.safetensors.index.json`: which file of a model holds which tensor.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::gguf::HeaderError;

/// The index of a model in several files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Bytes of all tensors, as the index says.
    pub total_size: Option<u64>,
    /// File name by tensor.
    pub weight_map: BTreeMap<String, String>,
}

impl Index {
    /// Every file, once, in the order of their names.
    #[must_use]
    pub fn files(&self) -> Vec<&str> {
        self.weight_map.values().map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// Reads an index.
///
/// # Errors
/// What is wrong with it. A file name with a path in it is refused: an index speaks of files beside it.
pub fn parse_index(text: &[u8]) -> Result<Index, HeaderError> {
    let lies =
        |what: &str, problem: &str| HeaderError::Lies { what: what.to_owned(), problem: problem.to_owned() };
    let value: Value = serde_json::from_slice(text).map_err(|e| HeaderError::Lies {
        what: "the index".into(),
        problem: format!("is no valid JSON: {e}"),
    })?;
    let Some(map) = value.get("weight_map").and_then(Value::as_object) else {
        return Err(lies("the index", "has no weight_map object"));
    };
    if map.is_empty() {
        return Err(lies("weight_map", "is empty"));
    }
    let mut weight_map = BTreeMap::new();
    for (tensor, file) in map {
        let Some(file) = file.as_str() else {
            return Err(lies(&format!("weight_map {tensor:?}"), "is no file name"));
        };
        if file.is_empty() || file.contains(['/', '\\', '\0']) || file == ".." || file == "." {
            return Err(lies(&format!("weight_map {tensor:?}"), "names no file beside the index"));
        }
        weight_map.insert(tensor.clone(), file.to_owned());
    }
    let total_size = match value.pointer("/metadata/total_size") {
        None | Some(Value::Null) => None,
        Some(n) => {
            Some(n.as_u64().ok_or_else(|| lies("metadata.total_size", "is no whole number of bytes"))?)
        }
    };
    Ok(Index { total_size, weight_map })
}
