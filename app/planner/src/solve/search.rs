//! The largest number whose total still fits, in few evaluations.
//!
//! Memory is close to a line in the batch and to a parabola in the context (eager scores), so that a parabola through
//! known points lands on or beside the answer; halving keeps the search short where it does not.

use crate::bytes::Bytes;

/// The largest of `low..=high` whose total is within `capacity`; none where not even `low` is. `total` never shrinks; a
/// number that has no total does not fit, and none above it does. `near` is a number that may be near the answer.
pub(super) fn largest(
    (low, low_total): (u64, Bytes),
    high: u64,
    capacity: Bytes,
    near: Option<u64>,
    total: impl Fn(u64) -> Option<Bytes>,
) -> Option<u64> {
    if low_total > capacity {
        return None;
    }
    if high <= low {
        return Some(low);
    }
    // `high` is one too many until it is known to fit.
    let mut search = Search { low, high: high.saturating_add(1), points: vec![(low, low_total)], capacity };
    if let Some(near) = near.filter(|near| search.is_open(*near)) {
        search.fits(near, &total);
        // Where the curve says: a line through two points, then a parabola through three.
        for _ in 0..2 {
            if let Some(guess) = search.guess() {
                search.fits(guess, &total);
            }
        }
    }
    // Doubling: the answer is mostly far below the limit, where the curve at the limit says nothing.
    loop {
        if search.low == high {
            return Some(high);
        }
        let x = search.low.saturating_mul(2).max(search.low + 1).min(high);
        if !search.is_open(x) || !search.fits(x, &total) {
            break;
        }
    }
    let mut step = 1u64;
    while search.high - search.low > 1 {
        let width = search.high - search.low;
        // Where the curve says, then a little to the side that is still open, then halfway.
        if let Some(guess) = search.guess() {
            let beside = if search.fits(guess, &total) {
                guess.saturating_add(step)
            } else {
                guess.saturating_sub(step)
            };
            if search.is_open(beside) {
                search.fits(beside, &total);
            }
        }
        if search.high - search.low > 1 && search.high - search.low > width / 2 {
            search.fits(search.low + (search.high - search.low) / 2, &total);
        }
        step = step.saturating_mul(4);
    }
    Some(search.low)
}

struct Search {
    /// The largest number that is known to fit.
    low: u64,
    /// The smallest that is known not to.
    high: u64,
    /// What was evaluated.
    points: Vec<(u64, Bytes)>,
    capacity: Bytes,
}

impl Search {
    const fn is_open(&self, x: u64) -> bool {
        x > self.low && x < self.high
    }

    /// Evaluates `x` and narrows the search.
    fn fits(&mut self, x: u64, total: &impl Fn(u64) -> Option<Bytes>) -> bool {
        let found = total(x);
        // What is beyond any capacity is on no curve.
        if let Some(bytes) = found.filter(|bytes| bytes.0 < u64::MAX) {
            self.points.push((x, bytes));
        }
        let fits = found.is_some_and(|bytes| bytes <= self.capacity);
        if fits {
            self.low = self.low.max(x);
        } else {
            self.high = self.high.min(x);
        }
        fits
    }

    /// Where the parabola through the three known points nearest to the answer meets the capacity; through two of them
    /// the line. None where too little is known, or nothing is left to ask.
    fn guess(&self) -> Option<u64> {
        if self.high - self.low < 2 {
            return None;
        }
        let capacity = self.capacity.0 as f64;
        let mut near: Vec<(f64, f64)> =
            self.points.iter().map(|&(x, b)| (x as f64, b.0 as f64 - capacity)).collect();
        near.sort_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
        near.dedup_by(|a, b| (a.0 - b.0).abs() < 0.5);
        let &[(x0, y0), (x1, y1), ..] = near.as_slice() else { return None };
        // Newton's divided differences: y = y0 + slope·u + bend·u·(u − h), u = x − x0, h = x1 − x0.
        let slope = (y1 - y0) / (x1 - x0);
        let bend = near.get(2).map_or(0.0, |&(x2, y2)| ((y2 - y1) / (x2 - x1) - slope) / (x2 - x0));
        let linear = slope - bend * (x1 - x0);
        let root = libm::sqrt(linear * linear - 4.0 * bend * y0);
        // The root on the rising side, in the form that loses no digits.
        let sum = x0 - 2.0 * y0 / (linear + root);
        if !sum.is_finite() {
            return None;
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a guess, clamped to the open range on the next line"
        )]
        let guess = sum.max(0.0) as u64;
        Some(guess.clamp(self.low + 1, self.high - 1))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Against the slow way, and how often each asks.
    #[test]
    fn finds_what_counting_finds() {
        type Curve = (&'static str, fn(u64) -> Option<Bytes>, u32);
        let curves: [Curve; 6] = [
            ("line", |x| Some(Bytes(1000 + 7 * x)), 14),
            ("parabola", |x| Some(Bytes(1000 + 7 * x + x * x)), 14),
            ("kinked", |x| Some(Bytes(1000 + (3 * x).max(x * x / 50))), 18),
            ("steps", |x| Some(Bytes(1000 + x / 64 * 64 * 5)), 24),
            ("flat", |_| Some(Bytes(5)), 12),
            ("refused above 40", |x| (x <= 40).then_some(Bytes(x)), 16),
        ];
        for (name, curve, most) in curves {
            for capacity in [0, 5, 1000, 1006, 1007, 1008, 1500, 9999, 123_456, 2_000_000] {
                let slow = (1..=4096).take_while(|&x| curve(x).is_some_and(|b| b.0 <= capacity)).last();
                let low = curve(1).unwrap();
                let right = slow.unwrap_or(1);
                for near in [
                    None,
                    Some(right),
                    Some(right / 2),
                    Some(right * 2 / 3),
                    Some(2 * right),
                    Some(4096),
                    Some(1),
                ] {
                    let asked = Cell::new(0);
                    let counted = |x: u64| {
                        asked.set(asked.get() + 1);
                        curve(x)
                    };
                    let found = largest((1, low), 4096, Bytes(capacity), near, counted);
                    assert_eq!(found, slow, "{name} {capacity} near {near:?}");
                    // A guess may mislead, by a few questions.
                    let most = if near.is_none() { most } else { most + 4 };
                    assert!(asked.get() <= most, "{name} {capacity} near {near:?}: {} times", asked.get());
                }
            }
        }
        assert_eq!(largest((3, Bytes(1)), 3, Bytes(1), None, |_| None), Some(3));
    }
}
