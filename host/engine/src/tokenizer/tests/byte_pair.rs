//! Splitting, merging, tokens recognised whole, and what text can never become.

use super::super::pre_tokenizer::PreTokenizer;
use super::super::{Prompt, Specials, TokenKind, Tokenizer, TokenizerError};
use super::{byte_pair_vocabulary, spelled};

#[track_caller]
fn check_split(rules: &str, text: &str, expected: &[&str]) {
    let rules = PreTokenizer::named(rules).unwrap();
    let words: Vec<&str> = rules.split(text).into_iter().map(|word| &text[word]).collect();
    assert_eq!(words, expected);
}

#[test]
fn gpt2_splits_contractions_words_numbers_and_spaces() {
    check_split("gpt-2", "", &[]);
    check_split("gpt-2", "It's 1234 o'clock!", &["It", "'s", " 1234", " o", "'", "clock", "!"]);
    check_split("gpt-2", "IT'S", &["IT", "'", "S"]);
    check_split("gpt-2", "a   b", &["a", "  ", " b"]);
    check_split("gpt-2", "a \tb", &["a", " ", "\t", "b"]);
    check_split("gpt-2", "a\n\nb", &["a", "\n", "\n", "b"]);
    check_split("gpt-2", "a   ", &["a", "   "]);
}

#[test]
fn smollm_splits_digits_first_and_each_piece_alone() {
    check_split("smollm", "a 12", &["a", " ", "1", "2"]);
    // The run of spaces ends its piece, so nothing is left for the digit.
    check_split("smollm", "a   1b", &["a", "   ", "1", "b"]);
    check_split("smollm", "½x", &["½", "x"]);
}

#[test]
fn llama_splits_numbers_by_threes_and_keeps_line_breaks_whole() {
    check_split("llama-bpe", "12345 6", &["123", "45", " ", "6"]);
    check_split("llama-bpe", "a \n\n  b", &["a", " \n\n", " ", " b"]);
    check_split("llama-bpe", "!\n\nb", &["!\n\n", "b"]);
    check_split("llama-bpe", "(word) it'S", &["(word", ")", " it", "'S"]);
    check_split("llama-bpe", "x\u{a0}\u{a0}y", &["x", "\u{a0}", "\u{a0}y"]);
    check_split("llama-bpe", "a\n b", &["a", "\n", " b"]);
}

#[test]
fn qwen_splits_numbers_by_digits() {
    check_split("qwen2", "12 3", &["1", "2", " ", "3"]);
}

#[test]
fn an_unknown_pre_tokenizer_is_refused_by_name() {
    let error = Tokenizer::new(byte_pair_vocabulary("qwen99", &[])).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`qwen99`") && text.contains("llama-bpe"), "{text}");
    let error = Tokenizer::new(byte_pair_vocabulary("default", &[])).unwrap_err();
    assert!(matches!(error, TokenizerError::UnsupportedPreTokenizer { .. }));
}

#[test]
fn merges_apply_best_first_and_leftmost() {
    let tokenizer = Tokenizer::new(byte_pair_vocabulary("gpt-2", &["b c", "a b", "bc a", "Ġ a"])).unwrap();
    let ids = tokenizer.encode("abcabc aa", Specials::AsModel).unwrap();
    assert_eq!(spelled(&tokenizer, &ids), ["a", "bca", "bc", "Ġa", "a"]);
    assert_eq!(tokenizer.decode(&ids).unwrap(), "abcabc aa");
}

#[test]
fn user_defined_tokens_are_recognised_and_control_tokens_are_not() {
    let tokenizer = Tokenizer::new(byte_pair_vocabulary("gpt-2", &[])).unwrap();
    let ids = tokenizer.encode("<s><think>x</s>", Specials::AsModel).unwrap();
    assert_eq!(spelled(&tokenizer, &ids), ["<", "s", ">", "<think>", "x", "<", "/", "s", ">"]);
    assert_eq!(tokenizer.decode(&ids).unwrap(), "<s><think>x</s>");
}

#[test]
fn no_merge_and_no_whole_word_makes_a_control_token() {
    // The merges spell a control token, and `llama-bpe` takes a word that is a token as it is.
    let mut vocabulary = byte_pair_vocabulary("llama-bpe", &["b o", "bo s"]);
    let last = vocabulary.tokens.len() - 1;
    vocabulary.kinds[last] = TokenKind::Control;
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    let ids = tokenizer.encode("bos", Specials::Omit).unwrap();
    assert_eq!(spelled(&tokenizer, &ids), ["bo", "s"]);
}

#[test]
fn a_whole_word_wins_over_merges_where_the_family_says_so() {
    for (rules, expected) in [("llama-bpe", vec!["abc"]), ("smaug-bpe", vec!["ab", "c"])] {
        let mut vocabulary = byte_pair_vocabulary(rules, &["a b"]);
        vocabulary.tokens.push("abc".to_owned());
        vocabulary.kinds.push(TokenKind::Normal);
        let tokenizer = Tokenizer::new(vocabulary).unwrap();
        let ids = tokenizer.encode("abc", Specials::Omit).unwrap();
        assert_eq!(spelled(&tokenizer, &ids), expected, "{rules}");
    }
}

#[test]
fn qwen_composes_characters_first() {
    for (rules, expected) in [("qwen2", "Caf\u{e9}"), ("gpt-2", "Cafe\u{301}")] {
        let tokenizer = Tokenizer::new(byte_pair_vocabulary(rules, &[])).unwrap();
        let ids = tokenizer.encode("Cafe\u{301}", Specials::Omit).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), expected, "{rules}");
    }
}

#[test]
fn repeated_words_give_repeated_tokens() {
    let tokenizer = Tokenizer::new(byte_pair_vocabulary("gpt-2", &["Ġ a"])).unwrap();
    let once = tokenizer.encode(" ab", Specials::Omit).unwrap();
    let thrice = tokenizer.encode(" ab ab ab", Specials::Omit).unwrap();
    assert_eq!(thrice, [once.clone(), once.clone(), once].concat());
}

#[test]
fn a_byte_without_a_letter_leaves_no_token() {
    let mut vocabulary = byte_pair_vocabulary("gpt-2", &[]);
    let letter = super::super::bpe::byte_alphabet()[0x04].to_string();
    let index = vocabulary.tokens.iter().position(|token| *token == letter).unwrap();
    vocabulary.tokens.remove(index);
    vocabulary.kinds.remove(index);
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    let ids = tokenizer.encode("a\u{4}b", Specials::Omit).unwrap();
    assert_eq!(spelled(&tokenizer, &ids), ["a", "b"]);
}

#[test]
fn beginning_and_end_are_added_once_and_only_if_asked() {
    let mut vocabulary = byte_pair_vocabulary("gpt-2", &[]);
    vocabulary.add_beginning = Some(true);
    vocabulary.add_end = Some(true);
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    let names = |ids: &[u32]| spelled(&tokenizer, ids).concat();
    assert_eq!(names(&tokenizer.encode("x", Specials::AsModel).unwrap()), "<s>x</s>");
    assert_eq!(names(&tokenizer.encode("x", Specials::Omit).unwrap()), "x");
    assert_eq!(names(&tokenizer.encode("", Specials::AsModel).unwrap()), "<s></s>");
    let with = Prompt { text: "<s>x".to_owned(), control: vec![(0..3, 0)] };
    let without = Prompt { text: "x".to_owned(), control: vec![] };
    assert_eq!(names(&tokenizer.encode_prompt(&with).unwrap()), "<s>x");
    assert_eq!(names(&tokenizer.encode_prompt(&without).unwrap()), "<s>x");
}

#[test]
fn a_prompt_has_control_tokens_exactly_where_it_lists_them() {
    let tokenizer = Tokenizer::new(byte_pair_vocabulary("gpt-2", &[])).unwrap();
    let prompt = Prompt { text: "<s></s>é</s>".to_owned(), control: vec![(0..3, 0), (9..13, 1)] };
    let ids = tokenizer.encode_prompt(&prompt).unwrap();
    assert_eq!(spelled(&tokenizer, &ids), ["<s>", "<", "/", "s", ">", "Ã", "©", "</s>"]);
    for control in [vec![(0..30, 0)], vec![(8..9, 0)], vec![(3..6, 0), (0..3, 0)], vec![(0..3, 9999)]] {
        let prompt = Prompt { text: prompt.text.clone(), control };
        assert!(tokenizer.encode_prompt(&prompt).is_err(), "{prompt:?}");
    }
}

#[test]
fn single_tokens_give_their_bytes_and_control_tokens_none() {
    let tokenizer = Tokenizer::new(byte_pair_vocabulary("gpt-2", &["Ġ a"])).unwrap();
    let ids = tokenizer.encode("é a<think>", Specials::Omit).unwrap();
    let bytes: Vec<&[u8]> = ids.iter().map(|id| tokenizer.token_bytes(*id).unwrap()).collect();
    assert_eq!(bytes, [b"\xc3".as_slice(), b"\xa9", b" a", b"<think>"]);
    assert_eq!(tokenizer.token_bytes(0).unwrap(), b"");
    assert!(tokenizer.is_control(0) && !tokenizer.is_control(2) && !tokenizer.is_control(u32::MAX));
    let size = tokenizer.size();
    let outside = u32::try_from(size).unwrap();
    assert_eq!(tokenizer.token_bytes(outside), Err(TokenizerError::InvalidToken { id: outside, size }));
    assert!(tokenizer.token_text(outside).is_err() && tokenizer.token_kind(outside).is_err());
}

#[test]
fn hostile_merges_are_refused_not_panicked_over() {
    let refused = [
        ("ab", "not two parts"),
        ("a ", "not two parts"),
        ("a zz", "\"zz\""),
        // Longer together than any token.
        ("a <think><think><think>", "not in the vocabulary"),
    ];
    for (merge, reason) in refused {
        let mut vocabulary = byte_pair_vocabulary("gpt-2", &["a b"]);
        if let super::Algorithm::BytePair { merges, .. } = &mut vocabulary.algorithm {
            merges.push(merge.to_owned());
        }
        let error = Tokenizer::new(vocabulary).unwrap_err().to_string();
        assert!(error.contains("tokenizer.ggml.merges") && error.contains("entry 1"), "{error}");
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn long_words_and_runs_take_near_linear_work() {
    // A quadratic step would take hours on these; the test's own time limit is the check.
    let tokenizer =
        Tokenizer::new(byte_pair_vocabulary("llama-bpe", &["a a", "aa aa", "Ġ Ġ", "ĠĠ ĠĠ"])).unwrap();
    for (text, tokens) in [("a", 1 << 18), (" ", 1 << 18), ("漢", 3 << 20), ("'", 1 << 20)] {
        let ids = tokenizer.encode(&text.repeat(1 << 20), Specials::Omit).unwrap();
        assert_eq!(ids.len(), tokens, "{text:?}");
    }
}
