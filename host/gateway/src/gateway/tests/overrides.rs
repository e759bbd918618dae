//! Sampling parameters that a plan puts in the place of a request's own.

use lockgate_api::{Locality, Overrides, Plan, PlannedAttempt, PolicyError, Sampling};

use super::support::*;
use crate::failure::GatewayError;
use crate::gateway::*;

fn step(target: &str, sampling: Overrides) -> PlannedAttempt {
    PlannedAttempt { sampling, ..PlannedAttempt::on(target) }
}

fn planning(fakes: &[&Arc<Fake>], attempts: Vec<PlannedAttempt>) -> Gateway {
    let plan = Plan { attempts, ..Plan::default() };
    gateway(fakes, &Policy::new(move |_| Ok(plan.clone())), GatewayOptions::default())
}

fn ask_sampled(sampling: Sampling) -> Ask {
    let ask = ask("auto");
    Ask { request: Arc::new(ChatRequest { sampling, ..(*ask.request).clone() }), ..ask }
}

fn sampled(fake: &Fake) -> Sampling {
    fake.sent.lock().expect("no panic").last().expect("it was asked").sampling.clone()
}

#[tokio::test(start_paused = true)]
async fn an_override_holds_for_its_attempt_alone() {
    let a = Fake::new("a", Locality::Local, fails(ErrorKind::Unavailable));
    let b = Fake::new("b", Locality::Local, answer());
    let cool = Overrides { temperature: Some(0.1), top_k: Some(5), ..Overrides::default() };
    let gateway = planning(&[&a, &b], vec![step("a", cool), PlannedAttempt::on("b")]);
    let asked = Sampling { temperature: Some(1.5), seed: Some(3), ..Sampling::default() };
    run(&gateway, ask_sampled(asked.clone())).await.expect("the second answers");
    let changed = Sampling { temperature: Some(0.1), top_k: Some(5), ..asked.clone() };
    assert_eq!((sampled(&a), sampled(&b)), (changed, asked));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_never_longer_than_the_client_asked_for() {
    let a = Fake::new("a", Locality::Local, answer());
    for (asked, planned, sent) in [(Some(10), 500, Some(10)), (Some(500), 10, Some(10)), (None, 10, Some(10))]
    {
        let shorter = Overrides { max_tokens: Some(planned), ..Overrides::default() };
        let gateway = planning(&[&a], vec![step("a", shorter)]);
        let asked = Sampling { max_tokens: asked, ..Sampling::default() };
        run(&gateway, ask_sampled(asked)).await.expect("it answers");
        assert_eq!(sampled(&a).max_tokens, sent);
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_honour_an_override_is_passed_over() {
    let (a, b) = (Fake::seedless("a"), Fake::new("b", Locality::Local, answer()));
    let seeded = Overrides { seed: Some(7), ..Overrides::default() };
    let gateway = planning(&[&a, &b], vec![step("a", seeded), step("b", seeded)]);
    let told = run(&gateway, ask("auto")).await.expect("the second can");
    assert_eq!((told.target(), told.outcome.attempts, a.sends()), ("b", 1, 0));

    let gateway = planning(&[&a], vec![step("a", seeded)]);
    let failure = run(&gateway, ask("auto")).await.expect_err("it cannot");
    assert_eq!(failure.error.to_string(), "target `a` cannot honour `seed`: it has no seeds");
    // Without the override it can.
    let gateway = planning(&[&a], vec![PlannedAttempt::on("a")]);
    assert_eq!(run(&gateway, ask("auto")).await.expect("it answers").target(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_value_out_of_range_makes_the_plan_invalid_whoever_made_it() {
    let a = Fake::new("a", Locality::Local, answer());
    let hot = Overrides { temperature: Some(f32::NAN), ..Overrides::default() };
    let gateway = planning(&[&a], vec![step("a", hot)]);
    let failure = run(&gateway, ask("auto")).await.expect_err("the plan makes no sense");
    let GatewayError::PolicyFailed { error: PolicyError::InvalidPlan { problem }, .. } = failure.error else {
        panic!("{failure:?}")
    };
    assert!(problem.contains("temperature"), "{problem}");
    assert_eq!(a.sends(), 0);
}
