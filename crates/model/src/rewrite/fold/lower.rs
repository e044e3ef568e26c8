//! First half of folding: which nodes become operations, which disappear into others.

use amicus_field::{Dense, LinearShape, SumPool2d};
use amicus_plan::ValueId;

use super::{Folded, FoldedKind, FoldedLinear, FoldedOp};
use crate::error::ModelError;
use crate::graph::{Graph, Layer, NodeId, SecretReals, Tensor};
use crate::pieces::Pieces;

/// A graph lowered to operations whose factors are not chosen yet: coefficients and rows are the
/// graph's own.
pub(super) struct Lowered {
    pub(super) folded: Folded,
    /// Factor of the pooling merged into or done by each operation: `1 / k^2` for means, 1 for sums
    /// and others.
    pub(super) gains: Vec<f64>,
    /// Names of the pooling nodes behind `gains`.
    pub(super) pools: Vec<Option<String>>,
}

/// Lowers all nodes. Behind one that cannot be compiled, work goes on as if an activation stood
/// there, to find the others.
pub(super) fn lower(graph: &Graph) -> (Lowered, Vec<ModelError>) {
    let mut problems = Vec::new();
    let mut lowering = Lowering {
        graph,
        values: Vec::with_capacity(graph.nodes().len()),
        lowered: Lowered {
            folded: Folded {
                name: graph.name().to_owned(),
                input_shape: graph.input_shape().to_vec(),
                input_range: graph.input_range(),
                linears: Vec::new(),
                ops: Vec::new(),
                output: ValueId::INPUT,
                factors: Vec::new(),
                rewrites: Vec::new(),
            },
            gains: Vec::new(),
            pools: Vec::new(),
        },
    };
    for id in (0..graph.nodes().len()).map(NodeId) {
        let value = lowering.node(id).unwrap_or_else(|problem| {
            problems.push(problem);
            let input = graph.node(id).inputs.first().map_or(ValueId::INPUT, |i| lowering.values[i.index()]);
            let coefficients = vec![0.0, 1.0];
            lowering.push(id, FoldedKind::Activation { input, coefficients, interval: 1.0, pool: None })
        });
        lowering.values.push(value);
    }
    let output = lowering.values[graph.output().index()];
    if output == ValueId::INPUT {
        problems.push(ModelError::node(&graph.node(graph.output()).name, "the result is the input itself"));
        return (lowering.lowered, problems);
    }
    let mut lowered = lowering.lowered;
    lowered.folded.output = output;
    if let (Some(op), recorded @ Some(_)) = (output.op(), graph.node(graph.output()).recorded)
        && !matches!(lowered.folded.ops[op.index()].kind, FoldedKind::Activation { .. })
    {
        lowered.folded.ops[op.index()].recorded = recorded;
    }
    (lowered, problems)
}

pub(super) struct Lowering<'g> {
    pub(super) graph: &'g Graph,
    /// The value that holds each node's result.
    pub(super) values: Vec<ValueId>,
    pub(super) lowered: Lowered,
}

impl Lowering<'_> {
    /// Lowers one node; gives the value that holds its result.
    fn node(&mut self, id: NodeId) -> Result<ValueId, ModelError> {
        let node = self.graph.node(id);
        let input = |i: usize| self.values[node.inputs[i].index()];
        match &node.layer {
            Layer::Input { .. } => Ok(ValueId::INPUT),
            Layer::Flatten | Layer::Reshape => Ok(input(0)),
            Layer::Conv2d { shape, weights, bias } => {
                self.linear(id, input(0), LinearShape::Conv2d(*shape), weights, bias.as_ref())
            }
            Layer::Linear { shape, weights, bias } => {
                self.linear(id, input(0), LinearShape::Dense(*shape), weights, bias.as_ref())
            }
            Layer::BatchNorm { scale, offset } => self.batch_norm(id, scale, offset),
            Layer::AveragePool(pool) => {
                self.pool(id, input(0), *pool, 1.0 / (pool.kernel[0] * pool.kernel[1]) as f64)
            }
            Layer::SumPool(pool) => self.pool(id, input(0), *pool, 1.0),
            Layer::Polynomial { coefficients, interval } => {
                let kind = FoldedKind::Activation {
                    input: input(0),
                    coefficients: coefficients.clone(),
                    interval: *interval,
                    pool: None,
                };
                Ok(self.push(id, kind))
            }
            Layer::Add => self.add(id),
            Layer::Extreme(which) => {
                let (left, right, which) = (input(0), input(1), *which);
                Ok(self.push(id, FoldedKind::Extreme { left, right, which }))
            }
            Layer::Multiply => {
                let (left, right) = (input(0), input(1));
                if !(self.shared(left) && self.shared(right)) {
                    let reason = "multiplies a value that no activation opened; put an activation before it";
                    return Err(ModelError::node(&node.name, reason));
                }
                Ok(self.push(id, FoldedKind::Multiply { left, right }))
            }
            Layer::Gather(gather) => {
                Ok(self.push(id, FoldedKind::Gather { input: input(0), gather: gather.clone() }))
            }
            Layer::Activation(function) if function.pieces().is_some() => {
                let pieces = function.pieces().unwrap_or_else(|| Pieces::polynomial(vec![0.0, 1.0]));
                Ok(self.push(id, FoldedKind::Pieces { input: input(0), pieces, pool: None }))
            }
            Layer::Activation(function) => {
                let reason = format!("{} is no polynomial; approximate it first", function.name());
                Err(ModelError::node(&node.name, reason))
            }
            Layer::MaxPool(pool) => self.max_pool(id, input(0), *pool),
            Layer::Concat => {
                let parts = node.inputs.iter().map(|id| self.values[id.index()]).collect();
                Ok(self.push(id, FoldedKind::Concat { parts }))
            }
            Layer::Weigh { rows, columns, divisor } => {
                let (rows, columns) = (rows.clone(), columns.clone());
                let value = self.push(id, FoldedKind::Weigh { input: input(0), rows, columns });
                if let Some(op) = value.op() {
                    self.lowered.gains[op.index()] = 1.0 / divisor;
                }
                Ok(value)
            }
        }
    }

    pub(super) fn push(&mut self, id: NodeId, kind: FoldedKind) -> ValueId {
        let node = self.graph.node(id);
        let folded = &mut self.lowered.folded;
        let recorded = matches!(kind, FoldedKind::Activation { .. }).then_some(node.recorded).flatten();
        folded.ops.push(FoldedOp { name: node.name.clone(), len: node.len(), recorded, kind });
        self.lowered.gains.push(1.0);
        self.lowered.pools.push(None);
        Folded::result(folded.ops.len() - 1)
    }

    /// Whether the parties hold shares of a value's mask, so that it may be multiplied.
    pub(super) fn shared(&self, value: ValueId) -> bool {
        match value.op().map(|op| &self.lowered.folded.ops[op.index()].kind) {
            None
            | Some(
                FoldedKind::Activation { .. }
                | FoldedKind::Polynomial { .. }
                | FoldedKind::Pieces { .. }
                | FoldedKind::Extreme { .. },
            ) => true,
            Some(FoldedKind::MaxPool { input, pool }) => pool.kernel != [1, 1] || self.shared(*input),
            Some(FoldedKind::Linear { .. } | FoldedKind::Multiply { .. }) => false,
            Some(
                FoldedKind::SumPool { input, .. }
                | FoldedKind::Weigh { input, .. }
                | FoldedKind::Gather { input, .. },
            ) => self.shared(*input),
            Some(FoldedKind::Add { left, right }) => self.shared(*left) && self.shared(*right),
            Some(FoldedKind::Concat { parts }) => parts.iter().all(|p| self.shared(*p)),
        }
    }

    /// Whether a node's value is read by one node only, through `Flatten`s.
    pub(super) fn single_use(&self, mut id: NodeId) -> bool {
        loop {
            if self.graph.consumers(id).count() != 1 || id == self.graph.output() {
                return false;
            }
            match self.graph.node(id) {
                node if matches!(node.layer, Layer::Flatten | Layer::Reshape) => id = node.inputs[0],
                _ => return true,
            }
        }
    }

    fn linear(
        &mut self,
        id: NodeId,
        input: ValueId,
        shape: LinearShape,
        weights: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<ValueId, ModelError> {
        let node = self.graph.node(id);
        let bias = SecretReals(bias.map_or_else(Vec::new, |b| b.iter().map(|&v| f64::from(v)).collect()));
        let (weights, row_scale) = (weights.clone(), SecretReals(vec![1.0; shape.biases()]));
        let linear = FoldedLinear { name: node.name.clone(), shape, weights, row_scale, bias };
        if !self.shared(input) {
            return self.merge(id, input, linear);
        }
        self.lowered.folded.linears.push(linear);
        let position = self.lowered.folded.linears.len() - 1;
        Ok(self.push(id, FoldedKind::Linear { input, linear: position }))
    }

    /// A fully connected layer right after another becomes part of it.
    fn merge(&mut self, id: NodeId, input: ValueId, second: FoldedLinear) -> Result<ValueId, ModelError> {
        let node = self.graph.node(id);
        let single = self.single_use(node.inputs[0]);
        let folded = &mut self.lowered.folded;
        let before = input.op().map(|op| op.index());
        let merged = match (before.map(|op| &folded.ops[op].kind), &second.shape) {
            (Some(FoldedKind::Linear { linear, .. }), LinearShape::Dense(b)) => {
                match folded.linears[*linear].shape {
                    LinearShape::Dense(a) => Some((*linear, a, *b)),
                    LinearShape::Conv2d(_) => None,
                }
            }
            _ => None,
        };
        let first = before.map_or("input", |op| folded.ops[op].name.as_str()).to_owned();
        let Some((position, a, b)) = merged else {
            let reason = format!(
                "follows {first} without an activation between; put a polynomial activation there, or merge the two linear \
                 layers into one"
            );
            return Err(ModelError::node(&node.name, reason));
        };
        if !single {
            let reason = format!("cannot be merged with {first}, whose result is used elsewhere too");
            return Err(ModelError::node(&node.name, reason));
        }
        folded.rewrites.push(format!("{first} and {} merged into one fully connected layer", node.name));
        let linear = &mut folded.linears[position];
        *linear = multiply(linear, a, &second, b);
        if let Some(op) = before {
            folded.ops[op].len = node.len();
        }
        Ok(input)
    }

    /// Largest numbers of windows; a function before them that never falls comes behind them.
    fn max_pool(&mut self, id: NodeId, input: ValueId, pool: SumPool2d) -> Result<ValueId, ModelError> {
        let node = self.graph.node(id);
        let single = self.single_use(node.inputs[0]);
        let folded = &mut self.lowered.folded;
        let Some(op) = input.op().map(|op| op.index()).filter(|_| single) else {
            return Ok(self.push(id, FoldedKind::MaxPool { input, pool }));
        };
        let kind = match &folded.ops[op].kind {
            FoldedKind::Pieces { input, pieces, pool: None } if pieces.never_falls() => {
                Some((*input, pieces.clone()))
            }
            _ => None,
        };
        let Some((fed, pieces)) = kind else {
            return Ok(self.push(id, FoldedKind::MaxPool { input, pool }));
        };
        let activation = std::mem::replace(&mut folded.ops[op].name, node.name.clone());
        folded.ops[op].kind = FoldedKind::MaxPool { input: fed, pool };
        folded.ops[op].len = node.len();
        folded.rewrites.push(format!("{} goes before {activation}, which never falls", node.name));
        let value = self.push(id, FoldedKind::Pieces { input, pieces, pool: None });
        if let Some(last) = self.lowered.folded.ops.last_mut() {
            last.name = activation;
        }
        Ok(value)
    }

    fn pool(
        &mut self,
        id: NodeId,
        input: ValueId,
        pool: SumPool2d,
        gain: f64,
    ) -> Result<ValueId, ModelError> {
        let node = self.graph.node(id);
        let mergeable = self.single_use(node.inputs[0]);
        if let Some(op) = input.op().map(|op| op.index())
            && mergeable
            && let FoldedKind::Activation { pool: merged @ None, .. }
            | FoldedKind::Pieces { pool: merged @ None, .. } = &mut self.lowered.folded.ops[op].kind
        {
            *merged = Some(pool);
            self.lowered.folded.ops[op].len = node.len();
            self.lowered.gains[op] = gain;
            self.lowered.pools[op] = Some(node.name.clone());
            let text = format!("{} summed before {} is opened", node.name, self.lowered.folded.ops[op].name);
            self.lowered.folded.rewrites.push(text);
            return Ok(input);
        }
        let value = self.push(id, FoldedKind::SumPool { input, pool });
        if let Some(op) = value.op() {
            self.lowered.gains[op.index()] = gain;
            self.lowered.pools[op.index()] = Some(node.name.clone());
        }
        Ok(value)
    }
}

/// The product of two fully connected layers, the second after the first.
fn multiply(first: &FoldedLinear, a: Dense, second: &FoldedLinear, b: Dense) -> FoldedLinear {
    let rows = first.real_weights();
    let mut weights = Vec::with_capacity(a.inputs * b.outputs);
    let mut bias = Vec::with_capacity(b.outputs);
    for (o, row) in second.weights.chunks_exact(a.outputs).enumerate() {
        let mut sums = vec![0.0f64; a.inputs];
        for (&w, inner) in row.iter().zip(rows.chunks_exact(a.inputs)) {
            sums.iter_mut().zip(inner).for_each(|(s, x)| *s += f64::from(w) * x);
        }
        weights.extend(sums.into_iter().map(|s| s as f32));
        let through: f64 = row.iter().zip(&first.bias.0).map(|(&w, b)| f64::from(w) * b).sum();
        bias.push(through + second.bias.0.get(o).copied().unwrap_or(0.0));
    }
    let has_bias = !(first.bias.0.is_empty() && second.bias.0.is_empty());
    FoldedLinear {
        name: format!("{}+{}", first.name, second.name),
        shape: LinearShape::Dense(Dense { inputs: a.inputs, outputs: b.outputs }),
        weights: weights.into(),
        row_scale: SecretReals(vec![1.0; b.outputs]),
        bias: SecretReals(if has_bias { bias } else { Vec::new() }),
    }
}
