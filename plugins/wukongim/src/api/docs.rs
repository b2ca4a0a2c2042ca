//! The page at `/docs`: what this instance answers, from the table that answers it.

use super::router::{ENDPOINTS, Endpoint};

/// The page.
pub fn page() -> String {
    let endpoints: String = ENDPOINTS.iter().map(section).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Message API</title>\n<h1>Message API</h1>\n\
         <p>Bodies are JSON. Errors are {{\"msg\", \"status\"}} with the HTTP status. Where a token is configured it is sent as \
         <code>Authorization: Bearer …</code> or <code>token: …</code>.</p>\n{endpoints}</html>\n"
    )
}

fn section(endpoint: &Endpoint) -> String {
    let Endpoint { method, path, open, about, fields, .. } = endpoint;
    let token = if *open { " No token needed." } else { "" };
    let rows = fields.iter().map(|(name, about)| format!("<dt><code>{name}</code></dt><dd>{about}</dd>\n"));
    format!("<h2><code>{method} {path}</code></h2>\n<p>{about}{token}</p>\n<dl>\n{}</dl>\n", rows.collect::<String>())
}
