//! The server's limits, and where it may listen.

use std::net::SocketAddr;
use std::time::Duration;

use lockgate_gateway::Keys;
use thiserror::Error;

/// Limits and timers. Every one of them is finite.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The largest body of one request, in bytes.
    pub body_bytes_max: usize,
    /// All bodies of requests in work together, in bytes.
    pub bodies_bytes_max: usize,
    /// The largest answer that is collected for a client that does not stream, in bytes.
    pub answer_bytes_max: usize,
    /// A request's line and headers, in bytes. There may be 100 headers.
    pub head_bytes_max: usize,
    /// Connections at once. Further ones wait in the kernel's own short queue.
    pub connections_max: usize,
    /// How long a connection may take to send a request's head, idle time before it included.
    pub head_timeout: Duration,
    /// How long a body may pause.
    pub body_pause_max: Duration,
    /// How long a whole body may take.
    pub body_timeout: Duration,
    /// How long a client may leave an answer unread once its buffers are full.
    pub write_timeout: Duration,
    /// How often a waiting stream says that it is alive.
    pub keep_alive: Duration,
    /// How long requests in flight may go on after the shutdown signal.
    pub shutdown_grace: Duration,
    /// Names, beside the loopback ones, under which clients may address this server, and hosts of web
    /// pages that may; without scheme and port.
    pub allowed_hosts: Vec<String>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            body_bytes_max: 20 << 20,
            bodies_bytes_max: 512 << 20,
            answer_bytes_max: 64 << 20,
            head_bytes_max: 64 << 10,
            connections_max: 1024,
            head_timeout: Duration::from_secs(30),
            body_pause_max: Duration::from_secs(30),
            body_timeout: Duration::from_secs(300),
            write_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(15),
            shutdown_grace: Duration::from_secs(30),
            allowed_hosts: Vec::new(),
        }
    }
}

/// An address that anybody could reach, without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "listening on {0} would let anybody on the network use this server: add a [[key]] (made by `lockgate key \
     new`) or listen on 127.0.0.1"
)]
pub struct UnsafeListen(pub SocketAddr);

/// Refuses an address beyond loopback when there is no key. To be asked before binding, and again
/// before keys are replaced.
///
/// # Errors
/// [`UnsafeListen`] names the address and what to do.
pub fn ensure_safe_to_listen(address: SocketAddr, keys: &Keys) -> Result<(), UnsafeListen> {
    if is_loopback(address) || !keys.is_empty() { Ok(()) } else { Err(UnsafeListen(address)) }
}

/// Whether only this machine can reach the address.
pub(crate) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests;
