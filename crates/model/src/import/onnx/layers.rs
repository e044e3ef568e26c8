//! Linear layers, normalisation, pooling, and everything that is refused by name.

use super::constant::Constant;
use super::importer::Importer;
use super::layout::axis;
use super::proto::NodeProto;
use super::value::{Refusal, Value, View, unsupported};
use super::window::{
    added, ceil_padding, counts, inverted, kernel_dims, outputs, pair_of, taps, window, window_padding,
};
use crate::graph::{BatchNorm, ConvOptions, Gather, NodeId, PoolOptions, SecretReals};

impl<'b> Importer<'_, 'b> {
    /// The value of a node with weights or windows.
    pub(super) fn layer(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        match node.op {
            "Conv" => self.conv(name, node),
            "ConvTranspose" => self.transposed_conv(name, node),
            "Resize" | "Upsample" => self.resize(name, node),
            "Gemm" => self.gemm(name, node),
            "MatMul" => self.mat_mul(name, node),
            "BatchNormalization" => self.batch_norm(name, node),
            "AveragePool" | "MaxPool" => self.pool(name, node),
            "GlobalAveragePool" | "GlobalMaxPool" => self.global_pool(name, node, [true; 2], true),
            "ReduceMean" | "ReduceSum" | "ReduceMax" => self.reduce(name, node),
            "Pad" => self.pad(name, node),
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
        let Some(([out_channels, depth], kernel)) = kernel_dims(&weights.dims) else {
            return Err(unsupported(
                format!("a convolution with weights of shape {:?}", weights.dims),
                "convolutions of one and two dimensions are possible",
            ));
        };
        let one = weights.dims.len() == 3;
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
        if let Some(declared) = node.ints("kernel_shape")
            && pair_of("kernel_shape", Some(declared), 1, one)? != kernel
        {
            return Err(format!("kernel_shape {declared:?}, the weights have {kernel:?}").into());
        }
        let stride = pair_of("strides", node.ints("strides"), 1, one)?;
        let dilation = pair_of("dilations", node.ints("dilations"), 1, one)?;
        let size = [height + extra[0] + extra[2], width + extra[1] + extra[3]];
        let padding = added(window_padding(node, size, kernel, stride, dilation)?, extra);
        let values = self.floats(&weights)?;
        let bias = self.bias(node, 2)?;
        let options = ConvOptions { out_channels, kernel, stride, padding, dilation, groups };
        let label = self.unique(name);
        let result = self.builder.conv2d(&label, input, options, values, bias);
        Ok(self.image_value(result, view.dims.len()))
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
        if self.tensor_in_any_order(node, 0)?.dims.len() > 2 {
            return self.along_last_axis(name, node);
        }
        let view = self.flat_in_any_order(node)?;
        let weights = self.weights(node, 1)?;
        self.dense(name, &view, &weights, false, 1.0, None)
    }

    /// A matrix product along the last axis of a value of more than two: a convolution of size 1
    /// with that axis as channels.
    fn along_last_axis(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let weights = self.weights(node, 1)?;
        let [inputs, outputs] = weights.dims[..] else {
            return Err(unsupported(format!("weights of shape {:?}", weights.dims), "a matrix is possible"));
        };
        let view = self.tensor_in_any_order(node, 0)?;
        let last = view.dims.len() - 1;
        if view.dims[last] != inputs {
            return Err(format!("weights for {inputs} inputs, the value has shape {:?}", view.dims).into());
        }
        let (first, back) = self.axis_first(name, &view, last)?;
        if first.dims[0] != self.batch {
            return Err(unsupported(
                "a product of a value whose batch is not its first axis",
                "keep images first",
            ));
        }
        let values = (0..outputs).flat_map(|o| (0..inputs).map(move |i| i * outputs + o));
        let given = self.floats(&weights)?;
        let values = values.map(|at| given[at]).collect();
        let shape = [inputs, 1, first.dims[2..].iter().product()];
        let input = self.shaped(&first, &shape);
        let label = self.unique(name);
        let result = self.builder.conv2d(&label, input, ConvOptions::square(outputs, 1), values, None);
        let mut dims = first.dims;
        dims[1] = outputs;
        Ok(Value::Tensor(View::new(result, dims).transposed(&back, None)))
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
        let one = view.dims.len() == 3;
        let kernel = node.ints("kernel_shape").ok_or("a pool without a window")?;
        let kernel = pair_of("kernel_shape", Some(kernel), 1, one)?;
        let stride = pair_of("strides", node.ints("strides"), 1, one)?;
        let dilation = pair_of("dilations", node.ints("dilations"), 1, one)?;
        if dilation != [1, 1] && !maximum {
            return Err(unsupported("means over windows with gaps (dilation)", "use plain windows"));
        }
        let size = [height + extra[0] + extra[2], width + extra[1] + extra[3]];
        let mut padding = window_padding(node, size, kernel, stride, dilation)?;
        let span = [0, 1].map(|i| kernel[i].saturating_sub(1) * dilation[i] + 1);
        let counted = match node.int("count_include_pad", 0) {
            0 => [0, 1].map(|i| padding[i]..padding[i] + size[i]),
            _ => [0, 1].map(|i| 0..padding[i] + size[i] + padding[i + 2]),
        };
        if node.int("ceil_mode", 0) != 0 {
            let beyond = ceil_padding(size, span, stride, padding);
            padding[2] += beyond[0];
            padding[3] += beyond[1];
        }
        if dilation != [1, 1] {
            let windows = [0, 1].map(|i| outputs(size[i] + padding[i] + padding[i + 2], span[i], stride[i]));
            if windows.contains(&0) {
                return Err(unsupported("windows larger than the image", "use smaller windows"));
            }
            self.spend(4 * [0, 1].map(|i| windows[i].saturating_mul(kernel[i]) as u64).iter().sum::<u64>())?;
            let apart =
                [0, 1].map(|i| taps(windows[i], kernel[i], stride[i], dilation[i], padding[i], size[i]));
            let [Some(rows), Some(columns)] = apart else {
                return Err(unsupported("a window that holds padding alone", "pad less"));
            };
            let dims = [1, view.dims[1], rows.len(), columns.len()];
            let each = Gather { size, rows, columns };
            let taken = self.take(&format!("{name}.windows"), input, each, dims.to_vec());
            let options = PoolOptions { kernel, stride: kernel, padding: [0; 4] };
            let label = self.unique(name);
            let result = self.builder.max_pool(&label, taken.node, options);
            return Ok(self.image_value(result, view.dims.len()));
        }
        let options = PoolOptions { kernel, stride, padding: added(padding, extra) };
        let label = self.unique(name);
        if maximum {
            let result = self.builder.max_pool(&label, input, options);
            return Ok(self.image_value(result, view.dims.len()));
        }
        let outputs = [0, 1].map(|i| outputs(size[i] + padding[i] + padding[i + 2], kernel[i], stride[i]));
        let counts = [0, 1].map(|i| counts(outputs[i], kernel[i], stride[i], &counted[i]));
        if [0, 1].iter().all(|&i| counts[i].iter().all(|&n| n == kernel[i])) {
            let result = self.builder.average_pool(&label, input, options);
            return Ok(self.image_value(result, view.dims.len()));
        }
        // Windows of different sizes: sums, each times the least common multiple of all sizes over
        // its own.
        let [(rows, down), (columns, across)] = [inverted(&counts[0])?, inverted(&counts[1])?];
        self.spend(4 * (rows.len() + columns.len()) as u64)?;
        let sums = self.unique(&format!("{name}.sums"));
        let sums = self.builder.sum_pool(&sums, input, options);
        let result = self.builder.weigh(&label, sums, rows, columns, f64::from(down) * f64::from(across));
        Ok(self.image_value(result, view.dims.len()))
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
        let [down, across] = if view.dims.len() == 3 { [false, across] } else { [down, across] };
        self.pooled(name, node, view, [down, across], keep)
    }

    /// Means, sums or largest numbers over height, width or both of a value in order.
    fn pooled(
        &mut self,
        name: &str,
        node: &NodeProto<'b>,
        view: View,
        [down, across]: [bool; 2],
        keep: bool,
    ) -> Result<Value, Refusal> {
        let rank = view.dims.len();
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
        let reduced = if rank == 3 { &[false, false, across][..] } else { &reduced };
        let sizes = view.dims.iter().zip(reduced.iter().copied());
        let dims = sizes.filter(|(_, gone)| keep || !gone).map(|(&d, gone)| if gone { 1 } else { d });
        Ok(Value::Tensor(View::new(result, dims.collect())))
    }

    /// A reduction over any axes but that of the batch.
    fn reduce(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let view = self.tensor_in_any_order(node, 0)?;
        let rank = view.dims.len();
        let axes = self.axes(node, 1)?.unwrap_or_default();
        let axes = axes.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
        let keep = node.int("keepdims", 1) != 0;
        if let Some(twice) = (1..axes.len()).find(|&i| axes[..i].contains(&axes[i])) {
            return Err(format!("reduces axis {} twice", axes[twice]).into());
        }
        if rank == 0 {
            return Ok(Value::Tensor(view));
        }
        if let Some(moved) = &view.moved {
            // Height and width, wherever they stand: what is left is in order.
            let both = moved.flattened.is_none()
                && rank == 4
                && axes.len() == 2
                && moved.axes[0] == 0
                && moved.axes[2..].iter().all(|a| axes.contains(a));
            if both {
                let dims = left(&view.dims, &axes, keep);
                return Ok(match self.pooled(name, node, view.stored(), [true; 2], true)? {
                    Value::Tensor(pooled) => Value::Tensor(View::new(pooled.node, dims)),
                    other => other,
                });
            }
        }
        let noop = axes.is_empty() && node.int("noop_with_empty_axes", 0) != 0;
        if noop {
            return Ok(Value::Tensor(view));
        }
        let axes = if axes.is_empty() { (0..rank).collect() } else { axes };
        let whole = axes.contains(&0) && self.batch == 1;
        if axes.contains(&0) && !whole {
            return Err(unsupported("reduces over the images of a batch", "export with a batch of 1"));
        }
        if view.moved.is_none() && matches!(rank, 3 | 4) && axes.iter().all(|&a| a > 1) {
            let over = if rank == 3 { [false, true] } else { [axes.contains(&2), axes.contains(&3)] };
            return self.pooled(name, node, view, over, keep);
        }
        // All other axes go before: windows over what is left.
        let inside: Vec<usize> = axes.iter().copied().filter(|&a| a != 0).collect();
        let (turned, many) = self.axes_last(name, &view, &inside)?;
        let kept: usize = turned.dims[1..rank - inside.len()].iter().product();
        let rows = View::new(turned.node, vec![self.batch, kept, many, 1]);
        let dims = left(&view.dims, &axes, keep);
        Ok(match self.pooled(name, node, rows, [true, false], true)? {
            Value::Tensor(pooled) => {
                // A number for each image keeps the axis of the batch.
                let dims = if dims.is_empty() { vec![self.batch] } else { dims };
                Value::Tensor(View::new(pooled.node, dims))
            }
            other => other,
        })
    }

    /// Zeros around images wait for the convolution or average pooling behind.
    fn pad(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let (mut view, before) = self.padded(node)?;
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
            let view = self.tensor(node, 0)?;
            return self.padded_with_itself(name, &view, &pads, mode).map(Value::Tensor);
        }
        let mut before = before;
        if pads.iter().flatten().any(|&p| p < 0) {
            view = self.tensor(node, 0)?;
            before = [0; 4];
            let cuts: Vec<[i64; 2]> = pads.iter().map(|p| p.map(|p| p.min(0))).collect();
            view = self.padded_with_itself(name, &view, &cuts, "edge")?;
            pads.iter_mut().flatten().for_each(|p| *p = (*p).max(0));
        }
        if value != 0.0 {
            if before != [0; 4] {
                view = self.tensor(node, 0)?;
            }
            return self.padded_with(name, &view, &pads, value);
        }
        match pads[..] {
            [[0, 0], [0, 0], [top, bottom], [left, right]] => {
                let padding = window("pads", [top, left, bottom, right])?;
                Ok(Value::Padded(view, added(before, padding)))
            }
            [[0, 0], [0, 0], [left, right]] => {
                let padding = window("pads", [0, left, 0, right])?;
                Ok(Value::Padded(view, added(before, padding)))
            }
            [[0, 0], [first, last], ref sides @ ..] => {
                if before != [0; 4] {
                    view = self.tensor(node, 0)?;
                }
                let [first, last] = window("pads", [first, last])?;
                let wider = self.more_channels(name, &view, first, last)?;
                match *sides {
                    [[top, bottom], [left, right]] => {
                        Ok(Value::Padded(wider, window("pads", [top, left, bottom, right])?))
                    }
                    [[left, right]] => Ok(Value::Padded(wider, window("pads", [0, left, 0, right])?)),
                    _ if sides.iter().all(|side| *side == [0; 2]) => Ok(Value::Tensor(wider)),
                    _ => Err(unsupported(
                        format!("pads a value of shape {:?} on several sides", view.dims),
                        "pad images",
                    )),
                }
            }
            _ => Err(unsupported("pads the images of a batch with others", "leave the first axis alone")),
        }
    }

    /// Zeros before and behind the channels: a layer of weights 0 and 1.
    fn more_channels(&mut self, name: &str, view: &View, first: usize, last: usize) -> Result<View, Refusal> {
        let mut dims = view.dims.clone();
        let (channels, inner) = (dims[1], dims[2..].iter().product());
        let wider = channels + first + last;
        self.spend(4 * (channels as u64).saturating_mul(wider as u64))?;
        let mut weights = vec![0.0; channels * wider];
        (0..channels).for_each(|c| weights[(first + c) * channels + c] = 1.0);
        let input = self.shaped(view, &[channels, 1, inner]);
        let label = self.unique(name);
        let node = self.builder.conv2d(&label, input, ConvOptions::square(wider, 1), weights, None);
        self.notes.push(format!("{label} becomes a layer of its own: it adds channels of zeros"));
        dims[1] = wider;
        Ok(View::new(node, dims))
    }

    /// A number around images: zeros around what is left without it.
    fn padded_with(
        &mut self,
        name: &str,
        view: &View,
        pads: &[[i64; 2]],
        value: f64,
    ) -> Result<Value, Refusal> {
        let [[0, 0], [0, 0], sides @ ..] = pads else {
            return Err(unsupported(format!("pads channels with {value}"), "pad them with zeros"));
        };
        let padding = match sides {
            [[top, bottom], [left, right]] => window("pads", [*top, *left, *bottom, *right])?,
            [[left, right]] => window("pads", [0, *left, 0, *right])?,
            _ => return Err(unsupported(format!("pads a value of shape {:?}", view.dims), "pad images")),
        };
        let input = self.image(view)?;
        let channels = self.builder.shape(input)[0];
        self.spend(16 * channels as u64)?;
        let all = |v: f64| -> SecretReals { std::iter::repeat_n(v, channels).collect() };
        let label = self.unique(&format!("{name}.without"));
        let without = self.builder.affine(&label, input, all(1.0), all(-value));
        let options = ConvOptions { padding, ..ConvOptions::square(channels, 1).groups(channels) };
        let label = self.unique(name);
        let bias = Some(vec![value as f32; channels]);
        let padded = self.builder.conv2d(&label, without, options, vec![1.0; channels], bias);
        Ok(self.image_value(padded, view.dims.len()))
    }

    fn concat(&mut self, name: &str, node: &NodeProto<'b>) -> Result<Value, Refusal> {
        let mut inputs = Vec::with_capacity(node.inputs.len().min(64));
        let mut joined: Option<(View, Vec<usize>)> = None;
        for index in 0..node.inputs.len() {
            if matches!(self.input(node, index)?, Some(Value::Constant(_))) {
                return Err(unsupported(
                    "joins a constant and a value of the network",
                    "leave the constant out, or add it behind",
                ));
            }
            let view = self.tensor_in_any_order(node, index)?;
            let along = axis(node.int("axis", 1), view.dims.len())?;
            if along == 0 {
                return Err(unsupported("joins images to a batch", "join along another axis"));
            }
            let (first, back) = self.axis_first(name, &view, along)?;
            let part = match first.dims[..] {
                [_, length] => self.shaped(&first, &[length]),
                [_, c, h, w] => self.shaped(&first, &[c, h, w]),
                _ => {
                    let shape = [first.dims[1], 1, first.dims[2..].iter().product()];
                    self.shaped(&first, &shape)
                }
            };
            inputs.push(part);
            joined = Some(match joined.take() {
                None => (first, back),
                Some((mut whole, back)) if whole.dims[2..] == first.dims[2..] => {
                    whole.dims[1] += first.dims[1];
                    (whole, back)
                }
                Some((whole, _)) => {
                    return Err(
                        format!("joins values of shapes {:?} and {:?}", whole.dims, first.dims).into()
                    );
                }
            });
        }
        let (whole, back) = joined.ok_or("nothing to join")?;
        let label = self.unique(name);
        let result = self.builder.concat(&label, &inputs);
        Ok(Value::Tensor(View::new(result, whole.dims).transposed(&back, None)))
    }

    /// The first input, with the zeros that a `Pad` before put around it.
    fn padded(&mut self, node: &NodeProto<'b>) -> Result<(View, [usize; 4]), Refusal> {
        match self.input(node, 0)? {
            Some(Value::Padded(view, padding)) => Ok((view, padding)),
            _ => Ok((self.tensor(node, 0)?, [0; 4])),
        }
    }

    pub(super) fn image_shape(&self, node: NodeId) -> Result<[usize; 3], Refusal> {
        <[usize; 3]>::try_from(self.builder.shape(node)).map_err(|_| "an image was expected".into())
    }

    /// A new image node with the shape the file gives it, of three or four axes.
    fn image_value(&self, node: NodeId, rank: usize) -> Value {
        let shape = self.builder.shape(node).iter().copied();
        let mut dims: Vec<usize> = std::iter::once(self.batch).chain(shape).collect();
        if rank == 3 {
            dims.remove(2);
        }
        Value::Tensor(View::new(node, dims))
    }
}

/// A shape with some axes reduced to one element, or without them.
fn left(dims: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let size = |(axis, &size): (usize, &usize)| match axes.contains(&axis) {
        true => keep.then_some(1),
        false => Some(size),
    };
    dims.iter().enumerate().filter_map(size).collect()
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
        "QuantizeLinear"
        | "DequantizeLinear"
        | "QLinearConv"
        | "QLinearMatMul"
        | "ConvInteger"
        | "MatMulInteger"
        | "DynamicQuantizeLinear" => {
            ("quantised models are not supported", "export the float32 model: amicus chooses its own scales")
        }
        "NonMaxSuppression" | "Where" | "Greater" | "Less" | "Equal" | "GreaterOrEqual" | "LessOrEqual"
        | "NonZero" | "Sign" | "ArgMin" => (
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
        "GatherND" | "GatherElements" | "ScatterND" | "ScatterElements" => (
            "this way of rearranging a value is not supported",
            "write it with slices, or with Gather along one axis",
        ),
        _ => (
            "this operator is not supported",
            "replace it by layers that are (convolutions, fully connected layers, BatchNorm, pooling, sums, joins, \
             activations) and retrain",
        ),
    }
}
