//! Operators that take numbers of a value by constant places, and put them elsewhere: slices,
//! splits, shuffles, transpositions, repetitions, and padding with numbers that are there.
//!
//! All become [`Gather`]s, which cost no round and no dealt material.

use std::rc::Rc;

use super::constant::elements;
use super::evaluate::cut;
use super::importer::Importer;
use super::layout::{axis, reshaped};
use super::proto::NodeProto;
use super::value::{Refusal, Value, View, unsupported};
use crate::graph::{Gather, NodeId, all};

/// What to do about an operator that mixes images of a batch.
const BATCH: &str = "export the model with a batch of 1, and leave the first axis alone";

impl<'b> Importer<'_, 'b> {
    /// The value of a node that takes numbers by their places; `None` for other operators.
    pub(super) fn rearranged(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Option<Value>, Refusal> {
        let view = match node.op {
            "Slice" => self.sliced(name, node)?,
            "Split" => self.split(name, node)?,
            "Gather" => self.gathered(name, node)?,
            "Tile" => self.tiled(name, node)?,
            "Expand" => self.expanded(name, node)?,
            "DepthToSpace" | "SpaceToDepth" => self.blocks(name, node)?,
            _ => return Ok(None),
        };
        Ok(Some(Value::Tensor(view)))
    }

    /// A new node that takes numbers of another, as the view of shape `dims` that it holds.
    pub(super) fn take(&mut self, name: &str, from: NodeId, gather: Gather, dims: Vec<usize>) -> View {
        let label = self.unique(name);
        let shape = match dims[..] {
            [_, c, h, w] => vec![c, h, w],
            [_, c, length] => vec![c, 1, length],
            _ => vec![dims.iter().skip(1).product()],
        };
        View::new(self.builder.gather(&label, from, gather, &shape), dims)
    }

    /// The numbers of a value at some places of one axis.
    pub(super) fn pick(
        &mut self,
        name: &str,
        view: &View,
        along: usize,
        places: Vec<usize>,
    ) -> Result<View, Refusal> {
        let view = self.in_order(name, view)?;
        let mut dims = view.dims.clone();
        if places.iter().copied().eq(0..dims[along]) {
            return Ok(view);
        }
        if along == 0 {
            return Err(unsupported("takes images of a batch apart", BATCH));
        }
        let inner = dims[along + 1..].iter().product();
        self.spend(8 * (inner + places.len()) as u64)?;
        let rows = places.iter().map(|&place| place as u32).collect();
        let gather = Gather::along(dims[along], inner, rows);
        dims[along] = places.len();
        Ok(self.take(name, view.node, gather, dims))
    }

    /// A value whose numbers stand in the order the file says.
    pub(super) fn in_order(&mut self, name: &str, view: &View) -> Result<View, Refusal> {
        let Some(moved) = &view.moved else { return Ok(view.clone()) };
        let dims = moved.flattened.as_ref().unwrap_or(&view.dims);
        let rank = dims.len();
        if moved.axes[0] != 0 && self.batch != 1 {
            return Err(Refusal::Moved(Rc::clone(moved)));
        }
        // Images of a batch are values of their own.
        let size = |axis: usize| if axis == 0 { 1 } else { dims[axis] };
        // How far apart in the node are neighbours along each axis of the view.
        let mut steps = vec![0; rank];
        let mut step = 1;
        for &axis in moved.axes.iter().rev() {
            steps[axis] = step;
            step *= size(axis);
        }
        let stays = |&k: &usize| moved.axes[k] == k;
        let first = (0..rank).take_while(stays).count();
        let last = rank - (0..rank).rev().take_while(stays).count();
        let inner: usize = (last..rank).map(size).product();
        let length: usize = (first..last).map(size).product();
        self.spend(8 * (inner + length) as u64)?;
        let mut rows = vec![0];
        for (axis, step) in steps.iter().enumerate().take(last).skip(first) {
            let step = step / inner;
            rows = rows.iter().flat_map(|&row| (0..size(axis)).map(move |i| row + i * step)).collect();
        }
        let gather = Gather::along(length, inner, rows.into_iter().map(|row| row as u32).collect());
        let known = self.ordered.iter().find(|(node, known, _)| *node == view.node && *known == gather);
        if let Some((_, _, node)) = known {
            return Ok(View::new(*node, view.dims.clone()));
        }
        let label = moved.by.clone().unwrap_or_else(|| format!("{name}.order"));
        let ordered = self.take(&label, view.node, gather.clone(), view.dims.clone());
        self.ordered.push((view.node, gather, ordered.node));
        Ok(ordered)
    }

    /// A list of integers: an attribute of old operator sets, an input since.
    fn list(&mut self, node: &NodeProto<'b>, name: &str, index: usize) -> Result<Option<Vec<i64>>, Refusal> {
        if let Some(list) = node.ints(name) {
            return Ok(Some(list.to_vec()));
        }
        match self.constant(node, index, name)? {
            Some(constant) => Ok(Some(constant.as_ints()?)),
            None => Ok(None),
        }
    }

    fn sliced(&mut self, name: &str, node: &NodeProto<'b>) -> Result<View, Refusal> {
        let starts = self.list(node, "starts", 1)?.ok_or("a Slice without starts")?;
        let ends = self.list(node, "ends", 2)?.ok_or("a Slice without ends")?;
        let axes = self.list(node, "axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = self.list(node, "steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            return Err("starts, ends, axes and steps of different lengths".into());
        }
        let mut view = self.tensor_in_any_order(node, 0)?;
        for (((&start, &end), &along), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let along = axis(along, view.dims.len())?;
            self.spend(8 * view.dims[along] as u64)?;
            let places = cut(view.dims[along], start, end, step)?;
            if places.is_empty() {
                return Err(format!("takes nothing of axis {along} of shape {:?}", view.dims).into());
            }
            view = self.pick(name, &view, along, places)?;
        }
        Ok(view)
    }

    /// All parts; the first is the node's value.
    fn split(&mut self, name: &str, node: &NodeProto<'b>) -> Result<View, Refusal> {
        let view = self.tensor_in_any_order(node, 0)?;
        let along = axis(node.int("axis", 0), view.dims.len())?;
        let length = view.dims[along];
        self.spend(8 * length as u64)?;
        let sizes = match self.list(node, "split", 1)? {
            Some(sizes) => super::constant::sizes(&sizes)?,
            None => {
                let parts = usize::try_from(node.int("num_outputs", node.outputs.len() as i64)).unwrap_or(0);
                let each = length.div_ceil(parts.max(1));
                let part = |i: usize| each.min(length.saturating_sub(i * each));
                (0..parts.min(node.outputs.len())).map(part).collect()
            }
        };
        let total = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
        if total != Some(length) || sizes.len() != node.outputs.len() || sizes.contains(&0) {
            return Err(
                format!("parts of sizes {sizes:?} of {length}, for {} outputs", node.outputs.len()).into()
            );
        }
        let mut parts = Vec::with_capacity(sizes.len());
        let mut first = 0;
        for size in sizes {
            parts.push(self.pick(name, &view, along, (first..first + size).collect())?);
            first += size;
        }
        for (&output, part) in node.outputs.iter().zip(&parts).skip(1) {
            self.also(output, Value::Tensor(part.clone()));
        }
        parts.into_iter().next().ok_or_else(|| "a Split without outputs".into())
    }

    fn gathered(&mut self, name: &str, node: &NodeProto<'b>) -> Result<View, Refusal> {
        let indices = self.constant(node, 1, "list of places")?.ok_or("a Gather without places")?;
        let view = self.tensor_in_any_order(node, 0)?;
        let along = axis(node.int("axis", 0), view.dims.len())?;
        let places = indices.as_ints()?;
        let places = places.iter().map(|&i| axis(i, view.dims[along])).collect::<Result<Vec<_>, _>>()?;
        let mut picked = self.pick(name, &view, along, places)?;
        let (before, behind) = (&view.dims[..along], &view.dims[along + 1..]);
        picked.dims = [before, &indices.dims, behind].concat();
        Ok(picked)
    }

    fn tiled(&mut self, name: &str, node: &NodeProto<'b>) -> Result<View, Refusal> {
        let repeats = self.constant(node, 1, "number of repetitions")?.ok_or("a Tile without repetitions")?;
        let repeats = super::constant::sizes(&repeats.as_ints()?)?;
        let mut view = self.tensor_in_any_order(node, 0)?;
        if repeats.len() != view.dims.len() || repeats.contains(&0) {
            return Err(format!("repetitions {repeats:?} of a value of shape {:?}", view.dims).into());
        }
        for (along, &times) in repeats.iter().enumerate() {
            let length = view.dims[along];
            let many = length.checked_mul(times).ok_or("more repetitions than fit memory")?;
            self.spend((many as u64).saturating_mul(8))?;
            view = self.pick(name, &view, along, (0..many).map(|i| i % length).collect())?;
        }
        Ok(view)
    }

    fn expanded(&mut self, name: &str, node: &NodeProto<'b>) -> Result<View, Refusal> {
        let target = self.constant(node, 1, "shape")?.ok_or("an Expand without a shape")?;
        let target = super::constant::sizes(&target.as_ints()?)?;
        let view = self.tensor_in_any_order(node, 0)?;
        let dims = common_shape(&view.dims, &target)?;
        self.spread(name, &view, &dims)
    }

    /// A value repeated along axes of one element until it has a shape.
    pub(super) fn spread(&mut self, name: &str, view: &View, dims: &[usize]) -> Result<View, Refusal> {
        if view.dims == dims {
            return Ok(view.clone());
        }
        let missing = dims.len().saturating_sub(view.dims.len());
        if missing > 0 && self.batch != 1 {
            return Err(unsupported("spreads a value without a batch over one with a batch", BATCH));
        }
        let mut view = self.in_order(name, view)?;
        view.dims = std::iter::repeat_n(1, missing).chain(view.dims).collect();
        let mut along = 0;
        while along < dims.len() {
            // Neighbouring axes of one element are repeated together.
            let end = (along..dims.len()).find(|&a| view.dims[a] == dims[a]).unwrap_or(dims.len());
            if end == along {
                along += 1;
                continue;
            }
            if along == 0 {
                return Err(unsupported("repeats a value for every image of a batch", BATCH));
            }
            if view.dims[along..end].iter().any(|&d| d != 1) {
                return Err(format!("shape {:?} as {dims:?}", view.dims).into());
            }
            let many = elements(&dims[along..end])?;
            let inner: usize = view.dims[end..].iter().product();
            self.spend(8 * many as u64 + 8 * inner as u64)?;
            let gather = Gather::along(1, inner, vec![0; many]);
            let wider = [&view.dims[..along], &dims[along..end], &view.dims[end..]].concat();
            view = self.take(&format!("{name}.repeated"), view.node, gather, wider);
            along = end;
        }
        Ok(view)
    }

    /// Blocks of pixels to channels and back.
    fn blocks(&mut self, name: &str, node: &NodeProto<'b>) -> Result<View, Refusal> {
        let view = self.tensor(node, 0)?;
        let [b, c, h, w] = view.dims[..] else { return Err("an image was expected".into()) };
        let size = usize::try_from(node.int("blocksize", 0)).ok().filter(|&s| s > 0 && s <= 1 << 12);
        let size = size.ok_or_else(|| format!("blocks of {}", node.int("blocksize", 0)))?;
        let fits = |whole: usize, part: usize| match whole.is_multiple_of(part) {
            true => Ok(whole / part),
            false => Err(Refusal::Invalid(format!("shape {:?} in blocks of {size}", view.dims))),
        };
        let (split, order, dims): (Vec<usize>, [usize; 6], Vec<usize>) = if node.op == "SpaceToDepth" {
            let [down, across] = [fits(h, size)?, fits(w, size)?];
            let split = vec![b, c, down, size, across, size];
            (split, [0, 3, 5, 1, 2, 4], vec![b, c * size * size, down, across])
        } else {
            let channels = fits(c, size * size)?;
            let dims = vec![b, channels, h * size, w * size];
            match node.text("mode") {
                "CRD" => (vec![b, channels, size, size, h, w], [0, 1, 4, 2, 5, 3], dims),
                _ => (vec![b, size, size, channels, h, w], [0, 3, 4, 1, 5, 2], dims),
            }
        };
        let turned = View::new(view.node, split).transposed(&order, Some(name));
        let ordered = self.in_order(name, &turned)?;
        Ok(View::new(ordered.node, dims))
    }

    /// Numbers in another shape, brought in order first where they must be.
    pub(super) fn in_shape(&mut self, name: &str, view: &View, dims: Vec<usize>) -> Result<View, Refusal> {
        if view.moved.is_none() {
            return Ok(View::new(view.node, dims));
        }
        if let Some(view) = view.reshaped(dims.clone()) {
            return Ok(view);
        }
        let target: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
        let dims = reshaped(&target, &view.dims, true)?;
        Ok(View::new(self.in_order(name, view)?.node, dims))
    }

    /// Pads one axis with what is there, or cuts off: `places` of each axis' result.
    pub(super) fn padded_with_itself(
        &mut self,
        name: &str,
        view: &View,
        pads: &[[i64; 2]],
        mode: &str,
    ) -> Result<View, Refusal> {
        let mut view = self.in_order(name, view)?;
        for (along, &[before, behind]) in pads.iter().enumerate() {
            let length = view.dims[along] as i64;
            let most = 1 << 16;
            // Absolute values of `i64` do not fit `i64`.
            if before.unsigned_abs() > most || behind.unsigned_abs() > most {
                return Err(unsupported(format!("padding of {before} and {behind}"), "pad less"));
            }
            self.spend(8 * (length + before.max(0) + behind.max(0)) as u64)?;
            let place = |i: i64| match mode {
                "edge" => i.clamp(0, length - 1),
                "wrap" => i.rem_euclid(length),
                "reflect" if length > 1 => {
                    let period = 2 * (length - 1);
                    let folded = i.rem_euclid(period);
                    folded.min(period - folded)
                }
                _ => i.clamp(0, length - 1),
            };
            let places: Vec<usize> = (-before..length + behind).map(|i| place(i) as usize).collect();
            if places.is_empty() {
                return Err(format!("cuts off all of axis {along} of shape {:?}", view.dims).into());
            }
            view = self.pick(name, &view, along, places)?;
        }
        Ok(view)
    }

    /// A value with one axis right behind the batch, and the way back.
    pub(super) fn axis_first(
        &mut self,
        name: &str,
        view: &View,
        along: usize,
    ) -> Result<(View, Vec<usize>), Refusal> {
        let rank = view.dims.len();
        let rest = (1..rank).filter(|&a| a != along);
        let order: Vec<usize> = [0, along].into_iter().chain(rest).collect();
        let mut back = vec![0; rank];
        order.iter().enumerate().for_each(|(place, &a)| back[a] = place);
        let turned = view.transposed(&order, None);
        Ok((self.in_order(name, &turned)?, back))
    }

    /// The axes that a node names in order, and how a value is turned so that they come last.
    pub(super) fn axes_last(
        &mut self,
        name: &str,
        view: &View,
        axes: &[usize],
    ) -> Result<(View, usize), Refusal> {
        let kept = (0..view.dims.len()).filter(|a| !axes.contains(a));
        let order: Vec<usize> = kept.chain(axes.iter().copied()).collect();
        let many = elements(&axes.iter().map(|&a| view.dims[a]).collect::<Vec<_>>())?;
        let turned = view.transposed(&order, None);
        Ok((self.in_order(name, &turned)?, many))
    }
}

/// The shape of two values together, as NumPy spreads them.
pub(super) fn common_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Refusal> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(Refusal::Invalid(format!("values of shapes {a:?} and {b:?} do not fit together"))),
        })
        .collect()
}

/// All places of an axis, for gathers of images.
pub(super) fn everything(length: usize) -> Vec<u32> {
    all(length)
}
