use std::num::NonZeroUsize;
use std::path::Path;

use super::{MEBIBYTE, parse_size, probe_bytes_of, read_bandwidth};
use crate::cpu::Level;
use crate::pool::ThreadPool;

#[test]
fn cache_sizes() {
    assert_eq!(parse_size("32768K\n"), Some(32 * MEBIBYTE));
    assert_eq!(parse_size("96M"), Some(96 * MEBIBYTE));
    for bad in ["", "32", "K", "-1K", "99999999999999999999M", "18446744073709551615M", "5000M"] {
        assert_eq!(parse_size(bad), None, "{bad:?}");
    }
}

#[test]
fn the_probe_outgrows_the_largest_cache_within_limits() {
    let with = |size: &'static str| {
        probe_bytes_of(&move |path: &Path| path.ends_with("index3/size").then(|| size.to_owned())) / MEBIBYTE
    };
    assert_eq!(with("32768K"), 256);
    assert_eq!(with("256M"), 1024);
    assert_eq!(with("1152M"), 2048);
    assert_eq!(with("unknown"), 256);
}

#[test]
fn a_small_probe_reads_at_some_speed() {
    for threads in [1, 2] {
        let pool = ThreadPool::new(NonZeroUsize::new(threads).expect("at least one thread"));
        for bytes in [0, 1000, MEBIBYTE] {
            let speed = read_bandwidth(&pool, Level::detect(), bytes).expect("memory for a test");
            assert!(speed.is_finite() && speed > 0.0);
        }
    }
}
