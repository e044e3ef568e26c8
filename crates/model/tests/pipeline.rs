//! From an ONNX file to a compiled file and back: approximation, compilation, comparison.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use std::path::Path;

use amicus_data::npz::Npz;
use amicus_model::amc::{About, ModelFile};
use amicus_model::approximate::{ApproximateOptions, MaxPooling, approximate};
use amicus_model::check::check;
use amicus_model::compare::{FixedPoint, Networks, compare};
use amicus_model::graph::{Graph, GraphBuilder, Layer, PoolOptions};
use amicus_model::onnx::{ImportOptions, import_file};
use amicus_model::prepare::prepare;
use amicus_model::private_file::Existing;
use amicus_model::quality::{Quality, Targets};
use amicus_model::report::ErrorFigures;
use amicus_model::{CompileOptions, Compiled, FloatExecutor, compile};
use amicus_plan::Range;

fn imported(name: &str) -> (Graph, Vec<Vec<f32>>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let graph = import_file(&folder.join(format!("{name}.onnx")), &ImportOptions::default()).unwrap().graph;
    let bytes = std::fs::read(folder.join(format!("{name}.npz"))).unwrap();
    let samples = Npz::parse(name, &bytes).unwrap().array("x").unwrap().rows();
    (graph.with_input_range(Range { low: -1.0, high: 1.0 }).unwrap(), samples)
}

#[test]
fn a_polynomial_network_compiles_as_it_is() {
    let (graph, samples) = imported("lenet_dynamo");
    let found = check(&graph);
    assert!(found.problems.is_empty() && found.approximated.is_empty() && found.max_pools.is_empty());
    assert_eq!((found.linear_layers, found.parameters), (4, 4 * 25 + 4 + 8 * 100 + 8 + 40 * 200 + 40 + 410));
    let approximated = approximate(&graph, &samples, &ApproximateOptions::default()).unwrap();
    assert!(approximated.warnings.is_empty());
    assert!(approximated.approximations.iter().all(|a| a.picked.is_none() && a.coefficients.len() == 3));
    for sample in &samples {
        let expected = FloatExecutor::new(&graph).run(sample).unwrap();
        let got = FloatExecutor::new(&approximated.graph).run(sample).unwrap();
        expected.iter().zip(got).for_each(|(e, g)| assert!((e - g).abs() < 1e-9));
    }
    let compiled = compile(&approximated.graph, &samples, &CompileOptions::default()).unwrap();
    assert!(compiled.report.meets_target(), "{}", compiled.report);
}

#[test]
fn a_relu_network_compiles_with_warnings() {
    let (graph, samples) = imported("resnet_legacy");
    assert_eq!((check(&graph).approximated.len(), check(&graph).compared.len()), (0, 5));
    assert!(check(&graph).problems.is_empty());
    let options = ApproximateOptions { degree: Some(6), ..ApproximateOptions::default() };
    let approximated = approximate(&graph, &samples, &options).unwrap();
    assert_eq!(approximated.warnings.len(), 5);
    for a in &approximated.approximations {
        assert_eq!(a.candidates.len(), 3);
        let picked = a.candidates.iter().find(|c| Some(c.method) == a.picked).unwrap();
        let least = a.candidates.iter().map(|c| c.weighted_error).fold(f64::INFINITY, f64::min);
        assert!(picked.weighted_error <= least && a.interval >= a.seen);
    }
    let compiled = compile(&approximated.graph, &samples, &CompileOptions::default()).unwrap();
    let Compiled { plan, weights, factors, .. } = &compiled;
    let fixed = Some(FixedPoint { plan, weights, factors });
    let networks = Networks { original: &graph, polynomial: &approximated.graph, fixed };
    let found = compare(networks, &samples, Some(&[0, 1, 2, 3]), &mut |_| ()).unwrap();
    let targets = Targets { fixed_point: 0.005, total: None };
    let quality = Quality::of(&found, &compiled.report, targets);
    assert!(quality.meets_targets() && quality.total.median > 10.0 * quality.fixed_point.median);
    let both = quality.polynomials.median + 2.0 * quality.fixed_point.median;
    assert!((quality.total.median - quality.polynomials.median).abs() < both - quality.polynomials.median);
    assert_eq!(found.outputs.float[2], FloatExecutor::new(&graph).run(&samples[2]).unwrap());
    for (targets, missed) in [
        (Targets { fixed_point: 1e-9, total: None }, &["of the fixed point"][..]),
        (Targets { fixed_point: 0.5, total: Some(1e-3) }, &["against the network as imported"]),
        (Targets { fixed_point: f64::NAN, total: Some(1e-3) }, &["of the fixed point", "as imported"]),
    ] {
        let misses = Quality { targets, ..quality.clone() }.misses();
        assert!(misses.len() == missed.len() && misses.iter().zip(missed).all(|(m, w)| m.contains(w)));
    }
    let fixed = found.fixed.unwrap();
    assert!(found.polynomial.relative_error.median < 0.2, "{:?}", found.polynomial);
    assert!(fixed.relative_error.median < 0.005 && fixed.same_class == Some(4), "{fixed:?}");
    assert!(found.layers.iter().filter(|l| l.fixed_point.is_some()).count() >= 10);
    assert!(found.layers.iter().all(|l| l.fixed_point.is_none_or(|e| e < 0.005)));
}

#[test]
fn max_pooling_needs_leave() {
    let (graph, samples) = imported("vgg_legacy");
    assert_eq!(check(&graph).max_pools.len(), 2);
    let error = approximate(&graph, &samples, &ApproximateOptions::default()).unwrap_err().to_string();
    assert!(error.contains("MaxPool") && error.contains("--maxpool average"), "{error}");
    let options = ApproximateOptions { max_pooling: MaxPooling::Average, ..ApproximateOptions::default() };
    let approximated = approximate(&graph, &samples, &options).unwrap();
    assert!(approximated.graph.nodes().iter().all(|n| !matches!(n.layer, Layer::MaxPool(_))));
    compile(&approximated.graph, &samples, &CompileOptions::default()).unwrap();
}

#[test]
fn what_meets_a_pooled_copy_of_itself_or_is_the_input_is_opened_once_more() {
    let mut g = GraphBuilder::new("bad", &[1, 4, 4], 0.0..=1.0);
    let input = g.input();
    let pooled = g.average_pool("first pool", input, PoolOptions::square(3).stride(1).padding(1));
    let both = g.add("first sum", input, pooled);
    let flat = g.flatten("flat", both);
    let pooled = g.finish(flat).unwrap();
    let mut g = GraphBuilder::new("means", &[1, 4, 4], 0.0..=1.0);
    let means = g.average_pool("means", input, PoolOptions::square(2));
    let means = g.finish(means).unwrap();
    let nothing = GraphBuilder::new("nothing", &[1, 4, 4], 0.0..=1.0).finish(input).unwrap();
    let samples: Vec<Vec<f32>> =
        (0..4).map(|s| (0..16).map(|i| (i * s % 7) as f32 / 7.0).collect()).collect();
    for graph in [pooled, means, nothing] {
        assert!(check(&graph).problems.is_empty(), "{}", graph.name());
        let prepared = prepare(&graph).unwrap().graph;
        let opened = prepared.nodes().iter().filter(|n| n.name.ends_with(".opened")).count();
        assert_eq!(opened, 1, "{}", graph.name());
        let approximated = approximate(&prepared, &samples, &ApproximateOptions::default()).unwrap();
        let compiled = compile(&approximated.graph, &samples, &CompileOptions::default()).unwrap();
        assert!(compiled.report.meets_target(), "{}", compiled.report);
    }
}

#[test]
fn normalised_inputs_and_joined_channels_compile() {
    for (name, rewrites) in [("fire_legacy", 0), ("horner_dynamo", 3)] {
        let (graph, samples) = imported(name);
        let found = check(&graph);
        assert!(found.problems.is_empty(), "{name}: {:?}", found.problems);
        assert_eq!(found.rewrites.len(), rewrites, "{name}: {:?}", found.rewrites);
        let graph = prepare(&graph).unwrap().graph;
        let options =
            ApproximateOptions { max_pooling: MaxPooling::Average, ..ApproximateOptions::default() };
        let approximated = approximate(&graph, &samples, &options).unwrap();
        let compiled = compile(&approximated.graph, &samples, &CompileOptions::default()).unwrap();
        assert!(compiled.report.meets_target(), "{}", compiled.report);
    }
}

#[test]
fn compiled_files_come_back_as_they_were() {
    let (graph, samples) = imported("resnet_legacy");
    let approximated = approximate(&graph, &samples, &ApproximateOptions::default()).unwrap();
    let compiled = compile(&approximated.graph, &samples, &CompileOptions::default()).unwrap();
    let [total, polynomials, fixed_point] =
        [1.0, 2.0, f64::INFINITY].map(|median| ErrorFigures { median, max: 9.0 });
    let targets = Targets { fixed_point: 0.005, total: Some(0.3) };
    let quality = Quality { samples: 4, total, polynomials, fixed_point, same_class: Some(3), targets };
    let file = ModelFile {
        plan: compiled.plan,
        weights: compiled.weights,
        factors: compiled.factors,
        original: graph,
        approximations: approximated.approximations,
        quality,
        about: About { source: "resnet.onnx".into(), ..About::default() },
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resnet.amc");
    std::fs::write(&path, b"what was there before").unwrap();
    assert!(file.save(&path, Existing::Keep).is_err());
    file.save(&path, Existing::Replace).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let back = ModelFile::load(&path).unwrap();
    assert!(
        back.quality == file.quality
            && back.plan == file.plan
            && back.weights == file.weights
            && back.factors == file.factors
            && back.about == file.about
    );
    assert_eq!(back.approximations, file.approximations);
    let run = |g: &Graph| FloatExecutor::new(g).run(&samples[0]).unwrap();
    assert_eq!(run(&back.original), run(&file.original));
    assert_eq!(run(&back.polynomial()), run(&approximated.graph));

    let good = std::fs::read(&path).unwrap();
    let reason = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        ModelFile::load(&path).map(|_| ()).unwrap_err().to_string()
    };
    assert!(reason(b"PK").contains("no compiled model (2 bytes)"));
    assert!(reason(&[&good[..8], &[9, 0], &good[10..]].concat()).contains("format version 9"));
    for len in (0..good.len()).step_by(211) {
        reason(&good[..len]);
    }
    assert!(reason(&good[..good.len() - 1]).contains("cut off"));
    assert!(reason(&[&good[..], &[0]].concat()).contains("1 bytes after its end"));
    for at in (0..good.len()).step_by(97) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x41;
        reason(&bytes);
    }
    let mut bytes = good.clone();
    bytes[good.len() - 100] ^= 1;
    assert!(reason(&bytes).contains("its checksum does not match"));
    assert!(ModelFile::load(&folder.path().join("none.amc")).unwrap_err().to_string().contains("none.amc"));

    for factors in [&file.factors[1..], &[&[f64::NAN], &file.factors[1..]].concat()] {
        std::fs::write(&path, b"what was there before").unwrap();
        let wrong = ModelFile { factors: factors.to_vec(), ..file.clone() };
        let error = wrong.save(&path, Existing::Replace).unwrap_err().to_string();
        assert!(
            error.contains("was not written") && error.contains("factors are not those of its plan"),
            "{error}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"what was there before");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
