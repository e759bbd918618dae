use proptest::prelude::*;

use super::*;

fn limits(blocks: usize, step_tokens_max: usize) -> Limits {
    Limits { waiting_max: 4, running_max: 4, step_tokens_max, blocks, block_tokens: 4 }
}

fn run(stage: &Stage) -> Vec<(u32, Begin, usize, usize, usize)> {
    stage.runs.iter().map(|run| (run.part, run.begin, run.position, run.computed, run.item)).collect()
}

fn tokens(count: usize) -> Vec<u32> {
    (0..count as u32).collect()
}

#[test]
fn continuations_branch_off_the_prompt_the_first_in_its_own_place() {
    let continuations = vec![tokens(1), tokens(3), tokens(2), tokens(6)];
    let (stages, blocks) = choice(tokens(6), continuations, &limits(100, 64));
    assert_eq!(stages.len(), 2);
    assert_eq!(run(&stages[0]), [(0, Begin::Open, 0, 6, 0)]);
    // The one of a single token is scored by the prompt's own logits.
    let expected = [(0, Begin::Rewind, 6, 2, 1), (1, Begin::Fork, 6, 1, 2), (2, Begin::Fork, 6, 5, 3)];
    assert_eq!(run(&stages[1]), expected);
    // Eight tokens in two; a copy of a half block and a token; the same and five tokens, which are seven.
    assert_eq!(blocks, 2 + 1 + 2);
}

#[test]
fn single_tokens_need_no_stage_of_their_own() {
    let (stages, blocks) = choice(tokens(6), vec![tokens(1); 3], &limits(100, 64));
    assert_eq!((stages.len(), blocks), (1, 2));
}

#[test]
fn a_cache_of_one_context_suffices_for_what_an_answer_could_be() {
    // Twelve tokens of a prompt and four of each continuation, in a context of sixteen.
    let (stages, blocks) = choice(tokens(11), vec![tokens(5), tokens(5), tokens(2)], &limits(4, 64));
    assert_eq!(blocks, 4);
    let begins: Vec<_> = stages[1..].iter().flat_map(run).map(|(_, begin, ..)| begin).collect();
    assert_eq!(begins, [Begin::Rewind; 3], "one after the other");
}

#[test]
fn texts_are_packed_into_about_a_pass() {
    let (stages, blocks) = texts([30, 30, 10, 200, 1].map(tokens).to_vec(), &limits(1000, 64));
    let items: Vec<Vec<usize>> =
        stages.iter().map(|stage| stage.runs.iter().map(|run| run.item).collect()).collect();
    assert_eq!(items, [vec![0, 1], vec![2], vec![3], vec![4]]);
    assert_eq!(blocks, 50);
    assert_eq!(run(&stages[0])[1], (1, Begin::Open, 0, 30, 1));
}

#[test]
fn few_blocks_hold_few_texts_at_once() {
    let (stages, blocks) = texts(vec![tokens(1); 10], &limits(16, 64));
    assert_eq!(stages.iter().map(|stage| stage.runs.len()).collect::<Vec<_>>(), [4, 4, 2]);
    assert_eq!(blocks, 4);
}

/// Blocks that a stage holds, counted from what its runs do.
fn held(stage: &Stage, prompt: usize, block_tokens: usize) -> usize {
    let blocks = |run: &Run| match run.begin {
        Begin::Open | Begin::Rewind => (run.position + run.computed).div_ceil(block_tokens),
        Begin::Fork => (run.position + run.computed).div_ceil(block_tokens) - prompt / block_tokens,
    };
    stage.runs.iter().map(blocks).sum()
}

proptest! {
    #[test]
    fn any_chunks_cover_every_token_once_and_in_order(
        lengths in prop::collection::vec(1..20usize, 1..12),
        prompt in 1..30usize,
        blocks in 13..40usize,
        chunks in prop::collection::vec(1..9usize, 1..200),
        choose in any::<bool>(),
    ) {
        let limits = limits(blocks, 24);
        let lists: Vec<Vec<u32>> = lengths.iter().map(|&length| tokens(length)).collect();
        let (stages, most) = match choose {
            true => choice(tokens(prompt), lists.clone(), &limits),
            false => texts(lists.clone(), &limits),
        };
        prop_assert!(most <= blocks, "what fits the cache alone is never planned beyond it");
        let mut chunks = chunks.into_iter().cycle();
        let mut computed: Vec<usize> = vec![0; lists.len()];
        for stage in &stages {
            prop_assert!(held(stage, prompt, 4) <= most);
            let size = stage.size().tokens;
            prop_assert!(size > 0);
            let mut done = 0;
            let mut ended = 0;
            while done < size {
                let chunk = chunks.next().unwrap_or(1).min(size - done);
                let mut count = 0;
                for piece in stage.pieces(done, chunk) {
                    count += piece.count;
                    if stage.kind == Kind::Prompt {
                        let last = piece.first + piece.count == prompt;
                        prop_assert_eq!(piece.wanted, if last { Wanted::Last } else { Wanted::None });
                        ended += usize::from(last);
                    } else {
                        prop_assert_eq!(piece.first, computed[piece.run.item]);
                        computed[piece.run.item] += piece.count;
                    }
                }
                prop_assert_eq!(count, chunk);
                done += chunk;
            }
            prop_assert_eq!(ended, usize::from(stage.kind == Kind::Prompt));
        }
        let expected: Vec<usize> = lengths.iter().map(|length| length - usize::from(choose)).collect();
        prop_assert_eq!(computed, expected);
    }
}
