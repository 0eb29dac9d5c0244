//! The counting allocator counts exactly: its own test binary, with one test, so that nothing else allocates meanwhile.

use bench_runner::memory::allocator::{CountingAllocator, lift_limit, limit, live, peak, reset_peak};

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

    // A limit refuses what would pass it, to the byte, and counts nothing of it.
    let mut kept: Vec<u8> = Vec::with_capacity(100);
    let (before, high) = (live(), peak());
    limit(before + 1000, 0);
    assert!(Vec::<u8>::new().try_reserve_exact(1001).is_err());
    assert!(kept.try_reserve_exact(1101).is_err(), "grown by 1001");
    assert_eq!((live(), peak()), (before, high));
    assert!(Vec::<u8>::new().try_reserve_exact(1000).is_ok());
    assert!(kept.try_reserve_exact(1100).is_ok(), "grown by 1000");
    assert_eq!((live(), kept.capacity()), (before + 1000, 1100));
    assert!(Vec::<u8>::new().try_reserve_exact(1).is_err());
    kept.shrink_to(50);
    assert!(Vec::<u8>::new().try_reserve_exact(1050).is_ok(), "what is freed is to be had again");
    lift_limit();
    assert!(Vec::<u8>::new().try_reserve_exact(1 << 20).is_ok());
}
