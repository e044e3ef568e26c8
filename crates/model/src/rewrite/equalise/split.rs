//! Channels in groups of similar size, each with an activation of its own.
//!
//! The network is written out again, every value as pieces: one for each group that has channels of
//! it. What acts on channels by themselves acts on every piece; a layer of weights takes all pieces
//! and adds up what each gives. So pieces meet only where weights have brought them to one size.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use amicus_field::{Conv2d, Dense, SumPool2d};

use super::Equalised;
use super::channels::{Classes, Sizes, channel, count, links};
use crate::check::check;
use crate::graph::{Graph, Layer, Node, NodeId, SecretReals, Tensor};

/// Sizes of a group's channels differ by at most so many bits, those of the smallest aside.
const BITS: f64 = 6.0;
/// Sizes told apart.
const STEPS: u8 = 6;
/// Most groups of one value that sizes in several values tell apart; beyond, the smallest size of
/// each channel decides.
const GROUPS: usize = 8;

/// A group's channels have one size, in steps from the largest, in every value that is rounded.
/// Empty for those that are large everywhere, and those that stay as they are.
type Group = Vec<u8>;

/// The group of every channel of every node.
type Groups = Vec<Vec<Group>>;

/// Splits what has channels of very different sizes.
pub(super) fn split(equalised: &mut Equalised, sizes: &Sizes) {
    let Some(groups) = choose(&equalised.graph, sizes) else { return };
    let mut splitting = Splitting {
        names: equalised.graph.nodes().iter().map(|node| node.name.clone()).collect(),
        graph: &equalised.graph,
        groups,
        nodes: Vec::new(),
        pieces: Vec::new(),
    };
    for index in 0..equalised.graph.nodes().len() {
        let pieces = splitting.node(NodeId(index));
        splitting.pieces.push(pieces);
    }
    let notes = splitting.notes();
    // The result has one group: it stays as it is.
    let output = &splitting.pieces[equalised.graph.output().index()];
    let Some(&output) = output.get(&Group::new()) else { return };
    let graph = equalised.graph.with_nodes(splitting.nodes, output);
    // Never worse than before.
    if check(&graph).problems.len() <= check(&equalised.graph).problems.len() {
        equalised.grouped = notes.len();
        equalised.notes.extend(notes);
        equalised.graph = graph;
    }
}

/// Groups by size; `None` when there is only one.
fn choose(graph: &Graph, sizes: &Sizes) -> Option<Groups> {
    let mut classes = Classes::new(graph);
    for (index, node) in graph.nodes().iter().enumerate() {
        match &node.layer {
            Layer::Conv2d { shape, .. } if depthwise(shape) => {
                let each = shape.out_channels / shape.groups;
                for o in 0..shape.out_channels {
                    classes.tie((node.inputs[0].index(), o / each), (index, o));
                }
            }
            Layer::Conv2d { shape, .. } if shape.groups == 1 => {}
            Layer::Conv2d { .. } | Layer::Reshape | Layer::Gather(_) | Layer::Multiply => {
                node.inputs.iter().for_each(|input| classes.fix_all(graph, *input));
                classes.fix_all(graph, NodeId(index));
            }
            _ => links(graph, node, &mut |input, c, out| classes.tie((input.index(), c), (index, out))),
        }
    }
    let ratios = sizes.ratios(graph, &mut classes);
    let step = |ratio: &f64| ((1.0 / ratio).log2() / BITS).clamp(0.0, f64::from(STEPS - 1)) as u8;
    let steps: Vec<Group> = ratios.iter().map(|ratios| ratios.iter().map(step).collect()).collect();
    let mut grouped = |of_steps: fn(&Group) -> Group| -> Groups {
        let mut group = |node: usize, c: usize| {
            let class = classes.find(node, c);
            let group = if classes.is_fixed(class) { Group::new() } else { of_steps(&steps[class]) };
            if group.iter().all(|step| *step == 0) { Group::new() } else { group }
        };
        let nodes = graph.nodes().iter().enumerate();
        nodes.map(|(index, node)| (0..count(node)).map(|c| group(index, c)).collect()).collect()
    };
    let mut groups = grouped(Group::clone);
    let several = |of_node: &Vec<Group>| of_node.iter().collect::<BTreeSet<_>>().len();
    if groups.iter().any(|of_node| several(of_node) > GROUPS) {
        groups = grouped(|steps| steps.iter().max().map(|step| vec![*step]).unwrap_or_default());
    }
    groups.iter().flatten().any(|group| !group.is_empty()).then_some(groups)
}

/// Whether every channel is convolved by itself.
fn depthwise(shape: &Conv2d) -> bool {
    shape.groups > 1 && shape.groups == shape.in_channels
}

struct Splitting<'g> {
    graph: &'g Graph,
    groups: Groups,
    names: HashSet<String>,
    nodes: Vec<Node>,
    /// New nodes by old ones and groups; none where a value has no channel of a group.
    pieces: Vec<BTreeMap<Group, NodeId>>,
}

impl Splitting<'_> {
    /// The channels of a node that are in a group.
    fn members(&self, id: NodeId, group: &Group) -> Vec<usize> {
        let of_node = &self.groups[id.index()];
        (0..of_node.len()).filter(|&c| of_node[c] == *group).collect()
    }

    /// The groups of a node that have channels, with them.
    fn parts(&self, id: NodeId) -> BTreeMap<Group, Vec<usize>> {
        let mut parts: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
        for (c, group) in self.groups[id.index()].iter().enumerate() {
            parts.entry(group.clone()).or_default().push(c);
        }
        parts
    }

    fn unique(&mut self, wanted: String) -> String {
        let mut name = wanted.clone();
        for number in 2.. {
            if self.names.insert(name.clone()) {
                break;
            }
            name = format!("{wanted}.{number}");
        }
        name
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    /// The pieces of a node.
    fn node(&mut self, id: NodeId) -> BTreeMap<Group, NodeId> {
        let mut pieces = BTreeMap::new();
        for (place, (group, members)) in self.parts(id).into_iter().enumerate() {
            let name = match place {
                0 => self.graph.node(id).name.clone(),
                _ => self.unique(format!("{}.group{place}", self.graph.node(id).name)),
            };
            let piece = self.piece(id, &group, &members, name);
            pieces.insert(group, piece);
        }
        pieces
    }

    /// The piece of a node that has the channels `members`, all of a group.
    fn piece(&mut self, id: NodeId, group: &Group, members: &[usize], name: String) -> NodeId {
        let graph = self.graph;
        let node = graph.node(id);
        let mut shape = node.shape.clone();
        shape[0] = members.len();
        let inputs: Vec<NodeId> =
            node.inputs.iter().filter_map(|input| self.pieces[input.index()].get(group).copied()).collect();
        let pooled = |pool: &SumPool2d| SumPool2d { channels: members.len(), ..*pool };
        let of_channels = |v: &SecretReals| -> SecretReals { members.iter().map(|&c| v[c]).collect() };
        let layer = match &node.layer {
            Layer::Conv2d { shape: conv, weights, bias } if depthwise(conv) => {
                let groups = self.members(node.inputs[0], group).len();
                let conv = Conv2d { in_channels: groups, out_channels: members.len(), groups, ..*conv };
                let taps = conv.kernel[0] * conv.kernel[1];
                let weights = rows(weights, taps, members);
                Layer::Conv2d { shape: conv, weights, bias: bias.as_ref().map(|b| rows(b, 1, members)) }
            }
            Layer::Conv2d { shape: conv, .. } if conv.groups == 1 => return self.sum(id, members, name),
            Layer::Linear { .. } => return self.sum(id, members, name),
            Layer::BatchNorm { scale, offset } => {
                Layer::BatchNorm { scale: of_channels(scale), offset: of_channels(offset) }
            }
            Layer::AveragePool(pool) => Layer::AveragePool(pooled(pool)),
            Layer::SumPool(pool) => Layer::SumPool(pooled(pool)),
            Layer::MaxPool(pool) => Layer::MaxPool(pooled(pool)),
            // Joined values of which one alone has channels of the group.
            Layer::Concat if inputs.len() == 1 => return inputs[0],
            layer => layer.clone(),
        };
        self.push(Node { name, layer, inputs, shape, recorded: node.recorded })
    }

    /// A layer of weights, of some of its outputs: what each piece of its input gives, added up.
    fn sum(&mut self, id: NodeId, members: &[usize], name: String) -> NodeId {
        let graph = self.graph;
        let node = graph.node(id);
        let mut shape = node.shape.clone();
        shape[0] = members.len();
        let parts = self.parts(node.inputs[0]);
        let mut sum: Option<NodeId> = None;
        for (place, (group, read)) in parts.iter().enumerate() {
            let Some(&input) = self.pieces[node.inputs[0].index()].get(group) else { continue };
            let alone = parts.len() == 1;
            let own = if alone { name.clone() } else { self.unique(format!("{name}.of{place}")) };
            let layer = self.term(node, members, read, place == 0);
            let term = self.push(Node {
                name: own,
                layer,
                inputs: vec![input],
                shape: shape.clone(),
                recorded: None,
            });
            sum = Some(match sum {
                None => term,
                Some(before) => {
                    let last = place + 1 == parts.len();
                    let own = if last { name.clone() } else { self.unique(format!("{name}.sum{place}")) };
                    let recorded = node.recorded.filter(|_| last);
                    let inputs = vec![before, term];
                    self.push(Node { name: own, layer: Layer::Add, inputs, shape: shape.clone(), recorded })
                }
            });
        }
        sum.unwrap_or(NodeId(0))
    }

    /// The part of a layer of weights from the channels `read` of its input to its outputs
    /// `members`.
    fn term(&self, node: &Node, members: &[usize], read: &[usize], with_bias: bool) -> Layer {
        let biased = |bias: &Option<Tensor>| bias.as_ref().filter(|_| with_bias).map(|b| rows(b, 1, members));
        match &node.layer {
            Layer::Conv2d { shape, weights, bias } => {
                let taps = shape.kernel[0] * shape.kernel[1];
                let row = |&o: &usize| {
                    let window = move |&i: &usize| {
                        let first = (o * shape.in_channels + i) * taps;
                        weights[first..first + taps].iter().copied()
                    };
                    read.iter().flat_map(window)
                };
                let weights: Vec<f32> = members.iter().flat_map(row).collect();
                let shape = Conv2d { in_channels: read.len(), out_channels: members.len(), ..*shape };
                Layer::Conv2d { shape, weights: weights.into(), bias: biased(bias) }
            }
            Layer::Linear { shape, weights, bias } => {
                let input = self.graph.node(node.inputs[0]);
                let mut reads = vec![false; count(input)];
                read.iter().for_each(|&c| reads[c] = true);
                let columns: Vec<usize> =
                    (0..shape.inputs).filter(|&element| reads[channel(input, element)]).collect();
                let row = |&o: &usize| columns.iter().map(move |e| weights[o * shape.inputs + e]);
                let weights: Vec<f32> = members.iter().flat_map(row).collect();
                let shape = Dense { inputs: columns.len(), outputs: members.len() };
                Layer::Linear { shape, weights: weights.into(), bias: biased(bias) }
            }
            layer => layer.clone(),
        }
    }

    /// What was split, for people.
    fn notes(&self) -> Vec<String> {
        let note = |(index, node): (usize, &Node)| {
            let parts = self.parts(NodeId(index));
            let weights = matches!(node.layer, Layer::Conv2d { .. } | Layer::Linear { .. });
            let sizes: Vec<String> = parts.values().map(|members| members.len().to_string()).collect();
            (weights && parts.len() > 1).then(|| {
                format!(
                    "{} computed in groups of channels ({}), with activations of their own: they are of very different \
                     sizes",
                    node.name,
                    sizes.join(", ")
                )
            })
        };
        self.graph.nodes().iter().enumerate().filter_map(note).collect()
    }
}

/// Some rows of numbers, `each` to a row.
fn rows(numbers: &[f32], each: usize, members: &[usize]) -> Tensor {
    members.iter().flat_map(|&m| &numbers[m * each..(m + 1) * each]).copied().collect::<Vec<f32>>().into()
}
