//! What a function of the driver answers: a code, and, where the call made no sense, a line about it.
#![allow(clippy::print_stderr, reason = "the driver has no other way to say what was wrong with a call")]

use cudarc::driver::sys::CUresult;

/// How a line begins that tells of a call which made no sense.
pub const MISUSE: &str = "libcuda was misused: ";

pub(crate) type Answer<T> = Result<T, Problem>;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) code: CUresult,
    /// What was wrong with the call, where that is the caller's fault.
    misuse: Option<String>,
}

impl From<CUresult> for Problem {
    /// An error that a sound program may see.
    fn from(code: CUresult) -> Problem {
        Problem { code, misuse: None }
    }
}

/// An error that only a program sees which is wrong.
pub(crate) fn misuse(code: CUresult, text: impl Into<String>) -> Problem {
    Problem { code, misuse: Some(text.into()) }
}

/// The code of an answer of this function, and a line where it made no sense.
pub(crate) fn code(function: &str, answer: Answer<()>) -> CUresult {
    match answer {
        Ok(()) => CUresult::CUDA_SUCCESS,
        Err(Problem { code, misuse }) => {
            if let Some(text) = misuse {
                tell(&format!("{function}: {text}"));
            }
            code
        }
    }
}

/// Says what made no sense.
pub(crate) fn tell(text: &str) {
    eprintln!("{MISUSE}{text}");
}
