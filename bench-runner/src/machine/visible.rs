//! Which GPUs CUDA shows a process: `CUDA_VISIBLE_DEVICES` (CUDA C++ Programming Guide, "CUDA Environment Variables").

/// A GPU that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// One of the machine's, by its place.
    Whole(usize),
    /// A slice of one (MIG), by its UUID.
    Slice(String),
}

/// The GPUs that `variable` shows, in the order that CUDA numbers them in, of those with these UUIDs, which stand by PCI bus
/// id. The first word that means none of them ends the list.
pub(super) fn shown(uuids: &[String], variable: Option<&str>) -> Vec<Shown> {
    let Some(variable) = variable else { return (0..uuids.len()).map(Shown::Whole).collect() };
    let one = |word: &str| -> Option<Shown> {
        if word.starts_with("MIG-") {
            return Some(Shown::Slice(word.to_owned()));
        }
        if word.starts_with("GPU-") {
            let mut places = (0..uuids.len()).filter(|at| uuids[*at].starts_with(word));
            // A part of a UUID has to name one only.
            return places.next().filter(|_| places.next().is_none()).map(Shown::Whole);
        }
        word.parse().ok().filter(|at| *at < uuids.len()).map(Shown::Whole)
    };
    variable.split(',').map_while(|word| one(word.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::{Shown, shown};

    #[test]
    fn gpus_are_shown_as_cuda_shows_them() {
        let uuids = ["GPU-aa11", "GPU-ab22", "GPU-cc33"].map(str::to_owned);
        for (variable, want) in [
            (None, vec![0, 1, 2]),
            (Some("1"), vec![1]),
            (Some("2,0"), vec![2, 0]),
            (Some(" 0, 1"), vec![0, 1]),
            (Some(""), vec![]),
            (Some("-1"), vec![]),
            (Some("0,-1,1"), vec![0]),
            (Some("1,7,0"), vec![1]),
            (Some("GPU-cc"), vec![2]),
            // Two begin so.
            (Some("GPU-a"), vec![]),
            (Some("GPU-ab22,0"), vec![1, 0]),
            (Some("none"), vec![]),
        ] {
            let want: Vec<Shown> = want.into_iter().map(Shown::Whole).collect();
            assert_eq!(shown(&uuids, variable), want, "{variable:?}");
        }
        assert_eq!(shown(&uuids, Some("MIG-1/2")), [Shown::Slice("MIG-1/2".into())]);
    }
}
