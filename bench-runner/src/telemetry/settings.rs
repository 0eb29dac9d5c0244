//! Settings of a CUDA device that a case asks for.

use contract::case::{CaseSpec, Device};

use crate::engine::Refusal;

/// Whether the case's device has the settings that it asks for.
///
/// # Errors
/// Names the setting that it has not.
pub fn check(spec: &CaseSpec) -> Result<(), Refusal> {
    let asked = [
        (
            "release-threshold",
            spec.release_threshold.map(contract::cuda::ReleaseThreshold::as_str),
            "how much the memory pool of a CUDA device keeps",
        ),
        (
            "event-tracking",
            spec.event_tracking.map(contract::cuda::EventTracking::as_str),
            "whether allocations of a CUDA device have events",
        ),
    ];
    let on_cpu = spec.device == Device::Cpu;
    match asked.into_iter().find_map(|(name, value, what)| Some((name, value?, what))) {
        Some((name, value, what)) if on_cpu => Err(Refusal(format!(
            "{name} {value}: it sets {what}, and this case computes on the cpu; leave it out, or compute on cuda:0"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use contract::case::{CaseSpec, Device};
    use contract::cuda::{EventTracking, ReleaseThreshold};

    use super::check;

    #[test]
    fn a_processor_has_no_pool_and_no_events() {
        let plain = CaseSpec::default();
        let threshold = CaseSpec { release_threshold: Some(ReleaseThreshold::Max), ..CaseSpec::default() };
        let events = CaseSpec { event_tracking: Some(EventTracking::Off), ..CaseSpec::default() };
        assert_eq!(check(&plain), Ok(()));
        for (spec, part) in
            [(threshold, "release-threshold max: it sets"), (events, "event-tracking off: it sets")]
        {
            let refusal = check(&spec).unwrap_err().to_string();
            assert!(refusal.contains(part) && refusal.contains("on the cpu"), "{refusal}");
            assert_eq!(check(&CaseSpec { device: Device::Cuda(0), ..spec }), Ok(()));
        }
    }
}
