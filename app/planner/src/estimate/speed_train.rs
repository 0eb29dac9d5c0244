//! How fast a plan trains: the time of one step from the work of each pipeline stage.
//!
//! A stage's forward and backward pass is the sum of its matrix products (a roofline: Williams, Waterman, Patterson, CACM
//! 52(4), 2009, with measured shares of both limits), its attention, the bytes that everything between them moves, and what
//! tensor and expert ranks exchange. A step is then the pipeline's schedule (arXiv 2104.04473, section 2.2: `m` microbatches
//! and a bubble of the other stages' time), what data ranks exchange, and the optimizer's pass over the states.
//!
//! Shares of the limits, with their sources:
//! - Blackwell: matrix products reach half of the dense rate or move their operands at three eighths of the bandwidth,
//!   whichever is slower. Fitted on the 514 products that `SimuMax` 1.2 measured on a B200
//!   (`configs/system/b200_bf16_ceperm.json`, `matmul`): mean error 10 %; its 108 grouped products follow without
//!   refitting. Attention and links: the same file's means (`sdp_fwd`, `sdp_bwd`, `networks.high_intra_node`); its
//!   operations count the masked half, ours do not.
//! - Ampere: the means of the same authors' A100 file (`configs/system/a100_pcie.json`: 183 products, 0.71).
//! - Hopper and Ada: assumed from what cuBLAS and `FlashAttention` 2 are known to reach (arXiv 2307.08691, 2407.08608).

use crate::catalogue::Gpu;
use crate::document::estimate::{Bound, Speed};
use crate::document::plan::{
    Checkpointing, EngineName, OffloadTo, Optimizer, PipelineSchedule, Train, TrainMethod,
};
use crate::engine::resolved::Resolved;
use crate::engine::{Constant, Fitted, Numbers};
use crate::model::{Attention, DenseFeedForward, Experts, FeedForward, Layer, Mixer, Model};

#[cfg(test)]
mod tests;

/// What a reader should know of the speed of training.
pub(super) const BASIS: &str = "Speed is a model of passes, exchanges and the optimizer's step: within 4 % on average of 22 \
                                published runs of Megatron-LM on B200 and torchtitan on H100, typically within ±25 % \
                                elsewhere.";

/// The speed of a training plan; none where the GPU's rates are not known.
pub(super) fn speed(resolved: &Resolved, n: &Numbers) -> Option<Speed> {
    let job = Job::of(resolved, n)?;
    let step = job.step();
    let seconds = step.total();
    if seconds <= 0.0 || !seconds.is_finite() {
        return None;
    }
    let tokens = n.sequence.0 as f64 * n.micro_batch as f64 * n.gradient_accumulation as f64 * job.data;
    Some(Speed {
        time_to_first_token_ms: 0.0,
        time_per_output_token_ms: 0.0,
        tokens_per_second: tokens / seconds,
        step_ms: seconds * 1e3,
        bound: step.bound(),
    })
}

/// Seconds by what they are spent on.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Time {
    compute: f64,
    memory: f64,
    link: f64,
}

impl Time {
    fn total(&self) -> f64 {
        self.compute + self.memory + self.link
    }

    fn plus(self, other: Self) -> Self {
        Self {
            compute: self.compute + other.compute,
            memory: self.memory + other.memory,
            link: self.link + other.link,
        }
    }

    fn times(self, n: f64) -> Self {
        Self { compute: self.compute * n, memory: self.memory * n, link: self.link * n }
    }

    fn bound(&self) -> Bound {
        if self.link > self.compute && self.link > self.memory {
            Bound::Interconnect
        } else if self.memory > self.compute {
            Bound::Memory
        } else {
            Bound::Compute
        }
    }
}

/// What a GPU reaches in training.
#[derive(Debug, Clone, Copy)]
struct Machine {
    /// Operations a second of matrix products in the format of the linear layers.
    linear: f64,
    /// The same in 16 bit.
    plain: f64,
    /// Operations a second of attention, forward and backward.
    attention: (f64, f64),
    /// Bytes a second that a matrix product's operands move at.
    operands: f64,
    /// Bytes a second of kernels that only move data.
    stream: f64,
    /// Bytes a second into one GPU from its node, and from other nodes.
    link: f64,
    network: f64,
    /// Seconds that each exchange takes beside its bytes.
    latency: f64,
    /// Ranks of a node.
    node: f64,
    /// Seconds between two small kernels.
    kernel: f64,
}

/// Share of an exchange that overlaps with compute which it costs all the same, by the processors and the bandwidth it takes.
/// From one pair of runs (torchtitan, Llama 3.1 8B, 8 and 128 GPUs); an assumption elsewhere.
const CONTENTION: f64 = 0.04;
/// Bytes a second between host and GPU over `PCIe` 4.0 or 5.0 ×16, as reached.
const HOST_LINK: f64 = 20e9;

impl Machine {
    fn of(gpu: &Gpu, train: &Train, fp32: bool, per_node: Option<u32>, fitted: &Fitted) -> Option<Self> {
        let has = |part: &str| gpu.id.contains(part);
        let bandwidth = gpu.bandwidth_gb_s? * 1e9;
        let sixteen = gpu.tflops.bf16.or(gpu.tflops.fp16).or_else(|| {
            // An H100 whose makers publish no rate: the SXM card's, which its power limit scales.
            has("h100").then(|| 989.4 * (gpu.power_w.unwrap_or(700.0) / 700.0).min(1.0))
        })?;
        let eight = gpu.tflops.fp8.unwrap_or(if has("h100") { 2.0 * sixteen } else { sixteen });
        let blackwell = has("b200") || has("b300");
        let hopper = has("h100") || has("h200") || has("h800") || has("gh200") || has("h20");
        let stacked = bandwidth > 1.2e12 && gpu.nominal_gb >= 40;
        let (products, operands, forward, backward) = if blackwell {
            (fitted.get(Constant::TrainingBlackwell), 0.375, 0.42, 0.36)
        } else if hopper {
            (fitted.get(Constant::TrainingHopper), 0.5, 0.38, 0.33)
        } else if stacked {
            (0.71, 0.6, 0.48, 0.42)
        } else {
            // GeForce and workstation cards: tensor cores are few for the bandwidth, and clocks run above the boost that the
            // rate is printed for.
            (fitted.get(Constant::TrainingGeforce), 0.7, 0.60, 0.50)
        };
        let (link, reached, latency) = if blackwell {
            (900e9, 0.67, 30e-6)
        } else if hopper && !has("pcie") && !has("nvl") {
            (450e9, 0.75, 25e-6)
        } else if has("a100-sxm") || has("nvl") {
            (300e9, 0.75, 25e-6)
        } else if has("mi3") {
            (448e9, 0.6, 35e-6)
        } else {
            (25e9, 0.7, 40e-6)
        };
        let plain = if fp32 { gpu.tflops.tf32.or(gpu.tflops.fp32).unwrap_or(sixteen / 8.0) } else { sixteen };
        // Casting and scaling take a part of what fp8 wins.
        let linear = if train.float8_linear { eight * 0.85 } else { plain };
        Some(Self {
            linear: linear * 1e12 * products,
            plain: plain * 1e12 * products,
            attention: (sixteen * 1e12 * forward, sixteen * 1e12 * backward),
            operands: bandwidth * operands,
            stream: bandwidth * if blackwell { 0.666 } else { 0.85 },
            link: link * reached,
            network: 50e9 * 0.8,
            latency,
            node: f64::from(per_node.unwrap_or(8)).max(1.0),
            kernel: fitted.get(Constant::TrainingKernel),
        })
    }

    /// Seconds in which each of `ranks`, which stand `stride` apart, gets or gives its part of `bytes`.
    fn exchange(&self, bytes: f64, ranks: f64, stride: f64) -> f64 {
        if ranks <= 1.0 {
            return 0.0;
        }
        let rate = if ranks * stride > self.node { self.network.min(self.link) } else { self.link };
        bytes * (ranks - 1.0) / ranks / rate + self.latency
    }
}

/// A matrix of a linear layer as one rank holds it, `groups` of them side by side.
#[derive(Debug, Clone, Copy)]
struct Product {
    inputs: f64,
    outputs: f64,
    groups: f64,
    /// Tokens of each group for each token of the microbatch.
    share: f64,
}

/// What is to be done with a layer's weights in the backward pass.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trained {
    /// Every matrix has a gradient.
    All,
    /// Adapters of a rank beside frozen matrices.
    Adapters(f64),
}

/// A training plan as far as time depends on it.
struct Job<'a> {
    model: &'a Model,
    train: &'a Train,
    machine: Machine,
    engine: EngineName,
    tensor: f64,
    pipeline: f64,
    stages: usize,
    data: f64,
    context: f64,
    expert: f64,
    zero: u8,
    offload: bool,
    virtual_stages: f64,
    sequence: f64,
    tokens: f64,
    microbatches: f64,
    element: f64,
    eager_attention: bool,
    trained: Trained,
    /// Bytes a parameter takes in four bits; none where weights are held as they are multiplied.
    unpacked: bool,
}

impl<'a> Job<'a> {
    fn of(resolved: &'a Resolved, n: &Numbers) -> Option<Self> {
        let train = resolved.train()?;
        let p = resolved.layout();
        let engine = resolved.plan.engine.name;
        let fp32 = !train.mixed_precision
            && resolved.plan.precision.weights == Some(crate::document::precision::WeightPrecision::Fp32);
        let machine =
            Machine::of(resolved.gpu?, train, fp32, resolved.plan.gpu.gpus_per_node, &resolved.fitted)?;
        let virtual_stages = match p.pipeline_schedule {
            PipelineSchedule::Interleaved { virtual_stages } => f64::from(virtual_stages.max(1)),
            PipelineSchedule::OneFOneB | PipelineSchedule::Gpipe => 1.0,
        };
        let (mut sequences, mut microbatches) = (n.micro_batch as f64, n.gradient_accumulation as f64);
        let pipeline = f64::from(p.pipeline);
        if engine == EngineName::Torchtitan && pipeline > microbatches {
            // torchtitan divides a local batch into one microbatch for each stage.
            sequences = sequences * microbatches / pipeline;
            microbatches = pipeline;
        }
        let trained = match (train.method, &train.lora) {
            (TrainMethod::Lora | TrainMethod::Qlora, Some(lora)) => Trained::Adapters(f64::from(lora.rank)),
            _ => Trained::All,
        };
        let context = f64::from(p.context);
        Some(Self {
            model: &resolved.model,
            train,
            machine,
            engine,
            tensor: f64::from(p.tensor),
            pipeline,
            stages: usize::try_from(p.pipeline).unwrap_or(1),
            data: f64::from(p.data),
            context,
            expert: f64::from(p.expert),
            zero: p.zero_stage,
            offload: p.offload.optimizer != OffloadTo::None,
            virtual_stages,
            sequence: n.sequence.0 as f64,
            tokens: n.sequence.0 as f64 * sequences / context,
            microbatches,
            element: if fp32 { 4.0 } else { 2.0 },
            eager_attention: resolved.plan.attention == Some(crate::document::plan::Attention::Eager),
            trained,
            unpacked: train.method == TrainMethod::Qlora,
        })
    }

    /// One optimizer step.
    fn step(&self) -> Time {
        let stages = self.stages();
        let mut all = Time::default();
        let mut most = Time::default();
        for stage in &stages {
            all = all.plus(*stage);
            if stage.total() > most.total() {
                most = *stage;
            }
        }
        // The slowest stage works through every microbatch; the others' time is the bubble, once.
        let bubble = all.plus(most.times(-1.0)).times(1.0 / self.virtual_stages);
        let passes = most.times(self.microbatches).plus(bubble);
        let parameters = self.parameters_of_a_rank();
        self.with_data_ranks(passes, parameters).plus(self.optimizer(parameters))
    }

    /// Forward and backward time of each stage for one microbatch. Layers are spread evenly; the ends have embedding and
    /// head.
    fn stages(&self) -> Vec<Time> {
        let count = self.model.layers.len();
        let stages = self.stages.clamp(1, count.max(1));
        (0..stages)
            .map(|s| {
                let (from, to) = (count * s / stages, count * (s + 1) / stages);
                let mut time = Time::default();
                let mut last: Option<(&Layer, Time)> = None;
                for layer in self.model.layers.get(from..to).unwrap_or_default() {
                    let one = match last {
                        Some((same, time)) if same == layer => time,
                        _ => self.layer(layer),
                    };
                    last = Some((layer, one));
                    time = time.plus(one);
                }
                if s + 1 == stages {
                    time = time.plus(self.head());
                }
                if s + 1 < stages {
                    // The stream goes on, and its gradient comes back.
                    let bytes = self.tokens * self.model.hidden as f64 * self.element / self.sequence_ranks();
                    time.link += 2.0 * (bytes / self.neighbour() + self.machine.latency);
                }
                time
            })
            .collect()
    }

    fn neighbour(&self) -> f64 {
        if self.tensor * self.pipeline > self.machine.node { self.machine.network } else { self.machine.link }
    }

    fn sequence_ranks(&self) -> f64 {
        self.tensor
    }

    /// A layer, forward and backward, with what is computed again.
    fn layer(&self, layer: &Layer) -> Time {
        let mut products = Vec::new();
        let mut attention = (0.0, 0.0);
        let mut moved = 0.0;
        let mut kernels = 0.0;
        let mut link = 0.0;
        let h = self.model.hidden as f64;
        let t = self.tensor;
        let stream = h / self.sequence_ranks();
        let fused = self.engine == EngineName::Megatron || self.train.compile;
        // Bytes for each element of a norm and a residual sum: one read and one write each, or each step of an eager RMSNorm
        // over fp32 copies.
        let per_norm = if fused { 2.0 * self.element } else { 34.0 };
        let norms = (layer.norms.len() as f64).max(2.0);
        moved += stream * (norms * per_norm + 2.0 * 3.0 * self.element);
        kernels += if fused { 6.0 } else { 8.0 };
        match &layer.mixer {
            Mixer::Attention(a) => {
                let (query, kv) = (a.query_width() as f64 / t, a.kv_width() as f64 / t);
                products.push(Product::plain(h, query + 2.0 * kv));
                products.push(Product::plain(query, h));
                attention = self.attention(a.heads as f64 / t, a.head_size as f64, a.head_size as f64, a);
                moved += (query + kv) * if fused { 2.0 * self.element } else { 24.0 };
                kernels += if fused { 4.0 } else { 6.0 };
            }
            Mixer::Latent(a) => {
                let heads = a.heads as f64 / t;
                let key = (a.nope_size + a.rope_size) as f64;
                let value = a.value_size as f64;
                let kv_rank = a.kv_rank as f64;
                match a.query_rank {
                    Some(rank) => {
                        products.push(Product::plain(h, rank as f64));
                        products.push(Product::plain(rank as f64, heads * key));
                    }
                    None => products.push(Product::plain(h, heads * key)),
                }
                products.push(Product::plain(h, kv_rank + a.rope_size as f64));
                products.push(Product::plain(kv_rank, heads * (a.nope_size as f64 + value)));
                products.push(Product::plain(heads * value, h));
                attention = self.attention_of(heads, key, value, self.sequence);
                // Queries and keys are put together from two parts, values copied.
                moved += heads * (2.0 * key + value) * 3.0 * self.element;
                kernels += 10.0;
            }
            Mixer::Recurrent(_) => {
                // Projections of about eight times the width squared, and a scan that is bound by memory.
                products.push(Product::plain(h, 4.0 * h / t));
                products.push(Product::plain(2.0 * h / t, h));
                moved += 24.0 * h / t * self.element;
                kernels += 10.0;
            }
        }
        // Tensor ranks: each half of a layer gathers its input and scatters its output, and the same backward; with the
        // stream divided, the input is gathered once more for the weights' gradients.
        let whole = self.tokens * h * self.element;
        let half = self.machine.exchange(whole, t, 1.0);
        let async_share = if self.train.async_tensor_parallel { 0.3 } else { 1.0 };
        link += half * 2.0 * 2.0 * async_share;
        let mut link_backward = half * 2.0 * 3.0 * async_share;
        if self.context > 1.0
            && let Some(a) = layer.attention()
        {
            let bytes = 2.0 * self.tokens * self.context * a.kv_width() as f64 / t * self.element;
            // Blocks travel while others are computed.
            link += 0.2 * self.machine.exchange(bytes, self.context, t);
            link_backward += 0.4 * self.machine.exchange(bytes, self.context, t);
        }
        match &layer.feed_forward {
            FeedForward::Dense(f) => self.dense(f, fused, &mut products, &mut moved, &mut kernels),
            FeedForward::Experts(x) => {
                let exchanged = self.experts(x, &mut products, &mut moved, &mut kernels);
                link += exchanged;
                link_backward += exchanged;
            }
            FeedForward::None => {}
        }
        let forward = self.forward(&products, attention.0, moved, kernels, link);
        let backward = self.backward(&products, attention.1, moved, kernels, link_backward);
        forward.plus(backward).plus(self.again(forward, attention.0))
    }

    fn dense(
        &self,
        f: &DenseFeedForward,
        fused: bool,
        products: &mut Vec<Product>,
        moved: &mut f64,
        kernels: &mut f64,
    ) {
        let h = self.model.hidden as f64;
        let inner = f.intermediate as f64 / self.tensor;
        let first = if f.gated { 2.0 * inner } else { inner };
        products.push(Product::plain(h, first));
        products.push(Product::plain(inner, h));
        *moved += (first + inner) * self.element + if fused { 0.0 } else { 2.0 * inner * self.element };
        *kernels += 3.0;
    }

    /// Experts; answers the seconds of one direction's exchanges.
    fn experts(&self, x: &Experts, products: &mut Vec<Product>, moved: &mut f64, kernels: &mut f64) -> f64 {
        let h = self.model.hidden as f64;
        let (active, routed) = (x.active as f64, x.routed as f64);
        let inner = x.expert.intermediate as f64;
        let first = if x.expert.gated { 2.0 * inner } else { inner };
        // Even load: a rank's experts get as many tokens as its own tokens ask for.
        let copies = active / self.sequence_ranks();
        let groups = (routed / self.expert).max(1.0);
        products.push(Product::plain(h, routed));
        for (inputs, outputs) in [(h, first), (inner, h)] {
            products.push(Product { inputs, outputs, groups, share: copies / groups });
        }
        // Sorted by expert, exchanged, sorted again, and back.
        *moved += copies * (h * 6.0 + first + inner) * self.element * 1.3;
        *kernels += 25.0;
        if let Some(shared) = &x.shared {
            self.dense(shared, true, products, moved, kernels);
        }
        let bytes = self.tokens * copies * h * self.element;
        2.0 * self.machine.exchange(bytes, self.expert, 1.0)
    }

    fn attention(&self, heads: f64, key: f64, value: f64, a: &Attention) -> (f64, f64) {
        let seen = a.window.map_or(self.sequence, |w| (w.0 as f64 * 2.0).min(self.sequence));
        self.attention_of(heads, key, value, seen)
    }

    /// Seconds of scores and values, forward and backward: two products forward, five backward (one of them again), half of
    /// each masked.
    fn attention_of(&self, heads: f64, key: f64, value: f64, seen: f64) -> (f64, f64) {
        let pairs = self.tokens * seen * if self.eager_attention { 1.0 } else { 0.5 };
        let (forward, backward) = self.machine.attention;
        let score = 2.0 * pairs * heads * key;
        let weigh = 2.0 * pairs * heads * value;
        // Fewer heads than fill the GPU: a share of eight heads at 4096 tokens reaches a third.
        let filled = ((heads * self.tokens / (8.0 * 4096.0)) * 0.36).clamp(0.1, 1.0);
        let mut times =
            ((score + weigh) / forward / filled, (3.0 * score + 2.0 * weigh) / backward / filled.max(0.8));
        if self.eager_attention {
            // Scores are written and read: product, mask, softmax, product.
            let bytes = pairs * heads * self.element;
            times.0 += 8.0 * bytes / self.machine.stream;
            times.1 += 12.0 * bytes / self.machine.stream;
        }
        times
    }

    fn forward(&self, products: &[Product], attention: f64, moved: f64, kernels: f64, link: f64) -> Time {
        let compute: f64 = products.iter().map(|p| self.product(p, self.element)).sum();
        Time {
            compute: compute + attention + self.adapters(products),
            memory: self.tokens * moved / self.machine.stream
                + kernels * self.machine.kernel
                + self.unpack(products),
            link,
        }
    }

    fn backward(&self, products: &[Product], attention: f64, moved: f64, kernels: f64, link: f64) -> Time {
        // The input's gradient is a product of the same size; the weight's too, added up in fp32.
        let inputs: f64 = products.iter().map(|p| self.product(p, self.element)).sum();
        let weights: f64 = match self.trained {
            Trained::All => products.iter().map(|p| self.product(p, 8.0)).sum(),
            Trained::Adapters(_) => 0.0,
        };
        Time {
            compute: inputs + weights + attention + 2.0 * self.adapters(products),
            memory: 2.0 * self.tokens * moved / self.machine.stream
                + 1.5 * kernels * self.machine.kernel
                + self.unpack(products),
            link,
        }
    }

    /// What checkpointing computes again.
    fn again(&self, forward: Time, attention: f64) -> Time {
        match (self.train.checkpointing, self.engine) {
            (Checkpointing::None, _) => Time::default(),
            (Checkpointing::Full, _) => forward,
            // torchtitan's selective mode saves attention and every other product.
            (Checkpointing::Selective, EngineName::Torchtitan) => Time {
                compute: 0.4 * (forward.compute - attention),
                memory: forward.memory,
                link: 0.5 * forward.link,
            },
            (Checkpointing::Selective, _) => Time { compute: attention, ..Time::default() },
        }
    }

    /// Seconds of one product; `written` bytes for each element of its weight.
    fn product(&self, p: &Product, written: f64) -> f64 {
        let tokens = self.tokens * p.share;
        let operations = 2.0 * tokens * p.inputs * p.outputs * p.groups;
        let bytes =
            p.groups * (tokens * (p.inputs + p.outputs) * self.element + p.inputs * p.outputs * written);
        (operations / self.machine.linear).max(bytes / self.machine.operands)
    }

    /// Two thin products beside each matrix.
    fn adapters(&self, products: &[Product]) -> f64 {
        let Trained::Adapters(rank) = self.trained else { return 0.0 };
        products
            .iter()
            .map(|p| {
                let tokens = self.tokens * p.share * p.groups;
                let bytes = tokens * (2.0 * p.inputs + 3.0 * p.outputs) * self.element;
                (2.0 * tokens * rank * (p.inputs + p.outputs) / self.machine.plain)
                    .max(bytes / self.machine.stream)
                    + 3.0 * self.machine.kernel
            })
            .sum()
    }

    /// Four-bit weights are unpacked to 16 bit before each product: half a byte read, two written and read.
    fn unpack(&self, products: &[Product]) -> f64 {
        if !self.unpacked {
            return 0.0;
        }
        let elements: f64 = products.iter().map(|p| p.inputs * p.outputs * p.groups).sum();
        elements * 4.5 / (self.machine.stream * 0.6)
    }

    /// Head and loss.
    fn head(&self) -> Time {
        let rows = self.model.vocab as f64 / self.tensor;
        let head = Product::plain(self.model.hidden as f64, rows);
        let plain = |written: f64| {
            let operations = 2.0 * self.tokens * head.inputs * head.outputs;
            let bytes = self.tokens * (head.inputs + head.outputs) * self.element
                + head.inputs * head.outputs * written;
            (operations / self.machine.plain).max(bytes / self.machine.operands)
        };
        let weights = if self.trained == Trained::All { plain(8.0) } else { 0.0 };
        // In place on 16-bit logits: read twice, written once, each way. Over fp32 copies: copy, log-softmax, its gradient.
        let bytes = if self.train.fused_cross_entropy { 12.0 } else { 40.0 };
        Time {
            compute: 2.0 * plain(self.element) + weights,
            memory: self.tokens * rows * bytes / self.machine.stream + 20.0 * self.machine.kernel,
            link: 3.0
                * self.machine.exchange(
                    self.tokens * self.model.hidden as f64 * self.element,
                    self.tensor,
                    1.0,
                ),
        }
    }

    /// Parameters of one rank: dense ones, and experts with the ranks that repeat them.
    fn parameters_of_a_rank(&self) -> [(f64, f64); 2] {
        let experts: f64 = self
            .model
            .layers
            .iter()
            .filter_map(Layer::experts)
            .map(|x| {
                (x.routed * x.expert.intermediate * x.expert.matrices()) as f64 * self.model.hidden as f64
            })
            .sum();
        let all = self.model.parameters().total as f64;
        let (share, ranks) = match self.trained {
            Trained::All => (1.0, self.data * self.context),
            Trained::Adapters(rank) => (rank * 2.0 / self.model.hidden as f64, self.data * self.context),
        };
        let by_tensor = if self.expert > ranks { 1.0 } else { self.tensor };
        let repeated = (ranks * self.tensor / by_tensor / self.expert).max(1.0);
        [
            ((all - experts) * share / self.tensor / self.pipeline, ranks),
            (experts * share / self.expert / by_tensor / self.pipeline, repeated),
        ]
    }

    /// Data ranks' exchanges, and how far they overlap with the passes.
    fn with_data_ranks(&self, passes: Time, parameters: [(f64, f64); 2]) -> Time {
        let stride = self.tensor;
        let mut exchanged = 0.0;
        for (count, ranks) in parameters {
            if ranks <= 1.0 || count <= 0.0 {
                continue;
            }
            let sum = self.machine.exchange(count * 4.0, ranks, stride);
            let gather = self.machine.exchange(count * self.element, ranks, stride);
            exchanged += match self.zero {
                // Gathered for the forward and the backward pass of each microbatch (once a step where stages keep them).
                3 => {
                    let often = if self.pipeline > 1.0 { 1.0 } else { self.microbatches };
                    let again = if self.pipeline > 1.0 { 1.0 } else { 2.0 };
                    often * again * gather + if self.pipeline > 1.0 { 1.0 } else { self.microbatches } * sum
                }
                1 | 2 => sum + gather,
                _ => 2.0 * sum,
            };
        }
        let overlapped = self.zero == 3
            || (self.zero == 0 && self.engine != EngineName::Megatron)
            || self.engine == EngineName::Deepspeed;
        let mut time = passes;
        if overlapped {
            let room = passes.total();
            time.link += (exchanged - room).max(0.0) + CONTENTION * exchanged.min(room);
        } else {
            time.link += exchanged;
        }
        time
    }

    /// The optimizer's pass. Megatron clears, measures and scales whole gradients, then clips, steps and casts its shard
    /// (`megatron/core/optimizer/optimizer.py`); bytes for each parameter as `SimuMax` counts them
    /// (`simumax/core/perf_llm.py`, `_compute_optim_time`).
    fn optimizer(&self, parameters: [(f64, f64); 2]) -> Time {
        let mut bytes = 0.0;
        let mut held = 0.0;
        for (count, ranks) in parameters {
            let shards = if self.zero >= 1 { ranks } else { 1.0 };
            let whole = if self.engine == EngineName::Megatron { 16.0 } else { 0.0 };
            let states = match self.train.optimizer {
                Optimizer::Sgd => 20.0,
                Optimizer::SgdMomentum | Optimizer::Lion | Optimizer::Muon => 36.0,
                Optimizer::Adafactor => 30.0,
                Optimizer::Adamw8bit | Optimizer::PagedAdamw8bit => 14.0,
                Optimizer::Adamw => 60.0,
            };
            bytes += count * whole + count * states / shards;
            held += count / shards;
        }
        let mut time = Time { memory: bytes / self.machine.stream, ..Time::default() };
        if self.train.optimizer == Optimizer::PagedAdamw8bit {
            // Two states of a byte go to the host and back where they do not fit; planned as one way of both.
            time.link += held * 2.0 / HOST_LINK;
        }
        if self.offload {
            // Gradients down, parameters up, and the step at the pace of host memory.
            time.link += held * (4.0 + self.element) / HOST_LINK + held * 28.0 / 25e9;
        }
        time
    }
}

impl Product {
    const fn plain(inputs: f64, outputs: f64) -> Self {
        Self { inputs, outputs, groups: 1.0, share: 1.0 }
    }
}
