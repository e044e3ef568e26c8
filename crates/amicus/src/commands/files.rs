//! What the commands for model files share: calibration data, percentages, a progress bar.

use amicus::model::npz::Npz;
use amicus::model::{ModelError, argmax};
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::Path;
use std::str::FromStr;

/// Images and, where the file has them, their classes.
pub(super) struct Samples {
    pub(super) images: Vec<Vec<f32>>,
    pub(super) labels: Option<Vec<usize>>,
}

/// Reads arrays `x` (`[samples, ...]`, each as large as `shape`) and, if there, `y` (a class, or scores, of each); the first
/// `limit` samples.
pub(super) fn samples(path: &Path, shape: &[usize], limit: Option<usize>) -> anyhow::Result<Samples> {
    let file = path.display().to_string();
    let bytes = std::fs::read(path).with_context(|| file.clone())?;
    let npz = Npz::parse(&file, &bytes)?;
    let x = npz.array("x")?;
    let each: usize = shape.iter().product();
    let (count, rest) = x.shape.split_first().map_or((0, &[][..]), |(n, rest)| (*n, rest));
    let same = rest == shape || (rest.iter().product::<usize>() == each && rest.len() == 1);
    if count == 0 || !same {
        bail!("{file}, array x: shape {:?}, expected [samples, {}]", x.shape, list(shape));
    }
    if let Some(at) = x.values.iter().position(|v| !v.is_finite()) {
        bail!("{file}, array x: sample {} holds {}", at / each, x.values[at]);
    }
    let take = limit.unwrap_or(count).min(count);
    let labels = match npz.find("y")? {
        None => None,
        Some(y) if y.shape == [count] => {
            let class = |&v: &f32| (v >= 0.0 && v.fract() == 0.0).then_some(v as usize);
            let classes: Option<Vec<usize>> = y.values.iter().take(take).map(class).collect();
            Some(classes.ok_or_else(|| ModelError::Data {
                what: format!("{file}, array y"),
                reason: "holds numbers that are no classes (0, 1, 2, ..)".to_owned(),
            })?)
        }
        // One score a class, as one-hot labels and the outputs of another model are.
        Some(y) if y.shape.len() == 2 && y.shape[0] == count && y.shape[1] > 0 => {
            let scores = y.values.chunks_exact(y.shape[1]).take(take);
            Some(scores.map(|s| argmax(&s.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>())).collect())
        }
        Some(y) => bail!("{file}, array y: shape {:?}, expected [{count}], one class a sample", y.shape),
    };
    let images = x.values.chunks_exact(each).take(take).map(<[f32]>::to_vec).collect();
    Ok(Samples { images, labels })
}

fn list(sizes: &[usize]) -> String {
    sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

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
