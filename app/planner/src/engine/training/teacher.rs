//! The teacher of a distillation: a second model that only runs forward.

use super::cost::Cost;
use super::weights;
use crate::document::plan::{Train, TrainMethod};
use crate::error::PlanError;
use crate::model::Model;

/// What a teacher takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::engine) struct TeacherCost {
    /// Its weights.
    pub(in crate::engine) weights: u64,
    /// Its logits and the two distributions in fp32 that a Kullback-Leibler loss compares (arXiv 1503.02531).
    pub(in crate::engine) loss: Cost,
    /// Most that one of its layers needs while it runs.
    pub(in crate::engine) forward: Cost,
}

/// The teacher of a plan; nothing where none is given.
///
/// # Errors
/// `workload.teacher` where distillation has none, another method has one, or its vocabulary differs.
pub(in crate::engine) fn teacher(
    student: &Model,
    train: &Train,
    element: u64,
) -> Result<TeacherCost, PlanError> {
    let Some(teacher) = &train.teacher else {
        return if train.method == TrainMethod::Distill {
            Err(PlanError::invalid("workload.teacher", "distill has no teacher", "give model and precision"))
        } else {
            Ok(TeacherCost::default())
        };
    };
    if train.method != TrainMethod::Distill {
        return Err(PlanError::invalid(
            "workload.teacher",
            "given for a method without one",
            "leave it out, or give method distill",
        ));
    }
    let model = Model::from_ref(&teacher.model)?;
    if model.vocab != student.vocab {
        return Err(PlanError::invalid(
            "workload.teacher.model",
            format!("its {} tokens are not the student's {}", model.vocab, student.vocab),
            "give a teacher with the same vocabulary",
        ));
    }
    let format = weights::format("workload.teacher.precision", teacher.precision)?;
    let stored = weights::stored(&model, format, weights::Head::Plain);
    let widest = model.layers.iter().map(|l| weights::widest(&model, l)).max().unwrap_or_default();
    Ok(TeacherCost {
        weights: stored,
        loss: Cost::token(model.vocab.saturating_mul(element.saturating_add(8))),
        forward: Cost::token(widest.saturating_mul(element).saturating_mul(3)),
    })
}
