//! What a request wants of a content that is there: all of it, a part, or to hear that it has it (RFC 9110 §13, §14).

use http::{HeaderMap, HeaderName, Method, header};
use std::ops::Range;
use std::time::SystemTime;

/// What a content is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// 200
    Whole,
    /// 206
    Part(Range<u64>),
    /// 304
    NotModified,
    /// 412
    PreconditionFailed,
    /// 416
    Unsatisfiable,
}

/// What is known of the content.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Its strong entity tag, quotes included.
    pub etag: &'a str,
    /// When it was stored.
    pub modified: SystemTime,
    /// Its size in bytes.
    pub size: u64,
}

impl Known<'_> {
    /// What a request wants. Conditions in the order of RFC 9110 §13.2.2. Of several ranges all is answered, as may be.
    pub fn wanted(&self, method: &Method, headers: &HeaderMap) -> Wanted {
        let if_match = headers.contains_key(header::IF_MATCH);
        if if_match && !tags(headers, header::IF_MATCH).any(|tag| tag == "*" || tag == self.etag) {
            return Wanted::PreconditionFailed;
        }
        let unmodified_since = date(headers, header::IF_UNMODIFIED_SINCE).filter(|_| !if_match);
        if unmodified_since.is_some_and(|since| seconds(self.modified) > seconds(since)) {
            return Wanted::PreconditionFailed;
        }
        let weak = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == self.etag;
        let is_known = match headers.contains_key(header::IF_NONE_MATCH) {
            true => tags(headers, header::IF_NONE_MATCH).any(|tag| tag == "*" || weak(tag)),
            false => {
                date(headers, header::IF_MODIFIED_SINCE).is_some_and(|since| seconds(self.modified) <= seconds(since))
            }
        };
        if is_known {
            return Wanted::NotModified;
        }
        let range = headers.get(header::RANGE).filter(|_| method == Method::GET && self.is_current(headers));
        match range.and_then(|range| parse(range.to_str().ok()?, self.size)) {
            None => Wanted::Whole,
            Some(range) if range.is_empty() => Wanted::Unsatisfiable,
            Some(range) => Wanted::Part(range),
        }
    }

    /// Whether `If-Range`, if there is one, names what is here.
    fn is_current(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::IF_RANGE) else { return true };
        let tag = value.to_str().is_ok_and(|tag| tag == self.etag);
        tag || date(headers, header::IF_RANGE).is_some_and(|date| seconds(date) == seconds(self.modified))
    }
}

/// The entity tags of a header. Those of ours hold no comma.
fn tags(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

/// Dates of HTTP have whole seconds.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The bytes a range means; none of them when it lies behind the end; `None` when it is not to be heeded.
fn parse(range: &str, size: u64) -> Option<Range<u64>> {
    let (unit, range) = range.split_once('=')?;
    let (first, last) = range.trim().split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes"))?;
    // A number too large to be one lies behind every end.
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        true => Some(text.parse().unwrap_or(u64::MAX)),
        false => None,
    };
    let (first, last) = (first.trim(), last.trim());
    match (first.is_empty(), last.is_empty()) {
        // Nothing has no last bytes, and no range that says so.
        (true, _) if size == 0 => None,
        (true, _) => Some(size.saturating_sub(number(last)?)..size),
        (false, true) => Some(number(first)?.min(size)..size),
        (false, false) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| first.min(size)..last.saturating_add(1).min(size))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ETAG: &str = "\"5d41402abc4b2a76b9719d911017c592\"";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn wanted(method: &Method, size: u64, headers: &[(HeaderName, &str)]) -> Wanted {
        // Within the second: what is compared has no fractions.
        let modified = httpdate::parse_http_date(THEN).unwrap() + Duration::from_millis(700);
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        Known { etag: ETAG, modified, size }.wanted(method, &headers)
    }

    #[test]
    fn ranges() {
        for (range, expected) in [
            ("bytes=0-4", Wanted::Part(0..5)),
            ("Bytes = 0 - 4", Wanted::Part(0..5)),
            ("bytes=7-", Wanted::Part(7..12)),
            ("bytes=7-99999999999999999999999", Wanted::Part(7..12)),
            ("bytes=-5", Wanted::Part(7..12)),
            ("bytes=-50", Wanted::Part(0..12)),
            ("bytes=12-", Wanted::Unsatisfiable),
            ("bytes=99999999999999999999999-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=4-2", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("items=0-4", Wanted::Whole),
        ] {
            assert_eq!(wanted(&Method::GET, 12, &[(header::RANGE, range)]), expected, "{range}");
        }
        assert_eq!(wanted(&Method::HEAD, 12, &[(header::RANGE, "bytes=0-4")]), Wanted::Whole);
        assert_eq!(wanted(&Method::GET, 0, &[(header::RANGE, "bytes=-5")]), Wanted::Whole);
        assert_eq!(wanted(&Method::GET, 0, &[(header::RANGE, "bytes=0-")]), Wanted::Unsatisfiable);
    }

    #[test]
    fn conditions() {
        let weak = format!("\"x\", W/{ETAG}");
        let strong = format!("\"x\", {ETAG}");
        let check = |headers: &[(HeaderName, &str)], expected: Wanted| {
            assert_eq!(wanted(&Method::GET, 12, headers), expected, "{headers:?}");
        };
        check(&[(header::IF_NONE_MATCH, ETAG)], Wanted::NotModified);
        check(&[(header::IF_NONE_MATCH, &weak)], Wanted::NotModified);
        check(&[(header::IF_NONE_MATCH, "*")], Wanted::NotModified);
        check(&[(header::IF_NONE_MATCH, "\"x\"")], Wanted::Whole);
        check(&[(header::IF_NONE_MATCH, "\"x\""), (header::IF_MODIFIED_SINCE, AFTER)], Wanted::Whole);
        check(&[(header::IF_MODIFIED_SINCE, THEN)], Wanted::NotModified);
        check(&[(header::IF_MODIFIED_SINCE, BEFORE)], Wanted::Whole);
        check(&[(header::IF_MODIFIED_SINCE, "yesterday")], Wanted::Whole);
        check(&[(header::IF_MATCH, &strong)], Wanted::Whole);
        check(&[(header::IF_MATCH, &weak)], Wanted::PreconditionFailed);
        check(&[(header::IF_MATCH, ETAG), (header::IF_UNMODIFIED_SINCE, BEFORE)], Wanted::Whole);
        check(&[(header::IF_UNMODIFIED_SINCE, BEFORE)], Wanted::PreconditionFailed);
        check(&[(header::IF_UNMODIFIED_SINCE, THEN)], Wanted::Whole);
        let range = (header::RANGE, "bytes=0-4");
        check(&[range.clone(), (header::IF_RANGE, ETAG)], Wanted::Part(0..5));
        check(&[range.clone(), (header::IF_RANGE, "\"x\"")], Wanted::Whole);
        check(&[range.clone(), (header::IF_RANGE, &weak[5..])], Wanted::Whole);
        check(&[range.clone(), (header::IF_RANGE, THEN)], Wanted::Part(0..5));
        check(&[range.clone(), (header::IF_RANGE, AFTER)], Wanted::Whole);
        check(&[range, (header::IF_NONE_MATCH, ETAG)], Wanted::NotModified);
    }
}
