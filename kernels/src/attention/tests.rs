use std::num::NonZeroUsize;

use half::f16;
use proptest::prelude::*;

use super::naive::{attend_row, kept};
use super::{Attention, KvFormat, KvLayout, KvPages, PAGE_TOKENS, Sequence, Slot, Workspace, attend_with};
use crate::cpu::Level;
use crate::cpu::simd::Enter;
use crate::pool::ThreadPool;
use crate::test_support::{WidePlain, bits, numbers};

fn pool(threads: usize) -> ThreadPool {
    ThreadPool::new(NonZeroUsize::new(threads).expect("at least one thread"))
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    layout: KvLayout,
    group: usize,
}

fn shape(kv_heads: usize, group: usize, head_dim: usize) -> Shape {
    Shape { layout: KvLayout { kv_heads, head_dim, format: KvFormat::F16 }, group }
}

impl Shape {
    fn heads(self) -> usize {
        self.layout.kv_heads * self.group
    }

    fn query_width(self) -> usize {
        self.heads() * self.layout.head_dim
    }

    /// The same with a cache in 8 bits.
    fn in_eight_bits(self) -> Shape {
        Shape { layout: KvLayout { format: KvFormat::Q8_0, ..self.layout }, ..self }
    }

    fn kv_width(self) -> usize {
        self.layout.kv_heads * self.layout.head_dim
    }

    fn scale(self) -> f32 {
        1.0 / (self.layout.head_dim as f32).sqrt()
    }
}

/// A sequence with the inputs of all its tokens; `seed` makes it.
struct Story {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    tokens: usize,
}

impl Story {
    fn new(shape: Shape, tokens: usize, seed: u64) -> Story {
        // Scores of some tens, so that the softmax has both dominant and vanishing weights.
        let queries = numbers(seed, tokens * shape.query_width()).iter().map(|value| value * 8.0).collect();
        let keys = numbers(seed + 1, tokens * shape.kv_width()).iter().map(|value| value * 4.0).collect();
        let values = numbers(seed + 2, tokens * shape.kv_width());
        Story { queries, keys, values, tokens }
    }

    /// The f64 reference for one row: all heads.
    fn expected(&self, shape: Shape, position: usize) -> Vec<f64> {
        let head_dim = shape.layout.head_dim;
        let mut out = Vec::new();
        for head in 0..shape.heads() {
            let rows = |all: &'_ [f32]| -> Vec<Vec<f64>> {
                let of = |token: usize| (token * shape.layout.kv_heads + head / shape.group) * head_dim;
                let head = |token| &all[of(token)..][..head_dim];
                (0..=position).map(|token| kept(shape.layout.format, head(token))).collect()
            };
            let (keys, values) = (rows(&self.keys), rows(&self.values));
            let keys: Vec<&[f64]> = keys.iter().map(Vec::as_slice).collect();
            let values: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
            let query = &self.queries[position * shape.query_width() + head * head_dim..][..head_dim];
            out.extend(attend_row(query, &keys, &values, f64::from(shape.scale())));
        }
        out
    }
}

/// Sequences under way in one cache, their pages interleaved and out of order.
struct Batch<'a> {
    shape: Shape,
    stories: &'a [Story],
    pages: KvPages,
    tables: Vec<Vec<u32>>,
    done: Vec<usize>,
}

impl<'a> Batch<'a> {
    fn new(shape: Shape, stories: &'a [Story]) -> Batch<'a> {
        let needed: Vec<usize> = stories.iter().map(|story| story.tokens.div_ceil(PAGE_TOKENS)).collect();
        let total: usize = needed.iter().sum::<usize>() + 1;
        let mut pages = KvPages::new(shape.layout, total).expect("memory for a test");
        // What a page held before must not matter, not even if it is not a number.
        let everywhere = (0..total * PAGE_TOKENS)
            .map(|token| Slot { page: (token / PAGE_TOKENS) as u32, offset: token % PAGE_TOKENS });
        let poison = vec![f32::NAN; total * PAGE_TOKENS * shape.kv_width()];
        pages.append(&pool(1), Level::detect(), &everywhere.collect::<Vec<_>>(), &poison, &poison);
        let mut free: Vec<u32> = (0..total as u32).rev().collect();
        free.rotate_left(total / 3);
        let tables = needed.iter().map(|&count| free.split_off(free.len() - count)).collect();
        Batch { shape, stories, pages, tables, done: vec![0; stories.len()] }
    }

    /// Computes the next `rows[i]` tokens of each sequence in one call; the outputs of each sequence.
    fn advance<E: Enter>(
        &mut self,
        pool: &ThreadPool,
        enter: E,
        workspace: &mut Workspace,
        rows: &[usize],
    ) -> Vec<Vec<f32>> {
        let (width, kv_width) = (self.shape.query_width(), self.shape.kv_width());
        let mut queries = Vec::new();
        let mut sequences = Vec::new();
        for (index, story) in self.stories.iter().enumerate() {
            let (from, to) = (self.done[index], self.done[index] + rows[index]);
            let table = &self.tables[index];
            let slots: Vec<Slot> = (from..to).map(|at| Slot::of(table, at).expect("pages suffice")).collect();
            let (keys, values) = (&story.keys[from * kv_width..], &story.values[from * kv_width..]);
            let length = rows[index] * kv_width;
            self.pages.append_with(pool, enter, &slots, &keys[..length], &values[..length]);
            queries.extend_from_slice(&story.queries[from * width..to * width]);
            sequences.push(Sequence { pages: table, first_position: from, rows: rows[index] });
            self.done[index] = to;
        }
        let mut out = vec![f32::NAN; queries.len()];
        let job = Attention {
            pages: &self.pages,
            heads: self.shape.heads(),
            scale: self.shape.scale(),
            sequences: &sequences,
            queries: &queries,
        };
        attend_with(pool, enter, &job, workspace, &mut out).expect("memory for a test");
        let mut rest = out.as_slice();
        rows.iter()
            .map(|rows| {
                let (own, others) = rest.split_at(rows * width);
                rest = others;
                own.to_vec()
            })
            .collect()
    }
}

/// All outputs of one story computed on its own, in chunks.
fn outputs<E: Enter>(shape: Shape, story: &Story, threads: usize, enter: E, chunk: usize) -> Vec<f32> {
    let (pool, mut workspace) = (pool(threads), Workspace::default());
    let mut batch = Batch::new(shape, std::slice::from_ref(story));
    let mut all = Vec::new();
    for from in (0..story.tokens).step_by(chunk) {
        let rows = chunk.min(story.tokens - from);
        all.extend(batch.advance(&pool, enter, &mut workspace, &[rows]).remove(0));
    }
    all
}

/// Compares every row of `out` (or those that `rows` selects) with the reference; values are within ±1.
fn check(shape: Shape, story: &Story, out: &[f32], rows: impl Iterator<Item = usize>, context: &str) {
    for position in rows {
        let expected = story.expected(shape, position);
        let got = &out[position * shape.query_width()..][..shape.query_width()];
        for (index, (&got, &expected)) in got.iter().zip(&expected).enumerate() {
            let error = (f64::from(got) - expected).abs();
            assert!(error < 2e-5, "{context}: row {position}, element {index}: {got}, not {expected}");
        }
    }
}

#[test]
fn every_level_equals_the_reference_over_shapes_and_all_levels_agree_to_the_bit() {
    let groups = [(2, 1, 64), (1, 3, 64), (2, 4, 64), (1, 7, 128), (1, 8, 80), (2, 3, 96), (1, 4, 256)];
    let odd = [(1, 2, 8), (2, 1, 24), (1, 3, 72), (1, 5, 1), (1, 1, 17), (1, 100, 16)];
    let eight_bits = [(2, 1, 64), (1, 3, 96), (1, 7, 128), (1, 16, 32), (1, 4, 256)];
    let halves = groups.into_iter().chain(odd).map(|(kv_heads, group, dim)| shape(kv_heads, group, dim));
    let eights = eight_bits.map(|(kv_heads, group, dim)| shape(kv_heads, group, dim).in_eight_bits());
    for shape in halves.chain(eights) {
        let head_dim = shape.layout.head_dim;
        for tokens in [1, 15, 16, 17, 63, 64, 65] {
            let story = Story::new(shape, tokens, tokens as u64 * 31 + head_dim as u64);
            let scalar = outputs(shape, &story, 1, Level::Scalar, tokens);
            let context = format!("{shape:?}, {tokens} tokens");
            check(
                shape,
                &story,
                &scalar,
                (0..tokens).filter(|row| row % 7 == 0 || row + 2 >= tokens),
                &context,
            );
            assert_eq!(bits(&scalar), bits(&outputs(shape, &story, 1, WidePlain, tokens)), "{context}, wide");
            for &level in Level::available() {
                for chunk in [1, tokens] {
                    let got = outputs(shape, &story, 2, level, chunk);
                    assert_eq!(bits(&scalar), bits(&got), "{context}, {level:?}, chunks of {chunk}");
                }
            }
        }
    }
}

#[test]
fn a_long_sequence_equals_the_reference_across_parts() {
    let eight_bits = (shape(1, 2, 64).in_eight_bits(), 1030);
    for (shape, tokens) in [(shape(1, 3, 64), 1000), (shape(2, 1, 80), 1100), eight_bits] {
        let story = Story::new(shape, tokens, 5);
        for &level in Level::available() {
            let out = outputs(shape, &story, 2, level, tokens);
            let rows = [0, 511, 512, 513, 575, 576, 800, tokens - 1];
            check(shape, &story, &out, rows.into_iter(), &format!("{shape:?}, {level:?}"));
        }
    }
}

#[test]
fn a_row_does_not_depend_on_chunks_threads_or_level() {
    for shape in [shape(3, 3, 64), shape(3, 3, 64).in_eight_bits()] {
        let story = Story::new(shape, 1040, 9);
        let level = Level::detect();
        let whole = bits(&outputs(shape, &story, 1, level, story.tokens));
        for (threads, chunk) in [(1, 1), (1, 7), (2, 1), (2, 64), (2, story.tokens), (5, 200)] {
            let got = bits(&outputs(shape, &story, threads, level, chunk));
            assert_eq!(whole, got, "{shape:?}, {threads} threads, chunks of {chunk}");
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_batch_around_it() {
    let shape = shape(2, 4, 64);
    let stories: Vec<Story> = [700, 3, 130, 64, 1, 555, 16, 90]
        .iter()
        .enumerate()
        .map(|(seed, &tokens)| Story::new(shape, tokens, seed as u64 * 10))
        .collect();
    let alone: Vec<Vec<u32>> =
        stories.iter().map(|story| bits(&outputs(shape, story, 1, Level::detect(), story.tokens))).collect();
    for threads in [1, 2] {
        let (pool, mut workspace) = (pool(threads), Workspace::default());
        let mut batch = Batch::new(shape, &stories);
        let mut together: Vec<Vec<u32>> = vec![Vec::new(); stories.len()];
        for step in 0.. {
            // Decodes and prompt chunks of different sizes, mixed and changing; some sequences pause.
            let rows: Vec<usize> = (0..stories.len())
                .map(|index| {
                    let wish = [1, 7, 0, 64, 1, 100, 13][(step + index * 3) % 7];
                    wish.min(stories[index].tokens - batch.done[index])
                })
                .collect();
            if stories.iter().zip(&batch.done).all(|(story, &done)| done == story.tokens) {
                break;
            }
            let outs = batch.advance(&pool, Level::detect(), &mut workspace, &rows);
            for (all, out) in together.iter_mut().zip(outs) {
                all.extend(bits(&out));
            }
        }
        assert_eq!(alone, together, "{threads} threads");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_schedule_gives_the_same_bits(
        kv_heads in 1_usize..4,
        group in 1_usize..9,
        head_dim in prop_oneof![1_usize..33, Just(64), Just(72)],
        eight_bits in any::<bool>(),
        tokens in 1_usize..600,
        chunks in prop::collection::vec(1_usize..80, 1..6),
        threads in 1_usize..4,
        seed in any::<u32>(),
    ) {
        let half = shape(kv_heads, group, head_dim);
        let takes = eight_bits && KvFormat::Q8_0.takes(head_dim);
        let shape = if takes { half.in_eight_bits() } else { half };
        let story = Story::new(shape, tokens, u64::from(seed));
        let level = Level::detect();
        let whole = outputs(shape, &story, 1, level, tokens);
        let (pool, mut workspace) = (pool(threads), Workspace::default());
        let mut batch = Batch::new(shape, std::slice::from_ref(&story));
        let mut got = Vec::new();
        for chunk in chunks.iter().cycle() {
            let rows = (*chunk).min(tokens - batch.done[0]);
            if rows == 0 {
                break;
            }
            got.extend(batch.advance(&pool, level, &mut workspace, &[rows]).remove(0));
        }
        prop_assert_eq!(bits(&whole), bits(&got));
    }
}

#[test]
fn extreme_values_stay_with_the_rows_that_see_them() {
    let shape = shape(1, 2, 64);
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE] {
        let clean = Story::new(shape, 200, 3);
        let mut story = Story::new(shape, 200, 3);
        let at = 70;
        story.keys[at * shape.kv_width() + 5] = poison;
        story.values[at * shape.kv_width() + 9] = poison;
        story.queries[at * shape.query_width() + 2] = poison;
        for &level in Level::available() {
            let expected = outputs(shape, &clean, 1, level, 200);
            let before = ..at * shape.query_width();
            for chunk in [1, 64, 200] {
                let got = outputs(shape, &story, 2, level, chunk);
                assert_eq!(
                    bits(&expected[before]),
                    bits(&got[before]),
                    "{poison}, {level:?}, chunks of {chunk}"
                );
            }
        }
    }
    // Scores far apart: the largest takes all, the others weigh exactly nothing.
    let mut story = Story::new(shape, 80, 4);
    story.keys.iter_mut().for_each(|key| *key = 0.0);
    story.keys[30 * 64] = 60_000.0;
    story.queries.iter_mut().for_each(|query| *query = 1.0);
    let out = outputs(shape, &story, 1, Level::detect(), 80);
    let value: Vec<f32> = story.values[30 * 64..31 * 64].iter().map(|&v| f16::from_f32(v).to_f32()).collect();
    assert_eq!(out[79 * 128..][..64], value[..]);
}

#[test]
fn an_empty_batch_and_idle_sequences_are_fine() {
    let shape = shape(1, 1, 16);
    let pages = KvPages::new(shape.layout, 0).expect("memory for a test");
    let idle = Sequence { pages: &[], first_position: 40, rows: 0 };
    for sequences in [&[][..], &[idle, idle]] {
        let job = Attention { pages: &pages, heads: 1, scale: 1.0, sequences, queries: &[] };
        super::attend(&pool(2), Level::detect(), &job, &mut Workspace::default(), &mut [])
            .expect("nothing to do");
    }
}

/// The message with which a call is refused.
fn refusal(change: impl FnOnce(&mut Attention, &mut Vec<f32>)) -> String {
    let layout = shape(2, 1, 16).layout;
    let pages = KvPages::new(layout, 3).expect("memory for a test");
    let queries = vec![1.0; 64];
    let sequences = [Sequence { pages: &[2, 0], first_position: 30, rows: 1 }];
    let mut job = Attention { pages: &pages, heads: 4, scale: 1.0, sequences: &sequences, queries: &queries };
    let mut out = vec![0.0; 64];
    change(&mut job, &mut out);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        super::attend(&pool(1), Level::detect(), &job, &mut Workspace::default(), &mut out)
    }));
    let payload = result.expect_err("refused");
    payload.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn calls_that_do_not_fit_together_are_refused() {
    assert!(refusal(|job, _| job.heads = 3).contains("3 query heads cannot share 2"));
    assert!(refusal(|job, _| job.heads = 0).contains("0 query heads"));
    assert!(refusal(|job, _| job.queries = &job.queries[..63]).contains("queries are not [1][4][16]"));
    assert!(refusal(|_, out| out.truncate(10)).contains("output's shape"));
    let sequence = |pages, first_position, rows| vec![Sequence { pages, first_position, rows }].leak();
    assert!(refusal(|job, _| job.sequences = sequence(&[2, 0], 32, 1)).contains("has 2 pages for 33 tokens"));
    assert!(refusal(|job, _| job.sequences = sequence(&[2, 3], 30, 1)).contains("names page 3"));
    assert!(refusal(|job, _| job.sequences = sequence(&[2], usize::MAX, 1)).contains("has 1 pages"));
}

#[test]
fn slots_follow_the_page_table() {
    assert_eq!(Slot::of(&[7, 3], 17), Some(Slot { page: 3, offset: 1 }));
    assert_eq!(Slot::of(&[7, 3], 32), None);
    let layout = shape(2, 1, 72).layout;
    assert_eq!(layout.page_bytes(), 2 * 16 * (72 + 80) * 2);
    let eight_bits = shape(2, 1, 96).in_eight_bits().layout;
    assert_eq!(eight_bits.page_bytes(), 2 * 16 * 2 * (96 + 3 * 2), "34 bytes of 32 numbers");
    assert!(KvPages::new(layout, usize::MAX / 2).is_err());
}

#[test]
fn appending_rounds_to_f16_and_the_later_row_wins() {
    let layout = shape(2, 1, 17).layout;
    let (keys, values) = (numbers(1, 12 * 34), numbers(2, 12 * 34));
    for &level in Level::available() {
        let mut pages = KvPages::new(layout, 2).expect("memory for a test");
        // Enough rows for the threads to share them; row 11 goes where row 0 went.
        let slots: Vec<Slot> = (0..12).map(|row| Slot { page: 1, offset: row % 11 }).collect();
        pages.append(&pool(2), level, &slots, &keys, &values);
        for (row, slot) in slots.iter().enumerate().skip(1) {
            for head in 0..2 {
                for d in 0..17 {
                    let from = (row * 2 + head) * 17 + d;
                    assert_eq!(pages.head::<f16>(1, head).keys[d][slot.offset], f16::from_f32(keys[from]));
                    assert_eq!(
                        pages.head::<f16>(1, head).values[slot.offset * 2 + d / 16][d % 16],
                        f16::from_f32(values[from])
                    );
                }
            }
        }
        assert!(
            pages.head::<f16>(0, 0).keys.as_flattened().iter().all(|half| half.to_bits() == 0),
            "another page was written"
        );
    }
}

/// What is read back is what the reference keeps, numbers of every size and zeros included; what is not a number makes its
/// group so, and infinity too.
#[test]
fn appending_in_eight_bits_keeps_values_of_their_scale() {
    let layout = shape(2, 1, 64).in_eight_bits().layout;
    let mut rows = numbers(5, 20 * 128);
    rows.iter_mut().enumerate().for_each(|(at, value)| *value *= [1.0, 1e-9, 300.0, 6e4][at / 32 % 4]);
    rows[..32].fill(0.0);
    rows[200] = f32::NAN;
    rows[300] = f32::INFINITY;
    for &level in Level::available() {
        let mut pages = KvPages::new(layout, 2).expect("memory for a test");
        let slots: Vec<Slot> =
            (0..20).map(|row| Slot { page: 1 - row / 16, offset: row as usize % 16 }).collect();
        pages.append(&pool(2), level, &slots, &rows, &rows);
        for (row, slot) in slots.iter().enumerate() {
            for head in 0..2 {
                let there = pages.head::<i8>(slot.page, head);
                let from = &rows[(row * 2 + head) * 64..][..64];
                for (d, expected) in kept(KvFormat::Q8_0, from).into_iter().enumerate() {
                    let scale = |scales: &[[f16; 16]]| scales[d / 32][slot.offset].to_f32();
                    let key = f32::from(there.keys[d][slot.offset]) * scale(there.key_scales);
                    let value =
                        f32::from(there.values[slot.offset * 4 + d / 16][d % 16]) * scale(there.value_scales);
                    for got in [key, value] {
                        let same = f64::from(got) == expected || got.is_nan() && expected.is_nan();
                        assert!(same, "row {row}, head {head}, {d}: {got}, not {expected}");
                    }
                    let far = (expected - f64::from(from[d])).abs();
                    let greatest =
                        from[d / 32 * 32..][..32].iter().fold(0.0_f32, |most, value| most.max(value.abs()));
                    let fine = far <= f64::from(greatest) / 250.0 + 1e-7;
                    assert!(fine || !greatest.is_finite() || expected.is_nan(), "{got}", got = from[d]);
                }
            }
        }
    }
    assert!(std::panic::catch_unwind(|| KvPages::new(shape(1, 1, 80).in_eight_bits().layout, 1)).is_err());
}

#[test]
fn a_copied_page_is_the_page_and_touches_no_other() {
    copies(shape(3, 1, 20).layout, |pages, page, head| {
        let head = pages.head::<f16>(page, head);
        format!("{:?}", (head.keys, head.values))
    });
    copies(shape(3, 1, 32).in_eight_bits().layout, |pages, page, head| {
        let head = pages.head::<i8>(page, head);
        format!("{:?}", (head.keys, head.values, head.key_scales, head.value_scales))
    });
}

fn copies(layout: KvLayout, head: impl Fn(&KvPages, u32, usize) -> String) {
    let mut pages = KvPages::new(layout, 4).expect("memory");
    let width = 3 * layout.head_dim;
    let slots: Vec<Slot> = (0..4 * PAGE_TOKENS)
        .map(|token| Slot { page: (token / PAGE_TOKENS) as u32, offset: token % PAGE_TOKENS })
        .collect();
    let (keys, values) = (numbers(1, slots.len() * width), numbers(2, slots.len() * width));
    pages.append(&pool(1), Level::detect(), &slots, &keys, &values);
    let all =
        |pages: &KvPages, page: u32| -> Vec<_> { (0..3).map(|number| head(pages, page, number)).collect() };
    let before: Vec<_> = (0..4).map(|page| all(&pages, page)).collect();
    assert_ne!(before[1], before[2]);
    pages.copy_page(1, 2);
    let expected = [&before[0], &before[1], &before[1], &before[3]];
    for (page, expected) in (0..4).zip(expected) {
        assert_eq!(&all(&pages, page), expected, "page {page}");
    }
}
