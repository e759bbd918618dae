//! What sequences have seen, kept on the device, where `remember` of `cuda/adjust.cu` appends each token
//! that is drawn. A sequence's list is sent once, and again when it has outgrown its room, not at each token.
//!
//! Lists lie in one buffer. Whose a list is, is told by its owner's mark, which goes with the owner: its room is free
//! then.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::driver::{Argument, DriverError};
use super::memory::{Device, DeviceBuffer};

/// Entries of the least room for a list.
const ROOM_MIN: usize = 64;
/// Words of an entry: a token, and how often it was generated. The first of a list is its length and its room.
const ENTRY_WORDS: usize = 2;

/// What a sequence has seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// How often each token was generated; tokens of the prompt that were not are there with zero.
    pub times: &'a HashMap<u32, u32>,
    /// Tells it from what every other sequence has seen, for as long as it is there.
    pub owner: &'a Arc<()>,
    /// How many tokens were drawn for it so far.
    pub drawn: u64,
}

#[derive(Debug)]
struct List {
    owner: Weak<()>,
    /// Its first entry, and how many there is room for, the one with its length included.
    first: usize,
    room: usize,
    /// Entries that it has at most.
    entries: usize,
    /// Tokens that were drawn when it became what it is; none while a kernel may be changing it.
    drawn: Option<u64>,
}

/// The lists, and where each is.
#[derive(Debug)]
pub(super) struct SeenLists {
    there: DeviceBuffer<u32>,
    entries_max: usize,
    /// In the order of their places.
    lists: Vec<List>,
    /// Those that have to be sent: where, and what.
    unsent: Vec<(usize, Vec<u32>)>,
}

impl SeenLists {
    /// Room for so many entries in all.
    pub(super) fn new(device: &Device, entries: usize) -> Result<SeenLists, DriverError> {
        let words = entries.checked_mul(ENTRY_WORDS).ok_or(DriverError::OutOfMemory { bytes: usize::MAX })?;
        let (lists, unsent) = (Vec::new(), Vec::new());
        Ok(SeenLists { there: device.allocate(words)?, entries_max: entries, lists, unsent })
    }

    /// Where the list of this is, with room for one more: as it is there or to be sent. None where there is no room.
    pub(super) fn place(&mut self, seen: Seen<'_>) -> Option<u32> {
        let found =
            self.lists.iter().position(|list| std::ptr::eq(list.owner.as_ptr(), Arc::as_ptr(seen.owner)));
        if let Some(list) = found.map(|found| &self.lists[found])
            && list.drawn == Some(seen.drawn)
            && list.entries + 1 < list.room
        {
            return u32::try_from(list.first).ok();
        }
        let needed = seen.times.len().checked_add(2)?;
        let found = match found {
            Some(found) if needed <= self.lists[found].room => found,
            _ => {
                // Twice as much, so that it is sent again ever more seldom.
                let room = needed.checked_mul(2)?.max(ROOM_MIN);
                self.lists.retain(|list| {
                    list.owner.strong_count() > 0
                        && !std::ptr::eq(list.owner.as_ptr(), Arc::as_ptr(seen.owner))
                });
                self.make_room(room, seen)?
            }
        };
        let list = &mut self.lists[found];
        list.entries = seen.times.len();
        list.drawn = Some(seen.drawn);
        let mut words = vec![list.entries as u32, list.room as u32];
        words.extend(seen.times.iter().flat_map(|(token, times)| [*token, *times]));
        let first = u32::try_from(list.first).ok()?;
        self.unsent.push((list.first, words));
        Some(first)
    }

    /// Puts a list into the first gap that is large enough.
    fn make_room(&mut self, room: usize, seen: Seen<'_>) -> Option<usize> {
        let mut first = 0;
        let mut at = 0;
        for list in &self.lists {
            if list.first - first >= room {
                break;
            }
            first = list.first + list.room;
            at += 1;
        }
        u32::try_from(room).ok()?;
        if self.entries_max.checked_sub(first)? < room {
            return None;
        }
        let owner = Arc::downgrade(seen.owner);
        self.lists.insert(at, List { owner, first, room, entries: 0, drawn: None });
        Some(at)
    }

    /// Sends what is not there yet.
    pub(super) fn upload(&mut self) -> Result<(), DriverError> {
        for (first, words) in std::mem::take(&mut self.unsent) {
            if let Err(error) = self.there.write(first * ENTRY_WORDS, &words) {
                self.lists.clear();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Notes that a kernel appends to the list at this place. How many tokens had been drawn for it.
    pub(super) fn change(&mut self, first: u32) -> Option<u64> {
        let list = self.lists.iter_mut().find(|list| list.first == first as usize)?;
        list.drawn.take()
    }

    /// Notes that it did, behind so many tokens.
    pub(super) fn changed(&mut self, first: u32, drawn: u64) {
        if let Some(list) = self.lists.iter_mut().find(|list| list.first == first as usize) {
            list.entries += 1;
            list.drawn = Some(drawn + 1);
        }
    }

    pub(super) fn argument(&self) -> Argument {
        self.there.argument()
    }
}
