//! Names of the file as they may be printed.

/// A text with everything that a terminal would act on, or not show, written out: control
/// characters, marks that turn the direction of writing, spaces of no width.
pub(super) fn visible(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if acts(c) {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
        out
    })
}

fn acts(c: char) -> bool {
    let unseen =
        ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{206f}', '\u{fff9}'..='\u{fffb}'];
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{feff}')
        || unseen.iter().any(|range| range.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_written_out() {
        assert_eq!(visible("\u{1b}[2J red\n\u{7}"), "\\u{1b}[2J red\\n\\u{7}");
        assert_eq!(visible("a\u{202e}b\u{200b}c\u{9b}d"), "a\\u{202e}b\\u{200b}c\\u{9b}d");
        assert_eq!(visible("/layer.1/Größe 畳み込み"), "/layer.1/Größe 畳み込み");
    }
}
