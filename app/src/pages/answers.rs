//! The questions that newcomers bring, answered with computed numbers: one page each, and a page of all of them.

mod asked;
mod attention;
mod can_run;
mod parts;
mod per_billion;
mod quantize;
mod training;

use http::StatusCode;
use leptos::prelude::*;
use leptos_meta::{Meta, Title};
use leptos_router::hooks::{use_location, use_params_map};
use planner::Tokens;
use planner::answers::{Reader, Reply, Topic};

use self::asked::Asked;
use super::not_found::NotFoundPage;
use super::{answered, backend, sentence, set_status};
use crate::{address, link};

/// What a page answers.
struct Question {
    /// The last part of its address.
    slug: &'static str,
    topic: Topic,
    /// As people bring it.
    asked: &'static str,
    /// The same of a model and a card.
    of: fn(&Reader) -> String,
    description: &'static str,
    /// What the lengths are, and how long where nothing is said.
    context: (&'static str, u64),
    /// What is counted at once, and how many where nothing is said.
    batch: (&'static str, u64),
}

/// Whose answers stand where nothing is said.
const MODEL: &str = "meta-llama/Llama-3.1-8B";
const GPU: &str = "rtx-4090-24gb";

static QUESTIONS: [Question; 5] = [
    Question {
        slug: "can-i-run",
        topic: Topic::CanRun,
        asked: "Can I run this model on my card?",
        of: |reader| format!("Can I run {} on one {}?", parts::model(reader), parts::gpu(reader)),
        description: "Does a language model fit a graphics card: by precision and engine, how much room is left, how long a \
                      context and how many sequences, and what would make it fit.",
        context: ("Tokens of a sequence", 4096),
        batch: ("Sequences at once", 1),
    },
    Question {
        slug: "vram-per-billion",
        topic: Topic::PerBillion,
        asked: "How much VRAM per billion parameters?",
        of: |reader| format!("How much VRAM does {} take per billion parameters?", parts::model(reader)),
        description: "Gigabytes per billion parameters in each precision, computed for a model, and what parameters do not say: \
                      the cache, activations, the engine.",
        context: ("Tokens of a sequence", 4096),
        batch: ("Sequences at once", 8),
    },
    Question {
        slug: "quantize",
        topic: Topic::Quantize,
        asked: "Is it worth quantizing?",
        of: |reader| format!("Is it worth quantizing {} on {}?", parts::model(reader), parts::gpu(reader)),
        description: "Memory, speed for one reader and for many, and the published loss of quality by precision, for a model on a \
                      card.",
        context: ("Tokens of a sequence", 4096),
        batch: ("Readers at once", 32),
    },
    Question {
        slug: "flash-attention",
        topic: Topic::Attention,
        asked: "Flash attention or not?",
        of: |reader| {
            format!("Flash attention or not, for {} on {}?", parts::model(reader), parts::gpu(reader))
        },
        description: "What eager, memory-efficient and flash attention take while a prompt is read and while tokens are generated, \
                      and which engines have a choice.",
        context: ("Tokens of a sequence", 8192),
        batch: ("Sequences at once", 1),
    },
    Question {
        slug: "fine-tune-or-lora",
        topic: Topic::Training,
        asked: "Fine-tune or LoRA?",
        of: |reader| format!("Fine-tune or LoRA, for {} on {}?", parts::model(reader), parts::gpu(reader)),
        description: "Memory of full fine-tuning, LoRA and QLoRA by component, the smallest card and the number of cards that take \
                      each, and what each cannot do.",
        context: ("Tokens of a sequence", 2048),
        batch: ("Sequences in a pass", 1),
    },
];

impl Question {
    /// What is asked where nothing is said of a model.
    fn reader(&self) -> Reader {
        Reader {
            model: MODEL.to_owned(),
            gpu: GPU.to_owned(),
            context: Tokens(self.context.1),
            batch: self.batch.1,
        }
    }

    /// Its page, for a reader's model and card.
    fn href(&self, reader: &Reader) -> String {
        let pairs = [("model", reader.model.clone()), ("gpu", reader.gpu.clone())];
        address::with(&format!("/answers/{}", self.slug), &pairs, &[])
    }
}

/// The answer in a sentence.
fn lead(reader: &Reader, reply: &Reply) -> String {
    match reply {
        Reply::CanRun(answer) => can_run::lead(reader, answer),
        Reply::PerBillion(answer) => per_billion::lead(reader, answer),
        Reply::Quantize(answer) => quantize::lead(reader, answer),
        Reply::Attention(answer) => attention::lead(reader, answer),
        Reply::Training(answer) => training::lead(reader, answer),
    }
}

/// The numbers, and what people say held against them.
fn body(reader: &Reader, reply: &Reply) -> AnyView {
    match reply {
        Reply::CanRun(answer) => can_run::body(reader, answer),
        Reply::PerBillion(answer) => per_billion::body(reader, answer),
        Reply::Quantize(answer) => quantize::body(reader, answer),
        Reply::Attention(answer) => attention::body(reader, answer),
        Reply::Training(answer) => training::body(reader, answer),
    }
}

/// Every question with its answer for an example.
#[component]
pub fn AnswersPage() -> impl IntoView {
    let backend = backend();
    answered(async move {
        let mut cards = Vec::new();
        for question in &QUESTIONS {
            let reader = question.reader();
            let reply = backend.ask(question.topic, reader.clone()).await?;
            let told = match &*reply {
                Ok(reply) => lead(&reader, reply),
                Err(error) => format!("This planner does not answer it: {error}."),
            };
            cards.push(card(question, &told));
        }
        let example = format!(
            "The answers below are those for {} on one {}, an example: each page computes them for your model and card.",
            parts::short(MODEL),
            link::gpu_name(GPU)
        );
        Ok(view! {
            <Title text="Answers" />
            <Meta
                name="description"
                content="Can I run X on Y? How much VRAM per billion parameters? Is it worth quantizing? Flash attention or not? \
                         Fine-tune or LoRA? With numbers computed for your model and card."
            />
            <main id="main" class="page answers">
                <div class="head">
                    <div>
                        <h1>"What people ask first"</h1>
                        <p class="muted lead">{example}</p>
                    </div>
                    <a class="button primary" href="/planner">
                        "Open the planner"
                    </a>
                </div>
                {cards}
            </main>
        }
        .into_any())
    })
}

fn card(question: &'static Question, told: &str) -> AnyView {
    let href = format!("/answers/{}", question.slug);
    view! {
        <section class="card" id=question.slug data-test=question.slug>
            <header>
                <h2>
                    <a href=href.clone()>{question.asked}</a>
                </h2>
            </header>
            <p class="lead num">{told.to_owned()}</p>
            <p>
                <a class="button" href=href aria-label=format!("{} For your model and card", question.asked)>
                    "For your model and card"
                </a>
            </p>
        </section>
    }
    .into_any()
}

/// One question, for the model and the card of the address.
#[component]
pub fn AnswerPage() -> impl IntoView {
    let slug = use_params_map().get_untracked().get("question").unwrap_or_default();
    let Some(question) = QUESTIONS.iter().find(|question| question.slug == slug) else {
        set_status(StatusCode::NOT_FOUND);
        return view! { <NotFoundPage /> }.into_any();
    };
    let asked = Asked::read(question, &use_location().search.get_untracked());
    if let Some(status) = asked.status() {
        set_status(status);
    }
    let backend = backend();
    answered(async move {
        let reply = backend.ask(question.topic, asked.reader.clone()).await?;
        let reader = &asked.reader;
        let told = match &*reply {
            Ok(reply) => view! {
                <p class="lead answer num" data-test="answer">
                    {lead(reader, reply)}
                </p>
                {body(reader, reply)}
            }
            .into_any(),
            Err(error) => {
                set_status(StatusCode::UNPROCESSABLE_ENTITY);
                view! {
                    <p class="notice bad" role="alert" data-test="refused">
                        {sentence(&format!("This is not planned: {} ({})", error.problem, error.field))}
                        " "
                        {sentence(&error.remedy)}
                    </p>
                }
                .into_any()
            }
        };
        let title = (question.of)(reader);
        Ok(view! {
            <Title text=title.clone() />
            <Meta name="description" content=question.description />
            <main id="main" class="page answers">
                <div class="head">
                    <h1>{title}</h1>
                </div>
                {asked.form(question)} {asked.notices()} {told} {others(question, reader)}
            </main>
        }
        .into_any())
    })
}

/// The other questions, of the same model and card.
fn others(own: &Question, reader: &Reader) -> AnyView {
    let links: Vec<AnyView> = QUESTIONS
        .iter()
        .filter(|question| question.slug != own.slug)
        .map(|question| {
            view! {
                <li>
                    <a class="chip" href=question.href(reader)>
                        {question.asked}
                    </a>
                </li>
            }
            .into_any()
        })
        .collect();
    view! {
        <nav aria-label="Other questions">
            <ul class="chips">
                {links}
                <li>
                    <a class="chip" href="/answers">
                        "All questions"
                    </a>
                </li>
            </ul>
        </nav>
    }
    .into_any()
}
