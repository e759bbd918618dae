//! Several routers: which one decides, canaries that fall back, shadows that change nothing.

use std::time::Duration;

use lockgate_api::{Label, Locality, Plan};

use super::support::*;
use crate::failure::GatewayError;
use crate::gateway::*;
use crate::keys::Key;
use crate::metrics::Metrics;
use crate::routing::{Canary, Route};
use crate::setup::OnError;

fn router(policy: &Arc<Policy>) -> Arc<dyn lockgate_api::Router> {
    Arc::clone(policy) as Arc<dyn lockgate_api::Router>
}

fn local(id: &str) -> Arc<Fake> {
    Fake::new(id, Locality::Local, answer())
}

fn made(fakes: &[&Arc<Fake>], routes: Vec<Route>, metrics: &Metrics) -> Gateway {
    let policies = Policies { routes, preprocessors: Vec::new(), guards: Vec::new() };
    let options = GatewayOptions { metrics: metrics.clone(), ..GatewayOptions::default() };
    Gateway::new(targets(fakes), policies, options).expect("the setup is sound")
}

fn with_key(model: &str, router: Option<&str>) -> Ask {
    let key = Key {
        name: Arc::from("k"),
        tenant: Arc::from("t"),
        labels: Labels::none(),
        router: router.map(Arc::from),
    };
    Ask { key: Some(Arc::new(key)), ..ask(model) }
}

#[tokio::test(start_paused = true)]
async fn key_and_name_choose_the_router_and_the_answer_tells_which() {
    let (a, b) = (local("a"), local("b"));
    let routes = vec![
        Route::of(router(&Policy::to("first", "a"))),
        Route { on_error: OnError::FirstTarget, ..Route::of(router(&Policy::to("second", "b"))) },
    ];
    let gateway = made(&[&a, &b], routes, &Metrics::default());
    assert_eq!(gateway.routers().collect::<Vec<_>>(), ["first", "second"]);
    for (ask, policy, target) in [
        (ask("auto"), "first", "a"),
        (ask("auto:second"), "second", "b"),
        (with_key("auto", Some("second")), "second", "b"),
        (with_key("auto", None), "first", "a"),
        (with_key("b", Some("second")), "direct", "b"),
    ] {
        let told = run(&gateway, ask).await.expect("answers");
        assert_eq!((&*told.outcome.policy, told.target()), (policy, target));
    }
    for ask in [ask("auto:third"), with_key("auto:first", Some("second")), with_key("auto", Some("gone"))] {
        let failure = run(&gateway, ask).await.expect_err("nothing of that name");
        assert!(matches!(failure.error, GatewayError::UnknownModel { .. }), "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_decides_its_share_and_falls_back_when_it_fails() {
    let (a, b) = (local("a"), local("b"));
    let metrics = Metrics::default();
    let old = Policy::to("old", "a");
    let next = Policy::named("next", |input| {
        if input.request_id.ends_with('7') {
            return Err(PolicyError::Trap { message: "unreachable".to_owned() });
        }
        Ok(plan(&["b"], &[]))
    });
    let route =
        Route { canary: Some(Canary { router: router(&next), share: 0.3 }), ..Route::of(router(&old)) };
    let gateway = made(&[&a, &b], vec![route], &metrics);
    let (mut by_next, mut by_old) = (0, 0);
    for index in 0..400 {
        let ask = Ask { request_id: format!("req_{index}").into(), ..ask("auto") };
        let told = run(&gateway, ask).await.expect("a failing canary costs no request");
        match (&*told.outcome.policy, told.target()) {
            ("next", "b") => by_next += 1,
            ("old", "a") => by_old += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((70..170).contains(&next.asked()), "{}", next.asked());
    assert_eq!((old.asked(), by_next + by_old), (by_old, 400));
    let text = text_of(&metrics);
    let failed = next.asked() - by_next;
    assert!(failed > 0, "some requests end with 7");
    assert!(
        text.contains(&format!("canary_decisions_total{{plugin=\"next\",decided=\"yes\"}} {by_next}")),
        "{text}"
    );
    assert!(
        text.contains(&format!("canary_decisions_total{{plugin=\"next\",decided=\"no\"}} {failed}")),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_canarys_refusal_is_a_decision() {
    let a = local("a");
    let old = Policy::to("old", "a");
    let next = Policy::named("next", |_| Err(PolicyError::Refused { reason: "no".to_owned() }));
    let route =
        Route { canary: Some(Canary { router: router(&next), share: 1.0 }), ..Route::of(router(&old)) };
    let failure =
        run(&made(&[&a], vec![route], &Metrics::default()), ask("auto")).await.expect_err("refused");
    assert!(matches!(failure.error, GatewayError::PolicyRefused { .. }));
    assert_eq!((old.asked(), a.sends()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_shadow_is_asked_and_never_obeyed() {
    let (a, cloud) = (local("a"), Fake::new("cloud", Locality::Cloud, answer()));
    let metrics = Metrics::default();
    let main = Policy::new(|_| Ok(plan(&["a"], &[Label::NoCloud])));
    let greedy = Policy::named("greedy", |input| {
        assert_eq!(input.labels.to_string(), "no-cloud", "the labels of the obeyed plan are in force");
        let permitted = input.catalog.iter().map(|facts| facts.permitted);
        assert!(permitted.eq([true, false]), "and the targets are those that they permit");
        Ok(Plan { reason: "everything goes".to_owned(), ..plan(&["cloud"], &[]) })
    });
    let trapping = Policy::named("trapping", |_| Err(PolicyError::Trap { message: "t".to_owned() }));
    let route = Route { shadows: vec![router(&greedy), router(&trapping)], ..Route::of(router(&main)) };
    let gateway = made(&[&a, &cloud], vec![route], &metrics);
    for _ in 0..5 {
        let told = run(&gateway, ask("auto")).await.expect("answers");
        assert_eq!((told.target(), &*told.outcome.policy), ("a", "policy"));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((cloud.sends(), greedy.asked(), trapping.asked()), (0, 5, 5));
    let text = text_of(&metrics);
    assert!(text.contains("shadow_decisions_total{plugin=\"greedy\",comparison=\"different\"} 5"), "{text}");
    assert!(text.contains("shadow_decisions_total{plugin=\"trapping\",comparison=\"failed\"} 5"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn shadows_that_hang_delay_nothing_and_do_not_pile_up() {
    let a = local("a");
    let metrics = Metrics::default();
    let hanging = Policy::hanging();
    let main = Policy::to("main", "a");
    let route = Route { shadows: vec![router(&hanging)], ..Route::of(router(&main)) };
    let gateway = made(&[&a], vec![route], &metrics);
    for _ in 0..20 {
        run(&gateway, ask("auto")).await.expect("answers");
    }
    let text = text_of(&metrics);
    assert!(text.contains("shadow_decisions_total{plugin=\"policy\",comparison=\"skipped\"} 12"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_happens_is_counted() {
    let (a, broken) = (local("a"), Fake::new("broken", Locality::Local, fails(ErrorKind::Unavailable)));
    let metrics = Metrics::default();
    let routes = vec![Route::of(router(&Policy::plan(&["broken", "a"])))];
    let gateway = made(&[&broken, &a], routes, &metrics);
    run(&gateway, ask("auto")).await.expect("answers");
    run(&gateway, ask("nobody")).await.expect_err("unknown");
    drop(gateway.answer(ask("a")).await.map_err(|failure| failure.error).expect("begins"));
    metrics.observe(&gateway.facts(&Labels::none()));
    let text = text_of(&metrics);
    for line in [
        "requests_total{policy=\"policy\",outcome=\"answered\"} 1",
        "requests_total{policy=\"direct\",outcome=\"unknown_model\"} 1",
        "requests_total{policy=\"direct\",outcome=\"abandoned\"} 1",
        "attempts_total{target=\"broken\",result=\"unavailable\"} 1",
        "attempts_total{target=\"a\",result=\"ok\"} 1",
        "attempts_total{target=\"a\",result=\"abandoned\"} 1",
        "tokens_total{target=\"a\",kind=\"output\"} 2",
        "attempt_first_event_seconds_count{target=\"a\"} 2",
        "requests_in_flight{target=\"a\"} 0",
        "requests_queued{target=\"a\"} 7",
        "breaker_state{target=\"broken\"} 0",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}
