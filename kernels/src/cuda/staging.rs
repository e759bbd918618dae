//! [`Staging`]: which part of a pinned buffer the next upload passes through, so that none is overwritten whose copy may
//! still be going on. Numbers alone: the buffer and the copies are the card's.

/// The places of a buffer, given out one behind the other until a wait frees them all.
#[derive(Debug)]
pub(super) struct Staging {
    bytes: usize,
    /// Where the next begins.
    next: usize,
    /// How many were given out so far.
    given: u64,
}

/// Where an upload goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) first: usize,
    /// Whether all copies that were asked for before must be waited for first.
    pub(super) wait: bool,
}

/// Places begin at multiples of this.
const ALIGN_BYTES: usize = 256;

impl Staging {
    pub(super) fn new(bytes: usize) -> Staging {
        Staging { bytes, next: 0, given: 0 }
    }

    /// A place for so many bytes; none where the buffer is smaller.
    pub(super) fn place(&mut self, bytes: usize) -> Option<Place> {
        let rounded = bytes.checked_next_multiple_of(ALIGN_BYTES)?;
        if rounded > self.bytes {
            return None;
        }
        let wait = rounded > self.bytes - self.next;
        let first = if wait { 0 } else { self.next };
        self.next = first + rounded;
        self.given += 1;
        Some(Place { first, wait })
    }

    /// How many places were given out: what a wait that begins now covers.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// That all copies are done which were asked for when so many places had been given out. Later ones keep theirs.
    pub(super) fn done(&mut self, given: u64) {
        if given == self.given {
            self.next = 0;
        }
    }
}

#[cfg(test)]
mod tests {
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
        let given = staging.given();
        staging.place(256);
        staging.done(given);
        assert_eq!(staging.place(1), Some(Place { first: 768, wait: false }), "one came behind the wait");
        staging.done(staging.given());
        assert_eq!(staging.place(1024), Some(Place { first: 0, wait: false }));
    }
}
