//! Cases of all runs: filters with their counts, an order by any figure, pages by place. All of it stands in the address.

use std::collections::BTreeMap;

use contract::case::CaseStatus;
use contract::explore::{CaseLine, CaseListing, CaseQuery, Facet, FacetValue, Order, PER_PAGE};
use contract::ids::UnixMillis;
use contract::machine::Machine;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_location;

use super::{answered, backend, runs};
use crate::address::with;
use crate::components::{State, Tone, When};
use crate::format;

/// Values of a facet that are shown before the rest is folded away.
const SHOWN: usize = 8;

/// All cases, or those that pass the filters.
#[component]
pub fn CasesPage() -> impl IntoView {
    let backend = backend();
    let address = use_location().search.get_untracked();
    answered(async move {
        let asked = Asked::read(&address);
        let site = backend.site().await?;
        let machines: BTreeMap<String, String> =
            backend.machines().await?.into_iter().map(|m: Machine| (m.id.to_string(), m.name)).collect();
        let listing = backend.cases(asked.query.clone()).await?;
        let unread = asked.unread.iter().map(|(name, value)| runs::unread_value(name, value)).collect_view();
        let table = if listing.items.is_empty() {
            view! { <runs::Empty filtered=!asked.query.admits_all() one="case" all="/cases" /> }.into_any()
        } else {
            view! { <Table asked=asked.clone() listing=listing.clone() machines=machines.clone() now=site.now /> }
                .into_any()
        };
        let exports = asked.query.pairs();
        let export = |format: &str| with(&format!("/api/v1/case-lines{format}"), &exports, &[]);
        Ok(view! {
            <Title text="Cases" />
            <main id="main" class="page">
                <div class="head">
                    <div>
                        <h1>"Cases"</h1>
                        <p class="muted num">{told(listing.total, &asked)}</p>
                    </div>
                    <div class="row">
                        <a class="button" href=export(".csv") download="plimsoll-cases.csv">
                            "CSV"
                        </a>
                        <a class="button" href=export("")>
                            "JSON"
                        </a>
                    </div>
                </div>
                {unread}
                <div class="explorer">
                    <Filters
                        query=asked.query.clone()
                        facets=listing.facets.clone()
                        machines
                        page="/cases"
                        more=asked.order_pairs()
                    />
                    <div class="stack">{chosen(&asked.query, "/cases", &[])} {table} {pages(&asked, &listing)}</div>
                </div>
            </main>
        }
        .into_any())
    })
}

/// What the address asks for.
#[derive(Debug, Clone)]
struct Asked {
    query: CaseQuery,
    /// Names and values that mean nothing.
    unread: Vec<(String, String)>,
}

impl Asked {
    fn read(address: &str) -> Self {
        let pairs = pairs_of(address);
        let (query, errors) =
            CaseQuery::read(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        Self { query, unread: errors.into_iter().map(|error| (error.name, error.value)).collect() }
    }

    /// The pairs that say the order.
    fn order_pairs(&self) -> Vec<(&'static str, String)> {
        let pairs = self.query.pairs().into_iter();
        pairs.filter(|(name, _)| matches!(*name, "order" | "direction")).collect()
    }

    /// The address of the same question in another order; the other direction where it is this one already.
    fn ordered(&self, order: Order) -> String {
        let mut query = CaseQuery { order, ..self.query.clone() };
        query.descending = if order == self.query.order { !self.query.descending } else { true };
        with("/cases", &query.pairs(), &[])
    }
}

/// The names and values of an address, days as the moments they begin at.
pub(super) fn pairs_of(address: &str) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> =
        form_urlencoded::parse(address.trim_start_matches('?').as_bytes()).into_owned().collect();
    for (name, value) in &mut pairs {
        // Dates come from fields of the browser, as days.
        if let ("since" | "until", Some(day)) = (name.as_str(), format::day_start(value)) {
            *value = day.0.to_string();
        }
    }
    pairs
}

fn told(total: u64, asked: &Asked) -> String {
    let cases = match total {
        0 => "None".to_owned(),
        1 => "One case".to_owned(),
        // What follows the first ten thousand helps nobody to choose.
        n if n > 10_000 => "More than 10,000 cases".to_owned(),
        n => format!("{} cases", format::count(n)),
    };
    let order = match (asked.query.order, asked.query.descending) {
        (Order::Finished, true) => "newest first",
        (Order::Finished, false) => "oldest first",
        (_, true) => "largest figure first",
        (_, false) => "smallest figure first",
    };
    if total == 0 { cases } else { format!("{cases}, {order}") }
}

/// The filters that are set, each with a link that takes it off.
pub(super) fn chosen(
    query: &CaseQuery,
    page: &'static str,
    more: &[(&'static str, String)],
) -> impl IntoView + use<> {
    let mut chips = Vec::new();
    let pairs = query.pairs();
    for (name, value) in pairs.clone() {
        let said = match name {
            "order" | "direction" | "limit" => continue,
            "since" | "until" => match value.parse() {
                Ok(ms) => format!("{name} {}", format::moment(UnixMillis(ms))),
                Err(_) => continue,
            },
            "q" => format!("model has “{value}”"),
            _ => format!("{} {value}", Facet::named(name).map_or(name, title).to_lowercase()),
        };
        let label = format!("Without {said}");
        let others: Vec<_> = pairs.iter().filter(|(n, v)| !(*n == name && *v == value)).cloned().collect();
        let without = with(page, &[more, &others].concat(), &[]);
        chips.push(view! {
            <li>
                <a class="chip" href=without aria-label=label>
                    {said}
                    <span aria-hidden="true">"✕"</span>
                </a>
            </li>
        });
    }
    let clear = with(page, more, &[]);
    (!chips.is_empty()).then(|| {
        view! {
            <ul class="chips" aria-label="Filters that are set" data-test="chosen">
                {chips}
                <li>
                    <a class="chip" href=clear>
                        "Clear all"
                    </a>
                </li>
            </ul>
        }
    })
}

/// What a facet is called on the page.
pub(super) const fn title(facet: Facet) -> &'static str {
    match facet {
        Facet::Model => "Model",
        Facet::Precision => "Precision",
        Facet::Attention => "Attention",
        Facet::Variant => "Decoder",
        Facet::Cache => "Cache",
        Facet::KvCache => "Cache precision",
        Facet::Engine => "Engine",
        Facet::Device => "Device",
        Facet::Machine => "Machine",
        Facet::Status => "Status",
        Facet::Batch => "Batch",
        Facet::Prompt => "Prompt tokens",
        Facet::Generate => "Generated tokens",
    }
}

/// The form of the filters: a plain GET.
#[component]
pub(super) fn Filters(
    /// What is set.
    query: CaseQuery,
    /// The values of every facet.
    facets: BTreeMap<Facet, Vec<FacetValue>>,
    /// Names of machines by id.
    machines: BTreeMap<String, String>,
    /// The page that is filtered.
    page: &'static str,
    /// What of its address is not a filter.
    more: Vec<(&'static str, String)>,
) -> impl IntoView {
    let day = |at: Option<UnixMillis>| at.map(format::date).unwrap_or_default();
    let groups: Vec<_> = Facet::ALL
        .iter()
        .filter_map(|facet| {
            let values = facets.get(facet)?;
            let set = query.facets.get(facet).cloned().unwrap_or_default();
            // A choice of one is none.
            (values.len() > 1 || !set.is_empty()).then(|| group(*facet, values, &set, &machines))
        })
        .collect();
    view! {
        <form class="card" method="get" action=page aria-label="Filters" data-test="case-filters">
            <label class="field">
                <span>"Model"</span>
                <input
                    type="search"
                    name="q"
                    placeholder="a part of its name"
                    value=query.search.clone().unwrap_or_default()
                />
            </label>
            {groups}
            <fieldset class="field">
                <legend>"Measured"</legend>
                <div class="fields">
                    <label>
                        <small>"from"</small>
                        <input type="date" name="since" value=day(query.since) />
                    </label>
                    <label>
                        <small>"before"</small>
                        <input type="date" name="until" value=day(query.until) />
                    </label>
                </div>
            </fieldset>
            {hidden(&more)}
            <div class="row">
                <button class="button primary">"Show"</button>
                <a class="button" href=with(page, &more, &[])>
                    "Clear"
                </a>
            </div>
        </form>
    }
}

/// Pairs that a form takes along.
pub(super) fn hidden(pairs: &[(&'static str, String)]) -> impl IntoView + use<> {
    pairs
        .iter()
        .map(|(name, value)| view! { <input type="hidden" name=*name value=value.clone() /> })
        .collect_view()
}

/// The values of a facet, as boxes to tick; those beyond the first are folded away.
fn group(
    facet: Facet,
    values: &[FacetValue],
    set: &[String],
    machines: &BTreeMap<String, String>,
) -> impl IntoView + use<> {
    let check = |value: &FacetValue| {
        let label = match facet {
            Facet::Machine => machines.get(&value.value).cloned().unwrap_or_else(|| value.value.clone()),
            _ => value.value.clone(),
        };
        let cases = if value.cases > 10_000 { "10,000+".to_owned() } else { format::count(value.cases) };
        view! {
            <label>
                <input type="checkbox" name=facet.as_str() value=value.value.clone() checked=set.contains(&value.value) />
                <span>{label}</span>
                <small class="num">{cases}</small>
            </label>
        }
    };
    // What is set stays in sight.
    let is_shown = |place: usize, value: &FacetValue| place < SHOWN || set.contains(&value.value);
    let (mut shown, mut folded) = (Vec::new(), Vec::new());
    for (place, value) in values.iter().enumerate() {
        if is_shown(place, value) { shown.push(check(value)) } else { folded.push(check(value)) }
    }
    let more = (!folded.is_empty()).then(|| {
        view! {
            <details class="quiet">
                <summary>{format!("{} more", folded.len())}</summary>
                <div class="ticks">{folded}</div>
            </details>
        }
    });
    view! {
        <details class="fold" open=true>
            <summary>
                <span>{title(facet)}</span>
                <small>{(!set.is_empty()).then(|| format!("{} set", set.len()))}</small>
            </summary>
            <div class="ticks">{shown}</div>
            {more}
        </details>
    }
}

/// Cases, a line each.
#[component]
fn Table(
    asked: Asked,
    listing: CaseListing,
    machines: BTreeMap<String, String>,
    now: UnixMillis,
) -> impl IntoView {
    let head = |order: Order, label: &'static str, number: bool| {
        let this = order == asked.query.order;
        let sorted = this.then_some(if asked.query.descending { "descending" } else { "ascending" });
        let arrow = match (this, asked.query.descending) {
            (false, _) => "",
            (true, true) => " ↓",
            (true, false) => " ↑",
        };
        view! {
            <th scope="col" class=if number { "n" } else { "" } aria-sort=sorted>
                <a href=asked.ordered(order)>{label} <span aria-hidden="true">{arrow}</span></a>
            </th>
        }
    };
    view! {
        <div class="card flush">
            <div class="scroll" tabindex="0" role="region" aria-label="Cases">
                <table class="wide sortable">
                    <thead>
                        <tr>
                            <th scope="col">"Model"</th>
                            <th scope="col">"How"</th>
                            <th scope="col" class="n">
                                "Batch"
                            </th>
                            <th scope="col" class="n">
                                "Prompt + new"
                            </th>
                            {head(Order::Decode, "Decode, tok/s", true)}
                            {head(Order::Prefill, "Prefill, tok/s", true)}
                            {head(Order::Ttft, "First token", true)}
                            {head(Order::Peak, "Peak, GiB", true)}
                            {head(Order::Error, "Planned, off by", true)}
                            <th scope="col">"Where"</th>
                            {head(Order::Finished, "When", false)}
                        </tr>
                    </thead>
                    <tbody class="num">
                        {listing.items.into_iter().map(|case| line(case, &machines, now)).collect_view()}
                    </tbody>
                </table>
            </div>
        </div>
    }
}

fn line(case: CaseLine, machines: &BTreeMap<String, String>, now: UnixMillis) -> impl IntoView + use<> {
    let chosen: Vec<&str> = [&case.variant, &case.attention, &case.cache, &case.kv_cache]
        .into_iter()
        .map(String::as_str)
        .filter(|word| *word != "default")
        .collect();
    let how = if chosen.is_empty() { case.engine.clone() } else { chosen.join(" · ") };
    let rate = |rate: Option<f64>| rate.map_or_else(|| "–".to_owned(), format::figure);
    let planned = match (case.peak_allocated, case.estimated) {
        (Some(peak), Some(said)) if peak.0 > 0 => {
            let off = 100.0 * (said.0 as f64 - peak.0 as f64) / peak.0 as f64;
            (format::gib_figure(said), format::signed_percent(off))
        }
        (_, Some(said)) => (format::gib_figure(said), "–".to_owned()),
        _ => ("–".to_owned(), "–".to_owned()),
    };
    let machine = machines.get(&case.machine_id.to_string()).cloned().unwrap_or_default();
    let ended = (case.status != CaseStatus::Ok)
        .then(|| view! { <State word=case.status.as_str() tone=Tone::from(case.status) /> });
    view! {
        <tr data-test="case-line">
            <td>
                <a href=format!("/runs/{}", case.run_id)>{case.model}</a>
                {ended}
            </td>
            <td>
                {case.precision}
                <small>{how}</small>
            </td>
            <td class="n">{case.batch}</td>
            <td class="n">{format!("{} + {}", case.prompt_tokens, case.generate_tokens)}</td>
            <td class="n">{rate(case.decode_tokens_per_second)}</td>
            <td class="n">{rate(case.prefill_tokens_per_second)}</td>
            <td class="n">{case.ttft_ms.map_or_else(|| "–".to_owned(), format::millis)}</td>
            <td class="n">{case.peak_allocated.map_or_else(|| "–".to_owned(), format::gib_figure)}</td>
            <td class="n">{planned.1} <small>{planned.0}</small></td>
            <td>
                {machine}
                <small>{case.device}</small>
            </td>
            <td class="nowrap">
                <When at=case.finished_at now />
            </td>
        </tr>
    }
}

/// Links to the pages around this one.
fn pages(asked: &Asked, listing: &CaseListing) -> impl IntoView + use<> {
    let pairs = asked.query.pairs();
    let to = |name: &str, place: &String| with("/cases", &pairs, &[(name, place.as_str())]);
    let before = listing.previous.as_ref().map(|place| to("before", place));
    let after = listing.next.as_ref().map(|place| to("after", place));
    let any = before.is_some() || after.is_some();
    any.then(|| {
        view! {
            <nav class="row" aria-label="Pages">
                {before.map(|href| view! { <a class="button" rel="prev" href=href>"Before"</a> })}
                {after.map(|href| view! { <a class="button" rel="next" href=href>{format!("Next {PER_PAGE}")}</a> })}
            </nav>
        }
    })
}

#[cfg(test)]
mod tests {
    use contract::explore::{Facet, Order};
    use leptos::prelude::RenderHtml;

    use super::Asked;

    #[test]
    fn the_address_is_read_and_written_back() {
        let asked = Asked::read("?model=a%20b&model=c&batch=8&order=peak&since=2026-11-01&after=3.5_7");
        assert_eq!(asked.unread, []);
        assert_eq!(asked.query.facets[&Facet::Model], ["a b", "c"]);
        assert_eq!(asked.query.order, Order::Peak);
        assert_eq!(asked.query.since.unwrap().0, 1_793_491_200_000, "the day's first moment, UTC");
        assert!(asked.query.after.is_some());
        assert_eq!(
            asked.ordered(Order::Peak),
            "/cases?model=a+b&model=c&batch=8&since=1793491200000&order=peak&direction=ascending"
        );
        assert_eq!(asked.ordered(Order::Finished), "/cases?model=a+b&model=c&batch=8&since=1793491200000");
        let chips = super::chosen(&asked.query, "/cases", &[]).to_html();
        assert!(
            chips.contains("/cases?model=a+b&amp;batch=8&amp;since=1793491200000&amp;order=peak"),
            "{chips}"
        );
    }

    #[test]
    fn what_means_nothing_is_told() {
        let asked = Asked::read("?colour=red&order=size&batch=2");
        assert_eq!(asked.unread, [("colour".into(), "red".into()), ("order".into(), "size".into())]);
        assert_eq!(asked.query.facets[&Facet::Batch], ["2"]);
    }
}
