//! What plugins ask themselves: the same checks as for any send, and no label that comes too late is passed over.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use lockgate_api::{
    Asking, BackendError, Choose, Embed, Event, Label, Labels, Locality, PolicyError, Preprocessor, Router,
    Scope, ServiceError, permit,
};
use proptest::prelude::*;

use super::filters::*;
use super::support::*;
use crate::failure::GatewayError;
use crate::gateway::*;
use crate::setup::OnError;

fn scope(gateway: &Gateway, labels: &str) -> Arc<Scope> {
    let labels = Arc::new(labels.parse().expect("labels of a test parse"));
    Scope::new("req_1".into(), labels, Some(Arc::clone(&gateway.services)))
}

fn asking(scope: &Arc<Scope>, target: &str) -> Asking {
    Asking { scope: Arc::clone(scope), target: target.to_owned(), limit: Duration::from_secs(5) }
}

async fn generate(gateway: &Gateway, scope: &Arc<Scope>, target: &str) -> Result<String, ServiceError> {
    let request = ask("auto").request;
    let mut events = gateway.services.generate(asking(scope, target), request).await?;
    let mut told = String::new();
    while let Some(event) = events.next().await {
        if let Event::Text { text, .. } = event? {
            told.push_str(&text);
        }
    }
    Ok(told)
}

#[tokio::test(start_paused = true)]
async fn an_ask_is_permitted_by_the_labels_of_its_moment() {
    let cloud = Fake::new("cloud", Locality::Cloud, answer());
    let gateway = gateway(&[&cloud], &Policy::plan(&["cloud"]), GatewayOptions::default());
    let scope = scope(&gateway, "");
    assert_eq!(generate(&gateway, &scope, "cloud").await, Ok("hello".to_owned()));
    scope.add_labels([Label::NoCloud]);
    let forbidden = generate(&gateway, &scope, "cloud").await;
    assert!(matches!(forbidden, Err(ServiceError::Forbidden(_))), "{forbidden:?}");
    let ask = Embed { inputs: vec!["a".to_owned()] };
    let forbidden = gateway.services.embed(asking(&scope, "cloud"), ask).await.map(|_| ());
    assert!(matches!(forbidden, Err(ServiceError::Forbidden(_))), "{forbidden:?}");
    let ask = Choose { request: self::ask("auto").request, continuations: vec!["a".to_owned()] };
    let forbidden = gateway.services.choose(asking(&scope, "cloud"), ask).await.map(|_| ());
    assert!(matches!(forbidden, Err(ServiceError::Forbidden(_))), "{forbidden:?}");
    let request = self::ask("auto").request;
    let forbidden = gateway.services.count_tokens(asking(&scope, "cloud"), request).await;
    assert!(matches!(forbidden, Err(ServiceError::Forbidden(_))), "{forbidden:?}");
    assert_eq!((cloud.sends(), cloud.alive()), (1, 0));
    let unknown = generate(&gateway, &scope, "nobody").await;
    assert_eq!(unknown, Err(ServiceError::UnknownTarget("nobody".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn an_ask_ends_in_its_time_and_counts_for_its_target() {
    let slow = Fake::new("slow", Locality::Local, vec![start(), Act::Hang]);
    let mute = Fake::new("mute", Locality::Local, vec![Act::Hang]);
    let gateway = gateway(&[&slow, &mute], &Policy::plan(&["slow"]), GatewayOptions::default());
    let scope = scope(&gateway, "");
    for target in ["slow", "mute"] {
        let began = tokio::time::Instant::now();
        let Err(ServiceError::Backend(error)) = generate(&gateway, &scope, target).await else {
            panic!("{target} does not answer")
        };
        assert!(matches!(error.kind, ErrorKind::Timeout(_)), "{error:?}");
        assert_eq!(began.elapsed(), Duration::from_secs(5), "{target}");
    }
    let health: Vec<_> = gateway.facts(&Labels::none()).iter().map(|facts| facts.health).collect();
    assert!(
        health.iter().all(|health| health.error_rate == Some(1.0) && health.in_flight == 0),
        "{health:?}"
    );
    assert_eq!((slow.alive(), mute.alive()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_broken_target_is_left_alone_and_what_it_cannot_do_is_not_asked() {
    let broken = Fake::new("broken", Locality::Local, fails(ErrorKind::Unavailable));
    let picky = Fake::refusing("picky", "tools");
    let gateway = gateway(&[&broken, &picky], &Policy::plan(&["broken"]), GatewayOptions::default());
    let scope = scope(&gateway, "");
    for _ in 0..10 {
        let failed = generate(&gateway, &scope, "broken").await;
        assert!(matches!(&failed, Err(ServiceError::Backend(error)) if error.kind == ErrorKind::Unavailable));
    }
    assert_eq!(broken.sends(), 5, "its breaker is open");
    let failed = generate(&gateway, &scope, "picky").await;
    assert!(
        matches!(&failed, Err(ServiceError::Backend(error)) if matches!(error.kind, ErrorKind::Unsupported { .. })),
        "{failed:?}"
    );
    assert_eq!(picky.sends(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_passed_text_on_is_a_breach_for_who_forbids_clouds() {
    let leaky = BackendError::new(ErrorKind::Locality, "remote_host in the answer").dispatched();
    for script in [vec![Act::Error(leaky.clone())], vec![start(), text("x"), Act::Error(leaky)]] {
        let near = Fake::new("near", Locality::Local, script);
        let gateway = gateway(&[&near], &Policy::plan(&["near"]), GatewayOptions::default());
        for (labels, late) in [("local-only", None), ("", Some(Label::NoCloud))] {
            let scope = scope(&gateway, labels);
            generate(&gateway, &scope, "near").await.expect_err("it forwards");
            scope.add_labels(late);
            assert_eq!(scope.breach().map(|found| found.target), Some("near".to_owned()));
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ask(usize),
    /// At once, as a draft does.
    Label(Label),
    /// With the answer, as a plan does.
    Later(Label),
    Fail,
}

fn any_label() -> impl Strategy<Value = Label> {
    prop_oneof![
        2 => Just(Label::LocalOnly),
        2 => Just(Label::NoCloud),
        1 => prop_oneof![Just("eu-1"), Just("us-1")].prop_map(|name| Label::Region(name.to_owned())),
    ]
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3usize).prop_map(Step::Ask),
        1 => any_label().prop_map(Step::Label),
        1 => any_label().prop_map(Step::Later),
        1 => Just(Step::Fail),
    ];
    prop::collection::vec(step, 0..4)
}

const IDS: [&str; 3] = ["here", "near", "cloud"];

/// Does the steps, and returns the labels to add with the answer.
fn act(steps: &[Step], scope: &Arc<Scope>) -> Result<Vec<Label>, PolicyError> {
    let services = Arc::clone(scope.services().expect("a request has services"));
    let mut later = Vec::new();
    for step in steps {
        match step {
            Step::Ask(which) => {
                // The scripted targets answer at once.
                let _answer =
                    services.generate(asking(scope, IDS[*which]), ask("auto").request).now_or_never();
            }
            Step::Label(label) => drop(scope.add_labels([label.clone()])),
            Step::Later(label) => later.push(label.clone()),
            Step::Fail => return Err(PolicyError::Trap { message: "t".to_owned() }),
        }
    }
    Ok(later)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever plugins ask and whatever labels they add, in whatever order: a send is permitted by the labels of
    /// its moment, and a request whose labels come to forbid a send that was made is refused before its first
    /// attempt.
    #[test]
    fn nothing_goes_on_after_an_ask_that_labels_forbid(
        preprocessors in prop::collection::vec(any_steps(), 0..3),
        routing in any_steps(),
        plan_of in prop::sample::subsequence(IDS.to_vec(), 1..=3).prop_shuffle(),
        header in prop::collection::vec(any_label(), 0..2),
        on_error in prop_oneof![Just(OnError::Refuse), Just(OnError::FirstTarget)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let localities = [Locality::Local, Locality::Lan, Locality::Cloud];
        let fakes: Vec<_> =
            IDS.iter().zip(localities).map(|(id, locality)| Fake::new(id, locality, answer())).collect();
        let router = Policy::new(move |input| {
            let add_labels = act(&routing, &input.scope)?;
            Ok(plan(&plan_of, &add_labels))
        });
        let mut policies = Policies::router(Arc::clone(&router) as Arc<dyn Router>);
        policies.routes[0].on_error = on_error;
        for (steps, id) in preprocessors.into_iter().zip(["one", "two"]) {
            let preprocessor = FakePreprocessor::new(id, move |input| {
                let add_labels = act(&steps, &input.scope)?;
                Ok(lockgate_api::Prepared { add_labels, ..unchanged(input) })
            });
            policies.preprocessors.push(preprocessor as Arc<dyn Preprocessor>);
        }
        let targets = targets(&fakes.iter().collect::<Vec<_>>());
        let gateway = Gateway::new(targets, policies, GatewayOptions::default()).expect("the setup is sound");
        let request = Ask { labels: header.into_iter().collect(), ..ask("auto") };
        let result = runtime.block_on(run(&gateway, request));
        let outcome = match &result {
            Ok(told) => &told.outcome,
            Err(failure) => &failure.outcome,
        };
        let mut is_breached = false;
        for fake in &fakes {
            for sent in fake.sent.lock().expect("no panic").iter() {
                prop_assert!(permit(&sent.labels, &fake.target).is_ok(), "by the labels of its moment");
                is_breached |= permit(&outcome.labels, &fake.target).is_err();
            }
        }
        let is_denied = matches!(
            &result,
            Err(Failure { error: GatewayError::PolicyFailed { error: PolicyError::Denied { .. }, .. }, .. })
        );
        prop_assert_eq!(is_breached, is_denied, "{:?}", result);
        prop_assert!(!is_breached || outcome.attempts == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_plugin_asks_for_is_counted_with_its_target() {
    let metrics = crate::metrics::Metrics::default();
    let options = GatewayOptions { metrics: metrics.clone(), ..GatewayOptions::default() };
    let a = Fake::new("a", Locality::Local, answer());
    let gateway = gateway(&[&a], &Policy::plan(&["a"]), options);
    let scope = scope(&gateway, "");
    let ask = Embed { inputs: vec!["a".to_owned()] };
    gateway.services.embed(asking(&scope, "a"), ask).await.expect("it embeds");
    let text = text_of(&metrics);
    assert!(text.contains("attempts_total{target=\"a\",result=\"ok\"} 1"), "{text}");
    assert!(text.contains("tokens_total{target=\"a\",kind=\"input\"}"), "{text}");
}
