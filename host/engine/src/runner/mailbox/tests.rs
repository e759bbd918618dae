use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use lockgate_api::{FinishReason, Usage};

use super::*;

fn text(choice: u32, text: &str) -> Event {
    Event::Text { choice, text: text.to_owned(), logprobs: Vec::new() }
}

fn piece(text: &str) -> Piece {
    Piece { text: text.to_owned(), logprobs: Vec::new() }
}

fn logprob(length: usize) -> TokenLogprob {
    let token = "x".repeat(length);
    let chosen = TopLogprob { token, bytes: None, logprob: -1.0 };
    TokenLogprob { chosen, top: Vec::new() }
}

fn poll(reader: &mut Reader) -> Poll<Option<Result<Event, BackendError>>> {
    Pin::new(reader).poll_next(&mut Context::from_waker(Waker::noop()))
}

fn next(reader: &mut Reader) -> Option<Result<Event, BackendError>> {
    match poll(reader) {
        Poll::Ready(item) => item,
        Poll::Pending => panic!("nothing is ready"),
    }
}

#[test]
fn a_reader_that_keeps_up_sees_every_event() {
    let (writer, mut reader) = mailbox(1000);
    assert!(poll(&mut reader).is_pending());
    for piece in ["a", "b"] {
        writer.send_text(0, self::piece(piece)).expect("room");
        assert_eq!(next(&mut reader), Some(Ok(text(0, piece))));
    }
    writer.end();
    assert_eq!(next(&mut reader), None);
    assert_eq!(next(&mut reader), None);
}

#[test]
fn text_that_waits_is_one_piece_a_choice() {
    let (writer, mut reader) = mailbox(10_000);
    let finish = Event::Finish { choice: 0, reason: FinishReason::Stop };
    writer.send_text(0, piece("a")).expect("room");
    writer.send_text(0, Piece { logprobs: vec![logprob(1)], ..piece("b") }).expect("room");
    writer.send_text(1, piece("c")).expect("room");
    writer.send(finish.clone());
    writer.send(Event::Usage(Usage::default()));
    writer.end();
    let joined = Event::Text { choice: 0, text: "ab".to_owned(), logprobs: vec![logprob(1)] };
    for event in [joined, text(1, "c"), finish, Event::Usage(Usage::default())] {
        assert_eq!(next(&mut reader), Some(Ok(event)));
    }
    assert_eq!(next(&mut reader), None);
}

#[test]
fn an_error_comes_after_the_events_and_once() {
    let (writer, mut reader) = mailbox(1000);
    let error = BackendError::new(ErrorKind::Overloaded, "busy");
    writer.send_text(0, piece("a")).expect("room");
    writer.fail(error.clone());
    assert_eq!(next(&mut reader), Some(Ok(text(0, "a"))));
    assert_eq!(next(&mut reader), Some(Err(error)));
    assert_eq!(next(&mut reader), None);
}

#[test]
fn a_writer_that_vanishes_is_an_error() {
    let (writer, mut reader) = mailbox(1000);
    drop(writer);
    let error = next(&mut reader).expect("an item").expect_err("no quiet end");
    assert_eq!(error.kind, ErrorKind::Internal);
    assert_eq!(next(&mut reader), None);
}

#[test]
fn a_reader_that_vanishes_is_seen_and_frees_what_waited() {
    let (writer, reader) = mailbox(100);
    writer.send_text(0, piece(&"x".repeat(90))).expect("room");
    assert!(!writer.abandoned());
    drop(reader);
    assert!(writer.abandoned());
    writer.send_text(0, piece(&"x".repeat(90))).expect("the first was dropped");
}

#[test]
fn what_waits_is_bounded_and_reading_makes_room() {
    let (writer, mut reader) = mailbox(500);
    let big = || Piece { text: String::new(), logprobs: vec![logprob(200)] };
    writer.send_text(0, big()).expect("room");
    assert_eq!(writer.send_text(0, big()), Err(TooSlow));
    let event = Event::Text { choice: 0, text: String::new(), logprobs: vec![logprob(200)] };
    assert_eq!(next(&mut reader), Some(Ok(event)));
    writer.send_text(0, big()).expect("room again");
    assert_eq!(writer.send_text(0, piece("")), Ok(()), "nothing takes no room");
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn whoever_waits_is_woken_by_events_ends_and_a_vanished_writer() {
    type Act = fn(Writer);
    let acts: [Act; 4] = [
        |writer| writer.send_text(0, piece("a")).expect("room"),
        Writer::end,
        |writer| writer.fail(BackendError::new(ErrorKind::Internal, "x")),
        drop,
    ];
    for act in acts {
        let (writer, mut reader) = mailbox(1000);
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        assert!(Pin::new(&mut reader).poll_next(&mut Context::from_waker(&waker)).is_pending());
        act(writer);
        assert!(count.0.load(Ordering::Relaxed) > 0);
        assert!(poll(&mut reader).is_ready());
    }
}
