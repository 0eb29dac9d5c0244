//! Synthetic GGUF files: the layout that llama.cpp's converter writes for a shape, filled with quantised random numbers.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Seek};
use std::sync::Arc;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Tensor};
use planner::Bytes;
use planner::document::plan::StoredBlock;
use planner::model::{Architecture, Model};

use super::random::{Random, distribution};
use super::{EngineError, Refusal};

/// Types that Candle can quantise to, by the name that GGUF gives them.
pub fn quantised_types() -> impl Iterator<Item = (&'static str, GgmlDType)> {
    [
        ("q8_0", GgmlDType::Q8_0),
        ("q6_k", GgmlDType::Q6K),
        ("q5_k", GgmlDType::Q5K),
        ("q5_1", GgmlDType::Q5_1),
        ("q5_0", GgmlDType::Q5_0),
        ("q4_k", GgmlDType::Q4K),
        ("q4_1", GgmlDType::Q4_1),
        ("q4_0", GgmlDType::Q4_0),
        ("q3_k", GgmlDType::Q3K),
        ("q2_k", GgmlDType::Q2K),
    ]
    .into_iter()
}

/// The type of that name.
pub(super) fn quantised_type(name: &str) -> Option<GgmlDType> {
    quantised_types().find_map(|(n, kind)| (n == name).then_some(kind))
}

/// A tensor of a GGUF file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    rows: usize,
    columns: usize,
    kind: GgmlDType,
    vector: bool,
}

/// The tensors of a synthetic GGUF file.
#[derive(Debug, Clone)]
pub struct GgufLayout {
    entries: Vec<Entry>,
}

impl GgufLayout {
    /// Of `model` with matrices of `kind`. A matrix whose rows are not whole blocks of that type takes a type of the same
    /// size of number with blocks of 32, else `f16`, as llama.cpp's quantiser falls back; norms and biases stay f32.
    ///
    /// # Errors
    /// For a family whose layout is not known here.
    pub fn new(model: &Model, kind: GgmlDType) -> Result<Self, Refusal> {
        let entries = model
            .tensors()
            .iter()
            .map(|t| {
                let name = crate::decoder::gguf_name(t.role, t.layer)
                    .ok_or_else(|| Refusal(format!("{:?} has no place in a GGUF file here", t.role)))?;
                let kind = if t.is_matrix() { fitting(kind, t.columns) } else { GgmlDType::F32 };
                let size = |n: u64| {
                    usize::try_from(n)
                        .map_err(|_| Refusal(format!("{name}: {n} is more than this machine can index")))
                };
                Ok(Entry {
                    rows: size(t.rows.saturating_mul(t.copies))?,
                    columns: size(t.columns)?,
                    kind,
                    vector: !t.is_matrix(),
                    name: name.clone(),
                })
            })
            .collect::<Result<_, Refusal>>()?;
        Ok(Self { entries })
    }

    /// Parameters and bytes by type, as a header would give them.
    #[must_use]
    pub fn stored(&self) -> Vec<StoredBlock> {
        let mut blocks: Vec<StoredBlock> = Vec::new();
        for entry in &self.entries {
            let parameters = entry.rows as u64 * entry.columns as u64;
            let bytes = Bytes(parameters / entry.kind.block_size() as u64 * entry.kind.type_size() as u64);
            let kind = type_name(entry.kind);
            match blocks.iter_mut().find(|b| b.kind == kind) {
                Some(block) => {
                    block.parameters += parameters;
                    block.bytes += bytes;
                }
                None => blocks.push(StoredBlock { kind: kind.to_owned(), parameters, bytes }),
            }
        }
        blocks
    }
}

pub(super) fn type_name(kind: GgmlDType) -> &'static str {
    match kind {
        GgmlDType::F32 => "f32",
        GgmlDType::F16 => "f16",
        _ => quantised_types().find_map(|(name, k)| (k == kind).then_some(name)).unwrap_or("unknown"),
    }
}

/// `kind`, or what llama.cpp's quantiser takes instead where a row is not whole blocks of it.
pub(crate) fn fitting(kind: GgmlDType, columns: u64) -> GgmlDType {
    let fits = |k: GgmlDType| columns.is_multiple_of(k.block_size() as u64);
    let instead = match kind {
        GgmlDType::Q2K | GgmlDType::Q3K => GgmlDType::Q4_0,
        GgmlDType::Q4K => GgmlDType::Q5_0,
        GgmlDType::Q5K => GgmlDType::Q5_1,
        GgmlDType::Q6K => GgmlDType::Q8_0,
        other => other,
    };
    [kind, instead].into_iter().find(|k| fits(*k)).unwrap_or(GgmlDType::F16)
}

/// Elements that are quantised once and then repeated: a multiple of every block size, and long enough that no cache
/// holds it whole in the shape of a matrix.
const TILE: usize = 1 << 20;

/// Writes the GGUF file of a `config.json` with matrices of `kind` to the temporary folder, and answers it from its start.
/// The file has no name any more, so that it goes with this process however that ends.
///
/// # Errors
/// Where the folder cannot be written or is full.
pub(super) fn write_gguf(
    config: &serde_json::Value,
    kind: GgmlDType,
    seed: u64,
) -> Result<File, EngineError> {
    let model = Model::from_config("synthetic", config).map_err(|e| Refusal(e.to_string()))?;
    let layout = GgufLayout::new(&model, kind)?;
    let path =
        std::env::temp_dir().join(format!("plimsoll-{}-{}.gguf", std::process::id(), layout.entries.len()));
    let io = |source| EngineError::Io { path: path.display().to_string(), source };
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).map_err(io)?;
    std::fs::remove_file(&path).map_err(io)?;
    let mut writer = BufWriter::new(file);
    let metadata = metadata(&model, config)?;
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let mut matrices = RandomMatrices::seeded(seed);
    let mut tensors = Vec::with_capacity(layout.entries.len());
    for entry in &layout.entries {
        tensors.push((entry.name.as_str(), tensor(entry, &mut matrices)?));
    }
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, t)| (*name, t)).collect();
    gguf_file::write(&mut writer, &metadata, &tensors)?;
    let mut file = writer.into_inner().map_err(|e| io(e.into_error()))?;
    file.rewind().map_err(io)?;
    Ok(file)
}

fn tensor(entry: &Entry, matrices: &mut RandomMatrices) -> Result<QTensor, EngineError> {
    if entry.vector {
        let mut random = Random::seeded(&entry.name, matrices.seed);
        let (centre, spread) = distribution(&entry.name);
        let values: Vec<f32> = (0..entry.columns).map(|_| random.around(centre, spread)).collect();
        let tensor = Tensor::from_vec(values, entry.columns, &Device::Cpu)?;
        return Ok(QTensor::quantize(&tensor, GgmlDType::F32)?);
    }
    Ok(matrices.matrix(&entry.name, (entry.rows, entry.columns), entry.kind, &Device::Cpu)?)
}

/// Makes random matrices in blocks: numbers of a tile are quantised once for each type and repeated. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct RandomMatrices {
    tiles: Vec<(GgmlDType, Arc<[u8]>)>,
    seed: u64,
}

impl RandomMatrices {
    /// Without tiles yet.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { tiles: Vec::new(), seed }
    }

    /// The sweep's seed.
    pub(crate) const fn seed(&self) -> u64 {
        self.seed
    }

    /// With the tiles that the matrices of a configuration need in `kind`.
    ///
    /// # Errors
    /// Where the configuration is none.
    pub(crate) fn of_config(
        config: &serde_json::Value,
        kind: GgmlDType,
        seed: u64,
    ) -> Result<Self, EngineError> {
        let text = config.get("text_config").unwrap_or(config);
        let model = Model::from_config("synthetic", text).map_err(|e| Refusal(e.to_string()))?;
        let mut matrices = Self::seeded(seed);
        for tensor in model.tensors().iter().filter(|t| t.is_matrix()) {
            matrices.tile(fitting(kind, tensor.columns))?;
        }
        Ok(matrices)
    }

    /// The tile of a type, made when first asked for.
    fn tile(&mut self, kind: GgmlDType) -> candle_core::Result<Arc<[u8]>> {
        if let Some((_, tile)) = self.tiles.iter().find(|(k, _)| *k == kind) {
            return Ok(Arc::clone(tile));
        }
        let mut random = Random::seeded("tile", self.seed);
        let (centre, spread) = distribution("tile");
        let values: Vec<f32> = (0..TILE).map(|_| random.around(centre, spread)).collect();
        let tile = QTensor::quantize(&Tensor::from_vec(values, (TILE / 256, 256), &Device::Cpu)?, kind)?;
        let tile: Arc<[u8]> = Arc::from(tile.data()?.as_ref());
        self.tiles.push((kind, Arc::clone(&tile)));
        Ok(tile)
    }

    /// A matrix of that name.
    ///
    /// # Errors
    /// Where the device has no memory.
    pub(crate) fn matrix(
        &mut self,
        name: &str,
        (rows, columns): (usize, usize),
        kind: GgmlDType,
        device: &Device,
    ) -> candle_core::Result<QTensor> {
        let mut random = Random::seeded(name, self.seed);
        let tile = self.tile(kind)?;
        let bytes = rows * columns / kind.block_size() * kind.type_size();
        // Each tensor begins at another block of the tile, so that layers differ.
        let tile_blocks = u32::try_from(TILE / kind.block_size()).unwrap_or(1);
        let start = random.below(tile_blocks) as usize * kind.type_size();
        let data: Vec<u8> = tile.iter().cycle().skip(start).take(bytes).copied().collect();
        QTensor::new(QStorage::from_data(Cow::Owned(data), device, kind)?, (rows, columns))
    }
}

/// The keys that candle's quantised modules read.
fn metadata(model: &Model, config: &serde_json::Value) -> Result<Vec<(String, Value)>, Refusal> {
    let arch = match model.architecture {
        Architecture::Llama | Architecture::Mistral => "llama",
        Architecture::Qwen2 => "qwen2",
        Architecture::Qwen3 => "qwen3",
        Architecture::Gemma3 => "gemma3",
        other => return Err(Refusal(format!("{} has no quantised synthetic weights", other.model_type()))),
    };
    let layer = model.layers.first().ok_or_else(|| Refusal("a model without layers".into()))?;
    let (Some(attention), Some(feed_forward)) = (layer.attention(), layer.dense()) else {
        return Err(Refusal(
            "layers without softmax attention or with experts have no quantised synthetic weights".into(),
        ));
    };
    let count = |n: u64| {
        u32::try_from(n).map(Value::U32).map_err(|_| Refusal(format!("{n} is more than a GGUF header holds")))
    };
    let number =
        |name: &str, default: f64| config.get(name).and_then(serde_json::Value::as_f64).unwrap_or(default);
    #[allow(clippy::cast_possible_truncation, reason = "GGUF keeps these in single precision")]
    let single = |x: f64| Value::F32(x as f32);
    let mut keys = vec![
        ("general.architecture".to_owned(), Value::String(arch.to_owned())),
        ("general.name".to_owned(), Value::String("synthetic".to_owned())),
    ];
    let mut put = |key: &str, value: Value| keys.push((format!("{arch}.{key}"), value));
    put("context_length", count(model.max_tokens.0)?);
    put("embedding_length", count(model.hidden)?);
    put("block_count", count(model.layers.len() as u64)?);
    put("feed_forward_length", count(feed_forward.intermediate)?);
    put("attention.head_count", count(attention.heads)?);
    put("attention.head_count_kv", count(attention.kv_heads)?);
    put("attention.key_length", count(attention.head_size)?);
    put("attention.value_length", count(attention.head_size)?);
    put("attention.layer_norm_rms_epsilon", single(number("rms_norm_eps", 1e-6)));
    put("rope.dimension_count", count(attention.rotary_size)?);
    put("rope.freq_base", single(number("rope_theta", 10_000.0)));
    put("vocab_size", count(model.vocab)?);
    if let Some(window) = attention.window {
        put("attention.sliding_window", count(window.0)?);
        let period = model
            .layers
            .iter()
            .position(|l| l.attention().is_some_and(|a| a.window.is_none()))
            .map_or(6, |i| i as u64 + 1);
        put("attention.sliding_window_type", count(period)?);
    }
    Ok(keys)
}

#[cfg(test)]
mod tests;
