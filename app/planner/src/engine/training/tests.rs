use serde_json::json;

use super::cost::Cost;
use super::lora::{self, Adapter};
use super::loss::Loss;
use super::optimizer::state_bytes;
use super::saved::{self, Kernel, Linears, NormStyle, Qkv, Style};
use super::zero::{Cluster, Zero, deepspeed_zero2, deepspeed_zero3, model_states};
use super::{trained, weights};
use crate::bytes::Tokens;
use crate::document::plan::{Lora, Offload, OffloadTo, Optimizer, Plan};
use crate::engine::policy::Numbers;
use crate::engine::stored::Format;
use crate::estimate::Compiled;
use crate::model::{
    Attention, DenseFeedForward, FeedForward, Layer, LayerNorm, Mixer, Model, Norm, NormPlace, QkNorm, Role,
    WeightTensor,
};

/// `T5-3b` in `DeepSpeed`'s documentation (`docs/code-docs/source/memory.rst`): 2851 M parameters, the largest layer 32 M
/// (its embedding, 32,128 × 1024).
const T5_3B: (u64, u64) = (2_851_598_336, 32_128 * 1024);
const EIGHT: Cluster = Cluster { gpus_per_node: 8, nodes: 1 };

fn gib(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / (1u64 << 30) as f64)
}

const fn offload(optimizer: OffloadTo, parameters: OffloadTo) -> Offload {
    Offload { optimizer, parameters }
}

#[test]
fn zero_2_is_what_deepspeed_publishes() {
    use OffloadTo::{Cpu, None};
    for (parameters, optimizer, host, gpu) in [
        (T5_3B.0, Cpu, "127.48", "5.31"),
        (T5_3B.0, None, "127.48", "15.93"),
        (2_851_000_000, Cpu, "127.45", "5.31"),
        (2_851_000_000, None, "127.45", "15.93"),
    ] {
        let e = deepspeed_zero2(parameters, EIGHT, offload(optimizer, None));
        assert_eq!((gib(e.host).as_str(), gib(e.gpu).as_str()), (host, gpu), "{parameters} {optimizer:?}");
    }
}

#[test]
fn zero_3_is_what_deepspeed_publishes() {
    use OffloadTo::{Cpu, None};
    let of_model = [
        (Cpu, Cpu, true, "71.71", "0.12"),
        (Cpu, Cpu, false, "127.48", "0.12"),
        (Cpu, None, true, "63.74", "0.79"),
        (Cpu, None, false, "127.48", "0.79"),
        (None, None, true, "1.47", "6.10"),
        (None, None, false, "127.48", "6.10"),
    ];
    for (optimizer, parameters, init, host, gpu) in of_model {
        let e = deepspeed_zero3(T5_3B.0, T5_3B.1, EIGHT, offload(optimizer, parameters), init);
        assert_eq!(
            (gib(e.host).as_str(), gib(e.gpu).as_str()),
            (host, gpu),
            "{optimizer:?} {parameters:?} {init}"
        );
    }
    let of_counts = [
        (Cpu, Cpu, true, "71.69", "0.12"),
        (Cpu, Cpu, false, "127.45", "0.12"),
        (Cpu, None, true, "63.72", "0.78"),
        (Cpu, None, false, "127.45", "0.78"),
        (None, None, true, "1.43", "6.09"),
        (None, None, false, "127.45", "6.09"),
    ];
    for (optimizer, parameters, init, host, gpu) in of_counts {
        let e = deepspeed_zero3(2_851_000_000, 32_000_000, EIGHT, offload(optimizer, parameters), init);
        assert_eq!(
            (gib(e.host).as_str(), gib(e.gpu).as_str()),
            (host, gpu),
            "{optimizer:?} {parameters:?} {init}"
        );
    }
}

/// arXiv 1910.02054, figure 1: Ψ = 7.5 B, K = 12, `N_d` = 64; and table 1's rows for 64 ranks.
#[test]
fn zero_divides_as_its_paper_says() {
    let gb = |parameters: u64, stage, ranks| {
        format!("{:.1}", model_states(parameters, Zero { stage, ranks }) as f64 / 1e9)
    };
    let psi = 7_500_000_000;
    assert_eq!([0, 1, 2, 3].map(|stage| gb(psi, stage, 64)), ["120.0", "31.4", "16.6", "1.9"]);
    // Table 1: 128 B and 1 T parameters.
    for (parameters, ranks, expected) in [
        (128_000_000_000, 64, ["536.0", "284.0", "32.0"]),
        (1_000_000_000_000, 1024, ["4011.7", "2013.7", "15.6"]),
    ] {
        assert_eq!([1, 2, 3].map(|stage| gb(parameters, stage, ranks)), expected);
    }
    for ranks in [1, 2, 7, 64] {
        let whole = model_states(psi, Zero { stage: 3, ranks: 1 });
        assert!(model_states(psi, Zero { stage: 3, ranks }).abs_diff(whole / ranks) <= 3);
    }
}

fn gpt_layer(hidden: u64, heads: u64) -> Layer {
    let attention = Attention {
        heads,
        kv_heads: heads,
        head_size: hidden / heads,
        rotary_size: 0,
        window: None,
        causal: true,
        qkv_bias: true,
        output_bias: true,
        qk_norm: QkNorm::None,
        fused_qkv: false,
        softcap: false,
        output_gate: false,
        sinks: false,
        cross: false,
    };
    let feed_forward =
        DenseFeedForward { intermediate: hidden * 4, gated: false, fused_gate_up: false, bias: true };
    Layer {
        mixer: Mixer::Attention(attention),
        feed_forward: FeedForward::Dense(feed_forward),
        norms: [NormPlace::BeforeAttention, NormPlace::BeforeFeedForward]
            .map(|place| LayerNorm { place, norm: Norm::Layer })
            .to_vec(),
    }
}

const GPT: Style = Style {
    element: 2,
    kernel: Kernel::Eager { upcast: false },
    norm: NormStyle::Fused,
    dropout: true,
    linears: Linears::Trained,
    qkv: Qkv::Separate,
    repeats_kv: false,
    adapter_dropout: false,
    scatters_adapters: false,
};

/// arXiv 2205.05198, equation 1: s·b·h·(34 + 5·a·s / h); section 5: selective recomputation leaves 34·s·b·h; full, 2·s·b·h.
#[test]
fn a_gpt_layer_is_what_korthikanti_counts() {
    // Table 3's models: 22 B, 175 B, 530 B, 1 T.
    for (h, a) in [(6144, 64), (12_288, 96), (20_480, 128), (25_600, 160)] {
        for (s, b) in [(2048, 1), (2048, 4), (1024, 3)] {
            let numbers = Numbers { sequence: Tokens(s), micro_batch: b, ..Numbers::default() };
            let saved = saved::saved(h, &gpt_layer(h, a), &[], &GPT);
            assert_eq!(saved.all.at(&numbers), s * b * h * 34 + 5 * a * s * s * b);
            assert_eq!(saved.all.at(&numbers) - saved.core.at(&numbers), 34 * s * b * h);
            assert_eq!(saved.input.at(&numbers), 2 * s * b * h);
        }
    }
}

/// Autograd's saved-tensor hooks on `lit_gpt/model.py` and `lit_gpt/lora.py` at 8641822, bytes a token of one block over its
/// width h; there the dropout's mask takes 2 bytes on a processor and 1 on a GPU.
#[test]
fn a_litgpt_block_saves_what_autograd_reports() {
    let style = Style {
        element: 2,
        kernel: Kernel::Fused,
        // Without the normed value, which the hooks do not show.
        norm: NormStyle::Fused,
        dropout: false,
        linears: Linears::Frozen,
        qkv: Qkv::View,
        repeats_kv: true,
        adapter_dropout: true,
        scatters_adapters: true,
    };
    let h = 512;
    let mut phi = gpt_layer(h, 8);
    phi.norms.truncate(1);
    let mut llama = gpt_layer(h, 8);
    llama.feed_forward = FeedForward::Dense(DenseFeedForward {
        intermediate: 1024,
        gated: true,
        fused_gate_up: false,
        bias: false,
    });
    for (layer, on_a_processor) in [(phi, 30.2), (llama, 36.2)] {
        let adapter = |outputs| Adapter {
            layer: 0,
            reads: lora::Reads::MixerInput,
            inputs: h,
            outputs,
            copies: 1,
            rank: 8,
        };
        let saved = saved::saved(h, &layer, &[adapter(h), adapter(h)], &style);
        let each = saved.all.token as f64 / h as f64;
        assert!((each - (on_a_processor - 1.0)).abs() < 0.1, "{each} against {on_a_processor} - 1");
    }
}

fn model(config: &serde_json::Value) -> Model {
    Model::from_config("test", config).unwrap()
}

fn llama_2_7b() -> Model {
    model(&json!({
        "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 32, "intermediate_size": 11008, "vocab_size": 32000,
        "max_position_embeddings": 4096, "tie_word_embeddings": false
    }))
}

fn llama_3_8b() -> Model {
    model(&json!({
        "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128_256,
        "max_position_embeddings": 8192, "tie_word_embeddings": false
    }))
}

fn lora(rank: u32, targets: &[&str]) -> Lora {
    Lora { rank, targets: targets.iter().map(|t| (*t).to_owned()).collect(), train_embeddings: false }
}

/// What the libraries print as trainable: Llama 2 7B at rank 8 on query and value 4,194,304 (`LitGPT`'s tutorial and PEFT's
/// `print_trainable_parameters`); Llama 3 8B at rank 8 and 16 on all linear modules 20,971,520 and 41,943,040.
#[test]
fn adapters_have_the_parameters_that_the_libraries_print() {
    let all = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    for (model, lora, expected) in [
        (llama_2_7b(), lora(8, &["q_proj", "v_proj"]), 4_194_304),
        (llama_2_7b(), lora(16, &["q_proj", "v_proj"]), 8_388_608),
        (llama_3_8b(), lora(8, &all), 20_971_520),
        (llama_3_8b(), lora(16, &all), 41_943_040),
        (llama_3_8b(), lora(8, &["q_proj", "v_proj"]), 3_407_872),
    ] {
        let adapters = lora::adapters(&model, &lora).unwrap();
        assert_eq!(trained::of_adapters(&adapters, 2).parameters(), expected, "{lora:?}");
    }
}

#[test]
fn a_target_twice_is_one_adapter_and_a_name_may_mean_two_modules() {
    let model = llama_2_7b();
    let once = lora::adapters(&model, &lora(8, &["q_proj"])).unwrap();
    assert_eq!(lora::adapters(&model, &lora(8, &["q_proj", "q_proj"])).unwrap(), once);
    // Qwen's c_proj is both output projections.
    assert_eq!(lora::adapters(&model, &lora(8, &["c_proj"])).unwrap().len(), 64);
}

#[test]
fn an_unknown_target_lists_the_known_ones() {
    let error = lora::adapters(&llama_2_7b(), &lora(8, &["q_proj", "warp_proj"])).unwrap_err();
    assert_eq!(error.field, "workload.lora.targets");
    assert!(error.problem.contains("warp_proj") && error.remedy.contains("q_proj"), "{error}");
    // The feed-forward has a gate, attention no latent.
    assert!(!error.remedy.contains("kv_b_proj"), "{error}");
    assert_eq!(lora::adapters(&llama_2_7b(), &lora(0, &["q_proj"])).unwrap_err().field, "workload.lora.rank");
}

#[test]
fn states_of_every_optimizer() {
    let matrix = WeightTensor { role: Role::Up, layer: Some(0), rows: 1024, columns: 4096, copies: 1 };
    let vector = WeightTensor { role: Role::FinalNorm, layer: None, rows: 1, columns: 4096, copies: 1 };
    let small = WeightTensor { columns: 64, ..vector.clone() };
    let n = 1024 * 4096;
    for (optimizer, tensor, expected) in [
        (Optimizer::Adamw, &matrix, n * 8),
        (Optimizer::Adamw8bit, &matrix, 2 * (n + n / 256 * 4)),
        (Optimizer::PagedAdamw8bit, &matrix, 2 * (n + n / 256 * 4)),
        (Optimizer::Adamw8bit, &small, 64 * 8),
        (Optimizer::Sgd, &matrix, 0),
        (Optimizer::SgdMomentum, &matrix, n * 4),
        (Optimizer::Lion, &matrix, n * 4),
        (Optimizer::Adafactor, &matrix, (1024 + 4096) * 4),
        (Optimizer::Adafactor, &vector, 4096 * 4),
        (Optimizer::Muon, &matrix, n * 4),
        (Optimizer::Muon, &vector, 4096 * 8),
    ] {
        assert_eq!(state_bytes(optimizer, tensor, 4), expected, "{optimizer:?} {tensor:?}");
    }
}

#[test]
fn nf4_leaves_embedding_head_and_norms() {
    let model = llama_2_7b();
    // 6,476,005,376 parameters in linear modules at 4 bits and an fp32 scale for 64; the rest at 16 bits.
    let linear: u64 = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11_008);
    let rest = model.parameters().total - linear;
    let nf4 = weights::stored(&model, Format::Nf4 { double: false }, weights::Head::Plain);
    assert_eq!(nf4, linear / 2 + linear / 16 + rest * 2);
}

#[test]
fn logits_are_counted_as_cross_entropy_makes_them() {
    let numbers = Numbers { sequence: Tokens(100), micro_batch: 2, ..Numbers::default() };
    let at = |cost: Cost| cost.at(&numbers);
    assert_eq!(at(Loss::whole(1000, 2, true).allocated), 200 * 1000 * 12);
    assert_eq!(at(Loss::whole(1000, 2, true).reserved), 200 * 1000 * 16);
    assert_eq!(at(Loss::whole(1000, 2, false).allocated), 200 * 1000 * 6);
    assert!(at(Loss::liger(1000, 64, 2, false).allocated) < 200 * 1000);
}

fn plan(engine: &str, parallelism: &serde_json::Value, train: &serde_json::Value) -> Plan {
    let mut workload = json!({ "kind": "train", "method": "full", "sequence_tokens": 2048 });
    for (key, value) in train.as_object().unwrap() {
        workload[key] = value.clone();
    }
    let document = json!({
        "schema": 1, "model": { "name": "test", "config": {
            "model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32,
            "num_key_value_heads": 8, "intermediate_size": 8192, "vocab_size": 128_256,
            "max_position_embeddings": 131_072, "tie_word_embeddings": true, "torch_dtype": "bfloat16" } },
        "gpu": { "id": "h100-sxm-80gb" }, "engine": { "name": engine }, "parallelism": parallelism,
        "workload": workload
    });
    serde_json::from_value(document).unwrap()
}

fn total(engine: &str, parallelism: &serde_json::Value, train: &serde_json::Value) -> u64 {
    let compiled = Compiled::new(&plan(engine, parallelism, train)).unwrap();
    compiled.breakdown(&compiled.numbers()).unwrap().parts.total.0
}

/// Settings that save memory, each against the plan without it.
#[test]
fn every_saving_saves() {
    let none = json!({});
    let zero = |stage: u8, ranks: u32| json!({ "zero_stage": stage, "data": ranks });
    let lora = json!({ "rank": 16, "targets": ["q_proj", "v_proj"] });
    for engine in ["transformers", "deepspeed"] {
        // Long enough that activations, not the step, decide the peak.
        let long = |saving: &serde_json::Value| {
            let mut train = json!({ "sequence_tokens": 16_384 });
            for (key, value) in saving.as_object().unwrap() {
                train[key] = value.clone();
            }
            total(engine, &none, &train)
        };
        let full = long(&none);
        for saving in [
            json!({ "checkpointing": "full" }),
            json!({ "optimizer": "sgd" }),
            json!({ "optimizer": "adamw-8bit" }),
            json!({ "fused_cross_entropy": true }),
            json!({ "activation_offload": true }),
            json!({ "method": "lora", "lora": lora }),
            json!({ "sequence_tokens": 1024 }),
        ] {
            assert!(long(&saving) < full, "{engine} {saving}");
        }
    }
    let states = |stage| total("deepspeed", &zero(stage, 8), &json!({ "sequence_tokens": 16 }));
    assert!(states(1) < states(0) && states(3) < states(1));
    let offloaded = json!({ "zero_stage": 2, "data": 8, "offload": { "optimizer": "cpu" } });
    let compiled = Compiled::new(&plan("deepspeed", &offloaded, &none)).unwrap();
    let answer = compiled.breakdown(&compiled.numbers()).unwrap();
    assert_eq!(answer.parts.optimizer.0, 0);
    // 16 bytes of each of 1,235,814,400 parameters on the host, whatever the ranks.
    assert_eq!(answer.host.optimizer.0, 1_235_814_400 * 16);
}

#[test]
fn more_tokens_and_sequences_never_take_less() {
    for engine in ["transformers", "deepspeed", "litgpt", "torchtune"] {
        for checkpointing in ["none", "selective", "full"] {
            for zero in [0, 3] {
                let mixed = !matches!(engine, "torchtune");
                let train = json!({ "checkpointing": checkpointing, "mixed_precision": mixed });
                let plan = plan(engine, &json!({ "zero_stage": zero, "data": 4 }), &train);
                let compiled = Compiled::new(&plan).unwrap();
                let mut last = 0;
                for sequence in [1, 64, 1000, 4096, 8192, 32_768, 1 << 20] {
                    for batch in [1, 2, 3] {
                        let numbers =
                            Numbers { sequence: Tokens(sequence), micro_batch: batch, ..compiled.numbers() };
                        let b = compiled.breakdown(&numbers).unwrap();
                        assert!(b.allocated <= b.reserved && b.reserved <= b.parts.total);
                        if batch > 1 {
                            assert!(b.parts.total.0 >= last, "{engine} {checkpointing} {sequence} × {batch}");
                        }
                        last = b.parts.total.0;
                    }
                }
            }
        }
    }
}

#[test]
fn phases_are_in_order_and_the_largest_is_what_is_allocated() {
    for engine in ["transformers", "deepspeed", "litgpt"] {
        let compiled = Compiled::new(&plan(engine, &json!({}), &json!({}))).unwrap();
        let estimate = compiled.estimate().unwrap();
        let phases = estimate.phases.unwrap();
        let names: Vec<&str> = phases.iter().map(|p| p.phase.as_str()).collect();
        assert_eq!(names, ["forward", "backward", "step"]);
        assert_eq!(phases.iter().map(|p| p.peak_bytes).max(), Some(estimate.totals.allocated), "{engine}");
    }
}

#[test]
fn what_cannot_be_names_its_field() {
    let none = json!({});
    for (engine, parallelism, train, field) in [
        ("transformers", json!({ "tensor": 2 }), none.clone(), "parallelism.tensor"),
        ("transformers", json!({ "zero_stage": 2 }), none.clone(), "parallelism.zero_stage"),
        ("transformers", none.clone(), json!({ "method": "lora" }), "workload.lora"),
        ("transformers", none.clone(), json!({ "method": "distill" }), "workload.teacher"),
        (
            "transformers",
            none.clone(),
            json!({ "optimizer_in_backward": true }),
            "workload.optimizer_in_backward",
        ),
        (
            "deepspeed",
            json!({ "offload": { "optimizer": "cpu" } }),
            none.clone(),
            "parallelism.offload.optimizer",
        ),
        (
            "deepspeed",
            json!({ "zero_stage": 2, "offload": { "parameters": "cpu" } }),
            none.clone(),
            "parallelism.offload.parameters",
        ),
        ("litgpt", none.clone(), json!({ "activation_offload": true }), "workload.activation_offload"),
        ("torchtune", none.clone(), none.clone(), "workload.mixed_precision"),
        ("torchtune", none, json!({ "float8_linear": true }), "workload.float8_linear"),
    ] {
        let error = Compiled::new(&plan(engine, &parallelism, &train)).err().expect(field);
        assert_eq!(error.field, field, "{error}");
    }
}

/// The foreach form of `AdamW` copies the second moment twice; the fused form, the default of Transformers 5, copies nothing.
#[test]
fn a_newer_trainer_steps_without_copies() {
    let step = |version: Option<&str>| {
        let mut plan = plan("transformers", &json!({}), &json!({ "sequence_tokens": 16 }));
        plan.engine.version = version.map(str::to_owned);
        let compiled = Compiled::new(&plan).unwrap();
        compiled.estimate().unwrap().phases.unwrap()[2].peak_bytes.0
    };
    assert_eq!(step(None) - step(Some("5.0")), 1_235_814_400 * 8);
}

#[test]
fn a_teacher_is_held_beside_its_student() {
    let teacher = json!({
        "method": "distill",
        "teacher": { "precision": "bf16", "model": { "name": "teacher", "config": {
            "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128_256,
            "max_position_embeddings": 8192, "tie_word_embeddings": false } } }
    });
    let compiled = Compiled::new(&plan("transformers", &json!({}), &teacher)).unwrap();
    let parts = compiled.breakdown(&compiled.numbers()).unwrap().parts;
    assert_eq!(parts.auxiliary.0, 8_030_261_248 * 2);
}
