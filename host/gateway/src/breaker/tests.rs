use proptest::prelude::*;

use super::*;

fn policy() -> BreakerPolicy {
    BreakerPolicy {
        failures_to_open: 3,
        open_first: Duration::from_secs(5),
        open_most: Duration::from_secs(20),
    }
}

fn fail(breaker: &mut Breaker, now: Instant) {
    let pass = breaker.admit(now).expect("the breaker lets the request through");
    breaker.failed(pass, now);
}

fn opened(now: Instant) -> Breaker {
    let mut breaker = Breaker::new(policy());
    for _ in 0..3 {
        fail(&mut breaker, now);
    }
    breaker
}

#[test]
fn opens_after_failures_in_a_row_and_only_then() {
    let now = Instant::now();
    let mut breaker = Breaker::new(policy());
    fail(&mut breaker, now);
    fail(&mut breaker, now);
    let pass = breaker.admit(now).expect("closed");
    breaker.succeeded(pass);
    fail(&mut breaker, now);
    fail(&mut breaker, now);
    assert_eq!(breaker.state(now), BreakerState::Closed);
    fail(&mut breaker, now);
    assert_eq!(breaker.state(now), BreakerState::Open);
    assert_eq!(breaker.admit(now), Err(Duration::from_secs(5)));
}

#[test]
fn lets_one_probe_through_at_a_time() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let later = start + Duration::from_secs(5);
    assert_eq!(breaker.state(later), BreakerState::HalfOpen);
    let probe = breaker.admit(later).expect("the probe");
    assert_eq!(breaker.admit(later), Err(PROBE_WAIT));
    breaker.abandoned(probe);
    let probe = breaker.admit(later).expect("the next probe, since the first was given up");
    breaker.alive(probe);
    assert_eq!(breaker.state(later), BreakerState::Closed);
}

#[test]
fn on_probation_one_failure_opens_it_again_for_longer() {
    let mut now = Instant::now();
    let mut breaker = opened(now);
    for wait in [5, 10, 20, 20] {
        assert_eq!(breaker.admit(now), Err(Duration::from_secs(wait)));
        now += Duration::from_secs(wait);
        let probe = breaker.admit(now).expect("the probe");
        breaker.alive(probe);
        breaker.failed(probe, now);
        assert_eq!(breaker.state(now), BreakerState::Open);
    }
    now += Duration::from_secs(20);
    let probe = breaker.admit(now).expect("the probe");
    breaker.succeeded(probe);
    fail(&mut breaker, now);
    assert_eq!(breaker.state(now), BreakerState::Closed, "a whole answer ends the probation");
}

#[test]
fn old_requests_do_not_move_an_open_breaker() {
    let now = Instant::now();
    let mut breaker = Breaker::new(policy());
    let early = breaker.admit(now).expect("closed");
    for _ in 0..3 {
        fail(&mut breaker, now);
    }
    breaker.succeeded(early);
    assert_eq!(breaker.state(now), BreakerState::Open);
    breaker.failed(early, now);
    assert_eq!(breaker.admit(now), Err(Duration::from_secs(5)));
    breaker.abandoned(early);
    assert_eq!(breaker.state(now), BreakerState::Open);
}

proptest! {
    /// Whatever happens, at most one probe is out, an open breaker lets nothing through, and it is
    /// never shut for longer than the policy says.
    #[test]
    fn keeps_its_word(steps in prop::collection::vec((0_u8..5, 0_u64..8000), 1..200)) {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(policy());
        let mut out: Vec<Pass> = Vec::new();
        for (step, wait_ms) in steps {
            now += Duration::from_millis(wait_ms);
            if step == 0 {
                let before = breaker.state(now);
                match breaker.admit(now) {
                    Ok(pass) => {
                        prop_assert!(before != BreakerState::Open);
                        prop_assert!(!pass.probe || !out.iter().any(|pass| pass.probe));
                        out.push(pass);
                    }
                    Err(wait) => {
                        prop_assert!(before != BreakerState::Closed);
                        prop_assert!(wait <= policy().open_most);
                    }
                }
            } else if let Some(pass) = out.pop() {
                match step {
                    1 => breaker.succeeded(pass),
                    2 => breaker.failed(pass, now),
                    3 => breaker.abandoned(pass),
                    _ => {
                        breaker.alive(pass);
                        breaker.abandoned(pass);
                    }
                }
            }
        }
        for pass in out.drain(..) {
            breaker.abandoned(pass);
        }
        prop_assert!(breaker.admit(now + policy().open_most).is_ok(), "no probe is lost for ever");
    }
}
