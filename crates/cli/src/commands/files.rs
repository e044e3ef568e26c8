//! What the commands for model files share: percentages, sizes, where files go, a progress bar.

use amicus_cli::samples::Invalid;
use amicus_model::onnx::ImportOptions;
use amicus_model::private_file::Existing;
use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::Path;
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
        match value {
            Ok(v) if v > 0.0 && v <= 1.0 => Ok(Share(v)),
            Ok(v) if v > 1.0 && v.is_finite() && !text.ends_with('%') => {
                Err(format!("`{text}` would be {:.0}%; if percent is meant, write {text}%", 100.0 * v))
            }
            _ => Err(format!("`{text}` is no share above 0 and up to 100%, such as 0.5% or 0.005")),
        }
    }
}

/// What becomes of inputs that the model does not take.
#[derive(Clone, Copy, clap::Args)]
pub(super) struct InvalidArgs {
    /// Move numbers outside the model's input range to its nearest border.
    #[arg(long, conflicts_with = "skip_invalid")]
    clip: bool,
    /// Leave inputs with numbers outside that range, or that are no numbers, out.
    #[arg(long)]
    skip_invalid: bool,
}

impl From<InvalidArgs> for Invalid {
    fn from(args: InvalidArgs) -> Self {
        match args {
            InvalidArgs { clip: true, .. } => Invalid::Clip,
            InvalidArgs { skip_invalid: true, .. } => Invalid::Skip,
            InvalidArgs { .. } => Invalid::Refuse,
        }
    }
}

/// How an ONNX file is read.
#[derive(Clone, clap::Args)]
pub(super) struct ImportArgs {
    /// Shape of one image where the file leaves it open, for example 3,224,224.
    #[arg(long, value_name = "SHAPE")]
    input_shape: Option<Sizes>,
    /// Weights that the file may generate rather than hold, for example 1GiB.
    #[arg(long, value_name = "BYTES", default_value = "0")]
    generated_weights: Bytes,
    /// The output to compute, of a file with several [default: all of them].
    #[arg(long, value_name = "NAME")]
    output_name: Option<String>,
}

impl ImportArgs {
    pub(super) fn options(&self) -> ImportOptions {
        ImportOptions {
            input_shape: self.input_shape.as_ref().map(|sizes| sizes.0.clone()),
            generated_bytes: self.generated_weights.0,
            output: self.output_name.clone(),
        }
    }
}

/// Whether a file may be written: one that is there only with `force`, and never one of `inputs`,
/// by whatever name.
pub(super) fn destination(path: &Path, force: bool, inputs: &[&Path]) -> anyhow::Result<Existing> {
    let name = path.display();
    if path.is_dir() {
        bail!("{name} is a folder; give the name of a file");
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        bail!("{name}: there is no folder {}", folder.display());
    }
    for input in inputs {
        if same_file(path, input) {
            bail!(
                "{name} is {}, which this command reads: it is not replaced, not even with --force",
                input.display()
            );
        }
    }
    match (path.symlink_metadata().is_ok(), force) {
        (true, false) => bail!("{name} is there already; --force replaces it"),
        (true, true) => Ok(Existing::Replace),
        (false, _) => Ok(Existing::Keep),
    }
}

/// Whether two names lead to one file: symbolic links resolved, hard links too where the system
/// tells.
fn same_file(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    if let (Ok(a), Ok(b)) = (std::fs::metadata(a), std::fs::metadata(b)) {
        use std::os::unix::fs::MetadataExt;
        return (a.dev(), a.ino()) == (b.dev(), b.ino());
    }
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// A shape, written as `3,32,32`.
#[derive(Clone, Debug)]
pub(super) struct Sizes(Vec<usize>);

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
        assert_eq!("5%".parse::<Share>().map(|s| s.0), Ok(0.05));
        for text in ["-1%", "much", "0", "NaN", "inf", "500%", ""] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        let meant = "5".parse::<Share>().map(|s| s.0).unwrap_err();
        assert!(meant.contains("would be 500%; if percent is meant, write 5%"), "{meant}");
        assert_eq!("3,32,32".parse::<Sizes>().map(|s| s.0), Ok(vec![3, 32, 32]));
        assert!("3,0".parse::<Sizes>().is_err());
        assert_eq!("1.5GiB".parse::<Bytes>().map(|b| b.0), Ok(3 << 29));
        assert_eq!("12".parse::<Bytes>().map(|b| b.0), Ok(12));
    }

    #[test]
    fn files_are_replaced_with_leave_and_inputs_never() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("in"), b"in").unwrap();
        std::fs::write(at("old"), b"old").unwrap();
        let to = |name: &str, force| destination(&at(name), force, &[&at("in")]).map_err(|e| e.to_string());
        assert_eq!(to("new", false), Ok(Existing::Keep));
        assert!(to("old", false).unwrap_err().contains("--force replaces it"));
        assert_eq!(to("old", true), Ok(Existing::Replace));
        assert!(to("none/new", true).unwrap_err().contains("there is no folder"));
        assert!(to("", true).unwrap_err().contains("is a folder"));
        std::fs::hard_link(at("in"), at("hard")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(at("in"), at("soft")).unwrap();
        for name in ["in", "hard", "soft"] {
            assert!(to(name, true).unwrap_err().contains("which this command reads"), "{name}");
        }
    }
}
