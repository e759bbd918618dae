use http::HeaderValue;
use lockgate_api::Labels;
use lockgate_gateway::{KEY_RANDOM_BYTES, NewKey};
use proptest::prelude::*;

use super::*;

fn status(names: &[&str], loopback: bool, host: &str, origin: Option<&str>) -> u16 {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_str(host).expect("a header value"));
    if let Some(origin) = origin {
        headers.insert(ORIGIN, HeaderValue::from_str(origin).expect("a header value"));
    }
    let result = Hosts::new(&names).check(&headers, &Uri::from_static("/v1/models"), loopback);
    result.map_or_else(|error| error.status.as_u16(), |()| 200)
}

#[test]
fn a_loopback_listener_serves_loopback_names_and_configured_ones() {
    for (host, expected) in [
        ("localhost", 200),
        ("localhost:8080", 200),
        ("LocalHost:1", 200),
        ("localhost.", 200),
        ("127.0.0.1", 200),
        ("127.0.0.1:8080", 200),
        ("127.1.2.3:8080", 200),
        ("[::1]", 200),
        ("[::1]:8080", 200),
        ("my.box", 200),
        ("MY.BOX:443", 200),
        ("evil.example", 403),
        ("evil.example:8080", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("notlocalhost", 403),
        ("192.168.1.5:8080", 403),
        ("0.0.0.0:8080", 403),
        ("[::2]", 403),
        ("", 400),
        (":8080", 400),
        ("localhost:80:80", 400),
        ("localhost:http", 400),
        ("localhost@evil.example", 400),
        ("evil.example/localhost", 400),
        ("[localhost]", 400),
        ("[::1", 400),
        ("[::1]x", 400),
        ("local host", 400),
    ] {
        assert_eq!(status(&["my.box"], true, host, None), expected, "{host}");
    }
}

#[test]
fn an_origin_must_be_loopback_or_configured() {
    for (origin, expected) in [
        ("http://localhost:3000", 200),
        ("https://127.0.0.1", 200),
        ("http://[::1]:5173", 200),
        ("https://my.box", 200),
        ("https://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("null", 403),
        ("", 403),
        ("http://", 403),
        ("localhost", 403),
        ("http://evil.example:80@localhost", 403),
    ] {
        assert_eq!(status(&["my.box"], true, "localhost", Some(origin)), expected, "{origin}");
    }
}

#[test]
fn beyond_loopback_names_are_free_unless_some_are_listed() {
    assert_eq!(status(&[], false, "anything.lan", None), 200);
    assert_eq!(status(&["my.box"], false, "anything.lan", None), 403);
    assert_eq!(status(&["my.box"], false, "192.168.1.5:8080", None), 200);
    assert_eq!(status(&["my.box"], false, "my.box", None), 200);
    assert_eq!(status(&[], false, "box.lan", Some("http://box.lan")), 200, "its own page");
    assert_eq!(status(&[], false, "box.lan", Some("http://evil.example")), 403);
}

#[test]
fn two_hosts_or_none_are_refused_and_the_request_line_counts() {
    let hosts = Hosts::default();
    let uri = Uri::from_static("/");
    let mut headers = HeaderMap::new();
    assert_eq!(hosts.check(&headers, &uri, true).map_err(|error| error.status.as_u16()), Err(400));
    headers.append(HOST, HeaderValue::from_static("localhost"));
    assert!(hosts.check(&headers, &uri, true).is_ok());
    let absolute = Uri::from_static("http://evil.example/v1/models");
    assert_eq!(hosts.check(&headers, &absolute, true).map_err(|error| error.status.as_u16()), Err(403));
    headers.append(HOST, HeaderValue::from_static("localhost"));
    assert_eq!(hosts.check(&headers, &uri, true).map_err(|error| error.status.as_u16()), Err(400));
}

#[test]
fn a_refusal_says_what_to_configure() {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("evil.example"));
    let error = Hosts::default().check(&headers, &Uri::from_static("/"), true).expect_err("refused");
    assert!(
        error.message.contains("evil.example") && error.message.contains("rebinding"),
        "{}",
        error.message
    );
}

#[test]
fn keys_are_asked_for_only_where_there_are_any() {
    let new = NewKey::from_random([7; KEY_RANDOM_BYTES]);
    let key = Key { name: "n".into(), tenant: "t".into(), labels: Labels::none(), router: None };
    let keys = Keys::new([(new.hash, key)]);
    let ask = |keys: &Keys, value: Option<String>| {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(&value).expect("a header value"));
        }
        authenticate(keys, &headers).map(|key| key.is_some()).map_err(|error| error.status.as_u16())
    };
    assert_eq!(ask(&Keys::default(), None), Ok(false));
    assert_eq!(ask(&Keys::default(), Some("Bearer sk-anything".to_owned())), Ok(false));
    assert_eq!(ask(&keys, Some(format!("Bearer {}", new.secret))), Ok(true));
    assert_eq!(ask(&keys, Some(format!("bearer  {}", new.secret))), Ok(true));
    for wrong in [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(new.secret.clone()),
        Some(format!("Basic {}", new.secret)),
        Some(format!("Bearer {}x", new.secret)),
        Some(format!("Bearer {}", new.hash)),
    ] {
        assert_eq!(ask(&keys, wrong.clone()), Err(401), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn no_authority_panics_or_hides_another_host(text in ".{0,40}") {
        if let Some(host) = host_of(&text) {
            prop_assert!(text.contains(host));
            prop_assert!(!host.contains(['/', '@', ' ', '?', '#', '[', ']']));
        }
    }
}
