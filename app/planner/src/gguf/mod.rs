//! The header of a GGUF file: metadata and the list of tensors, without their data.
//!
//! Format: `docs/gguf.md` of the ggml project, versions 2 and 3 (little endian). Every length in a header is a claim by
//! whoever wrote the file: none is believed before it is compared with the bytes that are there.

mod error;
mod model;
mod reader;

use std::collections::BTreeMap;

pub use error::HeaderError;

use crate::bytes::Bytes;
use crate::document::plan::StoredBlock;
use crate::ggml::GgmlType;
pub(crate) use reader::Reader;

/// `GGUF`.
const MAGIC: &[u8; 4] = b"GGUF";
/// Alignment of tensor data where `general.alignment` is not given.
const DEFAULT_ALIGNMENT: u64 = 32;
/// The most dimensions that ggml has.
const MAX_DIMENSIONS: u32 = 4;
/// Arrays longer than this are skipped (vocabularies); shorter ones are kept.
const KEPT_ARRAY: u64 = 1024;
/// Arrays in arrays; ggml itself writes none.
const MAX_NESTING: u32 = 4;

/// The header of a GGUF file.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufHeader {
    /// 2 or 3.
    pub version: u32,
    /// Metadata by key.
    pub metadata: BTreeMap<String, MetadataValue>,
    /// Tensors in the order of the file.
    pub tensors: Vec<TensorInfo>,
    /// Where the tensors' data begins in the file.
    pub data_offset: u64,
}

/// A tensor of a GGUF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, for example `blk.0.attn_q.weight`.
    pub name: String,
    /// Its storage type.
    pub kind: GgmlType,
    /// Its dimensions, ggml's order: columns first.
    pub dimensions: Vec<u64>,
    /// Where its data begins, from [`GgufHeader::data_offset`].
    pub offset: u64,
    /// Its size in the file.
    pub bytes: Bytes,
}

impl TensorInfo {
    /// Number of elements. The parser has checked that the product is below 2^64.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.dimensions.iter().copied().fold(1, u64::saturating_mul)
    }
}

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum MetadataValue {
    /// Any of the unsigned integers.
    Unsigned(u64),
    /// Any of the signed integers.
    Signed(i64),
    /// Either float.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A text.
    Text(String),
    /// A short array.
    Array(Vec<MetadataValue>),
    /// An array that was skipped: its length.
    LongArray(u64),
}

impl MetadataValue {
    /// A whole number that is not negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(n) => Some(*n),
            Self::Signed(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// A text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads a header from the first bytes of a file of `file_len` bytes. `prefix` may be shorter than the header:
/// [`HeaderError::NeedMore`] then says how many bytes to read before trying again.
///
/// # Errors
/// What in the header is wrong and where; never a panic, and never an allocation by a length that was not checked.
pub fn parse(prefix: &[u8], file_len: u64) -> Result<GgufHeader, HeaderError> {
    let mut reader = Reader::new(prefix, file_len);
    let magic = reader.bytes(4, "magic")?;
    if magic != MAGIC {
        return Err(HeaderError::BadMagic {
            format: "GGUF",
            expected: "the letters GGUF",
            found: magic.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" "),
        });
    }
    let version = reader.u32("version")?;
    if !(2..=3).contains(&version) {
        let hint = if version.swap_bytes() <= 3 { " (a big-endian file)" } else { "" };
        return Err(HeaderError::UnsupportedVersion {
            given: format!("{version}{hint}"),
            accepted: "2 and 3",
        });
    }
    let tensor_count = reader.u64("tensor_count")?;
    let metadata_count = reader.u64("metadata_kv_count")?;
    // A tensor's entry has at least 24 bytes (name length, dimensions, type, offset), a key at least 13.
    reader.claim("tensor_count", tensor_count, 24)?;
    reader.claim("metadata_kv_count", metadata_count, 13)?;

    let mut metadata = BTreeMap::new();
    for _ in 0..metadata_count {
        let key = reader.text("a metadata key")?;
        let kind = reader.u32("a metadata type")?;
        let value = read_value(&mut reader, kind, 0)?;
        if metadata.contains_key(&key) {
            return Err(HeaderError::Lies {
                what: format!("metadata key {key:?}"),
                problem: "is there twice".into(),
            });
        }
        metadata.insert(key, value);
    }
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(value) => match value.as_u64() {
            Some(n) if n.is_power_of_two() && n <= 1 << 20 => n,
            _ => {
                return Err(HeaderError::Lies {
                    what: "general.alignment".into(),
                    problem: format!("{value:?} is no power of two up to 2^20"),
                });
            }
        },
    };
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        tensors.push(read_tensor(&mut reader)?);
    }
    let data_offset = reader.position().next_multiple_of(alignment);
    check_tensors(&tensors, data_offset, file_len, alignment)?;
    Ok(GgufHeader { version, metadata, tensors, data_offset })
}

fn read_value(reader: &mut Reader<'_>, kind: u32, depth: u32) -> Result<MetadataValue, HeaderError> {
    let what = "a metadata value";
    Ok(match kind {
        0 => MetadataValue::Unsigned(u64::from(reader.array::<1>(what)?[0])),
        1 => MetadataValue::Signed(i64::from(i8::from_le_bytes(reader.array(what)?))),
        2 => MetadataValue::Unsigned(u64::from(u16::from_le_bytes(reader.array(what)?))),
        3 => MetadataValue::Signed(i64::from(i16::from_le_bytes(reader.array(what)?))),
        4 => MetadataValue::Unsigned(u64::from(reader.u32(what)?)),
        5 => MetadataValue::Signed(i64::from(i32::from_le_bytes(reader.array(what)?))),
        6 => MetadataValue::Float(f64::from(f32::from_le_bytes(reader.array(what)?))),
        7 => match reader.array::<1>(what)?[0] {
            0 => MetadataValue::Bool(false),
            1 => MetadataValue::Bool(true),
            other => {
                return Err(HeaderError::Lies {
                    what: "a metadata boolean".into(),
                    problem: format!("is {other}; 0 or 1 expected"),
                });
            }
        },
        8 => MetadataValue::Text(reader.text("a metadata text")?),
        9 => read_array(reader, depth)?,
        10 => MetadataValue::Unsigned(reader.u64(what)?),
        11 => MetadataValue::Signed(i64::from_le_bytes(reader.array(what)?)),
        12 => MetadataValue::Float(f64::from_le_bytes(reader.array(what)?)),
        other => {
            return Err(HeaderError::Lies {
                what: "a metadata type".into(),
                problem: format!("is {other}; 0 to 12 expected"),
            });
        }
    })
}

fn read_array(reader: &mut Reader<'_>, depth: u32) -> Result<MetadataValue, HeaderError> {
    if depth >= MAX_NESTING {
        return Err(HeaderError::Lies {
            what: "a metadata array".into(),
            problem: format!("is nested deeper than {MAX_NESTING}"),
        });
    }
    let kind = reader.u32("an array's type")?;
    let length = reader.u64("an array's length")?;
    let (fixed, least) = match kind {
        0 | 1 | 7 => (true, 1),
        2 | 3 => (true, 2),
        4..=6 => (true, 4),
        10..=12 => (true, 8),
        8 => (false, 8),
        9 => (false, 12),
        other => {
            return Err(HeaderError::Lies {
                what: "an array's type".into(),
                problem: format!("is {other}; 0 to 12 expected"),
            });
        }
    };
    reader.claim("an array's length", length, least)?;
    if length <= KEPT_ARRAY {
        let mut values = Vec::new();
        for _ in 0..length {
            values.push(read_value(reader, kind, depth + 1)?);
        }
        return Ok(MetadataValue::Array(values));
    }
    if fixed {
        reader.skip(length.saturating_mul(least), "an array")?;
    } else if kind == 8 {
        for _ in 0..length {
            let bytes = reader.u64("a text's length")?;
            reader.skip(bytes, "a text")?;
        }
    } else {
        for _ in 0..length {
            read_array(reader, depth + 1)?;
        }
    }
    Ok(MetadataValue::LongArray(length))
}

fn read_tensor(reader: &mut Reader<'_>) -> Result<TensorInfo, HeaderError> {
    let name = reader.text("a tensor's name")?;
    let lies = |problem: String| HeaderError::Lies { what: format!("tensor {name:?}"), problem };
    let count = reader.u32("a tensor's number of dimensions")?;
    if !(1..=MAX_DIMENSIONS).contains(&count) {
        return Err(lies(format!("has {count} dimensions; 1 to {MAX_DIMENSIONS} expected")));
    }
    let mut dimensions = Vec::new();
    for _ in 0..count {
        dimensions.push(reader.u64("a tensor's dimension")?);
    }
    let id = reader.u32("a tensor's type")?;
    let offset = reader.u64("a tensor's offset")?;
    let kind = GgmlType::from_id(id)
        .ok_or_else(|| lies(format!("has the type {id}, which no version of ggml defines")))?;
    let rows = dimensions.iter().skip(1).try_fold(1u64, |product, &d| product.checked_mul(d));
    let columns = dimensions.first().copied().unwrap_or_default();
    if dimensions.contains(&0) {
        return Err(lies(format!("has a dimension of 0: {dimensions:?}")));
    }
    if !columns.is_multiple_of(kind.block_elements()) {
        let block = kind.block_elements();
        return Err(lies(format!(
            "has rows of {columns} elements, no multiple of {kind}'s block of {block}"
        )));
    }
    let bytes = rows
        .filter(|rows| rows.checked_mul(columns).is_some())
        .and_then(|rows| kind.tensor_bytes(rows, columns))
        .ok_or_else(|| lies(format!("has dimensions whose product is beyond 2^64: {dimensions:?}")))?;
    Ok(TensorInfo { name, kind, dimensions, offset, bytes: Bytes(bytes) })
}

/// Every tensor lies within the file, aligned, and no two share bytes.
fn check_tensors(
    tensors: &[TensorInfo],
    data_offset: u64,
    file_len: u64,
    alignment: u64,
) -> Result<(), HeaderError> {
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|t| t.offset);
    let mut names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    if let Some([name, _]) = names.array_windows().find(|[a, b]| a == b) {
        return Err(HeaderError::Lies { what: format!("tensor {name:?}"), problem: "is there twice".into() });
    }
    let mut end_of_last = 0u64;
    for tensor in order {
        let lies = |problem: String| HeaderError::Lies { what: format!("tensor {:?}", tensor.name), problem };
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(lies(format!("begins at offset {}, no multiple of {alignment}", tensor.offset)));
        }
        if tensor.offset < end_of_last {
            return Err(lies(format!("begins at offset {}, inside the tensor before it", tensor.offset)));
        }
        let end = tensor.offset.checked_add(tensor.bytes.0);
        match end.and_then(|end| end.checked_add(data_offset)) {
            Some(in_file) if in_file <= file_len => {}
            _ => {
                return Err(lies(format!(
                    "of {} bytes at offset {} ends beyond the file's {file_len} bytes",
                    tensor.bytes.0, tensor.offset
                )));
            }
        }
        end_of_last = end.unwrap_or(u64::MAX);
    }
    Ok(())
}

impl GgufHeader {
    /// Number of parameters: elements of all tensors.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(TensorInfo::elements).fold(0, u64::saturating_add)
    }

    /// Parameters and bytes by storage type, in the order of ggml's numbers.
    #[must_use]
    pub fn stored(&self) -> Vec<StoredBlock> {
        let mut sums: BTreeMap<GgmlType, (u64, Bytes)> = BTreeMap::new();
        for tensor in &self.tensors {
            let sum = sums.entry(tensor.kind).or_default();
            sum.0 = sum.0.saturating_add(tensor.elements());
            sum.1 += tensor.bytes;
        }
        sums.into_iter()
            .map(|(kind, (parameters, bytes))| StoredBlock {
                kind: kind.as_str().to_owned(),
                parameters,
                bytes,
            })
            .collect()
    }

    /// A tensor by its name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|t| t.name == name)
    }
}

#[cfg(test)]
mod tests;
