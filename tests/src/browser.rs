//! A real browser: headless Chromium, driven through chromedriver.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use thirtyfour::error::WebDriverResult;
use thirtyfour::extensions::cdp::ChromeDevTools;
use thirtyfour::prelude::*;

use crate::process::Process;
use crate::{HarnessError, Result};

/// How long a page may take to show something.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Height of a window in CSS pixels.
const HEIGHT: u32 = 1200;
/// The browser makes no window narrower than this; a narrower page is emulated in it.
const NARROWEST: u32 = 500;

/// chromedriver; each [`Driver::open`] is a fresh profile.
#[derive(Debug)]
pub struct Driver {
    _process: Process,
    url: String,
}

/// How a profile is set up.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// Whether pages may run scripts.
    pub javascript: bool,
    /// Width of the window in CSS pixels.
    pub width: u32,
    /// Whether pages are told that the reader prefers dark.
    pub dark: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Self { javascript: true, width: 1440, dark: false }
    }
}

impl Driver {
    /// Starts chromedriver on a free port.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start() -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .map_err(|source| HarnessError::Io { what: "find a free port".to_owned(), source })?
            .port();
        let mut process = Process::start(Command::new("chromedriver").arg(format!("--port={port}")))?;
        process.wait_for_line("was started successfully")?;
        Ok(Self { _process: process, url: format!("http://127.0.0.1:{port}") })
    }

    /// Opens a browser with a fresh profile.
    ///
    /// # Errors
    /// It does not start.
    pub async fn open(&self, profile: Profile) -> Result<WebDriver> {
        let mut caps = DesiredCapabilities::chrome();
        for argument in [
            "--headless=new",
            "--no-sandbox",
            // As a telephone has them.
            "--hide-scrollbars",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ] {
            caps.add_arg(argument)?;
        }
        caps.add_arg(&format!("--window-size={},{HEIGHT}", profile.width.max(NARROWEST)))?;
        if !profile.javascript {
            caps.add_experimental_option(
                "prefs",
                json!({ "profile.managed_default_content_settings.javascript": 2 }),
            )?;
        }
        let driver = WebDriver::new(&self.url, caps).await?;
        look(&driver, profile.width, profile.dark).await?;
        for (command, arguments) in [
            // As if a person looked at it: only then may a page read the clipboard.
            ("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })),
            (
                "Browser.grantPermissions",
                json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] }),
            ),
        ] {
            tools(&driver).execute_cdp_with_params(command, arguments).await?;
        }
        Ok(driver)
    }
}

fn tools(page: &WebDriver) -> ChromeDevTools {
    ChromeDevTools::new(page.handle.clone())
}

/// Makes the window so wide, and of that theme, whatever page stands in it.
///
/// # Errors
/// The browser refuses.
pub async fn look(page: &WebDriver, width: u32, dark: bool) -> Result<()> {
    resize(page, width, HEIGHT).await?;
    let scheme = if dark { "dark" } else { "light" };
    media(page, "", scheme).await
}

/// What the page is drawn on: `screen` where nothing is said, or `print`; and the theme that its reader prefers.
///
/// # Errors
/// The browser refuses.
pub async fn media(page: &WebDriver, medium: &str, scheme: &str) -> Result<()> {
    let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
    let arguments = json!({ "media": medium, "features": features });
    tools(page).execute_cdp_with_params("Emulation.setEmulatedMedia", arguments).await?;
    Ok(())
}

async fn resize(page: &WebDriver, width: u32, height: u32) -> Result<()> {
    let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
    tools(page).execute_cdp_with_params("Emulation.setDeviceMetricsOverride", size).await?;
    Ok(())
}

/// A PNG of the whole page, `width` pixels wide.
///
/// # Errors
/// The browser takes none.
pub async fn picture(page: &WebDriver, width: u32) -> Result<Vec<u8>> {
    /// The browser draws nothing taller.
    const TALLEST: u64 = 16_000;
    resize(page, width, HEIGHT).await?;
    let height = page.execute("return document.documentElement.scrollHeight;", vec![]).await?;
    let height = height.json().as_u64().unwrap_or_default().clamp(u64::from(HEIGHT), TALLEST);
    resize(page, width, u32::try_from(height).unwrap_or(HEIGHT)).await?;
    let picture = page.screenshot_as_png().await?;
    resize(page, width, HEIGHT).await?;
    Ok(picture)
}

/// Gives every page that is opened from now on axe-core, for [`barriers`].
///
/// # Errors
/// The browser refuses.
pub async fn bring_axe(page: &WebDriver, axe: &str) -> Result<()> {
    let script = json!({ "source": axe });
    tools(page).execute_cdp_with_params("Page.addScriptToEvaluateOnNewDocument", script).await?;
    Ok(())
}

/// What axe-core finds in the page against WCAG 2.1 A and AA and its best practices: rule, element and reason, a line each.
///
/// # Errors
/// It cannot be run.
pub async fn barriers(page: &WebDriver) -> Result<Vec<String>> {
    const RUN: &str = "
        const done = arguments[0];
        const runOnly = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'];
        const told = (violation) => violation.nodes.map((node) =>
            `${violation.id} at ${node.target.join(' ')}: ${node.failureSummary.replace(/\\s+/g, ' ')}`);
        axe.run(document, { runOnly, resultTypes: ['violations'] })
            .then((found) => done(found.violations.flatMap(told)), (error) => done([`axe-core: ${error}`]));";
    let found = page.execute_async(RUN, vec![]).await?;
    Ok(found.convert()?)
}

/// What the clipboard holds, once it holds something that starts with `start`.
///
/// # Errors
/// It does not come to.
pub async fn clipboard(page: &WebDriver, start: &str) -> Result<String> {
    let script = "const [start, done] = arguments; const until = Date.now() + 10000; \
                  const look = () => navigator.clipboard.readText().then( \
                      text => text.startsWith(start) || Date.now() > until ? done(text) : setTimeout(look, 50), \
                      error => done(String(error))); \
                  look();";
    let held = page.execute_async(script, vec![json!(start)]).await?;
    let held = held.json().as_str().unwrap_or_default().to_owned();
    if held.starts_with(start) {
        return Ok(held);
    }
    Err(HarnessError::TimedOut {
        what: format!("{start}… on the clipboard; there is: {held}"), seconds: 10
    })
}

/// The element that a selector finds, once it is there.
///
/// # Errors
/// It does not come.
pub async fn select(page: &WebDriver, selector: &str) -> Result<WebElement> {
    Ok(page.query(By::Css(selector)).wait(PATIENCE, Duration::from_millis(50)).first().await?)
}

/// Waits until an expression of JavaScript is true of the page. It is evaluated from outside, so that it works where pages may
/// run no scripts.
///
/// # Errors
/// It does not come to be.
pub async fn holds(page: &WebDriver, condition: &str) -> Result<()> {
    let script = format!("return Boolean({condition});");
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Between two pages there is none to ask.
        if matches!(page.execute(&script, vec![]).await, Ok(answer) if answer.json() == &json!(true)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(HarnessError::TimedOut { what: condition.to_owned(), seconds: PATIENCE.as_secs() });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Does what leads to another page, and waits until that stands.
///
/// # Errors
/// It cannot be done, or leads nowhere.
pub async fn turn(page: &WebDriver, act: impl Future<Output = WebDriverResult<()>>) -> Result<()> {
    let here = page.find(By::Tag("html")).await?;
    act.await?;
    let deadline = Instant::now() + PATIENCE;
    while here.tag_name().await.is_ok() {
        if Instant::now() > deadline {
            let what = format!("another page than {}", page.current_url().await?);
            return Err(HarnessError::TimedOut { what, seconds: PATIENCE.as_secs() });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    holds(page, "document.readyState === 'complete'").await
}

/// Clicks what leads to another page, and waits until that stands.
///
/// # Errors
/// It cannot be clicked, or leads nowhere.
pub async fn follow(page: &WebDriver, link: &WebElement) -> Result<()> {
    link.scroll_into_view().await?;
    turn(page, link.click()).await
}

/// Everything that a selector finds, once there is something.
///
/// # Errors
/// Nothing comes.
pub async fn select_all(page: &WebDriver, selector: &str) -> Result<Vec<WebElement>> {
    select(page, selector).await?;
    Ok(page.find_all(By::Css(selector)).await?)
}

/// The texts of everything that a selector finds, once there is something.
///
/// # Errors
/// Nothing comes.
pub async fn texts(page: &WebDriver, selector: &str) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for element in select_all(page, selector).await? {
        texts.push(element.text().await?);
    }
    Ok(texts)
}

/// Waits until the page at `path` stands.
///
/// # Errors
/// It does not come to.
pub async fn arrive(page: &WebDriver, path: &str) -> Result<()> {
    holds(page, &format!("location.pathname === {path:?} && document.readyState === 'complete'")).await
}

/// Bytes of the planner's answer on the page.
///
/// # Errors
/// There is none.
pub async fn planned_bytes(page: &WebDriver) -> Result<u64> {
    let total = find(page, "total-bytes").await?;
    Ok(total.attr("data-bytes").await?.unwrap_or_default().parse().unwrap_or_default())
}

/// Bytes of the planner's answer on the page, once they are not those of `before`.
///
/// # Errors
/// They stay.
pub async fn other_bytes(page: &WebDriver, before: u64) -> Result<u64> {
    select(page, &format!("[data-test=\"total-bytes\"]:not([data-bytes=\"{before}\"])")).await?;
    planned_bytes(page).await
}

/// Waits until the islands of the page are alive, where it has the planner's.
///
/// # Errors
/// They do not come to life.
pub async fn alive(page: &WebDriver) -> Result<()> {
    holds(page, "!document.querySelector('main.two:not([data-hydrated])')").await
}

/// The element with this `data-test`, once it is there.
///
/// # Errors
/// It does not come.
pub async fn find(page: &WebDriver, name: &str) -> Result<WebElement> {
    let what = format!("[data-test=\"{name}\"]");
    Ok(page.query(By::Css(what)).wait(PATIENCE, Duration::from_millis(50)).first().await?)
}

/// The element with this `data-test`, once its text is as wanted.
///
/// # Errors
/// It does not become so.
pub async fn find_saying(page: &WebDriver, name: &str, text: &str, patience: Duration) -> Result<WebElement> {
    let what = format!("[data-test=\"{name}\"]");
    Ok(page
        .query(By::Css(what))
        .with_text(text.to_owned())
        .wait(patience, Duration::from_millis(100))
        .first()
        .await?)
}

/// Clicks the element with this `data-test`.
///
/// # Errors
/// It does not come, or cannot be clicked.
pub async fn press(page: &WebDriver, name: &str) -> Result<()> {
    let element = find(page, name).await?;
    element.scroll_into_view().await?;
    element.click().await?;
    Ok(())
}
