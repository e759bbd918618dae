//! Rotation, the cache, and attention over it, for decoding and prompts, on every head size and both cache formats,
//! against the f64 reference. Everything in the cache that no row may see is NaN.

mod common;

use common::{check, device, half, numbers};
use half::f16;
use lockgate_kernels::attention::PAGE_TOKENS;
use lockgate_kernels::cuda::attention::{
    DeviceAttention, DeviceKv, DeviceRope, HEAD_DIMS, Heads, KvFormat, KvShape, NO_SLOT, decode,
    decode_scratch, prefill, rope_and_keep,
};
use lockgate_kernels::cuda::memory::{Device, DeviceBuffer};
use lockgate_kernels::cuda::reference::{self, Weighing};
use lockgate_kernels::cuda::split::Splitting;
use lockgate_kernels::rope::Pairing;

const PAGES: usize = 128;

/// What a cache in 8 bits keeps of a key or a value, and one in f16.
fn kept(format: KvFormat, head: &[f32]) -> Vec<f32> {
    match format {
        KvFormat::F16 => head.iter().map(|&value| half(value)).collect(),
        KvFormat::Q8_0 => head
            .chunks(32)
            .flat_map(|group| {
                let greatest = group.iter().fold(0.0_f32, |greatest, value| greatest.max(value.abs()));
                let scale = half(greatest / 127.0);
                let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
                group
                    .iter()
                    .map(move |value| half(scale * (value * inverse).clamp(-127.0, 127.0).round_ties_even()))
            })
            .collect(),
    }
}

/// Sequences with their keys and values in a cache.
struct Scene {
    device: Device,
    shape: KvShape,
    heads: usize,
    cache: DeviceKv,
    /// Of each sequence, all tokens.
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    tokens: Vec<usize>,
    /// How far the pages of a sequence lie apart.
    stride: usize,
}

fn still(device: &Device, head_dim: usize) -> DeviceRope {
    let pairs = head_dim / 2;
    let table: Vec<f32> = (0..2 * pairs).map(|at| if at < pairs { 1.0 } else { 0.0 }).collect();
    DeviceRope { pairing: Pairing::Split, pairs, table: device.upload(&table).expect("memory") }
}

impl Scene {
    fn new(number: usize, shape: KvShape, heads: usize, tokens: &[usize]) -> Scene {
        let device = device(number);
        let cache = DeviceKv::new(&device, shape, PAGES).expect("memory");
        let width = shape.kv_heads * shape.head_dim;
        let story = |seed: u64| -> Vec<Vec<f32>> {
            tokens.iter().enumerate().map(|(at, tokens)| numbers(seed + at as u64, tokens * width)).collect()
        };
        let mut scene = Scene {
            device,
            shape,
            heads,
            cache,
            keys: story(10 + number as u64),
            values: story(900 + number as u64),
            tokens: tokens.to_vec(),
            stride: tokens.len(),
        };
        let everywhere: Vec<u32> = (0..(PAGES * PAGE_TOKENS) as u32).collect();
        let nan = vec![f32::NAN; everywhere.len() * width];
        scene.keep(&everywhere, &nan, &nan);
        for sequence in 0..tokens.len() {
            let slots: Vec<u32> = (0..scene.tokens[sequence])
                .map(|at| scene.page(sequence, at / PAGE_TOKENS) * 16 + (at % PAGE_TOKENS) as u32)
                .collect();
            let (keys, values) = (scene.keys[sequence].clone(), scene.values[sequence].clone());
            scene.keep(&slots, &keys, &values);
        }
        scene
    }

    /// Pages lie scattered, and no sequence's beside its own.
    fn page(&self, sequence: usize, index: usize) -> u32 {
        ((sequence + index * self.stride) * 37 % PAGES) as u32
    }

    fn keep(&mut self, slots: &[u32], keys: &[f32], values: &[f32]) {
        let (device, dim) = (self.device.clone(), self.shape.head_dim);
        let upload = |numbers: &[f32]| device.upload(numbers).expect("memory");
        let indices = |numbers: &[u32]| device.upload(numbers).expect("memory");
        let heads = Heads {
            rows: slots.len(),
            heads: 0,
            q: &upload(&[]),
            k: &upload(keys),
            v: &upload(values),
            norms: None,
            epsilon: 0.0,
            positions: &indices(&vec![0; slots.len()]),
            slots: &indices(slots),
        };
        let mut queries = device.allocate(0).expect("memory");
        rope_and_keep(&device, &heads, &still(&device, dim), &mut self.cache, &mut queries).expect("it runs");
    }

    /// Computes the last `rows[i]` rows of each sequence and compares each with the reference; what came of it.
    fn check(&self, rows: &[usize], weighing: Weighing, split: bool) -> Vec<f32> {
        let dim = self.shape.head_dim;
        let (total, width) = (rows.iter().sum::<usize>(), self.heads * dim);
        let queries: Vec<f32> = numbers(77, total * width).iter().map(|&query| half(2.0 * query)).collect();
        let bits: Vec<u16> = queries.iter().map(|&query| f16::from_f32(query).to_bits()).collect();
        let (mut sequences, mut pages, mut first) = (Vec::new(), Vec::new(), 0);
        let splitting = Splitting::new(self.device.multiprocessors(), self.shape.kv_heads);
        for (sequence, (&tokens, &rows)) in self.tokens.iter().zip(rows).enumerate() {
            sequences.extend([first, rows as u32, (tokens - rows) as u32, pages.len() as u32]);
            sequences.push(splitting.part_tokens(tokens) as u32);
            first += rows as u32;
            let needed = tokens.div_ceil(PAGE_TOKENS);
            pages.extend((0..needed).map(|index| {
                // Pages that no row sees are not looked at, whatever the table says.
                let end = (index + 1) * PAGE_TOKENS;
                let unseen = weighing.window > 0 && end + weighing.window <= tokens - rows + 1;
                if unseen { u32::MAX } else { self.page(sequence, index) }
            }));
        }
        let upload = |numbers: &[u32]| self.device.upload(numbers).expect("memory");
        let (queries_there, sequences) = (self.device.upload(&bits).expect("memory"), upload(&sequences));
        let parts = self.tokens.iter().map(|&tokens| splitting.parts(tokens)).max().unwrap_or(1);
        let job = DeviceAttention {
            heads: self.heads,
            rows: total,
            scale: weighing.scale as f32,
            cap: weighing.cap as f32,
            window: weighing.window,
            queries: &queries_there,
            sequences: &sequences,
            pages: &upload(&pages),
            count: rows.len(),
            rows_max: rows.iter().copied().max().unwrap_or(0),
            parts,
        };
        let mut out: DeviceBuffer<f32> = self.device.allocate(total * width).expect("memory");
        if split {
            let scratch = decode_scratch(total, self.heads, dim, parts);
            let mut scratch = self.device.allocate(scratch).expect("memory");
            decode(&self.device, &job, &self.cache, &mut scratch, &mut out).expect("it runs");
        } else {
            prefill(&self.device, &job, &self.cache, &mut out).expect("it runs");
        }
        let out = out.to_vec().expect("there");
        self.compare(rows, weighing, &queries, &out);
        out
    }

    fn compare(&self, rows: &[usize], weighing: Weighing, queries: &[f32], out: &[f32]) {
        let (dim, kv_heads) = (self.shape.head_dim, self.shape.kv_heads);
        let mut row = 0;
        for (sequence, (&tokens, &rows)) in self.tokens.iter().zip(rows).enumerate() {
            let heads_of = |all: &[f32], kv_head: usize| -> Vec<Vec<f32>> {
                let head = |token: &[f32]| kept(self.shape.format, &token[kv_head * dim..][..dim]);
                all.chunks(kv_heads * dim).map(head).collect()
            };
            for kv_head in 0..kv_heads {
                let keys = heads_of(&self.keys[sequence], kv_head);
                let values = heads_of(&self.values[sequence], kv_head);
                let group = self.heads / kv_heads;
                for own in 0..rows {
                    let seen = tokens - rows + own + 1;
                    for head in kv_head * group..(kv_head + 1) * group {
                        let at = ((row + own) * self.heads + head) * dim;
                        let query = &queries[at..at + dim];
                        let expected = reference::attention(query, &keys[..seen], &values[..seen], weighing);
                        for (d, expected) in expected.into_iter().enumerate() {
                            let context = format!(
                                "{:?}, {weighing:?}, sequence {sequence} of {tokens}, row {own}, head {head}, {d}",
                                self.shape
                            );
                            // Weights are rounded to f16 before they meet the values, which are within 1.
                            check(out[at + d], expected, 1e-3, &context);
                        }
                    }
                }
            }
            row += rows;
        }
    }
}

fn shape(kv_heads: usize, head_dim: usize, format: KvFormat) -> KvShape {
    KvShape { kv_heads, head_dim, format }
}

fn plain(head_dim: usize) -> Weighing {
    Weighing { scale: 1.0 / (head_dim as f64).sqrt(), cap: 0.0, window: 0 }
}

fn shapes() -> impl Iterator<Item = (usize, usize, KvFormat)> {
    let formats = [KvFormat::F16, KvFormat::Q8_0];
    let all = HEAD_DIMS.into_iter().flat_map(move |dim| formats.map(|format| (dim, format)));
    let known = all.filter(|&(dim, format)| shape(1, dim, format).page_bytes().is_some());
    known.enumerate().map(|(number, (dim, format))| (number, dim, format))
}

#[test]
fn decoding_equals_the_reference_on_every_head_size_group_and_length() {
    for (number, dim, format) in shapes() {
        let groups = [[1, 16], [2, 7], [3, 4], [8, 5]][number % 4];
        for (at, group) in groups.into_iter().enumerate() {
            let kv_heads = 1 + at;
            let scene = Scene::new(
                number + at,
                shape(kv_heads, dim, format),
                kv_heads * group,
                &[1, 15, 16, 17, 63, 65, 130],
            );
            scene.check(&[1; 7], plain(dim), true);
        }
    }
}

#[test]
fn long_sequences_are_split_and_put_together() {
    for (number, format) in [KvFormat::F16, KvFormat::Q8_0].into_iter().enumerate() {
        let mut scene = Scene::new(number, shape(1, 64, format), 3, &[600, 5, 513]);
        scene.check(&[1, 1, 1], plain(64), true);
        scene.check(&[1, 1, 1], Weighing { window: 80, ..plain(64) }, true);
        scene.check(&[1, 1, 1], Weighing { window: 200, cap: 3.0, ..plain(64) }, true);
        // A few rows at once, as in drafting ahead.
        scene.check(&[4, 2, 5], plain(64), true);
        // On cards that have more to do at once: parts of 128 and of 64.
        for multiprocessors in [5, 100] {
            scene.device = scene.device.with_multiprocessors(multiprocessors);
            scene.check(&[1, 1, 1], plain(64), true);
            scene.check(&[1, 1, 1], Weighing { window: 80, ..plain(64) }, true);
            scene.check(&[4, 2, 5], plain(64), true);
        }
    }
}

/// How a sequence is split is its own affair: what comes of it has the same bits whoever else is in the batch.
#[test]
fn a_sequence_is_split_by_its_own_length_alone() {
    for (number, format) in [KvFormat::F16, KvFormat::Q8_0].into_iter().enumerate() {
        // Alone it has three parts, one, or three; beside it are sequences of eleven, or of longer ones.
        for (lengths, multiprocessors) in [([130, 660, 40], 9), ([40, 130, 660], 30), ([257, 5, 600], 3)] {
            let mut scene = Scene::new(number, shape(1, 64, format), 3, &lengths);
            scene.device = scene.device.with_multiprocessors(multiprocessors);
            let together = scene.check(&[1; 3], plain(64), true);
            scene.tokens.truncate(1);
            // Its pages lie where they lay.
            scene.stride = lengths.len();
            let alone = scene.check(&[1], plain(64), true);
            let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&alone), bits(&together[..alone.len()]), "{format:?}, {lengths:?}");
        }
    }
}

#[test]
fn prompts_equal_the_reference_on_every_head_size_group_and_chunk() {
    for (number, dim, format) in shapes() {
        let groups = [[1, 16], [3, 2], [7, 4], [8, 5]][number % 4];
        for (at, group) in groups.into_iter().enumerate() {
            let scene = Scene::new(number + at, shape(1 + at, dim, format), (1 + at) * group, &[1, 40, 90]);
            // Alone, a chunk in the middle of a page, a chunk behind a past.
            scene.check(&[1, 40, 7], plain(dim), false);
        }
    }
}

#[test]
fn windows_and_caps_hold_in_prompts_and_decodes() {
    for window in [1, 7, 16, 64, 100] {
        for cap in [0.0, 2.0] {
            let weighing = Weighing { window, cap, ..plain(64) };
            let scene = Scene::new(window, shape(2, 64, KvFormat::F16), 4, &[150, 64, 9]);
            scene.check(&[70, 64, 1], weighing, false);
            scene.check(&[1, 1, 1], weighing, true);
        }
    }
}

#[test]
fn heads_are_normed_rotated_and_kept() {
    for (number, pairing) in [Pairing::Split, Pairing::Interleaved, Pairing::Split].into_iter().enumerate() {
        let (dim, pairs, heads, kv_heads, rows) = (80, [40, 40, 16][number], 5, 2, 3);
        let device = device(number);
        let (q, k, v) = (
            numbers(1, rows * heads * dim),
            numbers(2, rows * kv_heads * dim),
            numbers(3, rows * kv_heads * dim),
        );
        let (q_norm, k_norm) = (numbers(4, dim), numbers(5, dim));
        let positions = [7_u32, 0, 30];
        let slots = [NO_SLOT, 5 * 16 + 3, 2 * 16 + 15];
        let angle = |position: u32, pair: usize| {
            f64::from(position) * 10_000_f64.powf(-2.0 * pair as f64 / dim as f64)
        };
        let table: Vec<f32> = (0..31)
            .flat_map(|position| {
                let cosines = (0..pairs).map(move |pair| angle(position, pair).cos() as f32);
                cosines.chain((0..pairs).map(move |pair| angle(position, pair).sin() as f32))
            })
            .collect();
        let upload = |numbers: &[f32]| device.upload(numbers).expect("memory");
        let shape = shape(kv_heads, dim, KvFormat::F16);
        let mut cache = DeviceKv::new(&device, shape, 8).expect("memory");
        let mut queries = device.allocate(rows * heads * dim).expect("memory");
        let with_norms = number != 1;
        let (q_norm_there, k_norm_there) = (upload(&q_norm), upload(&k_norm));
        let job = Heads {
            rows,
            heads,
            q: &upload(&q),
            k: &upload(&k),
            v: &upload(&v),
            norms: with_norms.then_some((&q_norm_there, &k_norm_there)),
            epsilon: 1e-6,
            positions: &device.upload(&positions).expect("memory"),
            slots: &device.upload(&slots).expect("memory"),
        };
        let rope = DeviceRope { pairing, pairs, table: upload(&table) };
        rope_and_keep(&device, &job, &rope, &mut cache, &mut queries).expect("it runs");

        let turned = |head: &[f32], norm: &[f32], position: u32| -> Vec<f64> {
            let mut head: Vec<f64> = match with_norms {
                true => reference::rms_norm(head, norm, 1e-6),
                false => head.iter().map(|&value| f64::from(value)).collect(),
            };
            for pair in 0..pairs {
                let (first, second) = match pairing {
                    Pairing::Split => (pair, pair + pairs),
                    Pairing::Interleaved => (2 * pair, 2 * pair + 1),
                };
                let (sine, cosine) = angle(position, pair).sin_cos();
                let (a, b) = (head[first], head[second]);
                (head[first], head[second]) = (a * cosine - b * sine, b * cosine + a * sine);
            }
            head
        };
        let queries = queries.to_vec().expect("there");
        for (row, &position) in positions.iter().enumerate() {
            for head in 0..heads {
                let at = (row * heads + head) * dim;
                for (d, expected) in turned(&q[at..at + dim], &q_norm, position).into_iter().enumerate() {
                    let got = f16::from_bits(queries[at + d]).to_f32();
                    check(
                        got,
                        expected,
                        6e-4 * expected.abs() + 1e-6,
                        &format!("row {row}, head {head}, {d}"),
                    );
                }
            }
        }
        // Attention of one token gives its value back; two tokens tell the keys by their weights.
        let mut scratch = device.allocate(0).expect("memory");
        for (row, slot) in [(1, slots[1]), (2, slots[2])] {
            assert_eq!(slot % 16, [0, 3, 15][row]);
            let key = turned(&k[row * kv_heads * dim..][..dim], &k_norm, positions[row]);
            let bits: Vec<u16> = (0..heads * dim).map(|d| f16::from_f64(key[d % dim]).to_bits()).collect();
            let pages = device.upload(&[slot / 16]).expect("memory");
            let sequence = device.upload(&[0_u32, 1, slot % 16, 0, 64]).expect("memory");
            let attention = DeviceAttention {
                heads,
                rows: 1,
                scale: 100.0,
                cap: 0.0,
                window: 0,
                queries: &device.upload(&bits).expect("memory"),
                sequences: &sequence,
                pages: &pages,
                count: 1,
                rows_max: 1,
                parts: 1,
            };
            let mut wrong = device.allocate::<f32>(heads * dim).expect("memory");
            // 5 heads do not share 2.
            assert!(decode(&device, &attention, &cache, &mut scratch, &mut wrong).is_err());
            let attention = DeviceAttention {
                heads: 2,
                queries: &device.upload(&bits[..2 * dim]).expect("memory"),
                ..attention
            };
            let mut out = device.allocate::<f32>(2 * dim).expect("memory");
            decode(&device, &attention, &cache, &mut scratch, &mut out).expect("it runs");
            // Of the zeros and the one token that was kept, its own key finds it.
            for (d, &got) in out.to_vec().expect("there")[..dim].iter().enumerate() {
                check(
                    got,
                    f64::from(half(v[row * kv_heads * dim + d])),
                    1e-6,
                    &format!("value {d} of row {row}"),
                );
            }
        }
    }
}

#[test]
fn copied_pages_are_the_pages() {
    let mut scene = Scene::new(0, shape(2, 64, KvFormat::Q8_0), 4, &[16, 16]);
    let (from, to) = (scene.page(0, 0), scene.page(1, 0));
    let device = scene.device.clone();
    let last = PAGES as u32 - 1;
    for (from, to, count) in [(from, last + 1, 1), (0, last, 2), (last, 0, 2), (0, 1, 2), (2, 0, 3)] {
        assert!(scene.cache.copy_pages(&device, from, to, count).is_err(), "{count} from {from} to {to}");
    }
    scene.cache.copy_pages(&device, from, to, 1).expect("both exist");
    scene.keys[1] = scene.keys[0].clone();
    scene.values[1] = scene.values[0].clone();
    scene.check(&[1, 1], plain(64), true);
}

#[test]
fn shapes_without_a_kernel_are_refused() {
    let device = device(0);
    let refusal = |shape: KvShape| DeviceKv::new(&device, shape, 1).expect_err("refused").to_string();
    assert!(refusal(shape(1, 72, KvFormat::F16)).contains("head sizes are [64, 80, 96, 128, 256]"));
    assert!(refusal(shape(1, 80, KvFormat::Q8_0)).contains("no attention kernel takes"));
    assert!(refusal(shape(0, 64, KvFormat::F16)).contains("no attention kernel takes"));
}
