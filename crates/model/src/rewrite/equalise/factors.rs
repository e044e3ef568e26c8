//! Channels times powers of two, which the weights behind them take back.

use super::Equalised;
use super::channels::{Classes, PerChannel, Sizes, channel, count, links};
use crate::function::Function;
use crate::graph::{Graph, Layer, NodeId, SecretReals, Tensor};

/// Channels smaller than this share of the largest are made larger.
const SMALL: f64 = 1.0 / 16.0;
/// To between half of the largest and the largest.
const WANTED: f64 = 1.0;
/// Largest factor, a power of two.
const MOST_BITS: f64 = 60.0;

/// The factor of every channel, a power of two; `None` when none is worth it.
pub(super) fn choose(graph: &Graph, sizes: &Sizes) -> Option<PerChannel> {
    let mut classes = Classes::new(graph);
    for (index, node) in graph.nodes().iter().enumerate() {
        match &node.layer {
            Layer::Activation(_) | Layer::Polynomial { .. } if !passes_factors(&node.layer) => {
                classes.fix_all(graph, node.inputs[0]);
                classes.fix_all(graph, NodeId(index));
            }
            // Factors of both would meet in it.
            Layer::Multiply => {
                [node.inputs[0], node.inputs[1], NodeId(index)]
                    .iter()
                    .for_each(|id| classes.fix_all(graph, *id));
            }
            // It has factors of its own.
            Layer::BatchNorm { .. } => {}
            _ => links(graph, node, &mut |input, c, out| classes.tie((input.index(), c), (index, out))),
        }
    }
    let ratios = sizes.ratios(graph, &mut classes);
    let mut factor = |node: usize, c: usize| {
        let class = classes.find(node, c);
        // Where values of several sizes are tied, the largest decides: none may grow.
        match ratios[class].iter().copied().reduce(f64::max) {
            Some(ratio) if ratio < SMALL && !classes.is_fixed(class) => {
                (WANTED / ratio).log2().floor().min(MOST_BITS).exp2()
            }
            _ => 1.0,
        }
    };
    let of_node = |(index, node)| (0..count(node)).map(|c| factor(index, c)).collect();
    let factors: PerChannel = graph.nodes().iter().enumerate().map(of_node).collect();
    let changed = factors.iter().flatten().any(|f| *f != 1.0);
    (changed && exact(graph, &factors)).then_some(factors)
}

/// Whether `f(s t) = s f(t)` for every `s` above 0.
fn passes_factors(layer: &Layer) -> bool {
    match layer {
        Layer::Activation(function) => is_homogeneous(function),
        Layer::Polynomial { coefficients, .. } => matches!(coefficients[..], [0.0, _]),
        _ => true,
    }
}

/// Functions are programs of a few steps: what holds at some numbers of all sizes holds.
fn is_homogeneous(function: &Function) -> bool {
    const SIZES: [f64; 7] = [1e-9, 3e-4, 0.1, 0.7, 2.0, 50.0, 1e6];
    [-1.0, 1.0].iter().all(|sign| {
        let at_one = function.at(*sign);
        SIZES.iter().all(|s| (function.at(sign * s) - s * at_one).abs() <= 1e-12 * s * at_one.abs())
    })
}

/// Whether all changed weights are numbers of single precision, so that nothing is rounded.
fn exact(graph: &Graph, factors: &PerChannel) -> bool {
    let held = |w: f64| w == 0.0 || (f64::from(f32::MIN_POSITIVE)..f64::from(f32::MAX)).contains(&w.abs());
    graph.nodes().iter().enumerate().all(|(index, _)| {
        let mut all = true;
        rewritten(graph, NodeId(index), factors, &mut |w| all &= held(w));
        all
    })
}

/// Puts the factors into the layers.
pub(super) fn apply(equalised: &mut Equalised, factors: &PerChannel) {
    let graph = &equalised.graph;
    for (index, node) in graph.nodes().iter().enumerate() {
        let changed: Vec<f64> = factors[index].iter().copied().filter(|f| *f != 1.0).collect();
        if let (Layer::Conv2d { .. } | Layer::Linear { .. }, Some(most)) =
            (&node.layer, changed.iter().copied().reduce(f64::max))
        {
            equalised.notes.push(format!(
                "{} of {} channels of {} times powers of two, up to 2^{}: they are much smaller than the others, and \
                 what reads them takes the factors back",
                changed.len(),
                factors[index].len(),
                node.name,
                most.log2()
            ));
        }
    }
    equalised.graph = graph.with_layers(|id, _| rewritten(graph, id, factors, &mut |_| ()));
}

/// A node's layer with factors in it; `seen` hears every changed weight before it becomes `f32`.
fn rewritten(graph: &Graph, id: NodeId, factors: &PerChannel, seen: &mut dyn FnMut(f64)) -> Layer {
    let node = graph.node(id);
    let own = &factors[id.index()];
    let mut number = |w: f64| {
        seen(w);
        w as f32
    };
    match &node.layer {
        Layer::Conv2d { shape, weights, bias } => {
            let (fed, depth) = (&factors[node.inputs[0].index()], shape.in_channels / shape.groups);
            let (taps, per_group) = (shape.kernel[0] * shape.kernel[1], shape.out_channels / shape.groups);
            let changed = weights.chunks_exact(taps).enumerate().flat_map(|(at, window)| {
                let (o, i) = (at / depth, at / depth / per_group * depth + at % depth);
                let by = own[o] / fed[i];
                window.iter().map(move |&w| f64::from(w) * by)
            });
            let weights = changed.map(&mut number).collect::<Vec<f32>>().into();
            Layer::Conv2d { shape: *shape, weights, bias: biased(bias.as_ref(), own, &mut number) }
        }
        Layer::Linear { shape, weights, bias } => {
            let (fed, input) = (&factors[node.inputs[0].index()], graph.node(node.inputs[0]));
            let changed = weights.chunks_exact(shape.inputs).zip(own).flat_map(|(row, own)| {
                let by = move |element| own / fed[channel(input, element)];
                row.iter().enumerate().map(move |(element, &w)| f64::from(w) * by(element))
            });
            let weights = changed.map(&mut number).collect::<Vec<f32>>().into();
            Layer::Linear { shape: *shape, weights, bias: biased(bias.as_ref(), own, &mut number) }
        }
        Layer::BatchNorm { scale, offset } => {
            let fed = &factors[node.inputs[0].index()];
            let scale = scale.iter().zip(own).zip(fed).map(|((s, own), fed)| s * (own / fed)).collect();
            let offset: SecretReals = offset.iter().zip(own).map(|(o, own)| o * own).collect();
            Layer::BatchNorm { scale, offset }
        }
        layer => layer.clone(),
    }
}

fn biased(bias: Option<&Tensor>, own: &[f64], number: &mut dyn FnMut(f64) -> f32) -> Option<Tensor> {
    let bias = bias?;
    let changed: Vec<f32> = bias.iter().zip(own).map(|(&b, own)| number(f64::from(b) * own)).collect();
    Some(changed.into())
}
