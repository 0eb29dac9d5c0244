//! Where an axis is marked.

/// Multiples of 1, 2 or 5 times a power of ten from zero to the first one at or above `max`, about five of them.
pub(super) fn linear(max: f64) -> Vec<f64> {
    if !max.is_finite() || max <= 0.0 {
        return vec![0.0, 1.0];
    }
    let rough = max / 4.5;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough).unwrap_or(10.0 * power);
    let mut ticks = vec![0.0];
    while ticks.last().is_some_and(|last| *last < max) {
        ticks.push(step * ticks.len() as f64);
    }
    ticks
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
    #[allow(clippy::cast_possible_truncation, reason = "the logarithm of a finite float is below 309")]
    let (low, high) = (min.log10().floor() as i32, max.log10().ceil() as i32);
    let all: Vec<f64> =
        (low..=high).flat_map(|power| multiples.iter().map(move |m| m * 10f64.powi(power))).collect();
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
    fn logarithmic_ticks_enclose_the_range() {
        assert_eq!(logarithmic(3.0, 40.0), [2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(logarithmic(3.0, 4000.0), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        assert_eq!(logarithmic(1.0, 1.0), [1.0]);
    }
}
