//! LeNet-5 by its definition, from the exported file alone: f64, nested loops, nothing shared with
//! the training code.

use std::collections::BTreeMap;

/// An exported file, decoded.
pub(crate) struct Naive {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
    pub(crate) metadata: BTreeMap<String, String>,
    interval: f64,
    coefficients: Vec<f64>,
    epsilon: f64,
}

/// Channels, height, width, values.
struct Planes(usize, usize, usize, Vec<f64>);

impl Naive {
    pub(crate) fn new(file: &[u8]) -> Self {
        let parsed = safetensors::SafeTensors::deserialize(file).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(file).unwrap();
        let metadata: BTreeMap<String, String> = header.metadata().clone().unwrap().into_iter().collect();
        let decode = |bytes: &[u8]| -> Vec<f64> {
            bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
        };
        let tensors =
            parsed.iter().map(|(name, t)| (name.to_owned(), (t.shape().to_vec(), decode(t.data()))));
        let tensors = tensors.collect();
        let interval = metadata["activation.interval"].parse().unwrap();
        let coefficients = serde_json::from_str(&metadata["activation.coefficients"]).unwrap();
        let epsilon = metadata["bn.eps"].parse().unwrap();
        Self { tensors, metadata, interval, coefficients, epsilon }
    }

    /// Names with shapes, alphabetical.
    pub(crate) fn shapes(&self) -> Vec<(&str, &[usize])> {
        self.tensors.iter().map(|(name, (shape, _))| (name.as_str(), shape.as_slice())).collect()
    }

    /// Ten logits and the largest |t| / B at each of the four activations.
    pub(crate) fn forward(&self, pixels: &[u8]) -> (Vec<f64>, [f64; 4]) {
        let mut largest = [0.0; 4];
        let input = Planes(1, 28, 28, pixels.iter().map(|&p| f64::from(p) / 255.0).collect());
        let mut x = self.convolution(&input, "conv1", 2);
        self.activate(&mut x, "bn1", &mut largest[0]);
        let mut x = self.convolution(&pool(&x), "conv2", 0);
        self.activate(&mut x, "bn2", &mut largest[1]);
        let mut x = Planes(120, 1, 1, self.linear(&pool(&x).3, "fc1"));
        self.activate(&mut x, "bn3", &mut largest[2]);
        let mut x = Planes(84, 1, 1, self.linear(&x.3, "fc2"));
        self.activate(&mut x, "bn4", &mut largest[3]);
        (self.linear(&x.3, "fc3"), largest)
    }

    pub(crate) fn answer(&self, pixels: &[u8]) -> usize {
        let (logits, _) = self.forward(pixels);
        (0..10).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
    }

    fn get(&self, name: &str) -> &[f64] {
        &self.tensors[name].1
    }

    fn convolution(&self, x: &Planes, name: &str, padding: isize) -> Planes {
        let (weight, bias) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        let Planes(channels, height, width, values) = x;
        let (rows, columns) = (height + 2 * padding as usize - 4, width + 2 * padding as usize - 4);
        let mut out = Vec::new();
        for (o, bias) in bias.iter().enumerate() {
            for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
                let mut sum = *bias;
                for c in 0..*channels {
                    for (i, j) in (0..5).flat_map(|i| (0..5).map(move |j| (i, j))) {
                        let (r, s) = (row as isize + i - padding, column as isize + j - padding);
                        if (0..*height as isize).contains(&r) && (0..*width as isize).contains(&s) {
                            let at = (c * height + r as usize) * width + s as usize;
                            sum +=
                                weight[((o * channels + c) * 5 + i as usize) * 5 + j as usize] * values[at];
                        }
                    }
                }
                out.push(sum);
            }
        }
        Planes(bias.len(), rows, columns, out)
    }

    fn linear(&self, x: &[f64], name: &str) -> Vec<f64> {
        let (weight, bias) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        let rows = weight.chunks_exact(x.len()).zip(bias);
        rows.map(|(row, bias)| bias + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>()).collect()
    }

    fn activate(&self, x: &mut Planes, norm: &str, largest: &mut f64) {
        let part = |part: &str| self.get(&format!("{norm}.{part}"));
        let (gamma, beta) = (part("weight"), part("bias"));
        let (mean, variance) = (part("running_mean"), part("running_var"));
        let area = x.1 * x.2;
        for (i, value) in x.3.iter_mut().enumerate() {
            let c = i / area;
            let t = gamma[c] * (*value - mean[c]) / (variance[c] + self.epsilon).sqrt() + beta[c];
            let u = t / self.interval;
            *largest = largest.max(u.abs());
            *value = self.coefficients.iter().enumerate().map(|(k, a)| a * u.powi(k as i32)).sum();
        }
    }
}

fn pool(x: &Planes) -> Planes {
    let Planes(channels, height, width, values) = x;
    let (rows, columns) = (height / 2, width / 2);
    let mut out = Vec::new();
    for c in 0..*channels {
        for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |s| (r, s))) {
            let at = |i, j| values[(c * height + 2 * row + i) * width + 2 * column + j];
            out.push((at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4.0);
        }
    }
    Planes(*channels, rows, columns, out)
}
