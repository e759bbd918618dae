//! A file on its way into the store: written as `.part`, hashed while it grows, renamed when whole.
//!
//! An interrupted download leaves its part behind; the next one continues it when the content is
//! known by its hash, which is checked at the end either way. A lock on the part keeps a second
//! process out.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::progress::{Progress, human_bytes};

/// What the file must turn out to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) bytes: Option<u64>,
    /// Lower-case hexadecimal.
    pub(crate) sha256: Option<String>,
}

/// Why a download did not become a model.
#[derive(Debug, Error)]
pub(crate) enum DownloadError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("another process is fetching it ({} is locked)", .0.display())]
    Busy(PathBuf),
    #[error("the file ended after {got} bytes of {wanted}; start again to continue it")]
    Short { got: u64, wanted: u64 },
    #[error("the file is longer than the {0} bytes it should have")]
    Long(u64),
    #[error("the file's SHA-256 is {got}, not {wanted}: it was removed")]
    Hash { got: String, wanted: String },
}

/// A growing file.
pub(crate) struct Part {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    written: u64,
    expected: Expected,
    progress: Option<Progress>,
}

impl Part {
    /// Opens the part beside `target`. What an earlier download left is kept and hashed when
    /// `expected` tells what it must become.
    pub(crate) fn open(target: &Path, what: &str, expected: Expected) -> Result<Self, DownloadError> {
        let path = target.with_extension("gguf.part");
        let io = |source| DownloadError::Io { path: path.clone(), source };
        let mut file =
            OpenOptions::new().create(true).read(true).write(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(DownloadError::Busy(path)),
            Err(std::fs::TryLockError::Error(error)) => return Err(io(error)),
        }
        // Between the two, whoever had it may have finished: then it is the model by now, and no part of one.
        if !is_at(&file, &path) {
            return Err(DownloadError::Busy(path));
        }
        let mut hasher = Sha256::new();
        let mut written = 0;
        let kept = file.metadata().map_err(io)?.len();
        let resumable = expected.sha256.is_some() && expected.bytes.is_none_or(|bytes| kept <= bytes);
        if resumable {
            let mut buffer = vec![0; 1 << 16];
            loop {
                let read = file.read(&mut buffer).map_err(io)?;
                if read == 0 {
                    break;
                }
                hasher.update(&buffer[..read]);
                written += read as u64;
            }
        } else {
            file.set_len(0).map_err(io)?;
        }
        let mut progress = Progress::start(what, expected.bytes);
        progress.add(written);
        Ok(Self { path, file, hasher, written, expected, progress: Some(progress) })
    }

    /// Bytes that are there already.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Forgets what is there: the source cannot continue.
    pub(crate) fn restart(&mut self) -> Result<(), DownloadError> {
        let restarted = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        restarted.map_err(|source| self.io(source))?;
        self.hasher = Sha256::new();
        self.written = 0;
        Ok(())
    }

    /// More bytes. More than expected is refused before it fills the disk.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), DownloadError> {
        let written = self.written + bytes.len() as u64;
        if let Some(wanted) = self.expected.bytes.filter(|wanted| written > *wanted) {
            self.restart()?;
            return Err(DownloadError::Long(wanted));
        }
        self.file.write_all(bytes).map_err(|source| self.io(source))?;
        self.hasher.update(bytes);
        self.written = written;
        if let Some(progress) = &mut self.progress {
            progress.add(bytes.len() as u64);
        }
        Ok(())
    }

    /// Checks the whole and says what it hashed to. `commit` must follow.
    pub(crate) fn verify(&mut self) -> Result<String, DownloadError> {
        if let Some(wanted) = self.expected.bytes.filter(|wanted| self.written < *wanted) {
            return Err(DownloadError::Short { got: self.written, wanted });
        }
        let got = hex::encode(self.hasher.clone().finalize());
        match &self.expected.sha256 {
            Some(wanted) if *wanted != got => {
                let wanted = wanted.clone();
                self.restart()?;
                Err(DownloadError::Hash { got, wanted })
            }
            _ => Ok(got),
        }
    }

    /// The file that it is so far.
    #[cfg(feature = "engine")]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what was fetched, which is of no use.
    #[cfg(feature = "engine")]
    pub(crate) fn discard(self) {
        // What cannot be removed is written anew at the next attempt.
        let _ = std::fs::remove_file(&self.path);
    }

    /// Gives the verified file its name.
    pub(crate) fn commit(mut self, target: &Path) -> Result<(), DownloadError> {
        self.file.sync_all().map_err(|source| self.io(source))?;
        std::fs::rename(&self.path, target).map_err(|source| self.io(source))?;
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
        crate::terminal::note(&format!("saved {} ({})", target.display(), human_bytes(self.written)));
        Ok(())
    }

    fn io(&self, source: io::Error) -> DownloadError {
        DownloadError::Io { path: self.path.clone(), source }
    }
}

/// Whether the file is the one of this name.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |one: std::fs::Metadata, other: std::fs::Metadata| {
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    };
    file.metadata().and_then(|locked| Ok(same(locked, std::fs::metadata(path)?))).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn expected(bytes: u64) -> Expected {
        Expected { bytes: Some(bytes), sha256: Some(HELLO.to_owned()) }
    }

    #[test]
    fn an_interrupted_download_continues() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let target = folder.path().join("m.gguf");
        let mut part = Part::open(&target, "m", expected(5)).expect("opened");
        part.write(b"hel").expect("written");
        assert!(matches!(part.verify(), Err(DownloadError::Short { got: 3, wanted: 5 })));
        drop(part);
        assert!(!target.exists());

        let mut part = Part::open(&target, "m", expected(5)).expect("opened");
        assert_eq!(part.written(), 3);
        part.write(b"lo").expect("written");
        assert_eq!(part.verify().expect("whole"), HELLO);
        part.commit(&target).expect("renamed");
        assert_eq!(std::fs::read(&target).expect("there"), b"hello");
    }

    #[test]
    fn a_part_that_became_the_model_is_left_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let target = folder.path().join("m.gguf");
        let mut part = Part::open(&target, "m", expected(5)).expect("opened");
        part.write(b"hello").expect("written");
        part.verify().expect("whole");
        let path = part.path.clone();
        // Another process has opened it and waits for the lock.
        let waiting = OpenOptions::new().read(true).write(true).open(&path).expect("it is there");
        part.commit(&target).expect("renamed");
        assert!(!is_at(&waiting, &path));
        std::fs::write(&path, b"").expect("a third begins");
        assert!(!is_at(&waiting, &path));
        assert!(is_at(&OpenOptions::new().read(true).open(&path).expect("it is there"), &path));
        assert_eq!(std::fs::read(&target).expect("there"), b"hello");
    }

    #[test]
    fn a_wrong_file_never_gets_the_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let target = folder.path().join("m.gguf");
        let mut part = Part::open(&target, "m", expected(5)).expect("opened");
        part.write(b"hallo").expect("written");
        assert!(matches!(part.verify(), Err(DownloadError::Hash { .. })));
        drop(part);
        let part = Part::open(&target, "m", expected(5)).expect("opened");
        assert_eq!(part.written(), 0, "wrong bytes are not continued");
        assert!(!target.exists());
    }

    #[test]
    fn too_much_is_refused_and_two_at_once_are_too() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let target = folder.path().join("m.gguf");
        let mut part = Part::open(&target, "m", expected(5)).expect("opened");
        assert!(matches!(Part::open(&target, "m", expected(5)), Err(DownloadError::Busy(_))));
        assert!(matches!(part.write(b"hello world"), Err(DownloadError::Long(5))));
    }
}
