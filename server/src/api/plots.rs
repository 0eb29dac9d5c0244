//! Plots as pictures, for slides and READMEs.

use app::backend::BackendError;
use app::charts::Theme;
use app::charts::plots::{self, Kind, PlotQuery};
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::response::IntoResponse;
use contract::error::ApiError;
use contract::explore::QueryError;

use crate::backend::PageBackend;
use crate::beside::beside;
use crate::problem::Problem;
use crate::raster::{self, RasterError};
use crate::state::AppState;

/// Width of a picture in pixels, where none is asked.
const WIDTH: u32 = 1200;
/// The widths that are drawn.
const WIDTHS: std::ops::RangeInclusive<u32> = 320..=4000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Svg,
    Png,
}

/// Draw a plot of the cases that match.
///
/// The cases are those of `/api/v1/case-lines` with the same facets, `q`, `since` and `until`; of more than 2000 the newest.
#[utoipa::path(get, path = "/api/v1/plots/{file}", operation_id = "draw_plot", tag = "cases",
    params(
        ("file" = String, Path, description = "`speed`, `memory`, `components`, `pareto`, `heat`, `residual` or `load-line`, \
            with `.svg` or `.png` after it"),
        ("x" = Option<String>, Query, description = "speed and memory: `batch` or `context`; whichever varies more where left out"),
        ("y" = Option<String>, Query, description = "speed and heat: `decode` (where left out), `prefill`, `ttft`, `tpot`; \
            heat also `peak`"),
        ("series" = Option<String>, Query, description = "What tells series apart: a facet, `precision` where left out; \
            pareto also `quality`, its own where left out"),
        ("unit" = Option<String>, Query, description = "memory and residual: `MiB` or `GiB`, what peaks are counted in; what suits \
            the largest where left out"),
        ("x_from" = Option<f64>, Query, description = "Least value of the horizontal axis that is drawn, in the units of its label; \
            where the data ends where left out. Without effect on components and heat, as the next three"),
        ("x_to" = Option<f64>, Query, description = "Largest value of the horizontal axis that is drawn; above `x_from`"),
        ("y_from" = Option<f64>, Query, description = "Least value of the vertical axis that is drawn"),
        ("y_to" = Option<f64>, Query, description = "Largest value of the vertical axis that is drawn; above `y_from`"),
        ("theme" = Option<String>, Query, description = "`light` (where left out) or `dark`"),
        ("width" = Option<u32>, Query, description = "Pixels, 320 to 4000; 1200 where left out"),
        ("model" = Option<Vec<String>>, Query, description = "Models; the other facets likewise")),
    responses((status = 200, content((String = "image/svg+xml"), (Vec<u8> = "image/png")), description = "The picture"),
              (status = 400, body = ApiError, description = "A parameter that means nothing"),
              (status = 404, body = ApiError, description = "There is no such plot"),
              (status = 422, body = ApiError, description = "No case that matches can be plotted")))]
pub(super) async fn draw(
    State(state): State<AppState>,
    Path(file): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, Problem> {
    let (kind, format) = named(&file)?;
    let asked = Asked::read(kind, query.as_deref().unwrap_or_default())?;
    let backend = PageBackend { state, may_write: false };
    let (plot, _) = plots::plot(&backend, &asked.plot).await.map_err(unanswered)?;
    let Some(chart) = &plot.chart else {
        return Err(Problem::unprocessable(
            "nothing-to-plot",
            match plot.zoomed {
                Some(_) => format!(
                    "nothing lies in this range: {} Widen x_from to x_to and y_from to y_to",
                    plot.counted()
                ),
                None => format!("no case that matches can be plotted: {} Take filters away", plot.counted()),
            },
        ));
    };
    let (theme, width) = (asked.theme, asked.width);
    let svg = chart.picture(&plot.counted(), theme, width).map_err(|error| undrawn(&error))?;
    let (kind, bytes) = match format {
        Format::Svg => ("image/svg+xml", svg.into_bytes()),
        // Tens of milliseconds of a core: not on a thread that serves others.
        Format::Png => {
            let draw = move || {
                raster::png(&svg, width).map_err(|error| match error {
                    RasterError::Size { .. } => {
                        Problem::unprocessable("too-large", error.to_string()).at("width")
                    }
                    _ => undrawn(&error),
                })
            };
            ("image/png", beside(draw).await?)
        }
    };
    // Opened by itself, the picture loads and runs nothing.
    let headers: [(HeaderName, &str); 3] =
        [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache"), (CONTENT_SECURITY_POLICY, "default-src 'none'")];
    Ok((headers, bytes))
}

/// The plot and the format that a file's name asks for.
fn named(file: &str) -> Result<(Kind, Format), Problem> {
    let (kind, format) = file.rsplit_once('.').unwrap_or((file, ""));
    let format = match format {
        "svg" => Some(Format::Svg),
        "png" => Some(Format::Png),
        _ => None,
    };
    Kind::named(kind).zip(format).ok_or_else(|| {
        let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        let all = kinds.join(", ");
        let message = format!("there is no plot {file}; there are {all}, each as .svg and as .png");
        Problem::new(StatusCode::NOT_FOUND, "not-found", message)
    })
}

/// What an address asks.
struct Asked {
    plot: PlotQuery,
    theme: Theme,
    width: u32,
}

impl Asked {
    fn read(kind: Kind, query: &str) -> Result<Self, Problem> {
        let (mut theme, mut width, mut rest) = (Theme::Light, WIDTH, Vec::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "theme" => {
                    theme = Theme::named(&value).ok_or_else(|| {
                        bad("theme", format!("\"{value}\" is unknown; accepted: light, dark"))
                    })?;
                }
                "width" => {
                    width = value.parse().ok().filter(|width| WIDTHS.contains(width)).ok_or_else(|| {
                        let (least, most) = (WIDTHS.start(), WIDTHS.end());
                        bad(
                            "width",
                            format!("\"{value}\" is out of range; accepted: {least} to {most} pixels"),
                        )
                    })?;
                }
                _ => rest.push((name, value)),
            }
        }
        let (plot, errors) = PlotQuery::read(kind, rest.iter().map(|(name, value)| (&**name, &**value)));
        match errors.into_iter().next() {
            None => Ok(Self { plot, theme, width }),
            Some(QueryError { name, reason, .. }) => Err(bad(&name, reason)),
        }
    }
}

fn bad(name: &str, reason: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad-field", reason).at(name)
}

fn unanswered(error: BackendError) -> Problem {
    match error {
        BackendError::NotFound { what, id } => Problem::not_found(what, id),
        BackendError::Unavailable => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
        }
    }
}

fn undrawn(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error, "a plot could not be drawn");
    let message = "the plot could not be drawn; the server's log says why";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
}
