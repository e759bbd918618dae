use super::*;

fn limiter(concurrent: usize, waiting: usize) -> Arc<Limiter> {
    Arc::new(Limiter::new(Limits { concurrent, waiting, wait: Duration::from_secs(2) }))
}

#[tokio::test(start_paused = true)]
async fn beyond_places_and_queue_the_answer_is_immediate() {
    let limiter = limiter(1, 1);
    let first = limiter.enter().await.expect("a free place");
    let waiting = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { limiter.enter().await.is_ok() }
    });
    tokio::task::yield_now().await;
    let before = tokio::time::Instant::now();
    assert_eq!(limiter.enter().await.err(), Some(Overloaded));
    assert_eq!(before.elapsed(), Duration::ZERO);
    drop(first);
    assert!(waiting.await.expect("no panic"), "the freed place goes to the one that waits");
    assert!(limiter.enter().await.is_ok(), "and is free again when that one is done");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_said() {
    let limiter = limiter(1, 1);
    let _first = limiter.enter().await.expect("a free place");
    let before = tokio::time::Instant::now();
    assert_eq!(limiter.enter().await.err(), Some(Overloaded));
    assert_eq!(before.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn one_who_leaves_the_queue_makes_room_in_it() {
    let limiter = limiter(1, 1);
    let _first = limiter.enter().await.expect("a free place");
    for _ in 0..3 {
        let left = tokio::time::timeout(Duration::from_millis(1), limiter.enter()).await;
        assert!(left.is_err(), "it waited until its client gave up");
    }
}
