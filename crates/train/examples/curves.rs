//! Learning curves of `amicus-train` runs in one picture, as `docs/training` has them.
//!
//! `cargo run --release -p amicus-train --features plot --example curves -- OUT.svg NAME=RUN.csv ..`
//! draws accuracy on the images held out and, where a run has an interval, the largest |t| / B.

use amicus_train::plot::{self, Chart, Line};
use std::error::Error;
use std::path::Path;

/// One run: its name, and a row an epoch by column.
struct Run {
    name: String,
    columns: Vec<String>,
    rows: Vec<Vec<f64>>,
}

impl Run {
    fn read(argument: &str) -> Result<Self, Box<dyn Error>> {
        let (name, path) = argument.split_once('=').ok_or(format!("{argument}: expected NAME=RUN.csv"))?;
        let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
        let mut lines = text.lines();
        let columns: Vec<String> = lines.next().unwrap_or_default().split(',').map(str::to_owned).collect();
        let row = |line: &str| line.split(',').map(str::parse).collect::<Result<Vec<f64>, _>>();
        let rows = lines.map(row).collect::<Result<Vec<_>, _>>().map_err(|e| format!("{path}: {e}"))?;
        if rows.is_empty() || rows.iter().any(|row| row.len() != columns.len()) {
            return Err(format!("{path}: no table of epochs").into());
        }
        Ok(Run { name: name.to_owned(), columns, rows })
    }

    fn line(&self, column: &str, factor: f64) -> Result<Line, Box<dyn Error>> {
        let place = |name: &str| self.columns.iter().position(|c| c == name);
        let (x, y) = place("epoch").zip(place(column)).ok_or(format!("{}: no column {column}", self.name))?;
        Ok(Line {
            name: self.name.clone(),
            points: self.rows.iter().map(|r| (r[x], factor * r[y])).collect(),
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out, runs @ ..] = &arguments[..] else { return Err("usage: curves OUT.svg NAME=RUN.csv ..".into()) };
    let runs = runs.iter().map(|argument| Run::read(argument)).collect::<Result<Vec<_>, _>>()?;
    let chart = |vertical: &str, logarithmic: bool, lines: Vec<Line>| Chart {
        title: String::new(),
        horizontal: "epoch".to_owned(),
        vertical: vertical.to_owned(),
        logarithmic,
        lines,
    };
    let accuracies = runs.iter().map(|run| run.line("validation", 100.0)).collect::<Result<_, _>>()?;
    let mut charts = vec![chart("accuracy on images held out, %", false, accuracies)];
    let mut ranges = runs.iter().map(|run| run.line("largest", 1.0)).collect::<Result<Vec<_>, _>>()?;
    // A network of ReLUs has no interval; its line stays, empty, so that colours mean the same in
    // both charts.
    ranges.iter_mut().for_each(|line| line.points.retain(|p| p.1 > 0.0));
    if ranges.iter().any(|line| !line.points.is_empty()) {
        // A few epochs far outside must not hide all others.
        charts.push(chart("largest |t| / B", true, ranges));
    }
    plot::write(Path::new(out), &charts)?;
    Ok(())
}
