//! The rates of every kernel: `cargo bench -p amicus-field`, smoke test with `-- --test`.
//!
//! Every bench runs on one core and once per kernel this processor has. Rates of products are
//! multiply-adds in one limb, rates of element-wise work are elements (of the limbs in the name),
//! rates of generators and packing are bytes.

use std::hint::black_box;
use std::time::Duration;

use amicus_field::{
    Argument, BitVec, Conv2d, Dense, Element, Gf128Vec, Kernel, LimbVec, Limbs, LinearMap, LinearShape,
    PolynomialShares, Prime, Seed, SumPool2d, Truncation, WordVec, add_signed_shares, evaluate_shares,
    matmul, pack_into, packed_len, sum_pool, taylor_coefficients, unpack, unpack_add, with_kernel,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Elements of element-wise benches: 256 KiB a limb, in the second-level cache.
const LEN: usize = 1 << 15;

fn random(label: u32, limbs: Limbs, len: usize) -> LimbVec {
    Seed::from_bytes([1; 32]).stream().sample(label, limbs, len)
}

/// Benches `run` under every kernel.
fn each_kernel<T>(c: &mut Criterion, name: &str, throughput: Throughput, mut run: impl FnMut() -> T) {
    let mut group = c.benchmark_group(name);
    group.throughput(throughput);
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
        group.bench_function(BenchmarkId::from_parameter(kernel.name()), |b| {
            with_kernel(kernel, || b.iter(|| black_box(run())));
        });
    }
    group.finish();
}

fn products(c: &mut Criterion) {
    let [m, k, n] = [256, 1024, 1536];
    let (a, b) = (random(1, Limbs::ONE, m * k), random(2, Limbs::ONE, k * n));
    each_kernel(c, "matrix_256x1024x1536_1limb", Throughput::Elements((m * k * n) as u64), || {
        matmul(Prime::of_limb(0), a.plane(0), b.plane(0), [m, k, n])
    });
}

/// One layer on one input; the rate counts multiply-adds in all limbs.
fn layer(c: &mut Criterion, name: &str, shape: LinearShape, limbs: Limbs, batch: usize) {
    let map = LinearMap::new(shape, &random(3, limbs, shape.weights())).expect("a valid shape");
    let x = random(4, limbs, batch * shape.inputs());
    let work = shape.multiply_adds() * limbs.count() * batch;
    each_kernel(c, name, Throughput::Elements(work as u64), || map.apply(&x, batch));
}

fn layers(c: &mut Criterion) {
    let square = LinearShape::Dense(Dense { inputs: 4096, outputs: 4096 });
    layer(c, "dense_4096x4096_1limb", square, Limbs::ONE, 1);
    let lenet = LinearShape::Dense(Dense { inputs: 400, outputs: 120 });
    layer(c, "dense_lenet_400x120_2limbs", lenet, Limbs::TWO, 1);
    let conv = |in_channels, side, out_channels, kernel, padding| {
        LinearShape::Conv2d(Conv2d {
            in_channels,
            in_height: side,
            in_width: side,
            out_channels,
            kernel: [kernel; 2],
            stride: [1, 1],
            padding: [padding; 4],
            dilation: [1, 1],
            groups: 1,
        })
    };
    layer(c, "conv_lenet1_1x28x28_6c5p2_2limbs", conv(1, 28, 6, 5, 2), Limbs::TWO, 1);
    layer(c, "conv_lenet2_6x14x14_16c5_2limbs", conv(6, 14, 16, 5, 0), Limbs::TWO, 1);
    layer(c, "conv_alexnet_192x16x16_384c3p1_2limbs", conv(192, 16, 384, 3, 1), Limbs::TWO, 1);
    layer(c, "conv_96x27x27_256c5p2_2limbs", conv(96, 27, 256, 5, 2), Limbs::TWO, 1);
    layer(c, "conv_384x13x13_384c3p1_2limbs", conv(384, 13, 384, 3, 1), Limbs::TWO, 1);
    layer(c, "conv_128x28x28_128c3p1_2limbs", conv(128, 28, 128, 3, 1), Limbs::TWO, 1);
    layer(c, "conv_192x8x8_384c3p1_2limbs", conv(192, 8, 384, 3, 1), Limbs::TWO, 1);
    layer(c, "conv_384x8x8_256c3p1_2limbs", conv(384, 8, 256, 3, 1), Limbs::TWO, 1);
    layer(c, "conv_512x7x7_512c3p1_2limbs", conv(512, 7, 512, 3, 1), Limbs::TWO, 1);
    layer(c, "conv_16x32x32_16c3p1_2limbs", conv(16, 32, 16, 3, 1), Limbs::TWO, 1);

    let map = LinearMap::new(square, &random(3, Limbs::ONE, square.weights())).expect("a valid shape");
    let y = random(4, Limbs::ONE, square.outputs());
    each_kernel(
        c,
        "dense_transposed_4096x4096_1limb",
        Throughput::Elements(square.multiply_adds() as u64),
        || map.apply_transposed(&y, 1),
    );
}

fn generator(c: &mut Criterion) {
    let seed = Seed::from_bytes([2; 32]);
    let streams: Vec<_> = Kernel::ALL
        .into_iter()
        .filter(|kernel| kernel.is_available())
        .map(|kernel| (kernel, with_kernel(kernel, || seed.stream())))
        .collect();
    let stream = || &streams.iter().find(|(kernel, _)| *kernel == Kernel::active()).expect("made above").1;
    // 32 KiB: within the first cache, the generator itself. 8 MiB: what memory lets through.
    for (name, words) in [("prg_raw_32KiB", 1 << 12), ("prg_raw_8MiB", 1 << 20)] {
        let mut out = vec![0; words];
        each_kernel(c, name, Throughput::Bytes(8 * words as u64), || stream().words(0, 0, &mut out));
    }
    each_kernel(c, "prg_sample_2limbs", Throughput::Elements(LEN as u64), || {
        stream().sample(0, Limbs::TWO, LEN)
    });
    each_kernel(c, "prg_stream_of_a_seed", Throughput::Elements(1), || seed.stream());
}

fn elementwise(c: &mut Criterion) {
    let limbs = Limbs::TWO;
    let elements = Throughput::Elements(LEN as u64);
    let mut x = random(5, limbs, LEN);
    let (a, b) = (random(6, limbs, LEN), random(7, limbs, LEN));
    each_kernel(c, "add_assign_2limbs", elements.clone(), || x.add_assign(&a));
    each_kernel(c, "mul_assign_2limbs", elements.clone(), || x.mul_assign(&a));
    each_kernel(c, "add_product_2limbs", elements.clone(), || x.add_product(&a, &b));
    each_kernel(c, "dot_2limbs", elements.clone(), || a.dot(&b));

    let bytes = Throughput::Bytes(packed_len(limbs, LEN) as u64);
    let mut packed = Vec::with_capacity(packed_len(limbs, LEN));
    each_kernel(c, "pack_2limbs", bytes.clone(), || {
        packed.clear();
        pack_into(&a, &mut packed);
    });
    each_kernel(c, "unpack_2limbs", bytes.clone(), || unpack(limbs, LEN, &packed).expect("packed above"));
    each_kernel(c, "unpack_add_2limbs", bytes, || unpack_add(&mut x, &packed).expect("packed above"));

    let truncation = Truncation::new(limbs, 100, 88).expect("valid");
    each_kernel(c, "truncation_open_2limbs", elements.clone(), || truncation.open(&a));
    each_kernel(c, "truncation_mask_2limbs", elements.clone(), || truncation.mask(&a, true));
    let wide = random(8, Limbs::THREE, LEN);
    let truncation = Truncation::new(Limbs::THREE, 150, 100).expect("valid");
    each_kernel(c, "truncation_open_3limbs", elements, || truncation.open(&wide));

    let pool =
        SumPool2d { channels: 6, height: 28, width: 28, kernel: [2, 2], stride: [2, 2], padding: [0; 4] };
    let x = random(9, limbs, pool.inputs());
    each_kernel(c, "sum_pool_lenet1_2limbs", Throughput::Elements(pool.inputs() as u64), || {
        sum_pool(&pool, &x, 1)
    });
}

fn polynomials(c: &mut Criterion) {
    let (limbs, degree) = (Limbs::TWO, 6);
    // Twice: as many elements as LeNet's first activation, in cache, and 64 Ki, far beyond it.
    for (name, len) in [("shares_degree6_4704_2limbs", 4704), ("shares_degree6_64Ki_2limbs", 1 << 16)] {
        let many = |label: u32, count: usize| -> Vec<LimbVec> {
            (0..count).map(|k| random(label + k as u32, limbs, len)).collect()
        };
        let (c_values, e_values) = (many(10, degree - 1), many(20, degree));
        let (c_tags, e_tags) = (many(30, degree - 1), many(40, degree));
        let keys = random(50, limbs, len);
        let leading = Element::from_i128(limbs, 1234);
        let (d, truncation) = (random(51, limbs, len), Truncation::new(limbs, 90, 40).expect("valid"));
        each_kernel(c, name, Throughput::Elements(len as u64), || {
            let values = PolynomialShares { c: &c_values, e: &e_values };
            let tags = PolynomialShares { c: &c_tags, e: &e_tags };
            let argument = Argument { d: &d, truncation: Some(&truncation), batch: 1 };
            evaluate_shares(argument, values, tags, &keys, &leading, true)
        });
        let mut bits = BitVec::zeros(len);
        (0..len).filter(|&i| d.plane(0)[i].is_multiple_of(2)).for_each(|i| bits.flip(i));
        let name = name.replace("degree6", "signed_linear");
        each_kernel(c, &name, Throughput::Elements(len as u64), || {
            let argument = Argument { d: &d, truncation: None, batch: 1 };
            let mut y = LimbVec::zeros(limbs, len);
            (add_signed_shares(argument, &bits, &c_values[..2], &c_tags[..2], &mut y), y)
        });
    }
    let mu = random(52, limbs, LEN);
    let b: Vec<Element> = (0..=degree).map(|k| mu.get(k)).collect();
    each_kernel(c, "taylor_degree6_2limbs", Throughput::Elements(LEN as u64), || {
        taylor_coefficients(&b, &mu)
    });
}

/// What a comparison reads of elements; one bit of each is bound by memory.
fn windows(c: &mut Criterion) {
    let window = WordVec::window(&random(59, Limbs::ONE, LEN), 20, 13);
    let bit = window.bit(0);
    each_kernel(c, "window_bit", Throughput::Bytes(8 * LEN as u64), || window.bit(0));
    for limbs in [Limbs::ONE, Limbs::TWO] {
        let x = random(60, limbs, LEN);
        let name = format!("window_13bits_{}limbs", limbs.count());
        each_kernel(c, &name, Throughput::Elements(LEN as u64), || WordVec::window(&x, 20, 13));
    }
    let (mut x, y) = (random(61, Limbs::ONE, LEN), random(62, Limbs::ONE, LEN));
    each_kernel(c, "add_signed_1limb", Throughput::Elements(LEN as u64), || x.add_signed(&y, &bit));
}

/// What a proof of bits is made of; rates count elements of the vector at the beginning.
fn binary(c: &mut Criterion) {
    // A chunk of a proof, 1 MiB, and what is left of it after three challenges.
    for (size, len) in [("64Ki", 1 << 16), ("8Ki", 1 << 13)] {
        let stream = Seed::from_bytes([4; 32]).stream();
        let elements = Throughput::Elements(len as u64);
        let (a, b) = (stream.sample_gf128(0, 0, len), stream.sample_gf128(1, 0, len));
        let bits = stream.sample_bits(2, 0, len);
        let challenges = b.slice(0..32);
        let point: Vec<_> = (0..len.ilog2() as usize).map(|k| challenges.get(k)).collect();
        let mut bench = |name: &str, run: &mut dyn FnMut()| {
            each_kernel(c, &format!("gf128_{name}_{size}"), elements.clone(), run);
        };
        bench("sumcheck", &mut || {
            let mut rounds = 0..;
            black_box(a.sumcheck(&bits, |_| point[rounds.next().expect("endless")]));
        });
        bench("evaluate", &mut || _ = black_box(a.evaluate(&point)));
        bench("evaluate_bits", &mut || _ = black_box(Gf128Vec::evaluate_bits(&bits, &point)));
        bench("round", &mut || _ = black_box(a.round(&b)));
        // With a copy, which is made once more for every step.
        bench("copy_and_fold", &mut || black_box(a.clone()).fold(point[0]));
        bench("sum_selected", &mut || _ = black_box(a.sum_selected(&bits)));
    }
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(700))
        .without_plots()
}

criterion_group! { name = benches; config = settings(); targets = products, layers, generator, elementwise, polynomials, windows, binary }
criterion_main!(benches);
