//! Numbers of a value taken by their places.

use serde::{Deserialize, Serialize};

/// Which numbers of a value are taken: the value is planes of `size`, one behind the other, and
/// number `(y, x)` of each plane of the result is number `(rows[y], columns[x])` of the plane.
///
/// Slices, transpositions, shuffles, repetitions and padding with what is there are all of this
/// form. Places are part of the network's shape, not of its weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gather {
    /// Height and width of a plane.
    pub size: [usize; 2],
    /// Rows taken, each below the height.
    pub rows: Vec<u32>,
    /// Columns taken, each below the width.
    pub columns: Vec<u32>,
}

impl Gather {
    /// Places along one axis: of `[.., length, inner]`, with everything behind the axis kept.
    pub fn along(length: usize, inner: usize, places: Vec<u32>) -> Self {
        Gather { size: [length, inner], rows: places, columns: all(inner) }
    }

    /// Numbers of the result for a value of `len` numbers; says what does not fit.
    pub(crate) fn outputs(&self, len: usize) -> Result<usize, String> {
        let [height, width] = self.size;
        let plane = height.checked_mul(width).filter(|&n| n > 0 && len.is_multiple_of(n));
        let plane =
            plane.ok_or_else(|| format!("planes of {height} x {width} in a value of {len} numbers"))?;
        for (what, picked, size) in [("row", &self.rows, height), ("column", &self.columns, width)] {
            if let Some(at) = picked.iter().find(|&&at| at as usize >= size) {
                return Err(format!("{what} {at} of planes of {height} x {width}"));
            }
        }
        let each = self.rows.len().checked_mul(self.columns.len());
        each.and_then(|each| each.checked_mul(len / plane)).ok_or_else(|| "a result too large".to_owned())
    }

    /// Where every number of the result stands in a value of `len` numbers.
    pub(crate) fn sources(&self, len: usize) -> impl Iterator<Item = usize> {
        let [height, width] = self.size;
        (0..len).step_by((height * width).max(1)).flat_map(move |plane| {
            self.rows.iter().flat_map(move |&row| {
                let line = plane + row as usize * width;
                self.columns.iter().map(move |&column| line + column as usize)
            })
        })
    }

    /// The first number of the result's single run of neighbours in a value of `len` numbers, where
    /// it is one.
    pub(crate) fn run(&self, len: usize) -> Option<usize> {
        let [height, width] = self.size;
        let in_row = |picked: &[u32]| picked.windows(2).all(|pair| pair[1] == pair[0] + 1);
        let whole = self.columns.len() == width && in_row(&self.columns);
        let first = *self.rows.first()? as usize * width;
        (height * width == len && whole && in_row(&self.rows)).then_some(first)
    }
}

/// All places of an axis.
pub(crate) fn all(length: usize) -> Vec<u32> {
    (0..length).map(|place| place as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_planes() {
        let gather = Gather { size: [2, 3], rows: vec![1, 0, 1], columns: vec![2, 0] };
        assert_eq!(gather.outputs(12), Ok(12));
        let first = [5, 3, 2, 0, 5, 3];
        let expected: Vec<usize> = first.into_iter().chain(first.map(|place| place + 6)).collect();
        assert_eq!(gather.sources(12).collect::<Vec<_>>(), expected);
        assert!(gather.outputs(13).is_err() && gather.outputs(5).is_err());
        assert!(Gather { rows: vec![2], ..gather.clone() }.outputs(6).is_err());
        assert!(Gather { columns: vec![3], ..gather }.outputs(6).is_err());
    }

    #[test]
    fn a_run_of_neighbours_is_seen() {
        assert_eq!(Gather::along(5, 4, vec![2, 3]).run(20), Some(8));
        assert_eq!(Gather::along(5, 4, vec![2, 4]).run(20), None);
        // In each of two planes.
        assert_eq!(Gather::along(5, 4, vec![2, 3]).run(40), None);
    }
}
