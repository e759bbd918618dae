//! What people read: results on stdout, everything else on stderr.
//!
//! The one module that prints, besides the commands whose results are text.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is where the binary prints")]

use std::io::{self, Write};

/// A line of progress or advice, on stderr.
pub(crate) fn note(line: &str) {
    eprintln!("{line}");
}

/// A result, on stdout, with a line end. A reader that has gone away is not an error.
pub(crate) fn result(line: &str) -> io::Result<()> {
    raw(format!("{line}\n").as_bytes())
}

/// A result exactly as it is, on stdout, seen at once.
pub(crate) fn raw(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
