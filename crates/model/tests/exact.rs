//! Networks that compare: planned, simulated, compared with the float network.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod common;

use std::path::Path;

use amicus_data::npz::Npz;
use amicus_model::approximate::{Activations, ApproximateOptions, Approximated, MaxPooling, approximate};
use amicus_model::compare::{Comparison, FixedPoint, Networks, compare};
use amicus_model::equalise::equalise;
use amicus_model::graph::Graph;
use amicus_model::onnx::{ImportOptions, import_file};
use amicus_model::prepare::prepare;
use amicus_model::{CompileOptions, Compiled, compile};
use amicus_plan::Range;

const EXACT: ApproximateOptions = ApproximateOptions {
    degree: None,
    margin: None,
    method: None,
    max_pooling: MaxPooling::Exact,
    activations: Activations::Exact,
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
    for name in ["resnet_legacy", "vgg_legacy", "fire_legacy"] {
        let (graph, samples) = imported(name);
        let (compiled, found) = exact(&graph, &samples, &CompileOptions::default());
        println!("{}", compiled.report);
        assert!(compiled.report.meets_target(), "{name}: {}", compiled.report);
        assert_eq!(compiled.plan.limbs.count(), 1, "{name}");
        let fixed = found.fixed.unwrap();
        assert!(fixed.relative_error.max < 0.005, "{name}: {fixed:?}");
        assert!(found.escapes.unwrap().layers.is_empty());
    }
}
