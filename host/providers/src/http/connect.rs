//! Making a connection: look up, check, connect, check again, encrypt.
//!
//! The address is checked twice: before the connection is tried, and on the socket's actual peer before
//! the first byte is written. Deadlines are the caller's.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lockgate_api::Locality;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::address::{allowed_in_words, allows};
use super::endpoint::{Endpoint, Peer};
use super::proxy::Proxy;
use super::stream::BoxedStream;

/// Connects to one server.
pub(crate) struct Connector {
    endpoint: Endpoint,
    locality: Locality,
    /// Present when the endpoint or the proxy is encrypted.
    tls: Option<TlsConnector>,
    proxy: Option<Proxy>,
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// The name is unknown or the lookup failed.
    #[error("its name cannot be looked up: {0}")]
    Lookup(String),
    /// Every address is further away than the provider's locality allows.
    #[error("it is at {address}, but a provider of locality `{locality}` must be at {allowed}")]
    Forbidden {
        /// The address.
        address: IpAddr,
        /// The provider's locality.
        locality: Locality,
        /// What would be allowed.
        allowed: &'static str,
    },
    /// The connection was refused or failed.
    #[error("{0}")]
    Failed(io::Error),
    /// The encryption could not be agreed on, or the certificate is not trusted.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The proxy from the environment failed.
    #[error("the proxy from the environment failed: {0}")]
    Proxy(String),
    /// The deadline passed.
    #[error("no connection within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

impl Connector {
    /// A connector; connects to nothing yet. `tls` is needed for an encrypted endpoint or proxy.
    pub(crate) fn new(
        endpoint: Endpoint,
        locality: Locality,
        tls: Option<Arc<rustls::ClientConfig>>,
        proxy: Option<Proxy>,
    ) -> Self {
        Self { endpoint, locality, tls: tls.map(TlsConnector::from), proxy }
    }

    /// Whether building this needs TLS.
    pub(crate) fn needs_tls(endpoint: &Endpoint, proxy: Option<&Proxy>) -> bool {
        endpoint.https || proxy.is_some_and(|proxy| proxy.https)
    }

    /// The server.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The proxy that must be given each request whole, since there is no tunnel through it.
    pub(super) fn forwarding_proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !self.endpoint.https)
    }

    /// Connects within `limit`, encryption included.
    pub(super) async fn connect(&self, limit: Duration) -> Result<BoxedStream, ConnectError> {
        let deadline = Instant::now() + limit;
        match timeout_at(deadline, self.connect_until(deadline, limit)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::TimedOut(limit)),
        }
    }

    async fn connect_until(&self, deadline: Instant, limit: Duration) -> Result<BoxedStream, ConnectError> {
        let Some(proxy) = &self.proxy else {
            let stream = match &self.endpoint.host {
                Peer::Address(address) => {
                    self.connect_to(&[SocketAddr::new(*address, self.endpoint.port)], deadline, limit).await?
                }
                Peer::Name(name) => {
                    self.connect_to(&look_up(name, self.endpoint.port).await?, deadline, limit).await?
                }
            };
            return if self.endpoint.https {
                self.encrypt(Box::new(stream), &self.host()).await
            } else {
                Ok(Box::new(stream))
            };
        };
        let addresses = look_up(proxy.host.trim_start_matches('[').trim_end_matches(']'), proxy.port)
            .await
            .map_err(|error| ConnectError::Proxy(error.to_string()))?;
        let stream = self
            .connect_to(&addresses, deadline, limit)
            .await
            .map_err(|error| ConnectError::Proxy(error.to_string()))?;
        let mut stream: BoxedStream = Box::new(stream);
        if proxy.https {
            stream = self.encrypt(stream, &proxy.host).await?;
        }
        if self.endpoint.https {
            let authority = match &self.endpoint.host {
                Peer::Address(address) => SocketAddr::new(*address, self.endpoint.port).to_string(),
                Peer::Name(name) => format!("{name}:{}", self.endpoint.port),
            };
            proxy.open_tunnel(&mut stream, &authority).await.map_err(ConnectError::Proxy)?;
            stream = self.encrypt(stream, &self.host()).await?;
        }
        Ok(stream)
    }

    /// Tries the allowed addresses in turn, each with an equal share of the time that is left, so that one
    /// that does not answer leaves time for the next.
    async fn connect_to(
        &self,
        addresses: &[SocketAddr],
        deadline: Instant,
        limit: Duration,
    ) -> Result<TcpStream, ConnectError> {
        let allowed: Vec<_> =
            addresses.iter().filter(|address| allows(self.locality, address.ip())).collect();
        let mut failure = match addresses.first() {
            Some(first) if allowed.is_empty() => self.forbidden(first.ip()),
            _ => ConnectError::Lookup("it has no address".to_owned()),
        };
        for (index, address) in allowed.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(allowed.len() - index).unwrap_or(u32::MAX);
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let peer = stream.peer_addr().map_err(ConnectError::Failed)?.ip();
                    if !allows(self.locality, peer) {
                        return Err(self.forbidden(peer));
                    }
                    stream.set_nodelay(true).map_err(ConnectError::Failed)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => failure = ConnectError::Failed(error),
                Err(_) => failure = ConnectError::TimedOut(limit),
            }
        }
        Err(failure)
    }

    fn forbidden(&self, address: IpAddr) -> ConnectError {
        ConnectError::Forbidden { address, locality: self.locality, allowed: allowed_in_words(self.locality) }
    }

    fn host(&self) -> String {
        match &self.endpoint.host {
            Peer::Address(address) => address.to_string(),
            Peer::Name(name) => name.clone(),
        }
    }

    async fn encrypt(&self, stream: BoxedStream, host: &str) -> Result<BoxedStream, ConnectError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| ConnectError::Tls(format!("`{host}` is not a name that a certificate can have")))?;
        let tls = self.tls.as_ref().ok_or_else(|| ConnectError::Tls("it was not set up".to_owned()))?;
        let stream = tls.connect(name, stream).await.map_err(|error| ConnectError::Tls(error.to_string()))?;
        Ok(Box::new(stream))
    }
}

async fn look_up(name: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let found = tokio::net::lookup_host((name, port)).await;
    Ok(found.map_err(|error| ConnectError::Lookup(error.to_string()))?.collect())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn connector(locality: Locality) -> Connector {
        Connector::new(
            Endpoint::parse("http://server.example", "/v1", locality).unwrap(),
            locality,
            None,
            None,
        )
    }

    async fn connect(locality: Locality, addresses: &[SocketAddr]) -> Result<SocketAddr, ConnectError> {
        let limit = Duration::from_secs(5);
        let stream = connector(locality).connect_to(addresses, Instant::now() + limit, limit).await?;
        Ok(stream.peer_addr().unwrap())
    }

    #[tokio::test]
    async fn only_addresses_of_the_locality_are_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{}", here.port()).parse().unwrap();
        // An address of the documentation's own network: nobody is there, and nothing must be sent to it.
        let elsewhere: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let nearby: SocketAddr = "192.168.255.254:80".parse().unwrap();
        for locality in [Locality::Local, Locality::Lan] {
            assert_eq!(connect(locality, &[elsewhere, here]).await.unwrap(), here);
            assert!(connect(locality, &[mapped]).await.is_ok());
            let Err(error) = connect(locality, &[elsewhere]).await else { panic!("connected") };
            assert!(matches!(error, ConnectError::Forbidden { .. }), "{error}");
            assert!(error.to_string().contains("192.0.2.1"), "{error}");
        }
        let Err(error) = connect(Locality::Local, &[nearby]).await else { panic!("connected") };
        assert!(matches!(error, ConnectError::Forbidden { .. }), "{error}");
    }

    #[tokio::test]
    async fn the_next_address_is_tried_after_one_that_refuses() {
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        assert_eq!(connect(Locality::Local, &[dead, here]).await.unwrap(), here);
        let Err(error) = connect(Locality::Local, &[dead]).await else { panic!("connected") };
        assert!(matches!(error, ConnectError::Failed(_)), "{error}");
        let Err(error) = connect(Locality::Local, &[]).await else { panic!("connected") };
        assert!(matches!(error, ConnectError::Lookup(_)), "{error}");
    }
}
