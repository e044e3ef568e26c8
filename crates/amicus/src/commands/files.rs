//! What the commands for model files share: percentages, sizes, a progress bar.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::str::FromStr;

/// A share of one, written as `0.5%` or `0.005`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share(pub(super) f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let value = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().map(|p| p / 100.0),
            None => text.parse(),
        };
        value
            .ok()
            .filter(|v| *v > 0.0 && v.is_finite())
            .map(Share)
            .ok_or_else(|| format!("`{text}` is no share above 0, such as 0.5% or 0.005"))
    }
}

/// A shape, written as `3,32,32`.
#[derive(Clone, Debug)]
pub(super) struct Sizes(pub(super) Vec<usize>);

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sizes: Option<Vec<usize>> =
            text.split(',').map(|s| s.trim().parse().ok().filter(|&n| n > 0)).collect();
        sizes.map(Sizes).ok_or_else(|| format!("`{text}` is no shape such as 3,32,32"))
    }
}

/// A number of bytes, written as `4GiB`, `500MB` or plain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes(pub(super) u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [
            ("GiB", 1u64 << 30),
            ("MiB", 1 << 20),
            ("KiB", 1 << 10),
            ("GB", 1_000_000_000),
            ("MB", 1_000_000),
        ];
        let unit = units.iter().find_map(|(name, size)| text.strip_suffix(name).map(|n| (n, *size)));
        let (number, size) = unit.unwrap_or((text, 1));
        let value = number.trim().parse::<f64>().ok().filter(|v| *v >= 0.0 && v.is_finite());
        value
            .map(|v| Bytes((v * size as f64) as u64))
            .ok_or_else(|| format!("`{text}` is no size such as 4GiB"))
    }
}

/// A size for people.
pub(super) fn bytes(b: u64) -> String {
    match b {
        b if b >= 1_000_000_000 => format!("{:.2} GB", b as f64 / 1e9),
        b if b >= 1_000_000 => format!("{:.2} MB", b as f64 / 1e6),
        b => format!("{:.1} kB", b as f64 / 1e3),
    }
}

/// A progress bar on the terminal, if there is one.
pub(super) fn bar(len: usize, what: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(len as u64).with_message(what.to_owned());
    match ProgressStyle::with_template("{msg} {bar:40} {pos}/{len}, {elapsed}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read() {
        assert_eq!("0.5%".parse::<Share>().map(|s| s.0), Ok(0.005));
        assert_eq!("0.02".parse::<Share>().map(|s| s.0), Ok(0.02));
        assert!("-1%".parse::<Share>().is_err() && "much".parse::<Share>().is_err());
        assert_eq!("3,32,32".parse::<Sizes>().map(|s| s.0), Ok(vec![3, 32, 32]));
        assert!("3,0".parse::<Sizes>().is_err());
        assert_eq!("1.5GiB".parse::<Bytes>().map(|b| b.0), Ok(3 << 29));
        assert_eq!("12".parse::<Bytes>().map(|b| b.0), Ok(12));
    }
}
