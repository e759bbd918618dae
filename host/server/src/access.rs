//! Who may talk to this server: the checks against DNS rebinding, and API keys. Pure.
//!
//! A web page cannot forge `Host` and `Origin`: a page whose own name was rebound to this machine still
//! sends its own name. So on a loopback listener only loopback names and configured ones are served.
//! Beyond loopback every request needs a key, which a page does not have; names are held to the
//! configuration there only if it lists any. What a welcome page's browser is told is `cors`' to say.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, Uri};
use lockgate_gateway::{Key, Keys};

use crate::error::ApiError;

/// The names that were configured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
    pub(crate) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    fn lists(&self, host: &str) -> bool {
        self.0.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Checks where the request believes itself to be sent and which page sent it.
    ///
    /// # Errors
    /// 400 without a usable `Host`, 403 for one or for an `Origin` that is not served.
    pub(crate) fn check(&self, headers: &HeaderMap, uri: &Uri, loopback: bool) -> Result<(), ApiError> {
        let mut given = headers.get_all(HOST).iter();
        let host = match (given.next(), given.next()) {
            (Some(value), None) => value.to_str().ok().and_then(host_of),
            _ => None,
        };
        let host = host.ok_or_else(ApiError::bad_host)?;
        // A request line with an authority of its own is meant for that one.
        let named =
            uri.authority().map(|authority| host_of(authority.as_str()).ok_or_else(ApiError::bad_host));
        for host in [Some(host), named.transpose()?].into_iter().flatten() {
            if !self.serves(host, loopback) {
                return Err(ApiError::host_forbidden(host));
            }
        }
        for origin in headers.get_all(ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let page = origin.split_once("://").and_then(|(_, authority)| host_of(authority));
            let welcome = page.is_some_and(|page| {
                is_loopback_name(page) || self.lists(page) || (!loopback && page.eq_ignore_ascii_case(host))
            });
            if !welcome {
                return Err(ApiError::origin_forbidden(origin));
            }
        }
        Ok(())
    }

    fn serves(&self, host: &str, loopback: bool) -> bool {
        if is_loopback_name(host) || self.lists(host) {
            return true;
        }
        // An address cannot be rebound; a name beyond loopback is held to the list if there is one.
        !loopback && (self.0.is_empty() || address(host).is_some())
    }
}

/// The host of `host[:port]`, with brackets off an IPv6 address and one trailing dot off a name.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (host, rest)
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        authority.split_at(end)
    };
    let port_is_plain = match port.strip_prefix(':') {
        Some(digits) => digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    (port_is_plain && !host.is_empty() && host.bytes().all(plain)).then_some(host)
}

fn address(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

fn is_loopback_name(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || address(host).is_some_and(|address| address.to_canonical().is_loopback())
}

/// Who asks.
///
/// # Errors
/// 401 without a known key, where there are keys.
pub(crate) fn authenticate(keys: &Keys, headers: &HeaderMap) -> Result<Option<Arc<Key>>, ApiError> {
    if keys.is_empty() {
        return Ok(None);
    }
    let value = headers.get(AUTHORIZATION).ok_or_else(ApiError::no_key)?;
    let text = value.to_str().map_err(|_| ApiError::unknown_key())?;
    let (scheme, secret) = text.split_once(' ').ok_or_else(ApiError::no_key)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(ApiError::no_key());
    }
    keys.find(secret.trim()).cloned().map(Some).ok_or_else(ApiError::unknown_key)
}

#[cfg(test)]
mod tests;
