//! The counting allocator counts exactly: its own test binary, with one test, so that nothing else allocates meanwhile.

use bench_runner::memory::allocator::{CountingAllocator, live, peak, reset_peak};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn every_byte_is_counted() {
    const BLOCK: usize = 1 << 20;
    const MIB: u64 = BLOCK as u64;
    let before = live();
    reset_peak();
    assert_eq!(peak(), before);

    let mut block: Vec<u8> = Vec::with_capacity(BLOCK);
    assert_eq!(live(), before + MIB, "allocated");
    block.reserve_exact(3 * BLOCK);
    assert_eq!(live(), before + 3 * MIB, "grown");
    block.push(1);
    block.shrink_to(BLOCK / 2);
    assert_eq!(live(), before + MIB / 2, "shrunk");
    drop(block);
    assert_eq!(live(), before, "freed");
    assert_eq!(peak(), before + 3 * MIB, "the most that was alive");

    let zeroed = vec![0u64; 1000];
    assert_eq!(live(), before + 8000, "zeroed");
    reset_peak();
    assert_eq!(peak(), before + 8000, "a new peak begins at what is alive");
    drop(zeroed);
    assert_eq!(peak(), before + 8000);

    let elsewhere = std::thread::spawn(move || vec![0u8; 12_345]).join().unwrap();
    let with = live();
    drop(elsewhere);
    assert_eq!(with - live(), 12_345, "whichever thread allocated it");
}
