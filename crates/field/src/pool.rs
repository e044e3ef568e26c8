//! Sum-pooling and its transpose (`docs/protocol.md`, 6.4); pixels of windows, tap by tap.

use crate::kernels::{self, Direction};
use crate::parallel;
use crate::prime::Prime;
use crate::shape::SumPool2d;
use crate::vector::LimbVec;

/// The sums over all windows: `batch * inputs` elements to `batch * outputs`, element-major.
///
/// # Panics
/// When the shape is not valid, `x` does not have `batch * inputs` elements, or `batch` is 0.
pub fn sum_pool(shape: &SumPool2d, x: &LimbVec, batch: usize) -> LimbVec {
    run(shape, x, batch, Direction::Forward)
}

/// The transpose: every output's value spread over its window, `batch * outputs` elements to
/// `batch * inputs`.
///
/// # Panics
/// When the shape is not valid, `y` does not have `batch * outputs` elements, or `batch` is 0.
pub fn sum_pool_transposed(shape: &SumPool2d, y: &LimbVec, batch: usize) -> LimbVec {
    run(shape, y, batch, Direction::Transposed)
}

/// Pixels `(rows[y], columns[x])` of images of one size that lie one behind the other.
///
/// # Panics
/// When the images do not divide `x`, or a row or column is outside of them.
pub fn gather(x: &LimbVec, [height, width]: [usize; 2], rows: &[u32], columns: &[u32]) -> LimbVec {
    let plane = height * width;
    assert!(
        plane > 0 && x.len().is_multiple_of(plane),
        "images of {height} x {width} in {} elements",
        x.len()
    );
    assert!(!columns.is_empty() && columns.iter().all(|&c| (c as usize) < width), "columns of {width}");
    let mut picked = LimbVec::zeros(x.limbs(), x.len() / plane * rows.len() * columns.len());
    for (l, (_, to)) in picked.planes_mut().enumerate() {
        let lines = x
            .plane(l)
            .chunks_exact(plane)
            .flat_map(|image| rows.iter().map(move |&row| &image[row as usize * width..][..width]));
        for (line, to) in lines.zip(to.chunks_exact_mut(columns.len())) {
            to.iter_mut().zip(columns).for_each(|(to, &column)| *to = line[column as usize]);
        }
    }
    picked
}

fn run(shape: &SumPool2d, from: &LimbVec, batch: usize, direction: Direction) -> LimbVec {
    if let Err(error) = shape.validate() {
        panic!("{error}");
    }
    let (inputs, outputs) = (shape.inputs(), shape.outputs());
    let (size, result) = match direction {
        Direction::Forward => (inputs, outputs),
        Direction::Transposed => (outputs, inputs),
    };
    assert!(batch > 0, "an empty batch");
    assert_eq!(Some(from.len()), batch.checked_mul(size), "a batch of {batch} needs {size} elements each");
    let mut to = LimbVec::zeros(from.limbs(), batch * result);
    let limbs = from.limbs().count();
    let (size, result) = (size / shape.channels, result / shape.channels);
    // Each output is as many additions as its window has pixels.
    let cost = (outputs / shape.channels).saturating_mul(shape.kernel[0].saturating_mul(shape.kernel[1]));
    let planes = batch * shape.channels * limbs;
    let parts = parallel::parts(planes.saturating_mul(cost), parallel::LIGHT);
    let channels = if parts == 1 { batch * shape.channels } else { planes.div_ceil(parts) };
    let of_planes = to.planes_mut().enumerate().flat_map(|(l, (prime, to))| {
        let from = from.plane(l).chunks(channels * size);
        from.zip(to.chunks_mut(channels * result)).map(move |(from, to)| (prime, from, to))
    });
    let pool = |(prime, from, to): (Prime, &[u64], &mut [u64])| {
        for (from, to) in from.chunks_exact(size).zip(to.chunks_exact_mut(result)) {
            kernels::pool_channel(prime, shape, direction, from, to);
        }
    };
    if parts == 1 {
        of_planes.for_each(pool)
    } else {
        parallel::for_each(of_planes, pool)
    }
    to
}
