//! Names of options and of runs.

use contract::sweep::Sweep;

/// The option of a field of [`Sweep`], for messages.
pub(super) fn option_of(message: &str) -> String {
    let names = [
        ("models:", "--model:"),
        ("precisions:", "--precision:"),
        ("batches:", "--batch:"),
        ("prompts:", "--prompt:"),
        ("generates:", "--generate:"),
        ("trainings:", "--accumulate:"),
        ("repetitions:", "--repetitions:"),
        ("quality:", "--quality:"),
        ("shard:", "--shard:"),
        ("memory_limit:", "--memory-limit:"),
        ("edge.limit:", "--edge-limit:"),
        ("edge.resolution:", "--edge-resolution:"),
    ];
    names.iter().fold(message.to_owned(), |text, (field, option)| text.replacen(field, option, 1))
}

/// A name for a run of `sweep`.
pub(super) fn default_name(sweep: &Sweep) -> String {
    let models = match sweep.models.as_slice() {
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => "nothing".to_owned(),
    };
    format!("{models} on {}", sweep.device)
}
