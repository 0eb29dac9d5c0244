//! A global allocator that counts every byte: what is alive, and the most that ever was.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

static LIVE: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);
static EXIT_CODE: AtomicI32 = AtomicI32::new(0);
static LIMIT_EXIT_CODE: AtomicI32 = AtomicI32::new(0);

/// Counts the bytes that the program asked of the system's allocator (the sizes asked, without the allocator's own
/// bookkeeping), then passes the request on, unless it would pass the limit. A program installs it with
/// `#[global_allocator]`.
///
/// Counters are atomic; a thread that allocates while another resets the peak is counted either before or after it.
pub struct CountingAllocator;

/// Counts `bytes` more; false, and nothing counted, where that would pass the limit.
#[allow(clippy::cast_possible_truncation, reason = "usize is at most 64 bits wide")]
fn grew(bytes: usize) -> bool {
    let live = LIVE.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
    if live > LIMIT.load(Ordering::Relaxed) {
        shrank(bytes);
        return false;
    }
    if live > PEAK.load(Ordering::Relaxed) {
        PEAK.fetch_max(live, Ordering::Relaxed);
    }
    true
}

fn shrank(bytes: usize) {
    LIVE.fetch_sub(bytes as u64, Ordering::Relaxed);
}

/// What to do where there is no memory to give.
fn refused(code: &AtomicI32) -> *mut u8 {
    let code = code.load(Ordering::Relaxed);
    if code != 0 {
        // Nothing may allocate here; the operating system takes everything back.
        // SAFETY: `_exit` takes any code, returns never and touches none of the program's state.
        unsafe { _exit(code) }
    }
    std::ptr::null_mut()
}

unsafe extern "C" {
    fn _exit(code: std::ffi::c_int) -> !;
}

/// Makes an allocation of `bytes` that is counted first.
fn counted(bytes: usize, allocate: impl FnOnce() -> *mut u8) -> *mut u8 {
    if !grew(bytes) {
        return refused(&LIMIT_EXIT_CODE);
    }
    let pointer = allocate();
    if pointer.is_null() {
        shrank(bytes);
        return refused(&EXIT_CODE);
    }
    pointer
}

// SAFETY: every call is passed unchanged to the system's allocator or answered as where it has no memory; the counters do
// not allocate.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        counted(layout.size(), || unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        counted(layout.size(), || unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) };
        shrank(layout.size());
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let grown = new_size.saturating_sub(layout.size());
        // SAFETY: the caller's promise is passed on.
        let moved = counted(grown, || unsafe { System.realloc(pointer, layout, new_size) });
        if !moved.is_null() {
            shrank(layout.size().saturating_sub(new_size));
        }
        moved
    }
}

/// Bytes alive now; 0 where the program did not install [`CountingAllocator`].
#[must_use]
pub fn live() -> u64 {
    LIVE.load(Ordering::Relaxed)
}

/// Most bytes alive at once since the start or the latest [`reset_peak`].
#[must_use]
pub fn peak() -> u64 {
    PEAK.load(Ordering::Relaxed)
}

/// Begins a new peak at the bytes alive now.
pub fn reset_peak() {
    PEAK.store(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// From now on requests are refused that would leave more than `bytes` alive, and the process ends with `code` at the first
/// (0: it is told that there is no memory, as by the system).
pub fn limit(bytes: u64, code: i32) {
    LIMIT_EXIT_CODE.store(code, Ordering::Relaxed);
    LIMIT.store(bytes, Ordering::Relaxed);
}

/// Refuses nothing any more.
pub fn lift_limit() {
    LIMIT.store(u64::MAX, Ordering::Relaxed);
}

/// From now on the process ends with `code` where the system has no memory to give, instead of the abort (SIGABRT) that
/// would look like any other crash.
pub fn exit_when_refused(code: i32) {
    EXIT_CODE.store(code, Ordering::Relaxed);
}
