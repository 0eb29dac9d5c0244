//! Tables in plain text.

use contract::case::{Case, CaseSpec, CaseStatus};
use contract::edge::EdgeAxis;
use contract::measurement::Phase;
use contract::statistics::{CaseSpeed, Distribution};
use planner::Bytes;

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

/// Every case of a run, speed and memory beside the planner's estimate of its peak.
#[must_use]
pub fn cases_table(cases: &[Case]) -> String {
    let columns = [
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
        Column("prefill MiB", Align::Right),
        Column("decode MiB", Align::Right),
        Column("estimate MiB", Align::Right),
        Column("error %", Align::Right),
    ];
    let rows: Vec<Vec<String>> = cases.iter().map(row).collect();
    let mut text = render(&columns, &rows);
    if let Some(edges) = edges_table(cases) {
        text.push_str("\n\n");
        text.push_str(&edges);
    }
    let failed: Vec<String> = cases
        .iter()
        .filter(|c| c.status != CaseStatus::Ok)
        .map(|c| {
            format!("{}: {}: {}", c.spec.key(), c.status, c.error.as_deref().unwrap_or("no reason given"))
        })
        .collect();
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
    text
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
    let attention = spec.attention.as_ref().map(|attention| {
        let document = serde_json::to_value(attention).unwrap_or_default();
        document["kind"].as_str().unwrap_or_default().to_owned()
    });
    let chosen: Vec<String> = [
        spec.variant.map(|v| v.as_str().to_owned()),
        attention,
        spec.cache.map(|c| c.as_str().to_owned()),
        spec.kv_cache.map(|k| format!("kv {k}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if chosen.is_empty() { "default".to_owned() } else { chosen.join(", ") }
}

fn mib(bytes: Option<Bytes>) -> String {
    bytes.map_or_else(dash, |b| format!("{:.1}", b.mib()))
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
        cells.resize(12, dash());
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
        mib(peak(Phase::Prefill)),
        mib(peak(Phase::Decode)),
        mib(estimate),
        error.map_or_else(dash, |e| format!("{e:+.2}")),
    ]);
    cells
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
    use planner::Bytes;

    use super::{Align, Column, percent, render};

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
