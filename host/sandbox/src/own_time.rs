//! A plugin's own time: how long it has run, as far as it is to blame.
//!
//! A guest that runs is looked at at every tick. Where it is not looked at for much longer than that, it did not run:
//! its thread waited for a processor, the machine stood still, or other tasks had the thread. Such a gap counts as a few
//! ticks and no more, so that a plugin is not ended, nor a request lost, for what the machine did. What it may last by
//! the clock on the wall is bounded nevertheless. Knows nothing of fuel, and of threads nothing at all.

use std::time::Duration;

use tokio::time::Instant;

/// The longest gap that counts as a whole, in ticks. More than one, since a host function does its work between two
/// looks, and the thread that ticks may itself wait for a processor.
const GAP_TICKS_MAX: u32 = 4;

/// What a call may last beyond its own time and its asks, however little of it was its own.
pub(crate) const DELAY_MAX: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnTime {
    limit: Duration,
    gap_max: Duration,
    /// When it was last looked at.
    seen: Instant,
    spent: Duration,
    /// When it is over, whoever is to blame.
    end: Instant,
}

impl OwnTime {
    /// For a call that begins now, with guests that look up every `tick`.
    pub(crate) fn new(limit: Duration, tick: Duration, now: Instant) -> Self {
        let gap_max = tick.saturating_mul(GAP_TICKS_MAX);
        Self { limit, gap_max, seen: now, spent: Duration::ZERO, end: now + limit + DELAY_MAX }
    }

    /// Begins anew with the same limit.
    pub(crate) fn again(&self, now: Instant) -> Self {
        let end = now + self.limit + DELAY_MAX;
        Self { seen: now, spent: Duration::ZERO, end, ..*self }
    }

    /// Own time up to now.
    pub(crate) fn spent(&self, now: Instant) -> Duration {
        self.spent + now.saturating_duration_since(self.seen).min(self.gap_max)
    }

    /// Looks at a guest that runs; whether its time is over.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        self.spent = self.spent(now);
        self.seen = now;
        self.spent >= self.limit || now >= self.end
    }

    /// It waited for others until now, and `waited` in all.
    pub(crate) fn wait(&mut self, waited: Duration, now: Instant) {
        self.spent = self.spent(now.checked_sub(waited).unwrap_or(self.seen));
        self.seen = now;
        self.end += waited;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::{DELAY_MAX, OwnTime};

    const TICK: Duration = Duration::from_millis(1);
    const LIMIT: Duration = Duration::from_millis(50);

    #[test]
    fn one_that_runs_is_over_at_its_limit() {
        let start = Instant::now();
        let mut own = OwnTime::new(LIMIT, TICK, start);
        let over = (1..).find(|tick| own.look(start + TICK * *tick));
        assert_eq!(over, Some(50));
    }

    #[test]
    fn a_machine_that_stands_still_is_not_its_fault_but_ends_it_at_last() {
        let start = Instant::now();
        let mut own = OwnTime::new(LIMIT, TICK, start);
        assert!(!own.look(start + Duration::from_millis(400)), "one gap");
        assert_eq!(own.spent(start + Duration::from_millis(400)), TICK * 4);
        assert!(own.look(start + LIMIT + DELAY_MAX), "it does not go on for good");
    }

    #[test]
    fn waiting_for_others_is_not_its_own_time() {
        let start = Instant::now();
        let mut own = OwnTime::new(LIMIT, TICK, start);
        let asked = Duration::from_secs(4);
        let back = start + TICK * 3 + asked;
        own.wait(asked, back);
        assert_eq!(own.spent(back), TICK * 3);
        assert!(!own.look(back + TICK));
        assert_eq!(own.again(back).spent(back), Duration::ZERO);
    }

    proptest! {
        /// Own time never runs faster than the clock, nor backwards; and no gap hides more than a look would.
        #[test]
        fn own_time_keeps_to_the_clock(gaps in prop::collection::vec(0_u64..30_000, 1..200)) {
            let start = Instant::now();
            let mut own = OwnTime::new(LIMIT, TICK, start);
            let (mut now, mut before, mut least) = (start, Duration::ZERO, Duration::ZERO);
            for micros in gaps {
                let gap = Duration::from_micros(micros);
                now += gap;
                least += gap.min(TICK * 4);
                let is_over = own.look(now);
                let spent = own.spent(now);
                prop_assert!(spent >= before && spent <= now - start);
                prop_assert_eq!(spent, least);
                prop_assert_eq!(is_over, spent >= LIMIT || now >= start + LIMIT + DELAY_MAX);
                before = spent;
            }
        }
    }
}
