//! The table at the end of a demonstration.

use super::super::files::bytes;
use super::super::output::Table;
use amicus::demo::DemoReport;
use amicus::model::measure::count_of;

/// Prints everything that was measured.
pub(super) fn print(report: &DemoReport) {
    let unknown = || "unknown".to_owned();
    let mut table = Table::new();
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
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
        let labelled = |n: Option<usize>| n.map_or("no labels".to_owned(), |n| count_of(n, report.labelled));
        row("as labelled, private", labelled(report.correct));
        row("as labelled, plain text", labelled(report.plaintext_correct));
        row("private = plain text", count_of(report.agree_plaintext, report.samples));
        row("private = integer simulator", count_of(report.agree, report.samples));
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
    table.print();
}
