//! How commands write: lines that fit the terminal, no raw control characters, a quiet end when
//! nobody reads any more.
//!
//! Everything a command prints goes through here. Names come from files that others made, so
//! control characters are shown as text; a closed pipe ends the program at once, without a message,
//! with its temporary folders removed.

use amicus::report::{self, Text, visible, wrapped};
use amicus_cli::interrupt::end;
use amicus_plan::printable::is_printable;
use serde::Serialize;
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
    write(&wrapped(&text.to_string(), columns()));
}

/// Writes a report.
pub(crate) fn text(text: &Text) {
    write(&text.shown(columns()));
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

fn steers(character: char) -> bool {
    !is_printable(character)
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
pub(crate) struct Table(report::Table);

impl Table {
    /// A table without a heading: names and values.
    pub(crate) fn new() -> Self {
        Table(report::Table::new())
    }

    /// A table with a heading.
    pub(crate) fn with_header<S: ToString>(header: impl IntoIterator<Item = S>) -> Self {
        Table(report::Table::with_header(header))
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.row(cells);
    }

    /// Writes it.
    pub(crate) fn print(&self) {
        as_it_is(&self.0.shown(columns()));
    }
}
