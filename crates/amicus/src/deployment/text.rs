//! From the text of a configuration file to what it says, and from its errors back to lines and keys.

use super::{DeploymentError, DeploymentProblem, Key};
use crate::Error;
use amicus_plan::Printable;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longest configuration file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a configuration file and has it checked.
///
/// # Errors
/// A file that cannot be read or is too long, is no TOML, lacks a key or has an unknown one, or does
/// not pass the check: with file, line and key.
pub fn read<T: DeserializeOwned>(
    path: &Path,
    check: impl Fn(&T) -> Result<(), DeploymentError>,
) -> Result<T, Error> {
    let whole = |problem| DeploymentError { file: None, line: None, key: None, problem };
    let system = |e: io::Error| {
        whole(match e.kind() {
            io::ErrorKind::NotFound => DeploymentProblem::Missing,
            _ => DeploymentProblem::System(e.to_string().as_str().into()),
        })
    };
    let parsed = || {
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(system)?;
        // Read no further than that, whatever the file says of its size.
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(system)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(whole(DeploymentProblem::TooLong { most: MAX_BYTES }));
        }
        let text = std::str::from_utf8(&bytes)
            .map_err(|e| whole(DeploymentProblem::Text(format!("it is no text: {e}").as_str().into())))?;
        parse(text, &check)
    };
    parsed().map_err(|mut error| {
        error.file = Some(path.to_owned());
        error.into()
    })
}

/// Takes a configuration from its text and has it checked.
///
/// # Errors
/// Those of [`read`], without a file.
pub fn parse<T: DeserializeOwned>(
    text: &str,
    check: impl Fn(&T) -> Result<(), DeploymentError>,
) -> Result<T, DeploymentError> {
    let configuration: T = toml::from_str(text).map_err(|error| {
        let start = error.span().map(|span| span.start);
        let at = start.and_then(|start| {
            let around = places(text).into_iter().filter(|place| place.span.contains(&start));
            around.min_by_key(|place| place.span.len())
        });
        DeploymentError {
            file: None,
            line: start.map(|start| line(text, start)),
            key: at.map(|place| place.key),
            problem: DeploymentProblem::Text(with_nearest(error.message()).as_str().into()),
        }
    })?;
    check(&configuration).map_err(|mut error| {
        let at = places(text).into_iter().find(|place| Some(&place.key) == error.key.as_ref());
        error.line = at.map(|place| line(text, place.span.start));
        error
    })?;
    Ok(configuration)
}

/// What serde says, and for an unknown key the nearest of those that it knows.
fn with_nearest(message: &str) -> String {
    let nearest = || {
        let (unknown, known) = message.strip_prefix("unknown field `")?.rsplit_once("`, expected ")?;
        // Names stand between backticks.
        let known = known.split('`').skip(1).step_by(2);
        let far = |name: &str| strsim::damerau_levenshtein(unknown, name);
        known.min_by_key(|name| far(name)).filter(|name| far(name) <= 1 + name.len() / 3)
    };
    match nearest() {
        Some(name) => format!("{message}; did you mean `{name}`?"),
        None => message.to_owned(),
    }
}

/// The line of a place in a text, counted from 1.
fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// Where a key stands, with its value.
struct Place {
    key: Key,
    span: Range<usize>,
}

/// Where every key of a text stands; none when it does not parse.
fn places(text: &str) -> Vec<Place> {
    let mut places = Vec::new();
    if let Ok(table) = DeTable::parse(text) {
        keys(table.get_ref(), "", &mut places);
    }
    places
}

fn keys(table: &DeTable<'_>, name: &str, places: &mut Vec<Place>) {
    for (key, value) in table {
        let own = key.get_ref().as_ref();
        // Cut, so that names of tables within tables do not add up.
        let inner = Printable::new(&if name.is_empty() { own.to_owned() } else { format!("{name} {own}") });
        let inner = inner.as_str();
        let span = key.span().start..value.span().end.max(key.span().end);
        match value.get_ref() {
            DeValue::Table(table) => {
                places.push(Place { key: Key { table: inner.into(), name: "".into() }, span });
                keys(table, inner, places);
            }
            DeValue::Array(values) => {
                places.push(Place { key: Key { table: name.into(), name: own.into() }, span });
                (1..).zip(values.iter()).for_each(|(number, value)| element(number, value, inner, places));
            }
            _ => places.push(Place { key: Key { table: name.into(), name: own.into() }, span }),
        }
    }
}

/// The keys of a table in an array, such as those of party 2.
fn element(number: usize, value: &Spanned<DeValue<'_>>, name: &str, places: &mut Vec<Place>) {
    if let DeValue::Table(table) = value.get_ref() {
        let inner = format!("{name} {number}");
        places.push(Place { key: Key { table: inner.as_str().into(), name: "".into() }, span: value.span() });
        keys(table, &inner, places);
    }
}
