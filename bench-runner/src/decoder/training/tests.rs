//! Gradients against differences of the loss, the ways to the same gradient against each other, and a loss that falls.

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};
use contract::training::{ALL_TARGETS, Training};
use planner::document::plan::{Checkpointing, Lora, Optimizer, TrainMethod};
use serde_json::{Value, json};

use super::{Options, Trainer};
use crate::decoder::From;
use crate::engine::{Precision, RandomMatrices, random_tensor};

/// William Shakespeare, sonnet 18 (1609).
const TEXT: &str = include_str!("sonnet.txt");

const VOCABULARY: u32 = 256;

fn config(family: &str) -> Value {
    json!({
        "model_type": family, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": VOCABULARY,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "hidden_act": "silu",
        "tie_word_embeddings": family == "qwen3", "sliding_window": if family == "mistral" { json!(5) } else { Value::Null }
    })
}

fn training(method: TrainMethod) -> Training {
    let lora = Lora { rank: 4, targets: ALL_TARGETS.map(str::to_owned).to_vec(), train_embeddings: false };
    Training::of(method, (method != TrainMethod::Full).then_some(lora))
}

fn precision(method: TrainMethod) -> Precision {
    if method == TrainMethod::Qlora {
        Precision::Quantised(GgmlDType::Q8_0)
    } else {
        Precision::Dense(DType::F32)
    }
}

fn load_as(family: &str, precision: Precision, training: Training, rate: f64, tokens: usize) -> Trainer {
    let options = Options { training, tokens, learning_rate: rate };
    let from = From::Random(RandomMatrices::default());
    Trainer::load(&from, &config(family), precision, &options, &Device::Cpu).unwrap()
}

fn load(family: &str, training: Training, tokens: usize) -> Trainer {
    load_as(family, precision(training.method), training, 1e-2, tokens)
}

/// Sequences of the text and the letter after each, `first` and on.
fn sequences(first: usize, batch: usize, tokens: usize) -> (Tensor, Tensor) {
    let letters: Vec<u32> = TEXT.bytes().map(u32::from).collect();
    let each = |shift: usize| -> Vec<u32> {
        let row = |i: usize| &letters[(first + i) * tokens + shift..(first + i + 1) * tokens + shift];
        (0..batch).flat_map(row).copied().collect()
    };
    let ids = Tensor::from_vec(each(0), (batch, tokens), &Device::Cpu).unwrap();
    (ids, Tensor::from_vec(each(1), batch * tokens, &Device::Cpu).unwrap())
}

fn backward(trainer: &mut Trainer, (ids, targets): (Tensor, Tensor)) -> f32 {
    let passed = trainer.forward(ids, &targets).unwrap();
    let loss = passed.loss().unwrap();
    trainer.backward(passed).unwrap();
    loss
}

fn gradients(trainer: &Trainer) -> Vec<Tensor> {
    let all = trainer.parameters.gradients();
    all.into_iter()
        .map(|(_, gradient)| gradient.expect("everything trained has a gradient").clone())
        .collect()
}

fn number(tensor: &Tensor) -> f64 {
    f64::from(tensor.to_dtype(DType::F32).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap())
}

fn length(tensor: &Tensor) -> f64 {
    number(&tensor.sqr().unwrap()).sqrt()
}

/// Moves every parameter away from where it began, so that no gradient is zero by construction and none is too small.
fn stir(trainer: &Trainer) {
    for (index, (var, _)) in trainer.parameters.gradients().into_iter().enumerate() {
        let noise = random_tensor(&format!("stirred {index}"), var.shape().clone(), DType::F32, &Device::Cpu)
            .unwrap();
        var.set(&(var.as_tensor() + (noise * 6.0).unwrap()).unwrap()).unwrap();
    }
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    const STEP: f64 = 0.003;
    for (family, method) in [
        ("llama", TrainMethod::Full),
        ("mistral", TrainMethod::Full),
        ("qwen2", TrainMethod::Full),
        ("qwen3", TrainMethod::Full),
        ("llama", TrainMethod::Lora),
        ("qwen2", TrainMethod::Lora),
        ("llama", TrainMethod::Qlora),
    ] {
        let mut trainer = load(family, training(method), 7);
        stir(&trainer);
        backward(&mut trainer, sequences(0, 2, 7));
        let gradients = gradients(&trainer);
        let vars: Vec<_> = trainer.parameters.gradients().iter().map(|(var, _)| (*var).clone()).collect();
        for (index, (var, gradient)) in vars.iter().zip(&gradients).enumerate() {
            let size = length(gradient);
            assert!(size > 1e-4, "{family} {method:?} {index} {:?}: {size}", var.dims());
            let other =
                random_tensor(&format!("{index}"), var.shape().clone(), DType::F32, &Device::Cpu).unwrap();
            for direction in [gradient.clone(), other] {
                let direction = (&direction / length(&direction)).unwrap();
                let start = var.as_tensor().copy().unwrap();
                let at = |distance: f64| {
                    var.set(&(&start + (&direction * distance).unwrap()).unwrap()).unwrap();
                    let (ids, targets) = sequences(0, 2, 7);
                    f64::from(trainer.forward(ids, &targets).unwrap().loss().unwrap())
                };
                let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                at(0.0);
                let want = number(&(gradient * &direction).unwrap());
                let off = (slope - want).abs();
                assert!(
                    off < 0.02 * size + 2e-4,
                    "{family} {method:?} {index} {:?}: {slope} is not {want} (of {size})",
                    var.dims()
                );
            }
        }
    }
}

#[test]
fn adapters_begin_without_effect() {
    let loss = |method| {
        let trainer = load("llama", training(method), 16);
        let (ids, targets) = sequences(0, 2, 16);
        trainer.forward(ids, &targets).unwrap().loss().unwrap()
    };
    let (base, adapted) = (loss(TrainMethod::Full), loss(TrainMethod::Lora));
    assert!((base - adapted).abs() < 1e-5, "{base} {adapted}");
}

/// The largest difference between gradients, as a part of the largest gradient of each.
fn difference(a: &[Tensor], b: &[Tensor]) -> f64 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b).map(|(a, b)| length(&(a - b).unwrap()) / length(a));
    pairs.fold(0.0, f64::max)
}

#[test]
fn checkpointing_gives_the_same_gradients() {
    for method in [TrainMethod::Full, TrainMethod::Lora, TrainMethod::Qlora] {
        let run = |checkpointing| {
            let mut trainer = load("qwen3", Training { checkpointing, ..training(method) }, 12);
            stir(&trainer);
            let loss = backward(&mut trainer, sequences(0, 2, 12));
            (loss, gradients(&trainer))
        };
        let ((loss, whole), (again, recomputed)) = (run(Checkpointing::None), run(Checkpointing::Full));
        assert!((loss - again).abs() < 1e-5, "{method:?}: {loss} {again}");
        let off = difference(&whole, &recomputed);
        assert!(off < 1e-4, "{method:?}: {off}");
    }
}

#[test]
fn micro_batches_add_up_to_the_batch_of_all() {
    for checkpointing in [Checkpointing::None, Checkpointing::Full] {
        let mut whole = load("llama", Training { checkpointing, ..training(TrainMethod::Full) }, 12);
        backward(&mut whole, sequences(0, 4, 12));
        let halves = Training { checkpointing, gradient_accumulation: 2, ..training(TrainMethod::Full) };
        let mut halves = load("llama", halves, 12);
        for first in [0, 2] {
            backward(&mut halves, sequences(first, 2, 12));
        }
        let off = difference(&gradients(&whole), &gradients(&halves));
        assert!(off < 1e-4, "{off}");
    }
}

#[test]
fn the_loss_falls_on_a_text() {
    const TOKENS: usize = 32;
    let blocks = Precision::Quantised(GgmlDType::Q4_0);
    let dense = Precision::Dense;
    for (method, precision, mixed_precision, optimizer, rate, fall) in [
        (TrainMethod::Full, dense(DType::F32), false, Optimizer::Adamw, 3e-3, 2.0),
        (TrainMethod::Full, dense(DType::F32), false, Optimizer::Sgd, 0.3, 1.0),
        (TrainMethod::Full, dense(DType::BF16), true, Optimizer::Adamw, 3e-3, 2.0),
        (TrainMethod::Full, dense(DType::F16), true, Optimizer::Adamw, 3e-3, 2.0),
        (TrainMethod::Full, dense(DType::BF16), false, Optimizer::Adamw, 3e-3, 1.0),
        (TrainMethod::Lora, dense(DType::F32), false, Optimizer::Adamw, 1e-2, 0.2),
        (TrainMethod::Lora, dense(DType::BF16), true, Optimizer::Adamw, 1e-2, 0.2),
        (TrainMethod::Qlora, blocks, false, Optimizer::Adamw, 1e-2, 0.2),
        (TrainMethod::Qlora, blocks, true, Optimizer::Sgd, 1.0, 0.02),
    ] {
        let step = Training { mixed_precision, optimizer, ..training(method) };
        let name = format!("{precision:?} {}", step.name());
        let mut trainer = load_as("llama", precision, step, rate, TOKENS);
        let losses: Vec<f32> = (0..30)
            .map(|_| {
                let loss = backward(&mut trainer, sequences(0, 8, TOKENS));
                trainer.update().unwrap();
                loss
            })
            .collect();
        let (first, last) = (losses[0], losses[losses.len() - 1]);
        assert!((first - 256f32.ln()).abs() < 0.5, "{name}: a random model knows nothing: {first}");
        assert!(last < first - fall, "{name}: from {first} to {last}");
    }
}
