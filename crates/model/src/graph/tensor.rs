//! Weights of a graph: shared between copies of it, wiped at the end, never printed.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use zeroize::Zeroize;

/// Numbers of one weight tensor in row-major order; the model owner's secret. `Debug` shows the
/// length only.
#[derive(Clone)]
pub struct Tensor(Arc<Wiped>);

struct Wiped(Vec<f32>);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl From<Vec<f32>> for Tensor {
    fn from(values: Vec<f32>) -> Self {
        Tensor(Arc::new(Wiped(values)))
    }
}

impl Deref for Tensor {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0.0
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} numbers)", self.len())
    }
}

/// Real numbers of the model owner in double precision. `Debug` shows the length only; wiped when
/// dropped.
#[derive(Clone, Default, PartialEq)]
pub struct SecretReals(pub(crate) Vec<f64>);

impl FromIterator<f64> for SecretReals {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        SecretReals(values.into_iter().collect())
    }
}

impl Deref for SecretReals {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.0
    }
}

impl fmt::Debug for SecretReals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretReals({} numbers)", self.len())
    }
}

impl Drop for SecretReals {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_number() {
        assert_eq!(format!("{:?}", Tensor::from(vec![0.77, 1.0])), "Tensor(2 numbers)");
        assert_eq!(format!("{:?}", SecretReals(vec![0.77])), "SecretReals(1 numbers)");
    }
}
