//! What the routes of v3 that an archive needs answer (reference/wukongim.md §10, §11).

use super::{
    ACCESS_TOKEN, Answer, Held, Question, field, not_found, object, ok, refusal,
    store::{COMMAND, Row, Say, pair},
};
use axum::http::{Method, StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::cmp::Reverse;

/// Most rows of an answer of the manager.
const MAX_LIMIT: i64 = 200;
/// Rows of an answer when nothing is said.
const LIMIT: i64 = 50;
/// The reason of a send that was done.
const SUCCESS: u8 = 1;

fn error(status: StatusCode, error: &str) -> Answer {
    (status, json!({ "error": error, "message": error }).to_string())
}

fn bad(what: &str) -> Answer {
    error(StatusCode::BAD_REQUEST, what)
}

/// The API.
pub(super) fn answer(state: &mut Held, question: &Question<'_>) -> Answer {
    match (question.method, question.path) {
        (&Method::GET, "/healthz" | "/readyz") => ok(&json!({ "status": "ok" })),
        (&Method::POST, "/message/send") => {
            object(question.body).and_then(|body| send(state, &body)).unwrap_or_else(|| bad("invalid request"))
        }
        (_, "/healthz" | "/readyz" | "/message/send") => {
            (StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed".to_owned())
        }
        _ => not_found(),
    }
}

fn send(state: &mut Held, body: &Value) -> Option<Answer> {
    let (from, id, kind): (String, String, u8) =
        (field(body, "from_uid")?, field(body, "channel_id")?, field(body, "channel_type")?);
    let payload: String = field(body, "payload")?;
    if from.is_empty() || payload.is_empty() || id.is_empty() || kind == 0 {
        return None;
    }
    let payload = STANDARD.decode(payload).ok()?;
    let (client, expire): (String, u32) = (field(body, "client_msg_no")?, field(body, "expire")?);
    let (no_persist, sync_once): (u8, u8) =
        (field(&body["header"], "no_persist")?, field(&body["header"], "sync_once")?);
    let done = |id: i64, seq: u64| Some(ok(&json!({ "message_id": id, "message_seq": seq, "reason": SUCCESS })));
    if no_persist == 1 {
        return done(0, 0);
    }
    let id = match kind {
        1 if id.contains('@') => id,
        1 => pair(&from, &id),
        _ => id,
    };
    let id = if sync_once == 1 { format!("{id}{COMMAND}") } else { id };
    // A send that is known is not done again.
    let known =
        state.store.channel(kind, &id).rows.values().find(|row| row.from == from && row.client_msg_no == client);
    if let Some(row) = known.filter(|_| !client.is_empty()) {
        let same = row.payload == payload;
        return if same { done(row.id, row.seq) } else { Some(bad("idempotency conflict")) };
    }
    let said = Say { from: &from, payload: &payload, client_msg_no: &client, sync_once, expire, ..Say::default() };
    let message_id = state.store.new_id();
    let seq = state.store.put_as(message_id, kind, &id, &said, &state.switches);
    done(message_id, seq)
}

/// The manager. `may`: the caller brought a token that holds.
pub(super) fn manage(state: &mut Held, question: &Question<'_>, may: bool) -> Answer {
    match (question.method, question.path) {
        (&Method::POST, "/manager/login") => login(state, question),
        _ if !may => error(StatusCode::UNAUTHORIZED, "unauthorized"),
        (&Method::GET, "/manager/messages") => messages(state, question).unwrap_or_else(|| bad("bad_request")),
        (&Method::GET, "/manager/channel-runtime-meta") => {
            channels(state, question).unwrap_or_else(|| bad("bad_request"))
        }
        _ => not_found(),
    }
}

fn login(state: &Held, question: &Question<'_>) -> Answer {
    let body = object(question.body).unwrap_or_default();
    let given = (body["username"].as_str().unwrap_or_default(), body["password"].as_str().unwrap_or_default());
    match &state.switches.manager {
        Some((name, password)) if given != (name.as_str(), password.as_str()) => {
            error(StatusCode::UNAUTHORIZED, "invalid_credentials")
        }
        _ => ok(&json!({
            "username": given.0, "token_type": "Bearer", "access_token": ACCESS_TOKEN, "expires_in": 86_400,
            "permissions": [],
        })),
    }
}

fn limit(question: &Question<'_>) -> Option<usize> {
    let limit = if question.text("limit").is_empty() { LIMIT } else { question.text("limit").parse().ok()? };
    usize::try_from(limit).ok().filter(|_| (1..=MAX_LIMIT).contains(&limit))
}

fn page(items: &[Value], next: Option<String>) -> Answer {
    let mut answer = json!({ "items": items, "has_more": next.is_some() });
    if let Some(next) = next {
        answer["next_cursor"] = json!(next);
    }
    ok(&answer)
}

/// Of one channel, newest first.
fn messages(state: &mut Held, question: &Question<'_>) -> Option<Answer> {
    let (id, limit) = (question.text("channel_id"), limit(question)?);
    let kind: u8 = question.text("channel_type").parse().ok().filter(|_| !id.is_empty())?;
    let before: u64 = match question.text("cursor") {
        "" => u64::MAX,
        cursor => cursor.strip_prefix("seq-")?.parse().ok()?,
    };
    if state.switches.unreadable.contains(id) {
        return Some(error(StatusCode::INTERNAL_SERVER_ERROR, "internal_error"));
    }
    if let Some(refused) = refusal(state, id) {
        return Some(refused);
    }
    let (message_id, client) = (question.number("message_id"), question.text("client_msg_no"));
    let Some(channel) = state.store.channels.get_mut(&(kind, id.to_owned())) else {
        return Some(error(StatusCode::NOT_FOUND, "not_found"));
    };
    let fits = |row: &&Row| {
        row.seq < before
            && (message_id == 0 || row.id == message_id)
            && (client.is_empty() || row.client_msg_no == client)
    };
    let mut rows: Vec<&Row> = channel.read().into_iter().filter(fits).collect();
    rows.sort_by_key(|row| Reverse(row.seq));
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| has_more).map(|row| format!("seq-{}", row.seq));
    Some(page(&rows.iter().map(|row| row.raw()).collect::<Vec<_>>(), next))
}

fn channels(state: &Held, question: &Question<'_>) -> Option<Answer> {
    let limit = limit(question)?;
    let after: usize = match question.text("cursor") {
        "" => 0,
        cursor => cursor.strip_prefix("place-")?.parse().ok()?,
    };
    let with_seq = question.text("include_max_message_seq") == "true";
    // The order is its own, whatever it is; a new channel may come before the place of a cursor.
    let items: Vec<_> = state
        .store
        .channels
        .iter()
        .skip(after)
        .take(limit)
        .map(|((kind, id), channel)| {
            let mut item = json!({ "channel_id": id, "channel_type": kind, "status": "active", "leader": 1 });
            if with_seq {
                item["max_message_seq"] = json!(channel.last);
            }
            item
        })
        .collect();
    let next = after + items.len();
    Some(page(&items, (next < state.store.channels.len()).then(|| format!("place-{next}"))))
}
