//! Where factors and offsets go.

use std::collections::HashMap;

use super::Affine;
use crate::graph::{Gather, Graph, Layer, NodeId, SecretReals};

/// Where a node's factors and offsets go; `Before` for nodes that have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Into the linear layer right before, by [`crate::fold`].
    Before,
    /// Into all linear layers that sums, joins and means before it put together.
    Branches,
    /// Into the linear layers behind.
    Behind,
    /// Nowhere: a layer of its own.
    Own,
}

/// What was found out about a graph.
pub(super) struct Places {
    place: Vec<Place>,
    /// How many nodes read each node, the result counted as one.
    readers: Vec<usize>,
    /// What belongs right behind linear layers, because a sum or the like passes it on.
    shares: HashMap<NodeId, Affine>,
}

impl Places {
    pub(super) fn of(graph: &Graph) -> Self {
        let count = graph.nodes().len();
        let mut readers = vec![0; count];
        readers[graph.output().index()] = 1;
        graph.nodes().iter().flat_map(|n| &n.inputs).for_each(|i| readers[i.index()] += 1);
        let mut finder = Finder {
            graph,
            found: Places { place: Vec::with_capacity(count), readers, shares: HashMap::new() },
            leaf: Vec::with_capacity(count),
            takes: Vec::with_capacity(count),
            no_offset: Vec::with_capacity(count),
            opened: Vec::with_capacity(count),
        };
        (0..count).for_each(|index| finder.look_at(NodeId(index)));
        finder.found
    }

    pub(super) fn place(&self, id: NodeId) -> Place {
        self.place[id.index()]
    }

    /// Whether one node reads a node's value, and only once.
    pub(super) fn single_use(&self, id: NodeId) -> bool {
        self.readers[id.index()] == 1
    }

    pub(super) fn take_share(&mut self, id: NodeId) -> Option<Affine> {
        self.shares.remove(&id)
    }
}

struct Finder<'g> {
    graph: &'g Graph,
    found: Places,
    /// Nodes that are linear layers, perhaps with factors and offsets folded into them.
    leaf: Vec<bool>,
    /// Nodes before which linear layers, which nothing else reads, can take factors and offsets
    /// behind them.
    takes: Vec<bool>,
    /// Nodes whose pending offsets are all 0.
    no_offset: Vec<bool>,
    /// Nodes whose value an activation opened.
    opened: Vec<bool>,
}

impl Finder<'_> {
    fn look_at(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        let mut place = Place::Before;
        let mut no_offset = true;
        if let Layer::BatchNorm { scale, offset } = &node.layer {
            let input = node.inputs[0].index();
            no_offset = self.no_offset[input] && offset.iter().all(|&o| o == 0.0);
            place = match (self.takes[input], self.leaf[input]) {
                (true, true) => Place::Before,
                (true, false) => Place::Branches,
                (false, _) if self.sum_takes(node.inputs[0]) => Place::Before,
                (false, _) if self.behind(id, no_offset) => Place::Behind,
                (false, _) => Place::Own,
            };
            if place == Place::Branches {
                self.distribute(node.inputs[0], Affine { scale: scale.clone(), offset: offset.clone() });
            }
        }
        let leaf = match node.layer {
            Layer::Conv2d { .. } | Layer::Linear { .. } => true,
            Layer::BatchNorm { .. } => place == Place::Before && self.leaf[node.inputs[0].index()],
            _ => false,
        };
        let opened = match node.layer {
            Layer::Input { .. } | Layer::Polynomial { .. } | Layer::Activation(_) => true,
            // A product is opened by a layer of its own.
            Layer::Multiply => true,
            Layer::Conv2d { .. } | Layer::Linear { .. } => false,
            Layer::BatchNorm { .. } if place != Place::Behind => false,
            _ => node.inputs.iter().all(|i| self.opened[i.index()]),
        };
        let all = || node.inputs.iter().all(|i| self.takes[i.index()]);
        let takes = match &node.layer {
            Layer::Add | Layer::Concat => all(),
            Layer::AveragePool(pool) | Layer::SumPool(pool) => pool.padding == [0; 4] && all(),
            Layer::Gather(gather) => all() && reads_channels_once(self.graph, id, gather),
            Layer::BatchNorm { .. } if place == Place::Branches => true,
            _ => leaf,
        };
        self.leaf.push(leaf);
        self.opened.push(opened);
        // A value that meets itself has two readers too.
        self.takes.push(takes && self.found.single_use(id));
        self.no_offset.push(no_offset || place != Place::Behind);
        self.found.place.push(place);
    }

    /// Whether [`crate::fold`] takes factors and offsets behind a sum of a linear layer and of what
    /// is opened: that branch gets a layer of its own, in the round of the other.
    fn sum_takes(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let linear = |i: &NodeId| self.leaf[i.index()] && self.takes[i.index()];
        matches!(node.layer, Layer::Add)
            && self.found.single_use(id)
            && node.inputs.iter().any(linear)
            && node.inputs.iter().all(|i| linear(i) || self.opened[i.index()])
    }

    /// Whether linear layers are all that reads a node, and can take what their input goes through:
    /// where zeros are padded, factors only. Another node of factors and offsets passes them on.
    fn behind(&self, id: NodeId, no_offset: bool) -> bool {
        let dense = |reader: NodeId| matches!(self.graph.node(reader).layer, Layer::Linear { .. });
        let takes = |reader: NodeId| match &self.graph.node(reader).layer {
            Layer::Conv2d { shape, .. } => no_offset || shape.padding == [0; 4],
            Layer::Linear { .. } => true,
            Layer::BatchNorm { .. } => self.found.single_use(id),
            Layer::Flatten => reader != self.graph.output() && self.graph.consumers(reader).all(dense),
            _ => false,
        };
        id != self.graph.output() && self.graph.consumers(id).all(takes)
    }

    /// Gives every linear layer before a node its share of the factors and offsets behind it.
    fn distribute(&mut self, id: NodeId, whole: Affine) {
        let mut open = vec![(id, whole)];
        while let Some((id, affine)) = open.pop() {
            let node = self.graph.node(id);
            if self.leaf[id.index()] {
                let share = match self.found.shares.remove(&id) {
                    Some(earlier) => earlier.then(&affine),
                    None => affine,
                };
                self.found.shares.insert(id, share);
                continue;
            }
            match &node.layer {
                Layer::Add => {
                    // The offset is added once.
                    let zero = affine.offset.iter().map(|_| 0.0).collect();
                    open.push((node.inputs[1], Affine { scale: affine.scale.clone(), offset: zero }));
                    open.push((node.inputs[0], affine));
                }
                Layer::Concat => {
                    let mut first = 0;
                    for &input in &node.inputs {
                        let channels = self.graph.node(input).shape[0];
                        let part = |v: &SecretReals| v[first..first + channels].iter().copied().collect();
                        open.push((
                            input,
                            Affine { scale: part(&affine.scale), offset: part(&affine.offset) },
                        ));
                        first += channels;
                    }
                }
                Layer::Gather(gather) => {
                    let input = self.graph.node(node.inputs[0]);
                    let channels = input.shape[0];
                    let (mut scale, mut offset) = (vec![1.0; channels], vec![0.0; channels]);
                    for (from, to) in channels_read(self.graph, id, gather) {
                        (scale[from], offset[from]) = (affine.scale[to], affine.offset[to]);
                    }
                    let affine = Affine { scale: SecretReals(scale), offset: SecretReals(offset) };
                    open.push((node.inputs[0], affine));
                }
                Layer::SumPool(pool) => {
                    let count = (pool.kernel[0] * pool.kernel[1]) as f64;
                    let offset = affine.offset.iter().map(|o| o / count).collect();
                    open.push((node.inputs[0], Affine { scale: affine.scale, offset }));
                }
                _ => open.push((node.inputs[0], affine)),
            }
        }
    }
}

/// Which channel of its input each channel of a gather reads: (read, reading).
fn channels_read(graph: &Graph, id: NodeId, gather: &Gather) -> impl Iterator<Item = (usize, usize)> {
    let node = graph.node(id);
    let input = graph.node(node.inputs[0]);
    let [read, reading] = [input, node].map(|node| node.len() / node.shape[0]);
    let sources = gather.sources(input.len()).enumerate();
    sources.map(move |(element, source)| (source / read, element / reading))
}

/// Whether no two channels of a gather read one channel of its input: then factors of its channels
/// are factors of the input's.
fn reads_channels_once(graph: &Graph, id: NodeId, gather: &Gather) -> bool {
    let mut reader = vec![None; graph.node(graph.node(id).inputs[0]).shape[0]];
    channels_read(graph, id, gather).all(|(read, reading)| *reader[read].get_or_insert(reading) == reading)
}
