//! A training run: what is resident, what comes and goes, and when it is fullest.

use super::cost::Cost;
use super::loss::Loss;
use super::teacher::TeacherCost;
use crate::bytes::Bytes;
use crate::document::estimate::{Components, EngineVersion, Estimate, HostMemory, PhasePeak, Warning};
use crate::engine::policy::{Breakdown, Numbers, Policy, Spread};
use crate::error::PlanError;

/// What stays whatever phase it is, in bytes of one GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::engine) struct Resident {
    /// Weights with adapters and persistent buffers.
    pub(in crate::engine) weights: u64,
    /// Optimizer states, and masters where they are not the only copy, from the framework's allocator.
    pub(in crate::engine) optimizer: u64,
    /// Optimizer states in unified memory, which the framework's allocator does not count.
    pub(in crate::engine) paged: u64,
    /// Communication buffers and buckets.
    pub(in crate::engine) buffers: u64,
    /// Blocks of the allocator that building the model left behind, free but of other sizes than what is asked later.
    pub(in crate::engine) left_over: u64,
}

/// Writes the command that runs a plan, where one does.
pub(in crate::engine) type Command = Box<dyn Fn(&Numbers) -> Option<String> + Send + Sync>;

/// A run, prepared. Every figure is of one GPU.
pub(in crate::engine) struct Trainer {
    /// The engine.
    pub(in crate::engine) engine: EngineVersion,
    /// What stays.
    pub(in crate::engine) resident: Resident,
    /// Gradients of all trained parameters.
    pub(in crate::engine) gradients: u64,
    /// Whether gradients outlive a backward pass even without accumulation (they are one buffer, or added to).
    pub(in crate::engine) gradients_stay: bool,
    /// Most gradients that are alive at once before they are added, divided or stepped.
    pub(in crate::engine) gradients_in_flight: u64,
    /// Kept of all layers from forward to backward.
    pub(in crate::engine) saved: Cost,
    /// What one layer's backward pass needs on top: what is computed again, and gradients of activations.
    pub(in crate::engine) layer: Cost,
    /// The loss.
    pub(in crate::engine) loss: Loss,
    /// What is gathered of divided parameters while a layer runs.
    pub(in crate::engine) gathered: u64,
    /// What the step makes on top: copies of gradients or states.
    pub(in crate::engine) step: u64,
    /// Of that, what is one block each: flat copies of all gradients fit into no block that activations left.
    pub(in crate::engine) step_blocks: [u64; 3],
    /// The teacher.
    pub(in crate::engine) teacher: TeacherCost,
    /// On the host.
    pub(in crate::engine) host: HostMemory,
    /// Outside the framework's allocator, and its slack.
    pub(in crate::engine) runtime: u64,
    /// The CUDA context.
    pub(in crate::engine) context: u64,
    /// How sure it is.
    pub(in crate::engine) spread: Spread,
    /// What the reader should know.
    pub(in crate::engine) warnings: Vec<Warning>,
    /// Writes the command.
    pub(in crate::engine) command: Command,
}

/// What one phase adds to what is resident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Phase {
    gradients: u64,
    activations: u64,
    temporary: u64,
    reserved: u64,
    auxiliary: u64,
}

impl Phase {
    const fn allocated(&self) -> u64 {
        self.gradients
            .saturating_add(self.activations)
            .saturating_add(self.temporary)
            .saturating_add(self.auxiliary)
    }
}

/// The allocator's blocks of one phase.
const fn reserved_of(phase: &Phase) -> u64 {
    phase
        .gradients
        .saturating_add(phase.activations)
        .saturating_add(phase.auxiliary)
        .saturating_add(phase.reserved)
}

impl Trainer {
    /// Forward to the end of the loss, backward, step.
    fn phases(&self, numbers: &Numbers) -> [Phase; 3] {
        let accumulates = self.gradients_stay || numbers.gradient_accumulation > 1;
        let earlier = if accumulates { self.gradients } else { 0 };
        let saved = self.saved.at(numbers);
        let teacher = self.teacher.weights;
        let distilled = self.teacher.loss.at(numbers);
        let loss = self.loss.allocated.at(numbers).saturating_add(distilled);
        let held = self.loss.reserved.at(numbers).saturating_add(distilled);
        let layer = self.layer.at(numbers);
        let forward = Phase {
            gradients: earlier,
            activations: saved,
            temporary: loss.max(self.teacher.forward.at(numbers)).saturating_add(self.gathered),
            reserved: held.saturating_add(self.gathered),
            auxiliary: teacher,
        };
        // The first gradients come while the loss's are still alive; the last layer's needs follow when they are gone.
        let backward = Phase {
            gradients: earlier.saturating_add(self.gradients_in_flight),
            activations: saved.saturating_add(layer),
            temporary: self.gathered,
            reserved: self.gathered,
            auxiliary: teacher,
        };
        let step = Phase {
            gradients: self.gradients,
            activations: 0,
            temporary: self.step,
            reserved: self.step,
            auxiliary: teacher,
        };
        [forward, backward, step]
    }

    const fn resident(&self) -> u64 {
        let r = &self.resident;
        r.weights.saturating_add(r.optimizer).saturating_add(r.buffers)
    }
}

impl Policy for Trainer {
    fn engine(&self) -> EngineVersion {
        self.engine.clone()
    }

    fn breakdown(&self, numbers: &Numbers) -> Result<Breakdown, PlanError> {
        let phases = self.phases(numbers);
        let mut peak = phases[0];
        for phase in phases {
            if phase.allocated() > peak.allocated() {
                peak = phase;
            }
        }
        let allocated = self.resident().saturating_add(peak.allocated());
        // The first step comes after the first backward pass: its flat blocks are added to what that left, but for what the
        // loss's blocks can take.
        let block = self.loss.block.at(numbers);
        let beside =
            |held: u64| self.step_blocks.iter().map(|b| b.saturating_sub(held)).fold(0, u64::saturating_add);
        let forward = reserved_of(&phases[0]).saturating_add(beside(block));
        let passes = forward.max(reserved_of(&phases[1]).saturating_add(beside(0)));
        let reserved = self
            .resident()
            .saturating_add(passes.max(reserved_of(&phases[2])))
            .saturating_add(self.resident.left_over)
            .max(allocated);
        let parts = Components {
            weights: Bytes(self.resident.weights),
            activations: Bytes(peak.activations),
            temporary: Bytes(peak.temporary.saturating_add(self.resident.buffers)),
            gradients: Bytes(peak.gradients),
            optimizer: Bytes(self.resident.optimizer.saturating_add(self.resident.paged)),
            auxiliary: Bytes(peak.auxiliary),
            runtime: Bytes(self.runtime.saturating_add(reserved - allocated)),
            context: Bytes(self.context),
            ..Components::default()
        };
        Ok(Breakdown {
            parts,
            allocated: Bytes(allocated),
            reserved: Bytes(reserved),
            host: self.host,
            capacity: numbers.free_memory(),
            ..Breakdown::default()
        })
    }

    fn complete(&self, numbers: &Numbers, estimate: &mut Estimate) -> Result<(), PlanError> {
        let phases = ["forward", "backward", "step"].into_iter().zip(self.phases(numbers));
        estimate.phases = Some(
            phases
                .map(|(name, phase)| PhasePeak {
                    phase: name.to_owned(),
                    peak_bytes: Bytes(self.resident().saturating_add(phase.allocated())),
                })
                .collect(),
        );
        Ok(())
    }

    fn warnings(&self, _numbers: &Numbers) -> Vec<Warning> {
        self.warnings.clone()
    }

    fn spread(&self) -> Spread {
        self.spread.clone()
    }

    fn command(&self, numbers: &Numbers) -> Option<String> {
        (self.command)(numbers)
    }
}
