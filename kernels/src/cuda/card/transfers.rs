//! [`Transfers`]: copies between this machine and a card, through pinned memory so that neither waits for the other. The
//! context must be current, and streams the card's own.
#![allow(unsafe_code, reason = "the driver is a C library")]

use std::collections::HashMap;
use std::sync::Mutex;

use cudarc::driver::{result, sys};

use super::super::driver::{Address, Download, DriverError};
use super::super::pinned::Pinned;
use super::super::staging::{Mark, Staging};
use super::{failed, locked};

/// Pinned memory that uploads of a step pass through, and what is copied back. What is larger takes the driver's own way.
const UPLOAD_BYTES: usize = 16 << 20;
const DOWNLOAD_BYTES: usize = 8 << 20;
/// The same for a copy that is begun, and waited for later.
const BEGUN_BYTES: usize = 64 << 10;

/// The pinned memory of an open card, and which of it is in use.
#[derive(Default)]
pub(super) struct Transfers {
    uploads: Mutex<Option<(Staging, Pinned)>>,
    downloads: Mutex<Option<Pinned>>,
    begun: Mutex<Begun>,
}

/// Copies that were begun.
#[derive(Default)]
struct Begun {
    free: Vec<Landing>,
    going: HashMap<u64, Going>,
    next: u64,
}

/// Where such a copy lands, and what tells that it has.
struct Landing {
    pinned: Pinned,
    arrived: sys::CUevent,
}

struct Going {
    landing: Landing,
    bytes: usize,
    /// The uploads in front of it.
    mark: Option<Mark>,
}

// SAFETY: an event may be used from any thread that has made its context its own.
unsafe impl Send for Landing {}

impl Landing {
    fn new() -> Result<Landing, DriverError> {
        let pinned = Pinned::new(BEGUN_BYTES).map_err(failed("pinned memory"))?;
        match result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING) {
            Ok(arrived) => Ok(Landing { pinned, arrived }),
            Err(error) => {
                pinned.free();
                Err(failed("event")(error))
            }
        }
    }

    fn free(self) {
        // SAFETY: it was made here, and nobody else knows it. An error is one of earlier work.
        let _ = unsafe { result::event::destroy(self.arrived) };
        self.pinned.free();
    }
}

impl Transfers {
    /// Takes the pinned memory.
    pub(super) fn open(&self) -> Result<(), DriverError> {
        let pinned = |bytes| Pinned::new(bytes).map_err(failed("pinned memory"));
        *locked(&self.uploads) = Some((Staging::new(UPLOAD_BYTES), pinned(UPLOAD_BYTES)?));
        *locked(&self.downloads) = Some(pinned(DOWNLOAD_BYTES)?);
        locked(&self.begun).free.push(Landing::new()?);
        Ok(())
    }

    /// Frees it; all copies must be done.
    pub(super) fn close(&self) {
        let uploads = locked(&self.uploads).take().map(|(_, pinned)| pinned);
        uploads.into_iter().chain(locked(&self.downloads).take()).for_each(Pinned::free);
        let Begun { free, going, .. } = std::mem::take(&mut *locked(&self.begun));
        free.into_iter().chain(going.into_values().map(|going| going.landing)).for_each(Landing::free);
    }

    /// Which uploads were asked for by now.
    fn mark(&self) -> Option<Mark> {
        locked(&self.uploads).as_ref().map(|(staging, _)| staging.mark())
    }

    /// That those are done.
    fn uploaded(&self, mark: Option<Mark>) {
        if let (Some(mark), Some((staging, _))) = (mark, &mut *locked(&self.uploads)) {
            staging.done(mark);
        }
    }

    /// Waits for a stream; `staged` if uploads pass through pinned memory there.
    pub(super) fn finish(
        &self,
        stream: sys::CUstream,
        staged: bool,
        operation: &str,
    ) -> Result<(), DriverError> {
        let mark = self.mark().filter(|_| staged);
        // SAFETY: the stream is the card's.
        unsafe { result::stream::synchronize(stream) }.map_err(failed(operation))?;
        self.uploaded(mark);
        Ok(())
    }

    /// Copies to the card, through pinned memory if `staged`.
    pub(super) fn upload(
        &self,
        stream: sys::CUstream,
        staged: bool,
        to: Address,
        bytes: &[u8],
    ) -> Result<(), DriverError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut uploads = locked(&self.uploads);
        let place = uploads.as_mut().filter(|_| staged).and_then(|(staging, pinned)| {
            let place = staging.place(bytes.len())?;
            Some((place, pinned))
        });
        let from = match place {
            None => bytes,
            Some((place, pinned)) => {
                if place.wait {
                    // SAFETY: the stream is the card's.
                    unsafe { result::stream::synchronize(stream) }.map_err(failed("upload"))?;
                }
                let staged = &mut pinned.bytes_mut()[place.first..][..bytes.len()];
                staged.copy_from_slice(bytes);
                &*staged
            }
        };
        // SAFETY: the caller's address holds as many bytes; the driver has copied ordinary memory when this returns, and
        // pinned memory is not written again before the copy is known to be done.
        unsafe { result::memcpy_htod_async(to.0, from, stream) }.map_err(failed("upload"))
    }

    /// Copies from the card and waits for it; `staged` as for [`Self::finish`].
    pub(super) fn download(
        &self,
        stream: sys::CUstream,
        staged: bool,
        from: Address,
        bytes: &mut [u8],
    ) -> Result<(), DriverError> {
        let mut downloads = locked(&self.downloads);
        let landing = downloads.as_mut().and_then(|pinned| pinned.bytes_mut().get_mut(..bytes.len()));
        if bytes.is_empty() {
            return self.finish(stream, staged, "download");
        }
        let copy = |to: &mut [u8]| {
            // SAFETY: the caller's address holds as many bytes, and the copy is waited for before anybody reads them.
            unsafe { result::memcpy_dtoh_async(to, from.0, stream) }.map_err(failed("download"))?;
            self.finish(stream, staged, "download")
        };
        match landing {
            None => copy(bytes),
            Some(landing) => copy(landing).map(|()| bytes.copy_from_slice(landing)),
        }
    }

    /// Begins a copy from the card behind what is on the stream, which uploads pass through pinned memory on.
    pub(super) fn begin_download(
        &self,
        stream: sys::CUstream,
        from: Address,
        bytes: usize,
    ) -> Result<Download, DriverError> {
        let mut begun = locked(&self.begun);
        // As many as are ever begun at once.
        let mut landing = begun.free.pop().map_or_else(Landing::new, Ok)?;
        let begin = |landing: &mut Landing| {
            let Some(to) = landing.pinned.bytes_mut().get_mut(..bytes) else {
                return Err(DriverError::failed("download", format!("{bytes} bytes are too many")));
            };
            // SAFETY: the caller's address holds as many bytes; where they land stays, and is not read before it is waited
            // for.
            unsafe { result::memcpy_dtoh_async(to, from.0, stream) }.map_err(failed("download"))?;
            // SAFETY: both are the card's.
            unsafe { result::event::record(landing.arrived, stream) }.map_err(failed("download"))
        };
        let result = begin(&mut landing);
        begun.next += 1;
        let number = begun.next;
        // Where it failed, a copy may be going on there all the same: it is not used again.
        begun.going.insert(number, Going { landing, bytes, mark: self.mark() });
        result.map(|()| Download(number))
    }

    /// Waits for such a copy.
    pub(super) fn finish_download(&self, download: Download, bytes: &mut [u8]) -> Result<(), DriverError> {
        let going = locked(&self.begun).going.remove(&download.0);
        let none = || DriverError::failed("download", "no such copy was begun");
        let Going { mut landing, bytes: length, mark } = going.ok_or_else(none)?;
        // SAFETY: it was recorded when the copy was begun.
        let waited = unsafe { result::event::synchronize(landing.arrived) }.map_err(failed("download"));
        if waited.is_ok() && length == bytes.len() {
            self.uploaded(mark);
            bytes.copy_from_slice(&landing.pinned.bytes_mut()[..length]);
        }
        locked(&self.begun).free.push(landing);
        waited?;
        if length == bytes.len() { Ok(()) } else { Err(none()) }
    }
}
