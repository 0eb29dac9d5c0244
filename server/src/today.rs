//! What today's planner says of the plans of cases that were measured.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use app::backend::Today;
use contract::ids::CaseId;
use planner::{Compiled, Plan};
use tokio::sync::Semaphore;

use crate::beside::beside;
use crate::problem::Problem;

/// How long a page waits. An answer takes the planner milliseconds, of a training step dozens.
const PATIENCE: Duration = Duration::from_millis(20);
/// Answers that are kept, some 2 kB each. The planner is the same until the server starts anew.
const KEPT: usize = 10_000;

/// A case and its plan, which another attempt may have with other threads.
type Key = (CaseId, u64);

fn key(id: CaseId, plan: &Plan) -> Key {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(plan).unwrap_or_default().hash(&mut hasher);
    (id, hasher.finish())
}

/// The answers that were asked for.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    kept: Arc<Mutex<HashMap<Key, Today>>>,
    /// One page's plans are answered at a time: whoever comes meanwhile is told what is known.
    place: Arc<Semaphore>,
}

impl Default for Answers {
    fn default() -> Self {
        Self { kept: Arc::default(), place: Arc::new(Semaphore::new(1)) }
    }
}

impl Answers {
    /// What is known of these plans, and what is found out in a moment; the rest is found out after it.
    pub async fn of(&self, plans: Vec<(CaseId, Plan)>) -> HashMap<CaseId, Today> {
        let plans: Vec<(Key, Plan)> = plans.into_iter().map(|(id, plan)| (key(id, &plan), plan)).collect();
        let keys: Vec<Key> = plans.iter().map(|(key, _)| *key).collect();
        let missing: Vec<(Key, Plan)> = {
            let kept = self.kept();
            plans.into_iter().filter(|(key, _)| !kept.contains_key(key)).collect()
        };
        if !missing.is_empty()
            && let Ok(place) = self.place.clone().try_acquire_owned()
        {
            let answers = self.clone();
            let asked = tokio::spawn(async move {
                for (key, plan) in missing {
                    let estimate = move || {
                        Ok::<_, Problem>(Compiled::new(&plan).and_then(|compiled| compiled.estimate()))
                    };
                    // Where the planner broke off, which the log says, there is no answer to this one.
                    let Ok(today) = beside(estimate).await else { continue };
                    let mut kept = answers.kept();
                    if kept.len() >= KEPT {
                        kept.clear();
                    }
                    kept.insert(key, Arc::new(today));
                }
                drop(place);
            });
            // What is not done by then goes on.
            let _ = tokio::time::timeout(PATIENCE, asked).await;
        }
        let kept = self.kept();
        keys.into_iter().filter_map(|key| Some((key.0, kept.get(&key)?.clone()))).collect()
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Key, Today>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
