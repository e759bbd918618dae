//! Asks of plugins: what they get, what they may spend, and how hostile ones end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_api::{ErrorKind, Locality, PolicyError, Price};
use lockgate_gateway::{Failure, GatewayError};
use lockgate_sandbox::{Limits, PluginSpec};

use crate::support::{Act, Fake, Plugins, World, spec};

fn here(act: Act) -> Arc<Fake> {
    Fake::priced("here", Locality::Local, act, Some(Price { input: 0.0, output: 0.0 }))
}

fn cloud() -> Arc<Fake> {
    Fake::new("claude", Locality::Cloud, Act::Say("from the cloud"))
}

fn router(mode: &str, change: impl FnOnce(&mut Limits)) -> Plugins {
    let mut spec = spec("router", &[("mode", mode)]);
    change(&mut spec.limits);
    Plugins { router: Some(spec), ..Plugins::default() }
}

/// What the router says, or the limit that it ran into.
fn told(fakes: &[&Arc<Fake>], plugins: Plugins, text: &str) -> String {
    let answer = World::new(fakes, plugins).ask(text, "").map(|(told, _)| told);
    match answer {
        Err(Failure { error: GatewayError::PolicyRefused { reason, .. }, .. }) => reason,
        Err(Failure {
            error: GatewayError::PolicyFailed { error: PolicyError::Limit { limit }, .. },
            ..
        }) => limit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_ask_has_its_answer() {
    let (here, cloud) = (here(Act::Say("from here")), cloud());
    for (mode, expected) in [
        ("inference:here", "from here"),
        ("cloud:claude", "from the cloud"),
        ("choose:here", "[(-3.0, 1), (-2.0, 1)]"),
        ("embed:here", "[[1.0, 0.5], [2.0, 0.5]]"),
        ("embed-in-cloud:claude", "[[1.0, 0.5], [2.0, 0.5]]"),
        ("count:here", "42"),
        ("nothing-asked", "Some(Limit) Some(Limit) Some(Limit)"),
    ] {
        assert_eq!(told(&[&here, &cloud], router(mode, |_| ()), "hello"), expected, "{mode}");
    }
    assert_eq!(here.sent(), ["hello", "hello", "a\nbc", "hello"], "the conversation at hand");
}

#[test]
fn who_is_named_must_be_granted_and_of_the_right_kind() {
    let (here, cloud) = (here(Act::Say("no")), cloud());
    let other = Fake::new("other", Locality::Cloud, Act::Say("no"));
    let near = Fake::new("near", Locality::Lan, Act::Say("no"));
    let fakes = [&here, &cloud, &other, &near];
    for mode in
        ["cloud:other", "cloud:here", "inference:claude", "inference:near", "cloud:none", "inference:"]
    {
        assert_eq!(told(&fakes, router(mode, |_| ()), "hello"), "error: denied", "{mode}");
    }
    // A grant does not make a cloud a model of this machine.
    let cloudy = Fake::new("here", Locality::Cloud, Act::Say("no"));
    let local = Fake::new("claude", Locality::Local, Act::Say("no"));
    for mode in ["inference:here", "cloud:claude"] {
        assert_eq!(told(&[&local, &cloudy], router(mode, |_| ()), "hello"), "error: denied", "{mode}");
    }
    let all = [&here, &cloud, &other, &near, &cloudy, &local];
    assert!(all.iter().all(|fake| fake.sent().is_empty()), "nothing was sent");
}

#[test]
fn errors_say_no_more_than_their_kind() {
    for (kind, expected) in [
        (ErrorKind::Unavailable, "error: unavailable"),
        (ErrorKind::RateLimited, "error: overloaded"),
        (ErrorKind::Authentication, "error: failed"),
        (ErrorKind::Unsupported { field: "x".to_owned() }, "error: unsupported"),
        (ErrorKind::ContextExceeded { prompt_tokens: 2, context_tokens: 1 }, "error: context exceeded"),
    ] {
        let here = here(Act::Fail(kind));
        assert_eq!(told(&[&here], router("inference:here", |_| ()), "hello"), expected);
    }
}

#[test]
fn waiting_is_bounded_and_not_the_plugin_s_own_time() {
    let here = here(Act::Hang);
    let limits = |limits: &mut Limits| {
        limits.wait_max = Duration::from_millis(300);
        limits.time_max = Duration::from_millis(100);
    };
    let began = Instant::now();
    assert_eq!(told(&[&here], router("inference:here", limits), "hello"), "error: timeout");
    assert!(began.elapsed() >= Duration::from_millis(300));
    // Its own time still ends when it is over.
    let began = Instant::now();
    assert_eq!(told(&[&here], router("wait-and-loop", limits), "hello"), "time: 100 ms");
    assert!(began.elapsed() >= Duration::from_millis(400));
}

#[test]
fn plugins_that_wait_leave_places_for_others() {
    // Eight places, of which four may wait; the sixth and later are told so at once.
    let here = here(Act::Hang);
    let mut waiting = spec("router", &[("mode", "inference:here")]);
    waiting.limits.wait_max = Duration::from_millis(400);
    let world = World::new(&[&here], Plugins { router: Some(waiting), ..Plugins::default() });
    let outcomes = crate::support::run(async {
        let asks = (0..6).map(|_| world.gateway.answer(crate::support::ask("hello", "")));
        futures_util::future::join_all(asks).await
    });
    let reasons: Vec<String> = outcomes
        .into_iter()
        .map(|outcome| match outcome.map(|_| ()).map_err(|failure| failure.error) {
            Err(GatewayError::PolicyRefused { reason, .. }) => reason,
            other => panic!("{other:?}"),
        })
        .collect();
    let count = |words: &str| reasons.iter().filter(|reason| reason.as_str() == words).count();
    assert_eq!((count("error: timeout"), count("error: overloaded")), (4, 2), "{reasons:?}");
}

#[test]
fn tokens_and_money_are_bounded_and_counted() {
    let (here, cloud) = (here(Act::Say("from here")), cloud());
    // Each ask: 2 tokens of prompt and, by its own limit, at most 100; it takes 12. The last has room for 4 alone.
    let plugins = router("spend", |limits| {
        limits.tokens_max = 102 + 3 * 12;
        limits.nano_usd_max = u64::MAX;
    });
    let world = World::new(&[&here, &cloud], plugins);
    assert_eq!(world.refusal("hello!!", ""), "12 and then Limit");
    let spent = world.sandbox.spending()["router"];
    assert_eq!((spent.asks, spent.failures, spent.input_tokens, spent.output_tokens), (12, 0, 24, 120));
    assert!((spent.usd - (24.0 + 240.0) / 1e6).abs() < 1e-9, "{spent:?}");
    assert_eq!(cloud.sent().len(), 12);

    // 22 millionths of a USD each; the last ones get shorter answers and then none.
    let plugins = router("spend", |limits| {
        limits.tokens_max = u64::MAX;
        limits.nano_usd_max = 100_000;
    });
    assert_eq!(told(&[&here, &cloud], plugins, "hello!!"), "5 and then Limit");

    // A prompt that is too long is not sent at all.
    let sent = cloud.sent().len();
    let plugins = router("cloud:claude", |limits| limits.nano_usd_max = 1_000);
    assert_eq!(told(&[&here, &cloud], plugins, &"x".repeat(10_000)), "error: limit");
    let plugins = router("cloud:claude", |limits| limits.tokens_max = 1_000);
    assert_eq!(told(&[&here, &cloud], plugins, &"x".repeat(10_000)), "error: limit");
    // What costs nobody knows how much is not asked.
    let unknown = Fake::priced("claude", Locality::Cloud, Act::Say("no"), None);
    assert_eq!(told(&[&here, &unknown], router("cloud:claude", |_| ()), "hello"), "error: denied");
    assert_eq!((cloud.sent().len(), unknown.sent().len()), (sent, 0));
}

#[test]
fn what_it_holds_is_bounded() {
    let endless = here(Act::Endless);
    let plenty = |limits: &mut Limits| limits.tokens_max = 1 << 40;
    assert_eq!(told(&[&endless], router("generations-kept", plenty), "x"), "4 and then Limit");
    assert_eq!(told(&[&endless], router("generations-dropped", plenty), "x"), "50 made and dropped");
    assert_eq!(told(&[&endless], router("endless-next", plenty), "x"), "host calls: 1000");
    assert_eq!(told(&[&endless], router("prompts-kept", plenty), "x"), "host calls: 1000");
    let more_calls = |limits: &mut Limits| limits.host_calls_max = 100_000;
    assert_eq!(told(&[&endless], router("prompts-kept", more_calls), "x"), "handles held at once");
    let output = format!("output: {} bytes handed to the host", 256 << 10);
    assert_eq!(told(&[&endless], router("prompt-flood", plenty), "x"), output);
    assert_eq!(
        told(&[&endless], router("stops-flood", plenty), "x"),
        "stop texts: 17 where at most 16 is allowed"
    );
    let filter = PluginSpec { ..spec("filter", &[("mode", "older-prompts")]) };
    let plugins = Plugins { preprocessors: vec![filter], ..Plugins::default() };
    assert!(told(&[&endless], plugins, "x").starts_with("a prompt of the request as it was"));
}

#[test]
fn a_guard_asks_while_an_answer_streams_and_keeps_no_handle() {
    let here = here(Act::Say("from here"));
    let guards =
        |watch: &str| Plugins { guards: vec![spec("guard", &[("watch", watch)])], ..Plugins::default() };
    let answer = |watch: &str| World::new(&[&here], guards(watch)).ask("hello", "").expect("it answers").0;
    assert_eq!(answer("ask-here"), "from here");
    assert_eq!(here.sent(), ["hello", "from here"]);
    assert_eq!(answer("count-calls"), "Ok(1)");
    assert_eq!(answer("kept-prompt"), "Ok(42)", "in the call that made it");
    let twice = self::here(Act::SayTwo("a", "b"));
    let answer = World::new(&[&twice], guards("kept-prompt")).ask("hello", "").expect("it begins");
    assert_eq!(answer.0, "Ok(42)[Guard]", "and not in the next");
}
