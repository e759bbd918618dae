//! [`Staging`]: which part of a pinned buffer the next upload passes through, so that none is overwritten whose copy may
//! still be going on. Numbers alone: the buffer and the copies are the card's.

/// The places of a buffer, given out round and round, each again once its copy is known to be done.
#[derive(Debug)]
pub(super) struct Staging {
    bytes: usize,
    /// How far places were given out, over all rounds: the next begins at the rest.
    given: u64,
    /// How far their copies are known to be done.
    done: u64,
}

/// Where an upload goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) first: usize,
    /// Whether all copies that were asked for before must be waited for first.
    pub(super) wait: bool,
}

/// What had been given out at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

/// Places begin at multiples of this, and so does the buffer end at one.
const ALIGN_BYTES: usize = 256;

impl Staging {
    pub(super) fn new(bytes: usize) -> Staging {
        Staging { bytes: bytes.next_multiple_of(ALIGN_BYTES), given: 0, done: 0 }
    }

    /// A place for so many bytes; none where the buffer is smaller.
    pub(super) fn place(&mut self, bytes: usize) -> Option<Place> {
        let rounded = bytes.checked_next_multiple_of(ALIGN_BYTES).filter(|rounded| *rounded <= self.bytes)?;
        let round = self.bytes as u64;
        let fits_behind = self.given % round + rounded as u64 <= round;
        let first = if fits_behind { self.given } else { self.given.next_multiple_of(round) };
        let wait = first + rounded as u64 - self.done > round && self.done < self.given;
        let first = if wait || self.done == self.given {
            self.done = self.given.next_multiple_of(round);
            self.done
        } else {
            first
        };
        self.given = first + rounded as u64;
        Some(Place { first: (first % round) as usize, wait })
    }

    /// What is given out by now: what a wait that begins now covers.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.given)
    }

    /// That all copies are done which were asked for before this mark. Later ones keep their places.
    pub(super) fn done(&mut self, mark: Mark) {
        self.done = self.done.max(mark.0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_lie_apart_until_they_are_waited_for() {
        let mut staging = Staging::new(1024);
        let place = |first, wait| Some(Place { first, wait });
        assert_eq!(staging.place(1), place(0, false));
        assert_eq!(staging.place(257), place(256, false));
        assert_eq!(staging.place(256), place(768, false));
        // There is no room behind: what is in front must be done first.
        assert_eq!(staging.place(1), place(0, true));
        assert_eq!(staging.place(768), place(256, false));
        assert_eq!(staging.place(1024), place(0, true));
        assert_eq!(staging.place(1025), None);
        assert_eq!(staging.place(usize::MAX), None);
    }

    #[test]
    fn a_wait_frees_what_came_before_it_alone() {
        let mut staging = Staging::new(1024);
        staging.place(512);
        let mark = staging.mark();
        staging.place(256);
        staging.done(mark);
        assert_eq!(staging.place(1), Some(Place { first: 768, wait: false }), "one came behind the wait");
        staging.done(staging.mark());
        assert_eq!(staging.place(1024), Some(Place { first: 0, wait: false }));
    }

    #[test]
    fn steps_that_prepare_the_next_never_wait() {
        let mut staging = Staging::new(4096);
        for step in 0..100 {
            let mark = staging.mark();
            for bytes in [300, 40, 700] {
                assert!(!staging.place(bytes).expect("it fits").wait, "step {step}");
            }
            staging.done(mark);
        }
    }

    proptest! {
        /// Copies whose places overlap are never both going on.
        #[test]
        fn no_place_is_given_out_twice(steps in proptest::collection::vec((0_usize..1100, 0_u8..4), 1..80)) {
            let mut staging = Staging::new(2048);
            // The copies that may be going on, oldest first; how many of them came before a mark, which is applied later.
            let mut going: Vec<(usize, usize)> = Vec::new();
            let mut marked: Option<(Mark, usize)> = None;
            for (bytes, act) in steps {
                match (act, marked.take()) {
                    (0, _) => marked = Some((staging.mark(), going.len())),
                    (1, Some((mark, count))) => {
                        staging.done(mark);
                        going.drain(..count);
                    }
                    (_, other) => marked = other,
                }
                let place = staging.place(bytes).expect("it is smaller than the buffer");
                if place.wait {
                    going.clear();
                    marked = marked.map(|(mark, _)| (mark, 0));
                }
                let end = place.first + bytes.next_multiple_of(ALIGN_BYTES);
                prop_assert!(end <= 2048);
                prop_assert!(going.iter().all(|(from, to)| end <= *from || *to <= place.first));
                if end > place.first {
                    going.push((place.first, end));
                }
            }
        }
    }
}
