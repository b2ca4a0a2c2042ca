//! The settings an index must have. Changing one makes the server index everything again, so they are compared first.

use serde_json::{Value, json};
use std::time::Duration;

/// After this the server ends a search that nobody waits for any more: it does not notice that, and has as many searches at once as it
/// has cores. What is cut off comes unsorted and does not say so: an answer that took as long is none.
pub const CUTOFF: Duration = Duration::from_secs(60);

/// What an index is made for. The object form of the filters keeps it from building what nobody asks for.
pub fn wanted() -> Value {
    let filter = |fields: &[&str], comparison: bool| {
        json!({
            "attributePatterns": fields,
            "features": {"facetSearch": false, "filter": {"equality": true, "comparison": comparison}},
        })
    };
    json!({
        "searchableAttributes": ["t"],
        "displayedAttributes": ["*"],
        "filterableAttributes": [
            filter(&["i", "c", "u", "k", "b", "r", "f", "y", "v", "part", "day"], false),
            filter(&["rev", "n", "th", "tl", "eh", "el"], true),
        ],
        "sortableAttributes": ["n", "s", "th", "tl"],
        "rankingRules": ["sort"],
        "stopWords": [],
        "synonyms": {},
        "distinctAttribute": null,
        "dictionary": [],
        "separatorTokens": [],
        "nonSeparatorTokens": [],
        "typoTolerance": {"enabled": false},
        "prefixSearch": "disabled",
        "facetSearch": false,
        "proximityPrecision": "byAttribute",
        "localizedAttributes": [{"attributePatterns": ["*"], "locales": ["eng"]}],
        "faceting": {"maxValuesPerFacet": 1_000_000},
        "pagination": {"maxTotalHits": u32::MAX},
        "searchCutoffMs": CUTOFF.as_secs() * 1_000,
    })
}

/// Those of the wanted settings that the present ones differ from.
pub fn differing(wanted: &Value, present: &Value) -> Value {
    let keys = wanted.as_object().into_iter().flatten();
    keys.filter(|(key, value)| !has(&present[key.as_str()], value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Whether what is there is what is wanted; objects may have more than that. The server sorts some of its lists.
fn has(present: &Value, wanted: &Value) -> bool {
    match (present, wanted) {
        (Value::Object(present), Value::Object(wanted)) => {
            present.len() >= wanted.len()
                && wanted.iter().all(|(key, value)| present.get(key).is_some_and(|p| has(p, value)))
        }
        (Value::Array(present), Value::Array(wanted)) => {
            present.len() == wanted.len() && wanted.iter().all(|value| present.iter().any(|p| has(p, value)))
        }
        (present, wanted) => present == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_changed() {
        let mut present = wanted();
        present["typoTolerance"]["minWordSizeForTypos"] = json!({"oneTypo": 5, "twoTypos": 9});
        present["embedders"] = json!({});
        present["sortableAttributes"] = json!(["tl", "th", "s", "n"]);
        assert_eq!(differing(&wanted(), &present), json!({}));
        present["rankingRules"] = json!(["words", "sort"]);
        present.as_object_mut().unwrap().remove("facetSearch");
        assert_eq!(differing(&wanted(), &present), json!({"rankingRules": ["sort"], "facetSearch": false}));
    }
}
