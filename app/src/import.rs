//! A model from the files that a reader has: `config.json`, or the headers of GGUF and safetensors files. The bytes come from
//! wherever the files are; only as many are asked for as the headers have.

use planner::document::plan::ModelRef;
use planner::gguf::{self, GgufHeader, HeaderError};
use planner::safetensors::{self, Index, SafetensorsHeader};
use planner::{Model, PlanError};
use serde_json::Value;

/// Bytes of a file that are read first: most headers of safetensors are shorter.
pub const FIRST: u64 = 256 << 10;
/// Bytes that no header needs: vocabularies take some ten million.
pub const MOST: u64 = 128 << 20;

/// What the beginning of a file says.
#[derive(Debug, Clone, PartialEq)]
pub enum Head {
    /// A model's `config.json`.
    Config(Value),
    /// The list of a model's safetensors files.
    Index(Index),
    /// The header of a safetensors file.
    Safetensors(SafetensorsHeader),
    /// The header of a GGUF file.
    Gguf(GgufHeader),
}

/// Reads the first bytes of a file of `len` bytes, by what they are and not by the file's name.
///
/// # Errors
/// [`HeaderError::NeedMore`] where the header goes on, else what is wrong with it.
pub fn read(bytes: &[u8], len: u64) -> Result<Head, HeaderError> {
    if bytes.starts_with(b"GGUF") {
        return gguf::parse(bytes, len).map(Head::Gguf);
    }
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return safetensors::parse(bytes, len).map(Head::Safetensors);
    }
    if (bytes.len() as u64) < len {
        return Err(HeaderError::NeedMore { bytes: len });
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| HeaderError::Lies {
        what: "the file".to_owned(),
        problem: format!("is no JSON: {error}"),
    })?;
    if value.get("weight_map").is_some() {
        return safetensors::parse_index(bytes).map(Head::Index);
    }
    Ok(Head::Config(value))
}

/// The model that files describe together.
///
/// # Errors
/// Which file is missing or too many, or what in them is no model that is planned.
pub fn model(files: Vec<(String, Head)>) -> Result<ModelRef, String> {
    let (mut config, mut index, mut headers, mut gguf) = (None, None, Vec::new(), None);
    for (name, head) in files {
        let twice = match head {
            Head::Config(value) => config.replace(value).is_some(),
            Head::Index(list) => index.replace(list).is_some(),
            Head::Gguf(header) => gguf.replace((name.clone(), header)).is_some(),
            Head::Safetensors(header) => {
                headers.push((name.clone(), header));
                false
            }
        };
        if twice {
            return Err(format!("{name} is the second file of its kind: give the files of one model."));
        }
    }
    let planned = |model: ModelRef| match Model::from_ref(&model) {
        Ok(_) => Ok(model),
        Err(error) => Err(told(&error)),
    };
    if let Some((name, header)) = gguf {
        return header.model_ref(stem(&name)).map_err(|error| format!("{name}: {error}.")).and_then(planned);
    }
    let Some(config) = config else {
        return Err(
            "These files say nothing of the model's shape: give its config.json with them.".to_owned()
        );
    };
    if headers.is_empty() {
        return planned(configured(config));
    }
    if let Some(index) = &index {
        let lacks: Vec<&str> =
            index.files().into_iter().filter(|file| headers.iter().all(|(name, _)| name != file)).collect();
        if !lacks.is_empty() {
            return Err(format!("The index names files that were not given: {}.", lacks.join(", ")));
        }
    }
    let named = configured(config.clone()).name.unwrap_or_default();
    let name = match &headers[..] {
        [(file, _)] if named == PASTED => stem(file).to_owned(),
        _ => named,
    };
    planned(safetensors::model_ref(&name, config, headers.iter().map(|(_, header)| header)))
}

/// What a model without a name is called.
const PASTED: &str = "pasted model";

/// The model of a `config.json`.
#[must_use]
pub fn configured(config: Value) -> ModelRef {
    let name = config.get("_name_or_path").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = Some(name.unwrap_or(PASTED).to_owned());
    ModelRef { name, config: Some(config), ..ModelRef::default() }
}

/// An error as a sentence.
#[must_use]
pub fn told(error: &PlanError) -> String {
    format!("{} – {}.", error.problem, error.remedy.trim_end_matches('.'))
}

/// A file's name without what it ends on.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

#[cfg(test)]
mod tests {
    use planner::Bytes;
    use serde_json::json;

    use super::*;

    fn config() -> Value {
        planner::catalogue::model("Qwen/Qwen3-0.6B").unwrap().config.clone()
    }

    /// A safetensors file of one tensor, without its data.
    fn safetensors(name: &str, columns: u64) -> (Vec<u8>, u64) {
        let header =
            json!({ name: { "dtype": "BF16", "shape": [2, columns], "data_offsets": [0, 4 * columns] } });
        let text = header.to_string();
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.bytes());
        let len = bytes.len() as u64 + 4 * columns;
        (bytes, len)
    }

    fn head(name: &str) -> (String, Head) {
        let (bytes, len) = safetensors("a", 1 << 30);
        (name.to_owned(), read(&bytes, len).unwrap())
    }

    #[test]
    fn a_file_is_known_by_its_beginning() {
        let text = config().to_string();
        assert!(matches!(read(text.as_bytes(), text.len() as u64), Ok(Head::Config(_))));
        assert_eq!(
            read(&text.as_bytes()[..100], text.len() as u64),
            Err(HeaderError::NeedMore { bytes: text.len() as u64 })
        );
        let index = json!({ "weight_map": { "a": "model-1.safetensors" } }).to_string();
        assert!(matches!(read(index.as_bytes(), index.len() as u64), Ok(Head::Index(_))));
        let (bytes, len) = safetensors("model.embed_tokens.weight", 1 << 40);
        let Ok(Head::Safetensors(header)) = read(&bytes, len) else { panic!() };
        assert_eq!(header.tensors[0].bytes, Bytes(4 << 40), "four terabytes, of which the header was read");
        assert!(matches!(read(&bytes[..20], len), Err(HeaderError::NeedMore { .. })));
        assert!(matches!(read(b"GGUF\x03\0\0\0", 1 << 30), Err(HeaderError::NeedMore { .. })));
        for wrong in [&b"{\"a\":"[..], b"a zip or what", b""] {
            let error = read(wrong, wrong.len() as u64).unwrap_err();
            assert!(!matches!(error, HeaderError::NeedMore { .. }), "{error}");
        }
    }

    #[test]
    fn files_of_one_model_are_a_model() {
        let config = || ("config.json".to_owned(), Head::Config(config()));
        let alone = model(vec![config()]).unwrap();
        assert_eq!((alone.name.as_deref(), alone.stored), (Some(PASTED), None));
        let both = model(vec![head("qwen.safetensors"), config()]).unwrap();
        assert_eq!(both.name.as_deref(), Some("qwen"));
        assert_eq!(both.stored.unwrap()[0].bytes, Bytes(4 << 30));
        let index = || {
            let text = br#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
            ("index.json".to_owned(), read(text, text.len() as u64).unwrap())
        };
        assert!(model(vec![config(), index(), head("1.safetensors"), head("2.safetensors")]).is_ok());
        for (files, said) in [
            (vec![head("a.safetensors")], "config.json"),
            (vec![config(), config()], "second file"),
            (vec![config(), index(), head("1.safetensors")], "2.safetensors"),
            (vec![("c".to_owned(), Head::Config(json!({"model_type": "none"})))], "none"),
            (vec![], "config.json"),
        ] {
            let error = model(files).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
