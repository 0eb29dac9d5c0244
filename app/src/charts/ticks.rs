//! Where an axis is marked.

/// Multiples of 1, 2 or 5 times a power of ten from zero to the first one at or above `max`, about five of them.
pub(super) fn linear(max: f64) -> Vec<f64> {
    if !max.is_finite() || max <= 0.0 {
        return vec![0.0, 1.0];
    }
    let step = step(max / 4.5);
    let mut ticks = vec![0.0];
    while ticks.last().is_some_and(|last| *last < max) {
        ticks.push(step * ticks.len() as f64);
    }
    ticks
}

/// The first of 1, 2 or 5 times a power of ten at or above `rough`.
fn step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough).unwrap_or(10.0 * power)
}

/// Multiples of a round step within `low..=high`, two to five of them.
pub(super) fn within(low: f64, high: f64) -> Vec<f64> {
    let step = step((high - low) / 4.5);
    let first = (low / step - 1e-9).ceil();
    // Adding zero takes the sign from a zero.
    let all = (0..6u8).map(|n| (first + f64::from(n)) * step + 0.0);
    all.take_while(|tick| *tick <= high + 1e-9 * step).collect()
}

/// The same on a logarithmic axis: powers of ten where there are three of them, else 2 and 5 times them too, else multiples of
/// a step.
pub(super) fn within_logarithmic(low: f64, high: f64) -> Vec<f64> {
    let is_within = |tick: &f64| (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(tick);
    let by = |multiples: &[f64]| -> Vec<f64> {
        factors(low, high, multiples).into_iter().filter(is_within).collect()
    };
    let choices = [by(&[1.0]), by(&[1.0, 2.0, 5.0])];
    choices.into_iter().find(|ticks| ticks.len() > 2).unwrap_or_else(|| within(low, high))
}

/// Multiples of the powers of ten from the one at or below `min` to the one at or above `max`.
fn factors(min: f64, max: f64, multiples: &[f64]) -> Vec<f64> {
    #[allow(clippy::cast_possible_truncation, reason = "the logarithm of a finite float is below 309")]
    let (low, high) = (min.log10().floor() as i32, max.log10().ceil() as i32);
    (low..=high).flat_map(|power| multiples.iter().map(move |m| m * 10f64.powi(power))).collect()
}

/// Multiples of the step that [`linear`] takes for the larger side, from at or below `min` to at or above `max`, zero among
/// them.
pub(super) fn signed(min: f64, max: f64) -> Vec<f64> {
    let step = linear(max.max(-min)).get(1).copied().unwrap_or(1.0);
    #[allow(clippy::cast_possible_truncation, reason = "at most five steps on a side")]
    let steps = |reach: f64| (reach / step).ceil().max(0.0) as i32;
    (-steps(-min)..=steps(max)).map(|n| step * f64::from(n)).collect()
}

/// Powers of ten around `min..=max`, with 2 and 5 times them where the range is under two decades.
pub(super) fn logarithmic(min: f64, max: f64) -> Vec<f64> {
    let multiples: &[f64] = if max / min < 100.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let all = factors(min, max, multiples);
    let first = all.iter().rposition(|t| *t <= min).unwrap_or(0);
    let last = all.iter().position(|t| *t >= max).unwrap_or(all.len() - 1);
    all[first..=last].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_ticks_cover_the_range() {
        assert_eq!(linear(9.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(linear(412.0), [0.0, 100.0, 200.0, 300.0, 400.0, 500.0]);
        assert_eq!(linear(0.0), [0.0, 1.0]);
    }

    #[test]
    fn signed_ticks_cover_both_sides() {
        assert_eq!(signed(-3.0, 9.0), [-4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(signed(2.0, 9.0).first(), Some(&0.0));
        assert_eq!(signed(-9.0, -2.0).last(), Some(&0.0));
        assert_eq!(signed(0.0, 0.0), [0.0]);
    }

    #[test]
    fn ticks_of_a_range_lie_within_it() {
        let close = |ticks: &[f64], want: &[f64]| {
            ticks.len() == want.len()
                && ticks.iter().zip(want).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs().max(1e-6))
        };
        for (low, high, want) in [
            (0.0, 9.0, vec![0.0, 2.0, 4.0, 6.0, 8.0]),
            (3.2, 4.1, vec![3.2, 3.4, 3.6, 3.8, 4.0]),
            (-0.4, 0.4, vec![-0.4, -0.2, 0.0, 0.2, 0.4]),
            (1000.0, 1000.01, vec![1000.0, 1000.005, 1000.01]),
            (1e15 - 1e9, 1e15, vec![1e15 - 1e9, 1e15 - 5e8, 1e15]),
        ] {
            let ticks = within(low, high);
            assert!(close(&ticks, &want), "{low} to {high}: {ticks:?}");
        }
        for (low, high, want) in [
            (1.0, 10_000.0, vec![1.0, 10.0, 100.0, 1000.0, 10_000.0]),
            (30.0, 4000.0, vec![50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]),
            (3.0, 40.0, vec![5.0, 10.0, 20.0]),
            (10.0, 35.0, vec![10.0, 20.0, 30.0]),
            (70.0, 71.0, vec![70.0, 70.5, 71.0]),
        ] {
            let ticks = within_logarithmic(low, high);
            assert!(close(&ticks, &want), "{low} to {high}: {ticks:?}");
        }
    }

    #[test]
    fn logarithmic_ticks_enclose_the_range() {
        assert_eq!(logarithmic(3.0, 40.0), [2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(logarithmic(3.0, 4000.0), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        assert_eq!(logarithmic(1.0, 1.0), [1.0]);
    }
}
