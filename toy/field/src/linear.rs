//! Linear layers as the sum over their entries.

use std::fmt;

use crate::error::FieldError;
use crate::prime::Limbs;
use crate::shape::{Conv2d, LinearShape};
use crate::vector::LimbVec;

/// A fully connected layer or a convolution with its weights, without bias.
#[derive(Clone)]
pub struct LinearMap {
    shape: LinearShape,
    weights: LimbVec,
}

impl LinearMap {
    /// The layer with these weights.
    ///
    /// # Errors
    /// When the shape is not valid or there are not as many weights as it has.
    pub fn new(shape: LinearShape, weights: &LimbVec) -> Result<LinearMap, FieldError> {
        let mut map = LinearMap::zeros(shape, weights.limbs())?;
        if weights.len() != shape.weights() {
            return Err(FieldError::WeightCount { expected: shape.weights(), got: weights.len() });
        }
        map.write(0, weights);
        Ok(map)
    }

    /// A layer whose weights are all 0.
    ///
    /// # Errors
    /// When the shape is not valid.
    pub fn zeros(shape: LinearShape, limbs: Limbs) -> Result<LinearMap, FieldError> {
        shape.validate()?;
        Ok(LinearMap { shape, weights: LimbVec::zeros(limbs, shape.weights()) })
    }

    /// Replaces the weights from index `first` on.
    ///
    /// # Panics
    /// When there are not so many weights.
    pub fn write(&mut self, first: usize, weights: &LimbVec) {
        (0..weights.len()).for_each(|i| self.weights.set(first + i, weights.get(i)));
    }

    /// The shape.
    pub const fn shape(&self) -> &LinearShape {
        &self.shape
    }

    /// The modulus of the weights.
    pub fn limbs(&self) -> Limbs {
        self.weights.limbs()
    }

    /// The weights.
    pub fn weights(&self) -> LimbVec {
        self.weights.clone()
    }

    /// `len` of the weights from index `first` on.
    ///
    /// # Panics
    /// When there are not so many weights.
    pub fn read(&self, first: usize, len: usize) -> LimbVec {
        self.weights.slice(first..first + len)
    }

    /// `W x` for every batch element.
    ///
    /// # Panics
    /// When `x` does not have `batch * inputs` elements.
    pub fn apply(&self, x: &LimbVec, batch: usize) -> LimbVec {
        let (inputs, outputs) = (self.shape.inputs(), self.shape.outputs());
        self.sum(x, batch, [inputs, outputs], |o, i| (i, o))
    }

    /// `W^T y` for every batch element.
    ///
    /// # Panics
    /// When `y` does not have `batch * outputs` elements.
    pub fn apply_transposed(&self, y: &LimbVec, batch: usize) -> LimbVec {
        let (inputs, outputs) = (self.shape.inputs(), self.shape.outputs());
        self.sum(y, batch, [outputs, inputs], |o, i| (o, i))
    }

    fn sum(
        &self,
        from: &LimbVec,
        batch: usize,
        [size, result]: [usize; 2],
        way: impl Fn(usize, usize) -> (usize, usize),
    ) -> LimbVec {
        assert!(batch > 0 && from.len() == batch * size, "a batch of {batch} needs {size} elements each");
        let mut out = LimbVec::zeros(from.limbs(), batch * result);
        for e in 0..batch {
            self.entries(|o, i, w| {
                let (source, target) = way(o, i);
                let (source, target) = (e * size + source, e * result + target);
                out.set(target, out.get(target) + self.weights.get(w) * from.get(source));
            });
        }
        out
    }

    /// Every entry of the matrix that is not 0 by its shape: output, input, index of the weight.
    fn entries(&self, mut entry: impl FnMut(usize, usize, usize)) {
        match self.shape {
            LinearShape::Dense(dense) => {
                for w in 0..dense.inputs * dense.outputs {
                    entry(w / dense.inputs, w % dense.inputs, w);
                }
            }
            LinearShape::Conv2d(conv) => convolution(&conv, &mut entry),
        }
    }
}

fn convolution(conv: &Conv2d, entry: &mut impl FnMut(usize, usize, usize)) {
    let [height, width] = conv.out_size();
    let depth = conv.in_channels / conv.groups;
    let at = |axis: usize, output: usize, tap: usize, size: usize| {
        let position = output * conv.stride[axis] + tap * conv.dilation[axis];
        position.checked_sub(conv.padding[axis]).filter(|&p| p < size)
    };
    for w in 0..conv.out_channels * conv.taps() {
        let (out, rest) = (w / conv.taps(), w % conv.taps());
        let (channel, tap) =
            (rest / (conv.kernel[0] * conv.kernel[1]), rest % (conv.kernel[0] * conv.kernel[1]));
        let channel = out / (conv.out_channels / conv.groups) * depth + channel;
        for output in 0..height * width {
            let y = at(0, output / width, tap / conv.kernel[1], conv.in_height);
            let x = at(1, output % width, tap % conv.kernel[1], conv.in_width);
            let (Some(y), Some(x)) = (y, x) else { continue };
            entry(out * height * width + output, (channel * conv.in_height + y) * conv.in_width + x, w);
        }
    }
}

impl fmt::Debug for LinearMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinearMap").field("shape", &self.shape).finish_non_exhaustive()
    }
}
