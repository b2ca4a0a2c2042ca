//! The daemon's own API.

use super::row;
use crate::ask::{Request, Row};
use stele_tests::client::quote_plus;
use stele_tests::crowd::keyword;

pub fn rows(address: &str) -> Vec<Row> {
    let base = format!("http://{address}/api/v1/archive/search");
    let search = move |query: String| Request {
        method: "GET",
        url: format!("{base}?{query}"),
        headers: Vec::new(),
        body: String::new(),
    };
    let everywhere = search.clone();
    vec![
        row(("admin", "archive/search"), "two characters in all instances", "/rows", move |rng, _| {
            everywhere(format!("q={}", quote_plus(keyword(rng))))
        }),
        row(("admin", "archive/search"), "the same, the most relevant", "/rows", move |rng, _| {
            search(format!("q={}&sort=relevance", quote_plus(keyword(rng))))
        }),
    ]
}
