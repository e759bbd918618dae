use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_given_up() {
    let (near, _far) = tokio::io::duplex(4);
    let mut guard = StallGuard::new(near, Duration::from_secs(7));
    let began = Instant::now();
    let error = guard.write_all(b"more than four bytes").await.expect_err("nobody reads");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(began.elapsed(), Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not() {
    let (near, mut far) = tokio::io::duplex(4);
    let mut guard = StallGuard::new(near, Duration::from_secs(7));
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        let mut piece = [0; 4];
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            match far.read(&mut piece).await.expect("reads") {
                0 => return all,
                count => all.extend_from_slice(&piece[..count]),
            }
        }
    });
    guard.write_all(b"sixteen bytes...").await.expect("each piece is taken in time");
    drop(guard);
    assert_eq!(reader.await.expect("no panic"), b"sixteen bytes...");
}
