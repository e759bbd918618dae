//! Random numbers as a function of seed, choice and place: no state to carry, so the same place of the same
//! answer draws the same number in whatever order sequences are computed.

/// A uniform number in [0, 1) with 53 bits.
pub(super) fn uniform(seed: u64, choice: u32, place: u64) -> f64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let stream = mix(mix(seed.wrapping_add(GOLDEN)) ^ u64::from(choice));
    let bits = mix(mix(stream.wrapping_add(place.wrapping_mul(GOLDEN))) ^ stream);
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The finaliser of SplitMix64: a bijection in which every input bit sways every output bit.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chi-square over 64 cells, 63 degrees of freedom: beyond 115 only once in 10⁴ for a fair source.
    fn chi_square(numbers: impl Iterator<Item = f64>) -> f64 {
        let mut cells = [0u32; 64];
        let mut count = 0.0;
        for number in numbers {
            assert!((0.0..1.0).contains(&number));
            cells[(number * 64.0) as usize] += 1;
            count += 1.0;
        }
        let expected = count / 64.0;
        cells.iter().map(|&cell| (f64::from(cell) - expected).powi(2) / expected).sum()
    }

    #[test]
    fn each_coordinate_alone_is_uniform() {
        for fixed in [0, 1, u64::MAX] {
            assert!(chi_square((0..64_000).map(|place| uniform(fixed, 0, place))) < 115.0);
            assert!(chi_square((0..64_000).map(|seed| uniform(seed, 0, fixed))) < 115.0);
            assert!(chi_square((0..64_000).map(|choice| uniform(fixed, choice, 7))) < 115.0);
        }
    }

    #[test]
    fn neighbours_are_independent() {
        let pairs = (0..64_000).map(|place| {
            let (here, next) = (uniform(9, 0, place), uniform(9, 0, place + 1));
            ((here * 8.0).floor() * 8.0 + (next * 8.0).floor()) / 64.0
        });
        assert!(chi_square(pairs) < 115.0);
    }
}
