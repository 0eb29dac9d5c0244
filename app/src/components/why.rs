//! Why a component of memory is as large as it is: what it holds, its formula with the numbers filled in, what it rests on.

use planner::document::plan::Workload;
use planner::{Bytes, Estimate, Plan, Tokens};

use super::answer::{between, engine_told, sized};
use crate::format;

/// Explains the components of one answer.
pub(crate) struct Why<'a> {
    plan: &'a Plan,
    estimate: &'a Estimate,
    /// Parameters of the model; 0 where its configuration is not known.
    parameters: u64,
}

impl<'a> Why<'a> {
    /// For a plan's answer; `parameters` are those of its model, 0 where its configuration is not known.
    pub(crate) const fn new(plan: &'a Plan, estimate: &'a Estimate, parameters: u64) -> Self {
        Self { plan, estimate, parameters }
    }

    /// What a component holds and how its size comes about.
    pub(crate) fn of(&self, name: &str, bytes: Bytes) -> String {
        let kv = self.estimate.kv;
        match name {
            "Weights" => format!("Parameters and persistent buffers, with their scales.{}", self.each(bytes)),
            "KV cache" => format!("Keys and values of every sequence at its end.{}", self.cache(bytes)),
            "Pool beyond it" => format!(
                "What the engine sets aside for its cache beyond what the plan's sequences fill. {} less {}; the whole pool \
                 holds {} tokens.",
                self.sized(kv.pool_bytes),
                self.sized(self.estimate.per_gpu.kv_cache),
                format::count(kv.pool_tokens)
            ),
            "Recurrent state" => format!("State of the recurrent layers.{}", self.of_each_sequence(bytes)),
            "Activations" => format!("Tensors alive together at the largest peak{}.", self.peak()),
            "Temporary buffers" => {
                format!("Workspaces, sampler, communication buffers and upcasts at the largest peak{}.", self.peak())
            }
            "Gradients" => format!("Gradients that this GPU keeps.{}", self.each(bytes)),
            "Optimizer" => format!("Optimizer states and masters that this GPU keeps.{}", self.each(bytes)),
            "Auxiliary models" => {
                "A teacher, an embedding model, a vector index on the GPU or a tower's buffers, as the plan asks for.".to_owned()
            }
            "CUDA graphs" => "Graphs captured for the batches that the engine prepares.".to_owned(),
            "Runtime" => "Held outside tensors, after the CUDA context exists.".to_owned(),
            _ => "What CUDA takes of the GPU before the first tensor.".to_owned(),
        }
    }

    /// What all components rest on, and how sure their sum is.
    pub(crate) fn basis(&self) -> String {
        format!(
            "As {} does it. The total lies between {}: {}.",
            engine_told(&self.estimate.engine),
            between(self.estimate),
            self.estimate.error_band.basis.trim_end_matches('.')
        )
    }

    fn sized(&self, bytes: Bytes) -> String {
        sized(bytes, self.estimate.per_gpu.total)
    }

    /// The size as bits of each parameter, where it is worth saying.
    fn each(&self, bytes: Bytes) -> String {
        let bits = 8.0 * bytes.0 as f64 / self.parameters.max(1) as f64;
        if self.parameters == 0 || bits < 0.5 {
            return String::new();
        }
        format!(
            " {} parameters × {} bits of each on this GPU = {}.",
            format::count(self.parameters),
            format::figure(bits),
            self.sized(bytes)
        )
    }

    fn cache(&self, bytes: Bytes) -> String {
        let Workload::Serve(serve) = &self.plan.workload else { return String::new() };
        let (each, Tokens(tokens)) = (self.estimate.kv.bytes_per_token, serve.sequence_tokens());
        if each == Bytes::ZERO {
            return String::new();
        }
        let product = each * tokens * serve.concurrent_sequences;
        let (said, laid_out) = (self.sized(product), self.sized(bytes));
        let else_ =
            if said == laid_out { String::new() } else { format!("; {laid_out} as the engine lays it out") };
        format!(
            " {each} of each token × {} tokens × {} sequences = {said}{else_}.",
            format::count(tokens),
            format::count(serve.concurrent_sequences)
        )
    }

    fn of_each_sequence(&self, bytes: Bytes) -> String {
        match &self.plan.workload {
            Workload::Serve(serve) if serve.concurrent_sequences > 0 => format!(
                " {} of each sequence × {} sequences = {}.",
                Bytes(bytes.0 / serve.concurrent_sequences),
                format::count(serve.concurrent_sequences),
                self.sized(bytes)
            ),
            _ => String::new(),
        }
    }

    fn peak(&self) -> String {
        let phases = self.estimate.phases.iter().flatten();
        phases
            .max_by_key(|phase| phase.peak_bytes)
            .map(|phase| format!(", in {}", phase.phase))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::answer::components;
    use crate::engine::parameters;
    use crate::link;

    #[test]
    fn formulas_have_their_numbers() {
        for (query, name, said) in [
            ("", "Weights", "8,030,261,248 parameters × 16.0 bits of each on this GPU = 15.0 GiB."),
            ("", "KV cache", "128.0 KiB of each token × 2,560 tokens × 4 sequences = 1.25 GiB"),
            ("engine=vllm", "Pool beyond it", "the whole pool holds"),
            ("engine=torchtune&workload.kind=train", "Optimizer", "8,030,261,248 parameters × "),
        ] {
            let plan = link::read(query).unwrap();
            let estimate = planner::estimate(&plan).unwrap();
            let why = Why::new(&plan, &estimate, parameters(&plan.model));
            let part = components(&estimate).into_iter().find(|part| part.0 == name);
            let text = part.map(|(name, _, bytes)| why.of(name, bytes)).unwrap_or_default();
            assert!(text.contains(said), "{query}: {text}");
            assert!(why.basis().contains(estimate.error_band.basis.trim_end_matches('.')));
        }
    }

    #[test]
    fn every_component_has_words_of_its_own() {
        let plan = link::first_plan().unwrap();
        let estimate = planner::estimate(&plan).unwrap();
        let why = Why::new(&plan, &estimate, parameters(&plan.model));
        let names = [
            "Weights",
            "KV cache",
            "Pool beyond it",
            "Recurrent state",
            "Activations",
            "Temporary buffers",
            "Gradients",
            "Optimizer",
            "Auxiliary models",
            "CUDA graphs",
            "Runtime",
            "CUDA context",
        ];
        let texts: std::collections::BTreeSet<String> =
            names.iter().map(|name| why.of(name, Bytes(1 << 30))).collect();
        assert_eq!(texts.len(), names.len());
    }
}
