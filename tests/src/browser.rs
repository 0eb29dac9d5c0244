//! A real browser: headless Chromium, driven through chromedriver.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
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
        let tools = ChromeDevTools::new(driver.handle.clone());
        let scheme = if profile.dark { "dark" } else { "light" };
        for (command, arguments) in [
            (
                "Emulation.setDeviceMetricsOverride",
                json!({ "width": profile.width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": false }),
            ),
            (
                "Emulation.setEmulatedMedia",
                json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
            ),
            // As if a person looked at it: only then may a page read the clipboard.
            ("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })),
            (
                "Browser.grantPermissions",
                json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] }),
            ),
        ] {
            tools.execute_cdp_with_params(command, arguments).await?;
        }
        Ok(driver)
    }
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
