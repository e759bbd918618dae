//! A bounded, buffered cursor over the directory of a GGUF file.
//!
//! Every read is preceded by a check against the bytes that remain; every reservation is made after that check.
//! The cursor knows nothing of keys or tensors: callers pass in words what they are reading, for messages.

use super::error::Problem;
use super::read_at::ReadAt;

const BUFFER_BYTES: usize = 64 << 10;

pub(super) struct Cursor<'a> {
    source: &'a dyn ReadAt,
    /// The end of what may be read: the file's size, or the directory quota.
    end: u64,
    limited_by_quota: bool,
    position: u64,
    buffer: Vec<u8>,
    /// The position of the first byte of `buffer`.
    buffer_start: u64,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `source` that reads at most `bytes_max` bytes of it.
    pub(super) fn new(source: &'a dyn ReadAt, bytes_max: u64) -> Self {
        let size = source.size_bytes();
        Self {
            source,
            end: size.min(bytes_max),
            limited_by_quota: bytes_max < size,
            position: 0,
            buffer: Vec::new(),
            buffer_start: 0,
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Fails unless `needed` more bytes can be read.
    pub(super) fn need(&self, needed: u64, what: &str) -> Result<(), Problem> {
        let remaining = self.end - self.position;
        if needed <= remaining {
            return Ok(());
        }
        let (what, offset) = (what.to_owned(), self.position);
        if self.limited_by_quota {
            let what = format!("the directory up to {what}, in bytes,");
            return Err(Problem::Quota {
                what,
                offset,
                found: self.position.saturating_add(needed),
                limit: self.end,
            });
        }
        Err(Problem::Truncated { what, offset, needed, remaining })
    }

    /// Fails unless `count` elements of at least `bytes_each` can be read, whose number is under `limit`.
    pub(super) fn need_elements(
        &self,
        count: u64,
        bytes_each: u64,
        limit: u64,
        what: &str,
    ) -> Result<usize, Problem> {
        if count > limit {
            let (what, offset) = (format!("the length of {what}"), self.position);
            return Err(Problem::Quota { what, offset, found: count, limit });
        }
        let overflow = || Problem::Overflow { what: format!("the size of {what}"), offset: self.position };
        self.need(count.checked_mul(bytes_each).ok_or_else(overflow)?, what)?;
        usize::try_from(count).map_err(|_| overflow())
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Problem> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, Problem> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A string of at most `bytes_max` bytes.
    pub(super) fn string(&mut self, bytes_max: u64, what: &str) -> Result<String, Problem> {
        let length = self.u64(what)?;
        let offset = self.position;
        let length = self.need_elements(length, 1, bytes_max, what)?;
        let mut bytes = vec![0; length];
        self.fill(&mut bytes, what)?;
        String::from_utf8(bytes).map_err(|_| Problem::Utf8 { what: what.to_owned(), offset })
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Problem> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// Fills `target` from the current position on.
    pub(super) fn fill(&mut self, target: &mut [u8], what: &str) -> Result<(), Problem> {
        self.need(target.len() as u64, what)?;
        if target.len() >= BUFFER_BYTES {
            self.read(target, self.position)?;
            self.position += target.len() as u64;
            return Ok(());
        }
        let mut filled = 0;
        while filled < target.len() {
            let available = self.buffered()?;
            let count = available.len().min(target.len() - filled);
            target[filled..filled + count].copy_from_slice(&available[..count]);
            filled += count;
            self.position += count as u64;
        }
        Ok(())
    }

    /// The buffered bytes from the current position on: at least one, as the caller has checked that it exists.
    fn buffered(&mut self) -> Result<&[u8], Problem> {
        let buffer_end = self.buffer_start + self.buffer.len() as u64;
        if self.position < self.buffer_start || self.position >= buffer_end {
            let count = (self.end - self.position).min(BUFFER_BYTES as u64) as usize;
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(count, 0);
            self.read(&mut buffer, self.position)?;
            self.buffer = buffer;
            self.buffer_start = self.position;
        }
        Ok(&self.buffer[(self.position - self.buffer_start) as usize..])
    }

    fn read(&self, target: &mut [u8], offset: u64) -> Result<(), Problem> {
        self.source.read_exact_at(target, offset).map_err(|reason| Problem::Read { offset, reason })
    }
}
