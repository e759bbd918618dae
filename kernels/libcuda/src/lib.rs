//! A library in the place of `libcuda.so.1`, NVIDIA's driver: one card, which is the emulator. It proves where there is no
//! card that the driver is called as it is documented, and what the whole host does on a card, or on one that fails.
//!
//! Whoever wants to have that card puts this library as `libcuda.so.1` into a folder of its own, and names the folder in
//! `LD_LIBRARY_PATH` of a process. There, work is done as late as a card may do it: when somebody waits for it. What is
//! asked of the driver and makes no sense is answered with the driver's error, and said on standard error in a line that
//! begins with [`MISUSE`]. [`Settings`] says what environment variables make of the card.
//!
//! Owns contexts, streams, events, modules, graphs and pinned memory; the emulator has the memory of the card and runs
//! kernels. Only the functions are there that the host calls: whoever calls another is told that there is none.
//! Used by tests only.

mod answer;
mod context;
mod driver;
mod entry;
mod errors;
mod modules;
mod settings;

pub use answer::MISUSE;
pub use settings::Settings;
