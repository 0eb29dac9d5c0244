//! Attention in blocks against the scores of every pair under the same mask.

use candle_core::{DType, Device, Tensor};
use planner::Tokens;
use planner::document::plan::Attention as Asked;

use super::{Pass, Scores, Variant};
use crate::decoder::cache::{Element, Growth, LayerCache};
use crate::decoder::rope::Order;

/// Numbers around zero, the same for the same name.
fn random(name: &str, shape: (usize, usize, usize, usize)) -> Tensor {
    let t = crate::engine::random_tensor(name, shape.into(), DType::F32, &Device::Cpu).unwrap();
    (t * 30.0).unwrap()
}

fn sparse() -> Vec<Asked> {
    vec![
        Asked::MemoryEfficient,
        Asked::Flash,
        Asked::SlidingWindow { window: Tokens(1) },
        Asked::SlidingWindow { window: Tokens(50) },
        Asked::SlidingWindow { window: Tokens(129) },
        Asked::Longformer { window: Tokens(32), global_tokens: Tokens(5) },
        Asked::Longformer { window: Tokens(100), global_tokens: Tokens(200) },
        Asked::BigBird { block: Tokens(16), window_blocks: 3, global_blocks: 2, random_blocks: 3 },
        Asked::BigBird { block: Tokens(7), window_blocks: 1, global_blocks: 0, random_blocks: 1 },
    ]
}

#[test]
fn every_pattern_in_blocks_is_the_same_mask_computed_whole() {
    for asked in sparse() {
        for (tokens, window) in [(1, None), (100, None), (128, None), (300, None), (300, Some(70))] {
            for cap in [None, Some(20.0)] {
                let variant = Variant(asked.clone());
                let visibility = variant.visibility(window);
                let scores = Scores { scale: 0.25, cap };
                let cache = |order| LayerCache::new(Growth::Slab, Element::Fp32, order, tokens + 3);
                let (mut own, mut eager) = (cache(variant.order()), cache(Order::HeadsFirst));
                // Made heads first; kernels that want the tokens first get them so.
                let ordered = |t: &Tensor| match variant.order() {
                    Order::HeadsFirst => t.clone(),
                    Order::TokensFirst => t.transpose(1, 2).unwrap().contiguous().unwrap(),
                };
                let mut start = 0;
                let mut length = tokens;
                // The prompt, then three single tokens after it.
                for step in 0..4 {
                    let make = |what: &str, heads| random(&format!("{what} {step}"), (2, heads, length, 16));
                    let (query, key, value) = (make("query", 4), make("key", 2), make("value", 2));
                    let view = own.append(ordered(&key), ordered(&value)).unwrap();
                    let whole = eager.append(key, value).unwrap();
                    let pass = || Pass::new(start, vec![0], &Device::Cpu);
                    let out = variant.attend(ordered(&query), view, visibility, scores, &mut pass()).unwrap();
                    let wanted =
                        Variant::attend_eagerly(query, whole, visibility, scores, &mut pass()).unwrap();
                    assert_eq!(out.dims(), &[2, length, 64]);
                    let apart = (out - wanted).unwrap().abs().unwrap().max_all().unwrap();
                    let apart = apart.to_scalar::<f32>().unwrap();
                    let at =
                        format!("{asked:?}, {tokens} tokens, window {window:?}, cap {cap:?}, step {step}");
                    assert!(apart < 2e-6, "{at}: {apart}");
                    start += length;
                    length = 1;
                }
            }
        }
    }
}

#[test]
fn a_token_alone_sees_itself() {
    let variant = Variant(Asked::SlidingWindow { window: Tokens(1) });
    let mut cache = LayerCache::new(Growth::Slab, Element::Fp32, variant.order(), 9);
    let x = random("x", (1, 2, 9, 16));
    let view = cache.append(x.clone(), x.clone()).unwrap();
    let mut pass = Pass::new(0, vec![0], &Device::Cpu);
    let scores = Scores { scale: 1.0, cap: None };
    let out = variant.attend(x.clone(), view, variant.visibility(None), scores, &mut pass).unwrap();
    let wanted = x.transpose(1, 2).unwrap().reshape((1, 9, 32)).unwrap();
    let apart = (out - wanted).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(apart < 1e-6, "{apart}");
}
