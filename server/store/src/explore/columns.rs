//! Lines of all cases in memory: column by column, with the set of cases that has each value and the cases in every order.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use contract::case::CaseStatus;
use contract::explore::{CaseLine, CaseListing, CaseQuery, Facet, FacetValue, Order, Place, Task, method};
use contract::ids::{CaseId, MachineId, RunId, UnixMillis};
use contract::run::RunFigures;
use planner::{Bytes, Tokens};
use roaring::{MultiOps, RoaringBitmap};

use super::lines::Line;
use crate::{StoreError, value};

/// Cases of a block, of which the earliest and the latest end are kept.
const BLOCK: usize = 4096;
/// New cases are put into the orders when there are so many of them; until then every list looks through them.
const FRESH: usize = if cfg!(test) { 40 } else { 4096 };
/// As many cases an order is followed; if those that are asked for are not among them, all that pass are sorted.
const STEPS: usize = if cfg!(test) { 30 } else { 50_000 };

/// A case's place in the columns.
fn index(case: usize) -> u32 {
    u32::try_from(case).unwrap_or(u32::MAX)
}

/// A column of values that recur, each kept once.
#[derive(Debug)]
struct Values<T> {
    /// The value of each case, as an index of `distinct`.
    cases: Vec<u32>,
    distinct: Vec<T>,
    /// The cases that have each value, less those whose place a later attempt took.
    having: Vec<RoaringBitmap>,
    indices: HashMap<T, u32>,
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self { cases: Vec::new(), distinct: Vec::new(), having: Vec::new(), indices: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Values<T> {
    fn push(&mut self, value: T) {
        let place = if let Some(place) = self.indices.get(&value) {
            *place
        } else {
            let place = index(self.distinct.len());
            self.distinct.push(value.clone());
            self.having.push(RoaringBitmap::new());
            self.indices.insert(value, place);
            place
        };
        self.having[place as usize].insert(index(self.cases.len()));
        self.cases.push(place);
    }

    fn of(&self, case: usize) -> &T {
        &self.distinct[self.cases[case] as usize]
    }

    /// The cases that have `value`; none where none has.
    fn having(&self, value: &T) -> Option<&RoaringBitmap> {
        self.indices.get(value).map(|place| &self.having[*place as usize])
    }

    /// The cases whose value is admitted.
    fn admitted(&self, admits: impl Fn(&T) -> bool) -> RoaringBitmap {
        let of = self.distinct.iter().zip(&self.having);
        of.filter(|(value, _)| admits(value)).map(|(_, cases)| cases).union()
    }

    /// Counts the case no more.
    fn forget(&mut self, case: u32) {
        self.having[self.cases[case as usize] as usize].remove(case);
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

/// The cases by a figure.
#[derive(Debug, Default)]
struct Sorted {
    /// Those that have it, the least first.
    having: Vec<u32>,
    /// Those that lack it, in the order in which they came.
    lacking: Vec<u32>,
}

/// All cases.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    /// Numbers of the lines, ascending.
    numbers: Vec<i64>,
    ids: Vec<CaseId>,
    /// Where the newest line of a case is.
    indices: HashMap<CaseId, u32>,
    /// Every case, less the lines of attempts that a later one took the place of.
    live: RoaringBitmap,
    runs: Values<RunId>,
    statuses: Vec<CaseStatus>,
    tasks: Vec<Task>,
    /// What is trained and how; empty where nothing is.
    trainings: Values<String>,
    facets: BTreeMap<Facet, Values<String>>,
    finished: Vec<i64>,
    /// The earliest and the latest end in each [`BLOCK`].
    ends: Vec<(i64, i64)>,
    decode: Figures,
    prefill: Figures,
    ttft: Figures,
    peak: Figures,
    estimated: Figures,
    error: Figures,
    orders: BTreeMap<Order, Sorted>,
    /// How many of the cases are in `orders`.
    sorted: usize,
}

/// The cases that pass, and for each facet that has a filter those that pass all the others.
struct Selection<'a> {
    passing: Cow<'a, RoaringBitmap>,
    but: BTreeMap<Facet, RoaringBitmap>,
}

impl Columns {
    /// Number of the newest line.
    pub(super) fn newest(&self) -> i64 {
        self.numbers.last().copied().unwrap_or(0)
    }

    /// Takes in a line. Nothing is taken where it cannot be read.
    pub(super) fn push(&mut self, line: Line) -> Result<(), StoreError> {
        let id = value::id("case_lines.case_id", &line.case_id)?;
        let run = value::id("case_lines.run_id", &line.run_id)?;
        let _machine: MachineId = value::id("case_lines.machine_id", &line.machine_id)?;
        let status = value::name("case_lines.status", &line.status)?;
        let task = value::name("case_lines.task", &line.task)?;
        let training = line.training.unwrap_or_default();
        let bytes = |n: Option<i64>| n.map_or(f64::NAN, |n| n as f64);
        let (peak, estimated) = (bytes(line.peak_bytes), bytes(line.estimated_bytes));
        let case = self.numbers.len();
        if let Some(before) = self.indices.insert(id, index(case)) {
            self.live.remove(before);
            self.runs.forget(before);
            self.facets.values_mut().for_each(|values| values.forget(before));
        }
        for (facet, text) in [
            (Facet::Model, line.model),
            (Facet::Task, line.task),
            (Facet::Method, method(Some(training.as_str()).filter(|t| !t.is_empty())).to_owned()),
            (Facet::Precision, line.precision),
            (Facet::Attention, line.attention),
            (Facet::Variant, line.variant),
            (Facet::Cache, line.cache),
            (Facet::KvCache, line.kv_cache),
            (Facet::Engine, line.engine),
            (Facet::Device, line.device),
            (Facet::Machine, line.machine_id),
            (Facet::Status, line.status),
            (Facet::Batch, line.batch.to_string()),
            (Facet::Prompt, line.prompt_tokens.to_string()),
            (Facet::Generate, line.generate_tokens.to_string()),
        ] {
            self.facets.entry(facet).or_default().push(text);
        }
        self.numbers.push(line.n);
        self.ids.push(id);
        self.live.insert(index(case));
        self.runs.push(run);
        self.statuses.push(status);
        self.tasks.push(task);
        self.trainings.push(training);
        self.finished.push(line.finished_at);
        match self.ends.last_mut() {
            Some((earliest, latest)) if !case.is_multiple_of(BLOCK) => {
                *earliest = line.finished_at.min(*earliest);
                *latest = line.finished_at.max(*latest);
            }
            _ => self.ends.push((line.finished_at, line.finished_at)),
        }
        self.decode.0.push(line.decode_tokens_per_second.unwrap_or(f64::NAN));
        self.prefill.0.push(line.prefill_tokens_per_second.unwrap_or(f64::NAN));
        self.ttft.0.push(line.ttft_ms.unwrap_or(f64::NAN));
        self.peak.0.push(peak);
        self.estimated.0.push(estimated);
        self.error.0.push(((estimated - peak) / peak).abs());
        Ok(())
    }

    /// Puts new cases into the orders, where there are enough of them to be worth it.
    pub(super) fn settle(&mut self) {
        let all = self.numbers.len();
        if all - self.sorted < FRESH {
            return;
        }
        let mut orders = std::mem::take(&mut self.orders);
        for order in Order::ALL {
            let Sorted { having, lacking } = orders.entry(*order).or_default();
            for case in self.sorted..all {
                let side = if self.figure(*order, case).is_some() { &mut *having } else { &mut *lacking };
                side.push(index(case));
            }
            let key = |case: u32| (self.figure(*order, case as usize).unwrap_or(f64::NAN), case);
            // What is sorted already is found to be so, and the rest merged into it.
            having.sort_by(|a, b| {
                let (a, b) = (key(*a), key(*b));
                a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
            });
        }
        self.orders = orders;
        self.sorted = all;
    }

    /// The cases that `query` asks for, with the counts of every facet.
    pub(super) fn list(&self, query: &CaseQuery) -> CaseListing {
        let selection = self.select(query);
        let facets = Facet::ALL.iter().map(|facet| (*facet, self.counts(*facet, &selection))).collect();
        let backward = query.after.is_none() && query.before.is_some();
        let start = query.after.or(query.before);
        // Going back is going forward in the opposite order, and turning the page over.
        let sequence = Sequence::new(self, query.order, query.descending, backward);
        // One more than asked tells whether there is another page.
        let mut cases = sequence.first(query.limit + 1, start, &selection.passing);
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
            total: selection.passing.len(),
            facets,
        }
    }

    /// Which cases `query` asks for, `skip` of them left out, and how many pass.
    pub(super) fn ids(&self, query: &CaseQuery, skip: usize) -> (Vec<CaseId>, u64) {
        let Selection { passing, .. } = self.select(query);
        let sequence = Sequence::new(self, query.order, query.descending, false);
        let cases = sequence.nth(skip, query.limit, &passing);
        (cases.into_iter().map(|case| self.ids[case]).collect(), passing.len())
    }

    /// What a run's cases come to, and the first of their lines.
    pub(super) fn run(&self, run: RunId, most: usize) -> (RunFigures, Vec<CaseLine>) {
        let Some(cases) = self.runs.having(&run) else { return (RunFigures::default(), Vec::new()) };
        let mut figures = RunFigures { done: cases.len(), ..RunFigures::default() };
        let mut errors = 0.0;
        for case in cases.iter().map(|case| case as usize) {
            figures.ok += u64::from(self.statuses[case] == CaseStatus::Ok);
            let of = |figures: &Figures, best: Option<f64>| {
                figures.of(case).into_iter().chain(best).reduce(f64::max)
            };
            figures.best_decode_tokens_per_second = of(&self.decode, figures.best_decode_tokens_per_second);
            let peak = of(&self.peak, figures.largest_peak.map(|peak| peak.0 as f64));
            figures.largest_peak = peak.map(whole_bytes);
            if let Some(error) = self.error.of(case).filter(|error| error.is_finite()) {
                errors += error;
                figures.estimated += 1;
            }
        }
        figures.mean_error = (figures.estimated > 0).then(|| errors / figures.estimated as f64);
        (figures, cases.iter().take(most).map(|case| self.line(case as usize)).collect())
    }

    /// The values of a facet that a case has, in order.
    pub(super) fn values(&self, facet: Facet) -> Vec<String> {
        let Some(values) = self.facets.get(&facet) else { return Vec::new() };
        let of = values.distinct.iter().zip(&values.having);
        let mut there: Vec<String> =
            of.filter(|(_, cases)| !cases.is_empty()).map(|(value, _)| value.clone()).collect();
        there.sort();
        there
    }

    fn select(&self, query: &CaseQuery) -> Selection<'_> {
        let mut base = Cow::Borrowed(&self.live);
        if let Some(run) = &query.run {
            base = Cow::Owned(self.runs.having(run).map_or_else(RoaringBitmap::new, |cases| &*base & cases));
        }
        if query.since.is_some() || query.until.is_some() {
            let since = query.since.map_or(i64::MIN, |t| t.0);
            let until = query.until.map_or(i64::MAX, |t| t.0);
            *base.to_mut() &= self.finished_within(since, until);
        }
        if let Some(part) = &query.search {
            let part = part.to_lowercase();
            *base.to_mut() &= self.admitted(Facet::Model, |model| model.to_lowercase().contains(&part));
        }
        let filters = query.facets.iter().filter(|(_, values)| !values.is_empty());
        let admitted: Vec<(Facet, RoaringBitmap)> = filters
            .map(|(facet, values)| (*facet, self.admitted(*facet, |value| values.contains(value))))
            .collect();
        let but = |facet: Facet| {
            let others = admitted.iter().filter(|(other, _)| *other != facet);
            others.fold(base.clone().into_owned(), |cases, (_, of)| cases & of)
        };
        let but = admitted.iter().map(|(facet, _)| (*facet, but(*facet))).collect();
        for (_, of) in &admitted {
            *base.to_mut() &= of;
        }
        Selection { passing: base, but }
    }

    fn admitted(&self, facet: Facet, admits: impl Fn(&String) -> bool) -> RoaringBitmap {
        self.facets.get(&facet).map_or_else(RoaringBitmap::new, |values| values.admitted(admits))
    }

    /// The cases that ended not before `since` and before `until`. They come nearly in the order of time, so that hardly a
    /// block is looked into.
    fn finished_within(&self, since: i64, until: i64) -> RoaringBitmap {
        let mut cases = RoaringBitmap::new();
        for (block, (earliest, latest)) in self.ends.iter().enumerate() {
            let first = block * BLOCK;
            let block = first..self.finished.len().min(first + BLOCK);
            if since <= *earliest && *latest < until {
                cases.insert_range(index(block.start)..index(block.end));
            } else if since <= *latest && *earliest < until {
                let is_within = |case: &usize| (since..until).contains(&self.finished[*case]);
                cases.extend(block.filter(is_within).map(index));
            }
        }
        cases
    }

    /// The values of a facet with the cases that pass every other facet's filter.
    fn counts(&self, facet: Facet, selection: &Selection<'_>) -> Vec<FacetValue> {
        let Some(values) = self.facets.get(&facet) else { return Vec::new() };
        let among = selection.but.get(&facet).unwrap_or(&selection.passing);
        let count = |cases: &RoaringBitmap| {
            if among.len() == self.live.len() { cases.len() } else { cases.intersection_len(among) }
        };
        let of = values.distinct.iter().zip(&values.having);
        let mut counted: Vec<FacetValue> =
            of.map(|(value, cases)| FacetValue { value: value.clone(), cases: count(cases) }).collect();
        if facet.is_number() {
            counted.sort_by_key(|v| v.value.parse::<u64>().unwrap_or(u64::MAX));
        } else {
            counted.sort_by(|a, b| b.cases.cmp(&a.cases).then_with(|| a.value.cmp(&b.value)));
        }
        counted
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
        let text = |facet| self.facets.get(&facet).map_or("", |values| values.of(case)).to_owned();
        let number = |facet| text(facet).parse::<u64>().unwrap_or(0);
        let bytes = |figures: &Figures| figures.of(case).map(whole_bytes);
        CaseLine {
            id: self.ids[case],
            run_id: *self.runs.of(case),
            // Read once when it was taken in.
            machine_id: text(Facet::Machine).parse().unwrap_or(MachineId(uuid::Uuid::nil())),
            model: text(Facet::Model),
            task: self.tasks[case],
            training: Some(self.trainings.of(case).clone()).filter(|training| !training.is_empty()),
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

/// The cases in an order: those that were sorted, and those that came since.
struct Sequence<'a> {
    columns: &'a Columns,
    order: Order,
    descending: bool,
    backward: bool,
    having: &'a [u32],
    lacking: &'a [u32],
}

impl<'a> Sequence<'a> {
    fn new(columns: &'a Columns, order: Order, descending: bool, backward: bool) -> Self {
        let sorted = columns.orders.get(&order);
        let (having, lacking) = sorted.map_or((&[][..], &[][..]), |s| (&s.having, &s.lacking));
        Self { columns, order, descending, backward, having, lacking }
    }

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

    fn place(&self, case: u32) -> Place {
        self.columns.place(self.order, case as usize)
    }

    /// The `n`-th of those that were sorted.
    fn at(&self, n: usize) -> u32 {
        let n = if self.backward { self.columns.sorted - 1 - n } else { n };
        let (side, n) =
            if n < self.having.len() { (self.having, n) } else { (self.lacking, n - self.having.len()) };
        if self.descending { side[side.len() - 1 - n] } else { side[n] }
    }

    /// How many of those that were sorted do not come after `start`.
    fn until(&self, start: Place) -> usize {
        let (mut low, mut high) = (0, self.columns.sorted);
        while low < high {
            let middle = low.midpoint(high);
            if self.compare(self.place(self.at(middle)), start) == Ordering::Greater {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// The first `n` cases that pass and come after `start`, in order.
    fn first(&self, n: usize, start: Option<Place>, passing: &RoaringBitmap) -> Vec<usize> {
        let comes = |case: &u32| {
            start.is_none_or(|start| self.compare(self.place(*case), start) == Ordering::Greater)
        };
        let begin = start.map_or(0, |start| self.until(start));
        let end = self.columns.sorted.min(begin + STEPS);
        // Where few pass, sorting them is less than looking for them.
        let few = passing.len() <= STEPS as u64 / 4;
        let mut found = Vec::new();
        if !few {
            let there = (begin..end).map(|n| self.at(n)).filter(|case| passing.contains(*case));
            found.extend(there.take(n));
        }
        if found.len() == n || (!few && end == self.columns.sorted) {
            found.extend(passing.range(index(self.columns.sorted)..).filter(comes));
        } else {
            found = passing.iter().filter(comes).collect();
        }
        let by_place = |a: &u32, b: &u32| self.compare(self.place(*a), self.place(*b));
        if found.len() > n {
            found.select_nth_unstable_by(n, by_place);
            found.truncate(n);
        }
        found.sort_unstable_by(by_place);
        found.into_iter().map(|case| case as usize).collect()
    }

    /// `n` cases that pass, after `skip` others.
    fn nth(&self, skip: usize, n: usize, passing: &RoaringBitmap) -> Vec<usize> {
        let mut fresh: Vec<u32> = passing.range(index(self.columns.sorted)..).collect();
        fresh.sort_unstable_by(|a, b| self.compare(self.place(*a), self.place(*b)));
        let mut fresh = fresh.into_iter().peekable();
        let mut sorted =
            (0..self.columns.sorted).map(|n| self.at(n)).filter(|case| passing.contains(*case)).peekable();
        let merged = std::iter::from_fn(|| match (sorted.peek(), fresh.peek()) {
            (Some(a), Some(b)) if self.compare(self.place(*b), self.place(*a)) == Ordering::Less => {
                fresh.next()
            }
            (Some(_), _) => sorted.next(),
            (None, _) => fresh.next(),
        });
        merged.skip(skip).take(n).map(|case| case as usize).collect()
    }
}
