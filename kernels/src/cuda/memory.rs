//! [`Device`] and its [`DeviceBuffer`]s: typed memory that is freed when dropped, so that launchers can check lengths and
//! no address outlives what it names.
#![allow(unsafe_code, reason = "plain numbers are copied to and from the device as their bytes")]

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::driver::{Address, Argument, Download, Driver, DriverError, Launch, Stream};
use super::tuning::EightBitProducts;
use crate::memory::Number;

/// A CUDA device, by way of its driver. Clones are the same device.
#[derive(Clone, Debug)]
pub struct Device {
    driver: Arc<dyn Driver>,
    eight_bit_products: Arc<EightBitProducts>,
    multiprocessors: usize,
}

/// Numbers in the device's memory.
pub struct DeviceBuffer<T: Number> {
    device: Device,
    address: Address,
    length: usize,
    numbers: PhantomData<T>,
}

impl Device {
    /// The device behind a driver.
    #[must_use]
    pub fn new(driver: Arc<dyn Driver>) -> Device {
        Device { driver, eight_bit_products: Arc::default(), multiprocessors: 1 }
    }

    /// The same device, for which it is known which products it does in 8 bits.
    #[must_use]
    pub fn with_eight_bit_products(self, products: EightBitProducts) -> Device {
        Device { eight_bit_products: Arc::new(products), ..self }
    }

    /// Which products of many rows it does in 8 bits: none until it is told.
    #[must_use]
    pub fn eight_bit_products(&self) -> &EightBitProducts {
        &self.eight_bit_products
    }

    /// The same device, of which it is known how many multiprocessors it has.
    #[must_use]
    pub fn with_multiprocessors(self, multiprocessors: usize) -> Device {
        Device { multiprocessors: multiprocessors.max(1), ..self }
    }

    /// How many multiprocessors it has: one until it is told.
    #[must_use]
    pub fn multiprocessors(&self) -> usize {
        self.multiprocessors
    }

    /// Its driver, for streams, events and graphs.
    #[must_use]
    pub fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }

    /// Room for `length` numbers, with undefined contents.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn allocate<T: Number>(&self, length: usize) -> Result<DeviceBuffer<T>, DriverError> {
        let bytes =
            length.checked_mul(size_of::<T>()).ok_or(DriverError::OutOfMemory { bytes: usize::MAX })?;
        let address = self.driver.allocate(bytes)?;
        Ok(DeviceBuffer { device: self.clone(), address, length, numbers: PhantomData })
    }

    /// Room for `length` zeros.
    ///
    /// # Errors
    /// There is not enough memory, or the driver's.
    pub fn zeros<T: Number>(&self, length: usize) -> Result<DeviceBuffer<T>, DriverError> {
        let buffer = self.allocate(length)?;
        self.driver.fill(Stream::Compute, buffer.address, 0, buffer.bytes())?;
        Ok(buffer)
    }

    /// A copy of `numbers` on the device.
    ///
    /// # Errors
    /// There is not enough memory, or the driver's.
    pub fn upload<T: Number>(&self, numbers: &[T]) -> Result<DeviceBuffer<T>, DriverError> {
        let mut buffer = self.allocate(numbers.len())?;
        buffer.write(0, numbers)?;
        Ok(buffer)
    }

    /// Launches a kernel whose arguments the caller has checked.
    pub(crate) fn launch(&self, launch: &Launch) -> Result<(), DriverError> {
        self.driver.launch(launch)
    }
}

impl<T: Number> DeviceBuffer<T> {
    /// How many numbers it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.length * size_of::<T>()
    }

    /// Replaces numbers from `first` on.
    ///
    /// # Errors
    /// They do not fit, or the driver's.
    pub fn write(&mut self, first: usize, numbers: &[T]) -> Result<(), DriverError> {
        self.check("write", first, numbers.len())?;
        // SAFETY: plain numbers have no padding; the slice is as long as they are.
        let bytes =
            unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast::<u8>(), size_of_val(numbers)) };
        self.device.driver.upload(Stream::Compute, self.at(first), bytes)
    }

    /// Reads numbers from `first` on, once all that was launched before is done.
    ///
    /// # Errors
    /// There are not as many, or the driver's.
    pub fn read(&self, first: usize, numbers: &mut [T]) -> Result<(), DriverError> {
        self.check("read", first, numbers.len())?;
        // SAFETY: any bytes are plain numbers; the slice is as long as they are.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast::<u8>(), size_of_val(numbers))
        };
        self.device.driver.download(Stream::Compute, self.at(first), bytes)
    }

    /// Begins to read the first `count` numbers, behind all that was launched before.
    ///
    /// # Errors
    /// There are not as many, or the driver's.
    pub(crate) fn begin_read(&self, count: usize) -> Result<Download, DriverError> {
        self.check("read", 0, count)?;
        self.device.driver.begin_download(self.address, count * size_of::<T>())
    }

    /// Waits for the numbers of such a read, and for nothing that was asked for since.
    ///
    /// # Errors
    /// They are not as many, or the driver's.
    pub(crate) fn finish_read(&self, begun: Download, numbers: &mut [T]) -> Result<(), DriverError> {
        // SAFETY: any bytes are plain numbers; the slice is as long as they are.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast::<u8>(), size_of_val(numbers))
        };
        self.device.driver.finish_download(begun, bytes)
    }

    /// All numbers.
    ///
    /// # Errors
    /// The driver's.
    pub fn to_vec(&self) -> Result<Vec<T>, DriverError> {
        // SAFETY: all-zero bytes are a plain number.
        let mut numbers = vec![unsafe { std::mem::zeroed::<T>() }; self.length];
        self.read(0, &mut numbers)?;
        Ok(numbers)
    }

    /// The buffer as a kernel's argument.
    pub(crate) fn argument(&self) -> Argument {
        Argument::Pointer(self.address)
    }

    pub(crate) fn at(&self, first: usize) -> Address {
        self.address.offset(first * size_of::<T>())
    }

    fn check(&self, operation: &str, first: usize, count: usize) -> Result<(), DriverError> {
        if count <= self.length && first <= self.length - count {
            return Ok(());
        }
        let problem = format!("{count} numbers from {first} on are not within {}", self.length);
        Err(DriverError::failed(operation, problem))
    }
}

impl<T: Number> Drop for DeviceBuffer<T> {
    fn drop(&mut self) {
        self.device.driver.free(self.address);
    }
}

impl<T: Number> fmt::Debug for DeviceBuffer<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} numbers at {}", self.length, self.address)
    }
}

/// An optional buffer as a kernel's argument.
pub(crate) fn optional<T: Number>(buffer: Option<&DeviceBuffer<T>>) -> Argument {
    buffer.map_or(Argument::Null, DeviceBuffer::argument)
}
