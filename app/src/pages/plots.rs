//! Plots over the cases of all runs. What is plotted and of which cases stands in the address.

use std::collections::BTreeMap;

use contract::explore::QueryError;
use contract::machine::Machine;
use contract::points::CasePoints;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_location;

use super::cases::{Filters, chosen, hidden, pairs_of, title};
use super::{answered, backend, runs};
use crate::address::with;
use crate::charts::plots::{self, By, Kind, Plot, PlotQuery, Table};
use crate::charts::{Chart, Window};
use crate::format;

/// The plot that the address asks for.
#[component]
pub fn PlotsPage() -> impl IntoView {
    let backend = backend();
    let address = use_location().search.get_untracked();
    answered(async move {
        let (asked, unread) = read(&address);
        let (plot, points) = plots::plot(&*backend, &asked).await?;
        let machines: BTreeMap<String, String> =
            backend.machines().await?.into_iter().map(|m: Machine| (m.id.to_string(), m.name)).collect();
        let unread = unread.iter().map(left_aside).collect_view();
        let more = own_pairs(&asked);
        let kinds = Kind::ALL
            .into_iter()
            .map(|kind| {
                let href = with("/plots", &pairs(&PlotQuery { kind, ..asked.whole() }), &[]);
                view! {
                    <a href=href aria-current=(kind == asked.kind).then_some("true")>
                        {kind.title()}
                    </a>
                }
            })
            .collect_view();
        let matched = match points.total {
            1 => "One case matches".to_owned(),
            n => format!("{} cases match", format::count(n)),
        };
        let cases = with("/cases", &asked.cases.pairs(), &[]);
        let shown = shown(&asked, plot, &points);
        let CasePoints { facets, .. } = points;
        Ok(view! {
            <Title text=format!("{} · Plots", asked.kind.title()) />
            <main id="main" class="page">
                <div class="head">
                    <div>
                        <h1>"Plots"</h1>
                        <p class="muted num">{matched} ", " <a href=cases>"listed as cases"</a></p>
                    </div>
                    <a class="button from-phone" href="#filters">
                        "Filters"
                    </a>
                </div>
                {unread}
                <nav class="tabs" aria-label="Plots">
                    {kinds}
                </nav>
                <div class="explorer after">
                    <div class="stack">{chosen(&asked.cases, "/plots", &more)} {shown}</div>
                    <Filters query=asked.cases.clone() facets machines page="/plots" more />
                </div>
            </main>
        }
        .into_any())
    })
}

/// What the address asks, and what of it means nothing.
fn read(address: &str) -> (PlotQuery, Vec<QueryError>) {
    let mut pairs = pairs_of(address);
    let (mut kind, mut unread) = (Kind::Speed, Vec::new());
    pairs.retain(|(name, value)| {
        if name != "plot" {
            return true;
        }
        if let Some(named) = Kind::named(value) {
            kind = named;
        } else {
            let kinds = Kind::ALL.map(Kind::as_str).join(", ");
            let reason = format!("\"{value}\" is unknown; accepted: {kinds}");
            unread.push(QueryError { name: name.clone(), value: value.clone(), reason });
        }
        false
    });
    let (asked, errors) = PlotQuery::read(kind, pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    unread.extend(errors);
    (asked, unread)
}

/// What of the address means nothing, and what would.
fn left_aside(error: &QueryError) -> AnyView {
    let said = format!("{} in the address was left aside: {}.", error.name, error.reason);
    view! { <p class="notice warn">{said}</p> }.into_any()
}

/// The pairs of the address that are no filter.
fn own_pairs(asked: &PlotQuery) -> Vec<(&'static str, String)> {
    let mut pairs = vec![("plot", asked.kind.as_str().to_owned())];
    pairs.extend(asked.choices());
    pairs
}

fn pairs(asked: &PlotQuery) -> Vec<(&'static str, String)> {
    let mut pairs = own_pairs(asked);
    pairs.extend(asked.cases.pairs());
    pairs
}

/// The plot with its words, legend, table and downloads.
fn shown(asked: &PlotQuery, plot: Plot, points: &CasePoints) -> AnyView {
    if points.total == 0 {
        return view! { <runs::Empty filtered=!asked.cases.admits_all() one="case" all="/plots" /> }
            .into_any();
    }
    let counted = plot.counted();
    let whole = plot.zoomed.map(|_| {
        let href = with("/plots", &pairs(&asked.whole()), &[]);
        view! {
            " "
            <a href=href data-test="whole">
                "Show the whole plot"
            </a>
        }
    });
    let Some(chart) = &plot.chart else {
        return view! {
            <section class="card" data-test="plot">
                <header>
                    <h2>{asked.kind.title()}</h2>
                </header>
                {choices(asked)}
                <p class="notice" data-test="nothing-plotted">
                    {if whole.is_some() {
                        "Nothing lies in this range. "
                    } else {
                        "None of the cases that match can be plotted here. "
                    }} {counted} {whole}
                </p>
            </section>
        }
        .into_any();
    };
    let drawing = match chart.svg() {
        Ok(svg) => view! { <div class="plot large" tabindex="0" role="region" aria-label="Plot" inner_html=svg></div> }.into_any(),
        Err(error) => view! { <p class="notice bad">{super::sentence(&error.to_string())}</p> }.into_any(),
    };
    let notes = plot.notes.join(" ");
    view! {
        <figure class="card" data-test="plot" data-plot=asked.kind.as_str()>
            <header>
                <h2>{chart.title.clone()}</h2>
            </header>
            {choices(asked)}
            {drawing}
            {legend(chart, &plot.links)}
            <figcaption>
                <p class="num" data-test="plot-n">
                    {counted} {whole}
                </p>
                <p class="muted">{notes}</p>
            </figcaption>
            {zoom(&plot.settled, chart)}
            {table(asked, plot.table)}
            {downloads(asked)} <script type="module" src="/plots.js"></script>
        </figure>
    }
    .into_any()
}

/// What the plot leaves to choose: a plain GET.
fn choices(asked: &PlotQuery) -> AnyView {
    let kind = asked.kind;
    let select =
        |name: &'static str, label: &'static str, options: Vec<(&'static str, &'static str, bool)>| {
            (!options.is_empty()).then(|| {
                let options = options
                .into_iter()
                .map(|(value, label, chosen)| view! { <option value=value selected=chosen>{label}</option> })
                .collect_view();
                view! {
                    <label class="field">
                        <span>{label}</span>
                        <select name=name>{options}</select>
                    </label>
                }
            })
        };
    let figures = kind.figures().iter().map(|y| (y.as_str(), y.title(), *y == asked.y)).collect();
    let wider = (!kind.across().is_empty()).then_some(("", "whichever varies more", asked.x.is_none()));
    let across = kind.across().iter().map(|x| (x.as_str(), x.title(), Some(*x) == asked.x));
    let series = kind.series().iter().map(|by| {
        let label = match by {
            By::Quality => "Measured quality",
            By::Facet(facet) => title(*facet),
        };
        (by.as_str(), label, Some(*by) == asked.series)
    });
    let selects = [
        select("y", "Figure", figures),
        select("x", "Across", wider.into_iter().chain(across).collect()),
        select("series", "Series by", series.collect()),
    ];
    if selects.iter().all(Option::is_none) {
        return ().into_any();
    }
    let mut kept = vec![("plot", kind.as_str().to_owned())];
    kept.extend(asked.cases.pairs());
    view! {
        <form class="filters" method="get" action="/plots" aria-label="What is plotted" data-test="plot-choices">
            {hidden(&kept)} {selects.into_iter().collect_view()}
            <button class="button">"Plot"</button>
        </form>
    }
    .into_any()
}

/// The part of the plot that is shown, to be chosen: a plain GET. The script reads it, too, when a rectangle is drawn.
fn zoom(settled: &PlotQuery, chart: &Chart) -> AnyView {
    let Some(window) = chart.window else { return ().into_any() };
    let [x_from, x_to, y_from, y_to] = std::array::from_fn(|place| {
        let end = window.ends()[place].map(|end| end.to_string());
        let (name, label) = (Window::NAMES[place], if place % 2 == 0 { "from" } else { "to" });
        view! {
            <label>
                <span>{label}</span>
                <input type="number" step="any" name=name value=end />
            </label>
        }
    });
    let axis = |label: &str, from: AnyView, to: AnyView| {
        view! {
            <fieldset class="field">
                <legend>{label.to_owned()}</legend>
                <div class="range">{from} {to}</div>
            </fieldset>
        }
    };
    let kept = pairs(&PlotQuery { window: Window::default(), ..settled.clone() });
    view! {
        <details class="quiet" data-test="zoom">
            <summary>"Zoom" <span class="needs-script by-mouse">", also by dragging over the plot"</span></summary>
            <form class="filters" method="get" action="/plots" aria-label="Range that is shown" data-zoom="">
                {hidden(&kept)} {axis(&chart.x.label, x_from.into_any(), x_to.into_any())}
                {axis(&chart.y.label, y_from.into_any(), y_to.into_any())} <button class="button">"Show"</button>
            </form>
        </details>
    }
    .into_any()
}

/// The entries of the legend; those of series lead to their cases.
pub(super) fn legend(chart: &Chart, links: &BTreeMap<String, String>) -> AnyView {
    let entries = chart
        .legend()
        .into_iter()
        .map(|entry| {
            let sample = || view! { <span style="display:contents" inner_html=entry.svg()></span> };
            let sample = match entry.group {
                // Without the script the sample is only to be looked at.
                Some(group) => {
                    let label = format!("Show {}", entry.name);
                    view! {
                        <button class="needs-script" type="button" data-toggle=group.to_string() aria-pressed="true" aria-label=label>
                            {sample()}
                        </button>
                        <span class="no-script" style="display:contents">{sample()}</span>
                    }
                    .into_any()
                }
                None => sample().into_any(),
            };
            let name = match links.get(&entry.name) {
                Some(href) => view! { <a href=href.clone()>{entry.name}</a> }.into_any(),
                None => entry.name.into_any(),
            };
            view! { <li>{sample} {name}</li> }
        })
        .collect_view();
    view! { <ul class="legend">{entries}</ul> }.into_any()
}

fn table(asked: &PlotQuery, table: Table) -> AnyView {
    let Table { head, rows } = table;
    let numbers: Vec<bool> = head.iter().map(|(_, number)| *number).collect();
    let class = move |column: usize| if numbers.get(column) == Some(&true) { "n" } else { "" };
    let heads = head
        .iter()
        .enumerate()
        .map(|(column, (name, _))| view! { <th scope="col" class=class(column)>{name.clone()}</th> })
        .collect_view();
    let rows = rows
        .into_iter()
        .map(|(href, cells)| {
            let cells = cells
                .into_iter()
                .enumerate()
                .map(|(column, text)| {
                    let text = match &href {
                        Some(href) if column == 0 => view! { <a href=href.clone()>{text}</a> }.into_any(),
                        _ => text.into_any(),
                    };
                    view! { <td class=class(column)>{text}</td> }
                })
                .collect_view();
            view! { <tr>{cells}</tr> }
        })
        .collect_view();
    let all = with("/api/v1/case-lines.csv", &asked.cases.pairs(), &[]);
    view! {
        <details class="quiet" data-test="plot-table">
            <summary>"Table"</summary>
            <div class="scroll" tabindex="0" role="region" aria-label="Table of the plot">
                <table>
                    <thead>
                        <tr>{heads}</tr>
                    </thead>
                    <tbody class="num">{rows}</tbody>
                </table>
            </div>
            <p class="muted">
                <a href=all download="plimsoll-cases.csv">
                    "The cases that match, as CSV"
                </a>
            </p>
        </details>
    }
    .into_any()
}

/// The picture by itself.
fn downloads(asked: &PlotQuery) -> AnyView {
    let mut pairs = asked.choices();
    pairs.extend(asked.cases.pairs());
    let link = |format: &str, theme: &'static str, label: &'static str| {
        let kind = asked.kind.as_str();
        let href = with(&format!("/api/v1/plots/{kind}.{format}"), &pairs, &[("theme", theme)]);
        view! {
            <a class="button small" href=href download=format!("plimsoll-{kind}-{theme}.{format}")>
                {label}
            </a>
        }
    };
    view! {
        <div class="row pictures">
            {link("svg", "light", "SVG")} {link("png", "light", "PNG")} {link("svg", "dark", "Dark SVG")}
            {link("png", "dark", "Dark PNG")}
        </div>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use contract::explore::Facet;

    use super::{Kind, pairs, read};
    use crate::address::with;
    use crate::charts::plots::{Across, By, Figure};

    #[test]
    fn the_address_is_read_and_written_back() {
        let (asked, unread) =
            read("?plot=speed&x=context&y=tpot&series=model&model=a%20b&batch=8&since=2026-11-01&q=");
        assert_eq!(unread, []);
        assert_eq!((asked.kind, asked.x, asked.y), (Kind::Speed, Some(Across::Context), Figure::Tpot));
        assert_eq!(asked.series, Some(By::Facet(Facet::Model)));
        assert_eq!(
            with("/plots", &pairs(&asked), &[]),
            "/plots?plot=speed&x=context&y=tpot&series=model&model=a+b&batch=8&since=1793491200000"
        );
        let (asked, unread) = read("");
        assert_eq!((asked.kind, unread.len()), (Kind::Speed, 0));
        assert_eq!(with("/plots", &pairs(&asked), &[]), "/plots?plot=speed");
    }

    #[test]
    fn what_means_nothing_is_told_and_what_another_plot_leaves_is_not() {
        let (asked, unread) = read("?plot=pie&x=moon&y=&colour=red");
        let names: Vec<&str> = unread.iter().map(|error| error.name.as_str()).collect();
        assert_eq!((asked.kind, names), (Kind::Speed, vec!["plot", "x", "colour"]));
        assert!(unread.iter().all(|error| !error.reason.is_empty()), "{unread:?}");
        let (asked, unread) = read("?plot=pareto&y=ttft&series=precision");
        assert_eq!((asked.y, unread.len()), (Figure::Decode, 0), "this plot has no choice of a figure");
        let (asked, _) = read("?plot=speed&series=quality");
        assert_eq!(asked.series, Some(By::Facet(Facet::Precision)), "speed has no series by quality");
    }

    #[test]
    fn a_range_is_of_one_plot_and_left_with_it() {
        let (asked, unread) = read("?plot=memory&x=batch&unit=GiB&x_from=1&x_to=8.5&y_to=-2&precision=bf16");
        assert_eq!(unread, []);
        assert_eq!(asked.window.ends(), [Some(1.0), Some(8.5), None, Some(-2.0)]);
        let written = "/plots?plot=memory&x=batch&unit=GiB&x_from=1&x_to=8.5&y_to=-2&precision=bf16";
        assert_eq!(with("/plots", &pairs(&asked), &[]), written);
        let whole = with("/plots", &pairs(&asked.whole()), &[]);
        assert_eq!(whole, "/plots?plot=memory&x=batch&precision=bf16");

        let (asked, unread) = read("?plot=heat&x_from=1&x_to=2");
        assert!(unread.is_empty() && asked.window.is_whole(), "this plot has no range");
        let (asked, unread) = read("?plot=speed&x_from=8&x_to=1&y_from=wide&y_to=5&unit=MB");
        let names: Vec<&str> = unread.iter().map(|error| error.name.as_str()).collect();
        assert_eq!(names, ["unit", "x_to", "y_from"]);
        assert_eq!(asked.window.ends(), [None, None, None, Some(5.0)], "what can be read is kept");
    }
}
