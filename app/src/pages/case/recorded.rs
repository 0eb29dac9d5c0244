//! What was recorded beside times and peaks: the search for an edge, quality, energy, the device's state.

use contract::case::CaseSpec;
use contract::edge::Edge;
use contract::measurement::Measurement;
use contract::statistics::joules_per_token;
use contract::telemetry::{Spread, Telemetry};
use leptos::prelude::*;
use planner::Bytes;

use super::figures::phase_title;
use crate::components::{State, Tone};
use crate::format;
use crate::pages::sentence;

/// The search for an edge: everything that was tried, in order.
pub(super) fn edge(edge: &Edge) -> AnyView {
    let rows: Vec<_> = edge
        .probes
        .iter()
        .enumerate()
        .map(|(place, probe)| {
            let how = probe
                .inferred_from
                .as_ref()
                .map_or_else(|| "run".to_owned(), |key| format!("not run: {key} had failed"));
            view! {
                <tr>
                    <td class="n">{place + 1}</td>
                    <td class="n">{format::count(probe.value)}</td>
                    <td>
                        <State word=probe.status.as_str() tone=Tone::from(probe.status) />
                    </td>
                    <td class="n">{probe.peak_allocated.map_or_else(|| "–".to_owned(), |b| b.to_string())}</td>
                    <td>
                        <small>{how}</small>
                    </td>
                </tr>
            }
        })
        .collect();
    let fails = edge.smallest_failed.map_or_else(
        || "everything that was tried fits".to_owned(),
        |n| format!("{} does not fit", format::count(n)),
    );
    let predicted =
        edge.predicted.map_or_else(String::new, |n| format!(", the planner had said {}", format::count(n)));
    let note = format!("{} {} fits, {fails}{predicted}", edge.axis, format::count(edge.largest));
    view! {
        <section class="card flush" data-test="edge">
            <header>
                <h2>"The search"</h2>
                <small>{note}</small>
            </header>
            <div class="scroll" tabindex="0" role="region" aria-label="The search">
                <table>
                    <thead>
                        <tr>
                            <th scope="col" class="n">"#"</th>
                            <th scope="col" class="n">{format!("Tried {}", edge.axis)}</th>
                            <th scope="col">"Ended"</th>
                            <th scope="col" class="n">"Peak"</th>
                            <th scope="col">"How"</th>
                        </tr>
                    </thead>
                    <tbody class="num">{rows}</tbody>
                </table>
            </div>
        </section>
    }
    .into_any()
}

/// How well it predicts text, or why that is not known; none where it was not asked.
pub(super) fn quality(measurement: &Measurement) -> Option<AnyView> {
    if let Some(why) = &measurement.no_quality {
        let said = format!("Quality was asked and is not there: {why}");
        return Some(view! { <p class="notice warn">{said}</p> }.into_any());
    }
    let quality = measurement.quality.clone()?;
    let pairs = [
        ("Perplexity", format!("{:.3} ± {:.3}", quality.perplexity, quality.perplexity_error)),
        ("Of the reference", format!("{:.3}", quality.reference_perplexity)),
        ("Same likeliest token", format!("{:.2} %", 100.0 * quality.top1_agreement)),
        ("KL divergence, mean", format!("{:.5} nats", quality.kl_mean)),
        ("KL divergence, p99", format!("{:.5} nats", quality.kl_p99)),
        ("Predicted tokens", format!("{}, in windows of {}", format::count(quality.tokens), quality.window)),
    ];
    let basis =
        format!("Text: {}. Reference: {}. {}", quality.text, quality.reference, sentence(&quality.method));
    Some(sizes("Quality", "how well it predicts text", pairs.to_vec(), basis))
}

/// Energy by phase; none where it was not metered.
pub(super) fn energy(spec: &CaseSpec, measurement: &Measurement) -> Option<AnyView> {
    if measurement.energy.is_empty() {
        return None;
    }
    let spec = spec.measured(measurement);
    let rows: Vec<_> = measurement
        .energy
        .iter()
        .map(|phase| {
            let watts = (phase.milliseconds > 0.0).then(|| phase.joules / (phase.milliseconds / 1e3));
            let per_token = joules_per_token(&spec, measurement, phase.phase);
            let figure = |x: Option<f64>| x.map_or_else(|| "–".to_owned(), format::figure);
            view! {
                <tr>
                    <th scope="row">{phase_title(phase.phase)}</th>
                    <td class="n">{format::figure(phase.joules)}</td>
                    <td class="n">{format::millis(phase.milliseconds)}</td>
                    <td class="n">{figure(watts)}</td>
                    <td class="n">{figure(per_token)}</td>
                    <td class="n">{phase.times}</td>
                </tr>
            }
        })
        .collect();
    let method = measurement.telemetry.as_ref().and_then(|t| t.methods.get("energy").cloned());
    let view = view! {
        <section class="card flush">
            <header>
                <h2>"Energy"</h2>
                <small>"of the whole device, whatever else it does"</small>
            </header>
            <div class="scroll" tabindex="0" role="region" aria-label="Energy">
                <table>
                    <thead>
                        <tr>
                            <th scope="col">"Phase"</th>
                            <th scope="col" class="n">"J"</th>
                            <th scope="col" class="n">"Took"</th>
                            <th scope="col" class="n">"W"</th>
                            <th scope="col" class="n">"J a token"</th>
                            <th scope="col" class="n">"Metered"</th>
                        </tr>
                    </thead>
                    <tbody class="num">{rows}</tbody>
                </table>
            </div>
            {method.map(|method| view! { <p class="muted basis inset">{method}</p> })}
        </section>
    };
    Some(view.into_any())
}

/// Clocks, power, temperature: the device while the repetitions ran, with how each was read or why it is not there.
pub(super) fn telemetry(telemetry: &Telemetry) -> AnyView {
    let spread = |spread: Option<Spread>, unit: &str| {
        spread.map(|s| {
            let figure = format::figure;
            format!("{} {unit} ({} to {})", figure(s.median), figure(s.min), figure(s.max))
        })
    };
    let threshold = |bytes: Bytes| if bytes.0 == u64::MAX { "all".to_owned() } else { bytes.to_string() };
    let known: Vec<(&'static str, &'static str, Option<String>)> = vec![
        ("clock_mhz", "Clock", spread(telemetry.clock_mhz, "MHz")),
        ("memory_clock_mhz", "Memory clock", spread(telemetry.memory_clock_mhz, "MHz")),
        ("power_w", "Power", spread(telemetry.power_w, "W")),
        ("power_limit_w", "Power limit", telemetry.power_limit_w.map(|w| format!("{} W", format::figure(w)))),
        ("temperature_max_c", "Highest temperature", telemetry.temperature_max_c.map(|c| format!("{c} °C"))),
        ("utilisation_percent", "Utilisation", spread(telemetry.utilisation_percent, "%")),
        (
            "throttle_reasons",
            "Clocks held back by",
            (!telemetry.throttle_reasons.is_empty()).then(|| telemetry.throttle_reasons.join(", ")),
        ),
        ("driver", "Driver", telemetry.driver.clone()),
        ("cuda", "CUDA", telemetry.cuda.clone()),
        ("gpu_uuid", "GPU", telemetry.gpu_uuid.clone()),
        ("release_threshold", "Pool keeps", telemetry.release_threshold.map(threshold)),
        (
            "event_tracking",
            "Events of allocations",
            telemetry.event_tracking.map(|on| if on { "on" } else { "off" }.to_owned()),
        ),
    ];
    let (mut pairs, mut methods) = (Vec::new(), Vec::new());
    for (field, name, value) in known {
        let method = telemetry.methods.get(field);
        match (value, method) {
            (Some(value), _) => pairs.push((name, value)),
            (None, Some(_)) => pairs.push((name, "not read".to_owned())),
            (None, None) => continue,
        }
        methods.extend(method.map(|method| format!("{name}: {method}.")));
    }
    let note = format!("median and extremes of {} looks", format::count(telemetry.looks.into()));
    sizes("The device meanwhile", &note, pairs, methods.join(" "))
}

/// Names and values under a heading, with how they were obtained.
fn sizes(title: &'static str, note: &str, pairs: Vec<(&'static str, String)>, basis: String) -> AnyView {
    let note = note.to_owned();
    let pairs: Vec<_> = pairs
        .into_iter()
        .map(|(name, value)| view! { <dt>{name}</dt><dd class="num">{value}</dd> })
        .collect();
    view! {
        <section class="card">
            <header>
                <h2>{title}</h2>
                <small>{note}</small>
            </header>
            <dl class="pairs">{pairs}</dl>
            <p class="muted basis">{basis}</p>
        </section>
    }
    .into_any()
}
