use lockgate_plugin::testing::{FakeCatalog, FakeChoice, FakeOutcome, FakeRequest, FakeSettings, FakeTarget};
use lockgate_plugin::{Breaker, Finish, Price, Review, Reviewer as _, Router as _, Want};

use crate::Cascade;

fn priced(id: &str, usd: f64) -> FakeTarget {
    FakeTarget { price: Some(Price { input: usd, output: usd }), ..FakeTarget::cloud(id) }
}

fn catalog() -> FakeCatalog {
    FakeCatalog::new([priced("opus", 15.0), priced("haiku", 1.0), FakeTarget::local("small")])
}

fn steps(request: &FakeRequest, catalog: &FakeCatalog) -> Vec<(String, bool)> {
    let plan = Cascade::route(request, catalog, &FakeSettings::none()).expect("there is a target");
    plan.attempts.into_iter().map(|attempt| (attempt.target, attempt.review)).collect()
}

fn owned(steps: &[(&str, bool)]) -> Vec<(String, bool)> {
    steps.iter().map(|(id, review)| ((*id).to_owned(), *review)).collect()
}

#[test]
fn near_and_cheap_comes_first_and_all_but_the_last_are_reviewed() {
    let request = FakeRequest::user("hello");
    assert_eq!(steps(&request, &catalog()), owned(&[("small", true), ("haiku", true), ("opus", false)]));
    let one = FakeCatalog::new([FakeTarget::local("small"), FakeTarget::cloud("opus").forbidden()]);
    assert_eq!(steps(&request, &one), owned(&[("small", false)]), "the only one is taken as it is");
    let none = FakeCatalog::new([FakeTarget::cloud("opus").forbidden()]);
    assert!(Cascade::route(&request, &none, &FakeSettings::none()).is_err());
}

#[test]
fn what_cannot_do_it_or_is_broken_comes_last() {
    let mut catalog = catalog();
    catalog.targets[2] = catalog.targets[2].clone().breaker(Breaker::Open);
    let request = FakeRequest::user("hello");
    assert_eq!(steps(&request, &catalog), owned(&[("haiku", true), ("opus", true), ("small", false)]));
    let mut catalog = self::catalog();
    catalog.targets[0].offers.push(Want::Tools);
    let request = FakeRequest::user("hello").want(Want::Tools);
    assert_eq!(steps(&request, &catalog)[0].0, "opus");
}

fn judged(outcome: &FakeOutcome) -> Review {
    judged_for(&FakeRequest::user("hello"), outcome, &FakeSettings::none())
}

fn judged_for(request: &FakeRequest, outcome: &FakeOutcome, settings: &FakeSettings) -> Review {
    Cascade::review(request, outcome, settings)
}

fn next(review: &Review) -> bool {
    matches!(review, Review::Next(_))
}

#[test]
fn a_plain_sure_answer_is_accepted() {
    assert_eq!(judged(&FakeOutcome::text("Paris.").likely(-0.2)), Review::Accept);
    assert_eq!(judged(&FakeOutcome::text("Paris.")), Review::Accept, "a target that tells no likelihood");
}

#[test]
fn each_fault_tries_the_next() {
    let filtered = FakeOutcome {
        choices: vec![FakeChoice { finish: Some(Finish::ContentFilter), ..FakeChoice::default() }],
        ..FakeOutcome::default()
    };
    for outcome in [
        FakeOutcome::text("Paris.").likely(-1.7),
        FakeOutcome::text("  I’m sorry, I cannot help with that."),
        FakeOutcome::text("Ich weiß es nicht."),
        FakeOutcome::text(" \n"),
        filtered,
    ] {
        let review = judged(&outcome);
        assert!(next(&review), "{outcome:?}");
        let Review::Next(reason) = review else { continue };
        assert!(!reason.contains("cannot help"), "a reason does not quote");
    }
}

#[test]
fn json_that_was_asked_for_must_be_json() {
    let request = FakeRequest::user("as JSON").want(Want::Json);
    let judge = |text: &str| judged_for(&request, &FakeOutcome::text(text), &FakeSettings::none());
    assert_eq!(judge("{\"city\": \"I cannot say\"}"), Review::Accept);
    assert!(next(&judge("The city is Paris.")));
    assert!(next(&judge("{\"city\": \"Par")));
    let mut cut = FakeOutcome::text("{\"city\": \"Par");
    cut.choices[0].finish = Some(Finish::Length);
    let review = judged_for(&request, &cut, &FakeSettings::none());
    assert_eq!(review, Review::Accept, "the client's own limit would cut the next one too");
}

#[test]
fn a_tool_call_is_an_answer_if_its_arguments_are_json() {
    let call = |arguments: &str| FakeOutcome {
        choices: vec![FakeChoice {
            calls: vec![("weather".to_owned(), arguments.to_owned())],
            finish: Some(Finish::ToolCalls),
            ..FakeChoice::default()
        }],
        ..FakeOutcome::default()
    };
    assert_eq!(judged(&call("{\"city\": \"Paris\"}")), Review::Accept);
    assert!(next(&judged(&call("{\"city\": "))));
}

#[test]
fn settings_move_the_bounds_and_nonsense_refuses() {
    let request = FakeRequest::user("hello");
    let settings = FakeSettings::none()
        .with("likelihood_min", "-2")
        .with("characters_min", "10")
        .with("phrases", "no idea | keine Ahnung");
    let judge =
        |text: &str, likelihood| judged_for(&request, &FakeOutcome::text(text).likely(likelihood), &settings);
    assert_eq!(judge("It is Paris, surely.", -1.7), Review::Accept);
    assert!(next(&judge("Paris.", -0.1)));
    assert!(next(&judge("Davon habe ich Keine Ahnung.", -0.1)));
    for (key, value) in [("likelihood_min", "0.5"), ("characters_min", "few"), ("speed", "1")] {
        let settings = FakeSettings::none().with(key, value);
        let refusal = Cascade::route(&request, &catalog(), &settings).expect_err(key);
        assert!(refusal.reason.contains(key), "{}", refusal.reason);
        assert!(next(&judged_for(&request, &FakeOutcome::text("Paris."), &settings)));
    }
}
