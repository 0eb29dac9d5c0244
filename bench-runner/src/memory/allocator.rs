//! A global allocator that counts every byte: what is alive, and the most that ever was.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

static LIVE: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);
static EXIT_CODE: AtomicI32 = AtomicI32::new(0);

/// Counts the bytes that the program asked of the system's allocator (the sizes asked, without the allocator's own
/// bookkeeping), then passes the request on. A program installs it with `#[global_allocator]`.
///
/// Counters are atomic; a thread that allocates while another resets the peak is counted either before or after it.
pub struct CountingAllocator;

#[allow(clippy::cast_possible_truncation, reason = "usize is at most 64 bits wide")]
fn grew(bytes: usize) {
    let live = LIVE.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
    if live > PEAK.load(Ordering::Relaxed) {
        PEAK.fetch_max(live, Ordering::Relaxed);
    }
}

fn shrank(bytes: usize) {
    LIVE.fetch_sub(bytes as u64, Ordering::Relaxed);
}

/// What to do where the system has no memory to give.
fn refused() {
    let code = EXIT_CODE.load(Ordering::Relaxed);
    if code != 0 {
        // Nothing may allocate here; the operating system takes everything back.
        // SAFETY: `_exit` takes any code, returns never and touches none of the program's state.
        unsafe { _exit(code) }
    }
}

unsafe extern "C" {
    fn _exit(code: std::ffi::c_int) -> !;
}

// SAFETY: every call is passed unchanged to the system's allocator; the counters do not allocate.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        let pointer = unsafe { System.alloc(layout) };
        if pointer.is_null() {
            refused();
        } else {
            grew(layout.size());
        }
        pointer
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        let pointer = unsafe { System.alloc_zeroed(layout) };
        if pointer.is_null() {
            refused();
        } else {
            grew(layout.size());
        }
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) };
        shrank(layout.size());
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        let moved = unsafe { System.realloc(pointer, layout, new_size) };
        if moved.is_null() {
            refused();
        } else if new_size >= layout.size() {
            grew(new_size - layout.size());
        } else {
            shrank(layout.size() - new_size);
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

/// From now on the process ends with `code` where the system has no memory to give, instead of the abort (SIGABRT) that
/// would look like any other crash.
pub fn exit_when_refused(code: i32) {
    EXIT_CODE.store(code, Ordering::Relaxed);
}
