//! Token counts in the words of a server that finds a prompt too long.
//!
//! Servers say so in prose. Only a message that gives both counts is recognised; anything else stays an
//! ordinary rejected request.

/// Phrases that the context's size follows, within a few words.
const CONTEXT_AFTER: [&str; 4] = ["context length", "context size", "context window", "context limit"];
/// Phrases that follow the context's size.
const CONTEXT_BEFORE: [&str; 1] = ["maximum"];
/// Phrases that the prompt's size follows directly.
const PROMPT_AFTER: [&str; 5] = ["resulted in", "too long:", "input (", "request (", "keep the first"];
/// Phrases that follow the prompt's size directly.
const PROMPT_BEFORE: [&str; 5] =
    ["in the messages", "in your prompt", "input tokens", "tokens from the input", "prompt tokens"];
/// How far the context's size may be from its phrase, bytes.
const GAP_MAX: usize = 12;

/// Tokens of the prompt and of the context, where a message gives both.
pub(crate) fn context_counts(message: &str) -> Option<(u64, u64)> {
    let message = message.get(..1024).unwrap_or(message).to_ascii_lowercase();
    let numbers = numbers(&message);
    let mut context = None;
    let mut prompt = None;
    for number in &numbers {
        let before = message[..number.start].trim_end();
        let after = message[number.end..].trim_start();
        if PROMPT_AFTER.iter().any(|phrase| before.ends_with(phrase))
            || PROMPT_BEFORE.iter().any(|phrase| after.starts_with(phrase))
        {
            prompt = prompt.or(Some(number.value));
        } else if CONTEXT_BEFORE.iter().any(|phrase| after.starts_with(phrase))
            || CONTEXT_AFTER.iter().any(|phrase| {
                message[..number.start]
                    .rfind(phrase)
                    .is_some_and(|at| number.start - at - phrase.len() <= GAP_MAX)
            })
        {
            context = context.or(Some(number.value));
        }
    }
    Some((prompt?, context?))
}

struct Number {
    start: usize,
    end: usize,
    value: u64,
}

/// The whole numbers of a text, thousands separators allowed.
fn numbers(text: &str) -> Vec<Number> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let start = at;
        let mut value = Some(0u64);
        while at < bytes.len() {
            if bytes[at].is_ascii_digit() {
                value =
                    value.and_then(|value| value.checked_mul(10)?.checked_add(u64::from(bytes[at] - b'0')));
            } else if bytes[at] != b',' || !bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
                break;
            }
            at += 1;
        }
        found.extend(value.map(|value| Number { start, end: at, value }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expected: Option<(u64, u64)>) {
        assert_eq!(context_counts(message), expected, "{message}");
    }

    #[test]
    fn messages_of_servers() {
        check(
            "This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens.",
            Some((5000, 4096)),
        );
        check(
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4500 in the \
             messages, 500 in the completion). Please reduce the length of the messages or completion.",
            Some((4500, 4096)),
        );
        check(
            "'max_tokens' or 'max_completion_tokens' is too large: 500. This model's maximum context length is 4096 \
             tokens and your request has 4000 input tokens (500 > 4096 - 4000).",
            Some((4000, 4096)),
        );
        check(
            "This model's maximum context length is 4096 tokens. However, you requested 100 output tokens and your \
             prompt contains at least 3997 input tokens, for a total of at least 4097 tokens.",
            Some((3997, 4096)),
        );
        check(
            "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
            Some((5000, 4096)),
        );
        check(
            "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of \
             5000 tokens: 4500 tokens from the input messages and 500 tokens for the completion.",
            Some((4500, 4096)),
        );
        check(
            "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
            Some((5000, 4096)),
        );
        check(
            "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with \
             context length of only 4096 tokens, which is not enough.",
            Some((5000, 4096)),
        );
        check("prompt is too long: 215,000 tokens > 200,000 maximum", Some((215_000, 200_000)));
    }

    #[test]
    fn without_both_counts_nothing_is_recognised() {
        for message in [
            "",
            "Input is too long for requested model.",
            "This model's maximum context length is 4096 tokens.",
            "the request exceeds the available context size, try increasing it",
            "prompt too long; exceeded max context length by 10 tokens",
            "99999999999999999999999 input tokens, context length 4096",
        ] {
            check(message, None);
        }
    }
}
