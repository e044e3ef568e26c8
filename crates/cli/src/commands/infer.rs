//! `amicus infer`.

use super::answers::AnswerArgs;
use super::files::bar;
use super::output;
use super::remote::{ClusterArgs, Credentials, ended};
use amicus::https::HttpsClient;
use amicus::{Client, Error, Expected, ModelFingerprint};
use amicus_cli::images::{Pixels, read};
use anyhow::bail;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    amicus infer --key alice.pem --model lenet --fingerprint 3f.. digit.png\n  \
    amicus infer --key alice.pem --model lenet photographs/ --output answers.json\n  \
    amicus infer --token alice.tokens --model lenet digit.png\n\n\
    Exit code 3: a party cheated, and nothing was released.")]
pub(crate) struct Args {
    /// PNG, JPEG, `.npz` (array x) or `.f32` files, or folders of such files.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The model's name in the cluster's file.
    #[arg(long, value_name = "NAME")]
    model: String,
    /// The model's plan [default: NAME.plan beside the cluster's file].
    #[arg(long, value_name = "FILE.plan")]
    plan: Option<PathBuf>,
    /// The model's fingerprint, as its owner told it. Without one, whichever model all parties name
    /// is taken.
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Option<ModelFingerprint>,
    /// Images in one inference.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// How pixels become numbers, where the plan's range leaves it open: pixel/255 or
    /// pixel/127.5-1.
    #[arg(long, value_name = "RULE")]
    pixels: Option<Pixels>,
    #[command(flatten)]
    answers: AnswerArgs,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    fingerprint: String,
    answers: Vec<Answer<'a>>,
    version: &'static str,
}

#[derive(Serialize)]
struct Answer<'a> {
    image: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    outputs: &'a [f64],
}

/// A client over either port.
enum AnyClient {
    Frames(Box<Client>),
    Https(Box<HttpsClient>),
}

impl AnyClient {
    fn compare(&mut self, expected: Expected) -> Result<ModelFingerprint, Error> {
        match self {
            AnyClient::Frames(client) => client.compare(expected),
            AnyClient::Https(client) => client.compare(expected),
        }
    }

    fn infer_batch(&mut self, images: &[&[f32]]) -> Result<Vec<amicus::Answer>, Error> {
        match self {
            AnyClient::Frames(client) => client.infer_batch(images),
            AnyClient::Https(client) => client.infer_batch(images),
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.batch == 0 {
        bail!("--batch 0: there is at least one image in an inference");
    }
    let deployment = args.cluster.deployment()?;
    let credentials = args.cluster.credentials(&deployment)?;
    let plan = args.cluster.plan(&deployment, (&args.model, args.plan.as_ref()), &credentials)?;
    let outputs = plan.values()?.get(plan.output.value).len;
    // Plans say nothing of what outputs mean; several are taken for classes.
    let classes = outputs > 1;
    let inputs: Vec<_> = args.images.iter().map(PathBuf::as_path).collect();
    let sink = args.answers.open_for(vec![outputs], classes, &inputs)?;
    // All of them before anything leaves: a mistake in the last is no reason to ask for the first.
    let images = read(&args.images, &plan, args.pixels)?;
    let expected = args.fingerprint.map_or(Expected::Any, Expected::Model);
    let connected = match credentials {
        Credentials::Key(identity) => Client::connect(&deployment, identity, plan, expected)
            .map(|client| AnyClient::Frames(Box::new(client))),
        Credentials::Tokens(tokens) => {
            let client = HttpsClient::connect(&deployment, &tokens, plan, expected);
            client.map(|client| AnyClient::Https(Box::new(client)))
        }
    };
    let mut client = match connected {
        Ok(client) => client,
        Err(error) => return ended(error),
    };
    let fingerprint = client.compare(expected)?;
    if args.fingerprint.is_none() {
        output::note(format_args!(
            "note: the model that all parties name was taken; --fingerprint {fingerprint} takes no other"
        ));
    }
    let bar = bar(images.len(), "images");
    let mut outputs: Vec<Vec<f64>> = Vec::with_capacity(images.len());
    for batch in images.chunks(args.batch) {
        let numbers: Vec<&[f32]> = batch.iter().map(|image| &image.numbers[..]).collect();
        match client.infer_batch(&numbers) {
            Ok(answers) => outputs.extend(answers.iter().map(|answer| answer.logits().to_vec())),
            Err(error) => {
                bar.abandon();
                return ended(error);
            }
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    sink.write(&outputs, &vec![None; outputs.len()])?;
    let class = |outputs: &[f64]| classes.then(|| amicus::model::argmax(outputs));
    let name = |class: usize| sink.names.as_ref().and_then(|names| names.get(class)).map(String::as_str);
    if args.json {
        let answers = images.iter().zip(&outputs).map(|(image, outputs)| {
            let class = class(outputs);
            Answer { image: &image.name, class, name: class.and_then(name), outputs }
        });
        let answers = answers.collect();
        let (model, fingerprint) = (&args.model[..], fingerprint.to_string());
        output::json(&Report { model, fingerprint, answers, version: env!("CARGO_PKG_VERSION") })?;
    } else {
        for (image, outputs) in images.iter().zip(&outputs) {
            let image = &image.name;
            match class(outputs).map(|class| (class, name(class))) {
                Some((_, Some(name))) => output::line(format_args!("{image}: {name}")),
                Some((class, None)) => output::line(format_args!("{image}: class {class}")),
                None => output::line(format_args!("{image}: {}", outputs[0])),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
