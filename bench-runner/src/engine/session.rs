//! A loaded model that computes sequences.

use candle_core::{Device, Tensor};

use super::EngineError;
use crate::decoder::training::Trainer;

/// A loaded model. One batch of sequences of equal length at a time.
pub trait Session {
    /// Goes back to the state right after loading: no cache, no masks.
    fn reset(&mut self);

    /// The same, with all that is allocated once for `batch` sequences there: what is not, the first tokens wait for.
    ///
    /// # Errors
    /// Where the device has no memory.
    fn begin(&mut self, _batch: usize) -> Result<(), EngineError> {
        self.reset();
        Ok(())
    }

    /// Logits of the last position of `tokens` (batch × length, u32), which follow `position` tokens computed before.
    ///
    /// # Errors
    /// Where Candle fails.
    fn forward(&mut self, tokens: &Tensor, position: usize) -> Result<Tensor, EngineError>;

    /// Gives `each` the logits (vocabulary) of every place of one sequence from `first` on, in order, until it answers
    /// false. What was computed before is forgotten. Here one token at a time, for models that give the last place's only.
    ///
    /// # Errors
    /// Where Candle fails.
    fn score(
        &mut self,
        tokens: &[u32],
        first: usize,
        device: &Device,
        each: &mut dyn FnMut(&[f32]) -> bool,
    ) -> Result<(), EngineError> {
        self.reset();
        let (mut start, mut end) = (0, first + 1);
        while end <= tokens.len() {
            let part = Tensor::from_slice(&tokens[start..end], (1, end - start), device)?;
            let logits = self.forward(&part, start)?.flatten_all()?.to_dtype(candle_core::DType::F32)?;
            if !each(&logits.to_vec1::<f32>()?) {
                break;
            }
            (start, end) = (end, end + 1);
        }
        Ok(())
    }

    /// How [`Session::score`] computes, for the results.
    fn scores(&self) -> &'static str {
        "half a window in one pass, then token by token"
    }

    /// What computes products with weights, where not all are Candle's.
    fn products(&self) -> Option<String> {
        None
    }
}

/// A loaded encoder.
pub trait Encoder {
    /// One vector of length one for each sequence (batch × hidden, f32) of `tokens` (batch × length, u32), of which those
    /// count where `mask` (of the same shape, u32) is 1.
    ///
    /// # Errors
    /// Where Candle fails.
    fn embed(&self, tokens: &Tensor, mask: &Tensor) -> Result<Tensor, EngineError>;
}

/// A loaded model.
pub enum Loaded {
    /// It generates.
    Decoder(Box<dyn Session>),
    /// It embeds.
    Encoder(Box<dyn Encoder>),
    /// It is trained.
    Trainer(Box<Trainer>),
}

impl Loaded {
    /// What computes products with weights, where not all are Candle's.
    #[must_use]
    pub fn products(&self) -> Option<String> {
        match self {
            Self::Decoder(session) => session.products(),
            Self::Encoder(_) | Self::Trainer(_) => None,
        }
    }
}

/// A stock model's forward pass.
pub(super) trait Forward {
    fn forward(&mut self, tokens: &Tensor, position: usize) -> candle_core::Result<Tensor>;
}

/// A model that keeps more than its cache can clear (masks by length, slabs): every reset starts from a clone of the
/// loaded one. Weights are shared between the two, so that a clone costs a few kilobytes of handles.
pub(super) struct Cloned<M> {
    loaded: M,
    running: Option<M>,
}

impl<M> Cloned<M> {
    pub(super) fn new(loaded: M) -> Self {
        Self { loaded, running: None }
    }
}

impl<M: Forward + Clone> Session for Cloned<M> {
    fn reset(&mut self) {
        // The old cache goes before the new handles come.
        self.running = None;
        self.running = Some(self.loaded.clone());
    }

    fn forward(&mut self, tokens: &Tensor, position: usize) -> Result<Tensor, EngineError> {
        let loaded = &self.loaded;
        Ok(self.running.get_or_insert_with(|| loaded.clone()).forward(tokens, position)?)
    }
}

/// A model whose cache is a plain buffer from loading on: it is cleared in place, for a clone would copy it.
pub(super) struct Cleared<M> {
    model: M,
    clear: fn(&mut M),
}

impl<M> Cleared<M> {
    pub(super) fn new(model: M, clear: fn(&mut M)) -> Self {
        Self { model, clear }
    }
}

impl<M: Forward> Session for Cleared<M> {
    fn reset(&mut self) {
        (self.clear)(&mut self.model);
    }

    fn forward(&mut self, tokens: &Tensor, position: usize) -> Result<Tensor, EngineError> {
        Ok(self.model.forward(tokens, position)?)
    }
}
