//! The planner's answer: verdict, bar, facts, table. The same on the planner's page and on a stored plan's.

use leptos::prelude::*;
use planner::document::estimate::Components;
use planner::document::plan::{Plan, Workload};
use planner::{Bytes, Estimate};

use super::Fact;
use crate::format;

/// A component of memory: its name, its colour in the style sheet, its bytes.
type Component = (&'static str, &'static str, Bytes);

/// The components that take something, in the order of the bar.
fn components(parts: &Components) -> Vec<Component> {
    [
        ("Weights", "--weights", parts.weights),
        ("KV cache", "--cache", parts.kv_cache),
        ("Recurrent state", "--cache", parts.recurrent_state),
        ("Activations", "--activations", parts.activations),
        ("Temporary buffers", "--temporary", parts.temporary),
        ("Gradients", "--gradients", parts.gradients),
        ("Optimizer", "--optimizer", parts.optimizer),
        ("Auxiliary models", "--optimizer", parts.auxiliary),
        ("CUDA graphs", "--temporary", parts.cuda_graphs),
        ("Runtime", "--runtime", parts.runtime),
        ("CUDA context", "--context", parts.context),
    ]
    .into_iter()
    .filter(|(_, _, bytes)| *bytes > Bytes::ZERO)
    .collect()
}

/// Whether the plan fits, with the error band in mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fits,
    ProbablyFits,
    ProbablyNot,
    DoesNot,
    Unknown,
}

impl Verdict {
    fn of(estimate: &Estimate) -> Self {
        let capacity = estimate.capacity_bytes;
        let band = &estimate.error_band;
        match (capacity > Bytes::ZERO, estimate.fits) {
            (false, true) => Self::Unknown,
            (_, true) if band.high > capacity => Self::ProbablyFits,
            (_, true) => Self::Fits,
            (_, false) if band.low <= capacity => Self::ProbablyNot,
            (_, false) => Self::DoesNot,
        }
    }

    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Fits => ("ok", "Fits."),
            Self::ProbablyFits => ("", "Probably fits."),
            Self::ProbablyNot => ("", "Probably does not fit."),
            Self::DoesNot => ("bad", "Does not fit."),
            Self::Unknown => ("", "Takes"),
        }
    }
}

/// The verdict in a sentence and the bar below it.
#[component]
pub fn Summary(
    /// What was answered.
    estimate: Estimate,
) -> impl IntoView {
    let verdict = Verdict::of(&estimate);
    let (class, words) = verdict.words();
    let total = estimate.per_gpu.total;
    let band = estimate.error_band.clone();
    let usable = match verdict {
        Verdict::Unknown => "of host memory".to_owned(),
        _ => format!("of {} usable", format::gib(estimate.capacity_bytes)),
    };
    let between = format!("{} to {}", figure_of(band.low, total), sized(band.high, total));
    view! {
        <p class="verdict" data-test="verdict" aria-live="polite">
            <b class=class>{words}</b>
            <b data-test="total-bytes" data-bytes=total.0.to_string()>
                {sized(total, total)}
            </b>
            <span class="muted num">
                {usable} " · "
                <a href="#basis" title=band.basis>
                    {between}
                </a>
            </span>
        </p>
        <Hull estimate />
    }
}

/// The bar by component with the load line and the band of uncertainty.
#[component]
fn Hull(estimate: Estimate) -> impl IntoView {
    let capacity = estimate.capacity_bytes;
    let band = &estimate.error_band;
    let reach = band.high.max(estimate.per_gpu.total).0.max(1) as f64 * 1.02;
    let scale = reach.max(capacity.0 as f64 / 0.96);
    let percent = |bytes: Bytes| 100.0 * bytes.0 as f64 / scale;
    let parts = components(&estimate.per_gpu);
    let total = estimate.per_gpu.total;
    let told: Vec<String> =
        parts.iter().map(|(name, _, bytes)| format!("{name} {}", sized(*bytes, total))).collect();
    let line = if capacity > Bytes::ZERO {
        format!("; load line at {}", format::gib(capacity))
    } else {
        String::new()
    };
    let label = format!("Memory by component: {}{line}", told.join(", "));
    let bars = parts
        .iter()
        .map(|(name, colour, bytes)| {
            let style = format!("width:{:.3}%;background:var({colour})", percent(*bytes));
            view! { <i style=style title=format!("{name} {}", sized(*bytes, total))></i> }
        })
        .collect_view();
    let band_style =
        format!("left:{:.3}%;width:{:.3}%", percent(band.low), percent(band.high) - percent(band.low));
    let mark = (capacity > Bytes::ZERO).then(|| {
        let at = percent(capacity);
        let class = if at < 40.0 { "mark left" } else { "mark" };
        view! {
            <div class=class style=format!("left:{at:.3}%")>
                <span>{format!("load line {}", format::gib(capacity))}</span>
            </div>
        }
    });
    view! {
        <div class="hull" role="img" aria-label=label>
            <div class="bar">{bars}</div>
            <div class="band" style=band_style title="the error band of the total"></div>
            {mark}
        </div>
    }
}

/// A size in the unit that suits the whole, with its unit.
fn sized(bytes: Bytes, whole: Bytes) -> String {
    format!("{} {}", figure_of(bytes, whole), unit_of(whole))
}

/// MiB for what is small, GiB for the rest.
const fn unit_of(whole: Bytes) -> &'static str {
    if whole.0 < 1 << 30 { "MiB" } else { "GiB" }
}

/// A size in the unit that suits the whole.
fn figure_of(bytes: Bytes, whole: Bytes) -> String {
    if whole.0 < 1 << 30 { format::figure(bytes.mib()) } else { format::gib_figure(bytes) }
}

/// What follows from the answer: the most that fits, and how fast.
#[component]
pub fn Facts(
    /// What was asked.
    plan: Plan,
    /// What was answered.
    estimate: Estimate,
    /// The most sequences at once, where it is known.
    most_sequences: Option<u64>,
    /// The longest sequence in tokens, where it is known.
    longest_context: Option<u64>,
) -> impl IntoView {
    let Workload::Serve(serve) = &plan.workload else { return ().into_any() };
    let at_context = format!("at {} tokens", format::count(serve.sequence_tokens().0));
    let at_batch = format!("tokens at {}", format::count(serve.concurrent_sequences));
    let at_best = |unit: &str| format!("{unit} at best");
    let speed = estimate.speed.as_ref();
    // A plan that only reads its prompts has no speed of output.
    let generates = serve.output_tokens.0 > 0;
    let time = |ms: f64| {
        let text = format::millis(ms);
        text.rsplit_once(' ')
            .map_or((text.clone(), String::new()), |(figure, unit)| (figure.to_owned(), unit.to_owned()))
    };
    view! {
        <dl class="facts">
            {most_sequences.map(|n| view! { <Fact name="Most sequences" value=format::count(n) unit=at_context /> })}
            {longest_context.map(|n| view! { <Fact name="Longest context" value=format::count(n) unit=at_batch /> })}
            {speed
                .map(|speed| {
                    let (first, first_unit) = time(speed.time_to_first_token_ms);
                    let (each, each_unit) = time(speed.time_per_output_token_ms);
                    view! {
                        <Fact name="First token" value=first unit=at_best(&first_unit) />
                        {generates
                            .then(|| {
                                view! {
                                    <Fact name="Each token" value=each unit=at_best(&each_unit) />
                                    <Fact
                                        name="Throughput"
                                        value=format::figure(speed.tokens_per_second)
                                        unit=at_best("tok/s")
                                    />
                                }
                            })}
                    }
                })} <Fact name="Cache of a token" value=cache(estimate.kv.bytes_per_token).0 unit=cache(estimate.kv.bytes_per_token).1 />
        </dl>
    }
    .into_any()
}

/// A size apart from its unit.
fn cache(bytes: Bytes) -> (String, String) {
    let text = bytes.to_string();
    text.split_once(' ')
        .map_or((text.clone(), String::new()), |(figure, unit)| (figure.to_owned(), unit.to_owned()))
}

/// Where the memory goes.
#[component]
pub fn WhereItGoes(
    /// What was answered.
    estimate: Estimate,
) -> impl IntoView {
    let total = estimate.per_gpu.total;
    let rows = components(&estimate.per_gpu)
        .into_iter()
        .map(|(name, colour, bytes)| {
            view! {
                <tr>
                    <td>
                        <span class="dot" style=format!("background:var({colour})")></span>
                        {name}
                    </td>
                    <td class="n">{figure_of(bytes, total)}</td>
                    <td class="n">{format::share(bytes, total)}</td>
                </tr>
            }
        })
        .collect_view();
    let phases = estimate.phases.as_ref().map(|phases| {
        let told: Vec<String> = phases.iter().map(|p| format!("{} {}", p.phase, sized(p.peak_bytes, total))).collect();
        view! { <p class="muted num" style="font-size:13px;margin-top:12px">{format!("Peak of tensors by phase: {}.", told.join(", "))}</p> }
    });
    view! {
        <section class="card">
            <header>
                <h2>"Where it goes"</h2>
                <small>{format!("{}, at the largest peak", unit_of(total))}</small>
            </header>
            <table>
                <thead>
                    <tr>
                        <th scope="col">"Component"</th>
                        <th scope="col" class="n">{format!("Estimate, {}", unit_of(total))}</th>
                        <th scope="col" class="n">"Share"</th>
                    </tr>
                </thead>
                <tbody class="num">
                    {rows} <tr>
                        <td>
                            <b>"Total"</b>
                        </td>
                        <td class="n">
                            <b>{figure_of(total, total)}</b>
                        </td>
                        <td class="n">"100 %"</td>
                    </tr>
                </tbody>
            </table>
            {phases}
        </section>
    }
}

/// What the estimate rests on, and what the reader should know.
#[component]
pub fn Basis(
    /// What was answered.
    estimate: Estimate,
) -> impl IntoView {
    let total = estimate.per_gpu.total;
    let band = estimate.error_band;
    let engine = estimate.engine;
    let variant = engine.variant.map(|variant| format!(", {variant}")).unwrap_or_default();
    let warnings =
        estimate.warnings.into_iter().map(|warning| view! { <li>{warning.message}</li> }).collect_view();
    view! {
        <section class="card" id="basis">
            <header>
                <h2>"How sure"</h2>
                <small>
                    <a href="/docs/planning">"how it is computed"</a>
                </small>
            </header>
            <p class="num">
                <span class="hatch" style="display:inline-block;width:22px;height:10px;border-radius:2px" aria-hidden="true"></span>
                {format!(" {} to {}: {}.", figure_of(band.low, total), sized(band.high, total), band.basis)}
            </p>
            <ul style="margin:0;padding-left:18px">
                <li>{format!("Planned for Candle {}{variant}.", engine.version)}</li>
                {warnings}
            </ul>
        </section>
    }
}
