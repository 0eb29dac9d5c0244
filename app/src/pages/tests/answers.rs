//! The pages of questions, each figure held against the planner's own estimate of the plan that it links to.

use planner::answers::{Reader, Reply, Topic, answer};
use planner::{Estimate, Plan, Tokens};

use super::fake::Fake;
use super::get;
use crate::format;

const SLUGS: [&str; 5] =
    ["can-i-run", "vram-per-billion", "quantize", "flash-attention", "fine-tune-or-lora"];

/// What comes after each mark, to the end of its row.
fn rows<'a>(html: &'a str, test: &str) -> Vec<&'a str> {
    let mark = format!("data-test=\"{test}\"");
    html.split(&mark).skip(1).filter_map(|rest| rest.split("</tr>").next()).collect()
}

/// The plans that a piece of a page links to, with what the planner says of them.
fn planned(html: &str) -> Vec<(Plan, Estimate)> {
    html.split("href=\"/planner?")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .map(|query| {
            let plan = planner::link::from_query(&query.replace("&amp;", "&")).unwrap();
            let estimate = planner::estimate(&plan).unwrap();
            (plan, estimate)
        })
        .collect()
}

/// With the cache that is asked for instead of the engine's pool.
fn needed(estimate: &Estimate) -> String {
    let pool = estimate.kv.pool_bytes.saturating_sub(estimate.per_gpu.kv_cache);
    format::gib_figure(estimate.per_gpu.total.saturating_sub(pool))
}

fn cell(text: &str) -> String {
    format!(">{text}<")
}

#[tokio::test]
async fn every_figure_is_the_estimate_of_the_plan_that_it_links_to() {
    let asked = "model=meta-llama/Llama-3.2-1B&gpu=rtx-3060-12gb&context=2048&batch=4";
    for (slug, test, told) in [
        ("can-i-run", "way", needed as fn(&Estimate) -> String),
        ("vram-per-billion", "precision", |e| format::gib_figure(e.per_gpu.weights + e.host.weights)),
        ("quantize", "trade", needed),
        ("flash-attention", "kernel", needed),
        ("fine-tune-or-lora", "training", |e| format::gib_figure(e.per_gpu.total)),
    ] {
        let (status, html) = get(Fake::default(), &format!("/answers/{slug}?{asked}")).await;
        assert_eq!(status, 200, "{slug}");
        let rows = rows(&html, test);
        assert!(rows.len() >= 4, "{slug}: {} rows", rows.len());
        for row in rows {
            let plans = planned(row);
            assert!(!plans.is_empty(), "{slug}: a row without a plan: {row}");
            for (plan, estimate) in plans {
                let told = cell(&told(&estimate));
                assert!(row.contains(&told), "{slug}: no {told} for {plan:?}: {row}");
                let fits = if estimate.fits { "fits" } else { "does not" };
                assert!(test == "precision" || row.contains(&cell(fits)), "{slug}: {fits}: {row}");
            }
        }
    }
}

#[tokio::test]
async fn each_question_is_answered_in_a_sentence_and_holds_folklore_against_it() {
    let (_, index) = get(Fake::default(), "/answers").await;
    for slug in SLUGS {
        assert!(index.contains(&format!("href=\"/answers/{slug}\"")), "{slug} in the index");
        let (status, html) = get(Fake::default(), &format!("/answers/{slug}")).await;
        assert_eq!(status, 200, "{slug}");
        let lead = html.split_once("data-test=\"answer\"").unwrap().1;
        let lead = lead.split_once('>').unwrap().1.split_once("</p>").unwrap().0;
        assert!(["Llama-3.1-8B", "eager", "Q4_K_M"].iter().any(|said| lead.contains(said)), "{slug}: {lead}");
        assert!(index.contains(lead), "{slug}: the index says the same: {lead}");
        assert!(html.matches("data-test=\"claim\"").count() >= 3, "{slug}");
        assert!(html.contains("arXiv "), "{slug} names a source");
        assert!(html.contains("How sure these figures are"), "{slug}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_and_answered_for_the_example() {
    for (query, status, said) in [
        ("model=no/such", 422, "Model: \"no/such\" is not in the catalogue."),
        ("model=google-bert/bert-base-uncased", 422, "is an encoder, which generates nothing."),
        ("gpu=rtx-9999", 422, "Gpu: \"rtx-9999\" is not in the catalogue."),
        ("gpu=cpu", 422, "Gpu: \"cpu\" is not in the catalogue."),
        ("context=many", 400, "Context: \"many\" is not a whole number."),
        ("context=3", 422, "Context: 3 is out of range."),
        ("batch=-1", 400, "Batch: \"-1\" is not a whole number."),
        ("batch=0", 422, "Batch: 0 is out of range."),
        (
            "model=openai-community/gpt2&context=4096",
            422,
            "Give 8 to 1024 tokens, what openai-community/gpt2 takes.",
        ),
    ] {
        let (answered, html) = get(Fake::default(), &format!("/answers/vram-per-billion?{query}")).await;
        let html = html.replace("&quot;", "\"");
        assert_eq!(answered, status, "{query}");
        assert!(html.contains(said), "{query} does not say {said}");
        assert!(html.contains("data-test=\"answer\"") && html.contains(" instead."), "{query}");
    }
    let (_, html) = get(Fake::default(), "/answers/quantize?batch=many").await;
    assert!(html.contains("value=\"many\""), "what was typed is kept");
}

#[tokio::test]
async fn what_fits_nowhere_says_so_and_what_would_help() {
    let model = "deepseek-ai/DeepSeek-V3";
    let (status, html) =
        get(Fake::default(), &format!("/answers/can-i-run?model={model}&gpu=rtx-3060-12gb")).await;
    assert_eq!(status, 200);
    let reader =
        Reader { model: model.to_owned(), gpu: "rtx-3060-12gb".to_owned(), context: Tokens(4096), batch: 1 };
    let Ok(Reply::CanRun(known)) = answer(Topic::CanRun, &reader) else { panic!("not answered") };
    assert!(known.best().is_none());
    assert!(
        html.contains(if known.split.is_some() { "Not whole: " } else { "No: " }),
        "the answer comes first"
    );
    assert!(rows(&html, "way").iter().all(|row| row.contains("does not") && !row.contains(">fits<")));
    let advised = known.advised.unwrap();
    assert_eq!(rows(&html, "advice").len(), advised.advice.len());
    for (row, advice) in rows(&html, "advice").iter().zip(&advised.advice) {
        assert!(row.contains(&cell(&format::gib_figure(advice.total_bytes))), "{advice:?}");
    }
}

#[tokio::test]
async fn the_form_holds_what_was_chosen_and_takes_it_along() {
    let chosen = "model=Qwen/Qwen3-8B&gpu=l4-24gb&context=1024&batch=2";
    let (_, html) = get(Fake::default(), &format!("/answers/quantize?{chosen}")).await;
    for kept in
        ["value=\"Qwen/Qwen3-8B\" selected", "value=\"l4-24gb\" selected", "value=\"1024\"", "value=\"2\""]
    {
        assert!(html.contains(kept), "{kept}");
    }
    assert!(!html.contains("value=\"cpu\""), "no card");
    assert!(html.contains("/answers/can-i-run?model=Qwen%2FQwen3-8B&amp;gpu=l4-24gb"));
}
