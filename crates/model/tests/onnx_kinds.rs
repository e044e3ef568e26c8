//! What files of other programs hold: each kind is read as ONNX says, or refused for its own reason
//! at its own node.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

#[path = "common/onnx_file.rs"]
mod onnx_file;
#[path = "common/oracle.rs"]
mod oracle;

use amicus_model::onnx::{Import, ImportOptions, OnnxError, Problem, import_bytes, import_file};
use amicus_model::prepare::prepare;
use amicus_model::{FloatExecutor, quantize_input};
use amicus_plan::Range;
use onnx_file::{Attribute, File, Node, Numbers};

fn import(file: &File) -> Import {
    import_bytes("m.onnx", &file.bytes(), None, &ImportOptions::default()).unwrap()
}

fn error(file: &File) -> String {
    import_bytes("m.onnx", &file.bytes(), None, &ImportOptions::default())
        .map(|_| ())
        .unwrap_err()
        .to_string()
}

fn problems(file: &File) -> Vec<Problem> {
    match import_bytes("m.onnx", &file.bytes(), None, &ImportOptions::default()).unwrap_err() {
        OnnxError::Unsupported { problems, .. } => problems,
        other => panic!("{other}"),
    }
}

/// Numbers from -1 to 1 that repeat late.
fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect()
}

/// Imports, and holds the network and what is prepared of it to the oracle.
fn agrees(file: &File) -> Import {
    let import = import(file);
    let x = numbers(file.input.iter().map(|&d| d as usize).product());
    let expected = oracle::run(file, &x).data;
    let prepared = prepare(&import.graph).unwrap().graph;
    for graph in [&import.graph, &prepared] {
        let got = FloatExecutor::new(graph).run(&graph.arranged(x.clone())).unwrap();
        assert_eq!(got.len(), expected.len());
        got.iter().zip(&expected).for_each(|(g, e)| assert!((g - e).abs() < 1e-5, "{g} is not {e}"));
    }
    import
}

/// A convolution of size 3 from `x` to `to`, over `channels` channels.
fn conv(file: File, from: &str, to: &str, channels: i64) -> File {
    let w = format!("{to} weights");
    let file = file.floats(&w, &[2, channels, 3, 3], numbers(18 * channels as usize));
    file.node(Node::new("Conv", &[from, &w], to))
}

#[test]
fn images_given_channels_last_are_understood() {
    let image = |file: File, from: &str| {
        let file = file.node(Node::new("Transpose", &[from], "t").ints("perm", &[0, 3, 1, 2]));
        conv(file, "t", "y", 2)
    };
    let plain = agrees(&image(File::new(17, &[1, 9, 8, 2]), "x"));
    assert_eq!((plain.graph.input_shape(), plain.graph.given_shape()), (&[2, 9, 8][..], vec![9, 8, 2]));
    assert!(plain.notes.iter().any(|n| n.contains("[9, 8, 2]")), "{:?}", plain.notes);
    // What treats every number or channel alike may come before.
    let before = File::new(17, &[1, 9, 8, 2]).floats("c", &[2], vec![0.5, 2.0]).floats("d", &[], vec![3.0]);
    let before = before.node(Node::new("Sub", &["x", "c"], "a")).node(Node::new("Div", &["a", "d"], "b"));
    let before = before.node(Node::new("Relu", &["b"], "r"));
    assert_eq!(agrees(&image(before, "r")).graph.input_shape(), [2, 9, 8]);
    // There and back again is nothing at all.
    let there =
        File::new(17, &[1, 2, 9, 8]).node(Node::new("Transpose", &["x"], "n").ints("perm", &[0, 2, 3, 1]));
    let there = there.node(Node::new("Tanh", &["n"], "s"));
    assert_eq!(agrees(&image(there, "s")).graph.given_shape(), [2, 9, 8]);
}

#[test]
fn a_flat_value_with_channels_last_moves_the_columns_behind_it() {
    // A convolution to [1, 2, 7, 6], then channels last, flat, and what may stand between.
    let start = || conv(File::new(17, &[1, 2, 9, 8]), "x", "a", 2);
    let weights = |file: File| file.floats("w", &[84, 5], numbers(420));
    let turned = |perm: &[i64]| weights(start()).node(Node::new("Transpose", &["a"], "t").ints("perm", perm));
    for perm in [[0, 2, 3, 1], [0, 3, 2, 1], [0, 1, 3, 2], [0, 2, 1, 3]] {
        let flat = turned(&perm).node(Node::new("Flatten", &["t"], "f"));
        agrees(&flat.clone().node(Node::new("MatMul", &["f", "w"], "y")));
        agrees(&flat.clone().node(Node::new("Relu", &["f"], "r")).node(Node::new(
            "MatMul",
            &["r", "w"],
            "y",
        )));
        // Rows of weights instead of columns, and a factor.
        let gemm = Node::new("Gemm", &["f", "v"], "y").int("transB", 1).float("alpha", 0.5);
        agrees(&flat.clone().floats("v", &[5, 84], numbers(420)).node(gemm));
        // Parameters for each number.
        let mut norm = flat.clone();
        for (name, at) in [("gamma", 1.0), ("beta", 0.0), ("mean", 0.1), ("var", 2.0)] {
            let each = numbers(84).iter().map(|v| at + 0.3 * v).collect();
            norm = norm.floats(name, &[84], each);
        }
        let bn = Node::new("BatchNormalization", &["f", "gamma", "beta", "mean", "var"], "b");
        agrees(&norm.node(bn).node(Node::new("MatMul", &["b", "w"], "y")));
        // Two of one order, added.
        let sum = flat.clone().node(Node::new("Tanh", &["f"], "g")).node(Node::new("Add", &["f", "g"], "s"));
        agrees(&sum.node(Node::new("MatMul", &["s", "w"], "y")));
    }
    // What TensorFlow's exporter writes, and back to an image.
    let reshaped = turned(&[0, 2, 3, 1]).ints("to", &[-1, 84]);
    let reshaped = reshaped.node(Node::new("Reshape", &["t", "to"], "f"));
    agrees(&reshaped.clone().node(Node::new("MatMul", &["f", "w"], "y")));
    let back = reshaped.ints("shape", &[1, 7, 6, 2]).node(Node::new("Reshape", &["f", "shape"], "i"));
    let back = back.node(Node::new("Transpose", &["i"], "n").ints("perm", &[0, 3, 1, 2]));
    agrees(&conv(back, "n", "y", 2));
    // Means of channels that come last.
    for keep in [0, 1] {
        let mean = Node::new("ReduceMean", &["t"], "m").ints("axes", &[1, 2]).int("keepdims", keep);
        let mean = turned(&[0, 2, 3, 1]).node(mean).node(Node::new("Flatten", &["m"], "f"));
        let mean = mean.floats("u", &[2, 5], numbers(10));
        agrees(&mean.node(Node::new("MatMul", &["f", "u"], "y")));
    }
}

#[test]
fn an_order_that_no_layer_takes_back_is_taken_back_by_places() {
    let start = conv(File::new(17, &[1, 2, 9, 8]), "x", "a", 2);
    let turned = start.clone().node(Node::new("Transpose", &["a"], "t").ints("perm", &[0, 2, 3, 1]));
    let flat = turned.clone().node(Node::new("Flatten", &["t"], "f"));
    // The result itself, another shape, a value of another order, a constant for each number.
    agrees(&flat.clone().node(Node::new("Relu", &["f"], "y")));
    agrees(&flat.clone().ints("s", &[1, 6, 7, 2]).node(Node::new("Reshape", &["f", "s"], "y")));
    let sum = flat.clone().node(Node::new("Flatten", &["a"], "g")).node(Node::new("Add", &["f", "g"], "y"));
    agrees(&sum);
    agrees(&flat.clone().floats("c", &[84], numbers(84)).node(Node::new("Mul", &["f", "c"], "y")));
    agrees(&flat.floats("c", &[1, 84], numbers(84)).node(Node::new("Sub", &["c", "f"], "y")));
    // A constant for each pixel, and one for each number.
    for shape in [&[7, 6][..], &[2, 7, 6], &[1, 1, 7, 1]] {
        let count = shape.iter().product::<i64>() as usize;
        let each = start.clone().floats("c", shape, numbers(count));
        agrees(&each.clone().node(Node::new("Mul", &["a", "c"], "y")));
        agrees(&each.node(Node::new("Add", &["c", "a"], "y")));
    }
    // Another order inside, and as the result.
    let inside = turned.clone().floats("w", &[2, 7, 1, 1], numbers(14));
    let inside = inside.node(Node::new("Conv", &["t", "w"], "b")).node(Node::new("Relu", &["b"], "y"));
    agrees(&inside);
    agrees(&start.node(Node::new("Transpose", &["a"], "y").ints("perm", &[0, 2, 3, 1])));
}

#[test]
fn gates_are_products_and_every_division_is_named() {
    agrees(&gated("Mul"));
    let file = gated("Div");
    let found = problems(&file);
    let names: Vec<&str> = found.iter().map(|p| p.node.as_str()).collect();
    assert_eq!(names, ["out0 node", "out1 node", "out2 node"]);
    assert!(found[0].why.contains("divides by a value of the network"), "{found:?}");
    assert!(error(&file).contains("\n  out0 node, out1 node, out2 node (Div): "), "{}", error(&file));
}

/// Three blocks whose value meets what a layer makes of its means.
fn gated(op: &'static str) -> File {
    let mut file = File::new(17, &[1, 2, 9, 9]).floats("w", &[2, 2, 1, 1], numbers(4));
    let mut x = "x".to_owned();
    for i in 0..3 {
        let [mean, inner, gate, out, sum] =
            ["mean", "inner", "gate", "out", "sum"].map(|n| format!("{n}{i}"));
        file = file.node(Node::new("GlobalAveragePool", &[&x], &mean)).node(Node::new(
            "Conv",
            &[&mean, "w"],
            &inner,
        ));
        file = file.node(Node::new("Sigmoid", &[&inner], &gate)).node(Node::new(op, &[&x, &gate], &out));
        file = file.node(Node::new("Add", &[&out, &x], &sum));
        x = sum;
    }
    conv(file, &x, "y", 2)
}

#[test]
fn what_receivers_do_with_logits_is_dropped_at_the_end_only() {
    let start = || {
        let file = File::new(13, &[1, 4]).floats("w", &[4, 3], numbers(12));
        file.node(Node::new("MatMul", &["x", "w"], "logits")).ints("shape", &[3]).ints("axes", &[0])
    };
    let softmax = |op| start().node(Node::new(op, &["logits"], "p"));
    let ends: [(&'static str, File, Node); 9] = [
        ("Softmax", softmax("Softmax"), Node::new("Identity", &["p"], "y")),
        ("Softmax", softmax("Softmax"), Node::new("Reshape", &["p", "shape"], "y")),
        ("Softmax", softmax("Softmax"), Node::new("Flatten", &["p"], "y")),
        ("Softmax", softmax("Softmax"), Node::new("Squeeze", &["p", "axes"], "y")),
        ("Softmax", softmax("Softmax"), Node::new("Cast", &["p"], "y").int("to", 10)),
        ("Softmax", softmax("Softmax"), Node::new("Log", &["p"], "y")),
        ("Softmax", softmax("Softmax"), Node::new("ArgMax", &["p"], "y").int("axis", 1)),
        ("LogSoftmax", softmax("LogSoftmax"), Node::new("Dropout", &["p"], "y")),
        ("ArgMax", softmax("ArgMax"), Node::new("Cast", &["p"], "y").int("to", 7)),
    ];
    let x = numbers(4);
    let logits = oracle::run(&File { output: "logits".to_owned(), ..start() }, &x).data;
    for (op, file, node) in ends {
        let import = import(&file.node(node));
        assert!(import.notes.iter().any(|n| n.starts_with(op)), "{:?}", import.notes);
        let got = FloatExecutor::new(&import.graph).run(&x).unwrap();
        got.iter().zip(&logits).for_each(|(g, e)| assert!((g - e).abs() < 1e-6));
    }
    let file = softmax("Softmax").floats("v", &[3, 2], numbers(6));
    let inside = problems(&file.node(Node::new("MatMul", &["p", "v"], "y")));
    assert!(inside[0].why.contains("Softmax inside the network"), "{inside:?}");
}

#[test]
fn places_of_the_largest_numbers_at_the_end_are_labels() {
    let start = |dims: &[i64], weights: &[i64]| {
        let file =
            File::new(13, dims).floats("w", weights, numbers(weights.iter().product::<i64>() as usize));
        let file = if weights.len() == 2 {
            file.node(Node::new("MatMul", &["x", "w"], "logits"))
        } else {
            file.node(Node::new("Conv", &["x", "w"], "logits"))
        };
        file.ints("k", &[2])
    };
    let rows = || start(&[1, 4], &[4, 3]);
    let arg_max = |axis: i64| Node::new("ArgMax", &["logits"], "y").int("axis", axis);
    assert_eq!(import(&rows().node(arg_max(1))).labels, Some(1));
    let kept = import(&rows().node(arg_max(-1).int("keepdims", 0)));
    assert_eq!(kept.labels, Some(1));
    assert!(kept.notes.iter().any(|n| n == "ArgMax at the end dropped: receivers get the label"), "{kept:?}");
    // Over other axes, or with the last of equal numbers: receivers do that themselves.
    for node in [arg_max(0), arg_max(1).int("select_last_index", 1)] {
        let import = import(&rows().node(node));
        assert_eq!(import.labels, None);
        assert!(import.notes.iter().any(|n| n.ends_with("receivers get the logits")), "{import:?}");
    }
    let images = || start(&[1, 2, 4, 4], &[5, 2, 1, 1]);
    assert_eq!(import(&images().node(arg_max(1))).labels, Some(1));
    assert_eq!(import(&images().node(arg_max(2))).labels, None);
    // Behind a softmax, and carried on.
    let file = rows().node(Node::new("Softmax", &["logits"], "p"));
    let file = file.node(Node::new("ArgMax", &["p"], "a").int("axis", 1));
    assert_eq!(import(&file.node(Node::new("Cast", &["a"], "y").int("to", 7))).labels, Some(1));

    let top = |first: &str, second: &str| {
        let mut node = Node::new("TopK", &["logits", "k"], first).int("axis", 1);
        node.outputs.push(second.to_owned());
        node
    };
    assert_eq!(import(&rows().node(top("best", "y"))).labels, Some(2));
    let values = error(&rows().node(top("y", "places")));
    assert!(values.contains("the largest numbers themselves are not given out"), "{values}");
    let smallest = problems(&rows().node(top("best", "y").int("largest", 0)));
    assert!(smallest[0].why.contains("other than the largest numbers"), "{smallest:?}");
    let many = problems(
        &File { tensors: Vec::new(), ..rows() }
            .floats("w", &[4, 3], numbers(12))
            .ints("k", &[99])
            .node(top("best", "y")),
    );
    assert!(many[0].why.contains("more than 16 places"), "{many:?}");
    let inside = rows().node(top("best", "places")).floats("v", &[2, 2], numbers(4));
    let inside = problems(&inside.node(Node::new("MatMul", &["best", "v"], "y")));
    assert!(inside[0].why.contains("place of the largest number"), "{inside:?}");
}

#[test]
fn layers_in_training_form_are_refused() {
    let flag = |file: File, on: bool| {
        let mut file = file.floats("ratio", &[], vec![0.5]);
        file.tensors.push(("training".to_owned(), vec![], Numbers::Flags(vec![on])));
        file
    };
    let dropout = |on| {
        let file =
            flag(File::new(13, &[1, 4]), on).node(Node::new("Dropout", &["x", "ratio", "training"], "d"));
        file.node(Node::new("Relu", &["d"], "y"))
    };
    agrees(&dropout(false));
    let found = problems(&dropout(true));
    assert!(found[0].node == "d node" && found[0].what_to_do.contains("model.eval()"), "{found:?}");
    let norm = |opset, outputs: &[&str], mode| {
        let mut file = File::new(opset, &[1, 2, 4, 4]);
        for name in ["scale", "offset", "mean", "variance"] {
            file = file.floats(name, &[2], vec![1.0, 2.0]);
        }
        let mut node = Node::new("BatchNormalization", &["x", "scale", "offset", "mean", "variance"], "n");
        node.outputs.extend(outputs.iter().map(|o| (*o).to_owned()));
        let node = if mode { node.int("training_mode", 1) } else { node };
        file.node(node).node(Node::new("Relu", &["n"], "y"))
    };
    agrees(&norm(9, &[], false));
    agrees(&norm(9, &["", ""], false));
    for file in [norm(9, &["m", "v", "sm", "sv"], false), norm(15, &["m", "v"], true), norm(15, &[], true)] {
        let found = problems(&file);
        assert!(found.len() == 1 && found[0].why.contains("training form"), "{found:?}");
    }
}

#[test]
fn a_name_stands_for_one_thing() {
    let gemm = || {
        File::new(13, &[1, 2]).floats("w", &[2, 2], numbers(4)).node(Node::new("MatMul", &["x", "w"], "y"))
    };
    agrees(&gemm());
    for (file, expected) in [
        (gemm().floats("w", &[2, 2], numbers(4)), "two initializers are named w"),
        (gemm().node(Node::new("Relu", &["x"], "w")), "w is an initializer and the result of node w node"),
        (gemm().node(Node::new("Relu", &["y"], "x")), "x is an input and the result of node x node"),
        (gemm().node(Node::new("Relu", &["x"], "y")), "two nodes compute y"),
        (
            gemm().node(Node::new("Elu", &["x"], "z").float("alpha", 1.0).float("alpha", 2.0)),
            "node z node has the attribute alpha twice",
        ),
    ] {
        assert!(error(&file).contains(expected), "{}", error(&file));
    }
    let value = |name| onnx_file::info(name, Some(&[1, 2]));
    let node = onnx_file::Message::default().text(1, "x").text(2, "y").text(4, "Relu");
    let graph =
        onnx_file::Message::default().message(1, node).message(11, value("x")).message(11, value("x"));
    let bytes = onnx_file::Message::default().message(7, graph.message(12, value("y")));
    let bytes = bytes.message(8, onnx_file::Message::default().int(2, 13)).0;
    let twice = import_bytes("m.onnx", &bytes, None, &ImportOptions::default()).unwrap_err().to_string();
    assert!(twice.contains("two inputs are named x"), "{twice}");
}

#[test]
fn padding_by_axes_adds_up_and_needs_no_layer_behind() {
    for (opset, axes) in [(18, [2, 3]), (18, [-2, -1]), (21, [3, 2])] {
        let file = File::new(opset, &[1, 2, 5, 6]).ints("p", &[1, 0, 2, 3]).ints("axes", &axes);
        let file = file.node(Node::new("Pad", &["x", "p", "", "axes"], "a"));
        agrees(&conv(file.clone(), "a", "y", 2));
        let twice = file.node(Node::new("Pad", &["a", "p", "", "axes"], "b"));
        agrees(&conv(twice.clone(), "b", "y", 2));
        agrees(&twice.clone().node(Node::new("Sigmoid", &["b"], "y")));
        let pool = Node::new("AveragePool", &["b"], "y").ints("kernel_shape", &[2, 2]);
        agrees(&twice.node(pool));
    }
    // Channels of zeros.
    let channels = File::new(13, &[1, 2, 5, 6]).ints("p", &[0, 1, 0, 0, 0, 2, 0, 0]);
    agrees(&channels.node(Node::new("Pad", &["x", "p"], "y")));
}

#[test]
fn windows_of_maxima_may_have_gaps() {
    let maxima = |kernel: [i64; 2], gaps: [i64; 2], change: fn(Node) -> Node| {
        let node = Node::new("MaxPool", &["x"], "y").ints("kernel_shape", &kernel).ints("dilations", &gaps);
        File::new(13, &[1, 2, 7, 6]).node(change(node))
    };
    agrees(&maxima([2, 2], [2, 3], |n| n));
    agrees(&maxima([3, 2], [2, 1], |n| n.ints("strides", &[2, 1]).ints("pads", &[2, 0, 1, 1])));
    agrees(&maxima([2, 3], [3, 2], |n| n.ints("strides", &[3, 2]).int("ceil_mode", 1)));
    agrees(&maxima([3, 3], [2, 2], |n| n.with("auto_pad", Attribute::Text("SAME_UPPER"))));
    let alone = problems(&maxima([2, 2], [4, 1], |n| n.ints("pads", &[8, 0, 0, 0])));
    assert!(alone[0].why.contains("padding alone"), "{alone:?}");
    let long = problems(&maxima([1 << 16, 2], [1 << 16, 2], |n| n));
    assert!(long[0].why.contains("larger than the image"), "{long:?}");
    let mean = Node::new("AveragePool", &["x"], "y").ints("kernel_shape", &[2, 2]).ints("dilations", &[2, 2]);
    let refused = problems(&File::new(19, &[1, 2, 7, 6]).node(mean));
    assert!(refused[0].why.contains("gaps"), "{refused:?}");
}

#[test]
fn padding_said_twice_is_refused() {
    for (op, mode) in
        [("Conv", "VALID"), ("Conv", "SAME_UPPER"), ("AveragePool", "VALID"), ("MaxPool", "SAME_LOWER")]
    {
        let with = |pads: &[i64]| {
            let file = File::new(13, &[1, 1, 6, 6]).floats("w", &[1, 1, 3, 3], numbers(9));
            let node =
                if op == "Conv" { Node::new(op, &["x", "w"], "y") } else { Node::new(op, &["x"], "y") };
            let node = if op == "Conv" { node } else { node.ints("kernel_shape", &[3, 3]) };
            file.node(node.ints("pads", pads).with("auto_pad", Attribute::Text(mode)))
        };
        import(&with(&[0; 4]));
        let found = problems(&with(&[1, 1, 1, 1]));
        assert!(found[0].why.starts_with(&format!("auto_pad {mode} beside pads")), "{found:?}");
    }
}

#[test]
fn activations_of_frameworks_are_known() {
    let of = |node: fn(Node) -> Node, op| File::new(20, &[1, 2, 3, 4]).node(node(Node::new(op, &["x"], "y")));
    let files = [
        of(|n| n, "Selu"),
        of(|n| n.float("alpha", 1.2).float("gamma", 0.7), "Selu"),
        of(|n| n, "Celu"),
        of(|n| n.float("alpha", 0.3), "Celu"),
        of(|n| n.float("alpha", 0.31), "ThresholdedRelu"),
        of(|n| n, "Softsign"),
    ];
    for file in &files {
        let found = agrees(file);
        assert_eq!(found.graph.nodes().len(), 2);
    }
    for (dims, layers) in [(&[1][..], 2), (&[1, 1, 1], 2), (&[2, 1, 1], 5)] {
        let slopes = numbers(dims.iter().product::<i64>() as usize);
        let file = File::new(13, &[1, 2, 3, 4]).floats("s", dims, slopes);
        assert_eq!(
            agrees(&file.node(Node::new("PRelu", &["x", "s"], "y"))).graph.nodes().len(),
            layers,
            "{dims:?}"
        );
    }
    assert!(error(&of(|n| n.float("alpha", 0.0), "Celu")).contains("alpha 0, must be above 0"));
}

#[test]
fn an_activation_keeps_its_name_and_names_can_be_printed() {
    let mut file = conv(File::new(13, &[1, 2, 4, 4]), "x", "a", 2);
    let named = |mut node: Node, name: &str| {
        node.name = name.to_owned();
        node
    };
    file = file.node(named(Node::new("Relu", &["a"], "r"), "act\u{1b}[31m\n1"));
    file = file.node(named(Node::new("Flatten", &["r"], "f"), "flat")).floats("w", &[8, 3], numbers(24));
    file = file.node(Node::new("MatMul", &["f", "w"], "y"));
    let graph = agrees(&file).graph;
    let names: Vec<&str> = graph.nodes().iter().map(|n| n.name.as_str()).collect();
    assert!(names.contains(&"act\\u{1b}[31m\\n1") && !names.contains(&"flat"), "{names:?}");
    // Wherever a name comes to an error.
    let bad = File::new(13, &[1, 2]).node(named(Node::new("Frob\u{7}", &["x"], "y"), "n\u{202e}"));
    assert!(error(&bad).contains("n\\u{202e} (Frob\\u{7})"), "{}", error(&bad));
    let missing = File::new(13, &[1, 2]).node(Node::new("Add", &["x", "\u{9b}w"], "y"));
    assert!(error(&missing).contains("input \\u{9b}w is missing"), "{}", error(&missing));
}

#[test]
fn external_data_of_length_0_take_what_the_shape_needs() {
    let folder = tempfile::tempdir().unwrap();
    let weights = numbers(4);
    let raw: Vec<u8> = weights.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(folder.path().join("w.bin"), raw).unwrap();
    let inside =
        File::new(13, &[1, 2]).floats("w", &[2, 2], weights).node(Node::new("MatMul", &["x", "w"], "y"));
    for (length, fits) in [("0", true), ("16", true), ("15", false)] {
        let entry = |k: &str, v: &str| onnx_file::Message::default().text(1, k).text(2, v);
        let tensor = onnx_file::Message::default().int(1, 2).int(1, 2).int(2, 1).text(8, "w").int(14, 1);
        let tensor = tensor.message(13, entry("location", "w.bin")).message(13, entry("length", length));
        let nodes = onnx_file::Message::default().text(1, "x").text(1, "w").text(2, "y").text(4, "MatMul");
        let graph = onnx_file::Message::default().message(1, nodes).message(5, tensor);
        let graph =
            graph.message(11, onnx_file::info("x", Some(&[1, 2]))).message(12, onnx_file::info("y", None));
        let bytes = onnx_file::Message::default().message(7, graph);
        let bytes = bytes.message(8, onnx_file::Message::default().int(2, 13)).0;
        let found = import_bytes("m.onnx", &bytes, Some(folder.path()), &ImportOptions::default());
        assert_eq!(found.is_ok(), fits, "length {length}");
        if let Ok(found) = found {
            let run = |import: &Import| FloatExecutor::new(&import.graph).run(&[0.3, -0.8]).unwrap();
            assert_eq!(run(&found), run(&import(&inside)));
        }
    }
}

#[test]
fn files_of_other_kinds_are_called_what_they_are() {
    let safetensors = [&16u64.to_le_bytes()[..], b"{\"a\":{\"dtype\":1}}"].concat();
    let cases: [(&[u8], &str); 13] = [
        (b"amc.modl\x03\x00", "a compiled model of this program"),
        (b"PK\x03\x04\0\0model/data.pkl", "a checkpoint of PyTorch"),
        (b"PK\x03\x04\0\0x.npy", "a NumPy file"),
        (b"PK\x03\x04\0\0something", "a zip archive"),
        (b"\x80\x02}q\x00", "a checkpoint of PyTorch"),
        (&safetensors, "a safetensors file, which holds weights but no network"),
        (b"\x89HDF\r\n\x1a\n\0\0", "a Keras or HDF5 file"),
        (b"\x1c\0\0\0TFL3\0\0", "a TensorFlow Lite file"),
        (b"\x08\0\0\0ORTM\0\0", "ONNX Runtime's own format"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
        (b"\x89PNG\r\n", "an image"),
        (b"  <!DOCTYPE html><html>", "a web page"),
        (b"{\"model\": 1}", "a JSON or text file"),
    ];
    for (bytes, expected) in cases {
        let text = import_bytes("m", bytes, None, &ImportOptions::default()).unwrap_err().to_string();
        assert!(text.starts_with("m: no ONNX file, but ") && text.contains(expected), "{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("saved_model.pb"), b"").unwrap();
    let text = import_file(folder.path(), &ImportOptions::default()).unwrap_err().to_string();
    assert!(text.contains("a SavedModel folder of TensorFlow"), "{text}");
}

#[test]
fn no_advice_gives_secrets_away() {
    for op in ["LSTM", "ArgMin", "ScatterND", "QLinearConv", "Unknown", "LRN", "Round"] {
        let file = File::new(13, &[1, 2, 4, 4]).node(Node::new(op, &["x"], "y"));
        let Problem { why, what_to_do, .. } = &problems(&file)[0];
        for word in ["in the clear", "before it is encrypted", "cut the model", "decrypt"] {
            assert!(!what_to_do.contains(word), "{op}: {why}; {what_to_do}");
        }
    }
}

#[test]
fn numbers_on_the_border_of_the_range_are_inside() {
    let range = Range { low: -0.1, high: 1.1 };
    // In single precision both are a little further out.
    assert!(f64::from(1.1f32) > 1.1 && f64::from(-0.1f32) < -0.1);
    assert_eq!((range.hold(1.1), range.hold(-0.1)), (Some(1.1), Some(-0.1)));
    assert_eq!(range.hold(0.5), Some(0.5));
    for outside in [1.1f32.next_up(), (-0.1f32).next_down(), f32::NAN, f32::INFINITY] {
        assert_eq!(range.hold(outside), None, "{outside}");
    }
    let file =
        File::new(13, &[1, 2]).floats("w", &[2, 2], numbers(4)).node(Node::new("MatMul", &["x", "w"], "y"));
    let graph = import(&file).graph.with_input_range(range).unwrap();
    let samples = vec![vec![1.1f32, -0.1], vec![0.3, 0.8]];
    let plan =
        amicus_model::compile(&graph, &samples, &amicus_model::CompileOptions::default()).unwrap().plan;
    assert!(quantize_input(&plan, &[1.1, -0.1]).is_ok());
    assert!(quantize_input(&plan, &[1.1f32.next_up(), 0.0]).is_err());
}

#[test]
fn two_values_may_be_compared_with_each_other() {
    for op in ["Max", "Min"] {
        let file = conv(conv(File::new(17, &[1, 2, 6, 6]), "x", "a", 2), "x", "b", 2);
        let file = file.node(Node::new("Relu", &["b"], "c"));
        // Three of them, one after the other.
        agrees(&file.node(Node::new(op, &["a", "b", "c"], "y")));
    }
}
