use super::*;

fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in of {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn one_page_at_most_sends_a_request() {
    let one = headers(&[("origin", "http://localhost:3000")]);
    assert_eq!(page_of(&one).expect("one"), "http://localhost:3000");
    assert_eq!(page_of(&HeaderMap::new()), None);
    let two = headers(&[("origin", "http://localhost:3000"), ("origin", "http://localhost:4000")]);
    assert_eq!(page_of(&two), None);
}

#[test]
fn only_a_browser_asks_leave() {
    let asks = headers(&[("origin", "http://localhost"), ("access-control-request-method", "POST")]);
    assert_eq!(asked_leave_for(&Method::OPTIONS, &asks), Some(Method::POST));
    assert_eq!(asked_leave_for(&Method::POST, &asks), None);
    for lacks in [&asks_without("origin"), &asks_without("access-control-request-method")] {
        assert_eq!(asked_leave_for(&Method::OPTIONS, lacks), None);
    }
}

fn asks_without(name: &str) -> HeaderMap {
    let mut asks = headers(&[("origin", "http://localhost"), ("access-control-request-method", "POST")]);
    asks.remove(name);
    asks
}

#[test]
fn leave_is_for_what_was_asked() {
    let asked = headers(&[("access-control-request-headers", "authorization,content-type,x-stainless-os")]);
    let mut answer = HeaderMap::new();
    give_leave(&asked, &Method::POST, &mut answer);
    assert_eq!(answer[ACCESS_CONTROL_ALLOW_METHODS], "POST");
    assert_eq!(answer[ACCESS_CONTROL_ALLOW_HEADERS], "authorization,content-type,x-stainless-os");
    assert_eq!(answer.get(ACCESS_CONTROL_ALLOW_ORIGIN), None, "said by another");
}

#[test]
fn every_header_of_ours_can_be_read_by_a_page() {
    let mut answer = HeaderMap::new();
    let_read(HeaderValue::from_static("http://localhost:3000"), &mut answer);
    assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "http://localhost:3000");
    let readable = answer[ACCESS_CONTROL_EXPOSE_HEADERS].to_str().expect("text");
    for name in crate::headers::OWN {
        assert!(readable.split(", ").any(|listed| listed == name.as_str()), "{name} is not in {readable}");
    }
}
