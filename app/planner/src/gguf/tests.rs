//! Headers that are whole, cut anywhere, and headers that lie.

use super::*;
use crate::ggml::GgmlType;
use crate::model::Architecture;

/// Writes a header as a careless or hostile program could.
#[derive(Clone)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn new(version: u32, tensors: u64, metadata: u64) -> Self {
        let mut w = Self { bytes: b"GGUF".to_vec() };
        w.u32(version);
        w.u64(tensors);
        w.u64(metadata);
        w
    }
    fn u32(&mut self, n: u32) -> &mut Self {
        self.bytes.extend(n.to_le_bytes());
        self
    }
    fn u64(&mut self, n: u64) -> &mut Self {
        self.bytes.extend(n.to_le_bytes());
        self
    }
    fn text(&mut self, s: &str) -> &mut Self {
        self.u64(s.len() as u64);
        self.bytes.extend(s.as_bytes());
        self
    }
    fn key_text(&mut self, key: &str, value: &str) -> &mut Self {
        self.text(key).u32(8).text(value)
    }
    fn key_u32(&mut self, key: &str, value: u32) -> &mut Self {
        self.text(key).u32(4).u32(value)
    }
    fn tensor(&mut self, name: &str, dimensions: &[u64], kind: u32, offset: u64) -> &mut Self {
        self.text(name).u32(u32::try_from(dimensions.len()).unwrap());
        for d in dimensions {
            self.u64(*d);
        }
        self.u32(kind).u64(offset)
    }
    /// The header with `data` zero bytes after it, aligned.
    fn file(&self, data: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
        bytes
    }
}

/// A Llama of one layer, hidden 32, 2 heads, vocabulary 64, feed-forward 64; f32 vectors and `q8_0` matrices.
fn tiny() -> (Vec<u8>, u64) {
    let vectors = ["blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"];
    let matrices: [(&str, [u64; 2]); 8] = [
        ("token_embd.weight", [32, 64]),
        ("blk.0.attn_q.weight", [32, 32]),
        ("blk.0.attn_k.weight", [32, 16]),
        ("blk.0.attn_v.weight", [32, 16]),
        ("blk.0.attn_output.weight", [32, 32]),
        ("blk.0.ffn_gate.weight", [32, 64]),
        ("blk.0.ffn_up.weight", [32, 64]),
        ("blk.0.ffn_down.weight", [64, 32]),
    ];
    let mut w = Writer::new(3, 11, 9);
    w.key_text("general.architecture", "llama");
    w.key_u32("llama.block_count", 1)
        .key_u32("llama.embedding_length", 32)
        .key_u32("llama.context_length", 128);
    w.key_u32("llama.attention.head_count", 2).key_u32("llama.attention.head_count_kv", 1);
    w.key_u32("llama.feed_forward_length", 64);
    w.text("llama.rope.freq_base").u32(6).u32(10_000f32.to_bits());
    // A vocabulary: an array of texts.
    w.text("tokenizer.ggml.tokens").u32(9).u32(8).u64(2).text("a").text("bc");
    let mut offset = 0;
    for name in vectors {
        w.tensor(name, &[32], 0, offset);
        offset += 128;
    }
    for (name, dimensions) in matrices {
        w.tensor(name, &dimensions, 8, offset);
        offset += (dimensions[0] * dimensions[1] / 32 * 34).next_multiple_of(32);
    }
    let file = w.file(usize::try_from(offset).unwrap());
    let length = file.len() as u64;
    (file, length)
}

#[test]
fn a_small_header_is_a_model() {
    let (file, length) = tiny();
    let header = parse(&file, length).unwrap();
    assert_eq!((header.version, header.tensors.len()), (3, 11));
    assert_eq!(header.data_offset % 32, 0);
    let model = header.model("tiny").unwrap();
    assert_eq!(model.architecture, Architecture::Llama);
    assert_eq!((model.hidden, model.vocab, model.max_tokens.0), (32, 64, 128));
    assert!(model.tied_embeddings, "there is no output.weight");
    assert_eq!(model.parameters().total, header.parameters());
    let stored = header.stored();
    assert_eq!(stored.iter().map(|b| b.kind.as_str()).collect::<Vec<_>>(), ["f32", "q8_0"]);
    assert_eq!((stored[0].parameters, stored[0].bytes), (96, Bytes(384)));
    let reference = header.model_ref("tiny").unwrap();
    let again = Model::from_ref(&reference).unwrap();
    assert_eq!(again, model, "a plan carries the same model");
}

/// Cut at every byte: as a prefix it asks for more and says how much, until it is whole; as a file it is truncated.
#[test]
fn a_header_cut_anywhere_says_so() {
    let (file, length) = tiny();
    let whole = parse(&file, length).unwrap();
    let header_length = usize::try_from(whole.data_offset).unwrap();
    let mut complete_at = None;
    for cut in 0..header_length {
        match parse(&file[..cut], length) {
            Ok(header) => {
                assert_eq!(header, whole);
                complete_at.get_or_insert(cut);
            }
            Err(HeaderError::NeedMore { bytes }) => {
                assert!(bytes > cut as u64 && bytes <= length, "cut at {cut} asks for {bytes}");
                assert!(complete_at.is_none());
            }
            Err(other) => panic!("cut at {cut}: {other}"),
        }
        let short = parse(&file[..cut], cut as u64).unwrap_err();
        assert!(!matches!(short, HeaderError::NeedMore { .. }), "a file of {cut} bytes has no more to read");
    }
    assert!(complete_at.is_some_and(|at| at > header_length - 32));
    // Reading on as it asks ends.
    let mut have = 0u64;
    let mut rounds = 0;
    while let Err(HeaderError::NeedMore { bytes }) = parse(&file[..usize::try_from(have).unwrap()], length) {
        have = bytes;
        rounds += 1;
    }
    assert!(rounds < 200);
}

/// Every byte of the header replaced by every of a few hostile values: a header or an error, never a panic.
#[test]
fn a_damaged_header_never_panics() {
    let (file, length) = tiny();
    let header_length = usize::try_from(parse(&file, length).unwrap().data_offset).unwrap();
    for at in 0..header_length {
        for value in [0u8, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = file.clone();
            damaged[at] = value;
            if let Ok(header) = parse(&damaged, length) {
                let _ = header.model("damaged");
                let _ = header.stored();
            }
        }
    }
}

#[test]
fn lies_are_named() {
    let huge = u64::MAX;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("magic", b"GGML\x03\0\0\0".to_vec(), "no GGUF file"),
        ("old version", Writer::new(1, 0, 0).file(0), "version 1"),
        ("future version", Writer::new(4, 0, 0).file(0), "version 4"),
        ("big endian", Writer::new(3u32.swap_bytes(), 0, 0).file(0), "big-endian"),
        ("tensor count", Writer::new(3, huge, 0).file(64), "tensor_count"),
        ("tensor count beyond the file", Writer::new(3, 1000, 0).file(64), "tensor_count"),
        ("metadata count", Writer::new(3, 0, huge).file(64), "metadata_kv_count"),
        ("key length", Writer::new(3, 0, 1).u64(huge).file(64), "cut short"),
        ("text length", Writer::new(3, 0, 1).text("k").u32(8).u64(huge).file(64), "cut short"),
        (
            "array length",
            Writer::new(3, 0, 1).text("k").u32(9).u32(4).u64(huge).file(64),
            "an array's length",
        ),
        (
            "array of arrays",
            Writer::new(3, 0, 1).text("k").u32(9).u32(9).u64(huge / 12).file(64),
            "an array's length",
        ),
        ("array type", Writer::new(3, 0, 1).text("k").u32(9).u32(13).u64(1).file(64), "an array's type"),
        ("value type", Writer::new(3, 0, 1).text("k").u32(13).u64(1).file(64), "a metadata type"),
        ("boolean", Writer::new(3, 0, 1).text("k").u32(7).u32(2).file(64), "boolean"),
        ("key twice", Writer::new(3, 0, 2).key_u32("k", 1).key_u32("k", 1).file(0), "twice"),
        ("alignment 0", Writer::new(3, 0, 1).key_u32("general.alignment", 0).file(0), "general.alignment"),
        ("alignment 3", Writer::new(3, 0, 1).key_u32("general.alignment", 3).file(0), "general.alignment"),
        ("no dimensions", Writer::new(3, 1, 0).tensor("t", &[], 0, 0).file(64), "0 dimensions"),
        ("five dimensions", Writer::new(3, 1, 0).tensor("t", &[1; 5], 0, 0).file(64), "5 dimensions"),
        ("dimension 0", Writer::new(3, 1, 0).tensor("t", &[0], 0, 0).file(64), "dimension of 0"),
        ("overflow", Writer::new(3, 1, 0).tensor("t", &[1 << 40, 1 << 40], 0, 0).file(64), "beyond 2^64"),
        ("overflow in bytes", Writer::new(3, 1, 0).tensor("t", &[1 << 63], 0, 0).file(64), "beyond 2^64"),
        ("unknown type", Writer::new(3, 1, 0).tensor("t", &[32], 31, 0).file(64), "type 31"),
        ("half a block", Writer::new(3, 1, 0).tensor("t", &[33], 2, 0).file(64), "block of 32"),
        ("beyond the file", Writer::new(3, 1, 0).tensor("t", &[64], 0, 0).file(64), "beyond the file"),
        ("offset beyond", Writer::new(3, 1, 0).tensor("t", &[1], 0, huge - 31).file(64), "beyond the file"),
        ("offset askew", Writer::new(3, 1, 0).tensor("t", &[1], 0, 1).file(64), "no multiple of 32"),
        ("twice", Writer::new(3, 2, 0).tensor("t", &[1], 0, 0).tensor("t", &[1], 0, 32).file(64), "twice"),
        (
            "shared bytes",
            Writer::new(3, 2, 0).tensor("a", &[16], 0, 0).tensor("b", &[1], 0, 32).file(64),
            "inside",
        ),
        (
            "not UTF-8",
            {
                let mut w = Writer::new(3, 0, 1);
                w.u64(1).bytes.push(0xff);
                w.u32(0);
                w.file(64)
            },
            "UTF-8",
        ),
    ];
    for (name, file, needle) in cases {
        let error = parse(&file, file.len() as u64).expect_err(name).to_string();
        assert!(error.contains(needle), "{name}: {error}");
    }
}

#[test]
fn nesting_has_an_end() {
    let mut w = Writer::new(3, 0, 1);
    w.text("k").u32(9);
    for _ in 0..100 {
        w.u32(9).u64(1);
    }
    let file = w.file(4096);
    let error = parse(&file, file.len() as u64).unwrap_err().to_string();
    assert!(error.contains("nested"), "{error}");
}

#[test]
fn metadata_that_describe_no_model_are_named() {
    let with = |build: &dyn Fn(&mut Writer)| {
        let mut w = Writer::new(3, 0, 0);
        build(&mut w);
        let count =
            w.bytes.windows(8).filter(|b| b.starts_with(b"general.") || b.starts_with(b"llama.")).count();
        w.bytes[16..24].copy_from_slice(&(count as u64).to_le_bytes());
        let file = w.file(0);
        parse(&file, file.len() as u64).unwrap().model("m").unwrap_err()
    };
    assert_eq!(with(&|_| {}).field(), Some("general.architecture"));
    let unknown = with(&|w| {
        w.key_text("general.architecture", "mamba");
    });
    assert!(unknown.to_string().contains("known: llama, qwen2"), "{unknown}");
    let bare = with(&|w| {
        w.key_text("general.architecture", "llama");
    });
    assert_eq!(bare.field(), Some("llama.embedding_length"));
    let experts = with(&|w| {
        w.key_text("general.architecture", "llama").key_u32("llama.expert_count", 8);
    });
    assert_eq!(experts.field(), Some("llama.expert_used_count"));
}

/// A header that claims another shape than its tensors have.
#[test]
fn metadata_must_agree_with_the_tensors() {
    let (file, length) = tiny();
    let mut header = parse(&file, length).unwrap();
    header.metadata.insert("llama.feed_forward_length".into(), MetadataValue::Unsigned(96));
    let error = header.model("m").unwrap_err().to_string();
    assert!(error.contains("parameters"), "{error}");
    for (key, value) in [
        ("llama.embedding_length", MetadataValue::Unsigned(0)),
        ("llama.block_count", MetadataValue::Unsigned(u64::MAX)),
        ("llama.attention.head_count", MetadataValue::Signed(-1)),
        ("llama.context_length", MetadataValue::Float(1.5)),
        (
            "llama.attention.head_count_kv",
            MetadataValue::Array(vec![MetadataValue::Unsigned(1), MetadataValue::Unsigned(2)]),
        ),
    ] {
        let mut header = parse(&file, length).unwrap();
        header.metadata.insert(key.into(), value.clone());
        assert!(header.model("m").is_err(), "{key} {value:?}");
    }
}

use crate::bytes::Bytes;
use crate::model::Model;

/// A header of f16 tensors, without a file around it.
fn described(architecture: &str, keys: &[(&str, u64)], tensors: &[(&str, &[u64])]) -> GgufHeader {
    let metadata = keys
        .iter()
        .map(|(key, n)| (format!("{architecture}.{key}"), MetadataValue::Unsigned(*n)))
        .chain([("general.architecture".to_owned(), MetadataValue::Text(architecture.to_owned()))])
        .collect();
    let tensors = tensors
        .iter()
        .map(|(name, dimensions)| TensorInfo {
            name: (*name).to_owned(),
            kind: GgmlType::F16,
            dimensions: dimensions.to_vec(),
            offset: 0,
            bytes: Bytes(dimensions.iter().product::<u64>() * 2),
        })
        .collect();
    GgufHeader { version: 3, metadata, tensors, data_offset: 0 }
}

#[test]
fn a_header_of_experts_is_a_model() {
    let keys = [
        ("block_count", 1),
        ("embedding_length", 64),
        ("context_length", 128),
        ("feed_forward_length", 96),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("attention.key_length", 32),
        ("expert_count", 8),
        ("expert_used_count", 2),
        ("expert_feed_forward_length", 16),
    ];
    let tensors: &[(&str, &[u64])] = &[
        ("token_embd.weight", &[64, 100]),
        ("output.weight", &[64, 100]),
        ("output_norm.weight", &[64]),
        ("blk.0.attn_norm.weight", &[64]),
        ("blk.0.ffn_norm.weight", &[64]),
        ("blk.0.attn_q.weight", &[64, 128]),
        ("blk.0.attn_k.weight", &[64, 64]),
        ("blk.0.attn_v.weight", &[64, 64]),
        ("blk.0.attn_q_norm.weight", &[32]),
        ("blk.0.attn_k_norm.weight", &[32]),
        ("blk.0.attn_output.weight", &[128, 64]),
        ("blk.0.ffn_gate_inp.weight", &[64, 8]),
        ("blk.0.ffn_gate_exps.weight", &[64, 16, 8]),
        ("blk.0.ffn_up_exps.weight", &[64, 16, 8]),
        ("blk.0.ffn_down_exps.weight", &[16, 64, 8]),
    ];
    let model = described("qwen3moe", &keys, tensors).model("m").unwrap();
    assert_eq!(model.architecture, Architecture::Qwen3Moe);
    let experts = model.layers[0].experts().unwrap();
    assert_eq!((experts.routed, experts.active, experts.expert.intermediate), (8, 2, 16));
    assert!(described("qwen3moe", &keys, &tensors[..14]).model("m").is_err(), "a tensor is missing");
}

/// Latent attention whose expansion is stored by head (`attn_k_b`, `attn_v_b`), with a first dense layer.
#[test]
fn a_header_of_latent_attention_is_a_model() {
    let keys = [
        ("block_count", 1),
        ("embedding_length", 64),
        ("context_length", 128),
        ("feed_forward_length", 96),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 1),
        ("attention.key_length", 40),
        ("attention.value_length", 32),
        ("attention.key_length_mla", 24),
        ("attention.value_length_mla", 16),
        ("attention.kv_lora_rank", 32),
        ("rope.dimension_count", 8),
        ("expert_count", 8),
        ("expert_used_count", 2),
        ("expert_feed_forward_length", 16),
        ("expert_shared_count", 1),
        ("leading_dense_block_count", 1),
    ];
    let tensors: &[(&str, &[u64])] = &[
        ("token_embd.weight", &[64, 100]),
        ("output.weight", &[64, 100]),
        ("output_norm.weight", &[64]),
        ("blk.0.attn_norm.weight", &[64]),
        ("blk.0.ffn_norm.weight", &[64]),
        ("blk.0.attn_q.weight", &[64, 96]),
        ("blk.0.attn_kv_a_mqa.weight", &[64, 40]),
        ("blk.0.attn_kv_a_norm.weight", &[32]),
        ("blk.0.attn_k_b.weight", &[16, 32, 4]),
        ("blk.0.attn_v_b.weight", &[32, 16, 4]),
        ("blk.0.attn_output.weight", &[64, 64]),
        ("blk.0.ffn_gate.weight", &[64, 96]),
        ("blk.0.ffn_up.weight", &[64, 96]),
        ("blk.0.ffn_down.weight", &[96, 64]),
    ];
    let model = described("deepseek2", &keys, tensors).model("m").unwrap();
    assert_eq!(model.cache_elements_per_token(), 40);
    assert!(model.layers[0].dense().is_some());
}
