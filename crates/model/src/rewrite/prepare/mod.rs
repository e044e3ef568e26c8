//! Networks as they come, brought into the form that can be folded.
//!
//! Where it stands: between [`crate::onnx`] and [`mod@crate::approximate`]. The protocol multiplies
//! by weights only what an activation opened, and has no scales of its own for channels
//! (`docs/protocol.md`, 6.2 and 6.3). So:
//!
//! - a convolution or fully connected layer on a value that no activation opened gets one before it
//!   that changes nothing (a polynomial of degree 1): one more round, as MobileNet's linear
//!   bottlenecks need it;
//! - a value that meets a pooled copy of itself, and an input that reaches the result without any
//!   layer, is opened once more, because an opening may change the factor behind a stored number;
//! - an activation of the input itself gets a layer of one weight a channel before it where the
//!   input's numbers are very small or large;
//! - a product of two values is opened too, unless only activations read it: its factor is that of
//!   both values together;
//! - BatchNorm, and every other factor and offset for each channel, goes into the layer before it
//!   ([`crate::fold`]), into all layers whose sums, joined channels or means it follows, into the
//!   layers behind it, or becomes a 1x1 convolution of every channel by itself where none of these
//!   is possible.
//!
//! The network computes the same as before but for the rounding of changed weights to `f32`.

mod place;

use std::collections::{HashMap, HashSet};

use amicus_plan::Range;

use crate::error::ModelError;
use crate::fold::Groups;
use crate::graph::{Graph, Layer, Node, NodeId, SecretReals, Tensor};
use place::{Place, Places};

/// Largest numbers of an input that an activation can take as they are.
const NEAR_ONE: std::ops::RangeInclusive<f64> = 0.25..=8.0;

/// A network that can be folded, unless [`crate::fold::Folded::problems`] finds more.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The network, with the names it had; added nodes have names of their own.
    pub graph: Graph,
    /// What was rewritten, for people.
    pub notes: Vec<String>,
}

/// Prepares a network.
///
/// # Errors
/// A factor or offset so large that weights overflow; the node is named.
pub fn prepare(graph: &Graph) -> Result<Prepared, ModelError> {
    let nodes = graph.nodes();
    let mut preparing = Preparing {
        old: graph,
        places: Places::of(graph),
        nodes: Vec::with_capacity(nodes.len()),
        opened: Vec::with_capacity(nodes.len()),
        values: Vec::with_capacity(nodes.len()),
        pending: HashMap::new(),
        open_copies: HashMap::new(),
        ties: Groups::default(),
        activated: activated(graph),
        scaled_input: None,
        names: nodes.iter().map(|n| n.name.clone()).collect(),
        notes: Vec::new(),
    };
    for index in 0..nodes.len() {
        let value = preparing.node(NodeId(index))?;
        preparing.values.push(value);
    }
    let output = preparing.values[graph.output().index()];
    let output = preparing.result(output);
    let Preparing { nodes, notes, .. } = preparing;
    Ok(Prepared { graph: graph.with_nodes(nodes, output), notes })
}

/// `scale[c] x + offset[c]` for every channel or element of a flat value.
#[derive(Clone)]
struct Affine {
    scale: SecretReals,
    offset: SecretReals,
}

impl Affine {
    /// `next` after this.
    fn then(&self, next: &Affine) -> Affine {
        let pairs = next.scale.iter().zip(next.offset.iter()).zip(self.offset.iter());
        Affine {
            scale: self.scale.iter().zip(next.scale.iter()).map(|(a, b)| a * b).collect(),
            offset: pairs.map(|((scale, offset), before)| scale * before + offset).collect(),
        }
    }
}

struct Preparing<'g> {
    old: &'g Graph,
    places: Places,
    nodes: Vec<Node>,
    /// Whether an activation opened a new node's value, so that it may meet weights.
    opened: Vec<bool>,
    /// New nodes by old ones.
    values: Vec<NodeId>,
    /// What old nodes still have to go through: the weights behind them absorb it.
    pending: HashMap<NodeId, Affine>,
    /// Opened copies of new nodes.
    open_copies: HashMap<NodeId, NodeId>,
    /// Which new nodes' stored numbers have a fixed ratio, as [`crate::fold`] will find.
    ties: Groups,
    /// Old nodes through which the input reaches an activation without any layer.
    activated: Vec<bool>,
    /// The input behind a layer of its own.
    scaled_input: Option<NodeId>,
    names: HashSet<String>,
    notes: Vec<String>,
}

impl Preparing<'_> {
    /// The new node of an old one.
    fn node(&mut self, id: NodeId) -> Result<NodeId, ModelError> {
        let node = self.old.node(id);
        let mut inputs: Vec<NodeId> = node.inputs.iter().map(|i| self.values[i.index()]).collect();
        let mut layer = node.layer.clone();
        if self.activated[id.index()] && self.input_is_far_from_one() {
            for (input, old) in inputs.iter_mut().zip(&node.inputs) {
                if old.index() == 0 {
                    *input = self.scaled_input()?;
                }
            }
        }
        match &mut layer {
            Layer::Conv2d { .. } | Layer::Linear { .. } => {
                if !self.opened[inputs[0].index()] && !self.merges(node) {
                    inputs[0] = self.open(inputs[0], &node.name);
                }
                if let Some(affine) = self.pending.get(&node.inputs[0]) {
                    absorb(&mut layer, affine);
                }
            }
            Layer::Multiply => {
                for input in &mut inputs {
                    *input = self.open(*input, &node.name);
                }
                let value = self.push(Node { layer, inputs, ..node.clone() });
                // The factor of a product is that of both values together: an activation behind it
                // takes any.
                let takes = |reader: NodeId| {
                    matches!(self.old.node(reader).layer, Layer::Activation(_) | Layer::Polynomial { .. })
                };
                if id != self.old.output() && self.old.consumers(id).all(takes) {
                    return Ok(value);
                }
                let copy = self.opening(value);
                self.open_copies.insert(value, copy);
                return Ok(copy);
            }
            Layer::BatchNorm { scale, offset } => {
                let mut affine = Affine { scale: scale.clone(), offset: offset.clone() };
                if let Some(before) = self.pending.get(&node.inputs[0]) {
                    affine = before.then(&affine);
                }
                match self.places.place(id) {
                    Place::Before => {}
                    Place::Branches => {
                        let of = self.nodes[inputs[0].index()].name.clone();
                        let text = format!("{} folded into the layers that {of} puts together", node.name);
                        self.notes.push(text);
                        return Ok(inputs[0]);
                    }
                    Place::Behind => {
                        self.pending.insert(id, affine);
                        self.notes.push(format!("{} folded into what reads it", node.name));
                        return Ok(inputs[0]);
                    }
                    Place::Own => return self.own(node, &affine, inputs[0]),
                }
            }
            Layer::Flatten => {
                if let Some(affine) = self.pending.get(&node.inputs[0]) {
                    let channel = self.old.node(node.inputs[0]).len() / affine.scale.len();
                    let spread = |v: &SecretReals| -> SecretReals {
                        v.iter().flat_map(|&x| std::iter::repeat_n(x, channel)).collect()
                    };
                    let affine = Affine { scale: spread(&affine.scale), offset: spread(&affine.offset) };
                    self.pending.insert(id, affine);
                }
            }
            _ => {}
        }
        let value = self.push(Node { layer, inputs, ..node.clone() });
        let Some(Affine { scale, offset }) = self.places.take_share(id) else { return Ok(value) };
        let name = self.unique(&format!("{}.factors", node.name));
        let shape = node.shape.clone();
        let layer = Layer::BatchNorm { scale, offset };
        Ok(self.push(Node { name, layer, inputs: vec![value], shape, recorded: None }))
    }

    fn push(&mut self, mut node: Node) -> NodeId {
        let gain = match &node.layer {
            Layer::AveragePool(pool) => Some(1.0 / (pool.kernel[0] * pool.kernel[1]) as f64),
            // Computed as it is it has the factor of what it reads, as a mean another one: whichever
            // it becomes, a ratio that no means have keeps it apart from what it reads.
            Layer::MaxPool(pool) => Some(std::f64::consts::PI / (pool.kernel[0] * pool.kernel[1]) as f64),
            Layer::Weigh { divisor, .. } => Some(1.0 / divisor),
            Layer::Flatten | Layer::Reshape | Layer::SumPool(_) | Layer::Add | Layer::Concat => Some(1.0),
            Layer::Extreme(_) | Layer::Gather(_) => Some(1.0),
            Layer::BatchNorm { .. } => Some(1.0),
            _ => None,
        };
        let first = node.inputs.first().copied();
        if let Some(first) = first.filter(|_| gain.is_some()) {
            for input in &mut node.inputs[1..] {
                if !self.ties.tie(input.index(), first.index(), 1.0) {
                    *input = self.open_again(*input, &node.name);
                    self.ties.tie(input.index(), first.index(), 1.0);
                }
            }
        }
        let place = self.ties.push();
        if let (Some(first), Some(gain)) = (first, gain) {
            self.ties.tie(place, first.index(), gain);
        }
        let opened = match &node.layer {
            Layer::Input { .. } | Layer::Polynomial { .. } | Layer::Activation(_) => true,
            Layer::Conv2d { .. } | Layer::Linear { .. } | Layer::BatchNorm { .. } | Layer::Multiply => false,
            _ => node.inputs.iter().all(|i| self.opened[i.index()]),
        };
        self.opened.push(opened);
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    /// Whether a fully connected layer will be merged with one right before it.
    fn merges(&self, node: &Node) -> bool {
        let mut id = node.inputs[0];
        if !matches!(node.layer, Layer::Linear { .. }) {
            return false;
        }
        loop {
            if !self.places.single_use(id) || id == self.old.output() {
                return false;
            }
            let before = self.old.node(id);
            match before.layer {
                Layer::Linear { .. } => return true,
                Layer::Flatten | Layer::Reshape => id = before.inputs[0],
                Layer::BatchNorm { .. } if self.places.place(id) == Place::Before => id = before.inputs[0],
                _ => return false,
            }
        }
    }

    /// A value, opened by activations that change nothing. Joined values are opened part by
    /// part: parts that are read again need not be opened again.
    fn open(&mut self, value: NodeId, reader: &str) -> NodeId {
        let node = self.nodes[value.index()].clone();
        match node.layer {
            Layer::Concat if !self.opened[value.index()] => {
                if let Some(&copy) = self.open_copies.get(&value) {
                    return copy;
                }
                let inputs = node.inputs.iter().map(|&part| self.open_whole(part, reader)).collect();
                let name = self.unique(&format!("{}.opened", node.name));
                let copy = self.push(Node { name, inputs, ..node });
                self.open_copies.insert(value, copy);
                copy
            }
            _ => self.open_whole(value, reader),
        }
    }

    fn open_whole(&mut self, value: NodeId, reader: &str) -> NodeId {
        if self.opened[value.index()] {
            return value;
        }
        if let Some(&copy) = self.open_copies.get(&value) {
            return copy;
        }
        let name = &self.nodes[value.index()].name;
        self.notes.push(format!(
            "{name} opened by itself, one round more: no activation stands between it and {reader}"
        ));
        let copy = self.opening(value);
        self.open_copies.insert(value, copy);
        copy
    }

    /// A copy of a value whose stored numbers may have any factor.
    fn open_again(&mut self, value: NodeId, reader: &str) -> NodeId {
        let name = &self.nodes[value.index()].name;
        self.notes
            .push(format!("{name} opened by itself, one round more: {reader} joins it with a pooled copy"));
        self.opening(value)
    }

    /// An activation that changes nothing.
    fn opening(&mut self, value: NodeId) -> NodeId {
        let Node { name, shape, .. } = self.nodes[value.index()].clone();
        let name = self.unique(&format!("{name}.opened"));
        let layer = Layer::Polynomial { coefficients: vec![0.0, 1.0], interval: 1.0 };
        self.push(Node { name, layer, inputs: vec![value], shape, recorded: None })
    }

    /// The result, opened if it is the input, perhaps reshaped or pooled.
    fn result(&mut self, output: NodeId) -> NodeId {
        let mut first = output;
        while matches!(self.nodes[first.index()].layer, Layer::Flatten | Layer::Reshape) {
            first = self.nodes[first.index()].inputs[0];
        }
        let ((group, ratio), (input, of_input)) = (self.ties.find(output.index()), self.ties.find(0));
        let pooled = group == input && (ratio / of_input - 1.0).abs() > 1e-9;
        if first.index() != 0 && !pooled {
            return output;
        }
        self.notes.push("the input reaches the result without any layer: it is opened by itself".to_owned());
        self.opening(output)
    }

    /// Whether numbers of the input are so small or large that polynomials of them have
    /// coefficients out of all scales.
    fn input_is_far_from_one(&self) -> bool {
        let Range { low, high } = self.old.input_range();
        !NEAR_ONE.contains(&low.abs().max(high.abs()))
    }

    /// The input behind a layer of one weight a channel, which may change its factor.
    fn scaled_input(&mut self) -> Result<NodeId, ModelError> {
        if let Some(known) = self.scaled_input {
            return Ok(known);
        }
        let node = self.old.node(NodeId(0));
        let channels = node.shape[0];
        let one: SecretReals = std::iter::repeat_n(1.0, channels).collect();
        let zero: SecretReals = std::iter::repeat_n(0.0, channels).collect();
        let name = self.unique("input.scaled");
        self.notes.push(format!(
            "{name} is added: an activation of the input itself, whose numbers are far from 1, needs a layer before it"
        ));
        let copy =
            self.depthwise(&Node { name, ..node.clone() }, &Affine { scale: one, offset: zero }, NodeId(0))?;
        self.scaled_input = Some(copy);
        Ok(copy)
    }

    /// Factors and offsets as a convolution of every channel by itself.
    fn own(&mut self, node: &Node, affine: &Affine, input: NodeId) -> Result<NodeId, ModelError> {
        let opened = self.open(input, &node.name);
        let value = self.depthwise(node, affine, opened)?;
        let advice = match self.nodes[input.index()].layer {
            Layer::Input { .. } => "; normalise the images before they are given to save two rounds",
            _ => "",
        };
        self.notes.push(format!(
            "{} becomes a layer of its own: no layer before or behind it can take its factors and offsets{advice}",
            node.name
        ));
        Ok(value)
    }

    /// A layer of one weight a channel on an opened value, under the name of `node`.
    fn depthwise(&mut self, node: &Node, affine: &Affine, input: NodeId) -> Result<NodeId, ModelError> {
        let mut value = input;
        let [channels, height, width] = match node.shape[..] {
            [c, h, w] => [c, h, w],
            _ => [node.len(), 1, 1],
        };
        let image = vec![channels, height, width];
        let added = |name: String, layer, input, shape| Node {
            name,
            layer,
            inputs: vec![input],
            shape,
            recorded: None,
        };
        let flat = node.shape.len() == 1;
        if flat {
            let name = self.unique(&format!("{}.channels", node.name));
            value = self.push(added(name, Layer::Reshape, value, image.clone()));
        }
        let shape = amicus_field::Conv2d {
            in_channels: channels,
            in_height: height,
            in_width: width,
            out_channels: channels,
            kernel: [1; 2],
            stride: [1; 2],
            padding: [0; 4],
            dilation: [1; 2],
            groups: channels,
        };
        let single = |values: &SecretReals| -> Result<Tensor, ModelError> {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            match values.iter().find(|v| !v.is_finite()) {
                Some(v) => Err(ModelError::node(&node.name, format!("a factor or offset of {v}"))),
                None => Ok(values.into()),
            }
        };
        let layer =
            Layer::Conv2d { shape, weights: single(&affine.scale)?, bias: Some(single(&affine.offset)?) };
        let name = if flat { self.unique(&format!("{}.factors", node.name)) } else { node.name.clone() };
        value = self.push(added(name, layer, value, image));
        if flat {
            value = self.push(added(node.name.clone(), Layer::Flatten, value, node.shape.clone()));
        }
        Ok(value)
    }

    fn unique(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut number = 1;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{wanted}#{number}");
        }
        name
    }
}

/// For every node whether it reads the input, without a layer between, on the way to an activation.
fn activated(graph: &Graph) -> Vec<bool> {
    let nodes = graph.nodes();
    let local = |node: &Node| {
        use Layer::{Add, AveragePool, Concat, Flatten, Gather, MaxPool, Reshape, SumPool, Weigh};
        matches!(
            node.layer,
            Add | AveragePool(_)
                | Concat
                | Flatten
                | Gather(_)
                | MaxPool(_)
                | Reshape
                | SumPool(_)
                | Weigh { .. }
        )
    };
    let mut from_input = vec![true];
    for node in &nodes[1..] {
        let reads = node.inputs.iter().any(|i| from_input[i.index()]);
        from_input.push(reads && local(node));
    }
    let mut activated = vec![false; nodes.len()];
    for (i, node) in nodes.iter().enumerate().skip(1).rev() {
        let activation = matches!(node.layer, Layer::Activation(_) | Layer::Polynomial { .. });
        activated[i] |= activation;
        if activated[i] && (activation || local(node)) {
            for input in node.inputs.iter().filter(|input| from_input[input.index()]) {
                activated[input.index()] = true;
            }
        }
    }
    activated
}

/// Weights and bias of a layer whose input goes through factors and offsets first.
fn absorb(layer: &mut Layer, affine: &Affine) {
    let (weights, bias, [outputs, depth, taps], groups) = match layer {
        Layer::Conv2d { shape, weights, bias } => {
            let depth = shape.in_channels / shape.groups;
            let taps = shape.kernel[0] * shape.kernel[1];
            (weights, bias, [shape.out_channels, depth, taps], shape.groups)
        }
        Layer::Linear { shape, weights, bias } => (weights, bias, [shape.outputs, shape.inputs, 1], 1),
        _ => return,
    };
    let mut changed = Vec::with_capacity(weights.len());
    let mut biases = Vec::with_capacity(outputs);
    for (o, row) in weights.chunks_exact(depth * taps).enumerate() {
        let first = o / (outputs / groups) * depth;
        let mut sum = bias.as_ref().map_or(0.0, |b| f64::from(b[o]));
        for (i, w) in row.iter().enumerate() {
            let channel = first + i / taps;
            changed.push((f64::from(*w) * affine.scale[channel]) as f32);
            sum += f64::from(*w) * affine.offset[channel];
        }
        biases.push(sum as f32);
    }
    *weights = changed.into();
    *bias = Some(biases.into());
}
