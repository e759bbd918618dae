use lockgate_api::{AttemptContext, BackendError, ChatRequest, Events, Locality, Permit};

use super::*;

struct Nothing;

impl Backend for Nothing {
    fn accepts(&self, _: &ChatRequest) -> Result<(), BackendError> {
        Ok(())
    }

    fn stream(&self, _: Arc<ChatRequest>, _: Permit, _: AttemptContext) -> Events {
        Box::pin(futures_util::stream::empty())
    }
}

fn targets(ids: &[&str]) -> Vec<GatewayTarget> {
    let one = |id: &&str| GatewayTarget {
        target: Arc::new(Target {
            id: (*id).to_owned(),
            model: "m".to_owned(),
            locality: Locality::Local,
            region: None,
            context_tokens: None,
            price: None,
            tools: false,
            images: false,
        }),
        backend: Arc::new(Nothing),
    };
    ids.iter().map(one).collect()
}

#[test]
fn ids_are_unique_and_fit_into_headers() {
    let options = GatewayOptions::default();
    assert_eq!(check(&targets(&["qwen2.5:7b", "org/model", "a_b-c"]), &options), Ok(()));
    assert_eq!(check(&targets(&["a", "b", "a"]), &options), Err(SetupError::DuplicateId("a".to_owned())));
    for id in ["", "auto", "direct", "a b", "a,b", "ä", "a\n", &"x".repeat(129)] {
        assert_eq!(check(&targets(&[id]), &options), Err(SetupError::InvalidId(id.to_owned())), "{id}");
    }
}

#[test]
fn no_timer_is_zero_or_endless_and_no_limit_is_zero() {
    let bad = |change: fn(&mut GatewayOptions)| {
        let mut options = GatewayOptions::default();
        change(&mut options);
        matches!(check(&[], &options), Err(SetupError::OutOfBounds { .. }))
    };
    assert_eq!(check(&[], &GatewayOptions::default()), Ok(()));
    assert!(bad(|options| options.timeouts.connect = Duration::ZERO));
    assert!(bad(|options| options.timeouts.first_event = Duration::MAX));
    assert!(bad(|options| options.timeouts.idle = Duration::ZERO));
    assert!(bad(|options| options.timeouts.total = TIMER_MAX + Duration::from_secs(1)));
    assert!(bad(|options| options.policy_timeout = Duration::ZERO));
    assert!(bad(|options| options.limits.wait = Duration::MAX));
    assert!(bad(|options| options.limits.concurrent = 0));
    assert!(bad(|options| options.breaker.failures_to_open = 0));
    assert!(bad(|options| options.breaker.open_most = Duration::MAX));
}
