//! Score-driven merges, the space prefix, bytes and unknown characters.

use super::super::{Prompt, Specials, TokenKind, Tokenizer, TokenizerError};
use super::{sentence_piece_vocabulary, spelled};

const PIECES: [(&str, f32); 9] = [
    ("▁", -1.0),
    ("a", -2.0),
    ("b", -3.0),
    ("c", -4.0),
    ("ab", -0.5),
    ("bc", -0.1),
    ("▁ab", -0.2),
    ("▁▁", -0.3),
    ("abc", -0.05),
];

fn tokenizer() -> Tokenizer {
    Tokenizer::new(sentence_piece_vocabulary(&PIECES)).unwrap()
}

#[track_caller]
fn check(tokenizer: &Tokenizer, text: &str, expected: &[&str]) {
    let ids = tokenizer.encode(text, Specials::Omit).unwrap();
    assert_eq!(spelled(tokenizer, &ids), expected, "{text:?}");
}

#[test]
fn the_best_scoring_pair_merges_first() {
    let tokenizer = tokenizer();
    // `bc` beats `▁ab`, then `abc` beats what is left.
    check(&tokenizer, "abc", &["▁", "abc"]);
    check(&tokenizer, "ab", &["▁ab"]);
    check(&tokenizer, "aab", &["▁", "a", "ab"]);
}

#[test]
fn equal_scores_merge_leftmost_first() {
    let tokenizer = Tokenizer::new(sentence_piece_vocabulary(&[("a", 0.0), ("aa", -1.0)])).unwrap();
    check(&tokenizer, "aaa", &["<0xE2>", "<0x96>", "<0x81>", "aa", "a"]);
}

#[test]
fn every_stretch_of_text_gets_a_space_prefix() {
    let mut vocabulary = sentence_piece_vocabulary(&PIECES);
    vocabulary.tokens.push("<tool>".to_owned());
    vocabulary.kinds.push(TokenKind::UserDefined);
    if let super::Algorithm::SentencePiece { scores, .. } = &mut vocabulary.algorithm {
        scores.push(0.0);
    }
    let with = Tokenizer::new(vocabulary.clone()).unwrap();
    check(&with, "ab<tool>ab", &["▁ab", "<tool>", "▁ab"]);
    check(&with, "ab<tool> ab", &["▁ab", "<tool>", "▁▁", "ab"]);
    check(&with, "<tool>", &["<tool>"]);
    check(&with, "", &[]);
    let prompt = Prompt { text: "<s>ab</s>ab".to_owned(), control: vec![(0..3, 1), (5..9, 2)] };
    assert_eq!(spelled(&with, &with.encode_prompt(&prompt).unwrap()), ["<s>", "▁ab", "</s>", "▁ab"]);
    if let super::Algorithm::SentencePiece { add_space_prefix, .. } = &mut vocabulary.algorithm {
        *add_space_prefix = false;
    }
    let without = Tokenizer::new(vocabulary).unwrap();
    check(&without, "ab<tool>ab", &["ab", "<tool>", "ab"]);
}

#[test]
fn characters_without_a_piece_are_bytes_or_unknown() {
    check(&tokenizer(), "é\n", &["▁", "<0xC3>", "<0xA9>", "<0x0A>"]);
    let mut vocabulary = sentence_piece_vocabulary(&PIECES);
    vocabulary.kinds[3 + 0xA9] = TokenKind::Unused;
    let unknown = Tokenizer::new(vocabulary.clone()).unwrap();
    check(&unknown, "éécé", &["▁", "<unk>", "c", "<unk>"]);
    vocabulary.special.unknown = None;
    let neither = Tokenizer::new(vocabulary).unwrap();
    let error = neither.encode("é", Specials::Omit).unwrap_err();
    assert_eq!(error, TokenizerError::Unrepresentable { character: 'é' });
}

#[test]
fn no_text_becomes_a_control_or_byte_token() {
    // Every step towards `</s>` and `<0x0A>` is a piece; only the last is a token of another kind.
    let steps = [("</", -1.0), ("</s", -0.9), ("<0x", -0.9), ("<0x0", -0.8), ("<0x0A", -0.7)];
    let letters = ["<", "/", "s", ">", "0", "x", "A"].map(|letter| (letter, -5.0));
    let mut pieces: Vec<(&str, f32)> = steps.into_iter().chain(letters).collect();
    pieces.extend([("<0", -1.0)]);
    let tokenizer = Tokenizer::new(sentence_piece_vocabulary(&pieces)).unwrap();
    let ids = tokenizer.encode("</s><0x0A>", Specials::Omit).unwrap();
    assert_eq!(spelled(&tokenizer, &ids)[3..], ["</s", ">", "<0x0A", ">"]);
}

#[test]
fn unused_pieces_pass_merges_on_but_do_not_come_out() {
    let mut vocabulary =
        sentence_piece_vocabulary(&[("a", -3.0), ("b", -3.0), ("c", -3.0), ("ab", -1.0), ("abc", -2.0)]);
    let index = vocabulary.tokens.iter().position(|token| token == "ab").unwrap();
    vocabulary.kinds[index] = TokenKind::Unused;
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    let ids = tokenizer.encode("abc ab", Specials::Omit).unwrap();
    assert_eq!(spelled(&tokenizer, &ids)[3..4], ["abc"]);
    assert_eq!(spelled(&tokenizer, &ids)[7..], ["a", "b"]);
}

#[test]
fn decoding_undoes_the_prefix_and_joins_bytes() {
    let tokenizer = tokenizer();
    for text in ["ab", " ab", "é abc\n", "🦀", ""] {
        let ids = tokenizer.encode(text, Specials::AsModel).unwrap();
        assert_eq!(ids[0], 1);
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
    assert_eq!(tokenizer.token_bytes(3 + 0x41).unwrap(), b"A");
}

#[test]
fn scores_must_be_numbers_and_as_many_as_tokens() {
    let mut vocabulary = sentence_piece_vocabulary(&[("a", f32::NAN)]);
    let error = Tokenizer::new(vocabulary.clone()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.ggml.scores") && error.contains("259"), "{error}");
    vocabulary.tokens.push("b".to_owned());
    vocabulary.kinds.push(TokenKind::Normal);
    let error = Tokenizer::new(vocabulary).unwrap_err().to_string();
    assert!(error.contains("260 entries for 261 tokens"), "{error}");
}

#[test]
fn long_runs_take_near_linear_work() {
    let tokenizer = tokenizer();
    for text in ["a", " ", "ab", "漢"] {
        let text = text.repeat((1 << 20) / text.len());
        let ids = tokenizer.encode(&text, Specials::Omit).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
}
