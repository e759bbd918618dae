//! The cache's promises: a block has one owner but for what forks share, all come back, and a refusal changes nothing.

use std::collections::HashSet;

use lockgate_kernels::attention::KvFormat;
use proptest::prelude::*;

use super::*;

const LAYOUT: KvLayout = KvLayout { kv_heads: 1, head_dim: 2, format: KvFormat::F16 };

#[derive(Clone, Debug)]
enum Action {
    New,
    Reserve(usize, usize),
    Advance(usize, usize),
    Truncate(usize, usize),
    Fork(usize),
    Duplicate(usize),
    Drop(usize),
}

fn action() -> impl Strategy<Value = Action> {
    let (which, tokens) = (0..8usize, 0..100usize);
    prop_oneof![
        Just(Action::New),
        (which.clone(), tokens.clone()).prop_map(|(which, tokens)| Action::Reserve(which, tokens)),
        (which.clone(), tokens.clone()).prop_map(|(which, tokens)| Action::Advance(which, tokens)),
        (which.clone(), tokens).prop_map(|(which, tokens)| Action::Truncate(which, tokens)),
        which.clone().prop_map(Action::Fork),
        which.clone().prop_map(Action::Duplicate),
        which.prop_map(Action::Drop),
    ]
}

proptest! {
    #[test]
    fn a_block_has_one_owner_or_is_shared_by_forks_and_none_is_lost(
        total in 0..12u32,
        actions in prop::collection::vec(action(), 0..60),
    ) {
        let mut cache = Cache::new(&[LAYOUT], total).expect("a few bytes");
        let mut sequences: Vec<Sequence> = Vec::new();
        for action in actions {
            match action {
                Action::New => sequences.push(cache.sequence()),
                Action::Reserve(which, tokens) => {
                    if let Some(sequence) = sequences.get_mut(which) {
                        let (before, free) = (sequence.pages().to_vec(), cache.blocks_free());
                        let needed = tokens.div_ceil(BLOCK_TOKENS).saturating_sub(before.len());
                        match sequence.reserve(tokens) {
                            Ok(()) => {
                                prop_assert!(sequence.pages().starts_with(&before));
                                prop_assert_eq!(sequence.pages().len(), before.len() + needed);
                            }
                            Err(error) => {
                                prop_assert!(needed > free);
                                prop_assert_eq!(error, OutOfBlocks { needed, free, total: total as usize });
                                prop_assert_eq!(sequence.pages(), before);
                            }
                        }
                    }
                }
                Action::Advance(which, tokens) => {
                    if let Some(sequence) = sequences.get_mut(which) {
                        let room = sequence.pages().len() * BLOCK_TOKENS - sequence.tokens();
                        sequence.advance(tokens.min(room));
                    }
                }
                Action::Truncate(which, tokens) => {
                    if let Some(sequence) = sequences.get_mut(which) {
                        let tokens = tokens.max(sequence.shared * BLOCK_TOKENS);
                        let expected = sequence.tokens().min(tokens);
                        sequence.truncate(tokens);
                        prop_assert_eq!(sequence.tokens(), expected);
                        prop_assert_eq!(sequence.pages().len(), expected.div_ceil(BLOCK_TOKENS));
                    }
                }
                Action::Fork(which) => {
                    if let Some(parent) = sequences.get_mut(which) {
                        let (free, whole) = (cache.blocks_free(), parent.tokens() / BLOCK_TOKENS);
                        let rest = usize::from(!parent.tokens().is_multiple_of(BLOCK_TOKENS));
                        match cache.fork(parent) {
                            Ok(child) => {
                                prop_assert_eq!(child.tokens(), parent.tokens());
                                prop_assert_eq!(&child.pages()[..whole], &parent.pages()[..whole]);
                                prop_assert_eq!(child.pages().len(), whole + rest);
                                prop_assert_eq!(cache.blocks_free() + rest, free);
                                sequences.push(child);
                            }
                            Err(_) => prop_assert!((free, rest) == (0, 1)),
                        }
                    }
                }
                Action::Duplicate(which) => {
                    if let Some(original) = sequences.get(which) {
                        let (free, needed) = (cache.blocks_free(), original.tokens().div_ceil(BLOCK_TOKENS));
                        match cache.duplicate(original) {
                            Ok(copy) => {
                                prop_assert_eq!((copy.tokens(), copy.shared), (original.tokens(), 0));
                                prop_assert_eq!(cache.blocks_free() + needed, free);
                                sequences.push(copy);
                            }
                            Err(_) => prop_assert!(needed > free),
                        }
                    }
                }
                Action::Drop(which) => {
                    if which < sequences.len() {
                        drop(sequences.swap_remove(which));
                    }
                }
            }
            let held: Vec<u32> = sequences.iter().flat_map(|sequence| sequence.pages().iter().copied()).collect();
            let distinct: HashSet<u32> = held.iter().copied().collect();
            // What a sequence may still write to is its own.
            for (index, sequence) in sequences.iter().enumerate() {
                let own: HashSet<u32> = sequence.pages()[sequence.shared..].iter().copied().collect();
                for (_, other) in sequences.iter().enumerate().filter(|(other, _)| *other != index) {
                    prop_assert!(other.pages().iter().all(|block| !own.contains(block)));
                }
            }
            prop_assert!(held.iter().all(|block| *block < total));
            prop_assert_eq!(distinct.len() + cache.blocks_free(), total as usize);
        }
        drop(sequences);
        prop_assert_eq!(cache.blocks_free(), total as usize);
    }
}

#[test]
fn low_blocks_come_first_and_positions_find_their_slots() {
    let cache = Cache::new(&[LAYOUT], 4).unwrap();
    let mut sequence = cache.sequence();
    sequence.reserve(17).unwrap();
    assert_eq!(sequence.pages(), [0, 1]);
    assert_eq!(sequence.slot(16), Some(Slot { page: 1, offset: 0 }));
    assert_eq!(sequence.slot(32), None);
    assert!(cache.owns(&sequence));
    assert!(!Cache::new(&[LAYOUT], 4).unwrap().owns(&sequence));
}

#[test]
fn capacity_follows_context_and_memory() {
    let layouts = [KvLayout { kv_heads: 2, head_dim: 64, format: KvFormat::F16 }; 3];
    let block = block_bytes(&layouts);
    assert_eq!(block, 3 * 2 * 2 * 64 * 16 * 2);
    let capacity = |context, sequences, memory_bytes_max| {
        Capacity { context, sequences, memory_bytes_max }.blocks(&layouts)
    };
    assert_eq!(capacity(100, 3, None), Ok(21));
    assert_eq!(capacity(100, 3, Some(block * 10)), Ok(10));
    assert_eq!(capacity(100, 3, Some(block * 7)), Ok(7));
    assert_eq!(capacity(100, 3, Some(block * 7 - 1)), Err(96));
}
