//! What of a server's own words may stand in an error message.
//!
//! Servers like to quote what they reject: the prompt, a tool's arguments, even the key. An error message
//! travels to clients and logs, so words are passed on only where they share nothing with the request.

use std::collections::HashSet;

use lockgate_api::{ChatRequest, ImageSource, Labels, Part};

use crate::settings::Secret;

/// The longest quotation, characters.
const CHARS_MAX: usize = 300;
/// A run of bytes this long that also stands in the request counts as quoted from it.
const SHARED_BYTES: usize = 8;
/// Texts shorter than this are too common to be looked for.
const TEXT_BYTES_MIN: usize = 4;
/// Requests longer than this are not searched: the server's words are withheld.
const SEARCHED_BYTES_MAX: usize = 1024 * 1024;

/// The server's words, shortened and on one line; `None` where they must be withheld or say nothing.
pub(crate) fn quotable(
    words: &str,
    request: &ChatRequest,
    labels: &Labels,
    secret: Option<&Secret>,
) -> Option<String> {
    if labels.withhold_payload() {
        return None;
    }
    let words: String = words.chars().take(CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = words.trim();
    if words.is_empty() || secret.is_some_and(|secret| shares(words, [secret.expose()].into_iter())) {
        return None;
    }
    let texts = || {
        request.messages.iter().flat_map(|message| {
            let content = message.content.iter().map(|part| match part {
                Part::Text(text)
                | Part::Image(ImageSource::Url(text) | ImageSource::Base64 { data: text, .. }) => {
                    text.as_str()
                }
            });
            let calls = message.tool_calls.iter().map(|call| call.arguments.as_str());
            content.chain(calls).chain(message.reasoning.as_deref()).chain(message.name.as_deref())
        })
    };
    if texts().map(str::len).sum::<usize>() > SEARCHED_BYTES_MAX || shares(words, texts()) {
        return None;
    }
    Some(words.to_owned())
}

/// A word such as an error's type or code, where it is no more than a word.
pub(crate) fn identifier(word: &str) -> Option<&str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.[]".contains(&byte);
    (!word.is_empty() && word.len() <= 64 && word.bytes().all(plain)).then_some(word)
}

fn shares<'a>(words: &str, texts: impl Iterator<Item = &'a str>) -> bool {
    let runs: HashSet<&[u8]> = words.as_bytes().windows(SHARED_BYTES).collect();
    texts.map(str::trim).any(|text| {
        if text.len() < SHARED_BYTES {
            text.len() >= TEXT_BYTES_MIN && words.contains(text)
        } else {
            text.as_bytes().windows(SHARED_BYTES).any(|run| runs.contains(run))
        }
    })
}

#[cfg(test)]
mod tests {
    use lockgate_api::{Label, Message, Role, ToolCall};

    use super::*;

    fn request(text: &str) -> ChatRequest {
        let mut message = Message::text(Role::User, text);
        message.tool_calls.push(ToolCall {
            id: "1".into(),
            name: "f".into(),
            arguments: r#"{"city":"Ulm"}"#.into(),
        });
        ChatRequest::new("auto", vec![message])
    }

    fn quote(words: &str, text: &str) -> Option<String> {
        quotable(words, &request(text), &Labels::none(), Some(&Secret::new("sk-hunter2-hunter2")))
    }

    #[test]
    fn harmless_words_are_quoted_on_one_line() {
        assert_eq!(
            quote("model `x` not found,\ntry pulling it", "Hello, world").as_deref(),
            Some("model `x` not found, try pulling it")
        );
        assert_eq!(quote(&"a".repeat(1000), "Hello, world").unwrap().len(), CHARS_MAX);
    }

    #[test]
    fn words_from_the_request_or_the_key_are_withheld() {
        assert_eq!(quote("invalid input: 'My PIN is 4711'", "Hello. My PIN is 4711."), None);
        assert_eq!(quote("invalid input: 'PIN 47'", "PIN 47"), None);
        assert_eq!(quote(r#"bad arguments {"city":"Ulm"}"#, "Hello, world"), None);
        assert_eq!(quote("wrong key sk-hunter2-hunter2", "Hello, world"), None);
        assert_eq!(quote("wrong key sk-hunte******", "Hello, world"), None);
        assert_eq!(quote("anything", &"long ".repeat(SEARCHED_BYTES_MAX / 5 + 1)), None);
    }

    #[test]
    fn labelled_requests_quote_nothing() {
        let labels = Labels::none().with([Label::NoCloud]);
        assert_eq!(quotable("model not found", &request("Hello"), &labels, None), None);
    }

    #[test]
    fn identifiers_are_words_alone() {
        assert_eq!(identifier("invalid_request_error"), Some("invalid_request_error"));
        assert_eq!(identifier("messages[0].content"), Some("messages[0].content"));
        assert_eq!(identifier("my PIN is 4711"), None);
        assert_eq!(identifier(""), None);
        assert_eq!(identifier(&"x".repeat(65)), None);
    }
}
