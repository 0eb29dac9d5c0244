//! How far two sets of figures are apart, and whether that is more than their scatter.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// How the interval of a difference between two sets of repetitions is computed.
pub const DIFFERENCE_METHOD: &str = "ratio of geometric means with Welch's 95 % t interval on the logarithms of the \
                                     repetitions (Welch 1947, Biometrika 34, 28–35)";
/// How differences of several cases are put together.
pub const MEAN_METHOD: &str = "geometric mean of the cases' ratios (Fleming and Wallace 1986, CACM 29, 218–221) with \
                               Student's 95 % t interval on their logarithms";

/// Quantile of a two-sided interval that covers 95 %.
const UPPER: f64 = 0.975;

/// How much larger one thing is than another, in percent of the other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The difference in percent; negative where it is smaller.
    pub percent: f64,
    /// Its 95 % interval; none where there are too few figures for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
}

/// An interval in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Difference {
    /// Of `after` from `before`, as [`DIFFERENCE_METHOD`] says; none where either has no positive figure. Without an
    /// interval where either has one figure only.
    #[must_use]
    pub fn between(before: &[f64], after: &[f64]) -> Option<Self> {
        let (a, b) = (Moments::of_logarithms(before)?, Moments::of_logarithms(after)?);
        Some(Self::of_logarithm(b.mean - a.mean, welch(a, b)))
    }

    /// The geometric mean of several differences, as [`MEAN_METHOD`] says; none where there are none. Without an interval
    /// where there is one only.
    #[must_use]
    pub fn mean(differences: impl IntoIterator<Item = Self>) -> Option<Self> {
        let ratios: Vec<f64> = differences.into_iter().map(|d| 1.0 + d.percent / 100.0).collect();
        let moments = Moments::of_logarithms(&ratios)?;
        let margin = (moments.n > 1.0)
            .then(|| margin((moments.variance / moments.n).sqrt(), moments.n - 1.0))
            .flatten();
        Some(Self::of_logarithm(moments.mean, margin))
    }

    /// From a difference of logarithms and the margin on either side of it.
    fn of_logarithm(difference: f64, margin: Option<f64>) -> Self {
        let percent = |logarithm: f64| 100.0 * logarithm.exp_m1();
        Self {
            percent: percent(difference),
            interval: margin.map(|margin| Interval {
                low: percent(difference - margin),
                high: percent(difference + margin),
            }),
        }
    }

    /// Whether it may as well be nothing: the interval covers zero.
    #[must_use]
    pub fn is_noise(&self) -> bool {
        self.interval.is_some_and(|i| i.low <= 0.0 && i.high >= 0.0)
    }
}

/// Mean and sample variance of some figures.
#[derive(Debug, Clone, Copy)]
struct Moments {
    n: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    /// Of the logarithms of what is positive and finite; none where nothing is.
    fn of_logarithms(figures: &[f64]) -> Option<Self> {
        let logarithms: Vec<f64> =
            figures.iter().filter(|x| x.is_finite() && **x > 0.0).map(|x| x.ln()).collect();
        let n = logarithms.len() as f64;
        let mean = logarithms.iter().sum::<f64>() / n;
        let squares: f64 = logarithms.iter().map(|x| (x - mean).powi(2)).sum();
        (n > 0.0).then_some(Self { n, mean, variance: if n > 1.0 { squares / (n - 1.0) } else { 0.0 } })
    }
}

/// Half the length of Welch's interval for the difference of two means; none where either is of one figure.
fn welch(a: Moments, b: Moments) -> Option<f64> {
    if a.n < 2.0 || b.n < 2.0 {
        return None;
    }
    let (of_a, of_b) = (a.variance / a.n, b.variance / b.n);
    let freedom = (of_a + of_b).powi(2) / (of_a.powi(2) / (a.n - 1.0) + of_b.powi(2) / (b.n - 1.0));
    margin((of_a + of_b).sqrt(), freedom)
}

/// Half the length of a 95 % t interval; 0 where nothing scatters.
fn margin(standard_error: f64, freedom: f64) -> Option<f64> {
    if standard_error == 0.0 {
        return Some(0.0);
    }
    let distribution = StudentsT::new(0.0, 1.0, freedom).ok().filter(|_| freedom.is_finite())?;
    Some(standard_error * distribution.inverse_cdf(UPPER))
}

#[cfg(test)]
mod tests {
    use super::{Difference, Interval, margin};

    fn close(got: f64, want: f64, within: f64) {
        assert!((got - want).abs() <= within, "{got} is not {want}");
    }

    #[test]
    fn quantiles_are_those_of_the_printed_tables() {
        // NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2, column 0.975.
        for (freedom, want) in [
            (1.0, 12.706),
            (2.0, 4.303),
            (3.0, 3.182),
            (5.0, 2.571),
            (10.0, 2.228),
            (30.0, 2.042),
            (100.0, 1.984),
        ] {
            close(margin(1.0, freedom).unwrap(), want, 5e-4);
        }
    }

    /// The first example of Wikipedia's "Welch's t-test": t = −2.46 with 25.0 degrees of freedom, so that the interval is
    /// 2.1667 ± 2.0596 · 0.88242. Its figures stand for logarithms here.
    #[test]
    fn two_sets_are_apart_as_welch_has_it() {
        let a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4];
        let b = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4];
        let difference = Difference::between(&a.map(f64::exp), &b.map(f64::exp)).unwrap();
        let logarithm = |percent: f64| (1.0 + percent / 100.0).ln();
        let interval = difference.interval.unwrap();
        close(logarithm(difference.percent), 2.166_667, 1e-6);
        close(logarithm(interval.low), 0.349_2, 1e-3);
        close(logarithm(interval.high), 3.984_1, 1e-3);
        assert!(!difference.is_noise());
    }

    #[test]
    fn what_is_within_the_scatter_is_noise() {
        let slow = [99.0, 101.0, 100.0];
        for (figures, percent, noise) in [
            (&[99.5, 101.5, 100.5][..], 0.5, true),
            (&[110.0, 109.0, 111.0], 10.0, false),
            (&[90.0, 91.0, 89.0], -10.0, false),
            (&[100.0, 101.0, 99.0], 0.0, true),
            // One figure has no scatter to be within.
            (&[100.2], 0.2, false),
        ] {
            let difference = Difference::between(&slow, figures).unwrap();
            close(difference.percent, percent, 0.02);
            assert_eq!(difference.is_noise(), noise, "{difference:?}");
            assert_eq!(difference.interval.is_some(), figures.len() > 1);
        }
        let same = Difference::between(&[5.0, 5.0], &[5.0, 5.0]).unwrap();
        assert_eq!((same.percent, same.interval), (0.0, Some(Interval { low: 0.0, high: 0.0 })));
        for (before, after) in [(&[][..], &[1.0][..]), (&[1.0], &[0.0, f64::NAN])] {
            assert_eq!(Difference::between(before, after), None);
        }
    }

    /// Ratios 2 and ½ make 1, and 1.1 thrice 1.1; of 1, 2 and 4 the mean is 2 and the interval a factor of
    /// exp(4.303 · ln 2 / √3) on either side.
    #[test]
    fn several_differences_have_a_geometric_mean() {
        let of = |percents: &[f64]| {
            Difference::mean(percents.iter().map(|p| Difference { percent: *p, interval: None }))
        };
        close(of(&[100.0, -50.0]).unwrap().percent, 0.0, 1e-9);
        assert!(of(&[100.0, -50.0]).unwrap().is_noise());
        let same = of(&[10.0; 3]).unwrap();
        close(same.percent, 10.0, 1e-9);
        assert!(!same.is_noise());
        let spread = of(&[0.0, 100.0, 300.0]).unwrap();
        let factor = (4.302_65 * 2f64.ln() / 3f64.sqrt()).exp();
        close(spread.percent, 100.0, 1e-9);
        close(spread.interval.unwrap().low, 100.0 * (2.0 / factor - 1.0), 1e-2);
        close(spread.interval.unwrap().high, 100.0 * (2.0 * factor - 1.0), 1e-2);
        assert_eq!(of(&[5.0]).unwrap().interval, None);
        assert_eq!(of(&[]), None);
    }
}
