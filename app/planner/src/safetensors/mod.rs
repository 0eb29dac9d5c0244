//! The header of a safetensors file, and the index of a model in several files.
//!
//! Format: <https://github.com/huggingface/safetensors>: eight bytes of length (little endian), a JSON object, the data.

mod index;
mod json;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

pub use index::{Index, parse_index};

use crate::bytes::Bytes;
use crate::document::plan::{ModelRef, StoredBlock};
use crate::gguf::HeaderError;

/// The longest header that the format's own library accepts.
const MAX_HEADER: u64 = 100_000_000;

/// The header of a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafetensorsHeader {
    /// Tensors in the order of their data.
    pub tensors: Vec<TensorInfo>,
    /// Free metadata.
    pub metadata: BTreeMap<String, String>,
    /// Where the tensors' data begins in the file.
    pub data_offset: u64,
}

/// A tensor of a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, for example `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// Its number format.
    pub dtype: Dtype,
    /// Its dimensions, rows first; empty: a scalar.
    pub shape: Vec<u64>,
    /// Its size.
    pub bytes: Bytes,
}

impl TensorInfo {
    /// Number of elements. The parser has checked that the product is below 2^64.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.shape.iter().copied().fold(1, u64::saturating_mul)
    }
}

macro_rules! dtypes {
    ($($variant:ident, $name:literal, $stored:literal, $bits:literal;)+) => {
        /// A number format of safetensors.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, non_camel_case_types, reason = "the names are the format's own")]
        pub enum Dtype { $($variant),+ }

        impl Dtype {
            /// The format of a name in a header.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }

            /// The format of a name in a plan's `stored`.
            #[must_use]
            pub fn from_stored(name: &str) -> Option<Self> {
                match name { $($stored => Some(Self::$variant),)+ _ => None }
            }

            /// As a plan's `stored` calls it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $stored),+ }
            }

            /// Bits of one element.
            #[must_use]
            pub const fn bits(self) -> u64 {
                match self { $(Self::$variant => $bits),+ }
            }
        }
    };
}

dtypes! {
    F32, "F32", "f32", 32;
    F16, "F16", "f16", 16;
    Bf16, "BF16", "bf16", 16;
    F64, "F64", "f64", 64;
    F8E4m3, "F8_E4M3", "f8_e4m3", 8;
    F8E5m2, "F8_E5M2", "f8_e5m2", 8;
    F8E8m0, "F8_E8M0", "f8_e8m0", 8;
    F6E2m3, "F6_E2M3", "f6_e2m3", 6;
    F6E3m2, "F6_E3M2", "f6_e3m2", 6;
    F4, "F4", "f4", 4;
    Bool, "BOOL", "bool", 8;
    U8, "U8", "u8", 8;
    I8, "I8", "i8", 8;
    U16, "U16", "u16", 16;
    I16, "I16", "i16", 16;
    U32, "U32", "u32", 32;
    I32, "I32", "i32", 32;
    U64, "U64", "u64", 64;
    I64, "I64", "i64", 64;
    C64, "C64", "c64", 64;
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads a header from the first bytes of a file of `file_len` bytes. `prefix` may be shorter than the header:
/// [`HeaderError::NeedMore`] then says how many bytes to read before trying again.
///
/// # Errors
/// What in the header is wrong and where; never a panic, and never an allocation by a length that was not checked.
pub fn parse(prefix: &[u8], file_len: u64) -> Result<SafetensorsHeader, HeaderError> {
    let mut reader = crate::gguf::Reader::new(prefix, file_len);
    let length = reader.u64("the header's length")?;
    let whole = |problem: String| HeaderError::Lies { what: "the header's length".into(), problem };
    if length > MAX_HEADER {
        return Err(whole(format!("is {length} bytes; at most {MAX_HEADER} (is it a safetensors file?)")));
    }
    if length < 2 {
        return Err(whole(format!("is {length} bytes; a JSON object has at least 2")));
    }
    let text = reader.bytes(length, "the header")?;
    if text.first() != Some(&b'{') {
        return Err(HeaderError::BadMagic {
            format: "safetensors",
            expected: "a JSON object after eight bytes of length",
            found: format!("{:02x} there", text.first().copied().unwrap_or_default()),
        });
    }
    let entries = json::entries(text).map_err(|e| HeaderError::Lies {
        what: "the header".into(),
        problem: format!("is no valid JSON: {e}"),
    })?;
    let data_offset = reader.position();
    let mut metadata = BTreeMap::new();
    let mut spans: Vec<(u64, u64, TensorInfo)> = Vec::new();
    for (name, value) in entries {
        if name == "__metadata__" {
            metadata = read_metadata(value)?;
        } else {
            spans.push(read_tensor(name, &value)?);
        }
    }
    spans.sort_by_key(|(begin, end, _)| (*begin, *end));
    let mut end_of_last = 0;
    for (begin, end, tensor) in &spans {
        let lies = |problem: String| HeaderError::Lies { what: format!("tensor {:?}", tensor.name), problem };
        if *begin < end_of_last {
            return Err(lies(format!(
                "begins at {begin}, inside the tensor before it, which ends at {end_of_last}"
            )));
        }
        if *begin > end_of_last {
            return Err(lies(format!(
                "begins at {begin}; the tensor before it ends at {end_of_last}, a hole between"
            )));
        }
        if data_offset.checked_add(*end).is_none_or(|end| end > file_len) {
            return Err(lies(format!(
                "ends at {end}, beyond the file's {} bytes of data",
                file_len - data_offset
            )));
        }
        end_of_last = *end;
    }
    if data_offset + end_of_last != file_len {
        return Err(HeaderError::Lies {
            what: "the header".into(),
            problem: format!(
                "describes {end_of_last} bytes of data, the file has {}",
                file_len - data_offset
            ),
        });
    }
    Ok(SafetensorsHeader { tensors: spans.into_iter().map(|(_, _, t)| t).collect(), metadata, data_offset })
}

fn read_metadata(value: Value) -> Result<BTreeMap<String, String>, HeaderError> {
    let lies = || HeaderError::Lies { what: "__metadata__".into(), problem: "is no object of texts".into() };
    let Value::Object(map) = value else { return Err(lies()) };
    map.into_iter()
        .map(|(key, value)| match value {
            Value::String(text) => Ok((key, text)),
            _ => Err(lies()),
        })
        .collect()
}

fn read_tensor(name: String, value: &Value) -> Result<(u64, u64, TensorInfo), HeaderError> {
    let lies = |problem: String| HeaderError::Lies { what: format!("tensor {name:?}"), problem };
    let Value::Object(map) = value else { return Err(lies("is no JSON object".into())) };
    if let Some(other) = map.keys().find(|k| !matches!(k.as_str(), "dtype" | "shape" | "data_offsets")) {
        return Err(lies(format!("has the unknown field {other:?}; dtype, shape and data_offsets expected")));
    }
    let dtype = match map.get("dtype").and_then(Value::as_str) {
        None => return Err(lies("has no dtype".into())),
        Some(given) => {
            Dtype::from_name(given).ok_or_else(|| lies(format!("has the unknown dtype {given:?}")))?
        }
    };
    let numbers =
        |field: &str| -> Option<Vec<u64>> { map.get(field)?.as_array()?.iter().map(Value::as_u64).collect() };
    let shape = numbers("shape").ok_or_else(|| lies("has no shape of whole numbers".into()))?;
    let offsets =
        numbers("data_offsets").ok_or_else(|| lies("has no data_offsets of whole numbers".into()))?;
    let &[begin, end] = offsets.as_slice() else {
        return Err(lies(format!("has {} data_offsets; 2 expected", offsets.len())));
    };
    let Some(span) = end.checked_sub(begin) else {
        return Err(lies(format!("ends at {end}, before it begins at {begin}")));
    };
    let bits = shape.iter().try_fold(dtype.bits(), |product, &d| product.checked_mul(d));
    match bits {
        Some(bits) if bits.is_multiple_of(8) && bits / 8 == span => {}
        _ => {
            return Err(lies(format!(
                "of shape {} in {dtype} does not take the {span} bytes between its offsets",
                shown(&shape)
            )));
        }
    }
    Ok((begin, end, TensorInfo { name, dtype, shape, bytes: Bytes(span) }))
}

/// A shape, cut so that an error stays a line.
fn shown(shape: &[u64]) -> String {
    let mut text = shape.iter().take(8).map(u64::to_string).collect::<Vec<_>>().join("×");
    if shape.len() > 8 {
        text.push_str("×…");
    }
    text
}

/// Parameters and bytes by number format, over all files of a model.
#[must_use]
pub fn stored<'a>(headers: impl IntoIterator<Item = &'a SafetensorsHeader>) -> Vec<StoredBlock> {
    let mut sums: BTreeMap<Dtype, (u64, Bytes)> = BTreeMap::new();
    for tensor in headers.into_iter().flat_map(|h| &h.tensors) {
        let sum = sums.entry(tensor.dtype).or_default();
        sum.0 = sum.0.saturating_add(tensor.elements());
        sum.1 += tensor.bytes;
    }
    sums.into_iter()
        .map(|(dtype, (parameters, bytes))| StoredBlock {
            kind: dtype.as_str().to_owned(),
            parameters,
            bytes,
        })
        .collect()
}

/// The model of a plan from a model's `config.json` and the headers of all its files.
#[must_use]
pub fn model_ref<'a>(
    name: &str,
    config: Value,
    headers: impl IntoIterator<Item = &'a SafetensorsHeader>,
) -> ModelRef {
    ModelRef {
        name: Some(name.to_owned()),
        config: Some(config),
        stored: Some(stored(headers)),
        ..ModelRef::default()
    }
}

#[cfg(test)]
mod tests;
