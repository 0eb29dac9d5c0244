//! Lists of cases that are kept by a name: links, a form that keeps this one, buttons that let go.

use contract::view::{MAX_NAME, MOST, SavedView};
use leptos::prelude::*;

use crate::address;

/// What is said of a form that could not keep a view.
pub(super) fn problem(code: &str) -> Option<AnyView> {
    let said = match code {
        "view-name" => format!("A view needs a name of 1 to {MAX_NAME} characters; nothing was saved."),
        "too-many-views" => format!("{MOST} views are kept already; delete one first. Nothing was saved."),
        _ => return None,
    };
    Some(view! { <p class="notice warn" data-test="form-error">{said}</p> }.into_any())
}

/// The views, and the form that keeps the list of `pairs`; for those who may write also buttons that let go.
pub(super) fn saved(views: &[SavedView], pairs: &[(&'static str, String)], may_write: bool) -> AnyView {
    let query = address::with("", pairs, &[]);
    let query = query.trim_start_matches('?').to_owned();
    let links: Vec<_> = views
        .iter()
        .map(|saved| {
            let current = (saved.query == query).then_some("page");
            view! {
                <li>
                    <a class="chip" href=format!("/cases?{}", saved.query) aria-current=current>
                        {saved.name.clone()}
                    </a>
                </li>
            }
        })
        .collect();
    let list = (!links.is_empty())
        .then(|| view! { <ul class="chips" aria-label="Saved views" data-test="views">{links}</ul> });
    let deleted: Vec<_> = views
        .iter()
        .filter(|_| may_write)
        .map(|saved| {
            let label = format!("Delete the view {}", saved.name);
            view! {
                <form class="inline" method="post" action="/cases/views/delete">
                    <input type="hidden" name="name" value=saved.name.clone() />
                    <button class="chip" aria-label=label>
                        {saved.name.clone()}
                        <span aria-hidden="true">"✕"</span>
                    </button>
                </form>
            }
        })
        .collect();
    let delete = (!deleted.is_empty()).then(|| {
        view! {
            <div class="field">
                <span>"Delete"</span>
                <div class="row">{deleted}</div>
            </div>
        }
    });
    view! {
        <div class="views">
            {list} <details class="quiet">
                <summary>"Save this view"</summary>
                <div class="card">
                    <form class="filters" method="post" action="/cases/views" data-test="save-view">
                        <label class="field">
                            <span>"Name of the view: these filters, this order, these columns"</span>
                            <input type="text" name="name" required maxlength=MAX_NAME.to_string() />
                        </label>
                        <input type="hidden" name="query" value=query />
                        <button class="button primary">"Save"</button>
                    </form>
                    {delete}
                </div>
            </details>
        </div>
    }
    .into_any()
}
