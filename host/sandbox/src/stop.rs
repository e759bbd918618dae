//! Why the host stops a call, and how a call's end is told to the gateway.
//!
//! Owns the split into kinds: a refusal, a limit, a denial, an invalid plan, a trap of the guest's own, an
//! overload, a fault of the host. Owns also what a guest's last words may reveal: on a labelled request
//! they stay unsaid, since a panic message quotes what the plugin was reading.

use lockgate_api::{Forbidden, PolicyError};
use thiserror::Error;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::probe::Fault;

/// A reason of the host's own to end a call. Travels through wasmtime as the error of a host function.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Stop {
    #[error("memory: {bytes_max} bytes in all its memories")]
    Memory { bytes_max: usize },
    #[error("tables: {elements_max} entries in all its tables")]
    Table { elements_max: usize },
    #[error("time: {} ms", limit.as_millis())]
    Time { limit: std::time::Duration },
    #[error("fuel: all that stands for its time is used up")]
    Fuel,
    #[error("host calls: {calls_max}")]
    HostCalls { calls_max: u64 },
    #[error("output: {bytes_max} bytes handed to the host")]
    Output { bytes_max: usize },
    #[error("input: {bytes_max} bytes handed to the plugin")]
    Input { bytes_max: usize },
    #[error("{part}: {length} where at most {max} is allowed")]
    Part { part: &'static str, length: usize, max: usize },
    #[error("stack")]
    Stack,
    /// An import of WASI's that is there to be linked and never to be used.
    #[error("{what}; a plugin has no files, sockets, environment or clock of its own")]
    Denied { what: String },
    /// It has asked somebody whom a label forbids that came afterwards.
    #[error("a label forbids what was asked for this request before it: {forbidden}")]
    Breach { forbidden: Forbidden },
    /// Each version of a request that prompts were made of would be kept whole.
    #[error("a prompt of the request as it was before a change is held while one of it as it is now is made")]
    OlderPrompt,
    /// Whoever tests the plugin wants to see what comes of it.
    #[error("{} put in by a test", .0.name())]
    Injected(Fault),
    /// The guest called `exit`.
    #[error("the guest exited instead of answering")]
    Exit,
}

/// The end of a call that gave no plan.
pub(crate) fn classify(
    error: &wasmtime::Error,
    refused_growth: Option<&Stop>,
    last_words: &str,
) -> PolicyError {
    let limit = |stop: &Stop| PolicyError::Limit { limit: stop.to_string() };
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return match stop {
            Stop::Denied { .. } | Stop::Breach { .. } => PolicyError::Denied { what: stop.to_string() },
            Stop::Exit | Stop::Injected(Fault::Trap) => trap(&stop.to_string(), last_words),
            Stop::Injected(Fault::Denial) => PolicyError::Denied { what: stop.to_string() },
            _ => limit(stop),
        };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return PolicyError::Overloaded;
    }
    let Some(code) = error.downcast_ref::<Trap>() else {
        return not_a_trap(error, refused_growth);
    };
    let frames = frames(error);
    match (code, refused_growth) {
        (Trap::StackOverflow, _) => limit(&Stop::Stack),
        (Trap::OutOfFuel, _) => limit(&Stop::Fuel),
        // A guest that gets no more memory dies of it, each language in its own way.
        (_, Some(stop)) => limit(stop),
        (Trap::MemoryOutOfBounds, None) => {
            let what = "out of bounds memory access; a guest whose own stack runs out ends so, too";
            trap(&format!("{what}{frames}"), last_words)
        }
        (code, None) => trap(&format!("{code}{frames}"), last_words),
    }
}

/// The functions that the guest was in, innermost first, by name where the component has names. They are its author's
/// words and say nothing of a request. Those of Rust's own panicking come before everything that matters and are left
/// out.
fn frames(error: &wasmtime::Error) -> String {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let text = trace.to_string();
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.split_once('!')).map(|(_, name)| name.trim()).collect();
    let of_panicking = |name: &&str| PANICKING.iter().any(|part| name.contains(part));
    let begin = names.iter().rposition(of_panicking).map_or(0, |last| last + 1);
    let mut told = String::new();
    for (place, name) in names[begin..].iter().take(FRAMES_MAX).enumerate() {
        told.push_str(if place == 0 { "; in " } else { " < " });
        told.extend(without_hash(name).chars().take(FRAME_CHARS_MAX));
    }
    told
}

/// Rust's names end with a hash that tells two builds apart and nothing else.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((rest, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => rest,
        _ => name,
    }
}

/// Parts of the names of functions that Rust panics through.
const PANICKING: &[&str] = &[
    "rust_panic",
    "panicking::",
    "panic_impl",
    "__rust_start_panic",
    "__rust_end_short_backtrace",
    "rust_begin_unwind",
];
/// Frames of a backtrace that are told, and characters of each.
const FRAMES_MAX: usize = 8;
const FRAME_CHARS_MAX: usize = 120;

/// Wasmtime keeps the types of a few limits to itself: these words are part of its texts.
fn not_a_trap(error: &wasmtime::Error, refused_growth: Option<&Stop>) -> PolicyError {
    let text = format!("{error:#}");
    if text.contains("fuel allocated for hostcalls") {
        return PolicyError::Limit {
            limit: "output: too many bytes handed to the host in one call".to_owned(),
        };
    }
    if text.contains("store handle limit exceeded") {
        return PolicyError::Limit { limit: "handles held at once".to_owned() };
    }
    match refused_growth {
        Some(stop) => PolicyError::Limit { limit: stop.to_string() },
        None => PolicyError::Trap { message: text },
    }
}

fn trap(what: &str, last_words: &str) -> PolicyError {
    let what = what.strip_prefix("wasm trap: ").unwrap_or(what);
    let message = if last_words.is_empty() { what.to_owned() } else { format!("{last_words} ({what})") };
    PolicyError::Trap { message }
}

/// What a guest wrote to standard error before it died, in one line. Withheld, only the place remains.
pub(crate) fn last_words(standard_error: &[u8], withhold: bool) -> String {
    let text = String::from_utf8_lossy(standard_error);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    if withhold {
        let place = lines.filter_map(|line| line.split_once("panicked at ")).map(|(_, place)| place).next();
        return match place.map(|place| place.trim_end_matches(':')) {
            // Rust's own form is file:line:column; anything else may quote the request.
            Some(place) if place.len() <= 256 && !place.contains(char::is_whitespace) => {
                format!("panicked at {place}, its words withheld since the request is labelled")
            }
            _ => String::new(),
        };
    }
    let told: Vec<&str> = lines.filter(|line| !line.starts_with("note: run with `RUST_BACKTRACE")).collect();
    told.join(" ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::last_words;

    const PANIC: &[u8] =
        b"\nthread '<unnamed>' panicked at src/lib.rs:7:9:\nno such patient: Ada\nnote: run with \
                           `RUST_BACKTRACE=1` environment variable to display a backtrace\n";

    #[test]
    fn a_panic_is_one_line() {
        let words = last_words(PANIC, false);
        assert_eq!(words, "thread '<unnamed>' panicked at src/lib.rs:7:9: no such patient: Ada");
    }

    #[test]
    fn a_labelled_request_is_not_quoted() {
        let words = last_words(PANIC, true);
        assert_eq!(words, "panicked at src/lib.rs:7:9, its words withheld since the request is labelled");
        assert_eq!(last_words(b"panicked at the sight of Ada", true), "");
        assert_eq!(last_words(b"Ada", true), "");
    }
}
