//! What ONNX says every operator computes, written down as plainly as possible: the oracle that the
//! importer and the float executor are held to. It shares no code with them; ONNX Runtime agrees
//! with it (`tests/oracle/compare.py`).
#![allow(dead_code)] // each test file uses its own part
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use std::collections::HashMap;

use super::onnx_file::{Attribute, File, Node, Numbers};

/// Numbers with a shape, batch first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) dims: Vec<usize>,
    pub(crate) data: Vec<f64>,
}

impl Tensor {
    pub(crate) fn new(dims: &[usize], data: Vec<f64>) -> Self {
        assert_eq!(dims.iter().product::<usize>(), data.len(), "{dims:?}");
        Tensor { dims: dims.to_vec(), data }
    }

    /// From the numbers at every place.
    fn of(dims: &[usize], mut at: impl FnMut(&[usize]) -> f64) -> Self {
        let mut place = vec![0; dims.len()];
        let data = (0..dims.iter().product::<usize>()).map(|mut i| {
            for (axis, &size) in dims.iter().enumerate().rev() {
                place[axis] = i % size;
                i /= size;
            }
            at(&place)
        });
        let data = data.collect();
        Tensor { dims: dims.to_vec(), data }
    }

    fn at(&self, place: &[usize]) -> f64 {
        self.data[place.iter().zip(&self.dims).fold(0, |index, (&i, &size)| index * size + i)]
    }

    /// The number at a place of another shape, spread as NumPy does.
    fn spread(&self, place: &[usize]) -> f64 {
        let missing = place.len() - self.dims.len();
        let own: Vec<usize> =
            self.dims.iter().zip(&place[missing..]).map(|(&d, &i)| if d == 1 { 0 } else { i }).collect();
        self.at(&own)
    }
}

fn int(node: &Node, name: &str, default: i64) -> i64 {
    node.attributes.iter().find(|a| a.0 == name).map_or(default, |a| match a.1 {
        Attribute::Int(v) => v,
        _ => panic!("{name}"),
    })
}

fn float(node: &Node, name: &str, default: f32) -> f64 {
    node.attributes.iter().find(|a| a.0 == name).map_or(f64::from(default), |a| match a.1 {
        Attribute::Float(v) => f64::from(v),
        _ => panic!("{name}"),
    })
}

fn ints(node: &Node, name: &str) -> Option<Vec<i64>> {
    node.attributes.iter().find(|a| a.0 == name).map(|a| match &a.1 {
        Attribute::Ints(v) => v.clone(),
        _ => panic!("{name}"),
    })
}

fn text<'n>(node: &'n Node, name: &str) -> &'n str {
    node.attributes.iter().find(|a| a.0 == name).map_or("", |a| match a.1 {
        Attribute::Text(v) => v,
        _ => panic!("{name}"),
    })
}

/// The constants of a file.
pub(crate) fn constants(file: &File) -> HashMap<String, Tensor> {
    let tensor = |(name, dims, numbers): &(String, Vec<i64>, Numbers)| {
        let dims: Vec<usize> = dims.iter().map(|&d| d as usize).collect();
        let data = match numbers {
            Numbers::Floats(v) => v.iter().map(|&v| f64::from(v)).collect(),
            Numbers::Ints(v) => v.iter().map(|&v| v as f64).collect(),
            Numbers::Flags(v) => v.iter().map(|&v| f64::from(u8::from(v))).collect(),
        };
        (name.clone(), Tensor::new(&dims, data))
    };
    file.tensors.iter().map(tensor).collect()
}

/// The result of a file for one input.
pub(crate) fn run(file: &File, x: &[f32]) -> Tensor {
    let mut values = constants(file);
    let dims: Vec<usize> = file.input.iter().map(|&d| d as usize).collect();
    values.insert("x".to_owned(), Tensor::new(&dims, x.iter().map(|&v| f64::from(v)).collect()));
    for node in &file.nodes {
        let result = compute(node, &values);
        values.insert(node.outputs[0].clone(), result);
    }
    values[&file.output].clone()
}

/// The first output of one node.
pub(crate) fn compute(node: &Node, values: &HashMap<String, Tensor>) -> Tensor {
    let input = |i: usize| node.inputs.get(i).filter(|n| !n.is_empty()).map(|n| &values[n.as_str()]);
    let x = input(0).unwrap();
    let same = |f: &dyn Fn(f64) -> f64| Tensor::new(&x.dims, x.data.iter().map(|&v| f(v)).collect());
    let alpha = |default: f32| float(node, "alpha", default);
    match node.op {
        "Conv" => conv(node, x, input(1).unwrap(), input(2)),
        "Gemm" => gemm(node, x, input(1).unwrap(), input(2)),
        "MatMul" => {
            let w = input(1).unwrap();
            Tensor::of(&[x.dims[0], w.dims[1]], |p| {
                (0..w.dims[0]).map(|k| x.at(&[p[0], k]) * w.at(&[k, p[1]])).sum()
            })
        }
        "BatchNormalization" => {
            let [scale, offset, mean, variance] = [1, 2, 3, 4].map(|i| input(i).unwrap());
            let eps = float(node, "epsilon", 1e-5);
            Tensor::of(&x.dims, |p| {
                let c = p[1];
                (x.at(p) - mean.data[c]) / (variance.data[c] + eps).sqrt() * scale.data[c] + offset.data[c]
            })
        }
        "AveragePool" | "MaxPool" => pool(node, x),
        "GlobalAveragePool" | "GlobalMaxPool" | "ReduceMean" | "ReduceSum" | "ReduceMax" => {
            reduce(node, x, input(1))
        }
        "Pad" if !text(node, "mode").is_empty() => pad_itself(node, x, input(1).unwrap()),
        "Pad" => pad(node, x, input(1), input(3)),
        "Slice" => {
            let list = |i: usize| input(i).unwrap().data.clone();
            let (starts, ends, axes, steps) = (list(1), list(2), list(3), list(4));
            let mut dims = x.dims.clone();
            for i in 0..axes.len() {
                let end = ends[i].min(x.dims[axes[i] as usize] as f64);
                dims[axes[i] as usize] = ((end - starts[i]) / steps[i]).ceil() as usize;
            }
            Tensor::of(&dims, |p| {
                let mut place = p.to_vec();
                for i in 0..axes.len() {
                    let axis = axes[i] as usize;
                    place[axis] = starts[i] as usize + p[axis] * steps[i] as usize;
                }
                x.at(&place)
            })
        }
        "Gather" => {
            let (axis, indices) = (int(node, "axis", 0) as usize, &input(1).unwrap().data);
            let mut dims = x.dims.clone();
            dims[axis] = indices.len();
            Tensor::of(&dims, |p| {
                let mut place = p.to_vec();
                place[axis] = indices[p[axis]] as usize;
                x.at(&place)
            })
        }
        "DepthToSpace" => {
            let size = int(node, "blocksize", 1) as usize;
            let channels = x.dims[1] / (size * size);
            Tensor::of(&[x.dims[0], channels, x.dims[2] * size, x.dims[3] * size], |p| {
                let block = p[2] % size * size + p[3] % size;
                let channel = match text(node, "mode") {
                    "CRD" => p[1] * size * size + block,
                    _ => block * channels + p[1],
                };
                x.at(&[p[0], channel, p[2] / size, p[3] / size])
            })
        }
        "Resize" => resize(node, x, input(2).unwrap()),
        "ConvTranspose" => conv_transpose(node, x, input(1).unwrap()),
        "Concat" => concat(node, values),
        "Identity" | "Dropout" | "Cast" => x.clone(),
        "Flatten" => {
            let axis = int(node, "axis", 1) as usize;
            let left: usize = x.dims[..axis].iter().product();
            Tensor::new(&[left, x.data.len() / left], x.data.clone())
        }
        "Reshape" => {
            let wanted = &input(1).unwrap().data;
            let known: f64 = wanted.iter().filter(|&&d| d > 0.0).product();
            let size = |&d: &f64| if d < 0.0 { x.data.len() / known as usize } else { d as usize };
            Tensor::new(&wanted.iter().map(size).collect::<Vec<_>>(), x.data.clone())
        }
        "Transpose" => {
            let perm: Vec<usize> = ints(node, "perm").unwrap().iter().map(|&a| a as usize).collect();
            let dims: Vec<usize> = perm.iter().map(|&a| x.dims[a]).collect();
            Tensor::of(&dims, |p| {
                let mut place = vec![0; p.len()];
                perm.iter().zip(p).for_each(|(&a, &i)| place[a] = i);
                x.at(&place)
            })
        }
        "Softmax" => {
            let sums: f64 = x.data.iter().map(|v| v.exp()).sum();
            same(&|v| v.exp() / sums)
        }
        "Relu" => same(&|v| v.max(0.0)),
        "Sigmoid" => same(&|v| 1.0 / (1.0 + (-v).exp())),
        "Tanh" => same(&f64::tanh),
        "Softplus" => same(&|v| v.exp().ln_1p()),
        "Softsign" => same(&|v| v / (1.0 + v.abs())),
        "Neg" => same(&|v| -v),
        "LeakyRelu" => same(&|v| if v < 0.0 { alpha(0.01) * v } else { v }),
        "Elu" => same(&|v| if v < 0.0 { alpha(1.0) * v.exp_m1() } else { v }),
        "Celu" => same(&|v| v.max(0.0) + (alpha(1.0) * (v / alpha(1.0)).exp_m1()).min(0.0)),
        "Selu" => {
            let (alpha, gamma) = (alpha(1.673_263_2), float(node, "gamma", 1.050_701));
            same(&|v| if v > 0.0 { gamma * v } else { gamma * (alpha * v.exp() - alpha) })
        }
        "HardSigmoid" => same(&|v| (alpha(0.2) * v + float(node, "beta", 0.5)).clamp(0.0, 1.0)),
        "HardSwish" => same(&|v| v * (v / 6.0 + 0.5).clamp(0.0, 1.0)),
        "ThresholdedRelu" => same(&|v| if v > alpha(1.0) { v } else { 0.0 }),
        "Clip" => {
            let [low, high] = [1, 2].map(|i| input(i).unwrap().data[0]);
            same(&|v| v.max(low).min(high))
        }
        "PRelu" => {
            let slope = input(1).unwrap();
            Tensor::of(&x.dims, |p| if x.at(p) < 0.0 { x.at(p) * slope.spread(p) } else { x.at(p) })
        }
        "Add" | "Sub" | "Mul" | "Div" | "Sum" | "Min" | "Max" => {
            let others = node.inputs[1..].iter().map(|n| &values[n.as_str()]);
            others.fold(x.clone(), |a, b| {
                let rank = a.dims.len().max(b.dims.len());
                let size = |t: &Tensor, axis: usize| {
                    (axis + t.dims.len()).checked_sub(rank).map_or(1, |own| t.dims[own])
                };
                let dims: Vec<usize> = (0..rank).map(|axis| size(&a, axis).max(size(b, axis))).collect();
                Tensor::of(&dims, |p| {
                    let (a, b) = (a.spread(p), b.spread(p));
                    match node.op {
                        "Sub" => a - b,
                        "Mul" => a * b,
                        "Div" => a / b,
                        "Min" => a.min(b),
                        "Max" => a.max(b),
                        _ => a + b,
                    }
                })
            })
        }
        op => panic!("the oracle does not know {op}"),
    }
}

/// Stride, dilation and zeros (top, left, bottom, right) of a window.
fn window(node: &Node, size: [usize; 2], kernel: [usize; 2]) -> ([usize; 2], [usize; 2], [usize; 4]) {
    let pair = |name: &str| ints(node, name).map_or([1, 1], |v| [v[0] as usize, v[1] as usize]);
    let (stride, dilation) = (pair("strides"), pair("dilations"));
    let pads = match text(node, "auto_pad") {
        mode @ ("SAME_UPPER" | "SAME_LOWER") => {
            let mut pads = [0; 4];
            for i in 0..2 {
                let outputs = size[i].div_ceil(stride[i]);
                let total =
                    ((outputs - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1).saturating_sub(size[i]);
                let (small, large) = (total / 2, total - total / 2);
                (pads[i], pads[i + 2]) = if mode == "SAME_UPPER" { (small, large) } else { (large, small) };
            }
            pads
        }
        "VALID" => [0; 4],
        _ => ints(node, "pads").map_or([0; 4], |v| [v[0], v[1], v[2], v[3]].map(|p| p as usize)),
    };
    (stride, dilation, pads)
}

fn conv(node: &Node, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let [out, depth, kh, kw] = w.dims[..] else { panic!("{:?}", w.dims) };
    let size = [x.dims[2], x.dims[3]];
    let (stride, dilation, pads) = window(node, size, [kh, kw]);
    let groups = int(node, "group", 1) as usize;
    let outputs = [0, 1]
        .map(|i| (size[i] + pads[i] + pads[i + 2] - dilation[i] * ([kh, kw][i] - 1) - 1) / stride[i] + 1);
    Tensor::of(&[x.dims[0], out, outputs[0], outputs[1]], |p| {
        let mut sum = bias.map_or(0.0, |b| b.data[p[1]]);
        for d in 0..depth {
            for i in 0..kh {
                for j in 0..kw {
                    let y = (p[2] * stride[0] + i * dilation[0]) as i64 - pads[0] as i64;
                    let z = (p[3] * stride[1] + j * dilation[1]) as i64 - pads[1] as i64;
                    if (0..size[0] as i64).contains(&y) && (0..size[1] as i64).contains(&z) {
                        let channel = p[1] / (out / groups) * depth + d;
                        sum += w.at(&[p[1], d, i, j]) * x.at(&[p[0], channel, y as usize, z as usize]);
                    }
                }
            }
        }
        sum
    })
}

fn gemm(node: &Node, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let transposed = int(node, "transB", 0) != 0;
    let (inner, outputs) = if transposed { (w.dims[1], w.dims[0]) } else { (w.dims[0], w.dims[1]) };
    let (alpha, beta) = (float(node, "alpha", 1.0), float(node, "beta", 1.0));
    Tensor::of(&[x.dims[0], outputs], |p| {
        let weight = |k: usize| if transposed { w.at(&[p[1], k]) } else { w.at(&[k, p[1]]) };
        let sum: f64 = (0..inner).map(|k| x.at(&[p[0], k]) * weight(k)).sum();
        alpha * sum + beta * bias.map_or(0.0, |b| b.spread(p))
    })
}

fn pool(node: &Node, x: &Tensor) -> Tensor {
    let kernel = ints(node, "kernel_shape").unwrap();
    let kernel = [kernel[0] as usize, kernel[1] as usize];
    let size = [x.dims[2], x.dims[3]];
    let (stride, dilation, pads) = window(node, size, kernel);
    let span = [0, 1].map(|i| (kernel[i] - 1) * dilation[i] + 1);
    let ceil = int(node, "ceil_mode", 0) != 0;
    let include = int(node, "count_include_pad", 0) != 0;
    let outputs = [0, 1].map(|i| {
        let room = size[i] + pads[i] + pads[i + 2] - span[i];
        let mut outputs = if ceil { room.div_ceil(stride[i]) } else { room / stride[i] } + 1;
        // A window starts inside the image or the zeros before it.
        if ceil && (outputs - 1) * stride[i] >= size[i] + pads[i] {
            outputs -= 1;
        }
        outputs
    });
    Tensor::of(&[x.dims[0], x.dims[1], outputs[0], outputs[1]], |p| {
        let (mut sum, mut largest, mut inside, mut padded) = (0.0, f64::NEG_INFINITY, 0, 0);
        for i in 0..kernel[0] {
            for j in 0..kernel[1] {
                let (y, z) = (p[2] * stride[0] + i * dilation[0], p[3] * stride[1] + j * dilation[1]);
                // Rounding up adds neither numbers nor zeros.
                if y < size[0] + pads[0] + pads[2] && z < size[1] + pads[1] + pads[3] {
                    padded += 1;
                }
                if (pads[0]..pads[0] + size[0]).contains(&y) && (pads[1]..pads[1] + size[1]).contains(&z) {
                    let v = x.at(&[p[0], p[1], y - pads[0], z - pads[1]]);
                    (sum, largest, inside) = (sum + v, v.max(largest), inside + 1);
                }
            }
        }
        match node.op {
            "MaxPool" => largest,
            _ => sum / f64::from(if include { padded } else { inside }),
        }
    })
}

fn reduce(node: &Node, x: &Tensor, axes: Option<&Tensor>) -> Tensor {
    let listed = ints(node, "axes").or(axes.map(|a| a.data.iter().map(|&v| v as i64).collect()));
    let rank = x.dims.len() as i64;
    let axes: Vec<usize> =
        listed.unwrap_or(vec![2, 3]).iter().map(|&a| if a < 0 { a + rank } else { a } as usize).collect();
    let dims: Vec<usize> =
        x.dims.iter().enumerate().map(|(a, &d)| if axes.contains(&a) { 1 } else { d }).collect();
    let inner: Vec<usize> =
        x.dims.iter().enumerate().map(|(a, &d)| if axes.contains(&a) { d } else { 1 }).collect();
    let result = Tensor::of(&dims, |p| {
        let all = Tensor::of(&inner, |q| x.at(&p.iter().zip(q).map(|(a, b)| a + b).collect::<Vec<_>>())).data;
        match node.op {
            "GlobalMaxPool" | "ReduceMax" => all.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            "ReduceSum" => all.iter().sum(),
            _ => all.iter().sum::<f64>() / all.len() as f64,
        }
    });
    let kept = node.op.starts_with("Global") || int(node, "keepdims", 1) != 0;
    let dims =
        (0..dims.len()).filter(|a| kept || !axes.contains(a)).map(|a| result.dims[a]).collect::<Vec<_>>();
    Tensor::new(&dims, result.data)
}

fn pad(node: &Node, x: &Tensor, listed: Option<&Tensor>, axes: Option<&Tensor>) -> Tensor {
    let pads = ints(node, "pads").unwrap_or_else(|| listed.unwrap().data.iter().map(|&v| v as i64).collect());
    let rank = x.dims.len();
    let axes: Vec<usize> = match axes {
        Some(axes) => {
            axes.data.iter().map(|&a| (if a < 0.0 { a + rank as f64 } else { a }) as usize).collect()
        }
        None => (0..rank).collect(),
    };
    let mut around = vec![[0; 2]; rank];
    for (i, &axis) in axes.iter().enumerate() {
        around[axis] = [pads[i] as usize, pads[i + axes.len()] as usize];
    }
    let dims: Vec<usize> = x.dims.iter().zip(&around).map(|(d, [a, b])| d + a + b).collect();
    Tensor::of(&dims, |p| {
        let inside =
            |(axis, &i): (usize, &usize)| i.checked_sub(around[axis][0]).filter(|&i| i < x.dims[axis]);
        p.iter().enumerate().map(inside).collect::<Option<Vec<usize>>>().map_or(0.0, |place| x.at(&place))
    })
}

fn concat(node: &Node, values: &HashMap<String, Tensor>) -> Tensor {
    let parts: Vec<&Tensor> = node.inputs.iter().map(|n| &values[n.as_str()]).collect();
    let axis = int(node, "axis", 1);
    let axis = if axis < 0 { axis + parts[0].dims.len() as i64 } else { axis } as usize;
    let mut dims = parts[0].dims.clone();
    dims[axis] = parts.iter().map(|p| p.dims[axis]).sum();
    Tensor::of(&dims, |p| {
        let mut place = p.to_vec();
        for part in &parts {
            if place[axis] < part.dims[axis] {
                return part.at(&place);
            }
            place[axis] -= part.dims[axis];
        }
        panic!("no part at {p:?}")
    })
}

/// Nearest pixels by `asymmetric` and `floor`, or linear interpolation by `half_pixel`.
fn resize(node: &Node, x: &Tensor, scales: &Tensor) -> Tensor {
    let factors = [scales.data[2], scales.data[3]];
    let size = [0, 1].map(|i| (x.dims[2 + i] as f64 * factors[i]).floor() as usize);
    let linear = text(node, "mode") == "linear";
    Tensor::of(&[x.dims[0], x.dims[1], size[0], size[1]], |p| {
        let source = [0, 1].map(|i| {
            let last = x.dims[2 + i] as f64 - 1.0;
            let at = p[2 + i] as f64;
            if linear {
                ((at + 0.5) / factors[i] - 0.5).clamp(0.0, last)
            } else {
                (at / factors[i]).floor().clamp(0.0, last)
            }
        });
        let mut sum = 0.0;
        for y in [source[0].floor(), source[0].floor() + 1.0] {
            for z in [source[1].floor(), source[1].floor() + 1.0] {
                let weight = (1.0 - (source[0] - y).abs()).max(0.0) * (1.0 - (source[1] - z).abs()).max(0.0);
                if weight > 0.0 {
                    sum += weight * x.at(&[p[0], p[1], y as usize, z as usize]);
                }
            }
        }
        sum
    })
}

/// Every pixel of the image times the kernel, added to the result where it belongs.
fn conv_transpose(node: &Node, x: &Tensor, w: &Tensor) -> Tensor {
    let pair =
        |name: &str, default| ints(node, name).map_or([default; 2], |v| [v[0] as usize, v[1] as usize]);
    let (stride, dilation, extra) = (pair("strides", 1), pair("dilations", 1), pair("output_padding", 0));
    let pads = ints(node, "pads").unwrap_or(vec![0; 4]);
    let groups = int(node, "group", 1) as usize;
    let per_group = w.dims[1];
    let size = [0, 1].map(|i| {
        let whole = (x.dims[2 + i] - 1) * stride[i] + (w.dims[2 + i] - 1) * dilation[i] + 1 + extra[i];
        whole - pads[i] as usize - pads[i + 2] as usize
    });
    let dims = [x.dims[0], per_group * groups, size[0], size[1]];
    let mut data = vec![0.0; dims.iter().product()];
    for c in 0..x.dims[1] {
        for (o, y, z) in (0..per_group)
            .flat_map(|o| (0..x.dims[2]).flat_map(move |y| (0..x.dims[3]).map(move |z| (o, y, z))))
        {
            for (i, j) in (0..w.dims[2]).flat_map(|i| (0..w.dims[3]).map(move |j| (i, j))) {
                let row = (y * stride[0] + i * dilation[0]) as i64 - pads[0];
                let column = (z * stride[1] + j * dilation[1]) as i64 - pads[1];
                if (0..size[0] as i64).contains(&row) && (0..size[1] as i64).contains(&column) {
                    let channel = c / (x.dims[1] / groups) * per_group + o;
                    data[(channel * size[0] + row as usize) * size[1] + column as usize] +=
                        x.at(&[0, c, y, z]) * w.at(&[c, o, i, j]);
                }
            }
        }
    }
    Tensor::new(&dims, data)
}

fn pad_itself(node: &Node, x: &Tensor, listed: &Tensor) -> Tensor {
    let rank = x.dims.len();
    let pads: Vec<i64> = listed.data.iter().map(|&v| v as i64).collect();
    let dims: Vec<usize> =
        (0..rank).map(|a| (x.dims[a] as i64 + pads[a] + pads[a + rank]) as usize).collect();
    Tensor::of(&dims, |p| {
        let place = |a: usize| {
            let (mut i, last) = (p[a] as i64 - pads[a], x.dims[a] as i64 - 1);
            if text(node, "mode") == "edge" {
                return i.clamp(0, last) as usize;
            }
            if i < 0 {
                i = -i;
            }
            if i > last { (2 * last - i) as usize } else { i as usize }
        };
        x.at(&(0..rank).map(place).collect::<Vec<_>>())
    })
}
