//! The compiler's process: both ends of it.
//!
//! The host starts a program, gives it the component on its standard input and takes from its standard output one
//! byte that says whether it worked, and then machine code or words. The program is the host's own, started anew: it
//! first confines itself ([`confine`]), then compiles ([`work`]).

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wasmtime::Engine;

use crate::CompileError;
use crate::trusted::Trusted;

/// Bytes of machine code that one component may come to.
pub(crate) const OUTPUT_BYTES_MAX: u64 = 512 << 20;
/// Bytes of the compiler's words that are kept.
const WORDS_BYTES_MAX: usize = 4096;

const DONE: u8 = 0;
const REFUSED: u8 = 1;

/// What the compiler may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From its start to its end, for a component of next to no bytes.
    pub time_max: Duration,
    /// More of it for each MiB of the component: an interpreter of 20 MiB is honest work of half a minute.
    pub time_per_mib: Duration,
    /// Bytes of address space.
    pub memory_bytes_max: u64,
}

impl Default for Limits {
    /// A minute, 10 s for each MiB, and 4 GiB. Two cores take 2 s for a MiB of an interpreter, and much longer when
    /// they are busy.
    fn default() -> Self {
        Self {
            time_max: Duration::from_secs(60),
            time_per_mib: Duration::from_secs(10),
            memory_bytes_max: 4 << 30,
        }
    }
}

impl Limits {
    /// What a component of this many bytes may take.
    pub fn time_for(&self, bytes: u64) -> Duration {
        let mib = u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX);
        self.time_max.saturating_add(self.time_per_mib.saturating_mul(mib))
    }
}

/// Puts the limits on this process, for good. To be called by the program before it reads anything.
///
/// # Errors
/// The system refuses.
pub fn confine(limits: &Limits) -> io::Result<()> {
    // What the host itself was given may be less already, and cannot be raised.
    let limit = |resource, most: u64| {
        let most = getrlimit(resource).maximum.map_or(most, |given| given.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
    };
    limit(Resource::As, limits.memory_bytes_max)?;
    // Per thread of work it may be less than the time that passes; never is it more than all cores' together.
    let cores = thread::available_parallelism().map_or(1, |count| count.get() as u64);
    limit(Resource::Cpu, limits.time_max.as_secs().max(1).saturating_mul(cores))?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    Ok(())
}

/// The program's work: a component in, its machine code or the compiler's words out.
///
/// # Errors
/// The pipes break.
pub fn work(engine: &Engine, mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    match engine.precompile_component(&bytes) {
        Ok(compiled) => {
            output.write_all(&[DONE])?;
            output.write_all(&compiled)?;
        }
        Err(error) => {
            let mut words = format!("{error:#}");
            words.truncate(words.floor_char_boundary(WORDS_BYTES_MAX));
            output.write_all(&[REFUSED])?;
            output.write_all(words.as_bytes())?;
        }
    }
    output.flush()
}

/// Has the program compile a component.
pub(crate) fn compile(
    program: &Path,
    arguments: &[String],
    limits: &Limits,
    bytes: &[u8],
) -> Result<Trusted, CompileError> {
    let failed = |source| CompileError::Process { program: program.to_owned(), source };
    let mut command = Command::new(program);
    // What it needs is in its arguments; nothing of the host's environment, where keys may be, is.
    command.args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Reaped(command.spawn().map_err(failed)?);
    let output = converse(&mut child.0, limits.time_for(bytes.len() as u64), bytes)?;
    let status = child.0.wait().map_err(failed)?;
    match output.split_first() {
        Some((&DONE, compiled)) if status.success() => Ok(Trusted::vouch(compiled.to_vec())),
        Some((&REFUSED, words)) if status.success() => {
            Err(CompileError::Invalid(String::from_utf8_lossy(words).into_owned()))
        }
        _ => Err(CompileError::Died { how: status.to_string(), memory_bytes: limits.memory_bytes_max }),
    }
}

/// Writes the input and reads the output, at the same time and for no longer than allowed.
fn converse(child: &mut Child, time_max: Duration, bytes: &[u8]) -> Result<Vec<u8>, CompileError> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    thread::scope(|scope| {
        let (sender, read) = channel();
        // Both end when the process does, which is killed below at the latest.
        scope.spawn(move || {
            // A compiler that has heard enough closes its end, and says why in its answer.
            let _ = stdin.map(|mut stdin| stdin.write_all(bytes));
        });
        scope.spawn(move || {
            let mut output = Vec::new();
            let result = stdout.map(|stdout| stdout.take(OUTPUT_BYTES_MAX + 2).read_to_end(&mut output));
            // Whoever waits has gone only when it is too late.
            let _ = sender.send(result.transpose().map(|_| output));
        });
        let output = match read.recv_timeout(time_max) {
            Ok(Ok(output)) if output.len() as u64 > OUTPUT_BYTES_MAX + 1 => {
                Err(CompileError::Size(OUTPUT_BYTES_MAX))
            }
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => Err(CompileError::Invalid(format!("its output cannot be read: {error}"))),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(CompileError::Time(time_max))
            }
        };
        if output.is_err() {
            // Already gone, perhaps.
            let _ = child.kill();
        }
        output
    })
}

/// A process that does not outlive its owner.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests;
