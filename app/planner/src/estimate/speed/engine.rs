//! How near an engine comes to its GPU's limits, and what it spends beside them.
//!
//! Each figure says what it rests on. Two mechanisms decide small batches: an engine that launches every kernel from the
//! host waits for the host, not for memory, and one that replays a captured graph waits for the kernels' own latency.

use crate::document::plan::EngineName;
use crate::document::precision::WeightPrecision;
use crate::engine::{Constant, Fitted};
use crate::model::{FeedForward, Layer, Mixer, Norm, QkNorm};

/// What an engine makes of a GPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Efficiency {
    /// Share of the memory bandwidth that reading weights and caches reaches.
    pub(super) bandwidth: f64,
    /// Share of the dense throughput that large matrix products reach.
    pub(super) compute: f64,
    /// Share of the dense throughput that attention reaches.
    pub(super) attention: f64,
    /// Latency of a layer's kernels on the GPU beside their work, in seconds.
    pub(super) layer_latency: f64,
    /// Host time of one kernel launch, in seconds; 0 where a graph is replayed.
    pub(super) launch: f64,
    /// Host time of one step beside launches, in seconds.
    pub(super) step: f64,
    /// Time of the first call of a process, in seconds, where the engine's own figure includes it.
    pub(super) first_call: f64,
    /// Typical error of tokens per second as a share, and what it rests on.
    pub(super) error: f64,
    /// See `error`.
    pub(super) basis: &'static str,
}

/// The efficiency of an engine that serves; none where it does not. `hbm`: a GPU with stacked memory.
pub(super) const fn efficiency(engine: EngineName, hbm: bool, fitted: &Fitted) -> Option<Efficiency> {
    let plain = Efficiency {
        bandwidth: 0.8,
        compute: 0.55,
        attention: 0.35,
        layer_latency: 0.0,
        launch: 0.0,
        step: 0.0,
        first_call: 0.0,
        error: 0.4,
        basis: "assumed; no measured run of this engine yet",
    };
    Some(match engine {
        // A replayed CUDA graph: about ten kernels a layer with a gap of a microsecond or so. Published figures of its
        // speed are not in the measurements yet.
        EngineName::Vllm | EngineName::Sglang => Efficiency { layer_latency: 12e-6, step: 5e-4, ..plain },
        EngineName::TensorrtLlm => {
            Efficiency { bandwidth: 0.85, compute: 0.6, layer_latency: 9e-6, step: 3e-4, ..plain }
        }
        // XiongjieDai/GPU-Benchmarks-on-LLM-Inference, README at 00dd2bd, table LLaMA 3 (May 2024), `tg 512` of the 8B in
        // Q4_K_M and F16: the two sizes give the bandwidth reached (RTX 4080 94 %, 4090 97 %, 3090 89 %) and what a token
        // costs beside it (2.4 to 3.1 ms for 32 layers). That was before CUDA graphs (llama.cpp pull request 6766), which
        // halve the latter. Its LLaMA 2 table gives A100 77 % and twice the latency. `pp 512`: 4090 83 %, 3090 89 % of the
        // fp16 rate; A100 and H100 a quarter of it.
        EngineName::LlamaCpp if hbm => Efficiency {
            bandwidth: 0.75,
            compute: 0.3,
            layer_latency: 60e-6,
            error: 0.25,
            basis: "llama.cpp on A100 80 GB, LLaMA 2 7B in two precisions",
            ..plain
        },
        EngineName::LlamaCpp => Efficiency {
            bandwidth: 0.93,
            compute: 0.7,
            layer_latency: 40e-6,
            error: 0.15,
            basis: "llama.cpp on RTX 3090, 4080 and 4090, LLaMA 3 8B in two precisions",
            ..plain
        },
        EngineName::Transformers => Efficiency {
            launch: fitted.get(Constant::TransformersLaunch),
            error: 0.2,
            basis: "Transformers on A100, 6 rows of Qwen 1.8B and 14B",
            ..plain
        },
        EngineName::Litgpt => Efficiency {
            launch: fitted.get(Constant::LitgptLaunch),
            first_call: fitted.get(Constant::LitgptFirstCall),
            error: 0.1,
            basis: "LitGPT on A100 40 GB, 7 rows of three models",
            ..plain
        },
        // Launches from Rust, without an interpreter between them.
        EngineName::Candle => Efficiency { bandwidth: 0.75, compute: 0.5, launch: 6e-6, ..plain },
        EngineName::Torchtune | EngineName::Torchtitan | EngineName::Megatron | EngineName::Deepspeed => {
            return None;
        }
    })
}

/// Share of [`Efficiency::bandwidth`] that the engine's kernel of a weight format reaches while it unpacks.
pub(super) const fn unpacking(engine: EngineName, precision: Option<WeightPrecision>) -> f64 {
    use WeightPrecision as P;
    match (engine, precision) {
        // AutoGPTQ's int8 kernel: the 14B row of 8 bit reads 14 GB in 34 ms, a fifth of the bandwidth.
        (EngineName::Transformers | EngineName::Litgpt, Some(P::Int8)) => 0.25,
        (EngineName::Transformers | EngineName::Litgpt, Some(P::Int4G128 | P::Nf4 | P::Nf4Dq)) => 0.5,
        (_, Some(P::Int4G128 | P::Nf4 | P::Nf4Dq | P::Mxfp4)) => 0.85,
        _ => 1.0,
    }
}

/// Kernels that an engine without graphs launches for one layer of one step. Counted in `LitGPT`'s `model.py` (8641822) and
/// Transformers' `modeling_llama.py`: an RMS norm in fp32 is eight operations, a rotated tensor five, a cache update two.
pub(super) fn launches(engine: EngineName, layer: &Layer) -> Launches {
    let norm = |n: Norm| if n == Norm::Rms { 8.0 } else { 1.0 };
    let mut kernels: f64 = layer.norms.iter().map(|n| norm(n.norm)).sum::<f64>() + 2.0;
    let (mut linears, mut biased) = (0.0, 0.0);
    let mut linear = |n: f64, bias: bool| {
        linears += n;
        if bias {
            biased += n;
        }
    };
    match &layer.mixer {
        Mixer::Attention(a) => {
            // LitGPT fuses query, key and value in every model; Transformers where the checkpoint does.
            let fused = a.fused_qkv || engine == EngineName::Litgpt;
            linear(if fused { 1.0 } else { 3.0 }, a.qkv_bias);
            linear(1.0, a.output_bias);
            kernels += match a.qk_norm {
                QkNorm::None => 0.0,
                QkNorm::Head | QkNorm::HeadWithBias | QkNorm::Full => 16.0,
            };
            if a.rotary_size > 0 {
                kernels += 10.0;
            }
            // LitGPT puts the rotated and the rest together again, whatever the share, and makes both contiguous.
            if engine == EngineName::Litgpt {
                kernels += 2.0 + 3.0;
            }
            if a.heads != a.kv_heads {
                kernels += 2.0;
            }
            // Cache, scores with their mask, the output's layout.
            kernels += 2.0 + 3.0 + 1.0;
        }
        Mixer::Latent(_) => {
            linear(5.0, false);
            kernels += 16.0 + 10.0 + 4.0 + 2.0 + 3.0 + 1.0;
        }
        Mixer::Recurrent(_) => {
            linear(3.0, false);
            kernels += 20.0;
        }
    }
    match &layer.feed_forward {
        FeedForward::Dense(d) => {
            linear(if d.gated && !d.fused_gate_up { 3.0 } else { 2.0 }, d.bias);
            kernels += if d.gated { 2.0 } else { 1.0 };
        }
        FeedForward::Experts(e) => {
            // Router, softmax, top k; then each expert that a token takes by itself.
            linear(1.0, false);
            kernels += 6.0;
            let experts = e.active as f64;
            linear(3.0 * experts, e.expert.bias);
            kernels += 6.0 * experts;
            if e.shared.is_some() {
                linear(3.0, false);
                kernels += 3.0;
            }
        }
        FeedForward::None => {}
    }
    Launches { kernels, linears, biased }
}

/// Kernels of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Launches {
    /// Beside matrix products.
    pub(super) kernels: f64,
    /// Matrix products.
    pub(super) linears: f64,
    /// Matrix products with a bias.
    pub(super) biased: f64,
}

impl Launches {
    /// In launches of one kernel's host time. bitsandbytes' 4-bit product goes through several Python layers and ctypes calls:
    /// 130 µs in `LitGPT`'s rows of Llama 2 7B and `CodeLlama` 34B, about 11.6 launches; a bias is added apart in three; double
    /// quantization unpacks the scales in four.
    pub(super) fn count(&self, precision: Option<WeightPrecision>) -> f64 {
        let (each, bias) = match precision {
            Some(WeightPrecision::Nf4) => (1.0 + 11.6, 3.0),
            Some(WeightPrecision::Nf4Dq) => (1.0 + 11.6 + 4.0, 3.0),
            _ => (1.0, 0.0),
        };
        self.kernels + self.linears * each + self.biased * bias
    }
}
