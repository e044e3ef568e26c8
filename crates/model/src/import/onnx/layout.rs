//! Operators that change shapes only, or nothing at all.

use super::constant::{elements, sizes};
use super::importer::{DROPPED, Importer};
use super::proto::NodeProto;
use super::value::{Refusal, Value, unsupported};
use amicus_plan::values::MAX_LABELS;

/// Operators that change shapes only, or nothing at all.
pub(super) fn is_layout(op: &str) -> bool {
    matches!(
        op,
        "Identity" | "Dropout" | "Cast" | "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Transpose"
    )
}

impl<'b> Importer<'_, 'b> {
    /// The value of a node that only renames or reshapes; `None` for other operators.
    pub(super) fn layout(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Option<Value>, Refusal> {
        match node.op {
            "Softmax" | "LogSoftmax" | "Hardmax" | "ArgMax" => return self.at_the_end(node).map(Some),
            "TopK" => return self.largest(node).map(Some),
            "Log" => {
                let value = self.input(node, 0)?;
                return Ok(value.filter(|v| matches!(v, Value::Probabilities(_, "Softmax"))));
            }
            op if is_layout(op) => {}
            _ => return Ok(None),
        }
        let value = self.input(node, 0)?.ok_or("input 0 is missing")?;
        let view = match &value {
            Value::Tensor(view) | Value::Scalar(view, _) => view.clone(),
            // The receiver takes the largest: whatever becomes of its place, the logits stay.
            Value::Probabilities(_, "ArgMax" | "TopK") => return Ok(Some(value)),
            Value::Probabilities(view, _) => view.clone(),
            Value::Padded(..) if matches!(node.op, "Identity" | "Dropout" | "Cast") => {
                return Ok(Some(value));
            }
            Value::Unknown => return Err(Refusal::Follows),
            // Says why, or puts the zeros in place.
            Value::Padded(..) | Value::Constant(_) => self.tensor(node, 0)?,
        };
        let view = match node.op {
            "Identity" | "Dropout" => view,
            "Cast" if matches!(node.int("to", 1), 1 | 10 | 11 | 16) => view,
            "Cast" => return Err(unsupported("turns real numbers into integers", "remove the conversion")),
            "Transpose" => {
                let view = if view.places().is_some() { self.in_order(name, &view)? } else { view };
                view.transposed(&permutation(node.ints("perm"), view.dims.len())?, Some(name))
            }
            _ => {
                let dims = self.other_shape(node, &view.dims)?;
                self.in_shape(name, &view, dims)?
            }
        };
        Ok(Some(match value {
            Value::Scalar(_, function) => Value::Scalar(view, function),
            Value::Probabilities(_, op) => Value::Probabilities(view, op),
            _ => Value::Tensor(view),
        }))
    }

    /// The shape that a node gives to a value of shape `dims`.
    fn other_shape(&mut self, node: &NodeProto<'b>, dims: &[usize]) -> Result<Vec<usize>, Refusal> {
        Ok(match node.op {
            "Flatten" => flattened(node.int("axis", 1), dims)?,
            "Squeeze" => squeezed(self.axes(node, 1)?.as_deref(), dims)?,
            "Unsqueeze" => unsqueezed(&self.axes(node, 1)?.ok_or("an Unsqueeze without axes")?, dims)?,
            _ => {
                let shape = self.constant(node, 1, "shape")?.ok_or("a Reshape without a shape")?.as_ints()?;
                reshaped(&shape, dims, node.int("allowzero", 0) != 0)?
            }
        })
    }

    /// What receivers can do with the logits is dropped where nothing but layout comes behind it.
    fn at_the_end(&mut self, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let op = match node.op {
            "ArgMax" => "ArgMax",
            "LogSoftmax" => "LogSoftmax",
            "Hardmax" => "Hardmax",
            _ => "Softmax",
        };
        let view = match self.input(node, 0)? {
            // The largest probability belongs to the largest logit.
            Some(Value::Probabilities(view, "Softmax" | "LogSoftmax")) if op == "ArgMax" => view,
            _ => self.tensor(node, 0)?,
        };
        if op == "ArgMax"
            && node.int("select_last_index", 0) == 0
            && of_classes(node.int("axis", 0), &view.dims)
        {
            self.ranked(1)?;
        }
        self.dropped(op);
        Ok(Value::Probabilities(view, op))
    }

    fn dropped(&mut self, op: &str) {
        let text = format!("{op}{DROPPED}");
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// That receivers get so many labels, which is the same for all outputs.
    fn ranked(&mut self, labels: u32) -> Result<(), Refusal> {
        match self.best.replace(labels) {
            Some(other) if other != labels => Err(unsupported(
                format!("asks for {labels} labels where another output asks for {other}"),
                "choose one of the outputs with --output-name",
            )),
            _ => Ok(()),
        }
    }

    /// Places of the largest numbers, at the end only. The numbers themselves are not given out.
    fn largest(&mut self, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let view = match self.input(node, 0)? {
            Some(Value::Probabilities(view, "Softmax" | "LogSoftmax")) => view,
            _ => self.tensor(node, 0)?,
        };
        let count = match self.constant(node, 1, "number of places")? {
            Some(count) => count.as_ints()?.first().copied(),
            None => Some(node.int("k", 0)),
        };
        let labels = count.and_then(|k| u32::try_from(k).ok()).filter(|k| (1..=MAX_LABELS).contains(k));
        let Some(labels) = labels else {
            return Err(unsupported(
                format!("asks for more than {MAX_LABELS} places, or for a number that is not fixed"),
                "export with a smaller constant k",
            ));
        };
        let sorted = node.int("largest", 1) == 1 && node.int("sorted", 1) == 1;
        if !sorted || !of_classes(node.int("axis", -1), &view.dims) {
            return Err(unsupported(
                "takes other than the largest numbers over the axis of classes, in order",
                "end the network with the logits, or with a TopK over axis 1",
            ));
        }
        if let Some(&places) = node.outputs.get(1) {
            self.ranked(labels)?;
            self.dropped("TopK");
            self.values.insert(places, Value::Probabilities(view.clone(), "TopK"));
        }
        Ok(Value::Probabilities(view, "TopK values"))
    }

    /// The attribute or input `index` that lists axes.
    pub(super) fn axes(&mut self, node: &NodeProto<'b>, index: usize) -> Result<Option<Vec<i64>>, Refusal> {
        if let Some(axes) = node.ints("axes") {
            return Ok(Some(axes.to_vec()));
        }
        match self.constant(node, index, "list of axes")? {
            Some(constant) => Ok(Some(constant.as_ints()?)),
            None => Ok(None),
        }
    }
}

/// Whether an axis is that of classes: the first behind the batch, which is the last where there are
/// two.
fn of_classes(axis: i64, dims: &[usize]) -> bool {
    axis == 1 || axis == 1 - dims.len() as i64
}

/// Axis `axis` of a shape, counted from the end when negative.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let from_start = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    from_start
        .and_then(|a| usize::try_from(a).ok())
        .filter(|&a| a < rank)
        .ok_or_else(|| format!("axis {axis} of a value of {rank} dimensions"))
}

fn flattened(at: i64, dims: &[usize]) -> Result<Vec<usize>, String> {
    let at = if at == dims.len() as i64 { dims.len() } else { axis(at, dims.len())? };
    let (left, right) = dims.split_at(at);
    Ok(vec![elements(left)?, elements(right)?])
}

/// The shape that `Reshape` gives: 0 keeps a size, -1 takes what is left.
pub(super) fn reshaped(target: &[i64], dims: &[usize], zero_is_zero: bool) -> Result<Vec<usize>, String> {
    let total = elements(dims)?;
    let mut shape: Vec<i64> = target.to_vec();
    for (i, size) in shape.iter_mut().enumerate().filter(|(_, s)| **s == 0 && !zero_is_zero) {
        *size = dims.get(i).map(|&d| d as i64).ok_or_else(|| format!("shape {dims:?} as {target:?}"))?;
    }
    if let Some(free) = shape.iter().position(|&s| s == -1) {
        shape[free] = 1;
        let known = elements(&sizes(&shape)?)?;
        if known == 0 || total % known != 0 {
            return Err(format!("shape {dims:?} as {target:?}"));
        }
        shape[free] = (total / known) as i64;
    }
    let shape = sizes(&shape)?;
    if elements(&shape)? != total {
        return Err(format!("shape {dims:?} as {target:?}"));
    }
    Ok(shape)
}

/// A shape without axes of size 1: those named, or all.
pub(super) fn squeezed(axes: Option<&[i64]>, dims: &[usize]) -> Result<Vec<usize>, String> {
    let mut drop = vec![false; dims.len()];
    match axes {
        Some(axes) => {
            for &a in axes {
                let at = axis(a, dims.len())?;
                if dims[at] != 1 {
                    return Err(format!("drops axis {a} of shape {dims:?}, whose size is {}", dims[at]));
                }
                drop[at] = true;
            }
        }
        None => drop.iter_mut().zip(dims).for_each(|(drop, &d)| *drop = d == 1),
    }
    Ok(dims.iter().zip(drop).filter(|(_, drop)| !drop).map(|(&d, _)| d).collect())
}

/// A shape with axes of size 1 put in.
pub(super) fn unsqueezed(axes: &[i64], dims: &[usize]) -> Result<Vec<usize>, String> {
    let rank = dims.len() + axes.len();
    if rank > 16 {
        return Err(format!("a value of {rank} dimensions"));
    }
    let mut new = vec![false; rank];
    for &a in axes {
        if std::mem::replace(&mut new[axis(a, rank)?], true) {
            return Err(format!("axis {a} twice"));
        }
    }
    let mut old = dims.iter();
    Ok(new.iter().map(|&new| if new { 1 } else { old.next().copied().unwrap_or(1) }).collect())
}

/// The order of axes of a `Transpose`, checked.
pub(super) fn permutation(perm: Option<&[i64]>, rank: usize) -> Result<Vec<usize>, String> {
    let Some(perm) = perm else { return Ok((0..rank).rev().collect()) };
    let order = perm.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut seen = vec![false; rank];
    order.iter().for_each(|&a| seen[a] = true);
    if order.len() != rank || seen.contains(&false) {
        return Err(format!("order {perm:?} of {rank} axes"));
    }
    Ok(order)
}
