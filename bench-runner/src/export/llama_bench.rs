//! The fields of llama.cpp's `llama-bench`, in its order and its five forms (tools/llama-bench/llama-bench.cpp,
//! `test::get_fields`, `get_field_type` and the printers, at commit 0104b151).
//!
//! A case of one sequence is up to two of its tests: `pp`, the prompt; and `tg`, the tokens after the first, which follow a
//! prompt of `n_depth` tokens. It has no field for more than one sequence at once, nor any for training: such cases are left
//! out.

use std::fmt::Write;

use contract::case::Case;
use contract::measurement::{Measurement, Sample};
use contract::run::RunDetail;
use contract::statistics::Distribution;
use planner::document::plan::Attention;
use serde_json::{Map, Value, json};

use super::{gpu, measured, shape, weight_bytes};

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Empty where it is not known.
    String,
    /// 0 or 1 in CSV and SQL, true or false in JSON.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Float,
}

/// Every field, in order, with its type.
pub const FIELDS: [(&str, Kind); 40] = [
    ("build_commit", Kind::String),
    ("build_number", Kind::Int),
    ("cpu_info", Kind::String),
    ("gpu_info", Kind::String),
    ("backends", Kind::String),
    ("model_filename", Kind::String),
    ("model_type", Kind::String),
    ("model_size", Kind::Int),
    ("model_n_params", Kind::Int),
    ("n_batch", Kind::Int),
    ("n_ubatch", Kind::Int),
    ("n_threads", Kind::Int),
    ("cpu_mask", Kind::String),
    ("cpu_strict", Kind::Bool),
    ("poll", Kind::Int),
    ("type_k", Kind::String),
    ("type_v", Kind::String),
    ("n_gpu_layers", Kind::Int),
    ("n_cpu_moe", Kind::Int),
    ("split_mode", Kind::String),
    ("main_gpu", Kind::Int),
    ("no_kv_offload", Kind::Bool),
    ("flash_attn", Kind::Int),
    ("devices", Kind::String),
    ("tensor_split", Kind::String),
    ("tensor_buft_overrides", Kind::String),
    ("load_mode", Kind::String),
    ("embeddings", Kind::Bool),
    ("no_op_offload", Kind::Int),
    ("no_host", Kind::Bool),
    ("fit_target", Kind::Int),
    ("fit_min_ctx", Kind::Int),
    ("n_prompt", Kind::Int),
    ("n_gen", Kind::Int),
    ("n_depth", Kind::Int),
    ("test_time", Kind::String),
    ("avg_ns", Kind::Int),
    ("stddev_ns", Kind::Int),
    ("avg_ts", Kind::Float),
    ("stddev_ts", Kind::Float),
];

/// One test.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// Values of [`FIELDS`], in order; null where this runner has none.
    values: Vec<Value>,
    /// Nanoseconds of each repetition.
    samples_ns: Vec<u64>,
    /// Tokens per second of each repetition.
    samples_ts: Vec<f64>,
}

/// The tests of a run, and how many measured cases were left out: of more than one sequence, or training steps.
#[must_use]
pub fn tests(detail: &RunDetail) -> (Vec<Test>, usize) {
    let (mut tests, mut left_out) = (Vec::new(), 0);
    for (case, measurement) in measured(detail) {
        if case.spec.batch > 1 || case.spec.training.is_some() {
            left_out += 1;
            continue;
        }
        let prompt = case.spec.prompt_tokens.0;
        let of = |n_prompt, n_gen, n_depth, milliseconds: &dyn Fn(&Sample) -> f64| {
            test(detail, &case, measurement, (n_prompt, n_gen, n_depth), milliseconds)
        };
        tests.extend(of(prompt, 0, 0, &|sample| sample.prefill_ms));
        let steps = measurement.samples.iter().map(|s| s.token_ms.len()).min().unwrap_or(0);
        if steps > 0 {
            tests.extend(of(0, steps as u64, prompt, &|sample| sample.token_ms.iter().sum()));
        }
    }
    (tests, left_out)
}

/// None where nothing was timed.
fn test(
    detail: &RunDetail,
    case: &Case,
    measurement: &Measurement,
    (n_prompt, n_gen, n_depth): (u64, u64, u64),
    milliseconds: &dyn Fn(&Sample) -> f64,
) -> Option<Test> {
    let ms: Vec<f64> = measurement.samples.iter().map(milliseconds).filter(|ms| *ms > 0.0).collect();
    let nanoseconds: Vec<u64> = ms.iter().map(|ms| whole(ms * 1e6)).collect();
    let tokens = (n_prompt + n_gen) as f64;
    let rates: Vec<f64> = ms.iter().map(|ms| tokens / (ms / 1e3)).collect();
    let ns = Distribution::of(ms.iter().map(|ms| ms * 1e6))?;
    let ts = Distribution::of(rates.iter().copied())?;
    let mut known = known(detail, case, measurement);
    for (name, value) in [
        ("n_prompt", json!(n_prompt)),
        ("n_gen", json!(n_gen)),
        ("n_depth", json!(n_depth)),
        ("avg_ns", json!(whole(ns.mean))),
        ("stddev_ns", json!(whole(ns.standard_deviation))),
        ("avg_ts", json!(ts.mean)),
        ("stddev_ts", json!(ts.standard_deviation)),
    ] {
        known.insert(name.to_owned(), value);
    }
    let values = FIELDS.iter().map(|(name, kind)| {
        let empty = if *kind == Kind::String { json!("") } else { Value::Null };
        known.remove(*name).filter(|value| !value.is_null()).unwrap_or(empty)
    });
    Some(Test { values: values.collect(), samples_ns: nanoseconds, samples_ts: rates })
}

/// A number of nanoseconds or the like; what a u64 cannot hold is not measured here.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and saturating")]
const fn whole(number: f64) -> u64 {
    number.round() as u64
}

/// What is known of a case beside its times.
fn known(detail: &RunDetail, case: &Case, measurement: &Measurement) -> Map<String, Value> {
    let (spec, plan) = (&case.spec, case.plan.as_ref());
    let shape = shape(case);
    let gpu = gpu(spec.device, &detail.machine);
    let gpus: Vec<&str> = detail.machine.gpus.iter().map(|gpu| gpu.name.as_str()).collect();
    let cache = plan.and_then(|plan| {
        let cache = plan.precision.kv_cache.map(|cache| cache.as_str().to_owned());
        cache.or_else(|| plan.precision.activations.map(|activations| activations.as_str().to_owned()))
    });
    let cache = cache.map(|name| match name.as_str() {
        // As ggml calls them; the others are not its types.
        "fp32" => "f32".to_owned(),
        "fp16" => "f16".to_owned(),
        _ => name,
    });
    let known = json!({
        "build_commit": detail.run.runner.commit,
        "cpu_info": detail.machine.cpu.model,
        "gpu_info": gpus.join(", "),
        "backends": format!("{} on {}", case.engine, if gpu.is_some() { "CUDA" } else { "CPU" }),
        "model_filename": spec.model,
        "model_type": format!("{} {}", spec.model, spec.precision),
        "model_size": weight_bytes(case),
        "model_n_params": shape.as_ref().map(|shape| shape.parameters().total),
        "n_threads": measurement.threads,
        "type_k": cache,
        "type_v": cache,
        // All of them and the output head, as `-ngl` counts.
        "n_gpu_layers": match (spec.device, &shape) {
            (contract::case::Device::Cpu, _) => Some(0),
            (_, Some(shape)) => Some(shape.layers.len() + 1),
            _ => None,
        },
        "split_mode": "none",
        "main_gpu": match spec.device {
            contract::case::Device::Cpu => None,
            contract::case::Device::Cuda(ordinal) => Some(ordinal),
        },
        "no_kv_offload": false,
        "flash_attn": spec.attention.as_ref().map(|attention| u8::from(*attention == Attention::Flash)),
        "devices": spec.device.to_string(),
        "tensor_buft_overrides": "none",
        "embeddings": shape.as_ref().is_some_and(|shape| shape.architecture.is_encoder()),
        "test_time": case.finished_at.rfc3339(),
    });
    match known {
        Value::Object(known) => known,
        _ => Map::new(),
    }
}

impl Test {
    fn value(&self, field: &str) -> &Value {
        let place = FIELDS.iter().position(|(name, _)| *name == field);
        place.and_then(|place| self.values.get(place)).unwrap_or(&Value::Null)
    }

    /// A value as CSV, SQL and Markdown have it.
    fn text(value: &Value) -> String {
        match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Bool(given) => u8::from(*given).to_string(),
            // `std::to_string` of a double has six digits after the point.
            Value::Number(number) if number.is_f64() => format!("{:.6}", number.as_f64().unwrap_or(0.0)),
            other => other.to_string(),
        }
    }

    /// The test as a JSON object, its samples at the end.
    fn object(&self) -> Value {
        let mut object: Map<String, Value> = FIELDS
            .iter()
            .zip(&self.values)
            .map(|((name, _), value)| ((*name).to_owned(), value.clone()))
            .collect();
        object.insert("samples_ns".into(), json!(self.samples_ns));
        object.insert("samples_ts".into(), json!(self.samples_ts));
        Value::Object(object)
    }
}

/// `-o csv`.
#[must_use]
pub fn csv(tests: &[Test]) -> String {
    let names = FIELDS.map(|(name, _)| name).join(",");
    let lines = tests.iter().map(|test| {
        let cells = test.values.iter().map(|v| format!("\"{}\"", Test::text(v).replace('"', "\"\"")));
        cells.collect::<Vec<_>>().join(",")
    });
    std::iter::once(names).chain(lines).collect::<Vec<_>>().join("\n")
}

/// `-o json`: one list.
#[must_use]
pub fn json(tests: &[Test]) -> Value {
    tests.iter().map(Test::object).collect()
}

/// `-o jsonl`: an object a line.
#[must_use]
pub fn jsonl(tests: &[Test]) -> String {
    tests.iter().map(|test| test.object().to_string()).collect::<Vec<_>>().join("\n")
}

/// `-o sql`: a table and its rows. What is not known is NULL.
#[must_use]
pub fn sql(tests: &[Test]) -> String {
    let columns: Vec<String> = FIELDS
        .iter()
        .map(|(name, kind)| {
            let kind = match kind {
                Kind::String => "TEXT",
                Kind::Bool | Kind::Int => "INTEGER",
                Kind::Float => "REAL",
            };
            format!("  {name} {kind}")
        })
        .collect();
    let mut text = format!("CREATE TABLE IF NOT EXISTS llama_bench (\n{}\n);\n", columns.join(",\n"));
    let names = FIELDS.map(|(name, _)| name).join(", ");
    for test in tests {
        let values = test.values.iter().map(|value| match value {
            Value::Null => "NULL".to_owned(),
            value => format!("'{}'", Test::text(value).replace('\'', "''")),
        });
        let values = values.collect::<Vec<_>>().join(", ");
        // Writing to a string cannot fail.
        let _ = write!(text, "\nINSERT INTO llama_bench ({names}) VALUES ({values});");
    }
    text
}

/// `-o md`: its columns, widths and names; the cache's types always, for cases differ in them.
#[must_use]
pub fn markdown(detail: &RunDetail, tests: &[Test]) -> String {
    let on_gpu = matches!(detail.run.sweep.device, contract::case::Device::Cuda(_));
    // Name, width; less than none: to the left.
    let columns: [(&str, i32); 9] = [
        ("model", -30),
        ("size", 10),
        ("params", 10),
        ("backend", -10),
        if on_gpu { ("ngl", 3) } else { ("threads", 7) },
        ("type_k", 6),
        ("type_v", 6),
        ("test", 15),
        ("t/s", 20),
    ];
    let line = |cells: [String; 9]| {
        let cells = cells.iter().zip(columns).map(|(cell, (_, width))| {
            let size = width.unsigned_abs() as usize;
            if width < 0 { format!(" {cell:<size$} |") } else { format!(" {cell:>size$} |") }
        });
        format!("|{}", cells.collect::<String>())
    };
    let rule = columns.map(|(_, width)| {
        let dashes = "-".repeat(width.unsigned_abs() as usize - 1);
        format!(" {dashes}{} |", if width < 0 { '-' } else { ':' })
    });
    let mut lines = vec![line(columns.map(|(name, _)| name.to_owned())), format!("|{}", rule.concat())];
    lines.extend(tests.iter().map(|test| line(cells(test, on_gpu))));
    let runner = &detail.run.runner;
    lines.push(format!("\nbuild: {} (bench-runner {})", runner.commit, runner.version));
    lines.join("\n")
}

/// A test under the columns of [`markdown`].
fn cells(test: &Test, on_gpu: bool) -> [String; 9] {
    let word = |field| Test::text(test.value(field));
    let number = |field| test.value(field).as_f64();
    let (prompt, generated) = (word("n_prompt"), word("n_gen"));
    let depth = match word("n_depth") {
        none if none == "0" => String::new(),
        depth => format!(" @ d{depth}"),
    };
    let size = number("model_size").map(|bytes| match bytes / f64::from(1 << 20) {
        mib if mib < 1024.0 => format!("{mib:.2} MiB"),
        mib => format!("{:.2} GiB", mib / 1024.0),
    });
    let parameters = number("model_n_params").map(|n| match n {
        n if n < 1e9 => format!("{:.2} M", n / 1e6),
        n => format!("{:.2} B", n / 1e9),
    });
    [
        word("model_type"),
        size.unwrap_or_default(),
        parameters.unwrap_or_default(),
        word("backends"),
        word(if on_gpu { "n_gpu_layers" } else { "n_threads" }),
        word("type_k"),
        word("type_v"),
        if generated == "0" { format!("pp{prompt}{depth}") } else { format!("tg{generated}{depth}") },
        format!("{:.2} ± {:.2}", number("avg_ts").unwrap_or(0.0), number("stddev_ts").unwrap_or(0.0)),
    ]
}
