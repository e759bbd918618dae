use lockgate_plugin::testing::{FakeDraft, FakeRequest, FakeSettings};
use lockgate_plugin::{Preprocessor as _, Refusal, Role, Want};

use crate::PersonalData;

fn labels(request: FakeRequest, settings: &FakeSettings) -> Result<Vec<String>, Refusal> {
    let mut draft = FakeDraft::new(request.clone());
    PersonalData::prepare(&mut draft, settings)?;
    assert_eq!(draft.request.messages.len(), request.messages.len());
    let before = request.messages.iter().map(|message| &message.text);
    assert!(draft.request.messages.iter().map(|message| &message.text).eq(before), "no text is changed");
    Ok(draft.request.labels)
}

fn labels_of(request: FakeRequest) -> Vec<String> {
    labels(request, &FakeSettings::none()).expect("it does not refuse")
}

#[test]
fn something_personal_is_labelled_wherever_it_is() {
    let secret = "anna.schmidt@posteo.de";
    let early = FakeRequest::user(secret).message(Role::Assistant, "noted").message(Role::User, "go on");
    let tool = FakeRequest::user("go on").message(Role::Tool, secret);
    let mut beside = FakeRequest::user("go on");
    beside.more_text.push(format!("A tool for {secret}"));
    let late = FakeRequest::user(format!("{}{secret}", "harmless words, ".repeat(100_000)));
    let named = FakeRequest { model: "claude".to_owned(), ..FakeRequest::user(secret) };
    for request in [early, tool, beside, late, named] {
        assert_eq!(labels_of(request), ["local-only"]);
    }
}

#[test]
fn anything_else_is_left_alone() {
    assert!(labels_of(FakeRequest::user("What is the capital of France?")).is_empty());
    assert!(labels_of(FakeRequest::user("order 4157362671")).is_empty());
}

#[test]
fn pictures_count_as_personal_unless_ignored() {
    let request = FakeRequest::user("What is in this picture?").want(Want::Images);
    assert_eq!(labels_of(request.clone()), ["local-only"]);
    let settings = FakeSettings::none().with("pictures", "ignore");
    assert_eq!(labels(request, &settings), Ok(Vec::new()));
}

#[test]
fn the_label_can_be_another() {
    let request = || FakeRequest::user("I have diabetes");
    for label in ["no-cloud", "region:eu-central-1"] {
        assert_eq!(labels(request(), &FakeSettings::none().with("label", label)), Ok(vec![label.to_owned()]));
    }
}

#[test]
fn settings_without_sense_refuse_every_request() {
    for (key, value, words) in [
        ("label", "local", "`label` of the preprocessor personal-data must be local-only"),
        ("pictures", "maybe", "must be personal or ignore"),
        ("lable", "no-cloud", "no setting `lable`"),
    ] {
        let settings = FakeSettings::none().with(key, value);
        let refusal = labels(FakeRequest::user("hello"), &settings).expect_err("the setting has no sense");
        assert!(refusal.reason.contains(words), "{}", refusal.reason);
    }
}
