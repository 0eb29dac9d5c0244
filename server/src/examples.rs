//! The example results that travel with the server.

use contract::run::{RunDetail, RunOrigin};
use rust_embed::RustEmbed;

use crate::problem::Problem;
use crate::state::AppState;

#[derive(RustEmbed)]
#[folder = "examples"]
struct Files;

/// The files that hold runs: not the folder's README.
fn names() -> impl Iterator<Item = std::borrow::Cow<'static, str>> {
    Files::iter().filter(|name| name.ends_with(".json"))
}

/// Whether there is anything to import.
pub(crate) fn available() -> bool {
    names().next().is_some()
}

/// Imports every example run; those there already are left as they are. Returns how many there are.
pub(crate) async fn import(state: &AppState) -> Result<usize, Problem> {
    let mut imported = 0;
    for detail in all().map_err(|error| {
        tracing::error!(%error, "an embedded example cannot be read");
        Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "internal", "the examples cannot be read")
    })? {
        state.store.import_run(&detail, RunOrigin::Example).await?;
        imported += 1;
    }
    Ok(imported)
}

fn all() -> Result<Vec<RunDetail>, serde_json::Error> {
    let mut runs = Vec::new();
    for file in names().filter_map(|name| Files::get(&name)) {
        runs.extend(serde_json::from_slice::<Vec<RunDetail>>(&file.data)?);
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use contract::case::CaseStatus;

    #[test]
    fn every_example_is_a_finished_run_that_was_measured() {
        let runs = super::all().unwrap();
        assert_eq!(runs.is_empty(), !super::available());
        for run in runs {
            assert_eq!(run.cases.len(), run.run.sweep.cases().len(), "{}", run.run.name);
            assert_eq!(run.run.machine_id, run.machine.id);
            for case in run.cases {
                assert_eq!(case.status == CaseStatus::Ok, case.measurement.is_some(), "{}", case.spec.key());
            }
        }
    }
}
