use serde_json::json;

use super::*;

fn vectors_of(body: &Value, count: usize) -> Vec<Vec<f32>> {
    read(body.to_string().as_bytes(), count).embedded.expect("vectors").vectors
}

fn problem(body: &str, count: usize) -> String {
    match read(body.as_bytes(), count).embedded.expect_err("refused") {
        AnswerProblem::Broken(kind, what) => {
            assert_eq!(kind, ErrorKind::Upstream);
            what
        }
        AnswerProblem::Said(object) => object.to_string(),
    }
}

#[test]
fn the_body_asks_for_numbers() {
    let body = body(&["a".to_owned(), "b".to_owned()], "m").expect("JSON");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(body, json!({"model": "m", "input": ["a", "b"], "encoding_format": "float"}));
}

#[test]
fn vectors_come_in_the_order_of_the_texts_and_of_length_one() {
    let answer = json!({"object": "list", "model": "m", "usage": {"prompt_tokens": 7, "total_tokens": 7}, "data": [
        {"object": "embedding", "index": 1, "embedding": [0.0, 2.0]},
        {"object": "embedding", "index": 0, "embedding": [3.0, 4.0]},
    ]});
    let read = read(answer.to_string().as_bytes(), 2);
    let embedded = read.embedded.expect("vectors");
    assert_eq!(embedded.vectors, [[0.6, 0.8], [0.0, 1.0]]);
    assert_eq!(embedded.usage, Usage { input: 7, ..Usage::default() });
    assert_eq!(read.forwards_to, None);
    assert_eq!(vectors_of(&json!({"data": [{"embedding": [1]}, {"embedding": [-2]}]}), 2), [[1.0], [-1.0]]);
}

#[test]
fn a_server_that_passes_on_is_heard_even_beside_an_error() {
    for body in [
        json!({"remote_host": "https://far", "data": []}),
        json!({"remote_model": "https://far", "error": "no"}),
    ] {
        let read = read(body.to_string().as_bytes(), 1);
        assert_eq!(read.forwards_to.as_deref(), Some("https://far"));
        assert!(read.embedded.is_err());
    }
}

#[test]
fn nonsense_is_never_a_vector() {
    for (body, count, words) in [
        ("", 1, "not the JSON"),
        ("<html>", 1, "not the JSON"),
        ("[[], null, null]", 1, "not the JSON"),
        (r#"{"data": [{"embedding": "AAAA"}]}"#, 1, "not the JSON"),
        ("{}", 1, "0 vectors for 1 texts"),
        (r#"{"data": [{"embedding": [1]}, {"embedding": [1]}]}"#, 1, "2 vectors for 1 texts"),
        (r#"{"data": [{"embedding": [1]}, {"embedding": [1, 2]}]}"#, 2, "1 and 2 numbers"),
        (r#"{"data": [{"embedding": [1], "index": 1}, {"embedding": [1], "index": 1}]}"#, 2, "came twice"),
        (r#"{"data": [{"embedding": [1], "index": 5}]}"#, 1, "that is none"),
        (r#"{"data": [{"embedding": []}]}"#, 1, "without a direction"),
        (r#"{"data": [{"embedding": [0, 0]}]}"#, 1, "without a direction"),
        (r#"{"data": [{"embedding": [1e300, 0]}]}"#, 1, "not the JSON"),
        (r#"{"error": {"message": "no such model"}}"#, 1, "no such model"),
    ] {
        assert!(problem(body, count).contains(words), "{body}: {}", problem(body, count));
    }
}
