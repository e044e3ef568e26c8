//! Random networks from ONNX file to private answer: the float executor is held to an oracle,
//! written files are read back and planned, and the secure run is held to the simulator, operation
//! by operation.
//!
//! A bounded part runs with all other tests. More of them, with any seed (networks are numbered by
//! seed and place):
//!
//! ```text
//! AMICUS_GRAPHS=1000 AMICUS_GRAPHS_SEED=7 cargo test --release -p amicus-testkit --test graphs -- --nocapture
//! ```
//! With `AMICUS_GRAPHS_DIR=DIR` files and results are kept, for ONNX Runtime to compute them too:
//! `crates/model/tests/oracle/compare.py DIR`.

#[path = "../../model/tests/common/onnx_file.rs"]
mod onnx_file;
#[path = "../../model/tests/common/oracle.rs"]
mod oracle;
#[path = "../../model/tests/common/random_onnx.rs"]
mod random_onnx;

use amicus_model::amc::{About, ModelFile};
use amicus_model::approximate::{ApproximateOptions, MaxPooling, approximate};
use amicus_model::check::check;
use amicus_model::compare::{FixedPoint, Networks, compare};
use amicus_model::equalise::equalise;
use amicus_model::onnx::{ImportOptions, import_bytes};
use amicus_model::prepare::prepare;
use amicus_model::quality::{Quality, Targets};
use amicus_model::{CompileOptions, FloatExecutor, Graph, ModelError, compile, quantize_input};
use amicus_plan::Range;
use amicus_protocol::Parties;
use amicus_testkit::nets::Net;
use amicus_testkit::{direct, steps};
use random_onnx::Network;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Float executor and oracle, relative to the largest logit.
const FLOAT: f64 = 1e-4;
/// Logits of the secure run and of the simulator, which round differently: relative to the largest
/// logit.
const SECURE: f64 = 0.02;

/// How one network fared.
enum Fate {
    /// It ran to the end: float errors of the imported and the prepared network, of the simulator's
    /// against its own polynomial network.
    Ran { float: f64, fixed: f64 },
    /// It was refused, for a reason that its author can understand.
    Refused(String),
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Largest difference relative to the largest expected number.
fn difference(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len(), "numbers in the result");
    let size = expected.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
    got.iter().zip(expected).fold(0.0, |m, (g, e)| {
        let d = (g - e).abs() / size;
        if d.is_nan() { f64::INFINITY } else { d.max(m) }
    })
}

/// The worst difference between a graph and the oracle.
fn float_error(graph: &Graph, inputs: &[Vec<f32>], expected: &[Vec<f64>]) -> f64 {
    let executor = FloatExecutor::new(graph);
    inputs.iter().zip(expected).fold(0.0, |m, (x, y)| difference(&executor.run(x).unwrap(), y).max(m))
}

fn run(seed: u64, keep: Option<&Path>, folder: &Path) -> Result<Fate, String> {
    let network = random_onnx::network(seed);
    let Network { file, samples, logits, .. } = &network;
    let to_logits = onnx_file::File { output: logits.clone(), ..file.clone() };
    let expected: Vec<Vec<f64>> = samples.iter().map(|x| oracle::run(&to_logits, x).data).collect();
    let import = import_bytes("random.onnx", &file.bytes(), None, &ImportOptions::default())
        .map_err(|e| format!("not imported: {e}"))?;
    if let Some(keep) = keep {
        let results: Vec<f64> = samples
            .iter()
            .flat_map(|x| FloatExecutor::new(&import.graph).run(&import.graph.arranged(x.clone())).unwrap())
            .collect();
        let path = |kind: &str| keep.join(format!("{seed}.{kind}"));
        std::fs::write(path("onnx"), to_logits.bytes()).unwrap();
        std::fs::write(path("x"), samples.concat().iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
            .unwrap();
        std::fs::write(path("y"), results.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    }
    let inputs: Vec<Vec<f32>> = samples.iter().map(|x| import.graph.arranged(x.clone())).collect();
    let float = float_error(&import.graph, &inputs, &expected);
    if float > FLOAT {
        return Err(format!("imported: {float:e} from the oracle"));
    }
    let problems = check(&import.graph).problems;
    if !problems.is_empty() {
        return Err(format!("check refuses it: {problems:?}"));
    }
    let all = || inputs.iter().flatten().map(|&v| f64::from(v));
    let range =
        Range { low: all().fold(f64::INFINITY, f64::min), high: all().fold(f64::NEG_INFINITY, f64::max) };
    let graph = import.graph.with_input_range(range).map_err(|e| e.to_string())?;
    let equal = equalise(&graph, &inputs).map_err(|e| format!("not equalised: {e}"))?.graph;
    let original = prepare(&equal).map_err(|e| format!("not prepared: {e}"))?.graph;
    let prepared = float_error(&original, &inputs, &expected);
    if prepared > FLOAT {
        return Err(format!("prepared: {prepared:e} from the oracle"));
    }
    let options = ApproximateOptions {
        degree: Some(2 + (seed % 4) as usize),
        max_pooling: MaxPooling::Average,
        ..ApproximateOptions::default()
    };
    // Every other network as it is: activations and maxima by comparisons.
    let options = if seed.is_multiple_of(2) { ApproximateOptions::exact() } else { options };
    let approximated =
        approximate(&original, &inputs, &options).map_err(|e| format!("not approximated: {e}"))?;
    // Two of three look for values outside.
    let compile_options = CompileOptions { watch: !seed.is_multiple_of(3), ..CompileOptions::default() };
    let compiled = match compile(&approximated.graph, &inputs, &compile_options) {
        Ok(compiled) => compiled,
        Err(error @ ModelError::Scale { .. }) => return Ok(Fate::Refused(error.to_string())),
        Err(error) => return Err(format!("not compiled: {error}")),
    };
    let fixed = compiled.report.simulated.max;
    let parts = FixedPoint { plan: &compiled.plan, weights: &compiled.weights, factors: &compiled.factors };
    let networks = Networks { original: &original, polynomial: &approximated.graph, fixed: Some(parts) };
    let comparison =
        compare(networks, &inputs, None, &mut |_| ()).map_err(|e| format!("not compared: {e}"))?;
    let targets = Targets { fixed_point: CompileOptions::default().max_error, total: None };
    let file = ModelFile {
        quality: Quality::of(&comparison, &compiled.report, targets),
        plan: compiled.plan,
        weights: compiled.weights,
        factors: compiled.factors,
        original,
        approximations: approximated.approximations,
        about: About::default(),
    };
    let path = folder.join("random.amc");
    file.save(&path, amicus_model::private_file::Existing::Replace)
        .map_err(|e| format!("not written: {e}"))?;
    let file = ModelFile::load(&path).map_err(|e| format!("not read back: {e}"))?;
    let (parties, batch) = if seed.is_multiple_of(3) { (3, 2) } else { (2, 1) };
    let net = Net { plan: Arc::new(file.plan), weights: file.weights };
    let loaded = direct::load(&net.plan, &net.layers(), Parties::new(parties).unwrap(), None)
        .map_err(|e| format!("not loaded: {e}"))?;
    let numbers = inputs[..batch].iter().map(|x| quantize_input(&net.plan, x));
    let numbers = numbers.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?.concat();
    let outcome =
        direct::infer(&loaded, &numbers, batch, &[], &mut |_| ()).map_err(|e| format!("not run: {e}"))?;
    steps::check(&loaded, &net, &numbers, &outcome).map_err(|e| format!("secure run: {e}"))?;
    let secure = outcome.logits.map_err(|e| format!("no result: {e}"))?;
    let simulated = net.simulate(&numbers, batch);
    // A network that misses its target says so; of one that meets it the secure run must too.
    let error = difference(&secure, &simulated);
    // Where a network gives 0 whatever it is fed, one unit is all there is to compare.
    let unit = 0.5f64.powi(net.plan.output.scale.0 as i32);
    let rounding = secure.iter().zip(&simulated).all(|(a, b)| (a - b).abs() <= unit);
    // A number next to a threshold falls on either side, and there this function jumps.
    let jumps = network.operators.iter().any(|operator| operator.contains("ThresholdedRelu"));
    if error > SECURE && fixed < 0.005 && !rounding && !jumps {
        return Err(format!("secure run: {error:e} from the simulator"));
    }
    Ok(Fate::Ran { float: float.max(prepared), fixed })
}

#[test]
fn random_networks_run_to_the_end() {
    let (count, seed) = (setting("AMICUS_GRAPHS", 60u64), setting("AMICUS_GRAPHS_SEED", 1u64));
    let keep = std::env::var_os("AMICUS_GRAPHS_DIR").map(PathBuf::from);
    let folder = tempfile::tempdir().unwrap();
    let (mut failures, mut refused) = (Vec::new(), BTreeMap::new());
    let (mut ran, mut float, mut missed) = (0, 0f64, 0);
    let mut operators = BTreeSet::new();
    for place in 0..count {
        let seed = seed << 32 | place;
        operators.extend(random_onnx::network(seed).operators);
        let fate = std::panic::catch_unwind(|| run(seed, keep.as_deref(), folder.path()));
        match fate.unwrap_or_else(|_| Err("panics".to_owned())) {
            Ok(Fate::Ran { float: error, fixed }) => {
                (ran, float) = (ran + 1, float.max(error));
                if fixed > 0.01 {
                    missed += 1;
                    println!("network {seed}: the fixed point is off by up to {fixed:.1e}");
                }
            }
            Ok(Fate::Refused(reason)) => {
                refused.insert(seed, reason);
            }
            Err(reason) => {
                println!("network {seed}: {reason}");
                failures.push((seed, reason));
            }
        }
    }
    println!(
        "{count} networks: {ran} ran, {} refused, {} failed; float at most {float:.1e} from the oracle; {missed} with \
         more than 1% error of the fixed point",
        refused.len(),
        failures.len()
    );
    refused.iter().take(20).for_each(|(seed, reason)| println!("  {seed} refused: {reason}"));
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(refused.len() as u64 <= count / 20, "{refused:#?}");
    // The bounded part still meets every kind of layer.
    for op in [
        "Conv",
        "Concat",
        "BatchNormalization",
        "AveragePool",
        "MaxPool",
        "Pad",
        "Add",
        "Gemm",
        "PRelu",
        "Transpose",
    ] {
        assert!(count < 60 || operators.contains(op), "{op} never occurs");
    }
}
