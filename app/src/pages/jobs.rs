//! Jobs: what was asked, and the form that asks.

mod form;

use contract::job::Job;
use contract::protocol::Runner;
use contract::sweep::is_encoder;
use http::StatusCode;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_location, use_query_map};

use super::home::{FirstBenchmark, able};
use super::runs::{beyond, models, unread_value};
use super::{answered, backend, pager, set_status};
use crate::backend::Site;
use crate::components::{State, Tone, When};
use crate::forms::JobForm;
use form::NewJob;

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
            let first = able(&runners).is_some().then(|| {
                view! {
                    <div class="cards even">
                        <FirstBenchmark runners=runners.clone() may_write=site.may_write />
                    </div>
                }
            });
            view! {
                <p class="notice">"No sweep has been asked for yet."</p>
                {first}
            }
            .into_any()
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
    let smallest = models.iter().find(|model| !is_encoder(&model.name)).or(models.first());
    let device = runners.iter().flat_map(|r| &r.registration.devices).next();
    let mut form = JobForm::default();
    form.models = smallest.iter().map(|model| model.name.clone()).collect();
    form.with("precisions", smallest.and_then(|model| model.precisions.first().cloned()).unwrap_or_default())
        .with("batches", "1,2")
        .with("device", device.map_or_else(|| "cpu".to_owned(), ToString::to_string))
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
            let models = match registration.models.len() {
                1 => "1 model".to_owned(),
                n => format!("{n} models"),
            };
            let devices: Vec<String> = registration.devices.iter().map(ToString::to_string).collect();
            view! {
                <dt>{registration.name}</dt>
                <dd>
                    {place}
                    <br />
                    <small>
                        {format!(
                            "{} · {} · {} · bench-runner {}",
                            machine.name,
                            devices.join(", "),
                            models,
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
