//! When a server wants to be asked again: `Retry-After` as seconds or as a date, and OpenAI's
//! `retry-after-ms`.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

/// The longest wait that is believed.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The time to wait from `now`, where the headers say so in a form that can be read.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    let milliseconds = text("retry-after-ms").and_then(number).map(|milliseconds| milliseconds / 1000.0);
    let seconds = || text("retry-after").and_then(number);
    if let Some(seconds) = milliseconds.or_else(seconds) {
        return Some(Duration::from_secs_f64(seconds.min(WAIT_MAX.as_secs_f64())));
    }
    let date = httpdate::parse_http_date(text("retry-after")?).ok()?;
    Some(date.duration_since(now).unwrap_or_default().min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, value: &str, expected: Option<Duration>) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())]);
        assert_eq!(retry_after(&headers, now), expected, "{name}: {value}");
    }

    #[test]
    fn seconds_milliseconds_and_dates() {
        check("retry-after", "7", Some(Duration::from_secs(7)));
        check("retry-after", " 0 ", Some(Duration::ZERO));
        check("retry-after", "1.5", Some(Duration::from_millis(1500)));
        check("retry-after-ms", "250", Some(Duration::from_millis(250)));
        // 784,111,777 seconds after the epoch.
        check("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", Some(Duration::from_secs(7)));
        check("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT", Some(Duration::ZERO));
    }

    #[test]
    fn nonsense_is_ignored_and_ages_are_cut() {
        check("retry-after", "soon", None);
        check("retry-after", "-1", None);
        check("retry-after", "NaN", None);
        check("retry-after", "1e300", Some(WAIT_MAX));
        check("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT", Some(WAIT_MAX));
    }
}
