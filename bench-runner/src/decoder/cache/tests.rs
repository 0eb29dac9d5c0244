use candle_core::{DType, Device, Tensor};

use super::super::rope::Order;
use super::{Element, Growth, LayerCache, Places};

/// Keys of `tokens` tokens from `first` on: each token's numbers are its own.
fn keys(first: usize, tokens: usize, order: Order) -> Tensor {
    let values: Vec<f32> =
        (first..first + tokens).flat_map(|t| (0..6).map(move |i| t as f32 + i as f32 / 8.0)).collect();
    // Tokens × 2 heads × 3 elements.
    let keys = Tensor::from_vec(values, (1, tokens, 2, 3), &Device::Cpu).unwrap();
    match order {
        Order::TokensFirst => keys,
        Order::HeadsFirst => keys.transpose(1, 2).unwrap().contiguous().unwrap(),
    }
}

fn seen(view: &super::View, order: Order) -> Vec<f32> {
    let all = view.keys(0, view.len(), DType::F32).unwrap();
    let all = if order == Order::HeadsFirst { all.transpose(1, 2).unwrap() } else { all };
    all.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn every_growth_gives_what_was_put_in() {
    for order in [Order::HeadsFirst, Order::TokensFirst] {
        for growth in [Growth::Growing, Growth::Slab] {
            let mut cache = LayerCache::new(growth, Element::Fp32, order, 20);
            let mut at = 0;
            for tokens in [5, 1, 1, 9, 4] {
                let new = keys(at, tokens, order);
                let view = cache.append(new.clone(), new.clone()).unwrap();
                at += tokens;
                assert_eq!((view.len(), view.places()), (at, Places::From(0)));
                let wanted: Vec<f32> =
                    keys(0, at, Order::TokensFirst).flatten_all().unwrap().to_vec1().unwrap();
                assert_eq!(seen(&view, order), wanted, "{growth:?} {order:?} at {at}");
            }
            let new = keys(at, 1, order);
            let error = cache.append(new.clone(), new.clone()).unwrap_err().to_string();
            assert!(error.contains("room for 20 tokens, 21 are asked for"), "{error}");
            cache.reset();
            assert_eq!(cache.append(new.clone(), new.clone()).unwrap().len(), 1);
        }
    }
}

#[test]
fn a_ring_keeps_the_last_tokens_and_knows_their_positions() {
    let order = Order::HeadsFirst;
    let mut cache = LayerCache::new(Growth::Rotating, Element::Fp32, order, 8);
    let mut at = 0;
    for tokens in [3, 1, 6, 1, 1, 1, 11, 1, 2, 1] {
        let new = keys(at, tokens, order);
        let view = cache.append(new.clone(), new.clone()).unwrap();
        let all = seen(&view, order);
        at += tokens;
        let mut positions: Vec<usize> = (0..view.len()).map(|entry| view.places().position(entry)).collect();
        for (entry, position) in positions.iter().enumerate() {
            assert_eq!(all[entry * 6].to_bits(), (*position as f32).to_bits(), "at {at}, entry {entry}");
        }
        positions.sort_unstable();
        // Several tokens see what was held before them as well.
        let least = if tokens == 1 { at.min(8) } else { (at - tokens).min(8) + tokens };
        let wanted: Vec<usize> = (at - least..at).collect();
        assert_eq!(positions, wanted, "at {at}");
    }
}

#[test]
fn narrower_numbers_are_near_and_never_beyond() {
    let values = [-3.0f32, -1.5, -0.01, 0.0, 0.3, 2.9, 1e-4, 120.0];
    let keys = Tensor::from_slice(&values, (1, 1, 2, 4), &Device::Cpu).unwrap();
    for (element, relative) in [
        (Element::Fp32, 0.0),
        (Element::Bf16, 1.0 / 256.0),
        (Element::Fp16, 1.0 / 2048.0),
        (Element::Fp8, 1.0 / 16.0),
        (Element::Int8, 1.0 / 254.0),
    ] {
        let mut cache = LayerCache::new(Growth::Slab, element, Order::TokensFirst, 4);
        let view = cache.append(keys.clone(), keys.clone()).unwrap();
        let read: Vec<f32> = view.values(0, 1, DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        for (row, (read, values)) in read.chunks(4).zip(values.chunks(4)).enumerate() {
            let largest = values.iter().fold(0f32, |m, v| m.max(v.abs()));
            for (read, value) in read.iter().zip(values) {
                // Integers err by a part of the row's largest, floats of the number itself, below E4M3's smallest of that.
                let scale = if element == Element::Int8 { largest } else { value.abs() };
                let smallest = if element == Element::Fp8 { 0.002 } else { 1e-7 };
                let limit = relative * scale * 1.001 + smallest;
                assert!((read - value).abs() <= limit, "{element:?} row {row}: {value} read as {read}");
            }
        }
    }
}

/// E4M3 has no infinity: what is larger than its largest number is that (arXiv 2209.05433, section 3.1), and not NaN.
#[test]
fn what_fp8_cannot_hold_is_the_largest_that_it_holds() {
    let values = [448.0f32, 449.0, 1e4, f32::MAX, -448.0, -463.9, -465.0, -1e30];
    let keys = Tensor::from_slice(&values, (1, 1, 2, 4), &Device::Cpu).unwrap();
    for dtype in [DType::F32, DType::BF16] {
        let keys = keys.to_dtype(dtype).unwrap();
        let mut cache = LayerCache::new(Growth::Slab, Element::Fp8, Order::TokensFirst, 4);
        let view = cache.append(keys.clone(), keys).unwrap();
        let read: Vec<f32> = view.values(0, 1, DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let wanted = values.map(|value| 448f32.copysign(value));
        assert_eq!(read, wanted, "{dtype:?}");
    }
}
