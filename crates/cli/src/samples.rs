//! Samples from NumPy's `.npz` files, as the commands take them.

use amicus_data::DataError;
use amicus_data::npz::{Array, Npz};
use amicus_model::Graph;
use amicus_model::compare::tells_classes;
use amicus_plan::Range;
use std::path::Path;

/// Samples that a note lists, at most.
const LISTED: usize = 10;

/// Images and, where the file has them, their classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// One network input each.
    pub images: Vec<Vec<f32>>,
    /// One class an image.
    pub labels: Option<Vec<usize>>,
    /// The place of every image in the file.
    pub places: Vec<usize>,
    /// What was skipped, clipped or not used, for people.
    pub notes: Vec<String>,
}

/// What becomes of samples that the network does not take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Invalid {
    /// The whole file is refused; the first such sample is named.
    #[default]
    Refuse,
    /// Numbers outside the range become its nearest border; what is no number is refused.
    Clip,
    /// They are left out.
    Skip,
}

/// How a file is read.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The network that takes the samples.
    pub network: &'a Graph,
    /// The range of its inputs, if it is known yet.
    pub range: Option<Range>,
    /// What becomes of samples outside.
    pub invalid: Invalid,
    /// Samples read, at most.
    pub limit: Option<usize>,
}

/// Reads arrays `x` (`[samples, ...]`, each of the size of the network's input) and, if there, `y`
/// (a class of each, as a number or one-hot).
///
/// # Errors
/// A file that cannot be read or is no `.npz` file; arrays of other shapes, numbers that are not
/// finite or out of range, labels that are no classes of the network: file, array, sample and
/// element are named.
pub fn samples(path: &Path, reading: Reading<'_>) -> Result<Samples, DataError> {
    let file = path.display().to_string();
    let error =
        |array: &str, reason: String| DataError::Format { file: format!("{file}{array}"), problem: reason };
    let Reading { network, range, invalid, limit } = reading;
    if limit == Some(0) {
        return Err(error("", "0 samples are asked for, at least 1 is needed".to_owned()));
    }
    let bytes = std::fs::read(path).map_err(|e| error("", e.to_string()))?;
    let npz = Npz::parse(&file, &bytes)?;
    let (x, shape) = (npz.array("x")?, network.given_shape());
    let each: usize = shape.iter().product();
    let (count, rest) = x.shape.split_first().map_or((0, &[][..]), |(n, rest)| (*n, rest));
    let same = rest == shape.as_slice() || (rest.iter().product::<usize>() == each && rest.len() == 1);
    if count == 0 || !same {
        let reason = format!("shape {:?}, expected [samples, {}]", x.shape, list(&shape));
        return Err(error(", array x", reason));
    }
    let take = limit.unwrap_or(count).min(count);
    let mut notes = Vec::new();
    let classes = tells_classes(network).then(|| network.node(network.output()).len());
    let labels = match (npz.find("y")?, classes) {
        (None, _) => None,
        (Some(_), None) => {
            notes.push("array y is not used: the network's outputs are no classes".to_owned());
            None
        }
        (Some(y), Some(classes)) => {
            let found = labels(&y, count, take, classes).map_err(|reason| error(", array y", reason))?;
            if let Err(reason) = &found {
                notes.push(format!("array y is not used: {reason}"));
            }
            found.ok()
        }
    };
    let mut kept = Samples {
        images: Vec::new(),
        labels: labels.as_ref().map(|_| Vec::new()),
        places: Vec::new(),
        notes,
    };
    let (mut skipped, mut clipped) = (Vec::new(), Vec::new());
    for (place, numbers) in x.values.chunks_exact(each).take(take).enumerate() {
        let mut image = numbers.to_vec();
        match (problem(&image, range), invalid) {
            (None, _) => {}
            (Some(what), Invalid::Skip) => {
                skipped.push(format!("{place} ({what})"));
                continue;
            }
            (Some(what), Invalid::Clip) if image.iter().all(|v| v.is_finite()) => {
                clipped.push(format!("{place} ({what})"));
                if let Some(Range { low, high }) = range {
                    image.iter_mut().for_each(|v| *v = v.clamp(low as f32, high as f32));
                }
            }
            (Some(what), Invalid::Refuse | Invalid::Clip) => {
                return Err(error(", array x", format!("sample {place}: {what}")));
            }
        }
        kept.images.push(network.arranged(image));
        kept.places.push(place);
        if let (Some(kept), Some(all)) = (&mut kept.labels, &labels) {
            kept.push(all[place]);
        }
    }
    for (what, samples) in [("skipped", skipped), ("clipped", clipped)] {
        if !samples.is_empty() {
            let more = if samples.len() > LISTED { ", .." } else { "" };
            let first = samples[..samples.len().min(LISTED)].join(", ");
            kept.notes.push(format!("{what} {} of {take} samples: {first}{more}", samples.len()));
        }
    }
    if kept.images.is_empty() {
        return Err(error(", array x", format!("all {take} samples are skipped: {}", kept.notes.join("; "))));
    }
    Ok(kept)
}

/// Why a network does not take an image.
fn problem(image: &[f32], range: Option<Range>) -> Option<String> {
    if let Some(at) = image.iter().position(|v| !v.is_finite()) {
        return Some(format!("element {at} is {}", image[at]));
    }
    let range = range?;
    let at = image.iter().position(|&v| range.hold(v).is_none())?;
    Some(format!("element {at} is {}, outside the model's {} to {}", image[at], range.low, range.high))
}

/// The first `take` of `count` labels, each below `classes`; inside, why there are none in an array
/// of scores.
fn labels(
    y: &Array,
    count: usize,
    take: usize,
    classes: usize,
) -> Result<Result<Vec<usize>, String>, String> {
    let class = |sample: usize, v: f32| {
        let whole = v >= 0.0 && v.fract() == 0.0;
        match whole.then_some(v as usize) {
            Some(class) if class < classes => Ok(class),
            Some(_) => {
                Err(format!("sample {sample} has label {v}, the network tells {classes} classes apart"))
            }
            None => Err(format!("sample {sample} has label {v}, which is no class (0, 1, 2, ..)")),
        }
    };
    // One number a sample, whether in a row or in a column.
    if y.values.len() == count && y.shape.first().is_none_or(|&n| n == count) {
        return y
            .values
            .iter()
            .take(take)
            .enumerate()
            .map(|(i, &v)| class(i, v))
            .collect::<Result<_, _>>()
            .map(Ok);
    }
    let each = y.values.len() / count.max(1);
    if y.shape.len() != 2 || y.shape[0] != count || each == 0 {
        return Err(format!("shape {:?}, expected [{count}], one class a sample", y.shape));
    }
    let hot = |row: &[f32]| {
        let one = row.iter().position(|&v| v == 1.0)?;
        let zeros = row.iter().filter(|&&v| v == 0.0).count();
        (zeros + 1 == row.len()).then_some(one)
    };
    let rows: Vec<Option<usize>> = y.values.chunks_exact(each).take(take).map(hot).collect();
    match rows.iter().position(Option::is_none) {
        None => {
            let classes = rows.into_iter().flatten().enumerate();
            classes.map(|(sample, at)| class(sample, at as f32)).collect::<Result<_, _>>().map(Ok)
        }
        // Scores are no labels: the largest of them may be wrong.
        Some(sample) => {
            let reason = format!("sample {sample} is not one-hot (a single 1 among zeros)");
            if each == classes { Ok(Err(reason)) } else { Err(format!("shape {:?}, and {reason}", y.shape)) }
        }
    }
}

fn list(sizes: &[usize]) -> String {
    sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_data::npz::{Column, Values, write};
    use amicus_model::GraphBuilder;

    fn network(outputs: usize) -> Graph {
        let mut g = GraphBuilder::new("n", &[2], 0.0..=1.0);
        let input = g.input();
        let last = g.linear("fc", input, outputs, vec![0.5; 2 * outputs], None);
        g.finish(last).unwrap()
    }

    /// What comes of three images, the numbers given, and labels of a shape.
    fn read(
        outputs: usize,
        x: [f64; 6],
        y: Option<(&[usize], &[f64])>,
        invalid: Invalid,
    ) -> Result<Samples, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.npz");
        let mut columns = vec![Column { name: "x", shape: &[3, 2], values: Values::Reals(&x) }];
        columns.extend(y.map(|(shape, values)| Column { name: "y", shape, values: Values::Reals(values) }));
        write(&mut std::fs::File::create(&path).unwrap(), &columns).unwrap();
        let (network, range) = (network(outputs), Some(Range { low: 0.0, high: 1.0 }));
        samples(&path, Reading { network: &network, range, invalid, limit: None }).map_err(|e| e.to_string())
    }

    const X: [f64; 6] = [0.0, 0.1, 0.2, 0.3, 0.4, 1.0];

    #[test]
    fn labels_in_every_form() {
        let labels = |outputs, shape: &[usize], y: &[f64]| {
            read(outputs, X, Some((shape, y)), Invalid::Refuse).map(|s| s.labels)
        };
        let found = Ok(Some(vec![0, 2, 1]));
        assert_eq!(labels(3, &[3], &[0.0, 2.0, 1.0]), found);
        assert_eq!(labels(3, &[3, 1], &[0.0, 2.0, 1.0]), found);
        assert_eq!(labels(3, &[3, 3], &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0]), found);
        let scores = [0.9, 0.1, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0];
        let scores = read(3, X, Some((&[3, 3], &scores)), Invalid::Refuse).unwrap();
        assert_eq!(scores.labels, None);
        assert!(scores.notes[0].contains("not used: sample 0 is not one-hot"), "{:?}", scores.notes);
        let two = labels(3, &[3, 2], &[1.0, 0.0, 1.0, 1.0, 0.0, 1.0]).unwrap_err();
        assert!(two.contains("sample 1 is not one-hot"), "{two}");
        for (shape, y) in [(&[3][..], [0.0, 1.0, 3.0]), (&[3, 1], [0.0, 1.0, 3.0])] {
            let beyond = labels(3, shape, &y).unwrap_err();
            assert!(beyond.contains("sample 2 has label 3, the network tells 3 classes"), "{beyond}");
        }
        let wide = labels(2, &[3, 3], &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0]).unwrap_err();
        assert!(wide.contains("sample 1 has label 2"), "{wide}");
        let half = labels(3, &[3], &[0.0, 0.5, 3.0]).unwrap_err();
        assert!(half.contains("sample 1 has label 0.5"), "{half}");
        assert!(labels(3, &[3], &[0.0, -1.0, f64::NAN]).unwrap_err().contains("label -1"));
        assert!(labels(3, &[2], &[0.0, 1.0]).unwrap_err().contains("shape [2], expected [3]"));
        assert!(labels(3, &[1, 3], &[0.0, 1.0, 2.0]).unwrap_err().contains("shape [1, 3]"));
    }

    #[test]
    fn numbers_that_are_no_classes_are_not_used() {
        let read = read(1, X, Some((&[3], &[0.25, -7.0, 3.5])), Invalid::Refuse).unwrap();
        assert_eq!(read.labels, None);
        assert!(read.notes[0].contains("array y is not used"), "{:?}", read.notes);
    }

    #[test]
    fn samples_outside_are_named_clipped_or_skipped() {
        let outside = [0.0, 0.1, 0.2, 1.5, 0.4, 1.0];
        let labels = Some((&[3][..], &[0.0, 1.0, 2.0][..]));
        let error = read(3, outside, labels, Invalid::Refuse).unwrap_err();
        assert!(error.contains("array x: sample 1: element 1 is 1.5, outside the model's 0 to 1"), "{error}");
        let clipped = read(3, outside, labels, Invalid::Clip).unwrap();
        assert_eq!(
            (clipped.images[1].as_slice(), clipped.places.as_slice()),
            (&[0.2, 1.0][..], &[0, 1, 2][..])
        );
        assert!(clipped.notes[0].contains("clipped 1 of 3 samples: 1 (element 1"), "{:?}", clipped.notes);
        let skipped = read(3, outside, labels, Invalid::Skip).unwrap();
        assert_eq!((skipped.places.as_slice(), skipped.labels), (&[0, 2][..], Some(vec![0, 2])));
        assert_eq!(skipped.images.len(), 2);
        for bad in [f64::NAN, f64::INFINITY] {
            let x = [0.0, 0.1, bad, 0.3, 0.4, 1.0];
            for invalid in [Invalid::Refuse, Invalid::Clip] {
                let error = read(3, x, labels, invalid).unwrap_err();
                assert!(error.contains("sample 1: element 0 is"), "{error}");
            }
            assert_eq!(read(3, x, labels, Invalid::Skip).unwrap().places, [0, 2]);
        }
        let error = read(3, [2.0; 6], labels, Invalid::Skip).unwrap_err();
        assert!(error.contains("all 3 samples are skipped"), "{error}");
    }
}
