//! The same network without privacy: `f32`, one thread, an ONNX runtime that others wrote.
//!
//! What `amicus bench --suite plaintext` measures beside private runs. Before it counts, the
//! runtime's outputs are held to those of the project's own executor.

use amicus_cli::cpu;
use amicus_cli::demo::Throughput;
use amicus_model::FloatExecutor;
use amicus_model::onnx::{ImportOptions, import_file};
use anyhow::{Context, bail, ensure};
use rten::{Model, RunOptions, ThreadPool, Value};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs before those that are measured.
const WARM_UP: usize = 2;
/// Runs that are measured, at least, and how long they take together where nobody says how many.
const RUNS: usize = 5;
const SPAN: Duration = Duration::from_secs(2);
/// How far outputs may be from those of the executor of this project, relative to the largest.
const TOLERANCE: f64 = 1e-3;
/// The name of its bar.
const ROLE: &str = "plain text, one thread";

/// Measures a network of an ONNX file on batches of noise from 0 to 1.
///
/// # Errors
/// Files that cannot be read or run; outputs that differ from the executor's.
pub(crate) fn measure(file: &str, batch: usize, images: Option<usize>) -> anyhow::Result<Throughput> {
    ensure!(batch > 0, "an inference has at least one image");
    let graph = import_file(Path::new(file), &ImportOptions::default())?.graph;
    let shape: Vec<usize> = [batch].into_iter().chain(graph.input_shape().iter().copied()).collect();
    let one: usize = graph.input_shape().iter().product();
    let noise = noise(batch * one);
    let model = Model::load_file(file).with_context(|| file.to_owned())?;
    let pool = Arc::new(ThreadPool::with_num_threads(1));
    let run = || -> anyhow::Result<Vec<f32>> {
        let input = Value::from_shape(&shape, noise.clone()).map_err(|e| anyhow::anyhow!("{e}"))?;
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&pool)));
        match model.run_one(input.into(), Some(options)).with_context(|| file.to_owned())? {
            Value::FloatTensor(output) => Ok(output.into_data()),
            _ => bail!("{file}: its output is not of 32-bit floating point numbers"),
        }
    };
    compare(&run()?, &FloatExecutor::new(&graph).run(&noise[..one])?).with_context(|| file.to_owned())?;
    for _ in 1..WARM_UP {
        run()?;
    }
    let wanted = images.map(|images| images.div_ceil(batch).max(1));
    let used = || cpu::by_thread().values().sum::<Duration>();
    let (start, before) = (Instant::now(), used());
    let mut inferences = 0;
    while wanted.map_or(inferences < RUNS || start.elapsed() < SPAN, |wanted| inferences < wanted) {
        run()?;
        inferences += 1;
    }
    let (wall, computed) = (start.elapsed(), used() - before);
    let images = (inferences * batch) as f64;
    Ok(Throughput {
        model: file.to_owned(),
        parties: 0,
        batch,
        inferences,
        busy: 0,
        cores: 1,
        images_per_second: images / wall.as_secs_f64(),
        cpu_ms: [(ROLE.to_owned(), 1e3 * computed.as_secs_f64() / images)].into(),
        dealt_bytes: 0.0,
        kernel: "f32".to_owned(),
    })
}

/// Holds the outputs of the first image to those of the executor, which leaves out a softmax at the
/// end, or its logarithm.
fn compare(got: &[f32], expected: &[f64]) -> anyhow::Result<()> {
    let first = got.get(..expected.len()).context("it gives fewer numbers than the project's executor")?;
    ensure!(first.iter().all(|x| x.is_finite()), "its outputs are not finite");
    let off = |expected: &[f64]| {
        let size = expected.iter().fold(f64::MIN_POSITIVE, |most, x| most.max(x.abs()));
        first.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs() / size).fold(0.0, f64::max)
    };
    let largest = expected.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum = expected.iter().map(|x| (x - largest).exp()).sum::<f64>().ln() + largest;
    let logarithms: Vec<f64> = expected.iter().map(|x| x - sum).collect();
    let softmax: Vec<f64> = logarithms.iter().map(|x| x.exp()).collect();
    let off = [expected, &logarithms, &softmax].map(off).into_iter().fold(f64::INFINITY, f64::min);
    ensure!(off <= TOLERANCE, "it is off by {off:.1e} from the project's executor");
    Ok(())
}

/// Numbers from 0 to 1, the same every time.
fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..len).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a network that does not run fails the test
    use super::*;

    #[test]
    fn a_network_is_measured_and_held_to_the_executor() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/data/lenet_dynamo.onnx");
        let row = measure(file, 1, Some(3)).unwrap();
        assert_eq!((row.inferences, row.batch), (3, 1));
        assert!(row.images_per_second > 0.0);
        assert!(compare(&[1.0, 2.0], &[1.0, 2.0]).is_ok());
        assert!(compare(&[0.017_986, 0.982_014], &[-1.0, 3.0]).is_ok(), "a softmax");
        assert!(compare(&[-4.018_15, -0.018_15], &[-1.0, 3.0]).is_ok(), "its logarithm");
        for wrong in [&[1.0, 2.1][..], &[0.8, 0.2], &[f32::NAN, 2.0], &[1.0]] {
            assert!(compare(wrong, &[1.0, 2.0]).is_err(), "{wrong:?}");
        }
    }
}
