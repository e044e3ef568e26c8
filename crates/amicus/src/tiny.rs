//! A network of two layers for this crate's tests.

use amicus_model::{CompileOptions, Compiled, GraphBuilder, compile};

/// Two numbers in, two out: `relu`-like parabolas of a rotation.
pub(crate) fn compiled() -> Compiled {
    let mut graph = GraphBuilder::new("tiny", &[2], -1.0..=1.0);
    let x = graph.input();
    let x = graph.linear("first", x, 2, vec![0.6, -0.8, 0.8, 0.6], None);
    let x = graph.polynomial("square", x, 2.0, vec![0.1, 0.5, 0.25]);
    let x = graph.linear("second", x, 2, vec![1.0, -0.5, 0.25, 1.0], Some(vec![0.1, -0.1]));
    let graph = graph.finish(x).unwrap();
    let samples: Vec<Vec<f32>> = (0..8).map(|i| vec![i as f32 / 4.0 - 1.0, 1.0 - i as f32 / 5.0]).collect();
    compile(&graph, &samples, &CompileOptions::default()).unwrap()
}
