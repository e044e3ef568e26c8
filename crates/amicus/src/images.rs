//! Images of a user's as a plan takes them: from PNG, JPEG, `.npz` and `.f32` files and from folders
//! of them.

use crate::Plan;
use crate::files::read_image;
use amicus_data::DataError;
use amicus_data::npz::Npz;
use amicus_data::pictures;
use amicus_model::networks::PixelRule;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Most images of one command.
const MOST: usize = 1 << 20;
/// How far the ends of a plan's range may be from those of a rule for pixels: ranges go a little
/// beyond what a network was calibrated with.
const NEAR: f64 = 0.3;
/// Weights of red, green and blue in grey (ITU-R BT.601), as image libraries have them.
const GREY: [u32; 3] = [299, 587, 114];

/// One image.
#[derive(Debug)]
pub struct Image {
    /// The file, and the place in it where it holds several.
    pub name: String,
    /// What the network takes.
    pub numbers: Vec<f32>,
}

/// A rule for pixels, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pixels(PixelRule);

impl FromStr for Pixels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        PixelRule::parse(text)
            .map(Pixels)
            .ok_or_else(|| format!("`{text}` is neither pixel/255 nor pixel/127.5-1"))
    }
}

/// Why images cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file of a data set or of pixels.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file of numbers.
    #[error(transparent)]
    Numbers(#[from] crate::Error),
    /// What is wrong with a file or folder.
    #[error("{}: {problem}", amicus_plan::printable::visible(&path.display().to_string()))]
    Path {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

fn wrong(path: &Path, problem: impl Into<String>) -> ImageError {
    ImageError::Path { path: path.to_owned(), problem: problem.into() }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Pixels,
    Arrays,
    Numbers,
}

fn kind(path: &Path) -> Option<Kind> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "png" | "jpg" | "jpeg" => Some(Kind::Pixels),
        "npz" => Some(Kind::Arrays),
        "f32" => Some(Kind::Numbers),
        _ => None,
    }
}

/// Reads images from files and folders, in the order given; a folder's files by name.
///
/// # Errors
/// The first file that cannot be read or holds what the network does not take, by name; a folder
/// without images; no images at all.
pub fn read(paths: &[PathBuf], plan: &Plan, pixels: Option<Pixels>) -> Result<Vec<Image>, ImageError> {
    let mut images = Vec::new();
    for path in paths {
        if path.is_dir() {
            let files = files_of(path)?;
            for (file, kind) in &files {
                one(file, *kind, plan, pixels, &mut images)?;
            }
            if files.is_empty() {
                return Err(wrong(path, "there are no .png, .jpg, .jpeg, .npz or .f32 files in this folder"));
            }
        } else {
            let kind = kind(path)
                .ok_or_else(|| wrong(path, "give a .png, .jpg, .jpeg, .npz or .f32 file, or a folder"))?;
            one(path, kind, plan, pixels, &mut images)?;
        }
        if images.len() > MOST {
            return Err(wrong(path, format!("with it there are more than {MOST} images")));
        }
    }
    Ok(images)
}

fn files_of(folder: &Path) -> Result<Vec<(PathBuf, Kind)>, ImageError> {
    let system = |error: std::io::Error| wrong(folder, error.to_string());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(system)? {
        let path = entry.map_err(system)?.path();
        if let Some(kind) = kind(&path).filter(|_| path.is_file()) {
            files.push((path, kind));
        }
    }
    files.sort();
    Ok(files)
}

fn one(
    path: &Path,
    kind: Kind,
    plan: &Plan,
    pixels: Option<Pixels>,
    images: &mut Vec<Image>,
) -> Result<(), ImageError> {
    let name = path.display().to_string();
    match kind {
        Kind::Numbers => {
            let numbers = read_image(path, plan)?;
            fits(plan, &numbers).map_err(|problem| wrong(path, problem))?;
            images.push(Image { name, numbers });
        }
        Kind::Pixels => {
            let numbers = from_pixels(path, plan, pixels)?;
            fits(plan, &numbers).map_err(|problem| wrong(path, problem))?;
            images.push(Image { name, numbers });
        }
        Kind::Arrays => {
            let bytes = std::fs::read(path).map_err(|error| wrong(path, error.to_string()))?;
            let x = Npz::parse(&name, &bytes)?.array("x")?;
            let each: usize = plan.input.shape.iter().product();
            let (count, rest) = x.shape.split_first().map_or((0, &[][..]), |(n, rest)| (*n, rest));
            let same = rest == plan.input.shape || rest == [each];
            if count == 0 || !same {
                let shape = &plan.input.shape;
                return Err(wrong(
                    path,
                    format!("array x has shape {:?}, expected [images] and {shape:?}", x.shape),
                ));
            }
            for (at, numbers) in x.values.chunks_exact(each).enumerate() {
                fits(plan, numbers).map_err(|problem| wrong(path, format!("image {at}: {problem}")))?;
                images.push(Image { name: format!("{name}[{at}]"), numbers: numbers.to_vec() });
            }
        }
    }
    Ok(())
}

/// Whether the network takes these numbers.
fn fits(plan: &Plan, numbers: &[f32]) -> Result<(), String> {
    amicus_plan::quantize_input(plan, numbers).map(drop).map_err(|error| error.to_string())
}

/// Pixels as the network takes them: channels first, grey where it has one.
fn from_pixels(path: &Path, plan: &Plan, pixels: Option<Pixels>) -> Result<Vec<f32>, ImageError> {
    let [channels @ (1 | 3), rows, columns] = plan.input.shape[..] else {
        let shape = &plan.input.shape;
        return Err(wrong(
            path,
            format!("the network takes no pixels but numbers of shape {shape:?}; give .npz or .f32 files"),
        ));
    };
    let rule = pixels.map(|pixels| pixels.0).or_else(|| rule_of(plan)).ok_or_else(|| {
        let range = plan.input.range;
        let rules = "give .npz or .f32 files, or --pixels";
        wrong(
            path,
            format!("how pixels become numbers from {} to {} is not known; {rules}", range.low, range.high),
        )
    })?;
    let colours = pictures::read(path, [rows, columns])?;
    let number = |pixel: u8| rule.number(pixel);
    let (pixels, _) = colours.as_chunks::<3>();
    if channels == 1 {
        let grey = |pixel: &[u8; 3]| {
            let sum: u32 = pixel.iter().zip(GREY).map(|(colour, weight)| u32::from(*colour) * weight).sum();
            number(((sum + 500) / 1000) as u8)
        };
        return Ok(pixels.iter().map(grey).collect());
    }
    Ok((0..3).flat_map(|channel| pixels.iter().map(move |pixel| number(pixel[channel]))).collect())
}

/// The rule whose numbers fill the plan's range, if one does.
fn rule_of(plan: &Plan) -> Option<PixelRule> {
    let range = plan.input.range;
    [PixelRule::Unit, PixelRule::Symmetric].into_iter().find(|rule| {
        let of_rule = rule.range();
        let beyond = [of_rule.start() - range.low, range.high - of_rule.end()];
        beyond.iter().all(|beyond| (0.0..=NEAR).contains(beyond))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_model::{CompileOptions, GraphBuilder, compile};
    use image::{ImageFormat, Rgb, RgbImage};

    /// A plan that takes images of 2 x 3 pixels, numbers in this range.
    fn plan(channels: usize, range: std::ops::RangeInclusive<f64>) -> Plan {
        let (low, high) = (*range.start() as f32, *range.end() as f32);
        let inputs = channels * 6;
        let mut graph = GraphBuilder::new("tiny", &[channels, 2, 3], range);
        let x = graph.input();
        let x = graph.flatten("flat", x);
        let x = graph.linear("first", x, 2, vec![0.1; 2 * inputs], None);
        let samples: Vec<Vec<f32>> =
            (0..8).map(|n| vec![low + (high - low) * n as f32 / 7.0; inputs]).collect();
        compile(&graph.finish(x).unwrap(), &samples, &CompileOptions::default()).unwrap().plan
    }

    fn picture() -> RgbImage {
        RgbImage::from_fn(3, 2, |column, row| Rgb([40 * column as u8, 100 * row as u8, 255]))
    }

    fn refused(path: &Path, plan: &Plan) -> String {
        read(&[path.to_owned()], plan, None).unwrap_err().to_string()
    }

    #[test]
    fn pixels_become_what_the_plan_takes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        picture().save_with_format(&path, ImageFormat::Png).unwrap();
        let colour = read(std::slice::from_ref(&path), &plan(3, 0.0..=1.0), None).unwrap();
        let near =
            |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6) && a.len() == b.len();
        let of = |number: u8| f32::from(number) / 255.0;
        // Channels first, rows within them.
        let red = [0, 40, 80, 0, 40, 80].map(of);
        let green = [0, 0, 0, 100, 100, 100].map(of);
        assert!(near(&colour[0].numbers, &[red, green, [1.0; 6]].concat()), "{:?}", colour[0].numbers);
        let symmetric = read(std::slice::from_ref(&path), &plan(3, -1.0..=1.0), None).unwrap();
        assert!(near(&symmetric[0].numbers[..2], &[-1.0, 40.0 / 127.5 - 1.0]));
        let grey = read(std::slice::from_ref(&path), &plan(1, 0.0..=1.0), None).unwrap();
        // 0.114 * 255 = 29.07, and 0.299 * 40 more.
        assert!(near(&grey[0].numbers[..2], &[of(29), of(41)]), "{:?}", grey[0].numbers);
        // A range of neither rule needs a word.
        assert!(refused(&path, &plan(1, -2.0..=3.0)).contains("--pixels"));
        let told = read(&[path], &plan(1, -2.0..=3.0), Some("pixel/255".parse().unwrap())).unwrap();
        assert!(near(&told[0].numbers[..1], &[of(29)]));
        assert!("pixel".parse::<Pixels>().is_err());
    }

    #[test]
    fn folders_give_their_images_by_name_and_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (plan, at) = (plan(1, 0.0..=1.0), |name: &str| folder.path().join(name));
        for name in ["b.png", "a.PNG", "c.jpg"] {
            let format = if name.ends_with("jpg") { ImageFormat::Jpeg } else { ImageFormat::Png };
            picture().save_with_format(at(name), format).unwrap();
        }
        std::fs::write(at("readme.txt"), "none").unwrap();
        std::fs::write(at("d.f32"), [0.5f32.to_le_bytes(); 6].concat()).unwrap();
        let names: Vec<String> = read(&[folder.path().to_owned()], &plan, None)
            .unwrap()
            .into_iter()
            .map(|image| image.name)
            .collect();
        let ends = ["a.PNG", "b.png", "c.jpg", "d.f32"];
        assert!(
            names.len() == 4 && names.iter().zip(ends).all(|(name, end)| name.ends_with(end)),
            "{names:?}"
        );
        assert!(refused(&at("readme.txt"), &plan).contains("give a .png"));
        std::fs::write(at("d.f32"), [9.0f32.to_le_bytes(); 6].concat()).unwrap();
        assert!(refused(&at("d.f32"), &plan).contains("d.f32: "));
        std::fs::write(at("d.f32"), [0; 7]).unwrap();
        assert!(refused(&at("d.f32"), &plan).contains("has 7 bytes"));
        RgbImage::new(5, 5).save_with_format(at("e.png"), ImageFormat::Png).unwrap();
        assert!(refused(&at("e.png"), &plan).contains("5 x 5 pixels, expected 3 x 2"));
        std::fs::write(at("f.png"), b"\x89PNG\r\n\x1a\nno").unwrap();
        assert!(refused(&at("f.png"), &plan).contains("damaged image"));
        std::fs::write(at("g.npz"), "no archive").unwrap();
        assert!(refused(&at("g.npz"), &plan).contains("g.npz"));
        let empty = at("empty");
        std::fs::create_dir(&empty).unwrap();
        assert!(refused(&empty, &plan).contains("no .png"));
    }
}
