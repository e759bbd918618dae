//! Preprocessors: their order, their labels, and that no failure of one lets a request through.

use std::time::Duration;

use lockgate_api::{Guard, Label, Locality, Message, Prepared, Preprocessor, Role, Router, Verdict};
use tokio::time::Instant;

use super::filters::*;
use super::support::*;
use crate::failure::GatewayError;
use crate::gateway::*;
use crate::policies::Policies;
use crate::setup::SetupError;

fn with(
    fakes: &[&Arc<Fake>],
    router: &Arc<Policy>,
    preprocessors: &[&Arc<FakePreprocessor>],
    options: GatewayOptions,
) -> Gateway {
    let policies = Policies {
        preprocessors: preprocessors.iter().map(|one| Arc::clone(one) as Arc<dyn Preprocessor>).collect(),
        ..Policies::route(forgiving_route(router))
    };
    Gateway::new(targets(fakes), policies, options).expect("the setup is sound")
}

/// Appends a word to the first message.
fn appending(id: &'static str, word: &'static str) -> Arc<FakePreprocessor> {
    FakePreprocessor::new(id, move |input| {
        let mut request = (*input.request).clone();
        let text = format!("{} {word}", request.messages[0].joined_text());
        request.messages = vec![Message::text(Role::User, text)];
        Ok(Prepared { request: Arc::new(request), ..unchanged(input) })
    })
}

fn labelling(id: &'static str, label: Label) -> Arc<FakePreprocessor> {
    FakePreprocessor::new(id, move |input| {
        Ok(Prepared { add_labels: vec![label.clone()], ..unchanged(input) })
    })
}

#[tokio::test(start_paused = true)]
async fn they_run_in_order_and_what_they_leave_is_what_everybody_sees() {
    let local = Fake::new("local", Locality::Local, answer());
    let router = Policy::new(|input| {
        assert_eq!(input.request.messages[0].joined_text(), "hi one two");
        Ok(plan(&["local"], &[]))
    });
    let (one, two) = (appending("one", "one"), appending("two", "two"));
    let gateway = with(&[&local], &router, &[&one, &two], GatewayOptions::default());
    for model in ["auto", "local"] {
        run(&gateway, ask(model)).await.expect("answers");
        let sent = local.sent.lock().expect("no panic").last().expect("it was asked").text.clone();
        assert_eq!(sent, "hi one two", "{model}");
    }
    let seen = two.seen.lock().expect("no panic");
    assert_eq!(seen[0].request.messages[0].joined_text(), "hi one");
    assert_eq!((one.asked(), seen.len(), router.asked()), (2, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_label_holds_from_then_on_also_for_a_named_model() {
    let cloud = Fake::new("cloud", Locality::Cloud, answer());
    let local = Fake::new("local", Locality::Local, answer());
    let router = Policy::plan(&["cloud", "local"]);
    let label = labelling("labels", Label::LocalOnly);
    let later = appending("later", "x");
    let gateway = with(&[&cloud, &local], &router, &[&label, &later], GatewayOptions::default());

    let failure = run(&gateway, ask("cloud")).await.expect_err("the label forbids it");
    assert!(matches!(failure.error, GatewayError::Locality { .. }), "{failure:?}");
    assert_eq!(failure.outcome.labels.to_string(), "local-only");
    assert_eq!((failure.outcome.attempts, cloud.sends()), (0, 0));

    let told = run(&gateway, ask("auto")).await.expect("a local step is left");
    assert_eq!((told.target(), cloud.sends()), ("local", 0));
    let sent = local.sent.lock().expect("no panic")[0].clone();
    assert_eq!(sent.labels.to_string(), "local-only");
    assert_eq!(later.seen.lock().expect("no panic")[0].labels.to_string(), "local-only");
}

#[tokio::test(start_paused = true)]
async fn when_their_labels_leave_no_target_no_router_is_asked() {
    let cloud = Fake::new("cloud", Locality::Cloud, answer());
    let router = Policy::plan(&["cloud"]);
    let label = labelling("labels", Label::NoCloud);
    let gateway = with(&[&cloud], &router, &[&label], GatewayOptions::default());
    let failure = run(&gateway, ask("auto")).await.expect_err("nothing is left");
    assert!(matches!(failure.error, GatewayError::Locality { .. }), "{failure:?}");
    assert_eq!((router.asked(), cloud.sends()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failure_refuses_whatever_the_router_may_do() {
    let local = Fake::new("local", Locality::Local, answer());
    let router = Policy::plan(&["local"]);
    for error in [
        PolicyError::Trap { message: "unreachable".to_owned() },
        PolicyError::Limit { limit: "memory".to_owned() },
        PolicyError::Denied { what: "clock".to_owned() },
        PolicyError::InvalidAnswer { problem: "no".to_owned() },
        PolicyError::Overloaded,
        PolicyError::Host { message: "bug".to_owned() },
    ] {
        let failing = {
            let error = error.clone();
            FakePreprocessor::new("failing", move |_| Err(error.clone()))
        };
        let later = appending("later", "x");
        // `first-target` is for the router's own failures.
        let gateway = with(&[&local], &router, &[&failing, &later], GatewayOptions::default());
        for model in ["auto", "local"] {
            let failure = run(&gateway, ask(model)).await.expect_err("refused");
            let GatewayError::PolicyFailed { policy, error: told } = &failure.error else {
                panic!("{failure:?}");
            };
            assert_eq!((&**policy, told), ("failing", &error));
        }
        assert_eq!((later.asked(), router.asked(), local.sends()), (0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_who_refused() {
    let local = Fake::new("local", Locality::Local, answer());
    let refusing =
        FakePreprocessor::new("careful", |_| Err(PolicyError::Refused { reason: "not today".to_owned() }));
    let router = Policy::plan(&["local"]);
    let gateway = with(&[&local], &router, &[&refusing], GatewayOptions::default());
    let failure = run(&gateway, ask("local")).await.expect_err("refused");
    assert_eq!(failure.error.to_string(), "the policy `careful` refused the request: not today");
    assert_eq!(local.sends(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_never_ends_fails_in_time() {
    let local = Fake::new("local", Locality::Local, answer());
    let hanging = FakePreprocessor::hanging("hangs");
    let router = Policy::plan(&["local"]);
    let gateway = with(&[&local], &router, &[&hanging], GatewayOptions::default());
    let began = Instant::now();
    let failure = run(&gateway, ask("local")).await.expect_err("not prepared");
    assert!(matches!(failure.error, GatewayError::PolicyFailed { error: PolicyError::Limit { .. }, .. }));
    assert_eq!((began.elapsed(), local.sends()), (Duration::from_secs(10), 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_answered_is_refused_before_any_of_them() {
    let cloud = Fake::new("cloud", Locality::Cloud, answer());
    let one = appending("one", "one");
    let gateway = with(&[&cloud], &Policy::plan(&["cloud"]), &[&one], GatewayOptions::default());
    run(&gateway, ask_with("auto", "local-only")).await.expect_err("nothing is local");
    run(&gateway, ask("nowhere")).await.expect_err("there is no such model");
    assert_eq!(one.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_note_is_read_by_its_own_guard_alone() {
    let local = Fake::new("local", Locality::Local, answer());
    let noting = FakePreprocessor::new("mine", |input| {
        Ok(Prepared { note: Some(Arc::from(&b"note"[..])), ..unchanged(input) })
    });
    let mine = FakeGuard::verdicts("mine", &[Verdict::Pass]);
    let other = FakeGuard::verdicts("other", &[Verdict::Pass]);
    let policies = Policies {
        preprocessors: vec![noting],
        guards: vec![Arc::clone(&mine) as Arc<dyn Guard>, Arc::clone(&other) as Arc<dyn Guard>],
        ..Policies::router(Policy::plan(&["local"]))
    };
    let gateway = Gateway::new(targets(&[&local]), policies, GatewayOptions::default()).expect("sound");
    run(&gateway, ask_with("auto", "no-cloud")).await.expect("answers");
    let note = |guard: &FakeGuard| {
        let begun = guard.begun.lock().expect("no panic");
        assert_eq!(begun[0].labels.to_string(), "no-cloud");
        begun[0].note.as_deref().map(<[u8]>::to_vec)
    };
    assert_eq!((note(&mine), note(&other)), (Some(b"note".to_vec()), None));
}

#[test]
fn only_two_halves_share_an_id() {
    let one = || appending("one", "one") as Arc<dyn Preprocessor>;
    let guard = || FakeGuard::verdicts("one", &[]) as Arc<dyn Guard>;
    let router = || Policy::plan(&["a"]) as Arc<dyn Router>;
    let make = |preprocessors, guards| {
        let policies = Policies { preprocessors, guards, ..Policies::router(router()) };
        Gateway::new(Vec::new(), policies, GatewayOptions::default()).map(|_| ())
    };
    let twice = Err(SetupError::DuplicatePlugin("one".to_owned()));
    assert_eq!(make(vec![one()], vec![guard()]), Ok(()));
    assert_eq!(make(vec![one(), one()], vec![]), twice);
    assert_eq!(make(vec![], vec![guard(), guard()]), twice);
    let like_the_router = FakePreprocessor::hanging("policy");
    assert_eq!(make(vec![like_the_router], vec![]), Err(SetupError::DuplicatePlugin("policy".to_owned())));
}
