//! Embedding with `AutoModel`: one pass, then the mean of the hidden states under the attention mask
//! (sentence-transformers' `Transformer` and `Pooling`), which takes less than the layers before it.

mod encoder;

use self::encoder::Encoder;
use super::serve::activations::{Scores, Widths};
use super::serve::cache::{Cache, Growth};
use super::serve::weights::Stored;
use super::serve::{VERSION, at_least, element_bytes};
use crate::bytes::{Bytes, Tokens};
use crate::document::estimate::{Components, EngineVersion, Estimate, KvEstimate, PhasePeak, Warning};
use crate::document::plan::{Attention, CacheKind, EngineName};
use crate::engine::policy::{Breakdown, Numbers, Policy, Spread};
use crate::engine::resolved::Resolved;
use crate::engine::vllm::rotary;
use crate::engine::{accept, torch};
use crate::error::PlanError;
use crate::model::{Architecture, Head, Model};

/// The pass of a prepared plan.
#[derive(Debug)]
enum Pass {
    Encoder(Encoder),
    /// A decoder's layers, and the cache that they fill where the configuration does not switch it off.
    Decoder {
        widths: Widths,
        cache: Option<Cache>,
    },
}

struct Embedding {
    version: String,
    weights: Bytes,
    pass: Pass,
    dequantized: Bytes,
    kept: Bytes,
    cublas: Bytes,
    data: u64,
    eager: bool,
}

/// Prepares a plan that embeds.
///
/// # Errors
/// The field that Transformers refuses, and what it accepts.
pub(super) fn prepare(resolved: &Resolved) -> Result<Box<dyn Policy>, PlanError> {
    let (plan, layout) = (&resolved.plan, resolved.layout());
    let gpu = torch::gpu("Transformers", resolved.gpu)?;
    accept::one_device("Transformers", layout)?;
    let encodes = resolved.model.architecture.is_encoder();
    accept::attention("Transformers", plan, &["eager", "memory-efficient", "flash"])?;
    accept::cache("Transformers", plan, CacheKind::Growing)?;
    if encodes {
        accept::absent(
            "An encoder",
            &[("cache", plan.cache.is_some()), ("precision.kv_cache", plan.precision.kv_cache.is_some())],
        )?;
    }
    let scores = match (&plan.attention, resolved.model.architecture) {
        (Some(Attention::Flash), Architecture::MpNet) => {
            return Err(PlanError::unsupported(
                "attention.kind",
                "MPNet adds its relative positions to scores that it computes itself",
                "give eager, or leave attention out",
            ));
        }
        (Some(Attention::Eager), _) | (_, Architecture::MpNet) => Scores::Eager,
        (Some(Attention::Flash), _) => Scores::Flash,
        _ => Scores::Sdpa,
    };
    let compute = torch::compute(plan);
    let model = headless(&resolved.model);
    let held = Stored::of(plan, &model, compute)?.heaviest_stage(&model, 1, 1);
    let version = plan.engine.version.as_deref().unwrap_or(VERSION);
    let pass = if encodes {
        Pass::Encoder(Encoder::of(&model, compute.bytes(), scores))
    } else {
        let bytes = element_bytes(plan, compute)?;
        let kept = rotary::config(plan)
            .and_then(|c| rotary::field(c, "use_cache"))
            .and_then(serde_json::Value::as_bool)
            .unwrap_or(true);
        let windowed = at_least(version, 56);
        Pass::Decoder {
            widths: Widths::of(&model, compute.bytes(), 1, scores, false).without_head(),
            cache: kept.then(|| Cache::of(&model, bytes, compute, 1, 1, Growth::ByLayer, windowed)),
        }
    };
    Ok(Box::new(Embedding {
        version: version.chars().take(40).collect(),
        weights: held.bytes,
        pass,
        dequantized: held.dequantized,
        kept: held.kept,
        cublas: torch::cublas_workspace(gpu),
        data: u64::from(layout.data.max(1)),
        eager: scores == Scores::Eager,
    }))
}

/// The model as `AutoModel` loads it: a decoder without its output head. Encoders come with the pooler that the checkpoint
/// has.
fn headless(model: &Model) -> Model {
    let mut model = model.clone();
    if matches!(model.head, Head::LanguageModel { .. } | Head::MaskedLanguageModel) {
        model.head = Head::None;
    }
    model
}

/// Bytes of a pass over a batch.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    activations: Bytes,
    cache: Bytes,
    state: Bytes,
}

impl Embedding {
    fn held(&self, numbers: &Numbers) -> Held {
        let (batch, length) = (numbers.sequences.div_ceil(self.data), numbers.sequence.0);
        match &self.pass {
            Pass::Encoder(encoder) => Held { activations: encoder.pass(batch, length), ..Held::default() },
            Pass::Decoder { widths, cache } => Held {
                activations: widths.pass(batch, length, length, true),
                cache: cache.as_ref().map_or(Bytes::ZERO, |c| c.unbounded(length) * batch),
                state: cache.as_ref().map_or(Bytes::ZERO, |c| c.state(batch)),
            },
        }
    }

    /// Dequantized matrices and workspaces.
    fn temporary(&self, numbers: &Numbers) -> Bytes {
        let one = numbers.sequences.saturating_mul(numbers.sequence.0) <= 1;
        self.cublas + self.kept + if one { Bytes::ZERO } else { self.dequantized }
    }
}

impl Policy for Embedding {
    fn engine(&self) -> EngineVersion {
        EngineVersion { name: EngineName::Transformers, version: self.version.clone(), variant: None }
    }

    fn breakdown(&self, numbers: &Numbers) -> Result<Breakdown, PlanError> {
        let held = self.held(numbers);
        let temporary = self.temporary(numbers);
        let allocated = self.weights + held.activations + held.cache + held.state + temporary;
        Ok(Breakdown {
            parts: Components {
                weights: self.weights,
                kv_cache: held.cache,
                recurrent_state: held.state,
                activations: held.activations,
                temporary,
                context: torch::CONTEXT,
                ..Components::default()
            },
            allocated,
            reserved: allocated,
            kv: match &self.pass {
                Pass::Decoder { cache: Some(cache), .. } => KvEstimate {
                    bytes_per_token: cache
                        .per_token(&Numbers { max_model_len: numbers.sequence, ..*numbers }),
                    ..KvEstimate::default()
                },
                _ => KvEstimate::default(),
            },
            capacity: numbers.free_memory(),
            ..Breakdown::default()
        })
    }

    fn complete(&self, _numbers: &Numbers, estimate: &mut Estimate) -> Result<(), PlanError> {
        let peaks = [("load", self.weights), ("prefill", estimate.totals.allocated)];
        estimate.phases = Some(
            peaks.map(|(phase, bytes)| PhasePeak { phase: phase.to_owned(), peak_bytes: bytes }).to_vec(),
        );
        Ok(())
    }

    fn warnings(&self, numbers: &Numbers) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if numbers.sequences > 1 {
            warnings.push(Warning::new(
                "padding",
                "Planned with sequences of one length. A batch of several lengths is padded to its longest and gets a mask of \
                 batch × length² elements.",
            ));
        }
        if self.eager && numbers.sequence > Tokens(1) {
            warnings.push(Warning::new(
                "scores-materialised",
                "Eager attention holds the scores of a layer several times: they grow with the square of the length.",
            ));
        }
        if matches!(self.pass, Pass::Decoder { cache: Some(_), .. }) {
            warnings.push(Warning::new(
                "cache-unused",
                "The decoder fills a cache that no token follows; use_cache = False in its configuration saves it.",
            ));
        }
        warnings
    }

    fn spread(&self) -> Spread {
        let basis = match &self.pass {
            Pass::Encoder(_) => {
                "unmeasured on a GPU: tensors of BERT's pass counted with Transformers 5.23 on a CPU are the planned ones \
                 within 1 %, those of other encoders within 5 %; context and workspaces assumed"
            }
            Pass::Decoder { .. } => {
                "unmeasured: from the source of Transformers; context and workspaces assumed"
            }
        };
        Spread {
            weights: 0.01,
            cache: 0.05,
            activations: 0.25,
            states: 0.0,
            overhead: 0.5,
            basis: basis.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
