//! While a plugin serves a local-only request it reaches no cloud by any path: the plan, a call of its own, a call
//! made before a later plugin adds the label, a relay through state, failover or a hedge.

use std::sync::Arc;

use lockgate_api::{ErrorKind, Locality, PolicyError};
use lockgate_gateway::{Failure, GatewayError, OnError};

use crate::support::{Act, Fake, Plugins, World, spec};

fn here() -> Arc<Fake> {
    Fake::new("here", Locality::Local, Act::Say("from here"))
}

fn cloud() -> Arc<Fake> {
    Fake::new("claude", Locality::Cloud, Act::Say("from the cloud"))
}

fn router(mode: &str) -> Plugins {
    Plugins { router: Some(spec("router", &[("mode", mode)])), ..Plugins::default() }
}

fn filters(modes: &[(&str, &str)]) -> Plugins {
    let preprocessors = modes.iter().map(|(id, mode)| spec(id, &[("mode", mode)])).collect();
    Plugins { preprocessors, ..Plugins::default() }
}

fn is_denied(failure: &Failure, plugin: &str) -> bool {
    matches!(
        &failure.error,
        GatewayError::PolicyFailed { policy, error: PolicyError::Denied { .. } } if **policy == *plugin
    )
}

#[test]
fn the_plan() {
    let (cloud, here) = (cloud(), here());
    // Its first target is the cloud.
    let world = World::new(&[&cloud, &here], router("good"));
    let failure = world.ask("a secret", "local-only").expect_err("the plan has no other target");
    assert!(matches!(failure.error, GatewayError::Locality { .. }), "{failure:?}");
    assert_eq!((cloud.sent().len(), here.sent().len()), (0, 0));
    assert_eq!(world.ask("hello", "").expect("it is permitted").0, "from the cloud");
}

#[test]
fn a_call_of_its_own() {
    for labels in ["local-only", "no-cloud", "region:eu-1"] {
        for mode in ["cloud:claude", "embed-in-cloud:claude"] {
            let (cloud, here) = (cloud(), here());
            let world = World::new(&[&here, &cloud], router(mode));
            assert_eq!(world.refusal("a secret", labels), "error: forbidden by labels", "{mode} {labels}");
            assert_eq!(cloud.sent().len(), 0);
        }
        let (cloud, here) = (cloud(), here());
        let world = World::new(&[&here, &cloud], filters(&[("filter", "ask-and-refuse")]));
        assert_eq!(world.refusal("a secret", labels), "error: forbidden by labels", "{labels}");
        let guards = vec![spec("guard", &[("watch", "ask")])];
        let world = World::new(&[&here, &cloud], Plugins { guards, ..Plugins::default() });
        assert_eq!(world.ask("a secret", labels).expect("it answers").0, "error: forbidden by labels");
        let guards = vec![spec("guard", &[("watch", "begin-ask")])];
        let world = World::new(&[&here, &cloud], Plugins { guards, ..Plugins::default() });
        assert_eq!(world.refusal("a secret", labels), "error: forbidden by labels");
        assert_eq!(cloud.sent().len(), 0);
    }
    // Without a label each of them may.
    let (cloud, here) = (cloud(), here());
    let world = World::new(&[&here, &cloud], router("cloud:claude"));
    assert_eq!(world.refusal("hello", ""), "from the cloud");
    let world = World::new(&[&here, &cloud], filters(&[("filter", "ask-and-refuse")]));
    assert_eq!(world.refusal("hello", ""), "from the cloud");
    let guards = vec![spec("guard", &[("watch", "ask")])];
    let world = World::new(&[&here, &cloud], Plugins { guards, ..Plugins::default() });
    assert_eq!(world.ask("hello", "").expect("it answers").0, "from the cloud");
    assert_eq!(cloud.sent(), ["hello", "hello", "from here"]);
}

#[test]
fn a_call_after_a_label_of_its_own() {
    let (cloud, here) = (cloud(), here());
    // A label on a plan holds at once, also if that plan comes to nothing.
    let world = World::new(&[&here, &cloud], router("label-then-ask"));
    assert_eq!(world.refusal("a secret", ""), "error: forbidden by labels");
    let world = World::new(&[&here, &cloud], filters(&[("filter", "label-then-ask")]));
    assert_eq!(world.refusal("a secret", ""), "error: forbidden by labels");
    assert_eq!(cloud.sent().len(), 0);
}

#[test]
fn a_call_made_before_a_label_comes() {
    // A later plugin's, which the configuration forbids to arrange.
    let (cloud, here) = (cloud(), here());
    let world = World::new(&[&here, &cloud], filters(&[("first", "ask"), ("second", "label-secrets")]));
    let failure = world.ask("a secret", "").expect_err("it cannot be called back");
    assert!(is_denied(&failure, "second"), "{failure:?}");
    assert_eq!(failure.outcome.labels.to_string(), "local-only");
    assert_eq!((cloud.sent().len(), here.sent().len()), (1, 0), "and nothing goes on");
    assert_eq!(world.ask("hello", "").expect("no label comes").0, "from here");

    // The same call's.
    for on_error in [OnError::Refuse, OnError::FirstTarget] {
        let (cloud, here) = (self::cloud(), self::here());
        let world = World::with(&[&here, &cloud], filters(&[("filter", "ask-then-label")]), on_error);
        let failure = world.ask("a secret", "").expect_err("it cannot be called back");
        assert!(is_denied(&failure, "filter"), "{failure:?}");
        // A plan's: nothing stands in for it, whatever is done about failures.
        let world = World::with(&[&here, &cloud], router("ask-then-label"), on_error);
        let failure = world.ask("a secret", "").expect_err("it cannot be called back");
        assert!(is_denied(&failure, "router"), "{failure:?}");
        assert_eq!((cloud.sent().len(), here.sent().len()), (2, 0));
    }

    // A router's, after a filter's ask.
    let (cloud, here) = (self::cloud(), self::here());
    let plugins =
        Plugins { router: Some(spec("router", &[("mode", "label")])), ..filters(&[("filter", "ask")]) };
    let world = World::new(&[&here, &cloud], plugins);
    let failure = world.ask("a secret", "").expect_err("it cannot be called back");
    assert!(is_denied(&failure, "router"), "{failure:?}");
    assert_eq!((cloud.sent().len(), here.sent().len()), (1, 0));
}

#[test]
fn a_relay_through_state() {
    // The first writes down what it reads; the second labels what is secret.
    let (cloud, here) = (cloud(), here());
    let world = World::new(&[&cloud, &here], filters(&[("relay", "relay"), ("labels", "label-secrets")]));
    let _refused = world.ask("a secret", "").expect_err("its plan has the cloud alone");
    assert_eq!(world.ask("recall", "").expect("it is permitted").0, "from the cloud");
    assert_eq!(cloud.sent(), ["recalled: "], "nothing of the secret");

    // For a request of the same label it is there.
    let world = World::new(&[&here, &cloud], filters(&[("relay", "relay"), ("labels", "label-secrets")]));
    world.ask("a secret", "").expect("it is answered here");
    world.ask("recall", "").expect("it is permitted");
    world.ask("recall", "no-cloud").expect("it is permitted");
    world.ask("recall", "local-only").expect("it is permitted");
    assert_eq!(here.sent(), ["a secret", "recalled: ", "recalled: ", "recalled: a secret"]);
    // What nobody labels is for all.
    world.ask("plain", "").expect("it is answered here");
    world.ask("recall", "").expect("it is permitted");
    assert_eq!(here.sent().last().map(String::as_str), Some("recalled: plain"));
}

#[test]
fn a_relay_by_a_request_that_comes_to_nothing() {
    // Whoever fails may have had a label to add, so that nothing is kept.
    let (cloud, here) = (cloud(), here());
    for (mode, kept) in [("write-and-panic", ""), ("write-and-refuse", "a plain text")] {
        let world = World::new(&[&here, &cloud], filters(&[("relay", mode)]));
        world.ask("a plain text", "").expect_err("it ends with its plugin");
        let told = world.ask("recall", "");
        // The plugin ends this one, too, but for its words; read by a second gateway over the same state.
        assert!(told.is_err());
        let relay = spec("relay", &[("mode", "relay")]);
        let again =
            world.again(&[&here, &cloud], Plugins { preprocessors: vec![relay], ..Plugins::default() });
        again.ask("recall", "").expect("it is permitted");
        assert_eq!(here.sent().last().cloned(), Some(format!("recalled: {kept}")), "{mode}");
    }
    let world = World::new(&[&here, &cloud], filters(&[("relay", "relay"), ("labels", "panic")]));
    world.ask("a secret", "").expect_err("the second fails");
    let again = world.again(&[&here, &cloud], filters(&[("relay", "relay")]));
    again.ask("recall", "local-only").expect("it is permitted");
    assert_eq!(here.sent().last().map(String::as_str), Some("recalled: "));
}

#[test]
fn failover() {
    let here = Fake::new("here", Locality::Local, Act::Fail(ErrorKind::Unavailable));
    let cloud = cloud();
    let world = World::new(&[&here, &cloud], router("both"));
    let failure = world.ask("a secret", "local-only").expect_err("the only one permitted is down");
    assert!(matches!(failure.error, GatewayError::Exhausted(_)), "{failure:?}");
    assert_eq!((here.sent().len(), cloud.sent().len()), (1, 0));
    assert_eq!(world.ask("hello", "").expect("the other may").0, "from the cloud");
}

#[test]
fn a_hedge() {
    // The local one is late each time, and the cloud would answer at once.
    let here = || Fake::new("here", Locality::Local, Act::Late(40, "from here"));
    for (mode, labels) in [
        ("hedged", "local-only"),
        ("hedged", "no-cloud"),
        ("hedged", "region:us-1"),
        ("hedged-and-label", ""),
    ] {
        let (here, cloud) = (here(), cloud());
        let world = World::new(&[&here, &cloud], router(mode));
        let (told, outcome) = world.ask("a secret", labels).expect("it is slow, and answers");
        assert_eq!((told.as_str(), outcome.attempts), ("from here", 1), "{mode} {labels}");
        assert_eq!((here.sent().len(), cloud.sent().len()), (1, 0), "{mode} {labels}");
    }
    // A label of a preprocessor's.
    let (late, cloud) = (here(), cloud());
    let preprocessors = vec![spec("filter", &[("mode", "label-secrets")])];
    let plugins = Plugins { preprocessors, ..router("hedged") };
    let world = World::new(&[&late, &cloud], plugins);
    assert_eq!(world.ask("a secret", "").expect("it is slow, and answers").0, "from here");
    assert_eq!(cloud.sent().len(), 0);
    // Without one it may.
    let (told, outcome) = world.ask("hello", "").expect("the cloud is faster");
    assert_eq!((told.as_str(), outcome.attempts), ("from the cloud", 2));
}

#[test]
fn a_server_that_passes_on() {
    // Found out too late: what was sent is somewhere else.
    let here = Fake::new("here", Locality::Local, Act::Forwards);
    let other = Fake::new("other", Locality::Local, Act::Say("from the other"));
    for labels in ["local-only", ""] {
        let asks =
            Plugins { router: Some(spec("router", &[("mode", "inference:here")])), ..Plugins::default() };
        let world = World::new(&[&other, &here], asks);
        let outcome = world.ask("a secret", labels).map(|(told, _)| told);
        if labels.is_empty() {
            // No label forbids a cloud.
            assert_eq!(world.refusal("hello", ""), "error: forbidden by labels");
        } else {
            let failure = outcome.expect_err("it has passed a secret on");
            assert!(is_denied(&failure, "router"), "{failure:?}");
        }
    }
}
