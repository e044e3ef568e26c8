//! Weights as their owner has them, and the parts in which they are masked, sent and taken.

use crate::{WeightId, WeightSpec};
use amicus_field::{LimbVec, Limbs};
use std::fmt;
use std::ops::Range;

/// Weights and bias of one tensor. `Debug` shows lengths only.
#[derive(Clone, PartialEq)]
pub struct LayerWeights {
    /// Weights in the order `[out, in/groups, kernel_h, kernel_w]` or `[out, in]`.
    pub weights: LimbVec,
    /// One bias per output channel or output; none when the layer has no bias.
    pub bias: Option<LimbVec>,
}

impl fmt::Debug for LayerWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bias = self.bias.as_ref().map(LimbVec::len);
        f.debug_struct("LayerWeights").field("weights", &self.weights.len()).field("bias", &bias).finish()
    }
}

/// Most elements in one part of a weight tensor: what is masked, sent and taken at a time.
pub const PART: usize = 1 << 18;

/// A part of a weight tensor: a run of its weights, or its bias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Weights with these indices.
    Weights(Range<usize>),
    /// All biases.
    Bias(usize),
}

impl Part {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Part::Weights(range) => range.len(),
            Part::Bias(len) => *len,
        }
    }

    /// Whether there are none; never so for a valid plan.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The parts of a weight tensor, in the order in which they are sent.
pub fn parts(spec: &WeightSpec) -> Vec<Part> {
    let count = spec.shape.weights();
    let mut parts: Vec<Part> =
        (0..count).step_by(PART).map(|start| Part::Weights(start..count.min(start + PART))).collect();
    if spec.bias {
        parts.push(Part::Bias(spec.shape.biases()));
    }
    parts
}

/// A source of the owner's weights, read part by part so that not all forms of them are in memory
/// at once.
pub trait WeightSource {
    /// The elements of one part; none when there are no such weights.
    fn part(&self, id: WeightId, part: &Part, limbs: Limbs) -> Option<LimbVec>;
}

impl WeightSource for [LayerWeights] {
    fn part(&self, id: WeightId, part: &Part, _limbs: Limbs) -> Option<LimbVec> {
        let layer = self.get(id.index())?;
        match part {
            Part::Weights(range) if range.end <= layer.weights.len() => {
                Some(layer.weights.slice(range.clone()))
            }
            Part::Weights(_) => None,
            Part::Bias(_) => layer.bias.clone(),
        }
    }
}

impl WeightSource for Vec<LayerWeights> {
    fn part(&self, id: WeightId, part: &Part, limbs: Limbs) -> Option<LimbVec> {
        self.as_slice().part(id, part, limbs)
    }
}
