//! Folding: nodes whose result does not depend on the image.
//!
//! Exporters compute shapes (`Shape`, `Gather`, `Concat`, `Reshape`), write constants as nodes, and
//! keep weights transposed. All this is done here, once, on small integer lists and on weights.

use super::constant::{Constant, Data, elements, sizes};
use super::importer::Importer;
use super::layout::{axis, permutation, reshaped, squeezed, unsqueezed};
use super::proto::NodeProto;
use super::value::{Refusal, SIMPLIFY, Value, unsupported};

/// Longest axis of a constant that is cut or picked from.
const MAX_PLACES: usize = 1 << 16;
/// Most integers of a computed list.
const MAX_INTS: usize = 4096;

impl<'b> Importer<'_, 'b> {
    /// The result of a node that does not depend on the image; `None` when it does, or for
    /// operators not folded.
    pub(super) fn evaluated(&mut self, node: &NodeProto<'b>) -> Result<Option<Constant>, Refusal> {
        match node.op {
            "Constant" => return self.constant_node(node).map(Some),
            "Shape" | "Size" => return self.shape_of(node),
            "Identity" | "Dropout" | "Cast" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten"
            | "Transpose" | "Gather" | "Slice" | "Concat" | "ConstantOfShape" | "Expand" | "Range"
            | "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Neg" | "Sqrt" | "Reciprocal" | "Floor" | "Ceil"
            | "Min" | "Max" | "Mod" | "Equal" | "Where" => {}
            _ => return Ok(None),
        }
        let mut inputs = Vec::with_capacity(node.inputs.len().min(64));
        for index in 0..node.inputs.len() {
            match self.input(node, index)? {
                Some(Value::Constant(constant)) => inputs.push(constant),
                None => {}
                Some(_) => return Ok(None),
            }
        }
        let inputs: Vec<&Constant> = inputs.iter().map(AsRef::as_ref).collect();
        let result = self.folded(node, &inputs)?;
        if let Data::Floats(values) = &result.data {
            self.spend(4 * values.len() as u64)?;
        }
        Ok(Some(result))
    }

    fn constant_node(&mut self, node: &NodeProto<'b>) -> Result<Constant, Refusal> {
        let attribute = node.attributes.iter().find(|a| a.name.starts_with("value"));
        let attribute = attribute.ok_or("a Constant without a value")?;
        match (attribute.name, &attribute.tensor) {
            ("value", Some(tensor)) => self.inline(tensor),
            ("value_float", _) => {
                let value = attribute.float.ok_or("a Constant without a value")?;
                Ok(Constant { dims: vec![], data: Data::Floats(vec![value]) })
            }
            ("value_int", _) => {
                let value = attribute.int.ok_or("a Constant without a value")?;
                Ok(Constant { dims: vec![], data: Data::Ints(vec![value]) })
            }
            ("value_floats", _) => {
                let values = attribute.floats.clone();
                Ok(Constant { dims: vec![values.len()], data: Data::Floats(values) })
            }
            ("value_ints", _) => Ok(Constant::ints(attribute.ints.clone())),
            (other, _) => {
                Err(unsupported(format!("a constant given as {other}"), "write it as a dense tensor"))
            }
        }
    }

    fn shape_of(&mut self, node: &NodeProto<'b>) -> Result<Option<Constant>, Refusal> {
        let dims = match self.input(node, 0)?.ok_or("input 0 is missing")? {
            Value::Constant(constant) => constant.dims.clone(),
            Value::Tensor(view) | Value::Scalar(view, _) | Value::Probabilities(view, _) => view.dims,
            Value::Padded(view, [top, left, bottom, right]) => match view.dims[..] {
                [b, c, h, w] => vec![b, c, h + top + bottom, w + left + right],
                _ => return Err(Refusal::Follows),
            },
            Value::Unknown => return Err(Refusal::Follows),
        };
        let dims: Vec<i64> = dims.into_iter().map(|d| d as i64).collect();
        if node.op == "Size" {
            let size = dims
                .iter()
                .try_fold(1i64, |n, &d| n.checked_mul(d))
                .ok_or("more elements than fit memory")?;
            return Ok(Some(Constant { dims: vec![], data: Data::Ints(vec![size]) }));
        }
        let end = node.attribute("end").and_then(|a| a.int).unwrap_or(dims.len() as i64);
        let (start, end) = (clamped(node.int("start", 0), dims.len()), clamped(end, dims.len()));
        Ok(Some(Constant::ints(dims.get(start..end).unwrap_or_default().to_vec())))
    }

    fn folded(&mut self, node: &NodeProto<'b>, inputs: &[&Constant]) -> Result<Constant, Refusal> {
        let at = |i: usize| inputs.get(i).copied().ok_or_else(|| format!("input {i} is missing"));
        let x = at(0)?;
        let same = |dims: Vec<usize>| Constant { dims, data: x.data.clone() };
        match node.op {
            "Identity" | "Dropout" => Ok(x.clone()),
            "Cast" => Ok(cast(x, node.int("to", 1))?),
            "Reshape" => Ok(same(reshaped(&at(1)?.as_ints()?, &x.dims, node.int("allowzero", 0) != 0)?)),
            "Squeeze" => Ok(same(squeezed(self.axes(node, 1)?.as_deref(), &x.dims)?)),
            "Unsqueeze" => {
                Ok(same(unsqueezed(&self.axes(node, 1)?.ok_or("an Unsqueeze without axes")?, &x.dims)?))
            }
            "Flatten" => {
                let at = axis(node.int("axis", 1), x.dims.len() + 1)?;
                Ok(same(vec![elements(&x.dims[..at])?, elements(&x.dims[at..])?]))
            }
            "Transpose" => Ok(transpose(x, &permutation(node.ints("perm"), x.dims.len())?)),
            "Gather" => gather(x, at(1)?, node.int("axis", 0)),
            "Slice" => slice(node, inputs),
            "Concat" => concat(inputs, node.int("axis", 0)),
            "ConstantOfShape" => {
                let value = match node.attribute("value").and_then(|a| a.tensor.as_ref()) {
                    Some(tensor) => self.inline(tensor)?,
                    None => Constant { dims: vec![1], data: Data::Filled(0.0) },
                };
                filled(sizes(&x.as_ints()?)?, &value)
            }
            "Expand" => {
                let target = sizes(&at(1)?.as_ints()?)?;
                if elements(&target)? == x.len() { Ok(same(target)) } else { filled(target, x) }
            }
            "Range" => range([x, at(1)?, at(2)?]),
            "Neg" | "Sqrt" | "Reciprocal" | "Floor" | "Ceil" => unary(node.op, x),
            "Where" => chosen(x, at(1)?, at(2)?),
            "Mod" | "Equal" if node.int("fmod", 0) == 0 => compared(node.op, x, at(1)?),
            "Mod" | "Equal" => Err(unsupported("a remainder with the sign of what is divided", SIMPLIFY)),
            _ => inputs[1..].iter().try_fold(x.clone(), |a, b| binary(node.op, &a, b)),
        }
    }
}

/// An index counted from the end when negative, inside `0..=len`.
fn clamped(index: i64, len: usize) -> usize {
    let index = if index < 0 { index.saturating_add(len as i64) } else { index };
    usize::try_from(index.max(0)).unwrap_or(usize::MAX).min(len)
}

fn cast(x: &Constant, to: i64) -> Result<Constant, String> {
    let real = matches!(to, 1 | 10 | 11 | 16);
    let data = match &x.data {
        Data::Ints(v) if real => Data::Floats(v.iter().map(|&i| i as f32).collect()),
        Data::Floats(v) if !real && v.len() <= MAX_INTS => Data::Ints(v.iter().map(|&f| f as i64).collect()),
        Data::Floats(_) if !real => return Err("turns many real numbers into integers".to_owned()),
        other => other.clone(),
    };
    Ok(Constant { dims: x.dims.clone(), data })
}

fn transpose(x: &Constant, order: &[usize]) -> Constant {
    let dims: Vec<usize> = order.iter().map(|&a| x.dims[a]).collect();
    let mut strides = vec![1; x.dims.len()];
    for a in (1..x.dims.len()).rev() {
        strides[a - 1] = strides[a] * x.dims[a];
    }
    let steps: Vec<usize> = order.iter().map(|&a| strides[a]).collect();
    let places = (0..x.len()).map(|i| {
        let mut rest = i;
        dims.iter().zip(&steps).rev().fold(0, |place, (&d, &step)| {
            let at = rest % d;
            rest /= d;
            place + at * step
        })
    });
    let data = match &x.data {
        Data::Floats(v) => Data::Floats(places.map(|p| v[p]).collect()),
        Data::Ints(v) => Data::Ints(places.map(|p| v[p]).collect()),
        Data::Filled(v) => Data::Filled(*v),
    };
    Constant { dims, data }
}

/// The numbers at the given places of every axis.
fn select(x: &Constant, places: &[Vec<usize>]) -> Result<Constant, Refusal> {
    let dims: Vec<usize> = places.iter().map(Vec::len).collect();
    let len = elements(&dims)?;
    if len > x.len().max(MAX_INTS) {
        return Err(Refusal::Invalid(format!("{len} numbers out of {}", x.len())));
    }
    let at = |i: usize| {
        let mut rest = i;
        let (mut place, mut stride) = (0, 1);
        for (axis, list) in places.iter().enumerate().rev() {
            place += list[rest % list.len()] * stride;
            rest /= list.len();
            stride *= x.dims[axis];
        }
        place
    };
    let data = match &x.data {
        Data::Floats(v) => Data::Floats((0..len).map(|i| v[at(i)]).collect()),
        Data::Ints(v) => Data::Ints((0..len).map(|i| v[at(i)]).collect()),
        Data::Filled(v) => Data::Filled(*v),
    };
    Ok(Constant { dims, data })
}

/// Every place of every axis.
fn everything(x: &Constant) -> Result<Vec<Vec<usize>>, Refusal> {
    // A list takes memory, which the file may not have paid for: no numbers stand behind a filled
    // constant.
    match x.dims.iter().all(|&d| d <= MAX_PLACES) {
        true => Ok(x.dims.iter().map(|&d| (0..d).collect()).collect()),
        false => Err(unsupported(format!("cuts a constant of shape {:?}", x.dims), SIMPLIFY)),
    }
}

fn gather(x: &Constant, indices: &Constant, along: i64) -> Result<Constant, Refusal> {
    let along = axis(along, x.dims.len())?;
    let pick = |&i: &i64| axis(i, x.dims[along]);
    let mut places = everything(x)?;
    places[along] = indices.as_ints()?.iter().map(pick).collect::<Result<Vec<_>, _>>()?;
    let mut picked = select(x, &places)?;
    picked.dims = [&x.dims[..along], &indices.dims, &x.dims[along + 1..]].concat();
    Ok(picked)
}

fn slice(node: &NodeProto<'_>, inputs: &[&Constant]) -> Result<Constant, Refusal> {
    let x = inputs[0];
    let part = |name: &str, index: usize| -> Result<Option<Vec<i64>>, String> {
        match (node.ints(name), inputs.get(index)) {
            (Some(list), _) => Ok(Some(list.to_vec())),
            (None, Some(list)) => list.as_ints().map(Some),
            (None, None) => Ok(None),
        }
    };
    let starts = part("starts", 1)?.ok_or("a Slice without starts")?;
    let ends = part("ends", 2)?.ok_or("a Slice without ends")?;
    let axes = part("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = part("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(Refusal::Invalid("starts, ends, axes and steps of different lengths".to_owned()));
    }
    let mut places = everything(x)?;
    for (((&start, &end), &along), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let along = axis(along, x.dims.len())?;
        places[along] = cut(x.dims[along], start, end, step)?;
    }
    select(x, &places)
}

/// The places from `start` to before `end`, as Python counts them.
pub(super) fn cut(len: usize, start: i64, end: i64, step: i64) -> Result<Vec<usize>, Refusal> {
    let every = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
    match step {
        0 => Err(Refusal::Invalid("a Slice with step 0".to_owned())),
        1.. => Ok((clamped(start, len)..clamped(end, len)).step_by(every).collect()),
        _ => {
            // Backwards: `start` is the first place taken, `end` the first one not taken, before
            // the front if need be.
            let from_start = |i: i64| if i < 0 { i.saturating_add(len as i64) } else { i };
            let first = from_start(start).min(len as i64 - 1);
            let last = from_start(end).max(-1);
            let places = (0..=first).rev().take_while(|&i| i > last).step_by(every);
            Ok(places.map(|i| i as usize).collect())
        }
    }
}

fn concat(inputs: &[&Constant], along: i64) -> Result<Constant, Refusal> {
    let first = inputs[0];
    let along = axis(along, first.dims.len())?;
    let (mut dims, mut total) = (first.dims.clone(), 0usize);
    for input in inputs {
        let same = input.dims.len() == dims.len()
            && (0..dims.len()).all(|a| a == along || input.dims[a] == first.dims[a]);
        if !same {
            let reason = format!("joins constants of shapes {:?} and {:?}", first.dims, input.dims);
            return Err(Refusal::Invalid(reason));
        }
        total = total.saturating_add(input.dims[along]);
    }
    dims[along] = total;
    if elements(&dims)? > MAX_INTS {
        let todo = SIMPLIFY;
        return Err(unsupported(format!("joins constants to more than {MAX_INTS} numbers"), todo));
    }
    // All numbers before the axis, one row of each input after the other.
    let rows: usize = first.dims[..along].iter().product();
    let mut all_ints = Vec::new();
    let mut all_floats = Vec::new();
    for row in 0..rows {
        for input in inputs {
            let each: usize = input.dims[along..].iter().product();
            match &input.data {
                Data::Ints(v) => all_ints.extend_from_slice(&v[row * each..(row + 1) * each]),
                Data::Floats(v) => all_floats.extend_from_slice(&v[row * each..(row + 1) * each]),
                Data::Filled(v) => all_floats.extend(std::iter::repeat_n(*v, each)),
            }
        }
    }
    match (all_ints.is_empty(), all_floats.is_empty()) {
        (_, true) => Ok(Constant { dims, data: Data::Ints(all_ints) }),
        (true, _) => Ok(Constant { dims, data: Data::Floats(all_floats) }),
        _ => Err(Refusal::Invalid("joins integers and real numbers".to_owned())),
    }
}

/// One number everywhere.
fn filled(dims: Vec<usize>, value: &Constant) -> Result<Constant, Refusal> {
    let len = elements(&dims)?;
    let data = match &value.data {
        Data::Ints(v) if v.len() == 1 && len <= MAX_INTS => Data::Ints(vec![v[0]; len]),
        Data::Ints(_) => return Err(Refusal::Invalid(format!("{len} integers, at most {MAX_INTS}"))),
        _ => match value.scalar() {
            Some(v) => Data::Filled(v as f32),
            None => return Err(unsupported("repeats a constant", SIMPLIFY)),
        },
    };
    Ok(Constant { dims, data })
}

fn range(bounds: [&Constant; 3]) -> Result<Constant, Refusal> {
    let int = |c: &Constant| c.as_ints().ok().filter(|v| v.len() == 1).map(|v| v[0]);
    let [Some(start), Some(end), Some(step)] = bounds.map(int) else {
        return Err(unsupported("a range of real numbers", SIMPLIFY));
    };
    if step == 0 {
        return Err(Refusal::Invalid("a range with step 0".to_owned()));
    }
    let (mut values, mut at) = (Vec::new(), Some(start));
    while let Some(value) = at.filter(|&v| if step > 0 { v < end } else { v > end }) {
        if values.len() == MAX_INTS {
            return Err(Refusal::Invalid(format!("a range of more than {MAX_INTS} integers")));
        }
        values.push(value);
        at = value.checked_add(step);
    }
    Ok(Constant::ints(values))
}

fn unary(op: &str, x: &Constant) -> Result<Constant, Refusal> {
    let f = |v: f32| match op {
        "Neg" => -v,
        "Sqrt" => v.sqrt(),
        "Reciprocal" => 1.0 / v,
        "Floor" => v.floor(),
        _ => v.ceil(),
    };
    let data = match &x.data {
        Data::Floats(v) => Data::Floats(v.iter().map(|&v| f(v)).collect()),
        Data::Filled(v) => Data::Filled(f(*v)),
        Data::Ints(v) if op == "Neg" => Data::Ints(v.iter().map(|v| v.wrapping_neg()).collect()),
        Data::Ints(_) => return Err(Refusal::Invalid("integers where real numbers belong".to_owned())),
    };
    Ok(Constant { dims: x.dims.clone(), data })
}

/// What shapes are computed with and weights are not.
fn compared(op: &str, a: &Constant, b: &Constant) -> Result<Constant, Refusal> {
    match (&a.data, &b.data) {
        (Data::Ints(_), Data::Ints(_)) => binary(op, a, b),
        _ => Err(unsupported(format!("{op} of constants that are no integers"), SIMPLIFY)),
    }
}

/// One integer or another, by a condition; each may be a single number.
fn chosen(condition: &Constant, yes: &Constant, no: &Constant) -> Result<Constant, Refusal> {
    let all = [condition, yes, no];
    let longest = all.into_iter().max_by_key(|c| (c.len(), c.dims.len())).unwrap_or(condition);
    let fits = |c: &&Constant| c.dims == longest.dims || c.len() == 1;
    let (Data::Ints(condition), Data::Ints(yes), Data::Ints(no), true) =
        (&condition.data, &yes.data, &no.data, all.iter().all(fits))
    else {
        return Err(unsupported("chooses constants that are no integers of one shape", SIMPLIFY));
    };
    let of = |v: &[i64], i: usize| if v.len() == 1 { v[0] } else { v[i] };
    let each = |i: usize| if of(condition, i) != 0 { of(yes, i) } else { of(no, i) };
    Ok(Constant { dims: longest.dims.clone(), data: Data::Ints((0..longest.len()).map(each).collect()) })
}

/// The remainder with the sign of the divisor.
fn remainder(x: i64, y: i64) -> Option<i64> {
    let r = x.checked_rem(y)?;
    Some(if r != 0 && (r < 0) != (y < 0) { r + y } else { r })
}

/// Element by element; one side may be a single number.
fn binary(op: &str, a: &Constant, b: &Constant) -> Result<Constant, Refusal> {
    let dims = if a.len() == 1 && b.dims.len() >= a.dims.len() { &b.dims } else { &a.dims };
    let size = elements(dims)?;
    let fits = a.dims == b.dims || (a.len().min(b.len()) == 1 && a.len().max(b.len()) == size);
    if !fits || size == 0 {
        return Err(unsupported(
            format!("combines constants of shapes {:?} and {:?}", a.dims, b.dims),
            SIMPLIFY,
        ));
    }
    if let (Data::Ints(x), Data::Ints(y)) = (&a.data, &b.data) {
        let of = |v: &[i64], i: usize| if v.len() == 1 { v[0] } else { v[i] };
        let each = |i: usize| {
            let (x, y) = (of(x, i), of(y, i));
            let result = match op {
                "Add" => x.checked_add(y),
                "Sub" => x.checked_sub(y),
                "Mul" => x.checked_mul(y),
                "Div" => x.checked_div(y),
                "Min" => Some(x.min(y)),
                "Max" => Some(x.max(y)),
                "Mod" => remainder(x, y),
                "Equal" => Some(i64::from(x == y)),
                _ => u32::try_from(y).ok().and_then(|y| x.checked_pow(y)),
            };
            result.ok_or_else(|| format!("{x} {op} {y} is no integer of 64 bits"))
        };
        let values = (0..x.len().max(y.len())).map(each).collect::<Result<Vec<_>, _>>()?;
        return Ok(Constant { dims: dims.clone(), data: Data::Ints(values) });
    }
    let f = |x: f32, y: f32| match op {
        "Add" => x + y,
        "Sub" => x - y,
        "Mul" => x * y,
        "Div" => x / y,
        "Min" => x.min(y),
        "Max" => x.max(y),
        _ => x.powf(y),
    };
    let data = match (a.scalar(), b.scalar()) {
        (Some(x), Some(y)) => Data::Filled(f(x as f32, y as f32)),
        (Some(x), None) => Data::Floats(b.to_floats().into_iter().map(|y| f(x as f32, y)).collect()),
        (None, Some(y)) => Data::Floats(a.to_floats().into_iter().map(|x| f(x, y as f32)).collect()),
        (None, None) => {
            Data::Floats(a.to_floats().into_iter().zip(b.to_floats()).map(|(x, y)| f(x, y)).collect())
        }
    };
    Ok(Constant { dims: dims.clone(), data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(dims: &[usize], values: &[i64]) -> Constant {
        Constant { dims: dims.to_vec(), data: Data::Ints(values.to_vec()) }
    }

    #[test]
    fn cuts_are_those_of_python() {
        for (start, end, step, expected) in [
            (0, 5, 1, &[0, 1, 2, 3, 4][..]),
            (1, i64::MAX, 2, &[1, 3]),
            (-2, 9, 1, &[3, 4]),
            (3, 1, 1, &[]),
            (-1, i64::MIN, -1, &[4, 3, 2, 1, 0]),
            (i64::MAX, 0, -2, &[4, 2]),
            (1, -1, -1, &[]),
        ] {
            assert_eq!(cut(5, start, end, step).unwrap(), expected, "{start}:{end}:{step}");
        }
        assert!(cut(5, 0, 5, 0).is_err());
        assert!(cut(0, -1, i64::MIN, -1).unwrap().is_empty());
    }

    #[test]
    fn picks_and_joins_along_any_axis() {
        let x = ints(&[2, 3], &[0, 1, 2, 3, 4, 5]);
        assert_eq!(gather(&x, &ints(&[2], &[2, -3]), 1).unwrap(), ints(&[2, 2], &[2, 0, 5, 3]));
        assert_eq!(gather(&x, &ints(&[], &[1]), 0).unwrap(), ints(&[3], &[3, 4, 5]));
        let joined = concat(&[&x, &ints(&[2, 1], &[7, 8])], -1).unwrap();
        assert_eq!(joined, ints(&[2, 4], &[0, 1, 2, 7, 3, 4, 5, 8]));
        assert!(concat(&[&x, &ints(&[1, 1], &[7])], 1).is_err());
        assert!(gather(&x, &ints(&[1], &[2]), 0).is_err());
    }

    #[test]
    fn shapes_are_compared_and_chosen() {
        let (x, y) = (ints(&[4], &[7, -7, 7, -7]), ints(&[4], &[4, 4, -4, -4]));
        assert_eq!(compared("Mod", &x, &y).unwrap(), ints(&[4], &[3, 1, -1, -3]));
        assert!(compared("Mod", &x, &ints(&[], &[0])).is_err());
        assert!(compared("Mod", &ints(&[1], &[i64::MIN]), &ints(&[1], &[-1])).is_err());
        let equal = compared("Equal", &x, &ints(&[], &[7])).unwrap();
        assert_eq!(equal, ints(&[4], &[1, 0, 1, 0]));
        assert_eq!(chosen(&equal, &ints(&[1], &[9]), &x).unwrap(), ints(&[4], &[9, -7, 9, -7]));
        assert_eq!(chosen(&ints(&[], &[1]), &x, &y).unwrap(), x);
        assert!(chosen(&equal, &ints(&[3], &[1, 2, 3]), &x).is_err());
        let reals = Constant { dims: vec![1], data: Data::Filled(1.0) };
        assert!(compared("Equal", &reals, &reals).is_err() && chosen(&equal, &reals, &x).is_err());
    }
}
