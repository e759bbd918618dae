use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use http_body::Frame;

use super::*;

/// What a client sends, piece by piece.
#[derive(Clone)]
enum Piece {
    Data(&'static [u8]),
    Pause(u64),
    Break,
}

struct Script {
    pieces: std::collections::VecDeque<Piece>,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Body for Script {
    type Data = Bytes;
    type Error = ();

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match self.pieces.pop_front() {
                None => return Poll::Ready(None),
                Some(Piece::Data(data)) => {
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data)))));
                }
                Some(Piece::Break) => return Poll::Ready(Some(Err(()))),
                Some(Piece::Pause(seconds)) => {
                    self.pause = Some(Box::pin(tokio::time::sleep(Duration::from_secs(seconds))));
                }
            }
        }
    }
}

fn options() -> ServerOptions {
    ServerOptions {
        body_bytes_max: 10,
        body_pause_max: Duration::from_secs(5),
        body_timeout: Duration::from_secs(12),
        ..ServerOptions::default()
    }
}

async fn run(pieces: &[Piece], length: Option<&'static str>, budget_kib: usize) -> Result<Vec<u8>, u16> {
    let mut headers = HeaderMap::new();
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static(length));
    }
    let script = Script { pieces: pieces.iter().cloned().collect(), pause: None };
    let budget = Arc::new(Semaphore::new(budget_kib));
    let result = read(script, &headers, &options(), &budget).await;
    result.map(|body| body.bytes.to_vec()).map_err(|error| error.status.as_u16())
}

#[tokio::test(start_paused = true)]
async fn limits_of_size_time_and_memory_hold() {
    use Piece::{Break, Data, Pause};
    for (name, pieces, length, budget, expected) in [
        ("nothing", vec![], None, 9, Ok("")),
        ("one piece", vec![Data(b"hello")], Some("5"), 9, Ok("hello")),
        ("pieces", vec![Data(b"he"), Data(b"ll"), Data(b"o")], None, 9, Ok("hello")),
        ("empty pieces", vec![Data(b""), Data(b"a"), Data(b""), Data(b"b")], None, 9, Ok("ab")),
        ("exactly the limit", vec![Data(b"0123456789")], Some("10"), 9, Ok("0123456789")),
        ("declared too long", vec![], Some("11"), 9, Err(413)),
        ("too long undeclared", vec![Data(b"0123456789"), Data(b"a")], None, 9, Err(413)),
        ("pauses", vec![Data(b"a"), Pause(4), Data(b"b"), Pause(4), Data(b"c")], None, 9, Ok("abc")),
        ("a long pause", vec![Data(b"a"), Pause(6), Data(b"b")], None, 9, Err(408)),
        (
            "drop by drop",
            vec![Pause(4), Data(b"a"), Pause(4), Data(b"a"), Pause(4), Data(b"a"), Pause(4)],
            None,
            9,
            Err(408),
        ),
        ("broken off", vec![Data(b"a"), Break], Some("5"), 9, Err(400)),
        ("no memory, declared", vec![Data(b"a")], Some("1"), 0, Err(429)),
        ("no memory, undeclared", vec![Data(b"a")], None, 0, Err(429)),
    ] {
        let expected = expected.map(|text| text.as_bytes().to_vec());
        assert_eq!(run(&pieces, length, budget).await, expected, "{name}");
    }
}

#[tokio::test]
async fn memory_is_given_back_with_the_share() {
    let budget = Arc::new(Semaphore::new(1));
    let headers = HeaderMap::new();
    let read_one = || async {
        let script = Script { pieces: [Piece::Data(b"a")].into_iter().collect(), pause: None };
        read(script, &headers, &options(), &budget).await
    };
    let first = read_one().await.map_err(|error| error.status).expect("there is memory");
    assert_eq!(read_one().await.err().map(|error| error.status.as_u16()), Some(429));
    drop(first.share);
    assert!(read_one().await.is_ok());
}

#[tokio::test]
async fn compressed_bodies_are_refused() {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    let script = Script { pieces: [].into_iter().collect(), pause: None };
    let result = read(script, &headers, &options(), &Arc::new(Semaphore::new(1))).await;
    assert_eq!(result.err().map(|error| error.status.as_u16()), Some(415));
}
