//! Measures what allocations would take, without a card: a driver that only counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lockgate_kernels::cuda::driver::{
    Address, Download, Driver, DriverError, Event, Graph, Launch, Product, Stream,
};
use lockgate_kernels::cuda::memory::Device;

/// The bytes that `make` allocates, rounded up as a card does.
pub(super) fn measure<T>(make: impl FnOnce(&Device) -> Result<T, DriverError>) -> Result<u64, DriverError> {
    let ruler = Arc::new(Ruler::default());
    drop(make(&Device::new(ruler.clone()))?);
    Ok(ruler.bytes.load(Ordering::Relaxed))
}

#[derive(Debug, Default)]
struct Ruler {
    bytes: AtomicU64,
}

impl Driver for Ruler {
    fn allocate(&self, bytes: usize) -> Result<Address, DriverError> {
        let rounded = bytes.max(1).checked_next_multiple_of(256).ok_or(DriverError::OutOfMemory { bytes })?;
        Ok(Address(self.bytes.fetch_add(rounded as u64, Ordering::Relaxed)))
    }

    fn free(&self, _: Address) {}

    fn upload(&self, _: Stream, _: Address, _: &[u8]) -> Result<(), DriverError> {
        Ok(())
    }

    fn download(&self, _: Stream, _: Address, _: &mut [u8]) -> Result<(), DriverError> {
        Err(DriverError::failed("download", "nothing is there"))
    }

    fn begin_download(&self, _: Address, _: usize) -> Result<Download, DriverError> {
        Ok(Download(0))
    }

    fn finish_download(&self, _: Download, _: &mut [u8]) -> Result<(), DriverError> {
        Err(DriverError::failed("download", "nothing is there"))
    }

    fn copy(&self, _: Stream, _: Address, _: Address, _: usize) -> Result<(), DriverError> {
        Ok(())
    }

    fn fill(&self, _: Stream, _: Address, _: u8, _: usize) -> Result<(), DriverError> {
        Ok(())
    }

    fn launch(&self, _: &Launch) -> Result<(), DriverError> {
        Ok(())
    }

    fn multiply(&self, _: &Product) -> Result<bool, DriverError> {
        Ok(false)
    }

    fn record(&self, _: Stream) -> Result<Event, DriverError> {
        Ok(Event(0))
    }

    fn wait(&self, _: Stream, _: Event) -> Result<(), DriverError> {
        Ok(())
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        Ok(())
    }

    fn begin_capture(&self) -> Result<(), DriverError> {
        Ok(())
    }

    fn end_capture(&self) -> Result<Graph, DriverError> {
        Ok(Graph(0))
    }

    fn launch_graph(&self, _: Graph) -> Result<(), DriverError> {
        Ok(())
    }

    fn free_graph(&self, _: Graph) {}
}
