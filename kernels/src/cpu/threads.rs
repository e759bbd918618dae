//! How many threads are worth starting: one for each physical core that this process may run on, and no more
//! than the control group's processor quota pays for (a thread beyond it only spins the quota away).
//!
//! Everything is computed from texts that an injected reader returns, so that tests can stand in for `/proc` and
//! `/sys`. Where those say nothing (other systems, hidden files), the standard library's count is used.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Returns a file's text, or nothing where it cannot be read.
type Reader<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// The number of threads to compute with: physical cores within the affinity mask, capped by the control group's
/// quota (version 1 or 2, the tightest of all enclosing groups); at least one.
#[must_use]
pub fn default_threads() -> NonZeroUsize {
    let fallback = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    threads_of(&allowed_cpus(), fallback, &read)
}

/// The processors that the affinity mask (which a cpuset narrows) lets this process run on; empty where unknown.
#[cfg(target_os = "linux")]
fn allowed_cpus() -> BTreeSet<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return BTreeSet::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
}

#[cfg(not(target_os = "linux"))]
fn allowed_cpus() -> BTreeSet<usize> {
    BTreeSet::new()
}

pub(super) fn threads_of(allowed: &BTreeSet<usize>, fallback: NonZeroUsize, read: Reader) -> NonZeroUsize {
    let cores = NonZeroUsize::new(physical_cores(allowed, read)).unwrap_or(fallback);
    match quota(read) {
        // Rounded down: with 2.5 processors a third thread would be throttled for half of each period, and the
        // other two would wait for it at every barrier.
        Some(cpus) => NonZeroUsize::new(cpus as usize).unwrap_or(NonZeroUsize::MIN).min(cores),
        None => cores,
    }
}

/// Counts the cores among `allowed`: processors that share a core list the same siblings.
fn physical_cores(allowed: &BTreeSet<usize>, read: Reader) -> usize {
    let cores: BTreeSet<BTreeSet<usize>> = allowed
        .iter()
        .map(|&cpu| {
            let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            let siblings = read(Path::new(&path)).and_then(|text| parse_cpu_list(&text));
            siblings.filter(|siblings| siblings.contains(&cpu)).unwrap_or_else(|| BTreeSet::from([cpu]))
        })
        .collect();
    cores.len()
}

/// Parses the kernel's list format: `0-3,8,10-11`. Nothing where it is malformed or absurdly long.
pub(super) fn parse_cpu_list(text: &str) -> Option<BTreeSet<usize>> {
    const CPUS_MAX: usize = 1 << 16;
    let mut cpus = BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= CPUS_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// The tightest processor quota of the control groups that enclose this process, in processors.
fn quota(read: Reader) -> Option<f64> {
    let memberships = read(Path::new("/proc/self/cgroup"))?;
    let mounts = read(Path::new("/proc/self/mountinfo"))?;
    let mut tightest: Option<f64> = None;
    for mount in mounts.lines().filter_map(parse_mount) {
        let Some(group) = memberships.lines().find_map(|line| group_path(line, mount.version)) else {
            continue;
        };
        // Inside a container the group's path may lie outside what is mounted; its root is then our group.
        let inside = Path::new(group).strip_prefix(&mount.root).unwrap_or(Path::new(""));
        let inside = inside.strip_prefix("/").unwrap_or(inside);
        if inside.components().any(|part| part == std::path::Component::ParentDir) {
            continue;
        }
        for folder in mount.point.join(inside).ancestors().take_while(|path| path.starts_with(&mount.point)) {
            let found = match mount.version {
                Version::One => {
                    let quota = read(&folder.join("cpu.cfs_quota_us"));
                    let period = read(&folder.join("cpu.cfs_period_us"));
                    quota.zip(period).and_then(|(quota, period)| ratio(&quota, &period))
                }
                Version::Two => read(&folder.join("cpu.max")).and_then(|text| parse_cpu_max(&text)),
            };
            tightest = match (tightest, found) {
                (Some(old), Some(new)) => Some(old.min(new)),
                (old, new) => old.or(new),
            };
        }
    }
    tightest
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) version: Version,
    /// The group that the mount shows at its top.
    pub(super) root: PathBuf,
    pub(super) point: PathBuf,
}

/// Parses a line of `/proc/self/mountinfo` if it mounts version 2, or version 1's processor controller.
pub(super) fn parse_mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (before.next()?.into(), before.next()?.into());
    let mut after = after.split(' ');
    let version = match after.next()? {
        "cgroup2" => Version::Two,
        "cgroup" if after.nth(1)?.split(',').any(|option| option == "cpu") => Version::One,
        _ => return None,
    };
    Some(Mount { version, root, point })
}

/// The path in a line of `/proc/self/cgroup` (`id:controllers:path`) if it is of that version.
pub(super) fn group_path(line: &str, version: Version) -> Option<&str> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let matches = match version {
        Version::One => controllers.split(',').any(|name| name == "cpu"),
        Version::Two => controllers.is_empty(),
    };
    matches.then_some(path)
}

/// Parses version 2's `cpu.max`: `quota period` in microseconds, or `max` for no limit.
pub(super) fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    ratio(quota, period)
}

/// Quota over period; nothing for `max`, version 1's -1, and anything that is not a positive number.
fn ratio(quota: &str, period: &str) -> Option<f64> {
    let (quota, period): (f64, f64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    (quota > 0.0 && period > 0.0 && quota.is_finite() && period.is_finite()).then(|| quota / period)
}
