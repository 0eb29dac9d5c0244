use super::*;
use crate::catalogue;
use crate::document::plan::TrainMethod;

const EIGHT: &str = "meta-llama/Llama-3.1-8B";

fn reader(model: &str, gpu: &str, context: u64, batch: u64) -> Reader {
    Reader { model: model.to_owned(), gpu: gpu.to_owned(), context: Tokens(context), batch }
}

/// Folklore says 1 GB a billion in 16 bit; it is 2 GB = 1.86 GiB, and the rotary table is on top.
#[test]
fn sixteen_bit_takes_two_bytes() {
    let rows = per_billion(EIGHT).unwrap();
    let of = |precision| rows.iter().find(|r| r.precision == precision).unwrap().bytes.0 as f64 / 1e9;
    assert!((of(WeightPrecision::Bf16) - 2.0).abs() < 0.02);
    assert!((of(WeightPrecision::Fp32) - 4.0).abs() < 0.04);
    assert!(of(WeightPrecision::GgufQ4KM) > 0.55 && of(WeightPrecision::GgufQ4KM) < 0.65);
    // An 8-bit format is not half of 16 bit: embedding and head stay.
    assert!(of(WeightPrecision::Fp8) > 1.0 && of(WeightPrecision::Fp8) < 1.3);
}

#[test]
fn a_7b_runs_on_every_card_and_a_70b_whole_on_none() {
    for answer in on_one_card(&MODELS, &CARDS, Tokens(4096)).unwrap() {
        match (answer.model.as_str(), &answer.way) {
            ("meta-llama/Llama-2-7b-hf", Way::Whole { planned, longest_context }) => {
                assert!(planned.estimate.fits && longest_context.0 >= 4096, "{answer:?}");
            }
            ("meta-llama/Llama-3.1-70B", Way::Split { planned, gpu_layers, layers }) => {
                assert!(gpu_layers < layers && planned.estimate.fits, "{answer:?}");
                assert!(planned.estimate.host.weights > Bytes::ZERO);
            }
            _ => panic!("{answer:?}"),
        }
    }
}

#[test]
fn training_takes_several_times_as_much() {
    let rows =
        training_against_inference(&reader("meta-llama/Llama-2-7b-hf", "b200-sxm-192gb", 2048, 1)).unwrap();
    assert!(rows[1].times_serving > 6.0, "{}", rows[1].times_serving);
    assert!(rows[2].planned.estimate.per_gpu.total < rows[1].planned.estimate.per_gpu.total);
    assert!(rows[3].times_serving < 2.5 && rows[4].times_serving < 1.0 + rows[3].times_serving / 2.0);
}

#[test]
fn a_reader_is_refused_by_the_field_that_is_wrong() {
    for (reader, field) in [
        (reader("no/such", "rtx-4090-24gb", 4096, 1), "model"),
        (reader("google-bert/bert-base-uncased", "rtx-4090-24gb", 256, 1), "model"),
        (reader(EIGHT, "rtx-9999", 4096, 1), "gpu"),
        (reader(EIGHT, "cpu", 4096, 1), "gpu"),
        (reader(EIGHT, "rtx-4090-24gb", 7, 1), "context"),
        (reader("openai-community/gpt2", "rtx-4090-24gb", 4096, 1), "context"),
        (reader(EIGHT, "rtx-4090-24gb", 4096, 0), "batch"),
    ] {
        for topic in TOPICS {
            let error = answer(topic, &reader).unwrap_err();
            assert_eq!(error.field, field, "{topic:?} {reader:?}: {error}");
        }
    }
}

const TOPICS: [Topic; 5] =
    [Topic::CanRun, Topic::PerBillion, Topic::Quantize, Topic::Attention, Topic::Training];

/// Every figure is the estimate of its plan.
fn holds(planned: &Planned) {
    let again = crate::estimate(&planned.plan).unwrap();
    assert_eq!(planned.estimate, Estimate { advice: Vec::new(), ..again }, "{:?}", planned.plan);
}

#[test]
fn an_8b_runs_on_a_4090_in_16_bits() {
    let reader = reader(EIGHT, "rtx-4090-24gb", 4096, 1);
    let answer = can_run(&reader).unwrap();
    let best = answer.best().unwrap();
    assert_eq!(best.planned.plan.precision.weights, Some(WeightPrecision::Bf16));
    assert!(best.longest_context.0 > 4096 && best.most_sequences > 1, "{best:?}");
    assert!(answer.advised.is_none() && answer.split.is_none() && answer.refused.is_empty(), "{answer:?}");
    for way in &answer.ways {
        holds(&way.planned);
        let capacity = way.planned.estimate.capacity_bytes;
        assert_eq!(way.planned.estimate.fits, way.planned.needed() <= capacity, "{:?}", way.planned.plan);
        assert_eq!(way.longest_context, crate::solve::longest_context(&way.planned.plan).unwrap());
    }
    assert_eq!(answer.others.len(), 5, "the ladder without the reader's own");
}

#[test]
fn what_fits_nowhere_is_advised_and_split() {
    let answer = can_run(&reader("meta-llama/Llama-3.1-70B", "rtx-4090-24gb", 4096, 1)).unwrap();
    assert!(answer.best().is_none());
    assert!(answer.advised.unwrap().advice.iter().any(|advice| advice.fits));
    let Some(Way::Split { planned, gpu_layers, layers }) = answer.split else { panic!("no split") };
    assert!(gpu_layers < layers && planned.estimate.fits);
    let answer = can_run(&reader("deepseek-ai/DeepSeek-V3", "rtx-3060-12gb", 4096, 1)).unwrap();
    assert!(answer.best().is_none() && answer.smallest().is_some());
}

#[test]
fn parameters_do_not_say_what_the_cache_takes() {
    let answer = billion(&reader(EIGHT, "rtx-4090-24gb", 4096, 8)).unwrap();
    holds(&answer.whole);
    let of = |model: &str| answer.others.iter().find(|other| other.model == model).unwrap();
    let cache = |model: &str| of(model).planned.estimate.kv.bytes_per_token;
    assert_eq!(answer.others[0].model, EIGHT);
    assert_eq!(cache("meta-llama/Llama-2-7b-hf"), cache(EIGHT) * 4, "no grouped queries");
    assert_eq!(of("mistralai/Mixtral-8x7B-Instruct-v0.1").experts, Some((8, 2)));
    let tiny = of("HuggingFaceTB/SmolLM2-135M");
    assert!(tiny.four > of(EIGHT).four, "its embedding is a larger share");
}

#[test]
fn quantizing_gains_less_for_many() {
    let answer = trades(&reader(EIGHT, "rtx-4090-24gb", 2048, 32)).unwrap();
    let gain = |engine, weights| {
        let (one, many) = answer.of(engine, weights).and_then(Trade::speeds).unwrap();
        let (base_one, base_many) = answer.sixteen(engine).and_then(Trade::speeds).unwrap();
        (one / base_one, many / base_many)
    };
    let (one, many) = gain(EngineName::LlamaCpp, WeightPrecision::GgufQ4KM);
    assert!(one > 1.5 && many < one, "{one} {many}");
    assert!(gain(EngineName::Transformers, WeightPrecision::Nf4Dq).0 < 1.0, "bitsandbytes is slower");
    for engine in [EngineName::Vllm, EngineName::LlamaCpp, EngineName::Transformers] {
        assert!(answer.sixteen(engine).unwrap().undominated, "{engine:?}: nothing is more exact");
    }
    for row in &answer.rows {
        holds(&row.one);
        holds(&row.many);
    }
}

#[test]
fn flash_attention_saves_at_prefill_only() {
    let answer = attentions(&reader(EIGHT, "rtx-4090-24gb", 8192, 1)).unwrap();
    let at = |kernel| answer.at(kernel, Tokens(8192)).unwrap();
    let (eager, flash) = (at(Kernel::Eager), at(Kernel::Flash));
    assert!(eager.prefill() > flash.prefill() * 10, "{} {}", eager.prefill(), flash.prefill());
    assert!(eager.decode().saturating_sub(flash.decode()) < Bytes::from_mib(4));
    assert_eq!(answer.contexts(), [1024, 4096, 8192, 16_384, 65_536].map(Tokens));
    let longest = |kernel| answer.longest.iter().find(|(k, _)| *k == kernel).unwrap().1.clone().unwrap();
    assert!(longest(Kernel::Flash) > longest(Kernel::Eager));
    let always: Vec<EngineName> =
        answer.engines.iter().filter(|e| e.own.is_ok() && e.eager.is_err()).map(|e| e.engine).collect();
    assert!(always.contains(&EngineName::Vllm) && !always.contains(&EngineName::LlamaCpp), "{always:?}");
}

#[test]
fn adapters_fit_where_whole_training_does_not() {
    let reader = reader(EIGHT, "rtx-4090-24gb", 2048, 1);
    let answer = trainings(&reader).unwrap();
    assert_eq!(answer.homes.len() + 1, answer.rows.len());
    let (full, home) = answer.least(TrainMethod::Full).unwrap();
    assert!(!full.planned.estimate.fits);
    let (count, spread) = home.cards.as_ref().unwrap();
    assert!(*count > 1 && spread.estimate.fits, "{count}");
    holds(spread);
    let (qlora, home) = answer.least(TrainMethod::Qlora).unwrap();
    assert!(qlora.planned.estimate.fits);
    assert_eq!(home.cards.as_ref().unwrap().0, 1);
    let (card, planned) = home.smallest.as_ref().unwrap();
    assert!(planned.estimate.fits);
    let smaller = |gpu: &&catalogue::Gpu| {
        gpu.compute_capability.is_some()
            && !gpu.unified_memory
            && gpu.visible().bytes() < catalogue::gpu(card).unwrap().visible().bytes()
    };
    for gpu in catalogue::gpus().iter().filter(smaller) {
        let mut plan = qlora.planned.plan.clone();
        plan.gpu.id.clone_from(&gpu.id);
        assert!(!crate::estimate(&plan).unwrap().fits, "{} is smaller and holds it", gpu.id);
    }
}

/// Whatever is chosen, there is an answer or the planner's own word why not: a model of each architecture, each on another
/// GPU.
#[test]
fn every_architecture_is_answered() {
    let mut seen = Vec::new();
    let first = |entry: &&catalogue::ModelEntry| {
        let model = entry.model().unwrap();
        let is_new = model.is_decoder() && !seen.contains(&model.architecture);
        seen.push(model.architecture);
        is_new
    };
    for (place, entry) in catalogue::models().iter().filter(first).enumerate() {
        let gpu = catalogue::gpus()[place % catalogue::gpus().len()].id.clone();
        let longest = entry.model().unwrap().max_tokens;
        let asked = Reader { model: entry.id.clone(), gpu, context: longest.min(Tokens(2048)), batch: 2 };
        for topic in TOPICS {
            if let Err(error) = answer(topic, &asked) {
                assert!(
                    !["model", "gpu", "context", "batch"].contains(&error.field.as_str()),
                    "{asked:?}: {error}"
                );
            }
        }
    }
}
