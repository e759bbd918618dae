//! The card that tests run on instead of the emulator, where somebody names one.

use std::path::PathBuf;
use std::sync::OnceLock;

use lockgate_kernels::cuda::cards::{Cards as _, SystemCards};
use lockgate_kernels::cuda::memory::Device;

/// The card whose number `LOCKGATE_CARD` gives, opened once, with the kernels of `LOCKGATE_KERNELS` if that is set; none
/// where no card is named.
///
/// # Panics
/// When the card that is named cannot be opened: a test that quietly ran elsewhere would prove nothing.
#[must_use]
pub fn card() -> Option<Device> {
    static CARD: OnceLock<Option<Device>> = OnceLock::new();
    let open = || {
        let number = std::env::var("LOCKGATE_CARD").ok()?;
        let number = number.parse().expect("LOCKGATE_CARD is the number of a card");
        let kernels = std::env::var_os("LOCKGATE_KERNELS").map(PathBuf::from);
        Some(SystemCards.open(number, kernels.as_deref()).expect("the card opens").device)
    };
    CARD.get_or_init(open).clone()
}
