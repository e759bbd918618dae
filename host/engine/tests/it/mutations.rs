//! Damaged and hostile model files: at least ten thousand mutations of small valid ones, each taken from the bytes to
//! the model, the tokenizer and one decode where it loads. None panics, and none allocates beyond a cap.
//!
//! Every mutation is made by a fixed rule, so that a failure names one that can be run again. The cap counts what this
//! thread holds at most; the pool has one thread, so that this thread does all the work.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lockgate_engine::gguf::{Gguf, Limits, Metadata, Value};
use lockgate_engine::model::{Mix, Shape, random_model};
use lockgate_engine::tokenizer::{Specials, Tokenizer};

use super::allocations::allocation_peak;
use super::one_decode::{Outcome, run};

/// A file of this size may make the engine hold this much: it is for the file's own copies, the tokenizer's tables and
/// a cache of 64 tokens, with room to spare.
const PEAK_BYTES_MAX: usize = 24 << 20;

#[track_caller]
pub(crate) fn check(bytes: Vec<u8>, what: &dyn Fn() -> String) -> Outcome {
    let (result, peak_bytes) = allocation_peak(|| catch_unwind(AssertUnwindSafe(|| run(bytes))));
    let outcome = result.unwrap_or_else(|_| panic!("{} panics", what()));
    assert!(peak_bytes <= PEAK_BYTES_MAX, "{} makes {peak_bytes} bytes be held", what());
    outcome
}

pub(crate) const TINY: Shape = Shape {
    architecture: "llama",
    layers: 1,
    hidden: 32,
    feed_forward: 32,
    heads: 2,
    kv_heads: 1,
    head_dim: 16,
    vocabulary: 280,
    context: 64,
    norm_epsilon: 1e-5,
    rope_base: 10_000.0,
    tied: true,
    rope_factor: Some(8.0),
};

/// The files that are mutated: a tied Llama with byte-level BPE, a Qwen 2 with SPM, and a vocabulary alone.
pub(crate) fn files() -> Vec<(&'static str, Vec<u8>)> {
    let whole = |shape: &Shape, mix: &str, tokenizer: &Metadata| {
        let gguf = random_model(shape, Mix::named(mix).unwrap(), 5, tokenizer).unwrap();
        copy(&gguf, true)
    };
    let qwen2 = Shape { architecture: "qwen2", hidden: 256, tied: false, rope_factor: None, ..TINY };
    let vocabulary = random_model(&TINY, Mix::named("q8_0").unwrap(), 5, &byte_pair()).unwrap();
    vec![
        ("llama", whole(&TINY, "q8_0", &byte_pair())),
        ("qwen2", whole(&qwen2, "q4_k_m", &sentence_piece())),
        ("vocabulary", copy(&vocabulary, false)),
    ]
}

fn copy(gguf: &Gguf, tensors: bool) -> Vec<u8> {
    let mut writer = lockgate_engine::gguf::GgufWriter::new();
    for (key, value) in gguf.metadata().iter() {
        writer.metadata(key, value.clone());
    }
    for tensor in gguf.tensors().filter(|_| tensors) {
        let mut data = vec![0; tensor.size_bytes as usize];
        gguf.read_data(tensor, 0, &mut data).unwrap();
        writer.tensor(&tensor.name, &tensor.dimensions, tensor.tensor_type, data);
    }
    writer.finish()
}

/// Byte-level BPE over all bytes, with a few merges and control tokens: 280 tokens.
pub(crate) fn byte_pair() -> Metadata {
    // GPT-2's alphabet: printable bytes stand for themselves, the others for characters from 256 on.
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut others = 256;
    let mut tokens: Vec<String> = (0..=255u8)
        .map(|byte| {
            let code = if printable(byte) { u32::from(byte) } else { others };
            others += u32::from(!printable(byte));
            char::from_u32(code).unwrap().to_string()
        })
        .collect();
    tokens.extend(["ab", "ba", "Ġb", "abba"].map(str::to_owned));
    while tokens.len() < 280 {
        tokens.push(format!("<|control_{}|>", tokens.len()));
    }
    let kinds: Vec<i32> = tokens.iter().map(|token| if token.starts_with("<|") { 3 } else { 1 }).collect();
    let mut metadata = Metadata::new();
    metadata.insert("tokenizer.ggml.model", "gpt2");
    metadata.insert("tokenizer.ggml.pre", "smollm");
    metadata.insert("tokenizer.ggml.tokens", tokens);
    metadata.insert("tokenizer.ggml.token_type", kinds);
    metadata.insert("tokenizer.ggml.merges", vec!["a b", "b a", "Ġ b", "ab ba"]);
    metadata.insert("tokenizer.ggml.bos_token_id", 260u32);
    metadata.insert("tokenizer.ggml.eos_token_id", 261u32);
    metadata.insert("tokenizer.ggml.add_bos_token", true);
    metadata
}

/// SPM with all bytes and a few pieces: 280 tokens.
pub(crate) fn sentence_piece() -> Metadata {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["▁", "a", "b", "▁a", "ab", "▁ab", "ba", "abba"].map(str::to_owned));
    while tokens.len() < 280 {
        tokens.push(format!("piece{}", tokens.len()));
    }
    let kinds: Vec<i32> =
        (0..280).map(|id| [2, 3, 3].get(id).copied().unwrap_or(if id < 259 { 6 } else { 1 })).collect();
    let mut metadata = Metadata::new();
    metadata.insert("tokenizer.ggml.model", "llama");
    metadata.insert("tokenizer.ggml.tokens", tokens);
    metadata.insert("tokenizer.ggml.token_type", kinds);
    metadata
        .insert("tokenizer.ggml.scores", Value::from((0..280).map(|id| -(id as f32)).collect::<Vec<_>>()));
    metadata.insert("tokenizer.ggml.bos_token_id", 1u32);
    metadata.insert("tokenizer.ggml.eos_token_id", 2u32);
    metadata.insert("tokenizer.ggml.unknown_token_id", 0u32);
    metadata
}

/// Where the numbers of a directory stand: lengths, counts, types, offsets and dimensions.
pub(crate) fn fields(bytes: &[u8]) -> Vec<(usize, usize)> {
    Walk { bytes, at: 0, fields: Vec::new() }.file()
}

/// An independent walk through a valid file that notes each number's place and width.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    fields: Vec<(usize, usize)>,
}

impl Walk<'_> {
    fn number(&mut self, width: usize) -> usize {
        let mut value = [0; 8];
        value[..width].copy_from_slice(&self.bytes[self.at..self.at + width]);
        self.fields.push((self.at, width));
        self.at += width;
        u64::from_le_bytes(value) as usize
    }

    fn string(&mut self) {
        let length = self.number(8);
        self.at += length;
    }

    fn value(&mut self, value_type: usize) {
        match value_type {
            0 | 1 | 7 => self.at += 1,
            2 | 3 => self.at += 2,
            4..=6 => {
                self.number(4);
            }
            8 => self.string(),
            9 => {
                let (element_type, count) = (self.number(4), self.number(8));
                (0..count).for_each(|_| self.value(element_type));
            }
            _ => {
                self.number(8);
            }
        }
    }

    fn file(mut self) -> Vec<(usize, usize)> {
        self.at = 4;
        self.number(4);
        let (tensors, keys) = (self.number(8), self.number(8));
        for _ in 0..keys {
            self.string();
            let value_type = self.number(4);
            self.value(value_type);
        }
        for _ in 0..tensors {
            self.string();
            let dimensions = self.number(4);
            for _ in 0..dimensions {
                self.number(8);
            }
            self.number(4);
            self.number(8);
        }
        self.fields
    }
}

/// Numbers that have broken readers: edges of widths, products that wrap, negative lengths.
pub(crate) const HOSTILE: [u64; 14] = [
    0,
    1,
    2,
    3,
    9,
    255,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    1 << 60,
    (1 << 63) + 1,
    u64::MAX / 4 + 2,
    u64::MAX,
];

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit.max(1)
    }
}

#[test]
fn the_files_are_valid_before_they_are_mutated() {
    let [llama, qwen2, vocabulary] = files().try_into().expect("three files");
    assert_eq!(check(llama.1, &|| llama.0.to_owned()), Outcome::Decoded);
    assert_eq!(check(qwen2.1, &|| qwen2.0.to_owned()), Outcome::Decoded);
    let gguf = Gguf::read(Box::new(vocabulary.1), "vocabulary", &Limits::default()).unwrap();
    let tokenizer = Tokenizer::from_metadata(gguf.metadata()).expect("a valid tokenizer");
    assert_eq!(tokenizer.encode("abba", Specials::AsModel).unwrap(), [260, 259]);
}

#[test]
fn no_mutation_panics_or_allocates_without_bound() {
    let mut counts = std::collections::BTreeMap::new();
    let mut count = |outcome: Outcome| *counts.entry(format!("{outcome:?}")).or_insert(0) += 1;
    for (name, original) in files() {
        let fields = fields(&original);
        let directory_end = fields.iter().map(|(at, width)| at + width).max().unwrap();
        // Every number of the directory that is not an element of a long array: each hostile value, and its neighbours.
        let numbers: Vec<_> = fields.iter().copied().filter(|(_, width)| *width >= 4).collect();
        let step = numbers.len().div_ceil(160);
        for (at, width) in numbers.iter().copied().step_by(step) {
            let mut value = [0; 8];
            value[..width].copy_from_slice(&original[at..at + width]);
            let value = u64::from_le_bytes(value);
            for hostile in
                HOSTILE.into_iter().chain([value.wrapping_add(1), value.wrapping_sub(1), value << 8])
            {
                let mut bytes = original.clone();
                bytes[at..at + width].copy_from_slice(&hostile.to_le_bytes()[..width]);
                count(check(bytes, &|| format!("{name}: {hostile:#x} at byte {at}")));
            }
        }
        let mut random = Random(original.len() as u64);
        for number in 0..1_500 {
            let mut bytes = original.clone();
            for _ in 0..=random.below(3) {
                // Mostly where the directory is; weights may hold anything.
                let end = if random.below(8) == 0 { bytes.len() } else { directory_end };
                let at = random.below(end);
                bytes[at] ^= 1 << random.below(8);
            }
            count(check(bytes, &|| format!("{name}: flips number {number}")));
        }
        for number in 0..500 {
            let length = random.below(original.len());
            count(check(original[..length].to_vec(), &|| format!("{name}: cut {number}, to {length} bytes")));
        }
        for number in 0..500 {
            // Pieces moved within the file: strings become numbers, names become types.
            let mut bytes = original.clone();
            let length = 1 + random.below(40);
            let (from, to) = (random.below(directory_end - length), random.below(directory_end - length));
            bytes.copy_within(from..from + length, to);
            count(check(bytes, &|| format!("{name}: move {number}, {length} bytes from {from} to {to}")));
        }
    }
    let total: usize = counts.values().sum();
    assert!(total >= 10_000, "{total} mutations");
    // Were all refused at the door, nothing behind it would have been tested.
    assert!(counts.get("Decoded").is_some_and(|count| *count >= 500), "{counts:?}");
    assert!(counts.get("Refused").is_some_and(|count| *count >= 2_000), "{counts:?}");
}
