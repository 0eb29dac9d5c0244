//! The names closest to one that is unknown.

/// At most `count` of `names` that are closest to `given`: those that contain it or its last part first, then by edit
/// distance, ignoring case.
#[must_use]
pub fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>, count: usize) -> Vec<&'a str> {
    // Distance grows with the square of the length; what a person mistypes is short.
    let given: String = given.chars().take(80).collect::<String>().to_lowercase();
    let last = given.rsplit('/').next().unwrap_or(&given).to_owned();
    let mut scored: Vec<(usize, &str)> = names
        .into_iter()
        .map(|name| {
            let lower = name.to_lowercase();
            let tail = lower.rsplit('/').next().unwrap_or(&lower);
            let contained = last.len() >= 3 && (lower.contains(&last) || last.contains(tail));
            let score = if contained { 0 } else { distance(&given, &lower).min(distance(&last, tail)) };
            (score, name)
        })
        .collect();
    scored.sort_by_key(|(score, _)| *score);
    scored.into_iter().take(count).map(|(_, name)| name).collect()
}

/// Levenshtein's distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}
