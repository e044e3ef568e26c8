//! What the library says of networks, for people: lines and tables, which a terminal and a notebook
//! show each in its own way. What there is for machines is [`serde::Serialize`].

mod check;
mod comparison;
mod compilation;
mod estimate;

pub use check::{Checked, Structure};
pub use comparison::comparison;
pub use compilation::{Compiled, Cost};
pub use estimate::{Estimated, Memory, Operation, StatedRates, weights};

use amicus_plan::printable::is_printable;
use comfy_table::{ContentArrangement, presets};
use std::borrow::Cow;
use std::fmt::Display;

/// Lines and tables, one below the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    /// From the top.
    pub blocks: Vec<Block>,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// Lines that are broken where they are too long.
    Lines(String),
    /// A line that is shown as it is, to be copied.
    Whole(String),
    /// Rows of cells.
    Table(Table),
}

/// Rows of cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What the columns are; none for names and values.
    pub header: Option<Vec<String>>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of names and values.
    pub fn new() -> Self {
        Table { header: None, rows: Vec::new() }
    }

    /// A table with a heading.
    pub fn with_header<S: ToString>(header: impl IntoIterator<Item = S>) -> Self {
        let header = header.into_iter().map(|name| name.to_string()).collect();
        Table { header: Some(header), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table with so many characters in a line at most; longer cells are broken.
    pub fn shown(&self, columns: usize) -> String {
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(columns).unwrap_or(u16::MAX));
        if let Some(header) = &self.header {
            table.set_header(header.iter().map(|cell| visible(cell)));
        }
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| visible(cell)));
        }
        table.to_string()
    }
}

impl Default for Table {
    fn default() -> Self {
        Table::new()
    }
}

impl Text {
    /// Adds lines.
    pub fn line(&mut self, text: impl Display) {
        self.blocks.push(Block::Lines(text.to_string()));
    }

    /// Adds a table.
    pub fn table(&mut self, table: Table) {
        self.blocks.push(Block::Table(table));
    }

    /// Adds all of another text.
    pub fn add(&mut self, other: Text) {
        self.blocks.extend(other.blocks);
    }

    /// The text with so many characters in a line where that is possible. Nothing in it steers a
    /// terminal.
    pub fn shown(&self, columns: usize) -> String {
        let block = |block: &Block| match block {
            Block::Lines(text) => wrapped(text, columns),
            Block::Whole(text) => visible(text).into_owned(),
            Block::Table(table) => table.shown(columns),
        };
        self.blocks.iter().map(block).collect::<Vec<_>>().join("\n")
    }
}

/// A size for people.
pub fn bytes(b: u64) -> String {
    match b {
        b if b >= 1_000_000_000 => format!("{:.2} GB", b as f64 / 1e9),
        b if b >= 1_000_000 => format!("{:.2} MB", b as f64 / 1e6),
        b => format!("{:.1} kB", b as f64 / 1e3),
    }
}

/// Text with every character that would steer a terminal shown as an escape.
pub fn visible(text: &str) -> Cow<'_, str> {
    let steers = |character: char| !is_printable(character);
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if steers(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// Breaks lines between words; words longer than a line stay whole.
pub fn wrapped(text: &str, columns: usize) -> String {
    text.lines().map(|line| wrapped_line(&visible(line), columns)).collect::<Vec<_>>().join("\n")
}

/// Lines after the first are indented as the first one is, and by two more.
fn wrapped_line(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    let indent = line.len() - line.trim_start_matches(' ').len();
    let (mut out, mut used) = (" ".repeat(indent), indent);
    let mut first = true;
    for word in line.split_whitespace() {
        let width = word.chars().count();
        if !first && used + 1 + width > columns {
            out.push('\n');
            out.push_str(&" ".repeat(indent + 2));
            used = indent + 2;
        } else if !first {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += width;
        first = false;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        let text = "  note: one two three four five six seven eight nine ten eleven twelve";
        let lines = wrapped(text, 40);
        assert!(lines.lines().all(|line| line.len() <= 40), "{lines}");
        assert!(lines.lines().skip(1).all(|line| line.starts_with("    ") && !line.starts_with("     ")));
        assert_eq!(lines.split_whitespace().collect::<Vec<_>>(), text.split_whitespace().collect::<Vec<_>>());
        let path = format!("wrote {}", "x".repeat(60));
        assert_eq!(wrapped(&path, 40), format!("wrote\n  {}", "x".repeat(60)));
        assert_eq!(wrapped("\none\n\ntwo", 40), "\none\n\ntwo");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        let name = "a\u{1b}[31m\u{202e}\u{9b}b\u{7f}\tü";
        assert_eq!(visible(name), "a\\u{1b}[31m\\u{202e}\\u{9b}b\\u{7f}\\tü");
        assert!(matches!(visible("conv1/Conv ü"), Cow::Borrowed(_)));
        let mut table = Table::new();
        table.row([name.to_owned(), "two\nlines".to_owned()]);
        let mut text = Text::default();
        text.line(name);
        text.blocks.push(Block::Whole(name.to_owned()));
        text.table(table);
        let shown = text.shown(80);
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{shown}");
        assert!(shown.contains("two\\nlines"), "{shown}");
    }

    #[test]
    fn tables_fit() {
        let mut table = Table::with_header(["one", "two", "three"]);
        table.row(["a long name ".repeat(6), "and a value ".repeat(5), "and more ".repeat(9)]);
        for columns in [40, 80, 120] {
            let shown = table.shown(columns);
            assert!(shown.lines().all(|line| line.chars().count() <= columns), "{shown}");
        }
    }
}
