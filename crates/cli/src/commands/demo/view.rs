//! What the terminal shows while a demonstration runs: pictures with answers below, and progress.

use super::output;
use amicus::report::visible;
use amicus_cli::demo::{Picture, Progress};
use amicus_model::measure::percent;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// Inputs shown at the start, and misclassified ones at the end.
const SHOWN: usize = 10;

/// Outputs shown as numbers, where they are no classes.
const NUMBERS: usize = 3;

/// One input with its answers.
struct Shown {
    picture: Option<Picture>,
    label: Option<usize>,
    private: Vec<f64>,
    plaintext: Vec<f64>,
    named: [usize; 2],
    apart: f64,
}

/// What the terminal shows while the demonstration runs.
#[derive(Default)]
pub(super) struct View {
    quiet: bool,
    colour: bool,
    classes: Option<Vec<String>>,
    /// The user gave the names, so the data's are not taken.
    named: bool,
    tells_classes: bool,
    bar: Option<ProgressBar>,
    seen: usize,
    row: Vec<Shown>,
    wrong: Vec<Shown>,
}

impl View {
    /// A view that shows nothing when `quiet`, and pictures in colour with `colour`.
    pub(super) fn new(quiet: bool, colour: bool) -> Self {
        View { quiet, colour, ..View::default() }
    }

    /// Shows classes by these names.
    pub(super) fn name_classes(&mut self, names: Vec<String>) {
        self.classes = Some(names);
        self.named = true;
    }

    /// Takes in what the demonstration tells.
    pub(super) fn show(&mut self, progress: Progress) {
        match progress {
            Progress::Found { source, classes, tells_classes, notes } => {
                if !self.quiet {
                    let what = if tells_classes { "to classify" } else { "inputs" };
                    output::line(format_args!("{what}: {source}"));
                    notes.iter().for_each(|note| output::line(format_args!("note: {note}")));
                }
                self.tells_classes = tells_classes;
                if !self.named {
                    self.classes = classes;
                }
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
            Progress::Loaded { elapsed, samples, public } => {
                if !self.quiet {
                    let what = match public {
                        true => "all roles know the weights; the model is in use after",
                        false => "model masked, tagged and checked at all parties in",
                    };
                    output::line(format_args!("{what} {:.0} ms\n", elapsed.as_secs_f64() * 1e3));
                }
                if samples > SHOWN {
                    self.start(ProgressBar::new(samples as u64), "{bar:40} {pos}/{len} inputs, {elapsed}");
                }
            }
            Progress::Cheated { result } => {
                if !self.quiet {
                    output::line(format_args!("the last party deviated from the protocol: {result}\n"));
                }
            }
            Progress::Classified { picture, label, private, plaintext, named, apart, .. } => {
                self.seen += 1;
                if let Some(bar) = &self.bar {
                    bar.inc(1);
                }
                let shown = Shown { picture, label, private, plaintext, named, apart };
                if self.seen <= SHOWN {
                    self.add(shown);
                } else if self.is_wrong(&shown) && self.wrong.len() < SHOWN {
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
            Some(bar) => bar.suspend(|| output::as_it_is(line)),
            None => output::as_it_is(line),
        }
    }

    fn class(&self, class: usize) -> String {
        let name = self.classes.as_ref().and_then(|classes| classes.get(class));
        name.map_or_else(|| class.to_string(), |name| visible(name).into_owned())
    }

    /// Only colour pictures are shown in colour.
    fn coloured(&self, picture: &Picture) -> bool {
        self.colour && picture.channels == 3
    }

    /// Whether an answer is not the label, or not that in plain text.
    fn is_wrong(&self, shown: &Shown) -> bool {
        let [private, plaintext] = shown.named;
        self.tells_classes && (shown.label.is_some_and(|label| label != private) || private != plaintext)
    }

    /// What stands below an input.
    fn captions(&self, shown: &Shown) -> [String; 2] {
        let Shown { label, private, plaintext, named, apart, .. } = shown;
        if self.tells_classes {
            let [private, plaintext] = *named;
            let mark = if label.is_none_or(|label| label == plaintext) { "" } else { " (!)" };
            return [
                format!("private: {}", self.class(private)),
                format!("plain: {}{mark}", self.class(plaintext)),
            ];
        }
        if private.len() <= NUMBERS {
            let list =
                |outputs: &[f64]| outputs.iter().map(|x| format!("{x:.4}")).collect::<Vec<_>>().join(", ");
            return [format!("private: {}", list(private)), format!("plain: {}", list(plaintext))];
        }
        let error = percent(*apart);
        [format!("{} outputs", private.len()), format!("error: {error}")]
    }

    fn width(&self, shown: &Shown) -> usize {
        let picture = shown.picture.as_ref().map_or(0, |picture| picture.width(self.coloured(picture)));
        self.captions(shown).iter().map(|c| c.chars().count()).fold(picture, usize::max)
    }

    /// Puts an input into the row, in a new one when it is full.
    fn add(&mut self, shown: Shown) {
        let used: usize = self.row.iter().map(|s| self.width(s) + 1).sum();
        if used + self.width(&shown) > output::columns() {
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

    /// Shows what is left.
    pub(super) fn finish(&mut self) {
        self.print_row();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let wrong = std::mem::take(&mut self.wrong);
        if !self.quiet && !wrong.is_empty() {
            output::line(format_args!(
                "not as labelled, or not as in plain text, among the {} others:\n",
                self.seen - SHOWN
            ));
            wrong.into_iter().for_each(|shown| self.add(shown));
            self.print_row();
        }
    }
}
