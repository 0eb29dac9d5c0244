//! The largest number that fits, by asking of one number after another.

/// A search in a range of numbers of which the smaller ones fit and the larger ones do not.
#[derive(Debug)]
pub(super) struct Search {
    low: u64,
    high: u64,
    resolution: u64,
    start: u64,
    /// Numbers that fit.
    fitting: Vec<u64>,
    /// The smallest that does not.
    fails: Option<u64>,
    /// How far the next number is from the last while only one side is known.
    step: u64,
    /// Whether any number was asked of.
    begun: bool,
}

impl Search {
    /// Of `low..=high`, until the largest that fits and the smallest that does not are `resolution` apart; `start` is asked
    /// of first.
    pub(super) fn new(low: u64, high: u64, resolution: u64, start: Option<u64>) -> Self {
        let start = start.unwrap_or(low).clamp(low, high);
        let resolution = resolution.max(1);
        Self {
            low,
            high,
            resolution,
            start,
            fitting: Vec::new(),
            fails: None,
            step: resolution,
            begun: false,
        }
    }

    /// The largest number that is known to fit.
    pub(super) fn fits(&self) -> Option<u64> {
        self.fitting.iter().copied().max()
    }

    /// The smallest number that is known not to.
    pub(super) const fn fails(&self) -> Option<u64> {
        self.fails
    }

    /// The number to ask of next; none where the edge is found.
    pub(super) fn next(&self) -> Option<u64> {
        match (self.fits(), self.fails) {
            (_, Some(fails)) if fails <= self.low => None,
            (Some(fits), _) if fits >= self.high => None,
            (Some(fits), Some(fails)) if fails - fits <= self.resolution => None,
            (Some(fits), Some(fails)) => Some(fits + (fails - fits) / 2),
            (None, fails) if !self.begun => Some(self.start.min(fails.map_or(self.high, |n| n - 1))),
            (Some(fits), None) => Some(fits.saturating_add(self.step).min(self.high)),
            (None, Some(fails)) => Some(fails.saturating_sub(self.step).max(self.low)),
            (None, None) => Some(self.start),
        }
    }

    /// Takes an answer. What failed once counts as failing, and so does everything above it.
    pub(super) fn record(&mut self, number: u64, fits: bool) {
        let asked = self.next() == Some(number);
        if fits {
            self.fitting.push(number);
        } else {
            self.fails = Some(self.fails.map_or(number, |n| n.min(number)));
        }
        if let Some(fails) = self.fails {
            self.fitting.retain(|n| *n < fails);
        }
        // The first answer says on which side the edge is; from the second on the steps grow.
        if asked && self.begun {
            self.step = self.step.saturating_mul(2);
        }
        self.begun |= asked;
    }
}

#[cfg(test)]
mod tests {
    use super::Search;

    /// Searches for `edge`, the largest that fits, 0 for none; answers it with what fails and how many were asked.
    fn find(mut search: Search, edge: u64) -> (Option<u64>, Option<u64>, u32) {
        let mut asked = 0;
        while let Some(number) = search.next() {
            assert!((search.low..=search.high).contains(&number));
            search.record(number, number <= edge);
            asked += 1;
            assert!(asked < 200, "no end: {search:?}");
        }
        (search.fits(), search.fails(), asked)
    }

    #[test]
    fn finds_what_counting_finds_from_wherever_it_begins() {
        for (low, high) in [(1, 1), (1, 2), (1, 40), (5, 37)] {
            for edge in 0..=high + 1 {
                let fits = (low..=high).filter(|n| *n <= edge).max();
                let fails = (low..=high).find(|n| *n > edge);
                for start in std::iter::once(None).chain((0..=high + 3).map(Some)) {
                    let (got, not, _) = find(Search::new(low, high, 1, start), edge);
                    assert_eq!((got, not), (fits, fails), "{low}..={high} edge {edge} start {start:?}");
                }
            }
        }
    }

    #[test]
    fn a_good_guess_takes_two_questions_and_a_bad_one_few() {
        let asked = |edge, start| find(Search::new(1, 65_536, 1, Some(start)), edge).2;
        assert_eq!(asked(1000, 1000), 2);
        assert_eq!(asked(999, 1000), 2);
        assert!(asked(970, 1000) <= 10, "{}", asked(970, 1000));
        assert!(asked(1030, 1000) <= 10, "{}", asked(1030, 1000));
        assert!(asked(7, 60_000) <= 32, "{}", asked(7, 60_000));
        assert!(asked(65_536, 1) <= 17, "{}", asked(65_536, 1));
    }

    #[test]
    fn ends_within_its_resolution() {
        for edge in 0..=300u64 {
            let (fits, fails, _) = find(Search::new(1, 300, 16, Some(100)), edge);
            match (fits, fails) {
                (Some(fits), Some(fails)) => {
                    assert!(fits <= edge && edge < fails && fails - fits <= 16, "{edge}: {fits} {fails}");
                }
                (None, Some(fails)) => assert!(edge == 0 && fails == 1, "{edge}: {fails}"),
                (Some(fits), None) => assert!(edge >= 300 && fits == 300, "{edge}: {fits}"),
                (None, None) => panic!("{edge}: nothing was asked"),
            }
        }
    }

    #[test]
    fn what_is_known_before_is_not_asked_again() {
        let mut search = Search::new(1, 100, 1, Some(60));
        search.record(40, false);
        assert_eq!(search.next(), Some(39), "the nearest that may fit");
        search.record(39, true);
        assert_eq!((search.next(), search.fits(), search.fails()), (None, Some(39), Some(40)));
        // It fails when it is asked again: the search goes on below.
        search.record(39, false);
        assert_eq!(search.fits(), None);
        let (fits, fails, _) = find(search, 20);
        assert_eq!((fits, fails), (Some(20), Some(21)));
    }
}
