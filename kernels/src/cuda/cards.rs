//! Which cards there are, whether the kernels run on them, and how one is opened. [`Cards`] is the machine's, or a test's.

use std::path::Path;

use super::driver::DriverError;
use super::memory::Device;

/// The oldest driver that loads the built kernels, as the driver numbers itself: CUDA 13.0.
const DRIVER_VERSION_MIN: i32 = 13_000;
/// The oldest card that they are built for.
const CAPABILITY_MIN: (i32, i32) = (8, 0);

/// What a card says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardInfo {
    /// Its name.
    pub name: String,
    /// Its compute capability.
    pub capability: (i32, i32),
    /// The version of CUDA that its driver supports, as 1000 · major + 10 · minor.
    pub driver_version: i32,
    /// Its memory in bytes.
    pub memory_bytes: usize,
    /// Its multiprocessors, each of which runs blocks of threads of its own.
    pub multiprocessors: usize,
}

impl CardInfo {
    /// The version of CUDA that its driver supports, as people write it.
    #[must_use]
    pub fn cuda_version(&self) -> String {
        format!("{}.{}", self.driver_version / 1000, self.driver_version % 1000 / 10)
    }

    /// Whether the kernels run on it.
    ///
    /// # Errors
    /// Its driver or itself is too old.
    pub fn check(&self) -> Result<(), DriverError> {
        if self.driver_version < DRIVER_VERSION_MIN {
            return Err(DriverError::Unavailable(format!(
                "its driver supports CUDA {}; the kernels need 13.0, which drivers from 580 on have",
                self.cuda_version()
            )));
        }
        if self.capability < CAPABILITY_MIN {
            let (major, minor) = self.capability;
            return Err(DriverError::Unavailable(format!(
                "{} has compute capability {major}.{minor}; the kernels need 8.0 (Ampere) or newer",
                self.name
            )));
        }
        Ok(())
    }
}

/// A card that is open, with the kernels loaded.
#[derive(Clone, Debug)]
pub struct OpenCard {
    /// What it says of itself.
    pub info: CardInfo,
    /// The card.
    pub device: Device,
    /// Memory that is free on it, in bytes.
    pub free_bytes: u64,
}

/// The cards of a machine.
pub trait Cards: Sync {
    /// Every card that the driver shows, in its order; none is opened.
    ///
    /// # Errors
    /// There is no driver, or none that answers.
    fn list(&self) -> Result<Vec<CardInfo>, DriverError>;

    /// Opens a card and loads the kernels: those of the folder if one is given, else those that are built in.
    ///
    /// # Errors
    /// There is no such card, its driver or itself is too old, or the driver's.
    fn open(&self, number: usize, kernels: Option<&Path>) -> Result<OpenCard, DriverError>;
}

/// The cards of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemCards;

#[cfg(feature = "cuda")]
impl Cards for SystemCards {
    fn list(&self) -> Result<Vec<CardInfo>, DriverError> {
        super::card::Card::list()
    }

    fn open(&self, number: usize, kernels: Option<&Path>) -> Result<OpenCard, DriverError> {
        let card = super::card::Card::open(number, &super::modules::modules(kernels)?)?;
        let (info, (free, _)) = (card.info().clone(), card.memory()?);
        let device = Device::new(std::sync::Arc::new(card)).with_multiprocessors(info.multiprocessors);
        let products = products_of(number, &device)?;
        Ok(OpenCard { info, device: device.with_eight_bit_products(products), free_bytes: free as u64 })
    }
}

/// What was timed on a card when it was first opened.
#[cfg(feature = "cuda")]
fn products_of(number: usize, device: &Device) -> Result<super::tuning::EightBitProducts, DriverError> {
    use std::collections::HashMap;
    use std::sync::{Mutex, PoisonError};

    use super::tuning::{EightBitProducts, Trial};

    static KNOWN: Mutex<Option<HashMap<usize, EightBitProducts>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(products) = known.get(&number) {
        return Ok(products.clone());
    }
    let products = EightBitProducts::measure(device, Trial::CARD)?;
    Ok(known.entry(number).insert_entry(products).get().clone())
}

/// What multiplies many rows by weights in bf16 on a card of this machine, in words.
#[must_use]
pub fn bf16_products() -> &'static str {
    #[cfg(feature = "cuda")]
    if super::card::library::is_there() {
        return "by cuBLASLt";
    }
    "by our own kernels: cuBLASLt (libcublasLt.so) is not on this machine"
}

#[cfg(not(feature = "cuda"))]
impl Cards for SystemCards {
    fn list(&self) -> Result<Vec<CardInfo>, DriverError> {
        Err(DriverError::Unavailable("this build has no support for CUDA (feature `cuda`)".to_owned()))
    }

    fn open(&self, _: usize, _: Option<&Path>) -> Result<OpenCard, DriverError> {
        Err(DriverError::Unavailable("this build has no support for CUDA (feature `cuda`)".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_drivers_and_cards_are_told_what_is_missing() {
        let card = CardInfo {
            name: "Tesla T4".to_owned(),
            capability: (8, 0),
            driver_version: 13_000,
            memory_bytes: 16 << 30,
            multiprocessors: 40,
        };
        assert_eq!(card.check(), Ok(()));
        let old = CardInfo { driver_version: 12_080, ..card.clone() };
        let error = old.check().expect_err("too old").to_string();
        assert!(error.contains("supports CUDA 12.8; the kernels need 13.0"), "{error}");
        let older = CardInfo { capability: (7, 5), ..card };
        let error = older.check().expect_err("too old").to_string();
        assert!(error.contains("Tesla T4 has compute capability 7.5"), "{error}");
    }
}
