//! What is measured: a prompt and its generation, or a batch embedded, with the marks of its phases.

use std::time::Instant;

use candle_core::Device;
use contract::measurement::{Phase, PhaseMemory, Sample};
use planner::Bytes;

use crate::engine::{self, Encoder, EngineError, Loaded, Refusal, Session};
use crate::memory::{Probe, ProbeError, Reading};

/// Why a case failed.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The model.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What measures it.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The runner cannot be told.
    #[error(transparent)]
    Pipe(#[from] std::io::Error),
}

impl From<candle_core::Error> for CaseError {
    fn from(error: candle_core::Error) -> Self {
        Self::Engine(error.into())
    }
}

/// High marks by phase, over the warm-up and all repetitions.
#[derive(Default)]
pub struct HighMarks {
    load: Reading,
    prefill: Option<Reading>,
    decode: Option<Reading>,
    pub(super) forward: Option<Reading>,
    pub(super) backward: Option<Reading>,
    pub(super) optimizer: Option<Reading>,
}

impl HighMarks {
    /// Those of loading.
    pub(super) fn of_load(load: Reading) -> Self {
        Self { load, ..Self::default() }
    }

    pub(super) fn phases(&self) -> Vec<PhaseMemory> {
        [
            (Phase::Load, Some(self.load)),
            (Phase::Prefill, self.prefill),
            (Phase::Decode, self.decode),
            (Phase::Forward, self.forward),
            (Phase::Backward, self.backward),
            (Phase::Optimizer, self.optimizer),
        ]
        .into_iter()
        .filter_map(|(phase, reading)| {
            reading.map(|r| PhaseMemory {
                phase,
                peak_allocated: r.peak_allocated,
                live_at_end: r.live,
                peak_reserved: r.peak_reserved,
                process: r.process,
                device: r.device,
            })
        })
        .collect()
    }
}

/// The higher of two readings in every figure; the live bytes of the later one.
pub(super) fn higher(earlier: Option<Reading>, later: Reading) -> Reading {
    let Some(earlier) = earlier else { return later };
    let max = |a: Option<Bytes>, b: Option<Bytes>| a.into_iter().chain(b).max();
    Reading {
        peak_allocated: earlier.peak_allocated.max(later.peak_allocated),
        live: later.live,
        peak_reserved: max(earlier.peak_reserved, later.peak_reserved),
        process: max(earlier.process, later.process),
        device: max(earlier.device, later.device),
    }
}

/// One prompt and its generation, or one batch embedded.
pub struct Repetition<'a> {
    /// What computes.
    pub model: &'a mut Loaded,
    /// Where.
    pub device: &'a Device,
    /// What it begins with.
    pub prompt: &'a Prompt,
}

/// Token ids of a batch of prompts, in host memory.
pub struct Prompt {
    ids: Vec<u32>,
    /// The attention mask of an encoder: every token counts, for all sequences are of one length.
    mask: Vec<u32>,
    /// Sequences, tokens of each.
    shape: (usize, usize),
}

impl Prompt {
    /// `ids` of `shape`: sequences, tokens of each.
    #[must_use]
    pub fn new(ids: Vec<u32>, shape: (usize, usize)) -> Self {
        Self { mask: vec![1; ids.len()], ids, shape }
    }
}

impl Repetition<'_> {
    /// Fills `sample`: the prompt and `further` tokens after the first, each phase between marks of `probe`.
    ///
    /// # Errors
    /// Where the model or the probe fails.
    pub fn run(
        &mut self,
        sample: &mut Sample,
        further: usize,
        probe: &mut dyn Probe,
        high: &mut HighMarks,
    ) -> Result<(), CaseError> {
        let (device, prompt) = (self.device, self.prompt);
        match self.model {
            Loaded::Decoder(session) => {
                generate(session.as_mut(), device, prompt, sample, further, probe, high)
            }
            Loaded::Encoder(encoder) => embed(encoder.as_ref(), device, prompt, sample, probe, high),
            Loaded::Trainer(_) => {
                Err(EngineError::from(Refusal("a trained model generates nothing".into())).into())
            }
        }
    }
}

/// The prompt, the first token, then `further` tokens.
fn generate(
    session: &mut dyn Session,
    device: &Device,
    given: &Prompt,
    sample: &mut Sample,
    further: usize,
    probe: &mut dyn Probe,
    high: &mut HighMarks,
) -> Result<(), CaseError> {
    session.begin(given.shape.0)?;
    probe.begin(Phase::Prefill)?;
    let start = Instant::now();
    let prompt = candle_core::Tensor::from_slice(&given.ids, given.shape, device)?;
    let logits = session.forward(&prompt, 0)?;
    // On CUDA the pass is only queued until here. Once a repetition, so that the allocator is hardly disturbed.
    device.synchronize()?;
    sample.prefill_ms = milliseconds(start);
    let mut token = engine::greedy(&logits)?;
    drop((logits, prompt));
    arrived(&token)?;
    sample.ttft_ms = milliseconds(start);
    high.prefill = Some(higher(high.prefill, probe.read()?));
    if further == 0 {
        return Ok(());
    }
    let (_, prompt_tokens) = given.shape;
    probe.begin(Phase::Decode)?;
    let mut last = Instant::now();
    for index in 0..further {
        let logits = session.forward(&token, prompt_tokens + index)?;
        token = engine::greedy(&logits)?;
        drop(logits);
        // The copy waits for the device, as a program that shows the token would.
        arrived(&token)?;
        let now = Instant::now();
        sample.token_ms.push(now.duration_since(last).as_secs_f64() * 1e3);
        last = now;
    }
    high.decode = Some(higher(high.decode, probe.read()?));
    Ok(())
}

/// A batch of sequences into one vector each: a prefill that nothing follows.
fn embed(
    encoder: &dyn Encoder,
    device: &Device,
    given: &Prompt,
    sample: &mut Sample,
    probe: &mut dyn Probe,
    high: &mut HighMarks,
) -> Result<(), CaseError> {
    probe.begin(Phase::Prefill)?;
    let start = Instant::now();
    let ids = candle_core::Tensor::from_slice(&given.ids, given.shape, device)?;
    let mask = candle_core::Tensor::from_slice(&given.mask, given.shape, device)?;
    let vectors = encoder.embed(&ids, &mask)?;
    device.synchronize()?;
    sample.prefill_ms = milliseconds(start);
    drop((ids, mask));
    let numbers = vectors.flatten_all()?.to_vec1::<f32>()?;
    sample.ttft_ms = milliseconds(start);
    high.prefill = Some(higher(high.prefill, probe.read()?));
    // A time of vectors that are no numbers is no result.
    if numbers.iter().all(|n| n.is_finite()) {
        Ok(())
    } else {
        Err(EngineError::from(Refusal("the embeddings are not finite".to_owned())).into())
    }
}

/// Brings the tokens, one a sequence, to the host.
fn arrived(token: &candle_core::Tensor) -> Result<Vec<u32>, CaseError> {
    Ok(token.flatten_all()?.to_vec1()?)
}

pub(super) fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
