//! The story that the project exists for, in headless Chromium: submit a job, watch it finish, open the run, open the
//! planner from the run, change precision, copy the link, open it in a fresh profile, same numbers; and once more with
//! JavaScript off.

use std::time::Duration;

use contract::job::{JobState, NewJob};
use contract::sweep::first_benchmark;
use tests::api::{Api, wait_until};
use tests::browser::{
    Driver, PATIENCE, Profile, arrive, clipboard, find, find_saying, holds, other_bytes, planned_bytes, press,
};
use tests::process::{Server, start_runner};
use tests::{HarnessError, Result, binary};
use thirtyfour::prelude::*;

use crate::small_sweep;

/// A job of a few small cases may take this long on two busy cores.
const JOB: Duration = Duration::from_mins(5);

fn temporary() -> Result<tempfile::TempDir> {
    tempfile::tempdir()
        .map_err(|source| HarnessError::Io { what: "make a temporary folder".to_owned(), source })
}

/// The job whose page is open.
async fn job_of(page: &WebDriver) -> Result<String> {
    let address = page.current_url().await?;
    Ok(address.path().strip_prefix("/jobs/").unwrap_or_default().to_owned())
}

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
    press(page, "submit-job").await?;
    page.query(By::Css("[data-test=\"job-state\"]"))
        .wait(PATIENCE, Duration::from_millis(50))
        .first()
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_loop_in_a_browser() -> Result<()> {
    let dir = temporary()?;
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

    press(&page, "open-in-planner").await?;
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
         e.closest('select').dispatchEvent(new Event('change', {bubbles: true})); \
         e.closest('select').dispatchEvent(new Event('input', {bubbles: true})); } else { e.click(); }",
        vec![fp32.to_json()?],
    )
    .await?;
    let after = other_bytes(&page, before).await?;
    assert!(after > before, "fp32 weights take more than bf16: {after} against {before}");
    let same = page.execute("return window.__same_document === true;", vec![]).await?;
    assert_eq!(same.json(), &serde_json::Value::Bool(true), "the page was not loaded anew");

    press(&page, "copy-link").await?;
    let link = clipboard(&page, &server.url).await?;
    assert!(link.contains("fp32"), "the link is readable: {link}");
    holds(&page, &format!("location.href === {link:?}")).await?;
    let fresh = driver.open(Profile::default()).await?;
    fresh.goto(&link).await?;
    assert_eq!(planned_bytes(&fresh).await?, after, "the link means the same in a fresh profile");
    fresh.quit().await?;

    // A short link stores the plan with its answer.
    press(&page, "short-link").await?;
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
    let dir = temporary()?;
    let server = Server::start(dir.path(), &[])?;
    let api = Api::new(&server.url);
    let _runner = start_runner(dir.path(), &server.url, "test-runner", None)?;
    api.wait_for_runner("test-runner")?;
    let driver = Driver::start()?;
    let page = driver.open(Profile { javascript: false, ..Profile::default() }).await?;

    // The first page of an empty database: the benchmark, stopped on its page, and the examples.
    page.goto(&server.url).await?;
    press(&page, "first-benchmark").await?;
    find(&page, "job-state").await?;
    let first = job_of(&page).await?;
    press(&page, "cancel-job").await?;
    find(&page, "job-state").await?;
    let stopped = api.follow(&first, |job| job.state.is_final())?;
    assert_eq!(stopped.state, JobState::Cancelled, "{stopped:?}");
    page.goto(format!("{}/jobs/{first}", server.url)).await?;
    find_saying(&page, "job-state", "cancelled", PATIENCE).await?;
    page.goto(&server.url).await?;
    press(&page, "import-examples").await?;
    find(&page, "run-row").await?;

    submit_small_job(&page, &server).await?;
    let address = page.current_url().await?.to_string();
    let job = api.follow(job_of(&page).await?, |job| job.state.is_final())?;
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
    press(&page, "submit-job").await?;
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
    let fp32 = planned_bytes(&page).await?;
    assert!(fp32 > bf16, "fp32 takes more than bf16");
    // Its form leads to the link of what was chosen, and the link's button to an address that keeps the answer.
    let choice = By::Css("form[action=\"/planner\"] [name=\"weights\"] option[value=\"bf16\"]");
    page.query(choice).first().await?.click().await?;
    let apply = page.query(By::Css("form[action=\"/planner\"] button.no-script")).first().await?;
    apply.scroll_into_view().await?;
    apply.click().await?;
    assert_eq!(other_bytes(&page, fp32).await?, bf16, "the form was applied");
    let link = page.current_url().await?.to_string();
    assert!(link.contains("weights=bf16"), "the form leads to the plan's link: {link}");
    press(&page, "short-link").await?;
    find(&page, "stored-plan").await?;
    assert!(page.current_url().await?.path().starts_with("/p/"), "{}", page.current_url().await?);
    assert_eq!(planned_bytes(&page).await?, bf16, "the short link keeps the answer");

    for path in ["/", "/runs", "/jobs", "/planner", "/answers", "/docs", "/login"] {
        page.goto(format!("{}{path}", server.url)).await?;
        assert!(!page.query(By::Tag("h1")).first().await?.text().await?.is_empty(), "{path} has a heading");
    }
    assert_eq!(job.progress.done, 2);
    page.quit().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_javascript() -> Result<()> {
    let dir = temporary()?;
    let server = Server::start(dir.path(), &["--admin-token", "let-me-in"])?;
    let driver = Driver::start()?;
    let page = driver.open(Profile { javascript: false, ..Profile::default() }).await?;
    page.goto(&server.url).await?;
    press(&page, "import-examples").await?;
    for (token, leads_to) in [("a-guess", "/login"), ("let-me-in", "/")] {
        let field = page
            .query(By::Css("form[action=\"/login\"] [name=\"token\"]"))
            .wait(PATIENCE, Duration::from_millis(50))
            .first()
            .await?;
        field.send_keys(token).await?;
        page.query(By::Css("form[action=\"/login\"] button")).first().await?.click().await?;
        if leads_to == "/login" {
            find(&page, "form-error").await?;
            assert_eq!(page.current_url().await?.path(), leads_to, "{token}");
        } else {
            // The click returns before the next page stands.
            arrive(&page, leads_to).await?;
        }
    }
    // The cookie lets the same form through.
    press(&page, "import-examples").await?;
    find(&page, "run-row").await?;
    page.quit().await?;
    Ok(())
}

/// What `make serve` starts, and the first thing that its page offers.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_benchmark_of_a_server_with_its_own_runner() -> Result<()> {
    let dir = temporary()?;
    let runner = binary("bench-runner")?;
    let server = Server::start(dir.path(), &["--with-runner", &runner.to_string_lossy()])?;
    let api = Api::new(&server.url);
    wait_until("the server's own runner online", Duration::from_mins(1), || {
        let (_, runners) = api.get("/runners")?;
        Ok(runners[0]["online"].as_bool().filter(|online| *online))
    })?;
    let driver = Driver::start()?;
    let page = driver.open(Profile::default()).await?;
    page.goto(&server.url).await?;
    press(&page, "first-benchmark").await?;
    find(&page, "job-state").await?;
    // A minute on idle cores; other tests compute at the same time.
    find_saying(&page, "job-state", "finished", 2 * JOB).await?;
    find(&page, "job-run").await?.click().await?;
    find(&page, "case-row").await?;
    let rows = page.find_all(By::Css("[data-test=\"case-row\"]")).await?;
    assert_eq!(rows.len(), first_benchmark().len(), "every case has a row");
    for row in rows {
        let text = row.text().await?;
        assert!(text.contains('%'), "each case was measured and stands beside its estimate: {text}");
    }
    page.quit().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_followed_over_a_restart_of_its_server() -> Result<()> {
    let dir = temporary()?;
    let mut server = Server::start(dir.path(), &[])?;
    let api = Api::new(&server.url);
    let mut runner = start_runner(dir.path(), &server.url, "patient", None)?;
    api.wait_for_runner("patient")?;
    runner.kill();
    let job = NewJob { name: None, sweep: small_sweep(&[1, 2, 3], &[8, 16], 2), runner_id: None };
    let job = api.submit(&job)?;
    let driver = Driver::start()?;
    let page = driver.open(Profile::default()).await?;
    page.goto(format!("{}/jobs/{}", server.url, job.id)).await?;
    find_saying(&page, "job-state", "queued", PATIENCE).await?;
    let _runner = start_runner(dir.path(), &server.url, "patient", None)?;
    find_saying(&page, "job-state", "running", JOB).await?;
    let address = server.address().to_owned();
    server.process.kill();
    find(&page, "lost").await?;
    let _server = Server::start_at(dir.path(), &address, &[])?;
    find_saying(&page, "job-state", "finished", JOB).await?;
    assert!(page.find_all(By::Css("[data-test=lost]")).await?.is_empty());
    page.quit().await?;
    Ok(())
}
