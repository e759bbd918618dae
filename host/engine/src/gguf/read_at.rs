//! Positioned reads over a file or over memory: the only way that bytes enter the engine.
//!
//! Deliberately not a mapping and not a stream: a reader holds no position, so that many threads can read
//! different tensors at once.

use std::fs::File;
use std::io;
use std::path::Path;

use lockgate_kernels::random::RandomWeights;

/// Bytes that can be read at any position.
pub trait ReadAt: Send + Sync {
    /// The size in bytes, as it was when the source was opened.
    fn size_bytes(&self) -> u64;

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` when the source ends first (also when it shrank after it was opened); whatever the system
    /// reports otherwise.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// The rule by which whoever computes with the matrix at `offset` may make it, in the place of reading it. A file has
    /// none.
    fn rule_at(&self, _offset: u64) -> Option<RandomWeights> {
        None
    }
}

/// A regular file, opened for reading.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    size_bytes: u64,
}

impl FileSource {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// What the system reports, and `InvalidInput` for anything that is not a regular file (reading a pipe or a
    /// device at a position cannot work, or never ends).
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { file, size_bytes: about.len() })
    }
}

impl ReadAt for FileSource {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    #[cfg(unix)]
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
    }
}

impl ReadAt for Vec<u8> {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let end = start.and_then(|start| start.checked_add(buffer.len()));
        match start.zip(end).and_then(|(start, end)| self.get(start..end)) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
