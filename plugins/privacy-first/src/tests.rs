use lockgate_plugin::testing::{FakeCatalog, FakeRequest, FakeSettings, FakeTarget};
use lockgate_plugin::{Breaker, Locality, Plan, Refusal, Role, Router as _, Want};

use crate::PrivacyFirst;

fn both() -> FakeCatalog {
    FakeCatalog::new([
        FakeTarget::cloud("claude"),
        FakeTarget::local("qwen"),
        FakeTarget::new("box", Locality::Lan),
    ])
}

fn route(request: &FakeRequest, catalog: &FakeCatalog) -> Result<Plan, Refusal> {
    PrivacyFirst::route(request, catalog, &FakeSettings::none())
}

fn plan(request: &FakeRequest) -> Plan {
    route(request, &both()).expect("there is a target")
}

#[test]
fn something_personal_stays_here_and_is_labelled() {
    let plan = plan(&FakeRequest::user("Prove it to anna.schmidt@posteo.de step by step"));
    assert_eq!(plan.targets(), ["qwen"]);
    assert_eq!(plan.labels, ["local-only"]);
    assert_eq!(plan.reason, "stays on this machine: an e-mail address");
    assert!(!plan.reason.contains("anna"), "a reason does not quote");
}

#[test]
fn every_part_of_a_request_is_read() {
    let secret = "anna.schmidt@posteo.de";
    let early = FakeRequest::user(secret).message(Role::Assistant, "noted").message(Role::User, "go on");
    let tool = FakeRequest::user("go on").message(Role::Tool, secret);
    let mut beside = FakeRequest::user("go on");
    beside.more_text.push(format!("A tool for {secret}"));
    let late = FakeRequest::user(format!("{}{secret}", "harmless words, ".repeat(100_000)));
    for request in [early, tool, beside, late] {
        assert_eq!(plan(&request).targets(), ["qwen"]);
    }
}

#[test]
fn a_label_alone_keeps_a_request_here() {
    let catalog = FakeCatalog::new([FakeTarget::cloud("claude").forbidden(), FakeTarget::local("qwen")]);
    let plan = route(&FakeRequest::user("hello").label("local-only"), &catalog).expect("there is a target");
    assert_eq!(plan.targets(), ["qwen"]);
    assert_eq!(plan.labels, ["local-only"]);
    assert_eq!(plan.reason, "stays on this machine: the label local-only");
}

#[test]
fn other_labels_bound_the_choice() {
    let catalog = FakeCatalog::new([
        FakeTarget::cloud("claude").forbidden(),
        FakeTarget::new("box", Locality::Lan),
        FakeTarget::local("qwen"),
    ]);
    let plan = route(&FakeRequest::user("hello").label("no-cloud"), &catalog).expect("there is a target");
    assert_eq!(plan.targets(), ["qwen", "box"]);
    assert!(plan.labels.is_empty());
}

#[test]
fn without_a_local_target_something_personal_is_refused() {
    let catalog = FakeCatalog::new([FakeTarget::cloud("claude"), FakeTarget::new("box", Locality::Lan)]);
    let refusal =
        route(&FakeRequest::user("mail anna.schmidt@posteo.de"), &catalog).expect_err("none is local");
    assert_eq!(
        refusal.reason,
        "the request must not leave this machine (an e-mail address), and no model on this machine is \
         available to it"
    );
    let refusal = route(&FakeRequest::user("hello"), &FakeCatalog::default()).expect_err("there is none");
    assert_eq!(refusal.reason, "no target is permitted for this request");
}

#[test]
fn simple_work_goes_here_first() {
    let plan = plan(&FakeRequest::user("What is the capital of France?"));
    assert_eq!(plan.targets(), ["qwen", "box", "claude"]);
    assert!(plan.labels.is_empty());
    assert_eq!(plan.reason, "simple work: about 8 tokens (difficulty 0.00)");
}

#[test]
fn hard_work_goes_to_a_cloud_first() {
    let long = FakeRequest::user("words and more words ".repeat(300));
    let tools = FakeRequest::user("What is the weather?").want(Want::Tools);
    let wording = FakeRequest::user("Prove that there are infinitely many primes.");
    let demanding = FakeRequest::user("Compare the two designs and analyse their costs.");
    for (request, why) in [
        (long, "about 1575 tokens"),
        (tools, "tools asked for"),
        (wording, "demanding wording"),
        (demanding, "demanding wording"),
    ] {
        let plan = plan(&request);
        assert_eq!(plan.targets(), ["claude", "box", "qwen"], "{}", plan.reason);
        assert!(plan.reason.starts_with("hard work: ") && plan.reason.contains(why), "{}", plan.reason);
    }
}

#[test]
fn only_the_open_question_is_read_for_its_wording() {
    let request = FakeRequest::user("Prove the theorem step by step.")
        .message(Role::Assistant, "Done, by refactoring.")
        .message(Role::User, "Thanks!");
    assert_eq!(plan(&request).targets()[0], "qwen");

    let middle = "nothing to see here ".repeat(150);
    let end = FakeRequest::user(format!("{middle} Prove it."));
    assert!(plan(&end).reason.contains("demanding wording"));
    let inside = FakeRequest::user(format!("{middle} prove {middle}"));
    assert!(!plan(&inside).reason.contains("demanding wording"));
}

#[test]
fn pictures_cannot_be_read_and_stay() {
    let request = FakeRequest::user("What is in this picture?").want(Want::Images);
    assert_eq!(plan(&request).targets(), ["qwen"]);
    let settings = FakeSettings::none().with("pictures", "ignore");
    let plan = PrivacyFirst::route(&request, &both(), &settings).expect("there is a target");
    assert_eq!(plan.attempts.len(), 3);
}

#[test]
fn targets_that_cannot_or_should_not_come_later() {
    let mut able = FakeTarget::cloud("able");
    able.offers.push(Want::Tools);
    let catalog = FakeCatalog::new([
        FakeTarget::cloud("broken").breaker(Breaker::Open),
        FakeTarget::cloud("recovering").breaker(Breaker::HalfOpen),
        FakeTarget::cloud("well"),
        FakeTarget::local("here"),
        able,
    ]);
    let plan = route(&FakeRequest::user("Prove it"), &catalog).expect("there is a target");
    assert_eq!(plan.targets(), ["well", "able", "recovering", "here", "broken"]);
    let plan =
        route(&FakeRequest::user("the weather").want(Want::Tools), &catalog).expect("there is a target");
    assert_eq!(plan.targets(), ["able", "well", "recovering", "here", "broken"]);
}

#[test]
fn a_wish_comes_first_unless_it_would_leak() {
    let mut request = FakeRequest::user("hello");
    request.model = "claude".to_owned();
    assert_eq!(plan(&request).targets(), ["claude", "qwen", "box"]);
    request.messages[0].text = "I have diabetes".to_owned();
    assert_eq!(plan(&request).targets(), ["qwen"]);
}

#[test]
fn a_plan_is_short_enough_for_the_host() {
    let many = FakeCatalog::new((0..100).map(|number| FakeTarget::cloud(format!("cloud-{number}"))));
    assert_eq!(route(&FakeRequest::user("hello"), &many).expect("there are targets").attempts.len(), 8);
}

#[test]
fn settings_move_the_threshold() {
    let request = FakeRequest::user("Compare these two words.");
    let with = |key: &str, value: &str| {
        let settings = FakeSettings::none().with(key, value);
        PrivacyFirst::route(&request, &both(), &settings)
    };
    assert_eq!(with("threshold", "0.7").expect("it is usable").targets()[0], "qwen");
    assert_eq!(with("threshold", "0.3").expect("it is usable").targets()[0], "claude");
    assert_eq!(with("threshold", " 1 ").expect("it is usable").targets()[0], "qwen");
    assert_eq!(with("threshold", "0.351").expect("it is usable").targets()[0], "claude");
    assert_eq!(with("threshold", "0.38").expect("it is usable").targets()[0], "qwen");
    assert_eq!(with("tokens_hard", "4").expect("it is usable").targets()[0], "claude");
}

#[test]
fn settings_without_sense_refuse_every_request() {
    for (key, value, words) in [
        ("threshold", "high", "`threshold` must be a number from 0 to 1"),
        ("threshold", "1.5", "`threshold` must be a number from 0 to 1"),
        ("threshold", "NaN", "`threshold` must be a number from 0 to 1"),
        ("threshold", "-0.5", "`threshold` must be a number from 0 to 1"),
        ("threshold", "99999999999", "`threshold` must be a number from 0 to 1"),
        ("threshold", ".", "`threshold` must be a number from 0 to 1"),
        ("tokens_hard", "0", "`tokens_hard` must be a whole number from 1 on"),
        ("pictures", "maybe", "`pictures` must be personal or ignore"),
        ("treshold", "0.5", "no setting `treshold`"),
    ] {
        let settings = FakeSettings::none().with(key, value);
        let refusal = PrivacyFirst::route(&FakeRequest::user("hello"), &both(), &settings)
            .expect_err("the setting has no sense");
        assert!(refusal.reason.contains(words), "{}", refusal.reason);
    }
}
