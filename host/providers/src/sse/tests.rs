use proptest::prelude::*;

use super::*;

fn decode(chunks: &[&[u8]]) -> (Vec<SseEvent>, Option<Vec<u8>>) {
    let mut decoder = SseDecoder::default();
    let mut events = Vec::new();
    for chunk in chunks {
        decoder.push(chunk, |event| events.push(event)).unwrap();
    }
    (events, decoder.into_unfinished())
}

fn check(text: &str, expected: &[&str], unfinished: Option<&str>) {
    let (events, rest) = decode(&[text.as_bytes()]);
    let data: Vec<_> = events.iter().map(|event| String::from_utf8(event.data.clone()).unwrap()).collect();
    assert_eq!(data, expected, "{text:?}");
    assert_eq!(rest.as_deref(), unfinished.map(str::as_bytes), "{text:?}");
}

#[test]
fn line_ends_of_every_kind() {
    for end in ["\n", "\r\n", "\r"] {
        check(&format!("data: a{end}{end}data: b{end}{end}"), &["a", "b"], None);
    }
    check("data: a\r\n\ndata: b\n\r\n", &["a", "b"], None);
}

#[test]
fn fields() {
    check("data:a\n\n", &["a"], None);
    check("data:  a\n\n", &[" a"], None);
    check("data: a\ndata: b\ndata\n\n", &["a\nb\n"], None);
    check("data\n\n", &[""], None);
    check(": a comment\n\n:\n\n", &[], None);
    check("id: 1\nretry: 2\nunknown: x\ndata: a\n\n", &["a"], None);
    check("event: ping\n\n", &[], None);
    check("datum: a\n\n", &[], None);
    check("data : a\n\n", &[], None);
}

#[test]
fn a_byte_order_mark_is_dropped_once() {
    check("\u{feff}data: a\n\n", &["a"], None);
    check("data: a\n\n\u{feff}data: b\n\n", &["a"], None);
}

#[test]
fn errors_by_event_name_and_by_field() {
    for text in ["event: error\ndata: a\n\n", "data: a\nevent: error\n\n", "error: a\n\n"] {
        let (events, _) = decode(&[text.as_bytes()]);
        assert_eq!(events, [SseEvent { is_error: true, data: b"a".to_vec() }], "{text:?}");
    }
    let (events, _) = decode(&[b"event: error\n\ndata: a\n\n"]);
    assert!(!events[0].is_error, "an error without data must not colour the next event");
}

#[test]
fn half_an_event_is_reported() {
    check("data: a\n\ndata: b\n", &["a"], Some("b"));
    check("data: a\n\ndata: b", &["a"], Some("b"));
    check("data: a\n\nda", &["a"], None);
    check("data: a\n\n: comment", &["a"], None);
    check("", &[], None);
}

#[test]
fn an_endless_line_is_refused() {
    let chunk = vec![b'x'; 1024 * 1024];
    let mut decoder = SseDecoder::default();
    decoder.push(b"data: ", |_| ()).unwrap();
    let refused = (0..17).map(|_| decoder.push(&chunk, |_| ())).filter(Result::is_err).count();
    assert!(refused >= 1);
}

#[test]
fn endless_data_lines_are_refused() {
    let mut line = b"data: ".to_vec();
    line.extend(vec![b'x'; 1024 * 1024]);
    line.push(b'\n');
    let mut decoder = SseDecoder::default();
    let refused = (0..18).map(|_| decoder.push(&line, |_| ())).filter(Result::is_err).count();
    assert!(refused >= 1);
}

proptest! {
    /// However the bytes are split, the events are the same.
    #[test]
    fn chunking_does_not_matter(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("data: "), Just("data"), Just(":"), Just("\n"), Just("\r"), Just("\r\n"), Just("é"),
                Just("event: error"), Just("error"), Just("\u{feff}"), Just(" "), Just("x"),
            ],
            0..60,
        ),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let bytes = pieces.concat().into_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        let whole = decode(&[&bytes]);
        prop_assert_eq!(&whole, &decode(&chunks));
        prop_assert_eq!(&whole, &decode(&single));
    }

    /// Arbitrary bytes never panic.
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&[&bytes]);
    }
}
