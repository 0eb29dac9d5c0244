//! Harness of the end-to-end tests: the real binaries, on temporary folders and free ports, and a real browser.
//!
//! The binaries are those that stand beside the test's own (`target/release`): `make test` builds them first.

pub mod api;
pub mod browser;
pub mod process;
pub mod site;

use std::path::{Path, PathBuf};

/// What can go wrong in the harness itself.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// A binary was not built.
    #[error("{0} is missing; make test builds and installs it")]
    Missing(PathBuf),
    /// A process ended or said nothing in time.
    #[error("{program} did not say {wanted:?}; it said:\n{said}")]
    NotReady {
        /// The program.
        program: String,
        /// What was waited for.
        wanted: String,
        /// What came instead.
        said: String,
    },
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A request failed on its way.
    #[error("{method} {url}: {source}")]
    Http {
        /// Method.
        method: &'static str,
        /// Address.
        url: String,
        /// Why it failed.
        source: Box<ureq::Error>,
    },
    /// An answer was not the JSON that was expected.
    #[error("{url} answered {status}: {body}")]
    Answer {
        /// Address.
        url: String,
        /// Status.
        status: u16,
        /// Body.
        body: String,
    },
    /// The condition did not come about.
    #[error("after {seconds} s still not: {what}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
    },
    /// What a test is fed with is not what it should be.
    #[error("{what}: {problem}")]
    Fixture {
        /// What.
        what: String,
        /// Why it is of no use.
        problem: String,
    },
    /// A database could not be filled.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The browser's driver failed.
    #[error(transparent)]
    Driver(#[from] thirtyfour::error::WebDriverError),
}

impl HarnessError {
    /// What makes an error of what the operating system says of `what`.
    pub fn io(what: &str) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let what = what.to_owned();
        move |source| Self::Io { what, source }
    }
}

/// Result of the harness.
pub type Result<T> = std::result::Result<T, HarnessError>;

/// A binary of this workspace.
///
/// # Errors
/// It was not built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()
        .map_err(|source| HarnessError::Io { what: "find the test's own binary".to_owned(), source })?;
    // target/<profile>/deps/it-<hash>
    let path = own.ancestors().nth(2).unwrap_or(Path::new(".")).join(name);
    if path.is_file() { Ok(path) } else { Err(HarnessError::Missing(path)) }
}

/// Where `make test` puts real models.
#[must_use]
pub fn models() -> PathBuf {
    cache("PLIMSOLL_TEST_MODELS", "models")
}

/// axe-core, which `make test` installed: what finds barriers in a page.
///
/// # Errors
/// It was not installed.
pub fn axe() -> Result<String> {
    let path = cache("PLIMSOLL_TOOLS", "tools").join("node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(&path).map_err(|_| HarnessError::Missing(path))
}

/// A folder that `make test` fills: of the variable, or else beside the others.
fn cache(variable: &str, name: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/plimsoll").join(name),
        PathBuf::from,
    )
}

/// The real model that `make test` fetched (SmolLM2-135M-Instruct, `Q4_1` GGUF).
///
/// # Errors
/// It was not fetched.
pub fn smollm2() -> Result<PathBuf> {
    let folder = models();
    std::fs::read_dir(&folder)
        .ok()
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with("SmolLM2-135M-Instruct") && path.extension().is_some_and(|e| e == "gguf")
        })
        .ok_or_else(|| {
            HarnessError::Missing(folder.join("SmolLM2-135M-Instruct*.gguf (.ci/tools models smollm2)"))
        })
}
