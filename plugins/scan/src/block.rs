//! Thirty-two bytes at a time: which of them are letters, digits, `@`, `\\`, or beyond ASCII, and at which a word of a
//! table may begin.
//!
//! WebAssembly has instructions for it; elsewhere, where only tests run, the same is done byte by byte.

/// Bytes looked at together.
pub const BYTES: usize = 32;
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
    pub letters: u32,
    /// `0` to `9`.
    pub digits: u32,
    /// `@`.
    pub at: u32,
    /// A backslash.
    pub backslash: u32,
    /// Part of a character beyond ASCII.
    pub high: u32,
    /// The byte after the next one is `0` to `9`.
    pub digit_third: u32,
}

/// Sets that the words of a table are divided into.
pub(crate) const SETS: usize = 16;
/// Sets whose bits share a byte.
pub(crate) const SETS_TOGETHER: usize = 8;

/// Which first bytes the words of a table have: for each of them by its low and its high half, eight sets of words
/// side by side as the bits of a byte, and the other eight behind them. (As in Hyperscan's Teddy: Wang et al.,
/// "Hyperscan", NSDI 2019.)
pub(crate) type Beginnings = [[[[u8; 16]; 2]; BEGINNING]; SETS / SETS_TOGETHER];

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
    pub fn word(self) -> u32 {
        self.letters | self.digits | self.high
    }
}

/// Those bytes of a window whose next but one is a digit.
fn before_digits(digits: u32, window: &Window) -> u32 {
    let behind = |place: usize| u32::from(window[BYTES + place].is_ascii_digit()) << (BYTES - 2 + place);
    digits >> 2 | behind(0) | behind(1)
}

#[cfg(all(target_family = "wasm", target_feature = "simd128"))]
mod wide {
    use core::arch::wasm32::{
        i8x16_swizzle, i64x2, u8x16_bitmask, u8x16_eq, u8x16_le, u8x16_shr, u8x16_splat, u8x16_sub, v128,
        v128_and, v128_or,
    };

    use super::{Beginnings, Masks, Window, before_digits};

    /// Bytes of a vector; a window's first bytes are two.
    const LANES: usize = 16;

    #[inline(always)]
    fn vector(bytes: &[u8; LANES]) -> v128 {
        let whole = u128::from_le_bytes(*bytes);
        i64x2(whole as i64, (whole >> 64) as i64)
    }

    /// The bytes from `FROM` on.
    #[inline(always)]
    fn load<const FROM: usize>(window: &Window) -> [v128; 2] {
        let (first, second) = window[FROM..].split_at(LANES);
        [first, second].map(|bytes| bytes.first_chunk().map_or(u8x16_splat(0), vector))
    }

    /// One bit for each byte of which `is` says so with all of its lane.
    #[inline(always)]
    fn bits(bytes: [v128; 2], is: impl Fn(v128) -> v128) -> u32 {
        let [first, second] = bytes.map(|bytes| u32::from(u8x16_bitmask(is(bytes))));
        first | second << LANES
    }

    #[inline(always)]
    fn within(bytes: v128, first: u8, count: u8) -> v128 {
        u8x16_le(u8x16_sub(bytes, u8x16_splat(first)), u8x16_splat(count - 1))
    }

    impl Masks {
        /// Of a window's first bytes.
        #[inline(always)]
        pub fn of(window: &Window) -> Self {
            let bytes = load::<0>(window);
            let digits = bits(bytes, |bytes| within(bytes, b'0', 10));
            Self {
                letters: bits(bytes, |bytes| within(v128_or(bytes, u8x16_splat(0x20)), b'a', 26)),
                digits,
                at: bits(bytes, |bytes| u8x16_eq(bytes, u8x16_splat(b'@'))),
                backslash: bits(bytes, |bytes| u8x16_eq(bytes, u8x16_splat(b'\\'))),
                high: bits(bytes, |bytes| bytes),
                digit_third: before_digits(digits, window),
            }
        }
    }

    /// Where a word may begin. In line with its callers, so that the beginnings are constants in the code rather than
    /// loads, each of which would be checked.
    #[inline(always)]
    pub(crate) fn may_begin(window: &Window, beginnings: &Beginnings) -> u32 {
        let mut some = [u8x16_splat(0xff); 2];
        let mut others = some;
        let mut meet = |bytes: [v128; 2], place: usize| {
            let bytes = bytes.map(|bytes| v128_or(bytes, u8x16_splat(0x20)));
            let low = bytes.map(|bytes| v128_and(bytes, u8x16_splat(0x0f)));
            let high = bytes.map(|bytes| u8x16_shr(bytes, 4));
            for (sets, beginnings) in [&mut some, &mut others].into_iter().zip(beginnings) {
                let [of_low, of_high] = beginnings[place].each_ref().map(vector);
                for half in 0..2 {
                    sets[half] = v128_and(sets[half], i8x16_swizzle(of_low, low[half]));
                    sets[half] = v128_and(sets[half], i8x16_swizzle(of_high, high[half]));
                }
            }
        };
        meet(load::<0>(window), 0);
        meet(load::<1>(window), 1);
        meet(load::<2>(window), 2);
        meet(load::<3>(window), 3);
        meet(load::<4>(window), 4);
        let all = [v128_or(some[0], others[0]), v128_or(some[1], others[1])];
        !bits(all, |sets| u8x16_eq(sets, u8x16_splat(0)))
    }
}

#[cfg(not(all(target_family = "wasm", target_feature = "simd128")))]
mod wide {
    use super::{BEGINNING, BYTES, Beginnings, Masks, Window, before_digits, fold};

    impl Masks {
        /// Of a window's first bytes.
        pub fn of(window: &Window) -> Self {
            let mut masks = Self::default();
            for (number, byte) in window[..BYTES].iter().enumerate() {
                let bit = |is: bool| u32::from(is) << number;
                masks.letters |= bit(byte.is_ascii_alphabetic());
                masks.digits |= bit(byte.is_ascii_digit());
                masks.at |= bit(*byte == b'@');
                masks.backslash |= bit(*byte == b'\\');
                masks.high |= bit(*byte >= 0x80);
            }
            masks.digit_third = before_digits(masks.digits, window);
            masks
        }
    }

    /// Where a word may begin.
    pub(crate) fn may_begin(window: &Window, beginnings: &Beginnings) -> u32 {
        let mut places = 0;
        for number in 0..BYTES {
            let may = beginnings.iter().any(|beginnings| {
                let sets = (0..BEGINNING).fold(0xff, |sets, place| {
                    let (byte, [low, high]) = (fold(window[number + place]), &beginnings[place]);
                    sets & low[usize::from(byte & 15)] & high[usize::from(byte >> 4)]
                });
                sets != 0
            });
            places |= u32::from(may) << number;
        }
        places
    }
}

pub(crate) use wide::may_begin;
