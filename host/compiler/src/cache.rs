//! A folder of compiled components, each with a code over its name and content.
//!
//! The code is HMAC-SHA-256 under a key that lies in the folder, made by this host and readable by its user alone. A
//! file that somebody else wrote, or that is damaged, cut or renamed, has another code: it is not used, and is
//! written anew. Nothing here can fail a load: what cannot be read is compiled, what cannot be written is not kept.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tracing::{debug, warn};

use crate::child::OUTPUT_BYTES_MAX;
use crate::trusted::Trusted;

const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;
const CODE_BYTES: usize = 32;
/// Files that are kept; the oldest go first.
const FILES_MAX: usize = 64;

/// What tells one compiled component from another.
pub(crate) struct Key(pub(crate) [u8; 32]);

/// The folder.
pub(crate) struct Cache {
    folder: PathBuf,
    secret: [u8; KEY_BYTES],
}

impl Cache {
    /// Opens the folder, made with its key where it is new. It must be this user's, and nobody else may write to it.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        private(&fs::symlink_metadata(folder)?, folder)?;
        let secret = match read_secret(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_secret(folder)?,
            secret => secret?,
        };
        Ok(Self { folder: folder.to_owned(), secret })
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(format!("{}.compiled", hex::encode(key.0)))
    }

    /// What is kept under a key, if this host wrote it.
    pub(crate) fn read(&self, key: &Key) -> Option<Trusted> {
        let path = self.path(key);
        let mut bytes = Vec::new();
        let file = File::open(&path).ok()?;
        file.take(OUTPUT_BYTES_MAX + CODE_BYTES as u64 + 1).read_to_end(&mut bytes).ok()?;
        let at = bytes.len().checked_sub(CODE_BYTES);
        let code = at.map(|at| bytes.split_off(at)).unwrap_or_default();
        if self.mac(key, &bytes).verify_slice(&code).is_err() {
            warn!(file = %path.display(), "not written by this host, or damaged: compiled anew");
            return None;
        }
        Some(Trusted::vouch(bytes))
    }

    /// Keeps a compiled component. It appears under its name only when it is whole.
    pub(crate) fn write(&self, key: &Key, compiled: &Trusted) {
        if let Err(error) = self.try_write(key, compiled) {
            warn!(folder = %self.folder.display(), %error, "the compiled plugin is not kept");
        }
        self.tidy();
    }

    fn try_write(&self, key: &Key, compiled: &Trusted) -> io::Result<()> {
        let code = self.mac(key, compiled.bytes()).finalize().into_bytes();
        let part = self.folder.join(format!("{}.{}.part", hex::encode(key.0), std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        let written = file.write_all(compiled.bytes()).and_then(|()| file.write_all(&code));
        let renamed = written.and_then(|()| fs::rename(&part, self.path(key)));
        if renamed.is_err() {
            // What is left of it is of no use to anybody.
            let _ = fs::remove_file(&part);
        }
        renamed
    }

    fn mac(&self, key: &Key, bytes: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes a key of any length");
        mac.update(&key.0);
        mac.update(bytes);
        mac
    }

    /// Forgets the oldest files beyond those that are kept.
    fn tidy(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files: Vec<_> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|ending| ending == "compiled"))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let surplus = files.len().saturating_sub(FILES_MAX);
        for (_, path) in files.drain(..surplus) {
            debug!(file = %path.display(), "an old compiled plugin is forgotten");
            let _ = fs::remove_file(path);
        }
    }
}

/// Refuses what another user owns or may write to.
fn private(metadata: &fs::Metadata, path: &Path) -> io::Result<()> {
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if metadata.file_type().is_symlink() || !is_ours || metadata.mode() & 0o022 != 0 {
        let problem = format!("{} must belong to this user, and nobody else may write to it", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
    }
    Ok(())
}

fn read_secret(folder: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = folder.join(KEY_FILE);
    let file = File::open(&path)?;
    private(&fs::symlink_metadata(&path)?, &path)?;
    let mut bytes = Vec::new();
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    let wrong =
        || io::Error::new(io::ErrorKind::InvalidData, format!("{} is no key: delete it", path.display()));
    bytes.try_into().map_err(|_| wrong())
}

/// Makes the key. Of two hosts that do so at once one comes first, and both use its key.
fn make_secret(folder: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut secret = [0; KEY_BYTES];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    let part = folder.join(format!("{KEY_FILE}.{}.part", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(&secret)?;
    let linked = fs::hard_link(&part, folder.join(KEY_FILE));
    fs::remove_file(&part)?;
    match linked {
        Ok(()) => Ok(secret),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read_secret(folder),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
