//! How a sender's name goes on in a message that it is copied from.
//!
//! Asked of every token of a vocabulary, at each step. So what stands in the message behind the name, as far as it is
//! written, is looked up once a step and sorted: each token is then a search, however long the message is and however
//! often it says the same.

use crate::form::{Message, NAME_BYTES_MAX, sender};

/// What stands behind a name that is being written, wherever it stands in the message.
#[derive(Debug)]
pub struct Continuations<'a> {
    /// Bytes of the name so far.
    begun: usize,
    /// Nothing is to be copied any more.
    is_over: bool,
    /// Sorted, each once, and no longer than a name and what follows it.
    behind: Vec<&'a [u8]>,
}

impl<'a> Continuations<'a> {
    /// Those of the name in an answer, as far as it is written.
    pub fn of(answer: &[u8], message: &'a Message) -> Self {
        let (name, is_over) =
            sender(answer).map_or((&[][..], false), |sender| (sender.name, sender.is_whole));
        let mut behind = Vec::new();
        if !is_over {
            for text in message.texts() {
                behind.extend((0..text.len()).filter(|&place| is_copy(text, place, name)).map(|place| {
                    let rest = &text[place + name.len()..];
                    &rest[..rest.len().min(NAME_BYTES_MAX + 1)]
                }));
            }
            behind.sort_unstable();
            behind.dedup();
        }
        Self { begun: name.len(), is_over, behind }
    }

    /// Whether no name can be copied that begins as this one does.
    pub fn is_none(&self) -> bool {
        !self.is_over && self.behind.is_empty()
    }

    /// Whether the name in an answer that goes on from that one stands in the message: whole words of it, or the
    /// beginning of such.
    pub fn have(&self, longer: &[u8]) -> bool {
        let Some(sender) = sender(longer).filter(|_| !self.is_over) else { return true };
        let Some(added) = sender.name.get(self.begun..) else { return false };
        let first = self.behind.partition_point(|rest| *rest < added);
        let mut found = self.behind[first..].iter().take_while(|rest| rest.starts_with(added));
        found.any(|rest| !(sender.is_whole && is_letter(rest.get(added.len()))))
    }
}

/// Whether a name stands at this place of a text, which is the beginning of a word.
fn is_copy(text: &[u8], place: usize, name: &[u8]) -> bool {
    let before = place.checked_sub(1).and_then(|place| text.get(place));
    is_letter(text.get(place)) && !is_letter(before) && text[place..].starts_with(name)
}

fn is_letter(byte: Option<&u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii() || *byte == b'\\')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, looked for in the whole message each time.
    fn naive(answer: &[u8], message: &Message) -> bool {
        let Some(sender) = sender(answer) else { return true };
        message.texts().any(|text| {
            (0..text.len()).any(|place| {
                let after = text.get(place + sender.name.len());
                is_copy(text, place, sender.name) && !(sender.is_whole && is_letter(after))
            })
        })
    }

    fn answer(name: &str) -> Vec<u8> {
        format!("{{\"sender\":\"{name}").into_bytes()
    }

    #[test]
    fn a_name_stands_in_a_message_in_whole_words() {
        let message = Message::new("Hello, Zachary Engel here. My Müller.");
        let copied = |text: &str| Continuations::of(&answer(""), &message).have(&answer(text));
        for right in [
            "Z",
            "Zach",
            "Zachary",
            "Zachary Eng",
            "Zachary Engel\"",
            "Zachary\"",
            "Müller\"",
            "M\\u00fcller\"",
            "M\\u00",
        ] {
            assert!(copied(right), "{right}");
        }
        for wrong in
            ["Z ", "Zacharia", "achary", "Zachary Enge\"", "Ida", " Zachary", "Mü\"", "M\\u00e", "u00fcller"]
        {
            assert!(!copied(wrong), "{wrong}");
        }
        assert!(Continuations::of(&answer("Ida"), &message).is_none());
        assert!(!Continuations::of(&answer("Ida\""), &message).is_none(), "it is written");
        assert!(!Continuations::of(b"{\"sen", &message).is_none());
    }

    #[test]
    fn what_is_said_often_is_kept_once() {
        let message = Message::new(&"hi ".repeat(300));
        let names = Continuations::of(&answer("hi hi"), &message);
        assert!(names.behind.len() < 30, "{}", names.behind.len());
        assert!(names.have(&answer("hi hi hi")) && !names.have(&answer("hi hi ho")));
    }

    proptest! {
        #[test]
        fn tokens_are_judged_as_by_reading_everything(
            message in "[ab ä\\\\]{0,24}", begun in "[ab ]{0,4}", token in "[ab äu0\"]{0,4}"
        ) {
            let message = Message::new(&message);
            let (shorter, longer) = (answer(&begun), answer(&format!("{begun}{token}")));
            let names = Continuations::of(&shorter, &message);
            prop_assert_eq!(names.have(&longer), naive(&longer, &message));
            prop_assert!(!names.is_none() || begun.is_empty() || !names.have(&longer));
        }
    }
}
