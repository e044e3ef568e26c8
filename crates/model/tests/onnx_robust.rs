//! ONNX files that are wrong: one clear error each, never a panic, never more memory than the file
//! warrants.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

#[path = "common/onnx_file.rs"]
mod onnx_file;

use std::path::Path;

use amicus_model::check::check;
use amicus_model::onnx::{ImportOptions, import_bytes};
use onnx_file::{Message, info};
use proptest::prelude::*;

fn tensor(name: &str, dims: &[i64], floats: &[f32]) -> Message {
    let raw: Vec<u8> = floats.iter().flat_map(|f| f.to_le_bytes()).collect();
    let dims = dims.iter().fold(Message::default(), |m, &d| m.int(1, d));
    Message(dims.0).int(2, 1).text(8, name).bytes(9, &raw)
}

fn ints(name: &str, values: &[i64]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|f| f.to_le_bytes()).collect();
    Message::default().int(1, values.len() as i64).int(2, 7).text(8, name).bytes(9, &raw)
}

fn node(op: &str, inputs: &[&str], output: &str) -> Message {
    let m = inputs.iter().fold(Message::default(), |m, i| m.text(1, i));
    m.text(2, output).text(3, &format!("the {output} node")).text(4, op)
}

/// A model with an input `x` of shape `[1, 2]`.
fn model(nodes: &[Message], tensors: &[Message]) -> Vec<u8> {
    let mut graph =
        Message::default().text(2, "g").message(11, info("x", Some(&[1, 2]))).message(12, info("y", None));
    graph = nodes.iter().fold(graph, |g, n| g.message(1, n.clone()));
    graph = tensors.iter().fold(graph, |g, t| g.message(5, t.clone()));
    Message::default().message(7, graph).message(8, Message::default().int(2, 17)).0
}

fn error_in(bytes: &[u8], folder: Option<&Path>) -> String {
    import_bytes("m.onnx", bytes, folder, &ImportOptions::default()).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn each_mistake_has_its_error() {
    let gemm = || node("MatMul", &["x", "w"], "y");
    let good = model(&[gemm()], &[tensor("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0])]);
    assert!(import_bytes("m.onnx", &good, None, &ImportOptions::default()).is_ok());
    let cases: [(Vec<u8>, &str); 15] = [
        (model(&[], &[]), "m.onnx: the graph has no nodes"),
        (b"PK\x03\x04 something else".to_vec(), "m.onnx: no ONNX file, but a zip archive: unpack it first"),
        (
            model(&[gemm()], &[tensor("w", &[2, 2], &[1.0, f32::NAN, 3.0, 4.0])]),
            "m.onnx, node the y node (MatMul): weight 2 is NaN",
        ),
        (
            model(&[gemm()], &[tensor("w", &[2, 2], &[1.0, 2.0])]),
            "m.onnx, node the y node (MatMul): tensor w: 8 bytes of data, shape [2, 2] needs 16",
        ),
        (
            model(&[gemm()], &[tensor("w", &[3, 2], &[1.0; 6])]),
            "m.onnx, node the y node (MatMul): weights for 3 inputs, the value has 2 numbers",
        ),
        (
            model(&[gemm()], &[tensor("w", &[1 << 40, 1 << 40], &[])]),
            "tensor w: shape [1099511627776, 1099511627776] has more elements than fit memory",
        ),
        (
            model(&[gemm()], &[tensor("w", &[1 << 30, 2], &[])]),
            "tensor w: 0 bytes of data, shape [1073741824, 2] needs 8589934592",
        ),
        (model(&[gemm()], &[]), "m.onnx: node the y node: input w is missing"),
        (
            model(&[node("Add", &["a", "x"], "b"), node("Neg", &["b"], "a"), node("Neg", &["a"], "y")], &[]),
            "m.onnx: the graph has a cycle through node the ",
        ),
        (model(&[node("Neg", &["x"], "z")], &[]), "m.onnx: output y is not computed by a node"),
        (model(&[node("Neg", &["x"], "y"), node("Abs", &["x"], "y")], &[]), "m.onnx: two nodes compute y"),
        (model(&[node("Identity", &["x"], "y")], &[]), "ok"),
        (
            model(&[node("ConstantOfShape", &["s"], "w"), gemm()], &[ints("s", &[2, 1 << 28])]),
            "m.onnx, node the y node (MatMul): weights take more than 167",
        ),
        (
            model(&[node("Frobnicate", &["x"], "y")], &[]),
            "the y node (Frobnicate): this operator is not supported; replace it by layers that are",
        ),
        (
            model(&[node("Reshape", &["x", "s"], "y")], &[ints("s", &[1, 3])]),
            "m.onnx, node the y node (Reshape): shape [1, 2] as [1, 3]",
        ),
    ];
    for (bytes, expected) in cases {
        let text = match import_bytes("m.onnx", &bytes, None, &ImportOptions::default()) {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(text.contains(expected), "{text}\nis not\n{expected}");
    }
    let old = Message::default().message(7, Message::default()).message(8, Message::default().int(2, 8)).0;
    assert!(error_in(&old, None).contains("operator set 8, supported are 9 to 22"));
}

#[test]
fn external_data_stay_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("model");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(folder.path().join("secret"), [0; 16]).unwrap();
    std::fs::write(inner.join("short"), [0; 15]).unwrap();
    std::fs::write(inner.join("fits"), [0; 20]).unwrap();
    std::fs::create_dir(inner.join("dir")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path().join("secret"), inner.join("link")).unwrap();
    let with = |location: &str, offset: &str| {
        let entry = |k: &str, v: &str| Message::default().text(1, k).text(2, v);
        let mut w = Message::default().int(1, 2).int(1, 2).int(2, 1).text(8, "w").int(14, 1);
        w = w.message(13, entry("location", location)).message(13, entry("offset", offset));
        model(&[node("MatMul", &["x", "w"], "y")], &[w])
    };
    assert!(import_bytes("m.onnx", &with("fits", "4"), Some(&inner), &ImportOptions::default()).is_ok());
    let absolute = folder.path().join("secret").display().to_string();
    for (location, offset, expected) in [
        ("../secret", "0", "is not in the model's folder"),
        (absolute.as_str(), "0", "is not in the model's folder"),
        ("link", "0", "leads out of the model's folder"),
        ("short", "0", "has 15 bytes, needed are 16 from byte 0"),
        ("fits", "5", "has 20 bytes, needed are 16 from byte 5"),
        ("fits", "18446744073709551615", "needed are 16 from byte 18446744073709551615"),
        ("fits", "-1", "external data with offset `-1`"),
        ("gone.data", "0", "external data file gone.data is missing; put it beside the model"),
        ("dir", "0", "is not a file"),
        ("", "0", "without a location"),
    ] {
        let text = error_in(&with(location, offset), Some(&inner));
        assert!(text.contains(expected) && text.starts_with("m.onnx, node the y node"), "{text}");
    }
}

/// Reads the largest resident memory of this process, where the system tells.
fn peak_megabytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}

/// One change of a file's bytes.
#[derive(Clone, Debug)]
enum Change {
    Set(u16, u8),
    Cut(u16),
    Insert(u16, Vec<u8>),
    Remove(u16, u8),
    /// A whole number of eight bytes, as tensors hold them.
    Number(u16, i64),
}

fn change() -> impl Strategy<Value = Change> {
    // Bytes that mean much on the wire come often: large lengths, small field numbers.
    let number = prop_oneof![
        any::<i64>(),
        (0u32..64, -1i64..=1).prop_map(|(bits, more)| i64::MIN.rotate_left(bits).wrapping_add(more)),
    ];
    let byte = prop_oneof![any::<u8>(), Just(0xff), Just(0x80), Just(0x00), Just(0x7f), 0u8..64];
    prop_oneof![
        6 => (any::<u16>(), byte.clone()).prop_map(|(at, b)| Change::Set(at, b)),
        1 => any::<u16>().prop_map(Change::Cut),
        2 => (any::<u16>(), prop::collection::vec(byte, 1..12)).prop_map(|(at, b)| Change::Insert(at, b)),
        2 => (any::<u16>(), 1u8..20).prop_map(|(at, n)| Change::Remove(at, n)),
        4 => (any::<u16>(), number).prop_map(|(at, n)| Change::Number(at, n)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let place = |at: u16| usize::from(at) % bytes.len().max(1);
        match change {
            Change::Set(at, b) if !bytes.is_empty() => {
                let at = place(*at);
                bytes[at] = *b;
            }
            Change::Cut(at) => bytes.truncate(place(*at)),
            Change::Insert(at, b) => {
                let at = place(*at).min(bytes.len());
                bytes.splice(at..at, b.iter().copied());
            }
            Change::Remove(at, n) => {
                let at = place(*at).min(bytes.len());
                let end = (at + usize::from(*n)).min(bytes.len());
                bytes.drain(at..end);
            }
            Change::Number(at, n) => {
                let at = place(*at);
                let replaced = bytes[at..].iter_mut().zip(n.to_le_bytes());
                replaced.for_each(|(byte, new)| *byte = new);
            }
            Change::Set(..) => {}
        }
    }
    bytes
}

/// Numbers in lists of sizes and places may be any of 64 bits.
#[test]
fn extreme_numbers_are_refused() {
    let text = |name: &str, value: &str| Message::default().text(1, name).text(4, value).int(20, 3);
    let extremes =
        (0..64).flat_map(|bits| [-1, 0, 1].map(|more| (1i64.rotate_left(bits)).wrapping_add(more)));
    for extreme in extremes.chain([i64::MIN, i64::MIN + 1, -(1 << 62), i64::MAX]) {
        let lists = |op: &str, values: [i64; 2], more: &[[i64; 2]]| {
            let names = ["first", "second", "third", "fourth"];
            let lists: Vec<Message> =
                [values].iter().chain(more).zip(names).map(|(v, n)| ints(n, v)).collect();
            let inputs: Vec<&str> = ["x"].into_iter().chain(names.into_iter().take(lists.len())).collect();
            (node(op, &inputs, "y"), lists)
        };
        let pads = |mode: &str, [before, behind]: [i64; 2]| {
            let pad = node("Pad", &["x", "pads"], "y").message(5, text("mode", mode));
            (pad, vec![ints("pads", &[0, before, 0, behind])])
        };
        let cases = ["constant", "edge", "reflect", "wrap"]
            .into_iter()
            .flat_map(|mode| [pads(mode, [extreme, 0]), pads(mode, [0, extreme]), pads(mode, [extreme; 2])])
            .chain([
                lists("Tile", [1, extreme], &[]),
                lists("Expand", [1, extreme], &[]),
                lists("Reshape", [1, extreme], &[]),
                lists("Reshape", [-1, extreme], &[]),
                lists("Slice", [0, extreme], &[[1, 2], [0, 1], [1, 1]]),
                lists("Slice", [0, 0], &[[1, extreme], [0, 1], [1, 1]]),
                lists("Slice", [0, 0], &[[1, 2], [0, extreme], [1, 1]]),
                lists("Slice", [0, 1], &[[1, 0], [0, 1], [1, extreme]]),
                lists("Split", [1, extreme], &[]),
                lists("Gather", [0, extreme], &[]),
                lists("Unsqueeze", [1, extreme], &[]),
                lists("Resize", [0, 0], &[[0, 0], [1, extreme]]),
            ]);
        for (node, tensors) in cases {
            // Refused, or right: numbers beyond an end mean the end in some lists.
            if let Ok(import) =
                import_bytes("m.onnx", &model(&[node], &tensors), None, &ImportOptions::default())
            {
                let sizes = import.graph.nodes().iter().map(|n| n.shape.iter().product::<usize>());
                assert!(sizes.max().unwrap_or(0) <= 1 << 21, "{extreme}");
            }
        }
    }
    if let Some(megabytes) = peak_megabytes() {
        assert!(megabytes < 200, "{megabytes} MB");
    }
}

/// A bounded run in CI; longer ones by hand.
fn cases() -> u32 {
    std::env::var("AMICUS_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1500)
}

const FILES: [&str; 14] = [
    "lenet_dynamo",
    "resnet_legacy",
    "mobile_dynamo",
    "fire_legacy",
    "shapes_legacy",
    "horner_dynamo",
    "vgg_legacy",
    "unsupported",
    "torch/lenet_dynamo",
    "torch/preact_legacy",
    "torch/mobile_legacy",
    "torch/inception_dynamo",
    "torch/dense_legacy",
    "torch/late_legacy",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]
    /// A bounded fuzz run: whatever a file says, it is imported or refused, in little memory.
    #[test]
    fn changed_files_never_panic(file in 0..FILES.len(), changes in prop::collection::vec(change(), 1..8)) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{}.onnx", FILES[file]));
        let bytes = changed(std::fs::read(&path).unwrap(), &changes);
        if let Ok(import) = import_bytes("m.onnx", &bytes, path.parent(), &ImportOptions::default()) {
            // What comes out is a whole graph, which the next steps accept or refuse.
            let found = check(&import.graph);
            let known = |name: &str| name.is_empty() || import.graph.find(name).is_some();
            prop_assert!(found.problems.iter().all(|p| known(&p.node) || p.node.contains('.')));
        }
        if let Some(megabytes) = peak_megabytes() {
            prop_assert!(megabytes < 200, "{megabytes} MB");
        }
    }
}
