//! Exports of a run that was really measured (`run.json`, from the server's examples), and of what is changed in it.

use contract::case::Device;
use contract::edge::{Edge, EdgeAxis, EdgeSpec};
use contract::machine::GpuDevice;
use contract::run::RunDetail;
use contract::training::Training;
use planner::Bytes;
use planner::document::plan::TrainMethod;
use serde_json::Value;

use super::llama_bench::{self, FIELDS, Kind};
use super::optimum_benchmark;

fn run() -> RunDetail {
    serde_json::from_str(include_str!("run.json")).unwrap()
}

/// The same on a GPU.
fn on_gpu() -> RunDetail {
    let mut run = run();
    run.machine.gpus = vec![GpuDevice {
        uuid: "GPU-1".into(),
        name: "NVIDIA H200".into(),
        catalogue_id: Some("h200-sxm-141gb".into()),
        memory_bytes: Bytes(150_754_820_096),
        driver: "570.0".into(),
        cuda: "12.8".into(),
        power_limit_w: None,
        max_sm_clock_mhz: None,
    }];
    run.run.sweep.device = Device::Cuda(0);
    for case in &mut run.cases {
        case.spec.device = Device::Cuda(0);
        let measured = case.measurement.as_mut().unwrap();
        measured.threads = None;
        for phase in &mut measured.phases {
            (phase.peak_reserved, phase.device) = (Some(Bytes(3_000_000)), Some(Bytes(5_000_000)));
        }
    }
    run
}

/// `test::get_fields()` of tools/llama-bench/llama-bench.cpp at commit 0104b151, as it stands there.
const NAMES: &str = r#"
    "build_commit",   "build_number",   "cpu_info",      "gpu_info",       "backends",
    "model_filename", "model_type",     "model_size",    "model_n_params", "n_batch",
    "n_ubatch",       "n_threads",      "cpu_mask",      "cpu_strict",     "poll",
    "type_k",         "type_v",         "n_gpu_layers",  "n_cpu_moe",      "split_mode",
    "main_gpu",       "no_kv_offload",  "flash_attn",    "devices",        "tensor_split",
    "tensor_buft_overrides",            "load_mode",     "embeddings",
    "no_op_offload",  "no_host",        "fit_target",    "fit_min_ctx",
    "n_prompt",       "n_gen",          "n_depth",
    "test_time",      "avg_ns",         "stddev_ns",     "avg_ts",         "stddev_ts""#;
/// The names that `get_field_type` calls whole numbers, true or false, and numbers; every other is text.
const INTEGERS: &str = "build_number n_batch n_ubatch n_threads poll model_size model_n_params n_gpu_layers main_gpu n_prompt \
                        n_gen n_depth avg_ns stddev_ns no_op_offload n_cpu_moe fit_target fit_min_ctx flash_attn";
const BOOLEANS: &str = "no_kv_offload cpu_strict embeddings no_host";
const NUMBERS: &str = "avg_ts stddev_ts";

#[test]
fn fields_are_llama_benchs_in_its_order_and_types() {
    let names: Vec<&str> = NAMES.split(',').map(|name| name.trim().trim_matches('"')).collect();
    assert_eq!(FIELDS.map(|(name, _)| name).as_slice(), names);
    for (name, kind) in FIELDS {
        let is_in = |list: &str| list.split_whitespace().any(|n| n == name);
        let want = match () {
            () if is_in(INTEGERS) => Kind::Int,
            () if is_in(BOOLEANS) => Kind::Bool,
            () if is_in(NUMBERS) => Kind::Float,
            () => Kind::String,
        };
        assert_eq!(kind, want, "{name}");
    }
}

#[test]
fn llama_bench_in_its_forms() {
    let run = run();
    let (tests, left_out) = llama_bench::tests(&run);
    assert_eq!((tests.len(), left_out), (2 * run.cases.len(), 0), "a prompt and its generation each");
    insta::assert_snapshot!("llama_bench_md", llama_bench::markdown(&run, &tests));
    insta::assert_snapshot!("llama_bench_csv", llama_bench::csv(&tests));
    insta::assert_snapshot!("llama_bench_sql", llama_bench::sql(&tests));
    insta::assert_json_snapshot!("llama_bench_json", llama_bench::json(&tests));
    let lines: Vec<Value> =
        llama_bench::jsonl(&tests).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::Array(lines), llama_bench::json(&tests));
    let gpu = on_gpu();
    insta::assert_snapshot!("llama_bench_md_gpu", llama_bench::markdown(&gpu, &llama_bench::tests(&gpu).0));
}

#[test]
fn llama_benchs_figures_are_the_samples() {
    let run = run();
    let (tests, _) = llama_bench::tests(&run);
    let json = llama_bench::json(&tests);
    let (prompt, generation) = (&json[0], &json[1]);
    let (spec, measured) = (&run.cases[0].spec, run.cases[0].measurement.as_ref().unwrap());
    assert_eq!(prompt["n_prompt"], spec.prompt_tokens.0);
    assert_eq!((&prompt["n_gen"], &prompt["n_depth"]), (&0.into(), &0.into()));
    assert_eq!((&generation["n_prompt"], &generation["n_depth"]), (&0.into(), &spec.prompt_tokens.0.into()));
    assert_eq!(generation["n_gen"], spec.generate_tokens.0 - 1, "the first token is the prompt's");
    assert_eq!(prompt["samples_ns"].as_array().unwrap().len(), measured.samples.len());
    for (sample, ns) in measured.samples.iter().zip(prompt["samples_ns"].as_array().unwrap()) {
        assert!((ns.as_f64().unwrap() / 1e6 - sample.prefill_ms).abs() < 1e-5);
    }
    let rate = prompt["avg_ts"].as_f64().unwrap();
    let mean = measured.samples.iter().map(|s| spec.prompt_tokens.0 as f64 / s.prefill_ms * 1e3).sum::<f64>()
        / measured.samples.len() as f64;
    assert!((rate - mean).abs() < 1e-9 * mean, "{rate} is not {mean}");
    // What has no place there is null, not zero.
    for field in ["build_number", "n_batch", "poll", "fit_target"] {
        assert_eq!(prompt[field], Value::Null, "{field}");
    }
}

#[test]
fn batches_and_training_have_no_place_in_llama_bench() {
    let mut run = run();
    run.cases[0].spec.batch = 2;
    let (tests, left_out) = llama_bench::tests(&run);
    assert_eq!((tests.len(), left_out), (2 * (run.cases.len() - 1), 1));
    run.cases[0].spec.batch = 1;
    run.cases[0].spec.training = Some(Training::of(TrainMethod::Full, None));
    let (tests, left_out) = llama_bench::tests(&run);
    assert_eq!((tests.len(), left_out), (2 * (run.cases.len() - 1), 1));
}

#[test]
fn a_search_stands_as_the_largest_that_fits() {
    let searched = |axis, largest| {
        let mut run = run();
        run.cases.truncate(1);
        let case = &mut run.cases[0];
        case.spec.edge = Some(EdgeSpec::exact(axis));
        let edge =
            Edge { axis, largest, smallest_failed: Some(largest + 1), predicted: None, probes: Vec::new() };
        case.measurement.as_mut().unwrap().edge = Some(edge);
        run
    };
    let batch = searched(EdgeAxis::Batch, 4);
    assert_eq!(llama_bench::tests(&batch), (Vec::new(), 1));
    let document = &optimum_benchmark::documents(&batch).0[0];
    assert_eq!(document["config"]["scenario"]["input_shapes"]["batch_size"], 4);
    let value = |document: &Value| document["report"]["prefill"]["throughput"]["value"].as_f64().unwrap();
    let one = value(&optimum_benchmark::documents(&run()).0[0]);
    assert!((value(document) - 4.0 * one).abs() < 1e-6 * one);

    let generate = run().cases[0].spec.generate_tokens.0;
    let tests = llama_bench::json(&llama_bench::tests(&searched(EdgeAxis::Context, 1000 + generate)).0);
    assert_eq!(tests[0]["n_prompt"], 1000);
}

#[test]
fn training_steps_have_no_place_in_either() {
    let mut run = run();
    run.cases[0].spec.training = Some(Training::of(TrainMethod::Full, None));
    let case = &mut run.cases[0];
    case.measurement.as_mut().unwrap().samples.clear();
    let (documents, left_out) = optimum_benchmark::documents(&run);
    assert_eq!((documents.len(), left_out), (run.cases.len() - 1, 1));
    assert_eq!(llama_bench::tests(&run).0.len(), 2 * (run.cases.len() - 1));
}

#[test]
fn the_sql_is_a_table_that_sqlite_takes() {
    let mut run = run();
    // A name with quotes stays one value.
    run.cases[0].spec.model = "it's \"mine\"".into();
    let (tests, _) = llama_bench::tests(&run);
    let sql = llama_bench::sql(&tests);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (rows, name, rate, poll) = runtime.block_on(async {
        let pool = sqlx::SqlitePool::connect("sqlite::memory:").await.unwrap();
        let mut connection = pool.acquire().await.unwrap();
        sqlx::raw_sql(&sql).execute(&mut *connection).await.unwrap();
        let query = "SELECT (SELECT COUNT(*) FROM llama_bench), model_filename, avg_ts, poll FROM llama_bench LIMIT 1";
        sqlx::query_as::<_, (i64, String, f64, Option<i64>)>(query).fetch_one(&mut *connection).await.unwrap()
    });
    assert_eq!((rows, name.as_str(), poll), (i64::try_from(tests.len()).unwrap(), "it's \"mine\"", None));
    assert!((rate - llama_bench::json(&tests)[0]["avg_ts"].as_f64().unwrap()).abs() < 1e-5);
}

#[test]
fn optimum_benchmarks_documents() {
    let (documents, left_out) = optimum_benchmark::documents(&run());
    assert_eq!((documents.len(), left_out), (run().cases.len(), 0));
    insta::assert_json_snapshot!("optimum_benchmark", documents[0]);
    insta::assert_json_snapshot!(
        "optimum_benchmark_gpu_memory",
        optimum_benchmark::documents(&on_gpu()).0[0]["report"]["decode"]["memory"]
    );
}

#[test]
fn optimum_benchmarks_fields_are_those_of_its_classes() {
    let document = &optimum_benchmark::documents(&run()).0[0];
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    // benchmark/config.py, `BenchmarkConfig`
    let config = &document["config"];
    assert_eq!(names(config), "name backend scenario launcher environment print_report log_report");
    // backends/config.py, `BackendConfig`
    assert_eq!(
        names(&config["backend"]),
        "name version _target_ model processor task library model_type device device_ids seed inter_op_num_threads \
         intra_op_num_threads model_kwargs processor_kwargs"
    );
    // scenarios/inference/config.py, `InferenceConfig`
    assert_eq!(
        names(&config["scenario"]),
        "name _target_ iterations duration warmup_runs input_shapes new_tokens memory latency energy forward_kwargs \
         generate_kwargs call_kwargs"
    );
    // launchers/config.py and launchers/process/config.py
    assert_eq!(
        names(&config["launcher"]),
        "name _target_ device_isolation device_isolation_action numactl numactl_kwargs start_method"
    );
    // scenarios/inference/scenario.py; `first_generate` is not measured.
    let report = &document["report"];
    assert_eq!(names(report), "load_model generate prefill decode per_token");
    for (target, measurements) in report.as_object().unwrap() {
        // benchmark/report.py, `Measurements`
        assert_eq!(names(measurements), "memory latency throughput energy efficiency", "{target}");
        // trackers/latency.py, `Latency`
        assert_eq!(
            names(&measurements["latency"]),
            "unit values count total mean p50 p90 p95 p99 stdev stdev_",
            "{target}"
        );
    }
    // trackers/memory.py, `Memory`
    assert_eq!(
        names(&report["prefill"]["memory"]),
        "unit max_ram max_global_vram max_process_vram max_reserved max_allocated"
    );
}
