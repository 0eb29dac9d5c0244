//! Our decoder: one forward pass for the families that are Llama with variations, on candle's tensors, with attention and
//! cache as parts to choose.
//!
//! Beside candle-transformers' models it repeats no keys for the queries that share them, writes its cache in place, and
//! never waits for the device: what a pass needs of the host (lengths, places, masks) goes one way. Sequences of a batch
//! may be of different lengths: shorter ones begin later, and what comes before them is masked.

mod attention;
mod cache;
mod feed_forward;
mod host;
mod layer;
mod matrix;
mod names;
mod numbers;
mod rope;
mod score;
pub mod training;
mod weights;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use candle_core::quantized::gguf_file::Content;
use candle_core::{DType, Device, Tensor};
use contract::case::{self, CaseSpec};
use planner::document::plan::{Attention, CacheKind};
use planner::document::precision::CachePrecision;
use planner::model::Role;
use planner::pattern::Visibility;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use attention::Variant;
pub use cache::{Element, Growth};
pub(crate) use names::gguf as gguf_name;

use crate::engine::{EngineError, Precision, RandomMatrices, Refusal, Session};
use crate::model::Model;
use attention::Pass;
use cache::LayerCache;
use layer::{Around, Layer, Norm, capped};
use matrix::Matrix;
use numbers::{Numbers, Rotation};
use rope::{Angles, Rope};
use weights::{Weights, as_size};

/// What of the decoder a case runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Attention.
    pub attention: Variant,
    /// How caches are allocated.
    pub growth: Growth,
    /// How caches hold their numbers.
    pub element: Element,
    /// Tokens of a sequence, the generated ones included: there is room for so many.
    pub tokens: usize,
}

impl Options {
    /// Those of a case.
    ///
    /// # Errors
    /// What the decoder cannot compute, and what it can instead.
    pub fn of_case(spec: &CaseSpec, model: &Model, precision: Precision) -> Result<Self, Refusal> {
        let refuse = |why: String| Err(refusal(&why));
        computes(model)?;
        let compute = compute_type(precision, spec.device);
        let attention = Variant::of_case(spec, &model.shape, compute)?;
        if let Some(Err(wrong)) = spec.attention.as_ref().map(planner::pattern::check) {
            return refuse(wrong.to_string());
        }
        let tokens = as_size((spec.prompt_tokens + spec.generate_tokens).0);
        let growth = match spec.cache {
            None | Some(CacheKind::Slab) => Growth::Slab,
            Some(CacheKind::Growing) => Growth::Growing,
            Some(CacheKind::Rotating)
                if matches!(
                    spec.attention,
                    Some(Attention::Longformer { .. } | Attention::BigBird { .. })
                ) =>
            {
                return refuse(
                    "a rotating cache drops what this attention still sees; accepted: growing, slab".into(),
                );
            }
            Some(CacheKind::Rotating) => {
                let windowed = |l: &planner::model::Layer| {
                    let window = l.attention().and_then(|a| a.window).map(|w| w.0);
                    attention.visibility(window).reach().is_some()
                };
                if !model.shape.layers.iter().any(windowed) {
                    return refuse(
                        "a rotating cache holds a window, and no layer of this model has one; accepted: growing, slab, \
                         or attention sliding-window"
                            .into(),
                    );
                }
                Growth::Rotating
            }
            Some(CacheKind::Paged) => {
                return refuse("it has no pages; accepted caches: growing, slab, rotating".into());
            }
        };
        let element = match spec.kv_cache {
            None => Element::of(compute),
            Some(CachePrecision::Fp32) => Element::Fp32,
            Some(CachePrecision::Bf16) => Element::Bf16,
            Some(CachePrecision::Fp16) => Element::Fp16,
            Some(CachePrecision::Fp8) => Element::Fp8,
            Some(CachePrecision::Int8) => Element::Int8,
            Some(other) => {
                return refuse(format!(
                    "a cache in {other} is not written; accepted: fp32, bf16, fp16, fp8, int8"
                ));
            }
        };
        Ok(Self { attention, growth, element, tokens })
    }
}

fn refusal(why: &dyn std::fmt::Display) -> Refusal {
    Refusal(format!("our decoder: {why}"))
}

/// Whether the decoder computes a model, however it is asked to.
///
/// # Errors
/// What of it the decoder does not compute.
pub fn computes(model: &Model) -> Result<(), Refusal> {
    let family = model.shape.architecture;
    if !numbers::is_known(family) {
        let (known, given) = (numbers::FAMILIES, family.model_type());
        return Err(refusal(&format!("{given} is not computed; accepted: {known}")));
    }
    if !model.shape.layers.iter().all(|l| l.attention().is_some()) {
        return Err(refusal(&"layers without softmax attention are not computed"));
    }
    if let Some(kind) = crate::engine::unreadable(&model.shape) {
        return Err(refusal(&format!("Candle cannot read tensors stored as {kind}")));
    }
    let numbers = Numbers::of_config(family, &model.config).map_err(|e| refusal(&e))?;
    let mut rotated = model
        .shape
        .layers
        .iter()
        .filter_map(planner::model::Layer::attention)
        .map(|a| as_size(a.rotary_size));
    rotated.try_for_each(|size| numbers.check(size)).map_err(|e| refusal(&e))
}

/// The type that a precision computes in.
#[must_use]
pub fn compute_type(precision: Precision, device: case::Device) -> DType {
    match (precision, device) {
        (Precision::Dense(dtype), _) => dtype,
        // Widened for every product: to what the device multiplies fastest.
        (Precision::Fp8, case::Device::Cuda(_)) => DType::BF16,
        // Candle's quantised products take single precision.
        (Precision::Fp8 | Precision::AsStored | Precision::Quantised(_), _) => DType::F32,
    }
}

/// Layers that see alike share their rotary tables and masks.
#[derive(Debug)]
struct Kind {
    visibility: Visibility,
    /// Which of the decoder's rotary tables.
    rope: usize,
}

/// A loaded decoder.
#[derive(Debug)]
pub struct Decoder {
    embedding: Matrix,
    layers: Vec<Layer>,
    norm: Norm,
    head: Matrix,
    kinds: Vec<Kind>,
    ropes: Vec<Rope>,
    /// What each table was made of: the rotation, and elements of a head that it turns.
    rotations: Vec<(Rotation, usize)>,
    options: Options,
    numbers: Numbers,
    compute: DType,
    device: Device,
    /// What multiplies weights, where not all is Candle's.
    products: Option<String>,
    /// Places before the first token of each sequence; one for all where they are the same.
    empty: Vec<usize>,
}

/// Where a decoder's weights come from.
#[derive(Debug)]
pub(crate) enum From<'a> {
    /// A folder of safetensors.
    Files(&'a Path),
    /// An opened GGUF file.
    Gguf(&'a File),
    /// Random numbers, and the tiles that blocks are made of.
    Random(RandomMatrices),
}

/// Opens the weights of a configuration and makes something of them.
///
/// # Errors
/// Where a file is not what its configuration says, and what `make` says.
fn opened<T>(
    from: &From<'_>,
    config: &Value,
    precision: Precision,
    compute: DType,
    device: &Device,
    make: impl FnOnce(Weights<'_>, &planner::Model, Numbers) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let text = config.get("text_config").unwrap_or(config);
    let model = planner::Model::from_config("decoder", text).map_err(|e| Refusal(e.to_string()))?;
    let family = model.architecture;
    match from {
        From::Files(dir) => {
            let numbers = Numbers::of_config(family, config)?;
            make(Weights::files(dir, &model, precision, compute, device)?, &model, numbers)
        }
        From::Gguf(file) => {
            let mut reader = BufReader::new(*file);
            let content = Content::read(&mut reader)?;
            let divisors = Weights::divisors(&content, &mut reader)?;
            let numbers = Numbers::of_gguf(family, &content, config, divisors)?;
            make(Weights::gguf(content, reader, &model, precision, compute, device), &model, numbers)
        }
        From::Random(matrices) => {
            let numbers = Numbers::of_config(family, config)?;
            make(Weights::random(matrices.clone(), &model, precision, compute, device), &model, numbers)
        }
    }
}

impl Decoder {
    /// Loads a decoder of a configuration onto `device`.
    ///
    /// # Errors
    /// Where a file is not what its configuration says, the device has no memory, or Candle fails.
    pub(crate) fn load(
        from: &From<'_>,
        config: &Value,
        precision: Precision,
        options: Options,
        compute: DType,
        device: &Device,
    ) -> Result<Self, EngineError> {
        opened(from, config, precision, compute, device, |weights, model, numbers| {
            Self::build(weights, model, numbers, options, compute, device)
        })
    }

    fn build(
        mut weights: Weights<'_>,
        model: &planner::Model,
        numbers: Numbers,
        options: Options,
        compute: DType,
        device: &Device,
    ) -> Result<Self, EngineError> {
        let embedding = weights.matrix(Role::TokenEmbedding, None, 0)?;
        let (mut kinds, mut ropes) = (Vec::<Kind>::new(), Vec::new());
        let mut rotations = Vec::new();
        let mut layers = Vec::with_capacity(model.layers.len());
        let order = options.attention.order();
        for (index, shape) in (0u64..).zip(&model.layers) {
            let attention = shape
                .attention()
                .ok_or_else(|| Refusal(format!("layer {index} has no softmax attention")))?;
            numbers.check(as_size(attention.rotary_size))?;
            let window = attention.window.map(|w| w.0);
            let visibility = options.attention.visibility(window);
            let rotation = if window.is_some() { &numbers.windowed_rotation } else { &numbers.rotation };
            let rotated = (rotation.clone(), as_size(attention.rotary_size));
            let known = rotations.iter().position(|known| *known == rotated);
            let rope = known.unwrap_or(ropes.len());
            if known.is_none() {
                ropes.push(Rope::new(rotation, rotated.1, options.tokens, compute, device)?);
                rotations.push(rotated);
            }
            let kind = kinds.iter().position(|k| k.visibility == visibility && k.rope == rope);
            let kind = kind.unwrap_or_else(|| {
                kinds.push(Kind { visibility, rope });
                kinds.len() - 1
            });
            let (growth, room) = score::room(options.growth, visibility, options.tokens);
            let cache = LayerCache::new(growth, options.element, order, room);
            layers.push(Layer::load(&mut weights, shape, index, &numbers, kind, cache)?);
        }
        let norm = Norm::new(weights.vector(Role::FinalNorm, None)?, &numbers)?;
        let head = if weights.has(Role::OutputHead, None) {
            weights.matrix(Role::OutputHead, None, 0)?
        } else {
            embedding.clone()
        };
        let (device, products) = (device.clone(), weights.products());
        let empty = vec![0];
        Ok(Self {
            embedding,
            layers,
            norm,
            head,
            kinds,
            ropes,
            rotations,
            options,
            numbers,
            compute,
            device,
            products,
            empty,
        })
    }

    /// Says that the sequences are of different lengths: the longest fills every place of the tokens to come, the others
    /// begin `longest − length` places later. After a reset they are of one length again.
    pub fn ragged(&mut self, lengths: &[usize]) {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let empty: Vec<usize> = lengths.iter().map(|length| longest - length).collect();
        self.empty = if empty.iter().all(|e| *e == 0) { vec![0] } else { empty };
    }

    /// Computes `tokens` (sequences × tokens) at the places from `start` on and gives the logits of the last of them:
    /// sequences × vocabulary, in single precision.
    ///
    /// # Errors
    /// Where there is no room for the tokens, or Candle fails.
    pub fn compute(&mut self, tokens: &Tensor, start: usize) -> candle_core::Result<Tensor> {
        let (_, length) = tokens.dims2()?;
        let x = self.states(tokens, start)?;
        let last = x.narrow(1, length - 1, 1)?.contiguous()?;
        drop(x);
        self.logits(&last)?.squeeze(1)
    }

    /// What the layers make of `tokens`: sequences × tokens × hidden.
    fn states(&mut self, tokens: &Tensor, start: usize) -> candle_core::Result<Tensor> {
        let (_, length) = tokens.dims2()?;
        let mut pass = Pass::new(start, self.empty.clone(), &self.device);
        let angles = self.angles(start, length)?;
        let mut x = self.embedding.rows(tokens, self.compute)?;
        if let Some(scale) = self.numbers.embedding_scale {
            x = (x * scale)?;
        }
        let order = self.options.attention.order();
        for layer in &mut self.layers {
            let kind = &self.kinds[layer.kind];
            let around = Around {
                variant: &self.options.attention,
                visibility: kind.visibility,
                angles: &angles[kind.rope],
                order,
            };
            x = layer.forward(x, &around, &mut pass)?;
        }
        Ok(x)
    }

    /// Logits of what the layers made, in single precision: sequences × tokens × vocabulary.
    fn logits(&self, states: &Tensor) -> candle_core::Result<Tensor> {
        let logits = self.head.forward(&self.norm.forward(states)?)?.to_dtype(DType::F32)?;
        capped(logits, self.numbers.logit_cap)
    }

    /// Rotary angles of a pass, one for each table.
    fn angles(&self, start: usize, length: usize) -> candle_core::Result<Vec<Angles>> {
        if self.empty.iter().all(|empty| *empty == 0) {
            return self.ropes.iter().map(|rope| rope.from(start, length)).collect();
        }
        // A place before a sequence's first token has no position; any will do.
        let positions: Vec<u32> = self
            .empty
            .iter()
            .flat_map(|empty| (start..start + length).map(move |place| place.saturating_sub(*empty)))
            .map(|position| u32::try_from(position).unwrap_or(u32::MAX))
            .collect();
        let positions = Tensor::from_vec(positions, (self.empty.len(), length), &self.device)?;
        self.ropes.iter().map(|rope| rope.at(&positions)).collect()
    }

    /// The likeliest continuations of `prompt` (sequences × tokens; shorter sequences of `lengths` at the end of their
    /// rows), `count` tokens each. Every choice stays on the device; all are copied to the host at the end.
    ///
    /// # Errors
    /// Where there is no room for the tokens, or Candle fails.
    pub fn generate(
        &mut self,
        prompt: &Tensor,
        lengths: &[usize],
        count: usize,
    ) -> Result<Vec<Vec<u32>>, EngineError> {
        let (_, length) = prompt.dims2()?;
        self.reset();
        self.ragged(lengths);
        let mut token = prompt.clone();
        let mut chosen = Vec::with_capacity(count);
        for index in 0..count {
            let start = if index == 0 { 0 } else { length + index - 1 };
            token = crate::engine::greedy(&self.compute(&token, start)?)?;
            chosen.push(token.clone());
        }
        Ok(Tensor::cat(&chosen, 1)?.to_vec2()?)
    }
}

impl Session for Decoder {
    fn reset(&mut self) {
        for layer in &mut self.layers {
            layer.cache.reset();
        }
        self.empty = vec![0];
    }

    fn begin(&mut self, batch: usize) -> Result<(), EngineError> {
        self.reset();
        for layer in &mut self.layers {
            layer.allocate(batch, &self.device)?;
        }
        Ok(())
    }

    fn forward(&mut self, tokens: &Tensor, position: usize) -> Result<Tensor, EngineError> {
        Ok(self.compute(tokens, position)?)
    }

    fn score(
        &mut self,
        tokens: &[u32],
        first: usize,
        device: &Device,
        each: &mut dyn FnMut(&[f32]) -> bool,
    ) -> Result<(), EngineError> {
        self.score_at_once(tokens, first, device, each)
    }

    fn scores(&self) -> &'static str {
        "a window in one pass"
    }

    fn products(&self) -> Option<String> {
        self.products.clone()
    }
}

#[cfg(test)]
mod tests;
