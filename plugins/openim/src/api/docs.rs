//! The page at `/docs`: what this instance answers, from the table that answers it.

use super::router::{ENDPOINTS, Endpoint};

/// The page.
pub fn page() -> String {
    let endpoints: String = ENDPOINTS.iter().map(section).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Message search</title>\n<h1>Message search</h1>\n\
         <p>Every request is a POST with a JSON object as its body and a header <code>operationID</code>; where a token is \
         needed it is the header <code>token</code>, and that of an admin. Answers are {{\"errCode\", \"errMsg\", \"errDlt\", \
         \"data\"}} under HTTP 200: 0 it is done, 1001 the request is wrong, 1002 the caller may not, 1004 there is no such \
         thing, 1501 the token has expired, 1503 it is none, 1504 it is not good yet, 1505 somebody else signed it, 500 it was \
         not done. <code>data</code> is missing where there is none. A token that an OpenIM issued is good here until it expires, \
         also where it was ended there.</p>\n\
         <p>These have an HTTP status of their own: 404 an unknown path, 413 a body over 16 MiB (unless configured), 429 too \
         many requests a second from one address, 503 and 504 the instance does not answer. All but the first are told as \
         errCode 500.</p>\n{endpoints}</html>\n"
    )
}

fn section(endpoint: &Endpoint) -> String {
    let Endpoint { path, open, about, fields, .. } = endpoint;
    let token = if *open { " No token needed." } else { "" };
    let rows = fields.iter().map(|(name, about)| format!("<dt><code>{name}</code></dt><dd>{about}</dd>\n"));
    format!("<h2><code>POST {path}</code></h2>\n<p>{about}{token}</p>\n<dl>\n{}</dl>\n", rows.collect::<String>())
}
