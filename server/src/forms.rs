//! Forms of the pages, as browsers send them without scripts: each answers with a redirection.

use app::address::local_path;
use app::forms::JobForm;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Request, State};
use axum::http::header::{CONTENT_TYPE, REFERER, RETRY_AFTER, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use contract::ids::JobId;
use contract::job::NewJob;
use contract::sweep::first_benchmark;
use contract::view::{MAX_NAME, MAX_QUERY, SavedView};
use planner::link;

use crate::access::{COOKIE_NAME, peer};
use crate::extract::{Id, read};
use crate::problem::Problem;
use crate::state::AppState;
use crate::{examples, jobs, links, pages};

/// A plan in a link may carry a whole `config.json`.
const FORM_LIMIT: usize = 256 << 10;
/// A login lasts thirty days.
const SESSION_SECONDS: u32 = 30 * 24 * 60 * 60;

/// The addresses that take forms; each shows its page where it is only looked at.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/jobs", get(pages::render).post(submit_job))
        .route("/jobs/{id}/cancel", get(pages::render).post(cancel_job))
        .route("/first-benchmark", get(pages::render).post(first))
        .route("/examples", get(pages::render).post(import_examples))
        .route("/cases/views", get(pages::render).post(save_view))
        .route("/cases/views/delete", get(pages::render).post(delete_view))
        .route("/planner/link", get(pages::render).post(store_plan))
        .route("/login", get(pages::render).post(log_in))
        .layer(DefaultBodyLimit::max(FORM_LIMIT))
}

/// A browser that may write. Without the right it is sent to the login, and back to where the form was.
struct LoggedIn;

impl FromRequestParts<AppState> for LoggedIn {
    type Rejection = Redirect;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Redirect> {
        if state.access.may_write(&parts.headers) {
            return Ok(Self);
        }
        let next = parts
            .headers
            .get(REFERER)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse::<Uri>().ok())
            .and_then(|uri| uri.path_and_query().map(|p| local_path(p.as_str()).to_owned()))
            .unwrap_or_else(|| "/".to_owned());
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", &next).finish();
        Err(Redirect::to(&format!("/login?{query}")))
    }
}

/// The body of a form.
async fn form(state: &AppState, request: Request) -> Result<String, Response> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/x-www-form-urlencoded") {
        let said = "this address takes forms; programs use /api/v1\n";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, said).into_response());
    }
    let bytes = read(request, state).await.map_err(plain)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn value_of(form: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(form.as_bytes()).find_map(|(key, value)| (key == name).then(|| value.into_owned()))
}

/// An error that no page shows.
#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err calls")]
fn plain(problem: Problem) -> Response {
    (problem.status, format!("{}\n", problem.body.error.message)).into_response()
}

async fn submit_job(
    State(state): State<AppState>,
    _: LoggedIn,
    request: Request,
) -> Result<Response, Response> {
    let form = JobForm::parse(&form(&state, request).await?);
    let mut runners = state.store.runners(state.now()).await.map_err(|e| plain(e.into()))?;
    runners.retain(|runner| runner.online);
    let again = || Redirect::to(&format!("/jobs?{}&check=1", form.to_query())).into_response();
    let Ok(new) = form.to_job(&runners) else { return Ok(again()) };
    match jobs::submit(&state, new).await {
        Ok(job) => Ok(Redirect::to(&format!("/jobs/{}", job.id)).into_response()),
        // What the fields' own checks let pass: the page says it above the form.
        Err(problem) if is_refusal(&problem) => {
            let code = &problem.body.error.code;
            Ok(Redirect::to(&format!("/jobs?{}&check=1&refused={code}", form.to_query())).into_response())
        }
        Err(problem) => Err(plain(problem)),
    }
}

/// Whether the sweep asks for what no runner can do, or none that is online.
fn is_refusal(problem: &Problem) -> bool {
    matches!(problem.status, StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT)
}

async fn cancel_job(
    State(state): State<AppState>,
    _: LoggedIn,
    Id(id): Id<JobId>,
) -> Result<Response, Response> {
    match state.store.request_cancel(id, state.now()).await {
        Ok(_) => state.hub.tell(id),
        // It ended in the meantime: its page says how.
        Err(store::StoreError::JobEnded { .. }) => {}
        Err(error) => return Err(plain(error.into())),
    }
    Ok(Redirect::to(&format!("/jobs/{id}")).into_response())
}

async fn first(State(state): State<AppState>, _: LoggedIn) -> Result<Response, Response> {
    let name = Some("First benchmark".to_owned());
    match jobs::submit(&state, NewJob { name, sweep: first_benchmark(), runner_id: None }).await {
        Ok(job) => Ok(Redirect::to(&format!("/jobs/{}", job.id)).into_response()),
        Err(problem) if is_refusal(&problem) => Ok(Redirect::to("/?problem=no-runner").into_response()),
        Err(problem) => Err(plain(problem)),
    }
}

async fn import_examples(State(state): State<AppState>, _: LoggedIn) -> Result<Response, Response> {
    if !examples::available() {
        return Ok(Redirect::to("/?problem=no-examples").into_response());
    }
    examples::import(&state).await.map_err(plain)?;
    Ok(Redirect::to("/runs").into_response())
}

async fn store_plan(
    State(state): State<AppState>,
    _: LoggedIn,
    request: Request,
) -> Result<Response, Response> {
    let form = form(&state, request).await?;
    let query = value_of(&form, "query").unwrap_or_default();
    let query = query.trim_start_matches('?');
    // The page of the query says what is wrong with it.
    let again = || Redirect::to(&format!("/planner?{}", query.replace(['\r', '\n'], ""))).into_response();
    let Ok(plan) = link::from_query(query) else { return Ok(again()) };
    match links::store(&state, plan).await {
        Ok((stored, _)) => Ok(Redirect::to(&format!("/p/{}", stored.id)).into_response()),
        Err(problem) if problem.status == StatusCode::UNPROCESSABLE_ENTITY => Ok(again()),
        Err(problem) => Err(plain(problem)),
    }
}

/// The login's page, which says how long to wait.
async fn too_many(state: AppState, next: &str, seconds: u64) -> Response {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("wait", &seconds.to_string())
        .append_pair("next", next)
        .finish();
    let Ok(request) = Request::get(format!("/login?{query}")).body(Body::empty()) else {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    };
    let mut page = pages::render(State(state), request).await;
    page.headers_mut().insert(RETRY_AFTER, seconds.into());
    page
}

/// Keeps a list of cases by a name, and shows it again.
async fn save_view(
    State(state): State<AppState>,
    _: LoggedIn,
    request: Request,
) -> Result<Response, Response> {
    let form = form(&state, request).await?;
    let name = value_of(&form, "name").unwrap_or_default().trim().to_owned();
    let given = value_of(&form, "query").unwrap_or_default();
    // Written anew, so that it is nothing but pairs.
    let pairs = form_urlencoded::parse(given.trim_start_matches('?').as_bytes());
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs.filter(|(key, _)| !matches!(&**key, "after" | "before" | "problem")))
        .finish();
    let shown = |problem: Option<&str>| {
        let pairs = form_urlencoded::parse(query.as_bytes())
            .chain(problem.map(|said| ("problem".into(), said.into())));
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        Redirect::to(&format!("/cases?{query}")).into_response()
    };
    if name.is_empty() || name.chars().count() > MAX_NAME || query.len() > MAX_QUERY {
        return Ok(shown(Some("view-name")));
    }
    let view = SavedView { name, query: query.clone(), saved_at: state.now() };
    let is_kept = state.store.save_view(&view).await.map_err(|e| plain(e.into()))?;
    Ok(shown((!is_kept).then_some("too-many-views")))
}

/// Keeps it no more.
async fn delete_view(
    State(state): State<AppState>,
    _: LoggedIn,
    request: Request,
) -> Result<Response, Response> {
    let form = form(&state, request).await?;
    let name = value_of(&form, "name").unwrap_or_default();
    // One that is gone already is as wished.
    state.store.delete_view(&name).await.map_err(|e| plain(e.into()))?;
    Ok(Redirect::to("/cases").into_response())
}

async fn log_in(State(state): State<AppState>, request: Request) -> Result<Response, Response> {
    let peer = peer(request.extensions());
    let form = form(&state, request).await?;
    let next = value_of(&form, "next").unwrap_or_default();
    let next = local_path(&next);
    let Some(admin) = &state.access.admin else { return Ok(Redirect::to(next).into_response()) };
    if let Err(seconds) = state.logins.take(peer, state.now()) {
        tracing::warn!(?peer, seconds, "too many logins with a wrong token");
        return Ok(too_many(state.clone(), next, seconds).await);
    }
    if !admin.matches(value_of(&form, "token").unwrap_or_default().trim()) {
        tracing::warn!(?peer, "a login with a wrong token");
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("wrong", "1")
            .append_pair("next", next)
            .finish();
        return Ok(Redirect::to(&format!("/login?{query}")).into_response());
    }
    state.logins.forget(peer);
    let session = state.access.session().map_or_else(String::new, |session| session.expose().to_owned());
    let cookie =
        format!("{COOKIE_NAME}={session}; Path=/; HttpOnly; SameSite=Strict; Max-Age={SESSION_SECONDS}");
    Ok(([(SET_COOKIE, cookie)], Redirect::to(next)).into_response())
}
