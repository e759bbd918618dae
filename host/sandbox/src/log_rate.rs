//! How many lines a plugin may write to the operator's log over all of its calls, so that a busy one does not drown
//! the others. Pure: it is told the time.

use std::time::{Duration, Instant};

/// Lines of one plugin in a second.
const LINES_MAX: usize = 200;
const WINDOW: Duration = Duration::from_secs(1);

/// A plugin's lines in the second that runs.
#[derive(Debug, Default)]
pub(crate) struct LogRate {
    began: Option<Instant>,
    lines: usize,
    dropped: usize,
}

/// What may be written now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// Of the lines asked for, the first so many.
    pub(crate) lines: usize,
    /// Lines that were dropped in the seconds before and have not been told of yet.
    pub(crate) dropped_before: usize,
}

impl LogRate {
    /// Asks for that many lines.
    pub(crate) fn admit(&mut self, now: Instant, lines: usize) -> Admitted {
        let mut dropped_before = 0;
        if self.began.is_none_or(|began| now.duration_since(began) >= WINDOW) {
            self.began = Some(now);
            self.lines = 0;
            dropped_before = std::mem::take(&mut self.dropped);
        }
        let admitted = lines.min(LINES_MAX - self.lines);
        self.lines += admitted;
        self.dropped += lines - admitted;
        Admitted { lines: admitted, dropped_before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_room_for_so_many_and_the_next_tells_of_the_rest() {
        let mut rate = LogRate::default();
        let begin = Instant::now();
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        assert_eq!(rate.admit(at(0), 150), Admitted { lines: 150, dropped_before: 0 });
        assert_eq!(rate.admit(at(500), 150), Admitted { lines: 50, dropped_before: 0 });
        assert_eq!(rate.admit(at(999), 7), Admitted { lines: 0, dropped_before: 0 });
        assert_eq!(rate.admit(at(1000), 1), Admitted { lines: 1, dropped_before: 107 });
        assert_eq!(rate.admit(at(9000), 1000), Admitted { lines: 200, dropped_before: 0 });
    }
}
