//! The table of mutants for people, kept in docs/security.md between two marks.

use crate::catalogue::Catalogue;
use anyhow::{Context, Result};

const BEGIN: &str = "<!-- written by `cargo xtask mutants --markdown` -->\n";
const END: &str = "<!-- end of the table of mutants -->\n";

/// A page with the present table in place of the one it has.
pub(crate) fn replaced(page: &str, catalogue: &Catalogue) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("the page lacks {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("the page lacks {END}"))?;
    Ok([before, BEGIN, &table(catalogue), END, after].concat())
}

fn table(catalogue: &Catalogue) -> String {
    let mut out = format!("\n{} mutants.\n", catalogue.mutants.len());
    let mut mutants = catalogue.mutants.iter();
    for chapter in &catalogue.chapters {
        out.push_str(&format!(
            "\n**{}**\n\n| mutant | what is lost | killed by |\n| --- | --- | --- |\n",
            chapter.title
        ));
        for mutant in mutants.by_ref().take(chapter.count) {
            let (name, lost, test) = (&mutant.name, &mutant.destroys, &mutant.killed_by);
            out.push_str(&format!("| `{name}` | {lost} | `{test}` |\n"));
        }
    }
    out.push('\n');
    out
}
