use serde_json::json;

use super::*;

fn decoded(body: Value) -> EmbeddingsRequest {
    decode_embeddings(body.to_string().as_bytes()).expect("a good body")
}

/// The field at fault and the code.
fn refused(body: &str) -> (Option<String>, &'static str) {
    let error = decode_embeddings(body.as_bytes()).expect_err("refused");
    assert_eq!(error.status, http::StatusCode::BAD_REQUEST);
    if let Some(param) = &error.param {
        assert!(error.message.contains(&format!("`{param}`")), "{}", error.message);
    }
    (error.param, error.code)
}

#[test]
fn one_text_or_several_in_either_format() {
    let one = decoded(json!({"model": "m", "input": "a text"}));
    let expected = EmbeddingsRequest {
        model: "m".to_owned(),
        inputs: vec!["a text".to_owned()],
        format: VectorFormat::Float,
    };
    assert_eq!(one, expected);
    let several = json!({"model": "m", "input": ["a", "b"], "encoding_format": "base64", "user": "me", "unheard": 5,
                         "dimensions": null});
    let several = decoded(several);
    assert_eq!(several.inputs, ["a", "b"]);
    assert_eq!(several.format, VectorFormat::Base64);
    assert_eq!(
        decoded(json!({"model": "m", "input": "a", "encoding_format": "float"})).format,
        VectorFormat::Float
    );
    assert_eq!(decoded(json!({"model": "m", "input": vec!["a"; 256]})).inputs.len(), 256);
}

#[test]
fn what_is_wrong_is_named() {
    let many = json!({"model": "m", "input": vec!["a"; 257]}).to_string();
    for (body, param, code) in [
        ("", None, "invalid_json"),
        ("[]", None, "invalid_json"),
        (r#"{"input": "a"}"#, Some("model"), "missing_required_parameter"),
        (r#"{"model": "", "input": "a"}"#, Some("model"), "invalid_value"),
        (r#"{"model": "m"}"#, Some("input"), "missing_required_parameter"),
        (r#"{"model": "m", "input": null}"#, Some("input"), "missing_required_parameter"),
        (r#"{"model": "m", "input": 5}"#, Some("input"), "invalid_type"),
        (r#"{"model": "m", "input": {}}"#, Some("input"), "invalid_type"),
        (r#"{"model": "m", "input": ""}"#, Some("input"), "invalid_value"),
        (r#"{"model": "m", "input": []}"#, Some("input"), "invalid_value"),
        (&many, Some("input"), "invalid_value"),
        (r#"{"model": "m", "input": ["a", ""]}"#, Some("input[1]"), "invalid_value"),
        (r#"{"model": "m", "input": ["a", null]}"#, Some("input[1]"), "invalid_type"),
        (r#"{"model": "m", "input": [1, 2]}"#, Some("input[0]"), "unsupported_value"),
        (r#"{"model": "m", "input": [[1], [2]]}"#, Some("input[0]"), "unsupported_value"),
        (
            r#"{"model": "m", "input": "a", "encoding_format": "int8"}"#,
            Some("encoding_format"),
            "invalid_value",
        ),
        (r#"{"model": "m", "input": "a", "encoding_format": 5}"#, Some("encoding_format"), "invalid_type"),
        (r#"{"model": "m", "input": "a", "dimensions": 64}"#, Some("dimensions"), "unsupported_parameter"),
        (r#"{"model": "m", "input": "a", "user": 5}"#, Some("user"), "invalid_type"),
    ] {
        assert_eq!(refused(body), (param.map(str::to_owned), code), "{body}");
    }
}

#[test]
fn a_refusal_of_dimensions_names_the_model_too() {
    let error =
        decode_embeddings(br#"{"model": "qwen", "input": "a", "dimensions": 64}"#).expect_err("refused");
    assert!(error.message.contains("`qwen`"), "{}", error.message);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_an_error(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = decode_embeddings(&bytes);
    }
}
