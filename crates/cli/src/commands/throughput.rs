//! What `amicus bench --suite throughput` and `plaintext` show: a table, and files of it as Markdown,
//! JSON and SVG.

use super::output::{self, Table};
use amicus_cli::demo::Throughput;
use anyhow::Context;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

/// Colours of the roles' bars, told apart by brightness too.
const COLOURS: [&str; 8] =
    ["#1b4f72", "#aed6f1", "#7d6608", "#f7dc6f", "#145a32", "#a9dfbf", "#78281f", "#f1948a"];
/// Sizes in the picture, in pixels.
const LABEL: f64 = 250.0;
const BARS: f64 = 560.0;
const ROW: f64 = 28.0;

/// What is printed with `--json`.
#[derive(Serialize)]
pub(crate) struct Summary<'a> {
    suite: &'static str,
    runs: &'a [Throughput],
    version: &'static str,
}

impl<'a> Summary<'a> {
    pub(crate) fn of(suite: &'static str, runs: &'a [Throughput]) -> Self {
        Summary { suite, runs, version: env!("CARGO_PKG_VERSION") }
    }
}

/// Prints the table, phases summed over roles, and what the machine was.
pub(crate) fn print(rows: &[Throughput]) {
    output::line(setting(rows));
    // A terminal has no room for the roles; files and JSON do.
    let mut table = Table::with_header(head(&[]));
    rows.iter().for_each(|row| table.row(cells(&[], row)));
    table.print();
}

/// Writes the suite's `.md`, `.json` and `.svg` into a folder, made if need be.
pub(crate) fn write(folder: &Path, suite: &'static str, rows: &[Throughput]) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(&Summary::of(suite, rows))?;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (name, text) in [("md", markdown(rows)), ("json", json), ("svg", picture(rows))] {
        let file = folder.join(format!("{suite}.{name}"));
        std::fs::write(&file, text).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Where private runs were made, which all share; runs in plain text name their own bar.
fn setting(rows: &[Throughput]) -> String {
    let Some(row) = rows.iter().find(|row| row.parties > 0) else {
        return "milliseconds of processor time for an image".to_owned();
    };
    let beside = match row.busy {
        0 => String::new(),
        n => format!(", beside {n} busy threads"),
    };
    format!(
        "{} parties, helper and client on {} cores, {} kernels{beside}; milliseconds of processor time for an image",
        row.parties, row.cores, row.kernel
    )
}

/// Roles with processor time in any run.
fn roles(rows: &[Throughput]) -> BTreeSet<&str> {
    rows.iter().flat_map(|row| row.cpu_ms.keys().map(String::as_str)).collect()
}

/// Processor time for an image of all roles in both phases, in milliseconds.
fn total(row: &Throughput) -> f64 {
    row.cpu_ms.values().sum()
}

fn head(rows: &[Throughput]) -> Vec<String> {
    let fixed = ["model", "batch", "images/s", "all", "dealing", "online"].map(str::to_owned);
    fixed.into_iter().chain(roles(rows).into_iter().map(str::to_owned)).collect()
}

fn cells(rows: &[Throughput], row: &Throughput) -> Vec<String> {
    let ms = |ms: f64| format!("{ms:.2}");
    let fixed = [
        row.model.clone(),
        row.batch.to_string(),
        format!("{:.1}", row.images_per_second),
        ms(total(row)),
        ms(row.phase_ms("dealing")),
        ms(row.phase_ms("online")),
    ];
    let of_role = |role: &str| row.cpu_ms.get(role).map_or_else(|| "-".to_owned(), |&value| ms(value));
    fixed.into_iter().chain(roles(rows).into_iter().map(of_role)).collect()
}

fn markdown(rows: &[Throughput]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let head = head(rows);
    let rule = format!("| {} |\n", vec!["---"; head.len()].join(" | "));
    let body: String = rows.iter().map(|row| line(cells(rows, row))).collect();
    format!("{}\n\n{}{rule}{body}", setting(rows), line(head))
}

/// A bar for each run, divided by role.
fn picture(rows: &[Throughput]) -> String {
    let roles: Vec<&str> = roles(rows).into_iter().collect();
    let most = rows.iter().map(total).fold(f64::MIN_POSITIVE, f64::max);
    let legend = ROW * (roles.len().div_ceil(4) as f64);
    let (width, height) = (LABEL + BARS + 90.0, ROW * (rows.len() as f64 + 2.0) + legend);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<title>Processor time for an image</title>\n<rect width=\"{width}\" height=\"{height}\" \
         fill=\"white\"/>\n"
    );
    let mut text = |x: f64, y: f64, text: &str| {
        let safe = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\">{safe}</text>");
    };
    text(8.0, 18.0, &setting(rows));
    for (i, role) in roles.iter().enumerate() {
        text(28.0 + 220.0 * (i % 4) as f64, ROW * (1.0 + (i / 4) as f64) + 18.0, role);
    }
    let top = |i: usize| ROW * (i as f64 + 1.5) + legend;
    for (i, row) in rows.iter().enumerate() {
        text(8.0, top(i) + 14.0, &format!("{}, batch {}", row.model, row.batch));
        let end = LABEL + BARS * total(row) / most;
        text(end + 6.0, top(i) + 14.0, &format!("{:.2} ms", total(row)));
    }
    let colour = |i: usize| COLOURS[i % COLOURS.len()];
    let mut bar = |x: f64, y: f64, width: f64, i: usize| {
        let colour = colour(i);
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"18\" fill=\"{colour}\"/>"
        );
    };
    for i in 0..roles.len() {
        bar(8.0 + 220.0 * (i % 4) as f64, ROW * (1.0 + (i / 4) as f64) + 5.0, 14.0, i);
    }
    for (row, y) in rows.iter().zip((0..).map(top)) {
        let mut x = LABEL;
        for (i, role) in roles.iter().enumerate() {
            let width = BARS * row.cpu_ms.get(*role).copied().unwrap_or(0.0) / most;
            bar(x, y, width, i);
            x += width;
        }
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_pictures_hold_every_run_and_role() {
        let run = |batch, dealing, online| Throughput {
            model: "a<b".into(),
            parties: 2,
            batch,
            inferences: 3,
            busy: 2,
            cores: 4,
            images_per_second: 10.0,
            cpu_ms: [("helper dealing".to_owned(), dealing), ("party 1 online".to_owned(), online)].into(),
            dealt_bytes: 100.0,
            kernel: "portable".into(),
        };
        let rows = [run(1, 3.0, 1.0), run(8, 1.0, 1.0)];
        let table = markdown(&rows);
        assert!(table.contains("beside 2 busy threads"), "{table}");
        assert!(table.contains("| a<b | 8 | 10.0 | 2.00 | 1.00 | 1.00 | 1.00 | 1.00 |"), "{table}");
        let plain = Throughput { cpu_ms: [("plain text".to_owned(), 2.0)].into(), ..run(1, 0.0, 0.0) };
        assert!(markdown(&[plain]).contains("| 2.00 | 0.00 | 0.00 | 2.00 |"));
        let picture = picture(&rows);
        assert!(picture.contains("a&lt;b, batch 8") && !picture.contains("a<b"), "{picture}");
        // Two roles in the legend, two in each bar, and the background.
        assert_eq!(picture.matches("<rect").count(), 7);
        let widths = |role: usize| {
            let colour = format!("fill=\"{}\"", COLOURS[role]);
            let of_bar = |line: &&str| line.contains(&colour) && !line.contains("width=\"14.0\"");
            picture.lines().filter(of_bar).map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(widths(0)[0].contains("width=\"420.0\"") && widths(0)[1].contains("width=\"140.0\""));
    }
}
