//! Functions of every number by itself, and sums of values.
//!
//! Exporters write activations as chains: `x * sigmoid(x)`, `x^2 + 0.5 x`. As long as a chain reads
//! one value only, it is collected as one [`Function`] of that value and becomes a node where
//! something else reads it.

use super::constant::Constant;
use super::importer::Importer;
use super::proto::NodeProto;
use super::rearrange::common_shape;
use super::value::{Refusal, Value, View, unsupported};
use crate::function::{Elementary, Function, MAX_DEGREE};
use crate::graph::{Extreme, NodeId, SecretReals};

/// Too many operators in one activation.
fn too_long() -> Refusal {
    unsupported("an activation of too many operators", "replace it by a polynomial in the model")
}

/// What is added to or multiplied with a value.
enum Operand {
    /// One number for all.
    Number(f64),
    /// One number a channel.
    Channels(Vec<f64>),
    /// One number for every number of the value.
    Each(Vec<f64>),
}

impl<'b> Importer<'_, 'b> {
    /// The value of an element-wise node; `None` for other operators.
    pub(super) fn elementwise(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Option<Value>, Refusal> {
        let alpha = |default: f32| f64::from(node.float("alpha", default));
        let elementary = match node.op {
            "Relu" => Elementary::Relu,
            "Sigmoid" => Elementary::Sigmoid,
            "Tanh" => Elementary::Tanh,
            "Erf" => Elementary::Erf,
            "Exp" => Elementary::Exp,
            "Log" => Elementary::Ln,
            "Sqrt" => Elementary::Sqrt,
            "Abs" => Elementary::Abs,
            "Softplus" => Elementary::Softplus,
            "Reciprocal" => Elementary::Reciprocal,
            "LeakyRelu" => Elementary::LeakyRelu { alpha: alpha(0.01) },
            "Elu" => Elementary::Elu { alpha: alpha(1.0) },
            "ThresholdedRelu" => Elementary::ThresholdedRelu { alpha: alpha(1.0) },
            "Shrink" => Elementary::Shrink {
                bias: f64::from(node.float("bias", 0.0)),
                lambda: f64::from(node.float("lambd", 0.5)),
            },
            "Sin" => Elementary::Sin,
            "Cos" => Elementary::Cos,
            "Atan" => Elementary::Atan,
            "Clip" => self.clip(node)?,
            "Neg" => return self.polynomial_of(node, &[0.0, -1.0]).map(Some),
            "Pow" => return self.power(node).map(Some),
            "PRelu" => return self.learned_slope(name, node).map(Some),
            "HardSigmoid" | "HardSwish" | "Mish" | "Gelu" | "Swish" | "Selu" | "Celu" | "Softsign" => {
                return self.composed(node).map(Some);
            }
            "Add" | "Sub" | "Mul" | "Div" | "Sum" | "Min" | "Max" => {
                return self.binary(name, node).map(Some);
            }
            _ => return Ok(None),
        };
        let (view, function) = self.function(node, 0)?;
        Ok(Some(Value::Scalar(view, function.then(elementary).ok_or_else(too_long)?)))
    }

    /// Input `index` as a function of a value.
    fn function(&mut self, node: &NodeProto<'b>, index: usize) -> Result<(View, Function), Refusal> {
        match self.input(node, index)? {
            Some(Value::Scalar(view, function)) => Ok((view, function)),
            _ => Ok((self.tensor_in_any_order(node, index)?, Function::identity())),
        }
    }

    fn polynomial_of(&mut self, node: &NodeProto<'b>, coefficients: &[f64]) -> Result<Value, Refusal> {
        let (view, function) = self.function(node, 0)?;
        Ok(Value::Scalar(view, function.then_polynomial(coefficients).ok_or_else(too_long)?))
    }

    /// Bounds are attributes before operator set 11, inputs since.
    fn clip(&mut self, node: &NodeProto<'b>) -> Result<Elementary, Refusal> {
        let mut bound = |name: &str, index: usize, default: f64| -> Result<f64, Refusal> {
            if let Some(value) = node.attribute(name).and_then(|a| a.float) {
                return Ok(f64::from(value));
            }
            match self.constant(node, index, "bound")? {
                None => Ok(default),
                Some(constant) => {
                    Ok(constant.scalar().ok_or_else(|| format!("a bound of shape {:?}", constant.dims))?)
                }
            }
        };
        let low = bound("min", 1, f64::NEG_INFINITY)?;
        let high = bound("max", 2, f64::INFINITY)?;
        if low <= high {
            Ok(Elementary::Clip { low, high })
        } else {
            Err(format!("clips to {low}..{high}").into())
        }
    }

    fn power(&mut self, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        if !matches!(self.input(node, 1)?, Some(Value::Constant(_))) {
            return Err(unsupported(
                "a power whose exponent depends on the image",
                "use a constant exponent",
            ));
        }
        let exponent = self.constant(node, 1, "exponent")?.and_then(|c| c.scalar());
        match exponent {
            Some(e) if e >= 0.0 && e <= MAX_DEGREE as f64 && e.fract() == 0.0 => {
                let mut coefficients = vec![0.0; e as usize];
                coefficients.push(1.0);
                self.polynomial_of(node, &coefficients)
            }
            Some(0.5) => {
                let (view, function) = self.function(node, 0)?;
                Ok(Value::Scalar(view, function.then(Elementary::Sqrt).ok_or_else(too_long)?))
            }
            other => Err(unsupported(
                other.map_or_else(|| "a list of exponents".to_owned(), |e| format!("the power {e}")),
                format!("whole exponents from 0 to {MAX_DEGREE} are possible"),
            )),
        }
    }

    /// `x` below 0 times a slope: one for all, or one a channel as `slope x + (1 - slope) relu(x)`.
    fn learned_slope(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let (view, function) = self.function(node, 0)?;
        let slope = self.constant(node, 1, "slope")?.ok_or("it has no slope")?;
        let slopes = match operand(&slope, &view)? {
            Some(Operand::Number(alpha)) => {
                let alpha = Elementary::LeakyRelu { alpha };
                return Ok(Value::Scalar(view, function.then(alpha).ok_or_else(too_long)?));
            }
            Some(Operand::Channels(slopes)) => slopes,
            _ => return Err(unsupported("a slope for each number", "use one slope, or one a channel")),
        };
        let view = self.tensor_in_any_order(node, 0)?;
        self.spend(64 * slopes.len() as u64)?;
        let input = self.channels(&view, slopes.len())?;
        let label = self.unique(&format!("{name}.relu"));
        let relu = self.builder.activation(&label, input, Function::elementary(Elementary::Relu));
        let zeros = || -> SecretReals { slopes.iter().map(|_| 0.0).collect() };
        let label = self.unique(&format!("{name}.above"));
        let above = self.builder.affine(&label, relu, slopes.iter().map(|s| 1.0 - s).collect(), zeros());
        let label = self.unique(&format!("{name}.below"));
        let below = self.builder.affine(&label, input, slopes.iter().copied().collect(), zeros());
        let label = self.unique(name);
        let node = self.builder.add(&label, above, below);
        self.notes.push(format!(
            "{name}: a slope for each channel takes layers of its own; one slope for all channels costs nothing"
        ));
        Ok(Value::Tensor(View { node, ..view }))
    }

    /// A value of `count` channels as images or as vectors, in the order of its node.
    fn channels(&mut self, view: &View, count: usize) -> Result<NodeId, Refusal> {
        let view = view.stored();
        match view.dims.len() {
            2 => self.flat(&view),
            // The only axis of more than one element, wherever it stands.
            _ if view.dims[1] != count => Ok(self.shaped(&view, &[count])),
            _ => self.image(&view),
        }
    }

    /// Operators that are chains of others.
    fn composed(&mut self, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let (view, x) = self.function(node, 0)?;
        let number = |name: &str, default: f32| f64::from(node.float(name, default));
        let slope = number("alpha", 1.0);
        if node.op == "Celu" && (slope <= 0.0 || !slope.is_finite()) {
            return Err(format!("alpha {slope}, must be above 0").into());
        }
        let hard = |x: Function, alpha: f64, beta: f64| {
            x.then_polynomial(&[beta, alpha])?.then(Elementary::Clip { low: 0.0, high: 1.0 })
        };
        let result = (|| match node.op {
            "HardSigmoid" => hard(x, number("alpha", 0.2), number("beta", 0.5)),
            "HardSwish" => hard(x.clone(), 1.0 / 6.0, 0.5)?.times(x),
            "Selu" => {
                let (alpha, gamma) = (number("alpha", 1.673_263_2), number("gamma", 1.050_701));
                x.then(Elementary::Elu { alpha })?.then_polynomial(&[0.0, gamma])
            }
            "Celu" => {
                let alpha = number("alpha", 1.0);
                let inner = x.then_polynomial(&[0.0, 1.0 / alpha])?;
                inner.then(Elementary::Elu { alpha: 1.0 })?.then_polynomial(&[0.0, alpha])
            }
            "Softsign" => {
                let below = x.clone().then(Elementary::Abs)?.then_polynomial(&[1.0, 1.0])?;
                below.then(Elementary::Reciprocal)?.times(x)
            }
            "Mish" => x.clone().then(Elementary::Softplus)?.then(Elementary::Tanh)?.times(x),
            "Swish" => {
                x.clone().then_polynomial(&[0.0, number("alpha", 1.0)])?.then(Elementary::Sigmoid)?.times(x)
            }
            _ if node.text("approximate") == "tanh" => {
                let c = (2.0 / std::f64::consts::PI).sqrt();
                let inner =
                    x.clone().then_polynomial(&[0.0, c, 0.0, 0.044_715 * c])?.then(Elementary::Tanh)?;
                inner.then_polynomial(&[0.5, 0.5])?.times(x)
            }
            _ => {
                let inner = x.clone().then_polynomial(&[0.0, std::f64::consts::FRAC_1_SQRT_2])?;
                inner.then(Elementary::Erf)?.then_polynomial(&[0.5, 0.5])?.times(x)
            }
        })();
        Ok(Value::Scalar(view, result.ok_or_else(too_long)?))
    }

    /// Sums, products and the like of a value with a constant or another value.
    fn binary(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        if node.inputs.len() == 1 && matches!(node.op, "Sum" | "Min" | "Max") {
            return self.input(node, 0)?.ok_or_else(|| "input 0 is missing".into());
        }
        let (first, second) = (self.input(node, 0)?, self.input(node, 1)?);
        match (first, second, node.inputs.len()) {
            (Some(Value::Constant(c)), Some(_), 2) => self.with_constant(name, node, 1, &c),
            (Some(_), Some(Value::Constant(c)), 2) => self.with_constant(name, node, 0, &c),
            (Some(_), Some(_), _) => self.with_values(name, node),
            _ => Err("an input is missing".into()),
        }
    }

    /// `constant` and input `index`, which is the other one.
    fn with_constant(
        &mut self,
        name: &str,
        node: &NodeProto<'b>,
        index: usize,
        constant: &Constant,
    ) -> Result<Value, Refusal> {
        let (view, function) = self.function(node, index)?;
        let first = index == 0;
        let found = match operand(constant, &view)? {
            // Parameters for single numbers need them in order.
            None => Operand::Each(self.each(constant, &view)?),
            Some(found) => found,
        };
        match found {
            Operand::Number(c) if !c.is_finite() => Err(format!("its constant is {c}").into()),
            Operand::Number(c) => {
                let result = match (node.op, first) {
                    ("Add" | "Sum", _) => function.then_polynomial(&[c, 1.0]),
                    ("Sub", true) => function.then_polynomial(&[-c, 1.0]),
                    ("Sub", false) => function.then_polynomial(&[c, -1.0]),
                    ("Mul", _) => function.then_polynomial(&[0.0, c]),
                    ("Div", true) if c != 0.0 => function.then_polynomial(&[0.0, 1.0 / c]),
                    ("Div", true) => return Err("a division by 0".into()),
                    ("Div", false) => {
                        function.then(Elementary::Reciprocal).and_then(|f| f.then_polynomial(&[0.0, c]))
                    }
                    ("Min", _) => function.then(Elementary::Clip { low: f64::NEG_INFINITY, high: c }),
                    _ => function.then(Elementary::Clip { low: c, high: f64::INFINITY }),
                };
                Ok(Value::Scalar(view, result.ok_or_else(too_long)?))
            }
            Operand::Channels(ref c) | Operand::Each(ref c) => {
                let mut view = self.tensor_in_any_order(node, index)?;
                if matches!(found, Operand::Each(_)) {
                    view = self.in_order(name, &view)?;
                }
                self.spend(16 * c.len() as u64)?;
                let n = c.len();
                let ones = || -> SecretReals { std::iter::repeat_n(1.0, n).collect() };
                let all = |f: fn(f64) -> f64| -> SecretReals { c.iter().map(|&v| f(v)).collect() };
                let (scale, offset) = match (node.op, first) {
                    ("Add" | "Sum", _) => (ones(), all(|v| v)),
                    ("Sub", true) => (ones(), all(|v| -v)),
                    ("Sub", false) => (std::iter::repeat_n(-1.0, n).collect(), all(|v| v)),
                    ("Mul", _) => (all(|v| v), all(|_| 0.0)),
                    ("Div", true) => (all(|v| 1.0 / v), all(|_| 0.0)),
                    _ => {
                        return Err(unsupported(
                            "a different bound or dividend for each channel",
                            "use one number",
                        ));
                    }
                };
                let input = match found {
                    Operand::Each(_) => self.shaped(&view, &[n]),
                    _ => self.channels(&view, n)?,
                };
                let label = self.unique(name);
                let result = self.builder.affine(&label, input, scale, offset);
                Ok(Value::Tensor(View { node: result, ..view }))
            }
        }
    }

    /// A constant spread over all numbers of a value.
    fn each(&mut self, constant: &Constant, view: &View) -> Result<Vec<f64>, Refusal> {
        let count: usize = view.dims.iter().skip(1).product();
        let missing = view.dims.len().checked_sub(constant.dims.len());
        let sizes =
            missing.map(|missing| std::iter::repeat_n(1, missing).chain(constant.dims.iter().copied()));
        let sizes: Vec<usize> = sizes.into_iter().flatten().collect();
        let fits = |(axis, (own, whole)): (usize, (&usize, &usize))| *own == 1 || (axis > 0 && own == whole);
        if sizes.is_empty() || !sizes.iter().zip(&view.dims).enumerate().all(fits) {
            let why = format!("a constant of shape {:?} on a value of shape {:?}", constant.dims, view.dims);
            return Err(unsupported(why, "bring both to one shape, without a batch in the constant"));
        }
        self.spend(24 * count as u64)?;
        let numbers = constant.to_floats();
        let place = |number: usize| {
            let (mut rest, mut place, mut step) = (number, 0, 1);
            for (own, whole) in sizes.iter().zip(&view.dims).skip(1).rev() {
                place += if *own == 1 { 0 } else { rest % whole * step };
                step *= own;
                rest /= whole;
            }
            place
        };
        Ok((0..count).map(|number| f64::from(numbers[place(number)])).collect())
    }

    /// Two or more values of the network.
    fn with_values(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let mut parts = Vec::with_capacity(node.inputs.len().min(64));
        for index in 0..node.inputs.len() {
            parts.push(self.function(node, index)?);
        }
        let (base, first) = parts[0].clone();
        if parts.iter().all(|(view, _)| *view == base) {
            let joined = parts[1..].iter().cloned().try_fold(first, |a, (_, b)| match node.op {
                "Add" | "Sum" => a.plus(b),
                "Sub" => a.plus(b.then_polynomial(&[0.0, -1.0])?),
                "Mul" => a.times(b),
                "Div" => a.times(b.then(Elementary::Reciprocal)?),
                _ => None,
            });
            if let Some(function) = joined {
                return Ok(Value::Scalar(base, function));
            }
        }
        if node.op == "Div" {
            return Err(unsupported(
                "divides by a value of the network, a secret number",
                "multiply instead, or divide by a constant, and retrain",
            ));
        }
        let mut sum = self.tensor_in_any_order(node, 0)?;
        for index in 1..node.inputs.len() {
            let mut next = self.tensor_in_any_order(node, index)?;
            let order = |view: &View| view.moved.as_ref().map(|m| (m.axes.clone(), m.flattened.clone()));
            if order(&sum) != order(&next) || next.dims != sum.dims {
                let dims = common_shape(&sum.dims, &next.dims)?;
                sum = self.spread(name, &sum, &dims)?;
                next = self.spread(name, &next, &dims)?;
                sum = self.in_order(name, &sum)?;
                next = self.in_order(name, &next)?;
            }
            if node.op == "Sub" {
                let channels = self.builder.shape(next.node)[0];
                self.spend(16 * channels as u64)?;
                let label = self.unique(&format!("{name}.negated"));
                let all = |v: f64| -> SecretReals { std::iter::repeat_n(v, channels).collect() };
                next.node = self.builder.affine(&label, next.node, all(-1.0), all(0.0));
            }
            let shape = self.builder.shape(sum.node).to_vec();
            let right = self.shaped(&next, &shape);
            let label = self.unique(name);
            sum.node = match node.op {
                "Max" => self.builder.extreme(&label, sum.node, right, Extreme::Largest),
                "Min" => self.builder.extreme(&label, sum.node, right, Extreme::Smallest),
                "Mul" => self.builder.multiply(&label, sum.node, right),
                _ => self.builder.add(&label, sum.node, right),
            };
        }
        Ok(Value::Tensor(sum))
    }
}

/// A constant as it is spread over a value (batch, channels, ...); `None` where it is neither one
/// number nor one a channel.
fn operand(constant: &Constant, view: &View) -> Result<Option<Operand>, Refusal> {
    let (dims, channels) = (view.dims.as_slice(), view.channel_axis());
    if constant.len() == 1 {
        let number = constant.scalar().ok_or("a constant without a number")?;
        return Ok(Some(Operand::Number(number)));
    }
    let Some(missing) = dims.len().checked_sub(constant.dims.len()) else { return Ok(None) };
    let alone = |axis: usize| axis > 0 && dims[1..].iter().product::<usize>() == dims[axis];
    let spread = constant.dims.iter().enumerate().all(|(i, &d)| match i + missing {
        axis if axis == channels || alone(axis) => d == dims[axis],
        _ => d == 1,
    });
    if !spread || dims.len() <= channels {
        return Ok(None);
    }
    Ok(Some(match constant.scalar() {
        Some(number) => Operand::Number(number),
        None => Operand::Channels(constant.to_floats().into_iter().map(f64::from).collect()),
    }))
}
