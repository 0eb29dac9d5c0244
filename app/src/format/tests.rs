use super::*;

#[test]
fn counts_are_grouped() {
    for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (131_072, "131,072"), (1_234_567, "1,234,567")]
    {
        assert_eq!(count(n), text);
    }
}

#[test]
fn figures_keep_three_digits() {
    for (x, text) in [
        (0.0, "0"),
        (0.01234, "0.0123"),
        (0.5, "0.50"),
        (1.234, "1.23"),
        (9.999, "10.0"),
        (12.34, "12.3"),
        (99.97, "100"),
        (1234.4, "1,234"),
        (-1234.4, "−1,234"),
        (f64::INFINITY, "–"),
    ] {
        assert_eq!(figure(x), text, "{x}");
    }
}

#[test]
fn sizes_are_binary() {
    for (mib, text) in [(0, "0.00 GiB"), (15_350, "15.0 GiB"), (4224, "4.12 GiB"), (1_263_616, "1,234 GiB")] {
        assert_eq!(gib(Bytes::from_mib(mib)), text);
    }
    assert_eq!(share(Bytes(23), Bytes(100)), "23 %");
    assert_eq!(share(Bytes(4), Bytes(1000)), "0.4 %");
    assert_eq!(share(Bytes(4), Bytes::ZERO), "–");
}

#[test]
fn differences_carry_their_sign() {
    for (percent, text) in
        [(1.24, "+1.2 %"), (-0.44, "−0.44 %"), (0.04, "+0.04 %"), (0.999, "+1.0 %"), (-0.004, "0.00 %")]
    {
        assert_eq!(signed_percent(percent), text);
    }
}

#[test]
fn times_pick_their_unit() {
    for (ms, text) in [(0.84, "0.84 ms"), (212.4, "212 ms"), (1900.0, "1.90 s"), (125_000.0, "2 min 5 s")] {
        assert_eq!(millis(ms), text);
    }
    for (ms, text) in [(400, "0 s"), (42_000, "42 s"), (12_000_000, "3 h 20 min"), (187_200_000, "2 d 4 h")] {
        assert_eq!(duration(ms), text);
    }
}

#[test]
fn the_past_is_told_roughly() {
    let now = UnixMillis(1_795_376_885_000);
    for (seconds, text) in [
        (-5, "just now"),
        (10, "just now"),
        (50, "1 min ago"),
        (300, "5 min ago"),
        (3590, "1 h ago"),
        (10_800, "3 h ago"),
        (1_036_800, "12 d ago"),
        (8_640_000, "2026-08-14"),
    ] {
        assert_eq!(ago(now, UnixMillis(now.0 - seconds * 1000)), text, "{seconds} s");
    }
}

#[test]
fn moments_are_civil() {
    // date -u -d @1795376885
    assert_eq!(moment(UnixMillis(1_795_376_885_000)), "2026-11-22 19:48 UTC");
    assert_eq!(rfc3339(UnixMillis(1_795_376_885_999)), "2026-11-22T19:48:05Z");
    assert_eq!(date(UnixMillis(0)), "1970-01-01");
    assert_eq!(date(UnixMillis(951_782_400_000)), "2000-02-29");
    assert_eq!(date(UnixMillis(-1)), "1969-12-31");
}

#[test]
fn days_are_read_as_they_are_written() {
    for (text, ms) in
        [("1970-01-01", 0), ("2026-11-01", 1_793_491_200_000), ("2024-02-29", 1_709_164_800_000)]
    {
        assert_eq!(day_start(text), Some(UnixMillis(ms)), "{text}");
        assert_eq!(date(UnixMillis(ms)), text);
    }
    for text in ["", "2026", "2026-11", "2026-11-31", "2023-02-29", "2026-13-01", "1793491200000", "a-b-c"] {
        assert_eq!(day_start(text), None, "{text}");
    }
}
