//! BatchNorm disappears into what stands before it.
//!
//! After a linear layer it scales rows and changes biases. After a sum (residual networks that
//! normalise what the next activation reads) it goes into both branches,
//! `s (a + b) + o = (s a + o) + s b`: a branch that is a linear layer takes it as above; one that
//! is opened already (the identity, which other layers read too) gets a layer of its own with one
//! weight a channel. That layer's opening goes along with the other branch's, so it costs bytes but
//! no round.

use amicus_field::{Conv2d, LinearShape};
use amicus_plan::ValueId;

use super::lower::Lowering;
use super::{FoldedKind, FoldedLinear};
use crate::error::ModelError;
use crate::graph::{Layer, NodeId, SecretReals};

impl Lowering<'_> {
    pub(super) fn batch_norm(
        &mut self,
        id: NodeId,
        scale: &[f64],
        offset: &[f64],
    ) -> Result<ValueId, ModelError> {
        let node = self.graph.node(id);
        let before = self.graph.node(node.inputs[0]);
        let value = self.values[node.inputs[0].index()];
        let kind = value.op().map(|op| &self.lowered.folded.ops[op.index()].kind);
        let linear = match (kind, &before.layer) {
            // The sum has taken it along.
            (_, Layer::Add) if self.norm_behind(node.inputs[0]) == Some(id) => return Ok(value),
            (_, Layer::Add) => None,
            (
                Some(FoldedKind::Linear { linear, .. }),
                Layer::Conv2d { .. } | Layer::Linear { .. } | Layer::BatchNorm { .. },
            ) => Some(*linear),
            _ => {
                let advice = match before.layer {
                    Layer::Input { .. } => "normalise the images before they are given instead",
                    _ => "it can be folded only right after a convolution, a fully connected layer or a sum",
                };
                let reason = format!("BatchNorm after {}; {advice}", before.name);
                return Err(ModelError::node(&node.name, reason));
            }
        };
        let Some(linear) = linear.filter(|_| self.single_use(node.inputs[0])) else {
            let reason = format!("cannot be folded into {}, whose result is used elsewhere too", before.name);
            return Err(ModelError::node(&node.name, reason));
        };
        normalise(&mut self.lowered.folded.linears[linear], scale, offset);
        let text = format!("{} folded into {}", node.name, self.lowered.folded.linears[linear].name);
        self.lowered.folded.rewrites.push(text);
        Ok(value)
    }

    /// The sum of two values, with the BatchNorm that alone reads it.
    pub(super) fn add(&mut self, id: NodeId) -> Result<ValueId, ModelError> {
        let inputs = &self.graph.node(id).inputs;
        let [mut left, mut right] = [0, 1].map(|i| self.values[inputs[i].index()]);
        if let Some(norm) = self.norm_behind(id)
            && let Layer::BatchNorm { scale, offset } = &self.graph.node(norm).layer
        {
            left = self.normalised(norm, inputs[0], scale, offset)?;
            right = self.normalised(norm, inputs[1], scale, &vec![0.0; offset.len()])?;
        }
        Ok(self.push(id, FoldedKind::Add { left, right }))
    }

    /// The BatchNorm that is the only reader of a sum.
    fn norm_behind(&self, sum: NodeId) -> Option<NodeId> {
        let mut readers = self.graph.consumers(sum);
        let norm = readers.next().filter(|&id| matches!(self.graph.node(id).layer, Layer::BatchNorm { .. }));
        norm.filter(|_| readers.next().is_none() && sum != self.graph.output())
    }

    /// A branch of a sum, times `scale` and plus `offset` a channel.
    fn normalised(
        &mut self,
        norm: NodeId,
        branch: NodeId,
        scale: &[f64],
        offset: &[f64],
    ) -> Result<ValueId, ModelError> {
        let (name, value) = (&self.graph.node(norm).name, self.values[branch.index()]);
        let before = value.op().map(|op| &self.lowered.folded.ops[op.index()]);
        let before_name = before.map_or("input", |op| op.name.as_str()).to_owned();
        if let Some(FoldedKind::Linear { linear, .. }) = before.map(|op| &op.kind) {
            let linear = *linear;
            let twice = self.graph.consumers(branch).any(|id| self.graph.node(id).inputs == [branch; 2]);
            let rows = self.lowered.folded.linears[linear].row_scale.len();
            if rows == scale.len() && !twice && self.single_use(branch) {
                let layer = &mut self.lowered.folded.linears[linear];
                normalise(layer, scale, offset);
                let text = format!("{name} folded into {}", layer.name);
                self.lowered.folded.rewrites.push(text);
                return Ok(value);
            }
        }
        if !self.shared(value) {
            let reason = format!(
                "cannot be folded into {before_name} before the sum; let only the sum read {before_name}, or put an \
                 activation behind it"
            );
            return Err(ModelError::node(name, reason));
        }
        Ok(self.scaled(norm, value, &before_name, scale, offset))
    }

    /// A layer with one weight a channel.
    fn scaled(
        &mut self,
        norm: NodeId,
        input: ValueId,
        before: &str,
        scale: &[f64],
        offset: &[f64],
    ) -> ValueId {
        let (node, channels) = (self.graph.node(norm), scale.len());
        let shape = LinearShape::Conv2d(Conv2d {
            in_channels: channels,
            in_height: 1,
            in_width: node.len() / channels,
            out_channels: channels,
            kernel: [1; 2],
            stride: [1; 2],
            padding: [0; 4],
            dilation: [1; 2],
            groups: channels,
        });
        let has_offset = offset.iter().any(|&o| o != 0.0);
        let layer = FoldedLinear {
            name: format!("{}.{before}", node.name),
            shape,
            weights: vec![1.0; channels].into(),
            row_scale: SecretReals(scale.to_vec()),
            bias: SecretReals(if has_offset { offset.to_vec() } else { Vec::new() }),
        };
        let text = format!("{} made a layer of one weight a channel behind {before}", node.name);
        let value = self.push(norm, FoldedKind::Linear { input, linear: self.lowered.folded.linears.len() });
        let folded = &mut self.lowered.folded;
        folded.rewrites.push(text);
        if let Some(op) = value.op() {
            folded.ops[op.index()].name.clone_from(&layer.name);
        }
        folded.linears.push(layer);
        value
    }
}

/// BatchNorm behind a linear layer.
fn normalise(layer: &mut FoldedLinear, scale: &[f64], offset: &[f64]) {
    let bias = &mut layer.bias.0;
    bias.resize(scale.len(), 0.0);
    for (c, (s, o)) in scale.iter().zip(offset).enumerate() {
        layer.row_scale.0[c] *= s;
        bias[c] = bias[c] * s + o;
    }
}
