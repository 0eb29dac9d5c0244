//! Tables in plain text.

use std::collections::BTreeSet;

use contract::case::{Case, CaseSpec, CaseStatus, attention_word, key_in_words};
use contract::edge::EdgeAxis;
use contract::measurement::Phase;
use contract::statistics::{CaseSpeed, Distribution, joules_per_token};
use planner::Bytes;

mod training;

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A column's heading and its text's place.
#[derive(Debug, Clone, Copy)]
pub struct Column(pub &'static str, pub Align);

/// Rows under their headings, columns two spaces apart, as wide as their widest text. Characters count one each.
#[must_use]
pub fn render(columns: &[Column], rows: &[Vec<String>]) -> String {
    let width = |index: usize, heading: &str| {
        let longest = rows.iter().filter_map(|r| r.get(index)).map(|c| c.chars().count()).max().unwrap_or(0);
        longest.max(heading.chars().count())
    };
    let widths: Vec<usize> = columns.iter().enumerate().map(|(i, c)| width(i, c.0)).collect();
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells
            .iter()
            .zip(columns)
            .zip(&widths)
            .map(|((cell, column), &width)| match column.1 {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            })
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let headings: Vec<String> = columns.iter().map(|c| c.0.to_owned()).collect();
    let rule: Vec<String> = widths.iter().map(|w| "-".repeat(*w)).collect();
    let mut lines = vec![line(&headings), line(&rule)];
    lines.extend(rows.iter().map(|r| line(r)));
    lines.join("\n")
}

/// Every case of a run, speed and memory beside the planner's estimate of its peak; training steps in a table of their own.
#[must_use]
pub fn cases_table(cases: &[Case]) -> String {
    let (steps, others): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|c| c.spec.training.is_some());
    let mut text = match (others.is_empty(), steps.is_empty()) {
        (_, true) => generations(&others),
        (true, false) => training::table(&steps),
        (false, false) => format!("{}\n\n{}", generations(&others), training::table(&steps)),
    };
    if let Some(edges) = edges_table(cases) {
        text.push_str("\n\n");
        text.push_str(&edges);
    }
    let with_quality = cases.iter().any(|case| case.spec.quality.is_some());
    let metered = is_metered(&others);
    let mut failed: Vec<String> = cases
        .iter()
        .filter(|c| c.status != CaseStatus::Ok)
        .map(|c| {
            let why = c.error.as_deref().unwrap_or("no reason given");
            format!("{}: {}: {why}", key_in_words(&c.spec.key()), c.status)
        })
        .collect();
    failed.extend(cases.iter().filter_map(|case| {
        let why = case.measurement.as_ref()?.no_quality.as_ref()?;
        Some(format!("{}: no quality: {why}", key_in_words(&case.spec.key())))
    }));
    if !failed.is_empty() {
        text.push_str("\n\n");
        text.push_str(&failed.join("\n"));
    }
    text.push_str("\n\n");
    text.push_str(&counts(cases));
    text.push_str(
        "\n\nMiB are 2^20 bytes: the most alive at once in that phase. Rates are the mean ± standard deviation over \
         repetitions, of the whole batch; p50 and p99 are of single tokens. Error is the estimate against the larger peak.",
    );
    if with_quality {
        text.push_str("\n\n");
        text.push_str(
            "Perplexity ± its standard error over the predicted tokens; KL in nats and top-1 against the reference.",
        );
        let qualities = cases.iter().filter_map(|case| case.measurement.as_ref()?.quality.as_ref());
        let references: BTreeSet<String> = qualities
            .map(|q| {
                format!(
                    "{}: perplexity {:.3} over {} tokens of {}",
                    q.reference, q.reference_perplexity, q.tokens, q.text
                )
            })
            .collect();
        for reference in references {
            text.push_str("\nReference ");
            text.push_str(&reference);
        }
    }
    if metered {
        text.push_str(" J/tok are joules of the whole device for each token of the batch.");
    }
    text
}

/// Whether any case has its energy.
fn is_metered(cases: &[&Case]) -> bool {
    cases.iter().any(|c| c.measurement.as_ref().is_some_and(|m| !m.energy.is_empty()))
}

/// Cases that generate or embed.
fn generations(cases: &[&Case]) -> String {
    let mut columns = vec![
        Column("model", Align::Left),
        Column("precision", Align::Left),
        Column("batch", Align::Right),
        Column("prompt", Align::Right),
        Column("gen", Align::Right),
        Column("prefill tok/s", Align::Right),
        Column("decode tok/s", Align::Right),
        Column("TTFT ms", Align::Right),
        Column("p50 ms", Align::Right),
        Column("p99 ms", Align::Right),
        Column("load MiB", Align::Right),
        Column("prefill MiB", Align::Right),
        Column("decode MiB", Align::Right),
        Column("estimate MiB", Align::Right),
        Column("error %", Align::Right),
    ];
    let mut rows: Vec<Vec<String>> = cases.iter().copied().map(row).collect();
    // What tells two rows apart stands beside their precision.
    if cases.iter().any(|case| how(&case.spec) != how(&cases[0].spec)) {
        columns.insert(2, Column("how", Align::Left));
        for (row, case) in rows.iter_mut().zip(cases) {
            row.insert(2, how(&case.spec));
        }
    }
    if cases.iter().any(|case| case.spec.quality.is_some()) {
        columns.extend(["perplexity", "KL mean", "KL p99", "top-1 %"].map(|name| Column(name, Align::Right)));
        for (row, case) in rows.iter_mut().zip(cases) {
            row.extend(quality_cells(case));
        }
    }
    if is_metered(cases) {
        columns.extend([Column("prefill J/tok", Align::Right), Column("decode J/tok", Align::Right)]);
        for (row, case) in rows.iter_mut().zip(cases) {
            row.extend([Phase::Prefill, Phase::Decode].map(|phase| energy(case, phase)));
        }
    }
    render(&columns, &rows)
}

/// How a case predicts, under the columns of [`generations`].
fn quality_cells(case: &Case) -> [String; 4] {
    let Some(quality) = case.measurement.as_ref().and_then(|m| m.quality.as_ref()) else {
        return [(); 4].map(|()| dash());
    };
    [
        format!("{:.3} ±{:.3}", quality.perplexity, quality.perplexity_error),
        format!("{:.6}", quality.kl_mean),
        format!("{:.6}", quality.kl_p99),
        format!("{:.2}", quality.top1_agreement * 100.0),
    ]
}

/// Joules per token of a phase.
fn energy(case: &Case, phase: Phase) -> String {
    let joules = case.measurement.as_ref().and_then(|m| joules_per_token(&case.spec, m, phase));
    joules.map_or_else(dash, |joules| format!("{joules:.3}"))
}

/// `12 cases: 9 ok, 2 out-of-memory, 1 refused`.
#[must_use]
pub fn counts(cases: &[Case]) -> String {
    let by_status = CaseStatus::ALL.iter().filter_map(|status| {
        let n = cases.iter().filter(|case| case.status == *status).count();
        (n > 0).then(|| format!("{n} {status}"))
    });
    let parts: Vec<String> = by_status.collect();
    let noun = if cases.len() == 1 { "case" } else { "cases" };
    let listed = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    format!("{} {noun}{listed}", cases.len())
}

/// The edges that were searched; none where none was.
fn edges_table(cases: &[Case]) -> Option<String> {
    let rows: Vec<Vec<String>> = cases.iter().filter_map(edge_row).collect();
    let columns = [
        Column("edge", Align::Left),
        Column("model", Align::Left),
        Column("precision", Align::Left),
        Column("how", Align::Left),
        Column("at", Align::Left),
        Column("largest", Align::Right),
        Column("fails at", Align::Right),
        Column("predicted", Align::Right),
        Column("tried", Align::Right),
        Column("peak MiB", Align::Right),
        Column("limit MiB", Align::Right),
    ];
    (!rows.is_empty()).then(|| render(&columns, &rows))
}

fn edge_row(case: &Case) -> Option<Vec<String>> {
    let spec = &case.spec;
    let measurement = case.measurement.as_ref()?;
    let edge = measurement.edge.as_ref()?;
    let at = match edge.axis {
        EdgeAxis::Batch => format!("prompt {} + {}", spec.prompt_tokens, spec.generate_tokens),
        EdgeAxis::Context => format!("batch {}, {} generated", spec.batch, spec.generate_tokens),
    };
    let number = |n: Option<u64>| n.map_or_else(dash, |n| n.to_string());
    Some(vec![
        edge.axis.to_string(),
        spec.model.clone(),
        spec.precision.clone(),
        how(spec),
        at,
        edge.largest.to_string(),
        number(edge.smallest_failed),
        number(edge.predicted),
        edge.probes.iter().filter(|p| p.inferred_from.is_none()).count().to_string(),
        mib(measurement.peak_allocated()),
        mib(spec.memory_limit),
    ])
}

/// What of the ways to compute a case was chosen.
fn how(spec: &CaseSpec) -> String {
    let chosen: Vec<String> = [
        spec.variant.map(|v| v.as_str().to_owned()),
        spec.attention.as_ref().map(attention_word),
        spec.cache.map(|c| c.as_str().to_owned()),
        spec.kv_cache.map(|k| format!("kv {k}")),
        spec.release_threshold.map(|t| format!("release {}", t.as_str())),
        spec.event_tracking.map(|t| format!("events {}", t.as_str())),
        // An edge's table has a column for it.
        spec.memory_limit.filter(|_| spec.edge.is_none()).map(|limit| format!("limit {limit}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if chosen.is_empty() { "default".to_owned() } else { chosen.join(", ") }
}

fn row(case: &Case) -> Vec<String> {
    let measurement = case.measurement.as_ref().filter(|_| case.status == CaseStatus::Ok);
    let spec = &measurement.map_or_else(|| case.spec.clone(), |m| case.spec.measured(m));
    let mut cells = vec![
        spec.model.clone(),
        spec.precision.clone(),
        spec.batch.to_string(),
        spec.prompt_tokens.to_string(),
        spec.generate_tokens.to_string(),
    ];
    let estimate = case.estimate.as_ref().map(|e| e.totals.allocated);
    let Some(measurement) = measurement else {
        cells.push(case.status.to_string());
        cells.resize(13, dash());
        cells.extend([mib(estimate), dash()]);
        return cells;
    };
    let speed = CaseSpeed::of(&case.spec, measurement);
    let one = |d: Option<Distribution>, figure: fn(&Distribution) -> f64| {
        d.map_or_else(dash, |d| format!("{:.2}", figure(&d)))
    };
    let peak = |phase| measurement.phase(phase).map(|p| p.peak_allocated);
    let error = estimate.zip(measurement.peak_allocated()).and_then(|(e, m)| percent(e, m));
    cells.extend([
        spread(speed.prefill_tokens_per_second),
        spread(speed.decode_tokens_per_second),
        one(speed.ttft_ms, |d| d.p50),
        one(speed.token_ms, |d| d.p50),
        one(speed.token_ms, |d| d.p99),
        mib(peak(Phase::Load)),
        mib(peak(Phase::Prefill)),
        mib(peak(Phase::Decode)),
        mib(estimate),
        error.map_or_else(dash, |e| format!("{e:+.2}")),
    ]);
    cells
}

fn mib(bytes: Option<Bytes>) -> String {
    bytes.map_or_else(dash, |b| format!("{:.1}", b.mib()))
}

fn dash() -> String {
    "-".to_owned()
}

/// `12.3 ±0.4`.
fn spread(distribution: Option<Distribution>) -> String {
    distribution.map_or_else(dash, |d| format!("{:.1} ±{:.1}", d.mean, d.standard_deviation))
}

/// How far `estimate` is from `measured`, in percent of it.
fn percent(estimate: Bytes, measured: Bytes) -> Option<f64> {
    (measured.0 > 0).then(|| (estimate.0 as f64 / measured.0 as f64 - 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use contract::case::{Case, CaseSpec, CaseStatus};
    use contract::ids::{CaseId, RunId, UnixMillis};
    use contract::measurement::{Measurement, Phase};
    use contract::telemetry::PhaseEnergy;
    use planner::document::plan::Attention;
    use planner::document::precision::CachePrecision;
    use planner::{Bytes, Tokens};
    use uuid::Uuid;

    use super::{Align, Column, cases_table, percent, render};

    fn blank() -> Case {
        Case {
            id: CaseId(Uuid::from_u128(1)),
            run_id: RunId(Uuid::from_u128(2)),
            position: 0,
            spec: CaseSpec { batch: 2, prompt_tokens: Tokens(10), ..CaseSpec::default() },
            engine: String::new(),
            plan: None,
            estimate: None,
            status: CaseStatus::Ok,
            error: None,
            measurement: Some(Measurement::default()),
            finished_at: UnixMillis(0),
        }
    }

    #[test]
    fn rows_that_differ_in_how_they_computed_say_so() {
        let mut cases = [blank(), blank()];
        assert!(!cases_table(&cases).contains(" how "), "nothing tells them apart");
        cases[1].spec.attention = Some(Attention::SlidingWindow { window: Tokens(64) });
        cases[1].spec.kv_cache = Some(CachePrecision::Fp8);
        let table = cases_table(&cases);
        assert!(table.contains(" how "), "{table}");
        assert!(table.contains("default") && table.contains("sliding-window:64, kv fp8"), "{table}");
        cases[1].status = CaseStatus::Failed;
        let table = cases_table(&cases);
        assert!(table.contains(" sliding-window:64 kv:fp8 b2"), "a reason's case is in words: {table}");
    }

    #[test]
    fn energy_has_columns_where_it_was_measured() {
        let mut case = blank();
        assert!(!cases_table(std::slice::from_ref(&case)).contains("J/tok"));
        let energy = PhaseEnergy { phase: Phase::Prefill, joules: 5.0, milliseconds: 1.0, times: 1 };
        case.measurement = Some(Measurement { energy: vec![energy], ..Measurement::default() });
        let table = cases_table(&[case]);
        assert!(table.contains("prefill J/tok  decode J/tok"), "{table}");
        assert!(table.contains("0.250             -"), "5 J of 20 tokens: {table}");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_text() {
        let columns = [Column("model", Align::Left), Column("tok/s", Align::Right)];
        let rows = [vec!["a".to_owned(), "1.0 ±0.1".to_owned()], vec!["longer".to_owned(), "-".to_owned()]];
        let want = "model      tok/s\n------  --------\na       1.0 ±0.1\nlonger         -";
        assert_eq!(render(&columns, &rows), want);
    }

    #[test]
    fn errors_are_signed_and_of_the_measured() {
        assert_eq!(percent(Bytes(110), Bytes(100)).map(f64::round), Some(10.0));
        assert_eq!(percent(Bytes(50), Bytes(100)), Some(-50.0));
        assert_eq!(percent(Bytes(50), Bytes(0)), None);
    }
}
