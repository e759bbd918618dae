//! What plugins remember: one [`Space`] for each plugin id and tenant, for as long as the host runs.
//!
//! An entry lies in the cell of the labels that its writer's request bore in the end, and a request reads only
//! cells whose labels it bears itself. A write goes into the cell of exactly its own labels, so that neither
//! overwriting nor comparing nor counting shows anything downwards. Until a request's labels are settled its writes
//! lie apart, seen by itself alone; the one thing that others can tell of them is [`StateError::Busy`].
//!
//! Pure but for a lock: time is an argument, labels come from the requests' [`Scope`]s. The WIT side is
//! `contract::state`; a call's hold on its space is [`Memory`].

mod cell;
mod memory;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lockgate_api::{Labels, Scope};

use cell::{Cell, Entry};

pub(crate) use memory::{Memory, StateError};

/// Bytes of a key.
pub(crate) const KEY_BYTES_MAX: usize = 256;
/// Bytes of a value.
pub(crate) const VALUE_BYTES_MAX: usize = 64 << 10;
/// Sets of labels that one tenant's entries of one plugin may have.
const CELLS_MAX: usize = 64;

/// All spaces of a host.
#[derive(Default)]
pub(crate) struct Store {
    spaces: Mutex<HashMap<Owner, Arc<Mutex<Space>>>>,
}

/// A plugin's id and a tenant.
type Owner = (String, Option<Arc<str>>);

impl Store {
    pub(crate) fn space(&self, plugin: &str, tenant: Option<Arc<str>>) -> Arc<Mutex<Space>> {
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(spaces.entry((plugin.to_owned(), tenant)).or_default())
    }
}

/// One plugin's entries for one tenant.
#[derive(Default)]
pub(crate) struct Space {
    cells: BTreeMap<Labels, Cell>,
    open: Vec<Open>,
    /// Of the last write; also numbers calls.
    sequence: u64,
}

/// The writes of a request whose labels are not settled.
struct Open {
    scope: u64,
    labels: Weak<Scope>,
    writes: Vec<Write>,
}

struct Write {
    /// The call that made it; none once the call has ended well.
    call: Option<u64>,
    key: Arc<str>,
    change: Change,
    /// Whether the key is this request's alone until it is settled.
    is_exclusive: bool,
}

/// What a write does. Times are milliseconds of the host's clock.
#[derive(Clone, Debug)]
enum Change {
    Set { value: Arc<[u8]>, expires_ms: Option<u64> },
    Delete,
    Add { by: i64, expires_ms: Option<u64> },
}

/// A value as somebody sees it.
#[derive(Clone, Debug)]
struct Seen {
    value: Arc<[u8]>,
    expires_ms: Option<u64>,
}

/// Who looks, with which labels, when.
#[derive(Clone, Copy)]
struct View<'a> {
    scope: u64,
    labels: &'a Labels,
    now_ms: u64,
}

/// Who writes.
#[derive(Clone, Copy)]
struct Author<'a> {
    scope: &'a Arc<Scope>,
    call: u64,
    /// Its plugin's quota.
    bytes_max: usize,
}

/// Scopes that were looked at: to be dropped when the space is free again, since the last hold on one may be among
/// them, and dropping it discards its writes here.
type Held = Vec<Arc<Scope>>;

pub(crate) fn lock(space: &Mutex<Space>) -> MutexGuard<'_, Space> {
    // Whole values are put in and taken out; a panic between two writes loses writes, which may happen anyway.
    space.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Space {
    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// What a request sees of a key.
    fn seen(&self, view: View<'_>, key: &str) -> Option<Seen> {
        let settled = self.settled(view.labels, key, view.now_ms);
        let own = self.open.iter().find(|open| open.scope == view.scope);
        let writes = own.into_iter().flat_map(|open| &open.writes).filter(|write| &*write.key == key);
        // An addition that failed when it was made is not among the writes.
        let is_alive = |seen: &Seen| seen.expires_ms.is_none_or(|expires| view.now_ms < expires);
        let seen = writes
            .fold(settled, |seen, write| changed(seen.filter(is_alive), &write.change).unwrap_or_default());
        seen.filter(is_alive)
    }

    /// What settled requests have left for one of these labels: in its own cell, else the newest that it may see.
    fn settled(&self, labels: &Labels, key: &str, now_ms: u64) -> Option<Seen> {
        let own = self.cells.get(labels).and_then(|cell| cell.get(key, now_ms));
        let newest = || {
            let below = self.cells.iter().filter(|(of, _)| of.are_all_in(labels));
            below.filter_map(|(_, cell)| cell.get(key, now_ms)).max_by_key(|entry| entry.sequence)
        };
        let Entry { value, expires_ms, .. } = own.or_else(newest)?;
        value.as_ref().map(|value| Seen { value: Arc::clone(value), expires_ms: *expires_ms })
    }

    /// Whether another request's open write stands in the way of one.
    fn is_busy(&self, view: View<'_>, key: &str, is_exclusive: bool, held: &mut Held) -> bool {
        self.open.iter().filter(|open| open.scope != view.scope).any(|open| {
            let conflicts = |write: &Write| &*write.key == key && (is_exclusive || write.is_exclusive);
            if !open.writes.iter().any(conflicts) {
                return false;
            }
            let Some(scope) = open.labels.upgrade() else { return false };
            // A request of more labels can no longer write what this one sees, and is not to be noticed.
            let meets = scope.labels().are_all_in(view.labels);
            held.push(scope);
            meets
        })
    }

    /// Whether so many bytes more find room, by what a request sees of its own cell.
    fn has_room(&mut self, view: View<'_>, key: &str, bytes: usize, bytes_max: usize) -> bool {
        let open = self.open.iter().find(|open| open.scope == view.scope);
        let writes = open.into_iter().flat_map(|open| &open.writes);
        let mut sizes: HashMap<&str, usize> =
            writes.map(|write| (&*write.key, size(&write.key, &write.change))).collect();
        sizes.insert(key, bytes);
        let Some(cell) = self.cells.get_mut(view.labels) else {
            return sizes.values().sum::<usize>() <= bytes_max;
        };
        let total = |cell: &Cell| {
            let replaced: usize = sizes.keys().map(|key| cell.bytes_of(key)).sum();
            cell.bytes() - replaced + sizes.values().sum::<usize>()
        };
        if total(cell) > bytes_max {
            cell.forget_expired(view.now_ms);
        }
        total(cell) <= bytes_max
    }

    /// Writes, if nothing stands in the way.
    fn write(
        &mut self,
        view: View<'_>,
        held: &mut Held,
        Author { scope, call, bytes_max }: Author<'_>,
        key: &str,
        change: Change,
        is_exclusive: bool,
    ) -> Result<(), StateError> {
        if self.is_busy(view, key, is_exclusive, held) {
            return Err(StateError::Busy);
        }
        let bytes = size(key, &change);
        if bytes > 0 && !self.has_room(view, key, bytes, bytes_max) {
            return Err(StateError::Full);
        }
        self.push(scope, Write { call: Some(call), key: key.into(), change, is_exclusive });
        Ok(())
    }

    fn push(&mut self, scope: &Arc<Scope>, write: Write) {
        let place = self.open.iter().position(|open| open.scope == scope.number());
        let place = place.unwrap_or_else(|| {
            let labels = Arc::downgrade(scope);
            self.open.push(Open { scope: scope.number(), labels, writes: Vec::new() });
            self.open.len() - 1
        });
        let writes = &mut self.open[place].writes;
        let mut write = write;
        if !matches!(write.change, Change::Add { .. }) {
            // What this call wrote there before shows no more, but that the key is its own.
            writes.retain(|old| {
                let is_over = old.call == write.call && old.key == write.key;
                write.is_exclusive |= is_over && old.is_exclusive;
                !is_over
            });
        }
        writes.push(write);
    }

    /// Forgets the writes of a call that failed, or of a request that settles nothing.
    fn discard(&mut self, scope: u64, is_gone: impl Fn(Option<u64>) -> bool) {
        for open in self.open.iter_mut().filter(|open| open.scope == scope) {
            open.writes.retain(|write| !is_gone(write.call));
        }
        self.open.retain(|open| !open.writes.is_empty());
    }

    /// The call has ended well: its writes are the request's.
    fn keep(&mut self, scope: u64, call: u64) {
        let open = self.open.iter_mut().filter(|open| open.scope == scope);
        for write in open.flat_map(|open| &mut open.writes).filter(|write| write.call == Some(call)) {
            write.call = None;
        }
    }

    /// Puts what a request has kept where its labels say. Returns how many writes found no room: quotas are asked
    /// when a write is made, and others may have been faster since, so that there is some slack.
    fn commit(&mut self, scope: u64, labels: &Labels, now_ms: u64, bytes_max: usize) -> usize {
        let mut kept = Vec::new();
        for open in self.open.iter_mut().filter(|open| open.scope == scope) {
            kept.extend(open.writes.extract_if(.., |write| write.call.is_none()));
        }
        self.open.retain(|open| !open.writes.is_empty());
        let slack = bytes_max.saturating_mul(2);
        kept.into_iter().filter(|write| !self.apply(write, labels, now_ms, slack)).count()
    }

    /// Whether there was room.
    fn apply(&mut self, write: &Write, labels: &Labels, now_ms: u64, bytes_max: usize) -> bool {
        let before = self.settled(labels, &write.key, now_ms);
        let was_there = before.is_some();
        let Ok(after) = changed(before, &write.change) else { return false };
        let sequence = self.next();
        if !self.cells.contains_key(labels) {
            if after.is_none() && !was_there {
                return true;
            }
            self.cells.retain(|_, cell| {
                cell.forget_expired(now_ms);
                !cell.is_empty()
            });
            if self.cells.len() >= CELLS_MAX {
                return false;
            }
        }
        let cell = self.cells.entry(labels.clone()).or_default();
        let Some(Seen { value, expires_ms }) = after else {
            cell.remove(&write.key);
            if self.settled(labels, &write.key, now_ms).is_some() {
                // What fewer labels have written would show through again.
                let cell = self.cells.entry(labels.clone()).or_default();
                let gone = Entry { value: None, expires_ms: None, sequence };
                return cell.put(&write.key, gone, bytes_max, now_ms);
            }
            return true;
        };
        cell.put(&write.key, Entry { value: Some(value), expires_ms, sequence }, bytes_max, now_ms)
    }
}

/// A value after a change.
fn changed(before: Option<Seen>, change: &Change) -> Result<Option<Seen>, StateError> {
    match change {
        Change::Set { value, expires_ms } => {
            Ok(Some(Seen { value: Arc::clone(value), expires_ms: *expires_ms }))
        }
        Change::Delete => Ok(None),
        Change::Add { by, expires_ms } => {
            let sum = sum(before.as_ref(), *by)?;
            let expires_ms = before.map_or(*expires_ms, |before| before.expires_ms);
            Ok(Some(Seen { value: sum.to_string().into_bytes().into(), expires_ms }))
        }
    }
}

fn sum(before: Option<&Seen>, by: i64) -> Result<i64, StateError> {
    let number = match before {
        None => 0,
        Some(seen) => {
            let text = std::str::from_utf8(&seen.value).map_err(|_| StateError::NotANumber)?;
            text.parse::<i64>().map_err(|_| StateError::NotANumber)?
        }
    };
    number.checked_add(by).ok_or(StateError::NotANumber)
}

/// Bytes that a change makes of its key's entry.
fn size(key: &str, change: &Change) -> usize {
    match change {
        Change::Set { value, .. } => cell::size(key, value.len()),
        // A number of 64 bits has at most 20 digits with its sign.
        Change::Add { .. } => cell::size(key, 20),
        Change::Delete => 0,
    }
}

#[cfg(test)]
mod tests;
