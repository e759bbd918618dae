use std::sync::Arc;

use lockgate_api::{Label, Locality, Target};

use super::*;

fn outcome(target: Option<Target>, attempts: u32, labels: &[Label]) -> Outcome {
    Outcome {
        request_id: Arc::from("req_1"),
        policy: Arc::from("privacy-first"),
        target: target.map(Arc::new),
        attempts,
        labels: Arc::new(labels.iter().cloned().collect()),
    }
}

fn lines(outcome: &Outcome) -> Vec<String> {
    let mut headers = HeaderMap::new();
    describe(&mut headers, outcome);
    let text = |value: &HeaderValue| value.to_str().expect("plain").to_owned();
    let mut lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect();
    lines.sort();
    lines
}

#[test]
fn an_attempt_is_described_in_full() {
    let target = Target {
        id: "claude".to_owned(),
        model: "m".to_owned(),
        locality: Locality::Cloud,
        region: None,
        context_tokens: None,
        price: None,
        tools: true,
        images: true,
    };
    assert_eq!(
        lines(&outcome(Some(target), 2, &[Label::Region("eu-1".to_owned())])),
        [
            "x-lockgate-attempts: 2",
            "x-lockgate-labels: region:eu-1",
            "x-lockgate-locality: cloud",
            "x-lockgate-policy: privacy-first",
            "x-lockgate-target: claude",
        ]
    );
}

#[test]
fn without_an_attempt_target_and_locality_are_left_out() {
    assert_eq!(lines(&outcome(None, 0, &[])), ["x-lockgate-attempts: 0", "x-lockgate-policy: privacy-first"]);
}

#[test]
fn labels_add_up_over_all_lines() {
    let mut headers = HeaderMap::new();
    assert!(labels_asked(&headers).expect("none").is_empty());
    headers.append(LABELS, HeaderValue::from_static("no-cloud, region:eu-1"));
    headers.append(LABELS, HeaderValue::from_static("local-only"));
    assert_eq!(labels_asked(&headers).expect("known").to_string(), "local-only,no-cloud,region:eu-1");
}

#[test]
fn an_unknown_label_is_refused_wherever_it_stands() {
    for text in ["local", "local-only,secret", "none", "-local-only", "local-only=false", "region:"] {
        let mut headers = HeaderMap::new();
        headers.append(LABELS, HeaderValue::from_static("local-only"));
        headers.append(LABELS, HeaderValue::from_static(text));
        let error = labels_asked(&headers).expect_err(text);
        assert_eq!((error.status.as_u16(), error.code), (400, "unknown_label"), "{text}");
    }
    let mut headers = HeaderMap::new();
    headers.append(LABELS, HeaderValue::from_bytes(b"local-only\xff").expect("opaque bytes are allowed"));
    assert_eq!(labels_asked(&headers).expect_err("not text").status.as_u16(), 400);
}
