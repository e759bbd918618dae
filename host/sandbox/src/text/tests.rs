use lockgate_api::{ChatRequest, ImageSource, Message, Part, ResponseFormat, Role, Tool, ToolCall};
use proptest::prelude::*;
use serde_json::json;

use super::TextIndex;

fn whole(request: &ChatRequest) -> String {
    TextIndex::new(request).text(request, u32::MAX)
}

#[test]
fn everything_that_a_client_wrote_is_there() {
    let mut message = Message::text(Role::User, "content");
    message.content.push(Part::Text("more".to_owned()));
    message.content.push(Part::Image(ImageSource::Url("https://pictures/1".to_owned())));
    message.content.push(Part::Image(ImageSource::Base64 {
        media_type: "image/png".to_owned(),
        data: "AAAA".to_owned(),
    }));
    message.name = Some("name".to_owned());
    let mut answer = Message::text(Role::Assistant, "answer");
    answer.reasoning = Some("reasoning".to_owned());
    answer.tool_calls.push(ToolCall {
        id: "call-1".to_owned(),
        name: "send".to_owned(),
        arguments: r#"{"to":"x"}"#.to_owned(),
    });
    let mut result = Message::text(Role::Tool, "result");
    result.tool_call_id = Some("call-1".to_owned());
    let mut request = ChatRequest::new("auto", vec![message, answer, result]);
    request.tools.push(Tool {
        name: "send".to_owned(),
        description: Some("sends".to_owned()),
        parameters: Some(json!({"type": "object", "default": "a\u{40}b", "minimum": 491511234567u64})),
        strict: None,
    });
    request.response_format = ResponseFormat::JsonSchema {
        name: "schema".to_owned(),
        description: None,
        schema: json!({"enum": ["one"]}),
        strict: Some(true),
    };
    request.sampling.stop.push("stop".to_owned());
    request.extra.insert("user".to_owned(), json!("somebody"));

    let expected = "content\nmore\nhttps://pictures/1\nname\nanswer\nreasoning\nsend\n{\"to\":\"x\"}\ncall-1\n\
                    result\ncall-1\nsend\nsends\ntype\nobject\ndefault\na@b\nminimum\n491511234567\nschema\n\
                    enum\none\nstop\nuser\nsomebody";
    assert_eq!(whole(&request), expected);
    let index = TextIndex::new(&request);
    assert_eq!(index.length(), expected.len());
    let message = index.message_text(&request, 1, u32::MAX).expect("there are three messages");
    assert_eq!(message, "answer\nreasoning\nsend\n{\"to\":\"x\"}\ncall-1");
    assert_eq!(index.message_length(1), Some(message.len()));
    assert_eq!(index.message_text(&request, 3, u32::MAX), None);
}

#[test]
fn messages_without_text_are_empty() {
    let mut silent = Message::text(Role::Assistant, "");
    silent.content.clear();
    let request =
        ChatRequest::new("auto", vec![silent.clone(), Message::text(Role::User, "hello"), silent.clone()]);
    let index = TextIndex::new(&request);
    assert_eq!(whole(&request), "hello");
    assert_eq!(index.message_text(&request, 0, 9).as_deref(), Some(""));
    assert_eq!(index.message_text(&request, 1, 9).as_deref(), Some("hello"));
    assert_eq!(index.message_text(&request, 2, 9).as_deref(), Some(""));

    let request = ChatRequest::new("auto", vec![silent]);
    assert_eq!(TextIndex::new(&request).length(), 0);
    assert_eq!(whole(&request), "");
}

#[test]
fn a_limit_never_splits_a_character() {
    let request = ChatRequest::new("auto", vec![Message::text(Role::User, "aé€😀")]);
    let index = TextIndex::new(&request);
    let text = |limit| index.text(&request, limit);
    assert_eq!([text(0), text(1), text(2), text(3)], ["", "a", "a", "aé"]);
    // Read takes at least four bytes, so that it always gets on.
    assert_eq!(index.read(&request, 6, 0), "😀");
    assert_eq!(index.read(&request, 7, 1), "😀");
    assert_eq!(index.read(&request, u64::MAX, 9), "");
}

proptest! {
    #[test]
    fn reading_on_gives_the_whole(
        texts in prop::collection::vec(prop::collection::vec("[a-cé€😀\\n]{0,12}", 0..3), 0..5),
        stops in prop::collection::vec("[xyé]{0,5}", 0..3),
        limit in 0u32..24,
    ) {
        let messages = texts.iter().map(|parts| {
            let mut message = Message::text(Role::User, "");
            message.content = parts.iter().cloned().map(Part::Text).collect();
            message
        });
        let mut request = ChatRequest::new("auto", messages.collect());
        request.sampling.stop.clone_from(&stops);
        let pieces: Vec<&str> = texts.iter().flatten().chain(&stops).map(String::as_str).collect();
        let expected = pieces.join("\n");

        let index = TextIndex::new(&request);
        prop_assert_eq!(index.text(&request, u32::MAX), expected.as_str());
        let mut read = String::new();
        loop {
            let piece = index.read(&request, read.len() as u64, limit);
            prop_assert!(piece.len() <= limit.max(4) as usize);
            if piece.is_empty() {
                break;
            }
            read.push_str(&piece);
        }
        prop_assert_eq!(read, expected);
        for (number, parts) in texts.iter().enumerate() {
            prop_assert_eq!(index.message_text(&request, number, u32::MAX), Some(parts.join("\n")));
        }
    }
}
