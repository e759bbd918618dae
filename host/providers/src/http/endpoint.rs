//! A server's base URL, taken apart and checked once.

use std::net::IpAddr;

use lockgate_api::Locality;
use url::{Host, Url};

use super::address::{allowed_in_words, allows};

/// Where a server is.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Whether the connection is encrypted.
    pub(super) https: bool,
    /// Its host.
    pub(super) host: Peer,
    /// Its port.
    pub(super) port: u16,
    /// `host` or `host:port`, as the Host header and messages name it.
    authority: String,
    /// The path before every request's own, without a slash at its end.
    path: String,
}

/// A server's host.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    /// An address, written as such.
    Address(IpAddr),
    /// A name to look up.
    Name(String),
}

impl Endpoint {
    /// Parses a base URL. Without a path it gets `default_path`.
    ///
    /// # Errors
    /// What is wrong with it, in words that follow the setting's name. Never quotes credentials.
    pub(crate) fn parse(text: &str, default_path: &str, locality: Locality) -> Result<Self, String> {
        let url = Url::parse(text.trim()).map_err(|error| format!("is not a URL: {error}"))?;
        let https = match url.scheme() {
            "http" => false,
            "https" => true,
            other => return Err(format!("has the scheme `{other}`: use http or https")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not carry credentials: use `api_key`".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must not have a query or fragment".to_owned());
        }
        let host = match url.host() {
            Some(Host::Ipv4(address)) => Peer::Address(address.into()),
            Some(Host::Ipv6(address)) => Peer::Address(address.into()),
            Some(Host::Domain(name)) => Peer::Name(name.to_owned()),
            None => return Err("has no host".to_owned()),
        };
        if let Peer::Address(address) = host
            && !allows(locality, address)
        {
            return Err(format!(
                "has the address {address}, but a provider of locality `{locality}` must be at {}",
                allowed_in_words(locality)
            ));
        }
        let port = url.port_or_known_default().ok_or("has no port")?;
        let path = match url.path().trim_end_matches('/') {
            "" => default_path,
            path => path,
        };
        let authority = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err("has no host".to_owned()),
        };
        Ok(Self { https, host, port, authority, path: path.to_owned() })
    }

    /// The path of a request below the base path. `suffix` starts with a slash.
    pub(crate) fn path(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.path)
    }

    /// The path of a request beside the API's version: `/v1` at the base path's end is left out.
    pub(crate) fn root_path(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.path.strip_suffix("/v1").unwrap_or(&self.path))
    }

    /// `host` or `host:port`.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Scheme and authority, for messages and for requests through a proxy.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", if self.https { "https" } else { "http" }, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, locality: Locality) -> Result<Endpoint, String> {
        Endpoint::parse(text, "/v1", locality)
    }

    #[test]
    fn the_base_path_is_kept_and_defaulted() {
        for (text, chat, show) in [
            ("http://localhost:11434", "/v1/chat", "/api/show"),
            ("http://localhost:11434/", "/v1/chat", "/api/show"),
            ("http://localhost:11434/v1/", "/v1/chat", "/api/show"),
            ("http://127.0.0.1/models/v1", "/models/v1/chat", "/models/api/show"),
            ("http://127.0.0.1/openai", "/openai/chat", "/openai/api/show"),
        ] {
            let endpoint = parse(text, Locality::Local).unwrap();
            assert_eq!(endpoint.path("/chat"), chat, "{text}");
            assert_eq!(endpoint.root_path("/api/show"), show, "{text}");
        }
    }

    #[test]
    fn hosts_and_ports() {
        let endpoint = parse("https://models.example", Locality::Cloud).unwrap();
        assert_eq!((endpoint.https, endpoint.port, endpoint.authority()), (true, 443, "models.example"));
        assert_eq!(endpoint.origin(), "https://models.example");
        let endpoint = parse("http://[::1]:8080/v1", Locality::Local).unwrap();
        assert_eq!((endpoint.port, endpoint.authority()), (8080, "[::1]:8080"));
    }

    #[test]
    fn wrong_urls_are_refused_without_quoting_secrets() {
        for (text, locality, part) in [
            ("localhost:11434", Locality::Local, "scheme"),
            ("ftp://localhost", Locality::Local, "scheme"),
            ("not a url", Locality::Local, "not a URL"),
            ("http://user:hunter2@localhost", Locality::Local, "api_key"),
            ("http://localhost/v1?key=hunter2", Locality::Local, "query"),
            ("http://192.168.1.5/v1", Locality::Local, "loopback"),
            ("http://8.8.8.8/v1", Locality::Lan, "private"),
            ("http://0.0.0.0:11434", Locality::Local, "loopback"),
            ("http://[::ffff:8.8.8.8]/v1", Locality::Local, "loopback"),
            // Other spellings of an address are still that address.
            ("http://0x08080808/v1", Locality::Local, "8.8.8.8"),
        ] {
            let problem = parse(text, locality).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
            assert!(!problem.contains("hunter2"), "{text}: {problem}");
        }
    }
}
