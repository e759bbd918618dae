//! What a hook sees of a token's logits, and what its mask leaves of them.

use lockgate_api::Mask;

use super::Scratch;
use super::top::top;

/// The `count` most likely tokens by their raw logits, most likely first; tokens without any chance are left out.
pub(crate) fn most_likely(logits: &[f32], count: usize, scratch: &mut Scratch) -> Vec<(u32, f32)> {
    top(logits, count, &mut scratch.candidates);
    scratch.candidates.iter().map(|candidate| (candidate.token, candidate.value)).collect()
}

/// Takes away every chance that the mask does not leave.
pub(super) fn mask(mask: &Mask, scratch: &mut Scratch) {
    let Scratch { values, kept, .. } = scratch;
    match mask {
        Mask::All => {}
        Mask::Only(tokens) => {
            kept.clear();
            kept.extend(tokens.iter().filter_map(|&token| Some((token, *values.get(token as usize)?))));
            values.fill(f32::NEG_INFINITY);
            for &(token, value) in &*kept {
                values[token as usize] = value;
            }
        }
        Mask::Never(tokens) => {
            for &token in tokens {
                if let Some(value) = values.get_mut(token as usize) {
                    *value = f32::NEG_INFINITY;
                }
            }
        }
    }
}
