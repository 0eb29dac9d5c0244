//! Lines of cases in the database: written with their case, read in the order they came.

use contract::case::{Case, Device};
use contract::explore::Task;
use contract::machine::{Cpu, GpuDevice};
use contract::statistics::{CaseSpeed, Distribution};
use sqlx::SqliteConnection;

use crate::{Store, StoreError, beside, value};

/// Lines read at once.
const CHUNK: i64 = 20_000;

/// A line as the database holds it.
pub(super) struct Line {
    pub n: i64,
    pub case_id: String,
    pub run_id: String,
    pub machine_id: String,
    pub model: String,
    pub task: String,
    pub training: Option<String>,
    pub precision: String,
    pub attention: String,
    pub variant: String,
    pub cache: String,
    pub kv_cache: String,
    pub engine: String,
    pub device: String,
    pub status: String,
    pub batch: i64,
    pub prompt_tokens: i64,
    pub generate_tokens: i64,
    pub decode_tokens_per_second: Option<f64>,
    pub prefill_tokens_per_second: Option<f64>,
    pub ttft_ms: Option<f64>,
    pub peak_bytes: Option<i64>,
    pub estimated_bytes: Option<i64>,
    pub finished_at: i64,
}

impl Store {
    /// Takes into memory what was written since the last time, here or by another program.
    ///
    /// # Errors
    /// Where the database fails.
    pub(super) async fn read_new_lines(&self) -> Result<(), StoreError> {
        let newest = self.newest_result().await?;
        if self.columns.read().await.newest() >= newest {
            return Ok(());
        }
        let mut columns = self.columns.clone().write_owned().await;
        loop {
            let after = columns.newest();
            let lines = sqlx::query_as!(
                Line,
                "SELECT n, case_id, run_id, machine_id, model, task, training, precision, attention, variant, cache, kv_cache, engine,
                        device, status, batch, prompt_tokens, generate_tokens, decode_tokens_per_second,
                        prefill_tokens_per_second, ttft_ms, peak_bytes, estimated_bytes, finished_at
                 FROM case_lines WHERE n > ? ORDER BY n LIMIT ?",
                after,
                CHUNK
            )
            .fetch_all(&self.pool)
            .await?;
            let done = i64::try_from(lines.len()).is_ok_and(|read| read < CHUNK);
            columns = beside(move || {
                for line in lines {
                    columns.push(line)?;
                }
                if done {
                    columns.settle();
                }
                Ok(columns)
            })
            .await?;
            if done {
                return Ok(());
            }
        }
    }
}

/// Writes the line of a case that was just stored, in the same transaction. Its number is larger than that of any line before
/// it, also of one that it takes the place of: what has read as far as that reads this one too.
pub(crate) async fn insert(db: &mut SqliteConnection, case: &Case) -> Result<(), StoreError> {
    let (id, run) = (case.id.to_string(), case.run_id.to_string());
    let place = sqlx::query!(
        "SELECT r.machine_id, m.cpu, m.gpus FROM runs r JOIN machines m ON m.id = r.machine_id WHERE r.id = ?",
        run
    )
    .fetch_one(&mut *db)
    .await?;
    let device = device_name(case.spec.device, &place.cpu, &place.gpus)?;
    // A search of an edge stands as the case that its figures belong to.
    let spec = &case.measurement.as_ref().map_or_else(|| case.spec.clone(), |m| case.spec.measured(m));
    let standard = || "default".to_owned();
    let task = Task::of(case).as_str();
    let training = spec.training.as_ref().map(contract::training::Training::name);
    let attention = spec.attention.as_ref().map_or_else(standard, contract::case::attention_word);
    let variant = spec.variant.map_or_else(standard, |v| v.as_str().to_owned());
    let cache = spec.cache.map_or_else(standard, |c| c.as_str().to_owned());
    let kv_cache = spec.kv_cache.map_or_else(standard, |c| c.as_str().to_owned());
    let status = case.status.as_str();
    let prompt = value::to_integer("the prompt", spec.prompt_tokens.0)?;
    let generate = value::to_integer("the tokens to generate", spec.generate_tokens.0)?;
    let speed = case.measurement.as_ref().map(|m| CaseSpeed::of(spec, m));
    let median = |pick: fn(&CaseSpeed) -> Option<Distribution>| speed.as_ref().and_then(pick).map(|d| d.p50);
    let decode = median(|s| s.decode_tokens_per_second);
    let prefill = median(|s| s.prefill_tokens_per_second);
    let ttft = median(|s| s.ttft_ms);
    let peak = case.measurement.as_ref().and_then(contract::measurement::Measurement::peak_allocated);
    let peak = peak.map(|bytes| value::to_integer("the peak", bytes.0)).transpose()?;
    let estimated = case.estimate.as_ref().map(|e| e.totals.allocated.0);
    let estimated = estimated.map(|bytes| value::to_integer("the estimate", bytes)).transpose()?;
    sqlx::query!(
        "INSERT INTO case_lines (n, case_id, run_id, machine_id, model, task, training, precision, attention, variant, cache,
                                 kv_cache, engine, device, status, batch, prompt_tokens, generate_tokens,
                                 decode_tokens_per_second, prefill_tokens_per_second, ttft_ms, peak_bytes,
                                 estimated_bytes, finished_at)
         VALUES (1 + MAX (COALESCE ((SELECT MAX (n) FROM case_lines), 0),
                          COALESCE ((SELECT newest FROM run_figures WHERE run_id = ?), 0)),
                 ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        run,
        id,
        run,
        place.machine_id,
        spec.model,
        task,
        training,
        spec.precision,
        attention,
        variant,
        cache,
        kv_cache,
        case.engine,
        device,
        status,
        spec.batch,
        prompt,
        generate,
        decode,
        prefill,
        ttft,
        peak,
        estimated,
        case.finished_at.0
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The product name of a device of a machine; the device's own name where the machine does not say.
pub(crate) fn device_name(device: Device, cpu: &str, gpus: &str) -> Result<String, StoreError> {
    match device {
        Device::Cpu => Ok(value::json::<Cpu>("machines.cpu", cpu)?.model),
        Device::Cuda(ordinal) => {
            let gpus: Vec<GpuDevice> = value::json("machines.gpus", gpus)?;
            Ok(gpus.into_iter().nth(ordinal as usize).map_or_else(|| device.to_string(), |gpu| gpu.name))
        }
    }
}
