//! Networks that compare: planned, simulated, compared with the float network.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod common;
#[path = "common/nets.rs"]
mod nets;

#[path = "common/onnx_file.rs"]
mod onnx_file;
#[path = "common/oracle.rs"]
mod oracle;
#[path = "common/random_onnx.rs"]
mod random_onnx;

use common::Random;
use std::path::Path;

use amicus_data::npz::Npz;
use amicus_field::LimbVec;
use amicus_model::amc::{About, ModelFile};
use amicus_model::approximate::{Activations, ApproximateOptions, Approximated, MaxPooling, approximate};
use amicus_model::compare::{Comparison, FixedPoint, Networks, compare};
use amicus_model::compile::FAR;
use amicus_model::equalise::equalise;
use amicus_model::escapes::escapes;
use amicus_model::function::{Elementary, Function};
use amicus_model::graph::{ConvOptions, Extreme, Graph, Layer, PoolOptions};
use amicus_model::onnx::{ImportOptions, import_bytes, import_file};
use amicus_model::prepare::prepare;
use amicus_model::private_file::Existing;
use amicus_model::proof::bounds;
use amicus_model::quality::{Quality, Targets};
use amicus_model::{CompileOptions, Compiled, FloatExecutor, ModelError, compile, relative_error, simulate};
use amicus_plan::{OpKind, Range, ValueId, quantize_input};
use nets::Net;

const EXACT: ApproximateOptions = ApproximateOptions {
    max_error: 0.005,
    degree: None,
    margin: None,
    method: None,
    max_pooling: MaxPooling::Exact,
    activations: Activations::Exact,
    tails: false,
};

/// Compiles a network and compares it, layer by layer, with the float executor.
fn exact(graph: &Graph, samples: &[Vec<f32>], options: &CompileOptions) -> (Compiled, Comparison) {
    let graph = prepare(&equalise(graph, samples).unwrap().graph).unwrap().graph;
    let Approximated { graph, .. } = approximate(&graph, samples, &EXACT).unwrap();
    let compiled = compile(&graph, samples, options).unwrap_or_else(|e| panic!("{}: {e}", graph.name()));
    let Compiled { plan, weights, factors, .. } = &compiled;
    let fixed = Some(FixedPoint { plan, weights, factors });
    let networks = Networks { original: &graph, polynomial: &graph, fixed };
    let found = compare(networks, samples, None, &mut |_| ()).unwrap();
    (compiled, found)
}

fn imported(name: &str) -> (Graph, Vec<Vec<f32>>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let graph = import_file(&folder.join(format!("{name}.onnx")), &ImportOptions::default()).unwrap().graph;
    let bytes = std::fs::read(folder.join(format!("{name}.npz"))).unwrap();
    let samples = Npz::parse(name, &bytes).unwrap().array("x").unwrap().rows();
    (graph.with_input_range(Range { low: -1.0, high: 1.0 }).unwrap(), samples)
}

#[test]
fn imported_networks_compile_as_they_are() {
    // The last has smooth activations as well.
    for name in ["resnet_legacy", "vgg_legacy", "fire_legacy"] {
        let (graph, samples) = imported(name);
        let (compiled, found) = exact(&graph, &samples, &CompileOptions::default());
        assert!(compiled.report.meets_target(), "{name}: {}", compiled.report);
        assert_eq!(compiled.plan.limbs.count(), 1, "{name}: {}", compiled.report);
        let fixed = found.fixed.unwrap();
        assert!(fixed.relative_error.max < 0.005, "{name}: {fixed:?}");
        assert!(found.escapes.unwrap().layers.is_empty());
    }
}

/// Values keep their scale until the modulus is full: with three limbs thresholds would need more
/// bits than plans hold, were nothing dropped before.
#[test]
fn thresholds_fit_however_large_scales_get() {
    let mut n = Net::new("clips", &[2, 4, 4], 9);
    let mut x = n.g.input();
    for i in 0..9 {
        x = n.conv(&format!("conv{i}"), x, 2, ConvOptions::square(2, 3).padding(1));
        let clip = Function::elementary(Elementary::Clip { low: -0.9, high: 0.7 });
        x = n.g.activation(&format!("clip{i}"), x, clip);
    }
    let x = n.g.flatten("flat", x);
    let x = n.fc("fc", x, 32, 3);
    let samples: Vec<Vec<f32>> = (0..4).map(|_| n.sample(32)).collect();
    let options = CompileOptions {
        limbs: Some(amicus_field::Limbs::THREE),
        max_error: 1e-12,
        ..CompileOptions::default()
    };
    let (compiled, _) = exact(&n.g.finish(x).unwrap(), &samples, &options);
    let error = |line: &String| {
        let text = line.split("median error ").nth(1)?.split('%').next()?;
        text.parse::<f64>().ok()
    };
    let errors: Vec<f64> = compiled.report.passed_over.iter().filter_map(error).collect();
    assert!(!errors.is_empty() && errors.iter().all(|e| *e < 5.0), "{:?}", compiled.report.passed_over);
}

fn far() -> CompileOptions {
    CompileOptions { link: FAR, ..CompileOptions::default() }
}

/// LeNet-5 with ReLU and MaxPool, random weights.
fn lenet5(seed: u64) -> (Graph, Vec<Vec<f32>>) {
    let mut n = Net::new("lenet5", &[1, 28, 28], seed);
    let x = n.g.input();
    let x = n.conv("conv1", x, 1, ConvOptions::square(6, 5).padding(2));
    let x = n.g.activation("relu1", x, relu());
    let x = n.g.max_pool("pool1", x, PoolOptions::square(2));
    let x = n.conv("conv2", x, 6, ConvOptions::square(16, 5));
    let x = n.g.activation("relu2", x, relu());
    let x = n.g.max_pool("pool2", x, PoolOptions::square(2));
    let mut x = n.g.flatten("flat", x);
    for (i, (inputs, outputs)) in [(400, 120), (120, 84)].into_iter().enumerate() {
        x = n.fc(&format!("fc{}", i + 1), x, inputs, outputs);
        x = n.g.activation(&format!("relu{}", i + 3), x, relu());
    }
    let x = n.fc("fc3", x, 84, 10);
    let samples = (0..8).map(|_| n.sample(784)).collect();
    (n.g.finish(x).unwrap(), samples)
}

fn relu() -> Function {
    Function::elementary(Elementary::Relu)
}

#[test]
fn lenet5_deals_what_arithmetic_says() {
    let (graph, samples) = lenet5(1);
    let (compiled, found) = exact(&graph, &samples, &CompileOptions::default());
    let report = &compiled.report;
    assert!(report.meets_target(), "{report}");
    assert_eq!(found.fixed.unwrap().same_class, Some(8));
    // ReLU behind the pools: 1176 + 400 + 120 + 84 of 4 elements, a mask each; maxima of 3 comparisons
    // a window of 4 elements, whose masks the helper keeps.
    let (relus, maxima) = (1176 + 400 + 120 + 84, 3 * (1176 + 400));
    let windows: usize = report.windows.iter().map(|w| w.comparisons).sum();
    assert_eq!(windows, relus + maxima);
    // Small layers have a bit more.
    let bits = |name: &str| report.windows.iter().find(|w| w.name.contains(name)).unwrap().bits;
    let each = ["relu1", "relu2", "relu3", "relu4", "pool1.down", "pool2.down"].map(bits);
    assert_eq!(each, [12, 13, 13, 13, 13, 14]);
    // Tables of every digit, and the bits of the joins of three of them, or six.
    let dealt = |digits: &[u32]| {
        let joins = [0, 0, 3, 2, 5, 6][digits.len() - 1];
        digits.iter().map(|w| (1 << w) - 1).sum::<usize>() + joins
    };
    let planes: usize = report.windows.iter().map(|w| w.comparisons.div_ceil(8) * dealt(&w.digits)).sum();
    // Truncations cost little, so every ReLU has one, and rounding is as fine as 20 bits are.
    let truncated = relus * 2;
    let elements = relus * 5 + maxima * 4 + truncated;
    assert_eq!(report.cost.dealt_bytes, (elements * 13 / 2 + planes) as u64, "{report}");
    assert!(report.cost.dealt_bytes <= 300_000, "{}", report.cost.dealt_bytes);
    assert_eq!(compiled.plan.limbs.count(), 1);
    let rounding = report.rounding.as_ref().unwrap();
    assert!(rounding.max < 5e-5, "{report}");
    assert!(report.proofs.iter().all(|p| p.guard_bits_left >= 2.0), "{report}");
    // Over a WAN: two rounds a comparison instead of three, and maxima with the ReLU behind them;
    // windows by what each changes in the result.
    let (far, found) = exact(&graph, &samples, &far());
    assert!(far.report.meets_target(), "{}", far.report);
    assert_eq!(found.fixed.unwrap().same_class, Some(8));
    assert_eq!(far.report.cost.rounds, 26, "{}", far.report);
    assert!(far.report.windows.iter().all(|w| w.digits.len() <= 3 && w.bits <= 13), "{}", far.report);
    assert!(far.report.cost.dealt_bytes <= 500_000, "{}", far.report);
}

/// Windows hold what was seen, the margin and a guard bit; what escapes is counted.
#[test]
fn windows_have_guard_bits_and_escapes_are_counted() {
    let (graph, samples) = lenet5(2);
    let (compiled, _) = exact(&graph, &samples, &CompileOptions::default());
    assert_eq!(compiled.report.windows.len(), 8);
    for w in &compiled.report.windows {
        assert!(w.guard_bits >= 1.0 && w.guard_bits <= 2.0, "{w:?}");
        let half = w.unit * 2f64.powi(w.bits as i32 - 1);
        assert!(half >= 3.0 * w.seen, "{w:?}");
    }
    // Numbers sixteen times as large leave the windows.
    let Compiled { plan, factors, .. } = &compiled;
    let prepared = prepare(&equalise(&graph, &samples).unwrap().graph).unwrap().graph;
    let large: Vec<Vec<f32>> = samples.iter().map(|x| x.iter().map(|v| 16.0 * v).collect()).collect();
    let found = escapes(plan, factors, &prepared, &large).unwrap();
    assert!(found.wrapped.len() == large.len() && found.layers.iter().any(|l| l.layer.contains("pool1")));
    assert!(escapes(plan, factors, &prepared, &samples).unwrap().layers.is_empty());
    // Maxima and activations computed together have windows for both.
    let (Compiled { plan, factors, .. }, _) = exact(&graph, &samples, &far());
    let found = escapes(&plan, &factors, &prepared, &large).unwrap();
    let escaped = |name: &str| found.layers.iter().any(|l| l.layer.contains(name));
    assert!(found.wrapped.len() == large.len() && escaped("pool1") && escaped("relu1"), "{found:?}");
    assert!(escapes(&plan, &factors, &prepared, &samples).unwrap().layers.is_empty());
}

/// Where rounds are dear, maxima are computed together with what is behind them, windows of any
/// shape and functions of any two pieces.
#[test]
fn maxima_together_with_activations_follow_the_float_network() {
    let functions = [
        relu(),
        Function::elementary(Elementary::LeakyRelu { alpha: 0.1 }),
        Function::elementary(Elementary::Clip { low: -0.3, high: f64::INFINITY }),
        Function::elementary(Elementary::Clip { low: f64::NEG_INFINITY, high: 0.4 }),
    ];
    let pools = [
        PoolOptions::square(2),
        PoolOptions::square(3).stride(2).padding(1),
        PoolOptions { kernel: [3, 5], stride: [1, 2], padding: [0, 2, 1, 1] },
        PoolOptions { kernel: [1, 2], stride: [1, 1], padding: [0; 4] },
        PoolOptions::square(8),
    ];
    for (i, function) in functions.iter().enumerate() {
        for (k, pool) in pools.iter().enumerate() {
            let name = format!("{} behind pool {k}", function.name());
            let mut n = Net::new(&name, &[2, 8, 8], (7 * i + k) as u64);
            let y = n.g.input();
            let y = n.conv("first", y, 2, ConvOptions::square(4, 3).padding(1));
            let y = n.g.activation("act", y, function.clone());
            let y = n.g.max_pool("pool", y, *pool);
            let of =
                |i: usize| (8 + pool.padding[i] + pool.padding[i + 2] - pool.kernel[i]) / pool.stride[i] + 1;
            let y = n.g.flatten("flat", y);
            let y = n.fc("last", y, 4 * of(0) * of(1), 5);
            let samples: Vec<Vec<f32>> = (0..6).map(|_| n.sample(128)).collect();
            let (compiled, found) = exact(&n.g.finish(y).unwrap(), &samples, &far());
            let report = &compiled.report;
            let together = compiled.plan.ops.iter().any(|op| matches!(op.kind, OpKind::Xnor { .. }));
            assert!(together, "{name}: {report}");
            assert!(report.meets_target() && report.expected.max < 0.03, "{name}: {report}");
            assert!(found.fixed.clone().unwrap().relative_error.max < 0.01, "{name}: {found:?}");
            assert!(found.layers.iter().all(|l| l.fixed_point.is_none_or(|e| e < 0.01)), "{name}: {found:?}");
            assert!(found.escapes.unwrap().layers.is_empty(), "{name}");
            assert!(report.windows.iter().all(|w| w.guard_bits >= 1.0), "{name}: {report}");
        }
    }
}

/// Every activation in pieces behind a layer, then pooled in some way, then a layer.
#[test]
fn activations_and_pools_follow_the_float_network() {
    let x = Function::identity;
    let clip = |low, high| Function::elementary(Elementary::Clip { low, high });
    let hard_sigmoid =
        || x().then_polynomial(&[0.5, 1.0 / 6.0]).unwrap().then(Elementary::Clip { low: 0.0, high: 1.0 });
    let functions = [
        relu(),
        Function::elementary(Elementary::Abs),
        Function::elementary(Elementary::LeakyRelu { alpha: 0.1 }),
        Function::elementary(Elementary::LeakyRelu { alpha: -0.3 }),
        clip(0.0, 6.0),
        clip(0.0, 0.7),
        clip(-1.0, f64::INFINITY),
        hard_sigmoid().unwrap(),
        x().times(hard_sigmoid().unwrap()).unwrap(),
        Function::elementary(Elementary::Shrink { bias: 0.5, lambda: 0.5 }),
        relu().then_polynomial(&[0.1, 0.0, 1.0]).unwrap(),
    ];
    let pools: [Option<PoolOptions>; 5] = [
        None,
        Some(PoolOptions::square(2)),
        Some(PoolOptions::square(3).stride(2).padding(1)),
        Some(PoolOptions { kernel: [3, 5], stride: [1, 2], padding: [0, 2, 1, 1] }),
        Some(PoolOptions::square(8)),
    ];
    for (i, function) in functions.iter().enumerate() {
        for (k, pool) in pools.iter().enumerate() {
            for maximum in [true, false] {
                let name = format!("{} pool {k} {maximum}", function.name());
                let mut n = Net::new(&name, &[2, 8, 8], (10 * i + k) as u64);
                let y = n.g.input();
                let y = n.conv("first", y, 2, ConvOptions::square(4, 3).padding(1));
                let y = n.g.activation("act", y, function.clone());
                let mut size = [8, 8];
                let y = match pool {
                    None => y,
                    Some(p) => {
                        let of =
                            |i: usize| (8 + p.padding[i] + p.padding[i + 2] - p.kernel[i]) / p.stride[i] + 1;
                        size = [of(0), of(1)];
                        if maximum { n.g.max_pool("pool", y, *p) } else { n.g.average_pool("pool", y, *p) }
                    }
                };
                let y = n.g.flatten("flat", y);
                let y = n.fc("last", y, 4 * size[0] * size[1], 5);
                let samples: Vec<Vec<f32>> = (0..6).map(|_| n.sample(128)).collect();
                let (compiled, found) = exact(&n.g.finish(y).unwrap(), &samples, &CompileOptions::default());
                let report = &compiled.report;
                assert!(report.meets_target() && report.expected.max < 0.02, "{name}: {report}");
                let fixed = found.fixed.clone().unwrap();
                assert!(fixed.relative_error.max < 0.01, "{name}: {fixed:?} {report}");
                assert!(
                    found.layers.iter().all(|l| l.fixed_point.is_none_or(|e| e < 0.01)),
                    "{name}: {found:?}"
                );
                assert!(report.windows.iter().all(|w| w.guard_bits >= 1.0), "{name}: {report}");
                assert_eq!(compiled.plan.limbs.count(), 1, "{name}: {report}");
            }
        }
    }
}

/// Nearly all numbers are below 0, where a slope is all that is left of them.
#[test]
fn a_small_slope_is_as_fine_as_the_numbers_are() {
    let mut n = Net::new("slope", &[4], 3);
    let x = n.g.input();
    let same = (0..16).map(|i| if i % 5 == 0 { 1.0 } else { 0.0 }).collect();
    let y = n.g.linear("same", x, 4, same, None);
    let y = n.g.activation("act", y, Function::elementary(Elementary::LeakyRelu { alpha: 0.01 }));
    let weights = n.r.reals(12, 1.0);
    let y = n.g.linear("last", y, 3, weights, None);
    let mut samples: Vec<Vec<f32>> =
        (0..11).map(|_| n.sample(4).iter().map(|v| -0.2 - 0.8 * v.abs()).collect()).collect();
    samples.push(vec![0.9; 4]);
    let options = CompileOptions { max_error: 0.001, ..CompileOptions::default() };
    let (compiled, _) = exact(&n.g.finish(y).unwrap(), &samples, &options);
    assert_eq!(compiled.report.windows.len(), 1);
    assert!(compiled.report.meets_target(), "{}", compiled.report);
}

/// The larger and the smaller of two values, of different scales, and a network that truncates
/// nothing but has to.
#[test]
fn two_values_are_compared_with_each_other() {
    let mut n = Net::new("maxout", &[2, 6, 6], 9);
    let x = n.g.input();
    let three = |channels| ConvOptions::square(channels, 3).padding(1);
    let a = n.conv("a", x, 2, three(3));
    let b = n.conv("b", x, 2, three(3));
    let most = n.g.extreme("most", a, b, Extreme::Largest);
    let act = n.g.activation("act", a, relu());
    let behind = n.conv("behind", act, 3, three(3));
    // It has another scale than what it is compared with.
    let least = n.g.extreme("least", behind, most, Extreme::Smallest);
    let y = n.g.flatten("flat", least);
    let y = n.fc("fc", y, 108, 4);
    let samples: Vec<Vec<f32>> = (0..6).map(|_| n.sample(72)).collect();
    let (compiled, found) = exact(&n.g.finish(y).unwrap(), &samples, &CompileOptions::default());
    assert!(compiled.report.meets_target(), "{}", compiled.report);
    let named = |name: &str| found.layers.iter().find(|l| l.name == name).unwrap().fixed_point.unwrap();
    assert!(named("most") < 0.005 && named("least") < 0.005, "{found:?}");
    let windows: Vec<&str> = compiled.report.windows.iter().map(|w| w.name.as_str()).collect();
    assert_eq!(windows.len(), 3, "{windows:?}");
    let prepared = prepare(&lenet5(1).0).unwrap().graph;
    assert!(approximate(&prepared, &lenet5(1).1, &ApproximateOptions::default()).is_err(), "MaxPool");
}

/// Maxima of 3 x 3 windows at every second pixel: six comparisons a window, not eight.
#[test]
fn overlapping_windows_share_maxima() {
    let mut n = Net::new("stem", &[1, 16, 16], 3);
    let x = n.g.input();
    let x = n.conv("conv", x, 1, ConvOptions::square(4, 3).padding(1));
    let x = n.g.max_pool("pool", x, PoolOptions::square(3).stride(2).padding(1));
    let x = n.g.flatten("flat", x);
    let x = n.fc("fc", x, 256, 3);
    let samples: Vec<Vec<f32>> = (0..4).map(|_| n.sample(256)).collect();
    let (compiled, _) = exact(&n.g.finish(x).unwrap(), &samples, &CompileOptions::default());
    let comparisons: usize = compiled.report.windows.iter().map(|w| w.comparisons).sum();
    assert_eq!(comparisons, 4 * (16 * 8 * 2 + 8 * 8 * 2));
    assert!(comparisons == 6 * 4 * 64);
}

/// Random networks from ONNX files, with activations and maxima as they are: as close to the float
/// network as promised, and compiled files come back as they were.
#[test]
fn random_networks_follow_the_float_network() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ran, mut compared) = (0, 0);
    for seed in 0..300u64 {
        let random_onnx::Network { file, samples, .. } = random_onnx::network(5 << 32 | seed);
        let import = import_bytes("random.onnx", &file.bytes(), None, &ImportOptions::default()).unwrap();
        let samples: Vec<Vec<f32>> = samples.iter().map(|x| import.graph.arranged(x.clone())).collect();
        let all = || samples.iter().flatten().map(|&v| f64::from(v));
        let range =
            Range { low: all().fold(f64::INFINITY, f64::min), high: all().fold(f64::NEG_INFINITY, f64::max) };
        let graph = import.graph.with_input_range(range).unwrap();
        let original = prepare(&equalise(&graph, &samples).unwrap().graph).unwrap().graph;
        let approximated = approximate(&original, &samples, &EXACT).unwrap();
        let compiled = match compile(&approximated.graph, &samples, &CompileOptions::default()) {
            Ok(compiled) => compiled,
            Err(ModelError::Scale { .. }) => continue,
            Err(error) => panic!("{seed}: {error}"),
        };
        ran += 1;
        compared += usize::from(!compiled.report.windows.is_empty());
        let Compiled { plan, weights, factors, report } = compiled;
        let fixed = FixedPoint { plan: &plan, weights: &weights, factors: &factors };
        let networks = Networks { original: &original, polynomial: &approximated.graph, fixed: Some(fixed) };
        let found = compare(networks, &samples, None, &mut |_| ()).unwrap();
        // No value of these runs is beyond what is proven of every input in range.
        let (proven, infos) = (bounds(&plan, &weights, None), plan.values().unwrap());
        for x in &samples[..2] {
            let input = LimbVec::from_i64(plan.limbs, &quantize_input(&plan, x).unwrap());
            let trace = simulate(&plan, &weights, &input, 1).unwrap();
            for v in (0..infos.count() as u32).map(ValueId) {
                let unit = 2f64.powi(infos.get(v).scale.0 as i32);
                let largest =
                    trace.value(v).signed().iter().fold(0.0, |m: f64, z| m.max(z.as_f64().abs() / unit));
                let bound = proven[v.index()] * (1.0 + 1e-9) + 1e-12;
                assert!(largest <= bound, "{seed}: value {} is {largest}, proven {bound}", v.0);
            }
        }
        if report.meets_target() {
            let median = found.fixed.as_ref().unwrap().relative_error.median;
            assert!(median < 0.01, "{seed}: {median} {report}");
        }
        let targets = Targets { fixed_point: 0.005, total: None };
        let quality = Quality::of(&found, &report, targets);
        let Approximated { approximations, .. } = approximated;
        let about = About::default();
        let file = ModelFile { plan, weights, factors, original, approximations, quality, about };
        let path = folder.path().join("random.amc");
        file.save(&path, Existing::Replace).unwrap_or_else(|e| panic!("{seed}: {e}"));
        assert_eq!(ModelFile::load(&path).unwrap().plan, file.plan);
    }
    println!("{ran} ran, {compared} of them compare");
    assert!(ran >= 280 && compared >= 40, "{ran} ran, {compared} of them compare");
}

/// A polynomial of degree 6 grows without bound outside the interval that it was trained for; with
/// tails a network of three of them stays bounded, and is what it was inside.
#[test]
fn polynomials_with_tails_do_not_run_away() {
    let graph = |scale: f32| {
        let mut n = Net::new("trained", &[2, 6, 6], 5);
        let mut x = n.g.input();
        x = n.g.conv2d(
            "scale",
            x,
            ConvOptions::square(2, 1),
            vec![scale, 0.0, 0.0, scale],
            Some(vec![0.0; 2]),
        );
        for i in 0..3 {
            x = n.conv(
                &format!("conv{i}"),
                x,
                if i == 0 { 2 } else { 6 },
                ConvOptions::square(6, 3).padding(1),
            );
            x = n.act(&format!("act{i}"), x, 3.0);
            n.g.record(x, 3.0);
        }
        let x = n.g.flatten("flat", x);
        let x = n.fc("fc", x, 216, 4);
        n.g.finish(x).unwrap()
    };
    let mut r = Random(8);
    let samples: Vec<Vec<f32>> = (0..16).map(|_| r.reals(72, 0.9)).collect();
    let options = ApproximateOptions { tails: true, ..EXACT };
    let with_tails = |graph: &Graph| approximate(graph, &samples, &options).unwrap().graph;
    let (plain, tails) = (graph(1.0), with_tails(&graph(1.0)));
    let run = |graph: &Graph, x: &[f32]| FloatExecutor::new(graph).run(x).unwrap();
    for x in &samples {
        let error = relative_error(&run(&tails, x), &run(&plain, x));
        assert!(error < 0.01, "{error}");
    }
    let size = |y: &[f64]| y.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    // Alike polynomials and pieces behind a layer that is 25 times as large.
    let plain = graph(25.0);
    let tails = plain.with_layers(|id, _| match &tails.node(id).layer {
        Layer::Conv2d { .. } => plain.node(id).layer.clone(),
        layer => layer.clone(),
    });
    let x = &samples[0];
    assert!(size(&run(&plain, x)) > 1e9, "{}", size(&run(&plain, x)));
    assert!(size(&run(&tails, x)) < 1e4, "{}", size(&run(&tails, x)));
}
