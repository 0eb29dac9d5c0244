//! Every page, in both themes, on a telephone and on a desk: no barrier that axe-core knows of, nothing wider than the window,
//! dark where dark was asked for; and on paper.

use serde_json::json;
use tests::browser::{Driver, Profile, alive, barriers, bring_axe, look, media};
use tests::site::Site;
use tests::{Result, axe};

/// What a page looks like: its widths, what stands out at the right, whether it was told dark, and how light its ground is
/// (0 to 255).
const LOOK: &str = "
    const wide = [...document.querySelectorAll('main *, header *, footer *')]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, pre'))
        .slice(0, 5).map(e => e.tagName + '.' + e.className);
    const ground = getComputedStyle(document.body).backgroundColor;
    const rgb = (ground.match(/[0-9.]+/g) || []).slice(0, 3).map(Number);
    return { inner: innerWidth, scroll: document.documentElement.scrollWidth, wide,
             light: rgb.reduce((a, b) => a + b, 0) / 3 };";

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_accessible_and_fits_its_window() -> Result<()> {
    let (site, axe) = (Site::shared()?, axe()?);
    let driver = Driver::start()?;
    // Two browsers take turns at the pages.
    let (even, odd): (Vec<_>, Vec<_>) = site.pages.iter().enumerate().partition(|(place, _)| place % 2 == 0);
    let (one, other) = tokio::join!(wrong(&driver, &axe, even), wrong(&driver, &axe, odd));
    let wrong = [one?, other?].concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What is wrong with pages, a line each.
async fn wrong(driver: &Driver, axe: &str, pages: Vec<(usize, &tests::site::Page)>) -> Result<Vec<String>> {
    let browser = driver.open(Profile::default()).await?;
    bring_axe(&browser, axe).await?;
    // Whoever finds nothing anywhere has to have looked.
    browser.goto("data:text/html,<title>No words</title><img src=x>").await?;
    let found = barriers(&browser).await?;
    assert!(found.iter().any(|barrier| barrier.starts_with("image-alt at img")), "{found:?}");
    let mut wrong = Vec::new();
    for (_, page) in pages {
        browser.goto(&page.url).await?;
        alive(&browser).await?;
        // What is folded away is a part of the page, too.
        browser
            .execute("document.querySelectorAll('details').forEach((fold) => fold.open = true);", vec![])
            .await?;
        for (width, dark) in [(1440, false), (1440, true), (390, true), (390, false)] {
            look(&browser, width, dark).await?;
            let place =
                format!("{} ({}), {width} px, {}", page.name, page.url, if dark { "dark" } else { "light" });
            let seen = browser.execute(LOOK, vec![]).await?.json().clone();
            if seen["inner"] != json!(width) || seen["scroll"].as_u64() > Some(width.into()) {
                wrong.push(format!("{place}: wider than the window: {seen}"));
            }
            if (seen["light"].as_f64() < Some(100.0)) != dark {
                wrong.push(format!("{place}: its ground is of the other theme: {seen}"));
            }
            wrong.extend(barriers(&browser).await?.into_iter().map(|barrier| format!("{place}: {barrier}")));
        }
    }
    browser.quit().await?;
    Ok(wrong)
}

/// What of a page stands on paper.
const PAPER: &str = "
    const shown = (e) => e.getClientRects().length > 0;
    const ink = (e) => (getComputedStyle(e).color.match(/[0-9.]+/g) || []).slice(0, 3).map(Number);
    const dark = (rgb) => rgb.reduce((a, b) => a + b, 0) / 3 < 128;
    const ground = getComputedStyle(document.body).backgroundColor;
    return { left: [...document.querySelectorAll('header.site nav, footer.site, form, .button, .skip')].filter(shown).length,
             ground, pale: [...document.querySelectorAll('h1, h2, p, td, th, dt, dd')].filter(shown)
                 .filter((e) => !dark(ink(e))).length,
             text: document.querySelector('main').innerText.length };";

#[tokio::test(flavor = "multi_thread")]
async fn results_and_plans_print_in_black_on_white_without_what_only_a_screen_needs() -> Result<()> {
    let site = Site::shared()?;
    let driver = Driver::start()?;
    let browser = driver.open(Profile { dark: true, ..Profile::default() }).await?;
    media(&browser, "print", "dark").await?;
    for name in
        ["run", "case", "compare-runs", "planner-fits", "planner-training", "stored-plan", "plots-speed"]
    {
        let page =
            site.pages.iter().find(|page| page.name == name).unwrap_or_else(|| panic!("no page {name}"));
        browser.goto(&page.url).await?;
        let seen = browser.execute(PAPER, vec![]).await?.json().clone();
        assert_eq!(seen["ground"], json!("rgb(255, 255, 255)"), "{name}: {seen}");
        assert_eq!((&seen["left"], &seen["pale"]), (&json!(0), &json!(0)), "{name}: {seen}");
        assert!(seen["text"].as_u64() > Some(300), "{name} has something to read: {seen}");
    }
    browser.quit().await?;
    Ok(())
}
