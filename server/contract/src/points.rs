//! What plots of cases are drawn from: lines, and what of each case a line does not hold.

use std::collections::BTreeMap;

use planner::Bytes;
use planner::document::estimate::Components;

use crate::case::CaseStatus;
use crate::edge::{Edge, EdgeAxis};
use crate::explore::{CaseLine, Facet, FacetValue};
use crate::measurement::Quality;

/// Most cases of a plot; of more that match, the newest.
pub const MAX_POINTS: usize = 2000;

/// The cases that a plot is drawn from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CasePoints {
    /// The cases, at most [`MAX_POINTS`], in the order of the query.
    pub items: Vec<CasePoint>,
    /// Cases that match.
    pub total: u64,
    /// The values of every facet with their counts, as in [`crate::explore::CaseListing`].
    pub facets: BTreeMap<Facet, Vec<FacetValue>>,
}

/// A case of a plot.
#[derive(Debug, Clone, PartialEq)]
pub struct CasePoint {
    /// Its line.
    pub line: CaseLine,
    /// What the line does not hold.
    pub detail: CaseDetail,
}

/// What a plot needs of a case beyond its line.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CaseDetail {
    /// What the planner said before it ran, by component.
    pub parts: Option<Components>,
    /// What the planner said that the engine sets aside for its cache.
    pub pool: Bytes,
    /// Low and high end of the estimate's total.
    pub band: Option<(Bytes, Bytes)>,
    /// How well it predicted text.
    pub quality: Option<Quality>,
    /// The edge that it searched.
    pub edge: Option<Edge>,
}

impl CasePoint {
    /// Sequences at once that its figures belong to: the largest that fits, where it searched for that.
    #[must_use]
    pub fn batch(&self) -> u64 {
        self.found(EdgeAxis::Batch).unwrap_or(u64::from(self.line.batch))
    }

    /// Tokens of each sequence, prompt and generated ones together, that its figures belong to.
    #[must_use]
    pub fn context(&self) -> u64 {
        self.found(EdgeAxis::Context).unwrap_or(self.line.prompt_tokens.0 + self.line.generate_tokens.0)
    }

    fn found(&self, axis: EdgeAxis) -> Option<u64> {
        self.detail
            .edge
            .as_ref()
            .filter(|edge| edge.axis == axis && edge.largest > 0)
            .map(|edge| edge.largest)
    }

    /// Whether it ran to its end.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.line.status == CaseStatus::Ok
    }

    /// Milliseconds of each generated token after the first: the batch by the rate of the whole batch.
    #[must_use]
    pub fn tpot_ms(&self) -> Option<f64> {
        let rate = self.line.decode_tokens_per_second.filter(|rate| *rate > 0.0)?;
        Some(1e3 * self.batch() as f64 / rate)
    }

    /// Measured less estimated peak, as a share of the measured one.
    #[must_use]
    pub fn residual(&self) -> Option<f64> {
        let (measured, estimated) = (self.line.peak_allocated?.0 as f64, self.line.estimated?.0 as f64);
        (measured > 0.0).then(|| (measured - estimated) / measured)
    }

    /// Least and greatest [`Self::residual`] within the estimate's band. The band is of the total, and held against the peak
    /// as a share of it.
    #[must_use]
    pub fn residual_band(&self) -> Option<(f64, f64)> {
        let (low, high) = self.detail.band?;
        let total = self.detail.parts?.total.0 as f64;
        (low.0 > 0 && high.0 > 0).then(|| (1.0 - total / low.0 as f64, 1.0 - total / high.0 as f64))
    }
}

#[cfg(test)]
mod tests {
    use planner::Tokens;
    use uuid::Uuid;

    use super::*;
    use crate::explore::Task;
    use crate::ids::{CaseId, MachineId, RunId, UnixMillis};

    fn point() -> CasePoint {
        let text = || "default".to_owned();
        CasePoint {
            line: CaseLine {
                id: CaseId(Uuid::nil()),
                run_id: RunId(Uuid::nil()),
                machine_id: MachineId(Uuid::nil()),
                model: "m".into(),
                task: Task::Inference,
                training: None,
                precision: "bf16".into(),
                variant: text(),
                attention: text(),
                cache: text(),
                kv_cache: text(),
                engine: "e".into(),
                device: "d".into(),
                status: CaseStatus::Ok,
                batch: 4,
                prompt_tokens: Tokens(100),
                generate_tokens: Tokens(20),
                decode_tokens_per_second: Some(80.0),
                prefill_tokens_per_second: None,
                ttft_ms: None,
                peak_allocated: Some(Bytes(1000)),
                estimated: Some(Bytes(950)),
                finished_at: UnixMillis(0),
            },
            detail: CaseDetail::default(),
        }
    }

    #[test]
    fn figures_follow_from_the_line() {
        let point = point();
        assert_eq!((point.batch(), point.context()), (4, 120));
        assert_eq!(point.tpot_ms(), Some(50.0));
        assert!((point.residual().unwrap() - 0.05).abs() < 1e-12);
        assert_eq!(point.residual_band(), None);
    }

    #[test]
    fn the_figures_of_a_search_belong_to_the_largest_that_fits() {
        let mut point = point();
        let edge = |axis, largest| Edge {
            axis,
            largest,
            smallest_failed: Some(65),
            predicted: None,
            probes: Vec::new(),
        };
        point.detail.edge = Some(edge(EdgeAxis::Batch, 64));
        assert_eq!((point.batch(), point.context(), point.tpot_ms()), (64, 120, Some(800.0)));
        point.detail.edge = Some(edge(EdgeAxis::Context, 4096));
        assert_eq!((point.batch(), point.context()), (4, 4096));
        point.detail.edge = Some(edge(EdgeAxis::Context, 0));
        assert_eq!(point.context(), 120, "where not even the smallest fits, the case is what it began with");
    }

    #[test]
    fn the_band_is_one_of_residuals() {
        let mut point = point();
        point.detail.parts = Some(Components { total: Bytes(2000), ..Components::default() });
        point.detail.band = Some((Bytes(1600), Bytes(2500)));
        let (least, greatest) = point.residual_band().unwrap();
        assert!((least - -0.25).abs() < 1e-12 && (greatest - 0.2).abs() < 1e-12);
    }
}
