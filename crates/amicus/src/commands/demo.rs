//! `amicus demo`.

use amicus::demo::{DemoOptions, DemoReport, MODELS, Progress, picture, run as run_demo};
use amicus::net::shaper::Shape;
use amicus::node::conduct::Cheat;
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// Digits shown as pictures at the start, and misclassified ones at the end.
const SHOWN: usize = 10;
/// Pictures side by side.
const PER_ROW: usize = 5;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  amicus demo\n  amicus demo --parties 3 --net wan --samples 5\n  \
    amicus demo --cheat activation:0     one party cheats and is caught")]
pub(crate) struct Args {
    /// Model to run.
    #[arg(long, default_value = MODELS[0])]
    model: String,
    /// Weights (safetensors) in place of those that ship.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Folder with digits-images.idx3-ubyte and digits-labels.idx1-ubyte in place of those that ship.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Compute parties, 2 to 8.
    #[arg(long, default_value_t = 2, value_name = "N")]
    parties: usize,
    /// Digits to classify [default: all 300; 20 over a slow network].
    #[arg(long, value_name = "K")]
    samples: Option<usize>,
    /// Digits in one inference.
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
        parties: args.parties,
        samples: args.samples,
        batch: args.batch,
        net: args.net,
        cheat: args.cheat,
        port: args.port,
    };
    let mut view = View { quiet: args.json, ..View::default() };
    let report = run_demo(&options, &mut |progress| view.show(progress))?;
    view.finish();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_report(&report);
    }
    Ok(if report.accepted() { ExitCode::SUCCESS } else { super::cheated() })
}

/// One classified digit.
struct Shown {
    image: Vec<u8>,
    label: usize,
    private: usize,
    plaintext: usize,
}

/// What the terminal shows while the demonstration runs.
#[derive(Default)]
struct View {
    quiet: bool,
    bar: Option<ProgressBar>,
    seen: usize,
    row: Vec<Shown>,
    wrong: Vec<Shown>,
}

impl View {
    fn show(&mut self, progress: Progress) {
        match progress {
            Progress::Compiled(_) => {}
            Progress::Loaded { elapsed, samples } => {
                if !self.quiet {
                    println!(
                        "model masked, tagged and checked at all parties in {:.0} ms\n",
                        elapsed.as_secs_f64() * 1e3
                    );
                }
                if std::io::stderr().is_terminal() && samples > SHOWN {
                    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} digits, {elapsed}");
                    let bar = ProgressBar::new(samples as u64);
                    self.bar = Some(style.map_or(bar.clone(), |style| bar.with_style(style)));
                }
            }
            Progress::Cheated { result } => {
                if !self.quiet {
                    println!("the last party deviated from the protocol: {result}\n");
                }
            }
            Progress::Classified { image, label, private, plaintext } => {
                self.seen += 1;
                if let Some(bar) = &self.bar {
                    bar.inc(1);
                }
                let shown = Shown { image, label, private, plaintext };
                if self.seen <= SHOWN {
                    self.row.push(shown);
                    if self.row.len() == PER_ROW {
                        self.print_row();
                    }
                } else if shown.private != shown.label || shown.private != shown.plaintext {
                    self.wrong.push(shown);
                }
            }
        }
    }

    fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{line}")),
            None => println!("{line}"),
        }
    }

    fn print_row(&mut self) {
        let row = std::mem::take(&mut self.row);
        if self.quiet || row.is_empty() {
            return;
        }
        let images: Vec<&[u8]> = row.iter().map(|s| s.image.as_slice()).collect();
        for line in picture::row(&images) {
            self.print(&line);
        }
        let caption = |f: &dyn Fn(&Shown) -> String| {
            let parts: Vec<String> =
                row.iter().map(|s| format!("{:<w$}", f(s), w = picture::WIDTH)).collect();
            parts.join(" ").trim_end().to_owned()
        };
        self.print(&caption(&|s| format!("private: {}", s.private)));
        let mark = |s: &Shown| if s.label == s.plaintext { "" } else { " (!)" };
        self.print(&caption(&|s| format!("plain: {}{}", s.plaintext, mark(s))));
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
                "not as labelled, or not as in plain text, among the {} digits not shown:\n",
                self.seen - SHOWN
            );
            for (at, shown) in wrong.into_iter().take(SHOWN).enumerate() {
                if at % PER_ROW == 0 {
                    self.print_row();
                }
                self.row.push(shown);
            }
            self.print_row();
        }
    }
}

fn print_report(report: &DemoReport) {
    let unknown = || "unknown".to_owned();
    let percent = |n: usize| {
        format!("{n} of {} ({:.1}%)", report.samples, 100.0 * n as f64 / report.samples.max(1) as f64)
    };
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
        row("as labelled, private", percent(report.correct));
        row("as labelled, plain text", percent(report.plaintext_correct));
        row("private = integer simulator", percent(report.agree));
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
