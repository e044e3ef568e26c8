//! Whether calibration data are enough: what one half of them says of the other, and samples that
//! stand out.
//!
//! Windows and intervals end a margin beyond the largest number that calibration saw. If half of the
//! samples, taken alone, would have been left by the other half, so the whole may be left by the next
//! images.

use amicus_model::graph::{Graph, Layer, NodeId};
use amicus_model::{FloatExecutor, ModelError};
use serde::Serialize;
use std::fmt;

/// Multiply-adds spent on it: some seconds.
const AFFORDABLE: u64 = 10_000_000_000;
/// Samples looked at, at least and at most.
const SAMPLES: (usize, usize) = (8, 256);
/// A sample stands out where it is this many times as large as all others.
const STANDS_OUT: f64 = 1.5;
/// Layers and samples that are listed.
const LISTED: usize = 5;

/// What calibration data say of themselves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Samples looked at.
    pub samples: usize,
    /// The margin that ranges have.
    pub margin: f64,
    /// Layers whose numbers were looked at: what activations and maxima are fed, and the result.
    pub layers: usize,
    /// Numbers of the second half over the largest of the first, where that is largest.
    pub furthest: Option<Exceeded>,
    /// Samples of the second half that leave what the first with its margin allows for.
    pub outside: Vec<usize>,
    /// Samples that alone set a range.
    pub outliers: Vec<Outlier>,
}

/// How far one half of the samples goes beyond the other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exceeded {
    /// The layer fed.
    pub layer: String,
    /// Its largest number over that of the other half.
    pub times: f64,
}

/// A sample that is far larger than all others somewhere.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outlier {
    /// The sample.
    pub sample: usize,
    /// Where it stands out most.
    pub layer: String,
    /// How many times it is as large as the largest other there.
    pub times: f64,
    /// Layers where it is at least half as much larger.
    pub layers: usize,
}

/// Looks at `images`; `multiply_adds` are those of one.
pub(crate) fn look(
    graph: &Graph,
    images: &[Vec<f32>],
    margin: f64,
    multiply_adds: u64,
) -> Result<Calibration, ModelError> {
    let affordable = usize::try_from(AFFORDABLE / multiply_adds.max(1)).unwrap_or(usize::MAX);
    let images = &images[..images.len().min(affordable.clamp(SAMPLES.0, SAMPLES.1))];
    let watched = watched(graph);
    let executor = FloatExecutor::new(graph);
    let mut largest: Vec<Vec<f64>> = vec![Vec::with_capacity(images.len()); watched.len()];
    for image in images {
        let values = executor.values(image)?;
        for ((node, _), largest) in watched.iter().zip(&mut largest) {
            largest.push(values.node(*node).iter().fold(0.0, |m: f64, v| m.max(v.abs())));
        }
    }
    let mut found = Calibration {
        samples: images.len(),
        margin,
        layers: watched.len(),
        furthest: None,
        outside: Vec::new(),
        outliers: Vec::new(),
    };
    for ((_, layer), largest) in watched.iter().zip(&largest) {
        found.halves(layer, largest);
        found.largest(layer, largest);
    }
    found.outside.sort_unstable();
    found.outside.dedup();
    found.outliers.sort_by(|a, b| b.times.total_cmp(&a.times));
    Ok(found)
}

/// What is fed to activations and maxima, by the names of these, and the result.
fn watched(graph: &Graph) -> Vec<(NodeId, &str)> {
    let fed = graph.nodes().iter().filter(|node| {
        matches!(node.layer, Layer::Activation(_) | Layer::Polynomial { .. } | Layer::MaxPool(_))
    });
    let fed = fed.map(|node| (node.inputs[0], node.name.as_str()));
    fed.chain([(graph.output(), "the result")]).collect()
}

impl Calibration {
    /// Compares every other sample with the rest: they may come sorted.
    fn halves(&mut self, layer: &str, largest: &[f64]) {
        let first = largest.iter().step_by(2).fold(0.0, |m: f64, v| m.max(*v));
        if first == 0.0 {
            return;
        }
        for (sample, size) in largest.iter().enumerate().skip(1).step_by(2) {
            let times = size / first;
            if self.furthest.as_ref().is_none_or(|known| times > known.times) {
                self.furthest = Some(Exceeded { layer: layer.to_owned(), times });
            }
            if times > self.margin {
                self.outside.push(sample);
            }
        }
    }

    fn largest(&mut self, layer: &str, largest: &[f64]) {
        let mut order: Vec<usize> = (0..largest.len()).collect();
        order.sort_by(|a, b| largest[*b].total_cmp(&largest[*a]));
        let [sample, second, ..] = order[..] else { return };
        let times = largest[sample] / largest[second];
        if !(times > STANDS_OUT && times.is_finite()) {
            return;
        }
        match self.outliers.iter_mut().find(|o| o.sample == sample) {
            Some(known) => {
                known.layers += 1;
                if times > known.times {
                    (known.times, known.layer) = (times, layer.to_owned());
                }
            }
            None => self.outliers.push(Outlier { sample, layer: layer.to_owned(), times, layers: 1 }),
        }
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Calibration { samples, margin, layers, furthest, outside, outliers } = self;
        write!(f, "calibration: ")?;
        match furthest {
            Some(Exceeded { layer, times }) => write!(
                f,
                "of {samples} samples one half has numbers up to {times:.2} times those of the other, of {layers} layers \
                 most at {layer} (margin {margin}): "
            )?,
            None => write!(f, "{samples} sample(s) say nothing of each other: ")?,
        }
        match outside.len() {
            0 if furthest.is_some() => write!(f, "they seem to be enough")?,
            0 => write!(f, "give more")?,
            n => {
                write!(f, "{n} of them would have left its windows; give more images, or a larger --margin")?
            }
        }
        for Outlier { sample, layer, times, layers } in outliers.iter().take(LISTED) {
            write!(f, "\nsample {sample} alone is {times:.2} times as large as all others at {layer}")?;
            if *layers > 1 {
                write!(f, ", and stands out at {} more layers", layers - 1)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a network that cannot be built fails the test
    use super::*;
    use amicus_model::GraphBuilder;
    use amicus_model::function::{Elementary, Function};

    fn network() -> Graph {
        let mut g = GraphBuilder::new("sum", &[4], -10.0..=10.0);
        let x = g.linear("fc", g.input(), 2, vec![1.0; 8], None);
        let x = g.activation("relu", x, Function::elementary(Elementary::Relu));
        let x = g.linear("out", x, 2, vec![1.0, 0.0, 0.0, 1.0], None);
        g.finish(x).unwrap()
    }

    #[test]
    fn halves_that_agree_are_enough() {
        let images: Vec<Vec<f32>> = (0..20).map(|i| vec![1.0 + 0.01 * i as f32; 4]).collect();
        let found = look(&network(), &images, 1.5, 10).unwrap();
        assert_eq!((found.samples, found.layers), (20, 2));
        assert!(found.outside.is_empty() && found.outliers.is_empty(), "{found}");
        assert!(found.to_string().contains("seem to be enough"), "{found}");
    }

    #[test]
    fn a_sample_that_stands_out_is_named() {
        let mut images: Vec<Vec<f32>> = (0..20).map(|i| vec![1.0 + 0.01 * i as f32; 4]).collect();
        images[7] = vec![3.0; 4];
        let found = look(&network(), &images, 1.5, 10).unwrap();
        assert_eq!(found.outside, [7]);
        assert_eq!(found.outliers.iter().map(|o| (o.sample, o.layers)).collect::<Vec<_>>(), [(7, 2)]);
        assert!(found.to_string().contains("sample 7 alone is 2.52 times"), "{found}");
        // In the other half it leaves nothing, but stands out all the same.
        images.swap(7, 8);
        let found = look(&network(), &images, 1.5, 10).unwrap();
        assert!(found.outside.is_empty());
        assert_eq!(found.outliers[0].sample, 8);
    }
}
