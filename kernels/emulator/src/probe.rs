//! [`Probe`]: a driver in front of another that counts what is asked for, and can be lost or broken like a card.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockgate_kernels::cuda::driver::{
    Address, Download, Driver, DriverError, Event, Graph, Launch, Product, Stream,
};

/// What was asked for so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Allocations.
    pub allocations: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Buffers that were freed.
    pub frees: u64,
    /// Copies to the device.
    pub uploads: u64,
    /// Copies from the device, each of which waits.
    pub downloads: u64,
    /// Other waits.
    pub synchronizations: u64,
    /// Launches of kernels.
    pub launches: u64,
    /// Launches of graphs.
    pub graphs: u64,
}

/// A driver that is watched.
#[derive(Debug)]
pub struct Probe {
    driver: Arc<dyn Driver>,
    counts: [AtomicU64; 8],
    launches_left: AtomicU64,
    kernels: Mutex<Kernels>,
}

#[derive(Debug, Default)]
struct Kernels {
    launched: BTreeSet<&'static str>,
    broken: Option<&'static str>,
}

impl Probe {
    /// Watches this driver.
    #[must_use]
    pub fn new(driver: Arc<dyn Driver>) -> Probe {
        Probe {
            driver,
            counts: Default::default(),
            launches_left: AtomicU64::new(u64::MAX),
            kernels: Mutex::default(),
        }
    }

    /// What was asked for so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let [allocations, bytes, frees, uploads, downloads, synchronizations, launches, graphs] =
            self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        Counts { allocations, bytes, frees, uploads, downloads, synchronizations, launches, graphs }
    }

    /// Lets the device be lost after so many further launches: nothing works any more then, and nothing can be freed.
    pub fn lose_after(&self, launches: u64) {
        self.launches_left.store(launches, Ordering::Relaxed);
    }

    /// Every kernel that was launched so far, and `multiply` where the library was.
    #[must_use]
    pub fn kernels(&self) -> Vec<&'static str> {
        self.launched().launched.iter().copied().collect()
    }

    /// Has a kernel do nothing from now on, as one that is wrong on a card.
    pub fn break_kernel(&self, kernel: &'static str) {
        self.launched().broken = Some(kernel);
    }

    fn launched(&self) -> MutexGuard<'_, Kernels> {
        self.kernels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, index: usize, by: u64) {
        self.counts[index].fetch_add(by, Ordering::Relaxed);
    }

    fn alive(&self, operation: &str) -> Result<(), DriverError> {
        match self.launches_left.load(Ordering::Relaxed) {
            0 => Err(DriverError::failed(operation, "the device was lost")),
            _ => Ok(()),
        }
    }
}

impl Driver for Probe {
    fn allocate(&self, bytes: usize) -> Result<Address, DriverError> {
        self.alive("allocate")?;
        self.count(0, 1);
        self.count(1, bytes as u64);
        self.driver.allocate(bytes)
    }

    fn free(&self, address: Address) {
        self.count(2, 1);
        self.driver.free(address);
    }

    fn upload(&self, stream: Stream, to: Address, bytes: &[u8]) -> Result<(), DriverError> {
        self.alive("upload")?;
        self.count(3, 1);
        self.driver.upload(stream, to, bytes)
    }

    fn download(&self, stream: Stream, from: Address, bytes: &mut [u8]) -> Result<(), DriverError> {
        self.alive("download")?;
        self.count(4, 1);
        self.driver.download(stream, from, bytes)
    }

    fn begin_download(&self, from: Address, bytes: usize) -> Result<Download, DriverError> {
        self.alive("download")?;
        self.count(4, 1);
        self.driver.begin_download(from, bytes)
    }

    fn finish_download(&self, download: Download, bytes: &mut [u8]) -> Result<(), DriverError> {
        self.alive("download")?;
        self.driver.finish_download(download, bytes)
    }

    fn copy(&self, stream: Stream, from: Address, to: Address, bytes: usize) -> Result<(), DriverError> {
        self.alive("copy")?;
        self.driver.copy(stream, from, to, bytes)
    }

    fn fill(&self, stream: Stream, at: Address, value: u8, bytes: usize) -> Result<(), DriverError> {
        self.alive("fill")?;
        self.driver.fill(stream, at, value, bytes)
    }

    fn launch(&self, launch: &Launch) -> Result<(), DriverError> {
        self.alive(launch.kernel)?;
        self.launches_left.fetch_sub(1, Ordering::Relaxed);
        self.count(6, 1);
        let mut kernels = self.launched();
        kernels.launched.insert(launch.kernel);
        if kernels.broken == Some(launch.kernel) {
            return Ok(());
        }
        drop(kernels);
        self.driver.launch(launch)
    }

    fn multiply(&self, product: &Product) -> Result<bool, DriverError> {
        self.alive("multiply")?;
        if self.launched().broken == Some("multiply") {
            return Ok(true);
        }
        let done = self.driver.multiply(product)?;
        if done {
            self.launches_left.fetch_sub(1, Ordering::Relaxed);
            self.count(6, 1);
            self.launched().launched.insert("multiply");
        }
        Ok(done)
    }

    fn record(&self, stream: Stream) -> Result<Event, DriverError> {
        self.alive("record")?;
        self.driver.record(stream)
    }

    fn wait(&self, stream: Stream, event: Event) -> Result<(), DriverError> {
        self.alive("wait")?;
        self.driver.wait(stream, event)
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        self.alive("synchronize")?;
        self.count(5, 1);
        self.driver.synchronize()
    }

    fn begin_capture(&self) -> Result<(), DriverError> {
        self.alive("begin capture")?;
        self.driver.begin_capture()
    }

    fn end_capture(&self) -> Result<Graph, DriverError> {
        self.alive("end capture")?;
        self.driver.end_capture()
    }

    fn launch_graph(&self, graph: Graph) -> Result<(), DriverError> {
        self.alive("launch graph")?;
        self.launches_left.fetch_sub(1, Ordering::Relaxed);
        self.count(7, 1);
        self.driver.launch_graph(graph)
    }

    fn free_graph(&self, graph: Graph) {
        self.driver.free_graph(graph);
    }
}
