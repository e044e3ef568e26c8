//! Seeded numbers and random plans for tests.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails
#![allow(dead_code)] // each test file uses its own part

use amicus_field::{Conv2d, Dense, I256, LimbVec, Limbs, LinearShape, PRIMES, SumPool2d};
use amicus_model::quantize::{QuantizedLayer, QuantizedWeights};
use amicus_plan::{
    Activation, Compare, InputSpec, MaskKind, Op, OpKind, OutputSpec, Outside, Part, Plan, PublicId,
    PublicTensor, PublicWeights, Range, ScaleBits, Select, Truncate, UseIndex, ValueId, WeightId, WeightSpec,
    WrapRule,
};

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// Evenly spread over [-1, 1).
    pub(crate) fn real(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub(crate) fn reals(&mut self, n: usize, size: f64) -> Vec<f32> {
        (0..n).map(|_| (size * self.real()) as f32).collect()
    }

    pub(crate) fn integers(&mut self, n: usize, below: i64) -> Vec<i64> {
        (0..n).map(|_| (self.real() * below as f64) as i64).collect()
    }
}

#[derive(Clone, Copy)]
struct Known {
    id: ValueId,
    shape: [usize; 3],
    scale: u32,
    mask: MaskKind,
}

/// A random plan with every kind of operation, its weights, and the kinds used.
pub(crate) fn random_plan(limbs: Limbs, seed: u64) -> (Plan, QuantizedWeights) {
    let mut r = Random(seed);
    let shape = [r.between(1, 4), r.between(3, 7), r.between(3, 7)];
    let mut plan = Plan {
        name: format!("random {seed}"),
        limbs,
        input: InputSpec {
            shape: shape.to_vec(),
            scale: ScaleBits(4),
            range: Range { low: -4.0, high: 4.0 },
        },
        weights: Vec::new(),
        public: Vec::new(),
        ops: Vec::new(),
        output: OutputSpec {
            value: ValueId(1),
            ell: 52 * limbs.count() as u32 - 3,
            scale: ScaleBits(1),
            watch: 0,
            reveal: None,
        },
    };
    let mut known = vec![Known { id: ValueId::INPUT, shape, scale: 4, mask: MaskKind::Shared }];
    let mut layers = Vec::new();
    // A first linear layer, then whatever fits.
    push_linear(&mut plan, Some(&mut layers), &mut known, 0, &mut r);
    for _ in 0..r.between(4, 9) {
        let at = r.below(known.len());
        match r.below(15) {
            0 | 1 => push_activation(&mut plan, &mut known, at, &mut r),
            2 => push_linear(&mut plan, Some(&mut layers), &mut known, at, &mut r),
            3 => push_multiply(&mut plan, &mut known, at, &mut r),
            4 => push_add(&mut plan, &mut known, at, &mut r),
            5 => push_concat(&mut plan, &mut known, at, &mut r),
            6 => push_weigh(&mut plan, &mut known, at, &mut r),
            7 | 8 => push_pieces(&mut plan, &mut known, at, &mut r),
            9 => push_maximum(&mut plan, &mut known, at, &mut r),
            10 => push_truncate(&mut plan, &mut known, at, &mut r),
            11 => push_gather(&mut plan, &mut known, at, &mut r),
            13 => push_linear(&mut plan, None, &mut known, at, &mut r),
            12 => push_outside(&mut plan, &mut known, at, &mut r),
            _ => push_local(&mut plan, &mut known, at, &mut r),
        }
    }
    let last = known[known.len() - 1];
    plan.output = OutputSpec {
        value: last.id,
        ell: 52 * limbs.count() as u32 - 3,
        scale: ScaleBits(last.scale / 2),
        watch: 0,
        reveal: None,
    };
    let weights = QuantizedWeights::new(&plan, layers).unwrap();
    (plan, weights)
}

fn fits(plan: &Plan, scale: u32) -> bool {
    scale < plan.bits() - 8
}

fn push(
    plan: &mut Plan,
    known: &mut Vec<Known>,
    kind: OpKind,
    shape: [usize; 3],
    scale: u32,
    mask: MaskKind,
) {
    plan.ops.push(Op { name: format!("op{}", plan.ops.len()), kind });
    known.push(Known { id: ValueId(plan.ops.len() as u32), shape, scale, mask });
}

/// A layer of weights; of public ones where there is no list of secret ones to put them in.
fn push_linear(
    plan: &mut Plan,
    layers: Option<&mut Vec<QuantizedLayer>>,
    known: &mut Vec<Known>,
    at: usize,
    r: &mut Random,
) {
    let x = known[at];
    let [c, h, w] = x.shape;
    if (layers.is_some() && x.mask != MaskKind::Shared) || !fits(plan, x.scale + 3) {
        return;
    }
    let groups = (1..=c).filter(|g| c % g == 0).nth(r.below((1..=c).filter(|g| c % g == 0).count())).unwrap();
    let conv = Conv2d {
        in_channels: c,
        in_height: h,
        in_width: w,
        out_channels: groups * r.between(1, 2),
        kernel: [r.between(1, 3), r.between(1, 3)],
        stride: [r.between(1, 2), r.between(1, 2)],
        padding: [r.below(3), r.below(3), r.below(3), r.below(3)],
        dilation: [r.between(1, 2), r.between(1, 2)],
        groups,
    };
    let (shape, out) = if r.below(3) > 0 && conv.validate().is_ok() {
        let [oh, ow] = conv.out_size();
        (LinearShape::Conv2d(conv), [conv.out_channels, oh, ow])
    } else {
        let outputs = r.between(2, 9);
        (LinearShape::Dense(Dense { inputs: c * h * w, outputs }), [1, 1, outputs])
    };
    let bias = r.below(2) == 1;
    let id = WeightId(plan.weights.len() as u32);
    let spec = WeightSpec { name: format!("w{}", plan.ops.len()), shape, scale: ScaleBits(3), bias };
    let bits = plan.bits() - 6;
    let integers = r.integers(shape.weights(), 1 << 20);
    let biases = (0..if bias { shape.biases() } else { 0 }).map(|_| {
        // Full-size biases: nothing is small enough to be forgotten.
        I256::from(r.real().mul_add(1e9, 0.5) as i64) << (bits.saturating_sub(40))
    });
    let Some(layers) = layers else {
        let weights = PublicId(plan.public.len() as u32);
        let values = PublicWeights::new(integers, biases.collect());
        plan.public.push(PublicTensor { spec, values });
        push(plan, known, OpKind::PublicLinear { input: x.id, weights }, out, x.scale + 3, x.mask);
        return;
    };
    plan.weights.push(spec);
    layers.push(QuantizedLayer::new(integers, biases.collect()));
    push(
        plan,
        known,
        OpKind::Linear { input: x.id, weights: id, use_index: UseIndex(0) },
        out,
        x.scale + 3,
        MaskKind::Helper,
    );
}

fn push_activation(plan: &mut Plan, known: &mut Vec<Known>, at: usize, r: &mut Random) {
    let x = known[at];
    let degree = r.between(1, 8);
    let input_scale = r.between(0, x.scale.min(6) as usize) as u32;
    let scale = input_scale * degree as u32 + 3;
    if !fits(plan, scale) {
        return;
    }
    let [c, h, w] = x.shape;
    let pool = random_pool(x.shape, r).filter(|_| r.below(2) == 1);
    let shape = pool.map_or([c, h, w], |p| [c, p.out_size()[0], p.out_size()[1]]);
    let activation = Activation {
        input: x.id,
        ell: plan.bits() - 3,
        input_scale: ScaleBits(input_scale),
        coefficients: r.integers(degree + 1, 1000),
        coefficient_scale: ScaleBits(3),
        pool,
        wrap: WrapRule::Exact,
    };
    push(plan, known, OpKind::Activation(activation), shape, scale, MaskKind::Shared);
}

fn random_pool([channels, height, width]: [usize; 3], r: &mut Random) -> Option<SumPool2d> {
    let pool = SumPool2d {
        channels,
        height,
        width,
        kernel: [r.between(1, 3), r.between(1, 3)],
        stride: [r.between(1, 3), r.between(1, 3)],
        padding: [r.below(2), r.below(2), r.below(2), r.below(2)],
    };
    pool.validate().is_ok().then_some(pool)
}

fn push_multiply(plan: &mut Plan, known: &mut Vec<Known>, at: usize, r: &mut Random) {
    let x = known[at];
    let partners: Vec<Known> = known
        .iter()
        .copied()
        .filter(|y| y.shape == x.shape && y.mask == MaskKind::Shared && fits(plan, x.scale + y.scale))
        .collect();
    if x.mask == MaskKind::Shared && !partners.is_empty() {
        let y = partners[r.below(partners.len())];
        push(
            plan,
            known,
            OpKind::Multiply { left: x.id, right: y.id },
            x.shape,
            x.scale + y.scale,
            MaskKind::Helper,
        );
    }
}

fn push_add(plan: &mut Plan, known: &mut Vec<Known>, at: usize, r: &mut Random) {
    let x = known[at];
    let partners: Vec<Known> = known.iter().copied().filter(|y| y.shape == x.shape).collect();
    let y = partners[r.below(partners.len())];
    let scale = x.scale.max(y.scale);
    let mask = if x.mask == y.mask { x.mask } else { MaskKind::Helper };
    let kind =
        OpKind::Add { left: x.id, left_shift: scale - x.scale, right: y.id, right_shift: scale - y.scale };
    push(plan, known, kind, x.shape, scale, mask);
}

fn push_concat(plan: &mut Plan, known: &mut Vec<Known>, at: usize, r: &mut Random) {
    let x = known[at];
    let same_size = |y: &Known| y.shape[1..] == x.shape[1..];
    let partners: Vec<Known> = known.iter().copied().filter(same_size).collect();
    let parts: Vec<Known> =
        std::iter::once(x).chain((0..r.below(3)).map(|_| partners[r.below(partners.len())])).collect();
    let scale = parts.iter().map(|p| p.scale).max().unwrap();
    let mask = if parts.iter().all(|p| p.mask == x.mask) { x.mask } else { MaskKind::Helper };
    let channels = parts.iter().map(|p| p.shape[0]).sum();
    let parts = parts.iter().map(|p| Part { input: p.id, shift: scale - p.scale }).collect();
    push(plan, known, OpKind::Concat { parts }, [channels, x.shape[1], x.shape[2]], scale, mask);
}

fn push_weigh(plan: &mut Plan, known: &mut Vec<Known>, at: usize, r: &mut Random) {
    let x = known[at];
    let mut factors = |n: usize| (0..n).map(|_| r.between(1, 1 << 16) as u32).collect();
    let (rows, columns) = (factors(x.shape[1]), factors(x.shape[2]));
    push(plan, known, OpKind::Weigh { input: x.id, rows, columns }, x.shape, x.scale, x.mask);
}

fn push_local(plan: &mut Plan, known: &mut Vec<Known>, at: usize, r: &mut Random) {
    let x = known[at];
    let [c, h, w] = x.shape;
    if r.below(2) == 1 {
        if let Some(pool) = random_pool(x.shape, r) {
            let [oh, ow] = pool.out_size();
            push(plan, known, OpKind::SumPool { input: x.id, pool }, [c, oh, ow], x.scale, x.mask);
        }
    } else {
        let all = c * h * w;
        let start = r.below(all);
        let len = r.between(1, all - start);
        push(plan, known, OpKind::Slice { input: x.id, start, len }, [1, 1, len], x.scale, x.mask);
    }
}

/// Bits of the value: the result goes into the selection that follows at once.
fn push_compare(plan: &mut Plan, known: &mut Vec<Known>, x: Known, thresholds: usize, r: &mut Random) {
    let digits: Vec<u32> = (0..r.between(1, 6)).map(|_| r.between(1, 4) as u32).collect();
    let window = 1 + digits.iter().sum::<u32>();
    let unit = r.below((plan.bits() - window) as usize) as u32;
    let thresholds = r.integers(thresholds, 1 << 30).into_iter().map(i128::from).collect();
    let kind = OpKind::Compare(Compare { input: x.id, thresholds, unit, digits });
    push(plan, known, kind, x.shape, 0, MaskKind::Helper);
}

/// Pieces of polynomials, chosen by bits or one alone; pooled, with a base, or neither.
fn push_pieces(plan: &mut Plan, known: &mut Vec<Known>, at: usize, r: &mut Random) {
    let x = known[at];
    let thresholds = r.below(5);
    let bits = (thresholds > 0).then(|| {
        if thresholds < 4 {
            push_compare(plan, known, x, thresholds, r);
        } else {
            // Two bits and whether they are equal.
            let [left, right] = [(); 2].map(|()| {
                push_compare(plan, known, x, 1, r);
                known.pop().unwrap().id
            });
            push(plan, known, OpKind::Xnor { left, right }, x.shape, 0, MaskKind::Helper);
        }
        known.pop().unwrap().id
    });
    let degree = r.between(1, 3);
    let mut polynomials: Vec<Vec<i128>> = (0..=thresholds.min(3))
        .map(|_| r.integers(degree + 1, 1000).into_iter().map(i128::from).collect())
        .collect();
    polynomials[0][degree] = 7;
    let pool = random_pool(x.shape, r).filter(|_| r.below(2) == 1);
    let shape = pool.map_or(x.shape, |p| [x.shape[0], p.out_size()[0], p.out_size()[1]]);
    let bases: Vec<Known> = known.iter().copied().filter(|b| b.shape == shape).collect();
    let base = (!bases.is_empty() && r.below(2) == 1).then(|| bases[r.below(bases.len())]);
    let scale = base.map_or(x.scale, |b| b.scale);
    let base = base.map(|b| b.id);
    let kind = OpKind::Select(Select { input: x.id, bits, polynomials, scale: ScaleBits(scale), pool, base });
    push(plan, known, kind, shape, scale, MaskKind::Shared);
}

/// The larger of two values.
fn push_maximum(plan: &mut Plan, known: &mut Vec<Known>, at: usize, r: &mut Random) {
    let x = known[at];
    let partners: Vec<Known> =
        known.iter().copied().filter(|y| y.shape == x.shape && y.scale == x.scale).collect();
    let y = partners[r.below(partners.len())];
    let mask = if x.mask == y.mask { x.mask } else { MaskKind::Helper };
    let kind = OpKind::Subtract { left: x.id, left_shift: 0, right: y.id, right_shift: 0 };
    push(plan, known, kind, x.shape, x.scale, mask);
    let difference = known[known.len() - 1];
    push_compare(plan, known, difference, 1, r);
    let bits = Some(known.pop().unwrap().id);
    let kind = OpKind::Select(Select {
        input: difference.id,
        bits,
        polynomials: vec![vec![0], vec![0, 1]],
        scale: ScaleBits(x.scale),
        pool: None,
        base: Some(y.id),
    });
    push(plan, known, kind, x.shape, x.scale, MaskKind::Shared);
}

fn push_truncate(plan: &mut Plan, known: &mut Vec<Known>, at: usize, r: &mut Random) {
    let x = known[at];
    let scale = r.below(x.scale as usize + 1) as u32;
    let cut = Truncate { input: x.id, scale: ScaleBits(scale), ell: plan.bits() - 3 };
    push(plan, known, OpKind::Truncate(cut), x.shape, scale, MaskKind::Shared);
}

fn push_gather(plan: &mut Plan, known: &mut Vec<Known>, at: usize, r: &mut Random) {
    let x = known[at];
    let [c, h, w] = x.shape;
    let mut some = |n: usize| (0..r.between(1, 5)).map(|_| r.below(n) as u32).collect::<Vec<u32>>();
    let (rows, columns) = (some(h), some(w));
    let shape = [c, rows.len(), columns.len()];
    push(plan, known, OpKind::Gather { input: x.id, size: [h, w], rows, columns }, shape, x.scale, x.mask);
}

fn push_outside(plan: &mut Plan, known: &mut Vec<Known>, at: usize, r: &mut Random) {
    let x = known[at];
    let numbers = r.between(1, 3) as u32;
    let kind = OpKind::Outside(Outside { input: x.id, numbers, scale: ScaleBits(x.scale) });
    push(plan, known, kind, [1, 1, numbers as usize], x.scale, MaskKind::Helper);
}

/// Random masks, as the helper deals them: what parties compute follows.
pub(crate) fn masks(plan: &Plan, r: &mut Random) -> Vec<LimbVec> {
    let infos = plan.values().unwrap();
    let mask = |v: usize, r: &mut Random| {
        let len = infos.get(ValueId(v as u32)).len;
        let planes = (0..plan.limbs.count())
            .flat_map(|limb| (0..len).map(move |_| limb))
            .map(|limb| (r.next() >> 12) % PRIMES[limb])
            .collect();
        LimbVec::from_planes(plan.limbs, planes).unwrap()
    };
    (0..infos.count()).map(|v| mask(v, r)).collect()
}
