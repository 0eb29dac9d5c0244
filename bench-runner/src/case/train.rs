//! A training step, its phases apart.

use std::time::Instant;

use candle_core::{Device, Tensor};
use contract::measurement::{Phase, StepSample};

use super::repetition::{CaseError, HighMarks, higher, milliseconds};
use crate::decoder::training::Trainer;
use crate::engine::{self, EngineError, Refusal};
use crate::memory::Probe as _;
use crate::telemetry::Recorded;

/// One forward pass's tokens, in host memory.
pub(super) struct MicroBatch {
    ids: Vec<u32>,
    /// The token after each.
    targets: Vec<u32>,
    /// Sequences, tokens of each.
    shape: (usize, usize),
}

/// `count` micro batches of pseudo-random tokens.
pub(super) fn micro_batches(
    count: usize,
    shape: (usize, usize),
    vocabulary: u32,
    seed: u64,
) -> Vec<MicroBatch> {
    let (batch, tokens) = shape;
    let all = engine::seeded_prompt(batch.saturating_mul(count), tokens.saturating_add(1), vocabulary, seed);
    all.chunks(batch.saturating_mul(tokens.saturating_add(1)).max(1))
        .map(|sequences| {
            let each = || sequences.chunks(tokens + 1);
            MicroBatch {
                ids: each().flat_map(|s| &s[..s.len() - 1]).copied().collect(),
                targets: each().flat_map(|s| &s[1..]).copied().collect(),
                shape,
            }
        })
        .collect()
}

/// One step: a forward and a backward pass of each micro batch, then the optimizer.
pub(super) fn step(
    trainer: &mut Trainer,
    device: &Device,
    data: &[MicroBatch],
    sample: &mut StepSample,
    probe: &mut Recorded,
    high: &mut HighMarks,
) -> Result<(), CaseError> {
    let mut loss = 0.0;
    for micro_batch in data {
        probe.begin(Phase::Forward)?;
        let start = Instant::now();
        let ids = Tensor::from_slice(&micro_batch.ids, micro_batch.shape, device)?;
        let targets = Tensor::from_slice(&micro_batch.targets, micro_batch.targets.len(), device)?;
        let passed = trainer.forward(ids, &targets)?;
        drop(targets);
        device.synchronize()?;
        sample.forward_ms += milliseconds(start);
        high.forward = Some(higher(high.forward, probe.read()?));
        loss += f64::from(passed.loss()?);

        probe.begin(Phase::Backward)?;
        let start = Instant::now();
        trainer.backward(passed)?;
        device.synchronize()?;
        sample.backward_ms += milliseconds(start);
        high.backward = Some(higher(high.backward, probe.read()?));
    }
    probe.begin(Phase::Optimizer)?;
    let start = Instant::now();
    trainer.update()?;
    device.synchronize()?;
    sample.optimizer_ms = milliseconds(start);
    high.optimizer = Some(higher(high.optimizer, probe.read()?));
    sample.loss = loss / data.len() as f64;
    // A time of numbers that are none is no result.
    if sample.loss.is_finite() {
        Ok(())
    } else {
        Err(EngineError::from(Refusal("the loss is not finite".to_owned())).into())
    }
}
