//! What a log shows of requests and replies: never a credential, never what people write.
//!
//! A path may hold a secret as well ([`Description::secret_paths`](super::Description::secret_paths)), and who only sees a request
//! does not know where: no more of it is shown than its first segment.

use super::{FetchReply, FetchRequest, HttpReply, HttpRequest, StateEntry, StateValue};
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;

/// The first segment of a path, and `…` for what follows it: what may be shown while nobody says where secrets are.
pub fn first_segment(path: &str) -> Cow<'_, str> {
    match path.match_indices('/').nth(1) {
        Some((at, _)) if at + 1 < path.len() => format!("{}…", &path[..=at]).into(),
        _ => path.into(),
    }
}

/// Shows neither the rest of the path nor the query nor header values: signatures and keys of callers are in them.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("path", &first_segment(&self.path))
            .field("query", &self.query.as_ref().map(|_| Hidden))
            .field("headers", &HeaderNames(&self.headers))
            .field("remote", &self.remote)
            .field("request_id", &self.request_id)
            .field("base_url", &self.base_url)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

/// Shows neither the rest of the path, nor the query, nor credentials in the authority, nor header values: access tokens are in
/// them.
impl fmt::Debug for FetchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchRequest")
            .field("method", &self.method)
            .field("url", &format_args!("{:?}", public_part(&self.url)))
            .field("headers", &HeaderNames(&self.headers))
            .field("timeout_ms", &self.timeout_ms)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

/// Shows no header values and no body: cookies are in them.
impl fmt::Debug for HttpReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_reply(f, "HttpReply", self.status, &self.headers, &self.body)
    }
}

/// Shows no header values and no body: access tokens are in them.
impl fmt::Debug for FetchReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_reply(f, "FetchReply", self.status, &self.headers, &self.body)
    }
}

fn show_reply(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    status: u16,
    headers: &[(String, String)],
    body: &Bytes,
) -> fmt::Result {
    f.debug_struct(name)
        .field("status", &status)
        .field("headers", &HeaderNames(headers))
        .field("body", &format_args!("{} bytes", body.len()))
        .finish()
}

/// Hides the value: a plugin may keep a token.
impl fmt::Debug for StateValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateValue").field("value", &self.value.as_ref().map(|_| Hidden)).finish()
    }
}

/// Hides the value: a plugin may keep a token.
impl fmt::Debug for StateEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateEntry")
            .field("key", &self.key)
            .field("value", &self.value.as_ref().map(|_| Hidden))
            .finish()
    }
}

struct Hidden;

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

struct HeaderNames<'a>(&'a [(String, String)]);

impl fmt::Debug for HeaderNames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// A URL without user, password, query and fragment, and no more of its path than may be shown.
fn public_part(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return first_segment(url).into_owned() };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{}", first_segment(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_of_a_path_than_its_first_segment() {
        for (path, shown) in
            [("", ""), ("/", "/"), ("/a", "/a"), ("/a/", "/a/"), ("/a/b", "/a/…"), ("//b", "//…"), ("/é/b/c", "/é/…")]
        {
            assert_eq!(first_segment(path), shown);
        }
    }

    #[test]
    fn debug_shows_no_credentials() {
        let headers = vec![("authorization".to_owned(), "hunter2".to_owned())];
        let fetch =
            |url: &str| FetchRequest { url: url.to_owned(), headers: headers.clone(), ..FetchRequest::default() };
        let check = |shown: String, visible: &str| {
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains(visible), "{shown} lacks {visible}");
        };
        check(format!("{:?}", fetch("https://a.example/token?secret=hunter2")), "\"https://a.example/token\"");
        check(format!("{:?}", fetch("https://user:hunter2@a.example/x#hunter2")), "\"https://a.example/x\"");
        check(format!("{:?}", fetch("https://user:hunter2@a.example?x")), "\"https://a.example\"");
        check(format!("{:?}", fetch("https://a.example/hook/hunter2")), "\"https://a.example/hook/…\"");
        check(format!("{:?}", fetch("/relative?hunter2")), "authorization");
        check(format!("{:?}", fetch("/relative/hunter2")), "\"/relative/…\"");
        let request = HttpRequest {
            path: "/hook/hunter2/x".into(),
            query: Some("signature=hunter2".into()),
            headers: headers.clone(),
            ..HttpRequest::default()
        };
        check(format!("{request:?}"), "path: \"/hook/…\", query: Some(hidden)");
        let body = Bytes::from_static(b"hunter2");
        let reply = FetchReply { status: 200, headers: headers.clone(), body: body.clone() };
        check(format!("{reply:?}"), "7 bytes");
        check(
            format!("{:?}", HttpReply { status: 200, headers, body: body.clone(), ..HttpReply::default() }),
            "authorization",
        );
        check(format!("{:?}", StateValue { value: Some(body.clone()) }), "Some(hidden)");
        check(format!("{:?}", StateEntry { key: "token".into(), value: Some(body) }), "token");
    }
}
