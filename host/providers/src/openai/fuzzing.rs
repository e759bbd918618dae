//! What fuzz targets call: everything here that reads a server's bytes. Compiled for them alone.

use std::collections::VecDeque;
use std::time::SystemTime;

use http::{HeaderMap, StatusCode};
use lockgate_api::{ChatRequest, Event, Labels, Message, Role};

use super::answer::{AnswerDecoder, AnswerProblem};
use super::chat::ChatState;
use super::embeddings;
use super::failure::Attempt;
use super::probe::{self, Question};

/// Reads bytes as whatever a server may answer.
///
/// # Panics
/// When pieces of a stream come to something else than the whole.
pub fn read(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let choices = 1 + u32::from(first & 3);
    let whole = answer(choices, std::iter::once(bytes));
    let pieces = answer(choices, bytes.chunks(1 + usize::from(first >> 2)));
    assert_eq!(whole, pieces, "pieces come to something else than the whole");
    let attempt = Attempt {
        target: "target",
        model: "model",
        origin: "http://127.0.0.1:1",
        embeds: false,
        request: &ChatRequest::new("auto", vec![Message::text(Role::User, "hello")]),
        labels: &Labels::none(),
        secret: None,
    };
    let _ = attempt.status_error(StatusCode::BAD_REQUEST, &HeaderMap::new(), bytes, SystemTime::UNIX_EPOCH);
    if let Some(AnswerProblem::Said(object)) = whole.1 {
        let _ = attempt.object_error(&object);
    }
    let _ = embeddings::read(bytes, usize::from(first));
    for question in Question::ALL {
        let _ = probe::meaning(question, "model", StatusCode::OK, bytes);
    }
}

type Read = (VecDeque<Event>, Option<AnswerProblem>, Option<String>);

fn answer<'a>(choices: u32, mut pieces: impl Iterator<Item = &'a [u8]>) -> Read {
    let mut decoder = AnswerDecoder::new(ChatState::new(choices, "model", "call"));
    let mut events = VecDeque::new();
    let mut problem = pieces.find_map(|piece| decoder.push(piece, &mut events).err());
    if problem.is_none() {
        problem = decoder.end(None, &mut events).err();
    }
    (events, problem, decoder.take_forwards_to())
}
