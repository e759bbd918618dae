//! AWS event stream frames: prelude and message with their CRC-32, by AWS's own encoder.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use serde_json::Value;

/// An event: `messageStart`, `contentBlockDelta` and so on.
pub fn event(kind: &'static str, payload: &Value) -> Vec<u8> {
    frame(
        &[(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")],
        payload,
    )
}

/// An exception in the middle of a stream: `throttlingException`, `modelStreamErrorException` and so on.
pub fn exception(kind: &'static str, payload: &Value) -> Vec<u8> {
    frame(
        &[(":exception-type", kind), (":content-type", "application/json"), (":message-type", "exception")],
        payload,
    )
}

/// The same frame with one bit of its payload flipped, so that its checksum is wrong.
pub fn corrupted(mut frame: Vec<u8>) -> Vec<u8> {
    let at = frame.len() - 5;
    frame[at] ^= 1;
    frame
}

fn frame(headers: &[(&'static str, &'static str)], payload: &Value) -> Vec<u8> {
    let headers =
        headers.iter().map(|&(name, value)| Header::new(name, HeaderValue::String(value.into()))).collect();
    let message = Message::new_from_parts(headers, payload.to_string().into_bytes());
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).expect("the frame fits its limits");
    bytes
}
