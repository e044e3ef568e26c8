//! `amicus export`.

use super::files::destination;
use super::output;
use amicus_cli::demo::{Shipped, shipped};
use amicus_net::shaper::Shape;
use anyhow::Context;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  amicus export lenet5-mnist -o lenet5.amc --images digits\n\n\
    Images are numbers as the network takes them (float32, little-endian), a file each, named by number and class.")]
pub(crate) struct Args {
    /// One of lenet5-mnist, alexnet-cifar10, resnet8-cifar10, lenet5-mnist-degree2,
    /// resnet8-cifar10-degree2, lenet5-mnist-relu, resnet8-cifar10-relu.
    #[arg(value_name = "NAME")]
    model: String,
    /// The compiled file. It holds the weights.
    #[arg(short, long, value_name = "MODEL.amc")]
    output: PathBuf,
    /// The network that the plan is for, as for `amicus compile`: there is one for messages that take
    /// up to 5 ms, and one for slower ones.
    #[arg(long, value_name = "NET", default_value = "lan")]
    net: Shape,
    /// Images in one inference that the plan is for: for roles near each other there is one for single
    /// images, and one for 8 and more.
    #[arg(long, value_name = "B", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Put the weights into the plan, as `amicus compile --public-model` does.
    #[arg(long)]
    public_model: bool,
    /// Replace the compiled file if it is there.
    #[arg(long)]
    force: bool,
    /// A new folder for the images that ship.
    #[arg(long, value_name = "FOLDER")]
    images: Option<PathBuf>,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Summary<'a> {
    model: &'a str,
    output: String,
    digest: String,
    /// Images written.
    images: usize,
    version: &'static str,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let existing = destination(&args.output, args.force, &[])?;
    let Shipped { mut file, images } = shipped(&args.model, args.net, args.batch as usize)?;
    if args.public_model {
        file = file.published()?;
    }
    if let Some(folder) = &args.images {
        write_images(folder, &images)?;
    }
    file.save(&args.output, existing)?;
    let summary = Summary {
        model: &args.model,
        output: args.output.display().to_string(),
        digest: file.plan.digest()?.to_string(),
        images: args.images.as_ref().map_or(0, |_| images.len()),
        version: env!("CARGO_PKG_VERSION"),
    };
    if args.json {
        output::json(&summary)?;
    } else {
        output::line(format_args!("wrote {} (plan {})", summary.output, summary.digest));
        if let Some(folder) = &args.images {
            output::line(format_args!("wrote {} images into {}", images.len(), folder.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes images as files of numbers, into a new folder.
pub(super) fn write_images(folder: &Path, images: &[(Option<usize>, Vec<f32>)]) -> anyhow::Result<()> {
    std::fs::create_dir(folder).with_context(|| folder.display().to_string())?;
    for (number, (label, image)) in images.iter().enumerate() {
        let class = label.map_or_else(String::new, |label| format!("-class-{label}"));
        let path = folder.join(format!("{number:03}{class}.f32"));
        let bytes: Vec<u8> = image.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
