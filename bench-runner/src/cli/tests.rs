//! The help keeps its word: its examples are accepted, and every option has a variable.

use clap::{ArgAction, Command, CommandFactory, Parser};

use super::Cli;

/// The commands of the help's examples: what follows three spaces is a remark, what follows `>`, `<` or `|` the shell's.
fn examples(command: &Command) -> Vec<String> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    help.replace("\\\n", " ")
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("bench-runner "))
        .map(|line| line.split("   ").next().unwrap_or(line))
        .map(|line| line.split(['>', '<', '|']).next().unwrap_or(line).to_owned())
        .collect()
}

#[test]
fn the_examples_of_the_help_are_accepted() {
    let root = Cli::command();
    let all: Vec<String> = std::iter::once(&root).chain(root.get_subcommands()).flat_map(examples).collect();
    assert!(all.len() >= 10, "{all:#?}");
    for example in all {
        if let Err(error) = Cli::try_parse_from(example.split_whitespace()) {
            panic!("{example}: {error}");
        }
    }
}

/// Options without a variable: documents of one call and fields of them, which no two calls share.
const OF_ONE_CALL: [&str; 3] = ["json", "jsonl", "set"];

/// The command and those below it, with their names from the first on.
fn below(command: &Command, name: &str) -> Vec<(String, Command)> {
    let mut all = vec![(name.to_owned(), command.clone())];
    for sub in command.get_subcommands() {
        all.extend(below(sub, &format!("{name} {}", sub.get_name())));
    }
    all
}

#[test]
fn every_option_has_a_variable() {
    let mut exceptions = Vec::new();
    let mut options = 0;
    for (command, definition) in below(&Cli::command(), "bench-runner") {
        for argument in definition.get_arguments().filter(|a| !a.is_positional()) {
            if matches!(
                argument.get_action(),
                ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
            ) {
                continue;
            }
            options += 1;
            let name = argument.get_long().unwrap_or_default().to_owned();
            match argument.get_env().map(|v| v.to_string_lossy().into_owned()) {
                Some(variable) => {
                    assert!(variable.starts_with("PLIMSOLL_"), "{command} --{name}: {variable}");
                }
                None if command.contains("plan") || command.contains("solve") => exceptions.push(name),
                None => panic!("{command} --{name} has no variable"),
            }
        }
    }
    assert!(options > 50, "{options} options");
    exceptions.sort();
    exceptions.dedup();
    assert_eq!(exceptions, OF_ONE_CALL, "options without a variable");
}
