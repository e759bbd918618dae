// Which files the built kernels are made of, and their digest. Shared by this crate's build script, which compares, and
// `cargo xtask kernels`, which builds.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Where the built kernels are, from the workspace's root.
#[allow(dead_code, reason = "the build script is there already")]
pub(crate) const BUILT: &str = "kernels/cuda/built";

/// The file that says what they were made of.
pub(crate) const MANIFEST: &str = "manifest.txt";

/// The sources of all kernels: every `.cu` and `.cuh` of the folder and of its `ptx`, in order.
pub(crate) fn sources(cuda: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in [cuda.to_owned(), cuda.join("ptx")] {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "cu" || extension == "cuh") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The digest of their names and contents.
pub(crate) fn digest(cuda: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    for path in sources(cuda)? {
        let contents = std::fs::read(&path)?;
        let name = path.strip_prefix(cuda).unwrap_or(&path).to_string_lossy();
        digest.update(format!("{name} {}\n", contents.len()));
        digest.update(contents);
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
