//! Building graphs: shapes are inferred, mistakes name their node.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use amicus_model::graph::{BatchNorm, ConvOptions, GraphBuilder, PoolOptions};
use amicus_model::{FloatExecutor, ModelError, NodeId};

fn error(build: impl FnOnce(&mut GraphBuilder) -> NodeId) -> String {
    let mut g = GraphBuilder::new("g", &[2, 6, 6], 0.0..=1.0);
    let x = build(&mut g);
    g.finish(x).unwrap_err().to_string()
}

#[test]
fn mistakes_name_their_node() {
    let conv = ConvOptions::square(4, 3);
    let cases: Vec<(&str, String)> = vec![
        ("c: 71 weights, expected 72", error(|g| g.conv2d("c", g.input(), conv, vec![0.0; 71], None))),
        (
            "c: 3 biases, expected 4",
            error(|g| g.conv2d("c", g.input(), conv, vec![0.0; 72], Some(vec![0.0; 3]))),
        ),
        (
            "c: weight 5 is NaN",
            error(|g| {
                let mut w = vec![0.0; 72];
                w[5] = f32::NAN;
                g.conv2d("c", g.input(), conv, w, None)
            }),
        ),
        (
            "c: bias 1 is inf",
            error(|g| {
                g.conv2d("c", g.input(), conv, vec![0.0; 72], Some(vec![0.0, f32::INFINITY, 0.0, 0.0]))
            }),
        ),
        (
            "c: a kernel spanning 9",
            error(|g| g.conv2d("c", g.input(), ConvOptions::square(1, 9), vec![0.0; 162], None)),
        ),
        (
            "c: stride",
            error(|g| g.conv2d("c", g.input(), conv.stride(0), vec![0.0; 72], None))
                .replace("vertical stride is 0", "stride"),
        ),
        (
            "fc: a fully connected layer needs a flat value, not [2, 6, 6]",
            error(|g| g.linear("fc", g.input(), 3, vec![], None)),
        ),
        (
            "bn: 3 numbers as mean, expected 2",
            error(|g| {
                let bn = BatchNorm {
                    gamma: vec![1.0; 2],
                    beta: vec![0.0; 2],
                    mean: vec![0.0; 3],
                    variance: vec![1.0; 2],
                    eps: 0.0,
                };
                g.batch_norm("bn", g.input(), bn)
            }),
        ),
        (
            "bn: variance 0 plus eps 0 in channel 1 is not positive",
            error(|g| {
                let bn = BatchNorm {
                    gamma: vec![1.0; 2],
                    beta: vec![0.0; 2],
                    mean: vec![0.0; 2],
                    variance: vec![1.0, 0.0],
                    eps: 0.0,
                };
                g.batch_norm("bn", g.input(), bn)
            }),
        ),
        ("p: interval half-width -1", error(|g| g.polynomial("p", g.input(), -1.0, vec![0.0, 1.0]))),
        ("p: 1 coefficients, expected 2 to 9", error(|g| g.polynomial("p", g.input(), 1.0, vec![0.0]))),
        ("p: coefficient 1 is NaN", error(|g| g.polynomial("p", g.input(), 1.0, vec![0.0, f64::NAN]))),
        (
            "a: adds values of shapes [2, 6, 6] and [2, 3, 3]",
            error(|g| {
                let x = g.average_pool("pool", g.input(), PoolOptions::square(2));
                g.add("a", g.input(), x)
            }),
        ),
        ("pool: a kernel spanning 7", error(|g| g.average_pool("pool", g.input(), PoolOptions::square(7)))),
        (
            "f: a second node of this name",
            error(|g| {
                let x = g.flatten("f", g.input());
                g.flatten("f", x)
            }),
        ),
        (
            "unused: its value is never used",
            error(|g| {
                g.flatten("unused", g.input());
                g.average_pool("pool", g.input(), PoolOptions::square(2))
            }),
        ),
    ];
    for (expected, got) in cases {
        assert!(got.starts_with(expected), "expected `{expected}`, got `{got}`");
    }
}

#[test]
fn the_first_mistake_is_kept() {
    let text = error(|g| {
        let x = g.conv2d("first", g.input(), ConvOptions::square(4, 3), vec![], None);
        let x = g.flatten("flat", x);
        g.linear("second", x, 2, vec![], None)
    });
    assert!(text.starts_with("first: "), "{text}");
}

#[test]
fn images_are_checked() -> Result<(), ModelError> {
    let mut g = GraphBuilder::new("g", &[1, 2, 2], 0.0..=1.0);
    let x = g.polynomial("p", g.input(), 2.0, vec![1.0, 2.0]);
    let graph = g.finish(x)?;
    let float = FloatExecutor::new(&graph);
    assert_eq!(float.run(&[0.0, 1.0, 2.0, 4.0])?, [1.0, 2.0, 3.0, 5.0]);
    assert_eq!(float.run(&[0.0; 3]).unwrap_err().to_string(), "image: 3 numbers, expected 4 ([1, 2, 2])");
    assert_eq!(float.run(&[0.0, f32::NAN, 0.0, 0.0]).unwrap_err().to_string(), "image: element 1 is NaN");
    Ok(())
}
