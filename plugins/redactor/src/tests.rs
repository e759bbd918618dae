use lockgate_plugin::testing::{FakeAnswer, FakeDraft, FakeRequest, FakeSettings, watch_run};
use lockgate_plugin::{Guard as _, Kind, Preprocessor as _, Refusal, Role, Verdict, Want};
use proptest::prelude::*;

use crate::note::Note;
use crate::{Redactor, json};

fn prepare(draft: &mut FakeDraft) {
    Redactor::prepare(draft, &FakeSettings::none()).expect("it does not refuse");
}

fn prepared(request: FakeRequest) -> FakeDraft {
    let mut draft = FakeDraft::new(request);
    prepare(&mut draft);
    draft
}

fn guard(draft: &FakeDraft) -> Redactor {
    let answer = FakeAnswer { note: draft.note.clone(), ..FakeAnswer::default() };
    Redactor::watch(&answer, &FakeSettings::none()).expect("it reads its own note")
}

/// What becomes of an answer that comes in these chunks.
fn restored(draft: &FakeDraft, kind: &Kind, chunks: &[&str]) -> String {
    let watched = watch_run(&mut guard(draft), kind, chunks.iter().copied());
    assert_eq!(watched.stopped, None);
    watched.text
}

#[test]
fn what_is_personal_is_replaced_throughout_and_the_same_by_the_same() {
    let request = FakeRequest::user("I am anna.schmidt@posteo.de, call +49 151 12345678.")
        .message(Role::Assistant, "Noted, anna.schmidt@posteo.de.")
        .message(Role::User, "And max@firma.at? IBAN DE89 3704 0044 0532 0130 00.");
    let mut request = request;
    request.more_text.push("A tool for anna.schmidt@posteo.de".to_owned());
    let draft = prepared(request);
    let texts: Vec<&str> = draft.request.messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(
        texts,
        ["I am [EMAIL-1], call [PHONE-1].", "Noted, [EMAIL-1].", "And [EMAIL-2]? IBAN [IBAN-1]."]
    );
    assert_eq!(draft.request.more_text, ["A tool for [EMAIL-1]"]);
    assert!(draft.request.labels.is_empty());
    let text = restored(&draft, &Kind::Text, &["Dear [EMAIL-1], pay to [IBAN-1], not [EMAIL-9]."]);
    assert_eq!(text, "Dear anna.schmidt@posteo.de, pay to DE89 3704 0044 0532 0130 00, not [EMAIL-9].");
}

#[test]
fn every_kind_has_a_word() {
    for (text, replaced) in [
        ("card 4111 1111 1111 1111 exp 12/27", "card [CARD-1] exp 12/27"),
        ("key sk-proj-8fK2mQ9xLw3vRt7yUi1oPa5sDf6gHj!", "key [TOKEN-1]!"),
        ("Authorization: Bearer 8fK2mQ9xLw3vRt7yUi1oPa5sDf6gHj", "Authorization: [TOKEN-1]"),
        ("a\n-----BEGIN PRIVATE KEY-----\nMIIEow+/=\nabc\n-----END PRIVATE KEY-----\nb", "a\n[KEY-1]\nb"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow+/=\n", "[KEY-1]"),
        ("She has diabetes.", "She has [HEALTH-1]."),
        ("Sind Diabetikerinnen da?", "Sind [HEALTH-1] da?"),
    ] {
        let draft = prepared(FakeRequest::user(text));
        assert_eq!(draft.request.messages[0].text, replaced);
        assert_eq!(restored(&draft, &Kind::Text, &[replaced]), text);
    }
}

#[test]
fn without_anything_personal_nothing_happens() {
    let draft = prepared(FakeRequest::user("What is the capital of [COUNTRY-1]?"));
    assert_eq!(draft.request.messages[0].text, "What is the capital of [COUNTRY-1]?");
    assert_eq!(draft.note, None);
    let mut guard = guard(&draft);
    assert_eq!(guard.on_chunk(&Kind::Text, "Paris [EMA"), Verdict::Replace("Paris [EMA".to_owned()));
    assert_eq!(guard.on_chunk(&Kind::Text, "Paris"), Verdict::Pass);
    assert_eq!((guard.end_run(), guard.finish()), (Verdict::Pass, Verdict::Pass));
}

#[test]
fn placeholders_of_the_request_itself_are_left_alone() {
    let draft = prepared(FakeRequest::user("[EMAIL-1] is not a@b.io, [EMAIL-3] is not c@d.io"));
    assert_eq!(draft.request.messages[0].text, "[EMAIL-1] is not [EMAIL-2], [EMAIL-3] is not [EMAIL-4]");
    let text = restored(&draft, &Kind::Text, &["[EMAIL-1][EMAIL-2][EMAIL-3][EMAIL-4]"]);
    assert_eq!(text, "[EMAIL-1]a@b.io[EMAIL-3]c@d.io");
}

#[test]
fn a_placeholder_may_come_in_parts() {
    let draft = prepared(FakeRequest::user("a@b.io"));
    for chunks in [
        &["to [", "EMAIL-1] now"][..],
        &["to ", "[EMAIL-1", "] now"],
        &["t", "o", " ", "[", "E", "M", "A", "I", "L", "-", "1", "]", " ", "n", "ow"],
    ] {
        assert_eq!(restored(&draft, &Kind::Text, chunks), "to a@b.io now");
        assert_eq!(restored(&draft, &Kind::Reasoning, chunks), "to a@b.io now");
    }
    // What turns out to be none comes all the same.
    assert_eq!(restored(&draft, &Kind::Text, &["[", "EMAIL-", "2] [", "EMAIL-1"]), "[EMAIL-2] [EMAIL-1");
    // A part that ends with its run does not wait for the next.
    let mut guard = guard(&draft);
    assert_eq!(guard.on_chunk(&Kind::Reasoning, "see [EMAIL"), Verdict::Replace("see ".to_owned()));
    assert_eq!(guard.end_run(), Verdict::Replace("[EMAIL".to_owned()));
    assert_eq!(guard.on_chunk(&Kind::Text, "-1]"), Verdict::Pass);
}

#[test]
fn in_json_what_is_put_back_stays_json() {
    let key = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----";
    let draft = prepared(FakeRequest::user(key));
    let arguments = Kind::Arguments("save".to_owned());
    let text = restored(&draft, &arguments, &[r#"{"key":"[KEY"#, r#"-1]"}"#]);
    assert_eq!(text, r#"{"key":"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"}"#);
    assert_eq!(restored(&draft, &Kind::Text, &["[KEY-1]"]), key);
    let draft = prepared(FakeRequest::user(key).want(Want::Json));
    assert!(restored(&draft, &Kind::Text, &["\"[KEY-1]\""]).contains("\\nMIIE\\n"));
    assert_eq!(restored(&draft, &Kind::Reasoning, &["[KEY-1]"]), key);
}

#[test]
fn what_is_out_of_reach_stays_on_this_machine() {
    let mut draft = FakeDraft::new(FakeRequest::user("a@b.io").message(Role::User, "c@d.io")).fixed(1);
    prepare(&mut draft);
    assert_eq!(draft.request.labels, ["local-only"]);
    assert_eq!((draft.request.messages[0].text.as_str(), &draft.note), ("a@b.io", &None));

    let picture = FakeRequest::user("a@b.io").want(Want::Images);
    let draft = prepared(picture.clone());
    assert_eq!(draft.request.labels, ["local-only"]);
    let mut draft = FakeDraft::new(picture);
    Redactor::prepare(&mut draft, &FakeSettings::none().with("pictures", "ignore")).expect("it is usable");
    assert_eq!(draft.request.messages[0].text, "[EMAIL-1]");
    assert!(draft.request.labels.is_empty());
}

#[test]
fn what_stays_on_this_machine_is_left_as_it_is() {
    let draft = prepared(FakeRequest::user("a@b.io").label("local-only"));
    assert_eq!((draft.request.messages[0].text.as_str(), draft.note), ("a@b.io", None));
}

#[test]
fn kinds_can_be_kept() {
    let mut draft = FakeDraft::user("diabetes, a@b.io, 4111 1111 1111 1111");
    Redactor::prepare(&mut draft, &FakeSettings::none().with("keep", "health, Card")).expect("it is usable");
    assert_eq!(draft.request.messages[0].text, "diabetes, [EMAIL-1], 4111 1111 1111 1111");
}

#[test]
fn many_findings_are_few_changes() {
    let mut draft = FakeDraft::user("mail to someone, not a@b.io; ".repeat(2_000));
    prepare(&mut draft);
    assert_eq!(draft.request.messages[0].text, "mail to someone, not [EMAIL-1]; ".repeat(2_000));

    let words = "nothing to see here ".repeat(20);
    let mut draft = FakeDraft::user(format!("a@b.io {words} c@d.io {words} a@b.io"));
    prepare(&mut draft);
    let expected = format!("[EMAIL-1] {words} [EMAIL-2] {words} [EMAIL-1]");
    assert_eq!(draft.request.messages[0].text, expected);
}

fn refusal(request: FakeRequest, settings: &FakeSettings) -> String {
    let mut draft = FakeDraft::new(request);
    let Err(Refusal { reason }) = Redactor::prepare(&mut draft, settings) else { panic!("it must refuse") };
    reason
}

#[test]
fn what_it_cannot_do_it_refuses() {
    let many: String = (0..4_000).map(|number| format!("someone-number-{number}@b.io ")).collect();
    let reason = refusal(FakeRequest::user(many), &FakeSettings::none());
    assert!(reason.contains("more personal data than"), "{reason}");
    let reason = refusal(FakeRequest::user("a".repeat(17 << 20)), &FakeSettings::none());
    assert!(reason.contains("16777216 bytes"), "{reason}");
    for (key, value, words) in [
        ("keep", "phones", "`keep` of the redactor lists kinds"),
        ("pictures", "maybe", "personal or ignore"),
        ("pictuers", "ignore", "no setting `pictuers`"),
    ] {
        let reason = refusal(FakeRequest::user("hello"), &FakeSettings::none().with(key, value));
        assert!(reason.contains(words), "{reason}");
    }
}

#[test]
fn a_broken_note_is_refused() {
    let note = Note { is_json: true, values: [("[EMAIL-1]".to_owned(), "a@b.io".to_owned())].into() };
    let bytes = note.encode().expect("it is short");
    assert_eq!(Note::decode(&bytes), Some(note));
    for length in (0..bytes.len()).filter(|length| *length != 1) {
        let answer = FakeAnswer { note: Some(bytes[..length].to_vec()), ..FakeAnswer::default() };
        assert!(Redactor::watch(&answer, &FakeSettings::none()).is_err(), "{length} bytes");
    }
}

/// Text with personal things in it, and with what looks like placeholders.
fn any_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => "[ a-z.,\\n]{0,12}",
        1 => "[\\[\\]A-Z0-9-]{0,6}",
        1 => Just(" anna.schmidt@posteo.de ".to_owned()),
        1 => Just(" max@firma.at, ".to_owned()),
        1 => Just(" +49 151 12345678 ".to_owned()),
        1 => Just(" DE89 3704 0044 0532 0130 00 ".to_owned()),
        1 => Just(" \u{fc}ber \u{1f642} ".to_owned()),
        1 => Just("[EMAIL-1]".to_owned()),
        1 => Just("[PHONE-".to_owned()),
        1 => Just(" diabetes ".to_owned()),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

/// A text cut into chunks at these places, each from 0 to 1.
fn cut<'a>(text: &'a str, places: &[f64]) -> Vec<&'a str> {
    let mut at: Vec<usize> = places
        .iter()
        .map(|place| text.floor_char_boundary((place * text.len() as f64) as usize))
        .chain([0, text.len()])
        .collect();
    at.sort_unstable();
    at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

proptest! {
    /// An answer that repeats the redacted request, in whatever chunks, becomes the request as it was.
    #[test]
    fn what_was_redacted_is_restored_under_any_chunking(
        texts in prop::collection::vec(any_text(), 1..4),
        places in prop::collection::vec(0.0..1.0f64, 0..20),
    ) {
        let mut request = FakeRequest::default();
        for text in &texts {
            request = request.message(Role::User, text);
        }
        let draft = prepared(request);
        for (message, text) in draft.request.messages.iter().zip(&texts) {
            let chunks = cut(&message.text, &places);
            prop_assert_eq!(&restored(&draft, &Kind::Text, &chunks), text);
            let arguments = Kind::Arguments("tool".to_owned());
            let mut plain = String::new();
            json::escape(&mut plain, &message.text);
            let escaped = restored(&draft, &arguments, &cut(&plain, &places));
            prop_assert_eq!(&json::unescape(&escaped), text);
        }
    }

    #[test]
    fn any_chunking_of_any_answer_gives_the_same(
        answer in "[\\[\\]EMAIL1-3 a]{0,60}",
        places in prop::collection::vec(0.0..1.0f64, 0..20),
    ) {
        let draft = prepared(FakeRequest::user("a@b.io c@d.io"));
        let whole = restored(&draft, &Kind::Text, &[&answer]);
        prop_assert_eq!(&restored(&draft, &Kind::Text, &cut(&answer, &places)), &whole);
        prop_assert_eq!(whole, answer.replace("[EMAIL-1]", "a@b.io").replace("[EMAIL-2]", "c@d.io"));
    }

    #[test]
    fn json_text_and_back(value in "\\PC{0,20}|[\\x00-\\x7f]{0,20}") {
        let mut escaped = String::new();
        json::escape(&mut escaped, &value);
        prop_assert!(!escaped.contains(|character: char| character < ' '));
        prop_assert_eq!(json::unescape(&escaped), value);
    }

    #[test]
    fn a_note_of_any_bytes_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(note) = Note::decode(&bytes) {
            prop_assert!(note.encode().is_some());
        }
    }
}
