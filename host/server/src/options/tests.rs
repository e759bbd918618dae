use lockgate_api::Labels;
use lockgate_gateway::{Key, KeyHash};

use super::*;

#[test]
fn beyond_loopback_a_key_is_needed() {
    let none = Keys::default();
    let key = Key { name: "n".into(), tenant: "t".into(), labels: Labels::none(), router: None };
    let some = Keys::new([(KeyHash::of("secret"), key)]);
    for (address, safe) in [
        ("127.0.0.1:8080", true),
        ("127.8.9.1:0", true),
        ("[::1]:8080", true),
        ("[::ffff:127.0.0.1]:8080", true),
        ("0.0.0.0:8080", false),
        ("[::]:8080", false),
        ("192.168.1.5:8080", false),
        ("[::ffff:10.0.0.1]:80", false),
    ] {
        let address: SocketAddr = address.parse().expect("an address of the table parses");
        assert_eq!(ensure_safe_to_listen(address, &none).is_ok(), safe, "{address} without a key");
        assert_eq!(ensure_safe_to_listen(address, &some), Ok(()), "{address} with one");
    }
    let address = "0.0.0.0:8080".parse().expect("parses");
    let message = ensure_safe_to_listen(address, &none).expect_err("unsafe").to_string();
    assert!(message.contains("0.0.0.0:8080") && message.contains("lockgate key new"), "{message}");
}
