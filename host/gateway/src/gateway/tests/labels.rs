//! The promise: labels only accumulate, and no road leads around them.

use std::sync::atomic::Ordering;

use lockgate_api::{BackendError, Label, Locality, Plan, PlannedAttempt};
use proptest::prelude::*;

use super::support::*;
use crate::failure::GatewayError;
use crate::gateway::*;
use crate::keys::Key;

fn key(labels: &str) -> Arc<Key> {
    let labels = labels.parse().expect("labels of a test parse");
    Arc::new(Key { name: Arc::from("k"), tenant: Arc::from("t"), labels, router: None })
}

fn is_locality(failure: &Failure) -> bool {
    matches!(failure.error, GatewayError::Locality { .. })
}

#[tokio::test(start_paused = true)]
async fn no_permitted_target_is_refused_before_any_policy_runs() {
    let cloud = Fake::new("cloud", Locality::Cloud, answer());
    let lan = Fake::new("lan", Locality::Lan, answer());
    let policy = Policy::plan(&["cloud"]);
    let gateway = gateway(&[&cloud, &lan], &policy, GatewayOptions::default());
    let failure = run(&gateway, ask_with("auto", "local-only")).await.expect_err("nothing is local");
    assert!(is_locality(&failure), "{failure:?}");
    assert_eq!((policy.asked(), cloud.sends(), lan.sends()), (0, 0, 0));
    let Outcome { target, attempts, labels, policy, .. } = failure.outcome;
    assert_eq!(
        (target, attempts, labels.to_string(), &*policy),
        (None, 0, "local-only".to_owned(), "policy")
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_that_passes_requests_on_counts_as_cloud() {
    let relay = Fake::new("relay", Locality::Local, answer());
    relay.passes_on.store(true, Ordering::SeqCst);
    let policy = Policy::plan(&["relay"]);
    let gateway = gateway(&[&relay], &policy, GatewayOptions::default());
    assert_eq!(gateway.targets().next().map(|target| target.locality), Some(Locality::Local));
    gateway.reveal().await;
    assert_eq!(gateway.targets().next().map(|target| target.locality), Some(Locality::Cloud));
    for label in ["local-only", "no-cloud", "region:eu-1"] {
        let failure = run(&gateway, ask_with("auto", label)).await.expect_err("its bytes leave");
        assert!(is_locality(&failure), "{failure:?}");
    }
    assert_eq!((policy.asked(), relay.sends()), (0, 0));
    let told = run(&gateway, ask_with("auto", "")).await.expect("nothing forbids it");
    assert_eq!(told.outcome.target.map(|target| target.locality), Some(Locality::Cloud));
}

#[tokio::test(start_paused = true)]
async fn labels_of_key_header_and_configuration_add_up() {
    let cloud = Fake::new("cloud", Locality::Cloud, answer());
    let lan = Fake::new("lan", Locality::Lan, answer());
    let local = Fake::new("local", Locality::Local, answer());
    let options =
        GatewayOptions { labels: "region:eu-1".parse().expect("parses"), ..GatewayOptions::default() };
    let policy = Policy::plan(&["cloud", "lan", "local"]);
    let gateway = gateway(&[&cloud, &lan, &local], &policy, options);
    for (of_key, of_header, expected, all) in [
        ("", "", "cloud", "region:eu-1"),
        ("no-cloud", "", "lan", "no-cloud,region:eu-1"),
        ("", "no-cloud", "lan", "no-cloud,region:eu-1"),
        ("no-cloud", "local-only", "local", "local-only,no-cloud,region:eu-1"),
        ("local-only", "no-cloud", "local", "local-only,no-cloud,region:eu-1"),
        ("region:us-1", "", "lan", "region:eu-1,region:us-1"),
    ] {
        let ask = Ask { key: Some(key(of_key)), ..ask_with("auto", of_header) };
        let told = run(&gateway, ask).await.expect("something is permitted");
        assert_eq!(told.target(), expected, "{of_key} + {of_header}");
        assert_eq!(told.outcome.labels.to_string(), all);
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_named_by_the_client_obeys_labels_too() {
    let cloud = Fake::new("cloud", Locality::Cloud, answer());
    let local = Fake::new("local", Locality::Local, answer());
    let policy = Policy::plan(&["cloud"]);
    let gateway = gateway(&[&cloud, &local], &policy, GatewayOptions::default());
    let failure = run(&gateway, ask_with("cloud", "local-only")).await.expect_err("forbidden");
    assert!(is_locality(&failure));
    assert_eq!((cloud.sends(), local.sends(), policy.asked()), (0, 0, 0), "and nothing stands in for it");
    assert_eq!(&*failure.outcome.policy, "direct");
}

#[tokio::test(start_paused = true)]
async fn a_wish_obeys_labels_too() {
    let cloud = Fake::new("cloud", Locality::Cloud, answer());
    let local = Fake::new("local", Locality::Local, answer());
    let policy = Policy::new(|input| Ok(plan(&[&input.request.model, "local"], &[])));
    let options = GatewayOptions { named: Named::Route, ..GatewayOptions::default() };
    let gateway = gateway(&[&cloud, &local], &policy, options);
    assert_eq!(run(&gateway, ask("cloud")).await.expect("permitted").target(), "cloud");
    let told = run(&gateway, ask_with("cloud", "local-only")).await.expect("the plan has a local step");
    assert_eq!((told.target(), cloud.sends(), &*told.outcome.policy), ("local", 1, "policy"));
}

#[tokio::test(start_paused = true)]
async fn a_plan_may_add_labels_and_they_bind_its_own_steps() {
    let cloud = Fake::new("cloud", Locality::Cloud, answer());
    let local = Fake::new("local", Locality::Local, answer());
    let adding = plan(&["cloud", "local"], &[Label::LocalOnly]);
    let policy = Policy::new(move |_| Ok(adding.clone()));
    let gateway = gateway(&[&cloud, &local], &policy, GatewayOptions::default());
    let told = run(&gateway, ask("auto")).await.expect("a local step is left");
    assert_eq!((told.target(), told.outcome.attempts, cloud.sends()), ("local", 1, 0));
    assert_eq!(told.outcome.labels.to_string(), "local-only");
    let sent = local.sent.lock().expect("no panic")[0].clone();
    assert_eq!(sent.labels.to_string(), "local-only", "the target is told, so that logs hold the text back");
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_which_labels_leave_nothing_is_refused() {
    let cloud = Fake::new("cloud", Locality::Cloud, answer());
    let local = Fake::new("local", Locality::Local, answer());
    let adding = plan(&["cloud"], &[Label::NoCloud]);
    let policy = Policy::new(move |_| Ok(adding.clone()));
    // `first-target` is for failures of the policy; this is a refusal.
    let gateway = forgiving(&[&cloud, &local], &policy, GatewayOptions::default());
    let failure = run(&gateway, ask("auto")).await.expect_err("only a cloud was planned");
    assert!(is_locality(&failure));
    assert_eq!((cloud.sends(), local.sends()), (0, 0), "no silent fallback");
    assert_eq!(failure.outcome.labels.to_string(), "no-cloud");
}

#[tokio::test(start_paused = true)]
async fn failover_never_crosses_a_label() {
    let local = Fake::new("local", Locality::Local, fails(ErrorKind::Unavailable));
    let cloud = Fake::new("cloud", Locality::Cloud, answer());
    let lan = Fake::new("lan", Locality::Lan, answer());
    let policy = Policy::plan(&["local", "cloud", "lan"]);
    let gateway = gateway(&[&local, &cloud, &lan], &policy, GatewayOptions::default());
    let told = run(&gateway, ask_with("auto", "no-cloud")).await.expect("the lan answers");
    assert_eq!((told.target(), told.outcome.attempts, cloud.sends()), ("lan", 2, 0));
    let failure = run(&gateway, ask_with("auto", "local-only")).await.expect_err("the local one is down");
    assert!(matches!(failure.error, GatewayError::Exhausted(_)), "{failure:?}");
    assert_eq!((lan.sends(), cloud.sends()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_forwards_counts_as_a_cloud() {
    let forwards = || Fake::new("proxy", Locality::Local, fails(ErrorKind::Locality));
    let local = Fake::new("local", Locality::Local, answer());
    // Found out before anything was sent: the others may still answer.
    let proxy = forwards();
    let policy = Policy::plan(&["proxy", "local"]);
    let told = {
        let gateway = gateway(&[&proxy, &local], &policy, GatewayOptions::default());
        run(&gateway, ask_with("auto", "local-only")).await.expect("another is permitted")
    };
    assert_eq!((told.target(), told.outcome.attempts), ("local", 2));
    // With nothing left the request is refused.
    let alone = gateway(&[&proxy], &policy, GatewayOptions::default());
    let failure = run(&alone, ask_with("proxy", "local-only")).await.expect_err("it forwards");
    assert!(is_locality(&failure), "{failure:?}");
    // Found out in its answer: a good answer from elsewhere would hide the breach.
    let leaky = BackendError::new(ErrorKind::Locality, "remote_host in the answer").dispatched();
    let proxy = Fake::new("proxy", Locality::Local, vec![Act::Error(leaky)]);
    let sends_before = local.sends();
    let gateway = gateway(&[&proxy, &local], &policy, GatewayOptions::default());
    let failure = run(&gateway, ask_with("auto", "local-only")).await.expect_err("it has forwarded");
    assert!(is_locality(&failure), "{failure:?}");
    assert_eq!(local.sends(), sends_before);
    assert!(failure.error.to_string().contains("proxy"));
}

#[tokio::test(start_paused = true)]
async fn the_policy_sees_which_targets_are_permitted() {
    let cloud = Fake::new("cloud", Locality::Cloud, answer());
    let local = Fake::new("local", Locality::Local, answer());
    let policy = Policy::new(|input| {
        let permitted: Vec<_> = input
            .catalog
            .iter()
            .filter(|facts| facts.permitted)
            .map(|facts| facts.target.id.as_str())
            .collect();
        assert_eq!(permitted, ["local"]);
        assert_eq!(input.labels.to_string(), "local-only");
        assert_eq!(input.key.as_ref().map(|key| &*key.tenant), Some("t"));
        Ok(plan(&permitted, &[]))
    });
    let gateway = gateway(&[&cloud, &local], &policy, GatewayOptions::default());
    let ask = Ask { key: Some(key("local-only")), ..ask("auto") };
    assert_eq!(run(&gateway, ask).await.expect("permitted").target(), "local");
}

fn any_labels() -> impl Strategy<Value = Vec<Label>> {
    let label = prop_oneof![
        3 => Just(Label::LocalOnly),
        3 => Just(Label::NoCloud),
        1 => prop_oneof![Just("eu-1"), Just("us-1")].prop_map(|name| Label::Region(name.to_owned())),
    ];
    prop::collection::vec(label, 0..2)
}

fn any_script() -> impl Strategy<Value = Vec<Act>> {
    prop_oneof![
        Just(answer()),
        Just(vec![]),
        Just(vec![Act::Hang]),
        Just(vec![start()]),
        Just(vec![start(), text("a"), Act::Error(BackendError::new(ErrorKind::Cut, "cut"))]),
        Just(fails(ErrorKind::Unavailable)),
        Just(fails(ErrorKind::RateLimited)),
        Just(fails(ErrorKind::Locality)),
        Just(fails(ErrorKind::InvalidRequest)),
    ]
}

const IDS: [&str; 4] = ["a", "b", "c", "d"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever the configuration, key, header, model name, plan and failures: a send goes only where
    /// every label given by anybody permits it, and the outcome tells all of them.
    #[test]
    fn no_send_without_every_labels_leave(
        localities in prop::collection::vec(
            prop_oneof![Just(Locality::Local), Just(Locality::Lan), Just(Locality::Cloud)], 4),
        scripts in prop::collection::vec(any_script(), 4),
        (configured, of_key, of_header, planned) in (any_labels(), any_labels(), any_labels(), any_labels()),
        steps in prop::collection::vec(
            (prop::sample::select(vec!["a", "b", "c", "d", "e"]), prop::option::of(1_u64..5)), 0..6),
        policy_fails in prop::bool::weighted(0.1),
        named in prop_oneof![Just(Named::Direct), Just(Named::Route), Just(Named::Refuse)],
        on_error in prop_oneof![Just(OnError::Refuse), Just(OnError::FirstTarget)],
        model in prop::sample::select(vec!["auto", "auto", "auto", "a", "c", "e"]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let fakes: Vec<_> = IDS.iter().zip(&localities).zip(&scripts)
            .map(|((id, locality), script)| Fake::new(id, *locality, script.clone()))
            .collect();
        let proposal = Plan {
            attempts: steps
                .iter()
                .map(|(id, hedge)| PlannedAttempt {
                    hedge_after: hedge.map(std::time::Duration::from_secs),
                    ..PlannedAttempt::on(*id)
                })
                .collect(),
            add_labels: planned.clone(),
            reason: String::new(),
        };
        let policy = if policy_fails {
            Policy::failing(PolicyError::Trap { message: "t".to_owned() })
        } else {
            Policy::new(move |_| Ok(proposal.clone()))
        };
        let options = GatewayOptions {
            named,
            labels: configured.iter().cloned().collect(),
            ..GatewayOptions::default()
        };
        let route = Route { on_error, ..forgiving_route(&policy) };
        let gateway = Gateway::new(targets(&fakes.iter().collect::<Vec<_>>()), Policies::route(route), options)
            .expect("the setup is sound");
        let request = Ask {
            key: Some(Arc::new(Key {
                name: Arc::from("k"),
                tenant: Arc::from("t"),
                labels: of_key.iter().cloned().collect(),
                router: None,
            })),
            labels: of_header.iter().cloned().collect(),
            ..ask(model)
        };
        let result = runtime.block_on(run(&gateway, request));
        let outcome = match &result {
            Ok(told) => &told.outcome,
            Err(failure) => &failure.outcome,
        };
        let given: Labels = configured.into_iter().chain(of_key).chain(of_header).collect();
        for label in given.iter() {
            prop_assert!(outcome.labels.iter().any(|told| told == label), "a label was lost");
        }
        // The plan's labels bind whenever its plan was used, even one that turned out invalid.
        let binding = if policy.asked() > 0 && !policy_fails { given.with(planned) } else { given };
        prop_assert_eq!(&*outcome.labels, &binding);
        let mut sends = 0;
        for fake in &fakes {
            for sent in fake.sent.lock().expect("no panic").iter() {
                sends += 1;
                prop_assert!(permit(&binding, &fake.target).is_ok(), "{:?} to {:?}", binding, fake.target);
                prop_assert_eq!(&sent.permit_target, &fake.target.id);
                prop_assert_eq!(sent.permit_locality, fake.target.locality);
                prop_assert_eq!(&sent.labels, &binding);
            }
            prop_assert_eq!(fake.alive(), 0, "nothing runs on");
        }
        prop_assert_eq!(sends, outcome.attempts);
        prop_assert_eq!(outcome.target.is_some(), sends > 0);
    }
}
