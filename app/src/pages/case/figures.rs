//! Speed and memory of a case.

use contract::case::{Case, CaseSpec};
use contract::measurement::{Measurement, Phase};
use contract::statistics::{CaseSpeed, Distribution};
use leptos::prelude::*;
use planner::Bytes;

use crate::format;
use crate::pages::run::cases::estimated_phase;
use crate::pages::sentence;

/// A figure over the repetitions: its name, its distribution, how a value of it is written.
type Spread = (&'static str, Distribution, fn(f64) -> String);

/// How fast it was, over the repetitions; none where nothing was timed.
pub(super) fn speed(spec: &CaseSpec, measurement: &Measurement) -> Option<AnyView> {
    let speed = CaseSpeed::of(spec, measurement);
    let rows: Vec<Spread> = [
        ("Prefill, tok/s", speed.prefill_tokens_per_second, format::figure as fn(f64) -> String),
        ("Decode, tok/s", speed.decode_tokens_per_second, format::figure),
        ("Trained, tok/s", speed.training_tokens_per_second, format::figure),
        ("First token", speed.ttft_ms, format::millis),
        ("Each token", speed.token_ms, format::millis),
    ]
    .into_iter()
    .filter_map(|(name, spread, write)| Some((name, spread?, write)))
    .collect();
    let note = format!("of the whole batch · loading took {}", format::millis(measurement.load_ms));
    card("Speed", note, &measurement.methods.time, rows)
}

/// The parts of its training steps; none where it trained nothing.
pub(super) fn training(measurement: &Measurement) -> Option<AnyView> {
    let of = |part: fn(&contract::measurement::StepSample) -> f64| {
        Distribution::of(measurement.steps.iter().map(part))
    };
    let rows: Vec<Spread> = [
        ("Forward", of(|s| s.forward_ms), format::millis as fn(f64) -> String),
        ("Backward", of(|s| s.backward_ms), format::millis),
        ("Optimizer", of(|s| s.optimizer_ms), format::millis),
        ("Whole step", of(contract::measurement::StepSample::step_ms), format::millis),
    ]
    .into_iter()
    .filter_map(|(name, spread, write)| Some((name, spread?, write)))
    .collect();
    let (first, last) = (measurement.steps.first()?, measurement.steps.last()?);
    let note =
        format!("loss {} before the first step, {} before the last", nats(first.loss), nats(last.loss));
    card("Training steps", note, &measurement.methods.time, rows)
}

fn nats(loss: f64) -> String {
    format!("{} nats", format::figure(loss))
}

fn card(title: &'static str, note: String, method: &str, rows: Vec<Spread>) -> Option<AnyView> {
    if rows.is_empty() {
        return None;
    }
    let method = sentence(method);
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, d, write)| {
            let scatter = (d.n > 1).then(|| format!("± {}", write(d.standard_deviation)));
            view! {
                <tr>
                    <th scope="row">{name}</th>
                    <td class="n">{write(d.mean)} <small>{scatter}</small></td>
                    <td class="n">{write(d.p50)}</td>
                    <td class="n">{write(d.p95)}</td>
                    <td class="n">{write(d.p99)}</td>
                    <td class="n">{write(d.min)}</td>
                    <td class="n">{write(d.max)}</td>
                    <td class="n">{d.n}</td>
                </tr>
            }
        })
        .collect();
    let view = view! {
        <section class="card flush">
            <header>
                <h2>{title}</h2>
                <small>{note}</small>
            </header>
            <div class="scroll" tabindex="0" role="region" aria-label=title>
                <table>
                    <thead>
                        <tr>
                            <th scope="col"><span class="visually-hidden">"Figure"</span></th>
                            <th scope="col" class="n">"Mean"</th>
                            <th scope="col" class="n">"Median"</th>
                            <th scope="col" class="n">"p95"</th>
                            <th scope="col" class="n">"p99"</th>
                            <th scope="col" class="n">"Least"</th>
                            <th scope="col" class="n">"Most"</th>
                            <th scope="col" class="n">"n"</th>
                        </tr>
                    </thead>
                    <tbody class="num">{rows}</tbody>
                </table>
            </div>
            <p class="muted basis inset">{format!("{method} Percentiles interpolate between the closest ranks.")}</p>
        </section>
    };
    Some(view.into_any())
}

/// Peaks by phase beside what was estimated of them; none where neither is there.
pub(super) fn memory(case: &Case) -> Option<AnyView> {
    let measurement = case.measurement.as_ref().filter(|m| !m.phases.is_empty())?;
    let estimate = case.estimate.as_ref();
    let phases: Vec<_> = measurement.phases.iter().map(|p| p.phase).collect();
    let has = |pick: fn(&contract::measurement::PhaseMemory) -> Option<Bytes>| {
        measurement.phases.iter().any(|p| pick(p).is_some())
    };
    let (reserved, process, device) = (has(|p| p.peak_reserved), has(|p| p.process), has(|p| p.device));
    let cell = |shown: bool, bytes: Option<Bytes>| {
        shown.then(|| view! { <td class="n">{bytes.map_or_else(|| "–".to_owned(), mib)}</td> })
    };
    let head =
        |shown: bool, name: &'static str| shown.then(|| view! { <th scope="col" class="n">{name}</th> });
    let rows: Vec<_> = measurement
        .phases
        .iter()
        .map(|p| {
            let estimated = estimate.and_then(|e| estimated_phase(e, p.phase));
            view! {
                <tr>
                    <th scope="row">{phase_title(p.phase)}</th>
                    {compared(Some(p.peak_allocated), estimated)}
                    <td class="n">{mib(p.live_at_end)}</td>
                    {cell(reserved, p.peak_reserved)} {cell(process, p.process)} {cell(device, p.device)}
                </tr>
            }
        })
        .collect();
    let rest = 1 + [reserved, process, device].into_iter().filter(|shown| *shown).count();
    let peak = compared(measurement.peak_allocated(), estimate.map(|e| e.totals.allocated));
    let view = view! {
        <section class="card flush">
            <header>
                <h2>"Peaks by phase"</h2>
                <small>"MiB (2^20 bytes) · residual is measured less estimated, of measured"</small>
            </header>
            <div class="scroll" tabindex="0" role="region" aria-label="Peaks by phase">
                <table>
                    <thead>
                        <tr>
                            <th scope="col">"Phase"</th>
                            <th scope="col" class="n">"Measured"</th>
                            <th scope="col" class="n">"Estimated"</th>
                            <th scope="col" class="n">"Residual"</th>
                            <th scope="col" class="n">"Alive at its end"</th>
                            {head(reserved, "Pool")} {head(process, "Process")} {head(device, "Device")}
                        </tr>
                    </thead>
                    <tbody class="num">
                        {rows} <tr>
                            <th scope="row"><b>{if phases.len() > 1 { "All phases" } else { "Peak" }}</b></th>
                            {peak} <td colspan=rest.to_string()></td>
                        </tr>
                    </tbody>
                </table>
            </div>
            <p class="muted basis inset">
                {format!("Measured: {}. Process: {}.", measurement.methods.allocated, measurement.methods.process)}
            </p>
        </section>
    };
    Some(view.into_any())
}

/// Measured, estimated, residual.
fn compared(measured: Option<Bytes>, estimated: Option<Bytes>) -> AnyView {
    let residual = match (measured, estimated) {
        (Some(m), Some(e)) if m.0 > 0 => {
            format::signed_percent(100.0 * (m.0 as f64 - e.0 as f64) / m.0 as f64)
        }
        _ => "–".to_owned(),
    };
    let size = |bytes: Option<Bytes>| bytes.map_or_else(|| "–".to_owned(), mib);
    view! {
        <td class="n">{size(measured)}</td>
        <td class="n">{size(estimated)}</td>
        <td class="n">{residual}</td>
    }
    .into_any()
}

/// A size in MiB, without the unit: one scale for every phase.
pub(super) fn mib(bytes: Bytes) -> String {
    format::figure(bytes.mib())
}

pub(super) const fn phase_title(phase: Phase) -> &'static str {
    match phase {
        Phase::Load => "Load",
        Phase::Prefill => "Prefill",
        Phase::Decode => "Decode",
        Phase::Forward => "Forward",
        Phase::Backward => "Backward",
        Phase::Optimizer => "Optimizer",
    }
}
