//! Linear layers, normalisation, pooling, and everything that is refused by name.

use std::rc::Rc;

use super::constant::Constant;
use super::importer::Importer;
use super::layout::axis;
use super::proto::NodeProto;
use super::value::{Refusal, Value, View, unsupported};
use super::window::{added, ceil_padding, counts, inverted, outputs, pair, window, window_padding};
use crate::graph::{BatchNorm, ConvOptions, NodeId, PoolOptions};

impl<'b> Importer<'_, 'b> {
    /// The value of a node with weights or windows.
    pub(super) fn layer(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        match node.op {
            "Conv" => self.conv(name, node),
            "Gemm" => self.gemm(name, node),
            "MatMul" => self.mat_mul(name, node),
            "BatchNormalization" => self.batch_norm(name, node),
            "AveragePool" | "MaxPool" => self.pool(name, node),
            "GlobalAveragePool" | "GlobalMaxPool" => self.global_pool(name, node, [true; 2], true),
            "ReduceMean" | "ReduceSum" | "ReduceMax" => self.reduce(name, node),
            "Pad" => self.pad(node),
            "Concat" => self.concat(name, node),
            other => {
                let (why, what_to_do) = refusal(other);
                Err(unsupported(why, what_to_do))
            }
        }
    }

    /// The weights of a layer, which must be constants.
    fn weights(&mut self, node: &NodeProto<'b>, index: usize) -> Result<std::rc::Rc<Constant>, Refusal> {
        Ok(self.constant(node, index, "weight")?.ok_or("it has no weights")?)
    }

    fn bias(&mut self, node: &NodeProto<'b>, index: usize) -> Result<Option<Vec<f32>>, Refusal> {
        match self.constant(node, index, "bias")? {
            Some(bias) => Ok(Some(self.floats(&bias)?)),
            None => Ok(None),
        }
    }

    fn conv(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let (view, extra) = self.padded(node)?;
        let weights = self.weights(node, 1)?;
        let [out_channels, depth, kh, kw] = weights.dims[..] else {
            return Err(unsupported(
                format!("a convolution with weights of shape {:?}", weights.dims),
                "write it as a two-dimensional convolution (Conv2d with a height of 1 in place of Conv1d)",
            ));
        };
        let input = self.image(&view)?;
        let [channels, height, width] = self.image_shape(input)?;
        let groups =
            usize::try_from(node.int("group", 1)).map_err(|_| "a negative number of groups".to_owned())?;
        if depth.checked_mul(groups) != Some(channels) {
            return Err(format!(
                "weights for {groups} group(s) of {depth} channels, the value has {channels} channels"
            )
            .into());
        }
        let kernel = [kh, kw];
        if let Some(declared) = node.ints("kernel_shape")
            && pair("kernel_shape", Some(declared), 1)? != kernel
        {
            return Err(format!("kernel_shape {declared:?}, the weights have {kernel:?}").into());
        }
        let stride = pair("strides", node.ints("strides"), 1)?;
        let dilation = pair("dilations", node.ints("dilations"), 1)?;
        let size = [height + extra[0] + extra[2], width + extra[1] + extra[3]];
        let padding = added(window_padding(node, size, kernel, stride, dilation)?, extra);
        let values = self.floats(&weights)?;
        let bias = self.bias(node, 2)?;
        let options = ConvOptions { out_channels, kernel, stride, padding, dilation, groups };
        let label = self.unique(name);
        let result = self.builder.conv2d(&label, input, options, values, bias);
        Ok(self.image_value(result))
    }

    /// `alpha A B + beta C`, A the value.
    fn gemm(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        if node.int("transA", 0) != 0 {
            return Err(unsupported("a transposed value", "export a plain fully connected layer"));
        }
        let view = self.flat_in_any_order(node)?;
        let weights = self.weights(node, 1)?;
        let transposed = node.int("transB", 0) != 0;
        let bias = match self.constant(node, 2, "bias")? {
            None => None,
            Some(c) => Some((self.floats(&c)?, c.dims.clone())),
        };
        let (alpha, beta) = (node.float("alpha", 1.0), node.float("beta", 1.0));
        self.dense(name, &view, &weights, transposed, alpha, bias.map(|(v, dims)| (v, dims, beta)))
    }

    fn mat_mul(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        if matches!(self.input(node, 0)?, Some(Value::Constant(_))) {
            return Err(unsupported("weights on the left of a product", "write it as x times W"));
        }
        let view = self.flat_in_any_order(node)?;
        let weights = self.weights(node, 1)?;
        self.dense(name, &view, &weights, false, 1.0, None)
    }

    /// A fully connected layer; `weights` are `[inputs, outputs]`, or `[outputs, inputs]` when
    /// `transposed`.
    fn dense(
        &mut self,
        name: &str,
        (view, places): &(View, Option<Vec<usize>>),
        weights: &Constant,
        transposed: bool,
        alpha: f32,
        bias: Option<(Vec<f32>, Vec<usize>, f32)>,
    ) -> Result<Value, Refusal> {
        let [rows, columns] = weights.dims[..] else {
            return Err(unsupported(format!("weights of shape {:?}", weights.dims), "a matrix is possible"));
        };
        let (inputs, outputs) = if transposed { (columns, rows) } else { (rows, columns) };
        let input = self.flat(view)?;
        let [_, length] = view.dims[..] else { return Err("a value that is not flat".into()) };
        if length != inputs {
            return Err(format!("weights for {inputs} inputs, the value has {length} numbers").into());
        }
        let mut values = self.floats(weights)?;
        if !transposed {
            self.spend(4 * values.len() as u64)?;
            let of = |o: usize, i: usize| values[i * outputs + o];
            values =
                (0..outputs).flat_map(|o| (0..inputs).map(move |i| (o, i))).map(|(o, i)| of(o, i)).collect();
        }
        if let Some(places) = places {
            self.spend(4 * values.len() as u64)?;
            values = values.chunks_exact(inputs).flat_map(|row| placed(row, places)).collect();
        }
        if alpha != 1.0 {
            values.iter_mut().for_each(|v| *v *= alpha);
        }
        let bias = match bias {
            None => None,
            Some((mut bias, dims, beta)) => {
                if bias.len() == 1 && outputs > 1 {
                    self.spend(4 * outputs as u64)?;
                    bias = vec![bias[0]; outputs];
                }
                let row = dims.iter().rev().skip(1).all(|&d| d == 1);
                if bias.len() != outputs || !row {
                    return Err(format!("bias of shape {dims:?} for {outputs} outputs").into());
                }
                bias.iter_mut().for_each(|b| *b *= beta);
                Some(bias)
            }
        };
        let label = self.unique(name);
        let result = self.builder.linear(&label, input, outputs, values, bias);
        Ok(Value::Tensor(View::new(result, vec![self.batch, outputs])))
    }

    fn batch_norm(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let (view, places) = self.flat_in_any_order(node)?;
        let input = match view.dims.len() {
            2 => self.flat(&view)?,
            _ => self.image(&view)?,
        };
        let mut parameters = Vec::with_capacity(4);
        for index in 1..5 {
            let constant = self.weights(node, index)?;
            let numbers = self.floats(&constant)?;
            parameters.push(match &places {
                Some(places) if places.len() == numbers.len() => placed(&numbers, places),
                _ => numbers,
            });
        }
        let Ok([gamma, beta, mean, variance]) = <[Vec<f32>; 4]>::try_from(parameters) else {
            return Err("BatchNorm needs four lists of parameters".into());
        };
        let eps = f64::from(node.float("epsilon", 1e-5));
        self.spend(16 * gamma.len() as u64)?;
        let label = self.unique(name);
        let bn = BatchNorm { gamma, beta, mean, variance, eps };
        let result = self.builder.batch_norm(&label, input, bn);
        Ok(Value::Tensor(View { node: result, ..view }))
    }

    fn pool(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let maximum = node.op == "MaxPool";
        let (view, extra) = if maximum { (self.tensor(node, 0)?, [0; 4]) } else { self.padded(node)? };
        let input = self.image(&view)?;
        let [_, height, width] = self.image_shape(input)?;
        let kernel =
            pair("kernel_shape", Some(node.ints("kernel_shape").ok_or("a pool without a window")?), 1)?;
        let stride = pair("strides", node.ints("strides"), 1)?;
        if pair("dilations", node.ints("dilations"), 1)? != [1, 1] {
            return Err(unsupported("windows with gaps (dilation)", "use plain windows"));
        }
        let size = [height + extra[0] + extra[2], width + extra[1] + extra[3]];
        let mut padding = window_padding(node, size, kernel, stride, [1, 1])?;
        let counted = match node.int("count_include_pad", 0) {
            0 => [0, 1].map(|i| padding[i]..padding[i] + size[i]),
            _ => [0, 1].map(|i| 0..padding[i] + size[i] + padding[i + 2]),
        };
        if node.int("ceil_mode", 0) != 0 {
            let beyond = ceil_padding(size, kernel, stride, padding);
            padding[2] += beyond[0];
            padding[3] += beyond[1];
        }
        let options = PoolOptions { kernel, stride, padding: added(padding, extra) };
        let label = self.unique(name);
        if maximum {
            let result = self.builder.max_pool(&label, input, options);
            return Ok(self.image_value(result));
        }
        let outputs = [0, 1].map(|i| outputs(size[i] + padding[i] + padding[i + 2], kernel[i], stride[i]));
        let counts = [0, 1].map(|i| counts(outputs[i], kernel[i], stride[i], &counted[i]));
        if [0, 1].iter().all(|&i| counts[i].iter().all(|&n| n == kernel[i])) {
            let result = self.builder.average_pool(&label, input, options);
            return Ok(self.image_value(result));
        }
        // Windows of different sizes: sums, each times the least common multiple of all sizes over
        // its own.
        let [(rows, down), (columns, across)] = [inverted(&counts[0])?, inverted(&counts[1])?];
        self.spend(4 * (rows.len() + columns.len()) as u64)?;
        let sums = self.unique(&format!("{name}.sums"));
        let sums = self.builder.sum_pool(&sums, input, options);
        let result = self.builder.weigh(&label, sums, rows, columns, f64::from(down) * f64::from(across));
        Ok(self.image_value(result))
    }

    /// Means, sums or largest numbers over whole columns (down), rows (across), or both.
    fn global_pool(
        &mut self,
        name: &str,
        node: &NodeProto<'b>,
        [down, across]: [bool; 2],
        keep: bool,
    ) -> Result<Value, Refusal> {
        let view = self.tensor(node, 0)?;
        self.pooled(name, node, view, [down, across], keep)
    }

    /// Means, sums or largest numbers over height, width or both of a value in order.
    fn pooled(
        &mut self,
        name: &str,
        node: &NodeProto<'b>,
        mut view: View,
        [down, across]: [bool; 2],
        keep: bool,
    ) -> Result<Value, Refusal> {
        let rank = view.dims.len();
        if rank == 3 {
            view.dims.push(1);
        }
        let input = self.image(&view)?;
        let [_, height, width] = self.image_shape(input)?;
        let kernel = [if down { height } else { 1 }, if across { width } else { 1 }];
        let whole = PoolOptions { kernel, stride: [1; 2], padding: [0; 4] };
        let label = self.unique(name);
        let result = match node.op {
            "GlobalMaxPool" | "ReduceMax" => self.builder.max_pool(&label, input, whole),
            "ReduceSum" => self.builder.sum_pool(&label, input, whole),
            _ => self.builder.average_pool(&label, input, whole),
        };
        let reduced = [false, false, down, across];
        let sizes = view.dims.iter().zip(reduced).take(rank);
        let dims = sizes.filter(|(_, gone)| keep || !gone).map(|(&d, gone)| if gone { 1 } else { d });
        Ok(Value::Tensor(View::new(result, dims.collect())))
    }

    /// A reduction over height, width or both.
    fn reduce(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let view = self.tensor_in_any_order(node, 0)?;
        let rank = view.dims.len();
        let axes = self.axes(node, 1)?.unwrap_or_default();
        let axes = axes.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
        let keep = node.int("keepdims", 1) != 0;
        if let Some(moved) = &view.moved {
            // Height and width, wherever they stand: what is left is in order.
            let both = moved.flattened.is_none()
                && rank == 4
                && axes.len() == 2
                && moved.axes[0] == 0
                && moved.axes[2..].iter().all(|a| axes.contains(a));
            if !both {
                return Err(Refusal::Moved(Rc::clone(moved)));
            }
            let left = |(axis, &size): (usize, &usize)| match axes.contains(&axis) {
                true => keep.then_some(1),
                false => Some(size),
            };
            let dims = view.dims.iter().enumerate().filter_map(left).collect();
            return Ok(match self.pooled(name, node, view.stored(), [true; 2], true)? {
                Value::Tensor(pooled) => Value::Tensor(View::new(pooled.node, dims)),
                other => other,
            });
        }
        let inside = axes.iter().all(|a| (2..4).contains(a));
        if !matches!(rank, 3 | 4) || axes.is_empty() || !inside {
            return Err(unsupported(
                format!("reduces axes {axes:?} of a value of {rank} dimensions"),
                "reduce height and width (axes 2 and 3) of images",
            ));
        }
        let over = [axes.contains(&2), axes.contains(&3)];
        self.pooled(name, node, view, over, keep)
    }

    /// Zeros around images wait for the convolution or average pooling behind.
    fn pad(&mut self, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let (view, before) = self.padded(node)?;
        let given = match node.ints("pads") {
            Some(pads) => pads.to_vec(),
            None => self.constant(node, 1, "padding")?.ok_or("a Pad without sizes")?.as_ints()?,
        };
        let value = match self.constant(node, 2, "fill value")? {
            Some(constant) => constant.scalar().unwrap_or(f64::NAN),
            None => f64::from(node.float("value", 0.0)),
        };
        let rank = view.dims.len();
        let axes = match self.constant(node, 3, "list of axes")? {
            Some(axes) => axes.as_ints()?,
            None => (0..rank as i64).collect(),
        };
        if given.len() != 2 * axes.len() {
            return Err(format!("{} pads for {} axes", given.len(), axes.len()).into());
        }
        let mut pads = vec![[0; 2]; rank];
        for (i, &a) in axes.iter().enumerate() {
            let sizes = [given[i], given[i + axes.len()]];
            if std::mem::replace(&mut pads[axis(a, rank)?], sizes) != [0; 2] {
                return Err(format!("pads axis {a} twice").into());
            }
        }
        if pads.iter().all(|&p| p == [0; 2]) {
            return Ok(if before == [0; 4] { Value::Tensor(view) } else { Value::Padded(view, before) });
        }
        let mode = node.text("mode");
        if !matches!(mode, "" | "constant") {
            return Err(unsupported(
                format!("padding of kind {mode}"),
                "pad with zeros, in the convolution or by ZeroPad2d, and retrain",
            ));
        }
        if value != 0.0 {
            return Err(unsupported(format!("padding with {value}"), "pad with zeros, and retrain"));
        }
        if let Some(cut) = pads.iter().flatten().find(|&&p| p < 0) {
            return Err(unsupported(format!("padding of {cut}, which cuts off"), "only zeros can be added"));
        }
        match pads[..] {
            [[0, 0], [0, 0], [top, bottom], [left, right]] => {
                let padding = window("pads", [top, left, bottom, right])?;
                Ok(Value::Padded(view, added(before, padding)))
            }
            _ => Err(unsupported(
                format!("pads other axes than height and width of a value of shape {:?}", view.dims),
                "for a shortcut of more channels, use a convolution of size 1",
            )),
        }
    }

    fn concat(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let mut inputs = Vec::with_capacity(node.inputs.len().min(64));
        let mut flat = false;
        for index in 0..node.inputs.len() {
            let view = self.tensor(node, index)?;
            let rank = view.dims.len();
            if !matches!(rank, 2 | 4) || axis(node.int("axis", 1), rank)? != 1 {
                return Err(unsupported(
                    "joins values otherwise than by channels",
                    "join images along axis 1",
                ));
            }
            flat = rank == 2;
            inputs.push(if flat { self.flat(&view)? } else { self.image(&view)? });
        }
        let label = self.unique(name);
        let result = self.builder.concat(&label, &inputs);
        if flat {
            let dims = vec![self.batch, self.builder.shape(result).iter().product()];
            return Ok(Value::Tensor(View::new(result, dims)));
        }
        Ok(self.image_value(result))
    }

    /// The first input, with the zeros that a `Pad` before put around it.
    fn padded(&mut self, node: &NodeProto<'b>) -> Result<(View, [usize; 4]), Refusal> {
        match self.input(node, 0)? {
            Some(Value::Padded(view, padding)) => Ok((view, padding)),
            _ => Ok((self.tensor(node, 0)?, [0; 4])),
        }
    }

    fn image_shape(&self, node: NodeId) -> Result<[usize; 3], Refusal> {
        <[usize; 3]>::try_from(self.builder.shape(node)).map_err(|_| "an image was expected".into())
    }

    /// A new image node with the shape the file gives it.
    fn image_value(&self, node: NodeId) -> Value {
        let dims = std::iter::once(self.batch).chain(self.builder.shape(node).iter().copied()).collect();
        Value::Tensor(View::new(node, dims))
    }
}

/// Numbers in the order of a node: number `i` goes to place `places[i]`.
fn placed(numbers: &[f32], places: &[usize]) -> Vec<f32> {
    let mut ordered = vec![0.0; numbers.len()];
    places.iter().zip(numbers).for_each(|(&place, &number)| ordered[place] = number);
    ordered
}

/// Why an operator is refused, and what to do.
fn refusal(op: &str) -> (&'static str, &'static str) {
    match op {
        "ConvTranspose" => (
            "transposed convolutions are not supported",
            "where it makes a value larger inside a network (decoders, U-Nets), there is no way around it: use a \
             network without a decoder",
        ),
        "LRN" => (
            "local response normalisation divides by sums of secret numbers",
            "replace it by BatchNorm and retrain",
        ),
        "InstanceNormalization"
        | "LayerNormalization"
        | "GroupNormalization"
        | "RMSNormalization"
        | "LpNormalization"
        | "MeanVarianceNormalization" => (
            "normalisation by statistics of the image divides by secret numbers",
            "use BatchNorm, whose statistics are constants once trained, and retrain",
        ),
        "LSTM" | "GRU" | "RNN" | "Attention" | "MultiHeadAttention" => {
            ("recurrent and attention layers are not supported", "use a convolutional network")
        }
        "If" | "Loop" | "Scan" => (
            "control flow is not supported",
            "export the model by tracing (torch.onnx.export of the model itself, not of a script)",
        ),
        "Resize" | "Upsample" => (
            "resizing is not supported",
            "right behind the input: leave it out and give images of the right size; inside a network (U-Nets, feature \
             pyramids) there is no way around it: use a network that only gets smaller",
        ),
        "QuantizeLinear"
        | "DequantizeLinear"
        | "QLinearConv"
        | "QLinearMatMul"
        | "ConvInteger"
        | "MatMulInteger"
        | "DynamicQuantizeLinear" => {
            ("quantised models are not supported", "export the float32 model: amicus chooses its own scales")
        }
        "TopK" | "NonMaxSuppression" | "Where" | "Greater" | "Less" | "Equal" | "GreaterOrEqual"
        | "LessOrEqual" | "NonZero" | "Sign" | "ArgMin" => (
            "comparing secret numbers is not supported",
            "end the network with the logits before; whoever receives them can do this with them",
        ),
        "Floor" | "Ceil" | "Round" | "Mod" => (
            "rounding secret numbers is not supported",
            "leave it out, and retrain if the network depends on it",
        ),
        "LpPool" | "GlobalLpPool" | "MaxUnpool" | "MaxRoiPool" | "RoiAlign" => {
            ("this pooling is not supported", "use average pooling and retrain")
        }
        "Gather" | "GatherND" | "GatherElements" | "Slice" | "Split" | "DepthToSpace" | "SpaceToDepth"
        | "Tile" | "Expand" | "ScatterND" => (
            "taking a value apart or rearranging it is not supported",
            "write it with convolutions (grouped ones take channels apart), or use a network without it",
        ),
        _ => (
            "this operator is not supported",
            "replace it by layers that are (convolutions, fully connected layers, BatchNorm, pooling, sums, joins, \
             activations) and retrain",
        ),
    }
}
