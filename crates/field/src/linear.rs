//! Linear layers with their weights in the kernel's own format.

use std::fmt;
use std::sync::Arc;

use crate::convolution::{self, Geometry, Weights};
use crate::error::FieldError;
use crate::kernels::{self, PANEL};
use crate::matrix;
use crate::parallel;
use crate::prime::{Limbs, Prime};
use crate::results::{self, Whole};
use crate::shape::LinearShape;
use crate::storage::Words;
use crate::vector::LimbVec;
use crate::winograd::{self, Tiling};

/// Multiply-adds of a part of a product at least: 20 us and more.
const PART: usize = 1 << 19;

/// A fully connected layer or a convolution with its weights, without bias, packed once for many
/// products.
///
/// Vectors are element-major: index `i` of batch element `e` is at `e * inputs + i` of every plane.
/// The weights are wiped when the map is dropped, and `Debug` does not show them.
#[derive(Clone)]
pub struct LinearMap {
    shape: LinearShape,
    form: Form,
}

#[derive(Clone)]
enum Form {
    /// The transposed matrix in panels of 24 outputs, one packed plane per limb. The left side are
    /// the inputs, so one input makes a matrix-vector product that streams the weights once.
    Panels { limbs: Limbs, planes: Vec<Words> },
    /// Panels of 24 output channels whose lines are taps, of a convolution that may be computed over
    /// tiles: transforms read the filters of a panel as they lie there.
    Filters { limbs: Limbs, planes: Vec<Words>, geometry: Arc<Geometry> },
    /// The weights as they are: rows of the left side. The right side are patches of the image.
    Rows { weights: LimbVec, geometry: Arc<Geometry> },
}

impl LinearShape {
    /// Columns and rows of the matrix of the weights: what one output, or one pixel of an output
    /// channel, is a sum over, and the outputs or output channels.
    const fn matrix(&self) -> [usize; 2] {
        match self {
            LinearShape::Dense(dense) => [dense.inputs, dense.outputs],
            LinearShape::Conv2d(conv) => [conv.taps(), conv.out_channels],
        }
    }
}

impl LinearMap {
    /// Packs `weights`, `[out, in]` or `[out, in / groups, kernel height, kernel width]`.
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

    /// A map whose weights are all 0, to be written part by part: there is never a second copy of
    /// all weights.
    ///
    /// # Errors
    /// When the shape is not valid.
    pub fn zeros(shape: LinearShape, limbs: Limbs) -> Result<LinearMap, FieldError> {
        shape.validate()?;
        let panels = |[depth, width]: [usize; 2]| {
            let words = matrix::packed_words(depth, width);
            (0..limbs.count()).map(|_| Words::zeros(words)).collect()
        };
        let form = match shape {
            LinearShape::Dense(_) => Form::Panels { limbs, planes: panels(shape.matrix()) },
            LinearShape::Conv2d(conv) => {
                let geometry = Geometry::new(conv).into();
                match Tiling::possible(&conv) {
                    Some(_) => Form::Filters { limbs, planes: panels(shape.matrix()), geometry },
                    None => Form::Rows { weights: LimbVec::zeros(limbs, shape.weights()), geometry },
                }
            }
        };
        Ok(LinearMap { shape, form })
    }

    /// Replaces the weights from index `first` on, in the layout of [`LinearMap::new`].
    ///
    /// # Panics
    /// When there are not so many weights, or `weights` is of another modulus.
    pub fn write(&mut self, first: usize, weights: &LimbVec) {
        assert_eq!(weights.limbs(), self.limbs(), "weights of another modulus");
        let end = first.checked_add(weights.len()).filter(|&end| end <= self.shape.weights());
        let end = end.unwrap_or_else(|| panic!("{} weights from {first} on", weights.len()));
        let [depth, width] = self.shape.matrix();
        for l in 0..weights.limbs().count() {
            match &mut self.form {
                Form::Panels { planes, .. } | Form::Filters { planes, .. } => {
                    matrix::write_transposed(weights.plane(l), first, depth, width, &mut planes[l]);
                }
                Form::Rows { weights: all, .. } => {
                    all.plane_mut(l)[first..end].copy_from_slice(weights.plane(l))
                }
            }
        }
    }

    /// The shape.
    pub const fn shape(&self) -> &LinearShape {
        &self.shape
    }

    /// The modulus of the weights.
    pub fn limbs(&self) -> Limbs {
        match &self.form {
            Form::Panels { limbs, .. } | Form::Filters { limbs, .. } => *limbs,
            Form::Rows { weights, .. } => weights.limbs(),
        }
    }

    /// `W x`: `batch * inputs` elements to `batch * outputs`. No bias.
    ///
    /// # Panics
    /// When `x` does not have `batch * inputs` elements, is of another modulus, or `batch` is 0.
    pub fn apply(&self, x: &LimbVec, batch: usize) -> LimbVec {
        self.check(x, batch, self.shape.inputs());
        let mut out = LimbVec::zeros(x.limbs(), batch * self.shape.outputs());
        let products = self.shape.products(batch).saturating_mul(x.limbs().count());
        let parts = parallel::parts(products, PART);
        if parts > 1 {
            self.apply_in_parts(x, batch, parts, &mut out);
            return out;
        }
        for (l, (prime, out)) in out.planes_mut().enumerate() {
            let x = x.plane(l);
            match &self.form {
                Form::Panels { planes, .. } => {
                    let [depth, width] = self.shape.matrix();
                    let mut out = Whole { out, width };
                    matrix::multiply_packed(prime, x, &planes[l], (depth, width, 0..width), &mut out);
                }
                Form::Filters { planes, geometry, .. } => match Tiling::of(geometry.shape(), batch) {
                    Some(tiling) => winograd::apply(geometry, tiling, prime, &planes[l], x, batch, out),
                    None => convolution::apply(geometry, prime, Weights::Panels(&planes[l]), x, batch, out),
                },
                Form::Rows { weights, geometry } => {
                    convolution::apply(geometry, prime, Weights::Rows(weights.plane(l)), x, batch, out);
                }
            }
        }
        out
    }

    /// [`apply`](Self::apply) on the workers of this thread.
    fn apply_in_parts(&self, x: &LimbVec, batch: usize, parts: usize, out: &mut LimbVec) {
        let planes_of_out = out.planes_mut().enumerate();
        match &self.form {
            Form::Panels { planes, limbs } => {
                let [depth, width] = self.shape.matrix();
                let panels = width.div_ceil(PANEL).div_ceil(parts.div_ceil(limbs.count()));
                let parts = planes_of_out.flat_map(|(l, (prime, out))| {
                    let parts = results::columns(out, width, panels * PANEL);
                    parts.into_iter().map(move |part| (l, prime, part))
                });
                parallel::for_each(parts, |(l, prime, mut part)| {
                    let extent = (depth, width, part.columns.clone());
                    matrix::multiply_packed(prime, x.plane(l), &planes[l], extent, &mut part);
                });
            }
            Form::Filters { planes, geometry, .. } => match Tiling::of(geometry.shape(), batch) {
                Some(tiling) => {
                    let of_plane = |(l, (prime, out)): (usize, _)| (prime, &planes[l][..], x.plane(l), out);
                    winograd::apply_in_parts(
                        geometry,
                        tiling,
                        parts,
                        planes_of_out.map(of_plane).collect(),
                        batch,
                    );
                }
                None => {
                    let of_plane =
                        |(l, (prime, out)): (usize, _)| (prime, Weights::Panels(&planes[l]), x.plane(l), out);
                    convolution::apply_in_parts(
                        geometry,
                        parts,
                        planes_of_out.map(of_plane).collect(),
                        batch,
                    );
                }
            },
            Form::Rows { weights, geometry } => {
                let of_plane =
                    |(l, (prime, out)): (usize, _)| (prime, Weights::Rows(weights.plane(l)), x.plane(l), out);
                convolution::apply_in_parts(geometry, parts, planes_of_out.map(of_plane).collect(), batch);
            }
        }
    }

    /// `W^T y`: `batch * outputs` elements to `batch * inputs`; of a convolution, its transposed
    /// convolution.
    ///
    /// Reads the weights once per batch element: meant for the few products of a model load.
    ///
    /// # Panics
    /// When `y` does not have `batch * outputs` elements, is of another modulus, or `batch` is 0.
    pub fn apply_transposed(&self, y: &LimbVec, batch: usize) -> LimbVec {
        let (inputs, outputs) = (self.shape.inputs(), self.shape.outputs());
        self.check(y, batch, outputs);
        let mut out = LimbVec::zeros(y.limbs(), batch * inputs);
        let of_plane = |(l, (prime, out)): (usize, (Prime, &mut [u64]))| {
            let y = y.plane(l);
            match &self.form {
                Form::Filters { planes, geometry, .. } => {
                    let weights = Weights::Panels(&planes[l]);
                    convolution::apply_transposed(geometry, prime, weights, y, batch, out);
                }
                Form::Rows { weights, geometry } => {
                    let weights = Weights::Rows(weights.plane(l));
                    convolution::apply_transposed(geometry, prime, weights, y, batch, out);
                }
                Form::Panels { planes, .. } => {
                    for (y, out) in y.chunks_exact(outputs).zip(out.chunks_exact_mut(inputs)) {
                        kernels::panels_transposed(prime, &planes[l], y, out);
                    }
                }
            }
        };
        let products = self.shape.multiply_adds().saturating_mul(batch * y.limbs().count());
        let planes = out.planes_mut().enumerate();
        if parallel::parts(products, PART) == 1 {
            planes.for_each(of_plane);
        } else {
            parallel::for_each(planes, of_plane);
        }
        out
    }

    /// The weights in the layout of [`LinearMap::new`].
    pub fn weights(&self) -> LimbVec {
        self.read(0, self.shape.weights())
    }

    /// `len` of the weights from index `first` on, in the layout of [`LinearMap::new`].
    ///
    /// # Panics
    /// When there are not so many weights.
    pub fn read(&self, first: usize, len: usize) -> LimbVec {
        let end = first.checked_add(len).filter(|&end| end <= self.shape.weights());
        let end = end.unwrap_or_else(|| panic!("{len} weights from {first} on"));
        match &self.form {
            Form::Rows { weights, .. } => weights.slice(first..end),
            Form::Panels { limbs, planes } | Form::Filters { limbs, planes, .. } => {
                let mut weights = LimbVec::zeros(*limbs, len);
                let [depth, width] = self.shape.matrix();
                for (plane, (_, out)) in planes.iter().zip(weights.planes_mut()) {
                    matrix::read_transposed(plane, first, depth, width, out);
                }
                weights
            }
        }
    }

    fn check(&self, vector: &LimbVec, batch: usize, size: usize) {
        assert!(batch > 0, "an empty batch");
        assert_eq!(vector.limbs(), self.limbs(), "a vector of another modulus than the weights");
        assert_eq!(
            Some(vector.len()),
            batch.checked_mul(size),
            "a batch of {batch} needs {size} elements each"
        );
    }
}

impl fmt::Debug for LinearMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinearMap").field("shape", &self.shape).finish_non_exhaustive()
    }
}
