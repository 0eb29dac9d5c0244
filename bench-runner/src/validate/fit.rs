//! What was read off measurements, fitted again: on all rows, and with each model left out.
//!
//! No fit begins at the constants that estimates use, which have seen every model: it begins at several points of the wide range
//! that each constant's meaning allows ([`range`]), scans that range, and follows lines from there. A figure is close to linear
//! in each constant, so that a step is a weighted least-squares problem around the values found so far. Weights are the inverse
//! of the errors' size (iteratively reweighted least squares), which makes it the fit of least mean absolute error: the error
//! that is reported, and one that a single odd run does not decide. What equally good fits disagree about is not predicted.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use planner::engine::{Constant, Fitted};
use serde::Serialize;

use super::error_percent;

/// One fit, redone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FitReport {
    /// What the constants are of.
    pub what: &'static str,
    /// The component that they decide.
    pub component: &'static str,
    /// Rows whose figure depends on them.
    pub rows: usize,
    /// Models of these rows.
    pub models: usize,
    /// Mean absolute error with the constants that estimates use, in percent.
    pub used_error_percent: f64,
    /// The same with constants fitted to all rows.
    pub fitted_error_percent: f64,
    /// The same as reached from each start by itself: they agree where the search does not depend on its start.
    pub by_start_error_percent: Vec<f64>,
    /// What is left out: each model in turn or, of a single one, each run.
    pub left_out: LeftOut,
    /// The same with constants fitted without what is predicted; none where no row can be.
    pub left_out_error_percent: Option<f64>,
    /// The largest such error, with its sign.
    pub left_out_worst_percent: Option<f64>,
    /// Rows that were predicted so: not those about which equally good fits disagree, as where a constant shows in no other row.
    pub left_out_rows: usize,
    /// The constants.
    pub constants: Vec<FittedConstant>,
}

/// What is left out of a fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftOut {
    /// All rows of a model.
    Model,
    /// One row: there is only one model.
    Run,
}

/// A constant, in bytes, seconds or as a share, as its name in the planner says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FittedConstant {
    /// Which.
    pub constant: Constant,
    /// What estimates use.
    pub used: f64,
    /// What all rows together say; none where they leave it open.
    pub fitted: Option<f64>,
}

/// A figure of a row, as far as a fit needs it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    /// What was measured.
    pub(super) measured: f64,
    /// The row's model.
    pub(super) model: String,
}

/// Constants that are fitted together, and the figures that they are fitted to.
pub(super) struct Fit {
    /// What they are of.
    pub(super) what: &'static str,
    /// Engines whose rows count.
    pub(super) engines: &'static [&'static str],
    /// Start of the component's name.
    pub(super) component: &'static str,
    /// The constants.
    pub(super) constants: &'static [Constant],
}

/// Every fit.
pub(super) const FITS: [Fit; 8] = [
    Fit {
        what: "vLLM: CUDA graphs, bytes of a kernel node and of a graph",
        engines: &["vllm"],
        component: "cuda_graphs",
        constants: &[Constant::VllmGraphNode, Constant::VllmCapture],
    },
    Fit {
        what: "vLLM: memory outside tensors, by multiprocessors and tensor parallel ranks",
        engines: &["vllm"],
        component: "runtime",
        constants: &[
            Constant::VllmModules,
            Constant::VllmSpills,
            Constant::VllmCommunicator,
            Constant::VllmCommunicatorRank,
        ],
    },
    Fit {
        what: "TensorRT-LLM: memory outside tensors, and its growth with ranks",
        engines: &["tensorrt-llm"],
        component: "max_concurrent_sequences",
        constants: &[
            Constant::TensorRtOutside,
            Constant::TensorRtDoublingHopper,
            Constant::TensorRtDoublingBlackwell,
        ],
    },
    Fit {
        what: "Transformers, DeepSpeed (training): memory beyond counted tensors",
        engines: &["transformers", "deepspeed"],
        component: "total",
        constants: &[Constant::TrainerSlack],
    },
    Fit {
        what: "torchtitan: holes of the allocator",
        engines: &["torchtitan"],
        component: "total",
        constants: &[Constant::TorchtitanPool],
    },
    Fit {
        what: "LitGPT (serving): time of a launch and of the first call",
        engines: &["litgpt"],
        component: "tokens_per_second",
        constants: &[Constant::LitgptLaunch, Constant::LitgptFirstCall],
    },
    Fit {
        what: "Transformers (serving): time of a launch",
        engines: &["transformers"],
        component: "tokens_per_second",
        constants: &[Constant::TransformersLaunch],
    },
    Fit {
        what: "training speed: time of a launch, share of the dense rate by generation",
        engines: &["megatron", "torchtitan", "torchtune"],
        component: "tokens_per_second",
        constants: &[
            Constant::TrainingKernel,
            Constant::TrainingBlackwell,
            Constant::TrainingHopper,
            Constant::TrainingGeforce,
        ],
    },
];

/// Least and most that a constant's meaning allows, far apart on purpose: the only values that a fit begins from. None is read off
/// a measurement.
const fn range(constant: Constant) -> (f64, f64) {
    const MIB: f64 = 1_048_576.0;
    match constant {
        // A node holds at least its launch's arguments, hardly more than a large page of 64 KiB a few times over.
        Constant::VllmGraphNode => (1e3, 1e6),
        // From one allocation of the driver to a share of the GPU.
        Constant::VllmCapture | Constant::VllmCommunicatorRank => (MIB, 4096.0 * MIB),
        // A multiprocessor holds 2048 threads: from 8 bytes each to 32 KiB.
        Constant::VllmModules | Constant::VllmSpills => (MIB / 64.0, 64.0 * MIB),
        Constant::VllmCommunicator
        | Constant::TensorRtDoublingHopper
        | Constant::TensorRtDoublingBlackwell
        | Constant::TrainerSlack => (16.0 * MIB, 16384.0 * MIB),
        // A CUDA context alone takes a few hundred MiB.
        Constant::TensorRtOutside => (256.0 * MIB, 16384.0 * MIB),
        // From no holes to as many as tensors.
        Constant::TorchtitanPool => (1000.0, 2000.0),
        // The driver needs a microsecond; a millisecond is a slow interpreter's.
        Constant::LitgptLaunch | Constant::TransformersLaunch | Constant::TrainingKernel => (1e-6, 1e-3),
        Constant::LitgptFirstCall => (1e-2, 1e1),
        // Rates are printed for a boost that a card can exceed.
        Constant::TrainingBlackwell | Constant::TrainingHopper | Constant::TrainingGeforce => (0.05, 2.0),
    }
}

/// A constant's value at a share of its range, by the logarithm.
fn within(constant: Constant, share: f64) -> f64 {
    let (low, high) = range(constant);
    low * (high / low).powf(share)
}

/// Where fits begin, as shares of every constant's range.
const STARTS: [f64; 5] = [0.5, 0.15, 0.85, 0.3, 0.7];
/// Parts that a range is scanned in.
const PARTS: u32 = 24;
/// The same where two constants are scanned together.
const PAIR_PARTS: u32 = 8;
/// How far a constant is moved to see what depends on it, as a share of its value: wide enough for figures that are counts,
/// then near enough for those that bend.
const STEPS: [f64; 5] = [0.5, 0.2, 0.1, 0.02, 0.004];
/// Times that the figures are made linear around what was found, with each step.
const ROUNDS: usize = 12;
/// Reweighted solutions of one round.
const WEIGHINGS: usize = 40;
/// Relative errors below this weigh no more: a fit that goes through a point is not pinned to it.
const SMALL: f64 = 1e-4;
/// Fits whose mean relative errors differ by less are equally good.
const TIE: f64 = 1e-4;
/// Equally good fits agree about a figure where they differ by less than this share of what was measured.
const AGREED: f64 = 0.01;
/// And about a constant where they differ by less than this factor.
const AGREED_CONSTANT: f64 = 1.5;

/// Redoes a fit over `points`; none where fewer than two depend on its constants. `predict` gives a point's figure with
/// other constants.
pub(super) fn fit(
    fit: &Fit,
    points: &[Point],
    predict: impl Fn(usize, &Fitted) -> Option<f64>,
) -> Option<FitReport> {
    let used = Fitted::default();
    let problem = Problem::of(points, fit.constants, predict);
    let rows: Vec<usize> = (0..points.len()).filter(|&row| problem.counts(row)).collect();
    if rows.len() < 2 {
        return None;
    }
    let of_all = problem.solve(&rows);
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for &row in &rows {
        groups.entry(points[row].model.as_str()).or_default().push(row);
    }
    let models = groups.len();
    let (left_out, groups): (LeftOut, Vec<Vec<usize>>) = if models > 1 {
        (LeftOut::Model, groups.into_values().collect())
    } else {
        (LeftOut::Run, rows.iter().map(|&row| vec![row]).collect())
    };
    let mut errors = Vec::new();
    for group in &groups {
        let others: Vec<usize> = rows.iter().copied().filter(|row| !group.contains(row)).collect();
        let without = problem.solve(&others);
        let predicted = group.iter().filter(|&&row| problem.agree(row, &without.equal));
        errors.extend(predicted.map(|&row| problem.error(row, &without.best) * 100.0));
    }
    let percent = |fitted: &Fitted| problem.mean_error(&rows, fitted).map(|error| error * 100.0);
    Some(FitReport {
        what: fit.what,
        component: fit.component,
        rows: rows.len(),
        models,
        used_error_percent: percent(&used)?,
        fitted_error_percent: percent(&of_all.best)?,
        by_start_error_percent: of_all.by_start.iter().filter_map(percent).collect(),
        left_out,
        left_out_error_percent: mean(errors.iter().map(|e| e.abs())),
        left_out_worst_percent: errors.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())),
        left_out_rows: errors.len(),
        constants: fit
            .constants
            .iter()
            .map(|&constant| FittedConstant {
                constant,
                used: used.get(constant),
                fitted: of_all.settled(constant),
            })
            .collect(),
    })
}

/// What a search found.
struct Solution {
    /// Values of least error.
    best: Fitted,
    /// Those and others that are as good.
    equal: Vec<Fitted>,
    /// What was reached from each start.
    by_start: Vec<Fitted>,
}

impl Solution {
    /// A constant's value, if all fits that are as good agree about it.
    fn settled(&self, constant: Constant) -> Option<f64> {
        let values = || self.equal.iter().map(|fitted| fitted.get(constant));
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
        (high <= low * AGREED_CONSTANT).then(|| self.best.get(constant))
    }
}

struct Problem<'a, P> {
    points: &'a [Point],
    constants: &'a [Constant],
    /// Constants that a point's figure depends on anywhere in their ranges.
    needs: Vec<Vec<Constant>>,
    predict: P,
    /// Errors by point and the values that it needs: fits with one model or another left out ask for the same again.
    known: RefCell<HashMap<(usize, Vec<u64>), f64>>,
}

impl<'a, P: Fn(usize, &Fitted) -> Option<f64>> Problem<'a, P> {
    fn of(points: &'a [Point], constants: &'a [Constant], predict: P) -> Self {
        let needs = (0..points.len())
            .map(|row| {
                let moves = |&constant: &Constant| {
                    STARTS.iter().any(|&share| {
                        let start = at(constants, share);
                        let base = predict(row, &start);
                        STARTS.iter().any(|&other| {
                            differ(base, predict(row, &start.with(constant, within(constant, other))))
                        })
                    })
                };
                constants.iter().copied().filter(moves).collect()
            })
            .collect();
        Self { points, constants, needs, predict, known: RefCell::default() }
    }

    /// Whether a point's figure depends on a constant near the values that estimates use: those are the rows that they decide.
    fn counts(&self, row: usize) -> bool {
        let used = Fitted::default();
        let base = (self.predict)(row, &used);
        base.is_some()
            && self.needs[row].iter().any(|&constant| {
                let moved = (self.predict)(row, &used.with(constant, used.get(constant) * 1.5));
                moved.is_some() && differ(base, moved)
            })
    }

    /// Error of a point as a share of what was measured; a plan that is refused answers 0.
    fn error(&self, row: usize, fitted: &Fitted) -> f64 {
        let key = (row, self.needs[row].iter().map(|&c| fitted.get(c).to_bits()).collect());
        if let Some(&error) = self.known.borrow().get(&key) {
            return error;
        }
        let figure = (self.predict)(row, fitted).unwrap_or(0.0);
        let error = error_percent(self.points[row].measured, figure) / 100.0;
        self.known.borrow_mut().insert(key, error);
        error
    }

    fn mean_error(&self, rows: &[usize], fitted: &Fitted) -> Option<f64> {
        mean(rows.iter().map(|&row| self.error(row, fitted).abs()))
    }

    /// What a search makes least: the mean absolute error, rounded at its kinks so that of equal fits one is best.
    fn cost(&self, rows: &[usize], fitted: &Fitted) -> f64 {
        mean(rows.iter().map(|&row| self.error(row, fitted).hypot(SMALL))).unwrap_or(f64::INFINITY)
    }

    /// Whether all of `fits` say the same of a point.
    fn agree(&self, row: usize, fits: &[Fitted]) -> bool {
        let errors = || fits.iter().map(|fitted| self.error(row, fitted));
        errors().fold(f64::NEG_INFINITY, f64::max) - errors().fold(f64::INFINITY, f64::min) < AGREED
    }

    /// Values of least mean absolute error over `rows`, from every start.
    fn solve(&self, rows: &[usize]) -> Solution {
        let by_start: Vec<Fitted> =
            STARTS.iter().map(|&share| self.descend(rows, at(self.constants, share))).collect();
        let least = |fits: &[Fitted]| {
            fits.iter()
                .map(|fitted| (self.cost(rows, fitted), *fitted))
                .min_by(|a, b| a.0.total_cmp(&b.0))
                .unwrap_or((f64::INFINITY, at(self.constants, STARTS[0])))
        };
        let (cost, best) = least(&by_start);
        // A constant that these rows say nothing of can be anything, and one that others make up for nearly so.
        let moved = self.constants.iter().flat_map(|&constant| {
            let free: Vec<Constant> = self.constants.iter().copied().filter(|&c| c != constant).collect();
            let near = [0.5, 2.0].map(|factor| bounded(constant, best.get(constant) * factor));
            let far = STARTS.map(|share| within(constant, share));
            near.into_iter().chain(far).map(move |value| {
                let moved = best.with(constant, value);
                let mut made_up = (self.cost(rows, &moved), moved);
                for _ in 0..3 {
                    self.follow_lines(rows, &mut made_up, STEPS[2], &free);
                }
                made_up.1
            })
        });
        let equal = by_start
            .iter()
            .copied()
            .chain(moved)
            .filter(|fitted| self.cost(rows, fitted) <= cost + TIE)
            .collect();
        Solution { best, equal, by_start }
    }

    /// Values of least cost that are found from `start`.
    fn descend(&self, rows: &[usize], start: Fitted) -> Fitted {
        let mut best = (self.cost(rows, &start), start);
        // One constant can hide what another decides (the slower of host and GPU): pairs first, then each by itself.
        for (index, &one) in self.constants.iter().enumerate() {
            for &other in &self.constants[index + 1..] {
                for (part, beside) in (0..=PAIR_PARTS).flat_map(|a| (0..=PAIR_PARTS).map(move |b| (a, b))) {
                    let value = |constant, part| within(constant, f64::from(part) / f64::from(PAIR_PARTS));
                    let moved = best.1.with(one, value(one, part)).with(other, value(other, beside));
                    self.take_better(rows, &mut best, moved);
                }
            }
        }
        for &constant in self.constants {
            for part in 0..=PARTS {
                let moved = best.1.with(constant, within(constant, f64::from(part) / f64::from(PARTS)));
                self.take_better(rows, &mut best, moved);
            }
        }
        for step in STEPS {
            for _ in 0..ROUNDS {
                let before = best.0;
                self.follow_lines(rows, &mut best, step, self.constants);
                for &constant in self.constants {
                    for factor in [1.0 - step, 1.0 + step] {
                        let moved = bounded(constant, best.1.get(constant) * factor);
                        let other = best.1.with(constant, moved);
                        self.take_better(rows, &mut best, other);
                    }
                }
                if before - best.0 < 1e-7 {
                    break;
                }
            }
        }
        best.1
    }

    fn take_better(&self, rows: &[usize], best: &mut (f64, Fitted), other: Fitted) -> bool {
        let cost = self.cost(rows, &other);
        let better = cost < best.0;
        if better {
            *best = (cost, other);
        }
        better
    }

    /// One step of the constants that are `free` to where the lines through the figures have their least error. They are no more than near: a step that makes it
    /// worse is halved.
    fn follow_lines(&self, rows: &[usize], best: &mut (f64, Fitted), step: f64, free: &[Constant]) {
        let (here, slopes) = self.linear(rows, &best.1, step, free);
        let shares = least_absolute(&here, &slopes);
        let from = best.1;
        for halvings in 0..6 {
            let length = 0.5_f64.powi(halvings);
            let moved = free.iter().zip(&shares).fold(from, |moved, (&constant, share)| {
                moved.with(constant, bounded(constant, from.get(constant) * (1.0 + share * length)))
            });
            if self.take_better(rows, best, moved) {
                return;
            }
        }
    }

    /// Relative errors of `rows`, and how they change where each constant that is `free` grows by its own size.
    fn linear(&self, rows: &[usize], at: &Fitted, step: f64, free: &[Constant]) -> (Vec<f64>, Vec<Vec<f64>>) {
        rows.iter()
            .map(|&row| {
                let slope = |&constant: &Constant| {
                    let moved =
                        |share: f64| self.error(row, &at.with(constant, at.get(constant) * (1.0 + share)));
                    (moved(step) - moved(-step)) / (2.0 * step)
                };
                (self.error(row, at), free.iter().map(slope).collect::<Vec<f64>>())
            })
            .unzip()
    }
}

/// Every constant at the same share of its range.
fn at(constants: &[Constant], share: f64) -> Fitted {
    constants.iter().fold(Fitted::default(), |start, &constant| start.with(constant, within(constant, share)))
}

fn bounded(constant: Constant, value: f64) -> f64 {
    let (low, high) = range(constant);
    value.clamp(low, high)
}

fn differ(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() > f64::EPSILON * a.abs(),
        (a, b) => a.is_some() != b.is_some(),
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0u32);
    for value in values {
        sum += value;
        n += 1;
    }
    (n > 0).then(|| sum / f64::from(n))
}

/// The shares by which constants must grow so that `here + slopes · shares` is least in the mean of its absolute values.
fn least_absolute(here: &[f64], slopes: &[Vec<f64>]) -> Vec<f64> {
    let count = slopes.first().map_or(0, Vec::len);
    let mut shares = vec![0.0; count];
    for _ in 0..WEIGHINGS {
        let mut matrix = vec![vec![0.0; count]; count];
        let mut right = vec![0.0; count];
        for (&error, slope) in here.iter().zip(slopes) {
            let now = error + slope.iter().zip(&shares).map(|(a, b)| a * b).sum::<f64>();
            let weight = 1.0 / now.abs().max(SMALL);
            for i in 0..count {
                for j in 0..count {
                    matrix[i][j] += weight * slope[i] * slope[j];
                }
                right[i] -= weight * slope[i] * error;
            }
        }
        shares = solve(matrix, right);
    }
    shares
}

/// The solution of a symmetric system by elimination with pivots; 0 where a column decides nothing.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let count = right.len();
    let scale = (0..count).map(|i| matrix[i][i].abs()).fold(0.0, f64::max);
    let mut pivots = vec![None; count];
    let mut used = vec![false; count];
    for column in 0..count {
        let pivot = (0..count)
            .filter(|&row| !used[row])
            .max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs()));
        let Some(pivot) = pivot.filter(|&row| matrix[row][column].abs() > 1e-9 * scale) else { continue };
        used[pivot] = true;
        pivots[column] = Some(pivot);
        let line = matrix[pivot].clone();
        let of_line = right[pivot];
        for row in (0..count).filter(|&row| row != pivot) {
            let factor = matrix[row][column] / line[column];
            for (cell, above) in matrix[row].iter_mut().zip(&line) {
                *cell -= factor * above;
            }
            right[row] -= factor * of_line;
        }
    }
    (0..count).map(|column| pivots[column].map_or(0.0, |row| right[row] / matrix[row][column])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Fit = Fit {
        what: "two constants",
        engines: &["vllm"],
        component: "runtime",
        constants: &[Constant::VllmModules, Constant::VllmSpills],
    };

    /// Figures that follow `modules · a + spills · b`, measured with other constants than those that are used.
    fn report(rows: &[(&str, f64, f64, f64)]) -> FitReport {
        let points: Vec<Point> =
            rows.iter().map(|&(model, _, _, measured)| Point { measured, model: model.to_owned() }).collect();
        fit(&TWO, &points, |row, fitted| {
            let (_, a, b, _) = rows[row];
            Some(fitted.get(Constant::VllmModules) * a + fitted.get(Constant::VllmSpills) * b)
        })
        .unwrap()
    }

    fn near(a: f64, b: f64) -> bool {
        (a / b - 1.0).abs() < 1e-5
    }

    #[test]
    fn constants_are_found_again_and_predict_what_was_left_out() {
        // Measured with 3 and 5 million bytes.
        let of = |a: f64, b: f64| 3e6 * a + 5e6 * b;
        let shapes = [("one", 1.0, 0.0), ("one", 2.0, 1.0), ("two", 4.0, 1.0), ("three", 1.0, 3.0)];
        let rows = shapes.map(|(model, a, b)| (model, a, b, of(a, b)));
        let report = report(&rows);
        assert!(near(report.constants[0].fitted.unwrap(), 3e6), "{report:?}");
        assert!(near(report.constants[1].fitted.unwrap(), 5e6), "{report:?}");
        assert!(report.used_error_percent > 10.0 && report.fitted_error_percent < 1e-3);
        assert!(report.left_out_error_percent.unwrap() < 1e-3);
        assert_eq!((report.rows, report.models, report.left_out_rows), (4, 3, 4));
        assert_eq!(report.left_out, LeftOut::Model);
    }

    #[test]
    fn one_odd_run_does_not_decide() {
        let mut rows = [1.0, 2.0, 3.0, 4.0, 5.0].map(|a| ("m", a, 0.0, 3e6 * a));
        rows[4].3 *= 2.0;
        let report = report(&rows);
        assert!((report.constants[0].fitted.unwrap() / 3e6 - 1.0).abs() < 1e-3, "{report:?}");
        assert_eq!(report.constants[1].fitted, None, "nothing depends on it");
        assert_eq!((report.left_out, report.left_out_rows), (LeftOut::Run, 5));
        assert!((report.left_out_worst_percent.unwrap() + 50.0).abs() < 0.1, "{report:?}");
    }

    #[test]
    fn what_no_other_model_says_is_not_predicted() {
        // Spills are seen in one model alone: without it nothing is known of them.
        let rows =
            [("one", 1.0, 0.0, 3e6), ("two", 2.0, 0.0, 6e6), ("odd", 1.0, 1.0, 8e6), ("odd", 3.0, 0.0, 9e6)];
        let report = report(&rows);
        assert_eq!((report.rows, report.left_out_rows), (4, 3));
        assert!(report.left_out_error_percent.unwrap() < 1e-3, "{report:?}");
    }

    #[test]
    fn what_only_a_sum_is_known_of_predicts_that_sum() {
        // The others say what both together take, not each: the sum again is predicted, another mixture is not.
        let rows = [
            ("one", 1.0, 1.0, 8e6),
            ("two", 2.0, 2.0, 16e6),
            ("three", 3.0, 3.0, 24e6),
            ("odd", 1.0, 3.0, 18e6),
            ("odd", 4.0, 4.0, 32e6),
        ];
        let report = report(&rows);
        assert_eq!((report.rows, report.left_out_rows), (5, 4), "{report:?}");
        assert!(report.left_out_error_percent.unwrap() < 0.1, "{report:?}");
    }

    #[test]
    fn the_start_does_not_decide() {
        // Speeds bend: the slower of host and GPU decides, and none of these rows is met exactly.
        const SPEED: Fit = Fit {
            what: "speed",
            engines: &["torchtune"],
            component: "tokens_per_second",
            constants: &[Constant::TrainingKernel, Constant::TrainingHopper],
        };
        let rows = [(1e5, 0.2, 0.45), (2e4, 1.0, 0.7), (5e4, 0.1, 1.0), (4e3, 0.9, 0.68), (9e4, 4.0, 0.16)];
        let points: Vec<Point> =
            rows.iter().map(|&(_, _, measured)| Point { measured, model: measured.to_string() }).collect();
        let predict = |row: usize, fitted: &Fitted| {
            let (kernels, products, _) = rows[row];
            let host: f64 = kernels * fitted.get(Constant::TrainingKernel);
            Some(1.0 / host.max(products / fitted.get(Constant::TrainingHopper)))
        };
        let problem = Problem::of(&points, SPEED.constants, predict);
        let all: Vec<usize> = (0..rows.len()).collect();
        let found: Vec<f64> = [0.0, 0.3, 0.6, 1.0]
            .map(|share| problem.descend(&all, at(SPEED.constants, share)))
            .iter()
            .map(|fitted| problem.mean_error(&all, fitted).unwrap())
            .collect();
        assert!(found.iter().all(|error| *error > 0.001 && (error - found[0]).abs() < 1e-4), "{found:?}");
    }

    #[test]
    fn what_estimates_use_is_within_the_ranges() {
        for constant in Constant::ALL {
            let (low, high) = range(constant);
            let used = Fitted::default().get(constant);
            assert!(low < used && used < high, "{constant:?}: {used} is not in {low}..{high}");
        }
    }

    #[test]
    fn too_few_rows_are_no_fit() {
        let point = Point { measured: 1.0, model: "m".into() };
        assert_eq!(fit(&TWO, std::slice::from_ref(&point), |_, f| Some(f.get(Constant::VllmModules))), None);
        assert_eq!(fit(&TWO, &[point.clone(), point], |_, _| Some(1.0)), None, "nothing depends on them");
    }

    #[test]
    fn every_constant_is_fitted_once() {
        let mut fitted: Vec<Constant> = FITS.iter().flat_map(|f| f.constants).copied().collect();
        assert_eq!(fitted.len(), Constant::ALL.len());
        fitted.sort_by_key(|c| *c as usize);
        assert_eq!(fitted, Constant::ALL);
    }
}
