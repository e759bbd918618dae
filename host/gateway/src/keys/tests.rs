use proptest::prelude::*;

use super::*;

fn key(name: &str) -> Key {
    Key { name: Arc::from(name), tenant: Arc::from("tenant"), labels: Labels::none(), router: None }
}

#[test]
fn a_hash_is_sha_256_in_hexadecimal() {
    // The vector of FIPS 180-4 for "abc".
    let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(KeyHash::of("abc").to_string(), text);
    assert_eq!(text.parse(), Ok(KeyHash::of("abc")));
    assert_eq!(text.to_uppercase().replace("SHA256", "sha256").parse(), Ok(KeyHash::of("abc")));
}

#[test]
fn what_is_no_hash_is_refused_without_repeating_it() {
    let digits = "0".repeat(64);
    for text in
        ["", "lockgate_secret", &digits, "sha256:", "sha256:00", "sha512:00", &format!("sha256:{digits}0")]
    {
        let error = text.parse::<KeyHash>().expect_err(text);
        assert!(text.is_empty() || !error.to_string().contains("lockgate_secret"));
    }
}

#[test]
fn a_new_key_is_found_by_its_secret_alone() {
    let first = NewKey::from_random([1; KEY_RANDOM_BYTES]);
    let second = NewKey::from_random([2; KEY_RANDOM_BYTES]);
    assert_eq!(first.secret.len(), KEY_PREFIX.len() + 48);
    assert!(first.secret.starts_with("lockgate_"));
    let keys = Keys::new([(first.hash, key("first")), (second.hash, key("second"))]);
    assert_eq!(keys.find(&first.secret).map(|key| &*key.name), Some("first"));
    assert_eq!(keys.find(&second.secret).map(|key| &*key.name), Some("second"));
    for wrong in ["", "lockgate_", &first.hash.to_string(), &first.secret[1..], &format!("{} ", first.secret)]
    {
        assert!(keys.find(wrong).is_none(), "{wrong}");
    }
    assert!(Keys::default().find(&first.secret).is_none(), "no key fits where there are none");
}

proptest! {
    #[test]
    fn hashes_survive_their_text(secret in ".{0,40}") {
        let hash = KeyHash::of(&secret);
        prop_assert_eq!(hash.to_string().parse(), Ok(hash));
    }

    #[test]
    fn parsing_never_panics(text in ".{0,80}") {
        let _ = text.parse::<KeyHash>();
    }
}
