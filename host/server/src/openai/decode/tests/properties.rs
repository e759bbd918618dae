//! Whatever comes in, the decoder answers.

use proptest::prelude::*;

use super::*;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z ]{0,8}".prop_map(Value::from),
        prop::sample::select(vec![
            "user",
            "assistant",
            "tool",
            "text",
            "image_url",
            "function",
            "data:image/png;base64,aa"
        ])
        .prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "role",
        "content",
        "type",
        "text",
        "image_url",
        "url",
        "name",
        "tool_calls",
        "id",
        "function",
        "arguments",
        "tool_call_id",
        "parameters",
        "strict",
        "json_schema",
        "schema",
        "1",
    ]);
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

const FIELDS: [&str; 20] = [
    "messages",
    "temperature",
    "top_p",
    "n",
    "stop",
    "logprobs",
    "top_logprobs",
    "seed",
    "max_tokens",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "response_format",
    "logit_bias",
    "top_k",
    "metadata",
    "modalities",
    "model",
    "functions",
];

proptest! {
    /// Any JSON in any field is accepted or refused with a path, and what is accepted keeps the
    /// promises of the request type.
    #[test]
    fn no_json_breaks_the_decoder(name in prop::sample::select(FIELDS.to_vec()), value in any_json()) {
        match read(with(json!({ name: value }))) {
            Ok(Decoded { request, .. }) => {
                prop_assert!(!request.messages.is_empty() && request.choices >= 1 && !request.model.is_empty());
                prop_assert!(request.sampling.stop.iter().all(|stop| !stop.is_empty()));
                prop_assert!(request.sampling.top_p.is_none_or(|share| share > 0.0 && share <= 1.0));
                prop_assert!(request.sampling.max_tokens.is_none_or(|count| count >= 1));
            }
            Err(error) => {
                prop_assert_eq!(error.status.as_u16(), 400);
                prop_assert!(error.param.is_some_and(|param| param.starts_with(name)));
            }
        }
    }

    #[test]
    fn no_bytes_break_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }
}
