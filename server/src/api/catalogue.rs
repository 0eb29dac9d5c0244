//! The planner's catalogue.

use axum::Json;
use planner::agent::presets::{self, Listed};
use planner::catalogue;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A model of the catalogue.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CatalogueModel {
    /// Its id in plans and on the Hugging Face Hub.
    id: &'static str,
    /// Ids of the same shape.
    aliases: &'static [String],
    /// Parameters as published.
    parameters: u64,
    /// Whether it generates text; false: it embeds or ranks.
    generates: Option<bool>,
    /// Layers, an encoder's and a decoder's together.
    layers: Option<usize>,
    /// The longest sequence in tokens.
    max_tokens: Option<u64>,
    /// Where shape and count come from.
    source: &'static str,
    /// What else should be known.
    note: Option<&'static str>,
    /// The fields of its `config.json` that decide size and speed.
    #[schema(value_type = Object)]
    config: &'static Value,
}

/// A GPU of the catalogue. What is not published is null.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CatalogueGpu {
    /// Its id in plans.
    id: &'static str,
    /// Its name.
    name: &'static str,
    /// Memory that a program sees, in bytes.
    visible_bytes: u64,
    /// Whether that was reported by CUDA; false: assumed from the physical memory.
    visible_reported: bool,
    /// Memory by its name, in GB.
    nominal_gb: u64,
    /// Memory bandwidth in GB/s (10^9 bytes).
    bandwidth_gb_s: Option<f64>,
    /// Dense throughput in TFLOP/s by number format, without structured sparsity.
    #[schema(value_type = Object)]
    tflops: catalogue::Tflops,
    /// Power limit in watts.
    power_w: Option<f64>,
    /// Where the figures come from.
    source: &'static str,
    /// What else should be known.
    note: Option<&'static str>,
}

/// List the models that the planner knows by name.
#[utoipa::path(get, path = "/api/v1/models", operation_id = "list_models", tag = "plans",
    responses((status = 200, body = Vec<CatalogueModel>, description = "Families together, small ones first")))]
pub(super) async fn models() -> Json<Vec<CatalogueModel>> {
    let entries = catalogue::models().iter();
    Json(
        entries
            .map(|entry| {
                let model = entry.model().ok();
                CatalogueModel {
                    id: &entry.id,
                    aliases: &entry.aliases,
                    parameters: entry.parameters,
                    generates: model.as_ref().map(planner::Model::is_decoder),
                    layers: model.as_ref().map(|model| model.layers.len()),
                    max_tokens: model.as_ref().map(|model| model.max_tokens.0),
                    source: &entry.source,
                    note: entry.note.as_deref(),
                    config: &entry.config,
                }
            })
            .collect(),
    )
}

/// List the presets: agent memories and training recipes under the names that people know, with the fields that they set.
#[utoipa::path(get, path = "/api/v1/presets", operation_id = "list_presets", tag = "plans",
    responses((status = 200, body = Vec<Listed>, description = "Agent memories, then training recipes")))]
pub(super) async fn presets() -> Json<Vec<Listed>> {
    Json(presets::list())
}

/// List the GPUs that the planner knows by name.
#[utoipa::path(get, path = "/api/v1/gpus", operation_id = "list_gpus", tag = "plans",
    responses((status = 200, body = Vec<CatalogueGpu>, description = "Every GPU")))]
pub(super) async fn gpus() -> Json<Vec<CatalogueGpu>> {
    let entries = catalogue::gpus().iter();
    Json(
        entries
            .map(|gpu| {
                let visible = gpu.visible();
                CatalogueGpu {
                    id: &gpu.id,
                    name: &gpu.name,
                    visible_bytes: visible.bytes().0,
                    visible_reported: matches!(visible, catalogue::VisibleMemory::Reported(_)),
                    nominal_gb: gpu.nominal_gb,
                    tflops: gpu.tflops,
                    bandwidth_gb_s: gpu.bandwidth_gb_s,
                    power_w: gpu.power_w,
                    source: &gpu.source,
                    note: gpu.note.as_deref(),
                }
            })
            .collect(),
    )
}
