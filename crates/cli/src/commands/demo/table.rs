//! The table at the end of a demonstration, and what it means.

use super::super::output::{self, Table};
use amicus::report::{bytes, weights};
use amicus_cli::demo::DemoReport;
use amicus_model::escapes::Escapes;
use amicus_model::measure::{count_of, percent};

/// Prints everything that was measured.
pub(super) fn print(report: &DemoReport) {
    let unknown = || "unknown".to_owned();
    let mut table = Table::new();
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("model", format!("{}, {} limb(s) of 52 bits", report.model, report.limbs));
    row("weights", weights(report.public_weights));
    row("parties", format!("{} + helper, batch {}, network {}", report.parties, report.batch, report.net));
    if let Some(cheat) = &report.cheat {
        row("the last party", format!("cheated: {cheat}"));
    }
    row("check", report.check.clone());
    if let Some(recovered) = report.recovered {
        row("honest run afterwards", if recovered { "worked" } else { "failed" }.to_owned());
    }
    if report.accepted() {
        answers(report, &mut row);
        if let Some(noticed) = &report.noticed {
            row("told of values outside", count_of(noticed.len(), report.samples));
        }
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
    table.print();
    report.notes.iter().for_each(|note| output::line(format_args!("note: {note}")));
    report
        .missed_targets
        .iter()
        .for_each(|missed| output::line(format_args!("warning: compiled although {missed}")));
    for line in report.escapes.iter().flat_map(Escapes::meaning) {
        output::line(format_args!("outside: {line}"));
    }
}

/// How private answers compare with those in plain text, and what causes the difference.
fn answers(report: &DemoReport, row: &mut impl FnMut(&str, String)) {
    let exact = report.polynomials_error.is_none_or(|e| e.max == 0.0);
    let count = |n: usize| count_of(n, report.samples);
    if report.tells_classes {
        let labelled = |n: Option<usize>| n.map_or("no labels".to_owned(), |n| count_of(n, report.labelled));
        row("as labelled, private", labelled(report.correct));
        row("as labelled, plain text", labelled(report.plaintext_correct));
        if !exact {
            row("as labelled, polynomials", labelled(report.polynomial_correct));
        }
        report.agree_plaintext.into_iter().for_each(|n| row("private = plain text", count(n)));
        if !exact {
            report.agree_polynomial.into_iter().for_each(|n| row("private = polynomials", count(n)));
        }
        report.agree.into_iter().for_each(|n| row("private = integer simulator", count(n)));
    } else {
        row("outputs", "no classes, so errors are all there is to compare".to_owned());
    }
    let figures = |median: f64, max: f64| format!("median {}, largest {}", percent(median), percent(max));
    if let Some((median, max)) = report.relative_error.zip(report.relative_error_max) {
        row("error against plain text", figures(median, max));
    }
    if !exact {
        for (name, error) in [
            ("  of polynomials", report.polynomials_error),
            ("  of the fixed point", report.fixed_point_error),
        ] {
            error.into_iter().for_each(|e| row(name, figures(e.median, e.max)));
        }
    }
    if !report.tells_classes {
        report.simulator_error_max.into_iter().for_each(|e| {
            row("error against the simulator", format!("largest {}", percent(e)));
        });
    }
}
