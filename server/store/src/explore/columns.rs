//! Lines of all cases in memory, column by column.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use contract::case::CaseStatus;
use contract::explore::{CaseLine, CaseListing, CaseQuery, Facet, FacetValue, Order, Place};
use contract::ids::{CaseId, MachineId, RunId, UnixMillis};
use planner::{Bytes, Tokens};

use super::lines::Line;
use crate::{StoreError, value};

/// A column of texts, each kept once: what a facet tells cases apart by.
#[derive(Debug, Default)]
struct Texts {
    /// The text of each case, as an index of `values`.
    cases: Vec<u32>,
    values: Vec<String>,
    /// How many cases have each value.
    counts: Vec<u64>,
    indices: HashMap<String, u32>,
}

impl Texts {
    fn push(&mut self, text: String) {
        let index = if let Some(index) = self.indices.get(&text) {
            *index
        } else {
            let index = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
            self.values.push(text.clone());
            self.counts.push(0);
            self.indices.insert(text, index);
            index
        };
        self.counts[index as usize] += 1;
        self.cases.push(index);
    }

    fn of(&self, case: usize) -> &str {
        &self.values[self.cases[case] as usize]
    }

    /// Counts the case no more.
    fn forget(&mut self, case: usize) {
        let value = self.cases[case] as usize;
        self.counts[value] = self.counts[value].saturating_sub(1);
    }
}

/// A column of figures; what a case lacks is not a number.
#[derive(Debug, Default)]
struct Figures(Vec<f64>);

impl Figures {
    fn of(&self, case: usize) -> Option<f64> {
        Some(self.0[case]).filter(|figure| !figure.is_nan())
    }
}

/// All cases.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    /// Numbers of the lines, ascending.
    numbers: Vec<i64>,
    ids: Vec<CaseId>,
    /// Where the newest line of a case is.
    indices: HashMap<CaseId, usize>,
    /// Lines of attempts that a later one took the place of.
    superseded: Vec<usize>,
    runs: Vec<RunId>,
    statuses: Vec<CaseStatus>,
    facets: BTreeMap<Facet, Texts>,
    finished: Vec<i64>,
    decode: Figures,
    prefill: Figures,
    ttft: Figures,
    peak: Figures,
    estimated: Figures,
    error: Figures,
}

/// What a case fails: nothing, one facet's filter (its place in [`Facet::ALL`] and one), or more.
const PASSES: u8 = 0;
const FAILS_MORE: u8 = u8::MAX;

impl Columns {
    /// Number of the newest line.
    pub(super) fn newest(&self) -> i64 {
        self.numbers.last().copied().unwrap_or(0)
    }

    /// Takes in a line. Nothing is taken where it cannot be read.
    pub(super) fn push(&mut self, line: &Line) -> Result<(), StoreError> {
        let id = value::id("case_lines.case_id", &line.case_id)?;
        let run = value::id("case_lines.run_id", &line.run_id)?;
        let _machine: MachineId = value::id("case_lines.machine_id", &line.machine_id)?;
        let status = value::name("case_lines.status", &line.status)?;
        for facet in Facet::ALL {
            let text = match facet {
                Facet::Model => line.model.clone(),
                Facet::Precision => line.precision.clone(),
                Facet::Attention => line.attention.clone(),
                Facet::Variant => line.variant.clone(),
                Facet::Cache => line.cache.clone(),
                Facet::KvCache => line.kv_cache.clone(),
                Facet::Engine => line.engine.clone(),
                Facet::Device => line.device.clone(),
                Facet::Machine => line.machine_id.clone(),
                Facet::Status => line.status.clone(),
                Facet::Batch => line.batch.to_string(),
                Facet::Prompt => line.prompt_tokens.to_string(),
                Facet::Generate => line.generate_tokens.to_string(),
            };
            self.facets.entry(*facet).or_default().push(text);
        }
        let bytes = |n: Option<i64>| n.map_or(f64::NAN, |n| n as f64);
        let (peak, estimated) = (bytes(line.peak_bytes), bytes(line.estimated_bytes));
        if let Some(before) = self.indices.insert(id, self.numbers.len()) {
            self.superseded.push(before);
            self.facets.values_mut().for_each(|texts| texts.forget(before));
        }
        self.numbers.push(line.n);
        self.ids.push(id);
        self.runs.push(run);
        self.statuses.push(status);
        self.finished.push(line.finished_at);
        self.decode.0.push(line.decode_tokens_per_second.unwrap_or(f64::NAN));
        self.prefill.0.push(line.prefill_tokens_per_second.unwrap_or(f64::NAN));
        self.ttft.0.push(line.ttft_ms.unwrap_or(f64::NAN));
        self.peak.0.push(peak);
        self.estimated.0.push(estimated);
        self.error.0.push(((estimated - peak) / peak).abs());
        Ok(())
    }

    /// The cases that `query` asks for, with the counts of every facet.
    pub(super) fn list(&self, query: &CaseQuery) -> CaseListing {
        let all = query.admits_all();
        // Without filters the counts are those kept, and every case passes.
        let failures = if all && self.superseded.is_empty() { Vec::new() } else { self.failures(query) };
        let passes = |case: usize| failures.is_empty() || failures[case] == PASSES;
        let counted = if all { &[][..] } else { &failures };
        let facets = Facet::ALL.iter().map(|facet| (*facet, self.counts(*facet, counted))).collect();
        let total = if all {
            self.indices.len() as u64
        } else {
            failures.iter().map(|failure| u64::from(*failure == PASSES)).sum()
        };

        let backward = query.after.is_none() && query.before.is_some();
        let start = query.after.or(query.before);
        // Going back is going forward in the opposite order, and turning the page over.
        let sequence = Sequence { columns: self, order: query.order, descending: query.descending, backward };
        // One more than asked tells whether there is another page.
        let mut cases = sequence.first(query.limit + 1, start, passes);
        let more = cases.len() > query.limit;
        cases.truncate(query.limit);
        if backward {
            cases.reverse();
        }
        let (has_next, has_previous) = if backward { (true, more) } else { (more, start.is_some()) };
        let place = |case: Option<&usize>| case.map(|case| self.place(query.order, *case).to_string());
        CaseListing {
            next: place(cases.last()).filter(|_| has_next),
            previous: place(cases.first()).filter(|_| has_previous),
            items: cases.iter().map(|case| self.line(*case)).collect(),
            total,
            facets,
        }
    }

    /// What each case fails of the query's filters.
    fn failures(&self, query: &CaseQuery) -> Vec<u8> {
        let mut failures = vec![PASSES; self.numbers.len()];
        for line in &self.superseded {
            failures[*line] = FAILS_MORE;
        }
        if query.since.is_some() || query.until.is_some() {
            let since = query.since.map_or(i64::MIN, |t| t.0);
            let until = query.until.map_or(i64::MAX, |t| t.0);
            for (failure, finished) in failures.iter_mut().zip(&self.finished) {
                if !(since..until).contains(finished) {
                    *failure = FAILS_MORE;
                }
            }
        }
        if let Some(part) = &query.search {
            // The search is not a facet's filter: no count looks past it.
            let part = part.to_lowercase();
            let found = |model: &str| model.to_lowercase().contains(&part);
            self.mark(&mut failures, Facet::Model, found, |_| FAILS_MORE);
        }
        for (place, facet) in (1u8..).zip(Facet::ALL) {
            if let Some(admitted) = query.facets.get(facet).filter(|values| !values.is_empty()) {
                let found = |value: &str| admitted.iter().any(|one| one == value);
                let fails = |before| if before == PASSES { place } else { FAILS_MORE };
                self.mark(&mut failures, *facet, found, fails);
            }
        }
        failures
    }

    /// Marks the cases whose value of `facet` is not admitted.
    fn mark(
        &self,
        failures: &mut [u8],
        facet: Facet,
        admits: impl Fn(&str) -> bool,
        fails: impl Fn(u8) -> u8,
    ) {
        let Some(texts) = self.facets.get(&facet) else { return };
        let admitted: Vec<bool> = texts.values.iter().map(|value| admits(value)).collect();
        for (failure, value) in failures.iter_mut().zip(&texts.cases) {
            if !admitted[*value as usize] {
                *failure = fails(*failure);
            }
        }
    }

    /// The values of a facet with the cases that pass every other facet's filter. No failures: every case passes.
    fn counts(&self, facet: Facet, failures: &[u8]) -> Vec<FacetValue> {
        let Some(texts) = self.facets.get(&facet) else { return Vec::new() };
        let mut counts = texts.counts.clone();
        if !failures.is_empty() {
            let own = (1u8..).zip(Facet::ALL).find_map(|(place, f)| (*f == facet).then_some(place));
            let own = own.unwrap_or(FAILS_MORE - 1);
            counts.fill(0);
            for (value, failure) in texts.cases.iter().zip(failures) {
                counts[*value as usize] += u64::from(*failure == PASSES || *failure == own);
            }
        }
        let mut values: Vec<FacetValue> = texts
            .values
            .iter()
            .zip(counts)
            .map(|(value, cases)| FacetValue { value: value.clone(), cases })
            .collect();
        if facet.is_number() {
            values.sort_by_key(|v| v.value.parse::<u64>().unwrap_or(u64::MAX));
        } else {
            values.sort_by(|a, b| b.cases.cmp(&a.cases).then_with(|| a.value.cmp(&b.value)));
        }
        values
    }

    /// The figure that `order` goes by.
    fn figure(&self, order: Order, case: usize) -> Option<f64> {
        match order {
            Order::Finished => Some(self.finished[case] as f64),
            Order::Decode => self.decode.of(case),
            Order::Prefill => self.prefill.of(case),
            Order::Ttft => self.ttft.of(case),
            Order::Peak => self.peak.of(case),
            Order::Error => self.error.of(case),
        }
    }

    fn place(&self, order: Order, case: usize) -> Place {
        Place { figure: self.figure(order, case), number: self.numbers[case] }
    }

    fn line(&self, case: usize) -> CaseLine {
        let text = |facet| self.facets.get(&facet).map_or("", |texts| texts.of(case)).to_owned();
        let number = |facet| text(facet).parse::<u64>().unwrap_or(0);
        let bytes = |figures: &Figures| figures.of(case).map(whole_bytes);
        CaseLine {
            id: self.ids[case],
            run_id: self.runs[case],
            // Read once when it was taken in.
            machine_id: text(Facet::Machine).parse().unwrap_or(MachineId(uuid::Uuid::nil())),
            model: text(Facet::Model),
            precision: text(Facet::Precision),
            variant: text(Facet::Variant),
            attention: text(Facet::Attention),
            cache: text(Facet::Cache),
            kv_cache: text(Facet::KvCache),
            engine: text(Facet::Engine),
            device: text(Facet::Device),
            status: self.statuses[case],
            batch: u32::try_from(number(Facet::Batch)).unwrap_or(u32::MAX),
            prompt_tokens: Tokens(number(Facet::Prompt)),
            generate_tokens: Tokens(number(Facet::Generate)),
            decode_tokens_per_second: self.decode.of(case),
            prefill_tokens_per_second: self.prefill.of(case),
            ttft_ms: self.ttft.of(case),
            peak_allocated: bytes(&self.peak),
            estimated: bytes(&self.estimated),
            finished_at: UnixMillis(self.finished[case]),
        }
    }
}

/// Sizes were whole when they were stored; below 2^53 bytes (8 PiB) a float holds them exactly.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "stored as a count of bytes")]
fn whole_bytes(figure: f64) -> Bytes {
    Bytes(figure as u64)
}

/// The cases in an order, from a place on.
struct Sequence<'a> {
    columns: &'a Columns,
    order: Order,
    descending: bool,
    backward: bool,
}

impl Sequence<'_> {
    /// How two places stand: less comes earlier. Places without a figure come last, whichever way.
    fn compare(&self, a: Place, b: Place) -> Ordering {
        let turned = |ordering: Ordering| if self.descending { ordering.reverse() } else { ordering };
        let forward = match (a.figure, b.figure) {
            (Some(x), Some(y)) => turned(x.total_cmp(&y).then(a.number.cmp(&b.number))),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => turned(a.number.cmp(&b.number)),
        };
        if self.backward { forward.reverse() } else { forward }
    }

    /// The first `n` cases that pass and come after `start`, in order.
    fn first(&self, n: usize, start: Option<Place>, passes: impl Fn(usize) -> bool) -> Vec<usize> {
        // The heap's top is the last of those kept.
        let mut kept: BinaryHeap<Ranked<'_>> = BinaryHeap::with_capacity(n + 1);
        let cases = self.columns.numbers.len();
        // Lines come in the order of time: begun at the end that is asked for, hardly one takes another's place.
        let from_the_end = self.descending != self.backward;
        let nth = |n: usize| if from_the_end { cases - 1 - n } else { n };
        for case in (0..cases).map(nth).filter(|case| passes(*case)) {
            let place = self.columns.place(self.order, case);
            if start.is_some_and(|start| self.compare(place, start) != Ordering::Greater) {
                continue;
            }
            if kept.len() == n
                && kept.peek().is_some_and(|last| self.compare(place, last.place) != Ordering::Less)
            {
                continue;
            }
            kept.push(Ranked { place, case, sequence: self });
            if kept.len() > n {
                kept.pop();
            }
        }
        kept.into_sorted_vec().into_iter().map(|ranked| ranked.case).collect()
    }
}

/// A case by its place.
struct Ranked<'a> {
    place: Place,
    case: usize,
    sequence: &'a Sequence<'a>,
}

impl PartialEq for Ranked<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked<'_> {}

impl PartialOrd for Ranked<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.sequence.compare(self.place, other.place)
    }
}
