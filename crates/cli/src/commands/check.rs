//! `amicus check`.

use super::files::ImportArgs;
use super::output;
use amicus::report::Checked;
use amicus_model::onnx::import_file;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  amicus check resnet18.onnx")]
pub(crate) struct Args {
    /// The model; external data are looked for beside it.
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    #[command(flatten)]
    import: ImportArgs,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let import = import_file(&args.model, &args.import.options());
    let found = Checked::of(&args.model.display().to_string(), import)?;
    if args.json {
        output::json(&found)?;
    } else {
        output::text(&found.text());
    }
    Ok(if found.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
