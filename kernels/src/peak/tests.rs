use std::num::NonZeroUsize;

use super::measure;
use crate::cpu::Level;
use crate::pool::ThreadPool;

#[test]
fn every_level_computes_at_some_speed() {
    let pool = ThreadPool::new(NonZeroUsize::new(2).expect("two is not zero"));
    for &level in Level::available() {
        let peak = measure(&pool, level, 1000);
        assert!(peak.f32_gflops.is_finite() && peak.f32_gflops > 0.0);
        assert_eq!(peak.int8_gops.is_some(), level != Level::Scalar);
        assert!(peak.int8_gops.is_none_or(|gops| gops.is_finite() && gops > 0.0));
    }
}
