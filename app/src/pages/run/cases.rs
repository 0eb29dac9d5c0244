//! The table of a run's cases.

use contract::case::{Case, CaseSpec, CaseStatus};
use contract::measurement::{Measurement, Phase};
use contract::statistics::{CaseSpeed, Distribution};
use leptos::prelude::*;
use planner::{Bytes, Estimate};

use super::residual_percent;
use crate::components::{State, Tone};
use crate::format;
use crate::islands::CopyButton;

/// Every case that ended, estimate beside measurement.
#[component]
pub(super) fn Cases(cases: Vec<Case>) -> impl IntoView {
    if cases.is_empty() {
        return view! { <p class="notice">"No case has ended yet."</p> }.into_any();
    }
    let peak = |case: &Case| case.measurement.as_ref().and_then(Measurement::peak_allocated);
    let estimate = |case: &Case| case.estimate.as_ref().map(|e| e.totals.allocated);
    let largest = cases.iter().filter_map(|case| peak(case).max(estimate(case))).max().unwrap_or(Bytes(1));
    let rows = cases.into_iter().map(|case| row(case, largest)).collect_view();
    view! {
        <section class="card flush">
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
        </section>
    }
    .into_any()
}

fn row(case: Case, largest: Bytes) -> impl IntoView {
    let residual = residual_percent(&case);
    let spec = case.spec;
    let head = view! {
        <td class="n">{case.position + 1}</td>
        <td>
            <span class="nowrap">{spec.model.clone()}</span>
            <small class="nowrap">
                {format!(
                    "{} · {} at once · {} + {} tokens",
                    spec.precision,
                    spec.batch,
                    format::count(spec.prompt_tokens.0),
                    format::count(spec.generate_tokens.0),
                )}
            </small>
        </td>
    };
    let again = view! { <td>{actions(&spec, case.plan.as_ref())}</td> };
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
                    {planned}
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
            <td>{against(measurement.peak_allocated(), case.estimate.as_ref().map(|e| e.totals.allocated), residual, largest)}</td>
            {again}
        </tr>
    }
    .into_any()
}

fn estimated_phase(estimate: &Estimate, phase: Phase) -> Option<Bytes> {
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

fn actions(spec: &CaseSpec, plan: Option<&planner::Plan>) -> impl IntoView + use<> {
    let command = command(spec);
    view! {
        <div class="stack" style="gap:4px">
            {plan
                .map(|plan| {
                    view! {
                        <a class="nowrap" data-test="open-in-planner" href=crate::link::planner_href(plan)>
                            "Open in planner"
                        </a>
                    }
                })}
            <details class="quiet">
                <summary>"Command"</summary>
                <div class="command">
                    <code>{command.clone()}</code>
                    <CopyButton text=command label="Copy".to_owned() />
                </div>
            </details>
        </div>
    }
}

/// The command that measures this case again.
fn command(spec: &CaseSpec) -> String {
    format!(
        "bench-runner run --model {} --precision {} --batch {} --prompt {} --generate {} --device {} --repetitions {}",
        quoted(&spec.model),
        quoted(&spec.precision),
        spec.batch,
        spec.prompt_tokens,
        spec.generate_tokens,
        spec.device,
        spec.repetitions
    )
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use contract::case::Device;
    use planner::Tokens;

    use super::*;

    #[test]
    fn a_command_can_be_pasted() {
        let spec = CaseSpec {
            model: "it's mine".to_owned(),
            precision: "bf16".to_owned(),
            attention: None,
            device: Device::Cuda(1),
            batch: 2,
            prompt_tokens: Tokens(512),
            generate_tokens: Tokens(64),
            repetitions: 5,
        };
        assert_eq!(
            command(&spec),
            r"bench-runner run --model 'it'\''s mine' --precision bf16 --batch 2 --prompt 512 --generate 64 --device cuda:1 --repetitions 5"
        );
        assert_eq!(quoted("HuggingFaceTB/SmolLM2-135M"), "HuggingFaceTB/SmolLM2-135M");
        assert_eq!(quoted(""), "''");
    }
}
