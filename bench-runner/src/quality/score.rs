//! The computing side: log-probabilities of the text's tokens, written as a reference or compared with one.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use candle_core::Device;
use contract::measurement::Quality;
use contract::statistics::Distribution;

use super::{Ask, Outcome, Purpose, text_name};
use crate::engine::{EngineError, Session};

/// Why quality could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum QualityError {
    /// The model failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The reference's file cannot be written or read.
    #[error("the reference's log-probabilities, {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A prediction is not a number.
    #[error("the logits after token {place} of the text are not finite")]
    NotFinite {
        /// The token's place in the text, from 0.
        place: usize,
    },
    /// Nothing was predicted.
    #[error("{tokens} tokens are too few to predict one of them; accepted: 4 or more")]
    Nothing {
        /// How many there are.
        tokens: usize,
    },
}

/// Computes what is asked with a loaded model.
///
/// # Errors
/// Where the model fails, predicts no numbers, or the reference's file cannot be used.
pub fn compute(session: &mut dyn Session, device: &Device, ask: &Ask) -> Result<Outcome, QualityError> {
    let file = |source| QualityError::File { path: ask.file.display().to_string(), source };
    match &ask.purpose {
        Purpose::Reference => {
            let out = File::options().write(true).truncate(true).open(&ask.file).map_err(file)?;
            let mut out = BufWriter::new(out);
            let mut bytes = Vec::new();
            each_prediction(session, device, ask, &mut |_, row| {
                bytes.clear();
                bytes.extend(row.iter().flat_map(|p| p.to_ne_bytes()));
                out.write_all(&bytes).map_err(file)
            })?;
            out.flush().map_err(file)?;
            Ok(Outcome::Written)
        }
        Purpose::Comparison { reference } => {
            let mut rows = Rows::open(&ask.file).map_err(file)?;
            let mut sums = Sums::default();
            each_prediction(session, device, ask, &mut |token, row| {
                let other = rows.next(row.len()).map_err(file)?;
                sums.add(row, other, token as usize);
                Ok(())
            })?;
            let quality = sums.quality(ask, reference, session.scores());
            quality
                .map(|quality| Outcome::Compared { quality })
                .ok_or(QualityError::Nothing { tokens: ask.text.ids.len() })
        }
    }
}

/// Takes a predicted token and the log-probabilities of its place.
type Take<'a> = dyn FnMut(u32, &[f32]) -> Result<(), QualityError> + 'a;

/// Gives `each` every predicted token with the log-probabilities of its place, window after window.
fn each_prediction(
    session: &mut dyn Session,
    device: &Device,
    ask: &Ask,
    each: &mut Take<'_>,
) -> Result<(), QualityError> {
    let text = &ask.text;
    if text.predicted() == 0 {
        return Err(QualityError::Nothing { tokens: text.ids.len() });
    }
    let mut row = Vec::new();
    for (index, window) in text.ids.chunks_exact(text.window).enumerate() {
        let mut given = window[..window.len() - 1].to_vec();
        if let (Some(begin), Some(first)) = (text.begin, given.first_mut()) {
            *first = begin;
        }
        let mut place = text.first();
        // What stopped it, beside the engine's own errors.
        let mut stopped = None;
        let scored = session.score(&given, place, device, &mut |logits| {
            let done = if log_probabilities(logits, &mut row) {
                each(window[place + 1], &row)
            } else {
                Err(QualityError::NotFinite { place: index * text.window + place })
            };
            place += 1;
            stopped = done.err();
            stopped.is_none()
        });
        if let Some(error) = stopped {
            return Err(error);
        }
        scored?;
    }
    Ok(())
}

/// Natural logarithms of the probabilities that `logits` give; false where they are not finite.
#[allow(clippy::cast_possible_truncation, reason = "kept in single precision, as logits are")]
fn log_probabilities(logits: &[f32], into: &mut Vec<f32>) -> bool {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|x| (f64::from(*x) - most).exp()).sum();
    let all = most + sum.ln();
    into.clear();
    into.extend(logits.iter().map(|x| (f64::from(*x) - all) as f32));
    all.is_finite()
}

/// Rows of a reference's file.
struct Rows {
    file: BufReader<File>,
    bytes: Vec<u8>,
    row: Vec<f32>,
}

impl Rows {
    fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: BufReader::new(File::open(path)?), bytes: Vec::new(), row: Vec::new() })
    }

    fn next(&mut self, vocabulary: usize) -> std::io::Result<&[f32]> {
        self.bytes.resize(vocabulary * 4, 0);
        self.file.read_exact(&mut self.bytes)?;
        self.row.clear();
        let numbers = self.bytes.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
        self.row.extend(numbers);
        Ok(&self.row)
    }
}

/// What is summed over predictions.
#[derive(Debug, Default)]
struct Sums {
    /// Negative log-likelihoods of the text's tokens.
    losses: Vec<f64>,
    /// The same, of the reference.
    reference_losses: Vec<f64>,
    divergences: Vec<f64>,
    agreed: u64,
}

impl Sums {
    fn add(&mut self, row: &[f32], reference: &[f32], token: usize) {
        let loss = |row: &[f32]| row.get(token).map_or(f64::INFINITY, |p| -f64::from(*p));
        self.losses.push(loss(row));
        self.reference_losses.push(loss(reference));
        let divergence = reference.iter().zip(row).map(|(p, q)| {
            let (p, q) = (f64::from(*p), f64::from(*q));
            // A probability of nothing adds nothing, whatever the other says.
            if p == f64::NEG_INFINITY { 0.0 } else { p.exp() * (p - q) }
        });
        self.divergences.push(divergence.sum());
        self.agreed += u64::from(likeliest(row) == likeliest(reference));
    }

    /// None where nothing was predicted.
    fn quality(&self, ask: &Ask, reference: &str, method: &str) -> Option<Quality> {
        let losses = Distribution::of(self.losses.iter().copied())?;
        let reference_losses = Distribution::of(self.reference_losses.iter().copied())?;
        let divergences = Distribution::of(self.divergences.iter().copied())?;
        let perplexity = losses.mean.exp();
        Some(Quality {
            perplexity,
            // First order, as perplexity.cpp has it: the standard error of the mean loss times the perplexity.
            perplexity_error: perplexity * losses.standard_deviation / f64::from(losses.n).sqrt(),
            reference_perplexity: reference_losses.mean.exp(),
            reference: reference.to_owned(),
            top1_agreement: self.agreed as f64 / f64::from(losses.n),
            kl_mean: divergences.mean,
            kl_p99: divergences.p99,
            tokens: u64::from(losses.n),
            window: ask.text.window as u64,
            text: text_name(),
            method: method.to_owned(),
        })
    }
}

/// The place of the largest; the first of equals.
fn likeliest(row: &[f32]) -> Option<usize> {
    let best = row.iter().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::{Sums, likeliest, log_probabilities};

    #[test]
    fn log_probabilities_sum_to_one_and_are_as_scipy_has_them() {
        let mut row = Vec::new();
        // scipy.special.log_softmax([1, 2, 3])
        assert!(log_probabilities(&[1.0, 2.0, 3.0], &mut row));
        for (got, want) in row.iter().zip([-2.407_606, -1.407_606, -0.407_606]) {
            assert!((got - want).abs() < 1e-6, "{got} is not {want}");
        }
        // Large logits overflow nothing.
        assert!(log_probabilities(&[1e30, 0.0], &mut row));
        assert!(row[0].abs() < 1e-12, "{}", row[0]);
        assert!(!log_probabilities(&[f32::NAN, 0.0], &mut row));
        assert!(!log_probabilities(&[f32::INFINITY, 0.0], &mut row));
    }

    #[test]
    fn divergence_is_that_of_the_definition() {
        // p = (1/2, 1/2), q = (1/4, 3/4): ½ ln(½ / ¼) + ½ ln(½ / ¾) = 0.143841.
        let ln = |values: [f32; 2]| values.map(f32::ln);
        let mut sums = Sums::default();
        sums.add(&ln([0.25, 0.75]), &ln([0.5, 0.5]), 1);
        assert!((sums.divergences[0] - 0.143_841).abs() < 1e-6, "{:?}", sums.divergences);
        assert!((sums.losses[0] + 0.75f64.ln()).abs() < 1e-6);
        assert!((sums.reference_losses[0] - 2f64.ln()).abs() < 1e-6);
        assert_eq!(sums.agreed, 0, "the first of equals is not the second");
        sums.add(&ln([0.5, 0.5]), &ln([0.5, 0.5]), 0);
        assert_eq!((sums.divergences[1], sums.agreed), (0.0, 1));
        // What the reference holds impossible weighs nothing.
        sums.add(&ln([0.5, 0.5]), &ln([1.0, 0.0]), 0);
        assert!((sums.divergences[2] - 2f64.ln()).abs() < 1e-6);
        assert_eq!(likeliest(&[]), None);
    }
}
