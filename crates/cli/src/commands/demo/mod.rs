//! `amicus demo`.

mod table;
mod view;

use super::answers::{AnswerArgs, Meaning};
use super::files::InvalidArgs;
use super::output;
use amicus_cli::demo::{DemoOptions, Progress, run as run_demo, user_network};
use amicus_cli::rates;
use amicus_field::Kernel;
use amicus_net::shaper::Shape;
use amicus_node::conduct::Cheat;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  amicus demo\n  amicus demo --parties 3 --net wan --samples 5\n  \
    amicus demo --cheat activation:0     one party cheats and is caught\n  \
    amicus demo --model resnet8-cifar10 --weights resnet8.safetensors --data-dir cifar10\n  \
    amicus demo --model model.amc --data test.npz")]
pub(crate) struct Args {
    /// Model to run: lenet5-mnist, alexnet-cifar10, resnet8-cifar10, lenet5-mnist-degree2,
    /// resnet8-cifar10-degree2, lenet5-mnist-relu, resnet8-cifar10-relu, or a file made by `amicus
    /// compile` [default: lenet5-mnist, or what --weights holds].
    #[arg(long, value_name = "NAME|MODEL.amc")]
    model: Option<String>,
    /// Weights (safetensors) in place of those that ship.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Folder with images in place of those that ship. Digits: IDX files test-images-idx3-ubyte and
    /// test-labels-idx1-ubyte, or t10k-.. (gzipped or not). Photographs: a folder of 32 x 32 PNG or
    /// JPEG images for each class (perhaps below `test`), or test_batch.bin of CIFAR-10.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Inputs as the model takes them (array x) and, if there are labels, their classes (array y),
    /// in place of images. A compiled model without them gets random inputs.
    #[arg(long, value_name = "DATA.npz")]
    data: Option<PathBuf>,
    #[command(flatten)]
    invalid: InvalidArgs,
    #[command(flatten)]
    answers: AnswerArgs,
    /// Compute parties, 2 to 8.
    #[arg(long, default_value_t = 2, value_name = "N")]
    parties: usize,
    /// Inputs to classify, those of all classes in turn [default: 300 if there are as many; 20 over
    /// a slow network or with a large model].
    #[arg(long, value_name = "K")]
    samples: Option<usize>,
    /// Inputs in one inference.
    #[arg(long, default_value_t = 1, value_name = "B")]
    batch: usize,
    /// Network between the roles: local, lan (1 Gbit/s, RTT 0.5 ms), wan (100 Mbit/s, RTT 40 ms),
    /// or rtt=40ms,bw=100mbit.
    #[arg(long, default_value = "local")]
    net: Shape,
    /// All roles know the weights: layers of weights then take no round.
    #[arg(long)]
    public_model: bool,
    /// What the last party does wrong, once: load, linear:I, activation:I, equivocate:I (3 parties
    /// or more), batch-cancel:I (batch 2 or more), sigma, hash, output. I counts such layers from
    /// 0.
    #[arg(long, value_name = "WHERE")]
    cheat: Option<Cheat>,
    /// Threads for the arithmetic of each of the two threads of helper and parties.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = crate::commands::threads())]
    threads: u32,
    /// First port of helper (this one) and parties (the next ones) [default: free ones].
    #[arg(long)]
    port: Option<u16>,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let options = DemoOptions {
        model: args.model.clone(),
        weights: args.weights.clone(),
        data_dir: args.data_dir.clone(),
        data: args.data.clone(),
        invalid: args.invalid.into(),
        parties: args.parties,
        samples: args.samples,
        batch: args.batch,
        net: args.net,
        public_model: args.public_model,
        cheat: args.cheat,
        port: args.port,
        threads: args.threads as usize,
        rates: rates::load(Kernel::from_env()?).ok().flatten().map(|r| r.rates()),
        warm_up: false,
    };
    let sink = if args.answers.wanted() {
        let model = args.model.as_deref().map(Path::new);
        let inputs = [args.data.as_deref(), args.weights.as_deref(), model];
        let inputs: Vec<&Path> = inputs.into_iter().flatten().collect();
        let (network, plan) = user_network(&options)?;
        Some(args.answers.open(Meaning::of(&network, plan.as_ref()), &inputs)?)
    } else {
        None
    };
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let mut view = view::View::new(args.json, colour);
    if let Some(names) = sink.as_ref().and_then(|sink| sink.names.clone()) {
        view.name_classes(names);
    }
    let mut answers = Vec::new();
    let report = run_demo(&options, &mut |progress| {
        if let Progress::Classified { number, label, private, .. } = &progress
            && sink.is_some()
        {
            answers.push((*number, private.clone(), *label));
        }
        view.show(progress);
    })?;
    view.finish();
    if let Some(sink) = sink.filter(|_| report.accepted()) {
        // In the order of the data: the demonstration takes inputs of all classes in turn.
        answers.sort_by_key(|(number, ..)| *number);
        let (outputs, labels): (Vec<_>, Vec<_>) = answers.into_iter().map(|(_, o, l)| (o, l)).unzip();
        sink.write(&outputs, &labels)?;
    }
    if args.json {
        output::json(&report)?;
    } else {
        table::print(&report);
    }
    Ok(if report.accepted() { ExitCode::SUCCESS } else { super::cheated() })
}
