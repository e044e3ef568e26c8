//! Samples from NumPy's `.npz` files, as the commands take them.

use amicus_model::npz::Npz;
use amicus_model::{Graph, ModelError, argmax};
use std::path::Path;

/// Images and, where the file has them, their classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// One network input each.
    pub images: Vec<Vec<f32>>,
    /// One class an image.
    pub labels: Option<Vec<usize>>,
}

/// Samples for a network, given as its file says and arranged as it takes them; see [`samples`].
///
/// # Errors
/// As [`samples`].
pub fn samples_for(path: &Path, graph: &Graph, limit: Option<usize>) -> Result<Samples, ModelError> {
    let Samples { images, labels } = samples(path, &graph.given_shape(), limit)?;
    Ok(Samples { images: images.into_iter().map(|image| graph.arranged(image)).collect(), labels })
}

/// Reads arrays `x` (`[samples, ...]`, each as large as `shape`) and, if there, `y` (a class, or scores, of each); the
/// first `limit` samples.
///
/// # Errors
/// A file that cannot be read or is no `.npz` file; arrays of other shapes, numbers that are not finite, or classes that
/// are none: file and array are named.
pub fn samples(path: &Path, shape: &[usize], limit: Option<usize>) -> Result<Samples, ModelError> {
    let file = path.display().to_string();
    let error = |array: &str, reason: String| ModelError::Data { what: format!("{file}{array}"), reason };
    let bytes = std::fs::read(path).map_err(|e| error("", e.to_string()))?;
    let npz = Npz::parse(&file, &bytes)?;
    let x = npz.array("x")?;
    let each: usize = shape.iter().product();
    let (count, rest) = x.shape.split_first().map_or((0, &[][..]), |(n, rest)| (*n, rest));
    let same = rest == shape || (rest.iter().product::<usize>() == each && rest.len() == 1);
    if count == 0 || !same {
        let reason = format!("shape {:?}, expected [samples, {}]", x.shape, list(shape));
        return Err(error(", array x", reason));
    }
    if let Some(at) = x.values.iter().position(|v| !v.is_finite()) {
        return Err(error(", array x", format!("sample {} holds {}", at / each, x.values[at])));
    }
    let take = limit.unwrap_or(count).min(count);
    let labels = match npz.find("y")? {
        None => None,
        Some(y) if y.shape == [count] => {
            let class = |&v: &f32| (v >= 0.0 && v.fract() == 0.0).then_some(v as usize);
            let classes: Option<Vec<usize>> = y.values.iter().take(take).map(class).collect();
            let reason = || "holds numbers that are no classes (0, 1, 2, ..)".to_owned();
            Some(classes.ok_or_else(|| error(", array y", reason()))?)
        }
        // One score a class, as one-hot labels and the outputs of another model are.
        Some(y) if y.shape.len() == 2 && y.shape[0] == count && y.shape[1] > 0 => {
            let scores = y.values.chunks_exact(y.shape[1]).take(take);
            Some(scores.map(|s| argmax(&s.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>())).collect())
        }
        Some(y) => {
            let reason = format!("shape {:?}, expected [{count}], one class a sample", y.shape);
            return Err(error(", array y", reason));
        }
    };
    let images = x.values.chunks_exact(each).take(take).map(<[f32]>::to_vec).collect();
    Ok(Samples { images, labels })
}

fn list(sizes: &[usize]) -> String {
    sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
