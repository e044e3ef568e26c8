//! How commands write: lines that fit the terminal, no raw control characters, a quiet end when
//! nobody reads any more.
//!
//! Everything a command prints goes through here. Names come from files that others made, so
//! control characters are shown as text; a closed pipe ends the program at once, without a message,
//! with its temporary folders removed.

use amicus_cli::interrupt::end;
use amicus_plan::printable::is_printable;
use comfy_table::{ContentArrangement, presets};
use serde::Serialize;
use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal, Write};

/// Columns where neither the environment nor a terminal says how many there are.
const COLUMNS: usize = 80;
/// Fewest and most columns that lines are broken for: narrower tables cannot be read, wider lines
/// are hard to.
const SENSIBLE: std::ops::RangeInclusive<usize> = 40..=120;

/// Characters in a line of standard output: what `COLUMNS` says, or the terminal, or 80.
pub(crate) fn columns() -> usize {
    let set = std::env::var("COLUMNS").ok().and_then(|columns| columns.trim().parse().ok());
    let terminal = || {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        (size.ws_col > 0).then_some(usize::from(size.ws_col))
    };
    set.or_else(terminal).unwrap_or(COLUMNS).clamp(*SENSIBLE.start(), *SENSIBLE.end())
}

/// Writes one paragraph, broken into lines that fit; words longer than a line stay whole.
pub(crate) fn line(text: impl Display) {
    let text = text.to_string();
    let broken: Vec<String> = text.lines().map(|line| wrapped(&visible(line), columns())).collect();
    write(&broken.join("\n"));
}

/// Writes one line as it is: pictures, whose colours are control characters, and lines that were
/// broken before.
pub(crate) fn as_it_is(text: &str) {
    write(text);
}

/// Writes a value as one JSON object. Characters that would steer a terminal are escaped in it too.
pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    // Outside of strings JSON has no such characters, so each can be replaced where it stands.
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            c if c != '\n' && steers(c) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    write!(escaped, "\\u{unit:04x}")?;
                }
            }
            c => escaped.push(c),
        }
    }
    write(&escaped);
    Ok(())
}

/// Writes a line to standard error, broken only for a terminal. Nobody reading it is no reason to
/// stop.
pub(crate) fn note(text: impl Display) {
    let text = text.to_string();
    let terminal = io::stderr().is_terminal();
    let lines = text.lines().map(|line| {
        let line = visible(line);
        if terminal { wrapped(&line, columns()) } else { line.into_owned() }
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let _ = writeln!(io::stderr(), "{text}");
}

/// Text with every character that would steer a terminal shown as an escape.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if steers(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

fn steers(character: char) -> bool {
    !is_printable(character)
}

/// Breaks a line between words. Lines after the first are indented as the first one is, and by two
/// more.
fn wrapped(line: &str, columns: usize) -> String {
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

fn write(text: &str) {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => {}
        // Nobody reads on: what is left to do is of no use, as with `| head -1`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => end(0),
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: standard output: {error}");
            end(1)
        }
    }
}

/// A table as wide as the terminal at most; longer cells are broken.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// A table without a heading: names and values.
    pub(crate) fn new() -> Self {
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(columns()).unwrap_or(u16::MAX));
        Table(table)
    }

    /// A table with a heading.
    pub(crate) fn with_header<S: ToString>(header: impl IntoIterator<Item = S>) -> Self {
        let mut table = Self::new();
        table.0.set_header(header.into_iter().map(|name| name.to_string()));
        table
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.add_row(cells.into_iter().map(|cell| visible(&cell).into_owned()));
    }

    /// Writes it.
    pub(crate) fn print(&self) {
        as_it_is(&self.0.to_string());
    }
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
    }

    #[test]
    fn nothing_steers_the_terminal() {
        let name = "a\u{1b}[31m\u{202e}\u{9b}b\u{7f}\tü";
        assert_eq!(visible(name), "a\\u{1b}[31m\\u{202e}\\u{9b}b\\u{7f}\\tü");
        assert!(matches!(visible("conv1/Conv ü"), Cow::Borrowed(_)));
        let mut table = Table::new();
        table.row([name.to_owned(), "two\nlines".to_owned()]);
        assert!(!table.0.to_string().contains(['\u{1b}', '\u{202e}', '\u{9b}']));
        assert!(table.0.to_string().contains("two\\nlines"));
    }

    #[test]
    fn tables_fit() {
        let mut table = Table::with_header(["one", "two", "three"]);
        table.row(["a long name ".repeat(6), "and a value ".repeat(5), "and more ".repeat(9)]);
        let shown = table.0.to_string();
        assert!(shown.lines().all(|line| line.chars().count() <= columns()), "{shown}");
    }
}
