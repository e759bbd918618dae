//! The kernel that a card's matrix rate is measured with makes the products that are counted.

mod common;

use common::device;
use lockgate_kernels::cuda::limits::{CardLimits, Effort, products};

#[test]
fn every_product_is_made() {
    for (number, steps) in [0_u8, 1, 5].into_iter().enumerate() {
        let device = device(number);
        let mut out = device.allocate(2 * 128).expect("memory");
        products(&device, 0.5, 3.0, steps.into(), &mut out).expect("it runs");
        let expected = 16.0 * 8.0 * f32::from(steps) * 1.5;
        assert_eq!(out.to_vec().expect("there"), [expected; 256]);
        let mut odd = device.allocate(100).expect("memory");
        assert!(products(&device, 1.0, 1.0, 1, &mut odd).is_err());
    }
}

#[test]
fn limits_are_rates() {
    let effort = Effort { copy_bytes: 1 << 16, blocks: 1, steps: 2, rounds: 2 };
    let limits = CardLimits::measure(&device(0), effort).expect("it runs");
    let rates = [limits.copy_bytes_per_second, limits.matrix_operations_per_second];
    assert!(rates.iter().all(|rate| rate.is_finite() && *rate > 0.0), "{limits:?}");
}
