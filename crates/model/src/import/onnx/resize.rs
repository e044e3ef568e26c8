//! Images made larger or smaller by constant factors.
//!
//! Nearest pixels are taken by their places. Linear interpolation is a sum of pixels taken so, each
//! times a whole number by row and column, over a common divisor: public numbers, so it costs no
//! round and no dealt material either.

use super::importer::Importer;
use super::proto::NodeProto;
use super::value::{Refusal, Value, View, unsupported};
use crate::graph::{Gather, NodeId};

/// Largest common divisor of the weights of one axis: they take its bits from all numbers.
const MOST_DIVISOR: u32 = 1024;
/// Weights that differ by less are equal: files hold factors in single precision.
const SAME: f64 = 1e-5;

/// How places of the result are those of the image.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Coordinates {
    HalfPixel,
    /// Centres of pixels, as `HalfPixel`, but that a single pixel is the first one.
    PyTorchHalfPixel,
    HalfPixelSymmetric,
    Asymmetric,
    AlignCorners,
    /// Centres of the result alone, which TensorFlow's nearest neighbours went by.
    HalfPixelForNearest,
}

/// One axis.
struct Axis {
    from: usize,
    to: usize,
    scale: f64,
}

impl Axis {
    /// The place of the image that pixel `to` of the result is.
    fn source(&self, coordinates: Coordinates, at: usize) -> f64 {
        let (at, from, to) = (at as f64, self.from as f64, self.to as f64);
        match coordinates {
            Coordinates::HalfPixel => (at + 0.5) / self.scale - 0.5,
            Coordinates::PyTorchHalfPixel if self.to == 1 => 0.0,
            Coordinates::PyTorchHalfPixel => (at + 0.5) / self.scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = to / (self.scale * from);
                let offset = from / 2.0 * (1.0 - adjustment);
                offset + (at + 0.5) / self.scale - 0.5
            }
            Coordinates::Asymmetric => at / self.scale,
            Coordinates::AlignCorners if self.to == 1 => 0.0,
            Coordinates::AlignCorners => at * (from - 1.0) / (to - 1.0),
            Coordinates::HalfPixelForNearest => (at + 0.5) / self.scale,
        }
    }

    fn clamped(&self, place: f64) -> u32 {
        place.clamp(0.0, (self.from - 1) as f64) as u32
    }

    /// The nearest pixel of every pixel of the result.
    fn nearest(&self, coordinates: Coordinates, mode: &str) -> Vec<u32> {
        let place = |at: usize| {
            let x = self.source(coordinates, at);
            // Whole numbers that single precision misses are meant.
            let x = if (x - x.round()).abs() < SAME { x.round() } else { x };
            self.clamped(match mode {
                "floor" => x.floor(),
                "ceil" => x.ceil(),
                "round_prefer_ceil" => (x + 0.5).floor(),
                _ => (x - 0.5).ceil(),
            })
        };
        (0..self.to).map(place).collect()
    }

    /// For every pixel of the result two pixels of the image and their weights, whole numbers of at
    /// least 1 whose sum is the divisor.
    fn linear(&self, coordinates: Coordinates) -> Option<Linear> {
        let sources = (0..self.to).map(|at| {
            let x = self.source(coordinates, at).clamp(0.0, (self.from - 1) as f64);
            (x.floor(), x - x.floor())
        });
        let sources: Vec<(f64, f64)> = sources.collect();
        let whole = |d: u32| {
            let near = |share: f64| {
                (share * f64::from(d) - (share * f64::from(d)).round()).abs() < SAME * f64::from(d)
            };
            sources.iter().all(|&(_, share)| near(share))
        };
        // Two weights of at least 1 need a divisor of 2.
        let divisor = (2..=MOST_DIVISOR).find(|&d| whole(d))?;
        let mut linear =
            Linear { places: [Vec::new(), Vec::new()], weights: [Vec::new(), Vec::new()], divisor };
        for (low, share) in sources {
            let weight = (share * f64::from(divisor)).round() as u32;
            let (first, second, weight) = match weight {
                0 => (low, low, 1),
                w if w == divisor => (low + 1.0, low + 1.0, 1),
                w => (low, low + 1.0, w),
            };
            linear.places[0].push(self.clamped(first));
            linear.places[1].push(self.clamped(second));
            linear.weights[0].push(divisor - weight);
            linear.weights[1].push(weight);
        }
        Some(linear)
    }
}

/// Linear interpolation along one axis.
struct Linear {
    places: [Vec<u32>; 2],
    weights: [Vec<u32>; 2],
    divisor: u32,
}

impl Linear {
    /// Every pixel as it is.
    fn identity(length: usize) -> Self {
        let all = super::rearrange::everything(length);
        Linear { places: [all.clone(), all], weights: [vec![1; length], vec![0; length]], divisor: 1 }
    }
}

impl<'b> Importer<'_, 'b> {
    /// `Resize` and the older `Upsample`.
    pub(super) fn resize(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let view = self.tensor(node, 0)?;
        let rank = view.dims.len();
        if !matches!(rank, 3 | 4) {
            return Err(unsupported(format!("resizes a value of shape {:?}", view.dims), "resize images"));
        }
        if node.int("antialias", 0) != 0 {
            return Err(unsupported("resizing with antialias", "resize without it (antialias=False)"));
        }
        let axes = self.resized(node, &view)?;
        if axes[..2].iter().any(|a| a.from != a.to) {
            return Err(unsupported("resizes other axes than height and width", "resize images only"));
        }
        let mut sides = axes.into_iter().skip(2);
        let (Some(last), rest) = (sides.next_back(), sides.next()) else { return Err("no axes".into()) };
        let sides = [rest.unwrap_or(Axis { from: 1, to: 1, scale: 1.0 }), last];
        let mut dims = view.dims.clone();
        sides.iter().rev().zip(dims.iter_mut().rev()).take(rank - 2).for_each(|(side, d)| *d = side.to);
        self.spend(sides.iter().map(|side| 64 * side.to as u64).sum())?;
        let input = self.image(&view)?;
        // Operator set 10 and Upsample knew this one alone.
        let coordinates = match node.text("coordinate_transformation_mode") {
            "" if node.inputs.len() < 3 => Coordinates::Asymmetric,
            "" | "half_pixel" => Coordinates::HalfPixel,
            "pytorch_half_pixel" => Coordinates::PyTorchHalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "asymmetric" => Coordinates::Asymmetric,
            "align_corners" => Coordinates::AlignCorners,
            "tf_half_pixel_for_nn" => Coordinates::HalfPixelForNearest,
            other => {
                return Err(unsupported(format!("resizing by {other}"), "crop and resize the images before"));
            }
        };
        match node.text("mode") {
            "" | "nearest" => {
                let mode = match node.text("nearest_mode") {
                    "" if node.inputs.len() < 3 => "floor",
                    mode => mode,
                };
                let [rows, columns] = sides.each_ref().map(|side| side.nearest(coordinates, mode));
                let gather = Gather { size: sides.each_ref().map(|side| side.from), rows, columns };
                Ok(Value::Tensor(self.take(name, input, gather, dims)))
            }
            "linear" | "bilinear" => {
                let axis = |side: &Axis| match side.from == side.to {
                    true => Some(Linear::identity(side.to)),
                    false => side.linear(coordinates),
                };
                let [Some(down), Some(across)] = sides.each_ref().map(axis) else {
                    return Err(unsupported(
                        format!(
                            "linear interpolation whose weights have no common divisor up to {MOST_DIVISOR}"
                        ),
                        "resize by a simple factor such as 2 or 4, or to the nearest pixels",
                    ));
                };
                let size = sides.each_ref().map(|side| side.from);
                let node = self.interpolated(name, input, size, &down, &across);
                Ok(Value::Tensor(View::new(node, dims)))
            }
            other => {
                Err(unsupported(format!("{other} interpolation"), "resize to the nearest pixels or linearly"))
            }
        }
    }

    /// The sum of up to four pixels for every pixel, times whole numbers.
    fn interpolated(
        &mut self,
        name: &str,
        input: NodeId,
        size: [usize; 2],
        down: &Linear,
        across: &Linear,
    ) -> NodeId {
        let channels = self.builder.shape(input)[0];
        let shape = [channels, down.places[0].len(), across.places[0].len()];
        let taps = |axis: &Linear| if axis.divisor == 1 { 1 } else { 2 };
        let mut sum: Option<NodeId> = None;
        for y in 0..taps(down) {
            for x in 0..taps(across) {
                let gather = Gather { size, rows: down.places[y].clone(), columns: across.places[x].clone() };
                let label = self.unique(&format!("{name}.pixels"));
                let pixels = self.builder.gather(&label, input, gather, &shape);
                let label = self.unique(&format!("{name}.weighed"));
                let divisor = f64::from(down.divisor) * f64::from(across.divisor);
                let (rows, columns) = (down.weights[y].clone(), across.weights[x].clone());
                let part = self.builder.weigh(&label, pixels, rows, columns, divisor);
                sum = Some(match sum {
                    None => part,
                    Some(before) => {
                        let label = self.unique(name);
                        self.builder.add(&label, before, part)
                    }
                });
            }
        }
        sum.unwrap_or(input)
    }

    /// All axes with their sizes and factors.
    fn resized(&mut self, node: &NodeProto<'b>, view: &View) -> Result<Vec<Axis>, Refusal> {
        let rank = view.dims.len();
        let factors_at = if node.inputs.len() < 3 { 1 } else { 2 };
        let numbers = |list: &[f32]| -> Vec<f64> { list.iter().map(|&v| f64::from(v)).collect() };
        let factors = match node.attribute("scales") {
            Some(attribute) => Some(numbers(&attribute.floats)),
            None => self.constant(node, factors_at, "factor")?.map(|c| numbers(&c.to_floats())),
        };
        let factors = factors.filter(|list| !list.is_empty());
        let sizes = match self.constant(node, 3, "size")? {
            Some(sizes) => Some(super::constant::sizes(&sizes.as_ints()?)?),
            None => None,
        };
        let axes = match node.ints("axes") {
            Some(axes) => {
                axes.iter().map(|&a| super::layout::axis(a, rank)).collect::<Result<Vec<_>, _>>()?
            }
            None => (0..rank).collect(),
        };
        let mut all: Vec<Axis> = view.dims.iter().map(|&d| Axis { from: d, to: d, scale: 1.0 }).collect();
        let wrong = |what: usize| format!("{what} sizes or factors for {} axes", axes.len());
        let policy = node.text("keep_aspect_ratio_policy");
        match (sizes, factors) {
            (Some(_), _) if !matches!(policy, "" | "stretch") => {
                return Err(unsupported(
                    format!("resizing by the policy {policy}"),
                    "resize to fixed sizes (stretch)",
                ));
            }
            (Some(sizes), _) if sizes.len() == axes.len() => {
                for (&a, &to) in axes.iter().zip(&sizes) {
                    all[a] = Axis { from: view.dims[a], to, scale: to as f64 / view.dims[a] as f64 };
                }
            }
            (None, Some(factors)) if factors.len() == axes.len() => {
                for (&a, &scale) in axes.iter().zip(&factors) {
                    let to = view.dims[a] as f64 * scale;
                    if !(scale > 0.0 && to < (1u64 << 28) as f64) {
                        return Err(format!("a factor of {scale}").into());
                    }
                    all[a] = Axis { from: view.dims[a], to: (to + SAME).floor() as usize, scale };
                }
            }
            (Some(sizes), _) => return Err(wrong(sizes.len()).into()),
            (None, factors) => return Err(wrong(factors.map_or(0, |f| f.len())).into()),
        }
        match all.iter().find(|axis| axis.to == 0 || axis.to > 1 << 28) {
            Some(axis) => Err(format!("resizes an axis of {} to {}", axis.from, axis.to).into()),
            None => Ok(all),
        }
    }
}
