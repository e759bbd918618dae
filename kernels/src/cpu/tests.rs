use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::path::Path;

use super::Level;
use super::threads::{Version, group_path, parse_cpu_list, parse_cpu_max, parse_mount, threads_of};

#[test]
fn scalar_always_runs_and_the_widest_level_comes_last() {
    let levels = Level::available();
    assert_eq!(levels[0], Level::Scalar);
    assert_eq!(Some(&Level::detect()), levels.last());
    assert!(levels.is_sorted());
}

#[test]
fn cpu_lists() {
    let set = |cpus: &[usize]| Some(cpus.iter().copied().collect::<BTreeSet<_>>());
    assert_eq!(parse_cpu_list("0\n"), set(&[0]));
    assert_eq!(parse_cpu_list("0-2,8,10-11\n"), set(&[0, 1, 2, 8, 10, 11]));
    for bad in ["", "a", "3-1", "0-99999999999", "0-18446744073709551615", "1,,2", "-1"] {
        assert_eq!(parse_cpu_list(bad), None, "{bad:?}");
    }
}

#[test]
fn quotas() {
    assert_eq!(parse_cpu_max("150000 100000\n"), Some(1.5));
    for unlimited in ["max 100000\n", "", "100000", "0 100000", "100000 0", "-1 100000", "nan 1", "inf 1"] {
        assert_eq!(parse_cpu_max(unlimited), None, "{unlimited:?}");
    }
}

#[test]
fn group_lines() {
    assert_eq!(group_path("0::/a:b", Version::Two), Some("/a:b"));
    assert_eq!(group_path("4:cpu,cpuacct:/docker/1", Version::One), Some("/docker/1"));
    assert_eq!(group_path("5:cpuset:/docker/1", Version::One), None);
    assert_eq!(group_path("5:cpuset:/", Version::Two), None);
    assert_eq!(group_path("nonsense", Version::Two), None);
}

#[test]
fn mount_lines() {
    let two = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
    assert_eq!(parse_mount(two).map(|mount| mount.version), Some(Version::Two));
    let one = "33 32 0:30 /docker/1 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct";
    let mount = parse_mount(one).expect("a version 1 mount");
    assert_eq!((mount.version, mount.root.as_path()), (Version::One, Path::new("/docker/1")));
    assert_eq!(parse_mount("33 32 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset"), None);
    assert_eq!(parse_mount("33 32 0:30 / / rw - ext4 /dev/vda rw"), None);
    assert_eq!(parse_mount("33 32"), None);
}

/// Threads on a machine of `cpus` processors with these files.
fn threads(cpus: usize, files: &[(&str, &str)]) -> usize {
    let files: HashMap<&Path, &str> = files.iter().map(|(path, text)| (Path::new(*path), *text)).collect();
    let read = |path: &Path| files.get(path).map(|text| (*text).to_owned());
    let fallback = NonZeroUsize::new(3).expect("three is not zero");
    threads_of(&(0..cpus).collect(), fallback, &read).get()
}

const MOUNT_TWO: (&str, &str) = ("/proc/self/mountinfo", "29 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n");
const MEMBER_TWO: (&str, &str) = ("/proc/self/cgroup", "0::/a/b\n");

#[test]
fn without_any_files_each_processor_is_a_core_and_without_a_mask_the_fallback_counts() {
    assert_eq!(threads(4, &[]), 4);
    assert_eq!(threads(0, &[]), 3);
}

#[test]
fn siblings_count_once() {
    let siblings = |cpu: usize| format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    let paths: Vec<String> = (0..4).map(siblings).collect();
    let files: Vec<(&str, &str)> =
        paths.iter().map(String::as_str).zip(["0,2\n", "1,3\n", "0,2\n", "1,3\n"]).collect();
    assert_eq!(threads(4, &files), 2);
    // A mask that holds one of each pair, and a file that contradicts itself.
    assert_eq!(threads(2, &files), 2);
    assert_eq!(threads(2, &[(&paths[0], "7\n"), (&paths[1], "0-1\n")]), 2);
}

#[test]
fn the_tightest_enclosing_group_decides() {
    let own = ("/cg/a/b/cpu.max", "400000 100000\n");
    let parent = ("/cg/a/cpu.max", "250000 100000\n");
    let root = ("/cg/cpu.max", "max 100000\n");
    assert_eq!(threads(8, &[MOUNT_TWO, MEMBER_TWO, own]), 4);
    assert_eq!(threads(8, &[MOUNT_TWO, MEMBER_TWO, own, parent, root]), 2);
    assert_eq!(threads(8, &[MOUNT_TWO, MEMBER_TWO, root]), 8);
    assert_eq!(threads(2, &[MOUNT_TWO, MEMBER_TWO, own]), 2);
    let half = ("/cg/a/b/cpu.max", "50000 100000\n");
    assert_eq!(threads(8, &[MOUNT_TWO, MEMBER_TWO, half]), 1);
}

#[test]
fn a_container_of_version_one_sees_its_group_at_the_top_of_the_mount() {
    let mount = ("/proc/self/mountinfo", "33 32 0:30 /docker/1 /cg rw - cgroup cgroup rw,cpu,cpuacct\n");
    let quota = ("/cg/cpu.cfs_quota_us", "300000\n");
    let period = ("/cg/cpu.cfs_period_us", "100000\n");
    for group in ["/docker/1", "/elsewhere", "/"] {
        let member = format!("4:cpu,cpuacct:{group}\n");
        assert_eq!(threads(8, &[mount, ("/proc/self/cgroup", &member), quota, period]), 3, "{group}");
    }
    let unlimited = ("/cg/cpu.cfs_quota_us", "-1\n");
    assert_eq!(threads(8, &[mount, ("/proc/self/cgroup", "4:cpu:/docker/1\n"), unlimited, period]), 8);
    let escaping = ("/proc/self/cgroup", "4:cpu:/docker/1/../../..\n");
    assert_eq!(threads(8, &[mount, escaping, quota, period]), 8);
}

#[test]
fn this_machine_gets_at_least_one_thread() {
    assert!(super::default_threads().get() >= 1);
}
