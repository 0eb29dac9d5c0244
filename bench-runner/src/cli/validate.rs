//! `bench-runner validate`: the planner against measurement rows.

use std::io::BufRead;
use std::path::PathBuf;

use clap::Args;
use planner::MeasurementRow;

use super::CliError;
use super::input::Input;
use super::output;
use super::plan::read_model;
use crate::report::{Align, Column, render};
use crate::validate::{FitReport, LeftOut, Report, fits, validate as compare};

/// Hold the planner against measurement rows (one JSON document a line, as `export --format rows` writes them): per
/// engine and component the number of figures, mean absolute error, median and worst, in percent of what was measured.
#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    /// Measurement rows, - for standard input
    #[arg(value_name = "FILE.jsonl")]
    file: PathBuf,
    /// List every figure that is further off than this
    #[arg(long, env = "PLIMSOLL_LIMIT", value_name = "PERCENT")]
    limit: Option<f64>,
    /// Print the same as JSON
    #[arg(long, env = "PLIMSOLL_JSON", conflicts_with = "markdown")]
    json: bool,
    /// Print the table as Markdown
    #[arg(long, env = "PLIMSOLL_MARKDOWN")]
    markdown: bool,
}

pub(super) fn validate(args: &ValidateArgs) -> Result<(), CliError> {
    if let Some(limit) = args.limit
        && (limit < 0.0 || !limit.is_finite())
    {
        return Err(CliError::Input(format!("--limit: {limit} is out of range; accepted: 0 or more")));
    }
    let input = Input::open(&args.file, "FILE")?;
    let mut rows: Vec<MeasurementRow> = Vec::new();
    for (number, line) in (1..).zip(input.reader().lines()) {
        let line = line.map_err(|e| input.broken(&e))?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |e: String| CliError::Input(format!("{} line {number}: {e}", args.file.display()));
        let mut row: MeasurementRow =
            serde_json::from_str(&line).map_err(|e| wrong(format!("not a row: {e}")))?;
        read_model(&mut row.plan.model).map_err(|e| wrong(e.message))?;
        rows.push(row);
    }
    let mut report =
        compare(&rows, args.limit, |row| planner::estimate(&row.plan).map_err(|e| e.to_string()));
    report.fits = fits(&rows);
    if args.json {
        output::json(&report)?;
    } else if args.markdown {
        output::line(markdown(&report))?;
    } else {
        output::line(describe(&report, args.limit))?;
    }
    Ok(())
}

fn markdown(report: &Report) -> String {
    let mut lines = vec![
        "| engine | component | n | mean abs. error | median | worst |".to_owned(),
        "|---|---|--:|--:|--:|--:|".to_owned(),
    ];
    lines.extend(report.components.iter().map(|c| {
        format!(
            "| {} | {} | {} | {:.2} % | {:.2} % | {:+.1} % |",
            c.engine,
            c.component.replace('_', " "),
            c.n,
            c.mean_absolute_error_percent,
            c.median_absolute_error_percent,
            c.worst_error_percent
        )
    }));
    if !report.fits.is_empty() {
        lines.push(String::new());
        lines.push(
            "| fitted to measurements | component | n | models | error as used | fitted to all | left out | worst | n left out |"
                .to_owned(),
        );
        lines.push("|---|---|--:|--:|--:|--:|--:|--:|--:|".to_owned());
        lines.extend(report.fits.iter().map(|fit| format!("| {} |", fit_cells(fit).join(" | "))));
    }
    lines.join("\n")
}

/// A fit as a table shows it.
fn fit_cells(fit: &FitReport) -> Vec<String> {
    let percent = |value: f64| format!("{value:.2} %");
    let by = match fit.left_out {
        LeftOut::Model => "by model",
        LeftOut::Run => "by run",
    };
    vec![
        fit.what.to_owned(),
        fit.component.replace('_', " "),
        fit.rows.to_string(),
        fit.models.to_string(),
        percent(fit.used_error_percent),
        percent(fit.fitted_error_percent),
        fit.left_out_error_percent
            .map_or_else(|| "none can be".to_owned(), |e| format!("{} {by}", percent(e))),
        fit.left_out_worst_percent.map_or_else(String::new, |e| format!("{e:+.1} %")),
        fit.left_out_rows.to_string(),
    ]
}

fn describe(report: &Report, limit: Option<f64>) -> String {
    let columns = [
        Column("engine", Align::Left),
        Column("component", Align::Left),
        Column("n", Align::Right),
        Column("mean |error| %", Align::Right),
        Column("median |error| %", Align::Right),
        Column("worst %", Align::Right),
        Column("worst row", Align::Left),
    ];
    let rows: Vec<Vec<String>> = report
        .components
        .iter()
        .map(|c| {
            vec![
                c.engine.clone(),
                c.component.to_owned(),
                c.n.to_string(),
                format!("{:.2}", c.mean_absolute_error_percent),
                format!("{:.2}", c.median_absolute_error_percent),
                format!("{:+.2}", c.worst_error_percent),
                c.worst_id.clone(),
            ]
        })
        .collect();
    let mut lines = vec![
        format!(
            "{} rows, {} answered, {} refused by the planner",
            report.rows,
            report.answered,
            report.refused.len()
        ),
        String::new(),
        render(&columns, &rows),
    ];
    if !report.fits.is_empty() {
        let columns = [
            Column("fitted to measurements", Align::Left),
            Column("component", Align::Left),
            Column("n", Align::Right),
            Column("models", Align::Right),
            Column("error as used", Align::Right),
            Column("fitted to all", Align::Right),
            Column("left out", Align::Right),
            Column("worst", Align::Right),
            Column("n left out", Align::Right),
        ];
        let rows: Vec<Vec<String>> = report.fits.iter().map(fit_cells).collect();
        lines.extend([String::new(), render(&columns, &rows)]);
    }
    if let Some(limit) = limit {
        lines.push(format!("\n{} figures are further off than {limit} %:", report.beyond.len()));
        lines.extend(report.beyond.iter().map(|f| {
            format!(
                "{}: {} {}: measured {}, estimated {}, {:+.2} %",
                f.id, f.engine, f.component, f.measured, f.estimated, f.error_percent
            )
        }));
    }
    if !report.refused.is_empty() {
        lines.push("\nrefused:".to_owned());
        lines.extend(report.refused.iter().map(|r| format!("{}: {}: {}", r.id, r.engine, r.reason)));
    }
    lines.join("\n")
}
