//! Every page rendered as the server renders it, over a backend of made-up rows.

mod answers;
mod fake;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use contract::job::JobState;
use leptos::prelude::*;
use leptos_axum::{LeptosRoutes, generate_route_list};
use tower::ServiceExt;

use crate::backend::SharedBackend;
use crate::charts::plots::Kind;
use crate::{App, shell};
use fake::Fake;

/// Status and document of a page.
async fn get(fake: Fake, path: &str) -> (u16, String) {
    let options = LeptosOptions::builder().output_name("plimsoll").build();
    let backend: SharedBackend = Arc::new(fake);
    let provide = move || provide_context(backend.clone());
    let shell_options = options.clone();
    let render = leptos_axum::render_app_to_stream_with_context(provide.clone(), {
        let options = options.clone();
        move || shell(options.clone())
    });
    let router: Router = Router::new()
        .leptos_routes_with_context(&options, generate_route_list(App), provide, move || {
            shell(shell_options.clone())
        })
        .fallback(render)
        .with_state(options);
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 16 << 20).await.unwrap();
    let html = String::from_utf8(body.to_vec()).unwrap();
    keep(path, &html);
    (status, html)
}

/// Keeps what was rendered in the folder `PLIMSOLL_PAGES`, where it is set, to be looked at.
fn keep(path: &str, html: &str) {
    if let Some(folder) = std::env::var_os("PLIMSOLL_PAGES") {
        let name: String =
            path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect();
        std::fs::write(std::path::Path::new(&folder).join(format!("{name}.html")), html).unwrap();
    }
}

#[tokio::test]
async fn every_page_answers_with_its_status_and_a_heading() {
    let run = format!("/runs/{}", fake::ID);
    let job = format!("/jobs/{}", fake::ID);
    let case = format!("/cases/{}", fake::cases()[0].id);
    let compare = format!("/compare?run={}&run=018f5b0e-0000-7000-8000-000000000002", fake::ID);
    for (path, status) in [
        ("/", 200),
        ("/runs", 200),
        (run.as_str(), 200),
        ("/runs/none", 404),
        ("/runs/018f5b0e-0000-7000-8000-00000000ffff", 404),
        ("/cases", 200),
        ("/cases?batch=8&precision=bf16&order=peak&since=2026-11-01", 200),
        ("/cases?order=size", 200),
        ("/plots", 200),
        ("/plots?plot=memory&x=context&series=model", 200),
        ("/plots?plot=pie", 200),
        ("/cases?columns=peak,status", 200),
        (case.as_str(), 200),
        ("/cases/none", 404),
        ("/cases/018f5b0e-0000-7000-8000-00000000ffff", 404),
        ("/compare", 200),
        (compare.as_str(), 200),
        ("/compare?by=precision&batch=8", 200),
        ("/compare?by=colour", 400),
        ("/compare?a=018f5b0e-0000-7000-8000-000000000001", 400),
        ("/compare?a=018f5b0e-0000-7000-8000-000000000001&b=018f5b0e-0000-7000-8000-00000000ffff", 404),
        ("/jobs", 200),
        (job.as_str(), 200),
        ("/jobs/none", 404),
        ("/planner", 200),
        ("/planner?model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb&weights=bf16", 200),
        ("/planner?context=many", 400),
        ("/planner?context=999999999", 422),
        ("/planner?parallelism.tensor=two", 400),
        ("/planner/export?gpu=l4-24gb&weights=gguf:q4_k_m", 200),
        ("/planner/export?context=many", 400),
        ("/planner/export?context=999999999", 422),
        ("/planner/diff?a=gpu%3Dl4-24gb&b=batch%3D8", 200),
        ("/planner/diff?a=0123456789&b=batch%3D8", 200),
        ("/planner/diff?a=gpu%3Dl4-24gb", 400),
        ("/planner/diff?a=gpu%3Dl4-24gb&b=none", 404),
        ("/planner/diff?a=gpu%3Dl4-24gb&b=batch%3Dmany", 400),
        ("/planner/diff?a=gpu%3Dl4-24gb&b=context%3D999999999", 422),
        ("/p/0123456789/diff/0123456789", 200),
        ("/p/0123456789/diff/none", 404),
        ("/planner?batch=2&b=context%3Dmany", 400),
        ("/answers", 200),
        ("/answers/can-i-run", 200),
        ("/answers/can-i-run?model=openai-community/gpt2", 200),
        ("/answers/can-i-run?gpu=rtx-9999", 422),
        ("/answers/vram-per-billion?model=none", 422),
        ("/answers/quantize?context=many", 400),
        ("/answers/flash-attention?context=999999999", 422),
        ("/answers/fine-tune-or-lora?batch=0", 422),
        ("/answers/none", 404),
        ("/p/0123456789", 200),
        ("/p/none", 404),
        ("/docs", 200),
        ("/docs/measuring", 200),
        ("/docs/none", 404),
        ("/login", 200),
        ("/login?wrong=1", 401),
        ("/login?wait=30", 429),
        ("/no/such/page", 404),
    ] {
        let (answered, html) = get(Fake::default(), path).await;
        assert_eq!(answered, status, "{path}");
        assert!(html.contains("<h1"), "{path} has no heading");
        assert!(html.contains("· Plimsoll</title>"), "{path} has no title");
    }
}

#[tokio::test]
async fn an_empty_database_says_what_to_do() {
    let (_, html) = get(Fake { empty: true, ..Fake::default() }, "/").await;
    for hook in ["first-benchmark", "import-examples"] {
        assert!(html.contains(&format!("data-test=\"{hook}\"")), "no {hook}");
    }
    let (_, html) = get(Fake { empty: true, offline: true, ..Fake::default() }, "/").await;
    assert!(!html.contains("data-test=\"first-benchmark\""), "a button that could not work");
    assert!(html.contains("bench-runner daemon"), "no word on how to start a runner");
    let (_, html) = get(Fake { empty: true, ..Fake::default() }, "/runs").await;
    assert!(html.contains("Nothing is measured yet"));
}

#[tokio::test]
async fn a_list_says_why_it_shows_no_rows() {
    for (path, said, not) in [
        ("/runs?page=999", "There is no page 999", "Nothing is measured yet"),
        ("/runs?status=done", "status &quot;done&quot;", "There is no page"),
        ("/runs?page=first", "page &quot;first&quot;", "There is no page"),
        ("/jobs?page=first", "page &quot;first&quot;", "There is no page"),
        (
            "/jobs?batches=1&check=1&models=HuggingFaceTB/SmolLM2-135M&precisions=bf16&refused=runner-offline",
            "is online, so nothing was submitted",
            "can do all of this sweep",
        ),
    ] {
        let (_, html) = get(Fake::default(), path).await;
        let html = html
            .replace("&#34;", "&quot;")
            .replace("\"done\"", "&quot;done&quot;")
            .replace("\"first\"", "&quot;first&quot;");
        assert!(html.contains(said), "{path} does not say {said}");
        assert!(!html.contains(not), "{path} says {not}");
    }
}

#[tokio::test]
async fn a_database_that_fails_is_told_calmly() {
    let case = format!("/cases/{}", fake::cases()[0].id);
    for path in ["/", "/runs", "/jobs", "/p/0123456789", "/cases", &case, "/compare?by=machine"] {
        let (status, html) = get(Fake { broken: true, ..Fake::default() }, path).await;
        assert_eq!(status, 500, "{path}");
        assert!(html.contains("Nothing was lost"), "{path}");
    }
}

#[tokio::test]
async fn a_run_shows_each_case_beside_its_estimate() {
    let (_, html) = get(Fake::default(), &format!("/runs/{}", fake::ID)).await;
    assert_eq!(html.matches("data-test=\"case-row\"").count(), fake::cases().len());
    assert!(html.contains("no memory for &lt;it&gt;"), "the reason of a case that failed, escaped");
    assert!(html.contains("data-test=\"open-in-planner\""));
    assert!(html.contains("bench-runner run --model HuggingFaceTB/SmolLM2-135M"));
    assert_eq!(html.matches("<svg viewBox=\"0 0 480 300\"").count(), 3, "three plots");
}

#[tokio::test]
async fn a_run_of_many_cases_has_pages() {
    let path = format!("/runs/{}", fake::ID);
    let (_, html) = get(Fake::default(), &path).await;
    assert!(html.contains("1,200 cases that ended") && html.contains(&format!("/plots?run={}", fake::ID)));
    assert!(html.contains(&format!("{path}?from=50#cases")) && !html.contains("rel=\"prev\""), "{html}");
    let (_, html) = get(Fake::default(), &format!("{path}?from=50")).await;
    assert!(html.contains(&format!("{path}?from=0#cases")) && html.contains("rel=\"prev\""), "{html}");
    let (_, html) = get(Fake::default(), &format!("{path}?from=x")).await;
    assert!(html.contains("asks for from \"x\""), "what means nothing is told");
}

#[tokio::test]
async fn a_plan_without_output_has_no_speed_of_output() {
    for (output, shown) in [(16, true), (0, false)] {
        let path =
            format!("/planner?model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb&weights=bf16&output={output}");
        let (_, html) = get(Fake::default(), &path).await;
        assert!(html.contains("First token"), "{path}");
        assert_eq!(html.contains("Throughput"), shown, "{path}");
    }
}

#[tokio::test]
async fn a_form_keeps_what_was_wrong() {
    let query = "models=HuggingFaceTB/SmolLM2-135M&precisions=bf16&batches=0&prompts=16&generates=4&repetitions=1&device=cpu";
    let (status, html) = get(Fake::default(), &format!("/jobs?{query}&check=1")).await;
    assert_eq!(status, 422);
    assert!(html.contains("batches: 0 is out of range"), "the error stands at its field");
    assert!(html.contains("name=\"batches\" value=\"0\""), "what was typed is kept");
}

#[tokio::test]
async fn rare_fields_of_a_sweep_are_folded_until_something_is_said_of_them() {
    let query =
        "models=HuggingFaceTB/SmolLM2-135M&precisions=bf16&batches=1&edge=batch&variants=ours&caches=slab";
    let (status, html) = get(Fake::default(), &format!("/jobs?{query}&check=1")).await;
    assert_eq!(status, 422);
    let fold = |group: &str| {
        let at = html.find(&format!("data-test=\"{group}\"")).unwrap();
        let (tag, after) = html[html[..at].rfind("<details").unwrap()..].split_once('>').unwrap();
        let summary = after.split_once("</summary>").unwrap().0;
        (tag.contains("open"), tag.contains("wrong"), summary.to_owned())
    };
    for (group, open, wrong, told) in [
        ("ways", true, true, "ours · slab"),
        ("edge", true, false, "batch"),
        ("training", false, false, "as usual"),
        ("quality", false, false, "as usual"),
    ] {
        let (is_open, is_wrong, summary) = fold(group);
        assert_eq!((is_open, is_wrong), (open, wrong), "{group}");
        assert!(summary.contains(told), "{group}: {summary}");
    }
    assert!(!html.contains("data-test=\"cuda\""), "no runner has such a device");
    for kept in [
        r#"name="variants" value="ours" checked"#,
        r#"name="caches" value="slab" checked"#,
        r#"<option value="batch" selected"#,
        "unknown variant",
    ] {
        assert!(html.contains(kept), "{kept}");
    }
    let (_, html) = get(Fake::default(), "/jobs?batches=1&release_thresholds=max").await;
    assert!(html.contains("data-test=\"cuda\""), "what is set is seen");
}

#[tokio::test]
async fn a_job_says_how_it_is_repeated_by_hand() {
    let (_, html) = get(Fake::default(), &format!("/jobs/{}", fake::ID)).await;
    let command = html.split_once("data-test=\"job-command\"").unwrap().1;
    assert!(command.contains("bench-runner run --model HuggingFaceTB/SmolLM2-135M --precision"), "{command}");
}

#[tokio::test]
async fn a_job_refreshes_without_scripts_until_it_ends() {
    let path = format!("/jobs/{}", fake::ID);
    let (_, html) = get(Fake { job: JobState::Running, ..Fake::default() }, &path).await;
    assert!(html.contains("http-equiv=\"refresh\"") && html.contains("data-test=\"cancel-job\""));
    let (_, html) = get(Fake { job: JobState::Finished, ..Fake::default() }, &path).await;
    assert!(!html.contains("http-equiv=\"refresh\"") && !html.contains("data-test=\"cancel-job\""));
    assert!(html.contains("data-test=\"job-run\""));
}

#[tokio::test]
async fn the_planner_has_a_control_for_every_field_that_means_something() {
    for (query, there, not) in [
        (
            "",
            vec![
                "workload.kind",
                "engine",
                "attention.kind",
                "compression.prune.kind",
                "kv",
                "model.loaded_from",
            ],
            vec!["workload.optimizer"],
        ),
        (
            "?engine=candle&workload.kind=train&model=HuggingFaceTB/SmolLM2-135M&weights=bf16",
            vec!["workload.checkpointing", "workload.mixed_precision", "workload.master_weights"],
            vec!["parallelism.zero_stage", "workload.compile", "model.loaded_from", "kv"],
        ),
        (
            "?engine=torchtune&workload.kind=train&workload.method=lora",
            vec![
                "workload.optimizer",
                "workload.lora.rank",
                "workload.lora.targets",
                "parallelism.zero_stage",
            ],
            vec!["context", "output", "kv"],
        ),
        (
            "?attention.kind=big-bird&agent_memory=true",
            vec!["attention.block", "agent_memory.turns"],
            vec!["attention.window"],
        ),
    ] {
        let (_, html) = get(Fake::default(), &format!("/planner{query}")).await;
        for name in there {
            assert!(html.contains(&format!("name=\"{name}\"")), "{query} lacks {name}");
        }
        for name in not {
            assert!(!html.contains(&format!("name=\"{name}\"")), "{query} has {name}");
        }
    }
}

#[tokio::test]
async fn the_form_without_scripts_leads_to_the_plans_link() {
    let plan = crate::link::first_plan().unwrap();
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("base", &crate::link::base(&plan))
        .append_pair("workload.kind", "embed")
        .finish();
    let (status, _) = get(Fake::default(), &format!("/planner?{query}")).await;
    assert_eq!(status, 302);
    let (status, html) = get(Fake::default(), &format!("/planner?{query}&parallelism.tensor=x")).await;
    assert_eq!(status, 400);
    assert!(html.contains("parallelism.tensor") && html.contains("as it was"), "the field is named");
}

#[tokio::test]
async fn a_plan_is_compared_without_scripts() {
    let path =
        "/planner?batch=64&gpu=h100-sxm-80gb&weights=bf16&b=batch%3D2%26gpu%3Dl4-24gb%26weights%3Dbf16";
    let (status, html) = get(Fake::default(), path).await;
    assert_eq!(status, 200);
    let difference = html.split("data-test=\"difference\"").nth(1).unwrap();
    for part in ["Sequences at once", "NVIDIA L4 24 GB", "A − B"] {
        assert!(difference.contains(part), "no {part}");
    }
    assert!(
        html.contains("type=\"hidden\" name=\"b\" value=\"model=meta-llama/Llama-3.1-8B&amp;gpu=l4-24gb")
    );
    // The form keeps what is compared with.
    let plan = crate::link::read("batch=64&weights=bf16").unwrap();
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("base", &crate::link::base(&plan))
        .append_pair("b", "batch=2")
        .append_pair("batch", "32")
        .finish();
    assert_eq!(get(Fake::default(), &format!("/planner?{query}")).await.0, 302);
    let (_, html) = get(Fake::default(), "/planner").await;
    assert!(!html.contains("data-test=\"difference\"") && html.contains("data-test=\"compare\""));
}

#[tokio::test]
async fn what_would_make_a_plan_fit_is_a_link() {
    let (_, html) = get(Fake::default(), "/planner?gpu=rtx-3060-12gb&weights=bf16&b=batch%3D2").await;
    let advice = html.split("To make it fit, one of").nth(1).unwrap();
    let fits = advice.split("<tr>").find(|row| row.contains("state ok")).unwrap();
    let href = fits.split("href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
    let (status, html) = get(Fake::default(), &href).await;
    assert_eq!(status, 200, "{href}");
    assert!(!html.contains("To make it fit, one of"), "it fits: {href}");
    assert!(html.contains("data-test=\"difference\""), "what it is compared with is kept: {href}");
}

#[tokio::test]
async fn each_component_of_the_bar_explains_itself() {
    for path in ["/planner?gpu=h100-sxm-80gb&weights=bf16&batch=4", "/p/0123456789"] {
        let (_, html) = get(Fake::default(), path).await;
        assert!(html.contains("href=\"#why-kv-cache\"") && html.contains("id=\"why-kv-cache\""), "{path}");
        assert!(html.contains("of each token × "), "{path} has no formula with its numbers");
        assert_eq!(html.matches("id=\"tip-kv-cache\"").count(), 1, "{path}");
    }
}

#[tokio::test]
async fn a_stored_plan_keeps_its_answer_and_says_what_changed() {
    let (_, html) = get(Fake::default(), "/p/0123456789").await;
    assert!(html.contains("data-bytes=\"123456789\""), "the stored total, not today's");
    assert!(html.contains("where this plan was stored with"), "both numbers");
}

#[tokio::test]
async fn text_from_outside_is_escaped() {
    let (_, html) = get(Fake::default(), "/runs?model=%3Cscript%3Ealert(1)%3C/script%3E").await;
    assert!(!html.contains("<script>alert"), "{html}");
    let (_, html) = get(Fake::default(), "/login?next=//elsewhere.example").await;
    assert!(html.contains("name=\"next\" value=\"/\""), "a login leads nowhere else");
}

#[tokio::test]
async fn cases_are_filtered_ordered_and_paged_by_the_address() {
    let (_, html) = get(Fake::default(), "/cases?batch=8&batch=256&order=peak&after=1_2").await;
    assert!(html.contains("More than 10,000 cases, largest figure first"));
    // What is set is ticked and in sight, what is not and comes late is folded.
    let folded = html.find("1 more").unwrap();
    let ticked = html.find(r#"value="256" checked"#).unwrap();
    assert!(ticked < folded && html.find(r#"value="512""#).unwrap() > folded);
    assert!(!html.contains(r#"name="engine""#), "a facet of one value is no choice");
    for link in [
        "/cases?batch=256&amp;order=peak",
        "/cases?batch=8&amp;batch=256&amp;order=peak&amp;direction=ascending",
        "/cases?batch=8&amp;batch=256&amp;order=peak&amp;after=12.5_7",
        "/cases?batch=8&amp;batch=256&amp;order=peak&amp;before=1_2",
        "/api/v1/case-lines.csv?batch=8&amp;batch=256&amp;order=peak",
    ] {
        assert!(html.contains(&format!("href=\"{link}\"")), "{link}");
    }
    assert!(html.contains(r#"aria-sort="descending""#));

    let (_, html) = get(Fake::default(), "/cases?colour=red").await;
    assert!(
        html.contains("The address asks for colour &quot;red&quot;")
            || html.contains("The address asks for colour \"red\"")
    );
    let (_, html) = get(Fake::default(), "/cases?q=none").await;
    assert!(html.contains("No case passes these filters"));
    let (_, html) = get(Fake { empty: true, ..Fake::default() }, "/cases").await;
    assert!(html.contains("Nothing is measured yet"));
}

#[tokio::test]
async fn every_plot_says_of_how_many_and_has_a_table() {
    for kind in Kind::ALL {
        let path = format!("/plots?plot={}&batch=1&batch=8", kind.as_str());
        let (status, html) = get(Fake::default(), &path).await;
        assert_eq!(status, 200, "{path}");
        let main = &html[html.find("<main").unwrap()..html.find("</main>").unwrap()];
        for part in [
            "data-test=\"plot\"",
            "<svg viewBox=\"0 0 760",
            "class=\"mark\"",
            "of 3,000 cases. Left out: 2,990 older than the newest 10",
            "data-test=\"plot-table\"",
            &format!("/api/v1/plots/{}.png?batch=1&amp;batch=8&amp;theme=dark", kind.as_str()),
        ] {
            assert!(main.contains(part), "{path} has no {part}: {main}");
        }
        assert!(!main.contains("NaN") && !main.contains("inf\""), "{path}");
    }
}

#[tokio::test]
async fn a_plots_part_is_asked_by_address_and_form_and_left_by_a_link() {
    let path = "/plots?plot=speed&x=batch&batch=1&batch=8&x_from=0.5&x_to=1.5";
    let (status, html) = get(Fake::default(), path).await;
    assert_eq!(status, 200);
    for part in [
        "points are outside this range.",
        "href=\"/plots?plot=speed&amp;x=batch&amp;batch=1&amp;batch=8\" data-test=\"whole\"",
        "name=\"x_from\" value=\"0.5\"",
        "name=\"x_to\" value=\"1.5\"",
        "data-x-values=\"",
        "data-x-scale=\"log\"",
        "/api/v1/plots/speed.svg?x=batch&amp;x_from=0.5&amp;x_to=1.5&amp;batch=1&amp;batch=8",
    ] {
        assert!(html.contains(part), "no {part} in {html}");
    }
    let (_, whole) = get(Fake::default(), "/plots?plot=speed&x=batch&batch=1&batch=8").await;
    let marks = |html: &str| html.matches("class=\"mark\"").count();
    assert!(marks(&html) > 0 && marks(&html) < marks(&whole), "{} of {}", marks(&html), marks(&whole));
    assert!(whole.contains("data-test=\"zoom\"") && !whole.contains("data-test=\"whole\""));

    let (status, html) = get(Fake::default(), "/plots?plot=speed&x_from=8&x_to=1").await;
    assert_eq!(status, 200);
    let said =
        "x_to in the address was left aside: \"1\" is not above x_from, which is 8; write a larger number.";
    assert!(html.replace("&quot;", "\"").contains(said), "{html}");
    let (_, html) = get(Fake::default(), "/plots?plot=speed&y_from=1e12").await;
    assert!(html.contains("Nothing lies in this range.") && html.contains("data-test=\"whole\""), "{html}");
    for kind in [Kind::Heat, Kind::Parts] {
        let (_, html) = get(Fake::default(), &format!("/plots?plot={}&x_from=1", kind.as_str())).await;
        assert!(
            !html.contains("data-test=\"zoom\"") && !html.contains("data-x-"),
            "{kind:?} has axes of names"
        );
    }
}

#[tokio::test]
async fn a_runs_marks_lead_to_the_cases_of_its_table() {
    let (_, html) = get(Fake::default(), &format!("/runs/{}", fake::ID)).await;
    let case = fake::cases()[0].id;
    let mark = format!("class=\"mark\" href=\"/cases/{case}\"");
    assert!(html.matches(&mark).count() > 1, "a mark in more than one plot: {html}");
    assert_eq!(html.matches("src=\"/plots.js\"").count(), 1);
    let (_, html) = get(Fake { empty: true, ..Fake::default() }, "/runs").await;
    assert!(!html.contains("/plots.js"), "only where there are plots");
}

#[tokio::test]
async fn a_case_shows_what_was_measured_beside_what_was_estimated() {
    let case = &fake::cases()[0];
    let (_, html) = get(Fake::default(), &format!("/cases/{}", case.id)).await;
    for said in [
        "Peaks by phase",
        "Where it goes",
        "counting allocator",
        "monotonic clock around each forward pass",
        "bench-runner run --model HuggingFaceTB/SmolLM2-135M --precision bf16 --variant stock --batch 1 --prompt 256 \
         --generate 32 --device cpu --repetitions 3 --threads 2",
        "AMD EPYC 7B13",
        "2143c33",
        "+2.0 %",
    ] {
        assert!(html.contains(said), "no {said}");
    }
    for link in [
        format!("/runs/{}", fake::ID),
        format!("/api/v1/cases/{}", case.id),
        format!("/api/v1/cases/{}/history", case.id),
    ] {
        assert!(html.contains(&format!("href=\"{link}\"")), "no link to {link}");
    }
    assert!(html.contains("data-test=\"open-in-planner\"") && html.contains("href=\"/planner?"));
    for absent in ["The search", "Memory over time", "Training steps", "data-test=\"today\"", "case-ended"] {
        assert!(!html.contains(absent), "{absent} of a case without it");
    }
}

#[tokio::test]
async fn a_plot_of_nothing_says_so() {
    let (_, html) = get(Fake { empty: true, ..Fake::default() }, "/plots").await;
    assert!(html.contains("Nothing is measured yet"));
    let (_, html) = get(Fake::default(), "/plots?q=nothing").await;
    assert!(html.contains("No case passes these filters"));
}

#[tokio::test]
async fn a_case_that_failed_says_why_in_full() {
    let cases = fake::cases();
    for (place, class) in [(4, "notice bad"), (9, "notice")] {
        let (status, html) = get(Fake::default(), &format!("/cases/{}", cases[place].id)).await;
        assert_eq!(status, 200);
        assert!(html.contains(&format!("data-test=\"case-ended\" class=\"{class}\"")), "{class}");
    }
    let (_, html) = get(Fake::default(), &format!("/cases/{}", cases[4].id)).await;
    assert!(html.contains("no memory for &lt;it&gt;"), "escaped");
    assert!(!html.contains("Peaks by phase"), "nothing was measured");
    assert!(html.contains("Where it goes"), "the estimate was made before");
}

#[tokio::test]
async fn everything_that_a_case_recorded_is_shown() {
    let [rich, trained] = &fake::special_cases()[..] else { panic!("two of them") };
    let (_, html) = get(Fake::default(), &format!("/cases/{}", rich.id)).await;
    for said in [
        "batch 6 fits, 7 does not fit, the planner had said 8",
        "not run: a smaller case had failed",
        "Largest batch",
        "17.250 ± 0.310",
        "RAPL package 0",
        "2,900 MHz (2,400 to 3,100)",
        "Power: no meter may be read.",
        "Memory over time",
        "Prefill, warm-up",
        "Estimate then and today",
        "--edge batch --edge-resolution 1",
        " --memory-trace",
    ] {
        assert!(html.contains(said), "no {said}");
    }
    assert_eq!(html.matches("<svg viewBox=\"0 0 480 300\"").count(), 1);
    let (_, html) = get(Fake::default(), &format!("/cases/{}", trained.id)).await;
    for said in ["Training steps", "Backward", "4.50 nats before the first step", "--train full"] {
        assert!(html.contains(said), "no {said}");
    }
}

#[tokio::test]
async fn a_history_tells_a_change_from_noise() {
    let case = &fake::cases()[0];
    let path = format!("/cases/{}", case.id);
    let (_, html) = get(Fake::default(), &path).await;
    assert_eq!(html.matches("data-test=\"history-row\"").count(), 3);
    assert!(html.contains("+10.0 %"), "a tenth faster");
    assert!(html.contains(", noise"), "the same as before the failure");
    assert!(html.contains("killed from &lt;outside&gt;") && html.contains("data-test=\"attempt\""));
    let older = html.split(&format!("href=\"{path}?before=")).nth(1).unwrap();
    let (place, _) = older.split_once("#history").unwrap();
    let (_, html) = get(Fake::default(), &format!("{path}?before={place}")).await;
    assert!(html.contains("Newest results") && html.contains("rack") && !html.contains("Older results"));
    let (status, html) = get(Fake::default(), &format!("{path}?before=x")).await;
    assert_eq!(status, 200);
    assert!(html.contains("The address asks for before"));
}

#[tokio::test]
async fn runs_are_ticked_and_compared() {
    let (_, html) = get(Fake::default(), "/runs").await;
    assert_eq!(html.matches("type=\"checkbox\" name=\"run\"").count(), 2);
    let (a, b) = (fake::ID, "018f5b0e-0000-7000-8000-000000000002");
    let (_, html) = get(Fake::default(), &format!("/compare?run={a}&run={b}")).await;
    assert!(html.contains("8 cases in common, 2 in one alone"), "each lacks one that the other has");
    assert_eq!(html.matches("data-test=\"compared\"").count(), 2);
    assert!(html.contains("+11.1 %"), "a tenth less time is a ninth more of them");
    assert!(html.contains("the same"), "the peaks");
    assert!(html.contains("Welch 1947") && html.contains("Fleming and Wallace 1986"));
    for link in [
        format!("/api/v1/compare.csv?a={a}&amp;b={b}"),
        format!("/api/v1/compare?a={a}&amp;b={b}"),
        format!("/compare?a={b}&amp;b={a}"),
        format!("/cases/{}", fake::cases()[2].id),
    ] {
        assert!(html.contains(&format!("href=\"{link}\"")), "{link}");
    }
    // A case that failed keeps its place in the row.
    assert!(html.contains("crashed"));
}

#[tokio::test]
async fn cases_are_compared_by_an_axis() {
    let (_, html) = get(Fake::default(), "/compare?by=precision&batch=8&base=fp32").await;
    assert!(html.contains("1,200 older ones are left out"));
    let first = html.find("<th scope=\"row\">fp32").unwrap();
    assert!(first < html.find("<th scope=\"row\">bf16").unwrap(), "the base comes first");
    assert!(html.contains("name=\"batch\" value=\"8\""), "the form keeps the filters");
    let (_, html) = get(Fake::default(), "/compare?batch=8").await;
    assert!(html.contains("data-test=\"compare-by\"") && html.contains("name=\"batch\" value=\"8\""));
}

#[tokio::test]
async fn columns_are_chosen_by_the_address() {
    let (_, html) = get(Fake::default(), "/cases?columns=peak&columns=status&order=peak").await;
    // Without the markers that a view leaves behind its texts.
    let html = html.replace("<!>", "");
    assert!(html.contains("out-of-memory") && html.contains(">Status</th>"));
    assert!(!html.contains(">How</th>") && html.contains(r#"aria-sort="descending""#));
    assert!(html.contains("/cases?order=peak&amp;direction=ascending&amp;columns=peak%2Cstatus"));
    assert!(html.contains(&format!("href=\"/cases/{}\"", fake::cases()[0].id)));
    let (_, html) = get(Fake::default(), "/cases?columns=colour").await;
    assert!(html.contains("The address asks for columns"));
}

#[tokio::test]
async fn views_are_listed_saved_and_deleted_without_scripts() {
    let (_, html) = get(Fake::default(), "/cases?batch=8&columns=peak&after=1_2").await;
    assert!(html.contains("largest &lt;peaks&gt;") && html.contains("href=\"/cases?order=peak\""));
    assert!(html.contains("name=\"query\" value=\"batch=8&amp;columns=peak\""), "the list without its place");
    let current = html.split("aria-current=\"page\"").count();
    assert!(current > 2, "the view that is shown, and the page in the header");
    assert_eq!(html.matches("action=\"/cases/views/delete\"").count(), 2);
    let (_, html) = get(Fake::default(), "/cases?problem=view-name").await;
    assert!(html.contains("A view needs a name") && !html.contains("The address asks for"));
}
