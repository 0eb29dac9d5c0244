//! The form that asks for the admin token.

use http::StatusCode;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

use super::set_status;
use crate::address::local_path;

/// Asks for the token; the server answers with a cookie.
#[component]
pub fn LoginPage() -> impl IntoView {
    let query = use_query_map().get_untracked();
    let wait: Option<u64> = query.get("wait").and_then(|seconds| seconds.parse().ok());
    let wrong = match wait {
        Some(seconds) => {
            set_status(StatusCode::TOO_MANY_REQUESTS);
            Some(format!("Too many wrong tokens came in. Try again in {seconds} s."))
        }
        None if query.get("wrong").is_some() => {
            set_status(StatusCode::UNAUTHORIZED);
            Some("This is not the token of this server.".to_owned())
        }
        None => None,
    };
    let next = local_path(&query.get("next").unwrap_or_default()).to_owned();
    view! {
        <Title text="Log in" />
        <main id="main" class="page narrow">
            <h1>"Log in"</h1>
            <p>
                "Reading needs no login. Submitting and cancelling jobs, importing and storing plans ask for the admin token \
                 that this server was started with."
            </p>
            <form class="card" method="post" action="/login">
                <input type="hidden" name="next" value=next />
                <div class="field">
                    <label for="token">"Admin token"</label>
                    <input
                        type="password"
                        id="token"
                        name="token"
                        required
                        autocomplete="current-password"
                        aria-invalid=wrong.is_some().then_some("true")
                        aria-describedby=wrong.is_some().then_some("token-error")
                    />
                    {wrong
                        .map(|said| {
                            view! {
                                <span class="error" id="token-error" data-test="form-error">
                                    {said}
                                </span>
                            }
                        })}
                </div>
                <button class="button primary">"Log in"</button>
            </form>
        </main>
    }
}
