//! Sixteen bytes at a time: which of them are letters, digits, `@`, or beyond ASCII.
//!
//! WebAssembly has instructions for it; elsewhere, where only tests run, the same is done byte by byte.

/// Bytes looked at together.
pub const BYTES: usize = 16;

/// One bit a byte, the first byte's the lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    /// `a` to `z` in either case.
    pub letters: u16,
    /// `0` to `9`.
    pub digits: u16,
    /// `@`.
    pub at: u16,
    /// Part of a character beyond ASCII.
    pub high: u16,
}

/// Whether a byte belongs to a word: an ASCII letter or digit, or part of any other character.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

impl Masks {
    /// The sixteen bytes at `base`; those behind the text's end are nothing.
    pub fn of(text: &[u8], base: usize) -> Self {
        let rest = &text[base..];
        match rest.first_chunk::<BYTES>() {
            Some(block) => classify(*block),
            None => {
                let mut block = [0; BYTES];
                block[..rest.len()].copy_from_slice(rest);
                classify(block)
            }
        }
    }

    /// Bytes that belong to a word.
    pub fn word(self) -> u16 {
        self.letters | self.digits | self.high
    }
}

#[cfg(all(target_family = "wasm", target_feature = "simd128"))]
fn classify(block: [u8; BYTES]) -> Masks {
    use core::arch::wasm32::{i64x2, u8x16_bitmask, u8x16_eq, u8x16_le, u8x16_splat, u8x16_sub, v128_or};

    let whole = u128::from_le_bytes(block);
    let bytes = i64x2(whole as i64, (whole >> 64) as i64);
    let folded = v128_or(bytes, u8x16_splat(0x20));
    let within = |bytes, first: u8, count: u8| {
        u8x16_bitmask(u8x16_le(u8x16_sub(bytes, u8x16_splat(first)), u8x16_splat(count - 1)))
    };
    Masks {
        letters: within(folded, b'a', 26),
        digits: within(bytes, b'0', 10),
        at: u8x16_bitmask(u8x16_eq(bytes, u8x16_splat(b'@'))),
        high: u8x16_bitmask(bytes),
    }
}

#[cfg(not(all(target_family = "wasm", target_feature = "simd128")))]
fn classify(block: [u8; BYTES]) -> Masks {
    let mut masks = Masks::default();
    for (number, byte) in block.into_iter().enumerate() {
        let bit = |is: bool| u16::from(is) << number;
        masks.letters |= bit(byte.is_ascii_alphabetic());
        masks.digits |= bit(byte.is_ascii_digit());
        masks.at |= bit(byte == b'@');
        masks.high |= bit(byte >= 0x80);
    }
    masks
}
