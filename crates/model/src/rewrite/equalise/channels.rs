//! Channels of all values: how large they get, what they mean for the result, which belong
//! together.

use rayon::prelude::*;

use crate::error::ModelError;
use crate::float::FloatExecutor;
use crate::graph::{Graph, Layer, Node, NodeId};

/// Samples looked at: what is sought are powers of ten, not the largest number of all.
const SAMPLES: usize = 32;
/// And fewer of large networks: multiply-adds that all samples together may cost, a few seconds.
const AFFORDABLE: u64 = 20_000_000_000;
/// A channel matters for the result when what it may change there is at least this share of what
/// any other of the same value may.
const MATTERS: f64 = 1.0 / 1024.0;

/// One number for every channel of every node.
pub(super) type PerChannel = Vec<Vec<f64>>;

/// Channels of a value: those of an image, or the elements of a flat value.
pub(super) fn count(node: &Node) -> usize {
    node.shape[0]
}

/// The channel of an element.
pub(super) fn channel(node: &Node, element: usize) -> usize {
    element / (node.len() / count(node))
}

/// How large channels get on calibration data.
pub(super) struct Sizes {
    /// Largest absolute number of each channel.
    largest: PerChannel,
    /// Whether a channel matters for the result.
    matters: Vec<Vec<bool>>,
}

impl Sizes {
    /// Looks at the first samples; `None` when there are none, or numbers that are not finite.
    pub(super) fn measure(graph: &Graph, samples: &[Vec<f32>]) -> Result<Option<Self>, ModelError> {
        let executor = FloatExecutor::new(graph);
        let of_sample = |sample: &Vec<f32>| -> Result<PerChannel, ModelError> {
            let values = executor.values(sample)?;
            let largest = |(i, node): (usize, &Node)| {
                let each = node.len() / count(node);
                let value = values.node(NodeId(i));
                value.chunks(each).map(|channel| channel.iter().fold(0f64, |m, x| larger(m, *x))).collect()
            };
            Ok(graph.nodes().iter().enumerate().map(largest).collect())
        };
        let affordable = usize::try_from(AFFORDABLE / graph.multiply_adds().max(1)).unwrap_or(SAMPLES);
        let count = samples.len().min(SAMPLES).min(affordable.max(1));
        let all = samples[..count].par_iter().map(of_sample);
        let merged = all.try_reduce_with(|mut a, b| {
            for (a, b) in a.iter_mut().flatten().zip(b.iter().flatten()) {
                *a = larger(*a, *b);
            }
            Ok(a)
        });
        let Some(largest) = merged.transpose()? else { return Ok(None) };
        if largest.iter().flatten().any(|size| !size.is_finite()) {
            return Ok(None);
        }
        let matters = matters(graph, &largest);
        Ok(Some(Sizes { largest, matters }))
    }

    /// Sizes from a source of numbers; every channel matters.
    #[cfg(test)]
    pub(super) fn made_up(graph: &Graph, number: &mut dyn FnMut() -> f64) -> Self {
        let of_node = |node: &Node| (0..count(node)).map(|_| number()).collect();
        let largest: PerChannel = graph.nodes().iter().map(of_node).collect();
        let matters = largest.iter().map(|sizes| vec![true; sizes.len()]).collect();
        Sizes { largest, matters }
    }

    /// The sizes after every channel was multiplied by its factor.
    pub(super) fn times(mut self, factors: &PerChannel) -> Self {
        for (size, factor) in self.largest.iter_mut().flatten().zip(factors.iter().flatten()) {
            *size *= factor;
        }
        self
    }

    /// For every class of channels, its size over that of the largest channel beside it, in each
    /// value that is rounded and in which it matters; above 0.
    pub(super) fn ratios(&self, graph: &Graph, classes: &mut Classes) -> Vec<Vec<f64>> {
        let mut ratios = vec![Vec::new(); classes.parent.len()];
        let rounded = rounded(graph);
        for (node, sizes) in self.largest.iter().enumerate().filter(|(node, _)| rounded[*node]) {
            let most = sizes.iter().copied().fold(0.0, f64::max);
            for (c, size) in sizes.iter().enumerate() {
                if self.matters[node][c] && *size > 0.0 {
                    ratios[classes.find(node, c)].push(size / most);
                }
            }
        }
        ratios
    }
}

/// Values that will be rounded: arguments of activations, and what a layer of weights reads though
/// no activation opened it.
fn rounded(graph: &Graph) -> Vec<bool> {
    let mut rounded = vec![false; graph.nodes().len()];
    let mut opened: Vec<bool> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let weights = matches!(node.layer, Layer::Conv2d { .. } | Layer::Linear { .. });
        let activation = matches!(node.layer, Layer::Activation(_) | Layer::Polynomial { .. });
        for input in node.inputs.iter().map(|input| input.index()) {
            rounded[input] |= activation || (weights && !opened[input]);
        }
        let first = node.inputs.is_empty();
        opened
            .push(first || activation || (!weights && node.inputs.iter().all(|input| opened[input.index()])));
    }
    rounded
}

/// The larger absolute number; one that is none wins.
fn larger(a: f64, b: f64) -> f64 {
    if b.is_nan() || a.is_nan() { f64::NAN } else { a.max(b.abs()) }
}

/// Which channels may change the result by a share worth speaking of: a bound by the largest weight
/// on every way to the result.
fn matters(graph: &Graph, largest: &PerChannel) -> Vec<Vec<bool>> {
    let nodes = graph.nodes();
    let mut effect: PerChannel = nodes.iter().map(|node| vec![0.0; count(node)]).collect();
    effect[graph.output().index()].fill(1.0);
    for (index, node) in nodes.iter().enumerate().rev() {
        let own = std::mem::take(&mut effect[index]);
        let mut raise = |input: NodeId, c: usize, by: f64| {
            let slot = &mut effect[input.index()][c];
            *slot = slot.max(by);
        };
        match &node.layer {
            Layer::Conv2d { shape, weights, .. } => {
                let depth = shape.in_channels / shape.groups;
                let (taps, per_group) =
                    (shape.kernel[0] * shape.kernel[1], shape.out_channels / shape.groups);
                for (at, window) in weights.chunks_exact(taps).enumerate() {
                    let (o, i) = (at / depth, at / depth / per_group * depth + at % depth);
                    let largest = window.iter().fold(0f32, |m, w| m.max(w.abs()));
                    raise(node.inputs[0], i, own[o] * f64::from(largest));
                }
            }
            Layer::Linear { shape, weights, .. } => {
                let input = graph.node(node.inputs[0]);
                for (row, own) in weights.chunks_exact(shape.inputs).zip(&own) {
                    for (element, w) in row.iter().enumerate() {
                        raise(node.inputs[0], channel(input, element), own * f64::from(w.abs()));
                    }
                }
            }
            Layer::BatchNorm { scale, .. } => {
                own.iter().zip(scale.iter()).enumerate().for_each(|(c, (own, s))| {
                    raise(node.inputs[0], c, own * s.abs());
                });
            }
            Layer::Activation(_) | Layer::Polynomial { .. } => {
                for (c, own) in own.iter().enumerate() {
                    let (fed, given) = (largest[node.inputs[0].index()][c], largest[index][c]);
                    raise(node.inputs[0], c, if fed > 0.0 { own * given / fed } else { 0.0 });
                }
            }
            _ => links(graph, node, &mut |input, c, out| raise(input, c, own[out])),
        }
        effect[index] = own;
    }
    let of_node = |(effects, sizes): (&Vec<f64>, &Vec<f64>)| {
        let share = |(effect, size): (&f64, &f64)| effect * size;
        let most = effects.iter().zip(sizes).map(share).fold(0.0, f64::max);
        effects.iter().zip(sizes).map(|pair| share(pair) > MATTERS * most).collect()
    };
    effect.iter().zip(largest).map(of_node).collect()
}

/// The channels that a node passes on: calls `link` with the input, its channel, and that of the
/// result. Nothing for layers of weights and for the input.
pub(super) fn links(graph: &Graph, node: &Node, link: &mut dyn FnMut(NodeId, usize, usize)) {
    match &node.layer {
        Layer::Input { .. } | Layer::Conv2d { .. } | Layer::Linear { .. } => {}
        Layer::Concat => {
            let mut first = 0;
            for &input in &node.inputs {
                let channels = count(graph.node(input));
                (0..channels).for_each(|c| link(input, c, first + c));
                first += channels;
            }
        }
        Layer::Gather(gather) => {
            let input = graph.node(node.inputs[0]);
            let mut last = None;
            for (element, source) in gather.sources(input.len()).enumerate() {
                let pair = (channel(input, source), channel(node, element));
                if last.replace(pair) != Some(pair) {
                    link(node.inputs[0], pair.0, pair.1);
                }
            }
        }
        Layer::Flatten | Layer::Reshape => {
            let input = graph.node(node.inputs[0]);
            let mut last = None;
            for element in 0..node.len() {
                let pair = (channel(input, element), channel(node, element));
                if last.replace(pair) != Some(pair) {
                    link(node.inputs[0], pair.0, pair.1);
                }
            }
        }
        _ => {
            for &input in &node.inputs {
                (0..count(node)).for_each(|c| link(input, c, c));
            }
        }
    }
}

/// Classes of channels that are treated alike.
pub(super) struct Classes {
    /// Place of the first channel of every node.
    first: Vec<usize>,
    parent: Vec<usize>,
    /// By class: whether it stays as it is.
    fixed: Vec<bool>,
}

impl Classes {
    /// Every channel by itself; those of the input and of the result stay as they are.
    pub(super) fn new(graph: &Graph) -> Self {
        let mut first = Vec::with_capacity(graph.nodes().len());
        let mut total = 0;
        for node in graph.nodes() {
            first.push(total);
            total += count(node);
        }
        let mut classes = Classes { first, parent: (0..total).collect(), fixed: vec![false; total] };
        for id in [NodeId(0), graph.output()] {
            classes.fix_all(graph, id);
        }
        classes
    }

    /// The class of a channel.
    pub(super) fn find(&mut self, node: usize, c: usize) -> usize {
        let mut place = self.first[node] + c;
        while self.parent[place] != place {
            self.parent[place] = self.parent[self.parent[place]];
            place = self.parent[place];
        }
        place
    }

    /// Makes two channels one class.
    pub(super) fn tie(&mut self, (a, of_a): (usize, usize), (b, of_b): (usize, usize)) {
        let (a, b) = (self.find(a, of_a), self.find(b, of_b));
        self.parent[a] = b;
        self.fixed[b] |= self.fixed[a];
    }

    /// Leaves all channels of a value as they are.
    pub(super) fn fix_all(&mut self, graph: &Graph, id: NodeId) {
        for c in 0..count(graph.node(id)) {
            let class = self.find(id.index(), c);
            self.fixed[class] = true;
        }
    }

    /// Whether a class stays as it is.
    pub(super) fn is_fixed(&self, class: usize) -> bool {
        self.fixed[class]
    }
}
