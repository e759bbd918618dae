use lockgate_plugin::testing::{FakeAnswer, FakeDraft, FakeRequest, FakeSettings, watch_run};
use lockgate_plugin::{Guard as _, Kind, Preprocessor as _, Verdict, Want};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::JsonGuard;

const PERSON: &str = r##"{
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "mood": {"enum": ["good", "bad"]},
        "home": {"$ref": "#/$defs/place"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": "string"}}
    },
    "required": ["name"],
    "additionalProperties": false,
    "$defs": {"place": {"type": "object", "properties": {"city": {"type": "string"}, "in": {"$ref": "#/$defs/place"}},
              "additionalProperties": false}}
}"##;

/// What a client gets of an answer in these chunks, and why it was stopped, if it was.
fn through(schema: &str, settings: &FakeSettings, chunks: &[&str]) -> (String, Option<String>) {
    let answer = FakeAnswer { note: Some(schema.as_bytes().to_vec()), ..FakeAnswer::default() };
    let mut guard = JsonGuard::watch(&answer, settings).expect("the schema is one");
    let watched = watch_run(&mut guard, &Kind::Text, chunks.iter().copied());
    let mut text = watched.text;
    if watched.stopped.is_some() {
        return (text, watched.stopped);
    }
    match guard.finish() {
        Verdict::Pass => (text, None),
        Verdict::Replace(rest) => {
            text.push_str(&rest);
            (text, None)
        }
        Verdict::Stop(reason) => (text, Some(reason)),
        Verdict::Hold(_) => panic!("nothing more can come"),
    }
}

fn repaired(text: &str) -> (String, Option<String>) {
    through(PERSON, &FakeSettings::none(), &[text])
}

fn kept(text: &str) {
    assert_eq!(repaired(text), (text.to_owned(), None), "{text}");
}

fn stopped(text: &str, why: &str) {
    let (_, reason) = repaired(text);
    assert!(reason.as_deref().is_some_and(|reason| reason.contains(why)), "{text}: {reason:?}");
}

#[test]
fn what_follows_its_schema_passes() {
    kept(
        r#"{"name": "Anna", "age": -3, "mood": "good", "home": {"city": "K\u00f6ln", "in": {}}, "tags": ["a", "b"]}"#,
    );
    kept(r#"{ "name" : "\"}" , "note" : null }"#);
    kept(r#"{"note": "x", "name": ""}"#);
}

#[test]
fn what_leaves_it_is_stopped_at_once() {
    stopped(r#"{"name": 5"#, "a value of a kind");
    stopped(r#"{"nmae"#, "a property that its schema does not have");
    stopped(r#"{"name": "A", "age": 1.5,"#, "a value of a kind");
    stopped(r#"{"name": "A", "mood": "gl"#, "a value that its schema does not list");
    stopped(r#"{"name": "A", "home": {"town"#, "does not have");
    stopped(r#"{"name": "A", "tags": [1"#, "a value of a kind");
    stopped(r#"{"name": "A", "note": 1"#, "a value of a kind");
    stopped(r#"{"age": 3}"#, "requires is missing");
    stopped(r#"{"name": "A",}"#, "no JSON");
    stopped("{\"name\": \"A\nB\"}", "no JSON");
    stopped("Sorry, I cannot do that.", "no JSON in it");
    stopped(&"words ".repeat(1000), "no JSON in it");
    let chunks = [r#"{"name": "A", "#, r#""mood": "gl"#];
    let (text, reason) = through(PERSON, &FakeSettings::none(), &chunks);
    assert_eq!(text, r#"{"name": "A""#, "the chunk that was wrong goes nowhere");
    assert!(reason.is_some());
}

#[test]
fn what_stands_around_it_is_left_out() {
    let whole = (r#"{"name": "A"}"#.to_owned(), None);
    assert_eq!(repaired("Here you are:\n```json\n{\"name\": \"A\"}\n```\nAnything else?"), whole);
    assert_eq!(
        repaired("As [asked]: {\"name\": \"A\"}"),
        whole,
        "no value of that schema begins with a bracket"
    );
    assert_eq!(repaired("  {\"name\": \"A\"}  "), whole);
}

#[test]
fn what_breaks_off_is_closed_if_that_makes_it_right() {
    for (cut, closed) in [
        (r#"{"name": "An"#, r#"{"name": "An"}"#),
        (r#"{"name": "An\"#, r#"{"name": "An\\"}"#),
        (r#"{"name": "An\u00"#, r#"{"name": "An\u0000"}"#),
        (r#"{"name": "A", "age": -"#, r#"{"name": "A", "age": -0}"#),
        (r#"{"name": "A", "age": 4"#, r#"{"name": "A", "age": 4}"#),
        (r#"{"name": "A", "note": nu"#, r#"{"name": "A", "note": null}"#),
        (r#"{"name": "A", "#, r#"{"name": "A"}"#),
        (r#"{"name": "A", "age"#, r#"{"name": "A"}"#),
        (r#"{"name": "A", "age": "#, r#"{"name": "A"}"#),
        (r#"{"name": "A", "tags": ["a", "#, r#"{"name": "A", "tags": ["a"]}"#),
        (r#"{"name": "A", "home": {"in": {"city": "K"#, r#"{"name": "A", "home": {"in": {"city": "K"}}}"#),
    ] {
        assert_eq!(repaired(cut), (closed.to_owned(), None), "{cut}");
    }
    stopped(r#"{"age": 4"#, "requires is missing");
    stopped(r#"{"name": "A", "mood": "go"#, "does not list");
    stopped("{", "requires is missing");
}

#[test]
fn in_the_mode_stop_nothing_is_repaired() {
    let stop = FakeSettings::none().with("mode", "stop");
    let whole = r#" {"name": "A"} "#;
    assert_eq!(through(PERSON, &stop, &[whole]), (whole.to_owned(), None));
    for wrong in ["```json\n{\"name\": \"A\"}", "{\"name\": \"A\"} ok?", "{\"name\": \"A\"", ""] {
        assert!(through(PERSON, &stop, &[wrong]).1.is_some(), "{wrong}");
    }
}

#[test]
fn without_a_schema_any_json_will_do() {
    let free = |text: &str| through("true", &FakeSettings::none(), &[text]);
    assert_eq!(free("Sure: [1, {\"a\": tr"), ("[1, {\"a\": true}]".to_owned(), None));
    assert!(free("[1 2]").1.is_some());
}

#[test]
fn it_watches_only_what_was_to_be_json() {
    let mut guard = JsonGuard::watch(&FakeAnswer::default(), &FakeSettings::none()).expect("it watches");
    assert_eq!(guard.on_chunk(&Kind::Text, "Bonjour"), Verdict::Pass);
    assert_eq!(guard.finish(), Verdict::Pass);
    let answer = FakeAnswer { note: Some(b"true".to_vec()), ..FakeAnswer::default() };
    let mut guard = JsonGuard::watch(&answer, &FakeSettings::none()).expect("it watches");
    assert_eq!(guard.on_chunk(&Kind::Reasoning, "Hm, "), Verdict::Pass);
    assert_eq!(guard.on_chunk(&Kind::Arguments("weather".to_owned()), "{"), Verdict::Pass);
    assert_eq!(guard.finish(), Verdict::Pass, "a tool call is an answer of its own");
    // The operator may ask for a schema that the client does not know of.
    let settings = FakeSettings::none().with("schema", PERSON);
    let mut guard = JsonGuard::watch(&FakeAnswer::default(), &settings).expect("it watches");
    assert_eq!(guard.on_chunk(&Kind::Text, "{\"name\": \"A\"}"), Verdict::Pass);
}

#[test]
fn the_first_half_keeps_what_the_client_asked_for() {
    let note = |request: FakeRequest| {
        let mut draft = FakeDraft::user("hi");
        draft.request = request;
        JsonGuard::prepare(&mut draft, &FakeSettings::none()).map(|()| draft.note)
    };
    let plain = FakeRequest::user("hi");
    assert_eq!(note(plain.clone()), Ok(None));
    assert_eq!(note(plain.clone().want(Want::Json)), Ok(Some(b"true".to_vec())));
    let asking = |schema: String| FakeRequest { answer_schema: Some(schema), ..plain.clone() };
    assert_eq!(note(asking(PERSON.to_owned())), Ok(Some(PERSON.as_bytes().to_vec())));
    assert!(note(asking("x".repeat(70_000))).is_err());
}

#[test]
fn a_schema_that_is_none_and_nonsense_in_settings_refuse() {
    for schema in
        ["5", "{\"type\": \"text\"}", "{\"$ref\": \"#/nowhere\"}", "{", "{\"items\": {\"type\": 1}}"]
    {
        let answer = FakeAnswer { note: Some(schema.as_bytes().to_vec()), ..FakeAnswer::default() };
        assert!(JsonGuard::watch(&answer, &FakeSettings::none()).is_err(), "{schema}");
    }
    for (key, value) in [("mode", "fix"), ("speed", "1")] {
        assert!(JsonGuard::watch(&FakeAnswer::default(), &FakeSettings::none().with(key, value)).is_err());
    }
    // A schema that contains itself ends.
    let circle = r##"{"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}"##;
    assert_eq!(through(circle, &FakeSettings::none(), &["{}"]).1, None);
}

/// What is wrong with a number in an array of integers, if anything is.
fn fault_of_integer(number: &str) -> Option<String> {
    let schema = r#"{"type": "array", "items": {"type": "integer"}}"#;
    let text = format!("[{number}]");
    let (out, stopped) = through(schema, &FakeSettings::none(), &[&text]);
    assert!(stopped.is_some() || out == text, "{out}");
    stopped
}

#[test]
fn a_number_without_a_fraction_is_an_integer_however_it_is_written() {
    for number in [
        "1.0",
        "-1.000",
        "1e1",
        "1E+2",
        "1.5e1",
        "10e-1",
        "-0.0",
        "0e-5",
        "0.00e-99999999999999999999",
        "1e99999999999999999999",
    ] {
        assert_eq!(fault_of_integer(number), None, "{number}");
    }
    for number in ["1.5", "0.1", "1e-1", "10e-2", "1.25e1", "1e-99999999999999999999"] {
        assert!(fault_of_integer(number).is_some_and(|why| why.contains("a value of a kind")), "{number}");
    }
    // Where it breaks off, too.
    assert_eq!(repaired(r#"{"name": "A", "age": 4."#), (r#"{"name": "A", "age": 4.0}"#.to_owned(), None));
    stopped(r#"{"name": "A", "age": 4.5"#, "a value of a kind");
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1e9_f64..1e9).prop_map(Value::from),
        "[ -~äß\\\\\"\n\t€]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[a-z\"]{0,4}", inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
    .prop_map(|value| json!([value]))
}

proptest! {
    /// Whatever is JSON passes unchanged, in any chunks.
    #[test]
    fn json_passes_in_any_chunks(value in any_value(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.expect("it is a value");
        let mut places: Vec<usize> = cuts.iter().map(|cut| text.floor_char_boundary(cut.index(text.len() + 1))).collect();
        places.extend([0, text.len()]);
        places.sort_unstable();
        let chunks: Vec<&str> = places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        let (out, stopped) = through("true", &FakeSettings::none(), &chunks);
        prop_assert_eq!(stopped, None);
        prop_assert_eq!(out, text);
    }

    /// Wherever it breaks off, what the client gets is JSON.
    #[test]
    fn a_cut_answer_is_closed_to_json(value in any_value(), cut in any::<prop::sample::Index>()) {
        let text = serde_json::to_string(&value).expect("it is a value");
        let cut = text.floor_char_boundary(1 + cut.index(text.len()));
        let (out, stopped) = through("true", &FakeSettings::none(), &[&text[..cut.max(1)]]);
        prop_assert_eq!(stopped, None);
        prop_assert!(serde_json::from_str::<Value>(&out).is_ok(), "{} from {}", out, &text[..cut]);
    }

    /// Powers of ten times an integer are integers as arithmetic has it.
    #[test]
    fn integers_are_told_from_fractions(digits in 0_u32..100_000, point in 0_usize..5, exponent in -9_i32..9) {
        let mut text = format!("{digits:06}");
        text.insert(6 - point, '.');
        let text = text.trim_start_matches('0');
        let text = if text.starts_with('.') { format!("0{text}") } else { text.to_owned() };
        // A point wants a digit behind it.
        let text = text.strip_suffix('.').unwrap_or(&text);
        let text = format!("{text}e{exponent}");
        let down = point as i32 - exponent;
        let is_integer = down <= 0 || u64::from(digits) % 10_u64.pow(down as u32) == 0;
        prop_assert_eq!(fault_of_integer(&text).is_none(), is_integer, "{}", text);
    }

    /// No text makes it panic, and what it lets through whole is JSON.
    #[test]
    fn any_text_ends_well(text in "[\\[\\]{}\",:0-9a-z\\\\ .eE+-]{0,60}") {
        let (out, stopped) = through("true", &FakeSettings::none(), &[&text]);
        prop_assert!(stopped.is_some() || serde_json::from_str::<Value>(&out).is_ok(), "{} from {}", out, text);
    }
}
