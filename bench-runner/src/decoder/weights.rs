//! Where weights come from: safetensors, a GGUF file, or random numbers; each tensor in the type asked.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use candle_core::quantized::gguf_file::Content;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Result, Tensor};
use planner::model::{Architecture, Role, WeightTensor};

use super::matrix::{Linear, Matrix};
use super::names;
use super::numbers::Divisors;
use crate::engine::{EngineError, Precision, RandomMatrices, fitting, seeded_tensor, weight_files};
use crate::kernels::Isa;

/// What weights are read from.
enum Source<'a> {
    /// Checkpoint files, mapped, and what stands before every name.
    Files { files: MmapedSafetensors, prefix: &'static str },
    /// A GGUF file.
    Gguf { content: Content, reader: BufReader<&'a File>, interleaved: bool },
    /// Random numbers.
    Random(RandomMatrices),
}

/// The weights of a model.
pub(super) struct Weights<'a> {
    source: Source<'a>,
    family: Architecture,
    tensors: Vec<WeightTensor>,
    /// Elements of a head by layer.
    head_sizes: Vec<usize>,
    precision: Precision,
    /// The type that is computed in, and of everything that is not a matrix.
    compute: DType,
    device: Device,
    /// Types that our kernels multiply.
    kernels: BTreeSet<&'static str>,
}

impl<'a> Weights<'a> {
    fn new(
        source: Source<'a>,
        model: &planner::Model,
        precision: Precision,
        compute: DType,
        device: &Device,
    ) -> Self {
        let (family, tensors) = (model.architecture, model.tensors());
        let head_sizes =
            model.layers.iter().map(|l| l.attention().map_or(0, |a| as_size(a.head_size))).collect();
        Self {
            source,
            family,
            tensors,
            head_sizes,
            precision,
            compute,
            device: device.clone(),
            kernels: BTreeSet::new(),
        }
    }

    /// Of a folder of safetensors.
    ///
    /// # Errors
    /// Where the files cannot be read.
    pub(super) fn files(
        dir: &Path,
        model: &planner::Model,
        precision: Precision,
        compute: DType,
        device: &Device,
    ) -> std::result::Result<Self, EngineError> {
        let paths = weight_files(dir)?;
        // SAFETY: the files must not be changed while they are mapped, which is the promise of whoever runs a benchmark
        // on them; a file cut short meanwhile ends this case's process, not the runner.
        let files = unsafe { MmapedSafetensors::multi(&paths) }?;
        let embedding =
            names::checkpoint(model.architecture, Role::TokenEmbedding, None, 0).unwrap_or_default();
        let prefix = if files.get(&embedding).is_err() { "language_model." } else { "" };
        Ok(Self::new(Source::Files { files, prefix }, model, precision, compute, device))
    }

    /// Of an opened GGUF file.
    pub(super) fn gguf(
        mut content: Content,
        reader: BufReader<&'a File>,
        model: &planner::Model,
        precision: Precision,
        compute: DType,
        device: &Device,
    ) -> Self {
        // llama.cpp's converter puts the halves of each head's rotation beside each other (`LlamaModel.permute`).
        let interleaved =
            matches!(model.architecture, Architecture::Llama | Architecture::Mistral | Architecture::Mixtral);
        // The vocabulary and its merges: megabytes beside the weights, and not asked for again.
        content.metadata = HashMap::new();
        let source = Source::Gguf { content, reader, interleaved };
        Self::new(source, model, precision, compute, device)
    }

    /// Random ones; `matrices` makes those in blocks.
    pub(super) fn random(
        matrices: RandomMatrices,
        model: &planner::Model,
        precision: Precision,
        compute: DType,
        device: &Device,
    ) -> Self {
        Self::new(Source::Random(matrices), model, precision, compute, device)
    }

    fn find(&self, role: Role, layer: Option<u64>) -> Option<WeightTensor> {
        self.tensors.iter().find(|t| t.role == role && t.layer == layer).cloned()
    }

    fn needed(&self, role: Role, layer: Option<u64>) -> Result<WeightTensor> {
        let place = layer.map_or_else(String::new, |l| format!(" of layer {l}"));
        self.find(role, layer)
            .ok_or_else(|| candle_core::Error::Msg(format!("the model's shape has no {role:?}{place}")))
    }

    /// A tensor whole, in the type that is computed in: a norm's weights, a bias.
    pub(super) fn vector(&mut self, role: Role, layer: Option<u64>) -> Result<Tensor> {
        let found = self.needed(role, layer)?;
        self.dense(&found, 0)
    }

    /// The same, where the model has one.
    pub(super) fn optional(&mut self, role: Role, layer: Option<u64>) -> Result<Option<Tensor>> {
        self.find(role, layer).map(|found| self.dense(&found, 0)).transpose()
    }

    /// Whether the model has such a tensor.
    pub(super) fn has(&self, role: Role, layer: Option<u64>) -> bool {
        self.find(role, layer).is_some()
    }

    /// A matrix and its bias, where the model has one.
    pub(super) fn linear(&mut self, weight: Role, bias: Role, layer: Option<u64>) -> Result<Linear> {
        Ok(Linear { matrix: self.matrix(weight, layer, 0)?, bias: self.optional(bias, layer)? })
    }

    /// A matrix; `expert` is its place among several of the same role.
    pub(super) fn matrix(&mut self, role: Role, layer: Option<u64>, expert: usize) -> Result<Matrix> {
        let read = self.read(role, layer, expert)?;
        self.kernels.extend(read.kernel());
        Ok(read)
    }

    /// What multiplies the matrices read so far, where not all are Candle's: `avx2 (q4_1, q8_0)`.
    pub(super) fn products(&self) -> Option<String> {
        let types: Vec<&str> = self.kernels.iter().copied().collect();
        (!types.is_empty()).then(|| format!("{} ({})", Isa::detected(), types.join(", ")))
    }

    fn read(&mut self, role: Role, layer: Option<u64>, expert: usize) -> Result<Matrix> {
        let found = self.needed(role, layer)?;
        match self.precision {
            Precision::Dense(_) => return Ok(Matrix::Dense(self.dense(&found, expert)?)),
            // A router keeps the type that is computed in, as llama.cpp's quantiser leaves `ffn_gate_inp`.
            Precision::Fp8 | Precision::Quantised(_) if role == Role::Router => {
                return Ok(Matrix::Dense(self.dense(&found, expert)?));
            }
            // So do embeddings and the output head in fp8 checkpoints.
            Precision::Fp8 if matches!(role, Role::TokenEmbedding | Role::OutputHead) => {
                return Ok(Matrix::Dense(self.dense(&found, expert)?));
            }
            Precision::Fp8 => return Matrix::fp8(&self.dense(&found, expert)?, self.compute),
            Precision::AsStored => {
                let (blocks, kind) = self.stored(&found, expert)?;
                return Matrix::of_blocks(blocks, kind, dims(&found)?, &self.device);
            }
            Precision::Quantised(_) => {}
        }
        Matrix::of_tensor(self.in_blocks(&found, expert)?)
    }

    /// A matrix in blocks: those of its file, or quantised to the type asked.
    pub(super) fn blocks(&mut self, role: Role, layer: Option<u64>) -> Result<QTensor> {
        let found = self.needed(role, layer)?;
        self.in_blocks(&found, 0)
    }

    /// Rows and columns of a matrix.
    pub(super) fn size(&self, role: Role, layer: Option<u64>) -> Result<(usize, usize)> {
        dims(&self.needed(role, layer)?)
    }

    fn in_blocks(&mut self, found: &WeightTensor, expert: usize) -> Result<QTensor> {
        let (rows, columns) = dims(found)?;
        let Precision::Quantised(kind) = self.precision else {
            let (blocks, kind) = self.stored(found, expert)?;
            return QTensor::new(
                QStorage::from_data(Cow::Owned(blocks), &self.device, kind)?,
                (rows, columns),
            );
        };
        let kind = fitting(kind, found.columns);
        let name = self.name(found, expert)?;
        if let Source::Random(random) = &mut self.source {
            return random.matrix(&name, (rows, columns), kind, &self.device);
        }
        let wide = self.dense(found, expert)?.to_dtype(DType::F32)?;
        QTensor::quantize(&wide, kind)
    }

    fn name(&self, tensor: &WeightTensor, expert: usize) -> Result<String> {
        let (role, layer) = (tensor.role, tensor.layer);
        let name = match &self.source {
            Source::Gguf { .. } => names::gguf(role, layer),
            Source::Files { prefix, .. } => {
                names::checkpoint(self.family, role, layer, expert).map(|n| format!("{prefix}{n}"))
            }
            Source::Random(_) => names::checkpoint(self.family, role, layer, expert),
        };
        name.ok_or_else(|| candle_core::Error::Msg(format!("{role:?} has no name in a checkpoint here")))
    }

    /// A tensor in the type that is computed in.
    fn dense(&mut self, tensor: &WeightTensor, expert: usize) -> Result<Tensor> {
        let name = self.name(tensor, expert)?;
        let (rows, columns) = dims(tensor)?;
        let shape = if tensor.is_matrix() { vec![rows, columns] } else { vec![columns] };
        match &self.source {
            Source::Files { files, .. } => {
                // Converted on its way where the file has another type, without a second copy kept.
                let found = files.load(&name, &self.device)?.to_dtype(self.compute)?;
                if found.dims() == shape.as_slice() {
                    return Ok(found);
                }
                candle_core::bail!("{name}: {:?} in the file, {shape:?} by the configuration", found.dims())
            }
            Source::Random(random) => {
                seeded_tensor(&name, random.seed(), shape.into(), self.compute, &self.device)
            }
            Source::Gguf { .. } => {
                let (blocks, kind) = self.stored(tensor, expert)?;
                let storage = QStorage::from_data(Cow::Owned(blocks), &self.device, kind)?;
                QTensor::new(storage, shape)?.dequantize(&self.device)?.to_dtype(self.compute)
            }
        }
    }

    /// A tensor of a GGUF file as its blocks; heads that the converter interleaved are put back in their order.
    fn stored(&mut self, tensor: &WeightTensor, expert: usize) -> Result<(Vec<u8>, GgmlDType)> {
        let name = self.name(tensor, expert)?;
        let (rows, columns) = dims(tensor)?;
        let Source::Gguf { content, reader, interleaved } = &mut self.source else {
            candle_core::bail!("{name}: only a GGUF file holds blocks")
        };
        let Some(info) = content.tensor_infos.get(&name) else {
            candle_core::bail!("{name}: not in the file")
        };
        let kind = info.ggml_dtype;
        let copies = usize::try_from(tensor.copies).unwrap_or(usize::MAX);
        let elements = rows.saturating_mul(columns);
        if info.shape.elem_count() != elements.saturating_mul(copies) {
            candle_core::bail!("{name}: {:?} in the file, {rows} × {columns} by its header", info.shape)
        }
        let bytes = elements / kind.block_size() * kind.type_size();
        let start = content.tensor_data_offset + info.offset + (expert * bytes) as u64;
        let end = reader.seek(SeekFrom::End(0))?;
        if start.saturating_add(bytes as u64) > end {
            candle_core::bail!("{name}: ends beyond the file's {end} bytes; it was not copied whole")
        }
        reader.seek(SeekFrom::Start(start))?;
        let mut raw = vec![0u8; bytes];
        reader.read_exact(&mut raw)?;
        let layer = tensor.layer.and_then(|l| usize::try_from(l).ok());
        let head_rows = match (tensor.role, layer) {
            (Role::Query | Role::Key | Role::QueryBias | Role::KeyBias, Some(layer)) if *interleaved => {
                self.head_sizes.get(layer).copied()
            }
            _ => None,
        };
        if let Some(head) = head_rows {
            // Each number of a bias is a row.
            let outputs = if tensor.is_matrix() { rows } else { columns };
            raw = in_halves(&raw, bytes / outputs.max(1), head);
        }
        Ok((raw, kind))
    }

    /// Divisors of the rotary frequencies, where a GGUF file has them.
    pub(super) fn divisors(content: &Content, reader: &mut BufReader<&File>) -> Result<Divisors> {
        let mut read = |name: &str| -> Result<Option<Vec<f64>>> {
            if !content.tensor_infos.contains_key(name) {
                return Ok(None);
            }
            let found = content.tensor(reader, name, &Device::Cpu)?.dequantize(&Device::Cpu)?;
            Ok(Some(found.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect()))
        };
        Ok(Divisors {
            all: read("rope_freqs.weight")?,
            short: read("rope_factors_short.weight")?,
            long: read("rope_factors_long.weight")?,
        })
    }
}

/// Rows of heads whose first and second half alternate, put back one half after the other. `row` is a row's bytes, `head`
/// a head's rows.
fn in_halves(raw: &[u8], row: usize, head: usize) -> Vec<u8> {
    let half = head / 2;
    let mut ordered = Vec::with_capacity(raw.len());
    for rows in raw.chunks(row * head) {
        for place in 0..head {
            let from = if place < half { 2 * place } else { 2 * (place - half) + 1 };
            ordered.extend_from_slice(&rows[from * row..(from + 1) * row]);
        }
    }
    ordered
}

/// Saturates: what is larger than this machine can index is refused by the allocator.
pub(super) fn as_size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// Rows and columns of a tensor as this machine indexes them.
fn dims(tensor: &WeightTensor) -> Result<(usize, usize)> {
    match (usize::try_from(tensor.rows), usize::try_from(tensor.columns)) {
        (Ok(rows), Ok(columns)) => Ok((rows, columns)),
        _ => candle_core::bail!("{:?} is more than this machine can index", tensor.role),
    }
}
