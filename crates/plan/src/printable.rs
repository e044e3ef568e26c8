//! Text from somebody else, made fit for logs and terminals.
//!
//! Names of layers come from files, reasons and names of peers from messages. Printed as they are
//! they could move a terminal's cursor, hide what stands before them, or fill a disk.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest printable text in bytes; what is longer is cut and ends in [`CUT`].
pub const MAX_BYTES: usize = 256;
/// What stands at the end of text that was cut.
pub const CUT: &str = "…";

/// A short text without control characters.
///
/// Made from any string, by writing characters that are not printable as `\u{..}` and by cutting.
/// Its serialised form is the text; other text that is read is changed in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Printable(String);

impl Printable {
    /// A text as it may be printed.
    pub fn new(text: &str) -> Self {
        let mut out = String::new();
        for c in text.chars() {
            let start = out.len();
            if is_printable(c) {
                out.push(c)
            } else {
                out.extend(c.escape_unicode())
            }
            if out.len() > MAX_BYTES {
                out.truncate(start);
                return Printable(cut(out));
            }
        }
        Printable(out)
    }

    /// Whether a text is printable as it is.
    pub fn is(text: &str) -> bool {
        text.len() <= MAX_BYTES && text.chars().all(is_printable)
    }

    /// The text as a string.
    pub fn into_string(self) -> String {
        self.0
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Makes room for the mark at the end.
fn cut(mut text: String) -> String {
    while text.len() + CUT.len() > MAX_BYTES {
        text.pop();
    }
    text.push_str(CUT);
    text
}

/// Text of any length, with every character that is not printable written as an escape.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_printable(c) { out.push(c) } else { out.extend(c.escape_default()) }
    }
    out
}

/// Whether a terminal shows a character as it is: neither a control character nor one that changes
/// how others are shown, such as line and paragraph separators, marks that change the direction of
/// writing, and characters without width.
pub fn is_printable(c: char) -> bool {
    let invisible = matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    !c.is_control() && !invisible
}

impl From<String> for Printable {
    fn from(text: String) -> Self {
        if Printable::is(&text) { Printable(text) } else { Printable::new(&text) }
    }
}

impl From<&str> for Printable {
    fn from(text: &str) -> Self {
        Printable::new(text)
    }
}

impl fmt::Display for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(Printable::new("layer 1/conv é 漢").as_str(), "layer 1/conv é 漢");
        assert_eq!(Printable::new("a\x1b[2Jb\r\nc\0").as_str(), "a\\u{1b}[2Jb\\u{d}\\u{a}c\\u{0}");
        assert_eq!(Printable::new("\u{202e}x\u{2028}\u{feff}").as_str(), "\\u{202e}x\\u{2028}\\u{feff}");
        assert_eq!(Printable::new("\u{9b}31m").as_str(), "\\u{9b}31m");
    }

    #[test]
    fn text_of_any_length_becomes_visible() {
        assert_eq!(visible("\u{1b}[2J red\n\u{7}"), "\\u{1b}[2J red\\n\\u{7}");
        assert_eq!(visible("a\u{202e}b\u{200b}c\u{9b}d"), "a\\u{202e}b\\u{200b}c\\u{9b}d");
        assert_eq!(visible("/layer.1/Größe 畳み込み"), "/layer.1/Größe 畳み込み");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let whole = "漢".repeat(85) + "a";
        assert_eq!((whole.len(), Printable::new(&whole).as_str()), (MAX_BYTES, whole.as_str()));
        let longer = Printable::new(&(whole + "b"));
        assert_eq!(longer.as_str(), "漢".repeat(84) + CUT);
        // An escape is not cut in half in such a way that the text is too long.
        assert!(Printable::new(&("a".repeat(250) + "\u{10ffff}\u{1}\u{1}")).as_str().len() <= MAX_BYTES);
    }

    proptest! {
        #[test]
        fn any_text_becomes_printable_and_stays_as_it_is(text in "\\PC{0,200}|.{0,300}|[\\x00-\\x1f]{0,100}") {
            let once = Printable::new(&text);
            prop_assert!(Printable::is(once.as_str()), "{:?}", once);
            prop_assert_eq!(Printable::new(once.as_str()), once.clone());
            prop_assert_eq!(Printable::from(text.clone()), once.clone());
            if Printable::is(&text) {
                prop_assert_eq!(once.as_str(), text.as_str());
            }
        }
    }
}
