//! Jobs: what was asked, and the form that asks.

use contract::job::Job;
use contract::protocol::Runner;
use http::StatusCode;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_location, use_query_map};

use super::runs::{beyond, models, unread_value};
use super::{answered, backend, pager, set_status};
use crate::backend::Site;
use crate::components::{State, Tone, When};
use crate::forms::{FieldError, JobForm};

/// Jobs, newest first, and the form for a new one.
#[component]
pub fn JobsPage() -> impl IntoView {
    let backend = backend();
    let query = use_query_map().get_untracked();
    let search = use_location().search.get_untracked();
    let number = query.get("page").and_then(|n| n.parse().ok()).unwrap_or(1);
    let check = query.get("check").is_some();
    let filled = query.get("batches").is_some();
    let refused = query.get("refused");
    let unread = query.get("page").filter(|n| n.parse::<u32>().is_err());
    answered(async move {
        let site = backend.site().await?;
        let runners: Vec<Runner> =
            backend.runners().await?.into_iter().filter(|runner| runner.online).collect();
        let page = backend.jobs(number).await?;
        let form = if filled { JobForm::parse(&search) } else { suggested(&runners) };
        let errors = if check { form.to_job(&runners).err().unwrap_or_default() } else { Vec::new() };
        if !errors.is_empty() || refused.is_some() {
            set_status(StatusCode::UNPROCESSABLE_ENTITY);
        }
        // Where a field is wrong, its own sentence says more.
        let refused = refused.filter(|_| errors.is_empty()).map(|code| {
            view! {
                <p class="notice bad" role="alert" data-test="form-error">
                    {told(&code)}
                </p>
            }
        });
        let unread = unread.map(|page| unread_value("page", &page));
        let list = if page.items.is_empty() && page.total > 0 {
            beyond("/jobs", page.page).into_any()
        } else if page.items.is_empty() {
            view! { <p class="notice">"No sweep has been asked for yet."</p> }.into_any()
        } else {
            view! { <JobTable jobs=page.items.clone() site=site.clone() /> }.into_any()
        };
        Ok(view! {
            <Title text="Jobs" />
            <main id="main" class="page">
                <div class="head">
                    <div>
                        <h1>"Jobs"</h1>
                        <p class="muted">"A job is a sweep asked of the runners that are online."</p>
                    </div>
                </div>
                {unread} {refused}
                <div class="cards">
                    <section class="card" id="new">
                        <header>
                            <h2>"New sweep"</h2>
                            <small>"every combination becomes a case"</small>
                        </header>
                        <NewJob form errors runners=runners.clone() site />
                    </section>
                    <section class="card">
                        <header>
                            <h2>"Runners online"</h2>
                            <small class="num">{runners.len()}</small>
                        </header>
                        <Runners runners />
                    </section>
                </div>
                {list} {pager("/jobs", "", page.page, page.per_page, page.total)}
            </main>
        }
        .into_any())
    })
}

/// Why the server took no sweep that the form's fields allow.
fn told(code: &str) -> &'static str {
    match code {
        "runner-offline" => {
            "No runner that has these models is online, so nothing was submitted. Start it with bench-runner daemon, \
             then submit again."
        }
        "bad-name" => {
            "The name is too long or has control characters: give 1 to 200 characters on one line, or none."
        }
        _ => {
            "No one runner that is online can do all of this sweep, so nothing was submitted: a job is executed by one \
             runner. Split it, by model, precision or length."
        }
    }
}

/// A first form: the smallest model that is advertised and generates, in its first precision.
fn suggested(runners: &[Runner]) -> JobForm {
    let mut models: Vec<_> = runners.iter().flat_map(|r| &r.registration.models).collect();
    models.sort_by_key(|model| model.parameters);
    // What the catalogue does not know is a file of somebody's own; encoders are asked for 0 tokens, which no first form does.
    let generates = |name: &str| {
        let known = planner::catalogue::model(name).and_then(|entry| entry.model().ok());
        known.is_none_or(|model| model.is_decoder())
    };
    let smallest = models.iter().find(|model| generates(&model.name)).or(models.first());
    let device = runners.iter().flat_map(|r| &r.registration.devices).next();
    JobForm {
        models: smallest.iter().map(|model| model.name.clone()).collect(),
        precisions: smallest.and_then(|model| model.precisions.first().cloned()).unwrap_or_default(),
        batches: "1,2".to_owned(),
        device: device.map_or_else(|| "cpu".to_owned(), ToString::to_string),
        ..JobForm::default()
    }
}

#[component]
fn NewJob(form: JobForm, errors: Vec<FieldError>, runners: Vec<Runner>, site: Site) -> impl IntoView {
    if runners.is_empty() {
        return view! {
            <p>"No runner is online, so nothing could execute a sweep. On the machine to measure, start one:"</p>
            <pre>"bench-runner daemon --server http://HOST:PORT --token TOKEN"</pre>
            <p class="muted">
                "The token is the server's --runner-token; without one it is in the file DATABASE.runner-token. "
                <a href="/docs/operating">"More on runners"</a>
                "."
            </p>
        }
        .into_any();
    }
    let mut models: Vec<_> = runners.iter().flat_map(|r| r.registration.models.clone()).collect();
    models.sort_by(|a, b| a.parameters.cmp(&b.parameters).then_with(|| a.name.cmp(&b.name)));
    models.dedup_by(|a, b| a.name == b.name);
    let mut precisions: Vec<String> = models.iter().flat_map(|model| model.precisions.clone()).collect();
    precisions.sort();
    precisions.dedup();
    let mut devices: Vec<String> =
        runners.iter().flat_map(|r| &r.registration.devices).map(ToString::to_string).collect();
    devices.sort();
    devices.dedup();
    let error = |field: &'static str| {
        let messages: Vec<&str> =
            errors.iter().filter(|e| e.field == field).map(|e| e.message.as_str()).collect();
        (!messages.is_empty()).then(|| messages.join("; "))
    };
    let said = |field: &'static str| {
        error(field).map(|message| {
            view! {
                <span class="error" id=format!("{field}-error") data-test="form-error">
                    {message}
                </span>
            }
        })
    };
    let text = |field: &'static str, label: &'static str, value: &str, hint: &'static str| {
        let wrong = error(field).is_some();
        view! {
            <div class="field">
                <label for=field>{label}</label>
                <input
                    type="text"
                    id=field
                    name=field
                    value=value.to_owned()
                    autocomplete="off"
                    aria-invalid=wrong.then_some("true")
                    aria-describedby=format!("{field}-hint {field}-error")
                />
                <span class="hint" id=format!("{field}-hint")>
                    {hint}
                </span>
                {said(field)}
            </div>
        }
    };
    let chosen = form.models.clone();
    let boxes = models
        .iter()
        .map(|model| {
            let checked = chosen.contains(&model.name);
            view! {
                <label>
                    <input type="checkbox" name="models" value=model.name.clone() checked=checked />
                    <span>{model.name.clone()}</span>
                    <small class="num">
                        {format!("{} M · {}", crate::format::count(model.parameters / 1_000_000), model.weights.as_str())}
                    </small>
                </label>
            }
        })
        .collect_view();
    let options = |values: Vec<(String, String)>, chosen: &str| {
        values
            .into_iter()
            .map(|(value, label)| {
                let selected = value == chosen;
                view! { <option value=value selected=selected>{label}</option> }
            })
            .collect_view()
    };
    let devices = options(devices.into_iter().map(|d| (d.clone(), d)).collect(), &form.device);
    let named = options(
        runners.iter().map(|r| (r.id.to_string(), r.registration.name.clone())).collect(),
        &form.runner_id,
    );
    let accepted = format!("Accepted: {}. Not every model has each.", precisions.join(", "));
    view! {
        <form method="post" action="/jobs">
            <fieldset class="field">
                <legend>"Models"</legend>
                <div class="checks">{boxes}</div>
                {said("models")}
            </fieldset>
            <div class="fields">
                <div class="field">
                    <label for="precisions">"Precisions"</label>
                    <input
                        type="text"
                        id="precisions"
                        name="precisions"
                        value=form.precisions.clone()
                        autocomplete="off"
                        aria-invalid=error("precisions").is_some().then_some("true")
                        aria-describedby="precisions-hint precisions-error"
                    />
                    <span class="hint" id="precisions-hint">
                        {accepted}
                    </span>
                    {said("precisions")}
                </div>
                {text("batches", "Sequences at once", &form.batches, "1,2,4 or 1..8 or 1..64*2")}
                {text("prompts", "Prompt, tokens", &form.prompts, "128 or 128..4096*2")}
                {text("generates", "Generate, tokens", &form.generates, "32 or 0..64+16")}
                {text("repetitions", "Timed repetitions", &form.repetitions, "after one warm-up")}
                <div class="field">
                    <label for="device">"Device"</label>
                    <select id="device" name="device">
                        {devices}
                    </select>
                    {said("device")}
                </div>
                <div class="field">
                    <label for="runner_id">"Runner"</label>
                    <select id="runner_id" name="runner_id">
                        <option value="">"any that can"</option>
                        {named}
                    </select>
                    {said("runner_id")}
                </div>
                {text("name", "Name", &form.name, "may be left empty")}
            </div>
            <div class="row">
                <button class="button primary" data-test="submit-job">
                    "Submit"
                </button>
                {(!site.may_write)
                    .then(|| {
                        view! {
                            <small>
                                "Submitting asks for the admin token: "
                                <a href="/login?next=/jobs">"log in"</a>
                                " first."
                            </small>
                        }
                    })}
            </div>
        </form>
    }
    .into_any()
}

#[component]
fn Runners(runners: Vec<Runner>) -> impl IntoView {
    if runners.is_empty() {
        return view! { <p class="muted">"None."</p> }.into_any();
    }
    let lines = runners
        .into_iter()
        .map(|runner| {
            let registration = runner.registration;
            let machine = registration.machine;
            let gpus: Vec<String> = machine.gpus.into_iter().map(|gpu| gpu.name).collect();
            let place = if gpus.is_empty() { machine.cpu.model } else { gpus.join(", ") };
            let devices: Vec<String> = registration.devices.iter().map(ToString::to_string).collect();
            view! {
                <dt>{registration.name}</dt>
                <dd>
                    {place}
                    <br />
                    <small>
                        {format!(
                            "{} · {} · {} models · bench-runner {}",
                            machine.name,
                            devices.join(", "),
                            registration.models.len(),
                            registration.build.version,
                        )}
                    </small>
                </dd>
            }
        })
        .collect_view();
    view! { <dl class="pairs num">{lines}</dl> }.into_any()
}

#[component]
fn JobTable(jobs: Vec<Job>, site: Site) -> impl IntoView {
    let now = site.now;
    let rows = jobs
        .into_iter()
        .map(|job| {
            view! {
                <tr>
                    <td>
                        <a href=format!("/jobs/{}", job.id)>{job.name}</a>
                    </td>
                    <td>
                        {models(&job.sweep.models)} <small>{format!("{} on {}", job.sweep.precisions.join(", "), job.sweep.device)}</small>
                    </td>
                    <td class="n">{format!("{} / {}", job.progress.done, job.progress.total)}</td>
                    <td>{job.held_by.unwrap_or_else(|| "–".to_owned())}</td>
                    <td class="nowrap">
                        <When at=job.created_at now />
                    </td>
                    <td>
                        <State word=job.state.as_str() tone=Tone::from(job.state) />
                    </td>
                </tr>
            }
        })
        .collect_view();
    view! {
        <section class="card flush">
            <header>
                <h2>"All jobs"</h2>
            </header>
            <div class="scroll" tabindex="0" role="region" aria-label="All jobs">
                <table style="min-width:680px">
                    <thead>
                        <tr>
                            <th scope="col">"Job"</th>
                            <th scope="col">"Models"</th>
                            <th scope="col" class="n">"Cases"</th>
                            <th scope="col">"Runner"</th>
                            <th scope="col">"Asked"</th>
                            <th scope="col">"State"</th>
                        </tr>
                    </thead>
                    <tbody class="num">{rows}</tbody>
                </table>
            </div>
        </section>
    }
}
