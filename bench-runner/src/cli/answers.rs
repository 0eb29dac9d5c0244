//! `bench-runner answers`: the questions that people bring, with computed numbers.

use clap::Args;
use planner::Tokens;
use planner::answers::{self, CARDS, MODELS, Reader, Way};

use super::{CliError, output};
use crate::report::{Align, Column, render};

/// Answer what people ask first, each figure computed by the planner: how much memory a billion parameters take in each
/// precision, whether a 7B and a 70B model run on one 12, 16 or 24 GB card and how, and what training takes beside serving.
#[derive(Debug, Args)]
pub(super) struct AnswersArgs {
    /// Tokens of the sequence that is to fit, a quarter of it output
    #[arg(long, env = "PLIMSOLL_CONTEXT_TOKENS", value_name = "N", default_value = "4096",
        value_parser = clap::value_parser!(u64).range(8..=4096))]
    context: u64,
}

/// The model whose precisions are compared.
const COMPARED: &str = "meta-llama/Llama-3.1-8B";
/// The model that is trained.
const TRAINED: &str = "meta-llama/Llama-2-7b-hf";
/// A GPU that holds all ways to train it.
const LARGE: &str = "b200-sxm-192gb";

pub(super) fn answers(args: &AnswersArgs) -> Result<(), CliError> {
    output::line(format!(
        "How much memory do a billion parameters take? (weights of {COMPARED}, what a precision leaves unquantised included)\n"
    ))?;
    let rows = answers::per_billion(COMPARED).map_err(CliError::work)?;
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.precision.to_string(),
                row.bytes.to_string(),
                format!("{:.2} GB", row.bytes.0 as f64 / 1e9),
                row.planned.estimate.per_gpu.weights.to_string(),
            ]
        })
        .collect();
    let columns = [
        Column("precision", Align::Left),
        Column("a billion", Align::Right),
        Column("the same", Align::Right),
        Column("all weights", Align::Right),
    ];
    output::line(render(&columns, &rows) + "\n")?;

    output::line(format!("Does it run on one card, with {} tokens?\n", args.context))?;
    let rows = answers::on_one_card(&MODELS, &CARDS, Tokens(args.context)).map_err(CliError::work)?;
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|answer| {
            let (verdict, how, total) = match &answer.way {
                Way::Whole { planned, longest_context } => (
                    "yes".to_owned(),
                    format!("{}, up to {longest_context} tokens", weights(planned)),
                    planned.estimate.per_gpu.total.to_string(),
                ),
                Way::Split { planned, gpu_layers, layers } => (
                    "in part".to_owned(),
                    format!(
                        "{}, {gpu_layers} of {layers} layers on the card, {} in host memory",
                        weights(planned),
                        planned.estimate.host.total
                    ),
                    planned.estimate.per_gpu.total.to_string(),
                ),
                Way::No => ("no".to_owned(), "not even one layer".to_owned(), String::new()),
            };
            vec![answer.model.clone(), answer.gpu.clone(), verdict, how, total]
        })
        .collect();
    let columns = [
        Column("model", Align::Left),
        Column("card", Align::Left),
        Column("runs", Align::Left),
        Column("how (llama.cpp)", Align::Left),
        Column("on the card", Align::Right),
    ];
    output::line(render(&columns, &rows) + "\n")?;

    output::line(format!(
        "What does training take beside serving? ({TRAINED}, sequences of 2048 tokens, one at a time, Transformers)\n"
    ))?;
    let large = Reader { model: TRAINED.to_owned(), gpu: LARGE.to_owned(), context: Tokens(2048), batch: 1 };
    let rows = answers::training_against_inference(&large).map_err(CliError::work)?;
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let p = &row.planned.estimate.per_gpu;
            vec![
                row.what.to_owned(),
                p.total.to_string(),
                format!("{:.1} ×", row.times_serving),
                p.weights.to_string(),
                (p.gradients + p.optimizer).to_string(),
                (p.activations + p.temporary).to_string(),
            ]
        })
        .collect();
    let columns = [
        Column("what", Align::Left),
        Column("total", Align::Right),
        Column("of serving", Align::Right),
        Column("weights", Align::Right),
        Column("gradients and optimizer", Align::Right),
        Column("activations and buffers", Align::Right),
    ];
    output::line(render(&columns, &rows))
}

fn weights(planned: &answers::Planned) -> String {
    planned.plan.precision.weights.map_or_else(|| "as stored".to_owned(), |p| p.to_string())
}
