use std::sync::Arc;

use lockgate_api::{PolicyError, Target};

use super::*;

#[test]
fn every_kind_of_backend_error_has_its_place() {
    for (kind, locality, status, code) in [
        (ErrorKind::InvalidRequest, Locality::Cloud, 400, "invalid_request"),
        (
            ErrorKind::ContextExceeded { prompt_tokens: 9, context_tokens: 8 },
            Locality::Local,
            400,
            "context_length_exceeded",
        ),
        (ErrorKind::Unsupported { field: "n".to_owned() }, Locality::Cloud, 400, "unsupported_parameter"),
        (ErrorKind::Authentication, Locality::Cloud, 502, "upstream_authentication"),
        (ErrorKind::RateLimited, Locality::Cloud, 502, "upstream_rate_limited"),
        (ErrorKind::Overloaded, Locality::Cloud, 502, "upstream_overloaded"),
        (ErrorKind::Overloaded, Locality::Local, 429, "overloaded"),
        (ErrorKind::Unavailable, Locality::Lan, 502, "upstream_unavailable"),
        (ErrorKind::Timeout(TimeoutKind::Connect), Locality::Lan, 504, "upstream_connect_timeout"),
        (ErrorKind::Timeout(TimeoutKind::FirstEvent), Locality::Local, 504, "upstream_timeout"),
        (ErrorKind::Timeout(TimeoutKind::Idle), Locality::Cloud, 504, "upstream_timeout"),
        (ErrorKind::Timeout(TimeoutKind::Total), Locality::Cloud, 504, "upstream_timeout"),
        (ErrorKind::Upstream, Locality::Cloud, 502, "upstream_failed"),
        (ErrorKind::Cut, Locality::Cloud, 502, "upstream_cut"),
        (ErrorKind::Locality, Locality::Local, 403, "locality_forbidden"),
        (ErrorKind::Guard, Locality::Cloud, 503, "guard_failed"),
        (ErrorKind::Adapter, Locality::Local, 503, "adapter_failed"),
        (ErrorKind::Cancelled, Locality::Local, 503, "cancelled"),
        (ErrorKind::Internal, Locality::Local, 500, "internal_error"),
    ] {
        let error = ApiError::from_backend(&BackendError::new(kind.clone(), "why"), locality);
        assert_eq!((error.status.as_u16(), error.code), (status, code), "{kind:?}");
    }
}

#[test]
fn a_full_context_tells_both_counts() {
    let kind = ErrorKind::ContextExceeded { prompt_tokens: 9001, context_tokens: 8192 };
    let error = ApiError::from_backend(&BackendError::new(kind, "too long"), Locality::Local);
    assert!(error.message.contains("9001") && error.message.contains("8192"), "{}", error.message);
    assert_eq!(error.param.as_deref(), Some("messages"));
}

#[test]
fn overload_always_says_when_to_come_back() {
    let full = BackendError::new(ErrorKind::Overloaded, "full");
    assert_eq!(ApiError::from_backend(&full, Locality::Local).retry_after, Some(Duration::from_secs(1)));
    let told = full.clone().retry_after(Some(Duration::from_secs(7)));
    assert_eq!(ApiError::from_backend(&told, Locality::Cloud).retry_after, Some(Duration::from_secs(7)));
    let gateway = GatewayError::Overloaded { retry_after: Duration::from_secs(2) };
    assert_eq!(ApiError::from_gateway(&gateway).retry_after, Some(Duration::from_secs(2)));
    assert!(ApiError::busy().retry_after.is_some());
}

#[test]
fn an_answer_that_breaks_off_names_its_target_unless_a_guard_failed() {
    let target = target();
    let cut = ApiError::broken_off(&BackendError::new(ErrorKind::Cut, "cut"), &target);
    assert_eq!(cut.message, "target `t`: cut");
    for own in ["target `t`: http://far: the stream ended", "model `t` has no room"] {
        let told = ApiError::broken_off(&BackendError::new(ErrorKind::Cut, own), &target);
        assert_eq!(told.message, own, "nobody is introduced twice");
    }
    let other = ApiError::broken_off(&BackendError::new(ErrorKind::Cut, "target `t2`: cut"), &target);
    assert_eq!(other.message, "target `t`: target `t2`: cut");
    let failed = ApiError::broken_off(&BackendError::new(ErrorKind::Guard, "the guard `g` failed"), &target);
    assert_eq!((failed.message.as_str(), failed.code), ("the guard `g` failed", "guard_failed"));
}

fn target() -> Target {
    Target {
        id: "t".to_owned(),
        model: "m".to_owned(),
        locality: Locality::Lan,
        region: None,
        context_tokens: None,
        price: None,
        tools: false,
        images: false,
    }
}

#[test]
fn every_kind_of_gateway_error_has_its_place() {
    let policy: Arc<str> = Arc::from("p");
    let kind = ErrorKind::Timeout(TimeoutKind::FirstEvent);
    let failed =
        FailedAttempt { target: Arc::new(target()), error: BackendError::new(kind, "late"), tried: true };
    for (error, status, code) in [
        (GatewayError::UnknownModel { model: "x".to_owned(), known: "y".to_owned() }, 404, "model_not_found"),
        (GatewayError::NamedRefused { model: "x".to_owned() }, 400, "model_not_selectable"),
        (GatewayError::NoTarget, 503, "no_target"),
        (GatewayError::Locality { message: "no".to_owned() }, 403, "locality_forbidden"),
        (
            GatewayError::PolicyRefused { policy: Arc::clone(&policy), reason: "r".to_owned() },
            403,
            "policy_refused",
        ),
        (GatewayError::PolicyFailed { policy, error: PolicyError::Overloaded }, 503, "policy_failed"),
        (GatewayError::Overloaded { retry_after: Duration::from_secs(1) }, 429, "overloaded"),
        (GatewayError::NotEmbedded(Box::new(failed.clone())), 504, "upstream_timeout"),
        (GatewayError::Exhausted(vec![failed]), 504, "upstream_timeout"),
    ] {
        let mapped = ApiError::from_gateway(&error);
        assert_eq!((mapped.status.as_u16(), mapped.code), (status, code), "{error:?}");
        assert_eq!(mapped.message, error.to_string());
    }
}

#[test]
fn a_text_that_is_too_long_to_embed_is_the_input_and_told_in_the_targets_words() {
    let kind = ErrorKind::ContextExceeded { prompt_tokens: 513, context_tokens: 512 };
    let error = BackendError::new(kind, "input[1] has 513 tokens, more than 512");
    let failed = FailedAttempt { target: Arc::new(target()), error, tried: true };
    let mapped = ApiError::from_gateway(&GatewayError::NotEmbedded(Box::new(failed)));
    assert_eq!((mapped.status.as_u16(), mapped.code), (400, "context_length_exceeded"));
    assert_eq!(mapped.param.as_deref(), Some("input"));
    assert!(mapped.message.contains("input[1] has 513 tokens"), "{}", mapped.message);
}
