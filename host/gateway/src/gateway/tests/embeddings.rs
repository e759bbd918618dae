//! Embeddings: one target, chosen without a router; labels, preprocessors, breaker and timers hold as for answers.

use std::time::Duration;

use lockgate_api::{
    BreakerState, Label, Labels, Locality, Message, Prepared, Preprocessor, Role, Router, TimeoutKind,
};

use super::filters::*;
use super::support::*;
use crate::breaker::BreakerPolicy;
use crate::embed::{EmbedAsk, Vectors};
use crate::failure::GatewayError;
use crate::gateway::*;
use crate::policies::Policies;

fn ask_for(model: &str, labels: &str) -> EmbedAsk {
    EmbedAsk {
        request_id: Arc::from("req_1"),
        model: model.to_owned(),
        inputs: vec!["a".to_owned(), "text".to_owned()],
        labels: labels.parse().expect("labels of a test parse"),
        key: None,
    }
}

async fn embed(gateway: &Gateway, model: &str, labels: &str) -> Result<Vectors, Failure> {
    gateway.embed(ask_for(model, labels)).await.map_err(|failure| *failure)
}

/// The id of the target that embedded.
async fn embedded_by(gateway: &Gateway, model: &str, labels: &str) -> String {
    let vectors = embed(gateway, model, labels).await.expect("vectors");
    assert_eq!(vectors.embedded.vectors, [[1.0], [4.0]]);
    let outcome = vectors.outcome;
    assert_eq!((outcome.attempts, &*outcome.policy), (1, "direct"));
    outcome.target.expect("it has one").id.clone()
}

fn trio() -> [Arc<Fake>; 3] {
    [("cloud", Locality::Cloud), ("lan", Locality::Lan), ("local", Locality::Local)]
        .map(|(id, locality)| Fake::new(id, locality, answer()))
}

fn over(fakes: &[Arc<Fake>; 3], options: GatewayOptions) -> (Gateway, Arc<Policy>) {
    let router = Policy::plan(&["cloud"]);
    (gateway(&[&fakes[0], &fakes[1], &fakes[2]], &router, options), router)
}

#[tokio::test(start_paused = true)]
async fn auto_is_the_first_local_target_and_a_name_is_obeyed() {
    let fakes = trio();
    let (gateway, router) = over(&fakes, GatewayOptions::default());
    assert_eq!(embedded_by(&gateway, "auto", "").await, "local");
    assert_eq!(embedded_by(&gateway, "auto", "local-only").await, "local");
    assert_eq!(embedded_by(&gateway, "cloud", "").await, "cloud");
    assert_eq!(embedded_by(&gateway, "lan", "no-cloud").await, "lan");
    assert_eq!(embedded_by(&gateway, "cloud", "region:eu-1").await, "cloud");
    assert_eq!(router.asked(), 0, "embeddings are not routed");
    let sent = fakes[1].sent.lock().expect("no panic")[0].clone();
    assert_eq!((sent.permit_target.as_str(), sent.permit_locality), ("lan", Locality::Lan));
    assert_eq!((sent.labels.to_string().as_str(), sent.text.as_str()), ("no-cloud", "a|text"));
}

#[tokio::test(start_paused = true)]
async fn labels_of_header_and_configuration_hold() {
    let fakes = trio();
    let (open, _) = over(&fakes, GatewayOptions::default());
    let labels = "local-only".parse().expect("parses");
    let (closed, _) = over(&fakes, GatewayOptions { labels, ..GatewayOptions::default() });
    for (gateway, model, labels) in [
        (&open, "cloud", "local-only"),
        (&open, "lan", "local-only"),
        (&open, "cloud", "region:us-1"),
        (&closed, "cloud", ""),
    ] {
        let failure = embed(gateway, model, labels).await.expect_err("forbidden");
        assert!(matches!(failure.error, GatewayError::Locality { .. }), "{failure:?}");
        assert_eq!((failure.outcome.attempts, failure.outcome.target), (0, None));
    }
    assert_eq!(fakes.iter().map(|fake| fake.sends()).sum::<usize>(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_be_named_or_does_not_exist_is_refused() {
    let fakes = trio();
    let (direct, _) = over(&fakes, GatewayOptions::default());
    let failure = embed(&direct, "nobody", "").await.expect_err("unknown");
    assert!(matches!(failure.error, GatewayError::UnknownModel { .. }), "{failure:?}");
    let (route, _) = over(&fakes, GatewayOptions { named: Named::Route, ..GatewayOptions::default() });
    assert_eq!(embedded_by(&route, "local", "").await, "local");
    let (refuse, _) = over(&fakes, GatewayOptions { named: Named::Refuse, ..GatewayOptions::default() });
    assert_eq!(embedded_by(&refuse, "auto", "").await, "local");
    for (gateway, model) in [(&route, "cloud"), (&route, "lan"), (&refuse, "local"), (&refuse, "cloud")] {
        let failure = embed(gateway, model, "").await.expect_err("not by name");
        assert!(matches!(failure.error, GatewayError::NamedRefused { .. }), "{failure:?}");
    }
    let far = gateway(&[&fakes[0]], &Policy::plan(&["cloud"]), GatewayOptions::default());
    let failure = embed(&far, "auto", "").await.expect_err("nothing is local");
    assert!(matches!(failure.error, GatewayError::Locality { .. }), "{failure:?}");
    assert_eq!(fakes[0].sends() + fakes[1].sends(), 0);
}

fn with(fake: &Arc<Fake>, preprocessor: &Arc<FakePreprocessor>) -> Gateway {
    let policies = Policies {
        preprocessors: vec![Arc::clone(preprocessor) as Arc<dyn Preprocessor>],
        ..Policies::router(Policy::plan(&["local"]) as Arc<dyn Router>)
    };
    Gateway::new(targets(&[fake]), policies, GatewayOptions::default()).expect("the setup is sound")
}

#[tokio::test(start_paused = true)]
async fn preprocessors_see_a_message_a_text_and_what_they_leave_is_embedded() {
    let cloud = Fake::new("cloud", Locality::Cloud, answer());
    let shouting = FakePreprocessor::new("shouting", |input| {
        let mut request = (*input.request).clone();
        for message in &mut request.messages {
            assert_eq!(message.role, Role::User);
            *message = Message::text(Role::User, message.joined_text().to_uppercase());
        }
        Ok(Prepared { request: Arc::new(request), ..unchanged(input) })
    });
    let gateway = with(&cloud, &shouting);
    embed(&gateway, "cloud", "").await.expect("vectors");
    assert_eq!(cloud.sent.lock().expect("no panic")[0].text, "A|TEXT");
    assert_eq!(shouting.asked(), 1, "all texts in one request");
}

#[tokio::test(start_paused = true)]
async fn a_label_that_a_preprocessor_adds_holds_at_the_send() {
    let cloud = Fake::new("cloud", Locality::Cloud, answer());
    let careful = FakePreprocessor::new("careful", |input| {
        Ok(Prepared { add_labels: vec![Label::LocalOnly], ..unchanged(input) })
    });
    let gateway = with(&cloud, &careful);
    let failure = embed(&gateway, "cloud", "").await.expect_err("forbidden from then on");
    assert!(matches!(failure.error, GatewayError::Locality { .. }), "{failure:?}");
    assert_eq!(failure.outcome.labels.to_string(), "local-only");
    assert_eq!((failure.outcome.attempts, cloud.sends()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_preprocessor_that_fails_refuses_or_leaves_no_texts_lets_nothing_through() {
    type Change = fn(&mut Vec<Message>);
    let changes: [Change; 5] = [
        |messages| messages.truncate(1),
        |messages| messages.insert(0, Message::text(Role::System, "be careful")),
        |messages| messages[1].role = Role::Assistant,
        |messages| messages[0].content.clear(),
        |messages| {
            let source = lockgate_api::ImageSource::Url("data:,".to_owned());
            messages[0].content.push(lockgate_api::Part::Image(source));
        },
    ];
    let local = Fake::new("local", Locality::Local, answer());
    for change in changes {
        let changing = FakePreprocessor::new("changing", move |input| {
            let mut request = (*input.request).clone();
            change(&mut request.messages);
            Ok(Prepared { request: Arc::new(request), ..unchanged(input) })
        });
        let failure = embed(&with(&local, &changing), "local", "").await.expect_err("refused");
        let GatewayError::PolicyFailed { error: PolicyError::InvalidAnswer { .. }, .. } = failure.error
        else {
            panic!("{failure:?}");
        };
    }
    let refusing =
        FakePreprocessor::new("careful", |_| Err(PolicyError::Refused { reason: "not today".to_owned() }));
    let failure = embed(&with(&local, &refusing), "auto", "").await.expect_err("refused");
    assert!(matches!(failure.error, GatewayError::PolicyRefused { .. }), "{failure:?}");
    let hanging = FakePreprocessor::hanging("hangs");
    let failure = embed(&with(&local, &hanging), "auto", "").await.expect_err("not prepared");
    assert!(matches!(failure.error, GatewayError::PolicyFailed { error: PolicyError::Limit { .. }, .. }));
    assert_eq!(local.sends(), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_fails_over_and_failures_open_the_breaker() {
    let broken = Fake::new("broken", Locality::Local, fails(ErrorKind::Unavailable));
    let other = Fake::new("other", Locality::Local, answer());
    let breaker = BreakerPolicy { failures_to_open: 2, ..BreakerPolicy::default() };
    let options = GatewayOptions { breaker, ..GatewayOptions::default() };
    let gateway = gateway(&[&broken, &other], &Policy::plan(&["other"]), options);
    for tried in [true, true, false] {
        let failure = embed(&gateway, "auto", "").await.expect_err("it fails");
        let GatewayError::NotEmbedded(failed) = failure.error else { panic!("{failure:?}") };
        assert_eq!((failed.tried, failed.target.id.as_str()), (tried, "broken"));
        assert_eq!(failed.error.kind, ErrorKind::Unavailable);
        assert_eq!(failure.outcome.attempts, u32::from(tried));
    }
    assert_eq!((broken.sends(), other.sends()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn failed_embeddings_close_no_chats_and_failed_chats_no_embeddings() {
    let fake = Fake::new("only", Locality::Local, fails(ErrorKind::Upstream));
    let breaker = BreakerPolicy { failures_to_open: 2, ..BreakerPolicy::default() };
    let options = GatewayOptions { breaker, ..GatewayOptions::default() };
    let over = |options| gateway(&[&fake], &Policy::plan(&["only"]), options);
    let health = |gateway: &Gateway| gateway.facts(&Labels::none())[0].health;

    let embeds = over(options.clone());
    for _ in 0..3 {
        embed(&embeds, "only", "").await.expect_err("it fails");
    }
    assert_eq!(fake.sends(), 2, "their own breaker is open");
    assert_eq!((health(&embeds).breaker, health(&embeds).error_rate), (BreakerState::Closed, None));
    fake.does(answer());
    embeds.answer(ask("only")).await.expect("chats are another matter");

    let chats = over(options);
    fake.does(fails(ErrorKind::Upstream));
    for _ in 0..3 {
        assert!(chats.answer(ask("only")).await.is_err(), "it fails");
    }
    assert_eq!(health(&chats).breaker, BreakerState::Open);
    fake.does(answer());
    assert_eq!(embedded_by(&chats, "only", "").await, "only");
}

#[tokio::test(start_paused = true)]
async fn silence_elsewhere_ends_sooner_than_work_here() {
    let quick = |locality| Fake::new("quiet", locality, vec![Act::Pause(200), start()]);
    for locality in [Locality::Cloud, Locality::Lan] {
        let fake = quick(locality);
        let gateway = gateway(&[&fake], &Policy::plan(&["quiet"]), GatewayOptions::default());
        let began = tokio::time::Instant::now();
        let failure = embed(&gateway, "quiet", "").await.expect_err("silent");
        let GatewayError::NotEmbedded(failed) = failure.error else { panic!("{failure:?}") };
        assert_eq!(failed.error.kind, ErrorKind::Timeout(TimeoutKind::FirstEvent));
        assert_eq!(began.elapsed(), Duration::from_secs(125));
    }
    let fake = quick(Locality::Local);
    let gateway = gateway(&[&fake], &Policy::plan(&["quiet"]), GatewayOptions::default());
    assert_eq!(embedded_by(&gateway, "quiet", "").await, "quiet");
    fake.does(vec![Act::Hang]);
    let failure = embed(&gateway, "quiet", "").await.expect_err("not for ever");
    let GatewayError::NotEmbedded(failed) = failure.error else { panic!("{failure:?}") };
    assert_eq!(failed.error.kind, ErrorKind::Timeout(TimeoutKind::Total));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_passes_on_is_a_matter_of_locality() {
    let fake = Fake::new("lan", Locality::Lan, fails(ErrorKind::Locality));
    let gateway = gateway(&[&fake], &Policy::plan(&["lan"]), GatewayOptions::default());
    let failure = embed(&gateway, "lan", "no-cloud").await.expect_err("forbidden");
    assert!(matches!(failure.error, GatewayError::Locality { .. }), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn places_are_limited_and_given_back() {
    let fake = Fake::new("local", Locality::Local, vec![Act::Pause(5)]);
    let limits = crate::Limits { concurrent: 1, waiting: 0, ..crate::Limits::default() };
    let options = GatewayOptions { limits, ..GatewayOptions::default() };
    let gateway = gateway(&[&fake], &Policy::plan(&["local"]), options);
    let (first, second) = tokio::join!(embed(&gateway, "auto", ""), embed(&gateway, "auto", ""));
    let results = [first.is_ok(), second.is_ok()];
    assert_eq!(results.iter().filter(|ok| **ok).count(), 1, "{results:?}");
    assert_eq!(embedded_by(&gateway, "auto", "").await, "local");
}
