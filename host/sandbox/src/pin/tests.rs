use super::{Digest, Pin, Signer};

const BYTES: &[u8] = b"a component";
const DIGEST: &str = "626d0ce33ca550dc06351c3ea7b698be557ff5d35bf25edc44221b561838594c";
const SIGNER: &str = "RWSwGcHC9TiMxEiaO3VqBVbZiPoYvzmhRUBjSWGw/0DWePq5XLnA2ewo";
const OTHER_SIGNER: &str = "RWQg/flGKO3/YLnkuv6M/f+VNFqKdGf6w7vwdCR3bRxA4XbXmuCBiT9B";
// Made by a minisign implementation in Python.
const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
    RUSwGcHC9TiMxEbgysZBxsCk3hYsIwndk1zev1rZRM3+tpaCcabMXbFBguZVnzUq0SNW+pe19jJ6mhb8hCXZYTtTg9+I/u1vXwU=\n\
    trusted comment: timestamp:1795628201\n\
    BKnFTpYAtNFeifUG/+tY0B+Mi9WAtVHdjhR+fKxRCZK+1eNPqdi+u4pyGJEFh4TJvJAe8ejRSQlKAXOAQbnlAw==\n";

fn check(pin: &Pin, bytes: &[u8], signature: Option<&str>) -> Result<(), String> {
    pin.check("p.wasm", bytes, Digest::of(bytes), signature).map_err(|error| error.to_string())
}

fn signed_by(signer: &str) -> Pin {
    Pin { signer: Some(signer.parse().expect("it is a key")), ..Pin::default() }
}

#[test]
fn without_a_pin_anything_goes() {
    assert_eq!(check(&Pin::default(), BYTES, None), Ok(()));
}

#[test]
fn a_digest_pins_every_byte() {
    let pin = Pin { digest: Some(DIGEST.parse().expect("64 digits")), ..Pin::default() };
    assert_eq!(check(&pin, BYTES, None), Ok(()));
    let complaint = check(&pin, b"a Component", None).expect_err("other bytes");
    assert!(complaint.contains("p.wasm") && complaint.contains(DIGEST), "{complaint}");
    assert!(
        complaint.contains(&Digest::of(b"a Component").to_string()),
        "what it is now is told: {complaint}"
    );
}

#[test]
fn digests_are_read_in_either_case_and_nothing_else_is() {
    let digest: Digest = DIGEST.to_uppercase().parse().expect("64 digits");
    assert_eq!(digest.to_string(), DIGEST);
    assert_eq!(digest.short(), DIGEST[..12]);
    for text in ["", "12", &DIGEST[1..], &format!("{DIGEST}0"), &format!("g{}", &DIGEST[1..]), "sha256:00"] {
        assert!(text.parse::<Digest>().is_err(), "{text}");
    }
}

#[test]
fn a_signature_holds_for_its_bytes_and_key_alone() {
    assert_eq!(check(&signed_by(SIGNER), BYTES, Some(SIGNATURE)), Ok(()));
    for (pin, bytes, signature) in [
        (signed_by(SIGNER), &b"a Component"[..], Some(SIGNATURE)),
        (signed_by(OTHER_SIGNER), BYTES, Some(SIGNATURE)),
        (signed_by(SIGNER), BYTES, None),
        (signed_by(SIGNER), BYTES, Some("")),
        (signed_by(SIGNER), BYTES, Some("untrusted comment: none\nAAAA\n")),
        (signed_by(SIGNER), BYTES, Some(&SIGNATURE.replace("1795628201", "1795628202"))),
    ] {
        let complaint = check(&pin, bytes, signature).expect_err("it must not load");
        assert!(complaint.contains("p.wasm.minisig"), "{complaint}");
    }
}

#[test]
fn both_pins_must_hold() {
    let digest = Some(Digest::of(b"something else"));
    let complaint =
        check(&Pin { digest, ..signed_by(SIGNER) }, BYTES, Some(SIGNATURE)).expect_err("one fails");
    assert!(complaint.contains("SHA-256"), "{complaint}");
}

#[test]
fn what_is_no_key_is_told() {
    for text in ["", "RW", "untrusted comment: minisign public key", &SIGNER[2..]] {
        assert!(text.parse::<Signer>().is_err(), "{text}");
    }
}
