//! One call of a plugin: the facts that it may read, what it has made so far, what it has used.
//!
//! This is the data of a wasmtime store. It lives as long as the call and nothing of it outlives it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use lockgate_api::{ChatRequest, Labels, RouteInput};
use wasmtime::component::Resource;

use crate::contract::{Draft, Refused, RequestHandle};
use crate::limits::{Limits, Meter};
use crate::slots::Slots;
use crate::stop::Stop;
use crate::text::TextIndex;

/// Bytes of one log line that are kept.
const LOG_LINE_BYTES_MAX: usize = 4096;
/// Bytes of a guest's standard error that are kept: a panic message and a bit more.
const STANDARD_ERROR_BYTES_MAX: usize = 4096;
/// Calls of WASI's functions. Toolchains make a few dozen on their own, most of them while panicking.
const WASI_CALLS_MAX: u64 = 1_000;

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The data of one call.
pub(crate) struct Call {
    input: RouteInput,
    settings: Arc<BTreeMap<String, String>>,
    text: Option<TextIndex>,
    pub(crate) drafts: Slots<Draft>,
    pub(crate) refusals: Slots<Refused>,
    pub(crate) meter: Meter,
    limits: Arc<Limits>,
    deadline: Instant,
    host_calls: u64,
    wasi_calls: u64,
    output_bytes: usize,
    log: Vec<(LogLevel, String)>,
    log_lines_dropped: usize,
    standard_error: Vec<u8>,
    random: u64,
}

impl Call {
    pub(crate) fn new(
        input: RouteInput,
        settings: Arc<BTreeMap<String, String>>,
        limits: Arc<Limits>,
        deadline: Instant,
    ) -> Self {
        Self {
            text: None,
            drafts: Slots::default(),
            refusals: Slots::default(),
            meter: Meter::new(&limits),
            deadline,
            host_calls: 0,
            wasi_calls: 0,
            output_bytes: 0,
            log: Vec::new(),
            log_lines_dropped: 0,
            standard_error: Vec::new(),
            random: seed(&input.request_id),
            input,
            settings,
            limits,
        }
    }

    /// The one request's handle, lent to the guest for the call.
    pub(crate) fn request_handle() -> Resource<RequestHandle> {
        Resource::new_borrow(0)
    }

    pub(crate) fn input(&self) -> &RouteInput {
        &self.input
    }

    pub(crate) fn labels(&self) -> &Labels {
        &self.input.labels
    }

    pub(crate) fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    pub(crate) fn text(&mut self) -> &TextIndex {
        self.text.get_or_insert_with(|| TextIndex::new(&self.input.request))
    }

    pub(crate) fn with_text<T>(&mut self, read: impl FnOnce(&TextIndex, &ChatRequest) -> T) -> T {
        let text = self.text.get_or_insert_with(|| TextIndex::new(&self.input.request));
        read(text, &self.input.request)
    }

    /// Counts one call of a host function. Each of them starts with this.
    pub(crate) fn enter(&mut self) -> Result<(), Stop> {
        self.host_calls += 1;
        if self.host_calls > self.limits.host_calls_max {
            return Err(Stop::HostCalls { calls_max: self.limits.host_calls_max });
        }
        Ok(())
    }

    /// Counts one call that hands over this many bytes.
    pub(crate) fn enter_with(&mut self, bytes: usize) -> Result<(), Stop> {
        self.enter()?;
        self.output_bytes = self.output_bytes.saturating_add(bytes);
        if self.output_bytes > self.limits.output_bytes_max {
            return Err(Stop::Output { bytes_max: self.limits.output_bytes_max });
        }
        Ok(())
    }

    /// Counts one call of a toolchain's own making.
    pub(crate) fn enter_wasi(&mut self) -> Result<(), Stop> {
        self.wasi_calls += 1;
        if self.wasi_calls > WASI_CALLS_MAX {
            return Err(Stop::HostCalls { calls_max: WASI_CALLS_MAX });
        }
        Ok(())
    }

    /// Ends the call when its time is over.
    pub(crate) fn check_time(&self) -> Result<(), Stop> {
        if Instant::now() >= self.deadline {
            return Err(Stop::Time { limit: self.limits.time_max });
        }
        Ok(())
    }

    pub(crate) fn log(&mut self, level: LogLevel, message: &str) {
        if self.log.len() >= self.limits.log_lines_max {
            self.log_lines_dropped += 1;
            return;
        }
        let kept = &message[..message.floor_char_boundary(LOG_LINE_BYTES_MAX)];
        self.log.push((level, kept.to_owned()));
    }

    /// The log lines, and how many more there were.
    pub(crate) fn take_log(&mut self) -> (Vec<(LogLevel, String)>, usize) {
        (std::mem::take(&mut self.log), self.log_lines_dropped)
    }

    pub(crate) fn write_standard_error(&mut self, bytes: &[u8]) {
        let room = STANDARD_ERROR_BYTES_MAX.saturating_sub(self.standard_error.len());
        self.standard_error.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    pub(crate) fn standard_error(&self) -> &[u8] {
        &self.standard_error
    }

    /// The next of the numbers that follow from the request's id (SplitMix64).
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A number that the same request id always gives (FNV-1a).
fn seed(request_id: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    request_id.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
