use lockgate_plugin::testing::{FakeCatalog, FakeRequest, FakeSettings, FakeTarget, Reply, asked, reply};
use lockgate_plugin::{AskError, Likelihood, Plan, Refusal, Role, Router as _};

use crate::SemanticRouter;

fn catalog() -> FakeCatalog {
    FakeCatalog::new([FakeTarget::cloud("claude"), FakeTarget::cloud("coder"), FakeTarget::local("qwen")])
}

fn settings() -> FakeSettings {
    FakeSettings::none().with("model", "qwen")
}

fn with_intents() -> FakeSettings {
    settings()
        .with("intent.code", "Write a function that sorts a list. | Why does this program crash?")
        .with("target.code", "coder")
        .with("intent.talk", "How was your weekend? | Tell me a joke.")
        .with("target.talk", "auto")
}

fn route(text: &str, settings: &FakeSettings) -> Plan {
    SemanticRouter::route(&FakeRequest::user(text), &catalog(), settings).expect("a plan")
}

/// One that the cheap signs hold for harder than not, but not by much: "explain" adds nothing, "compare" does.
const NEAR: &str = "Compare and evaluate the two plans";
/// Two demanding words and a hard one.
const HARD: &str = "Prove the theorem step by step and compare the proofs";

fn leads(question: f64, nothing: f64) {
    for lead in [question, nothing] {
        reply(Reply::likelihoods(&[-3.0, -3.0 + lead]));
    }
}

#[test]
fn what_is_clearly_simple_or_hard_asks_nobody() {
    let plan = route("Hello!", &settings());
    assert_eq!(plan.targets(), ["qwen", "claude", "coder"]);
    assert!(plan.reason.starts_with("simple work"), "{}", plan.reason);
    let close = settings().with("margin", "0.2");
    assert_eq!(route(HARD, &close).targets(), ["claude", "coder", "qwen"]);
    assert_eq!(asked(), []);
}

#[test]
fn near_the_threshold_the_model_says_which() {
    leads(1.5, 0.2);
    let plan = route(NEAR, &settings());
    assert_eq!(plan.targets(), ["claude", "coder", "qwen"]);
    assert!(plan.reason.starts_with("hard work, says qwen"), "{}", plan.reason);
    let asked_for = asked();
    assert_eq!(asked_for.len(), 2);
    assert_eq!((asked_for[0].target.as_str(), asked_for[0].is_cloud), ("qwen", false));
    assert_eq!(asked_for[0].texts, ["simple", "hard"]);
    let (role, text) = asked_for[0].messages.last().expect("a message");
    assert!(*role == Role::User && text.contains(NEAR), "{text}");
    assert!(!asked_for[1].messages[1].1.contains(NEAR), "the second time without the question");

    leads(0.5, 1.9);
    let plan = route(NEAR, &settings());
    assert_eq!(plan.targets()[0], "qwen", "a favourite word counts for nothing");
    assert!(plan.reason.starts_with("simple work, says qwen"), "{}", plan.reason);
}

#[test]
fn likelihoods_are_compared_by_the_token() {
    let likelihood = |log_probability, tokens| Likelihood { log_probability, tokens };
    for _ in 0..2 {
        // Of three tokens it is the likelier one, each of them.
        reply(Reply::Likelihoods(vec![likelihood(-3.0, 3), likelihood(-2.0, 1)]));
    }
    let plan = route(NEAR, &settings());
    assert!(plan.reason.contains("is unsure"), "the question moved nothing: {}", plan.reason);
    reply(Reply::Likelihoods(vec![likelihood(-3.0, 3), likelihood(-2.0, 1)]));
    reply(Reply::Likelihoods(vec![likelihood(-6.0, 3), likelihood(-2.0, 1)]));
    let plan = route(NEAR, &settings());
    assert!(plan.reason.starts_with("simple work, says qwen"), "{}", plan.reason);
}

#[test]
fn a_model_that_fails_or_is_unsure_leaves_the_cheap_word_standing() {
    for error in [AskError::Denied, AskError::Timeout, AskError::Limit, AskError::Overloaded] {
        reply(Reply::Error(error.clone()));
        let plan = route(NEAR, &settings());
        assert_eq!(plan.targets()[0], "claude", "0.7 by its words");
        assert!(plan.reason.contains("qwen did not say"), "{}", plan.reason);
        assert!(plan.reason.contains(&error.to_string()), "{}", plan.reason);
    }
    leads(0.1, 0.0);
    assert!(route(NEAR, &settings()).reason.contains("qwen is unsure"));
    reply(Reply::likelihoods(&[-1.0]));
    assert!(route(NEAR, &settings()).reason.contains("something else"));
    assert!(!route(NEAR, &settings()).reason.contains(NEAR), "a reason does not quote");
}

#[test]
fn an_intents_words_decide_where_they_lead() {
    let plan = route("Please write a function that sorts this list of names", &with_intents());
    assert_eq!(plan.targets(), ["coder", "qwen", "claude"]);
    assert_eq!(plan.reason, "intent code, by its words");
    assert_eq!(asked(), []);
}

#[test]
fn elsewhere_the_nearest_meaning_does() {
    // The question, two examples of code, two of talk.
    let vectors = vec![vec![1.0, 0.0], vec![0.8, 0.6], vec![0.6, 0.8], vec![0.0, 1.0], vec![0.6, 0.8]];
    reply(Reply::Vectors(vectors));
    let plan = route("My parser loops forever", &with_intents());
    assert_eq!((plan.targets()[0], plan.reason.as_str()), ("coder", "intent code, by its meaning"));
    let asked_for = asked();
    assert_eq!((asked_for.len(), asked_for[0].texts.len()), (1, 5));
    assert_eq!(asked_for[0].texts[0], "My parser loops forever");

    // Too near to tell, and one that is left to the difficulty.
    reply(Reply::Vectors(vec![vec![1.0, 0.0]; 5]));
    assert!(route("My parser loops forever", &with_intents()).reason.starts_with("simple work"));
    let vectors = vec![vec![1.0, 0.0], vec![0.0, 1.0], vec![0.0, 1.0], vec![1.0, 0.0], vec![0.6, 0.8]];
    reply(Reply::Vectors(vectors));
    let plan = route("Good morning to you", &with_intents());
    assert_eq!(plan.targets()[0], "qwen");
    assert!(plan.reason.starts_with("intent talk, by its meaning; simple work"), "{}", plan.reason);
}

#[test]
fn without_embeddings_there_is_no_intent_but_a_plan() {
    for answer in [Reply::Error(AskError::Unavailable), Reply::Vectors(vec![vec![1.0]])] {
        reply(answer);
        let plan = route("My parser loops forever", &with_intents());
        assert_eq!(plan.targets()[0], "qwen");
        assert!(plan.reason.starts_with("no intent, since qwen did not say"), "{}", plan.reason);
    }
}

#[test]
fn labels_bound_every_choice() {
    let catalog = FakeCatalog::new([FakeTarget::cloud("coder").forbidden(), FakeTarget::local("qwen")]);
    let request = FakeRequest::user("Please write a function that sorts this list").label("local-only");
    let plan = SemanticRouter::route(&request, &catalog, &with_intents()).expect("a plan");
    assert_eq!(plan.targets(), ["qwen"]);
    assert!(plan.reason.contains("`coder` does not exist or is not permitted"), "{}", plan.reason);
    let none = FakeCatalog::new([FakeTarget::cloud("coder").forbidden()]);
    SemanticRouter::route(&request, &none, &with_intents()).expect_err("nothing is permitted");
}

#[test]
fn an_empty_question_asks_nobody() {
    let wide = with_intents().with("margin", "1");
    assert_eq!(route("", &wide).targets()[0], "qwen");
    assert_eq!(asked(), []);
}

#[test]
fn settings_without_sense_refuse_with_their_name() {
    let refused = |settings: &FakeSettings| -> Refusal {
        SemanticRouter::route(&FakeRequest::user("hi"), &catalog(), settings).expect_err("refused")
    };
    for (settings, words) in [
        (FakeSettings::none(), "`model`"),
        (settings().with("threshold", "2"), "`threshold`"),
        (settings().with("margin", "wide"), "`margin`"),
        (settings().with("certainty", "-1"), "`certainty`"),
        (settings().with("words_lead", "NaN"), "`words_lead`"),
        (settings().with("meaning_lead", "3"), "`meaning_lead`"),
        (settings().with("tokens_hard", "0"), "`tokens_hard`"),
        (settings().with("intents", "code"), "`intents`"),
        (settings().with("intent.", "code"), "`intent.`"),
        (with_intents().with("intent.more", " | "), "`intent.more`"),
        (with_intents().with("intent.more", "a"), "`target.more`"),
        (with_intents().with("target.more", "qwen"), "`target.more`"),
        (settings().with("intent.a", "x").with("target.a", "qwen"), "second one"),
        (with_intents().with("intent.code", "x|".repeat(65)), "64"),
    ] {
        let reason = refused(&settings).reason;
        assert!(reason.contains(words), "{words}: {reason}");
    }
}
