//! What a file may and may not say about its tokens.

use super::super::vocabulary::byte_of_token;
use super::super::{SpecialTokens, Specials, TokenKind, Tokenizer, TokenizerError};
use super::{byte_pair_vocabulary, sentence_piece_vocabulary};
use crate::gguf::Metadata;

#[test]
fn byte_tokens_are_two_upper_case_digits() {
    assert_eq!(byte_of_token("<0x00>"), Some(0));
    assert_eq!(byte_of_token("<0xFF>"), Some(255));
    for text in ["<0x-1>", "<0x+1>", "<0xff>", "<0x1>", "<0x001>", "<0xGG>", "0x41", "<0x41", "<0xé>", ""] {
        assert_eq!(byte_of_token(text), None, "{text}");
    }
    let mut vocabulary = sentence_piece_vocabulary(&[]);
    vocabulary.tokens[3] = "<0x-1>".to_owned();
    let error = Tokenizer::new(vocabulary).unwrap_err().to_string();
    assert!(error.contains("entry 3") && error.contains("<0x-1>"), "{error}");
}

#[test]
fn special_identifiers_must_be_in_the_vocabulary() {
    let mut vocabulary = byte_pair_vocabulary("gpt-2", &[]);
    vocabulary.special.end_of_turn = Some(100_000);
    let error = Tokenizer::new(vocabulary).unwrap_err().to_string();
    assert!(error.contains("eot_token_id") && error.contains("100000"), "{error}");
}

#[test]
fn a_token_that_must_be_added_must_exist() {
    let mut vocabulary = byte_pair_vocabulary("llama-bpe", &[]);
    vocabulary.special.beginning = None;
    vocabulary.add_beginning = None;
    let error = Tokenizer::new(vocabulary.clone()).unwrap_err().to_string();
    assert!(error.contains("bos_token_id"), "{error}");
    vocabulary.add_beginning = Some(false);
    assert!(Tokenizer::new(vocabulary).is_ok());
}

#[test]
fn empty_and_uneven_vocabularies_are_refused() {
    let mut vocabulary = byte_pair_vocabulary("gpt-2", &[]);
    vocabulary.kinds.pop();
    assert!(Tokenizer::new(vocabulary.clone()).is_err());
    vocabulary.tokens.clear();
    vocabulary.kinds.clear();
    assert!(Tokenizer::new(vocabulary).is_err());
}

#[test]
fn one_text_has_one_identifier() {
    let mut vocabulary = byte_pair_vocabulary("gpt-2", &[]);
    vocabulary.tokens.push("a".to_owned());
    vocabulary.kinds.push(TokenKind::Normal);
    let error = Tokenizer::new(vocabulary).unwrap_err().to_string();
    assert!(error.contains("two identifiers"), "{error}");
}

#[test]
fn ends_of_generation_are_declared_ones_and_known_control_texts() {
    let mut vocabulary = byte_pair_vocabulary("gpt-2", &[]);
    let mut add = |text: &str, kind: TokenKind| {
        vocabulary.tokens.push(text.to_owned());
        vocabulary.kinds.push(kind);
        u32::try_from(vocabulary.tokens.len() - 1).unwrap()
    };
    let turn = add("<|im_end|>", TokenKind::Control);
    let ordinary = add("<|eot_id|>", TokenKind::Normal);
    let own = add("<own>", TokenKind::Control);
    let other = add("<other>", TokenKind::Control);
    vocabulary.special.end_of_message = Some(own);
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert!(tokenizer.is_end_of_generation(1), "declared end");
    assert!(tokenizer.is_end_of_generation(turn) && tokenizer.is_end_of_generation(own));
    assert!(!tokenizer.is_end_of_generation(ordinary) && !tokenizer.is_end_of_generation(other));
    assert!(!tokenizer.is_end_of_generation(u32::MAX));
    assert_eq!(tokenizer.ends_of_generation().collect::<Vec<_>>(), [1, turn, own]);
}

#[test]
fn harmony_messages_end_inside_an_answer() {
    let mut vocabulary = byte_pair_vocabulary("gpt-2", &[]);
    for text in ["<|end|>", "<|return|>", "<|call|>"] {
        vocabulary.tokens.push(text.to_owned());
        vocabulary.kinds.push(TokenKind::Control);
    }
    let first = u32::try_from(vocabulary.tokens.len() - 3).unwrap();
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    let ends: Vec<bool> = (first..first + 3).map(|id| tokenizer.is_end_of_generation(id)).collect();
    assert_eq!(ends, [false, true, true]);
}

#[test]
fn without_kinds_special_tokens_are_control_and_bytes_are_bytes() {
    let mut vocabulary = sentence_piece_vocabulary(&[("a", -1.0)]);
    vocabulary.kinds.clear();
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert!(tokenizer.is_control(1) && tokenizer.is_control(2));
    assert_eq!(tokenizer.token_kind(3).unwrap(), TokenKind::Byte);
}

fn metadata() -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("tokenizer.ggml.model", "llama");
    metadata.insert("tokenizer.ggml.tokens", vec!["<unk>", "<s>", "</s>", "▁", "a"]);
    metadata.insert("tokenizer.ggml.scores", vec![0.0_f32, 0.0, 0.0, -1.0, -2.0]);
    metadata.insert("tokenizer.ggml.token_type", vec![2_i32, 3, 3, 1, 1]);
    metadata
}

#[test]
fn metadata_gives_a_tokenizer_with_the_formats_defaults() {
    let tokenizer = Tokenizer::from_metadata(&metadata()).unwrap();
    assert_eq!(tokenizer.encode("a", Specials::AsModel).unwrap(), [1, 3, 4]);
    assert_eq!((tokenizer.beginning(), tokenizer.end()), (Some(1), Some(2)));
    assert!(tokenizer.adds_space_prefix());
}

#[test]
fn unusable_metadata_is_refused_with_its_key() {
    #[track_caller]
    fn check(change: impl FnOnce(&mut Metadata), key: &str) {
        let mut metadata = metadata();
        change(&mut metadata);
        let error = Tokenizer::from_metadata(&metadata).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
    check(|m| drop(m.insert("tokenizer.ggml.model", "t5")), "`t5`");
    check(|m| drop(m.insert("tokenizer.ggml.model", "gpt2")), "tokenizer.ggml.pre");
    check(|m| drop(m.insert("tokenizer.ggml.model", 7_u32)), "tokenizer.ggml.model");
    check(|m| drop(m.insert("tokenizer.ggml.tokens", vec![1_i32])), "tokenizer.ggml.tokens");
    check(|m| drop(m.insert("tokenizer.ggml.scores", vec![0.0_f32])), "tokenizer.ggml.scores");
    check(|m| drop(m.insert("tokenizer.ggml.token_type", vec![2_i32, 3, 3, 1, 9])), "entry 4 is 9");
    check(|m| drop(m.insert("tokenizer.ggml.bos_token_id", 5_u32)), "tokenizer.ggml.bos_token_id");
    check(|m| drop(m.insert("tokenizer.ggml.add_bos_token", 1_u32)), "tokenizer.ggml.add_bos_token");
    check(
        |m| drop(m.insert("tokenizer.ggml.remove_extra_whitespaces", true)),
        "tokenizer.ggml.remove_extra_whitespaces",
    );
    let error = Tokenizer::from_metadata(&Metadata::new()).unwrap_err();
    assert!(matches!(error, TokenizerError::Metadata(_)));
}

#[test]
fn identifiers_with_a_role_are_control_unless_the_file_calls_them_text() {
    let mut vocabulary = byte_pair_vocabulary("gpt-2", &["a b"]);
    vocabulary.special = SpecialTokens { beginning: Some(2), end: Some(259), ..SpecialTokens::default() };
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert_eq!(tokenizer.token_kind(2).unwrap(), TokenKind::Control);
    assert_eq!(tokenizer.token_kind(259).unwrap(), TokenKind::Normal);
    assert!(tokenizer.is_end_of_generation(259));
}
