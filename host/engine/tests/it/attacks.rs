//! Each way in which model files have broken other engines, by name: what they read, this refuses, without a panic
//! and without memory that the file does not pay for.

use lockgate_engine::gguf::{Gguf, GgufWriter, Limits, Metadata, TensorType, Value};
use lockgate_engine::model::{LoadOptions, Mix, Model, random_model};
use lockgate_engine::tokenizer::Tokenizer;

use super::allocations::allocation_peak;
use super::mutations::{TINY, byte_pair, sentence_piece};
use super::one_decode::{Outcome, run};
use super::support::pool;

/// What a refused file of a few hundred bytes may cost: the read buffer and messages.
const SMALL_BYTES_MAX: usize = 256 << 10;

/// A file of raw numbers and strings, for what no writer would write.
#[derive(Default)]
struct Raw(Vec<u8>);

impl Raw {
    fn header(tensors: u64, keys: u64) -> Self {
        Self::default().bytes(b"GGUF").u32(3).u64(tensors).u64(keys)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn string(self, text: &str) -> Self {
        self.u64(text.len() as u64).bytes(text.as_bytes())
    }

    fn tensor(self, name: &str, dimensions: &[u64], tensor_type: u32, offset: u64) -> Self {
        let head = self.string(name).u32(dimensions.len() as u32);
        dimensions.iter().fold(head, |raw, size| raw.u64(*size)).u32(tensor_type).u64(offset)
    }
}

/// A file that the reader refuses with a message that contains `expected`, cheaply.
#[track_caller]
fn check_unreadable(raw: Raw, expected: &str) {
    let (result, peak) = allocation_peak(|| Gguf::read(Box::new(raw.0), "hostile.gguf", &Limits::default()));
    let message = result.expect_err("must be refused").to_string();
    assert!(message.starts_with("hostile.gguf: ") && message.contains(expected), "{message}");
    assert!(peak < SMALL_BYTES_MAX, "{peak} bytes for: {message}");
}

/// A readable file whose model is refused with a message that contains `expected`.
#[track_caller]
fn check_no_model(extra: &Metadata, expected: &str) {
    let gguf = random_model(&TINY, Mix::pure(TensorType::Q8_0), 1, extra);
    let result = gguf.map_err(|error| error.to_string()).and_then(|gguf| {
        let loaded = Model::load(&gguf, &LoadOptions::default(), &pool(1), &|_| {});
        loaded.map_err(|error| error.to_string())
    });
    let message = result.expect_err("must be refused");
    assert!(message.contains(expected), "{message}");
}

#[track_caller]
fn check_no_tokenizer(metadata: &Metadata, key: &str) {
    let message = Tokenizer::from_metadata(metadata).expect_err("must be refused").to_string();
    assert!(message.contains(key), "{message}");
}

fn with(mut metadata: Metadata, key: &str, value: impl Into<Value>) -> Metadata {
    metadata.insert(key, value);
    metadata
}

/// CVE-2025-53630 and CVE-2026-27940: the sizes of tensors, each possible, wrap when they are added up.
#[test]
fn tensor_sizes_that_wrap_when_summed() {
    let half = 1u64 << 61;
    let raw = Raw::header(2, 0).tensor("a", &[half], 0, 0).tensor("b", &[half], 0, 1 << 63);
    check_unreadable(raw, "tensor `a` needs 9223372036854775808 bytes but the file has 0 left");
    let raw = Raw::header(2, 0).tensor("a", &[1 << 60], 0, 0).tensor("b", &[1 << 60], 0, 1 << 62);
    check_unreadable(raw, "tensor `a` needs 4611686018427387904 bytes but the file has 0 left");
    let raw = Raw::header(1, 0).tensor("a", &[8], 0, u64::MAX - 31);
    check_unreadable(raw, "the end of tensor `a` overflows");
}

/// CVE-2026-33298: dimensions whose product wraps make an exabyte tensor pass for a small one.
#[test]
fn dimensions_whose_product_wraps() {
    for dimensions in [[1 << 32, 1 << 32], [(1 << 62) + 1, 4], [1 << 63, 2], [u64::MAX, u64::MAX]] {
        let raw = Raw::header(1, 0).tensor("a", &dimensions, 0, 0).bytes(&[0; 64]);
        check_unreadable(raw, "the size of tensor `a` overflows");
    }
}

/// CVE-2026-7482: a tensor that claims more than the file holds must not be read past its end.
#[test]
fn tensors_beyond_the_end_of_the_file() {
    let raw = Raw::header(1, 0).tensor("a", &[1024], 0, 0).bytes(&[7; 4000]);
    check_unreadable(raw, "tensor `a` needs 4096 bytes but the file has");
    let raw = Raw::header(1, 0).tensor("a", &[8], 0, 1 << 40).bytes(&[7; 64]);
    check_unreadable(raw, "tensor `a` needs 32 bytes but the file has 0 left");
}

/// A file of a few bytes that announces a great deal of metadata.
#[test]
fn tiny_files_that_announce_much() {
    check_unreadable(Raw::header(0, 1 << 60), "the length of the metadata is 1152921504606846976");
    check_unreadable(Raw::header(1 << 60, 0), "the length of the tensor directory is");
    check_unreadable(Raw::header(0, 16_000), "the metadata needs 208000 bytes");
    check_unreadable(Raw::header(60_000, 0), "the tensor directory needs");
    for element_type in [0, 4, 7, 8, 10] {
        let array = |count| Raw::header(0, 1).string("k").u32(9).u32(element_type).u64(count).bytes(&[0; 16]);
        check_unreadable(array(16 << 20), "the value of key `k` needs");
        check_unreadable(array(1 << 60), "the length of the value of key `k` is");
    }
    check_unreadable(
        Raw::header(0, 1).string("k").u32(8).u64(16 << 20).bytes(&[0; 16]),
        "needs 16777216 bytes",
    );
    check_unreadable(Raw::header(0, 1).u64(u64::MAX).bytes(&[0; 16]), "the length of a metadata key is");
}

/// A reservation of 2⁶⁰ elements before anything is checked.
#[test]
fn counts_that_would_be_reserved() {
    for count in [1 << 60, 1 << 61, u64::MAX / 8 + 1, u64::MAX] {
        check_unreadable(Raw::header(0, 1).string("k").u32(9).u32(10).u64(count), "over the limit");
        check_unreadable(Raw::header(0, 1).string("k").u32(9).u32(8).u64(count), "over the limit");
    }
}

/// An array of a type whose elements would take no bytes is a loop without an end.
#[test]
fn arrays_of_elements_without_bytes() {
    for element_type in [13, 14, 255, u32::MAX] {
        let raw = Raw::header(0, 1).string("k").u32(9).u32(element_type).u64(u64::MAX);
        check_unreadable(raw, &format!("key `k` has the unknown value type {element_type}"));
    }
    // Arrays of arrays, empty ones most of all.
    let raw = Raw::header(0, 1).string("k").u32(9).u32(9).u64(1 << 24).bytes(&[0; 64]);
    check_unreadable(raw, "key `k` holds an array of arrays");
}

/// A length that makes `position + length` wrap, so that a check of bounds passes.
#[test]
fn lengths_that_wrap_a_check_of_bounds() {
    for length in [u64::MAX, u64::MAX - 24, u64::MAX - 31, 1 << 63] {
        check_unreadable(Raw::header(0, 1).u64(length).bytes(&[b'k'; 32]), "the length of a metadata key");
        check_unreadable(
            Raw::header(0, 1).string("k").u32(8).u64(length),
            "the length of the value of key `k`",
        );
        check_unreadable(Raw::header(1, 0).u64(length).bytes(&[b'n'; 32]), "the length of a tensor name");
    }
}

/// A value of unknown type, skipped by a guess, puts all that follows out of step.
#[test]
fn unknown_types_are_not_skipped() {
    let raw = Raw::header(0, 2).string("a").u32(13).u32(0).string("b").u32(4).u32(1);
    check_unreadable(raw, "key `a` has the unknown value type 13");
    check_unreadable(
        Raw::header(1, 0).tensor("a", &[8], 4, 0).bytes(&[0; 64]),
        "tensor `a` has the unknown type 4",
    );
}

/// Offsets of tensors that nothing compares with each other or with the alignment.
#[test]
fn tensors_that_share_bytes_or_are_not_aligned() {
    let overlapping = Raw::header(2, 0).tensor("a", &[16], 0, 0).tensor("b", &[16], 0, 32).bytes(&[0; 256]);
    check_unreadable(overlapping, "tensors `a` and `b` overlap");
    let unaligned = Raw::header(1, 0).tensor("a", &[8], 0, 4).bytes(&[0; 256]);
    check_unreadable(unaligned, "not a multiple of the alignment 32");
}

/// An alignment of another type, of zero, or so large that rounding up to it wraps.
#[test]
fn alignments_that_wrap_or_are_of_another_type() {
    let file = |value_type: u32, value: &[u8]| {
        let head = Raw::header(1, 1).string("general.alignment").u32(value_type).bytes(value);
        head.tensor("a", &[8], 0, 0).bytes(&[0; 64])
    };
    for value in [0u32, 1, 3, 1 << 31, u32::MAX] {
        check_unreadable(file(4, &value.to_le_bytes()), &format!("`general.alignment` is {value};"));
    }
    check_unreadable(file(10, &(1u64 << 63).to_le_bytes()), "`general.alignment` is of type u64");
    check_unreadable(file(7, &[1]), "`general.alignment` is of type bool");
}

/// The same name twice, where a scan of all pairs would take a minute and the second would win.
#[test]
fn names_that_occur_twice() {
    let key = |raw: Raw| raw.string("k").u32(4).u32(1);
    check_unreadable(key(key(Raw::header(0, 2))), "key `k` occurs twice");
    let raw = Raw::header(2, 0).tensor("a", &[8], 0, 0).tensor("a", &[8], 0, 32).bytes(&[0; 128]);
    check_unreadable(raw, "tensor `a` occurs twice");
}

/// More layers than a fixed table has places.
#[test]
fn more_layers_than_a_table_has_places() {
    for (layers, expected) in [(513u32, "is missing"), (1025, "from 1 to 1024"), (u32::MAX, "from 1 to 1024")]
    {
        check_no_model(&with(Metadata::new(), "llama.block_count", layers), expected);
    }
}

/// CVE-2025-49847 and its kin: vocabularies that tables are not made for.
#[test]
fn vocabularies_at_odds_with_their_tables() {
    let key = "tokenizer.ggml.token_type";
    check_no_tokenizer(&with(byte_pair(), key, vec![1i32; 3]), key);
    check_no_tokenizer(
        &with(sentence_piece(), "tokenizer.ggml.scores", vec![0f32; 3]),
        "tokenizer.ggml.scores",
    );
    check_no_tokenizer(&with(byte_pair(), "tokenizer.ggml.tokens", Vec::<String>::new()), "tokenizer.ggml");
    // The model notices as well: a token id beyond the embedding would be read out of bounds.
    check_no_model(
        &with(Metadata::new(), "tokenizer.ggml.tokens", vec!["a"; 281]),
        "`tokenizer.ggml.tokens` is of 281 tokens",
    );
}

/// An array whose elements are taken for another type than they are.
#[test]
fn arrays_of_another_element_type() {
    for key in ["tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"] {
        check_no_tokenizer(&with(byte_pair(), key, vec![1.5f64; 280]), key);
        check_no_tokenizer(&with(byte_pair(), key, 7u32), key);
    }
    check_no_tokenizer(
        &with(sentence_piece(), "tokenizer.ggml.scores", vec!["0"; 280]),
        "tokenizer.ggml.scores",
    );
    check_no_model(
        &with(Metadata::new(), "tokenizer.ggml.tokens", vec![1u8; 280]),
        "must be an array of strings",
    );
}

/// Byte tokens whose number is negative, too long or not hexadecimal index outside a table of 256.
#[test]
fn byte_tokens_with_other_numbers() {
    for text in ["<0x-1>", "<0x100>", "<0xG0>", "<0x>", "<0x"] {
        let Some(Value::Array(array)) = sentence_piece().get("tokenizer.ggml.tokens").cloned() else {
            panic!()
        };
        let lockgate_engine::gguf::Array::Strings(mut tokens) = array else { panic!() };
        tokens[10] = text.to_owned();
        check_no_tokenizer(&with(sentence_piece(), "tokenizer.ggml.tokens", tokens), "tokenizer.ggml.tokens");
    }
}

/// Special tokens outside the vocabulary.
#[test]
fn special_tokens_outside_the_vocabulary() {
    for id in [280u32, 1 << 31, u32::MAX] {
        for key in ["tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"] {
            check_no_tokenizer(&with(byte_pair(), key, id), key);
        }
    }
}

/// Hyperparameters that something is divided by, or that do not fit together.
#[test]
fn hyperparameters_of_zero_or_at_odds() {
    for key in
        ["attention.head_count", "attention.head_count_kv", "attention.key_length", "rope.dimension_count"]
    {
        check_no_model(&with(Metadata::new(), &format!("llama.{key}"), 0u32), "from 1 to");
    }
    check_no_model(
        &with(Metadata::new(), "llama.attention.head_count_kv", 3u32),
        "a divisor of the 2 query heads",
    );
    check_no_model(&with(Metadata::new(), "llama.attention.key_length", 1u32), "even and at most 1024");
}

/// Scales that are infinite or not numbers: the logits may be nonsense, but nothing breaks.
#[test]
fn scales_that_are_not_finite() {
    let gguf = random_model(&TINY, Mix::pure(TensorType::Q8_0), 1, &Metadata::new()).unwrap();
    for bits in [0x7c00u16, 0x7e00, 0xfc00, 0xffff] {
        let mut writer = GgufWriter::new();
        for (key, value) in gguf.metadata().iter() {
            writer.metadata(key, value.clone());
        }
        for tensor in gguf.tensors() {
            let mut data = vec![0; tensor.size_bytes as usize];
            gguf.read_data(tensor, 0, &mut data).unwrap();
            if tensor.tensor_type == TensorType::Q8_0 {
                data.chunks_exact_mut(34).for_each(|block| block[..2].copy_from_slice(&bits.to_le_bytes()));
            }
            writer.tensor(&tensor.name, &tensor.dimensions, tensor.tensor_type, data);
        }
        assert_eq!(run(writer.finish()), Outcome::Decoded, "{bits:#x}");
    }
}
