//! Phases as NVTX ranges, for Nsight Systems and Compute: behind the feature `nvtx`, else nothing. NVTX does nothing itself
//! where no profiler is attached.

/// A phase begins on this thread.
pub(super) fn begin(name: &str) {
    #[cfg(feature = "nvtx")]
    nvtx::range_push!("{name}");
    #[cfg(not(feature = "nvtx"))]
    let _ = name;
}

/// The phase that was begun last on this thread ends.
pub(super) fn end() {
    #[cfg(feature = "nvtx")]
    nvtx::range_pop!();
}
