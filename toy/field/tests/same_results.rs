//! The stand-in computes what the real field computes, at the real primes: so what is found with
//! tiny primes is found in the arithmetic that ships.

use amicus_toy_field as toy;

/// Whole numbers that follow from a seed.
struct Numbers(u64);

impl Numbers {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ self.0 >> 29
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.bits() >> 16) as usize % bound
    }

    /// Vectors with equal residues in both fields, the largest and smallest among them.
    fn vectors(&mut self, count: usize, len: usize) -> (real::LimbVec, toy::LimbVec) {
        let mut planes = Vec::new();
        for l in 0..count {
            planes.extend((0..len).map(|_| match self.below(8) {
                0 => 0,
                1 => real::PRIMES[l] - 1,
                _ => self.bits() % real::PRIMES[l],
            }));
        }
        let limbs = [real::Limbs::ONE, real::Limbs::TWO, real::Limbs::THREE][count - 1];
        (
            real::LimbVec::from_planes(limbs, planes.clone()).unwrap(),
            toy::LimbVec::from_planes(toy::Limbs::ALL[count - 1], planes).unwrap(),
        )
    }
}

fn assert_same(a: &real::LimbVec, b: &toy::LimbVec) {
    assert_eq!(a.len(), b.len());
    for l in 0..a.limbs().count() {
        assert_eq!(a.plane(l), b.plane(l), "limb {l}");
    }
}

fn elements(a: &real::LimbVec, b: &toy::LimbVec) -> (Vec<real::Element>, Vec<toy::Element>) {
    ((0..a.len()).map(|i| a.get(i)).collect(), (0..b.len()).map(|i| b.get(i)).collect())
}

#[test]
fn vectors_and_their_bytes() {
    let mut numbers = Numbers(1);
    for count in 1..=3 {
        for len in [1, 2, 7, 33] {
            let ((mut a, mut b), (x, y), (u, v)) =
                (numbers.vectors(count, len), numbers.vectors(count, len), numbers.vectors(count, len));
            a.mul_assign(&x);
            b.mul_assign(&y);
            a.add_product(&x, &u);
            b.add_product(&y, &v);
            a.sub_assign(&u);
            b.sub_assign(&v);
            a.neg_assign();
            b.neg_assign();
            a.add_scaled(&x.get(0), &u);
            b.add_scaled(&y.get(0), &v);
            a.scale_assign(&u.get(0));
            b.scale_assign(&v.get(0));
            a.add_constant(&x.get(0));
            b.add_constant(&y.get(0));
            assert_same(&a, &b);
            assert_eq!(a.dot(&x).lift(), b.dot(&y).lift());
            assert_eq!(a.sum().signed(), b.sum().signed());
            let (mut packed, mut bytes) = (Vec::new(), Vec::new());
            real::pack_into(&a, &mut packed);
            toy::pack_into(&b, &mut bytes);
            assert_eq!(packed, bytes);
            assert_same(&a, &toy::unpack(b.limbs(), len, &bytes).unwrap());
            real::unpack_add(&mut a, &packed).unwrap();
            toy::unpack_add(&mut b, &bytes).unwrap();
            assert_same(&a, &b);
        }
    }
}

#[test]
fn linear_layers_and_pools() {
    let mut numbers = Numbers(2);
    for round in 0..60 {
        let count = 1 + round % 3;
        let groups = 1 + numbers.below(2);
        let mut side = || [1 + numbers.below(3), 1 + numbers.below(3)];
        let (kernel, stride, dilation) = (side(), side(), side());
        let padding = [0, 1, 2, 1];
        let (channels, outputs) = (groups * (1 + numbers.below(2)), groups * (1 + numbers.below(3)));
        let size = [5 + numbers.below(4), 5 + numbers.below(4)];
        let dense = round % 4 == 0;
        let a = if dense {
            real::LinearShape::Dense(real::Dense { inputs: channels, outputs })
        } else {
            real::LinearShape::Conv2d(real::Conv2d {
                in_channels: channels,
                in_height: size[0],
                in_width: size[1],
                out_channels: outputs,
                kernel,
                stride,
                padding,
                dilation,
                groups,
            })
        };
        let b = if dense {
            toy::LinearShape::Dense(toy::Dense { inputs: channels, outputs })
        } else {
            toy::LinearShape::Conv2d(toy::Conv2d {
                in_channels: channels,
                in_height: size[0],
                in_width: size[1],
                out_channels: outputs,
                kernel,
                stride,
                padding,
                dilation,
                groups,
            })
        };
        let (w, v) = numbers.vectors(count, a.weights());
        let (left, right) = (real::LinearMap::new(a, &w).unwrap(), toy::LinearMap::new(b, &v).unwrap());
        let (x, y) = numbers.vectors(count, 2 * a.inputs());
        assert_same(&left.apply(&x, 2), &right.apply(&y, 2));
        let (x, y) = numbers.vectors(count, 2 * a.outputs());
        assert_same(&left.apply_transposed(&x, 2), &right.apply_transposed(&y, 2));
        let [height, width] = size;
        let (a, b) = (
            real::SumPool2d { channels, height, width, kernel, stride, padding },
            toy::SumPool2d { channels, height, width, kernel, stride, padding },
        );
        let (x, y) = numbers.vectors(count, 2 * a.inputs());
        assert_same(&real::sum_pool(&a, &x, 2), &toy::sum_pool(&b, &y, 2));
        let (x, y) = numbers.vectors(count, 2 * a.outputs());
        assert_same(&real::sum_pool_transposed(&a, &x, 2), &toy::sum_pool_transposed(&b, &y, 2));
    }
}

#[test]
fn truncation_and_polynomials() {
    let mut numbers = Numbers(3);
    for round in 0..90 {
        let (count, degree, len) = (1 + round % 3, 1 + round % 8, 1 + numbers.below(9));
        let ell = 1 + numbers.below(52 * count - 4) as u32;
        let shift = numbers.below(ell as usize + 1) as u32;
        let (d, e) = numbers.vectors(count, len);
        let a = real::Truncation::new(d.limbs(), ell, shift).unwrap();
        let b = toy::Truncation::new(e.limbs(), ell, shift).unwrap();
        let (opened, also) = (a.open(&d), b.open(&e));
        assert_same(&opened.v, &also.v);
        assert!((0..len).all(|i| opened.wrap.get(i) == also.wrap.get(i)));
        assert!((0..len).all(|i| a.high_half(&d).get(i) == b.high_half(&e).get(i)));
        assert_eq!(a.floor(&d), b.floor(&e));
        assert_same(&a.mask(&d, true), &b.mask(&e, true));
        assert_same(&a.mask(&d, false), &b.mask(&e, false));

        let (c, f) = numbers.vectors(count, degree + 1);
        let (c, f) = elements(&c, &f);
        let (taylor, also_taylor) = (real::taylor_coefficients(&c, &d), toy::taylor_coefficients(&f, &e));
        taylor.iter().zip(&also_taylor).for_each(|(a, b)| assert_same(a, b));
        assert_same(&real::evaluate(&c, &d), &toy::evaluate(&f, &e));
        let (tags, also_tags): (Vec<_>, Vec<_>) = (0..degree).map(|_| numbers.vectors(count, len)).unzip();
        let (keys, also_keys) = numbers.vectors(count, len);
        let (first, batch) = (round % 2 == 0, if len % 3 == 0 { 3 } else { 1 });
        let (y, sums) = real::evaluate_shares(
            real::Argument { d: &d, truncation: Some(&a), batch },
            real::PolynomialShares { c: &taylor[1..], e: &taylor },
            real::PolynomialShares { c: &tags[1..], e: &tags },
            &keys,
            &c[degree],
            first,
        );
        let (z, also_sums) = toy::evaluate_shares(
            toy::Argument { d: &e, truncation: Some(&b), batch },
            toy::PolynomialShares { c: &also_taylor[1..], e: &also_taylor },
            toy::PolynomialShares { c: &also_tags[1..], e: &also_tags },
            &also_keys,
            &f[degree],
            first,
        );
        assert_same(&y, &z);
        assert!(sums.iter().zip(&also_sums).all(|(a, b)| a.lift() == b.lift()));

        let (mut y, mut z) = (y, z);
        let (mut bits, mut also_bits) = (real::BitVec::zeros(len), toy::BitVec::zeros(len));
        for i in (0..len).filter(|i| (round + i) % 3 == 0) {
            bits.flip(i);
            also_bits.flip(i);
        }
        let (d, e) = (
            real::Argument { d: &d, truncation: None, batch },
            toy::Argument { d: &e, truncation: None, batch },
        );
        let sums = real::add_signed_shares(d, &bits, &taylor, &tags, &mut y);
        let also_sums = toy::add_signed_shares(e, &also_bits, &also_taylor, &also_tags, &mut z);
        assert_same(&y, &z);
        assert!(sums.iter().zip(&also_sums).all(|(a, b)| a.lift() == b.lift()));
    }
}
