//! Writes a launch with its buffers to a file, and has the program with AddressSanitizer run it.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use lockgate_kernels::cuda::driver::{Argument, Launch};

use crate::native::Schedule;

pub(crate) struct Buffer<'a> {
    pub(crate) start: usize,
    pub(crate) contents: &'a [u8],
}

/// Runs the record of a launch; `scratch` is a file to write it to.
pub(crate) fn replay(
    launch: &Launch,
    buffers: &[Buffer<'_>],
    schedule: Schedule,
    scratch: &Path,
) -> Result<(), String> {
    let unwritten = |error| format!("cannot write {}: {error}", scratch.display());
    let mut file = std::io::BufWriter::new(std::fs::File::create(scratch).map_err(unwritten)?);
    write(&mut file, launch, buffers, schedule).and_then(|()| file.flush()).map_err(unwritten)?;
    drop(file);
    let output = Command::new(env!("LOCKGATE_REPLAY"))
        .arg(scratch)
        .env("ASAN_OPTIONS", "detect_leaks=0:abort_on_error=0:detect_stack_use_after_return=0")
        .output()
        .map_err(|error| format!("cannot run {}: {error}", env!("LOCKGATE_REPLAY")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn write(
    file: &mut impl Write,
    launch: &Launch,
    buffers: &[Buffer<'_>],
    schedule: Schedule,
) -> std::io::Result<()> {
    let word = |file: &mut dyn Write, value: u64| file.write_all(&value.to_le_bytes());
    word(file, launch.kernel.len() as u64)?;
    file.write_all(launch.kernel.as_bytes())?;
    for size in launch.grid.into_iter().chain(launch.block) {
        word(file, u64::from(size))?;
    }
    word(file, launch.shared_bytes as u64)?;
    let (code, seed) = schedule.code();
    word(file, u64::from(code))?;
    word(file, seed)?;
    word(file, buffers.len() as u64)?;
    for buffer in buffers {
        word(file, buffer.contents.len() as u64)?;
        file.write_all(buffer.contents)?;
    }
    word(file, launch.arguments.len() as u64)?;
    for argument in &launch.arguments {
        let place = |at: u64| {
            let at = at as usize;
            // A pointer to the very end of a buffer is one to nothing of it.
            buffers.iter().position(|buffer| at >= buffer.start && at - buffer.start <= buffer.contents.len())
        };
        match *argument {
            Argument::Pointer(address) if let Some(index) = place(address.0) => {
                word(file, 1)?;
                word(file, index as u64)?;
                word(file, address.0 - buffers[index].start as u64)?;
            }
            _ => {
                word(file, 0)?;
                word(file, argument.bytes() as u64)?;
                file.write_all(&argument.value()[..argument.bytes()])?;
            }
        }
    }
    Ok(())
}
