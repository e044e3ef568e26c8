//! Matrix products for the optimiser.

use burn::tensor::{Device, Tensor, TensorData};

use crate::engine::activation::values;
use crate::optimiser::{Matrix, Product};

/// burn's matrix product on a device.
pub(crate) struct Burn<'a>(pub(crate) &'a Device);

impl Burn<'_> {
    fn tensor(&self, m: &Matrix) -> Tensor<2> {
        Tensor::from_data(TensorData::new(m.values.clone(), [m.rows, m.columns]), self.0)
    }
}

impl Product for Burn<'_> {
    fn multiply(&self, a: &Matrix, b: &Matrix, transposed: bool) -> Matrix {
        let right = self.tensor(b);
        let result = self.tensor(a).matmul(if transposed { right.transpose() } else { right });
        let [rows, columns] = result.dims();
        Matrix { rows, columns, values: values(&result) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimiser::tests::Naive;

    #[test]
    fn equals_the_definition() {
        let matrix = |rows: usize, columns: usize| {
            let values = (0..rows * columns).map(|i| ((i * 37 + 11) % 19) as f32 / 7.0 - 1.0).collect();
            Matrix { rows, columns, values }
        };
        for (b, transposed) in [(matrix(5, 4), false), (matrix(4, 5), true)] {
            let (got, expected) = (
                Burn(&Device::flex()).multiply(&matrix(3, 5), &b, transposed),
                Naive.multiply(&matrix(3, 5), &b, transposed),
            );
            assert_eq!((got.rows, got.columns), (3, 4));
            for (got, expected) in got.values.iter().zip(&expected.values) {
                assert!((got - expected).abs() < 1e-4);
            }
        }
    }
}
