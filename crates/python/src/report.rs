//! What the library says of a network, as Python shows it.

use amicus::report::{Block, Table, Text, visible};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use serde::Serialize;

/// A report: its data as JSON, and its text as the command line prints it.
#[pyclass(frozen, module = "amicus._native")]
pub(crate) struct Report {
    #[pyo3(get)]
    json: String,
    text: Text,
}

impl Report {
    /// A report for machines and for people.
    pub(crate) fn new(data: &impl Serialize, text: Text) -> PyResult<Self> {
        let json = serde_json::to_string(data).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        Ok(Report { json, text })
    }
}

#[pymethods]
impl Report {
    /// The text with so many characters in a line.
    fn text(&self, columns: usize) -> String {
        self.text.shown(columns)
    }

    /// The text as HTML.
    fn html(&self) -> String {
        let blocks = self.text.blocks.iter().map(|block| match block {
            Block::Lines(text) | Block::Whole(text) => format!("<pre>{}</pre>", escaped(text)),
            Block::Table(table) => html_of(table),
        });
        format!("<div class=\"amicus-report\">{}</div>", blocks.collect::<String>())
    }
}

fn html_of(table: &Table) -> String {
    let row = |cells: &[String], tag: &str| {
        let cells = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)));
        format!("<tr>{}</tr>", cells.collect::<String>())
    };
    let header = table.header.as_deref().map(|cells| format!("<thead>{}</thead>", row(cells, "th")));
    let rows: String = table.rows.iter().map(|cells| row(cells, "td")).collect();
    format!("<table>{}<tbody>{rows}</tbody></table>", header.unwrap_or_default())
}

/// Text that HTML takes as it is: names come from files that others made.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let lines: Vec<_> = text.lines().map(visible).collect();
    for character in lines.join("\n").chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
