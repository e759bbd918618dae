use lockgate_api::{Locality, TimeoutKind};

use super::*;

fn failed(id: &str, kind: ErrorKind, tried: bool) -> FailedAttempt {
    let target = Target {
        id: id.to_owned(),
        model: "m".to_owned(),
        locality: Locality::Local,
        region: None,
        context_tokens: None,
        price: None,
        tools: false,
        images: false,
    };
    FailedAttempt { target: Arc::new(target), error: BackendError::new(kind, "because"), tried }
}

fn unsupported(id: &str) -> FailedAttempt {
    failed(id, ErrorKind::Unsupported { field: "tools".to_owned() }, false)
}

#[test]
fn the_last_target_that_was_asked_decides() {
    let timeout = ErrorKind::Timeout(TimeoutKind::FirstEvent);
    for (name, attempts, expected) in [
        ("the last of two", vec![failed("a", ErrorKind::Upstream, true), failed("b", timeout, true)], "b"),
        ("not one that was skipped", vec![failed("a", ErrorKind::Upstream, true), unsupported("b")], "a"),
        (
            "not one that forwards",
            vec![failed("a", ErrorKind::Unavailable, true), failed("b", ErrorKind::Locality, true)],
            "a",
        ),
        ("unless it was the only one", vec![unsupported("a"), failed("b", ErrorKind::Locality, true)], "b"),
        ("a breaker before a field", vec![failed("a", ErrorKind::Unavailable, false), unsupported("b")], "a"),
        ("the last field", vec![unsupported("a"), unsupported("b")], "b"),
    ] {
        let deciding = GatewayError::deciding(&attempts).map(|failed| failed.target.id.as_str());
        assert_eq!(deciding, Some(expected), "{name}");
    }
    assert_eq!(GatewayError::deciding(&[]), None);
}

#[test]
fn messages_name_every_target_and_field() {
    let one = GatewayError::Exhausted(vec![unsupported("claude")]);
    assert_eq!(one.to_string(), "target `claude` cannot honour `tools`: because");
    let two = GatewayError::Exhausted(vec![unsupported("a"), failed("b", ErrorKind::Unavailable, true)]);
    assert_eq!(
        two.to_string(),
        "no target answered: target `a` cannot honour `tools`: because; target `b`: because"
    );
}

#[test]
fn a_target_that_names_itself_is_named_once() {
    let saying = |kind: ErrorKind, message: &str| {
        let error = BackendError::new(kind, message);
        GatewayError::Exhausted(vec![FailedAttempt { error, ..failed("a", ErrorKind::Cut, true) }])
            .to_string()
    };
    let tools = || ErrorKind::Unsupported { field: "tools".to_owned() };
    assert_eq!(saying(ErrorKind::Unavailable, "target `a`: nobody answers"), "target `a`: nobody answers");
    assert_eq!(saying(ErrorKind::Unavailable, "model `a` is full"), "model `a` is full");
    assert_eq!(saying(ErrorKind::Unavailable, "target `ab` is full"), "target `a`: target `ab` is full");
    let whole = "model `a` cannot honour `tools`: it calls none";
    assert_eq!(saying(tools(), whole), whole);
    assert_eq!(
        saying(tools(), "model `a` calls none"),
        "target `a` cannot honour `tools`: model `a` calls none"
    );
}

#[test]
fn a_policys_own_words_stay_out_of_its_failure() {
    let error = GatewayError::PolicyFailed {
        policy: Arc::from("p"),
        error: PolicyError::Trap { message: "the secret of the prompt".to_owned() },
    };
    assert_eq!(
        error.to_string(),
        "the policy `p` failed (trap) and its configuration refuses the request then"
    );
}
