//! A real browser: headless Chromium, driven through chromedriver.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use thirtyfour::prelude::*;

use crate::process::Process;
use crate::{HarnessError, Result};

/// How long a page may take to show something.
pub const PATIENCE: Duration = Duration::from_secs(30);

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
        caps.add_arg(&format!("--window-size={},1200", profile.width))?;
        caps.add_arg(if profile.dark {
            "--blink-settings=preferredColorScheme=0"
        } else {
            "--blink-settings=preferredColorScheme=1"
        })?;
        if !profile.javascript {
            caps.add_experimental_option(
                "prefs",
                serde_json::json!({ "profile.managed_default_content_settings.javascript": 2 }),
            )?;
        }
        let driver = WebDriver::new(&self.url, caps).await?;
        Ok(driver)
    }
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
