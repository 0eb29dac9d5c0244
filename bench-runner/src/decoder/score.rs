//! Logits of many places of one sequence, a whole pass at once.

use candle_core::{Device, Result, Tensor};

use super::{Decoder, Growth, Rope, Visibility, as_size};
use crate::engine::EngineError;

/// Places whose logits are computed at once: those of a whole window would be some hundred MiB of a large vocabulary.
const PLACES: usize = 32;

impl Decoder {
    /// Gives `each` the logits of every place of `tokens` from `first` on, in order, until it answers false.
    ///
    /// # Errors
    /// Where the device has no memory, or Candle fails.
    pub(super) fn score_at_once(
        &mut self,
        tokens: &[u32],
        first: usize,
        device: &Device,
        each: &mut dyn FnMut(&[f32]) -> bool,
    ) -> std::result::Result<(), EngineError> {
        self.make_room(tokens.len())?;
        let states = self.states(&Tensor::from_slice(tokens, (1, tokens.len()), device)?, 0)?;
        for start in (first..tokens.len()).step_by(PLACES) {
            let places = states.narrow(1, start, PLACES.min(tokens.len() - start))?.contiguous()?;
            for row in self.logits(&places)?.squeeze(0)?.to_vec2::<f32>()? {
                if !each(&row) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Room for `tokens` tokens where there is less: longer rotary tables, and caches that are made anew. They are empty
    /// after it.
    fn make_room(&mut self, tokens: usize) -> Result<()> {
        if tokens > self.options.tokens {
            for (rope, (rotation, size)) in self.ropes.iter_mut().zip(&self.rotations) {
                *rope = Rope::new(rotation, *size, tokens, self.compute, &self.device)?;
            }
            self.options.tokens = tokens;
        }
        for layer in &mut self.layers {
            let visibility = self.kinds[layer.kind].visibility;
            let (growth, room) = room(self.options.growth, visibility, self.options.tokens);
            layer.cache.make_room(growth, room);
        }
        self.empty = vec![0];
        Ok(())
    }
}

/// How a layer's cache grows, and for how many tokens it has room, where a sequence is of `tokens`.
pub(super) fn room(growth: Growth, visibility: Visibility, tokens: usize) -> (Growth, usize) {
    match (growth, visibility.reach().map(as_size)) {
        (Growth::Rotating, Some(reach)) if reach < tokens => (Growth::Rotating, reach),
        (Growth::Rotating, _) => (Growth::Slab, tokens),
        (growth, _) => (growth, tokens),
    }
}
