//! The table of a run's cases.

use std::collections::HashMap;

use contract::case::{Case, CaseSpec, CaseStatus};
use contract::command::{FOLDER, case_command};
use contract::edge::Edge;
use contract::ids::CaseId;
use contract::measurement::{Measurement, Phase};
use contract::statistics::{CaseSpeed, Distribution};
use leptos::prelude::*;
use planner::{Bytes, Estimate};

use super::residual_percent;
use crate::backend::Today;
use crate::components::{State, Tone};
use crate::format;
use crate::islands::CopyButton;

/// Every case that ended, estimate beside measurement.
#[component]
pub(super) fn Cases(
    cases: Vec<Case>,
    /// What today's planner says, as far as it is known.
    today: HashMap<CaseId, Today>,
    /// Cases of the run that there are.
    all: u64,
    /// Links to others.
    pages: Option<AnyView>,
) -> impl IntoView {
    if cases.is_empty() && all > 0 {
        return view! {
            <p class="notice" id="cases">
                {format!("The run's {} cases end before the one that the address asks for. ", crate::format::count(all))}
                <a href="?from=0#cases">"The first of them"</a>
            </p>
        }
        .into_any();
    }
    if cases.is_empty() {
        return view! { <p class="notice">"No case has ended yet."</p> }.into_any();
    }
    let peak = |case: &Case| case.measurement.as_ref().and_then(Measurement::peak_allocated);
    let estimate = |case: &Case| case.estimate.as_ref().map(|e| e.totals.allocated);
    let largest = cases.iter().filter_map(|case| peak(case).max(estimate(case))).max().unwrap_or(Bytes(1));
    let unknown = cases.iter().filter(|case| case.plan.is_some() && !today.contains_key(&case.id)).count();
    let unknown = (unknown > 0).then(|| {
        let said = format!(
            "Today's planner is still being asked about {unknown} of these cases; load the page again to see whether it says \
             something else."
        );
        view! { <p class="muted basis inset" data-test="asked">{said}</p> }
    });
    let rows = cases.into_iter().map(|case| row(case, &today, largest)).collect_view();
    view! {
        <section class="card flush" id="cases">
            <header>
                <h2>"Cases"</h2>
                <small>"± is one standard deviation · residual is measured less estimated, of measured"</small>
            </header>
            <div class="scroll" tabindex="0" role="region" aria-label="Cases">
                <table class="wide">
                    <thead>
                        <tr>
                            <th scope="col" class="n">"#"</th>
                            <th scope="col">"Case"</th>
                            <th scope="col" class="n">"Prefill"<br />"tok/s"</th>
                            <th scope="col" class="n">"Decode"<br />"tok/s"</th>
                            <th scope="col" class="n">"First token"</th>
                            <th scope="col" class="n">"Each token"<br />"p50 · p99"</th>
                            <th scope="col" class="n">"Peak in prefill"<br />"est."</th>
                            <th scope="col" class="n">"Peak in decode"<br />"est."</th>
                            <th scope="col">"Peak: measured │ estimated"</th>
                            <th scope="col"><span class="visually-hidden">"Again"</span></th>
                        </tr>
                    </thead>
                    <tbody class="num">{rows}</tbody>
                </table>
            </div>
            {unknown} {pages}
        </section>
    }
    .into_any()
}

fn row(case: Case, today: &HashMap<CaseId, Today>, largest: Bytes) -> impl IntoView + use<> {
    let residual = residual_percent(&case);
    let today = today.get(&case.id).and_then(|today| other(today, case.estimate.as_ref())).map(Other::line);
    let predicts = case.measurement.as_ref().and_then(predicts);
    let edge = case.measurement.as_ref().and_then(|m| m.edge.as_ref()).map(edge_line);
    let spec = match &case.measurement {
        Some(measurement) => case.spec.measured(measurement),
        None => case.spec,
    };
    let head = view! {
        <td class="n">{case.position + 1}</td>
        <td>
            <a class="nowrap" href=format!("/cases/{}", case.id)>
                {spec.model.clone()}
            </a>
            <small class="nowrap">
                {format!(
                    "{} · {} at once · {} + {} tokens",
                    spec.precision,
                    spec.batch,
                    format::count(spec.prompt_tokens.0),
                    format::count(spec.generate_tokens.0),
                )}
            </small>
            {predicts.map(|words| view! { <small class="nowrap" data-test="quality">{words}</small> })}
            {edge.map(|line| view! { <small>{line}</small> })}
            {trained(&spec, case.measurement.as_ref())}
        </td>
    };
    let again = view! { <td>{actions(&spec, case.measurement.as_ref(), case.plan.as_ref())}</td> };
    let Some(measurement) = case.measurement.filter(|_| case.status == CaseStatus::Ok) else {
        let planned = case.estimate.map(|estimate| {
            view! { <small>{format!("The planner had said {}.", estimate.totals.allocated)}</small> }
        });
        return view! {
            <tr data-test="case-row">
                {head} <td colspan="7">
                    <State word=case.status.as_str() tone=Tone::from(case.status) />
                    <br />
                    {case.error.unwrap_or_else(|| "No reason was recorded.".to_owned())}
                    {planned} {today}
                </td> {again}
            </tr>
        }
        .into_any();
    };
    let speed = CaseSpeed::of(&spec, &measurement);
    let phase = |phase: Phase| {
        let measured =
            measurement.phase(phase).map_or_else(|| "–".to_owned(), |p| p.peak_allocated.to_string());
        let estimated = case.estimate.as_ref().and_then(|e| estimated_phase(e, phase));
        view! {
            <td class="n">
                {measured} {estimated.map(|bytes| view! { <small>{format!("est. {bytes}")}</small> })}
            </td>
        }
    };
    view! {
        <tr data-test="case-row">
            {head} {rate(speed.prefill_tokens_per_second)} {rate(speed.decode_tokens_per_second)}
            <td class="n">{time(speed.ttft_ms.map(|d| d.p50))}</td>
            <td class="n">
                {time(speed.token_ms.map(|d| d.p50))}
                <small>{time(speed.token_ms.map(|d| d.p99))}</small>
            </td> {phase(Phase::Prefill)} {phase(Phase::Decode)}
            <td>
                {against(measurement.peak_allocated(), case.estimate.as_ref().map(|e| e.totals.allocated), residual, largest)}
                {today}
            </td>
            {again}
        </tr>
    }
    .into_any()
}

/// The edge that a case found, in a line.
fn edge_line(edge: &Edge) -> String {
    let fails = edge
        .smallest_failed
        .map_or_else(|| "nothing tried fails".to_owned(), |n| format!("{} fails", format::count(n)));
    let predicted =
        edge.predicted.map_or_else(String::new, |n| format!("; the planner had said {}", format::count(n)));
    format!("Largest {}: {}, {fails}{predicted}", edge.axis, format::count(edge.largest))
}

/// What a case trains and how fast, where it does; its peaks by phase beside that, for the columns are a generation's.
fn trained(spec: &CaseSpec, measurement: Option<&Measurement>) -> Option<impl IntoView + use<>> {
    let name = spec.training.as_ref()?.name();
    let measured = measurement.map(|measurement| {
        let speed = CaseSpeed::of(spec, measurement).training_tokens_per_second;
        let rate = speed.map(|d| format!("{} tok/s", format::figure(d.mean)));
        let peak = |phase: Phase| {
            measurement.phase(phase).map(|p| format!("{} {}", phase.as_str(), p.peak_allocated))
        };
        let phases = [Phase::Forward, Phase::Backward, Phase::Optimizer].into_iter().filter_map(peak);
        rate.into_iter().chain(phases).collect::<Vec<_>>().join(" · ")
    });
    Some(view! { <small>{name} <br /> {measured}</small> })
}

/// What today's planner says of a case, where it is not what was stored with it.
#[derive(Debug, PartialEq)]
enum Other {
    /// Another peak.
    Otherwise { today: Bytes, stored: Bytes },
    /// A peak, where none was stored.
    Now(Bytes),
    /// Nothing any more, and why.
    Nothing { stored: Bytes, why: String },
}

/// What today's planner says otherwise; the stored answer stays what the case is held against.
fn other(today: &Today, stored: Option<&Estimate>) -> Option<Other> {
    let stored = stored.map(|estimate| estimate.totals.allocated);
    match (today.as_ref().as_ref().map(|estimate| estimate.totals.allocated), stored) {
        (Ok(today), Some(stored)) if today == stored => None,
        (Ok(today), Some(stored)) => Some(Other::Otherwise { today, stored }),
        (Ok(today), None) => Some(Other::Now(today)),
        (Err(error), Some(stored)) => Some(Other::Nothing { stored, why: error.to_string() }),
        (Err(_), None) => None,
    }
}

impl Other {
    fn line(self) -> AnyView {
        let (said, title) = match self {
            Self::Otherwise { today, stored } => (
                format!("today {today}"),
                format!(
                    "Estimated {stored} when it was measured; planner {} says {today}.",
                    planner::VERSION
                ),
            ),
            Self::Now(today) => (
                format!("today {today}"),
                format!("No estimate was stored with it; planner {} says {today}.", planner::VERSION),
            ),
            Self::Nothing { stored, why } => (
                "today no answer".to_owned(),
                format!("Estimated {stored} when it was measured; planner {} says: {why}.", planner::VERSION),
            ),
        };
        view! {
            <small class="nowrap" data-test="today" title=title>
                {said}
            </small>
        }
        .into_any()
    }
}

/// How well a case predicts text, where that was asked.
fn predicts(measurement: &Measurement) -> Option<String> {
    if let Some(why) = &measurement.no_quality {
        return Some(format!("no quality: {why}"));
    }
    let quality = measurement.quality.as_ref()?;
    Some(format!(
        "perplexity {:.2} ± {:.2} · KL {:.5} nats · top-1 {:.1} %",
        quality.perplexity,
        quality.perplexity_error,
        quality.kl_mean,
        quality.top1_agreement * 100.0
    ))
}

/// What was estimated of a phase's peak.
pub(in crate::pages) fn estimated_phase(estimate: &Estimate, phase: Phase) -> Option<Bytes> {
    estimate.phases.iter().flatten().find(|p| p.phase == phase.as_str()).map(|p| p.peak_bytes)
}

fn rate(rate: Option<Distribution>) -> impl IntoView {
    match rate {
        None => view! { <td class="n">"–"</td> }.into_any(),
        Some(rate) => {
            let spread = if rate.n > 1 {
                format!("± {} · n = {}", format::figure(rate.standard_deviation), rate.n)
            } else {
                "n = 1".to_owned()
            };
            view! { <td class="n">{format::figure(rate.mean)} <small>{spread}</small></td> }.into_any()
        }
    }
}

fn time(ms: Option<f64>) -> String {
    ms.map_or_else(|| "–".to_owned(), format::millis)
}

/// Measured as a bar, estimated as a mark across it, the residual in words.
fn against(
    measured: Option<Bytes>,
    estimated: Option<Bytes>,
    residual: Option<f64>,
    largest: Bytes,
) -> impl IntoView {
    let percent = |bytes: Bytes| 100.0 * bytes.0 as f64 / largest.0.max(1) as f64;
    let words = match (measured, estimated, residual) {
        (Some(m), Some(e), Some(r)) => format!("{m} │ {e} · {}", format::signed_percent(r)),
        (Some(m), None, _) => format!("{m} │ no estimate"),
        _ => "–".to_owned(),
    };
    view! {
        <div class="against">
            <div class="track" aria-hidden="true">
                {measured.map(|m| view! { <i style=format!("width:{:.2}%", percent(m))></i> })}
                {estimated.map(|e| view! { <b style=format!("left:calc({:.2}% - 1px)", percent(e))></b> })}
            </div>
            <small class="nowrap">{words}</small>
        </div>
    }
}

fn actions(
    spec: &CaseSpec,
    measured: Option<&Measurement>,
    plan: Option<&planner::Plan>,
) -> impl IntoView + use<> {
    let command = case_command(spec, measured);
    let incomplete = command.contains(FOLDER);
    let command = view! {
        <details class="quiet">
            <summary>"Command"</summary>
            <div class="command">
                <code tabindex="0">{command.clone()}</code>
                <CopyButton text=command label="Copy".to_owned() />
            </div>
            {incomplete
                .then(|| view! { <small>{format!("Put the folder where the model lies in place of {FOLDER}.")}</small> })}
        </details>
    };
    view! {
        <div class="stack on-screen" style="gap:4px">
            {plan
                .map(|plan| {
                    view! {
                        <a class="nowrap" data-test="open-in-planner" href=crate::link::planner_href(plan)>
                            "Open in planner"
                        </a>
                    }
                })}
            {command}
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn today_is_told_where_it_differs() {
        let plan = crate::link::first_plan().unwrap();
        let now = planner::estimate(&plan).unwrap();
        let today = Today::new(Ok(now.clone()));
        assert_eq!(other(&today, Some(&now)), None, "the same answer is not told twice");
        let mut before = now.clone();
        before.totals.allocated = Bytes(7);
        assert_eq!(
            other(&today, Some(&before)),
            Some(Other::Otherwise { today: now.totals.allocated, stored: Bytes(7) })
        );
        assert_eq!(other(&today, None), Some(Other::Now(now.totals.allocated)));
        let mut unknown = plan.clone();
        unknown.gpu.id = "no-such-gpu".to_owned();
        assert!(matches!(
            other(&Today::new(planner::estimate(&unknown)), Some(&before)),
            Some(Other::Nothing { stored: Bytes(7), why }) if why.contains("no-such-gpu") || why.contains("gpu.id")
        ));
    }
}
