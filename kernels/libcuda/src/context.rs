//! [`Context`]: what a process has on the card. Here its memory, and pinned memory of this machine; `streams` has what is
//! put on streams, `launch` kernels.
#![allow(unsafe_code, reason = "pinned memory is given out by its address")]

mod launch;
mod streams;

use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use cudarc::driver::sys::CUresult;
use lockgate_emulator::{Emulator, Schedule};
use lockgate_kernels::cuda::driver::{Address, Driver as _, DriverError};

use crate::answer::{Answer, Problem, misuse};
use crate::settings::Settings;
use launch::{Function, Module};
use streams::{Executable, Point, Stream};

/// Memory is given out in pieces of so many bytes.
const PIECE_BYTES: usize = 512;
/// What pinned memory is aligned to: whole pages.
const PAGE_BYTES: usize = 4096;

/// What lives in the card's context, by handles that are never given out twice.
pub(crate) struct Context {
    settings: Settings,
    emulator: Emulator,
    /// Bytes of each buffer, by its address.
    memory: BTreeMap<u64, usize>,
    used: usize,
    /// Bytes of each piece of pinned memory, by its address.
    pinned: BTreeMap<usize, usize>,
    streams: BTreeMap<usize, Stream>,
    /// What each event marks, once it was recorded.
    events: BTreeMap<usize, Option<Point>>,
    modules: BTreeMap<usize, Module>,
    functions: BTreeMap<usize, Function>,
    graphs: BTreeMap<usize, Executable>,
    executables: BTreeMap<usize, Executable>,
    /// An error that nothing mends.
    broken: Option<CUresult>,
}

/// A handle that was never given out before, and is no address of anything.
pub(crate) fn fresh() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed) << 4
}

/// What a handle stands for.
fn known<'a, T>(all: &'a mut BTreeMap<usize, T>, what: &str, handle: usize) -> Answer<&'a mut T> {
    all.get_mut(&handle).ok_or_else(|| unknown(what, handle))
}

/// That a handle stands for nothing, or for nothing any more.
fn unknown(what: &str, handle: usize) -> Problem {
    misuse(CUresult::CUDA_ERROR_INVALID_HANDLE, format!("there is no {what} {handle:#x}"))
}

impl Context {
    pub(crate) fn new(settings: Settings) -> Context {
        Context {
            settings,
            emulator: Emulator::new(Schedule::InOrder),
            memory: BTreeMap::new(),
            used: 0,
            pinned: BTreeMap::new(),
            streams: BTreeMap::new(),
            events: BTreeMap::new(),
            modules: BTreeMap::new(),
            functions: BTreeMap::new(),
            graphs: BTreeMap::new(),
            executables: BTreeMap::new(),
            broken: None,
        }
    }

    /// That the card is not lost.
    pub(crate) fn alive(&self) -> Answer<()> {
        if self.settings.is_lost() { Err(CUresult::CUDA_ERROR_ECC_UNCORRECTABLE.into()) } else { Ok(()) }
    }

    /// That nothing has gone wrong which cannot be mended.
    pub(crate) fn check(&mut self) -> Answer<()> {
        if let Some(code) = self.broken {
            return Err(code.into());
        }
        self.alive().inspect_err(|problem| self.broken = Some(problem.code))
    }

    /// From now on everything fails so.
    fn break_down(&mut self, code: CUresult) -> Problem {
        self.broken = Some(code);
        code.into()
    }

    /// What nobody gave back, in words. Where nothing works any more, nothing could be given back.
    pub(crate) fn left(&self) -> Option<String> {
        let counts = [
            ("buffers", self.memory.len()),
            ("pieces of pinned memory", self.pinned.len()),
            ("streams", self.streams.len()),
            ("events", self.events.len()),
            ("modules", self.modules.len()),
            ("graphs", self.graphs.len() + self.executables.len()),
        ];
        let left = counts.iter().filter(|(_, count)| *count > 0);
        let words: Vec<String> = left.map(|(what, count)| format!("{count} {what}")).collect();
        (self.broken.is_none() && !words.is_empty()).then(|| words.join(", "))
    }

    /// Bytes that are free, and that there are.
    pub(crate) fn memory(&self) -> (usize, usize) {
        (self.settings.memory_bytes - self.used, self.settings.memory_bytes)
    }

    pub(crate) fn allocate(&mut self, bytes: usize) -> Answer<u64> {
        self.outside_captures()?;
        if bytes == 0 {
            return Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, "nothing was to be allocated"));
        }
        let room = bytes.checked_next_multiple_of(PIECE_BYTES).filter(|room| *room <= self.memory().0);
        let Some(room) = room else { return Err(CUresult::CUDA_ERROR_OUT_OF_MEMORY.into()) };
        let address = self.emulator.allocate(bytes).map_err(|_| CUresult::CUDA_ERROR_OUT_OF_MEMORY)?;
        self.used += room;
        self.memory.insert(address.0, bytes);
        Ok(address.0)
    }

    /// Frees a buffer, once all that was asked for is done.
    pub(crate) fn free(&mut self, address: u64) -> Answer<()> {
        self.outside_captures()?;
        self.finish_all()?;
        let Some(bytes) = self.memory.remove(&address) else {
            let text = format!("no buffer begins at {address:#x}");
            return Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, text));
        };
        self.used -= bytes.next_multiple_of(PIECE_BYTES);
        self.emulator.free(Address(address));
        Ok(())
    }

    /// That bytes lie within one buffer.
    fn inside(&self, address: u64, bytes: usize) -> Answer<Address> {
        let holds = |(&start, &length): (&u64, &usize)| {
            address - start <= length as u64 && bytes as u64 <= length as u64 - (address - start)
        };
        if self.memory.range(..=address).next_back().is_some_and(holds) {
            return Ok(Address(address));
        }
        let text = format!("{bytes} bytes at {address:#x} lie within no buffer");
        Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, text))
    }

    pub(crate) fn pin(&mut self, bytes: usize, flags: u32) -> Answer<usize> {
        self.outside_captures()?;
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).ok().filter(|_| bytes > 0 && flags == 0);
        let Some(layout) = layout else {
            let text = format!("{bytes} bytes with flags {flags}: only plain pinned memory is known here");
            return Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, text));
        };
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            return Err(CUresult::CUDA_ERROR_OUT_OF_MEMORY.into());
        }
        // SAFETY: all of it was just allocated. What is read before it is written is no plausible number.
        unsafe { std::ptr::write_bytes(start, 0xff, bytes) };
        self.pinned.insert(start as usize, bytes);
        Ok(start as usize)
    }

    pub(crate) fn unpin(&mut self, start: usize) -> Answer<()> {
        self.outside_captures()?;
        let Some(bytes) = self.pinned.remove(&start) else {
            let text = format!("no pinned memory begins at {start:#x}");
            return Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, text));
        };
        give_back(start, bytes);
        Ok(())
    }

    /// Whether all of these bytes are pinned.
    fn is_pinned(&self, start: usize, bytes: usize) -> bool {
        let before = self.pinned.range(..=start).next_back();
        before.is_some_and(|(first, length)| start - first <= *length && bytes <= length - (start - first))
    }
}

fn give_back(start: usize, bytes: usize) {
    if let Ok(layout) = Layout::from_size_align(bytes, PAGE_BYTES) {
        // SAFETY: it was allocated so, and is known no longer.
        unsafe { dealloc(start as *mut u8, layout) };
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        std::mem::take(&mut self.pinned).into_iter().for_each(|(start, bytes)| give_back(start, bytes));
    }
}

/// What the emulator found in a kernel or a copy.
fn found(problem: &DriverError) {
    crate::answer::tell(&problem.to_string());
}
