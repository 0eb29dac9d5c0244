//! The model that a plan names.

use super::{Model, ModelError};
use crate::catalogue;
use crate::document::plan::{ModelRef, StoredBlock};
use crate::error::PlanError;
use crate::ggml::GgmlType;
use crate::safetensors;

impl Model {
    /// The model of a plan: by catalogue id, or by configuration with or without exact sizes.
    ///
    /// # Errors
    /// Names the field under `model`: an unknown id with the nearest known ones, a configuration that is wrong, sizes
    /// that contradict their types, or a path, which only the command line reads.
    pub fn from_ref(reference: &ModelRef) -> Result<Self, PlanError> {
        let ModelRef { id, name, config, stored, loaded_from: _, gguf, safetensors } = reference;
        for (field, path) in [("model.gguf", gguf), ("model.safetensors", safetensors)] {
            if path.is_some() {
                return Err(PlanError::invalid(
                    field,
                    "a path is read by the command line only",
                    "use bench-runner plan, or open the file in the planner's page, which reads its header",
                ));
            }
        }
        match (id, config) {
            (Some(_), Some(_)) => Err(PlanError::invalid(
                "model.config",
                "given beside model.id, which is a model by itself",
                "leave one of the two out",
            )),
            (Some(_), None) if stored.is_some() => Err(PlanError::invalid(
                "model.stored",
                "given beside model.id; it belongs to model.config",
                "leave it out, or give name and config instead of id",
            )),
            (Some(id), None) => {
                let entry = catalogue::model(id).ok_or_else(|| unknown_id(id))?;
                entry.model().map_err(|e| of_model("model.id", &e))
            }
            (None, Some(config)) => {
                let mut model =
                    Self::from_config(name.as_deref().unwrap_or("a model without a name"), config)
                        .map_err(|e| of_model("model.config", &e))?;
                if let Some(blocks) = stored {
                    check_stored(&model, blocks)?;
                    model.stored = Some(blocks.clone());
                }
                Ok(model)
            }
            (None, None) => Err(PlanError::invalid(
                "model",
                "names no model",
                "give id (a model of the catalogue) or name and config (its config.json)",
            )),
        }
    }
}

fn unknown_id(id: &str) -> PlanError {
    let names =
        catalogue::models().iter().flat_map(|m| std::iter::once(&m.id).chain(&m.aliases)).map(String::as_str);
    let nearest = catalogue::nearest(id, names, 3).join(", ");
    let shown: String = id.chars().take(80).collect();
    PlanError::invalid(
        "model.id",
        format!("\"{shown}\" is not in the catalogue"),
        format!("nearest: {nearest}; for any other model give name and config"),
    )
}

fn of_model(prefix: &str, error: &ModelError) -> PlanError {
    let text = error.to_string();
    let field = error.field().map_or_else(|| prefix.to_owned(), |field| format!("{prefix}.{field}"));
    // The model's own message begins with the field and says what to do after the last semicolon.
    let text = error.field().and_then(|f| text.strip_prefix(&format!("{f}: "))).unwrap_or(&text).to_owned();
    let (problem, remedy) = match text.rsplit_once("; ") {
        Some((problem, remedy)) => (problem.to_owned(), remedy.to_owned()),
        None => (text, "correct the configuration".to_owned()),
    };
    match error {
        ModelError::UnknownArchitecture { .. } => {
            PlanError { field, problem, remedy, kind: crate::error::PlanErrorKind::NotPlannedYet }
        }
        _ => PlanError::invalid(field, problem, remedy),
    }
}

/// Sizes are those of their types, and there are enough of them.
fn check_stored(model: &Model, blocks: &[StoredBlock]) -> Result<(), PlanError> {
    let mut parameters = 0u64;
    for (index, block) in blocks.iter().enumerate() {
        let field = |name: &str| format!("model.stored[{index}].{name}");
        let wanted = if let Some(kind) = GgmlType::from_name(&block.kind) {
            kind.tensor_bytes(1, block.parameters)
        } else if let Some(dtype) = safetensors::Dtype::from_stored(&block.kind) {
            block.parameters.checked_mul(dtype.bits()).map(|bits| bits / 8)
        } else {
            return Err(PlanError::invalid(
                field("type"),
                format!("\"{}\" is no storage type of GGUF or safetensors", block.kind),
                "give one as the file's header calls it, for example q4_k, f32, bf16",
            ));
        };
        if wanted != Some(block.bytes.0) {
            let problem = match wanted {
                Some(bytes) => {
                    format!("{} parameters of {} take {bytes} bytes", block.parameters, block.kind)
                }
                None => {
                    format!("{} parameters are no whole number of {} blocks", block.parameters, block.kind)
                }
            };
            return Err(PlanError::invalid(field("bytes"), problem, "give the sums of the file's header"));
        }
        parameters = parameters.saturating_add(block.parameters);
    }
    let described = model.parameters().total;
    if parameters < described {
        return Err(PlanError::invalid(
            "model.stored",
            format!("holds {parameters} parameters, the configuration describes {described}"),
            "give the sums over all files of the model, or its own config.json",
        ));
    }
    Ok(())
}
