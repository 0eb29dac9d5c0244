//! Speed as a roofline with measured efficiencies.
//!
//! Williams, Waterman, Patterson, "Roofline" (CACM 52(4), 2009): a matrix product takes the larger of the bytes it moves over
//! the bandwidth and its operations over the throughput. Layer by layer, with what engines add: their share of both limits,
//! kernel latency, host launches, and what ranks say to each other.

mod engine;
mod layers;
mod machine;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::document::estimate::{Bound, Speed};
use crate::document::plan::{EngineName, Workload};
use crate::engine::Numbers;
use crate::engine::resolved::Resolved;
use crate::engine::serving;
use engine::Efficiency;
use layers::Work;
use machine::Machine;

/// Bandwidth of host memory for layers that stay there: two channels of DDR5-5600, of which CPUs reach about two thirds.
const HOST_BANDWIDTH: f64 = 60e9;

/// A plan's speed, prepared: numbers in, times out.
#[derive(Debug, Clone)]
pub(super) struct Roofline {
    machine: Machine,
    efficiency: Efficiency,
    unpacking: f64,
    work: Arc<Work>,
    name: EngineName,
    layer_count: f64,
    hidden: f64,
    tensor: f64,
    pipeline: f64,
    data: f64,
    expert: f64,
    context: f64,
    experts: bool,
    /// Scores of the half that a causal mask hides are not computed.
    causal: f64,
    speculation: Option<Speculation>,
}

/// Speculative decoding whose acceptance is given.
#[derive(Debug, Clone)]
struct Speculation {
    /// What proposes; none where nothing is computed for it.
    draft: Option<Box<Roofline>>,
    /// Tokens proposed at once.
    proposed: f64,
    /// Share of them that is accepted.
    acceptance: f64,
}

impl Speculation {
    fn of(resolved: &Resolved) -> Option<Self> {
        let given = resolved.serve()?.speculation.as_ref()?;
        let acceptance = given.acceptance()?;
        let draft = serving::draft(resolved).ok()?;
        let draft = match &draft {
            Some(draft) => Some(Box::new(Roofline::of(draft)?)),
            None => None,
        };
        Some(Self { draft, proposed: f64::from(given.tokens()), acceptance })
    }

    /// Tokens that one check yields on average: (1 − α^(γ + 1)) / (1 − α), equation 1 of arXiv 2211.17192.
    fn yielded(&self) -> f64 {
        (1.0 - libm::pow(self.acceptance, self.proposed + 1.0)) / (1.0 - self.acceptance)
    }
}

/// Where the time of a step goes, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Parts {
    memory: f64,
    compute: f64,
    link: f64,
    latency: f64,
    host: f64,
    launches: f64,
}

impl Parts {
    /// The GPU's work and the host's launches overlap; kernels do not.
    fn total(&self) -> f64 {
        (self.memory + self.compute + self.link + self.latency + self.host).max(self.launches)
    }

    fn bound(&self) -> Bound {
        let memory = self.memory + self.host;
        if self.link > memory && self.link > self.compute {
            Bound::Interconnect
        } else if memory >= self.compute {
            Bound::Memory
        } else {
            Bound::Compute
        }
    }
}

/// An answer with what it rests on.
pub(super) struct Answer {
    /// The speed.
    pub(super) speed: Speed,
    /// Whether the host's launches take longer than the GPU's work.
    pub(super) launch_bound: bool,
    /// Typical error as a share, and its basis.
    pub(super) error: f64,
    /// See `error`.
    pub(super) basis: &'static str,
}

impl Roofline {
    /// None where the engine or the GPU says nothing of speed: a processor, a trainer, a GPU of unknown throughput.
    pub(super) fn of(resolved: &Resolved) -> Option<Self> {
        let gpu = resolved.gpu?;
        let plan = &resolved.plan;
        if matches!(plan.workload, Workload::Train(_)) {
            return None;
        }
        let precision = plan.precision.weights;
        let machine = Machine::of(gpu, precision, plan.precision.activations, plan.gpu.gpus_per_node)?;
        let efficiency = engine::efficiency(plan.engine.name, machine.hbm, &resolved.fitted)?;
        let roofline = Self {
            machine,
            efficiency,
            unpacking: engine::unpacking(plan.engine.name, precision),
            work: Arc::new(Work::of(resolved)),
            name: plan.engine.name,
            layer_count: resolved.model.layers.len() as f64,
            hidden: resolved.model.hidden as f64,
            tensor: 1.0,
            pipeline: 1.0,
            data: 1.0,
            expert: 1.0,
            context: 1.0,
            experts: layers::has_experts(&resolved.model),
            causal: if plan.engine.name == EngineName::Candle || resolved.model.architecture.is_encoder() {
                1.0
            } else {
                0.5
            },
            speculation: Speculation::of(resolved),
        };
        Some(roofline.spread(resolved))
    }

    /// The same with the layout of `resolved`.
    pub(super) fn spread(&self, resolved: &Resolved) -> Self {
        let p = resolved.layout();
        let mut speculation = self.speculation.clone();
        if let Some(draft) = speculation.as_mut().and_then(|s| s.draft.as_mut()) {
            **draft = draft.spread(resolved);
        }
        Self {
            speculation,
            tensor: f64::from(p.tensor),
            pipeline: f64::from(p.pipeline),
            data: f64::from(p.data),
            expert: f64::from(p.expert),
            context: f64::from(p.context),
            ..self.clone()
        }
    }

    /// Times of `numbers`; `answer` is what they take.
    pub(super) fn speed(&self, numbers: &Numbers) -> Answer {
        let batch = (numbers.sequences as f64 / self.data).ceil().max(1.0);
        let prompt = (numbers.prompt.0.max(numbers.sequence.0)) as f64;
        let output = numbers.output.0 as f64;
        let on_gpu = match numbers.gpu_layers {
            Some(n) if self.name == EngineName::LlamaCpp => (f64::from(n) / self.layer_count).min(1.0),
            _ => 1.0,
        };
        // Prompts in steps of the engine's limit: each step reads the weights again.
        // What the cache holds of an earlier prompt is not computed again.
        let common = numbers.common().0 as f64;
        let new = (prompt - common).max(1.0);
        let tokens = batch * new;
        let limit = numbers.max_batched_tokens.map_or(tokens, |n| n.0.max(1) as f64);
        let steps = (tokens / limit).ceil().max(1.0);
        let mut prefill = self.step(batch, new, common + new * self.causal, steps, on_gpu);
        prefill.launches *= steps;
        let seen = prompt + output / 2.0;
        let (decode, each) = self.decode(batch, seen, on_gpu);
        // A draft reads the prompt too.
        let drafted = self
            .speculation
            .as_ref()
            .and_then(|s| s.draft.as_ref())
            .map_or(0.0, |draft| draft.step(batch, new, common + new * draft.causal, steps, 1.0).total());
        let first = prefill.total() + drafted + self.efficiency.step;
        let whole = self.efficiency.first_call + first + each * (output - 1.0).max(0.0);
        // Embedding has no output: what it is asked for is its input.
        let (counted, step) = if numbers.sequence.0 > 0 {
            (numbers.sequences as f64 * prompt, first)
        } else {
            (numbers.sequences as f64 * output, each)
        };
        let bound = if output > 1.0 { decode.bound() } else { prefill.bound() };
        let parts = if output > 1.0 { decode } else { prefill };
        // Efficiencies were read off generation; embedding rests on the same limits and on no run of its own.
        let embeds = numbers.sequence.0 > 0;
        Answer {
            speed: Speed {
                time_to_first_token_ms: first * 1e3,
                time_per_output_token_ms: if output > 0.0 { each * 1e3 } else { 0.0 },
                tokens_per_second: if whole > 0.0 { counted / whole } else { 0.0 },
                step_ms: step * 1e3,
                bound,
            },
            launch_bound: parts.launches > 0.0 && parts.launches >= parts.total(),
            error: if embeds { self.efficiency.error.max(0.5) } else { self.efficiency.error },
            basis: if embeds { "assumed; no measured run of embedding yet" } else { self.efficiency.basis },
        }
    }

    /// A decode step of `batch` sequences that see `seen` tokens, and its seconds for each token that it yields.
    fn decode(&self, batch: f64, seen: f64, on_gpu: f64) -> (Parts, f64) {
        let Some(speculation) = &self.speculation else {
            let step = self.step(batch, 1.0, seen, 1.0, on_gpu);
            return (step, step.total() + self.efficiency.step);
        };
        // All proposed tokens and the one after them are checked in one pass.
        let checked = speculation.proposed + 1.0;
        let check = self.step_with(batch, checked, seen, 1.0, on_gpu, checked);
        let proposing = speculation.draft.as_ref().map_or(0.0, |draft| {
            (draft.step(batch, 1.0, seen, 1.0, 1.0).total() + draft.efficiency.step) * speculation.proposed
        });
        (check, (check.total() + proposing + self.efficiency.step) / speculation.yielded())
    }

    /// One step of `batch` sequences with `new` tokens each that see `seen` on average, weights read `reads` times, and logits for
    /// the last token of each.
    fn step(&self, batch: f64, new: f64, seen: f64, reads: f64, on_gpu: f64) -> Parts {
        self.step_with(batch, new, seen, reads, on_gpu, 1.0)
    }

    /// The same with logits for the last `logits` tokens of each sequence.
    fn step_with(&self, batch: f64, new: f64, seen: f64, reads: f64, on_gpu: f64, logits: f64) -> Parts {
        let (machine, e) = (&self.machine, &self.efficiency);
        let tokens = batch * new / self.context;
        let bandwidth = machine.bandwidth * e.bandwidth;
        let compute = machine.throughput * e.compute;
        let mut parts = Parts::default();
        for (count, layer) in &self.work.layers {
            // Ranks of one expert group; experts are spread over expert ranks or cut over tensor ranks, the bytes are the
            // same when tokens are spread evenly. With replicas of attention, experts see the tokens of all of them.
            let group = self.tensor * (self.expert / self.tensor).max(1.0);
            let sharing = (group / self.tensor).max(1.0);
            let per_read = (tokens / reads).max(1.0);
            let touched = touched(layer.routed, layer.active, per_read * sharing);
            let weights = (layer.always / self.tensor + touched * layer.expert / group) * reads;
            let read = weights / (bandwidth * self.unpacking);
            let operations = 2.0 * layer.multiplied * tokens / self.tensor / compute;
            let (on_device, on_host) = (count * on_gpu, count * (1.0 - on_gpu));
            if read >= operations {
                parts.memory += on_device * read;
            } else {
                parts.compute += on_device * operations;
            }
            parts.host += on_host * (weights / HOST_BANDWIDTH).max(operations * 30.0);
            let visible = seen.min(layer.window);
            let ranks = self.tensor.min(layer.cache_ranks);
            let cache = batch * (visible * layer.cache / ranks / self.context + layer.state / self.tensor)
                / bandwidth;
            let scores = tokens * visible * layer.pair / self.tensor / (machine.attention * e.attention);
            if cache >= scores {
                parts.memory += on_device * cache;
            } else {
                parts.compute += on_device * scores;
            }
            parts.latency += on_device * e.layer_latency * reads;
            parts.launches += on_device * layer.launches * e.launch;
            parts.link += on_device * self.exchange(tokens, layer.active);
        }
        let head = (self.work.head / self.tensor / bandwidth / self.unpacking.max(0.85))
            .max(2.0 * self.work.head_parameters * batch * logits / self.tensor / compute);
        parts.memory += head;
        // Embedding, final norm, head, sampling: about as much as half a layer.
        parts.launches += 25.0 * e.launch;
        if self.pipeline > 1.0 {
            let bytes = tokens * self.hidden * 2.0;
            let ranks = self.tensor * self.context;
            let way =
                if ranks * self.pipeline > machine.node as f64 { machine.network } else { machine.link };
            parts.link += (self.pipeline - 1.0) * (bytes / way + machine.latency);
        }
        parts
    }

    /// What a layer's ranks say to each other: two all-reduces of the hidden state over tensor ranks (arXiv 1909.08053,
    /// section 3; a ring moves 2 (n − 1) / n of it), and each token to its experts and back over expert ranks.
    fn exchange(&self, tokens: f64, active: f64) -> f64 {
        let machine = &self.machine;
        let bytes = tokens * self.hidden * 2.0;
        let mut time = 0.0;
        if self.tensor > 1.0 {
            let n = self.tensor;
            let way = if n > machine.node as f64 { machine.network } else { machine.link };
            time += 2.0 * (bytes * 2.0 * (n - 1.0) / n / way + machine.latency);
        }
        if self.expert > 1.0 && self.experts && active > 0.0 {
            let n = self.expert;
            let way = if n > machine.node as f64 { machine.network } else { machine.link };
            time += 2.0 * (bytes * active / self.tensor.min(n) * (n - 1.0) / n / way + machine.latency);
        }
        if self.context > 1.0 {
            let n = self.context;
            time += bytes * (n - 1.0) / machine.link + machine.latency;
        }
        time
    }
}

/// Different experts that `tokens` tokens touch, each taking `active` of `routed` evenly: n (1 − (1 − k / n)^t).
fn touched(routed: f64, active: f64, tokens: f64) -> f64 {
    if routed <= 0.0 {
        return 0.0;
    }
    let missed = libm::pow(1.0 - (active / routed).min(1.0), tokens);
    routed * (1.0 - missed)
}
