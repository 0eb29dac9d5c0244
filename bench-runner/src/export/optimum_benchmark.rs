//! `benchmark.json` of optimum-benchmark: configuration and report of one case (`benchmark/base.py`, `config.py`
//! and `report.py`, `trackers/{latency,memory}.py`, `scenarios/inference/scenario.py`, at commit b263af46, version 0.7.0.dev0).
//!
//! Its `MB` are 10^6 bytes, its seconds floats. `_target_` of the backend names no class: none of its backends is Candle.

use std::borrow::Cow;

use contract::case::{Case, Device};
use contract::measurement::{Measurement, Phase, PhaseMemory};
use contract::run::RunDetail;
use contract::statistics::Distribution;
use planner::Bytes;
use serde_json::{Value, json};

use super::{gpu, measured, shape};

/// A document for each measured case, by position, and how many were left out because they are training steps: its own are
/// of Transformers' trainer, whose phases these have not.
#[must_use]
pub fn documents(detail: &RunDetail) -> (Vec<Value>, usize) {
    let (trained, inferred): (Vec<_>, Vec<_>) =
        measured(detail).partition(|(case, _)| case.spec.training.is_some());
    let document = |(case, measurement): (Cow<'_, Case>, &Measurement)| json!({ "config": config(detail, &case, measurement), "report": report(&case, measurement) });
    (inferred.into_iter().map(document).collect(), trained.len())
}

fn embeds(case: &Case) -> bool {
    shape(case).is_some_and(|shape| shape.architecture.is_encoder())
}

fn config(detail: &RunDetail, case: &Case, measurement: &Measurement) -> Value {
    let (spec, machine, runner) = (&case.spec, &detail.machine, &detail.run.runner);
    let (device, device_ids) = match spec.device {
        Device::Cpu => ("cpu", None),
        Device::Cuda(ordinal) => ("cuda", Some(ordinal.to_string())),
    };
    let embeds = embeds(case);
    let generate = if embeds {
        json!({})
    } else {
        json!({
            "num_return_sequences": 1, "max_new_tokens": spec.generate_tokens, "min_new_tokens": spec.generate_tokens,
            "do_sample": false, "use_cache": true, "num_beams": 1
        })
    };
    let mut environment = json!({
        "cpu": machine.cpu.model, "cpu_count": machine.cpu.logical_cores, "cpu_ram_mb": megabytes(machine.memory_bytes),
        "system": machine.os.contains("Linux").then_some("Linux"), "machine": null, "platform": machine.os,
        "processor": machine.cpu.isa, "python_version": null
    });
    if let (Some(gpu), Some(fields)) = (gpu(spec.device, machine), environment.as_object_mut()) {
        fields.insert("gpu".into(), json!([gpu.name]));
        fields.insert("gpu_count".into(), json!(1));
        fields.insert("gpu_vram_mb".into(), json!(megabytes(gpu.memory_bytes)));
    }
    // Its libraries stand here; ours do.
    if let Some(fields) = environment.as_object_mut() {
        fields.insert("candle_version".into(), json!(runner.candle));
        fields.insert("bench_runner_version".into(), json!(runner.version));
        fields.insert("bench_runner_commit".into(), json!(runner.commit));
    }
    json!({
        "name": spec.key(),
        "backend": {
            "name": "candle", "version": runner.candle, "_target_": null,
            "model": spec.model, "processor": null,
            "task": if embeds { "feature-extraction" } else { "text-generation" },
            "library": "candle", "model_type": shape(case).map(|shape| shape.architecture.model_type()),
            "device": device, "device_ids": device_ids,
            "seed": spec.seed, "inter_op_num_threads": null, "intra_op_num_threads": measurement.threads,
            "model_kwargs": {
                "engine": case.engine, "precision": spec.precision, "attention": spec.attention, "cache": spec.cache,
                "kv_cache": spec.kv_cache
            },
            "processor_kwargs": {}
        },
        "scenario": {
            "name": "inference", "_target_": "optimum_benchmark.scenarios.inference.scenario.InferenceScenario",
            "iterations": spec.repetitions, "duration": 0, "warmup_runs": 1,
            "input_shapes": { "batch_size": spec.batch, "sequence_length": spec.prompt_tokens },
            "new_tokens": null, "memory": true, "latency": true, "energy": false,
            "forward_kwargs": {}, "generate_kwargs": generate, "call_kwargs": {}
        },
        "launcher": {
            "name": "process", "_target_": "optimum_benchmark.launchers.process.launcher.ProcessLauncher",
            "device_isolation": false, "device_isolation_action": null, "numactl": false, "numactl_kwargs": {},
            "start_method": "spawn"
        },
        "environment": environment,
        "print_report": false, "log_report": false
    })
}

fn report(case: &Case, measurement: &Measurement) -> Value {
    let spec = &case.spec;
    let on_gpu = spec.device != Device::Cpu;
    let memory = |phase| measurement.phase(phase).map(|memory| memory_of(memory, on_gpu));
    let samples = &measurement.samples;
    let of = |memory: Option<Value>, seconds: Vec<f64>, volume: Option<(u64, &str)>| {
        let latency = latency(&seconds);
        let mean = latency.as_ref().and_then(|l| l["mean"].as_f64()).filter(|mean| *mean > 0.0);
        let throughput = volume
            .zip(mean)
            .map(|((volume, unit), mean)| json!({ "unit": unit, "value": volume as f64 / mean }));
        json!({ "memory": memory, "latency": latency, "throughput": throughput, "energy": null, "efficiency": null })
    };
    let load = of(memory(Phase::Load), vec![measurement.load_ms / 1e3], None);
    let batch = u64::from(spec.batch);
    // Its prefill is a generation of one token: choosing it is in it.
    let first: Vec<f64> = samples.iter().map(|s| s.ttft_ms / 1e3).collect();
    if embeds(case) {
        return json!({ "load_model": load, "forward": of(memory(Phase::Prefill), first, Some((batch, "samples/s"))) });
    }
    let decode: Vec<f64> = samples.iter().map(|s| s.token_ms.iter().sum::<f64>() / 1e3).collect();
    let generate: Vec<f64> = first.iter().zip(&decode).map(|(first, rest)| first + rest).collect();
    let tokens: Vec<f64> = samples.iter().flat_map(|s| s.token_ms.iter().map(|ms| ms / 1e3)).collect();
    let prefill = of(memory(Phase::Prefill), first, Some((batch, "samples/s")));
    if tokens.is_empty() {
        return json!({ "load_model": load, "prefill": prefill });
    }
    // One token is generated during prefill (`atomic_decode_volume`).
    let steps = batch * (spec.generate_tokens.0 - 1);
    json!({
        "load_model": load,
        "generate": of(memory(Phase::Decode), generate, Some((batch, "samples/s"))),
        "prefill": prefill,
        "decode": of(memory(Phase::Decode), decode, Some((steps, "tokens/s"))),
        "per_token": of(None, tokens, None)
    })
}

fn megabytes(bytes: Bytes) -> f64 {
    bytes.0 as f64 / 1e6
}

/// `trackers/memory.py`, `Memory`: resident bytes on a CPU, the process's and the device's on a GPU.
fn memory_of(memory: &PhaseMemory, on_gpu: bool) -> Value {
    let process = memory.process.map(megabytes);
    json!({
        "unit": "MB",
        "max_ram": process.filter(|_| !on_gpu),
        "max_global_vram": memory.device.map(megabytes),
        "max_process_vram": process.filter(|_| on_gpu),
        "max_reserved": memory.peak_reserved.map(megabytes),
        "max_allocated": megabytes(memory.peak_allocated)
    })
}

/// `trackers/latency.py`, `Latency.from_values`: numpy's percentiles, and its standard deviation, which divides by n.
fn latency(seconds: &[f64]) -> Option<Value> {
    let d = Distribution::of(seconds.iter().copied())?;
    let n = f64::from(d.n);
    let deviation = if d.n > 1 { d.standard_deviation * ((n - 1.0) / n).sqrt() } else { 0.0 };
    Some(json!({
        "unit": "s", "values": seconds, "count": d.n, "total": seconds.iter().sum::<f64>(), "mean": d.mean,
        "p50": d.p50, "p90": d.p90, "p95": d.p95, "p99": d.p99,
        "stdev": deviation, "stdev_": deviation / d.mean.abs() * 100.0
    }))
}
