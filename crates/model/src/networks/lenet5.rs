//! LeNet-5 for 28 x 28 grey images, ten classes, BatchNorm before every activation.
//!
//! conv 6@5x5 pad 2, average pool 2, conv 16@5x5, average pool 2, fully connected 400-120-84-10, with polynomial
//! activations `act1` to `act4` behind all layers but the last.

use super::WeightFile;
use crate::emulate::SplitMix;
use crate::error::ModelError;
use crate::graph::{BatchNorm, ConvOptions, Graph, GraphBuilder, NodeId, PoolOptions};

/// Where the numbers come from: tensors by name and shape, and the activation.
trait Source {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError>;
    fn eps(&self) -> f64;
    fn interval(&self) -> f64;
    fn coefficients(&self) -> &[f64];
}

/// LeNet-5 with the weights of a safetensors file, as `amicus train` writes it.
///
/// Tensors: `conv1.weight` `[6, 1, 5, 5]`, `conv2.weight` `[16, 6, 5, 5]`, `fc1.weight` `[120, 400]`, `fc2.weight`
/// `[84, 120]`, `fc3.weight` `[10, 84]`, a `bias` for each, and `bn1` to `bn4` with `weight`, `bias`, `running_mean`
/// and `running_var`. Metadata: `architecture` = `lenet5`, `input` = `pixel/255`, `activation.interval` (half-width
/// `B`), `activation.coefficients` (JSON array `a_0..a_d` of `u = t / B`), `bn.eps`; optionally `activation.ranges`,
/// the largest `|u|` seen in training before each of the four activations.
///
/// # Errors
/// A file that is not safetensors or cut off, another architecture, a tensor or entry that is missing or wrong, each
/// named.
pub fn lenet5(safetensors: &[u8]) -> Result<Graph, ModelError> {
    let file = WeightFile::parse(safetensors)?;
    file.expect("architecture", "lenet5")?;
    file.expect("input", "pixel/255")?;
    let mut source = Trained {
        eps: file.number("bn.eps")?,
        interval: file.number("activation.interval")?,
        coefficients: file.numbers("activation.coefficients")?,
        file: &file,
    };
    let ranges = file.find_numbers("activation.ranges")?.unwrap_or_default();
    if !ranges.is_empty() && ranges.len() != 4 {
        let reason = format!("{} numbers, expected 4", ranges.len());
        return Err(ModelError::weights("metadata `activation.ranges`", reason));
    }
    build("lenet5", &mut source, &ranges)
}

/// LeNet-5 with seeded random weights, for tests: numbers of trained size, nothing learned.
pub fn lenet5_random(seed: u64) -> Result<Graph, ModelError> {
    let mut source =
        Random { generator: SplitMix(seed), coefficients: vec![0.124, 2.0, 6.006, 0.0, -10.794, 0.0, 7.152] };
    build("lenet5-random", &mut source, &[])
}

fn build(name: &str, source: &mut impl Source, ranges: &[f64]) -> Result<Graph, ModelError> {
    let mut g = GraphBuilder::new(name, &[1, 28, 28], 0.0..=1.0);
    let x = g.input();
    let x = convolution(&mut g, source, 1, x, [1, 6], 2)?;
    let x = convolution(&mut g, source, 2, x, [6, 16], 0)?;
    let x = g.flatten("flatten", x);
    let x = dense(&mut g, source, 1, x, [400, 120])?;
    let x = normalised(&mut g, source, 3, x, 120)?;
    let x = dense(&mut g, source, 2, x, [120, 84])?;
    let x = normalised(&mut g, source, 4, x, 84)?;
    let x = dense(&mut g, source, 3, x, [84, 10])?;
    for (i, &range) in ranges.iter().enumerate() {
        // `act` nodes are found by name: their ids are local to the functions below.
        if let Some(id) = g.find(&format!("act{}", i + 1)) {
            g.record(id, range);
        }
    }
    g.finish(x)
}

/// Convolution 5x5, BatchNorm, activation, average pool 2.
fn convolution(
    g: &mut GraphBuilder,
    source: &mut impl Source,
    index: usize,
    x: NodeId,
    [inputs, outputs]: [usize; 2],
    padding: usize,
) -> Result<NodeId, ModelError> {
    let name = format!("conv{index}");
    let weights = source.tensor(&format!("{name}.weight"), &[outputs, inputs, 5, 5])?;
    let bias = source.tensor(&format!("{name}.bias"), &[outputs])?;
    let x = g.conv2d(&name, x, ConvOptions::square(outputs, 5).padding(padding), weights, Some(bias));
    let x = normalised(g, source, index, x, outputs)?;
    Ok(g.average_pool(&format!("pool{index}"), x, PoolOptions::square(2)))
}

fn dense(
    g: &mut GraphBuilder,
    source: &mut impl Source,
    index: usize,
    x: NodeId,
    [inputs, outputs]: [usize; 2],
) -> Result<NodeId, ModelError> {
    let name = format!("fc{index}");
    let weights = source.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
    let bias = source.tensor(&format!("{name}.bias"), &[outputs])?;
    Ok(g.linear(&name, x, outputs, weights, Some(bias)))
}

/// BatchNorm and activation.
fn normalised(
    g: &mut GraphBuilder,
    source: &mut impl Source,
    index: usize,
    x: NodeId,
    channels: usize,
) -> Result<NodeId, ModelError> {
    let name = format!("bn{index}");
    let mut tensor = |part: &str| source.tensor(&format!("{name}.{part}"), &[channels]);
    let (gamma, beta) = (tensor("weight")?, tensor("bias")?);
    let (mean, variance) = (tensor("running_mean")?, tensor("running_var")?);
    let x = g.batch_norm(&name, x, BatchNorm { gamma, beta, mean, variance, eps: source.eps() });
    Ok(g.polynomial(&format!("act{index}"), x, source.interval(), source.coefficients().to_vec()))
}

struct Trained<'f> {
    file: &'f WeightFile<'f>,
    eps: f64,
    interval: f64,
    coefficients: Vec<f64>,
}

impl Source for Trained<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        self.file.tensor(name, shape)
    }
    fn eps(&self) -> f64 {
        self.eps
    }
    fn interval(&self) -> f64 {
        self.interval
    }
    fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }
}

struct Random {
    generator: SplitMix,
    coefficients: Vec<f64>,
}

impl Source for Random {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let count: usize = shape.iter().product();
        // Spread evenly over +-sqrt(3 / inputs): variance 1 / inputs. BatchNorm stays close to the identity.
        let inputs: usize = shape.iter().skip(1).product();
        let (middle, width) = match name.rsplit('.').next() {
            Some("running_var") => (1.0, 0.2),
            Some("weight") if shape.len() == 1 => (0.9, 0.1),
            Some("weight") => (0.0, (3.0 / inputs as f64).sqrt()),
            _ => (0.0, 0.1),
        };
        Ok((0..count).map(|_| (middle + width * (2.0 * self.generator.unit() - 1.0)) as f32).collect())
    }
    fn eps(&self) -> f64 {
        1e-5
    }
    fn interval(&self) -> f64 {
        4.0
    }
    fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }
}
