//! Cascades: an answer that the router judges, accepted or given up for the next attempt.

use std::sync::Mutex;

use futures_core::future::BoxFuture;
use lockgate_api::{
    Event, Label, Locality, Plan, PlannedAttempt, PolicyError, ReviewInput, ReviewVerdict, Reviewed, Router,
    TokenLogprob, TopLogprob,
};

use super::support::*;
use crate::failure::GatewayError;
use crate::gateway::*;

/// Plans all targets, each to be reviewed, and accepts what holds a word.
struct Cascade {
    accepts: &'static str,
    seen: Mutex<Vec<Arc<Reviewed>>>,
    fails: bool,
}

impl Cascade {
    fn accepting(accepts: &'static str) -> Arc<Self> {
        Arc::new(Self { accepts, seen: Mutex::default(), fails: false })
    }

    fn plan(input: &RouteInput) -> BoxFuture<'static, Result<Plan, PolicyError>> {
        let review = |id: &str| PlannedAttempt { review: true, ..PlannedAttempt::on(id) };
        let attempts = input.catalog.iter().map(|facts| review(&facts.target.id)).collect();
        Box::pin(std::future::ready(Ok(Plan { attempts, ..Plan::default() })))
    }

    fn seen(&self) -> Vec<Arc<Reviewed>> {
        self.seen.lock().expect("no panic").clone()
    }
}

impl Router for Cascade {
    fn id(&self) -> &str {
        "cascade"
    }

    fn route(&self, input: RouteInput) -> BoxFuture<'_, Result<Plan, PolicyError>> {
        Self::plan(&input)
    }

    fn review(&self, input: ReviewInput) -> BoxFuture<'_, Result<ReviewVerdict, PolicyError>> {
        self.seen.lock().expect("no panic").push(Arc::clone(&input.answer));
        let verdict = if self.fails {
            Err(PolicyError::Trap { message: "t".to_owned() })
        } else if input.answer.choices[0].text.contains(self.accepts) {
            Ok(ReviewVerdict::Accept)
        } else {
            Ok(ReviewVerdict::Next { reason: "not good enough".to_owned() })
        };
        Box::pin(std::future::ready(verdict))
    }
}

fn made(fakes: &[&Arc<Fake>], router: Arc<Cascade>) -> Gateway {
    Gateway::new(targets(fakes), Policies::router(router), GatewayOptions::default()).expect("sound")
}

fn says(words: &[&str]) -> Vec<Act> {
    let texts = words.iter().map(|word| text(word));
    std::iter::once(start()).chain(texts).chain([finish(), usage(words.len() as u64)]).collect()
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_accepted_never_reaches_the_client() {
    let small = Fake::new("small", Locality::Local, says(&["I cannot", " help"]));
    let large = Fake::new("large", Locality::Cloud, says(&["It is ", "Paris"]));
    let cascade = Cascade::accepting("Paris");
    let told = run(&made(&[&small, &large], Arc::clone(&cascade)), ask("auto")).await.expect("answers");
    assert_eq!((told.text.as_str(), told.target(), told.outcome.attempts), ("It is Paris", "large", 2));
    let seen = cascade.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        (seen[0].choices[0].text.as_str(), seen[0].attempt, seen[0].attempts_left),
        ("I cannot help", 0, 1)
    );
    assert_eq!((seen[0].output_tokens, seen[1].attempts_left), (Some(2), 0));
    assert_eq!(seen[0].choices[0].finish, Some(lockgate_api::FinishReason::Stop));
}

#[tokio::test(start_paused = true)]
async fn what_no_review_accepts_is_an_error_of_its_own() {
    let small = Fake::new("small", Locality::Local, says(&["no"]));
    let large = Fake::new("large", Locality::Cloud, says(&["neither"]));
    let failure =
        run(&made(&[&small, &large], Cascade::accepting("Paris")), ask("auto")).await.expect_err("none");
    let GatewayError::Exhausted(failures) = &failure.error else { panic!("{failure:?}") };
    assert!(failures.iter().all(|failed| failed.error.kind == ErrorKind::Rejected), "{failures:?}");
    assert_eq!(failure.outcome.attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_reviewed_answer_that_breaks_off_is_given_up_for_the_next() {
    let mut script = vec![start(), text("It is Par")];
    script.extend(fails(ErrorKind::Cut));
    let small = Fake::new("small", Locality::Local, script);
    let large = Fake::new("large", Locality::Cloud, says(&["Paris"]));
    let cascade = Cascade::accepting("Paris");
    let told = run(&made(&[&small, &large], Arc::clone(&cascade)), ask("auto")).await.expect("answers");
    assert_eq!((told.text.as_str(), told.target()), ("Paris", "large"));
    assert_eq!(told.error, None);
    assert_eq!(cascade.seen().len(), 1, "half an answer is not judged");
}

#[tokio::test(start_paused = true)]
async fn labels_hold_for_every_step_of_a_cascade() {
    let small = Fake::new("small", Locality::Local, says(&["no"]));
    let large = Fake::new("large", Locality::Cloud, says(&["Paris"]));
    let gateway = made(&[&small, &large], Cascade::accepting("Paris"));
    run(&gateway, ask_with("auto", "local-only")).await.expect_err("the cloud is not asked");
    assert_eq!((small.sends(), large.sends()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_review_that_fails_refuses_the_request() {
    let small = Fake::new("small", Locality::Local, says(&["Paris"]));
    let failing = Arc::new(Cascade { accepts: "", seen: Mutex::default(), fails: true });
    let failure = run(&made(&[&small], failing), ask("auto")).await.expect_err("refused");
    assert!(matches!(failure.error, GatewayError::PolicyFailed { .. }), "{failure:?}");
    assert_eq!(small.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_policy_without_a_review_cannot_ask_for_one() {
    let small = Fake::new("small", Locality::Local, says(&["Paris"]));
    let attempts = vec![PlannedAttempt { review: true, ..PlannedAttempt::on("small") }];
    let policy = Policy::new(move |_| Ok(Plan { attempts: attempts.clone(), ..Plan::default() }));
    let gateway = gateway(&[&small], &policy, GatewayOptions::default());
    let failure = run(&gateway, ask("auto")).await.expect_err("refused");
    let GatewayError::PolicyFailed { error: PolicyError::InvalidPlan { problem }, .. } = failure.error else {
        panic!("{failure:?}");
    };
    assert!(problem.contains("no review"), "{problem}");
}

fn likely(word: &str, logprob: f32) -> Act {
    let chosen = TopLogprob { token: word.to_owned(), bytes: None, logprob };
    let logprobs = vec![TokenLogprob { chosen, top: Vec::new() }];
    Act::Event(Event::Text { choice: 0, text: word.to_owned(), logprobs })
}

#[tokio::test(start_paused = true)]
async fn likelihoods_are_asked_for_and_kept_from_a_client_that_did_not() {
    let script = vec![start(), likely("Par", -0.5), likely("is", -1.5), finish(), usage(2)];
    for wanted in [None, Some(0)] {
        let small = Fake::new("small", Locality::Local, script.clone());
        let cascade = Cascade::accepting("Paris");
        let gateway = made(&[&small], Arc::clone(&cascade));
        let mut ask = ask("auto");
        Arc::make_mut(&mut ask.request).logprobs = wanted;
        let mut answer = gateway.answer(ask).await.map_err(|failure| failure.error).expect("answers");
        let mut given = 0;
        while let Some(event) = futures_util::StreamExt::next(&mut answer.events).await {
            if let Event::Text { logprobs, .. } = event.expect("whole") {
                given += logprobs.len();
            }
        }
        assert_eq!(given, if wanted.is_some() { 2 } else { 0 });
        let seen = &cascade.seen()[0];
        assert_eq!((seen.mean_log_probability, seen.lowest_log_probability), (Some(-1.0), Some(-1.5)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_too_large_to_keep_is_not_kept() {
    let word = "x".repeat(1 << 20);
    let words: Vec<&str> = (0..9).map(|_| word.as_str()).collect();
    let small = Fake::new("small", Locality::Local, says(&words));
    let large = Fake::new("large", Locality::Local, says(&["x"]));
    let told = run(&made(&[&small, &large], Cascade::accepting("x")), ask("auto")).await.expect("answers");
    assert_eq!(told.target(), "large");
    assert_eq!(small.alive(), 0, "and it is not read to its end");
}

/// Plans all targets, each to be reviewed; its review labels the request and accepts.
struct Labelling(Arc<Mutex<Vec<String>>>);

impl Router for Labelling {
    fn id(&self) -> &str {
        "labelling"
    }

    fn route(&self, input: RouteInput) -> BoxFuture<'_, Result<Plan, PolicyError>> {
        let kept = Arc::clone(&self.0);
        // As the sandbox keeps what a plugin writes for later requests.
        input.scope.when_settled(move |labels| kept.lock().expect("no panic").push(labels.to_string()));
        Cascade::plan(&input)
    }

    fn review(&self, input: ReviewInput) -> BoxFuture<'_, Result<ReviewVerdict, PolicyError>> {
        input.scope.add_labels([Label::LocalOnly]);
        Box::pin(std::future::ready(Ok(ReviewVerdict::Accept)))
    }
}

#[tokio::test(start_paused = true)]
async fn labels_are_settled_when_the_last_review_is_over() {
    for (locality, settled) in [(Locality::Local, &["local-only"][..]), (Locality::Cloud, &[])] {
        let kept = Arc::new(Mutex::default());
        let target = Fake::new("a", locality, says(&["x"]));
        let router = Arc::new(Labelling(Arc::clone(&kept)));
        let gateway = Gateway::new(targets(&[&target]), Policies::router(router), GatewayOptions::default());
        let told = run(&gateway.expect("sound"), ask("auto")).await;
        assert_eq!(*kept.lock().expect("no panic"), settled);
        match told {
            Ok(told) => assert_eq!(
                (locality, told.outcome.labels.to_string()),
                (Locality::Local, "local-only".to_owned())
            ),
            // The cloud has it already.
            Err(failure) => {
                assert_eq!(
                    (locality, failure.outcome.labels.to_string()),
                    (Locality::Cloud, "local-only".to_owned())
                );
                assert!(
                    matches!(
                        &failure.error,
                        GatewayError::PolicyFailed { error: PolicyError::Denied { what }, .. } if what.contains("`a`")
                    ),
                    "{failure:?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_refuses_likelihoods_is_asked_without() {
    let small = Fake::without_logprobs("small", says(&["Paris"]));
    let gateway = made(&[&small], Cascade::accepting("Paris"));
    for (sends, attempts) in [(2, 2), (3, 1)] {
        let told = run(&gateway, ask("auto")).await.expect("answers");
        assert_eq!((told.target(), small.sends(), told.outcome.attempts), ("small", sends, attempts));
    }
    // What the client asks for is not left out.
    let mut asking = ask("auto");
    Arc::make_mut(&mut asking.request).logprobs = Some(1);
    let failure = run(&gateway, asking).await.expect_err("it has none");
    assert!(failure.error.to_string().contains("logprobs"), "{}", failure.error);
    // A request that is wrong for another reason is, and says nothing about the target.
    let wrong = Fake::new("wrong", Locality::Local, fails(ErrorKind::InvalidRequest));
    let gateway = made(&[&wrong], Cascade::accepting("Paris"));
    for sends in [2, 4] {
        run(&gateway, ask("auto")).await.expect_err("it is wrong");
        assert_eq!(wrong.sends(), sends);
    }
}
