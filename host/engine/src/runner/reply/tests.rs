use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use super::*;

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll<T>(reply: &mut Reply<T>, waker: &Waker) -> Poll<Result<T, BackendError>> {
    Pin::new(reply).poll(&mut Context::from_waker(waker))
}

#[test]
fn whoever_waits_is_woken_once_and_reads_the_value() {
    let (writer, mut reader) = reply();
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    assert!(poll(&mut reader, &waker).is_pending());
    assert!(!writer.abandoned());
    writer.answer(5);
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert_eq!(poll(&mut reader, &waker), Poll::Ready(Ok(5)));
    assert!(poll(&mut reader, &waker).is_pending(), "there is no second result");
}

#[test]
fn an_error_is_a_result() {
    let (writer, mut reader) = reply::<u32>();
    writer.fail(BackendError::new(ErrorKind::Overloaded, "busy"));
    let Poll::Ready(Err(error)) = poll(&mut reader, Waker::noop()) else { panic!("an error") };
    assert_eq!(error.kind, ErrorKind::Overloaded);
}

#[test]
fn a_writer_that_goes_away_is_an_error_and_a_reader_is_seen_to_go() {
    let (writer, mut reader) = reply::<u32>();
    drop(writer);
    let Poll::Ready(Err(error)) = poll(&mut reader, Waker::noop()) else { panic!("an error") };
    assert_eq!(error.kind, ErrorKind::Internal);
    let (writer, reader) = reply::<u32>();
    drop(reader);
    assert!(writer.abandoned());
}
