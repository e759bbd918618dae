//! Lines for the operator's log. A component that calls any of this needs the grant `log`.
//!
//! Natively the lines are kept for the test: [`crate::testing::log_lines`].

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Every step.
    Trace,
    /// What helps to explain a decision.
    Debug,
    /// What an operator may want to know.
    Info,
    /// Something is off.
    Warn,
    /// Something is broken.
    Error,
}

/// Writes one line. The host keeps at most 4096 bytes of it, and none when a label is on the request.
pub fn write(level: Level, message: &str) {
    #[cfg(target_family = "wasm")]
    crate::guest::write_log(level, message);
    #[cfg(not(target_family = "wasm"))]
    crate::testing::keep_log(level, message);
}

/// Writes one line of level [`Level::Info`].
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Writes one line of level [`Level::Warn`].
pub fn warn(message: &str) {
    write(Level::Warn, message);
}
