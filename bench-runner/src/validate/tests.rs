//! Which figure is compared with which, and what is made of the errors.

use planner::document::estimate::EngineVersion;
use planner::document::plan::EngineName;
use planner::{Bytes, Estimate, MeasurementRow};

use super::{error_percent, validate};

fn row(id: &str, measured: &str) -> MeasurementRow {
    let text = format!(
        r#"{{"id":"{id}","source":"here","plan":{{"schema":1,"model":{{"id":"m"}},"gpu":{{"id":"cpu"}},
            "workload":{{"kind":"serve","prompt_tokens":1}}}},"measured":{measured}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn estimate() -> Estimate {
    let engine = EngineVersion { name: EngineName::Candle, version: "1".into(), variant: None };
    let mut estimate = Estimate::empty(engine);
    estimate.per_gpu.weights = Bytes(110);
    estimate.per_gpu.activations = Bytes(30);
    estimate.per_gpu.temporary = Bytes(20);
    estimate.totals.allocated = Bytes(200);
    estimate.totals.process = Bytes(400);
    estimate.kv.pool_tokens = 7;
    estimate.fits = true;
    estimate
}

#[test]
fn each_measured_figure_meets_its_counterpart() {
    let table = [
        (r#"{"weights":100}"#, "weights", 10.0),
        (r#"{"activations":100}"#, "activations", -50.0),
        (r#"{"total":100,"total_basis":"allocated"}"#, "total (allocated)", 100.0),
        (r#"{"total":400,"total_basis":"process"}"#, "total (process)", 0.0),
        (r#"{"total":800}"#, "total (basis not said)", -50.0),
        (r#"{"kv_pool_tokens":14}"#, "kv_pool_tokens", -50.0),
        (r#"{"fits":true}"#, "fits", 0.0),
        (r#"{"fits":false}"#, "fits", -100.0),
    ];
    for (measured, component, error) in table {
        let report = validate(&[row("a", measured)], None, |_| Ok(estimate()));
        let [only] = report.components.as_slice() else { panic!("{measured}: {report:?}") };
        assert_eq!((only.component, only.n, only.engine.as_str()), (component, 1, "candle"), "{measured}");
        assert!((only.worst_error_percent - error).abs() < 1e-9, "{measured}: {}", only.worst_error_percent);
    }
}

#[test]
fn errors_are_summed_up_and_the_far_ones_listed() {
    let rows = [
        row("near", r#"{"weights":110}"#),
        row("low", r#"{"weights":220}"#),
        row("high", r#"{"weights":100}"#),
        row("odd", r#"{"weights":1}"#),
    ];
    let report =
        validate(
            &rows,
            Some(20.0),
            |r| if r.id == "odd" { Err("not planned".into()) } else { Ok(estimate()) },
        );
    assert_eq!((report.rows, report.answered), (4, 3));
    let weights = &report.components[0];
    assert_eq!(weights.n, 3);
    assert!((weights.mean_absolute_error_percent - 20.0).abs() < 1e-9);
    assert!((weights.median_absolute_error_percent - 10.0).abs() < 1e-9);
    assert!((weights.worst_error_percent + 50.0).abs() < 1e-9);
    assert_eq!(weights.worst_id, "low");
    assert_eq!(report.beyond.iter().map(|f| f.id.as_str()).collect::<Vec<_>>(), ["low"]);
    assert_eq!((report.refused[0].id.as_str(), report.refused[0].reason.as_str()), ("odd", "not planned"));
}

#[test]
fn nothing_measured_is_no_division() {
    for (measured, estimated, want) in [(0.0, 0.0, 0.0), (0.0, 5.0, 100.0), (5.0, 0.0, -100.0)] {
        assert!((error_percent(measured, estimated) - want).abs() < 1e-9);
    }
}
