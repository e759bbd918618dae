//! [`Settings`]: what the card is, and when it fails, by environment variables.

use std::path::PathBuf;

/// What the card is. Each of them is an environment variable of this library alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `LIBCUDA_MEMORY`: its memory in bytes.
    pub memory_bytes: usize,
    /// `LIBCUDA_CAPABILITY`: its compute capability, as in `9.0`.
    pub capability: (i32, i32),
    /// `LIBCUDA_MULTIPROCESSORS`: how many it has.
    pub multiprocessors: i32,
    /// `LIBCUDA_VERSION`: the version of CUDA that the driver supports, as 1000 · major + 10 · minor.
    pub driver_version: i32,
    /// `LIBCUDA_LOST`: a file; once it exists, the card has an error that nothing mends.
    pub lost: Option<PathBuf>,
}

impl Settings {
    pub(crate) fn of_environment() -> Settings {
        let (major, minor) = variable("LIBCUDA_CAPABILITY").map_or((8, 0), |text| {
            let parts = text
                .split_once('.')
                .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
            parts.unwrap_or_else(|| panic!("LIBCUDA_CAPABILITY is {text}, which is none"))
        });
        Settings {
            memory_bytes: number("LIBCUDA_MEMORY").unwrap_or(16 << 30),
            capability: (major, minor),
            multiprocessors: number("LIBCUDA_MULTIPROCESSORS").unwrap_or(4),
            driver_version: number("LIBCUDA_VERSION").unwrap_or(13_000),
            lost: std::env::var_os("LIBCUDA_LOST").map(PathBuf::from),
        }
    }

    /// Whether the card is lost by now.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.as_ref().is_some_and(|file| file.exists())
    }

    /// Dynamic shared memory that a kernel may ask for at most.
    pub(crate) fn shared_bytes_max(&self) -> usize {
        // Compute capabilities 8.0, 8.6 and 8.9, 9.0 and 10.0, 12.0: CUDA's programming guide, technical specifications.
        match self.capability {
            (8, 0 | 7) => 163 << 10,
            (8 | 12, _) => 99 << 10,
            (7, _) => 64 << 10,
            _ => 227 << 10,
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = variable(name)?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text}, which is no such number")))
}
