//! Which addresses a provider of each locality may connect to: a pure check.

use std::net::IpAddr;

use lockgate_api::Locality;

/// Whether a connection to `address` keeps the promise of `locality`.
///
/// `local` is loopback; `lan` adds private, link-local and unique-local addresses; `cloud` is anything.
/// An IPv4 address mapped into IPv6 counts as the IPv4 address that the kernel would connect to. Shared
/// address space (100.64.0.0/10) is a carrier's or an overlay's, not provably the operator's own network,
/// and so is refused.
pub(super) fn allows(locality: Locality, address: IpAddr) -> bool {
    let address = address.to_canonical();
    let private = match address {
        IpAddr::V4(address) => address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    };
    match locality {
        Locality::Local => address.is_loopback(),
        Locality::Lan => address.is_loopback() || private,
        Locality::Cloud => true,
    }
}

/// The addresses that [`allows`] lets through, in words.
pub(super) fn allowed_in_words(locality: Locality) -> &'static str {
    match locality {
        Locality::Local => "a loopback address",
        Locality::Lan => "a loopback or private address",
        Locality::Cloud => "any address",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, local: bool, lan: bool) {
        let parsed: IpAddr = address.parse().unwrap();
        assert_eq!(allows(Locality::Local, parsed), local, "local {address}");
        assert_eq!(allows(Locality::Lan, parsed), lan, "lan {address}");
        assert!(allows(Locality::Cloud, parsed), "cloud {address}");
    }

    #[test]
    fn loopback_is_local() {
        for address in ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"] {
            check(address, true, true);
        }
    }

    #[test]
    fn private_networks_are_lan() {
        for address in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.1.1",
            "fe80::1",
            "fd00::1",
            "fc00::1",
            "::ffff:192.168.1.1",
        ] {
            check(address, false, true);
        }
    }

    #[test]
    fn everything_else_is_cloud() {
        for address in [
            "0.0.0.0",
            "::",
            "8.8.8.8",
            "172.32.0.1",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "2001:db8::1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "fec0::1",
            "ff02::1",
        ] {
            check(address, false, false);
        }
    }
}
