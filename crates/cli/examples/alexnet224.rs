//! AlexNet for 224 x 224 images with repeatable random weights, privately among two parties on this
//! machine.
//!
//! ```text
//! cargo run --release -p amicus-cli --example alexnet224 [INFERENCES]
//! ```
//!
//! Shows what a large network costs (130 million weights, 0.66 million activations of degree 6):
//! about 11 GB of memory for all roles together. The result is compared with the exact integer
//! simulator.

use amicus_field::{Conv2d, Dense, I256, LimbVec, Limbs, LinearShape, SumPool2d};
use amicus_model::quantize::{QuantizedLayer, QuantizedWeights};
use amicus_model::{Simulator, relative_error};
use amicus_node::Ahead;
use amicus_node::event::Event;
use amicus_node::local::{LocalCluster, LocalConfig, Wiring};
use amicus_plan::{
    Activation, InputSpec, Op, OpKind, OutputSpec, Plan, Range, ScaleBits, UseIndex, ValueId, WeightId,
    WeightSpec, WrapRule,
};
use amicus_protocol::Parties;
use std::sync::Arc;
use std::time::Instant;

const ARGUMENT: u32 = 12;
const COEFFICIENT: u32 = 12;
const WEIGHT: u32 = 16;
const INPUT: u32 = 12;
/// ReLU on [-1, 1] by least squares, as integers at the coefficients' scale.
const COEFFICIENTS: [f64; 7] = [0.0318, 0.5, 1.4714, 0.0, -2.5778, 0.0, 1.6926];

/// Layers, and the pool that follows them.
fn layers() -> Vec<(LinearShape, Option<SumPool2d>)> {
    let conv = |in_channels, size, out_channels, kernel, stride, padding: usize| {
        LinearShape::Conv2d(Conv2d {
            in_channels,
            in_height: size,
            in_width: size,
            out_channels,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 4],
            dilation: [1; 2],
            groups: 1,
        })
    };
    let pool = |channels, size| {
        Some(SumPool2d {
            channels,
            height: size,
            width: size,
            kernel: [3; 2],
            stride: [2; 2],
            padding: [0; 4],
        })
    };
    let dense = |inputs, outputs| LinearShape::Dense(Dense { inputs, outputs });
    vec![
        (conv(3, 227, 96, 11, 4, 0), pool(96, 55)),
        (conv(96, 27, 256, 5, 1, 2), pool(256, 27)),
        (conv(256, 13, 384, 3, 1, 1), None),
        (conv(384, 13, 384, 3, 1, 1), None),
        (conv(384, 13, 256, 3, 1, 1), pool(256, 13)),
        (dense(9216, 9216), None),
        (dense(9216, 4096), None),
        (dense(4096, 1000), None),
    ]
}

fn plan() -> Plan {
    let activated = 6 * ARGUMENT + COEFFICIENT;
    let (mut weights, mut ops) = (Vec::new(), Vec::new());
    let (mut value, mut scale) = (ValueId::INPUT, INPUT);
    let layers = layers();
    for (index, (shape, pool)) in layers.iter().enumerate() {
        let name = format!("layer{}", index + 1);
        weights.push(WeightSpec { name: name.clone(), shape: *shape, scale: ScaleBits(WEIGHT), bias: true });
        let kind = OpKind::Linear { input: value, weights: WeightId(index as u32), use_index: UseIndex(0) };
        ops.push(Op { name, kind });
        let total = scale + WEIGHT;
        value = ValueId(ops.len() as u32);
        if index + 1 == layers.len() {
            scale = total;
            break;
        }
        let first = index == 0;
        let activation = Activation {
            input: value,
            ell: total + 1,
            input_scale: ScaleBits(ARGUMENT),
            coefficients: COEFFICIENTS
                .iter()
                .map(|c| (c * f64::from(1 << COEFFICIENT)).round() as i64)
                .collect(),
            coefficient_scale: ScaleBits(COEFFICIENT),
            pool: *pool,
            wrap: if first { WrapRule::Statistical } else { WrapRule::Exact },
        };
        ops.push(Op { name: format!("act{}", index + 1), kind: OpKind::Activation(activation) });
        value = ValueId(ops.len() as u32);
        scale = activated;
    }
    Plan {
        name: "alexnet224-random".into(),
        limbs: Limbs::TWO,
        input: InputSpec {
            shape: vec![3, 227, 227],
            scale: ScaleBits(INPUT),
            range: Range { low: 0.0, high: 1.0 },
        },
        weights,
        public: Vec::new(),
        ops,
        output: OutputSpec { value, ell: scale + 1, scale: ScaleBits(16), watch: 0, reveal: None },
    }
}

/// Repeatable noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as i64
    }

    /// Uniform between -most and most.
    fn symmetric(&mut self, most: i64) -> i64 {
        self.next() % (2 * most + 1) - most
    }
}

/// Uniform weights whose width keeps the activations' arguments well inside [-1, 1].
fn weights(plan: &Plan) -> Vec<QuantizedLayer> {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let pools = layers();
    plan.weights
        .iter()
        .enumerate()
        .map(|(index, spec)| {
            let fan_in = spec.shape.weights() / spec.shape.biases();
            // A pooled value is the sum of nine.
            let pooled = index.checked_sub(1).is_some_and(|before| pools[before].1.is_some());
            let size = if index == 0 { 0.6 } else { 0.25 } * if pooled { 9.0 } else { 1.0 };
            let deviation = 0.25 / (size * (fan_in as f64).sqrt());
            let most = (deviation * 3f64.sqrt() * f64::from(1 << WEIGHT)).max(1.0) as i64;
            let values = (0..spec.shape.weights()).map(|_| noise.symmetric(most)).collect();
            let bias = (0..spec.shape.biases()).map(|_| I256::from(noise.symmetric(1 << 10))).collect();
            QuantizedLayer::new(values, bias)
        })
        .collect()
}

fn resident(what: &str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|l| l.starts_with("VmRSS") || l.starts_with("VmHWM")) {
        println!("  {what}: {line}");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let inferences: usize = std::env::args().nth(1).map_or(Ok(3), |n| n.parse())?;
    let plan = Arc::new(plan());
    let cost = plan.cost(1)?;
    println!("{cost:?}");
    let weights = QuantizedWeights::new(&plan, weights(&plan))?;
    let mut noise = Noise(7);
    let input: Vec<i64> = (0..3 * 227 * 227).map(|_| noise.next() % (1 << INPUT)).collect();
    resident("weights");

    let folder = tempfile::tempdir()?;
    let mut config =
        LocalConfig::new(Arc::clone(&plan), Parties::new(2).ok_or("2 parties")?, folder.path().to_owned());
    config.wiring = Wiring::Tls;
    config.model.ahead = Ahead::new(1, 1);
    config.model.max_batch = 1;
    let mut cluster = LocalCluster::start(config)?;
    let started = Instant::now();
    cluster.owner()?.load(&weights)?;
    println!("loaded in {:.1} s", started.elapsed().as_secs_f64());
    resident("loaded");
    let mut client = cluster.client("1")?;
    let mut logits = Vec::new();
    for _ in 0..inferences {
        let (elapsed, bytes) = loop {
            match cluster.helper_events.recv()? {
                Event::Dealt { elapsed, bytes, .. } => break (elapsed, bytes),
                Event::DealFailed { error } | Event::Failed { error, .. } => return Err(error.into()),
                _ => {}
            }
        };
        let admission = client.request(1, &[])?;
        let result = client.infer(admission, &input)?;
        println!(
            "dealt {:.1} MB in {:.2} s; online {:.3} s, {} rounds",
            bytes as f64 / 1e6,
            elapsed.as_secs_f64(),
            result.elapsed.as_secs_f64(),
            result.rounds
        );
        logits = result.logits;
    }
    resident("served");
    cluster.stop();

    let simulator = Simulator::new(&plan, &weights)?;
    let x = LimbVec::from_i64(plan.limbs, &input);
    let simulated = simulator.outputs(&x, 1)?.logits();
    println!("relative distance from the simulator: {:.2e}", relative_error(&logits, &simulated));
    Ok(())
}
