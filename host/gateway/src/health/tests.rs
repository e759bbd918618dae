use lockgate_api::{BreakerState, TimeoutKind};

use super::*;

fn measured(first_ms: u64, speed: f32) -> Measurement {
    Measurement { first_token: Some(Duration::from_millis(first_ms)), tokens_per_second: Some(speed) }
}

fn error(kind: ErrorKind) -> BackendError {
    BackendError::new(kind, "test")
}

#[test]
fn nothing_is_known_of_a_new_target() {
    let monitor = Monitor::new(BreakerPolicy::default());
    assert_eq!(monitor.health(Instant::now(), None), Health::default());
    assert_eq!(monitor.health(Instant::now(), Some(3)).queued, Some(3));
}

#[test]
fn figures_are_medians_and_a_share() {
    let now = Instant::now();
    let mut window = Window::default();
    for (first, speed) in [(30, 7.0), (10, 9.0), (20, 8.0)] {
        window.record(now, false, measured(first, speed));
    }
    window.record(now, true, Measurement::default());
    let mut health = Health::default();
    window.describe(now, &mut health);
    assert_eq!(health.first_token_median, Some(Duration::from_millis(20)));
    assert_eq!(health.tokens_per_second_median, Some(8.0));
    assert_eq!(health.error_rate, Some(0.25));
}

#[test]
fn the_window_is_bounded_by_count_and_age() {
    let now = Instant::now();
    let mut window = Window::default();
    for _ in 0..1000 {
        window.record(now, true, Measurement::default());
    }
    assert_eq!(window.samples.len(), SAMPLES_MAX);
    for _ in 0..SAMPLES_MAX {
        window.record(now + SAMPLE_AGE_MAX, false, measured(1, 1.0));
    }
    let mut health = Health::default();
    window.describe(now + SAMPLE_AGE_MAX, &mut health);
    assert_eq!(health.error_rate, Some(0.0), "newer attempts push the old ones out");
    window.describe(now + SAMPLE_AGE_MAX * 3, &mut health);
    assert_eq!(health, Health::default(), "old attempts say nothing about now");
}

#[test]
fn in_flight_counts_down_however_a_flight_ends() {
    let now = Instant::now();
    let monitor = Monitor::new(BreakerPolicy::default());
    let flights: Vec<_> = (0..3).map(|_| monitor.begin(now).expect("closed")).collect();
    assert_eq!(monitor.health(now, None).in_flight, 3);
    for (index, flight) in flights.into_iter().enumerate() {
        match index {
            0 => flight.succeeded(now, Measurement::default()),
            1 => flight.failed(now, &error(ErrorKind::Upstream), Measurement::default()),
            _ => drop(flight),
        }
    }
    let health = monitor.health(now, None);
    assert_eq!(health.in_flight, 0);
    assert_eq!(health.error_rate, Some(0.5), "an abandoned request is no failure");
}

#[test]
fn each_kind_of_error_counts_where_it_should() {
    // (kind, opens the breaker, counts as an error)
    for (kind, opens, counts) in [
        (ErrorKind::InvalidRequest, false, false),
        (ErrorKind::ContextExceeded { prompt_tokens: 2, context_tokens: 1 }, false, false),
        (ErrorKind::Unsupported { field: "n".to_owned() }, false, false),
        (ErrorKind::Authentication, true, true),
        (ErrorKind::RateLimited, false, true),
        (ErrorKind::Overloaded, false, true),
        (ErrorKind::Unavailable, true, true),
        (ErrorKind::Timeout(TimeoutKind::FirstEvent), true, true),
        (ErrorKind::Upstream, true, true),
        (ErrorKind::Cut, true, true),
        (ErrorKind::Locality, false, false),
        (ErrorKind::Cancelled, false, false),
        (ErrorKind::Internal, false, false),
    ] {
        let now = Instant::now();
        let monitor = Monitor::new(BreakerPolicy { failures_to_open: 1, ..BreakerPolicy::default() });
        monitor.begin(now).expect("closed").failed(now, &error(kind.clone()), Measurement::default());
        let health = monitor.health(now, None);
        assert_eq!(health.breaker == BreakerState::Open, opens, "{kind:?} and the breaker");
        assert_eq!(health.error_rate, counts.then_some(1.0), "{kind:?} and the error rate");
    }
}
