//! A recorder on a processor takes all its memory when it starts: its own test binary, with one test, so that nothing else
//! allocates meanwhile.

use std::time::Duration;

use bench_runner::memory::allocator::{CountingAllocator, live, peak, reset_peak};
use bench_runner::telemetry::host::Host;
use bench_runner::telemetry::recorder::{Rate, Recorder};
use contract::measurement::Phase;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn looking_allocates_nothing() {
    let rate = Rate { period: Duration::from_micros(100), state_every: 2, ..Rate::of(true, false) };
    let recorder = Recorder::start(Box::new(Host::open()), rate).unwrap();
    let before = live();
    reset_peak();
    recorder.begin(Phase::Load, false);
    recorder.wait_for(50);
    let _ = recorder.end();
    for _ in 0..20 {
        recorder.begin(Phase::Prefill, false);
        let _ = recorder.end();
    }
    recorder.wait_for(200);
    assert_eq!((live(), peak()), (before, before));

    let block = vec![1u8; 1 << 20];
    recorder.begin(Phase::Decode, false);
    let _ = recorder.end();
    assert_eq!(peak(), before + (1 << 20), "what the program takes is counted, and no more");
    drop(block);
    let record = recorder.finish().unwrap();
    assert!(record.points.len() >= 200 && record.spans.len() == 22);
    let most = record.points.iter().filter_map(|point| point.allocated).max();
    assert_eq!(most, Some(1 << 20), "the look at the phase's end saw the block, counted from loading on");
    assert!(record.points.iter().all(|point| point.process.is_some_and(|bytes| bytes > 1 << 20)));
}
