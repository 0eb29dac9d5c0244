//! What a page loads before it is live, as a browser counts it, and the planner's module, which comes later.

use std::time::Duration;

use serde_json::{Value, json};
use tests::api::Api;
use tests::browser::{Driver, PATIENCE, Profile, find, press};
use tests::process::Server;
use tests::{HarnessError, Result};
use thirtyfour::extensions::cdp::ChromeDevTools;
use thirtyfour::prelude::*;

/// WASM, scripts and style of a page's first load, compressed, in bytes; `app/compress.mjs` has the same.
const BUDGET: u64 = 350_000;

/// The files of the page that is open: their paths, and their bytes on the way and as they are. Answers once the page's
/// module is there.
const FILES: &str = "
    const done = arguments[0], until = Date.now() + 20000;
    const look = () => {
        const files = performance.getEntriesByType('resource').filter(e => /\\.(wasm|js|css)$/.test(new URL(e.name).pathname));
        const there = files.some(e => e.name.endsWith('/plimsoll_bg.wasm') && e.responseEnd > 0 && e.encodedBodySize > 0);
        if (!there && Date.now() < until) return setTimeout(look, 50);
        done(files.map(e => [new URL(e.name).pathname, e.encodedBodySize, e.decodedBodySize]));
    };
    look();";

/// Chooses a precision of the weights as a reader does.
const CHOOSE: &str = "
    const select = document.querySelector('[data-test=weights]');
    select.value = arguments[0];
    select.dispatchEvent(new Event('change', { bubbles: true }));";

async fn files(page: &WebDriver) -> Result<Vec<(String, u64, u64)>> {
    let files = page.execute_async(FILES, vec![]).await?.json().clone();
    Ok(serde_json::from_value(files).unwrap_or_default())
}

async fn total(page: &WebDriver) -> Result<String> {
    Ok(find(page, "total-bytes").await?.attr("data-bytes").await?.unwrap_or_default())
}

async fn another_total(page: &WebDriver, before: &str) -> Result<String> {
    let other = format!("[data-test=\"total-bytes\"]:not([data-bytes=\"{before}\"])");
    page.query(By::Css(other)).wait(PATIENCE, Duration::from_millis(50)).first().await?;
    total(page).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_loads_within_its_budget() -> Result<()> {
    let dir = tempfile::tempdir()
        .map_err(|source| HarnessError::Io { what: "make a temporary folder".to_owned(), source })?;
    let server = Server::start(dir.path(), &[])?;
    let api = Api::new(&server.url);
    api.post("/examples", &json!({}))?;
    let (_, runs) = api.get("/runs")?;
    let run = runs["items"][0]["run"]["id"].as_str().unwrap_or_default().to_owned();
    let (_, cases) = api.get(&format!("/runs/{run}/cases"))?;
    let case = cases[0]["id"].as_str().unwrap_or_default().to_owned();
    let plan = json!({
        "schema": 1, "model": { "id": "meta-llama/Llama-3.1-8B" }, "gpu": { "id": "h100-sxm-80gb" },
        "workload": { "kind": "serve", "prompt_tokens": 2048, "output_tokens": 512 }
    });
    let (_, stored) = api.post("/plans", &plan)?;
    let stored = stored["id"].as_str().unwrap_or_default().to_owned();
    assert!(!run.is_empty() && !case.is_empty() && !stored.is_empty(), "{runs} {stored}");

    let driver = Driver::start()?;
    let page = driver.open(Profile::default()).await?;
    // Each page as somebody's first.
    let tools = ChromeDevTools::new(page.handle.clone());
    tools.execute_cdp("Network.enable").await?;
    tools.execute_cdp_with_params("Network.setCacheDisabled", json!({ "cacheDisabled": true })).await?;
    let mut most = 0;
    for path in [
        "/",
        "/runs",
        &format!("/runs/{run}"),
        "/cases",
        &format!("/cases/{case}"),
        "/plots",
        "/compare",
        "/jobs",
        "/planner",
        "/planner/export?batch=2",
        "/planner/diff?a=batch%3D1&b=batch%3D2",
        "/answers",
        "/answers/can-i-run",
        "/answers/vram-per-billion",
        "/answers/quantize",
        "/answers/flash-attention",
        "/answers/fine-tune-or-lora",
        &format!("/p/{stored}"),
        "/docs",
        "/docs/api",
        "/login",
        "/nothing/here",
    ] {
        page.goto(format!("{}{path}", server.url)).await?;
        let files = files(&page).await?;
        assert!(files.len() >= 3, "{path} loads a style sheet, a script and a module: {files:?}");
        assert!(files.iter().all(|(_, sent, whole)| sent < whole), "{path}: all of it compressed: {files:?}");
        assert!(files.iter().all(|(name, ..)| !name.contains("planner_bg")), "{path}: {files:?}");
        let sum = files.iter().map(|(_, sent, _)| sent).sum::<u64>();
        assert!(sum <= BUDGET, "{path} loads {sum} bytes of at most {BUDGET}: {files:?}");
        most = most.max(sum);
    }
    println!("the heaviest first load: {most} bytes of at most {BUDGET}");
    page.quit().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_planner_comes_when_it_is_needed() -> Result<()> {
    let dir = tempfile::tempdir()
        .map_err(|source| HarnessError::Io { what: "make a temporary folder".to_owned(), source })?;
    let server = Server::start(dir.path(), &[])?;
    let driver = Driver::start()?;
    let page = driver.open(Profile::default()).await?;
    page.goto(format!("{}/planner?weights=bf16", server.url)).await?;
    page.query(By::Css("[data-hydrated=\"true\"]")).wait(PATIENCE, Duration::from_millis(50)).first().await?;
    let bf16 = total(&page).await?;

    // Off the net the change is kept, the page says so, and makes it when it can.
    let tools = ChromeDevTools::new(page.handle.clone());
    tools.execute_cdp("Network.enable").await?;
    let net = |offline: bool| json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
    tools.execute_cdp_with_params("Network.emulateNetworkConditions", net(true)).await?;
    page.execute(CHOOSE, vec![json!("fp32")]).await?;
    find(&page, "no-planner").await?;
    assert_eq!(total(&page).await?, bf16, "the answer is that of the plan before");
    tools.execute_cdp_with_params("Network.emulateNetworkConditions", net(false)).await?;
    press(&page, "again").await?;
    let fp32 = another_total(&page, &bf16).await?;
    assert!(page.find_all(By::Css("[data-test=\"no-planner\"]")).await?.is_empty());

    // From then on nothing is asked of anyone.
    let requests = "return performance.getEntriesByType('resource').length";
    let before = page.execute(requests, vec![]).await?.json().clone();
    page.execute(CHOOSE, vec![json!("bf16")]).await?;
    assert_eq!(another_total(&page, &fp32).await?, bf16);
    let slide = "const slider = document.querySelector('input[type=range]');
                 slider.value = 24; slider.dispatchEvent(new Event('input', { bubbles: true }));";
    page.execute(slide, vec![]).await?;
    another_total(&page, &bf16).await?;
    assert_eq!(page.execute(requests, vec![]).await?.json(), &before);
    assert_ne!(before, Value::Null);
    page.quit().await?;
    Ok(())
}
