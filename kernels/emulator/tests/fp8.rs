//! Numbers in 8 bits: every one of them to half precision, and every half, and floats around every place where rounding
//! turns, to 8 bits, against tables in double precision that are made by the formats' definition alone.

use half::f16;
use lockgate_emulator::{Emulator, Schedule};
use lockgate_kernels::cuda::driver::{Address, Argument, Driver, Launch, Stream};

#[derive(Clone, Copy, Debug)]
enum Kind {
    E4m3,
    E5m2,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::E4m3, Kind::E5m2];

    /// What a code without its sign stands for, were none of them kept for NaN and infinity.
    fn magnitude(self, code: u8) -> f64 {
        let (bits, bias) = match self {
            Kind::E4m3 => (3, 7),
            Kind::E5m2 => (2, 15),
        };
        let (exponent, mantissa) =
            (i32::from(code >> bits), f64::from(code % (1 << bits)) / f64::from(1 << bits));
        match exponent {
            0 => mantissa * 2_f64.powi(1 - bias),
            _ => (1.0 + mantissa) * 2_f64.powi(exponent - bias),
        }
    }

    /// The code of the greatest number, and what stands for more.
    fn greatest(self) -> (u8, u8) {
        match self {
            Kind::E4m3 => (0x7e, 0x7f),
            Kind::E5m2 => (0x7b, 0x7c),
        }
    }

    /// What a code stands for.
    fn value(self, code: u8) -> f64 {
        let (sign, code) = (if code >= 0x80 { -1.0 } else { 1.0 }, code & 0x7f);
        match (self, code) {
            (Kind::E5m2, 0x7c) => sign * f64::INFINITY,
            _ if code > self.greatest().0 => f64::NAN,
            _ => sign * self.magnitude(code),
        }
    }

    /// The code of the nearest number, of two the even one.
    fn nearest(self, value: f64, saturate: bool) -> u8 {
        if value.is_nan() {
            return 0x7f;
        }
        let (greatest, beyond) = self.greatest();
        // As if there were a next number behind the greatest, and none behind that.
        let magnitude = value.abs().min(self.magnitude(greatest + 1));
        let distance = |code: u8| (self.magnitude(code) - magnitude).abs();
        let best = (0..=greatest + 1).min_by(|&left, &right| {
            distance(left).total_cmp(&distance(right)).then((left % 2).cmp(&(right % 2)))
        });
        let code = match best {
            Some(code) if code <= greatest => code,
            _ if saturate => greatest,
            _ => beyond,
        };
        code | if value.is_sign_negative() { 0x80 } else { 0 }
    }
}

fn upload(emulator: &Emulator, bytes: &[u8]) -> Address {
    let address = emulator.allocate(bytes.len()).expect("memory");
    emulator.upload(Stream::Compute, address, bytes).expect("it is inside");
    address
}

/// Runs a kernel of a thread a number; what it wrote.
fn run(kernel: &'static str, input: &[u8], count: usize, out_bytes: usize, rest: &[u32]) -> Vec<u8> {
    let emulator = Emulator::new(Schedule::Interleaved);
    let (from, to) = (upload(&emulator, input), emulator.allocate(out_bytes).expect("memory"));
    let count = u32::try_from(count).expect("not many");
    let mut arguments = vec![Argument::Pointer(from), Argument::Pointer(to), Argument::U32(count)];
    arguments.extend(rest.iter().map(|&value| Argument::U32(value)));
    let grid = [count.div_ceil(256), 1, 1];
    let launch = Launch { kernel, grid, block: [256, 1, 1], shared_bytes: 0, early: false, arguments };
    emulator.launch(&launch).expect(kernel);
    let mut bytes = vec![0; out_bytes];
    emulator.download(Stream::Compute, to, &mut bytes).expect("it is inside");
    bytes
}

#[test]
fn every_code_is_the_half_that_it_stands_for() {
    let codes: Vec<u8> = (0..=255).collect();
    for kind in Kind::ALL {
        let bytes = run("widen", &codes, 256, 3 * 512, &[kind as u32]);
        let halves: Vec<f16> =
            bytes.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes)).collect();
        let backwards = codes.iter().rev();
        for (code, found) in codes.iter().chain(&codes).chain(backwards).zip(halves) {
            let expected = kind.value(*code);
            // No half is needed that there is not.
            let same = f64::from(found).to_bits() == expected.to_bits();
            assert!(
                same || expected.is_nan() && found.to_bits() == 0x7fff,
                "{kind:?} {code:#x}: {found}, not {expected}"
            );
        }
    }
}

#[test]
fn every_half_is_rounded_to_the_nearest() {
    let halves: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for kind in Kind::ALL {
        for saturate in [false, true] {
            let found = run("narrow_halves", &halves, 1 << 16, 1 << 16, &[kind as u32, saturate.into()]);
            for (bits, found) in (0..=u16::MAX).zip(found) {
                let value = f16::from_bits(bits);
                let expected = kind.nearest(value.into(), saturate);
                assert_eq!(found, expected, "{kind:?} {value} ({bits:#x}), saturated: {saturate}");
            }
        }
    }
}

#[test]
fn floats_turn_to_the_next_number_where_they_should() {
    for kind in Kind::ALL {
        let mut floats =
            vec![0.0, f32::MIN_POSITIVE, f32::from_bits(1), 1e30, f32::MAX, f32::INFINITY, f32::NAN];
        for code in 0..=kind.greatest().0 {
            let (this, next) = (kind.magnitude(code), kind.magnitude(code + 1));
            // Both are floats, as all codes are; so are their neighbours.
            for turn in [this as f32, ((this + next) / 2.0) as f32] {
                floats.extend([turn.next_down(), turn, turn.next_up()]);
            }
        }
        let floats: Vec<f32> = floats.iter().flat_map(|&float| [float, -float]).collect();
        let count = floats.len();
        let bytes: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
        for saturate in [false, true] {
            let found = run("narrow_floats", &bytes, count, 3 * count, &[kind as u32, saturate.into()]);
            for (float, found) in floats.iter().chain(&floats).chain(floats.iter().rev()).zip(found) {
                let expected = kind.nearest((*float).into(), saturate);
                assert_eq!(found, expected, "{kind:?} {float:e}, saturated: {saturate}");
            }
        }
    }
}
