//! What can be wrong with a model that was named.

use std::path::PathBuf;

use planner::ModelError;

/// A model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is none of that name.
    #[error(transparent)]
    Unknown(#[from] UnknownModel),
    /// A file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is neither of the three.
    #[error(
        "{}: not a model; accepted: a .gguf file, a folder with config.json and *.safetensors, a config.json (random \
         weights in its shape), an id of the catalogue",
        path.display()
    )]
    NotAModel {
        /// Which.
        path: PathBuf,
    },
    /// A header is wrong.
    #[error("{}: {problem}", path.display())]
    Header {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A configuration is no JSON.
    #[error("{}: not JSON: {source}", path.display())]
    Json {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A configuration describes no model.
    #[error("{name}: config.json: {source}")]
    Shape {
        /// The model.
        name: String,
        /// What is wrong with it.
        source: ModelError,
    },
    /// Two files would have one name.
    #[error("{}: another model is named {name} too; rename one of them", path.display())]
    NameTwice {
        /// The name.
        name: String,
        /// The second file.
        path: PathBuf,
    },
}

/// No model has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no model \"{given}\": neither a file, nor a folder, nor an id of the catalogue; {hint}")]
pub struct UnknownModel {
    given: String,
    hint: String,
}

impl UnknownModel {
    /// Of `given`, where `names` are known.
    pub fn new<'a>(given: &str, names: impl IntoIterator<Item = &'a String>) -> Self {
        let near = planner::catalogue::nearest(given, names.into_iter().map(String::as_str), 3);
        let hint = if near.is_empty() {
            "see `bench-runner models`".to_owned()
        } else {
            format!("did you mean {}? `bench-runner models` lists all", super::list(near))
        };
        Self { given: given.to_owned(), hint }
    }
}
