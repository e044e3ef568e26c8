//! `amicus demo`.

use amicus::demo::{DemoOptions, DemoReport, Picture, Progress, run as run_demo};
use amicus::field::Kernel;
use amicus::net::shaper::Shape;
use amicus::node::conduct::Cheat;
use amicus::rates;
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Inputs shown at the start, and misclassified ones at the end.
const SHOWN: usize = 10;
/// Characters in a line of pictures, at most: five digits, or three photographs in colour.
const LINE: usize = 80;
const COLOUR_LINE: usize = 100;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  amicus demo\n  amicus demo --parties 3 --net wan --samples 5\n  \
    amicus demo --cheat activation:0     one party cheats and is caught\n  \
    amicus demo --model resnet8-cifar10 --weights resnet8.safetensors --data-dir cifar10\n  \
    amicus demo --model model.amc --data test.npz")]
pub(crate) struct Args {
    /// Model to run: lenet5-mnist, alexnet-cifar10, resnet8-cifar10, lenet5-mnist-degree2, resnet8-cifar10-degree2, or a
    /// file made by `amicus compile` [default: lenet5-mnist, or what --weights holds].
    #[arg(long, value_name = "NAME|MODEL.amc")]
    model: Option<String>,
    /// Weights (safetensors) in place of those that ship.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Folder with images in place of those that ship. Digits: IDX files test-images-idx3-ubyte and
    /// test-labels-idx1-ubyte, or t10k-.. (gzipped or not). Photographs: a folder of 32 x 32 PNG or JPEG images for each
    /// class (perhaps below `test`), or test_batch.bin of CIFAR-10.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Inputs as the model takes them (array x) and, if there are labels, their classes (array y), in place of images.
    /// A compiled model without them gets random inputs.
    #[arg(long, value_name = "DATA.npz")]
    data: Option<PathBuf>,
    /// Compute parties, 2 to 8.
    #[arg(long, default_value_t = 2, value_name = "N")]
    parties: usize,
    /// Inputs to classify, those of all classes in turn [default: 300 if there are as many; 20 over a slow network or with
    /// a large model].
    #[arg(long, value_name = "K")]
    samples: Option<usize>,
    /// Inputs in one inference.
    #[arg(long, default_value_t = 1, value_name = "B")]
    batch: usize,
    /// Network between the roles: local, lan (1 Gbit/s, RTT 0.5 ms), wan (100 Mbit/s, RTT 40 ms), or rtt=40ms,bw=100mbit.
    #[arg(long, default_value = "local")]
    net: Shape,
    /// What the last party does wrong, once: load, linear:I, activation:I, equivocate:I (3 parties or more),
    /// batch-cancel:I (batch 2 or more), sigma, hash, output. I counts such layers from 0.
    #[arg(long, value_name = "WHERE")]
    cheat: Option<Cheat>,
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
        parties: args.parties,
        samples: args.samples,
        batch: args.batch,
        net: args.net,
        cheat: args.cheat,
        port: args.port,
        rates: rates::load(Kernel::from_env()?).ok().flatten().map(|r| r.rates()),
        warm_up: false,
    };
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let mut view = View { quiet: args.json, colour, ..View::default() };
    let report = run_demo(&options, &mut |progress| view.show(progress))?;
    view.finish();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_report(&report);
    }
    Ok(if report.accepted() { ExitCode::SUCCESS } else { super::cheated() })
}

/// One classified input.
struct Shown {
    picture: Option<Picture>,
    label: Option<usize>,
    private: usize,
    plaintext: usize,
}

/// What the terminal shows while the demonstration runs.
#[derive(Default)]
struct View {
    quiet: bool,
    colour: bool,
    classes: Option<Vec<String>>,
    bar: Option<ProgressBar>,
    seen: usize,
    row: Vec<Shown>,
    wrong: Vec<Shown>,
}

impl View {
    fn show(&mut self, progress: Progress) {
        match progress {
            Progress::Found { source, classes } => {
                if !self.quiet {
                    println!("to classify: {source}");
                }
                self.classes = classes;
            }
            Progress::Compiling { samples } => {
                self.start(
                    ProgressBar::new_spinner(),
                    "{spinner} compiling, calibrated with {msg} inputs, {elapsed}",
                );
                if let Some(bar) = &self.bar {
                    bar.set_message(samples.to_string());
                    bar.enable_steady_tick(Duration::from_millis(100));
                }
            }
            Progress::Compiled(_) => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
            }
            Progress::Loaded { elapsed, samples } => {
                if !self.quiet {
                    println!(
                        "model masked, tagged and checked at all parties in {:.0} ms\n",
                        elapsed.as_secs_f64() * 1e3
                    );
                }
                if samples > SHOWN {
                    self.start(ProgressBar::new(samples as u64), "{bar:40} {pos}/{len} inputs, {elapsed}");
                }
            }
            Progress::Cheated { result } => {
                if !self.quiet {
                    println!("the last party deviated from the protocol: {result}\n");
                }
            }
            Progress::Classified { picture, label, private, plaintext } => {
                self.seen += 1;
                if let Some(bar) = &self.bar {
                    bar.inc(1);
                }
                let shown = Shown { picture, label, private, plaintext };
                if self.seen <= SHOWN {
                    self.add(shown);
                } else if label.is_some_and(|label| label != private) || private != plaintext {
                    self.wrong.push(shown);
                }
            }
        }
    }

    /// Shows progress in a terminal.
    fn start(&mut self, bar: ProgressBar, template: &str) {
        if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template(template);
            self.bar = Some(style.map_or(bar.clone(), |style| bar.with_style(style)));
        }
    }

    fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{line}")),
            None => println!("{line}"),
        }
    }

    fn class(&self, class: usize) -> String {
        let name = self.classes.as_ref().and_then(|classes| classes.get(class));
        name.map_or_else(|| class.to_string(), String::clone)
    }

    /// Only colour pictures are shown in colour.
    fn coloured(&self, picture: &Picture) -> bool {
        self.colour && picture.channels == 3
    }

    /// What stands below an input.
    fn captions(&self, shown: &Shown) -> [String; 2] {
        let mark = if shown.label.is_none_or(|label| label == shown.plaintext) { "" } else { " (!)" };
        [
            format!("private: {}", self.class(shown.private)),
            format!("plain: {}{mark}", self.class(shown.plaintext)),
        ]
    }

    fn width(&self, shown: &Shown) -> usize {
        let picture = shown.picture.as_ref().map_or(0, |picture| picture.width(self.coloured(picture)));
        self.captions(shown).iter().map(|c| c.chars().count()).fold(picture, usize::max)
    }

    /// Puts an input into the row, in a new one when it is full.
    fn add(&mut self, shown: Shown) {
        let used: usize = self.row.iter().map(|s| self.width(s) + 1).sum();
        let colour = shown.picture.as_ref().is_some_and(|picture| self.coloured(picture));
        if used + self.width(&shown) > if colour { COLOUR_LINE } else { LINE } {
            self.print_row();
        }
        self.row.push(shown);
    }

    fn print_row(&mut self) {
        let row = std::mem::take(&mut self.row);
        if self.quiet || row.is_empty() {
            return;
        }
        let mut lines: Vec<String> = Vec::new();
        let mut at = 0;
        for shown in &row {
            let picture = shown.picture.as_ref().map(|picture| {
                let colour = self.coloured(picture);
                let lines = if colour { picture.colour() } else { picture.grey() };
                (lines, picture.width(colour))
            });
            let (picture, width) = picture.unwrap_or_default();
            let captions = self.captions(shown).map(|c| (c.chars().count(), c));
            let cells = picture.into_iter().map(|line| (width, line)).chain(captions);
            for (index, (width, cell)) in cells.enumerate() {
                if index == lines.len() {
                    lines.push(" ".repeat(at));
                }
                lines[index] += &cell;
                lines[index] += &" ".repeat(self.width(shown) + 1 - width);
            }
            at += self.width(shown) + 1;
        }
        for line in lines {
            self.print(line.trim_end());
        }
        self.print("");
    }

    fn finish(&mut self) {
        self.print_row();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let wrong = std::mem::take(&mut self.wrong);
        if !self.quiet && !wrong.is_empty() {
            println!(
                "not as labelled, or not as in plain text, among the {} not shown:\n",
                self.seen - SHOWN
            );
            wrong.into_iter().take(SHOWN).for_each(|shown| self.add(shown));
            self.print_row();
        }
    }
}

fn print_report(report: &DemoReport) {
    let unknown = || "unknown".to_owned();
    let percent = |n: usize, of: usize| format!("{n} of {of} ({:.1}%)", 100.0 * n as f64 / of.max(1) as f64);
    let bytes = |b: u64| match b {
        b if b >= 1_000_000 => format!("{:.2} MB", b as f64 / 1e6),
        b => format!("{:.1} kB", b as f64 / 1e3),
    };
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    let mut row = |name: &str, value: String| {
        table.add_row(vec![name.to_owned(), value]);
    };
    row("model", format!("{}, {} limb(s) of 52 bits", report.model, report.limbs));
    row("parties", format!("{} + helper, batch {}, network {}", report.parties, report.batch, report.net));
    if let Some(cheat) = &report.cheat {
        row("the last party", format!("cheated: {cheat}"));
    }
    row("check", report.check.clone());
    if let Some(recovered) = report.recovered {
        row("honest run afterwards", if recovered { "worked" } else { "failed" }.to_owned());
    }
    if report.accepted() {
        let labelled = |n: Option<usize>| n.map_or("no labels".to_owned(), |n| percent(n, report.labelled));
        row("as labelled, private", labelled(report.correct));
        row("as labelled, plain text", labelled(report.plaintext_correct));
        row("private = plain text", percent(report.agree_plaintext, report.samples));
        row("private = integer simulator", percent(report.agree, report.samples));
        let error = |e: f64| format!("{:.3}%", 100.0 * e);
        let errors = report.relative_error.zip(report.relative_error_max);
        row(
            "relative error of logits",
            errors.map_or_else(unknown, |(m, x)| format!("median {}, largest {}", error(m), error(x))),
        );
    }
    let online =
        report.online_ms.map(|o| format!("{:.2} ms (least {:.2}, most {:.2})", o.median, o.min, o.max));
    row("online, an inference", online.unwrap_or_else(unknown));
    if let Some(ms) = report.estimated_online_ms {
        row("the same, estimated", format!("{ms:.2} ms"));
    }
    row(
        "preprocessing, an inference",
        report.preprocessing_ms.map_or_else(unknown, |ms| format!("{ms:.2} ms")),
    );
    row("rounds (one-way hops)", report.rounds.map_or_else(unknown, |r| r.to_string()));
    row("sent by a party to another", report.sent_bytes_per_party.map_or_else(unknown, bytes));
    row("dealt by the helper", report.dealt_bytes.map_or_else(unknown, bytes));
    row("peak memory, all roles", report.peak_rss_bytes.map_or_else(unknown, bytes));
    row("kernel", report.kernel.clone());
    println!("{table}");
}
