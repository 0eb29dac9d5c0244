//! Before a case runs: whether the planner is sure that it will not fit.

use contract::case::{CaseSpec, Device};
use contract::machine::Machine;
use planner::{Bytes, Estimate};

use crate::machine;

/// What a case may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) bytes: Bytes,
    /// Whether the case's own limit sets it. A limit holds tensors and workspaces only; a GPU's free memory must hold the
    /// process's context, too.
    pub(super) limited: bool,
}

/// The case's limit, or what its device has free where that is less. None where neither is known.
pub(super) fn room(spec: &CaseSpec, machine: &Machine) -> Option<Room> {
    let total = match spec.device {
        Device::Cpu => Some(machine.memory_bytes),
        Device::Cuda(ordinal) => machine.gpus.get(ordinal as usize).map(|g| g.memory_bytes),
    };
    let free = machine::free(spec.device).into_iter().chain(total).filter(|b| b.0 > 0).min();
    let free = free.map(|bytes| Room { bytes, limited: false });
    let limit = spec.memory_limit.map(|bytes| Room { bytes, limited: true });
    limit.into_iter().chain(free).min_by_key(|room| room.bytes)
}

/// Why the case cannot fit, where not even the low end of the estimate's error band does.
pub(super) fn hopeless(estimate: &Estimate, spec: &CaseSpec, room: Room) -> Option<String> {
    let outside = if room.limited { estimate.per_gpu.context } else { Bytes::ZERO };
    let (low, total) = (estimate.error_band.low - outside, estimate.per_gpu.total - outside);
    (low > room.bytes).then(|| {
        let (bytes, device) = (room.bytes, spec.device);
        let there_is = if room.limited {
            format!("the memory limit is {bytes}")
        } else {
            format!("{device} has {bytes} free")
        };
        format!(
            "not run: the planner says that it takes {total}, at least {low}, and {there_is}; --force runs it all the same"
        )
    })
}

#[cfg(test)]
mod tests {
    use contract::case::CaseSpec;
    use planner::{Bytes, Plan};
    use serde_json::json;

    use super::{Room, hopeless};

    #[test]
    fn only_what_is_beyond_the_band_is_hopeless() {
        let plan: Plan = serde_json::from_value(json!({
            "schema": 1, "model": {"id": "HuggingFaceTB/SmolLM2-135M"}, "gpu": {"id": "h100-sxm-80gb"},
            "engine": {"name": "candle"}, "workload": {"kind": "serve", "prompt_tokens": 128}
        }))
        .unwrap();
        let estimate = planner::estimate(&plan).unwrap();
        let (low, context) = (estimate.error_band.low, estimate.per_gpu.context);
        assert!(context.0 > 0 && low < estimate.per_gpu.total);
        let spec = CaseSpec::default();
        let said = |bytes, limited| hopeless(&estimate, &spec, Room { bytes, limited });
        assert_eq!(said(low, false), None, "the low end fits");
        let why = said(Bytes(low.0 - 1), false).unwrap();
        assert!(why.contains(&estimate.per_gpu.total.to_string()) && why.contains("free"), "{why}");
        assert_eq!(said(low - context, true), None, "a limit is not the context's");
        assert!(said(Bytes(low.0 - context.0 - 1), true).unwrap().contains("the memory limit is"));
    }
}
