//! Seeds of files: models, samples, data sets.

use super::{Seed, seed};
use crate::files::SIDE;
use amicus_data::{Images, idx};
use amicus_model::amc::{About, ModelFile};
use amicus_model::graph::{ConvOptions, GraphBuilder};
use amicus_model::quality::{Quality, Targets};
use amicus_model::report::ErrorFigures;
use amicus_model::{CompileOptions, compile};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use image::{ImageFormat, RgbImage};
use safetensors::tensor::{Dtype, TensorView, serialize};
use std::collections::HashMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

/// Repeatable numbers between -1 and 1.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect()
}

/// A convolution, a polynomial and a fully connected layer.
pub(super) fn amc() -> Vec<Seed> {
    let mut net = GraphBuilder::new("tiny", &[1, 4, 4], -1.0..=1.0);
    let input = net.input();
    let z = net.conv2d("conv", input, ConvOptions::square(2, 3), numbers(18), Some(numbers(2)));
    let y = net.polynomial("act", z, 8.0, vec![0.1, 0.5, 0.25]);
    let y = net.flatten("flat", y);
    let z = net.linear("fc", y, 3, numbers(24), None);
    let graph = net.finish(z).expect("a network");
    let samples: Vec<Vec<f32>> = (1..=4).map(|k| numbers(16 * k)[16 * (k - 1)..].to_vec()).collect();
    let compiled = compile(&graph, &samples, &CompileOptions::default()).expect("a plan");
    let exact = ErrorFigures { median: 0.0, max: 0.0 };
    let file = ModelFile {
        plan: compiled.plan,
        weights: compiled.weights,
        factors: compiled.factors,
        original: graph,
        approximations: Vec::new(),
        quality: Quality {
            samples: samples.len(),
            total: exact,
            polynomials: exact,
            fixed_point: exact,
            same_class: Some(samples.len()),
            targets: Targets { fixed_point: 0.005, total: None },
        },
        about: About { source: "tiny.onnx".into(), ..About::default() },
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tiny.amc");
    let of = |name: &str, file: &ModelFile| {
        file.save(&path, amicus_model::private_file::Existing::Replace).expect("a file");
        seed(name, fs::read(&path).expect("a file"))
    };
    let secret = of("tiny", &file);
    vec![secret, of("public", &file.published().expect("small weights"))]
}

fn test_data(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data");
    fs::read(folder.join(name)).expect("a file of the model crate's tests")
}

pub(super) fn onnx() -> Vec<Seed> {
    let names = ["fire_legacy", "horner_dynamo", "lenet_dynamo", "mobile_dynamo", "shapes_legacy"];
    names.map(|name| seed(name, test_data(&format!("{name}.onnx")))).to_vec()
}

pub(super) fn npz() -> Vec<Seed> {
    let stored = zip(false);
    vec![seed("numpy", test_data("shapes_legacy.npz")), seed("stored", stored), seed("deflated", zip(true))]
}

/// What `numpy.savez(x=..)` or `numpy.savez_compressed(x=..)` write for six floats in two rows.
fn zip(deflated: bool) -> Vec<u8> {
    let mut header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".to_owned();
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    let mut array = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes()].concat();
    numbers(6).iter().for_each(|v| array.extend_from_slice(&v.to_le_bytes()));
    let mut crc = flate2::Crc::new();
    crc.update(&array);
    let packed = if deflated {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&array).expect("memory");
        encoder.finish().expect("memory")
    } else {
        array.clone()
    };
    let words = |list: &[u32]| list.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let method = [if deflated { 8u8 } else { 0 }, 0];
    let sizes = words(&[crc.sum(), packed.len() as u32, array.len() as u32]);
    let local =
        [&b"PK\x03\x04\x14\0\0\0"[..], &method, &[0; 4], &sizes, b"\x05\0\0\0x.npy", &packed].concat();
    let entry = [&b"PK\x01\x02\x14\0\x14\0\0\0"[..], &method, &[0; 4], &sizes, b"\x05\0", &[0; 12]].concat();
    let entry = [&entry[..], &words(&[0]), b"x.npy"].concat();
    let end = words(&[entry.len() as u32, local.len() as u32]);
    let end = [&b"PK\x05\x06\0\0\0\0\x01\0\x01\0"[..], &end, &[0, 0]].concat();
    [local, entry, end].concat()
}

/// Tensors of these shapes in half precision, with metadata.
fn safetensors(tensors: &[(String, Vec<usize>)], metadata: &[(&str, &str)]) -> Vec<u8> {
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, shape)| {
            // Upper halves of single-precision numbers, all positive: variances too.
            let bits = numbers(shape.iter().product()).into_iter().map(|v| (v.abs() + 0.1).to_bits() >> 16);
            bits.flat_map(|b| (b as u16).to_le_bytes()).collect()
        })
        .collect();
    let views = tensors.iter().zip(&data).map(|((name, shape), data)| {
        (name.clone(), TensorView::new(Dtype::BF16, shape.clone(), data).expect("bytes of that shape"))
    });
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    serialize(views, Some(metadata)).expect("memory")
}

/// The smallest residual network there is, and a file of one tensor.
pub(super) fn weights() -> Vec<Seed> {
    let mut tensors = vec![("conv1.weight".to_owned(), vec![1, 3, 3, 3])];
    let norm = |tensors: &mut Vec<(String, Vec<usize>)>, name: &str, channels| {
        let parts = ["weight", "bias", "running_mean", "running_var"];
        tensors.extend(parts.map(|part| (format!("{name}.{part}"), vec![channels])));
    };
    norm(&mut tensors, "bn1", 1);
    for (stage, inputs, outputs) in [("s1", 1, 1), ("s2", 1, 2), ("s3", 2, 4)] {
        tensors.push((format!("{stage}.conv1.weight"), vec![outputs, inputs, 3, 3]));
        norm(&mut tensors, &format!("{stage}.bn1"), outputs);
        tensors.push((format!("{stage}.conv2.weight"), vec![outputs, outputs, 3, 3]));
        norm(&mut tensors, &format!("{stage}.bn2"), outputs);
        if stage != "s1" {
            tensors.push((format!("{stage}.shortcut.weight"), vec![outputs, inputs, 1, 1]));
        }
    }
    tensors.extend([("fc.weight".to_owned(), vec![10, 4]), ("fc.bias".to_owned(), vec![10])]);
    let metadata = [
        ("architecture", "resnet8"),
        ("width", "1"),
        ("input", "pixel/127.5-1"),
        ("activation", "polynomial"),
        ("activation.interval", "4.0"),
        ("activation.coefficients", "[0.1, 2.0, 3.0]"),
        ("activation.ranges", "[1.0, 1.1, 1.2, 1.3, 1.1, 1.4, 1.4]"),
        ("bn.eps", "1e-05"),
    ];
    let network = safetensors(&tensors, &metadata);
    amicus_model::networks::read(&network).expect("a network");
    let one =
        safetensors(&[("a".to_owned(), vec![2, 2])], &[("interval", "4"), ("activations", "[[1], [2]]")]);
    vec![seed("resnet8", network), seed("one-tensor", one)]
}

pub(super) fn idx() -> Vec<Seed> {
    let files = |(pixels, labels): (Vec<u8>, Vec<u8>)| {
        [&(pixels.len() as u16).to_le_bytes()[..], &pixels, &labels].concat()
    };
    vec![seed("digits", files(idx_pair(28, 2))), seed("small", files(idx_pair(3, 5)))]
}

pub(super) fn batches() -> Vec<Seed> {
    vec![seed("one", batch_record(9)), seed("two", [batch_record(0), batch_record(5)].concat())]
}

/// Packed text, two parts one after another, and a bomb.
pub(super) fn gzipped() -> Vec<Seed> {
    let two = [gzip(b"first"), gzip(b"second")].concat();
    vec![seed("text", gzip(b"some text")), seed("two", two), seed("bomb", gzip(&vec![0; 1 << 20]))]
}

/// Kind, length of the first file, both files.
pub(super) fn folders() -> Vec<Seed> {
    let of = |name: &str, kind: u8, one: &[u8], other: &[u8]| {
        seed(name, [&[kind][..], &(one.len() as u16).to_le_bytes(), one, other].concat())
    };
    let (pixels, labels) = idx_pair(28, 2);
    let (png, jpeg) = (encoded(32, ImageFormat::Png), encoded(32, ImageFormat::Jpeg));
    vec![
        of("digits", 0, &pixels, &gzip(&labels)),
        of("batch", 1, &[], &batch_record(3)),
        of("classes", 2, &png, &jpeg),
    ]
}

/// An image file and a label file of some square grey images.
fn idx_pair(side: usize, count: usize) -> (Vec<u8>, Vec<u8>) {
    let pixels = (0..side * side * count).map(|i| (i % 251) as u8).collect();
    let images = Images::new([1, side, side], pixels, (0..count as u8).collect()).expect("images");
    idx::encode(&images).expect("grey images")
}

/// One record of a binary batch.
fn batch_record(class: u8) -> Vec<u8> {
    [&[class][..], &[100; 3072]].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice()).expect("memory");
    }
    builder.into_inner().expect("memory")
}

/// Binary batches and folders of pictures, gzipped; a small archive as it is.
pub(super) fn archives() -> Vec<Seed> {
    let record = |class: u8| [&[class][..], &[7; 3072]].concat();
    let batches = (1..=5u8).map(|i| (format!("cifar-10-batches-bin/data_batch_{i}.bin"), record(i)));
    let batches: Vec<_> =
        batches.chain([("cifar-10-batches-bin/test_batch.bin".to_owned(), record(0))]).collect();
    let classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
    let picture = |part: &str, class: &str| (format!("{part}/{class}/0.png"), encoded(32, ImageFormat::Png));
    let tree: Vec<_> =
        classes.iter().flat_map(|class| [picture("train", class), picture("test", class)]).collect();
    vec![
        seed("batches", gzip(&tar(&batches))),
        seed("tree", gzip(&tar(&tree))),
        seed("plain", tar(&[("train/cat/0.png".to_owned(), encoded(4, ImageFormat::Png))])),
    ]
}

fn encoded(side: u32, format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(side, side, |x, y| image::Rgb([x as u8 * 8, y as u8 * 8, 77]));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).expect("memory");
    bytes.into_inner()
}

pub(super) fn pictures() -> Vec<Seed> {
    let side = SIDE as u32;
    let png = |name| seed(name, encoded(side, ImageFormat::Png));
    vec![
        png("png"),
        seed("jpeg", encoded(side, ImageFormat::Jpeg)),
        seed("large", encoded(32, ImageFormat::Png)),
    ]
}
