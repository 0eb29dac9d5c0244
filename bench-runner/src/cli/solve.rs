//! `bench-runner solve`: the planner asked the other way round.

mod describe;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use planner::PlanError;
use planner::solve::{Asked, Question, SpeedLimits};

use super::input::Input;
use super::plan::{PlanOptions, in_file, parse, read_model};
use super::{CliError, output};
use describe::describe;

/// Ask the planner the other way round: the most that fits, the fewest GPUs, the cheapest one, the best layout, and what
/// precisions trade for each other.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    bench-runner solve largest-batch --model meta-llama/Llama-3.1-8B --engine vllm --gpu h100-sxm-80gb --prompt 2048\n  \
    bench-runner solve longest-context --model Qwen/Qwen3-32B --engine vllm --gpu h100-sxm-80gb --gpus 2 --batch 4\n  \
    bench-runner solve fewest-gpus --model meta-llama/Llama-3.1-70B --engine vllm --gpu h100-sxm-80gb --tpot 30\n  \
    bench-runner solve cheapest-gpu --model Qwen/Qwen3-32B --engine vllm --price h100-sxm-80gb=2.50 --price l40s-48gb=0.90\n  \
    bench-runner solve layouts --model meta-llama/Llama-3.1-70B --engine vllm --gpu h100-sxm-80gb --gpus 8 --batch 64\n  \
    bench-runner solve pareto --json plan.json               a plan document in, an answer out\n  \
    bench-runner solve --json question.json                  a question document in, an answer out"
)]
pub(super) struct SolveArgs {
    /// A question document, as the REST interface takes it, - for standard input; answers a document
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(subcommand)]
    question: Option<Box<Asking>>,
}

#[derive(Debug, Subcommand)]
enum Asking {
    /// The most sequences at once
    LargestBatch(Of),
    /// The most tokens of a sequence, prompt and output together
    LongestContext(Of),
    /// For each batch the longest context
    LoadLine {
        /// Batches, commas between them [default: 1,2,4 … 256]
        #[arg(long, env = "PLIMSOLL_BATCHES", value_name = "LIST", value_delimiter = ',')]
        batches: Option<Vec<u64>>,
        #[command(flatten)]
        of: Of,
    },
    /// The fewest GPUs of one kind, with the fastest layout on them
    FewestGpus {
        #[command(flatten)]
        limits: Limits,
        #[command(flatten)]
        of: Of,
    },
    /// GPUs of the catalogue that hold the plan, the cheapest first; the catalogue has no prices, so without them the fewest
    /// GPUs come first, then the least memory
    CheapestGpu {
        /// Price of one GPU for an hour, in any one currency; repeat it, or put commas between them. GPUs without a price
        /// are not offered
        #[arg(
            long = "price",
            env = "PLIMSOLL_PRICES",
            value_name = "ID=PRICE",
            value_delimiter = ',',
            value_parser = price
        )]
        prices: Vec<(String, f64)>,
        #[command(flatten)]
        limits: Limits,
        #[command(flatten)]
        of: Of,
    },
    /// Ways to spread the plan over --gpus GPUs (or --tensor × --pipeline × --data), the fastest first
    Layouts {
        #[command(flatten)]
        limits: Limits,
        #[command(flatten)]
        of: Of,
    },
    /// Precisions of the weights that no other beats in all of memory, speed and quality
    Pareto(Of),
}

/// The plan that is asked about.
#[derive(Debug, Args)]
struct Of {
    /// Print the answer document instead of a table
    #[arg(long, env = "PLIMSOLL_ANSWER", help_heading = "Documents")]
    answer: bool,
    #[command(flatten)]
    plan: PlanOptions,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct Limits {
    /// Longest time to the first token, of all prompts at once, in milliseconds
    #[arg(long, env = "PLIMSOLL_TTFT", value_name = "MS")]
    ttft: Option<f64>,
    /// Longest time of an output token, in milliseconds
    #[arg(long, env = "PLIMSOLL_TPOT", value_name = "MS")]
    tpot: Option<f64>,
}

impl From<&Limits> for SpeedLimits {
    fn from(limits: &Limits) -> Self {
        Self { time_to_first_token_ms: limits.ttft, time_per_output_token_ms: limits.tpot }
    }
}

/// `id=2.50`; what the id and the number may be is the planner's to say.
fn price(text: &str) -> Result<(String, f64), String> {
    let (id, price) = text.split_once('=').ok_or("give a GPU's id and its price: h100-sxm-80gb=2.50")?;
    let price = price.parse().map_err(|_| format!("{price} is no number"))?;
    Ok((id.to_owned(), price))
}

pub(super) fn solve(args: &SolveArgs) -> Result<(), CliError> {
    let Some(asking) = args.question.as_deref() else {
        let Some(path) = &args.json else {
            return Err(CliError::Input(
                "solve: name a question, or give a question document with --json".into(),
            ));
        };
        let text = Input::open(path, "--json")?.text()?;
        let wrong = |e: String| CliError::Input(format!("{}: {e}", path.display()));
        let mut question: Question =
            serde_json::from_str(&text).map_err(|e| wrong(format!("not a question: {e}")))?;
        read_model(&mut question.plan.model).map_err(|e| wrong(e.message))?;
        return output::json(&question.answer().map_err(|e| wrong(e.to_string()))?);
    };
    let (of, question) = asking.question()?;
    let answer = question.answer().map_err(|e| CliError::Input(option_of(&e)))?;
    if of.answer || of.plan.json.is_some() { output::json(&answer) } else { output::line(describe(&answer)) }
}

/// The error with the options that write a question's own fields, which no plan has.
fn option_of(error: &PlanError) -> String {
    let option = match error.field.split('.').next() {
        Some("prices") => "--price",
        Some("batches") => "--batches",
        Some("limits") if error.field.ends_with("first_token_ms") => "--ttft",
        Some("limits") => "--tpot",
        Some("gpus") => "--gpus",
        _ => return error.to_string(),
    };
    format!("{option}: {error}")
}

impl Asking {
    /// What is asked, and of what.
    fn question(&self) -> Result<(&Of, Question), CliError> {
        let (asked, of) = match self {
            Self::LargestBatch(of) => (Asked::LargestBatch, of),
            Self::LongestContext(of) => (Asked::LongestContext, of),
            Self::LoadLine { of, .. } => (Asked::LoadLine, of),
            Self::FewestGpus { of, .. } => (Asked::FewestGpus, of),
            Self::CheapestGpu { of, .. } => (Asked::CheapestGpu, of),
            Self::Layouts { of, .. } => (Asked::Layouts, of),
            Self::Pareto(of) => (Asked::Pareto, of),
        };
        let plan = match &of.plan.json {
            Some(path) => {
                let text = Input::open(path, "--json")?.text()?;
                parse(&text).map_err(|e| CliError::Input(in_file(path, &e)))?
            }
            None => of.plan.plan()?,
        };
        let mut question = Question::new(asked, plan);
        match self {
            Self::LoadLine { batches, .. } => question.batches.clone_from(batches),
            Self::FewestGpus { limits, .. } | Self::Layouts { limits, .. } => question.limits = limits.into(),
            Self::CheapestGpu { prices, limits, .. } => {
                question.limits = limits.into();
                question.prices = priced(prices)?;
            }
            Self::LargestBatch(_) | Self::LongestContext(_) | Self::Pareto(_) => {}
        }
        Ok((of, question))
    }
}

/// Prices as a question has them; none where none are given.
fn priced(list: &[(String, f64)]) -> Result<Option<BTreeMap<String, f64>>, CliError> {
    let mut prices = BTreeMap::new();
    for (id, price) in list {
        if prices.insert(id.clone(), *price).is_some() {
            return Err(CliError::Input(format!("--price: {id} is given twice")));
        }
    }
    Ok((!prices.is_empty()).then_some(prices))
}

#[cfg(test)]
mod tests {
    use planner::solve::Answer;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        solve: SolveArgs,
    }

    fn ask(line: &str) -> Result<(Question, Answer), CliError> {
        let words = std::iter::once("solve").chain(line.split_whitespace());
        let args =
            <Cli as clap::Parser>::try_parse_from(words).map_err(|e| CliError::Input(e.to_string()))?.solve;
        let (_, question) = args.question.as_deref().unwrap().question()?;
        let answer = question.answer().map_err(|e| CliError::Input(option_of(&e)))?;
        Ok((question, answer))
    }

    const PLAN: &str =
        "--model meta-llama/Llama-3.1-8B --engine vllm --gpu h100-sxm-80gb --prompt 1024 --generate 64";

    /// Every question reaches the planner with what its options say, and its answer is one that a person can read.
    #[test]
    fn questions_are_asked_and_answered() {
        for (line, asked, needle) in [
            ("largest-batch", Asked::LargestBatch, "sequences at once"),
            ("longest-context", Asked::LongestContext, "tokens, prompt and output together"),
            ("load-line --batches 1,8", Asked::LoadLine, "longest context"),
            ("fewest-gpus --tpot 50", Asked::FewestGpus, "1 GPU"),
            (
                "cheapest-gpu --price h100-sxm-80gb=2.50 --price l40s-48gb=0.9",
                Asked::CheapestGpu,
                "l40s-48gb",
            ),
            ("cheapest-gpu", Asked::CheapestGpu, "no prices"),
            ("layouts --gpus 4 --batch 8", Asked::Layouts, "tensor"),
            ("pareto", Asked::Pareto, "tok/s"),
        ] {
            let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (question, answer) = ask(&format!("{name} {PLAN} {rest}")).unwrap();
            assert_eq!(question.question, asked, "{line}");
            let text = describe(&answer);
            assert!(text.contains(needle), "{line}: {text}");
        }
        let (question, _) = ask(&format!("layouts {PLAN} --gpus 4 --batch 8 --ttft 5000")).unwrap();
        assert_eq!(question.plan.parallelism.tensor, 4);
        assert_eq!(question.limits.time_to_first_token_ms, Some(5000.0));
    }

    #[test]
    fn an_answer_of_nothing_says_so() {
        let small = "--model meta-llama/Llama-3.1-70B --engine vllm --gpu rtx-4060-8gb --prompt 1024";
        for (line, needle) in [
            ("largest-batch", "not even one sequence"),
            ("longest-context", "not even one token of prompt"),
            ("fewest-gpus --ttft 0", "64 GPUs"),
            ("layouts --gpus 2", "no layout"),
            ("cheapest-gpu --price rtx-4060-8gb=0.10", "none of the GPUs"),
        ] {
            let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
            let text = describe(&ask(&format!("{name} {small} {rest}")).unwrap().1);
            assert!(text.contains(needle), "{line}: {text}");
        }
    }

    #[test]
    fn wrong_options_are_named() {
        for (line, needle) in [
            ("cheapest-gpu --price h100-sxm-80gb", "h100-sxm-80gb=2.50"),
            ("cheapest-gpu --price h100-sxm-80gb=cheap", "cheap is no number"),
            ("cheapest-gpu --price h100=1", "--price: prices: \"h100\" is not in the catalogue"),
            ("cheapest-gpu --price t4-16gb=-1", "--price: prices.t4-16gb"),
            ("cheapest-gpu --price t4-16gb=1,t4-16gb=2", "given twice"),
            ("load-line --batches 0", "--batches"),
            ("fewest-gpus --ttft NaN", "--ttft: limits.time_to_first_token_ms"),
            ("layouts --gpus 4096", "4096"),
            ("largest-batch --train full", "workload.kind"),
            ("largest-batch --ttft 5", "--ttft"),
        ] {
            let (name, rest) = line.split_once(' ').unwrap();
            let error = ask(&format!("{name} {PLAN} {rest}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(needle), "{line}: {error}");
        }
    }
}
