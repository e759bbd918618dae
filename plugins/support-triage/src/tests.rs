use lockgate_plugin::testing::{FakeRequest, FakeSettings, FakeVocabulary, Generated, steer};
use proptest::prelude::*;

use super::*;
use crate::form::CATEGORIES;

const MESSAGE: &str = "I was charged twice. Ada Byron, for Zoë O'Neil-Ångström";

fn request(system: &str) -> FakeRequest {
    FakeRequest::default().message(Role::System, system).message(Role::User, MESSAGE)
}

fn vocabulary() -> FakeVocabulary {
    FakeVocabulary::new([
        "{\"", "sender", "\":\"", "Ada", " Byron", "\",\"", "date", "amount", "\":", "null", ",\"", "2024",
        "-", "05", ".50", "}", "bill", "ing", " access", "account", "Sure, ", "\"}", "\n",
    ])
}

/// What comes of a model that would like to say this.
fn generated(system: &str, wish: &str, tokens_max: usize) -> Generated {
    let vocabulary = vocabulary();
    let mut adapter =
        SupportTriage::steer(&request(system), 0, &vocabulary, &FakeSettings::none()).expect("it begins");
    steer(&mut adapter, &vocabulary, TOP, tokens_max, |answer| {
        let rest = wish.as_bytes().strip_prefix(answer).unwrap_or_default();
        match (rest, std::str::from_utf8(rest)) {
            ([], _) => vec![vocabulary.end()],
            (_, Ok(text)) => vocabulary.tokens(text).unwrap_or_default(),
            // Within a character.
            ([byte, ..], Err(_)) => vec![u32::from(*byte)],
        }
    })
}

#[test]
fn what_fits_is_left_as_the_model_wants_it() {
    let facts = [
        "{\"sender\":\"Ada Byron\",\"date\":\"2024-05-31\",\"amount\":1299.50}",
        "{\"sender\":\"Zo\\u00eb O'Neil-\\u00c5ngstr\\u00f6m\",\"date\":null,\"amount\":0.05}",
        "{\"sender\":\"O'Neil-Ångström\",\"date\":null,\"amount\":0.05}",
        "{\"sender\":\"Ada\",\"date\":\"2024-02-29\",\"amount\":null}",
    ];
    for wish in facts {
        let expected = Generated { text: wish.as_bytes().to_vec(), ended: true };
        assert_eq!(generated(EXTRACT, wish, 100), expected);
    }
    for wish in CATEGORIES {
        let expected = Generated { text: wish.as_bytes().to_vec(), ended: true };
        assert_eq!(generated(CLASSIFY, wish, 100), expected);
    }
}

#[test]
fn what_does_not_fit_is_not_said() {
    for wish in ["Sure, billing", "Billing", "billing.", "the message is about billing", ""] {
        let said = generated(CLASSIFY, wish, 100);
        let text = String::from_utf8(said.text).expect("it is ASCII");
        assert!(said.ended && CATEGORIES.contains(&text.as_str()), "{wish}: {text}");
    }
    for wish in [
        "Sure, {\"sender\":\"Ada\"}",
        "{\"sender\":\"\",\"date\":\"31.05.2024\"",
        "{\"sender\":\"Ada\",\"date\":\"2024-13-01\",\"amount\":12}",
        "{\"sender\":\"Ada\",\"date\":null,\"amount\":null}\nAnd more",
        "",
    ] {
        let said = generated(EXTRACT, wish, 300);
        assert!(said.ended, "{wish}: {:?}", String::from_utf8_lossy(&said.text));
        assert_eq!(Form::Facts.read(&said.text), State::Whole);
    }
}

#[test]
fn a_sender_is_copied_from_the_message() {
    for (wish, expected) in [("Ida Byron", "Ada"), ("A Ada Byron", "Ada"), ("Ada Byro", "Ada Byron")] {
        let said =
            generated(EXTRACT, &format!("{{\"sender\":\"{wish}\",\"date\":null,\"amount\":null}}"), 300);
        let text = String::from_utf8(said.text).expect("it is ASCII");
        let name = text.strip_prefix("{\"sender\":\"").and_then(|rest| rest.split('"').next());
        assert!(said.ended && name.is_some_and(|name| MESSAGE.contains(name)), "{text}");
        assert!(name.is_some_and(|name| name.starts_with(expected)) || wish == "Ida Byron", "{wish}: {text}");
    }
}

#[test]
fn other_prompts_are_left_alone() {
    let wish = "Sure, I can help.";
    let expected = Generated { text: wish.as_bytes().to_vec(), ended: true };
    assert_eq!(generated("You are a helpful assistant.", wish, 100), expected);
    assert_eq!(generated("Classify the message: anything.", wish, 100), expected);
}

#[test]
fn it_is_of_smollm2_with_weights_beside_it() {
    let described = SupportTriage::describe(&FakeSettings::none());
    let expected = Adaptation::of("smollm2").weights_beside("support-triage").temperature(0.0);
    assert_eq!(described, expected.max_tokens(64).steering(64));
}

#[test]
fn no_other_text_is_taken_for_facts() {
    let right = "{\"sender\":\"Ada\",\"date\":\"2024-05-31\",\"amount\":12.50}";
    assert_eq!(Form::Facts.read(right.as_bytes()), State::Whole);
    for (old, new) in [
        ("Ada", "A\"da"),
        ("Ada", "A\\da"),
        ("Ada", "A\nda"),
        ("Ada", "A\\ud800da"),
        ("Ada", ""),
        ("2024-05-31", "2024-00-31"),
        ("2024-05-31", "2024-02-30"),
        ("2024-05-31", "24-05-31"),
        ("\"2024-05-31\"", "2024"),
        ("12.50", "12.5"),
        ("12.50", "12.500"),
        ("12.50", "012.50"),
        ("12.50", "12345678.00"),
        ("12.50", "-1.00"),
        ("12.50", "nil"),
        ("}", "} "),
        (",\"amount\":12.50", ""),
    ] {
        let wrong = right.replace(old, new);
        assert_eq!(Form::Facts.read(wrong.as_bytes()), State::Wrong, "{wrong}");
    }
    assert_eq!(Form::Facts.read(b"{\"sender\":\"\xc3\x28"), State::Wrong);
    assert_eq!(Form::Facts.read(b"{\"sender\":\"\xe0\x80"), State::Wrong);
    let long = format!("{{\"sender\":\"{}", "x".repeat(65));
    assert_eq!(Form::Facts.read(long.as_bytes()), State::Wrong);
}

proptest! {
    /// Whatever a model would like to say, its answer keeps its form and ends.
    #[test]
    fn any_model_keeps_the_form(wish in "[ -~äß€\n]{0,40}", is_class in any::<bool>()) {
        let (system, form) = if is_class { (CLASSIFY, Form::Class) } else { (EXTRACT, Form::Facts) };
        let said = generated(system, &wish, 300);
        prop_assert!(said.ended);
        prop_assert_eq!(form.read(&said.text), State::Whole);
        prop_assert!(std::str::from_utf8(&said.text).is_ok());
    }

    /// What is open can go on by some byte, what is whole by none, and every beginning of either is open.
    #[test]
    fn forms_are_read_alike_from_every_beginning(wish in "[ -~äß€]{1,64}", cents in 0..1_000_000u32) {
        let name = wish.replace(['"', '\\'], "'");
        let text = format!("{{\"sender\":\"{name}\",\"date\":null,\"amount\":{}.{:02}}}", cents / 100, cents % 100);
        let whole = Form::Facts.read(text.as_bytes());
        prop_assert_eq!(whole, if name.len() <= 64 { State::Whole } else { State::Wrong });
        for length in 0..text.len() {
            let beginning = &text.as_bytes()[..length];
            let state = Form::Facts.read(beginning);
            prop_assert_ne!(state, State::Whole);
            let goes_on = (0..=u8::MAX).any(|byte| Form::Facts.read(&[beginning, &[byte]].concat()) != State::Wrong);
            prop_assert_eq!(goes_on, state == State::Open);
        }
    }
}
