//! Pruning, applied to a model's shape before an engine sees it.

use crate::document::estimate::Warning;
use crate::document::plan::{EngineName, Plan, Prune, Workload};
use crate::document::precision::WeightPrecision;
use crate::engine::resolved::Resolved;
use crate::error::PlanError;
use crate::model::{Model, Role};

/// The least hidden width that is left, and what it is a multiple of: kernels want rows of whole 128-byte lines.
const WIDTH_STEP: u64 = 64;

/// Share of a dense matrix's bytes that its 2:4 form takes: of each four elements two are kept, and two bits say where each
/// was (NVIDIA, "Accelerating Inference with Sparsity Using the Ampere Architecture": 16 bit 9/16, 8 bit 5/8).
pub(crate) const fn two_of_four_share(precision: Option<WeightPrecision>) -> f64 {
    use WeightPrecision as P;
    let bits = match precision {
        Some(P::Fp32 | P::Tf32) => 32.0,
        Some(P::Fp8 | P::Int8 | P::W8a8) => 8.0,
        Some(P::Int4G128 | P::Nf4 | P::Nf4Dq | P::Mxfp4 | P::Nvfp4) => 4.0,
        _ => 16.0,
    };
    (2.0 * bits + 4.0) / (4.0 * bits)
}

/// Changes the model as the plan's pruning says; true where its matrices are stored two of four.
///
/// # Errors
/// The field that asks for more than there is, or that the engine cannot run.
pub(crate) fn apply(plan: &Plan, model: &mut Model, warnings: &mut Vec<Warning>) -> Result<bool, PlanError> {
    let prune = &plan.compression.prune;
    if matches!(prune, Prune::Depth { .. } | Prune::Width { .. }) && model.stored.is_some() {
        return Err(PlanError::invalid(
            "compression.prune",
            "given together with model.stored, whose sizes are those of the whole model",
            "leave stored out, or prune the file itself and give its header",
        ));
    }
    match *prune {
        Prune::None => Ok(false),
        Prune::Unstructured { sparsity } => {
            share("compression.prune.sparsity", sparsity)?;
            warnings.push(Warning::new(
                "unstructured-saves-nothing",
                format!(
                    "{:.0} % of the weights are zero and stored as zeros: dense storage and dense kernels take as much as \
                     before. Prune 2:4, depth or width to save memory.",
                    sparsity * 100.0
                ),
            ));
            Ok(false)
        }
        Prune::TwoOfFour => two_of_four(plan, warnings),
        Prune::Depth { layers } => depth(model, u64::from(layers)).map(|()| false),
        Prune::Width { hidden } => width(model, hidden).map(|()| false),
    }
}

/// Share of all weights that 2:4 storage saves: the matrices of the layers, routers apart, are stored so.
pub(crate) fn saved_share(resolved: &Resolved) -> f64 {
    let tensors = resolved.model.tensors();
    let all: f64 = tensors.iter().map(|t| t.elements() as f64).sum();
    let sparse: f64 = tensors
        .iter()
        .filter(|t| t.is_matrix() && t.layer.is_some() && t.role != Role::Router)
        .map(|t| t.elements() as f64)
        .sum();
    sparse / all.max(1.0) * (1.0 - two_of_four_share(resolved.plan.precision.weights))
}

fn share(field: &str, share: f64) -> Result<(), PlanError> {
    if share.is_finite() && (0.0..1.0).contains(&share) {
        return Ok(());
    }
    Err(PlanError::invalid(
        field,
        format!("{share} is out of range"),
        "give a share of at least 0 and below 1",
    ))
}

fn two_of_four(plan: &Plan, warnings: &mut Vec<Warning>) -> Result<bool, PlanError> {
    if matches!(plan.workload, Workload::Train(_)) {
        warnings.push(Warning::new(
            "sparse-training-is-dense",
            "While it trains, a 2:4 model keeps its dense weights and a mask: nothing is saved before it is exported.",
        ));
        return Ok(false);
    }
    let kernels = [EngineName::Vllm, EngineName::Sglang, EngineName::TensorrtLlm, EngineName::Transformers];
    let gguf = plan.precision.weights.is_some_and(|p| p.as_str().starts_with("gguf:"));
    if !kernels.contains(&plan.engine.name) || gguf {
        return Err(PlanError::unsupported(
            "compression.prune.kind",
            "this engine has no kernels for 2:4 weights",
            "give vllm, sglang, tensorrt-llm or transformers with other weights than GGUF, or prune depth or width",
        ));
    }
    Ok(true)
}

/// Removes a block of layers before the last one: the deeper layers change the hidden state least, the last one most (Gromov
/// et al., arXiv 2403.17887, section 4).
fn depth(model: &mut Model, removed: u64) -> Result<(), PlanError> {
    let count = model.layers.len();
    let removed = usize::try_from(removed).unwrap_or(usize::MAX);
    if removed >= count {
        return Err(PlanError::invalid(
            "compression.prune.layers",
            format!("{removed} layers removed of {count} leave none"),
            format!("give 0 to {}", count.saturating_sub(1)),
        ));
    }
    let end = count - usize::from(removed < count);
    model.layers.drain(end - removed.min(end)..end);
    Ok(())
}

/// Narrows the residual stream, heads and inner widths as they were (Minitron, arXiv 2407.14679, section 2: embedding
/// channels), to a whole multiple of 64.
fn width(model: &mut Model, removed: f64) -> Result<(), PlanError> {
    let field = "compression.prune.hidden";
    share(field, removed)?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a width of at most 2^20"
    )]
    let kept = (model.hidden as f64 * (1.0 - removed)) as u64;
    if removed == 0.0 {
        return Ok(());
    }
    let kept = kept / WIDTH_STEP * WIDTH_STEP;
    if kept == 0 {
        return Err(PlanError::invalid(
            field,
            format!("{removed} leaves less than {WIDTH_STEP} of {} elements", model.hidden),
            "remove less",
        ));
    }
    model.hidden = kept;
    Ok(())
}

#[cfg(test)]
mod tests;
