//! A plan and its answer to take along: a document, a table in Markdown, a command, a frame for another site's page.

use std::fmt::Write;

use planner::{Estimate, Plan};
use serde_json::{Value, json};

use crate::charts::escape;
use crate::components::answer::{self, Verdict};
use crate::components::facts;
use crate::{format, words};

/// Height in pixels of the frame that holds a plan's bar and facts.
const FRAME_HEIGHT: u32 = 420;

/// Plan, answer and the planner's version in one document. A stored plan has the same fields, and its id.
#[must_use]
pub fn document(plan: &Plan, estimate: &Estimate) -> Value {
    json!({ "plan": plan, "estimate": estimate, "planner_version": planner::VERSION })
}

/// What is said of a plan, with its components and figures in tables; `version` of the planner gave the answer.
#[must_use]
pub fn markdown(plan: &Plan, estimate: &Estimate, version: &str) -> String {
    let total = estimate.per_gpu.total;
    let unit = answer::unit_of(total);
    let mut text = format!(
        "# {}\n\n**{}** {} {}, {} ({}).\n\nPlanned for {}, {}, by Plimsoll's planner {version}.\n\n\
         | Component | {unit} | Share |\n|---|---:|---:|\n",
        cell(&words::title(plan)),
        Verdict::of(estimate).words().1,
        answer::sized(total, total),
        answer::usable(estimate),
        answer::between(estimate),
        estimate.error_band.basis.trim_end_matches('.'),
        answer::engine_told(&estimate.engine),
        words::settings(plan),
    );
    for (name, _, bytes) in answer::components(estimate) {
        let _ = writeln!(
            text,
            "| {name} | {} | {} |",
            answer::figure_of(bytes, total),
            format::share(bytes, total)
        );
    }
    let _ = writeln!(text, "| **Total** | **{}** | 100 % |", answer::figure_of(total, total));
    let facts = facts_of(plan, estimate);
    if !facts.is_empty() {
        text.push_str("\n| Figure | Value |\n|---|---:|\n");
        for (name, value, unit) in facts {
            let _ = writeln!(text, "| {name} | {} |", format!("{value} {unit}").trim_end());
        }
    }
    text
}

/// The strip of facts, with what the solvers find.
pub(crate) fn facts_of(plan: &Plan, estimate: &Estimate) -> Vec<facts::Told> {
    let sequences = planner::solve::largest_batch(plan).ok();
    let context = planner::solve::longest_context(plan).ok().map(|tokens| tokens.0);
    let mut told = facts::most(plan, sequences, context);
    told.extend(facts::told(plan, estimate));
    told
}

/// A text within a line of Markdown.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\r', '\n'], " ")
}

/// The command that answers the same plan at the prompt, with the plan's document as its input.
#[must_use]
pub fn command(plan: &Plan) -> String {
    let document = serde_json::to_string(plan).unwrap_or_default();
    format!("bench-runner plan --json - <<'PLAN'\n{document}\nPLAN")
}

/// The element that shows the plan within another site's page; `address` is whole.
#[must_use]
pub fn frame(address: &str, plan: &Plan) -> String {
    format!(
        "<iframe src=\"{}\" title=\"{}\" width=\"100%\" height=\"{FRAME_HEIGHT}\" style=\"border:0\" loading=\"lazy\"></iframe>",
        escape(address),
        escape(&words::title(plan)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link;

    #[test]
    fn a_plan_is_written_in_markdown() {
        let plan = link::first_plan().unwrap();
        insta::assert_snapshot!(markdown(&plan, &planner::estimate(&plan).unwrap(), "1.2.3"));
    }

    #[test]
    fn a_command_carries_the_whole_plan() {
        let plan = link::read("engine=vllm&workload.memory_fraction=0.85&gpu=h100-sxm-80gb").unwrap();
        let command = command(&plan);
        let document = command.lines().nth(1).unwrap();
        assert_eq!(Plan::from_json(document).unwrap(), plan);
    }

    #[test]
    fn what_others_wrote_stays_text() {
        let mut plan = link::first_plan().unwrap();
        plan.model.id = None;
        plan.model.name = Some("\"><script>|\nx".to_owned());
        let frame = frame("http://localhost/embed?a=1&b=2", &plan);
        assert!(frame.contains("a=1&amp;b=2") && !frame.contains("<script>"), "{frame}");
        assert_eq!(cell("a|b\nc"), "a\\|b c");
    }
}
