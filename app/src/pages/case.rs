//! One case: what it was, how it ended, and everything that was measured of it.

mod estimates;
mod figures;
mod past;
mod recorded;
mod trace;

use contract::case::{Case, CaseSpec, CaseStatus, attention_word};
use contract::command::{FOLDER, case_command};
use contract::history::Before;
use contract::ids::CaseId;
use contract::machine::Machine;
use contract::measurement::Measurement;
use contract::outcome::device_name;
use contract::run::Run;
use contract::statistics::CaseSpeed;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_query_map};

use super::run::{MachineCard, MethodCard, plans, residual_percent};
use super::{answered, backend, runs, unknown_id};
use crate::backend::CaseDetail;
use crate::components::{Fact, State, Tone, When};
use crate::format;
use crate::islands::CopyButton;

/// A case by its id.
#[component]
pub fn CasePage() -> impl IntoView {
    let backend = backend();
    let id = use_params_map().get_untracked().get("id").unwrap_or_default();
    let place = use_query_map().get_untracked().get("before").filter(|place| !place.is_empty());
    answered(async move {
        let id = id.parse::<CaseId>().map_err(|_| unknown_id("case", &id))?;
        let before: Option<Before> = place.as_ref().and_then(|place| place.parse().ok());
        let unread = place.filter(|_| before.is_none());
        let CaseDetail { case, run, machine } = backend.case(id).await?;
        let history = backend.history(id, before).await?;
        let today = backend.today(plans(std::slice::from_ref(&case))).await?.remove(&id);
        let now = backend.site().await?.now;
        let device = device_name(case.spec.device, &machine);
        Ok(view! {
            <Title text=format!("{} {}", case.spec.model, case.spec.precision) />
            <main id="main" class="page">
                <div class="head">
                    <div>
                        <h1>{case.spec.model.clone()}</h1>
                        <p class="muted num">
                            {format!("{} on {}, {device}, ", line(&case.spec), machine.name)}
                            <When at=case.finished_at now /> " · case " {case.position + 1} " of "
                            <a href=format!("/runs/{}", run.id)>{run.name.clone()}</a>
                        </p>
                    </div>
                    {links(&case)}
                </div>
                {unread.map(|place| runs::unread_value("before", &place))}
                {ended(&case)}
                {facts(&case)}
                <div class="cards measured">
                    <div class="stack">
                        {case.measurement.as_ref().and_then(|m| figures::speed(&case.spec, m))}
                        {case.measurement.as_ref().and_then(figures::training)}
                        {figures::memory(&case)}
                        {case.measurement.as_ref().and_then(|m| m.memory_trace.as_ref()).and_then(trace::card)}
                        {case.measurement.as_ref().and_then(|m| m.edge.as_ref()).map(recorded::edge)}
                        {case.measurement.as_ref().and_then(recorded::quality)}
                        {case.measurement.as_ref().and_then(|m| recorded::energy(&case.spec, m))}
                        {case.measurement.as_ref().and_then(|m| m.telemetry.as_ref()).map(recorded::telemetry)}
                    </div>
                    <div class="stack">{estimates::cards(&case, today.as_ref())}</div>
                </div>
                {again(&case)}
                {past::table(&history, id, before.is_some(), now)}
                {past::attempts(&history, now)}
                <div class="cards">
                    {what(&case.spec)} <MachineCard machine=machine.clone() run=run.clone() />
                    {method(run, case, machine)}
                </div>
            </main>
        }
        .into_any())
    })
}

/// A case in a line, without its model.
fn line(spec: &CaseSpec) -> String {
    let mut words = vec![spec.precision.clone(), spec.decoder().as_str().to_owned()];
    words.extend(spec.attention.as_ref().map(attention_word));
    words.extend(spec.training.as_ref().map(contract::training::Training::name));
    words.extend(spec.edge.map(|edge| format!("largest {}", edge.axis)));
    words.push(format!("{} at once", format::count(spec.batch.into())));
    words.push(format!(
        "{} + {} tokens",
        format::count(spec.prompt_tokens.0),
        format::count(spec.generate_tokens.0)
    ));
    words.join(" · ")
}

fn links(case: &Case) -> AnyView {
    let planner = case.plan.as_ref().map(crate::link::planner_href);
    let file = format!("case-{}.json", case.id);
    view! {
        <div class="row">
            {planner
                .map(|href| view! { <a class="button" data-test="open-in-planner" href=href>"Open in planner"</a> })}
            <a class="button" href=format!("/runs/{}", case.run_id)>
                "Its run"
            </a>
            <a class="button" href=format!("/api/v1/cases/{}", case.id) download=file>
                "JSON"
            </a>
        </div>
    }
    .into_any()
}

/// How it ended, where that was not well, with everything that was said of it.
fn ended(case: &Case) -> Option<AnyView> {
    if case.status == CaseStatus::Ok {
        return None;
    }
    let class = if case.status.ran() { "notice bad" } else { "notice" };
    let why = case.error.clone().unwrap_or_else(|| "No reason was recorded.".to_owned());
    let view = view! {
        <section class=class data-test="case-ended">
            <p>
                <State word=case.status.as_str() tone=Tone::from(case.status) />
            </p>
            <p class="said">{why}</p>
        </section>
    };
    Some(view.into_any())
}

fn facts(case: &Case) -> AnyView {
    let measurement = case.measurement.as_ref();
    let speed = measurement.map(|m| CaseSpeed::of(&case.spec, m));
    let rate = |name: &'static str, pick: fn(&CaseSpeed) -> Option<contract::statistics::Distribution>| {
        speed.as_ref().and_then(pick).map(|d| {
            let unit = if d.n > 1 {
                format!("tok/s ± {}", format::figure(d.standard_deviation))
            } else {
                "tok/s".to_owned()
            };
            view! { <Fact name value=format::figure(d.mean) unit /> }
        })
    };
    let first = speed.as_ref().and_then(|s| s.ttft_ms).map(|d| {
        view! { <Fact name="First token" value=format::millis(d.p50) unit="median" /> }
    });
    let edge = measurement.and_then(|m| m.edge.as_ref()).map(|edge| {
        let unit = if edge.largest == 0 { "nothing fits" } else { "fits" };
        view! { <Fact name=edge_title(edge.axis) value=format::count(edge.largest) unit /> }
    });
    let peak = measurement.and_then(Measurement::peak_allocated).map(|peak| {
        view! { <Fact name="Peak" value=format::gib_figure(peak) unit="GiB allocated" /> }
    });
    let estimated = case.estimate.as_ref().map(|estimate| {
        let off = residual_percent(case)
            .map_or_else(|| "GiB".to_owned(), |r| format!("GiB, measured {}", format::signed_percent(r)));
        view! { <Fact name="Estimated" value=format::gib_figure(estimate.totals.allocated) unit=off /> }
    });
    view! {
        <dl class="facts num">
            <div>
                <dt>"Status"</dt>
                <dd class="text">
                    <State word=case.status.as_str() tone=Tone::from(case.status) />
                </dd>
            </div>
            {edge} {rate("Decode", |s| s.decode_tokens_per_second)}
            {rate("Prefill", |s| s.prefill_tokens_per_second)}
            {rate("Trained", |s| s.training_tokens_per_second)} {first} {peak} {estimated}
        </dl>
    }
    .into_any()
}

/// What the largest value of an edge is called.
const fn edge_title(axis: contract::edge::EdgeAxis) -> &'static str {
    match axis {
        contract::edge::EdgeAxis::Batch => "Largest batch",
        contract::edge::EdgeAxis::Context => "Longest context",
    }
}

/// The command that measures it again.
fn again(case: &Case) -> AnyView {
    let command = case_command(&case.spec, case.measurement.as_ref());
    let is_incomplete = command.contains(FOLDER);
    view! {
        <section class="card">
            <header>
                <h2>"Measure it again"</h2>
                <small>"exactly this case, on a machine with bench-runner"</small>
            </header>
            <div class="command" data-test="command">
                <code tabindex="0">{command.clone()}</code>
                <CopyButton text=command label="Copy".to_owned() />
            </div>
            {is_incomplete
                .then(|| view! { <small>{format!("Put the folder where the model lies in place of {FOLDER}.")}</small> })}
        </section>
    }
    .into_any()
}

/// Everything that tells the case from others.
fn what(spec: &CaseSpec) -> AnyView {
    let or_default = |word: Option<String>| word.unwrap_or_else(|| "the engine's own".to_owned());
    let mut pairs: Vec<(&'static str, String)> = vec![
        ("Model", spec.model.clone()),
        ("Precision", spec.precision.clone()),
        ("Decoder", spec.decoder().as_str().to_owned()),
        ("Attention", or_default(spec.attention.as_ref().map(attention_word))),
        ("Cache", or_default(spec.cache.map(|c| c.as_str().to_owned()))),
        ("Cache precision", or_default(spec.kv_cache.map(|c| c.as_str().to_owned()))),
        ("Sequences at once", format::count(spec.batch.into())),
        ("Prompt", format!("{} tokens", format::count(spec.prompt_tokens.0))),
        ("Generated", format!("{} tokens", format::count(spec.generate_tokens.0))),
        ("Device", spec.device.to_string()),
        ("Repetitions", spec.repetitions.to_string()),
    ];
    pairs.extend(spec.training.as_ref().map(|t| ("Training", t.name())));
    pairs.extend(spec.edge.map(|edge| ("Edge", edge.to_string())));
    pairs.extend(spec.quality.map(|t| ("Quality over", format!("{} tokens", format::count(t.0)))));
    pairs.extend(spec.memory_limit.map(|limit| ("Memory limit", limit.to_string())));
    pairs.extend(spec.release_threshold.map(|t| ("Release threshold", t.as_str().to_owned())));
    pairs.extend(spec.event_tracking.map(|t| ("Event tracking", t.as_str().to_owned())));
    if spec.seed != 0 {
        pairs.push(("Seed", spec.seed.to_string()));
    }
    let pairs =
        pairs.into_iter().map(|(name, value)| view! { <dt>{name}</dt><dd>{value}</dd> }).collect_view();
    view! {
        <section class="card">
            <header>
                <h2>"What it was"</h2>
            </header>
            <dl class="pairs num">{pairs}</dl>
        </section>
    }
    .into_any()
}

/// How it was measured, with the driver of then.
fn method(run: Run, case: Case, machine: Machine) -> AnyView {
    let driver = contract::outcome::driver(case.spec.device, &machine, case.measurement.as_ref());
    let products = case.measurement.as_ref().and_then(|m| m.methods.products.clone());
    let crates: Vec<String> =
        run.runner.crates.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let more = [
        ("Driver", driver),
        ("Products with weights", products),
        ("Crates", (!crates.is_empty()).then(|| crates.join(" · "))),
    ];
    let more: Vec<_> = more
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| view! { <dt>{name}</dt><dd>{value}</dd> }))
        .collect();
    view! { <MethodCard run cases=vec![case] more=more.into_any() /> }.into_any()
}
