//! Vectors of an activation's masked polynomials (`docs/protocol.md`, section 5): what is dealt of
//! each, in the order of the helper's message.

use crate::label::domain::{coefficient, coefficient_tag, difference, difference_tag};
use amicus_plan::{Activation, WrapRule};

/// Something of every vector of an activation's masked polynomials: the vector itself, a share of
/// it, its domain.
#[derive(Clone, Debug)]
pub(crate) struct MaskedPolynomials<T> {
    /// Coefficients of degree 1 and above but the leading one, which is public.
    pub(crate) coefficients: Vec<T>,
    /// Their MAC tags.
    pub(crate) coefficient_tags: Vec<T>,
    /// What a wrap adds to the coefficients, of degree 0 and above; none with statistical
    /// truncation.
    pub(crate) differences: Vec<T>,
    /// Their MAC tags.
    pub(crate) difference_tags: Vec<T>,
}

impl MaskedPolynomials<u32> {
    /// The domains that shares are drawn from.
    pub(crate) fn domains(a: &Activation) -> Self {
        let d = a.degree();
        let exact = if a.wrap == WrapRule::Exact { d } else { 0 };
        MaskedPolynomials {
            coefficients: (1..d).map(coefficient).collect(),
            coefficient_tags: (1..d).map(coefficient_tag).collect(),
            differences: (0..exact).map(difference).collect(),
            difference_tags: (0..exact).map(difference_tag).collect(),
        }
    }
}

impl<T> MaskedPolynomials<T> {
    /// Something else of every vector, in the order of the message.
    pub(crate) fn try_map<U, E>(
        self,
        mut each: impl FnMut(T) -> Result<U, E>,
    ) -> Result<MaskedPolynomials<U>, E> {
        let mut all = |of: Vec<T>| of.into_iter().map(&mut each).collect::<Result<Vec<U>, E>>();
        Ok(MaskedPolynomials {
            coefficients: all(self.coefficients)?,
            coefficient_tags: all(self.coefficient_tags)?,
            differences: all(self.differences)?,
            difference_tags: all(self.difference_tags)?,
        })
    }

    /// All of them, in the order of the message.
    pub(crate) fn in_order(self) -> impl Iterator<Item = T> {
        let MaskedPolynomials { coefficients, coefficient_tags, differences, difference_tags } = self;
        coefficients.into_iter().chain(coefficient_tags).chain(differences).chain(difference_tags)
    }
}
