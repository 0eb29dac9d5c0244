//! What people come for, from the first click to the last, over results that were really measured. What is read, filtered,
//! sorted, compared and planned works with JavaScript and without.

use std::time::Duration;

use serde_json::{Value, json};
use tests::api::{Api, page as fetched};
use tests::browser::{
    Driver, PATIENCE, Profile, alive, arrive, find, follow, holds, other_bytes, planned_bytes, press, select,
    select_all, texts, turn,
};
use tests::process::Server;
use tests::site::{FITS, Site, TOO_LARGE};
use tests::{HarnessError, Result, models, smollm2};
use thirtyfour::prelude::*;

/// The text of the first element that a selector finds, once it is there.
async fn text(page: &WebDriver, selector: &str) -> Result<String> {
    Ok(select(page, selector).await?.text().await?)
}

/// The pairs of the address.
async fn asked(page: &WebDriver) -> Result<Vec<(String, String)>> {
    Ok(page.current_url().await?.query_pairs().into_owned().collect())
}

/// Waits until the address has this pair.
async fn asks(page: &WebDriver, name: &str, value: &str) -> Result<()> {
    holds(page, &format!("new URLSearchParams(location.search).getAll({name:?}).includes({value:?})")).await
}

/// Opens what is folded behind a summary that begins so.
async fn unfold(page: &WebDriver, text: &str) -> Result<()> {
    let summary = By::XPath(format!("//summary[starts-with(normalize-space(.), '{text}')]"));
    let summary = page.query(summary).wait(PATIENCE, Duration::from_millis(50)).first().await?;
    summary.scroll_into_view().await?;
    summary.click().await?;
    Ok(())
}

/// Clicks what a selector finds and waits for the next page.
async fn click(page: &WebDriver, selector: &str) -> Result<()> {
    follow(page, &select(page, selector).await?).await
}

/// The figures of a column, by its place.
async fn column(page: &WebDriver, place: usize) -> Result<Vec<f64>> {
    let cells = texts(page, &format!("table.sortable tbody tr > :nth-child({place})")).await?;
    Ok(cells.iter().filter_map(|cell| cell.split_whitespace().next()?.parse().ok()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_browsed_filtered_sorted_kept_and_compared() -> Result<()> {
    let site = Site::shared()?;
    let driver = Driver::start()?;
    for javascript in [true, false] {
        let page = driver.open(Profile { javascript, ..Profile::default() }).await?;
        browse(&site, &page).await?;
        explore(&site, &page, if javascript { "with scripts" } else { "without scripts" }).await?;
        compare(&site, &page).await?;
        page.quit().await?;
    }
    Ok(())
}

/// Runs → a run → a case → its history.
async fn browse(site: &Site, page: &WebDriver) -> Result<()> {
    let run = site.run("After the change")?;
    page.goto(site.at("/runs")).await?;
    let link = page.find(By::LinkText("After the change")).await?;
    follow(page, &link).await?;
    arrive(page, &format!("/runs/{}", run.run.id)).await?;
    assert_eq!(texts(page, "[data-test=case-row]").await?.len(), run.cases.len(), "a row a case");
    let link = page.query(By::Css("[data-test=case-row] a[href^='/cases/']")).first().await?;
    let first = link.attr("href").await?.unwrap_or_default();
    follow(page, &link).await?;
    arrive(page, &first).await?;
    assert_eq!(text(page, "h1").await?, "HuggingFaceTB/SmolLM2-135M");
    let history = texts(page, "[data-test=history-row]").await?;
    assert!(history.len() >= 2, "it was measured before the change, too: {history:?}");
    let link = page.find(By::LinkText("Before the change")).await?;
    follow(page, &link).await?;
    assert_eq!(text(page, "h1").await?, "Before the change", "the history leads to the run of then");
    Ok(())
}

/// Facets, order by the keyboard, columns, a view kept under a name, the next page.
async fn explore(site: &Site, page: &WebDriver, view: &str) -> Result<()> {
    page.goto(site.at("/cases")).await?;
    let all = texts(page, "[data-test=case-line]").await?.len();
    select(page, "[data-test=case-filters] [name=precision][value=bf16]").await?.click().await?;
    click(page, "[data-test=case-filters] button").await?;
    asks(page, "precision", "bf16").await?;
    assert!(text(page, "[data-test=chosen]").await?.contains("precision bf16"));
    let some = texts(page, "[data-test=case-line]").await?;
    assert!(!some.is_empty() && some.len() < all, "{} of {all}", some.len());
    assert!(some.iter().all(|line| line.contains("bf16")), "{some:?}");

    // The head of a column is a link, so that Enter sorts.
    let head = "//th[starts-with(normalize-space(.), 'Decode')]";
    for (sorted, ascending) in [("descending", false), ("ascending", true)] {
        let link = page.query(By::XPath(format!("{head}/a"))).first().await?;
        turn(page, link.send_keys(Key::Enter + "")).await?;
        let cell = page.query(By::XPath(head)).wait(PATIENCE, Duration::from_millis(50)).first().await?;
        assert_eq!(cell.attr("aria-sort").await?.as_deref(), Some(sorted));
        let heads = texts(page, "table.sortable thead th").await?;
        let place = heads.iter().position(|head| head.starts_with("Decode")).unwrap_or_default() + 1;
        let figures = column(page, place).await?;
        assert!(figures.len() > 4, "{figures:?}");
        assert!(
            figures.is_sorted_by(|a, b| if ascending { a <= b } else { a >= b }),
            "{sorted}: {figures:?}"
        );
    }

    unfold(page, "Columns").await?;
    for column in select_all(page, "[data-test=columns] [name=columns]").await? {
        let wanted = matches!(column.value().await?.as_deref(), Some("peak" | "status"));
        if column.is_selected().await? != wanted {
            column.click().await?;
        }
    }
    click(page, "[data-test=columns] button").await?;
    asks(page, "order", "decode").await?;
    assert_eq!(texts(page, "table.sortable thead th").await?, ["Model", "Peak, GiB", "Status"]);

    unfold(page, "Save this view").await?;
    select(page, "[data-test=save-view] [name=name]").await?.send_keys(view).await?;
    click(page, "[data-test=save-view] button").await?;
    let kept = asked(page).await?;
    page.goto(site.at("/cases")).await?;
    let link = page.find(By::LinkText(view)).await?;
    follow(page, &link).await?;
    assert_eq!(asked(page).await?, kept, "the view has filters, order and columns");
    assert_eq!(texts(page, "[data-test=case-line]").await?.len(), some.len());

    page.goto(site.at("/cases?limit=10")).await?;
    let first = texts(page, "[data-test=case-line]").await?;
    assert_eq!(text(page, "a[rel=next]").await?, "Next 10");
    click(page, "a[rel=next]").await?;
    let second = texts(page, "[data-test=case-line]").await?;
    assert_eq!((first.len(), second.len()), (10, 10));
    assert_ne!(first, second);
    click(page, "a[rel=prev]").await?;
    assert_eq!(texts(page, "[data-test=case-line]").await?, first);

    page.goto(site.at("/cases?precision=bf16")).await?;
    let csv = select(page, "a[download='plimsoll-cases.csv']").await?.attr("href").await?.unwrap_or_default();
    let (status, csv) = fetched(&site.at(&csv))?;
    assert_eq!((status, csv.lines().count()), (200, some.len() + 1), "a head and a line a case");
    Ok(())
}

/// Two runs from the list, and what a choice makes of the same cases.
async fn compare(site: &Site, page: &WebDriver) -> Result<()> {
    page.goto(site.at("/runs")).await?;
    for name in ["Before the change", "After the change"] {
        let label = format!("[data-test=compare-runs] [aria-label='Compare {name}']");
        select(page, &label).await?.click().await?;
    }
    click(page, "[data-test=compare-runs] button").await?;
    let compared = texts(page, "[data-test=compared]").await?;
    assert_eq!(compared.len(), 2, "{compared:?}");
    assert!(compared[1].contains('%'), "the second is held against the first: {compared:?}");
    let link = page.find(By::LinkText("hold the others against it")).await?;
    let base = compared[1].lines().next().unwrap_or_default().to_owned();
    follow(page, &link).await?;
    let turned = texts(page, "[data-test=compared]").await?;
    assert!(turned[0].starts_with(&base) && turned[0].contains("base"), "{turned:?}");

    page.goto(site.at("/compare")).await?;
    let choice = select(page, "[data-test=compare-by] option[value=precision]").await?;
    choice.click().await?;
    click(page, "[data-test=compare-by] button").await?;
    let compared = texts(page, "[data-test=compared]").await?;
    assert!(compared.iter().any(|row| row.starts_with("bf16")), "{compared:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn plots_tell_hide_and_are_taken_along() -> Result<()> {
    let site = Site::shared()?;
    let driver = Driver::start()?;
    let page = driver.open(Profile::default()).await?;
    for kind in ["speed", "memory", "components", "pareto", "heat", "residual", "load-line"] {
        page.goto(site.at(&format!("/plots?plot={kind}"))).await?;
        let empty = page.find_all(By::Css("[data-test=nothing-plotted]")).await?;
        assert!(empty.is_empty(), "{kind}: nothing is plotted");
        pointed_at(&page, kind).await?;
        by_keys(&page, kind).await?;
        toggled(&page, kind).await?;
        listed(&page, kind).await?;
        downloaded(&site, &page, kind).await?;
    }
    page.quit().await?;

    // Without the script a mark still has its title and its link, and nothing is offered that would do nothing.
    let page = driver.open(Profile { javascript: false, ..Profile::default() }).await?;
    page.goto(site.at("/plots?plot=speed")).await?;
    let marks = select_all(&page, ".plot a.mark").await?;
    let title = marks[0].find(By::Tag("title")).await?;
    assert!(!title.inner_html().await?.is_empty(), "the mark says what it is");
    for button in page.find_all(By::Css("button[data-toggle]")).await? {
        assert!(!button.is_displayed().await?, "a button without a script");
    }
    listed(&page, "speed, without scripts").await?;
    select(&page, "[data-test=plot-choices] [name=y] option[value=prefill]").await?.click().await?;
    click(&page, "[data-test=plot-choices] button").await?;
    asks(&page, "y", "prefill").await?;
    assert!(text(&page, "[data-test=plot] h2").await?.contains("Prefill"));
    page.quit().await?;
    Ok(())
}

/// The tip beside a mark says what the mark says.
async fn pointed_at(page: &WebDriver, kind: &str) -> Result<()> {
    let marks = select_all(page, ".plot a.mark").await?;
    let mark = marks.last().unwrap_or_else(|| panic!("{kind} has no marks"));
    mark.scroll_into_view().await?;
    page.action_chain().move_to_element_center(mark).perform().await?;
    holds(page, "document.querySelector('.tip') && !document.querySelector('.tip').hidden").await?;
    // What lies on top there is told, which may be another mark at the same place.
    let told = text(page, ".tip").await?;
    let said = "return [...document.querySelectorAll('.plot a.mark')].map((mark) => mark.getAttribute('aria-label'));";
    let said: Vec<String> = page.execute(said, vec![]).await?.convert()?;
    assert!(said.contains(&told), "{kind}: {told:?} is none of {said:?}");
    let heading = page.find(By::Tag("h1")).await?;
    page.action_chain().move_to_element_center(&heading).perform().await?;
    holds(page, "document.querySelector('.tip').hidden").await
}

/// One stop of the Tab key, the arrows from there, Escape to be told no more.
async fn by_keys(page: &WebDriver, kind: &str) -> Result<()> {
    let at = "[...document.querySelectorAll('.plot a.mark')].indexOf(document.activeElement)";
    let stops = page
        .execute("return document.querySelectorAll('.plot a.mark[tabindex=\"0\"]').length", vec![])
        .await?;
    assert_eq!(stops.json(), &json!(1), "{kind}: one stop of the Tab key");
    page.execute("document.querySelector('.plot a.mark[tabindex=\"0\"]').focus()", vec![]).await?;
    holds(page, "!document.querySelector('.tip').hidden").await?;
    let marks = select_all(page, ".plot a.mark").await?.len();
    for (key, place) in [(Key::Right, 1 % marks), (Key::Left, 0), (Key::Left, marks - 1)] {
        page.action_chain().send_keys(key + "").perform().await?;
        holds(page, &format!("{at} === {place}")).await?;
        let same = "document.querySelector('.tip').textContent === document.activeElement.getAttribute('aria-label')";
        holds(page, same).await?;
    }
    page.action_chain().send_keys(Key::Escape + "").perform().await?;
    holds(page, "document.querySelector('.tip').hidden").await
}

/// Each entry of the legend shows and hides its series.
async fn toggled(page: &WebDriver, kind: &str) -> Result<()> {
    let buttons = page.find_all(By::Css("button[data-toggle]")).await?;
    assert!(kind == "heat" || !buttons.is_empty(), "{kind} has no legend that can be pressed");
    for button in buttons {
        let group = button.attr("data-toggle").await?.unwrap_or_default();
        let hidden = format!(
            "[...document.querySelectorAll('.plot [data-series=\"{group}\"]')].every((e) => !e.getClientRects().length)"
        );
        let any = page
            .execute(
                &format!("return document.querySelectorAll('.plot [data-series=\"{group}\"]').length"),
                vec![],
            )
            .await?;
        assert!(any.json().as_u64() > Some(0), "{kind}: entry {group} stands for nothing");
        button.scroll_into_view().await?;
        button.click().await?;
        holds(page, &hidden).await?;
        assert_eq!(button.attr("aria-pressed").await?.as_deref(), Some("false"), "{kind}");
        button.click().await?;
        holds(page, &format!("!({hidden})")).await?;
        assert_eq!(button.attr("aria-pressed").await?.as_deref(), Some("true"), "{kind}");
    }
    Ok(())
}

/// The same as a table.
async fn listed(page: &WebDriver, kind: &str) -> Result<()> {
    unfold(page, "Table").await?;
    let rows = texts(page, "[data-test=plot-table] tbody tr").await?;
    assert!(!rows.is_empty() && rows.iter().all(|row| !row.trim().is_empty()), "{kind}: {rows:?}");
    let links = page.find_all(By::Css("[data-test=plot-table] tbody a")).await?;
    assert_eq!(links.len(), rows.len(), "{kind}: every row leads to its cases");
    Ok(())
}

/// Each picture is one.
async fn downloaded(site: &Site, page: &WebDriver, kind: &str) -> Result<()> {
    let links = select_all(page, ".pictures a[download]").await?;
    assert_eq!(links.len(), 4, "{kind}");
    for link in links {
        let href = link.attr("href").await?.unwrap_or_default();
        let bytes = tests::api::bytes(&site.at(&href))?;
        let is_one = if href.contains(".png") {
            bytes.starts_with(b"\x89PNG\r\n\x1a\n")
        } else {
            bytes.starts_with(b"<svg")
        };
        assert!(is_one, "{kind}: {href} is {}", String::from_utf8_lossy(&bytes[..bytes.len().min(80)]));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn plots_zoom_and_light_one_case_everywhere() -> Result<()> {
    let site = Site::shared()?;
    let driver = Driver::start()?;
    let page = driver.open(Profile::default()).await?;
    zoomed(&site, &page).await?;
    lit(&site, &page).await?;
    page.quit().await?;

    let page = driver.open(Profile { javascript: false, ..Profile::default() }).await?;
    page.goto(site.at("/plots?plot=speed&x=batch")).await?;
    let all = select_all(&page, ".plot a.mark").await?.len();
    unfold(&page, "Zoom").await?;
    select(&page, "[data-test=zoom] [name=x_to]").await?.send_keys("1.5").await?;
    click(&page, "[data-test=zoom] button").await?;
    asks(&page, "x_to", "1.5").await?;
    let some = select_all(&page, ".plot a.mark").await?.len();
    assert!(some < all, "{some} of {all}");
    page.quit().await?;
    Ok(())
}

/// The corner of the plot from which a drag begins and the place in its middle where it ends, as a pointer sees them.
const CORNERS: &str = "
    const svg = document.querySelector('.plot svg');
    svg.scrollIntoView({ block: 'center' });
    const [left, right] = svg.dataset.xPixels.split(' ').map(Number);
    const [below, above] = svg.dataset.yPixels.split(' ').map(Number);
    return [[left + 1, above + 1], [(left + right) / 2, below - 1]].map(([x, y]) => {
        const at = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
        return [Math.round(at.x), Math.round(at.y)];
    });";

/// The texts beside the axes.
async fn axis_labels(page: &WebDriver) -> Result<Vec<String>> {
    texts(page, ".plot svg > text").await
}

/// A rectangle over the plot goes to the address of that part; Escape drops it, and a click is none.
async fn zoomed(site: &Site, page: &WebDriver) -> Result<()> {
    page.goto(site.at("/plots?plot=speed&x=batch")).await?;
    let all = select_all(page, ".plot a.mark").await?.len();
    let labels = axis_labels(page).await?;
    let corners: [(i64, i64); 2] = page.execute(CORNERS, vec![]).await?.convert()?;
    let [(left, top), (right, bottom)] = corners;
    let drawn = || page.action_chain().move_to(left, top).click_and_hold().move_to(right, bottom);

    drawn().perform().await?;
    holds(page, "document.querySelector('.plot rect.zoom')").await?;
    page.action_chain().send_keys(Key::Escape + "").release().perform().await?;
    holds(page, "!document.querySelector('.plot rect.zoom')").await?;
    assert_eq!(asked(page).await?.len(), 2, "Escape leaves the address");

    turn(page, drawn().release().perform()).await?;
    let range: Vec<f64> = {
        let pairs = asked(page).await?;
        let value = |name: &str| pairs.iter().find(|(known, _)| known == name)?.1.parse().ok();
        ["x_from", "x_to", "y_from", "y_to"].into_iter().filter_map(value).collect()
    };
    assert!(range.len() == 4 && range[0] < range[1] && range[2] < range[3], "{range:?}");
    let shown = "['x', 'y'].flatMap((axis) =>
        document.querySelector('.plot svg').dataset[axis + 'Values'].split(' ').map(Number))";
    let shown: Vec<f64> = page.execute(&format!("return {shown}"), vec![]).await?.convert()?;
    for (asked, shown) in range.iter().zip(&shown) {
        assert!((asked - shown).abs() <= 1e-9 * asked.abs().max(1.0), "{range:?} is drawn as {shown:?}");
    }
    let some = select_all(page, ".plot a.mark").await?.len();
    assert!(some < all, "{some} of {all}");
    assert_ne!(axis_labels(page).await?, labels);
    let told = text(page, "[data-test=plot-n]").await?;
    assert!(told.contains(&format!("{} of {all} points are outside this range", all - some)), "{told}");
    assert!(page.find_all(By::Css("[data-test=nothing-plotted]")).await?.is_empty());

    click(page, "[data-test=whole]").await?;
    assert_eq!(axis_labels(page).await?, labels, "the whole is back");
    let mark = select(page, ".plot a.mark").await?;
    mark.scroll_into_view().await?;
    turn(page, page.action_chain().move_to_element_center(&mark).click().perform()).await?;
    assert!(page.current_url().await?.path().starts_with("/cases/"), "a click is of the mark");
    Ok(())
}

/// A mark lights its row, a row its marks, in every plot of the page.
async fn lit(site: &Site, page: &WebDriver) -> Result<()> {
    page.goto(site.at("/plots?plot=speed")).await?;
    unfold(page, "Table").await?;
    let mark = select(page, ".plot a.mark").await?;
    mark.scroll_into_view().await?;
    page.action_chain().move_to_element_center(&mark).perform().await?;
    let one = "[...document.querySelectorAll('a.mark.lit, tr.lit a[href^=\"/cases/\"]')]
        .map((link) => link.getAttribute('href'))";
    holds(page, "document.querySelector('a.mark.lit') && document.querySelector('tr.lit')").await?;
    holds(page, &format!("new Set({one}).size === 1")).await?;

    let row = "document.querySelectorAll('[data-test=plot-table] tbody a')[1]";
    page.execute(&format!("{row}.focus()"), vec![]).await?;
    holds(page, &format!("{one}.length > 1 && {one}.every((href) => href === {row}.getAttribute('href'))"))
        .await?;

    let run = site.run("After the change")?;
    page.goto(site.at(&format!("/runs/{}", run.run.id))).await?;
    select(page, "figure a.mark").await?;
    page.execute("document.querySelector('[data-test=case-row] a[href^=\"/cases/\"]').focus()", vec![])
        .await?;
    holds(page, "document.querySelectorAll('figure:has(a.mark.lit)').length > 1").await?;
    holds(page, &format!("new Set({one}).size === 1")).await
}

/// The words of the verdict.
async fn verdict(page: &WebDriver) -> Result<String> {
    text(page, "[data-test=verdict]").await
}

/// Opens the planner and waits until it answers by itself.
async fn plan(site: &Site, page: &WebDriver, query: &str) -> Result<u64> {
    page.goto(site.at(&format!("/planner?{query}"))).await?;
    alive(page).await?;
    // Gone where the page is loaded anew.
    page.execute("window.__same_document = true;", vec![]).await?;
    // A link that cannot be read shows an example instead.
    assert!(!page.source().await?.contains("This plan cannot be read"), "{query}");
    planned_bytes(page).await
}

/// The facts of the plan that is shown, its load line in words, and what would make it fit.
async fn solved(page: &WebDriver) -> Result<(String, Option<String>, String)> {
    let line = select(page, "svg[aria-label^='Load line']").await?;
    let advice = page
        .execute("return document.querySelector('[aria-label=Advice]')?.textContent ?? ''", vec![])
        .await?;
    let advice = advice.json().as_str().unwrap_or_default().to_owned();
    Ok((text(page, "dl.facts").await?, line.attr("aria-label").await?, advice))
}

/// Fails where the page was loaded anew since [`plan`].
async fn still_the_same_page(page: &WebDriver) -> Result<()> {
    holds(page, "window.__same_document === true").await
}

/// Chooses an option of a field of the plan.
async fn choose(page: &WebDriver, field: &str, value: &str) -> Result<()> {
    let option = select(page, &format!("select[name='{field}'] option[value='{value}']")).await?;
    option.scroll_into_view().await?;
    option.click().await?;
    Ok(())
}

/// A plan whose estimates are walks of Candle's allocations, tens of which take longer than a frame.
const WALKED: &str = "model=meta-llama/Llama-3.2-1B&gpu=rtx-4090-24gb&engine=candle&weights=bf16&context=2048&output=256&batch=4";

/// A browser's workers, counted in what they answer.
const COUNTED: &str = "
    const Browsers = Worker; window.__answers = 0;
    window.Worker = class extends Browsers {
        constructor(...from) {
            super(...from);
            window.__hired = true;
            this.addEventListener('message', ({ data }) => { window.__answers += typeof data === 'string'; });
        }
    };";

/// Such that cannot be had, that do not come, that never say that they are there, and that fail at their first question.
const OTHER_WORKERS: [(&str, &str); 4] = [
    (
        "none",
        "window.Worker = class { constructor() { window.__hired = true; throw new Error('there is none'); } };",
    ),
    (
        "missing",
        "const Browsers = Worker;
         window.Worker = class extends Browsers {
             constructor() { super('/nothing.js', { type: 'module' }); window.__hired = true; }
         };",
    ),
    (
        "silent",
        "window.Worker = class { constructor() { window.__hired = true; } postMessage() {} terminate() {} };",
    ),
    (
        "failing",
        "const Browsers = Worker;
         window.Worker = class extends Browsers {
             postMessage(what) {
                 if (typeof what !== 'string') return super.postMessage(what);
                 window.__hired = true;
                 this.onmessage({ data: null });
             }
         };",
    ),
];

/// Changes a plan's weights on a page with such workers, and fails where what follows is not what the server answers. Returns how
/// many answers came of a worker that is counted.
async fn changed_with(
    site: &Site,
    page: &WebDriver,
    query: &str,
    weights: &str,
    workers: (&str, &str),
) -> Result<u64> {
    plan(site, page, query).await?;
    let before = solved(page).await?;
    page.execute(workers.1, vec![]).await?;
    choose(page, "weights", weights).await?;
    asks(page, "weights", weights).await?;
    holds(page, "document.querySelector('.answer').getAttribute('aria-busy') === null").await?;
    holds(page, "document.querySelector('.stale') === null && window.__hired").await?;
    let found = solved(page).await?;
    assert_ne!(found, before, "{}", workers.0);
    still_the_same_page(page).await?;
    let answers =
        page.execute("return window.__answers ?? 0", vec![]).await?.json().as_u64().unwrap_or_default();
    page.refresh().await?;
    alive(page).await?;
    assert_eq!(solved(page).await?, found, "{}", workers.0);
    Ok(answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_is_answered_whether_a_browser_has_workers_or_not() -> Result<()> {
    let site = Site::shared()?;
    let driver = Driver::start()?;
    let page = driver.open(Profile::default()).await?;
    let counted = ("counted", COUNTED);
    let answers = changed_with(&site, &page, WALKED, "fp32", counted).await?;
    assert_eq!(answers, 8, "the most that fits, and seven points of the load line");
    let answers = changed_with(&site, &page, FITS, "fp8", counted).await?;
    assert_eq!(answers, 0, "formulas are answered on the page's thread");
    let answers = changed_with(&site, &page, FITS, "fp32", counted).await?;
    assert_eq!(answers, 1, "what would make it fit");
    for workers in OTHER_WORKERS {
        changed_with(&site, &page, WALKED, "fp32", workers).await?;
    }
    page.quit().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_changed_taken_back_helped_and_compared() -> Result<()> {
    let site = Site::shared()?;
    let driver = Driver::start()?;
    let page = driver.open(Profile::default()).await?;

    // A change is answered in the page, the address follows, and it can be taken back and made again.
    let bf16 =
        plan(&site, &page, "model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb&weights=bf16&context=2048")
            .await?;
    choose(&page, "weights", "fp32").await?;
    let fp32 = other_bytes(&page, bf16).await?;
    asks(&page, "weights", "fp32").await?;
    assert!(fp32 > bf16, "{fp32} and {bf16}");
    for (button, weights, bytes) in [("undo", "bf16", bf16), ("redo", "fp32", fp32)] {
        press(&page, button).await?;
        asks(&page, "weights", weights).await?;
        assert_eq!(planned_bytes(&page).await?, bytes, "{button}");
    }
    // The same by keys, wherever the reader is but in a text.
    page.action_chain().key_down(Key::Control).send_keys("z").key_up(Key::Control).perform().await?;
    asks(&page, "weights", "bf16").await?;
    let batch = select(&page, "input[name=batch]").await?;
    batch.send_keys(Key::Control + "a").await?;
    batch.send_keys("32").await?;
    asks(&page, "batch", "32").await?;
    batch.send_keys(Key::Control + "a").await?;
    batch.send_keys("0").await?;
    holds(&page, "document.querySelector('input[name=batch]').getAttribute('aria-invalid') === 'true'")
        .await?;
    still_the_same_page(&page).await?;

    // A plan that does not fit has advice, and one that is taken makes it fit.
    let too_large = plan(&site, &page, TOO_LARGE).await?;
    assert!(verdict(&page).await?.contains("not fit"), "{}", verdict(&page).await?);
    let remedy = "//section[.//h2[contains(., 'To make it fit')]]//tr[.//span[@class='state ok']]//a";
    let chip = page.query(By::XPath(remedy)).first().await?;
    chip.scroll_into_view().await?;
    chip.click().await?;
    let helped = other_bytes(&page, too_large).await?;
    holds(&page, "/Fits|fits/.test(document.querySelector('[data-test=verdict]').textContent)").await?;
    still_the_same_page(&page).await?;
    // What takes longer follows: the most that fits and the load line, as the server answers the same plan.
    holds(&page, "document.querySelector('.stale') === null").await?;
    let solved = solved(&page).await?;
    let link = page.current_url().await?.to_string();
    page.goto(&link).await?;
    assert_eq!(planned_bytes(&page).await?, helped, "the address is the plan that was helped");
    assert_eq!(self::solved(&page).await?, solved, "{link}");

    // A system's settings by its name.
    plan(&site, &page, "model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb&workload.kind=train").await?;
    unfold(&page, "Workload and training").await?;
    let names = texts(&page, "select[name=preset] option:not([value=''])").await?;
    let before = page.current_url().await?;
    choose(&page, "preset", &names[0]).await?;
    holds(&page, &format!("location.href !== {:?}", before.as_str())).await?;
    let told = format!(
        "[...document.querySelectorAll('.hint')].some((hint) => hint.textContent.startsWith({:?}))",
        names[0]
    );
    holds(&page, &told).await?;
    still_the_same_page(&page).await?;
    // And a plan to start from, of the list below the controls.
    let start = page.find(By::LinkText("QLoRA on one card")).await?;
    follow(&page, &start).await?;
    asks(&page, "workload.method", "qlora").await?;

    // This plan is kept as B while the other is changed.
    plan(&site, &page, FITS).await?;
    click(&page, "[data-test=compare]").await?;
    alive(&page).await?;
    let b = asked(&page).await?.into_iter().find(|(name, _)| name == "b");
    assert!(b.is_some_and(|(_, plan)| plan.contains("weights=bf16")), "{}", page.current_url().await?);
    choose(&page, "weights", "fp8").await?;
    holds(&page, "document.querySelector('[data-test=difference]').textContent.includes('fp8')").await?;
    let link = page.find(By::LinkText("As a page")).await?;
    follow(&page, &link).await?;
    arrive(&page, "/planner/diff").await?;
    let difference = text(&page, "[data-test=diff]").await?;
    assert!(difference.contains("fp8") && difference.contains("bf16"), "{difference}");
    page.back().await?;
    alive(&page).await?;
    click(&page, "[data-test=stop-comparing]").await?;
    assert!(asked(&page).await?.iter().all(|(name, _)| name != "b"), "{}", page.current_url().await?);
    page.quit().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_shared_exported_and_shown_in_a_frame() -> Result<()> {
    let site = Site::shared()?;
    let driver = Driver::start()?;
    for javascript in [true, false] {
        let page = driver.open(Profile { javascript, ..Profile::default() }).await?;
        page.goto(site.at(&format!("/planner?{FITS}"))).await?;
        if javascript {
            alive(&page).await?;
        }
        let bytes = planned_bytes(&page).await?;
        click(&page, "[data-test=export]").await?;
        arrive(&page, "/planner/export").await?;
        exported(&site, &page, bytes).await?;
        page.goto(site.at(&format!("/planner?{FITS}"))).await?;
        click(&page, "[data-test=short-link]").await?;
        find(&page, "stored-plan").await?;
        assert!(page.current_url().await?.path().starts_with("/p/"), "{}", page.current_url().await?);
        assert_eq!(planned_bytes(&page).await?, bytes);
        exported(&site, &page, bytes).await?;
        page.quit().await?;
    }
    Ok(())
}

/// The files of a plan say what its page says.
async fn exported(site: &Site, page: &WebDriver, bytes: u64) -> Result<()> {
    let mut files = Vec::new();
    for chip in select_all(page, "#export a.chip").await? {
        files.push((chip.text().await?, chip.attr("href").await?.unwrap_or_default()));
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["JSON", "Markdown", "Picture", "Frame"]);
    for (name, href) in &files {
        let file = tests::api::bytes(&site.at(href))?;
        let text = String::from_utf8_lossy(&file);
        match name.as_str() {
            "JSON" => {
                let document: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
                assert_eq!(document["estimate"]["per_gpu"]["total"], json!(bytes), "{href}");
            }
            "Markdown" => assert!(text.contains("Llama-3.1-8B") && text.contains("KV cache"), "{text}"),
            "Picture" => assert!(file.starts_with(b"\x89PNG\r\n\x1a\n"), "{href}"),
            _ => assert!(text.contains(&format!("data-bytes=\"{bytes}\"")), "{href} shows the same"),
        }
    }
    // In a page of another site, as it is offered for copying.
    let frame = texts(page, "#export pre").await?.into_iter().find(|text| text.starts_with("<iframe"));
    let frame = frame.unwrap_or_else(|| panic!("no frame to copy"));
    let source =
        frame.split('"').find(|part| part.starts_with("http")).unwrap_or_default().replace("&amp;", "&");
    assert!(source.starts_with(&site.server.url), "{frame}");
    let here = page.current_url().await?.to_string();
    page.goto(&source).await?;
    assert_eq!(planned_bytes(page).await?, bytes, "{source}");
    page.goto(&here).await?;
    Ok(())
}

/// Drops files on the page, as a file manager does: a field of the test's own holds them first.
async fn drop_files(page: &WebDriver, paths: &[&std::path::Path]) -> Result<()> {
    page.execute(
        "document.querySelector('#test-files')?.remove(); const field = document.createElement('input'); \
         Object.assign(field, { type: 'file', id: 'test-files', multiple: true }); document.body.append(field);",
        vec![],
    )
    .await?;
    let paths: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
    select(page, "#test-files").await?.send_keys(paths.join("\n")).await?;
    page.execute(
        "const dataTransfer = new DataTransfer(); \
         for (const file of document.querySelector('#test-files').files) dataTransfer.items.add(file); \
         document.querySelector('[data-test=own-model]') \
             .dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }));",
        vec![],
    )
    .await?;
    Ok(())
}

/// Waits until the planner says that it plans for a model of the reader's own, by its name.
async fn own_model(page: &WebDriver, name: &str) -> Result<()> {
    let told = "document.querySelector('[data-test=own-model] summary small').textContent";
    holds(page, &format!("{told}.includes({name:?})")).await?;
    assert!(planned_bytes(page).await? > 0, "{name}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_ones_own_is_pasted_chosen_and_dropped() -> Result<()> {
    let site = Site::shared()?;
    let dir = tempfile::tempdir().map_err(HarnessError::io("make a temporary folder"))?;
    let config =
        planner::catalogue::model("Qwen/Qwen3-0.6B").map(|model| model.config.clone()).unwrap_or_default();
    let config_file = dir.path().join("config.json");
    std::fs::write(&config_file, config.to_string()).map_err(HarnessError::io("write config.json"))?;
    let broken = dir.path().join("broken.gguf");
    std::fs::write(&broken, b"GGUF\x03\x00\x00\x00").map_err(HarnessError::io("write broken.gguf"))?;
    let minilm = models().join("all-MiniLM-L6-v2");
    let weights = minilm.join("model.safetensors");

    let driver = Driver::start()?;
    let page = driver.open(Profile::default()).await?;
    plan(&site, &page, "model=meta-llama/Llama-3.1-8B&gpu=rtx-4090-24gb").await?;
    unfold(&page, "Another model").await?;
    // From the clipboard.
    page.execute_async(
        "navigator.clipboard.writeText(arguments[0]).then(arguments[1])",
        vec![json!(config.to_string())],
    )
    .await?;
    let area = select(&page, "textarea[name=config]").await?;
    area.scroll_into_view().await?;
    area.click().await?;
    page.action_chain().key_down(Key::Control).send_keys("v").key_up(Key::Control).perform().await?;
    own_model(&page, "pasted model").await?;
    let link = page.current_url().await?.to_string();
    let bytes = planned_bytes(&page).await?;

    // A GGUF file of 90 MB, of which the header is read; then one that is none.
    let chooser = select(&page, "[data-test=own-model] input[type=file]").await?;
    chooser.send_keys(smollm2()?.to_string_lossy()).await?;
    own_model(&page, "SmolLM2-135M-Instruct").await?;
    drop_files(&page, &[&broken]).await?;
    let said = "document.querySelector('[data-test=own-model] [role=status]').textContent";
    holds(&page, &format!("{said}.includes('broken.gguf')")).await?;

    drop_files(&page, &[&config_file]).await?;
    own_model(&page, "pasted model").await?;
    holds(&page, &format!("{said} === ''")).await?;
    drop_files(&page, &[&smollm2()?]).await?;
    own_model(&page, "SmolLM2-135M-Instruct").await?;
    drop_files(&page, &[&weights]).await?;
    holds(&page, &format!("{said}.includes('config.json')")).await?;
    drop_files(&page, &[&weights, &minilm.join("config.json")]).await?;
    own_model(&page, "MiniLM").await?;
    holds(&page, &format!("{said} === ''")).await?;
    still_the_same_page(&page).await?;
    page.quit().await?;

    // The link carries the model, and without scripts the form takes a configuration, too.
    let page = driver.open(Profile { javascript: false, ..Profile::default() }).await?;
    page.goto(&link).await?;
    assert_eq!(planned_bytes(&page).await?, bytes);
    page.goto(site.at("/planner?model=meta-llama/Llama-3.1-8B&gpu=rtx-4090-24gb")).await?;
    unfold(&page, "Another model").await?;
    select(&page, "textarea[name=config]").await?.send_keys(config.to_string()).await?;
    click(&page, "form[action='/planner'] > button.no-script").await?;
    assert!(text(&page, "[data-test=own-model] summary small").await?.contains("pasted model"));
    assert_eq!(planned_bytes(&page).await?, bytes);
    // A remedy is a link.
    page.goto(site.at(&format!("/planner?{TOO_LARGE}"))).await?;
    assert!(verdict(&page).await?.contains("not fit"), "{}", verdict(&page).await?);
    let remedy = "//section[.//h2[contains(., 'To make it fit')]]//tr[.//span[@class='state ok']]//a";
    let chip = page.query(By::XPath(remedy)).first().await?;
    follow(&page, &chip).await?;
    assert!(!verdict(&page).await?.contains("not fit"), "{}", verdict(&page).await?);
    page.quit().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_are_brought_into_an_empty_database() -> Result<()> {
    let dir = tempfile::tempdir().map_err(HarnessError::io("make a temporary folder"))?;
    let server = Server::start(dir.path(), &[])?;
    let driver = Driver::start()?;
    let page = driver.open(Profile::default()).await?;
    page.goto(&server.url).await?;
    click(&page, "[data-test=import-examples]").await?;
    let (_, runs) = Api::new(&server.url).get("/runs")?;
    let runs = runs["items"].as_array().map_or(0, Vec::len);
    assert_eq!((texts(&page, "[data-test=run-row]").await?.len(), runs > 0), (runs, true));
    assert!(page.find_all(By::Css("[data-test=import-examples]")).await?.is_empty(), "they are offered once");
    page.quit().await?;
    Ok(())
}
