//! A case, each in a process of its own: what dies with it is the case, not the sweep; and what it leaves in the
//! process (workspaces, lazily loaded modules) is no other case's.
//!
//! The runner starts its own executable again, writes a [`Request`] as one line of JSON to its standard input and reads
//! [`Event`]s, a line each, from its standard output. The child ends when its input ends, so that it does not outlive a
//! runner that was killed.

pub mod child;
pub mod process;
pub mod repetition;
mod train;

use contract::case::CaseSpec;
use contract::measurement::Measurement;
use serde::{Deserialize, Serialize};

use crate::engine::Prepared;
use crate::quality::{Ask, Outcome};
use crate::telemetry::CaseRecording;

/// The hidden subcommand that runs one case.
pub const SUBCOMMAND: &str = "case";

/// Exit code of a child that the system refused memory.
pub const EXIT_OUT_OF_MEMORY: i32 = 83;

/// Exit code of a child that asked for more memory than the case is limited to.
pub const EXIT_OVER_LIMIT: i32 = 84;

/// Fault injection for the tests of crash handling: `abort`, `kill`, `allocate` or `exit`, and after an `@` a part of the
/// key of the cases that it is for. The child does as it says right after loading.
pub const FAULT_VARIABLE: &str = "PLIMSOLL_TEST_CASE_FAULT";

/// What a child is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The case.
    pub spec: CaseSpec,
    /// What to load and how.
    pub prepared: Prepared,
    /// Token ids are below this.
    pub vocabulary: u32,
    /// Quality to be computed after the measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Ask>,
    /// What of it is recorded over time.
    #[serde(default)]
    pub recording: CaseRecording,
}

/// What a child says as it goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// It begins something: `load`, `warm-up`, `repetition 2 of 5`.
    Phase {
        /// What.
        phase: String,
    },
    /// It is done.
    Measured {
        /// What was measured.
        measurement: Box<Measurement>,
    },
    /// What came of the quality that was asked, after the measurement.
    Quality {
        /// That.
        outcome: Outcome,
    },
    /// The engine reported an error.
    Failed {
        /// Whether the device had no memory for it.
        out_of_memory: bool,
        /// The error.
        message: String,
    },
}
