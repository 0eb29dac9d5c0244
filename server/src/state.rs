//! What every handler has at hand.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use contract::ids::UnixMillis;
use leptos::config::LeptosOptions;
use store::Store;

use crate::access::Access;
use crate::attempts::Attempts;
use crate::compare::{self, Compared};
use crate::events::Hub;
use crate::questions::Questions;
use crate::today::Answers;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// The system's clock.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    })
}

/// What every handler has at hand. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pub(crate) store: Store,
    pub(crate) access: Arc<Access>,
    pub(crate) logins: Arc<Attempts>,
    pub(crate) compared: Arc<Compared>,
    pub(crate) today: Answers,
    pub(crate) questions: Arc<Questions>,
    pub(crate) hub: Hub,
    pub(crate) leptos: LeptosOptions,
    clock: Clock,
}

impl AppState {
    /// Over a store, with what is asked of writers and a clock.
    #[must_use]
    pub fn new(store: Store, access: Access, clock: Clock) -> Self {
        let leptos = LeptosOptions::builder().output_name("plimsoll").site_pkg_dir("pkg").build();
        let logins = Arc::new(Attempts::default());
        let compared = Arc::new(Compared::new(compare::KEPT));
        Self {
            store,
            access: Arc::new(access),
            logins,
            compared,
            today: Answers::default(),
            questions: Arc::default(),
            hub: Hub::new(),
            leptos,
            clock,
        }
    }

    pub(crate) fn now(&self) -> UnixMillis {
        (self.clock)()
    }
}
