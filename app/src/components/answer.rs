//! The planner's answer: verdict, bar, table. The same on the planner's page and on a stored plan's.

use leptos::prelude::*;
use planner::document::estimate::{Components, EngineVersion};
use planner::document::plan::EngineName;
use planner::{Bytes, Estimate, Plan};

use super::why::Why;
use crate::{fields, format};

/// A component of memory: its name, its colour in the style sheet, its bytes.
pub(crate) type Component = (&'static str, &'static str, Bytes);

/// The components that take something, in the order of the bar. What an engine sets aside for its cache beyond what the
/// plan's sequences fill is a component of its own.
pub(crate) fn components(estimate: &Estimate) -> Vec<Component> {
    parts(&estimate.per_gpu, estimate.kv.pool_bytes)
}

/// The same of components and what is set aside for the cache.
pub(crate) fn parts(parts: &Components, pool: Bytes) -> Vec<Component> {
    [
        ("Weights", "--weights", parts.weights),
        ("KV cache", "--cache", parts.kv_cache),
        ("Pool beyond it", "--pool", pool.saturating_sub(parts.kv_cache)),
        ("Recurrent state", "--state", parts.recurrent_state),
        ("Activations", "--activations", parts.activations),
        ("Temporary buffers", "--temporary", parts.temporary),
        ("Gradients", "--gradients", parts.gradients),
        ("Optimizer", "--optimizer", parts.optimizer),
        ("Auxiliary models", "--auxiliary", parts.auxiliary),
        ("CUDA graphs", "--graphs", parts.cuda_graphs),
        ("Runtime", "--runtime", parts.runtime),
        ("CUDA context", "--context", parts.context),
    ]
    .into_iter()
    .filter(|(_, _, bytes)| *bytes > Bytes::ZERO)
    .collect()
}

/// Whether the plan fits, with the error band in mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fits,
    ProbablyFits,
    ProbablyNot,
    DoesNot,
    Unknown,
}

impl Verdict {
    pub(crate) fn of(estimate: &Estimate) -> Self {
        let capacity = estimate.capacity_bytes;
        let band = &estimate.error_band;
        let over = estimate.per_gpu.total > capacity;
        match (capacity > Bytes::ZERO, estimate.fits) {
            (false, true) => Self::Unknown,
            (_, true) if band.high > capacity && !pooled(estimate) => Self::ProbablyFits,
            (_, true) => Self::Fits,
            (_, false) if over && band.low <= capacity => Self::ProbablyNot,
            (_, false) => Self::DoesNot,
        }
    }

    /// The class of its colour, and its words.
    pub(crate) const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Fits => ("ok", "Fits."),
            Self::ProbablyFits => ("", "Probably fits."),
            Self::ProbablyNot => ("", "Probably does not fit."),
            Self::DoesNot => ("bad", "Does not fit."),
            Self::Unknown => ("", "Takes"),
        }
    }
}

/// What the total is held against, in words.
pub(crate) fn usable(estimate: &Estimate) -> String {
    match Verdict::of(estimate) {
        Verdict::Unknown => "of host memory".to_owned(),
        _ => format!("of {} usable", format::gib(estimate.capacity_bytes)),
    }
}

/// The ends of the error band, in the unit that suits the total.
pub(crate) fn between(estimate: &Estimate) -> String {
    let (band, total) = (&estimate.error_band, estimate.per_gpu.total);
    format!("{} to {}", figure_of(band.low, total), sized(band.high, total))
}

/// Whether the engine fills what is left with its pool: then the total is near the capacity by intent, and an error of the
/// other parts makes the pool smaller rather than the total larger.
fn pooled(estimate: &Estimate) -> bool {
    estimate.kv.pool_bytes > estimate.per_gpu.kv_cache
}

/// The verdict in a sentence and the bar below it.
#[component]
pub fn Summary(
    /// What was answered.
    estimate: Estimate,
    /// What was asked: with it each component of the bar explains itself.
    #[prop(optional)]
    plan: Option<Plan>,
    /// Parameters of the plan's model.
    #[prop(optional)]
    parameters: u64,
) -> impl IntoView {
    let (class, words) = Verdict::of(&estimate).words();
    let total = estimate.per_gpu.total;
    // The total is within the capacity: what is short is the engine's pool.
    let short = (!estimate.fits && total <= estimate.capacity_bytes).then(|| {
        let holds = if estimate.kv.max_concurrent_sequences == 0 {
            "not one of the longest sequence".to_owned()
        } else {
            format!("{} of the longest sequence", format::count(estimate.kv.max_concurrent_sequences))
        };
        view! {
            <span class="muted num">
                {format!("The cache's pool holds {} tokens, {holds}.", format::count(estimate.kv.pool_tokens))}
            </span>
        }
    });
    view! {
        <p class="verdict" data-test="verdict" aria-live="polite">
            <b class=class>{words}</b>
            <b data-test="total-bytes" data-bytes=total.0.to_string()>
                {sized(total, total)}
            </b>
            <span class="muted num">
                {usable(&estimate)} " · "
                <a href="#basis" title=estimate.error_band.basis.clone()>
                    {between(&estimate)}
                </a>
            </span>
            {short}
        </p>
        {hull(&estimate, reach(&estimate), plan.as_ref().map(|plan| Why::new(plan, &estimate, parameters)))}
    }
    .into_any()
}

/// The bytes that a bar must reach to hold the band's end and the load line.
pub(crate) fn reach(estimate: &Estimate) -> f64 {
    let end = estimate.error_band.high.max(estimate.per_gpu.total).0.max(1) as f64 * 1.02;
    end.max(estimate.capacity_bytes.0 as f64 / 0.96)
}

/// The bar by component with the load line and the band of uncertainty, `reach` bytes long. With `why` each component
/// can be focused, and says why it is as large as it is.
pub(crate) fn hull(estimate: &Estimate, reach: f64, why: Option<Why<'_>>) -> AnyView {
    let capacity = estimate.capacity_bytes;
    let band = &estimate.error_band;
    let percent = |bytes: Bytes| 100.0 * bytes.0 as f64 / reach;
    let parts = components(estimate);
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
            let told = format!("{name} {}", sized(*bytes, total));
            let Some(why) = &why else { return view! { <i style=style title=told></i> }.into_any() };
            let (id, share) = (id_of(name), format::share(*bytes, total));
            view! {
                <a style=style href=format!("#why-{id}") aria-label=format!("{told}, {share}") aria-describedby=format!("tip-{id}")>
                    <span class="reason" role="tooltip" id=format!("tip-{id}")>
                        <b class="num">{format!("{told} · {share}")}</b>
                        <span>{why.of(name, *bytes)}</span>
                        <small>{why.basis()}</small>
                    </span>
                </a>
            }
            .into_any()
        })
        .collect_view();
    // A group's parts are read one by one, a picture's are not.
    let role = if why.is_some() { "group" } else { "img" };
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
        <div class="hull" role=role aria-label=label>
            <div class="bar">{bars}</div>
            <div class="band" style=band_style title="the error band of the total"></div>
            {mark}
        </div>
    }
    .into_any()
}

/// A component's name as a part of an element's id.
fn id_of(name: &str) -> String {
    name.to_lowercase().replace(' ', "-")
}

/// A size in the unit that suits the whole, with its unit.
pub(crate) fn sized(bytes: Bytes, whole: Bytes) -> String {
    format!("{} {}", figure_of(bytes, whole), unit_of(whole))
}

/// MiB for what is small, GiB for the rest.
pub(crate) const fn unit_of(whole: Bytes) -> &'static str {
    if whole.0 < 1 << 30 { "MiB" } else { "GiB" }
}

/// A size in the unit that suits the whole.
pub(crate) fn figure_of(bytes: Bytes, whole: Bytes) -> String {
    if whole.0 < 1 << 30 { format::figure(bytes.mib()) } else { format::gib_figure(bytes) }
}

/// Where the memory goes.
#[component]
pub fn WhereItGoes(
    /// What was answered.
    estimate: Estimate,
    /// What was asked: with it each component explains itself.
    #[prop(optional)]
    plan: Option<Plan>,
    /// Parameters of the plan's model.
    #[prop(optional)]
    parameters: u64,
) -> impl IntoView {
    let total = estimate.per_gpu.total;
    let why = plan.as_ref().map(|plan| Why::new(plan, &estimate, parameters));
    let row = |(name, colour, bytes): Component| {
        let dot = view! { <span class="dot" style=format!("background:var({colour})")></span> };
        let named = match &why {
            None => view! { {dot}{name} }.into_any(),
            Some(why) => view! {
                <details class="why">
                    <summary>{dot}{name}</summary>
                    <small id=format!("why-{}", id_of(name))>{why.of(name, bytes)}</small>
                </details>
            }
            .into_any(),
        };
        view! {
            <tr>
                <td>{named}</td>
                <td class="n">{figure_of(bytes, total)}</td>
                <td class="n">{format::share(bytes, total)}</td>
            </tr>
        }
    };
    let rows = components(&estimate).into_iter().map(row).collect_view();
    view! {
        <section class="card">
            <header>
                <h2>"Where it goes"</h2>
                <small>{format!("{} of one GPU, at the largest peak", unit_of(total))}</small>
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
            {otherwise(&estimate)}
        </section>
    }
    .into_any()
}

/// The same memory by how one would measure it, by phase, and what the host holds.
fn otherwise(estimate: &Estimate) -> AnyView {
    let total = estimate.per_gpu.total;
    let pairs = |pairs: &[(&'static str, Bytes)]| {
        pairs
            .iter()
            .filter(|(_, bytes)| *bytes > Bytes::ZERO)
            .map(|(name, bytes)| (*name, sized(*bytes, total)))
            .collect::<Vec<_>>()
    };
    let totals = estimate.totals;
    // A processor has no context of CUDA, and no nvidia-smi.
    let on_gpu = estimate.per_gpu.context > Bytes::ZERO;
    let process = if on_gpu { "The process, as nvidia-smi shows" } else { "The process" };
    let measured = pairs(&[
        ("Tensors alive at the peak", totals.allocated),
        ("The allocator's pool", totals.reserved),
        (process, totals.process),
    ]);
    let host = estimate.host;
    let hosted = if host.total > Bytes::ZERO {
        let others = host.total.saturating_sub(host.weights + host.kv_cache + host.optimizer);
        pairs(&[
            ("Weights", host.weights),
            ("KV cache", host.kv_cache),
            ("Optimizer", host.optimizer),
            ("Other", others),
            ("In all", host.total),
        ])
    } else {
        Vec::new()
    };
    let phases: Vec<(String, String)> = estimate
        .phases
        .iter()
        .flatten()
        .map(|phase| (capital(&phase.phase), sized(phase.peak_bytes, total)))
        .collect();
    let owned = |pairs: Vec<(&'static str, String)>| {
        pairs.into_iter().map(|(name, size)| (name.to_owned(), size)).collect::<Vec<_>>()
    };
    [("Measured as", owned(measured)), ("Peak of tensors by phase", phases), ("Host memory", owned(hosted))]
        .into_iter()
        .filter(|(_, pairs)| !pairs.is_empty())
        .map(|(title, pairs)| side(title, pairs))
        .collect_view()
        .into_any()
}

/// Names and sizes under a small heading.
fn side(title: &'static str, pairs: Vec<(String, String)>) -> AnyView {
    let pairs = pairs
        .into_iter()
        .map(|(name, size)| view! { <dt>{name}</dt><dd class="num">{size}</dd> })
        .collect_view();
    view! {
        <h3 class="side">{title}</h3>
        <dl class="sizes">{pairs}</dl>
    }
    .into_any()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// What the estimate rests on, and what the reader should know.
#[component]
pub fn Basis(
    /// What was answered.
    estimate: Estimate,
) -> impl IntoView {
    let total = estimate.per_gpu.total;
    let band = estimate.error_band;
    let engine = engine_told(&estimate.engine);
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
                <span class="hatch swatch" aria-hidden="true"></span>
                {format!(" {} to {}: {}.", figure_of(band.low, total), sized(band.high, total), band.basis.trim_end_matches('.'))}
            </p>
            <ul class="plain">
                <li>{format!("Planned for {engine}.")}</li>
                {warnings}
            </ul>
        </section>
    }
    .into_any()
}

/// An engine's name, version and variant.
pub(crate) fn engine_told(engine: &EngineVersion) -> String {
    let variant = engine.variant.as_ref().map(|variant| format!(", {variant}")).unwrap_or_default();
    format!("{} {}{variant}", engine_name(engine.name), engine.version)
}

/// An engine's name as its makers write it.
pub(crate) fn engine_name(engine: EngineName) -> String {
    let name = serde_json::to_value(engine).unwrap_or_default();
    fields::engine_name(name.as_str().unwrap_or_default()).to_owned()
}

#[cfg(test)]
mod tests;
