//! The story that the project exists for, in headless Chromium: submit a job, watch it finish, open the run, open the
//! planner from the run, change precision, copy the link, open it in a fresh profile, same numbers; and once more with
//! JavaScript off.

use std::time::Duration;

use tests::Result;
use tests::api::Api;
use tests::browser::{Driver, PATIENCE, Profile, find, find_saying};
use tests::process::{Server, start_runner};
use thirtyfour::prelude::*;

/// A job of a few small cases may take this long on two busy cores.
const JOB: Duration = Duration::from_mins(5);

async fn fill(page: &WebDriver, name: &str, value: &str) -> Result<()> {
    let field = page.query(By::Css(format!("form[action=\"/jobs\"] [name=\"{name}\"]"))).first().await?;
    field.clear().await?;
    field.send_keys(value).await?;
    Ok(())
}

/// Fills the job form with a sweep of two cases and submits it; the page is the job's then.
async fn submit_small_job(page: &WebDriver, server: &Server) -> Result<()> {
    page.goto(format!("{}/jobs", server.url)).await?;
    find(page, "submit-job").await?;
    let model = page
        .query(By::Css("form[action=\"/jobs\"] [name=\"models\"][value=\"HuggingFaceTB/SmolLM2-135M\"]"))
        .wait(PATIENCE, Duration::from_millis(50))
        .first()
        .await?;
    if !model.is_selected().await? {
        model.scroll_into_view().await?;
        model.click().await?;
    }
    for (name, value) in [
        ("precisions", "bf16"),
        ("batches", "1,2"),
        ("prompts", "16"),
        ("generates", "4"),
        ("repetitions", "1"),
    ] {
        fill(page, name, value).await?;
    }
    let submit = find(page, "submit-job").await?;
    submit.scroll_into_view().await?;
    submit.click().await?;
    page.query(By::Css("[data-test=\"job-state\"]"))
        .wait(PATIENCE, Duration::from_millis(50))
        .first()
        .await?;
    Ok(())
}

/// Bytes of the planner's answer on the page.
async fn planned_bytes(page: &WebDriver) -> Result<u64> {
    let total = find(page, "total-bytes").await?;
    Ok(total.attr("data-bytes").await?.unwrap_or_default().parse().unwrap_or_default())
}

async fn wait_for_other_bytes(page: &WebDriver, before: u64) -> Result<u64> {
    let other = format!("[data-test=\"total-bytes\"]:not([data-bytes=\"{before}\"])");
    page.query(By::Css(other)).wait(PATIENCE, Duration::from_millis(50)).first().await?;
    planned_bytes(page).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_loop_in_a_browser() -> Result<()> {
    let dir =
        tempfile::tempdir().map_err(|source| tests::HarnessError::Io { what: "tempdir".into(), source })?;
    let server = Server::start(dir.path(), &[])?;
    let _runner = start_runner(dir.path(), &server.url, "test-runner", None)?;
    Api::new(&server.url).wait_for_runner("test-runner")?;
    let driver = Driver::start()?;
    let page = driver.open(Profile::default()).await?;

    submit_small_job(&page, &server).await?;
    // The page follows the job by itself: nothing reloads it here.
    find_saying(&page, "job-state", "finished", JOB).await?;
    find(&page, "job-run").await?.click().await?;
    find(&page, "case-row").await?;
    let rows = page.find_all(By::Css("[data-test=\"case-row\"]")).await?;
    assert_eq!(rows.len(), 2, "one row a case");
    for row in &rows {
        assert!(
            row.text().await?.contains('%'),
            "each case stands beside its estimate: {}",
            row.text().await?
        );
    }

    let planner = find(&page, "open-in-planner").await?;
    planner.scroll_into_view().await?;
    planner.click().await?;
    page.query(By::Css("[data-hydrated=\"true\"]")).wait(PATIENCE, Duration::from_millis(50)).first().await?;
    let before = planned_bytes(&page).await?;
    assert!(before > 0, "the plan of the case has a total");
    // Another precision, in the browser: the total changes without a round trip.
    page.execute("window.__same_document = true;", vec![]).await?;
    let fp32 = page
        .query(By::Css(
            "[data-test=\"weights\"] [value=\"fp32\"], [data-test=\"weights\"] option[value=\"fp32\"]",
        ))
        .first()
        .await?;
    page.execute(
        "const e = arguments[0]; if (e.tagName === 'OPTION') { e.selected = true; \
         e.parentElement.dispatchEvent(new Event('change', {bubbles: true})); \
         e.parentElement.dispatchEvent(new Event('input', {bubbles: true})); } else { e.click(); }",
        vec![fp32.to_json()?],
    )
    .await?;
    let after = wait_for_other_bytes(&page, before).await?;
    assert!(after > before, "fp32 weights take more than bf16: {after} against {before}");
    let same = page.execute("return window.__same_document === true;", vec![]).await?;
    assert_eq!(same.json(), &serde_json::Value::Bool(true), "the page was not loaded anew");

    // The address is the link that the button copies.
    let link = page.current_url().await?.to_string();
    assert!(link.contains("fp32"), "the link is readable: {link}");
    find(&page, "copy-link").await?;
    let fresh = driver.open(Profile::default()).await?;
    fresh.goto(&link).await?;
    assert_eq!(planned_bytes(&fresh).await?, after, "the link means the same in a fresh profile");
    fresh.quit().await?;

    // A short link stores the plan with its answer.
    let short = find(&page, "short-link").await?;
    short.scroll_into_view().await?;
    short.click().await?;
    page.query(By::Css("[data-test=\"stored-plan\"]"))
        .wait(PATIENCE, Duration::from_millis(50))
        .first()
        .await?;
    let short = page.current_url().await?.to_string();
    assert!(short.contains("/p/"), "{short}");
    page.quit().await?;

    let plain = driver.open(Profile { javascript: false, ..Profile::default() }).await?;
    plain.goto(&short).await?;
    assert_eq!(planned_bytes(&plain).await?, after, "the short link means the same without JavaScript");
    plain.quit().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_and_form_without_javascript() -> Result<()> {
    let dir =
        tempfile::tempdir().map_err(|source| tests::HarnessError::Io { what: "tempdir".into(), source })?;
    let server = Server::start(dir.path(), &[])?;
    let api = Api::new(&server.url);
    let _runner = start_runner(dir.path(), &server.url, "test-runner", None)?;
    api.wait_for_runner("test-runner")?;
    let driver = Driver::start()?;
    let page = driver.open(Profile { javascript: false, ..Profile::default() }).await?;

    submit_small_job(&page, &server).await?;
    let address = page.current_url().await?.to_string();
    let id = address.rsplit('/').next().unwrap_or_default().to_owned();
    let job = api.follow(&id, |job| job.state.is_final())?;
    page.goto(&address).await?;
    find_saying(&page, "job-state", "finished", PATIENCE).await?;
    find(&page, "job-run").await?.click().await?;
    find(&page, "case-row").await?;

    // A form with a bad value keeps what was typed and says what is wrong.
    page.goto(format!("{}/jobs", server.url)).await?;
    let model = page
        .query(By::Css("form[action=\"/jobs\"] [name=\"models\"][value=\"HuggingFaceTB/SmolLM2-135M\"]"))
        .first()
        .await?;
    if !model.is_selected().await? {
        model.click().await?;
    }
    fill(&page, "batches", "0").await?;
    let submit = find(&page, "submit-job").await?;
    submit.scroll_into_view().await?;
    submit.click().await?;
    let said = find(&page, "form-error").await?.text().await?;
    assert!(said.contains("batch"), "the error names the field: {said}");
    let kept = page.query(By::Css("form[action=\"/jobs\"] [name=\"batches\"]")).first().await?;
    assert_eq!(kept.prop("value").await?.unwrap_or_default(), "0", "what was typed is kept");

    // The filter narrows the table and stands in the address.
    page.goto(format!("{}/runs?model=no-such-model", server.url)).await?;
    find(&page, "filters").await?;
    assert!(page.find_all(By::Css("[data-test=\"run-row\"]")).await?.is_empty(), "no run has that model");
    page.goto(format!("{}/runs?model=SmolLM2", server.url)).await?;
    find(&page, "run-row").await?;

    // The planner answers a plain GET.
    page.goto(format!("{}/planner?model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb&weights=bf16", server.url))
        .await?;
    let bf16 = planned_bytes(&page).await?;
    page.goto(format!("{}/planner?model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb&weights=fp32", server.url))
        .await?;
    assert!(planned_bytes(&page).await? > bf16, "fp32 takes more than bf16");

    for path in ["/", "/runs", "/jobs", "/planner", "/docs"] {
        page.goto(format!("{}{path}", server.url)).await?;
        assert!(!page.query(By::Tag("h1")).first().await?.text().await?.is_empty(), "{path} has a heading");
    }
    assert_eq!(job.progress.done, 2);
    page.quit().await?;
    Ok(())
}
