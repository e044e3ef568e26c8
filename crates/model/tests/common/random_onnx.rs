//! Random networks as ONNX files: branches, joins of any values, pools of all kinds, BatchNorm
//! anywhere, activations first or last, values read many times, zeros around images, groups,
//! residual sums, other orders of axes.
#![allow(dead_code)] // each test file uses its own part
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use std::collections::{BTreeSet, HashMap};

use super::onnx_file::{File, Node, Numbers};
use super::oracle::{self, Tensor};

/// Inputs made for each network.
const SAMPLES: usize = 6;
/// Values are scaled down when they grow beyond this.
const LARGEST: f64 = 6.0;
/// Most numbers in a value, and channels of an image.
const NUMBERS: usize = 600;
const CHANNELS: usize = 12;

/// A network with inputs for it.
pub(crate) struct Network {
    pub(crate) file: File,
    pub(crate) samples: Vec<Vec<f32>>,
    /// The value before a Softmax at the end, if there is one, else the result.
    pub(crate) logits: String,
    /// Operators in it, whether the result needs them or not.
    pub(crate) operators: BTreeSet<&'static str>,
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True once in `n` times.
    fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn real(&mut self, low: f64, high: f64) -> f32 {
        (low + (high - low) * (self.next() >> 11) as f64 / (1u64 << 53) as f64) as f32
    }

    fn reals(&mut self, n: usize, low: f64, high: f64) -> Vec<f32> {
        (0..n).map(|_| self.real(low, high)).collect()
    }
}

struct Growing {
    dice: Dice,
    file: File,
    /// All values so far, for each sample.
    values: Vec<HashMap<String, Tensor>>,
    /// Values that may be read.
    known: Vec<String>,
    names: usize,
}

/// The network of a seed.
pub(crate) fn network(seed: u64) -> Network {
    let mut dice = Dice(seed);
    let opset = dice.of(&[13, 17, 18, 20]);
    let dims: Vec<usize> = match dice.below(6) {
        0 => vec![1, dice.between(2, 24)],
        1 => vec![1, dice.between(4, 9), dice.between(4, 9), dice.between(2, 4)],
        _ => vec![1, dice.between(1, 4), dice.between(4, 9), dice.between(4, 9)],
    };
    let channels_last = dims.len() == 4 && dims[3] < 5 && dims[1] > 3 && dims[2] > 3;
    let (low, high) = dice.of(&[(0.0, 1.0), (-1.0, 1.0), (-2.0, 2.0), (0.0, 0.01), (0.0, 255.0)]);
    let samples: Vec<Vec<f32>> = (0..SAMPLES).map(|_| dice.reals(dims.iter().product(), low, high)).collect();
    let file = File::new(opset, &dims.iter().map(|&d| d as i64).collect::<Vec<_>>());
    let of = |x: &Vec<f32>| {
        HashMap::from([("x".to_owned(), Tensor::new(&dims, x.iter().map(|&v| f64::from(v)).collect()))])
    };
    let values = samples.iter().map(of).collect();
    let mut g = Growing { dice, file, values, known: vec!["x".to_owned()], names: 0 };
    if channels_last {
        g.channels_last_input();
    }
    for _ in 0..g.dice.between(1, 14) {
        g.step();
    }
    let logits = g.end();
    let operators = g.file.nodes.iter().map(|n| n.op).collect();
    Network { file: g.file, samples, logits, operators }
}

impl Growing {
    fn dims(&self, name: &str) -> Vec<usize> {
        self.values[0][name].dims.clone()
    }

    fn largest(&self, name: &str) -> f64 {
        self.values.iter().flat_map(|v| &v[name].data).fold(0.0, |m, x| m.max(x.abs()))
    }

    fn name(&mut self, what: &str) -> String {
        self.names += 1;
        format!("{what}{}", self.names)
    }

    fn constant(&mut self, dims: &[usize], numbers: Numbers) -> String {
        let name = self.name("c");
        let dims: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
        self.file.tensors.push((name.clone(), dims, numbers));
        let file = File {
            tensors: vec![self.file.tensors[self.file.tensors.len() - 1].clone()],
            ..self.file.clone()
        };
        let tensor = oracle::constants(&file).remove(&name).unwrap();
        self.values.iter_mut().for_each(|v| {
            v.insert(name.clone(), tensor.clone());
        });
        name
    }

    fn floats(&mut self, dims: &[usize], low: f64, high: f64) -> String {
        let values = self.dice.reals(dims.iter().product(), low, high);
        self.constant(dims, Numbers::Floats(values))
    }

    fn ints(&mut self, values: &[i64]) -> String {
        self.constant(&[values.len()], Numbers::Ints(values.to_vec()))
    }

    /// Adds a node without making its result known.
    fn hidden(&mut self, op: &'static str, inputs: &[&str], with: impl FnOnce(Node) -> Node) -> String {
        let name = self.name("v");
        let node = with(Node::new(op, inputs, &name));
        for values in &mut self.values {
            let result = oracle::compute(&node, values);
            values.insert(name.clone(), result);
        }
        self.file.nodes.push(node);
        name
    }

    /// Adds a node, scaled down if its values are large.
    fn push(&mut self, op: &'static str, inputs: &[&str], with: impl FnOnce(Node) -> Node) -> String {
        let mut name = self.hidden(op, inputs, with);
        let largest = self.largest(&name);
        if largest > LARGEST {
            let factor = self.constant(&[], Numbers::Floats(vec![(1.0 / largest) as f32]));
            name = self.hidden("Mul", &[&name, &factor], |n| n);
        }
        self.known.push(name.clone());
        name
    }

    /// Images as [height, width, channels], perhaps with something for every number before they are
    /// turned.
    fn channels_last_input(&mut self) {
        let mut x = "x".to_owned();
        if self.dice.once_in(3) {
            let c = self.constant(&[], Numbers::Floats(vec![0.5]));
            x = self.hidden("Mul", &[&x, &c], |n| n);
        }
        if self.dice.once_in(3) {
            let channels = self.dims(&x)[3];
            let c = self.floats(&[channels], -0.5, 0.5);
            x = self.hidden("Sub", &[&x, &c], |n| n);
        }
        let x = self.hidden("Transpose", &[&x], |n| n.ints("perm", &[0, 3, 1, 2]));
        self.known = vec![x];
    }

    fn any(&mut self) -> String {
        // Later values more often, so that networks get deep.
        let n = self.known.len();
        let i = self.dice.below(n).max(self.dice.below(n));
        self.known[i].clone()
    }

    fn step(&mut self) {
        let x = self.any();
        let dims = self.dims(&x);
        match (dims.len(), self.dice.below(16)) {
            (4, 0..=2) => self.conv(&x),
            (4, 3) => self.pool(&x),
            (4, 4) => self.pad(&x),
            (4, 5) if self.dice.once_in(2) => {
                self.push("Flatten", &[&x], |n| n);
            }
            // Only a convolution tells which axis of images has the channels.
            (4, 5) if self.dice.once_in(2) && self.file.nodes.iter().any(|n| n.op == "Conv") => {
                self.flat_channels_last(&x);
            }
            (4, 5) => self.turned(&x),
            (2, 0..=3) => self.dense(&x),
            (2, 4) => {
                let n = dims[1] as i64;
                let split = (2..=n).find(|d| n % d == 0).unwrap_or(1);
                let shape =
                    self.dice.of(&[[1, n, 1, 1], [1, split, n / split, 1], [-1, 1, n / split, split]]);
                let shape = self.ints(&shape);
                self.push("Reshape", &[&x, &shape], |n| n);
            }
            (_, 6) => self.batch_norm(&x),
            (_, 7) => self.sum(&x),
            (_, 8) => self.join(&x),
            (_, 9) => self.constants(&x),
            (4, 12) => self.places(&x),
            (4, 13) => self.larger(&x),
            (_, 14) => self.product(&x),
            _ => self.activation(&x),
        }
    }

    /// Numbers by their places.
    fn places(&mut self, x: &str) {
        let dims = self.dims(x);
        match self.dice.below(5) {
            0 => {
                let axis = self.dice.between(1, 3);
                let start = self.dice.below(dims[axis]);
                let end = self.dice.between(start + 1, dims[axis] + 1);
                let step = self.dice.between(1, 2);
                let list = [start, end, axis, step].map(|v| self.ints(&[v as i64]));
                let inputs: Vec<&str> = [x].into_iter().chain(list.iter().map(String::as_str)).collect();
                self.push("Slice", &inputs, |n| n);
            }
            1 => {
                let axis = self.dice.between(1, 3);
                let count = self.dice.between(1, dims[axis]);
                let places: Vec<i64> = (0..count).map(|_| self.dice.below(dims[axis]) as i64).collect();
                let places = self.ints(&places);
                self.push("Gather", &[x, &places], |n| n.int("axis", axis as i64));
            }
            2 if dims[1].is_multiple_of(4) => {
                let mode = self.dice.of(&["DCR", "CRD"]);
                self.push("DepthToSpace", &[x], |n| {
                    n.int("blocksize", 2).with("mode", super::onnx_file::Attribute::Text(mode))
                });
            }
            3 if dims[1] * (dims[2] + 2) * (dims[3] + 2) <= NUMBERS && dims[2] > 1 && dims[3] > 1 => {
                let sizes: Vec<i64> = (0..4).map(|_| self.dice.below(2) as i64).collect();
                let pads = self.ints(&[0, 0, sizes[0], sizes[1], 0, 0, sizes[2], sizes[3]]);
                let mode = self.dice.of(&["reflect", "edge"]);
                self.push("Pad", &[x, &pads], |n| n.with("mode", super::onnx_file::Attribute::Text(mode)));
            }
            // Only a convolution tells which axis of images has the channels.
            _ if self.file.nodes.iter().any(|n| n.op == "Conv") && dims[2].max(dims[3]) <= CHANNELS => {
                let perm = self.dice.of(&[[0, 2, 1, 3], [0, 3, 1, 2], [0, 1, 3, 2]]);
                self.push("Transpose", &[x], |n| n.ints("perm", &perm));
            }
            _ => {}
        }
    }

    /// Images of more pixels.
    fn larger(&mut self, x: &str) {
        let dims = self.dims(x);
        if 4 * dims[1] * (dims[2] + 2) * (dims[3] + 2) > NUMBERS {
            return;
        }
        if self.dice.once_in(2) {
            let linear = self.dice.once_in(2);
            let scales = self.constant(&[4], Numbers::Floats(vec![1.0, 1.0, 2.0, 2.0]));
            let (mode, places) = if linear { ("linear", "half_pixel") } else { ("nearest", "asymmetric") };
            self.push("Resize", &[x, "", &scales], |n| {
                let text = super::onnx_file::Attribute::Text;
                let n = n.with("mode", text(mode)).with("coordinate_transformation_mode", text(places));
                if linear { n } else { n.with("nearest_mode", text("floor")) }
            });
            return;
        }
        let groups = if dims[1].is_multiple_of(2) && self.dice.once_in(3) { 2 } else { 1 };
        let out = self.dice.between(1, 2);
        let kernel = [self.dice.between(1, 3), self.dice.between(1, 3)];
        let size = (3.0 / (dims[1] * kernel[0] * kernel[1]) as f64).sqrt();
        let w = self.floats(&[dims[1], out, kernel[0], kernel[1]], -2.0 * size, 2.0 * size);
        let stride = [self.dice.between(1, 2), self.dice.between(1, 2)].map(|s| s as i64);
        let pads = kernel.map(|k| if k > 1 && self.dice.once_in(2) { 1 } else { 0 });
        // Nothing may be cut off a single pixel.
        if (0..2).any(|i| (dims[2 + i] as i64 - 1) * stride[i] + kernel[i] as i64 <= 2 * pads[i]) {
            return;
        }
        self.push("ConvTranspose", &[x, &w], |n| {
            let n = n.ints("strides", &stride).int("group", groups);
            n.ints("pads", &[pads[0], pads[1], pads[0], pads[1]])
        });
    }

    /// A product of two values, one of them perhaps a number for each channel or pixel.
    fn product(&mut self, x: &str) {
        let partners = self.partners(x, true);
        let y = partners[self.dice.below(partners.len())].clone();
        let y = match (self.dims(x).len(), self.dice.below(3)) {
            (4, 0) => self.hidden("GlobalAveragePool", &[&y], |n| n),
            (4, 1) => {
                let places = self.ints(&[0]);
                self.hidden("Gather", &[&y, &places], |n| n.int("axis", 1))
            }
            _ => y,
        };
        self.push("Mul", &[x, &y], |n| n);
    }

    /// A fully connected layer on an image whose channels come last, as exporters of networks with
    /// channels last write it.
    fn flat_channels_last(&mut self, x: &str) {
        let perm = self.dice.of(&[[0, 2, 3, 1], [0, 3, 2, 1], [0, 1, 3, 2]]);
        let mut y = self.hidden("Transpose", &[x], |n| n.ints("perm", &perm));
        if self.dice.once_in(2) {
            y = self.hidden("Relu", &[&y], |n| n);
        }
        let y = self.hidden("Flatten", &[&y], |n| n);
        self.dense(&y);
    }

    fn conv(&mut self, x: &str) {
        let dims = self.dims(x);
        let (c, h, w) = (dims[1], dims[2], dims[3]);
        let groups = if self.dice.once_in(3) { c } else { 1 };
        let groups = if c % 2 == 0 && self.dice.once_in(4) { 2 } else { groups };
        let out = groups * self.dice.between(1, (CHANNELS / groups).clamp(1, 4));
        let kernel = [self.dice.between(1, h.min(3)), self.dice.between(1, w.min(3))];
        let stride = [self.dice.of(&[1, 1, 2]), self.dice.of(&[1, 1, 2])];
        let dilation = if self.dice.once_in(5) { [2, 1] } else { [1, 1] };
        let pads: Vec<i64> = (0..4).map(|_| self.dice.below(2) as i64).collect();
        let span = (kernel[0] - 1) * dilation[0] + 1;
        if span > h || out * h * w > NUMBERS {
            return;
        }
        let depth = c / groups;
        let size = (3.0 / (depth * kernel[0] * kernel[1]) as f64).sqrt();
        let weights = self.floats(&[out, depth, kernel[0], kernel[1]], -size, size);
        let mut inputs = vec![x.to_owned(), weights];
        if self.dice.once_in(2) {
            inputs.push(self.floats(&[out], -0.3, 0.3));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        // ONNX Runtime has no automatic padding of windows with gaps.
        let auto = if dilation == [1, 1] { self.dice.below(6) } else { 6 };
        self.push("Conv", &inputs, |n| {
            let n = n.int("group", groups as i64).ints("strides", &stride.map(|s| s as i64));
            let n = n.ints("dilations", &dilation.map(|s| s as i64));
            match auto {
                0 => n.with("auto_pad", super::onnx_file::Attribute::Text("SAME_UPPER")),
                1 => n.with("auto_pad", super::onnx_file::Attribute::Text("SAME_LOWER")),
                2 => n.with("auto_pad", super::onnx_file::Attribute::Text("VALID")),
                _ => n.ints("pads", &pads),
            }
        });
    }

    fn pool(&mut self, x: &str) {
        let dims = self.dims(x);
        match self.dice.below(6) {
            0 => {
                self.push("GlobalAveragePool", &[x], |n| n);
            }
            1 => {
                let keep = self.dice.below(2) as i64;
                let axes = self.dice.of(&[&[2i64, 3][..], &[-1, -2], &[2], &[3]]).to_vec();
                // Without an axis each there is no image left.
                let keep = if axes.len() == 1 { 1 } else { keep };
                let op = self.dice.of(&["ReduceMean", "ReduceSum"]);
                if op == "ReduceSum" || self.file.opset >= 18 {
                    let axes = self.ints(&axes);
                    self.push(op, &[x, &axes], |n| n.int("keepdims", keep));
                } else {
                    self.push(op, &[x], |n| n.ints("axes", &axes).int("keepdims", keep));
                }
            }
            kind => {
                let op = if kind == 2 { "MaxPool" } else { "AveragePool" };
                let kernel = [2, 3].map(|axis| self.dice.between(1, dims[axis].min(3)));
                let stride = [self.dice.between(1, 3), self.dice.between(1, 3)];
                let pads: Vec<i64> = (0..4).map(|i| self.dice.below(kernel[i % 2].min(2)) as i64).collect();
                let include = self.dice.below(2) as i64;
                let ceil = i64::from(self.dice.once_in(3));
                let gaps = op == "MaxPool" && self.dice.below(2) == 1;
                let dilation = [0, 1].map(|i| if gaps && 2 * kernel[i] - 1 <= dims[i + 2] { 2 } else { 1 });
                self.push(op, &[x], |n| {
                    let n = n
                        .ints("kernel_shape", &kernel.map(|k| k as i64))
                        .ints("strides", &stride.map(|s| s as i64));
                    let n = n.ints("pads", &pads).int("ceil_mode", ceil);
                    match op {
                        "AveragePool" => n.int("count_include_pad", include),
                        _ if gaps => n.ints("dilations", &dilation),
                        _ => n,
                    }
                });
            }
        }
    }

    fn pad(&mut self, x: &str) {
        let dims = self.dims(x);
        let sizes: Vec<i64> = (0..4).map(|_| self.dice.below(3) as i64).collect();
        if dims[1] * (dims[2] + 4) * (dims[3] + 4) > NUMBERS {
            return;
        }
        if self.file.opset >= 18 && self.dice.once_in(2) {
            let axes = self.dice.of(&[[2, 3], [-2, -1]]);
            let (pads, axes) = (self.ints(&sizes), self.ints(&axes));
            self.push("Pad", &[x, &pads, "", &axes], |n| n);
        } else {
            let pads = self.ints(&[0, 0, sizes[0], sizes[1], 0, 0, sizes[2], sizes[3]]);
            self.push("Pad", &[x, &pads], |n| n);
        }
    }

    /// To channels last and back, with something for every number or channel between.
    fn turned(&mut self, x: &str) {
        let y = self.hidden("Transpose", &[x], |n| n.ints("perm", &[0, 2, 3, 1]));
        let y = match self.dice.below(3) {
            0 => self.hidden("Sigmoid", &[&y], |n| n),
            1 => {
                let channels = self.dims(&y)[3];
                let c = self.floats(&[channels], 0.5, 1.5);
                self.hidden("Mul", &[&y, &c], |n| n)
            }
            _ => self.hidden("Add", &[&y, &y], |n| n),
        };
        self.push("Transpose", &[&y], |n| n.ints("perm", &[0, 3, 1, 2]));
    }

    fn dense(&mut self, x: &str) {
        let inputs = self.dims(x)[1];
        let outputs = self.dice.between(2, 10);
        let size = (3.0 / inputs as f64).sqrt();
        if self.dice.once_in(3) {
            let w = self.floats(&[inputs, outputs], -size, size);
            let y = self.push("MatMul", &[x, &w], |n| n);
            if self.dice.once_in(2) {
                let bias = self.floats(&[outputs], -0.3, 0.3);
                self.push("Add", &[&y, &bias], |n| n);
            }
            return;
        }
        let w = self.floats(&[outputs, inputs], -size, size);
        let bias = self.floats(&[outputs], -0.3, 0.3);
        let alpha = self.dice.of(&[1.0, 1.0, 0.5]);
        self.push("Gemm", &[x, &w, &bias], |n| n.int("transB", 1).float("alpha", alpha));
    }

    fn batch_norm(&mut self, x: &str) {
        let channels = self.dims(x)[1];
        let size = self.largest(x).max(1e-3);
        let scale = self.floats(&[channels], 0.5, 1.5);
        let offset = self.floats(&[channels], -0.5, 0.5);
        let mean = self.floats(&[channels], -0.3 * size, 0.3 * size);
        let variance = self.floats(&[channels], 0.2 * size * size, size * size);
        self.push("BatchNormalization", &[x, &scale, &offset, &mean, &variance], |n| {
            n.float("epsilon", 1e-6)
        });
    }

    /// Known values that may meet a value: of the same shape, or of the same height and width.
    fn partners(&self, x: &str, whole: bool) -> Vec<String> {
        let dims = self.dims(x);
        let fits = |other: &&String| {
            let other = self.dims(other);
            other.len() == dims.len() && (other == dims || (!whole && other[2..] == dims[2..]))
        };
        self.known.iter().filter(fits).cloned().collect()
    }

    fn sum(&mut self, x: &str) {
        let partners = self.partners(x, true);
        let mut pick = || partners[self.dice.below(partners.len())].clone();
        let (y, z) = (pick(), pick());
        match self.dice.below(4) {
            0 => self.push("Sub", &[x, &y], |n| n),
            1 => self.push("Sum", &[x, &y, &z], |n| n),
            _ => self.push("Add", &[x, &y], |n| n),
        };
    }

    fn join(&mut self, x: &str) {
        let partners = self.partners(x, false);
        let mut parts = vec![x.to_owned()];
        for _ in 0..self.dice.between(1, 2) {
            parts.push(partners[self.dice.below(partners.len())].clone());
        }
        let channels: usize = parts.iter().map(|p| self.dims(p)[1]).sum();
        let numbers: usize = parts.iter().map(|p| self.values[0][p].data.len()).sum();
        if self.dims(x).len() == 4 && channels > CHANNELS || numbers > NUMBERS {
            return;
        }
        let axis = if self.dims(x).len() == 4 { self.dice.of(&[1, -3]) } else { 1 };
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.push("Concat", &parts, |n| n.int("axis", axis));
    }

    /// One number for all, or one a channel.
    fn constants(&mut self, x: &str) {
        let dims = self.dims(x);
        let shape = match (dims.len(), self.dice.below(3)) {
            (_, 0) => vec![],
            (4, 1) => vec![dims[1], 1, 1],
            (4, _) => vec![1, dims[1], 1, 1],
            _ => vec![dims[1]],
        };
        let op = self.dice.of(&["Add", "Sub", "Mul", "Div"]);
        let c = self.floats(&shape, 0.4, 1.6);
        let first = op != "Div" && self.dice.once_in(3);
        let inputs = if first { [c.as_str(), x] } else { [x, c.as_str()] };
        self.push(op, &inputs, |n| n);
    }

    fn activation(&mut self, x: &str) {
        let simple = [
            "Relu",
            "Sigmoid",
            "Tanh",
            "Softplus",
            "Softsign",
            "LeakyRelu",
            "Elu",
            "Celu",
            "Selu",
            "HardSigmoid",
            "ThresholdedRelu",
            "Identity",
            "Dropout",
            "Neg",
        ];
        match self.dice.below(20) {
            i if i < simple.len() => {
                let alpha = self.dice.real(0.1, 0.9);
                let op = simple[i];
                self.push(op, &[x], |n| match op {
                    // A step must not fall on a round number, where rounding decides.
                    "LeakyRelu" | "Elu" | "Celu" | "ThresholdedRelu" => n.float("alpha", alpha),
                    _ => n,
                });
            }
            14 if self.file.opset >= 14 => {
                self.push("HardSwish", &[x], |n| n);
            }
            15 => {
                let s = self.hidden("Sigmoid", &[x], |n| n);
                self.push("Mul", &[x, &s], |n| n);
            }
            16 => {
                self.push("Mul", &[x, x], |n| n);
            }
            17 => {
                let dims = self.dims(x);
                let shape = match (self.dice.below(2), dims.len()) {
                    (0, _) => vec![1],
                    (_, 4) => vec![dims[1], 1, 1],
                    _ => vec![dims[1]],
                };
                let slope = self.floats(&shape, 0.05, 0.6);
                self.push("PRelu", &[x, &slope], |n| n);
            }
            18 => {
                let low = self.constant(&[], Numbers::Floats(vec![-0.5]));
                let high = self.constant(&[], Numbers::Floats(vec![1.5]));
                self.push("Clip", &[x, &low, &high], |n| n);
            }
            _ => {
                self.push("Relu", &[x], |n| n);
            }
        }
    }

    /// Ends the network; gives the value before a Softmax.
    fn end(&mut self) -> String {
        let mut x = self.any();
        let dims = self.dims(&x);
        if self.dice.below(3) > 0 {
            if dims.len() != 2 {
                x = self.push("Flatten", &[&x], |n| n);
            }
            self.dense(&x);
            x = self.known[self.known.len() - 1].clone();
        }
        if x == "x" {
            x = self.push("Identity", &[&x], |n| n);
        }
        let logits = x.clone();
        if self.dice.once_in(4) && self.dims(&x).len() == 2 {
            x = self.hidden("Softmax", &[&x], |n| n.int("axis", 1));
            let shape = self.ints(&[1, -1]);
            x = match self.dice.below(4) {
                0 => self.hidden("Identity", &[&x], |n| n),
                1 => self.hidden("Reshape", &[&x, &shape], |n| n),
                2 => self.hidden("Flatten", &[&x], |n| n),
                _ => x,
            };
        }
        self.file.output = x;
        logits
    }
}
