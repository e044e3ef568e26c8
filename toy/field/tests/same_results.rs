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

/// Vectors with equal elements of GF(2^128) in both fields.
fn binary(numbers: &mut Numbers, len: usize) -> (real::Gf128Vec, toy::Gf128Vec) {
    let (mut a, mut b) = (real::Gf128Vec::zeros(len), toy::Gf128Vec::zeros(len));
    for i in 0..len {
        let bytes: [u8; 16] = match numbers.below(8) {
            0 => [0; 16],
            1 => [0xff; 16],
            _ => std::array::from_fn(|_| numbers.below(256) as u8),
        };
        a.set(i, real::Gf128::from_bytes(bytes));
        b.set(i, toy::Gf128::from_bytes(bytes));
    }
    (a, b)
}

fn assert_same_binary(a: &real::Gf128Vec, b: &toy::Gf128Vec) {
    assert_eq!(a.len(), b.len());
    assert!((0..a.len()).all(|i| a.get(i).to_bytes() == b.get(i).to_bytes()));
}

#[test]
fn binary_vectors_and_sumchecks() {
    let mut numbers = Numbers(4);
    for len in [2, 4, 8, 64, 128, 256, 1024, 2048] {
        let ((mut a, mut b), (x, y)) = (binary(&mut numbers, len), binary(&mut numbers, len));
        let bools: Vec<bool> = (0..len).map(|_| numbers.below(2) == 1).collect();
        let (bits, also): (real::BitVec, toy::BitVec) =
            (bools.iter().copied().collect(), bools.iter().copied().collect());
        let same = |a: real::Gf128, b: toy::Gf128| assert_eq!(a.to_bytes(), b.to_bytes());
        same(a.sum_selected(&bits), b.sum_selected(&also));
        let ([q, s], [r, t]) = (a.round(&x), b.round(&y));
        same(q, r);
        same(s, t);
        same(q * s, r * t);
        same(q + s, r + t);
        let challenges = binary(&mut numbers, 12);
        let (mut sent, mut also_sent) = (Vec::new(), Vec::new());
        let [q, s] = a.sumcheck(&bits, |sums| {
            sent.push(sums.map(real::Gf128::to_bytes));
            challenges.0.get(sent.len())
        });
        let [r, t] = b.sumcheck(&also, |sums| {
            also_sent.push(sums.map(toy::Gf128::to_bytes));
            challenges.1.get(also_sent.len())
        });
        assert_eq!(sent, also_sent);
        same(q, r);
        same(s, t);
        let point: Vec<real::Gf128> = (0..sent.len()).map(|k| challenges.0.get(1 + k)).collect();
        let also_point: Vec<toy::Gf128> = (0..sent.len()).map(|k| challenges.1.get(1 + k)).collect();
        same(a.evaluate(&point), r);
        same(q, b.evaluate(&also_point));
        same(real::Gf128Vec::evaluate_bits(&bits, &point), t);
        same(s, toy::Gf128Vec::evaluate_bits(&also, &also_point));
        a.fold(s);
        b.fold(t);
        assert_same_binary(&a, &b);
    }
}

/// GF(4), written down: 2 is `X`, 3 is `X + 1`, and each is the other's inverse and square.
#[test]
fn the_binary_field_of_a_run_has_four_elements() {
    use toy::oracle::{FreshSeeds, Oracle};
    static PRIMES: [toy::Prime; 3] = [toy::Prime::toy(3), toy::Prime::toy(5), toy::Prime::toy(7)];
    let ((), oracle) = Oracle::new(&PRIMES, 1).run(|| {
        let element = |x: u8| toy::Gf128::from_bytes(std::array::from_fn(|_| x | 0xfc));
        let table = [[0, 0, 0, 0], [0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 1, 2]];
        for (a, b) in (0..4).flat_map(|a| (0..4).map(move |b| (a, b))) {
            assert_eq!(element(a) * element(b), element(table[usize::from(a)][usize::from(b)]));
            assert_eq!(element(a) + element(b), element(a ^ b));
            assert_eq!(element(a).to_bytes()[..2], [a, 0]);
        }
        let stream = toy::Randomness::seed(&mut FreshSeeds).unwrap().stream();
        let bits = stream.sample_bits(1, 0, 70);
        assert_eq!(stream.sample_bits(1, 64, 6), bits.slice(64..70));
        let elements = stream.sample_gf128(2, 5, 40);
        assert!((0..40).all(|i| element(elements.get(i).to_bytes()[0]) == elements.get(i)));
        assert_eq!(stream.sample_gf128(2, 6, 3), elements.slice(1..4));
    });
    assert_eq!(oracle.draws().filter(|(draw, size)| draw.domain == 1 && *size == 2).count(), 70);
    assert_eq!(oracle.draws().filter(|(draw, size)| draw.domain == 2 && *size == 4).count(), 40);
    assert_eq!(oracle.draws().len(), 110);
}
