use half::f16;

use super::{Enter, LANES, Operation, Simd, exp, exp2, load_partial, store_partial};
use crate::cpu::Level;
use crate::test_support::{WidePlain, numbers, ulps};

/// What every operation gives for three vectors, one result after another.
struct Everything<'a>(&'a [[f32; LANES]; 3]);

impl Operation for Everything<'_> {
    type Output = Vec<u32>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<u32> {
        let [a, b, c] = [simd.load(&self.0[0]), simd.load(&self.0[1]), simd.load(&self.0[2])];
        let mut results = vec![
            simd.add(a, b),
            simd.subtract(a, b),
            simd.multiply(a, b),
            simd.divide(a, b),
            simd.mul_add(a, b, c),
            simd.max(a, b),
            simd.min(a, b),
            simd.swap_pairs(a),
            simd.splat(self.0[0][3]),
            load_partial(simd, &self.0[0][..5]),
            exp2(simd, a),
            exp(simd, a),
        ];
        for count in 0..=LANES + 1 {
            results.push(simd.first_lanes(count, a, b));
        }
        let mut all = Vec::new();
        for result in results {
            let mut lanes = [0.0; LANES];
            simd.store(result, &mut lanes);
            all.extend(lanes);
        }
        let mut halves = [f16::ZERO; LANES];
        simd.store_f16(a, &mut halves);
        let mut lanes = [0.0; LANES];
        simd.store(simd.load_f16(&halves), &mut lanes);
        all.extend(lanes);
        let bytes = self.0[1].map(|value| value as i8);
        simd.store(simd.load_i8(&bytes), &mut lanes);
        all.extend(lanes);
        all.extend(bytes.map(f32::from));
        let mut part = [7.0; 5];
        store_partial(simd, a, &mut part);
        all.extend(part);
        all.extend([simd.sum(a), simd.greatest(a), simd.greatest(b)]);
        // One not-a-number is as good as another.
        all.iter().map(|value| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }).collect()
    }
}

#[test]
fn every_operation_gives_the_same_bits_on_all_levels() {
    let special = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        -0.0,
        f32::MIN_POSITIVE,
        1e-40,
        f32::MAX,
        f32::MIN,
        65504.0,
        65520.0,
        1e-7,
        127.5,
        -127.0,
        -126.5,
        128.0,
    ];
    for seed in 0..200 {
        let random = numbers(seed, 3 * LANES);
        let mut vectors = [[0.0; LANES]; 3];
        for (index, value) in vectors.as_flattened_mut().iter_mut().enumerate() {
            let scale = [1.0, 100.0, 1e-6, 60_000.0][(seed as usize + index) % 4];
            *value = random[index] * scale;
            if seed % 2 == 1 && index % 3 == seed as usize % 3 {
                *value = special[(index + seed as usize) % special.len()];
            }
        }
        let expected = WidePlain.enter(Everything(&vectors));
        for &level in Level::available() {
            assert_eq!(expected, level.enter(Everything(&vectors)), "{level:?}, {vectors:?}");
        }
    }
}

struct Exponentials<'a>(&'a mut [f32; LANES], bool);

impl Operation for Exponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let x = simd.load(self.0);
        let result = if self.1 { exp2(simd, x) } else { exp(simd, x) };
        simd.store(result, self.0);
    }
}

#[test]
fn exponentials_are_precise_over_their_range_and_exact_at_its_ends() {
    let compute = |x: f32, is_power_of_two: bool| {
        let mut lanes = [x; LANES];
        Level::detect().enter(Exponentials(&mut lanes, is_power_of_two));
        lanes[0]
    };
    for step in -12_500..=12_700 {
        let x = step as f32 / 100.0 + 0.003;
        let expected = f64::from(x).exp2();
        assert!(ulps(compute(x, true), expected) <= 2.0, "2^{x}: {}, not {expected}", compute(x, true));
        let x = x * 0.69;
        let expected = f64::from(x).exp();
        assert!(ulps(compute(x, false), expected) <= 2.0, "e^{x}: {}, not {expected}", compute(x, false));
    }
    for is_power_of_two in [true, false] {
        assert_eq!(compute(0.0, is_power_of_two), 1.0);
        assert_eq!(compute(-0.0, is_power_of_two), 1.0);
        for (x, expected) in
            [(f32::NEG_INFINITY, 0.0), (-1e30, 0.0), (1e30, f32::INFINITY), (f32::INFINITY, f32::INFINITY)]
        {
            assert_eq!(compute(x, is_power_of_two).to_bits(), expected.to_bits(), "{x}");
        }
        assert!(compute(f32::NAN, is_power_of_two).is_nan());
    }
    for power in -126..128 {
        assert_eq!(compute(power as f32, true), 2_f32.powi(power));
    }
}
