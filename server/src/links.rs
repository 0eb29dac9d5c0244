//! Short links: a plan stored with its answer under an id made of both.

use contract::link::StoredPlan;
use planner::{Estimate, Plan, PlanError};
use sha2::{Digest, Sha256};

use crate::beside::beside;
use crate::problem::Problem;
use crate::state::AppState;

/// Crockford's base 32: no letter that is taken for a digit.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of an id, five bits each.
const LENGTH: u32 = 10;

/// Estimates a plan and stores it with the answer; whether it is new.
pub(crate) async fn store(state: &AppState, plan: Plan) -> Result<(StoredPlan, bool), Problem> {
    let (plan, estimate, id) = beside(move || {
        let estimate = planner::estimate(&plan)?;
        let id = id(&plan, &estimate);
        Ok::<_, PlanError>((plan, estimate, id))
    })
    .await?;
    let planner_version = planner::VERSION.to_owned();
    let stored = StoredPlan { id, plan, estimate, planner_version, created_at: state.now() };
    let is_new = state.store.put_plan(&stored).await?;
    // As every later visitor will read it; one stored before keeps the time and version that it had.
    let stored = state.store.plan(&stored.id).await?.unwrap_or(stored);
    Ok((stored, is_new))
}

/// The first fifty bits of the SHA-256 of both documents.
fn id(plan: &Plan, estimate: &Estimate) -> String {
    let content = serde_json::to_vec(&(plan, estimate)).unwrap_or_default();
    let bits = Sha256::digest(content).iter().take(8).fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let five_bits = |n: u32| (bits >> (64 - 5 * n)).to_le_bytes()[0] & 31;
    (1..=LENGTH).map(|n| char::from(ALPHABET[usize::from(five_bits(n))])).collect()
}
