//! What differs between builds of llama.cpp.

use crate::document::plan::Plan;
use crate::error::PlanError;

/// The newest build that was read.
const NEWEST: &str = "b11258";
/// Gated feed-forwards as one operation on two tensors (`ggml_swiglu_split`, #14181), which adds a third one, from here on.
const SPLIT_GLU: u64 = 5_780;
/// Flash attention where the backend has it (`-fa auto`, #15434).
const FLASH_AUTO: u64 = 6_325;
/// Logits are reserved for as many tokens as can ask for them (#23861, June 2026), and the mask is made in fp16 when
/// attention is flash. The build's number is interpolated between dated ones.
const FEW_OUTPUTS: u64 = 9_500;

/// How a build allocates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Behaviour {
    /// The build as it was given, or the newest.
    pub(super) version: String,
    /// Whether a gated feed-forward holds its product beside gate and up.
    pub(super) split_glu: bool,
    /// Whether attention is flash where nothing is said.
    pub(super) flash_by_default: bool,
    /// Whether logits are reserved for one token a slot, and not for a whole micro batch, and the mask is fp16.
    pub(super) few_outputs: bool,
}

impl Behaviour {
    /// Of the plan's build.
    pub(super) fn of(plan: &Plan) -> Result<Self, PlanError> {
        let given = plan.engine.version.as_deref().unwrap_or(NEWEST);
        let number = given.trim_start_matches('b').parse::<u64>();
        let Ok(build) = number else {
            let shown: String = given.chars().take(40).collect();
            return Err(PlanError::invalid(
                "engine.version",
                format!("\"{shown}\" is no build of llama.cpp"),
                format!("give a build like {NEWEST}, or leave it out"),
            ));
        };
        Ok(Self {
            version: format!("b{build}"),
            split_glu: build >= SPLIT_GLU,
            flash_by_default: build >= FLASH_AUTO,
            few_outputs: build >= FEW_OUTPUTS,
        })
    }
}
