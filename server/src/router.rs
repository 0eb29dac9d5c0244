//! Everything that the server answers.

use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{any, get};
use axum::{Router, middleware};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use crate::state::AppState;
use crate::{api, forms, guard, pages, plan_files, site};

/// The router over `state`. Call it within a tokio runtime: the pages render on it.
pub fn build_router(state: AppState) -> Router {
    // An error means that it was set before.
    let _ = any_spawner::Executor::init_tokio();
    Router::new()
        .nest("/api/v1", api::router())
        .route("/runs/{id}/lines", get(api::runs::lines))
        .route("/api", any(api::unknown))
        .route("/api/", any(api::unknown))
        .route("/api/{*rest}", any(api::unknown))
        .merge(forms::router())
        .merge(plan_files::router())
        .fallback(file_or_page)
        // Pages and documents are made anew for each request: a tenth smaller is not worth three times the time. The site's
        // files are compressed when it is built.
        .layer(CompressionLayer::new().quality(CompressionLevel::Precise(2)))
        .layer(middleware::from_fn_with_state(state.clone(), guard::protect))
        .layer(middleware::from_fn(guard::observe))
        .with_state(state)
}

async fn file_or_page(state: State<AppState>, request: Request) -> Response {
    match site::file(request.uri(), request.headers()) {
        Some(file) => file,
        None => pages::render(state, request).await,
    }
}

#[cfg(test)]
mod tests;
