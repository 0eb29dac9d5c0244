//! Vision towers and their projectors: the tensors that a configuration's `vision_config` describes.

use super::super::{ModelError, Tower, TowerShape};
use super::fields::{Fields, MAX_HEADS, MAX_HIDDEN, MAX_INTERMEDIATE, MAX_LAYERS, MAX_TOKENS};

/// Weights and biases of a linear layer.
const fn linear(rows: u64, columns: u64, bias: bool) -> u64 {
    rows.saturating_mul(columns).saturating_add(if bias { rows } else { 0 })
}

/// What every tower says of itself, under its own names.
struct Shape {
    hidden: u64,
    layers: u64,
    heads: u64,
    intermediate: u64,
    patch: u64,
}

fn shape(vision: &Fields<'_>, names: [&'static str; 4]) -> Result<Shape, ModelError> {
    Ok(Shape {
        hidden: vision.first(&[names[0], "hidden_size"], 1, MAX_HIDDEN)?,
        layers: vision.first(&[names[1], "num_hidden_layers"], 1, MAX_LAYERS)?,
        heads: vision.first(&[names[2], "num_attention_heads"], 1, MAX_HEADS)?,
        intermediate: vision.first(&[names[3], "intermediate_size"], 1, MAX_INTERMEDIATE)?,
        patch: vision.required("patch_size", 1, 4096)?,
    })
}

impl Shape {
    /// Blocks with biased attention and a feed-forward of two biased matrices, two layer norms each (`ViT`).
    fn blocks(&self) -> u64 {
        let h = self.hidden;
        let block = linear(h, h, true)
            .saturating_mul(4)
            .saturating_add(linear(self.intermediate, h, true))
            .saturating_add(linear(h, self.intermediate, true))
            .saturating_add(h.saturating_mul(4));
        self.layers.saturating_mul(block)
    }

    fn tower(&self, image: u64, tokens_per_image: u64) -> TowerShape {
        TowerShape {
            hidden: self.hidden,
            layers: self.layers,
            heads: self.heads,
            intermediate: self.intermediate,
            patch: self.patch,
            image,
            tokens_per_image,
        }
    }
}

fn sum(parts: &[u64]) -> u64 {
    parts.iter().copied().fold(0, u64::saturating_add)
}

/// The towers of a whole configuration whose language model is `text` elements wide.
pub(super) fn towers(whole: &Fields<'_>, text: u64) -> Result<Vec<Tower>, ModelError> {
    let Some(vision) = whole.object("vision_config") else { return Ok(Vec::new()) };
    let made = match whole.text("model_type").unwrap_or_default() {
        "gemma3" => gemma3(whole, &vision, text)?,
        "mistral3" => mistral3(whole, &vision, text)?,
        "llama4" => llama4(&vision, text)?,
        "llava" | "llava_next" => llava(whole, &vision, text)?,
        "kimi_vl" => moonvit(&vision, text)?,
        "qwen2_5_vl" => qwen25(&vision, text)?,
        "qwen3_vl" | "qwen3_vl_moe" | "qwen3_5" | "qwen3_5_moe" => qwen3(&vision, text)?,
        other => {
            return Err(ModelError::Invalid {
                field: "vision_config",
                problem: format!(
                    "the vision tower of {other} is not known; give text_config as the configuration to plan without it"
                ),
            });
        }
    };
    Ok(made.into())
}

fn tower(name: &str, parameters: u64, shape: Option<TowerShape>) -> Tower {
    Tower { name: name.to_owned(), parameters, shape }
}

/// `SigLIP`'s encoder (`modeling_siglip`): patches and positions with biases, blocks, a norm behind them, and the attention
/// pooling head where it is kept.
fn siglip(vision: &Fields<'_>, s: &Shape, image: u64) -> Result<u64, ModelError> {
    let h = s.hidden;
    let edge = image / s.patch.max(1);
    let head = if vision.flag("vision_use_head", true)? {
        // probe, attention in one projection and its output, norm, feed-forward
        sum(&[
            h,
            linear(h.saturating_mul(3), h, true),
            linear(h, h, true),
            h.saturating_mul(2),
            linear(s.intermediate, h, true),
            linear(h, s.intermediate, true),
        ])
    } else {
        0
    };
    Ok(sum(&[
        linear(h, s.patch.saturating_mul(s.patch).saturating_mul(3), true),
        edge.saturating_mul(edge).saturating_mul(h),
        s.blocks(),
        h.saturating_mul(2),
        head,
    ]))
}

fn gemma3(whole: &Fields<'_>, vision: &Fields<'_>, text: u64) -> Result<[Tower; 2], ModelError> {
    let s = shape(vision, ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"])?;
    let image = vision.required("image_size", 1, MAX_TOKENS)?;
    let tokens = whole.optional("mm_tokens_per_image", 1, MAX_TOKENS)?.unwrap_or(256);
    Ok([
        tower("vision tower", siglip(vision, &s, image)?, Some(s.tower(image, tokens))),
        // a projection and a norm of what goes in
        tower("projector", linear(s.hidden, text, false).saturating_add(s.hidden), None),
    ])
}

fn mistral3(whole: &Fields<'_>, vision: &Fields<'_>, text: u64) -> Result<[Tower; 2], ModelError> {
    let s = shape(vision, ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"])?;
    let h = s.hidden;
    let image = vision.required("image_size", 1, MAX_TOKENS)?;
    let merge = whole.optional("spatial_merge_size", 1, 64)?.unwrap_or(2);
    let bias = whole.flag("multimodal_projector_bias", false)?;
    // modeling_pixtral: no biases, two RMS norms a block and one before them
    let block = sum(&[
        linear(h, h, false).saturating_mul(4),
        linear(s.intermediate, h, false).saturating_mul(3),
        h.saturating_mul(2),
    ]);
    let parameters = sum(&[
        linear(h, s.patch.saturating_mul(s.patch).saturating_mul(3), false),
        h,
        s.layers.saturating_mul(block),
    ]);
    let projector = sum(&[
        h,
        linear(h, h.saturating_mul(merge).saturating_mul(merge), false),
        linear(text, h, bias),
        linear(text, text, bias),
    ]);
    let edge = image.div_ceil(s.patch.saturating_mul(merge));
    // every row of patches ends in a token of its own
    let tokens = edge.saturating_mul(edge.saturating_add(1));
    Ok([tower("vision tower", parameters, Some(s.tower(image, tokens))), tower("projector", projector, None)])
}

fn llama4(vision: &Fields<'_>, text: u64) -> Result<[Tower; 2], ModelError> {
    let s = shape(vision, ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"])?;
    let h = s.hidden;
    let image = vision.required("image_size", 1, MAX_TOKENS)?;
    let (inner, outer) = (
        vision.required("projector_input_dim", 1, MAX_HIDDEN)?,
        vision.required("projector_output_dim", 1, MAX_HIDDEN)?,
    );
    let edge = image / s.patch;
    let positions = edge.saturating_mul(edge).saturating_add(1);
    // modeling_llama4: class and position embeddings, a norm before and behind the blocks, an adapter that takes four
    // neighbouring patches together
    let parameters = sum(&[
        linear(h, s.patch.saturating_mul(s.patch).saturating_mul(3), false),
        h,
        positions.saturating_mul(h),
        h.saturating_mul(4),
        s.blocks(),
        linear(inner, s.intermediate, false),
        linear(outer, inner, false),
    ]);
    let output = vision.optional("vision_output_dim", 1, MAX_HIDDEN)?.unwrap_or(outer);
    Ok([
        tower("vision tower", parameters, Some(s.tower(image, edge.saturating_mul(edge) / 4))),
        tower("projector", linear(text, output, false), None),
    ])
}

fn llava(whole: &Fields<'_>, vision: &Fields<'_>, text: u64) -> Result<[Tower; 2], ModelError> {
    if vision.text("model_type") != Some("siglip_vision_model") {
        return Err(ModelError::Invalid {
            field: "vision_config",
            problem: "only a SigLIP tower is known; give text_config as the configuration to plan without it"
                .into(),
        });
    }
    let s = shape(vision, ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"])?;
    let image = vision.required("image_size", 1, MAX_TOKENS)?;
    let levels = whole.list("vision_feature_layer").map_or(1, |l| l.len() as u64);
    let bias = whole.flag("multimodal_projector_bias", true)?;
    let newline = if whole.text("model_type") == Some("llava_next") { text } else { 0 };
    let projector =
        sum(&[linear(text, s.hidden.saturating_mul(levels), bias), linear(text, text, bias), newline]);
    let edge = image / s.patch;
    Ok([
        tower("vision tower", siglip(vision, &s, image)?, Some(s.tower(image, edge.saturating_mul(edge)))),
        tower("projector", projector, None),
    ])
}

/// `MoonViT` (`modeling_kimi_vl`): a learned grid of positions, biased blocks with one matrix for query, key and value.
fn moonvit(vision: &Fields<'_>, text: u64) -> Result<[Tower; 2], ModelError> {
    let s = shape(vision, ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"])?;
    let h = s.hidden;
    let rows = vision.required("init_pos_emb_height", 1, 4096)?;
    let columns = vision.required("init_pos_emb_width", 1, 4096)?;
    let merged = vision
        .list("merge_kernel_size")
        .map_or(4, |l| l.iter().filter_map(serde_json::Value::as_u64).fold(1, u64::saturating_mul));
    let wide = h.saturating_mul(merged);
    let parameters = sum(&[
        linear(h, s.patch.saturating_mul(s.patch).saturating_mul(3), true),
        rows.saturating_mul(columns).saturating_mul(h),
        s.blocks(),
        h.saturating_mul(2),
    ]);
    let projector = sum(&[h.saturating_mul(2), linear(wide, wide, true), linear(text, wide, true)]);
    let image = rows.saturating_mul(s.patch);
    Ok([
        tower("vision tower", parameters, Some(s.tower(image, rows.saturating_mul(columns) / merged.max(1)))),
        tower("projector", projector, None),
    ])
}

/// Edge of the image that a tower of free resolution is planned for, in pixels.
const FREE_IMAGE: u64 = 1024;

/// Qwen2.5-VL (`modeling_qwen2_5_vl`): RMS norms, gated feed-forwards with biases, a merger of four patches.
fn qwen25(vision: &Fields<'_>, text: u64) -> Result<[Tower; 2], ModelError> {
    let s = shape(vision, ["hidden_size", "depth", "num_heads", "intermediate_size"])?;
    let h = s.hidden;
    let (merge, frames) = merging(vision)?;
    let block = sum(&[
        linear(h, h, true).saturating_mul(4),
        linear(s.intermediate, h, true).saturating_mul(2),
        linear(h, s.intermediate, true),
        h.saturating_mul(2),
    ]);
    let pixels = s.patch.saturating_mul(s.patch).saturating_mul(frames).saturating_mul(3);
    let parameters = sum(&[linear(h, pixels, false), s.layers.saturating_mul(block)]);
    let wide = h.saturating_mul(merge).saturating_mul(merge);
    let projector = sum(&[h, linear(wide, wide, true), linear(text, wide, true)]);
    Ok(free(&s, merge, parameters, projector))
}

/// Qwen3-VL and Qwen 3.5 (`modeling_qwen3_vl`): learned positions, layer norms, and mergers that reach into the first layers
/// of the language model.
fn qwen3(vision: &Fields<'_>, text: u64) -> Result<[Tower; 2], ModelError> {
    let s = shape(vision, ["hidden_size", "depth", "num_heads", "intermediate_size"])?;
    let h = s.hidden;
    let (merge, frames) = merging(vision)?;
    let positions = vision.required("num_position_embeddings", 1, MAX_TOKENS)?;
    let deep = vision.list("deepstack_visual_indexes").map_or(0, |l| l.len() as u64);
    let pixels = s.patch.saturating_mul(s.patch).saturating_mul(frames).saturating_mul(3);
    let parameters = sum(&[linear(h, pixels, true), positions.saturating_mul(h), s.blocks()]);
    let wide = h.saturating_mul(merge).saturating_mul(merge);
    let merger = linear(wide, wide, true).saturating_add(linear(text, wide, true));
    let projector = sum(&[
        merger,
        h.saturating_mul(2),
        deep.saturating_mul(merger.saturating_add(wide.saturating_mul(2))),
    ]);
    Ok(free(&s, merge, parameters, projector))
}

fn merging(vision: &Fields<'_>) -> Result<(u64, u64), ModelError> {
    Ok((
        vision.optional("spatial_merge_size", 1, 64)?.unwrap_or(2),
        vision.optional("temporal_patch_size", 1, 64)?.unwrap_or(2),
    ))
}

fn free(s: &Shape, merge: u64, parameters: u64, projector: u64) -> [Tower; 2] {
    let edge = FREE_IMAGE / s.patch.saturating_mul(merge).max(1);
    [
        tower("vision tower", parameters, Some(s.tower(FREE_IMAGE, edge.saturating_mul(edge)))),
        tower("projector", projector, None),
    ]
}
