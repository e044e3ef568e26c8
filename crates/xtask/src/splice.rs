//! Planting mutants into source text: each old text becomes a choice, by an environment variable,
//! between old and new.
//!
//! So one build holds all mutants, each asleep until a test runs with its name in [`VARIABLE`]. An
//! old text that ends with a semicolon is taken for statements, any other for an expression.

use anyhow::{Result, bail};
use std::ops::Range;

/// Holds the name of the mutant that is awake.
pub(crate) const VARIABLE: &str = "AMICUS_MUTANT";

/// One change of one text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edit<'a> {
    /// The mutant it belongs to.
    pub(crate) mutant: &'a str,
    /// The old text is the first one after this text; without it, the only one.
    pub(crate) after: Option<&'a str>,
    /// The old text; white space matches any white space.
    pub(crate) old: &'a str,
    /// What stands there instead.
    pub(crate) new: &'a str,
}

struct Planted<'a> {
    range: Range<usize>,
    edit: &'a Edit<'a>,
}

/// The text with all changes planted. Changes may be in the same place, or one inside the old text
/// of another.
pub(crate) fn planted(text: &str, edits: &[Edit<'_>]) -> Result<String> {
    let place = |edit| Ok(Planted { range: find(text, edit)?, edit });
    let mut planted = edits.iter().map(place).collect::<Result<Vec<_>>>()?;
    planted.sort_by_key(|p| (p.range.start, usize::MAX - p.range.end));
    render(text, 0..text.len(), &planted)
}

fn render(text: &str, whole: Range<usize>, mut planted: &[Planted<'_>]) -> Result<String> {
    let (mut out, mut at) = (String::new(), whole.start);
    while let Some(first) = planted.first() {
        let range = first.range.clone();
        let same = planted.iter().take_while(|p| p.range == range).count();
        let inside = planted[same..].iter().take_while(|p| p.range.start < range.end).count();
        let (here, rest) = planted.split_at(same + inside);
        if let Some(across) = here.iter().find(|p| p.range.end > range.end) {
            bail!("{} and {} overlap", first.edit.mutant, across.edit.mutant);
        }
        let old = render(text, range.clone(), &here[same..])?;
        out.push_str(&text[at..range.start]);
        out.push_str(&choice(&old, &here[..same]));
        (at, planted) = (range.end, rest);
    }
    out.push_str(&text[at..whole.end]);
    Ok(out)
}

fn choice(old: &str, planted: &[Planted<'_>]) -> String {
    let mut out = String::new();
    for Planted { edit, .. } in planted {
        let awake = format!("::std::env::var_os({VARIABLE:?}).is_some_and(|m| m == {:?})", edit.mutant);
        out.push_str(&format!("if {awake} {{ {} }} else ", edit.new));
    }
    out.push_str(&format!("{{ {old} }}"));
    if old.ends_with(';') { out } else { format!("({out})") }
}

/// Where an edit's old text is.
fn find(text: &str, edit: &Edit<'_>) -> Result<Range<usize>> {
    let name = edit.mutant;
    let start = match edit.after {
        None => 0,
        Some(after) => match matches(text, after, 0).as_slice() {
            [only] => only.end,
            found => bail!("{name}: {after:?} is there {} times", found.len()),
        },
    };
    match (matches(text, edit.old, start).as_slice(), edit.after) {
        ([], _) => bail!("{name}: {:?} is not there any more", edit.old),
        ([first], _) | ([first, ..], Some(_)) => Ok(first.clone()),
        (found, None) => bail!("{name}: {:?} is there {} times", edit.old, found.len()),
    }
}

/// All places from `start` on where a text is, whatever the white space between its words.
fn matches(text: &str, pattern: &str, start: usize) -> Vec<Range<usize>> {
    let words: Vec<&str> = pattern.split_whitespace().collect();
    let Some((first, others)) = words.split_first() else { return Vec::new() };
    let mut found = Vec::new();
    let mut from = start;
    while let Some(at) = text[from..].find(first).map(|at| from + at) {
        let mut end = Some(at + first.len());
        for word in others {
            end = end.and_then(|end| {
                let rest = text[end..].trim_start();
                let spaces = text.len() - end - rest.len();
                (spaces > 0 && rest.starts_with(word)).then_some(end + spaces + word.len())
            });
        }
        from = end.unwrap_or(at + first.len());
        found.extend(end.map(|end| at..end));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit<'a>(mutant: &'a str, old: &'a str, new: &'a str) -> Edit<'a> {
        Edit { mutant, after: None, old, new }
    }

    const AWAKE: &str = "::std::env::var_os(\"AMICUS_MUTANT\").is_some_and(|m| m == ";

    #[test]
    fn expressions_and_statements_become_choices() {
        let text = "let x = a +\n    b;\nf(x);\n";
        let out = planted(text, &[edit("m", "a + b", "0"), edit("n", "f(x);", "")]).unwrap();
        let expected = format!(
            "let x = (if {AWAKE}\"m\") {{ 0 }} else {{ a +\n    b }});\nif {AWAKE}\"n\") {{  }} else {{ f(x); }}\n"
        );
        assert_eq!(out, expected);
    }

    #[test]
    fn places_may_be_shared_and_nested() {
        let out = planted("a + b", &[edit("x", "b", "1"), edit("y", "a + b", "2"), edit("z", "b", "3")]);
        let inner = format!("(if {AWAKE}\"x\") {{ 1 }} else if {AWAKE}\"z\") {{ 3 }} else {{ b }})");
        assert_eq!(out.unwrap(), format!("(if {AWAKE}\"y\") {{ 2 }} else {{ a + {inner} }})"));
        let across = planted("a + b + c", &[edit("x", "a + b", "1"), edit("y", "b + c", "2")]);
        assert!(across.unwrap_err().to_string().contains("overlap"));
    }

    #[test]
    fn old_texts_must_be_found_once() {
        let fails = |edit| planted("f(); g(); f();", &[edit]).unwrap_err().to_string();
        assert!(fails(edit("m", "h();", "")).contains("not there any more"));
        assert!(fails(edit("m", "f();", "")).contains("2 times"));
        assert!(fails(edit("m", "f(); f();", "")).contains("not there any more"));
        let after = |after| Edit { after: Some(after), ..edit("m", "f();", "") };
        assert!(fails(after("f();")).contains("2 times"));
        assert!(planted("f(); g(); f();", &[after("g();")]).unwrap().starts_with("f(); g(); if"));
    }
}
