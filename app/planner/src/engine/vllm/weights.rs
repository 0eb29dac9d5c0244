//! Weights as vLLM holds them on one rank: projections fused as its modules fuse them, the vocabulary padded, each tensor in a
//! block of `PyTorch`'s allocator, and what is kept beside the parameters.

use super::rotary;
use crate::document::plan::Plan;
use crate::document::precision::WeightPrecision;
use crate::engine::shard;
use crate::engine::stored::{self, Format};
use crate::error::PlanError;
use crate::model::{Dtype, Model, Role, WeightTensor};

/// How the matrices are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::engine) struct Stored {
    /// Linear layers.
    linear: Format,
    /// Experts.
    experts: Format,
    /// What no method quantizes: embedding, head, norms, biases, router, convolutions, towers.
    plain: Dtype,
    /// `--quantization`, where the checkpoint does not say it.
    pub(in crate::engine) flag: Option<&'static str>,
    /// Whether inputs of the products are copied in 8 bit by a kernel of their own.
    pub(in crate::engine) copies_inputs: bool,
    /// Whether a matrix is widened to 16 bit for its product.
    pub(in crate::engine) widens: bool,
}

/// The formats of the plan's precision in `engine`; `compute` is the precision of activations. `SGLang` loads weights by vLLM's
/// layers and methods.
///
/// # Errors
/// What the engine does not load.
pub(in crate::engine) fn stored(
    engine: &str,
    plan: &Plan,
    model: &Model,
    compute: Dtype,
    widens_scales: bool,
) -> Result<Stored, PlanError> {
    let whole = Stored {
        linear: Format::Plain(compute),
        experts: Format::Plain(compute),
        plain: compute,
        flag: None,
        copies_inputs: false,
        widens: false,
    };
    let both = |format: Format| Stored { linear: format, experts: format, ..whole };
    let Some(precision) = plan.precision.weights else {
        // vLLM converts a checkpoint to `--dtype` while it loads; without one it keeps bf16 and halves fp32.
        let dtype = match model.native {
            Some(Dtype::F32) | None => compute,
            Some(native) => native,
        };
        return Ok(Stored { plain: dtype, ..both(Format::Plain(dtype)) });
    };
    Ok(match precision {
        WeightPrecision::Fp32 | WeightPrecision::Tf32 | WeightPrecision::Bf16 | WeightPrecision::Fp16 => {
            let dtype = stored::plain(precision).unwrap_or(compute);
            Stored { plain: dtype, ..both(Format::Plain(dtype)) }
        }
        WeightPrecision::Fp8 => {
            match rotary::config(plan).and_then(|c| rotary::field(c, "quantization_config")) {
                // DeepSeek-V3's own format, an fp32 scale for each 128 × 128.
                Some(method) if method.get("weight_block_size").is_some_and(|b| !b.is_null()) => {
                    both(Format::Fp8Block)
                }
                // compressed-tensors, an fp32 scale a channel.
                Some(method) if method.get("quant_method").is_some_and(|m| m == "compressed-tensors") => {
                    both(Format::Fp8Row { scale_bytes: 4 })
                }
                Some(_) => both(Format::Fp8Tensor),
                // A checkpoint in 16 bit: quantized on loading, one scale a matrix.
                None => Stored { flag: Some("fp8"), ..both(Format::Fp8Tensor) },
            }
        }
        // compressed-tensors: int8 with an fp32 scale a channel; inputs are quantized a token at a time.
        WeightPrecision::W8a8 => Stored { copies_inputs: true, ..both(Format::Int8Row { scale_bytes: 4 }) },
        // GPTQ in 8 bit, an fp16 scale for each 128 of a row.
        WeightPrecision::Int8 => both(Format::Int8Group { group: 128 }),
        WeightPrecision::Int4G128 => both(Format::Int4Group { group: 128, zeros: false, indices: false }),
        WeightPrecision::Nf4 => {
            Stored { flag: Some("bitsandbytes"), widens: true, ..both(Format::Nf4 { double: false }) }
        }
        // From 0.11 on the second quantization is undone while the checkpoint is read.
        WeightPrecision::Nf4Dq => Stored {
            flag: Some("bitsandbytes"),
            widens: true,
            ..both(Format::Nf4 { double: !widens_scales })
        },
        // gpt-oss: the experts alone.
        WeightPrecision::Mxfp4 => Stored { experts: Format::Mxfp4, ..whole },
        WeightPrecision::Nvfp4 => both(Format::Nvfp4),
        other => {
            return Err(PlanError::unsupported(
                "precision.weights",
                format!("{engine}'s loading of {other} is experimental and not planned"),
                "give bf16, fp16, fp32, fp8, w8a8, int8, int4-g128, nf4, nf4-dq, mxfp4 or nvfp4, or another engine",
            ));
        }
    })
}

impl Stored {
    fn bytes(&self, t: &WeightTensor) -> u64 {
        let format = match stored::place(t) {
            stored::Place::Plain => Format::Plain(self.plain),
            stored::Place::Linear => self.linear,
            stored::Place::Expert => self.experts,
        };
        format.tensor_bytes(t)
    }

    /// Bytes of the widest matrix in 16 bit, where it is widened for its product.
    pub(in crate::engine) fn widened(&self, tensors: &[WeightTensor], compute: Dtype) -> u64 {
        if !self.widens {
            return 0;
        }
        tensors
            .iter()
            .filter(|t| stored::place(t) == stored::Place::Linear)
            .map(|t| t.rows.saturating_mul(t.columns).saturating_mul(compute.bytes()))
            .max()
            .unwrap_or(0)
    }
}

/// Weights of one rank of one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::engine) struct Held {
    /// Bytes that the allocator has given out for them.
    pub(in crate::engine) bytes: u64,
}

/// Rows of the vocabulary are padded to 64 (`DEFAULT_VOCAB_PADDING_SIZE`) before they are divided.
fn pad_vocabulary(t: &WeightTensor) -> WeightTensor {
    let mut t = t.clone();
    if matches!(t.role, Role::TokenEmbedding | Role::OutputHead) {
        t.rows = t.rows.div_ceil(64).saturating_mul(64);
    }
    t
}

/// The tensors of one rank of `tensor` ranks, experts divided over `expert` ranks, in one of `data` replicas.
pub(in crate::engine) fn rank_tensors(
    model: &Model,
    tensor: u64,
    expert: u64,
    data: u64,
) -> Vec<WeightTensor> {
    rank_parts(model, &model.tensors(), tensor, expert, data)
}

/// The parts of `tensors` that one rank holds.
pub(in crate::engine) fn rank_parts(
    model: &Model,
    tensors: &[WeightTensor],
    tensor: u64,
    expert: u64,
    data: u64,
) -> Vec<WeightTensor> {
    tensors
        .iter()
        .map(|t| {
            let kv_heads = t
                .layer
                .and_then(|l| model.layers.get(usize::try_from(l).ok()?))
                .and_then(crate::model::Layer::attention)
                .map_or(0, |a| a.kv_heads);
            // Experts are divided over the ranks of all replicas (`FusedMoEParallelConfig`, `flatten_tp_across_dp`).
            let expert_tensor =
                matches!(shard::split(t.role), shard::Split::ExpertRows | shard::Split::ExpertColumns);
            let ranks = if expert_tensor { tensor.saturating_mul(data) } else { tensor };
            let mut part = shard::part(&pad_vocabulary(t), ranks, expert, kv_heads);
            // Vision towers are made of the same parallel layers.
            if matches!(t.role, Role::Tower(_)) {
                part.columns = part.columns.div_ceil(tensor.max(1));
            }
            part
        })
        .collect()
}

/// Which of vLLM's modules a tensor is a part of: what shares a number is one tensor there (`packed_modules_mapping`).
const fn module(role: Role) -> u8 {
    match role {
        Role::Query | Role::Key | Role::Value => 1,
        Role::QueryBias | Role::KeyBias | Role::ValueBias => 2,
        Role::Gate | Role::Up => 3,
        Role::GateBias | Role::UpBias => 4,
        Role::ExpertGate | Role::ExpertUp => 5,
        Role::ExpertGateBias | Role::ExpertUpBias => 6,
        Role::SharedGate | Role::SharedUp => 7,
        _ => 0,
    }
}

/// Bytes that `PyTorch`'s allocator counts for a tensor: it rounds to 512; from 10 MiB on it takes segments of whole 2 MiB and
/// splits off the rest only where that is more than 1 MiB (`c10/cuda/CUDACachingAllocator.cpp`, `should_split`). Smaller
/// tensors share segments.
pub(in crate::engine) const fn block(bytes: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    let rounded = bytes.div_ceil(512).saturating_mul(512);
    if rounded < 10 * MIB {
        return rounded;
    }
    let segment = rounded.div_ceil(2 * MIB).saturating_mul(2 * MIB);
    if segment - rounded <= MIB { segment } else { rounded }
}

/// The weights of one rank in the layers `from..to`.
pub(in crate::engine) fn held(
    model: &Model,
    tensors: &[WeightTensor],
    stored: &Stored,
    layers: (u64, u64),
    stage: (bool, bool),
) -> Held {
    let (first, last) = stage;
    let mut held = Held::default();
    let mut fused: Vec<(u64, u8, u64)> = Vec::new();
    for t in tensors {
        let here = match (t.layer, t.role) {
            (Some(layer), _) => (layers.0..layers.1).contains(&layer),
            // A tied embedding is the head as well.
            (None, Role::TokenEmbedding) => first || (last && model.tied_embeddings),
            (None, Role::FinalNorm | Role::FinalNormBias | Role::OutputHead) => last,
            (None, _) => first,
        };
        if !here {
            continue;
        }
        let bytes = stored.bytes(t);
        let counted = match (module(t.role), t.layer) {
            (0, _) | (_, None) if matches!(t.role, Role::Tower(_)) => bytes,
            (0, _) | (_, None) => block(bytes),
            (module, Some(layer)) => {
                match fused.iter_mut().rev().take(8).find(|(l, m, _)| (*l, *m) == (layer, module)) {
                    Some((_, _, sum)) => *sum = sum.saturating_add(bytes),
                    None => fused.push((layer, module, bytes)),
                }
                0
            }
        };
        held.bytes = held.bytes.saturating_add(counted);
        if t.role == Role::KeyValueUp {
            // Latent attention keeps its expansion a second time in the compute precision, divided by head into `W_UK_T` and
            // `W_UV` (`MLAAttention.process_weights_after_loading`).
            let absorbed = t.elements().saturating_mul(stored.plain.bytes());
            held.bytes = held.bytes.saturating_add(block(absorbed));
        }
    }
    let fused: u64 = fused.iter().map(|(_, _, bytes)| block(*bytes)).fold(0, u64::saturating_add);
    held.bytes = held.bytes.saturating_add(fused);
    held
}

/// What proposes tokens, as it is held beside a model on one rank.
pub(in crate::engine) struct Draft {
    /// Its shape.
    pub(in crate::engine) model: Model,
    /// Bytes of its weights.
    pub(in crate::engine) weights: u64,
}

impl Draft {
    /// The plan's; `stored` and `compute` are the served model's, which its own layers for further tokens share. Those have
    /// neither embedding nor head of their own: they take the model's (`EagleProposer.load_model`). A draft model is divided
    /// as the model is.
    ///
    /// # Errors
    /// `workload.speculation…`.
    pub(in crate::engine) fn of(
        engine: &str,
        resolved: &crate::engine::resolved::Resolved,
        stored: &Stored,
        compute: Dtype,
        widens_scales: bool,
    ) -> Result<Option<Self>, PlanError> {
        let Some(draft) = crate::engine::serving::draft(resolved)? else { return Ok(None) };
        let p = resolved.layout();
        let (tensor, expert, data) = (u64::from(p.tensor), u64::from(p.expert), u64::from(p.data));
        let own = matches!(
            resolved.serve().and_then(|s| s.speculation.as_ref()),
            Some(crate::document::plan::Speculation::Mtp { .. })
        );
        let held = if own {
            let mut whole = resolved.model.clone();
            let from = whole.layers.len() as u64;
            let tensors = whole.next_token_tensors();
            whole.layers.append(&mut whole.next_token_layers);
            let parts = rank_parts(&whole, &tensors, tensor, expert, data);
            held(&whole, &parts, stored, (from, whole.layers.len() as u64), (false, false))
        } else {
            let stored = self::stored(engine, &draft.plan, &draft.model, compute, widens_scales)
                .map_err(crate::engine::serving::of_draft)?;
            let parts = rank_tensors(&draft.model, tensor, expert, data);
            held(&draft.model, &parts, &stored, (0, draft.model.layers.len() as u64), (true, true))
        };
        let table =
            if own { 0 } else { rotary::bytes(&draft.model, rotary::config(&draft.plan), compute.bytes()) };
        Ok(Some(Self { model: draft.model, weights: held.bytes.saturating_add(table) }))
    }

    /// The layers of `model` with those of the draft after them, as caches see them.
    pub(in crate::engine) fn beside(&self, model: &Model) -> Model {
        let mut both = model.clone();
        both.layers.extend(self.model.layers.iter().cloned());
        both
    }
}

#[cfg(test)]
mod tests {
    use super::block;

    /// Sizes in MiB of a request and of the block that `PyTorch` counts.
    #[test]
    fn blocks_are_those_of_the_caching_allocator() {
        const MIB: u64 = 1 << 20;
        for (request, counted) in [
            (3 * MIB / 2, 3 * MIB / 2),
            (9 * MIB, 9 * MIB),
            // Gemma 2 2B: gate and up are 81 MiB, in a segment of 82; the rest of 1 MiB is not split off.
            (81 * MIB, 82 * MIB),
            // Its down projection: 40.5 MiB in 42; 1.5 MiB are.
            (81 * MIB / 2, 81 * MIB / 2),
            (112 * MIB, 112 * MIB),
            (100, 512),
        ] {
            assert_eq!(block(request), counted);
        }
    }
}
