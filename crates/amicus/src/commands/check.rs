//! `amicus check`.

use super::files::{Bytes, Sizes};
use amicus::model::check::{Check, check};
use amicus::model::onnx::{Import, ImportOptions, OnnxError, Problem, import_file};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  amicus check resnet18.onnx")]
pub(crate) struct Args {
    /// The model; external data are looked for beside it.
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// Shape of one image where the file leaves it open, for example 3,224,224.
    #[arg(long, value_name = "SHAPE")]
    input_shape: Option<Sizes>,
    /// Weights that the file may generate rather than hold, for example 1GiB.
    #[arg(long, value_name = "BYTES", default_value = "0")]
    generated_weights: Bytes,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Found {
    model: String,
    ok: bool,
    problems: Vec<Problem>,
    opset: Option<i64>,
    producer: Option<String>,
    operators: Vec<(String, usize)>,
    notes: Vec<String>,
    #[serde(flatten)]
    check: Option<Check>,
    version: &'static str,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let options = ImportOptions {
        input_shape: args.input_shape.clone().map(|s| s.0),
        generated_bytes: args.generated_weights.0,
    };
    let found = match import_file(&args.model, &options) {
        Ok(import) => imported(args, import),
        Err(OnnxError::Unsupported { problems, .. }) => Found {
            model: args.model.display().to_string(),
            ok: false,
            problems,
            opset: None,
            producer: None,
            operators: Vec::new(),
            notes: Vec::new(),
            check: None,
            version: env!("CARGO_PKG_VERSION"),
        },
        Err(error) => return Err(error.into()),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print(&found);
    }
    Ok(if found.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn imported(args: &Args, import: Import) -> Found {
    let mut check = check(&import.graph);
    let problems = std::mem::take(&mut check.problems);
    Found {
        model: args.model.display().to_string(),
        ok: problems.is_empty(),
        problems,
        opset: Some(import.opset),
        producer: Some(import.producer),
        operators: import.operators,
        notes: import.notes,
        check: Some(check),
        version: env!("CARGO_PKG_VERSION"),
    }
}

fn print(found: &Found) {
    if let (Some(opset), Some(check)) = (found.opset, &found.check) {
        let producer = found.producer.as_deref().filter(|p| !p.is_empty()).unwrap_or("an unnamed program");
        println!("{}: operator set {opset}, written by {producer}", found.model);
        let operators: Vec<String> = found.operators.iter().map(|(op, n)| format!("{n} {op}")).collect();
        println!("operators: {}", operators.join(", "));
        println!("{} linear layers, {} parameters", check.linear_layers, check.parameters);
        found.notes.iter().chain(&check.rewrites).for_each(|note| println!("note: {note}"));
        for (node, function) in &check.approximated {
            println!("note: {node} ({function}) will be replaced by a polynomial, which may cost accuracy");
        }
        for pool in &check.max_pools {
            println!(
                "note: {pool} (max pooling) needs `amicus compile --maxpool average`, which may cost accuracy"
            );
        }
    }
    if found.problems.is_empty() {
        println!("every node can be compiled");
        return;
    }
    println!("{}: {} node(s) cannot be compiled", found.model, found.problems.len());
    for Problem { node, op, why, what_to_do } in &found.problems {
        println!("  {node} ({op})\n    why:        {why}\n    what to do: {what_to_do}");
    }
}
