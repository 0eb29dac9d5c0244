//! `make screenshots`: a picture of every page at three widths, light and dark, to be looked at.
//!
//! `screenshots FOLDER [PART OF A NAME…]` takes all pages, or those whose names have one of the parts.

use std::path::PathBuf;

use tests::browser::{Driver, Profile, alive, look, media, picture};
use tests::site::{Page, Site};
use tests::{HarnessError, Result};

/// A telephone, a desk, a large screen, in CSS pixels.
const WIDTHS: [u32; 3] = [390, 1440, 2560];

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next().map(PathBuf::from) else {
        eprintln!("usage: screenshots FOLDER [PART OF A NAME…]");
        return std::process::ExitCode::from(2);
    };
    match take(folder, &arguments.collect::<Vec<_>>()).await {
        Ok(told) => {
            println!("{told}");
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("screenshots: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn take(folder: PathBuf, parts: &[String]) -> Result<String> {
    std::fs::create_dir_all(&folder).map_err(HarnessError::io(&format!("make {}", folder.display())))?;
    let site = Site::start()?;
    let driver = Driver::start()?;
    let browser = driver.open(Profile::default()).await?;
    let wanted = |page: &&Page| parts.is_empty() || parts.iter().any(|part| page.name.contains(part));
    let mut taken = 0;
    let mut save = |name: String, png: Vec<u8>| {
        taken += 1;
        let path = folder.join(name);
        std::fs::write(&path, png).map_err(HarnessError::io(&format!("write {}", path.display())))
    };
    for page in site.pages.iter().filter(wanted) {
        browser.goto(&page.url).await?;
        alive(&browser).await?;
        for width in WIDTHS {
            for dark in [false, true] {
                look(&browser, width, dark).await?;
                let theme = if dark { "dark" } else { "light" };
                save(format!("{}-{width}-{theme}.png", page.name), picture(&browser, width).await?)?;
            }
        }
        // About as wide as A4 within its margins.
        media(&browser, "print", "light").await?;
        save(format!("{}-print.png", page.name), picture(&browser, 720).await?)?;
    }
    browser.quit().await?;
    Ok(format!("{taken} pictures in {}", folder.display()))
}
