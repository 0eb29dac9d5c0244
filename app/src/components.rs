//! Small parts that several pages share.

mod agent;
pub(crate) mod answer;
mod difference;
pub(crate) mod facts;
mod load_line;
mod why;

pub use agent::Agent;
pub use answer::{Basis, Summary, WhereItGoes};
#[cfg(feature = "ssr")]
pub(crate) use answer::{components, parts};
pub use difference::Difference;
pub use facts::{Costs, Facts, lost};
pub use load_line::{LoadLine, Measured, batches};

use contract::case::CaseStatus;
use contract::ids::UnixMillis;
use contract::job::JobState;
use contract::run::RunStatus;
use leptos::prelude::*;

use crate::format;

/// How a state is drawn; its word always stands beside the colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Ended well.
    Good,
    /// Goes on.
    Live,
    /// Ended badly.
    Bad,
    /// Waits, or was stopped on request.
    Quiet,
}

impl Tone {
    const fn class(self) -> &'static str {
        match self {
            Self::Good => "state ok",
            Self::Live => "state running",
            Self::Bad => "state bad",
            Self::Quiet => "state quiet",
        }
    }
}

impl From<JobState> for Tone {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Queued | JobState::Cancelled => Self::Quiet,
            JobState::Running => Self::Live,
            JobState::Finished => Self::Good,
            JobState::Failed => Self::Bad,
        }
    }
}

impl From<RunStatus> for Tone {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Running => Self::Live,
            RunStatus::Finished => Self::Good,
            RunStatus::Cancelled => Self::Quiet,
        }
    }
}

impl From<CaseStatus> for Tone {
    fn from(status: CaseStatus) -> Self {
        match status {
            CaseStatus::Ok => Self::Good,
            CaseStatus::Refused | CaseStatus::PredictedOutOfMemory => Self::Quiet,
            CaseStatus::OutOfMemory | CaseStatus::Crashed | CaseStatus::Failed => Self::Bad,
        }
    }
}

/// A state: its word, its mark, its colour.
#[component]
pub fn State(
    /// The word.
    word: &'static str,
    /// How it is drawn.
    tone: Tone,
) -> impl IntoView {
    view! { <span class=tone.class()>{word}</span> }
}

/// A moment, told relative to now; the exact one is its title.
#[component]
pub fn When(
    /// The moment.
    at: UnixMillis,
    /// Now.
    now: UnixMillis,
) -> impl IntoView {
    view! {
        <time datetime=format::rfc3339(at) title=format::moment(at)>
            {format::ago(now, at)}
        </time>
    }
}

/// A figure of a facts strip.
#[component]
pub fn Fact(
    /// What it is.
    name: &'static str,
    /// The figure.
    #[prop(into)]
    value: String,
    /// Its unit, or what it holds for.
    #[prop(into, optional)]
    unit: String,
    /// Whether it is of a plan before this one.
    #[prop(optional)]
    stale: bool,
) -> impl IntoView {
    view! {
        <div class:stale=stale>
            <dt>{name}</dt>
            <dd>{value} " " <small>{unit}</small></dd>
        </div>
    }
}
