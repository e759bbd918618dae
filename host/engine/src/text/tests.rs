use lockgate_api::TopLogprob;
use proptest::prelude::*;

use super::*;

fn entry(bytes: &[u8]) -> TokenLogprob {
    let token = String::from_utf8_lossy(bytes).into_owned();
    TokenLogprob { chosen: TopLogprob { token, bytes: Some(bytes.to_vec()), logprob: -1.0 }, top: Vec::new() }
}

/// Feeds tokens and returns what each of them, and the end, showed; the entries as their bytes.
fn feed(stops: &[&str], tokens: &[&[u8]]) -> Vec<(String, Vec<Vec<u8>>)> {
    let mut stream = TextStream::new(stops.iter().copied(), false);
    let mut pieces: Vec<Piece> = tokens.iter().map(|token| stream.push(token, Some(entry(token)))).collect();
    pieces.push(stream.finish());
    let bytes = |entry: TokenLogprob| entry.chosen.bytes.expect("set above");
    pieces.into_iter().map(|piece| (piece.text, piece.logprobs.into_iter().map(bytes).collect())).collect()
}

fn texts(stops: &[&str], tokens: &[&[u8]]) -> Vec<String> {
    feed(stops, tokens).into_iter().map(|(text, _)| text).collect()
}

fn joined(stops: &[&str], tokens: &[&[u8]]) -> String {
    texts(stops, tokens).concat()
}

#[test]
fn a_character_waits_for_all_its_tokens() {
    // U+1F980 in four tokens, one byte each.
    let tokens: [&[u8]; 6] = [b"a", b"\xf0", b"\x9f", b"\xa6", b"\x80", b"b"];
    let shown = feed(&[], &tokens);
    let texts: Vec<&str> = shown.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, ["a", "", "", "", "\u{1f980}", "b", ""]);
    assert_eq!(shown[4].1, tokens[1..5], "the entries of all four come with the character");
}

#[test]
fn bytes_that_are_no_text_become_replacement_characters() {
    assert_eq!(joined(&[], &[b"a\xffb"]), "a\u{fffd}b");
    assert_eq!(joined(&[], &[b"\xf0\x9f", b"b"]), "\u{fffd}b");
    assert_eq!(joined(&[], &[b"\xc0\x80"]), "\u{fffd}\u{fffd}");
    assert_eq!(joined(&[], &[b"\xed\xa0", b"\x80"]), "\u{fffd}\u{fffd}\u{fffd}");
}

#[test]
fn an_incomplete_end_is_left_out_but_its_entries_are_not() {
    let shown = feed(&[], &[b"ab", b"\xf0\x9f", b"\xa6"]);
    assert_eq!(shown.iter().map(|(text, _)| text.as_str()).collect::<String>(), "ab");
    assert_eq!(shown.last().expect("the end").1, [b"\xf0\x9f".to_vec(), b"\xa6".to_vec()]);
}

#[test]
fn a_stop_string_across_tokens_is_never_shown() {
    assert_eq!(texts(&["STOP"], &[b"one S", b"TO", b"P two", b"more"]), ["one ", "", "", "", ""]);
    assert_eq!(joined(&["STOP"], &[b"one STOP two"]), "one ");
    assert_eq!(joined(&["a"], &[b"a"]), "");
}

#[test]
fn a_start_that_comes_to_nothing_is_shown() {
    assert_eq!(texts(&["STOP"], &[b"one ST", b"EP"]), ["one ", "STEP", ""]);
    assert_eq!(texts(&["STOP"], &[b"one STO"]), ["one ", "STO"]);
    assert_eq!(joined(&["aab"], &[b"aaab"]), "a", "an overlap is found");
    assert_eq!(texts(&["aab"], &[b"aaaa"]), ["aa", "aa"]);
}

#[test]
fn the_first_stop_string_to_be_complete_wins_and_the_longest_of_those() {
    assert_eq!(joined(&["abcd", "bc"], &[b"xabcd"]), "xa");
    assert_eq!(joined(&["c", "abc"], &[b"xabc"]), "x");
    assert_eq!(joined(&["", "b"], &[b"ab"]), "a", "an empty one stops nothing");
}

#[test]
fn entries_end_where_the_text_ends() {
    let shown = feed(&["STOP"], &[b"one", b" twoS", b"TO", b"P", b"three"]);
    let entries: Vec<Vec<u8>> = shown.into_iter().flat_map(|(_, entries)| entries).collect();
    assert_eq!(entries, [b"one".to_vec(), b" twoS".to_vec()], "the token that is cut began before the stop");
}

#[test]
fn a_stop_string_of_several_bytes_a_character_is_found_across_them() {
    assert_eq!(joined(&["é!"], &[b"caf\xc3", b"\xa9", b"! x"]), "caf");
    assert_eq!(joined(&["é!"], &[b"caf\xc3", b"\xa9", b"s"]), "cafés");
}

#[test]
fn the_tokenizers_own_first_space_is_left_out_once() {
    let feed = |drop_first_space: bool, tokens: &[&[u8]]| -> String {
        let mut stream = TextStream::new([], drop_first_space);
        tokens.iter().map(|token| stream.push(token, None).text).collect()
    };
    assert_eq!(feed(true, &[b"", b" a", b" b"]), "a b");
    assert_eq!(feed(true, &[b"a", b" b"]), "a b");
    assert_eq!(feed(true, &[b" ", b" b"]), " b");
    assert_eq!(feed(false, &[b" a"]), " a");
}

/// Text over a small alphabet, so that stop strings do occur.
fn any_text(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => Just(b"a".to_vec()),
        4 => Just(b"b".to_vec()),
        2 => Just("é".as_bytes().to_vec()),
        2 => Just("\u{1f980}".as_bytes().to_vec()),
        1 => Just(vec![0x9f]),
        1 => Just(vec![0xf0, 0x9f]),
    ];
    prop::collection::vec(part, length).prop_map(|parts| parts.concat())
}

/// Cuts bytes at places that the numbers choose.
fn cut<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut tokens = Vec::new();
    for &size in sizes.iter().cycle() {
        if rest.is_empty() || sizes.is_empty() {
            break;
        }
        let (token, after) = rest.split_at(size.min(rest.len()));
        tokens.push(token);
        rest = after;
    }
    tokens
}

/// What the whole text comes to, without a stream.
fn naive(bytes: &[u8], stops: &[String]) -> String {
    let mut valid = bytes;
    if let Some(last) = bytes.utf8_chunks().last()
        && let Err(error) = std::str::from_utf8(last.invalid())
        && error.error_len().is_none()
    {
        valid = &bytes[..bytes.len() - last.invalid().len()];
    }
    let text = String::from_utf8_lossy(valid).into_owned();
    let ends = (0..=text.len()).filter(|&end| text.is_char_boundary(end));
    for end in ends {
        let longest = stops.iter().filter(|stop| text[..end].ends_with(stop.as_str())).map(String::len).max();
        if let Some(length) = longest {
            return text[..end - length].to_owned();
        }
    }
    text
}

proptest! {
    #[test]
    fn any_cut_into_tokens_gives_the_same_text(
        bytes in any_text(0..40),
        stops in prop::collection::vec("[abé]{1,4}", 0..4),
        sizes in prop::collection::vec(1..6usize, 1..6),
    ) {
        let stops_borrowed: Vec<&str> = stops.iter().map(String::as_str).collect();
        let tokens = cut(&bytes, &sizes);
        let shown = feed(&stops_borrowed, &tokens);
        let text: String = shown.iter().map(|(text, _)| text.as_str()).collect();
        prop_assert_eq!(&text, &naive(&bytes, &stops));
        for stop in &stops {
            prop_assert!(!text.contains(stop.as_str()), "{:?} contains {:?}", text, stop);
        }
        // Entries are the first tokens, none left out or repeated, and cover the text.
        let entries: Vec<Vec<u8>> = shown.into_iter().flat_map(|(_, entries)| entries).collect();
        prop_assert_eq!(&entries[..], &tokens[..entries.len()]);
        prop_assert!(String::from_utf8_lossy(&entries.concat()).starts_with(text.as_str()));
    }
}
