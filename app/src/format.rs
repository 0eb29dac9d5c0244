//! Figures as people read them: always with their unit, with as many digits as they carry.

use contract::ids::UnixMillis;
use planner::Bytes;

/// A count with its thousands apart: `32,768`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A figure with three significant digits, or all digits before the point: `0.0123`, `1.23`, `12.3`, `1,234`.
#[must_use]
pub fn figure(x: f64) -> String {
    if !x.is_finite() {
        return "–".to_owned();
    }
    match x.abs() {
        0.0 => "0".to_owned(),
        a if a >= 99.95 => {
            let sign = if x < 0.0 { "−" } else { "" };
            format!("{sign}{}", count(whole(a)))
        }
        a if a >= 9.995 => format!("{x:.1}"),
        a if a >= 0.095 => format!("{x:.2}"),
        _ => format!("{x:.4}"),
    }
}

/// The whole number nearest to a figure that is not negative.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float saturates; that is meant"
)]
fn whole(x: f64) -> u64 {
    x.round() as u64
}

/// A size in GiB, whatever its magnitude: `0.27 GiB`. For columns that must compare.
#[must_use]
pub fn gib(bytes: Bytes) -> String {
    format!("{} GiB", gib_figure(bytes))
}

/// The same without its unit, for a column whose head says GiB.
#[must_use]
pub fn gib_figure(bytes: Bytes) -> String {
    let gib = bytes.gib();
    if gib >= 99.95 {
        count(whole(gib))
    } else if gib >= 9.995 {
        format!("{gib:.1}")
    } else {
        format!("{gib:.2}")
    }
}

/// A share of a whole in percent: `23 %`, `0.4 %`.
#[must_use]
pub fn share(part: Bytes, all: Bytes) -> String {
    if all == Bytes::ZERO {
        return "–".to_owned();
    }
    let percent = 100.0 * part.0 as f64 / all.0 as f64;
    if percent > 0.0 && percent < 0.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// A difference in percent without its sign, finer where it is small: `1.2`, `0.04`.
#[must_use]
pub fn percent_figure(percent: f64) -> String {
    let size = percent.abs();
    if size < 0.995 { format!("{size:.2}") } else { format!("{size:.1}") }
}

/// A signed difference in percent: `+1.2 %`, `−0.04 %`.
#[must_use]
pub fn signed_percent(percent: f64) -> String {
    let figure = percent_figure(percent);
    let sign = match figure.as_str() {
        "0.00" => "",
        _ if percent < 0.0 => "−",
        _ => "+",
    };
    format!("{sign}{figure} %")
}

/// Milliseconds in the unit a person would pick: `0.84 ms`, `212 ms`, `1.9 s`, `2 min 5 s`.
#[must_use]
pub fn millis(ms: f64) -> String {
    if !ms.is_finite() {
        "–".to_owned()
    } else if ms < 999.5 {
        format!("{} ms", figure(ms))
    } else if ms < 99_950.0 {
        format!("{} s", figure(ms / 1e3))
    } else {
        duration(whole(ms))
    }
}

/// A duration in its two largest units: `42 s`, `2 min 5 s`, `3 h 20 min`, `2 d 4 h`.
#[must_use]
pub fn duration(ms: u64) -> String {
    let seconds = (ms + 500) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// How long ago, roughly: `just now`, `5 min ago`, `3 h ago`, `12 d ago`; beyond sixty days the date.
#[must_use]
pub fn ago(now: UnixMillis, then: UnixMillis) -> String {
    let seconds = now.0.saturating_sub(then.0).max(0) / 1000;
    match seconds {
        0..45 => "just now".to_owned(),
        45..3570 => format!("{} min ago", (seconds + 30) / 60),
        3570..86_400 => format!("{} h ago", (seconds + 1800) / 3600),
        86_400..5_184_000 => format!("{} d ago", seconds / 86_400),
        _ => date(then),
    }
}

/// The day: `2026-11-22`.
#[must_use]
pub fn date(at: UnixMillis) -> String {
    at.date()
}

/// The first moment of a day written like `2026-11-22`, in UTC; none where it is no day.
#[must_use]
pub fn day_start(text: &str) -> Option<UnixMillis> {
    let mut parts = text.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !((1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day)) {
        return None;
    }
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days =
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    let start = UnixMillis(days * 86_400_000);
    // 31 November is no day, and no other day is meant.
    (date(start) == format!("{year:04}-{month:02}-{day:02}")).then_some(start)
}

/// The moment to the minute: `2026-11-22 19:48 UTC`.
#[must_use]
pub fn moment(at: UnixMillis) -> String {
    let minutes = at.0.rem_euclid(86_400_000) / 60_000;
    format!("{} {:02}:{:02} UTC", date(at), minutes / 60, minutes % 60)
}

/// The same as machines read it: `2026-11-22T19:48:05Z`.
#[must_use]
pub fn rfc3339(at: UnixMillis) -> String {
    at.rfc3339()
}

#[cfg(test)]
mod tests;
