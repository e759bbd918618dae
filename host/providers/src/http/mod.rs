//! A small HTTP/1.1 client for one server.
//!
//! It exists because three promises have to hold at the socket: bytes leave only after the peer's address
//! was checked against the provider's locality, the connect timer belongs to each attempt, and a caller
//! learns whether a failed request may have been sent. It follows no redirect, retries only what was
//! certainly not sent, and knows nothing of the bodies that it carries.

mod address;
mod client;
mod connect;
mod endpoint;
mod proxy;
mod stream;
mod tls;

pub(crate) use client::{Answer, HttpClient, SendError, SendProblem};
pub(crate) use connect::{ConnectError, Connector};
pub(crate) use endpoint::Endpoint;
pub(crate) use proxy::Proxy;
pub(crate) use tls::tls_config;
