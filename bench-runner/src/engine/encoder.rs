//! Encoders: hidden states into one vector for each sequence, as sentence-transformers does.

use candle_core::{D, Tensor};
use candle_transformers::models::bert::BertModel;

use super::EngineError;
use super::session::Encoder;

/// The least count of visible tokens, so that a sequence of padding alone divides by no zero
/// (`sentence_transformers/models/Pooling.py`, `torch.clamp(…, min=1e-9)`).
const LEAST_COUNT: f64 = 1e-9;

impl Encoder for BertModel {
    fn embed(&self, tokens: &Tensor, mask: &Tensor) -> Result<Tensor, EngineError> {
        let hidden = {
            let types = tokens.zeros_like()?;
            self.forward(tokens, &types, Some(mask))?
        };
        Ok(normalise(&mean(&hidden, mask)?)?)
    }
}

/// The mean of the hidden states (batch × length × hidden) that `mask` (batch × length) shows: `pooling_mode_mean_tokens`
/// of `Pooling.py`.
fn mean(hidden: &Tensor, mask: &Tensor) -> candle_core::Result<Tensor> {
    let weights = mask.to_dtype(hidden.dtype())?.unsqueeze(2)?;
    let sum = hidden.broadcast_mul(&weights)?.sum(1)?;
    sum.broadcast_div(&weights.sum(1)?.maximum(LEAST_COUNT)?)
}

/// Vectors of length one: `sentence_transformers/models/Normalize.py`.
fn normalise(vectors: &Tensor) -> candle_core::Result<Tensor> {
    let length = vectors.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    vectors.broadcast_div(&length)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use candle_nn::VarBuilder;
    use candle_transformers::models::bert::{BertModel, Config};

    use super::super::random::RandomTensors;
    use super::{Encoder, mean, normalise};

    fn tiny(dtype: DType) -> BertModel {
        let config: Config = serde_json::from_value(serde_json::json!({
            "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 32, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "max_position_embeddings": 32,
            "type_vocab_size": 2, "initializer_range": 0.02, "layer_norm_eps": 1e-12, "pad_token_id": 0
        }))
        .unwrap();
        let weights =
            VarBuilder::from_backend(Box::new(RandomTensors { tied: true, seed: 0 }), dtype, Device::Cpu);
        BertModel::load(weights, &config).unwrap()
    }

    fn ids(rows: &[&[u32]]) -> Tensor {
        let columns = rows[0].len();
        Tensor::from_vec(rows.concat(), (rows.len(), columns), &Device::Cpu).unwrap()
    }

    #[test]
    fn hidden_tokens_do_not_count_in_the_mean() {
        let hidden = Tensor::new(&[[[1f32, 2.], [3., 6.], [100., 100.]]], &Device::Cpu).unwrap();
        let pooled = mean(&hidden, &ids(&[&[1, 1, 0]])).unwrap();
        assert_eq!(pooled.to_vec2::<f32>().unwrap(), [[2., 4.]]);
        let nothing = mean(&hidden, &ids(&[&[0, 0, 0]])).unwrap();
        assert_eq!(nothing.to_vec2::<f32>().unwrap(), [[0., 0.]]);
        let unit = normalise(&Tensor::new(&[[3f32, 4.]], &Device::Cpu).unwrap()).unwrap();
        assert_eq!(unit.to_vec2::<f32>().unwrap(), [[0.6, 0.8]]);
    }

    #[test]
    fn padding_changes_nothing_and_neighbours_neither() {
        let model = tiny(DType::F32);
        let alone = model.embed(&ids(&[&[7, 11, 13]]), &ids(&[&[1, 1, 1]])).unwrap();
        let padded = model
            .embed(&ids(&[&[7, 11, 13, 0, 0], &[2, 3, 5, 8, 9]]), &ids(&[&[1, 1, 1, 0, 0], &[1; 5]]))
            .unwrap();
        let (alone, padded) = (alone.to_vec2::<f32>().unwrap(), padded.to_vec2::<f32>().unwrap());
        let length: f32 = alone[0].iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
        for (a, b) in alone[0].iter().zip(&padded[0]) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        assert_ne!(padded[0], padded[1]);
    }

    /// Why [`super::super::Precision::parse`] refuses them: `0 · −∞` in `get_extended_attention_mask`. Where a later candle
    /// computes them, this fails and the refusal can go.
    #[test]
    fn in_16_bit_candles_bert_knows_nothing_but_nan() {
        for dtype in [DType::F16, DType::BF16] {
            let vectors = tiny(dtype).embed(&ids(&[&[7, 11]]), &ids(&[&[1, 1]])).unwrap();
            let vectors: Vec<f32> =
                vectors.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            assert!(vectors.iter().all(|x| x.is_nan()), "{dtype:?}: {vectors:?}");
        }
    }
}
