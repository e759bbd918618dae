//! CORS: what the browser of a welcome web page is told, so that the page may read its answers, by the Fetch
//! standard (<https://fetch.spec.whatwg.org/#http-cors-protocol>). Which pages are welcome says `access`;
//! credentials of a browser's own (cookies) are never asked for. Pure.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

/// A browser keeps a permission for an hour (most keep it for less).
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("3600");
/// `*` would not do for pages that ask for it by name, nor does it name what there is.
const READABLE: HeaderValue = HeaderValue::from_static(
    "retry-after, x-request-id, x-lockgate-target, x-lockgate-locality, x-lockgate-policy, x-lockgate-attempts, \
     x-lockgate-labels",
);
const ORIGIN_NAME: HeaderValue = HeaderValue::from_static("origin");

/// The page that sends a request. None where no page does, or where more than one is said to.
pub(crate) fn page_of(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut pages = headers.get_all(ORIGIN).iter();
    pages.next().filter(|_| pages.next().is_none())
}

/// The method that a browser asks leave for before it sends a page's request. It asks without a key.
pub(crate) fn asked_leave_for(method: &Method, headers: &HeaderMap) -> Option<Method> {
    if method != Method::OPTIONS {
        return None;
    }
    page_of(headers)?;
    Method::from_bytes(headers.get(ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()
}

/// Leave for that method with the headers that were asked for: what they hold is checked when they come.
pub(crate) fn give_leave(asked: &HeaderMap, method: &Method, answer: &mut HeaderMap) {
    if let Ok(method) = HeaderValue::from_str(method.as_str()) {
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, method);
    }
    if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    answer.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS);
}

/// Lets a welcome page read an answer.
pub(crate) fn let_read(page: HeaderValue, answer: &mut HeaderMap) {
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, page);
    answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, READABLE);
    answer.append(VARY, ORIGIN_NAME);
}

#[cfg(test)]
mod tests;
