//! A forward proxy from the environment, for cloud providers alone.
//!
//! Owns the choice (the variables `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, read when a
//! cloud provider is built and never for another) and the tunnel's handshake.

use http::HeaderValue;
use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stream::BoxedStream;

/// The most that a proxy may answer to CONNECT.
const HANDSHAKE_BYTES_MAX: usize = 16 * 1024;

/// A proxy to go through.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    /// Whether the connection to the proxy itself is encrypted.
    pub(super) https: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// `Proxy-Authorization`, where the variable carries credentials. Marked sensitive.
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxy {
    /// The proxy that the environment names for this origin, if any.
    ///
    /// # Errors
    /// When it names one that is not an HTTP proxy. The message does not quote it.
    pub(crate) fn from_environment(origin: &str) -> Result<Option<Self>, String> {
        Self::from_matcher(&Matcher::from_env(), origin)
    }

    fn from_matcher(matcher: &Matcher, origin: &str) -> Result<Option<Self>, String> {
        let uri: Uri = origin.parse().map_err(|_| "is not a URL".to_owned())?;
        let Some(found) = matcher.intercept(&uri) else { return Ok(None) };
        let https = match found.uri().scheme_str() {
            Some("http") => false,
            Some("https") => true,
            other => {
                return Err(format!(
                    "is served by a proxy from the environment whose scheme is `{}`: use http or https",
                    other.unwrap_or_default()
                ));
            }
        };
        let host = found.uri().host().unwrap_or_default().to_owned();
        let port = found.uri().port_u16().unwrap_or(if https { 443 } else { 80 });
        let authorization = found.basic_auth().cloned().map(|mut value| {
            value.set_sensitive(true);
            value
        });
        Ok(Some(Self { https, host, port, authorization }))
    }

    /// Asks the proxy for a tunnel to `authority` (`host:port`).
    ///
    /// # Errors
    /// In words; the stream is then unusable.
    pub(super) async fn open_tunnel(&self, stream: &mut BoxedStream, authority: &str) -> Result<(), String> {
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
        if let Some(value) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request).await.map_err(|error| error.to_string())?;
        stream.flush().await.map_err(|error| error.to_string())?;
        let mut answer = Vec::with_capacity(512);
        // One byte at a time: whatever follows the blank line belongs to the tunnel.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() == HANDSHAKE_BYTES_MAX {
                return Err("its answer is too long".to_owned());
            }
            answer.push(stream.read_u8().await.map_err(|error| error.to_string())?);
        }
        let status = answer.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
        match status {
            [b'2', _, _] => Ok(()),
            b"407" => Err("it asks for credentials".to_owned()),
            _ => Err(format!("it answered {}", String::from_utf8_lossy(&status[..status.len().min(16)]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matcher_decides() {
        let matcher = Matcher::builder()
            .http("http://user:secret@proxy.example:3128")
            .https("http://proxy.example")
            .no("internal.example")
            .build();
        let proxy = Proxy::from_matcher(&matcher, "http://models.example").unwrap().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port, proxy.https), ("proxy.example", 3128, false));
        assert!(proxy.authorization.is_some());
        assert!(!format!("{proxy:?}").contains("secret"));
        let proxy = Proxy::from_matcher(&matcher, "https://models.example").unwrap().unwrap();
        assert_eq!((proxy.port, proxy.authorization), (80, None));
        assert!(Proxy::from_matcher(&matcher, "https://internal.example").unwrap().is_none());
    }

    #[test]
    fn other_proxies_are_refused_unquoted() {
        let matcher = Matcher::builder().all("socks5://user:secret@proxy.example:1080").build();
        let problem = Proxy::from_matcher(&matcher, "https://models.example").unwrap_err();
        assert!(problem.contains("socks5") && !problem.contains("secret"), "{problem}");
    }
}
