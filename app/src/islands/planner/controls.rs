//! The controls: a plain GET form, live in the browser.

use ::planner::catalogue::{self, CPU};
use ::planner::document::plan::{ModelRef, Plan, Serve, Workload};
use ::planner::document::precision::WeightPrecision;
use ::planner::{Model, PlanError, Tokens};
use leptos::prelude::*;

use crate::{format, link};

/// Weights that Candle holds, in the order of the list.
const FLOATS: [WeightPrecision; 3] = [WeightPrecision::Fp32, WeightPrecision::Bf16, WeightPrecision::Fp16];
const QUANTISED: [WeightPrecision; 13] = [
    WeightPrecision::GgufQ8_0,
    WeightPrecision::GgufQ6K,
    WeightPrecision::GgufQ5KM,
    WeightPrecision::GgufQ5KS,
    WeightPrecision::GgufQ5_1,
    WeightPrecision::GgufQ5_0,
    WeightPrecision::GgufQ4KM,
    WeightPrecision::GgufQ4KS,
    WeightPrecision::GgufQ4_1,
    WeightPrecision::GgufQ4_0,
    WeightPrecision::GgufQ3KM,
    WeightPrecision::GgufQ3KS,
    WeightPrecision::GgufQ2K,
];

/// Plans to start from.
const STARTS: [(&str, &str); 4] = [
    (
        "Small model on this processor",
        "model=HuggingFaceTB/SmolLM2-135M&gpu=cpu&weights=bf16&context=256&output=16&batch=2",
    ),
    (
        "8B chat on 24 GB",
        "model=meta-llama/Llama-3.1-8B&gpu=rtx-4090-24gb&weights=bf16&context=1024&output=512&batch=4",
    ),
    (
        "8B quantised on 12 GB",
        "model=meta-llama/Llama-3.1-8B&gpu=rtx-3060-12gb&weights=gguf:q4_k_m&context=2048&output=512",
    ),
    (
        "Long document on an H100",
        "model=Qwen/Qwen3-8B&gpu=h100-sxm-80gb&weights=bf16&context=16384&output=1024",
    ),
];

/// Every control that changes a figure of today's planner, and none beside.
#[component]
#[allow(clippy::too_many_lines, reason = "markup, a block for each control")]
pub(super) fn Controls(
    /// The plan, changed in place.
    plan: RwSignal<Plan>,
    /// What is wrong with it.
    answer: Signal<Option<PlanError>>,
) -> impl IntoView {
    let wrong = move |prefix: &'static str| {
        answer.with(|error| error.as_ref().is_some_and(|e| e.field.starts_with(prefix)).then_some("true"))
    };
    let serve = move |read: fn(&Serve) -> u64| {
        plan.with(|plan| match &plan.workload {
            Workload::Serve(serve) => read(serve),
            Workload::Train(_) | Workload::Embed { .. } => 0,
        })
    };
    let set_serve = move |write: fn(&mut Serve, u64), value: u64| {
        plan.update(|plan| {
            if let Workload::Serve(serve) = &mut plan.workload {
                write(serve, value);
                serve.max_model_len = None;
            }
        });
    };
    let longest = Memo::new(move |_| {
        plan.with(|plan| Model::from_ref(&plan.model).map_or(131_072, |model| model.max_tokens.0))
    });
    let on_cpu = move || plan.with(|plan| plan.gpu.id == CPU);
    let own_model = move || plan.with(|plan| plan.model.id.is_none());
    let choose_model = move |id: String| {
        if !id.is_empty() {
            plan.update(|plan| {
                plan.model = ModelRef::catalogue(id);
                shorten(plan);
            });
        }
    };
    view! {
        <form method="get" action="/planner" on:submit=|event| event.prevent_default()>
            <label class="field">
                <span>"Model"</span>
                <select
                    name="model"
                    aria-invalid=move || wrong("model")
                    prop:value=move || plan.with(chosen_model)
                    on:change=move |event| choose_model(event_target_value(&event))
                >
                    {move || own_model().then(|| {
                        view! { <option value="" selected>{plan.with(|plan| link::model_name(&plan.model))}</option> }
                    })}
                    {model_options(&plan.with_untracked(chosen_model))}
                </select>
            </label>
            <label class="field">
                <span>"GPU"</span>
                <select
                    name="gpu"
                    aria-invalid=move || wrong("gpu.id")
                    prop:value=move || plan.with(|plan| plan.gpu.id.clone())
                    on:change=move |event| {
                        let id = event_target_value(&event);
                        plan.update(|plan| plan.gpu = ::planner::document::plan::GpuRef::one(id));
                    }
                >
                    {gpu_options(&plan.with_untracked(|plan| plan.gpu.id.clone()))}
                </select>
            </label>
            <label class="field">
                <span>"Weights"</span>
                <select
                    name="weights"
                    data-test="weights"
                    aria-invalid=move || wrong("precision")
                    prop:value=move || plan.with(weights)
                    on:change=move |event| {
                        let chosen = event_target_value(&event).parse().ok();
                        plan.update(|plan| {
                            plan.precision.weights = chosen;
                            // Stock Candle's cache and activations follow the weights.
                            plan.precision.kv_cache = None;
                            plan.precision.activations = None;
                        });
                    }
                >
                    {weight_options(&plan.with_untracked(weights))}
                </select>
            </label>
            <Amount
                name="context"
                label="Context"
                unit="tokens of prompt"
                value=Signal::derive(move || serve(|serve| serve.prompt_tokens.0))
                most=Signal::derive(move || longest.get())
                wrong=Signal::derive(move || wrong("workload.prompt_tokens"))
                set=Callback::new(move |n| set_serve(|serve, n| serve.prompt_tokens = Tokens(n), n))
            />
            <Amount
                name="batch"
                label="Sequences at once"
                unit="sequences"
                value=Signal::derive(move || serve(|serve| serve.concurrent_sequences))
                most=Signal::derive(|| 256)
                wrong=Signal::derive(move || wrong("workload.concurrent_sequences"))
                set=Callback::new(move |n| set_serve(|serve, n| serve.concurrent_sequences = n, n))
            />
            <details class="fold">
                <summary>
                    <span>"Output"</span>
                    <small class="num">
                        {move || format!("{} tokens", format::count(serve(|serve| serve.output_tokens.0)))}
                    </small>
                </summary>
                <Amount
                    name="output"
                    label="Output"
                    unit="tokens after the prompt"
                    value=Signal::derive(move || serve(|serve| serve.output_tokens.0))
                    most=Signal::derive(move || longest.get())
                    wrong=Signal::derive(move || wrong("workload.output_tokens"))
                    set=Callback::new(move |n| set_serve(|serve, n| serve.output_tokens = Tokens(n), n))
                />
            </details>
            <details class="fold">
                <summary>
                    <span>{move || if on_cpu() { "Host memory" } else { "GPU memory" }}</span>
                    <small class="num">{move || plan.with(memory)}</small>
                </summary>
                <Optional
                    name="memory_mib"
                    label="Memory that a program sees, MiB"
                    hint="left empty: as the catalogue says"
                    value=Signal::derive(move || plan.with(|plan| plan.gpu.memory_mib))
                    wrong=Signal::derive(move || wrong("gpu.memory_mib"))
                    set=Callback::new(move |n| plan.update(|plan| plan.gpu.memory_mib = n))
                />
                <Optional
                    name="in_use_mib"
                    label="Already in use by others, MiB"
                    hint="a desktop, another process"
                    value=Signal::derive(move || plan.with(|plan| Some(plan.gpu.in_use_mib).filter(|n| *n > 0)))
                    wrong=Signal::derive(move || wrong("gpu.in_use_mib"))
                    set=Callback::new(move |n: Option<u64>| plan.update(|plan| plan.gpu.in_use_mib = n.unwrap_or(0)))
                />
            </details>
            <div style=move || if on_cpu() { "display:contents" } else { "display:none" }>
                <details class="fold">
                    <summary>
                        <span>"Processor"</span>
                        <small>{move || plan.with(host)}</small>
                    </summary>
                    <label class="field">
                        <span>"Instruction set"</span>
                        <select
                            name="isa"
                            prop:value=move || plan.with(|plan| plan.host.isa.clone().unwrap_or_default())
                            on:change=move |event| {
                                let isa = Some(event_target_value(&event)).filter(|isa| !isa.is_empty());
                                plan.update(|plan| plan.host.isa = isa);
                            }
                        >
                            {isa_options(&plan.with_untracked(|plan| plan.host.isa.clone().unwrap_or_default()))}
                        </select>
                    </label>
                    <Optional
                        name="threads"
                        label="Threads that compute"
                        hint="their workspaces count"
                        value=Signal::derive(move || plan.with(|plan| plan.host.threads.map(u64::from)))
                        wrong=Signal::derive(move || wrong("host.threads"))
                        set=Callback::new(move |n: Option<u64>| {
                            plan.update(|plan| plan.host.threads = n.and_then(|n| u32::try_from(n).ok()));
                        })
                    />
                </details>
            </div>
            <OwnModel plan />
            {move || plan.with(link::rest).map(|rest| view! { <input type="hidden" name="plan" value=rest /> })}
            {move || {
                own_model()
                    .then(|| plan.with(|plan| serde_json::to_string(&plan.model).ok()))
                    .flatten()
                    .map(|json| view! { <input type="hidden" name="model_json" value=json /> })
            }}
            <p class="muted" style="font-size:13px;border-top:1px solid var(--rule);padding-top:10px">
                {move || plan.with(follows)}
            </p>
            <button class="button primary no-script">"Apply"</button>
        </form>
        <p style="margin:0 0 6px">
            <small>"Start from"</small>
        </p>
        <div class="chips">
            {STARTS
                .into_iter()
                .map(|(name, query)| view! { <a class="chip" href=format!("/planner?{query}")>{name}</a> })
                .collect_view()}
        </div>
    }
}

/// A number with a slider by factors beside it; the slider needs JavaScript, the number does not.
#[component]
fn Amount(
    name: &'static str,
    label: &'static str,
    unit: &'static str,
    value: Signal<u64>,
    most: Signal<u64>,
    wrong: Signal<Option<&'static str>>,
    set: Callback<u64>,
) -> impl IntoView {
    let typed = move |event| {
        if let Ok(n) = event_target_value(&event).trim().parse::<u64>() {
            set.run(n);
        }
    };
    let slid = move |event| {
        if let Ok(step) = event_target_value(&event).parse::<u32>() {
            set.run(of_step(step).min(most.get_untracked()));
        }
    };
    view! {
        <div class="field">
            <label for=name>
                {label} <output class="num">{move || format!("{} {unit}", format::count(value.get()))}</output>
            </label>
            <input
                type="number"
                id=name
                name=name
                min="0"
                step="1"
                inputmode="numeric"
                value=value.get_untracked().to_string()
                prop:value=move || value.get().to_string()
                aria-invalid=move || wrong.get()
                on:input=typed
            />
            <input
                class="needs-script"
                type="range"
                min="0"
                max=move || steps(most.get()).to_string()
                aria-label=format!("{label}, by factors")
                aria-valuetext=move || format!("{} {unit}", format::count(value.get()))
                prop:value=move || step_of(value.get()).to_string()
                on:input=slid
            />
        </div>
    }
}

/// A number that may be left out.
#[component]
fn Optional(
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    value: Signal<Option<u64>>,
    wrong: Signal<Option<&'static str>>,
    set: Callback<Option<u64>>,
) -> impl IntoView {
    let shown = move |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
    let typed = move |event| {
        let text = event_target_value(&event);
        if text.trim().is_empty() {
            set.run(None);
        } else if let Ok(n) = text.trim().parse() {
            set.run(Some(n));
        }
    };
    view! {
        <label class="field">
            <span>{label}</span>
            <input
                type="number"
                name=name
                min="0"
                step="1"
                inputmode="numeric"
                value=shown(value.get_untracked())
                prop:value=move || shown(value.get())
                aria-invalid=move || wrong.get()
                on:input=typed
            />
            <span class="hint">{hint}</span>
        </label>
    }
}

/// A model that the catalogue lacks, by its `config.json`.
#[component]
fn OwnModel(plan: RwSignal<Plan>) -> impl IntoView {
    let wrong = RwSignal::new(None::<String>);
    let told = move || {
        plan.with(|plan| plan.model.id.is_none().then(|| link::model_name(&plan.model)))
            .unwrap_or_else(|| "none".to_owned())
    };
    let pasted = move |event| {
        let text = event_target_value(&event);
        if text.trim().is_empty() {
            wrong.set(None);
            return;
        }
        match link::pasted(&text) {
            Ok(model) => {
                wrong.set(None);
                plan.update(|plan| {
                    plan.model = model;
                    shorten(plan);
                });
            }
            Err(error) => wrong.set(Some(format!("{} – {}.", error.problem, error.remedy))),
        }
    };
    view! {
        <details class="fold">
            <summary>
                <span>"Another model"</span>
                <small>{told}</small>
            </summary>
            <label class="field">
                <span>"A Hugging Face config.json"</span>
                <textarea
                    name="config"
                    rows="5"
                    spellcheck="false"
                    placeholder="{\"model_type\": \"llama\", \"hidden_size\": 4096, …}"
                    aria-invalid=move || wrong.with(Option::is_some).then_some("true")
                    on:input=pasted
                ></textarea>
                <span class="hint">"It is read here, in the page. Llama, Mistral, Qwen 2 and 3, Gemma 2 and 3, Phi-3."</span>
                {move || wrong.get().map(|message| view! { <span class="error">{message}</span> })}
            </label>
        </details>
    }
}

/// Options of every model that generates.
pub(crate) fn model_options(chosen: &str) -> Vec<AnyView> {
    catalogue::models()
        .iter()
        .filter(|entry| {
            entry.model().is_ok_and(|model| model.layers.iter().all(|layer| layer.attention.causal))
        })
        .map(|entry| {
            let selected = entry.id == chosen;
            let label = format!("{} · {} B", entry.id, format::figure(entry.parameters as f64 / 1e9));
            view! { <option value=entry.id.clone() selected=selected>{label}</option> }.into_any()
        })
        .collect()
}

/// Options of every GPU, and of the processor.
pub(crate) fn gpu_options(chosen: &str) -> Vec<AnyView> {
    let cpu = std::iter::once((CPU.to_owned(), link::gpu_name(CPU)));
    let gpus = catalogue::gpus().iter().map(|gpu| (gpu.id.clone(), gpu.name.clone()));
    gpus.chain(cpu)
        .map(|(id, name)| {
            let selected = id == chosen;
            view! { <option value=id selected=selected>{name}</option> }.into_any()
        })
        .collect()
}

fn weight_options(chosen: &str) -> Vec<AnyView> {
    let option = |value: String, label: String| {
        let selected = value == chosen;
        view! { <option value=value selected=selected>{label}</option> }.into_any()
    };
    let named = |precision: WeightPrecision, prefix: &str| {
        let value = precision.as_str().to_owned();
        let label = format!(
            "{prefix}{}",
            value.trim_start_matches("gguf:").to_uppercase().replace("BF", "bf").replace("FP", "fp")
        );
        option(value, label)
    };
    let mut options = vec![option(String::new(), "as the checkpoint is stored".to_owned())];
    options.extend(FLOATS.into_iter().map(|precision| named(precision, "")));
    options.extend(QUANTISED.into_iter().map(|precision| named(precision, "GGUF ")));
    let known = FLOATS.iter().chain(&QUANTISED).any(|precision| precision.as_str() == chosen);
    if !chosen.is_empty() && !known {
        options.push(option(chosen.to_owned(), chosen.to_owned()));
    }
    options
}

fn isa_options(chosen: &str) -> Vec<AnyView> {
    [
        ("", "not said: AVX2"),
        ("generic", "none (generic)"),
        ("avx2", "AVX2"),
        ("avx-vnni", "AVX-VNNI"),
        ("avx512", "AVX-512 VNNI"),
        ("avx512-amx", "AVX-512 with AMX"),
        ("neon", "NEON"),
    ]
    .into_iter()
    .map(|(value, label)| {
        let selected = value == chosen;
        view! { <option value=value selected=selected>{label}</option> }.into_any()
    })
    .collect()
}

/// The catalogue's id of the plan's model; empty for another model.
fn chosen_model(plan: &Plan) -> String {
    let id = plan.model.id.as_deref().unwrap_or_default();
    catalogue::model(id).map_or_else(|| id.to_owned(), |entry| entry.id.clone())
}

fn weights(plan: &Plan) -> String {
    plan.precision.weights.map(|precision| precision.as_str().to_owned()).unwrap_or_default()
}

fn memory(plan: &Plan) -> String {
    let seen = match (plan.gpu.memory_mib, catalogue::gpu(&plan.gpu.id)) {
        (Some(mib), _) => format::gib(::planner::Bytes::from_mib(mib)),
        (None, Some(gpu)) => format::gib(gpu.visible().bytes()),
        (None, None) => "not said".to_owned(),
    };
    if plan.gpu.in_use_mib > 0 {
        format!("{seen}, {} in use", ::planner::Bytes::from_mib(plan.gpu.in_use_mib))
    } else {
        seen
    }
}

fn host(plan: &Plan) -> String {
    let isa = plan.host.isa.as_deref().unwrap_or("AVX2 assumed");
    match plan.host.threads {
        Some(threads) => format!("{isa}, {threads} threads"),
        None => isa.to_owned(),
    }
}

/// What is settled by the choice of engine and weights.
fn follows(plan: &Plan) -> &'static str {
    if plan.precision.weights.is_some_and(|precision| precision.as_str().starts_with("gguf:")) {
        "Engine: Candle, candle-transformers' quantized models. Activations and cache are fp32, attention is eager, the cache \
         grows by copy."
    } else {
        "Engine: Candle, candle-transformers' models. Activations and cache have the weights' precision, attention is eager, \
         the cache grows by copy."
    }
}

/// Keeps a plan within what another model takes.
fn shorten(plan: &mut Plan) {
    let Ok(model) = Model::from_ref(&plan.model) else { return };
    if let Workload::Serve(serve) = &mut plan.workload {
        let most = model.max_tokens.0;
        serve.max_model_len = None;
        serve.output_tokens.0 = serve.output_tokens.0.min(most / 2);
        serve.prompt_tokens.0 = serve.prompt_tokens.0.min(most - serve.output_tokens.0);
    }
}

/// Steps of a slider: two to each factor of two.
fn of_step(step: u32) -> u64 {
    let power = 1u64 << (step / 2).min(40);
    if step.is_multiple_of(2) { power } else { power + power / 2 }
}

/// The step nearest below a value.
fn step_of(value: u64) -> u32 {
    let power = value.max(1).ilog2();
    power * 2 + u32::from(value >= (1 << power) + (1 << power) / 2 && power > 0)
}

/// The last step of a slider that reaches `most`.
fn steps(most: u64) -> u32 {
    let step = step_of(most);
    if of_step(step) < most { step + 1 } else { step }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slider_goes_by_factors() {
        for (step, value) in [(0, 1), (2, 2), (3, 3), (4, 4), (5, 6), (6, 8), (22, 2048), (23, 3072)] {
            assert_eq!((of_step(step), step_of(value)), (value, step));
        }
        assert_eq!(step_of(2500), 22);
        assert_eq!((steps(2048), steps(131_072), steps(5000)), (22, 34, 25));
    }

    #[test]
    fn every_start_has_an_answer() {
        for (name, query) in STARTS {
            let plan = link::read(query).unwrap();
            assert!(::planner::estimate(&plan).is_ok(), "{name}: {:?}", ::planner::estimate(&plan));
        }
    }

    #[test]
    fn every_weight_on_offer_is_planned() {
        let mut plan = link::first_plan().unwrap();
        if let Workload::Serve(serve) = &mut plan.workload {
            serve.concurrent_sequences = 1;
        }
        for precision in FLOATS.into_iter().chain(QUANTISED) {
            plan.precision.weights = Some(precision);
            assert!(::planner::estimate(&plan).is_ok(), "{precision}: {:?}", ::planner::estimate(&plan));
        }
    }

    #[test]
    fn another_model_shortens_the_plan() {
        let mut plan = link::first_plan().unwrap();
        plan.model = ModelRef::catalogue("HuggingFaceTB/SmolLM2-135M");
        if let Workload::Serve(serve) = &mut plan.workload {
            serve.prompt_tokens = Tokens(100_000);
        }
        shorten(&mut plan);
        assert!(::planner::estimate(&plan).is_ok());
    }
}
