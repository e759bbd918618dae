//! Sixteen bytes at a time: which of them are letters, digits, `@`, `\\`, or beyond ASCII, and at which a word of a
//! table may begin.
//!
//! WebAssembly has instructions for it; elsewhere, where only tests run, the same is done byte by byte.

/// Bytes looked at together.
pub const BYTES: usize = 16;
/// Bytes that tell whether a word of a table may begin.
pub(crate) const BEGINNING: usize = 5;
/// The bytes behind a block that are looked at with it.
const BYTES_BEHIND: usize = BEGINNING - 1;

/// A block and the bytes behind it; zeros behind the text's end.
pub type Window = [u8; BYTES + BYTES_BEHIND];

/// One bit a byte, the first byte's the lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    /// `a` to `z` in either case.
    pub letters: u16,
    /// `0` to `9`.
    pub digits: u16,
    /// `@`.
    pub at: u16,
    /// A backslash.
    pub backslash: u16,
    /// Part of a character beyond ASCII.
    pub high: u16,
    /// The byte after the next one is `0` to `9`.
    pub digit_third: u16,
}

/// Which first bytes the words of a table have: for each of them by its low and its high half, eight sets of words
/// side by side as the bits of a byte. (As in Hyperscan's Teddy: Wang et al., "Hyperscan", NSDI 2019.)
pub(crate) type Beginnings = [[[u8; 16]; 2]; BEGINNING];

/// A byte with the difference between upper and lower case taken away, and other differences with it.
pub(crate) const fn fold(byte: u8) -> u8 {
    byte | 0x20
}

/// Whether a byte belongs to a word: an ASCII letter or digit, or part of any other character.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// Calls `look` with the window at `base`.
pub fn with_window<T>(text: &[u8], base: usize, look: impl FnOnce(&Window) -> T) -> T {
    let rest = &text[base..];
    match rest.first_chunk() {
        Some(window) => look(window),
        None => {
            let mut window = [0; BYTES + BYTES_BEHIND];
            window[..rest.len()].copy_from_slice(rest);
            look(&window)
        }
    }
}

impl Masks {
    /// Bytes that belong to a word.
    pub fn word(self) -> u16 {
        self.letters | self.digits | self.high
    }
}

#[cfg(all(target_family = "wasm", target_feature = "simd128"))]
mod wide {
    use core::arch::wasm32::{
        i8x16_swizzle, i64x2, u8x16_bitmask, u8x16_eq, u8x16_le, u8x16_shr, u8x16_splat, u8x16_sub, v128,
        v128_and, v128_or,
    };

    use super::{BYTES, Beginnings, Masks, Window};

    fn vector(bytes: &[u8; BYTES]) -> v128 {
        let whole = u128::from_le_bytes(*bytes);
        i64x2(whole as i64, (whole >> 64) as i64)
    }

    /// The sixteen bytes from `FROM` on.
    fn load<const FROM: usize>(window: &Window) -> v128 {
        match window[FROM..].first_chunk() {
            Some(bytes) => vector(bytes),
            None => u8x16_splat(0),
        }
    }

    fn within(bytes: v128, first: u8, count: u8) -> u16 {
        u8x16_bitmask(u8x16_le(u8x16_sub(bytes, u8x16_splat(first)), u8x16_splat(count - 1)))
    }

    impl Masks {
        /// Of a window's first sixteen bytes.
        pub fn of(window: &Window) -> Self {
            let bytes = load::<0>(window);
            Self {
                letters: within(v128_or(bytes, u8x16_splat(0x20)), b'a', 26),
                digits: within(bytes, b'0', 10),
                at: u8x16_bitmask(u8x16_eq(bytes, u8x16_splat(b'@'))),
                backslash: u8x16_bitmask(u8x16_eq(bytes, u8x16_splat(b'\\'))),
                high: u8x16_bitmask(bytes),
                digit_third: within(load::<2>(window), b'0', 10),
            }
        }
    }

    /// Where a word may begin.
    pub(crate) fn may_begin(window: &Window, beginnings: &Beginnings) -> u16 {
        let sets = |bytes: v128, [low, high]: &[[u8; 16]; 2]| {
            let bytes = v128_or(bytes, u8x16_splat(0x20));
            let by_low = i8x16_swizzle(vector(low), v128_and(bytes, u8x16_splat(0x0f)));
            v128_and(by_low, i8x16_swizzle(vector(high), u8x16_shr(bytes, 4)))
        };
        let [first, second, third, fourth, fifth] = beginnings;
        let all = v128_and(
            v128_and(
                v128_and(sets(load::<0>(window), first), sets(load::<1>(window), second)),
                v128_and(sets(load::<2>(window), third), sets(load::<3>(window), fourth)),
            ),
            sets(load::<4>(window), fifth),
        );
        !u8x16_bitmask(u8x16_eq(all, u8x16_splat(0)))
    }
}

#[cfg(not(all(target_family = "wasm", target_feature = "simd128")))]
mod wide {
    use super::{BEGINNING, BYTES, Beginnings, Masks, Window, fold};

    impl Masks {
        /// Of a window's first sixteen bytes.
        pub fn of(window: &Window) -> Self {
            let mut masks = Self::default();
            for (number, byte) in window[..BYTES].iter().enumerate() {
                let bit = |is: bool| u16::from(is) << number;
                masks.letters |= bit(byte.is_ascii_alphabetic());
                masks.digits |= bit(byte.is_ascii_digit());
                masks.at |= bit(*byte == b'@');
                masks.backslash |= bit(*byte == b'\\');
                masks.high |= bit(*byte >= 0x80);
                masks.digit_third |= bit(window[number + 2].is_ascii_digit());
            }
            masks
        }
    }

    /// Where a word may begin.
    pub(crate) fn may_begin(window: &Window, beginnings: &Beginnings) -> u16 {
        let mut places = 0;
        for number in 0..BYTES {
            let sets = (0..BEGINNING).fold(0xff, |sets, place| {
                let (byte, [low, high]) = (fold(window[number + place]), &beginnings[place]);
                sets & low[usize::from(byte & 15)] & high[usize::from(byte >> 4)]
            });
            places |= u16::from(sets != 0) << number;
        }
        places
    }
}

pub(crate) use wide::may_begin;
