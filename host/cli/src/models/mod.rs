//! Models on this machine's disk: where they are, which are known by name, how they get here.
//!
//! [`store`] owns the folder, [`catalogue`] the names that we vouch for, [`source`] the notation of a
//! place to fetch from, `pull` the fetching. Reading a model file is the engine's work.

mod catalogue;
mod download;
mod find;
mod hub;
#[cfg(feature = "engine")]
mod loading;
mod progress;
mod pull;
mod source;
mod store;
mod wheel;

pub(crate) use catalogue::{CATALOGUE, Entry};
#[cfg(feature = "engine")]
pub(crate) use find::find;
pub(crate) use find::find_or_pull;
#[cfg(feature = "engine")]
pub(crate) use loading::Loading;
pub(crate) use progress::human_bytes;
pub(crate) use pull::{PullError, pull, pull_entry};
pub(crate) use source::Source;
pub(crate) use store::{Store, data_folder};
