//! The network of the benches, LeNet-5 with degree 6, and an image for it.

use amicus_model::{CompileOptions, Compiled, compile, networks};

pub(crate) fn lenet() -> Compiled {
    let graph = networks::read(include_bytes!("../../assets/lenet5-mnist.safetensors")).unwrap().graph;
    compile(&graph, &[image()], &CompileOptions::default()).unwrap()
}

pub(crate) fn image() -> Vec<f32> {
    let digits = include_bytes!("../../assets/digits-images.idx3-ubyte");
    digits[16..16 + 784].iter().map(|&p| f32::from(p) / 255.0).collect()
}
