//! Words of an axis for what is not a number.

use std::str::FromStr;

use planner::Tokens;
use planner::document::plan::{Attention, CacheKind, Checkpointing, Lora, Optimizer, TrainMethod};
use planner::document::precision::CachePrecision;

use super::parse_list;
use crate::case::Variant;
use crate::cuda::{EventTracking, ReleaseThreshold};
use crate::training::ALL_TARGETS;

/// Attention variants; `default` is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Attentions(pub Vec<Attention>);

impl FromStr for Attentions {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let words = parse_list(text).map_err(|e| e.to_string())?;
        if words == ["default"] {
            return Ok(Self(Vec::new()));
        }
        words.iter().map(|word| attention(word)).collect::<Result<_, _>>().map(Self)
    }
}

fn attention(word: &str) -> Result<Attention, String> {
    match word {
        "eager" => return Ok(Attention::Eager),
        "memory-efficient" => return Ok(Attention::MemoryEfficient),
        "flash" => return Ok(Attention::Flash),
        "default" => {
            return Err("default stands alone: it is the variant that the engine takes by itself".into());
        }
        _ => {}
    }
    let (kind, numbers) = word.split_once(':').unwrap_or((word, ""));
    let numbers: Option<Vec<u32>> = numbers.split(':').map(|n| n.parse().ok()).collect();
    let tokens = |n: u32| Tokens(u64::from(n));
    match (kind, numbers.as_deref()) {
        ("sliding-window", Some(&[window])) if window > 0 => {
            Ok(Attention::SlidingWindow { window: tokens(window) })
        }
        ("longformer", Some(&[window, globals])) if window > 0 => {
            Ok(Attention::Longformer { window: tokens(window), global_tokens: tokens(globals) })
        }
        ("big-bird", Some(&[block, window_blocks, global_blocks, random_blocks]))
            if block > 0 && window_blocks > 0 =>
        {
            Ok(Attention::BigBird { block: tokens(block), window_blocks, global_blocks, random_blocks })
        }
        _ => Err(format!(
            "unknown attention \"{word}\"; accepted: default, eager, memory-efficient, flash, sliding-window:TOKENS, \
             longformer:WINDOW:GLOBALS, big-bird:BLOCK:WINDOW:GLOBALS:RANDOM (the last three in blocks)"
        )),
    }
}

/// Methods of training and their adapters: `full`, `lora:8`, `qlora:16:q_proj+v_proj`.
#[derive(Debug, Clone, PartialEq)]
pub struct Methods(pub Vec<(TrainMethod, Option<Lora>)>);

impl FromStr for Methods {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let words = parse_list(text).map_err(|e| e.to_string())?;
        words.iter().map(|word| method(word)).collect::<Result<_, _>>().map(Self)
    }
}

fn method(word: &str) -> Result<(TrainMethod, Option<Lora>), String> {
    let unknown = || {
        format!(
            "unknown method \"{word}\"; accepted: full, lora:RANK, qlora:RANK, and after another colon the modules with an adapter, as in lora:8:q_proj+v_proj (left out: all)"
        )
    };
    let mut parts = word.split(':');
    let method = match parts.next() {
        Some("full") if word == "full" => return Ok((TrainMethod::Full, None)),
        Some("lora") => TrainMethod::Lora,
        Some("qlora") => TrainMethod::Qlora,
        _ => return Err(unknown()),
    };
    let rank = parts.next().and_then(|n| n.parse().ok()).filter(|rank| *rank > 0).ok_or_else(unknown)?;
    let targets = match parts.next() {
        None => ALL_TARGETS.map(str::to_owned).to_vec(),
        Some(named) => named.split('+').map(str::to_owned).collect(),
    };
    match parts.next() {
        None => Ok((method, Some(Lora { rank, targets, train_embeddings: false }))),
        Some(_) => Err(unknown()),
    }
}

/// Values of an axis that are named in the contract; `default` is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<T>(pub Vec<T>);

/// A value of an axis by its name.
pub trait Name: Sized + Copy + 'static {
    /// What the axis is.
    const WHAT: &'static str;
    /// Every value, with its name.
    fn all() -> Vec<(&'static str, Self)>;
}

impl Name for Variant {
    const WHAT: &'static str = "variant";
    fn all() -> Vec<(&'static str, Self)> {
        [Self::Stock, Self::Plimsoll].map(|v| (v.as_str(), v)).to_vec()
    }
}

impl Name for CacheKind {
    const WHAT: &'static str = "cache";
    fn all() -> Vec<(&'static str, Self)> {
        // No engine of the runner has pages.
        Self::ALL.iter().filter(|kind| **kind != Self::Paged).map(|kind| (kind.as_str(), *kind)).collect()
    }
}

impl Name for CachePrecision {
    const WHAT: &'static str = "cache precision";
    fn all() -> Vec<(&'static str, Self)> {
        // Blocks of numbers are llama.cpp's.
        [Self::Fp32, Self::Bf16, Self::Fp16, Self::Fp8, Self::Int8].map(|p| (p.as_str(), p)).to_vec()
    }
}

impl Name for Optimizer {
    const WHAT: &'static str = "optimizer";
    fn all() -> Vec<(&'static str, Self)> {
        vec![("adamw", Self::Adamw), ("sgd", Self::Sgd)]
    }
}

impl Name for Checkpointing {
    const WHAT: &'static str = "checkpointing";
    fn all() -> Vec<(&'static str, Self)> {
        vec![("none", Self::None), ("full", Self::Full)]
    }
}

impl Name for ReleaseThreshold {
    const WHAT: &'static str = "release threshold";
    fn all() -> Vec<(&'static str, Self)> {
        [Self::Zero, Self::Max].map(|v| (v.as_str(), v)).to_vec()
    }
}

impl Name for EventTracking {
    const WHAT: &'static str = "event tracking";
    fn all() -> Vec<(&'static str, Self)> {
        [Self::On, Self::Off].map(|v| (v.as_str(), v)).to_vec()
    }
}

impl<T: Name> FromStr for Named<T> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let words = parse_list(text).map_err(|e| e.to_string())?;
        if words == ["default"] {
            return Ok(Self(Vec::new()));
        }
        let all = T::all();
        let value = |word: &String| {
            all.iter().find_map(|(name, value)| (name == word).then_some(*value)).ok_or_else(|| {
                let accepted: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
                format!("unknown {} \"{word}\"; accepted: default, {}", T::WHAT, accepted.join(", "))
            })
        };
        words.iter().map(value).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use planner::Tokens;
    use planner::document::plan::{Attention, CacheKind, Checkpointing, Optimizer};

    use super::{Attentions, Methods, Named};
    use crate::case::{Variant, attention_word};
    use crate::training::{Training, product};

    #[test]
    fn attention_variants() {
        assert_eq!("default".parse(), Ok(Attentions(vec![])));
        let want = vec![Attention::Eager, Attention::SlidingWindow { window: Tokens(512) }];
        assert_eq!("eager,sliding-window:512,eager".parse(), Ok(Attentions(want)));
        let want = vec![
            Attention::Longformer { window: Tokens(64), global_tokens: Tokens(0) },
            Attention::BigBird { block: Tokens(64), window_blocks: 3, global_blocks: 2, random_blocks: 1 },
        ];
        for attention in &want {
            assert_eq!(attention_word(attention).parse(), Ok(Attentions(vec![attention.clone()])));
        }
        assert_eq!("longformer:64:0,big-bird:64:3:2:1".parse(), Ok(Attentions(want)));
        for (text, part) in [
            ("default,eager", "default stands alone"),
            ("paged", "accepted: default, eager"),
            ("sliding-window:0", "accepted: default, eager"),
            ("longformer:64", "longformer:WINDOW:GLOBALS"),
            ("big-bird:64:0:1:1", "big-bird:BLOCK"),
        ] {
            let error = text.parse::<Attentions>().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn named_values() {
        assert_eq!("stock,plimsoll".parse(), Ok(Named(vec![Variant::Stock, Variant::Plimsoll])));
        assert_eq!("default".parse(), Ok(Named::<CacheKind>(vec![])));
        let error = "paged".parse::<Named<CacheKind>>().unwrap_err();
        assert!(error.contains("accepted: default, growing, slab, rotating"), "{error}");
    }

    #[test]
    fn training_steps() {
        let methods: Methods = "full,lora:8,qlora:4:q_proj+v_proj".parse().unwrap();
        let steps = product(
            &methods.0,
            &[Optimizer::Adamw, Optimizer::Sgd],
            &[Checkpointing::None, Checkpointing::Full],
            &[1, 2],
            true,
        );
        let names: Vec<String> = steps.iter().map(Training::name).collect();
        assert_eq!(names.len(), 3 * 2 * 2 * 2);
        assert_eq!(names[0], "train:full:adamw:mixed");
        assert_eq!(names[11], "train:lora8:adamw:mixed:acc2:ckpt");
        assert_eq!(names[23], "train:qlora4(q_proj+v_proj):sgd:mixed:acc2:ckpt");
        for text in ["full:8", "lora", "lora:0", "lora:x", "lora:8:q_proj:v_proj", "distill", ""] {
            let error = text.parse::<Methods>().unwrap_err();
            assert!(text.is_empty() || error.contains("accepted: full, lora:RANK"), "{text}: {error}");
        }
        let error = "lion".parse::<Named<Optimizer>>().unwrap_err();
        assert!(error.contains("accepted: default, adamw, sgd"), "{error}");
    }
}
