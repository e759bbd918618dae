//! Policies that decide, refuse and fail, and models that clients name.

use std::time::Duration;

use lockgate_api::Locality;
use tokio::time::Instant;

use super::support::*;
use crate::failure::GatewayError;
use crate::gateway::*;

fn failures() -> Vec<PolicyError> {
    vec![
        PolicyError::Trap { message: "unreachable".to_owned() },
        PolicyError::Limit { limit: "memory".to_owned() },
        PolicyError::Denied { what: "clock".to_owned() },
        PolicyError::InvalidPlan { problem: "no".to_owned() },
        PolicyError::Overloaded,
        PolicyError::Host { message: "bug".to_owned() },
    ]
}

#[tokio::test(start_paused = true)]
async fn a_failed_policy_refuses_or_goes_to_the_first_local_target() {
    let cloud = Fake::new("cloud", Locality::Cloud, answer());
    let local = Fake::new("local", Locality::Local, answer());
    let other = Fake::new("other", Locality::Local, answer());
    let all = [&cloud, &local, &other];
    for error in failures() {
        let policy = Policy::failing(error.clone());
        let failure = run(&gateway(&all, &policy, GatewayOptions::default()), ask("auto")).await;
        let failure = failure.expect_err("refused");
        assert!(matches!(&failure.error, GatewayError::PolicyFailed { error: told, .. } if *told == error));
        assert_eq!((failure.outcome.attempts, failure.outcome.target), (0, None));
        let told = run(&forgiving(&all, &policy, GatewayOptions::default()), ask("auto"))
            .await
            .expect("a local one");
        assert_eq!((told.target(), &*told.outcome.policy), ("local", "policy"));
    }
    assert_eq!((cloud.sends(), other.sends()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn without_a_local_target_a_failed_policy_refuses_in_any_case() {
    let cloud = Fake::new("cloud", Locality::Cloud, answer());
    let lan = Fake::new("lan", Locality::Lan, answer());
    let gateway =
        forgiving(&[&cloud, &lan], &Policy::failing(PolicyError::Overloaded), GatewayOptions::default());
    let failure = run(&gateway, ask("auto")).await.expect_err("refused");
    assert!(matches!(failure.error, GatewayError::PolicyFailed { .. }));
    assert_eq!((cloud.sends(), lan.sends()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_a_failure() {
    let local = Fake::new("local", Locality::Local, answer());
    let policy = Policy::failing(PolicyError::Refused { reason: "not today".to_owned() });
    let gateway = forgiving(&[&local], &policy, GatewayOptions::default());
    let failure = run(&gateway, ask("auto")).await.expect_err("refused");
    assert!(matches!(failure.error, GatewayError::PolicyRefused { .. }));
    assert_eq!(failure.error.to_string(), "the policy `policy` refused the request: not today");
    assert_eq!(local.sends(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_never_decides_fails_in_time() {
    let local = Fake::new("local", Locality::Local, answer());
    let gateway = gateway(&[&local], &Policy::hanging(), GatewayOptions::default());
    let began = Instant::now();
    let failure = run(&gateway, ask("auto")).await.expect_err("no plan");
    assert!(matches!(failure.error, GatewayError::PolicyFailed { error: PolicyError::Limit { .. }, .. }));
    assert_eq!(began.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_makes_no_sense_is_the_policys_failure() {
    let local = Fake::new("local", Locality::Local, answer());
    for (ids, problem) in [
        (vec![], "names no target"),
        (vec!["local", "nowhere"], "`nowhere`"),
        (vec!["local"; 17], "at most 16"),
    ] {
        let policy = Policy::plan(&ids);
        let failure = run(&gateway(&[&local], &policy, GatewayOptions::default()), ask("auto")).await;
        let GatewayError::PolicyFailed { error, .. } = failure.expect_err("refused").error else {
            panic!("a failure of the policy");
        };
        assert_eq!(error.kind(), "invalid_plan");
        assert!(error.to_string().contains(problem), "{error}");
        let told = run(&forgiving(&[&local], &policy, GatewayOptions::default()), ask("auto"))
            .await
            .expect("answers");
        assert_eq!(told.target(), "local");
    }
}

#[tokio::test(start_paused = true)]
async fn a_named_model_is_taken_as_configured() {
    let (a, b) = (Fake::new("a", Locality::Local, answer()), Fake::new("b", Locality::Local, answer()));
    let policy = Policy::plan(&["b"]);
    let with = |named| gateway(&[&a, &b], &policy, GatewayOptions { named, ..GatewayOptions::default() });

    let told = run(&with(Named::Direct), ask("a")).await.expect("direct");
    assert_eq!((told.target(), &*told.outcome.policy, policy.asked()), ("a", "direct", 0));
    let told = run(&with(Named::Route), ask("a")).await.expect("a wish");
    assert_eq!((told.target(), &*told.outcome.policy, policy.asked()), ("b", "policy", 1));
    let failure = run(&with(Named::Refuse), ask("a")).await.expect_err("only auto");
    assert!(matches!(failure.error, GatewayError::NamedRefused { .. }));
    let told = run(&with(Named::Refuse), ask("auto")).await.expect("auto");
    assert_eq!(told.target(), "b");
    for named in [Named::Direct, Named::Route, Named::Refuse] {
        let failure = run(&with(named), ask("gpt-9")).await.expect_err("unknown");
        assert!(matches!(failure.error, GatewayError::UnknownModel { .. }), "{named:?}");
        assert!(failure.error.to_string().contains("a, b"), "{}", failure.error);
    }
}

#[tokio::test(start_paused = true)]
async fn without_targets_nothing_is_promised() {
    let gateway = gateway(&[], &Policy::plan(&["a"]), GatewayOptions::default());
    for model in ["auto", "a"] {
        let failure = run(&gateway, ask(model)).await.expect_err("there is nothing");
        assert_eq!(failure.error, GatewayError::NoTarget);
    }
}
