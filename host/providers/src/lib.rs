//! Targets beyond this process: one folder a wire, request and stream both ways.
//!
//! A [`Provider`] is built from [`ProviderSettings`] and makes a [`lockgate_api::Backend`] a target.
//! Translation is pure functions from a request to bytes and from bytes to events; I/O is a thin layer
//! around them. Where bytes may go is enforced here as well as declared: a `local` or `lan` provider
//! connects to nothing but loopback or private addresses, through no proxy, and follows no redirect.
//!
//! Retry, failover and every timer but the connect timer are the gateway's. Start with [`Provider`].
#![forbid(unsafe_code)]

mod bedrock;
mod context;
mod http;
mod openai;
mod provider;
mod quote;
mod retry_after;
mod settings;
mod sse;

#[cfg(fuzzing)]
pub use openai::fuzzing;
pub use provider::Provider;
pub use settings::{ProviderKind, ProviderSettings, Secret, SettingsError, SettingsProblem};
