//! How long cases take, for the time that is left and for a budget of time.

use std::time::Duration;

use contract::case::CaseSpec;
use planner::Model;

/// How long the cases that ran took.
#[derive(Debug, Default)]
pub(super) struct Pace {
    ended: u64,
    /// Cases for which a process was started.
    ran: u64,
    milliseconds: u64,
    work: f64,
}

/// What a case computes, up to a factor: tokens of all repetitions and the warm-up, each through all parameters.
pub(super) fn work(spec: &CaseSpec, model: Option<&Model>) -> f64 {
    let parameters = model.map_or(1, |m| m.parameters().total);
    let tokens = (spec.prompt_tokens + spec.generate_tokens).0 as f64 * f64::from(spec.batch);
    parameters as f64 * tokens * (f64::from(spec.repetitions) + 1.0)
}

impl Pace {
    /// A case ended after `took`; `work` is none where nothing ran.
    pub(super) fn add(&mut self, took: Duration, work: Option<f64>) {
        self.ended += 1;
        if let Some(work) = work {
            self.ran += 1;
            self.milliseconds =
                self.milliseconds.saturating_add(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            self.work += work;
        }
    }

    /// Time for `cases` more of the usual size. None before the first case ended.
    pub(super) fn remaining_ms(&self, cases: u64) -> Option<u64> {
        self.milliseconds.checked_div(self.ended).map(|each| each.saturating_mul(cases))
    }

    /// Time for a case: the mean of those that ran, and more in proportion where it has more to compute. None before the
    /// first.
    fn expected(&self, work: f64) -> Option<Duration> {
        let mean_ms = self.milliseconds.checked_div(self.ran)? as f64;
        let mean_work = self.work / self.ran as f64;
        let factor = if mean_work > 0.0 { (work / mean_work).max(1.0) } else { 1.0 };
        Some(Duration::try_from_secs_f64(mean_ms * factor / 1e3).unwrap_or(Duration::MAX))
    }

    /// Whether a case may begin where `left` of the budget is left: with what it is expected to take, where that is too
    /// long. Before the first case ended any time is enough.
    pub(super) fn begins(&self, work: f64, left: Duration) -> Result<(), Option<Duration>> {
        match self.expected(work) {
            Some(expected) if expected > left => Err(Some(expected)),
            _ if left.is_zero() => Err(None),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use contract::case::CaseSpec;
    use planner::Tokens;

    use super::{Pace, work};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_case_begins_where_the_time_that_is_left_holds_it() {
        let mut pace = Pace::default();
        assert_eq!(pace.begins(9.0, Duration::from_nanos(1)), Ok(()), "nothing is known yet");
        assert_eq!(pace.begins(9.0, Duration::ZERO), Err(None));
        pace.add(2 * SECOND, Some(10.0));
        pace.add(4 * SECOND, Some(30.0));
        pace.add(Duration::ZERO, None);
        // Three seconds for a work of 20 on average: no less for less, in proportion for more.
        for (work, expected) in [(1.0, 3u32), (20.0, 3), (60.0, 9)] {
            assert_eq!(pace.begins(work, expected * SECOND), Ok(()), "{work}");
            let short = Duration::from_millis(1000 * u64::from(expected) - 1);
            assert_eq!(pace.begins(work, short), Err(Some(expected * SECOND)), "{work}");
        }
        assert_eq!(pace.remaining_ms(2), Some(4000), "over all that ended");
    }

    #[test]
    fn work_grows_with_everything_that_is_computed() {
        let spec = CaseSpec {
            batch: 2,
            prompt_tokens: Tokens(10),
            generate_tokens: Tokens(5),
            repetitions: 3,
            ..CaseSpec::default()
        };
        assert!((work(&spec, None) - 2.0 * 15.0 * 4.0).abs() < 1e-9);
    }
}
