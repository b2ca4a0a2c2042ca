//! The archive: figures, search over all instances, and the state of the index.

use super::{Admin, Failure};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat};
use http::{HeaderValue, StatusCode, Uri, header};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use stele_archive::model::Micros;
use stele_archive::{ArchiveError, InstanceId};
use stele_search::{SearchError, SearchHit, SearchRequest, Sort, Within, snippet};

/// Rows of a page when the caller does not say.
const DEFAULT_ROWS: u32 = 20;
/// Most rows of a page.
const MAX_ROWS: u32 = 100;
/// Characters of the piece of text a row shows around what was found.
const SNIPPET: usize = 120;

pub async fn stats(State(admin): State<Arc<Admin>>) -> Result<Response, Failure> {
    let (stats, media) = (admin.archive.stats(None).await?, admin.archive.media_totals(None).await?);
    Ok(Json(json!({ "stats": stats, "media": media })).into_response())
}

pub async fn index(State(admin): State<Arc<Admin>>) -> Response {
    Json(json!({
        "engine": admin.index.engine(),
        "health": admin.index.health(),
        "tailer": admin.reindexing.tailer().status(),
        "rebuild": admin.reindexing.latest(),
    }))
    .into_response()
}

pub async fn rebuild(State(admin): State<Arc<Admin>>) -> Response {
    let started = admin.reindexing.begin();
    (StatusCode::ACCEPTED, Json(json!({ "started": started, "running": !started }))).into_response()
}

pub async fn search(State(admin): State<Arc<Admin>>, uri: Uri) -> Result<Response, Failure> {
    let names: BTreeMap<String, InstanceId> =
        admin.overview.instances().into_iter().filter_map(|view| Some((view.name, view.id?))).collect();
    let request = request_of(&admin, &names, uri.query().unwrap_or_default()).await?;
    let page = match admin.searcher.search(&request).await {
        Ok(page) => page,
        Err(error) => return search_failure(&error),
    };
    let by_id: BTreeMap<InstanceId, &str> = names.iter().map(|(name, id)| (*id, name.as_str())).collect();
    let rows: Vec<Value> = page.rows.iter().map(|hit| row(hit, &by_id)).collect();
    Ok(Json(json!({ "total": page.total, "offset": request.offset, "rows": rows })).into_response())
}

async fn request_of(
    admin: &Admin,
    names: &BTreeMap<String, InstanceId>,
    query: &str,
) -> Result<SearchRequest, Failure> {
    let mut request = SearchRequest { limit: DEFAULT_ROWS, ..SearchRequest::default() };
    let (mut conversation, mut sender) = (None, None);
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let bad = |what: &str| Failure::bad(format!("{key} must be {what}, is {value:?}"));
        match key.as_ref() {
            "q" => request.text = value.into_owned(),
            "instance" => {
                let id =
                    names.get(value.as_ref()).ok_or_else(|| Failure::not_found(format!("no instance {value:?}")))?;
                request.instances.push(*id);
            }
            "conversation" => conversation = Some(value.into_owned()),
            "sender" => sender = Some(value.into_owned()),
            "kind" => request.kinds.push(value.into_owned()),
            "since" => request.since = Some(time(&value).ok_or_else(|| bad("a time such as 2026-01-31T08:00:00Z"))?),
            "until" => request.until = Some(time(&value).ok_or_else(|| bad("a time such as 2026-01-31T08:00:00Z"))?),
            "sort" => {
                request.sort = match value.as_ref() {
                    "newest" => Sort::Newest,
                    "relevance" => Sort::Relevance,
                    _ => return Err(bad("newest or relevance")),
                }
            }
            "offset" => request.offset = value.parse().map_err(|_| bad("a whole number"))?,
            "limit" => request.limit = value.parse::<u32>().map_err(|_| bad("a whole number"))?.min(MAX_ROWS),
            _ => return Err(Failure::bad(format!("unknown parameter {key:?}"))),
        }
    }
    if request.text.is_empty() {
        return Err(Failure::bad("nothing to search for"));
    }
    if conversation.is_none() && sender.is_none() {
        return Ok(request);
    }
    let [instance] = request.instances[..] else {
        return Err(Failure::bad("conversation and sender are native ids: they need one instance"));
    };
    if let Some(native_id) = conversation {
        let found = admin.archive.conversation(instance, &native_id).await?;
        let found = found.ok_or_else(|| Failure::not_found(format!("no conversation {native_id:?}")))?;
        request.conversation = Some(Within { id: stele_archive::ConversationId(found.id), instance, native_id });
    }
    if let Some(native_id) = sender {
        let found = admin.archive.person_id(instance, &native_id).await?;
        request.sender = Some(found.ok_or_else(|| Failure::not_found(format!("no person {native_id:?}")))?);
    }
    Ok(request)
}

fn time(text: &str) -> Option<Micros> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros())
}

fn row(hit: &SearchHit, names: &BTreeMap<InstanceId, &str>) -> Value {
    let message = &hit.message;
    let sent_at = DateTime::from_timestamp_micros(message.sent_at);
    let body = serde_json::from_slice(&message.body)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&message.body).into_owned()));
    let snippet = snippet(&message.text, &hit.highlights, SNIPPET);
    json!({
        "id": message.id,
        "instance": names.get(&message.instance),
        "native_id": message.native_id,
        "conversation": message.conversation_native,
        "seq": message.seq,
        "sender": message.sender_native,
        "sender_name": message.sender_name,
        "sent_at": sent_at.map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true)),
        "kind": message.kind,
        "text": message.text,
        "highlights": hit.highlights,
        "snippet": { "text": snippet.text, "highlights": snippet.highlights },
        "revoked": message.revoked.is_some(),
        "body": body,
    })
}

fn search_failure(error: &SearchError) -> Result<Response, Failure> {
    let after = error.retry_after();
    let status = match error {
        SearchError::Invalid(_) => StatusCode::BAD_REQUEST,
        SearchError::Archive(ArchiveError::TooLarge { .. }) => {
            return Err(Failure::bad(format!("{error}; ask for fewer with a smaller limit")));
        }
        SearchError::Archive(_) => {
            tracing::error!(%error, "the archive does not answer");
            return Err(Failure(StatusCode::SERVICE_UNAVAILABLE, "the archive does not answer".into()));
        }
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = Failure(status, error.to_string()).into_response();
    if let Some(after) = after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_too_much_are_to_be_asked_for_again() {
        let error = SearchError::Archive(ArchiveError::TooLarge { most: 7 });
        let Err(Failure(status, text)) = search_failure(&error) else { panic!("it is a failure") };
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(text, "the messages hold more than 7 bytes; ask for fewer with a smaller limit");
    }
}
