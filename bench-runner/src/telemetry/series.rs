//! Looks over time in memory that is taken once, and figures counted by value.

use contract::telemetry::Spread;

/// What a trace keeps of a look. Bytes are the most, power and clock the latest, of the looks that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Point {
    /// Microseconds since recording began.
    pub at_us: u64,
    /// Bytes alive.
    pub allocated: Option<u64>,
    /// Bytes of the process.
    pub process: Option<u64>,
    /// Bytes of the device.
    pub device: Option<u64>,
    /// Milliwatts.
    pub power_mw: Option<u32>,
    /// MHz.
    pub clock_mhz: Option<u32>,
}

impl Point {
    /// This point and a later one as one: largest bytes, at the later time.
    #[must_use]
    pub fn merge(self, later: Self) -> Self {
        Self {
            at_us: later.at_us,
            allocated: self.allocated.max(later.allocated),
            process: self.process.max(later.process),
            device: self.device.max(later.device),
            power_mw: later.power_mw.or(self.power_mw),
            clock_mhz: later.clock_mhz.or(self.clock_mhz),
        }
    }
}

/// Points in a fixed capacity: when it is full, neighbours are merged, and from then on each point stands for twice as
/// many looks. Maxima survive. Adding never allocates.
#[derive(Debug)]
pub struct Series {
    points: Vec<Point>,
    capacity: usize,
    /// Looks of one point.
    stride: u32,
    /// Looks in the last point.
    filled: u32,
}

impl Series {
    /// Room for `capacity` points; 0: nothing is kept.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { points: Vec::with_capacity(capacity), capacity, stride: 1, filled: 1 }
    }

    /// Adds a look.
    pub fn push(&mut self, point: Point) {
        if self.capacity == 0 {
            return;
        }
        if self.filled < self.stride
            && let Some(last) = self.points.last_mut()
        {
            *last = last.merge(point);
            self.filled += 1;
            return;
        }
        if self.points.len() == self.capacity {
            self.halve();
        }
        self.points.push(point);
        self.filled = 1;
    }

    /// Merges neighbours.
    fn halve(&mut self) {
        let halved = self.points.len().div_ceil(2);
        for index in 0..halved {
            let first = self.points[2 * index];
            self.points[index] = self.points.get(2 * index + 1).map_or(first, |second| first.merge(*second));
        }
        self.points.truncate(halved);
        self.stride = self.stride.saturating_mul(2);
    }

    /// The points, in order.
    #[must_use]
    pub fn into_points(self) -> Vec<Point> {
        self.points
    }
}

/// At most `most` points: each the merge of as many neighbours as it needs.
#[must_use]
pub fn thinned(points: &[Point], most: usize) -> Vec<Point> {
    let each = points.len().div_ceil(most.max(1)).max(1);
    points.chunks(each).filter_map(|chunk| chunk.iter().copied().reduce(Point::merge)).collect()
}

/// How often each whole value was seen, up to a largest: extremes and median without keeping the figures.
#[derive(Debug)]
pub struct Counts {
    counts: Vec<u32>,
}

impl Counts {
    /// For values of 0 to `largest`; what is above is counted as the largest.
    #[must_use]
    pub fn up_to(largest: u16) -> Self {
        Self { counts: vec![0; usize::from(largest) + 1] }
    }

    /// Counts one.
    pub fn add(&mut self, value: Option<u32>) {
        let Some(value) = value else { return };
        let last = self.counts.len() - 1;
        let index = usize::try_from(value).unwrap_or(last).min(last);
        self.counts[index] = self.counts[index].saturating_add(1);
    }

    /// Extremes and the lower median; none where nothing was counted.
    #[must_use]
    pub fn spread(&self) -> Option<Spread> {
        let total: u64 = self.counts.iter().map(|n| u64::from(*n)).sum();
        let mut seen = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        let mut below = 0;
        let median = seen.clone().find(|(_, n)| {
            below += u64::from(**n);
            2 * below >= total
        })?;
        let (min, max) = (seen.next()?.0, self.counts.iter().rposition(|n| *n > 0)?);
        Some(Spread { min: min as f64, median: median.0 as f64, max: max as f64 })
    }
}

#[cfg(test)]
mod tests {
    use contract::telemetry::Spread;

    use super::{Counts, Point, Series, thinned};

    fn point(at_us: u64, allocated: u64) -> Point {
        Point { at_us, allocated: Some(allocated), ..Point::default() }
    }

    fn figures(points: &[Point]) -> Vec<(u64, u64)> {
        points.iter().map(|p| (p.at_us, p.allocated.unwrap())).collect()
    }

    #[test]
    fn a_full_series_keeps_its_maxima_in_half_the_points() {
        let mut series = Series::new(4);
        for (at, bytes) in [(1, 5), (2, 9), (3, 1), (4, 2)] {
            series.push(point(at, bytes));
        }
        series.push(point(5, 7));
        assert_eq!((series.stride, series.points.capacity()), (2, 4), "nothing was allocated");
        series.push(point(6, 3));
        series.push(point(7, 4));
        assert_eq!(figures(&series.into_points()), [(2, 9), (4, 2), (6, 7), (7, 4)]);
        let mut none = Series::new(0);
        none.push(point(1, 1));
        assert!(none.into_points().is_empty());
    }

    #[test]
    fn a_long_series_never_grows_and_never_loses_its_peak() {
        let mut series = Series::new(16);
        for at in 0..10_000 {
            series.push(point(at, if at == 7777 { 1 << 40 } else { at % 100 }));
        }
        let points = series.into_points();
        assert!((8..=16).contains(&points.len()), "{}", points.len());
        assert_eq!(points.iter().filter_map(|p| p.allocated).max(), Some(1 << 40));
        assert_eq!(points.last().map(|p| p.at_us), Some(9_999));
    }

    #[test]
    fn thinning_keeps_maxima_and_the_order() {
        let points: Vec<Point> = (0..10).map(|at| point(at, if at == 4 { 99 } else { at })).collect();
        assert_eq!(figures(&thinned(&points, 4)), [(2, 2), (5, 99), (8, 8), (9, 9)]);
        assert_eq!(thinned(&points, 512), points);
        assert!(thinned(&[], 4).is_empty());
    }

    #[test]
    fn power_and_clock_of_merged_points_are_the_latest_known() {
        let first = Point { power_mw: Some(5), clock_mhz: Some(1), ..point(1, 1) };
        let second = Point { power_mw: Some(3), ..point(2, 2) };
        let merged = first.merge(second);
        assert_eq!((merged.power_mw, merged.clock_mhz, merged.at_us), (Some(3), Some(1), 2));
    }

    #[test]
    fn extremes_and_the_lower_median() {
        for (values, want) in [
            (vec![7], Some((7.0, 7.0, 7.0))),
            (vec![3, 1, 2], Some((1.0, 2.0, 3.0))),
            (vec![4, 1, 3, 2], Some((1.0, 2.0, 4.0))),
            (vec![5, 5, 5, 9], Some((5.0, 5.0, 9.0))),
            (vec![0, 99_999], Some((0.0, 0.0, 100.0))),
            (vec![], None),
        ] {
            let mut counts = Counts::up_to(100);
            for value in values.iter().copied() {
                counts.add(Some(value));
            }
            counts.add(None);
            let want = want.map(|(min, median, max)| Spread { min, median, max });
            assert_eq!(counts.spread(), want, "{values:?}");
        }
    }
}
