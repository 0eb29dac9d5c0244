//! Is it worth quantizing?

use super::{Planned, Reader, Refused, served};
use crate::document::plan::EngineName;
use crate::document::precision::WeightPrecision as P;
use crate::error::PlanError;
use crate::solve::ParetoPoint;

/// Precisions by engine, 16 bits first: what the others are held against.
const HELD: [(EngineName, &[P]); 3] = [
    (EngineName::Vllm, &[P::Bf16, P::Fp8, P::W8a8, P::Int4G128]),
    (
        EngineName::LlamaCpp,
        &[P::GgufBf16, P::GgufQ8_0, P::GgufQ6K, P::GgufQ5KM, P::GgufQ4KM, P::GgufQ3KM, P::GgufQ2K],
    ),
    (EngineName::Transformers, &[P::Bf16, P::Nf4Dq]),
];

/// What precisions trade for each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Trades {
    /// By engine, 16 bits first.
    pub rows: Vec<Trade>,
    /// The precisions that were not planned.
    pub refused: Vec<Refused>,
}

/// One precision in one engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Trade {
    /// The engine.
    pub engine: EngineName,
    /// How the weights are held.
    pub weights: P,
    /// For one reader.
    pub one: Planned,
    /// For as many as were asked for.
    pub many: Planned,
    /// Whether no other of these precisions in the engine beats it in all of memory, speed for one reader and quality.
    pub undominated: bool,
}

impl Trade {
    fn point(&self) -> ParetoPoint {
        let estimate = &self.one.estimate;
        ParetoPoint {
            weights: self.weights,
            needed_bytes: self.one.needed(),
            tokens_per_second: estimate.speed.as_ref().map(|speed| speed.tokens_per_second),
            quality: estimate.quality.clone(),
            fits: estimate.fits,
        }
    }

    /// Tokens a second of all sequences: for one reader, and for as many as were asked for.
    #[must_use]
    pub fn speeds(&self) -> Option<(f64, f64)> {
        let of = |planned: &Planned| planned.estimate.speed.as_ref().map(|speed| speed.tokens_per_second);
        of(&self.one).zip(of(&self.many))
    }
}

impl Trades {
    /// The row of a precision in an engine.
    #[must_use]
    pub fn of(&self, engine: EngineName, weights: P) -> Option<&Trade> {
        self.rows.iter().find(|row| row.engine == engine && row.weights == weights)
    }

    /// 16 bits in a row's engine.
    #[must_use]
    pub fn sixteen(&self, engine: EngineName) -> Option<&Trade> {
        self.rows.iter().find(|row| row.engine == engine && matches!(row.weights, P::Bf16 | P::GgufBf16))
    }
}

/// What precisions trade for the reader's model on the reader's card, for one sequence and for as many as were asked for.
///
/// # Errors
/// A value of the reader's that is unknown; where no engine takes the model, why the first does not.
pub fn trades(reader: &Reader) -> Result<Trades, PlanError> {
    reader.model()?;
    let (mut rows, mut refused) = (Vec::new(), Vec::new());
    for (engine, precisions) in HELD {
        let mut held = Vec::new();
        for &weights in precisions {
            let at =
                |batch: u64| Planned::of(served(reader.place(), engine, weights, reader.context, batch)?);
            match at(1).and_then(|one| Ok((one, at(reader.batch)?))) {
                Ok((one, many)) => held.push(Trade { engine, weights, one, many, undominated: false }),
                Err(error) => refused.push(Refused { engine, weights, error }),
            }
        }
        let points: Vec<ParetoPoint> = held.iter().map(Trade::point).collect();
        for (trade, point) in held.iter_mut().zip(&points) {
            trade.undominated = !points.iter().any(|other| other.beats(point));
        }
        rows.append(&mut held);
    }
    if rows.is_empty() {
        return Err(refused.swap_remove(0).error);
    }
    Ok(Trades { rows, refused })
}
