//! What was read off measurements, fitted again: on all rows, and with each model left out.
//!
//! A figure is close to linear in each constant, so that a fit is a weighted least-squares problem around the values found so
//! far. Weights are the inverse of the errors' size (iteratively reweighted least squares), which makes it the fit of least
//! mean absolute error: the error that is reported, and one that a single odd run does not decide.

use std::collections::BTreeMap;

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
    /// What is left out: each model in turn or, of a single one, each run.
    pub left_out: LeftOut,
    /// The same with constants fitted without what is predicted; none where no row can be.
    pub left_out_error_percent: Option<f64>,
    /// The largest such error, with its sign.
    pub left_out_worst_percent: Option<f64>,
    /// Rows that were predicted so: a constant that no other row depends on predicts none.
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
    /// What all rows together say.
    pub fitted: f64,
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

/// How far a constant is moved to see what depends on it, as a share of its value: wide enough for figures that are counts.
const STEP: f64 = 0.1;
/// Times that the figures are made linear around what was found.
const ROUNDS: usize = 3;
/// Reweighted solutions of one round.
const WEIGHINGS: usize = 40;
/// Relative errors below this weigh no more: a fit that goes through a point is not pinned to it.
const SMALL: f64 = 1e-3;

/// Redoes a fit over `points`; none where fewer than two depend on its constants. `predict` gives a point's figure with
/// other constants.
pub(super) fn fit(
    fit: &Fit,
    points: &[Point],
    predict: impl Fn(usize, &Fitted) -> Option<f64>,
) -> Option<FitReport> {
    let used = Fitted::default();
    let problem = Problem { points, constants: fit.constants, predict };
    let rows: Vec<usize> = (0..points.len()).filter(|&row| !problem.needs(row).is_empty()).collect();
    if rows.len() < 2 {
        return None;
    }
    let fitted = problem.solve(&rows, used);
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
        let known: Vec<Constant> = others.iter().flat_map(|&row| problem.needs(row)).collect();
        let without = problem.solve(&others, used);
        let predicted = group.iter().filter(|&&row| problem.needs(row).iter().all(|c| known.contains(c)));
        errors.extend(predicted.filter_map(|&row| problem.error(row, &without)));
    }
    Some(FitReport {
        what: fit.what,
        component: fit.component,
        rows: rows.len(),
        models,
        used_error_percent: problem.mean_error(&rows, &used)?,
        fitted_error_percent: problem.mean_error(&rows, &fitted)?,
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
                fitted: fitted.get(constant),
            })
            .collect(),
    })
}

struct Problem<'a, P> {
    points: &'a [Point],
    constants: &'a [Constant],
    predict: P,
}

impl<P: Fn(usize, &Fitted) -> Option<f64>> Problem<'_, P> {
    /// The constants that a point's figure depends on.
    fn needs(&self, row: usize) -> Vec<Constant> {
        let used = Fitted::default();
        let Some(base) = (self.predict)(row, &used) else { return Vec::new() };
        let moves = |&constant: &Constant| {
            let moved = used.with(constant, used.get(constant) * (1.0 + 5.0 * STEP));
            (self.predict)(row, &moved)
                .is_some_and(|figure| (figure - base).abs() > f64::EPSILON * base.abs())
        };
        self.constants.iter().copied().filter(moves).collect()
    }

    /// Error of a point in percent of what was measured.
    fn error(&self, row: usize, fitted: &Fitted) -> Option<f64> {
        Some(error_percent(self.points[row].measured, (self.predict)(row, fitted)?))
    }

    fn mean_error(&self, rows: &[usize], fitted: &Fitted) -> Option<f64> {
        mean(rows.iter().filter_map(|&row| self.error(row, fitted)).map(f64::abs))
    }

    /// Values of least mean absolute error over `rows`; a constant on which none of them depends stays as it is.
    fn solve(&self, rows: &[usize], start: Fitted) -> Fitted {
        let mut best = (self.mean_error(rows, &start).unwrap_or(f64::INFINITY), start);
        for _ in 0..ROUNDS {
            let (here, slopes) = self.linear(rows, &best.1);
            let shares = least_absolute(&here, &slopes);
            // The line is no more than near: a step that makes it worse is halved.
            let next = (0..6).map(|halvings| 0.5_f64.powi(halvings)).find_map(|length| {
                let mut moved = best.1;
                for (&constant, share) in self.constants.iter().zip(&shares) {
                    moved = moved.with(constant, (best.1.get(constant) * (1.0 + share * length)).max(0.0));
                }
                let error = self.mean_error(rows, &moved)?;
                (error < best.0).then_some((error, moved))
            });
            let Some(next) = next else { break };
            best = next;
        }
        best.1
    }

    /// Relative errors of `rows`, and how they change where each constant grows by its own size.
    fn linear(&self, rows: &[usize], at: &Fitted) -> (Vec<f64>, Vec<Vec<f64>>) {
        let relative = |row: usize, fitted: &Fitted| self.error(row, fitted).map(|percent| percent / 100.0);
        rows.iter()
            .filter_map(|&row| {
                let here = relative(row, at)?;
                let slopes = self
                    .constants
                    .iter()
                    .map(|&constant| {
                        let moved =
                            |share: f64| relative(row, &at.with(constant, at.get(constant) * (1.0 + share)));
                        Some((moved(STEP)? - moved(-STEP)?) / (2.0 * STEP))
                    })
                    .collect::<Option<Vec<f64>>>()?;
                Some((here, slopes))
            })
            .unzip()
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
        (a / b - 1.0).abs() < 1e-6
    }

    #[test]
    fn constants_are_found_again_and_predict_what_was_left_out() {
        // Measured with 3 and 5 million bytes.
        let of = |a: f64, b: f64| 3e6 * a + 5e6 * b;
        let shapes = [("one", 1.0, 0.0), ("one", 2.0, 1.0), ("two", 4.0, 1.0), ("three", 1.0, 3.0)];
        let rows = shapes.map(|(model, a, b)| (model, a, b, of(a, b)));
        let report = report(&rows);
        assert!(near(report.constants[0].fitted, 3e6), "{report:?}");
        assert!(near(report.constants[1].fitted, 5e6), "{report:?}");
        assert!(report.used_error_percent > 10.0 && report.fitted_error_percent < 1e-6);
        assert!(report.left_out_error_percent.unwrap() < 1e-6);
        assert_eq!((report.rows, report.models, report.left_out_rows), (4, 3, 4));
        assert_eq!(report.left_out, LeftOut::Model);
    }

    #[test]
    fn one_odd_run_does_not_decide() {
        let mut rows = [1.0, 2.0, 3.0, 4.0, 5.0].map(|a| ("m", a, 0.0, 3e6 * a));
        rows[4].3 *= 2.0;
        let report = report(&rows);
        assert!((report.constants[0].fitted / 3e6 - 1.0).abs() < 1e-3, "{report:?}");
        assert!(near(report.constants[1].fitted, report.constants[1].used), "nothing depends on it");
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
        assert!(report.left_out_error_percent.unwrap() < 1e-6, "{report:?}");
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
