//! The browser's planner is the server's: compiled to WebAssembly and run by Node, it answers every published row with the
//! same bytes as the native one.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use planner::{MeasurementRow, Plan};
use tests::{HarnessError, Result};

/// Reads plans, a line each, and writes what the module says of each.
const SCRIPT: &str = "
const { estimate } = require(process.argv[2]);
const lines = require('fs').readFileSync(0, 'utf8').split('\\n').filter((line) => line);
process.stdout.write(lines.map((line) => estimate(line) + '\\n').join(''));
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn run(command: &mut Command) -> Result<()> {
    let what = format!("{command:?}");
    let status =
        command.status().map_err(|source| HarnessError::Io { what: format!("start {what}"), source })?;
    assert!(status.success(), "{what}: {status}");
    Ok(())
}

/// The module, built and bound for Node.
fn module(out: &Path) -> Result<PathBuf> {
    // target/release/bench-runner
    let runner = tests::binary("bench-runner")?;
    let target = runner.ancestors().nth(2).unwrap_or(out).to_owned();
    run(Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["build", "--quiet", "--release", "-p", "planner", "--example", "wasm_estimate"])
        .args(["--target", "wasm32-unknown-unknown", "--target-dir"])
        .arg(&target))?;
    let built = target.join("wasm32-unknown-unknown/release/examples/wasm_estimate.wasm");
    run(Command::new("wasm-bindgen")
        .args(["--target", "nodejs", "--no-typescript", "--out-dir"])
        .arg(out)
        .arg(built))?;
    Ok(out.join("wasm_estimate.js"))
}

fn native(plan: &Plan) -> String {
    match planner::estimate(plan) {
        Ok(estimate) => serde_json::to_string(&estimate).unwrap_or_default(),
        Err(error) => serde_json::to_string(&error).unwrap_or_default(),
    }
}

#[test]
fn native_and_wasm_give_the_same_bytes() -> Result<()> {
    let io = |what: &str| {
        let what = what.to_owned();
        move |source| HarnessError::Io { what, source }
    };
    let rows = root().join("tests/data/reference_measurements.jsonl");
    let rows = std::fs::read_to_string(rows).map_err(io("read the reference rows"))?;
    let mut plans: Vec<Plan> = Vec::new();
    for line in rows.lines() {
        let row: MeasurementRow = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        plans.push(row.plan);
    }
    let dir = tempfile::tempdir().map_err(io("make a temporary folder"))?;
    let module = module(dir.path())?;
    let script = dir.path().join("answer.js");
    std::fs::write(&script, SCRIPT).map_err(io("write the script"))?;
    let mut node = Command::new("node")
        .arg(&script)
        .arg(&module)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(io("start node"))?;
    let documents: Vec<String> = plans.iter().map(|p| serde_json::to_string(p).unwrap_or_default()).collect();
    let documents = documents.join("\n");
    let mut stdin = node.stdin.take().unwrap_or_else(|| panic!("node has no standard input"));
    // Node reads all of it before it answers.
    stdin.write_all(documents.as_bytes()).map_err(io("write to node"))?;
    drop(stdin);
    let out = node.wait_with_output().map_err(io("wait for node"))?;
    assert!(out.status.success());
    let answers = String::from_utf8_lossy(&out.stdout);
    assert_eq!(answers.lines().count(), plans.len());
    for (plan, answer) in plans.iter().zip(answers.lines()) {
        assert_eq!(answer, native(plan), "{}", serde_json::to_string(plan).unwrap_or_default());
    }
    Ok(())
}
