//! [`Splitting`]: into how many parts a decode splits a sequence, each part a block of threads of its own.
//!
//! A long sequence read by few blocks leaves most of a card idle; many short parts cost more to put together than they save.
//! Sums have the order that the parts give them, so that how a sequence is split depends on its own length and on what
//! never changes, not on the batch: an answer has the same bits whoever else is answered. Pure numbers; the launch is
//! [`super::attention`]'s.

/// Tokens that a part may have, what is cheapest to put together first. Each is a multiple of the least, which is a page for
/// each of a block's warps.
const PART_TOKENS: [usize; 4] = [512, 256, 128, 64];

/// Sequences up to so long are one part: the launch that puts parts together would take longer than it saves.
const WHOLE_TOKENS: usize = 128;

/// How a device splits sequences with so many key-value heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splitting {
    /// Parts from which on a single sequence gives each multiprocessor a block.
    enough: usize,
}

impl Splitting {
    /// For a device with so many multiprocessors: a part is a block for each key-value head.
    #[must_use]
    pub fn new(multiprocessors: usize, kv_heads: usize) -> Splitting {
        Splitting { enough: multiprocessors.div_ceil(kv_heads.max(1)).max(1) }
    }

    /// Tokens of each part of a sequence of so many: the most that leave enough parts, or the least there is.
    #[must_use]
    pub fn part_tokens(self, tokens: usize) -> usize {
        let [coarsest, .., finest] = PART_TOKENS;
        if tokens <= WHOLE_TOKENS {
            return coarsest;
        }
        let leaves_enough = |part: &usize| tokens.div_ceil(*part) >= self.enough;
        PART_TOKENS.into_iter().find(leaves_enough).unwrap_or(finest)
    }

    /// Parts of a sequence of so many tokens, at least one.
    #[must_use]
    pub fn parts(self, tokens: usize) -> usize {
        tokens.div_ceil(self.part_tokens(tokens)).max(1)
    }

    /// The most parts of any sequence of up to so many tokens.
    #[must_use]
    pub fn parts_max(self, tokens: usize) -> usize {
        // Parts become coarser where the next coarser ones are enough: each has most just before.
        let longest = PART_TOKENS.map(|coarser| tokens.min((self.enough - 1) * coarser));
        longest.into_iter().chain([tokens]).map(|tokens| self.parts(tokens)).max().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of an H100.
    const MULTIPROCESSORS: usize = 132;

    #[test]
    fn a_single_sequence_fills_a_card() {
        let of = |kv_heads, tokens| {
            let splitting = Splitting::new(MULTIPROCESSORS, kv_heads);
            (splitting.part_tokens(tokens), splitting.parts(tokens) * kv_heads)
        };
        // Llama 3 has 8 key-value heads, Qwen2.5-7B has 4: parts and blocks at depths 4096 and 32768.
        assert_eq!((of(8, 4096), of(4, 4096)), ((128, 256), (64, 256)));
        assert_eq!((of(8, 32_768), of(4, 32_768)), ((512, 512), (512, 256)));
        // Too short for all of a card: as many as there are, and one for a handful.
        assert_eq!(
            (of(8, 1000), of(8, 129), of(8, 128), of(8, 0)),
            ((64, 128), (64, 24), (512, 8), (512, 8))
        );
    }

    #[test]
    fn a_device_of_which_nothing_is_known_has_long_parts() {
        let splitting = Splitting::new(1, 8);
        assert_eq!([1, 512, 513, 4096].map(|tokens| splitting.parts(tokens)), [1, 1, 2, 8]);
        assert_eq!(splitting.parts_max(4096), 8);
    }

    proptest! {
        #[test]
        fn every_token_has_a_part_and_every_part_a_place(
            multiprocessors in 0_usize..200,
            kv_heads in 0_usize..33,
            tokens in 0_usize..40_000,
            more in 0_usize..40_000,
        ) {
            let splitting = Splitting::new(multiprocessors, kv_heads);
            let (part_tokens, parts) = (splitting.part_tokens(tokens), splitting.parts(tokens));
            prop_assert!(part_tokens.is_multiple_of(64) && parts > 0);
            prop_assert!(parts * part_tokens >= tokens && (parts - 1) * part_tokens < tokens.max(1));
            prop_assert!(parts <= splitting.parts_max(tokens + more));
            if tokens > WHOLE_TOKENS && tokens >= 64 * multiprocessors {
                prop_assert!(parts * kv_heads.max(1) >= multiprocessors);
            }
        }
    }

    #[test]
    fn room_is_for_what_comes_and_no_more() {
        for (multiprocessors, kv_heads) in [(132, 8), (132, 1), (84, 2), (20, 4), (1, 1)] {
            let splitting = Splitting::new(multiprocessors, kv_heads);
            let mut most = 0;
            for tokens in 0..20_000 {
                most = most.max(splitting.parts(tokens));
                if tokens % 97 == 0 {
                    assert_eq!(splitting.parts_max(tokens), most, "{splitting:?}, {tokens} tokens");
                }
            }
        }
    }
}
