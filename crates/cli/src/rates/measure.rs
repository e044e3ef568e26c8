//! The measurements.

use super::{MachineRates, RatesError, machine};
use crate::interrupt::TemporaryFolder;
use amicus_field::{Conv2d, Dense, Kernel, LimbVec, Limbs, LinearMap, LinearShape};
use amicus_model::graph::{ConvOptions, Graph, GraphBuilder};
use amicus_model::{CompileOptions, Compiled, ModelError, QuantizedWeights, compile, quantize_input};
use amicus_net::shaper::Shape;
use amicus_node::Ahead;
use amicus_node::event::Event;
use amicus_node::local::{LocalCluster, LocalConfig, Wiring};
use amicus_protocol::Parties;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long clients let the roles rest between inferences: long enough for all threads to fall
/// asleep, as they do where inputs come now and then.
const REST: Duration = Duration::from_millis(2);
/// One-way delay of the network: that of [`Shape::lan`], longer than a party looks for data before
/// it sleeps.
const DELAY: Duration = Duration::from_micros(250);
/// How long each kernel runs.
const KERNEL_TIME: Duration = Duration::from_millis(400);
/// Inferences of each network.
const INFERENCES: usize = 40;
/// Inferences for which material is kept.
const KEPT: usize = 2;
/// Compute parties.
const PARTIES: usize = 2;

/// Measures this machine, in a few seconds; `progress` is told what comes next.
///
/// # Errors
/// When the deployment that is measured cannot run here.
pub fn measure(kernel: Kernel, progress: &mut dyn FnMut(&str)) -> Result<MachineRates, RatesError> {
    progress("products of convolutions");
    let conv = Conv2d {
        in_channels: 64,
        in_height: 16,
        in_width: 16,
        out_channels: 64,
        kernel: [3; 2],
        stride: [1; 2],
        padding: [1; 4],
        dilation: [1; 2],
        groups: 1,
    };
    let product = products(LinearShape::Conv2d(conv))?;
    progress("products of fully connected layers");
    let dense = products(LinearShape::Dense(Dense { inputs: 2048, outputs: 2048 }))?;
    progress("messages");
    let near = run(narrow()?, Wiring::Tls)?;
    let hop = near.online / near.rounds;
    progress("messages over a network");
    let shape = Shape { one_way: DELAY, bits_per_second: None };
    let far = run(narrow()?, Wiring::Shaped(shape))?;
    let delayed_hop = (far.online / far.rounds - DELAY.as_secs_f64()).max(0.1e-6);
    progress("dealt material");
    let wide = run(wide()?, Wiring::Tls)?;
    // One limb's; what is left after the other parts of the estimate is the material's.
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let crowd = |roles: usize| (roles as f64 / cores).max(1.0);
    let computed = wide.multiply_adds / product;
    let left =
        |time: f64, hops: f64, roles: usize| ((time - hops * hop) / crowd(roles) - computed) / wide.elements;
    Ok(MachineRates {
        machine: machine(),
        kernel: kernel.name().to_owned(),
        products_per_second: product,
        dense_products_per_second: dense,
        // On a machine whose clock or load hides the difference, at least a tenth of a nanosecond.
        online_element_ns: (1e9 * left(wide.online, wide.rounds, PARTIES)).max(0.1),
        dealt_element_ns: (1e9 * left(wide.preprocessing, 2.0, PARTIES + 1)).max(0.1),
        hop_us: 1e6 * hop,
        delayed_hop_us: 1e6 * delayed_hop,
    })
}

/// Products a second of one limb, one input at a time.
fn products(shape: LinearShape) -> Result<f64, RatesError> {
    let limbs = Limbs::ONE;
    let numbers = |n: usize| LimbVec::from_i64(limbs, &(0..n as i64).collect::<Vec<i64>>());
    let map =
        LinearMap::new(shape, &numbers(shape.weights())).map_err(|e| RatesError::Setup(e.to_string()))?;
    let x = numbers(shape.inputs());
    black_box(map.apply(&x, 1));
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < KERNEL_TIME || times.len() < 5 {
        let once = Instant::now();
        black_box(map.apply(black_box(&x), 1));
        times.push(once.elapsed().as_secs_f64());
    }
    Ok(shape.products(1) as f64 / typical(times))
}

/// Many rounds, next to nothing to compute.
fn narrow() -> Result<Graph, ModelError> {
    let mut g = GraphBuilder::new("rounds", &[8], -1.0..=1.0);
    let mut x = g.input();
    for i in 0..6 {
        x = g.linear(&format!("fc{i}"), x, 8, vec![0.1; 64], None);
        x = g.polynomial(&format!("act{i}"), x, 1.0, vec![0.0, 0.5, 0.25]);
    }
    let x = g.linear("last", x, 8, vec![0.1; 64], None);
    g.finish(x)
}

/// Few rounds, so much material that their time hardly counts.
fn wide() -> Result<Graph, ModelError> {
    let mut g = GraphBuilder::new("material", &[1, 64, 64], -1.0..=1.0);
    let mut x = g.input();
    for (i, channels) in [1, 4, 4].into_iter().enumerate() {
        x = g.conv2d(&format!("conv{i}"), x, ConvOptions::square(4, 1), vec![0.2; 4 * channels], None);
        x = g.polynomial(&format!("act{i}"), x, 1.0, vec![0.1, 0.5, 0.3, 0.0, -0.1, 0.0, 0.02]);
    }
    let x = g.conv2d("last", x, ConvOptions::square(1, 1), vec![0.2; 4], None);
    g.finish(x)
}

/// What one network took, in seconds, and what it had to do.
struct Taken {
    online: f64,
    preprocessing: f64,
    rounds: f64,
    elements: f64,
    multiply_adds: f64,
}

fn run(graph: Graph, wiring: Wiring) -> Result<Taken, RatesError> {
    let image: Vec<f32> =
        (0..graph.input_shape().iter().product()).map(|i: usize| (i % 17) as f32 / 17.0).collect();
    let options = CompileOptions {
        limbs: Some(Limbs::ONE),
        statistical: false,
        max_error: 1.0,
        ..CompileOptions::default()
    };
    let Compiled { plan, weights, .. } = compile(&graph, std::slice::from_ref(&image), &options)?;
    let input = quantize_input(&plan, &image).map_err(ModelError::from)?;
    let setup = |e: &dyn std::fmt::Display| RatesError::Setup(e.to_string());
    let parties = Parties::new(PARTIES).ok_or_else(|| setup(&"number of parties"))?;
    let folder = TemporaryFolder::new().map_err(|e| setup(&e))?;
    let plan = Arc::new(plan);
    let mut config = LocalConfig::new(Arc::clone(&plan), parties, folder.path().to_owned());
    config.model.ahead = Ahead::new(1, KEPT);
    config.wiring = wiring;
    let mut cluster = LocalCluster::start(config)?;
    let times = times(&mut cluster, &weights, &input);
    cluster.stop();
    let (online, preprocessing) = times?;
    let cost = plan.cost(1).map_err(|e| setup(&e))?;
    Ok(Taken {
        online: typical(online),
        preprocessing: typical(preprocessing),
        rounds: cost.rounds as f64,
        elements: plan.elements(1).map_err(|e| RatesError::Setup(e.to_string()))?,
        multiply_adds: cost.multiply_adds as f64,
    })
}

fn times(
    cluster: &mut LocalCluster,
    weights: &QuantizedWeights,
    input: &[i64],
) -> Result<(Vec<f64>, Vec<f64>), RatesError> {
    cluster.owner()?.load(weights)?;
    let mut client = cluster.client("1")?;
    let (mut online, mut preprocessing) = (Vec::new(), Vec::new());
    for used in 0..INFERENCES {
        // All roles share this machine: nothing is dealt while an inference is measured.
        while preprocessing.len() < used + KEPT {
            match cluster.helper_events.recv_timeout(Duration::from_secs(10)) {
                Ok(Event::Dealt { elapsed, .. }) => preprocessing.push(elapsed.as_secs_f64()),
                Ok(_) => {}
                Err(_) => return Err(RatesError::Setup("the helper deals nothing".to_owned())),
            }
        }
        std::thread::sleep(REST);
        let admission = client.request(1, &[])?;
        online.push(client.infer(admission, input)?.elapsed.as_secs_f64());
    }
    Ok((online, preprocessing))
}

/// The median: what estimates are compared with is a median too.
fn typical(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
