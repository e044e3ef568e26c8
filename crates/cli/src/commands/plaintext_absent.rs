//! `amicus bench --suite plaintext` in a program without an ONNX runtime: says how to build it.

use amicus_cli::demo::Throughput;
use anyhow::bail;

/// Says how to build a program that measures it.
///
/// # Errors
/// Always.
pub(crate) fn measure(file: &str, _batch: usize, _images: Option<usize>) -> anyhow::Result<Throughput> {
    bail!(
        "this program was built without an ONNX runtime; `cargo run --release --features plaintext -- bench --suite \
         plaintext --model {file}` builds it with one, which takes some minutes the first time"
    )
}
