//! Earlier and later results of the same case.

use contract::case::CaseStatus;
use contract::figure::Figure;
use contract::history::{CaseHistory, PastResult};
use contract::ids::{CaseId, UnixMillis};
use contract::statistics::DIFFERENCE_METHOD;
use leptos::prelude::*;

use crate::components::{State, Tone, When};
use crate::pages::difference;

/// The figures that a history shows, where any of its results has them.
fn shown(history: &CaseHistory) -> Vec<Figure> {
    let has = |figure: &&Figure| history.results.iter().any(|result| result.figures.contains_key(*figure));
    Figure::ALL.iter().filter(has).copied().collect()
}

/// Results with the same key, the newest first.
pub(super) fn table(history: &CaseHistory, this: CaseId, is_later_page: bool, now: UnixMillis) -> AnyView {
    let figures = shown(history);
    let heads: Vec<_> = figures
        .iter()
        .map(|figure| view! { <th scope="col" class="n">{difference::title(*figure)}</th> })
        .collect();
    let rows: Vec<_> = history.results.iter().map(|result| row(result, &figures, this, now)).collect();
    let older = history.next.as_ref().map(|place| {
        let href = format!("/cases/{this}?before={place}#history");
        view! { <a class="button" rel="next" href=href>"Older results"</a> }
    });
    let newest = is_later_page.then(|| {
        view! { <a class="button" rel="first" href=format!("/cases/{this}#history")>"Newest results"</a> }
    });
    let alone = (history.results.len() == 1 && history.next.is_none() && !is_later_page)
        .then_some("It was measured this once; run the command above for another result.");
    let api = format!("/api/v1/cases/{this}/history");
    view! {
        <section class="card flush" id="history" data-test="history">
            <header>
                <h2>"History"</h2>
                <small>
                    "the same case on every machine, commit and driver, newest first · " <a href=api>"JSON"</a>
                </small>
            </header>
            <div class="scroll" tabindex="0" role="region" aria-label="History">
                <table class="wide">
                    <thead>
                        <tr>
                            <th scope="col">"When"</th>
                            <th scope="col">"Run"</th>
                            <th scope="col">"Machine"</th>
                            <th scope="col">"Commit"</th>
                            <th scope="col">"Driver"</th>
                            {heads}
                        </tr>
                    </thead>
                    <tbody class="num">{rows}</tbody>
                </table>
            </div>
            <div class="row inset">
                {newest} {older} {alone.map(|said| view! { <span class="muted">{said}</span> })}
            </div>
            <p class="muted basis inset">
                {format!("A change is from the latest earlier result; noise where its interval covers zero: {DIFFERENCE_METHOD}.")}
            </p>
        </section>
    }
    .into_any()
}

fn row(result: &PastResult, figures: &[Figure], this: CaseId, now: UnixMillis) -> AnyView {
    let is_this = result.case_id == this;
    let cells: Vec<_> = figures
        .iter()
        .map(|figure| {
            let value = result.figures.get(figure).map(|spread| difference::mean(*figure, spread));
            let change = result.changes.get(figure).map(|change| difference::change(*figure, change));
            view! { <td class="n">{value.unwrap_or_else(|| "–".into_any())} {change}</td> }
        })
        .collect();
    let ended = (result.status != CaseStatus::Ok).then(|| {
        let why = result.error.clone().unwrap_or_default();
        view! {
            <span title=why>
                <State word=result.status.as_str() tone=Tone::from(result.status) />
            </span>
        }
    });
    let when = view! { <When at=result.finished_at now /> };
    let when = if is_this {
        view! { <b>{when}</b> <small>"this one"</small> }.into_any()
    } else {
        view! { <a href=format!("/cases/{}", result.case_id)>{when}</a> }.into_any()
    };
    let class = if is_this { "this" } else { "" };
    view! {
        <tr class=class data-test="history-row" aria-current=is_this.then_some("true")>
            <td class="nowrap">{when} {ended}</td>
            <td>
                <a href=format!("/runs/{}", result.run_id)>{result.run_name.clone()}</a>
            </td>
            <td>
                {result.machine_name.clone()}
                <small>{result.device.clone()}</small>
            </td>
            <td>
                <code>{short(&result.commit).to_owned()}</code>
                <small>{format!("bench-runner {}", result.runner_version)}</small>
                <small>{result.engine.clone()}</small>
            </td>
            <td>{result.driver.clone().unwrap_or_else(|| "–".to_owned())}</td>
            {cells}
        </tr>
    }
    .into_any()
}

/// A commit as people read it.
fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// Attempts at this very case that a later one took the place of.
pub(super) fn attempts(history: &CaseHistory, now: UnixMillis) -> Option<AnyView> {
    if history.attempts.is_empty() {
        return None;
    }
    let rows: Vec<_> = history
        .attempts
        .iter()
        .enumerate()
        .map(|(place, attempt)| {
            view! {
                <tr data-test="attempt">
                    <td class="n">{place + 1}</td>
                    <td class="nowrap">
                        <When at=attempt.finished_at now />
                    </td>
                    <td>
                        <State word=attempt.status.as_str() tone=Tone::from(attempt.status) />
                    </td>
                    <td>{attempt.error.clone().unwrap_or_else(|| "No reason was recorded.".to_owned())}</td>
                    <td>{attempt.engine.clone()}</td>
                </tr>
            }
        })
        .collect();
    let view = view! {
        <section class="card flush">
            <header>
                <h2>"Attempts before this result"</h2>
                <small>"the same case of the same run, tried again"</small>
            </header>
            <div class="scroll" tabindex="0" role="region" aria-label="Attempts before this result">
                <table>
                    <thead>
                        <tr>
                            <th scope="col" class="n">"#"</th>
                            <th scope="col">"When"</th>
                            <th scope="col">"Ended"</th>
                            <th scope="col">"Why"</th>
                            <th scope="col">"Engine"</th>
                        </tr>
                    </thead>
                    <tbody class="num">{rows}</tbody>
                </table>
            </div>
        </section>
    };
    Some(view.into_any())
}
