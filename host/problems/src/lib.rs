//! How a mistake in a TOML file is told: `file:line:column: what is wrong; what to do`, with the nearest known name for
//! an unknown one.
//!
//! Used for every file that people write by hand. Does not own what is right: each kind of file has its own rules.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Every mistake found in one file, in its order.
#[derive(Debug)]
pub struct Problems {
    path: PathBuf,
    entries: Vec<Problem>,
}

#[derive(Debug)]
struct Problem {
    /// Line and column from 1; `None` for the file as a whole.
    place: Option<(usize, usize)>,
    message: String,
}

impl Problems {
    /// No mistake yet in the file at `path`.
    pub fn none(path: &Path) -> Self {
        Self { path: path.to_owned(), entries: Vec::new() }
    }

    /// A file that cannot be read at all.
    pub fn unreadable(path: &Path, error: &io::Error) -> Self {
        let mut problems = Self::none(path);
        problems.entries.push(Problem { place: None, message: format!("cannot read it: {error}") });
        problems
    }

    /// From the TOML reader's error, which knows the place but not what the author may have meant.
    pub fn from_toml(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let mut problems = Self::none(path);
        let place = error.span().map(|span| place(text, span.start));
        problems.entries.push(Problem { place, message: with_nearest_name(error.message()) });
        problems
    }

    /// Adds a mistake at a place of the file's text, in bytes.
    pub fn add(&mut self, text: &str, span: Range<usize>, message: impl Into<String>) {
        self.entries.push(Problem { place: Some(place(text, span.start)), message: message.into() });
    }

    /// A place in the file as problems name it.
    pub fn place_of(&self, text: &str, span: Range<usize>) -> String {
        let (line, column) = place(text, span.start);
        format!("{}:{line}:{column}", self.path.display())
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.entries.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{}", self.path.display())?;
            if let Some((line, column)) = problem.place {
                write!(formatter, ":{line}:{column}")?;
            }
            write!(formatter, ": {}", problem.message)?;
        }
        Ok(())
    }
}

fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
    (line, column)
}

/// A message of serde about an unknown name, the nearest known one added. serde lists the known ones in backticks after
/// the unknown one.
pub fn with_nearest_name(message: &str) -> String {
    let message = message.trim_end();
    if !(message.starts_with("unknown field") || message.starts_with("unknown variant")) {
        return message.to_owned();
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let Some(unknown) = names.next() else { return message.to_owned() };
    match nearest(unknown, names) {
        Some(known) => format!("{message}; did you mean `{known}`?"),
        None => message.to_owned(),
    }
}

/// The name most like `unknown`, if any is like it at all.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(unknown, name), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}
