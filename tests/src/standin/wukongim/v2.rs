//! What each route of v2 answers (reference/wukongim.md §6 to §8, §10).

use super::{
    Answer, Held, Question, field, not_found, object, ok, refusal,
    store::{COMMAND, Row, SYSTEM, Say, pair},
};
use axum::http::{Method, StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// Most messages of an answer.
const MAX_LIMIT: i64 = 10_000;
/// Rows of a listing when nothing is said.
const PAGE: i64 = 20;
/// The one node.
const NODE: u64 = 1;

/// Whatever goes wrong.
pub(super) fn refused(msg: &str) -> Answer {
    (StatusCode::BAD_REQUEST, json!({ "msg": msg, "status": 400 }).to_string())
}

pub(super) fn answer(state: &mut Held, question: &Question<'_>) -> Answer {
    let known = match (question.method, question.path) {
        (&Method::GET, "/health") => Some(json!({ "status": "ok" })),
        (&Method::GET, "/cluster/nodes" | "/cluster/simpleNodes") => {
            Some(json!({ "total": 1, "data": [{ "id": NODE, "is_leader": 1, "online": 1 }] }))
        }
        (&Method::GET, "/cluster/messages") => Some(search(state, question)),
        (&Method::GET, "/channel/max_message_seq") => return max_seq(state, question),
        (&Method::GET, path) => return listing(state, question, path),
        (&Method::POST, _) => None,
        _ => return not_found(),
    };
    if let Some(known) = known {
        return ok(&known);
    }
    let Some(body) = object(question.body) else { return refused("数据格式有误！") };
    let done = match question.path {
        "/message/send" => send(state, &body),
        "/message/sendbatch" => send_batch(state, &body),
        "/messages" => messages(state, &body),
        "/message" => message(state, &body),
        "/channel/messagesync" => sync(state, &body),
        _ => return not_found(),
    };
    done.unwrap_or_else(|| refused("数据格式有误！"))
}

/// The stored id of what a request names.
fn stored(from: &str, id: &str, kind: u8) -> String {
    match kind {
        1 => pair(from, id),
        11 => format!("{from}@{id}"),
        _ => id.to_owned(),
    }
}

fn send(state: &mut Held, body: &Value) -> Option<Answer> {
    let payload = STANDARD.decode(field::<String>(body, "payload")?).ok()?;
    let (from, id, kind): (String, String, u8) =
        (field(body, "from_uid")?, field(body, "channel_id")?, field(body, "channel_type")?);
    let from = if from.is_empty() { SYSTEM.to_owned() } else { from };
    let flag = |name: &str| field::<u8>(&body["header"], name);
    let (no_persist, red_dot, sync_once) = (flag("no_persist")?, flag("red_dot")?, flag("sync_once")?);
    let (client, expire): (String, u32) = (field(body, "client_msg_no")?, field(body, "expire")?);
    let subscribers: Vec<String> = field(body, "subscribers")?;
    let wrong = match () {
        () if payload.is_empty() => Some("payload不能为空！"),
        () if id.is_empty() && subscribers.is_empty() => Some("频道ID不能为空！"),
        () if !subscribers.is_empty() && sync_once != 1 => Some("subscribers有值的情况下，消息必须是syncOnce消息"),
        () if !subscribers.is_empty() && !id.is_empty() => Some("channelId和subscribers不能同时存在！"),
        () if id.contains(['@', '#', '&']) => Some("频道ID不能包含特殊字符！"),
        () => None,
    };
    if let Some(wrong) = wrong {
        return Some(refused(wrong));
    }
    if !subscribers.is_empty() {
        return Some(ok(&json!({ "status": 200 })));
    }
    let message_id = state.store.new_id();
    let client = if client.is_empty() { format!("{message_id:032x}0") } else { client };
    let said =
        Say { from: &from, payload: &payload, client_msg_no: &client, red_dot, sync_once, expire, timestamp: None };
    let command = if sync_once == 1 { COMMAND } else { "" };
    if state.switches.lose_sends > 0 {
        state.switches.lose_sends -= 1;
    } else if no_persist == 0 {
        let id = format!("{}{command}", stored(&from, &id, kind));
        state.store.put_as(message_id, kind, &id, &said, &state.switches);
    }
    Some(ok(&json!({ "data": { "client_msg_no": client, "message_id": message_id }, "status": 200 })))
}

fn send_batch(state: &mut Held, body: &Value) -> Option<Answer> {
    let (from, subscribers): (String, Vec<String>) = (field(body, "from_uid")?, field(body, "subscribers")?);
    let payload = STANDARD.decode(field::<String>(body, "payload")?).ok()?;
    if from.is_empty() || subscribers.is_empty() || payload.is_empty() {
        return Some(refused("参数有误！"));
    }
    let (failed, good): (Vec<_>, Vec<_>) = subscribers.into_iter().partition(|uid| uid.contains(['@', '#', '&']));
    for uid in good {
        let said = Say { from: &from, payload: &payload, ..Say::default() };
        state.store.put(1, &pair(&from, &uid), &said, &state.switches);
    }
    let reason: Vec<_> = failed.iter().map(|_| "频道ID不能包含特殊字符！").collect();
    Some(ok(&json!({ "fail_uids": failed, "reason": reason })))
}

/// Which channel a request reads.
fn named(body: &Value) -> Option<(u8, String)> {
    let (login, id, kind): (String, String, u8) =
        (field(body, "login_uid")?, field(body, "channel_id")?, field(body, "channel_type")?);
    Some((kind, if kind == 1 { pair(&login, &id) } else { id }))
}

fn found(rows: &[Value]) -> Value {
    json!({ "start_message_seq": 0, "end_message_seq": 0, "more": 0, "messages": rows })
}

fn messages(state: &mut Held, body: &Value) -> Option<Answer> {
    let (kind, id) = named(body)?;
    let (seqs, ids): (Vec<u64>, Vec<i64>) = (field(body, "message_seqs")?, field(body, "message_ids")?);
    let clients: Vec<String> = field(body, "client_msg_nos")?;
    let headless = state.switches.headless;
    let here: Vec<Row> = state.store.channel(kind, &id).read().into_iter().cloned().collect();
    let by_seq = seqs.iter().filter_map(|seq| here.iter().find(|row| row.seq == *seq));
    let by_id = ids.iter().filter_map(|id| state.store.by_id(*id));
    let by_client = clients.iter().filter_map(|client| here.iter().rev().find(|row| row.client_msg_no == *client));
    let rows: Vec<_> = by_seq.chain(by_id).chain(by_client).map(|row| row.v2(headless)).collect();
    Some(ok(&found(&rows)))
}

fn message(state: &mut Held, body: &Value) -> Option<Answer> {
    let wanted: i64 = field(body, "message_id")?;
    let (login, id, kind): (String, String, u8) =
        (field(body, "login_uid")?, field(body, "channel_id")?, field(body, "channel_type")?);
    if id.is_empty() || kind == 0 || (kind == 1 && login.is_empty()) {
        return Some(refused("参数有误！"));
    }
    // By client_msg_no nothing is ever found.
    let row = state.store.by_id(wanted).map(|row| row.v2(state.switches.headless));
    Some(ok(&row.unwrap_or_else(|| json!({ "status": 404 }))))
}

fn sync(state: &mut Held, body: &Value) -> Option<Answer> {
    let (login, id): (String, String) = (field(body, "login_uid")?, field(body, "channel_id")?);
    let (start, end): (u64, u64) = (field(body, "start_message_seq")?, field(body, "end_message_seq")?);
    let (limit, up): (i64, bool) = (field(body, "limit")?, field::<i64>(body, "pull_mode")? == 1);
    if id.is_empty() || login.is_empty() {
        return Some(refused("频道ID或登录用户不能为空！"));
    }
    let (kind, stored) = named(body)?;
    if state.switches.unreadable.contains(&stored) {
        return Some((StatusCode::INTERNAL_SERVER_ERROR, String::new()));
    }
    if let Some(refused) = refusal(state, &stored) {
        return Some(refused);
    }
    let headless = state.switches.headless;
    // A channel nobody knew exists from now on.
    let here = state.store.channel(kind, &stored).read();
    let newest = start == 0 && end == 0;
    let fits = |row: &&&Row| match row.seq {
        _ if newest => true,
        seq if up => start <= seq && (end == 0 || seq < end),
        _ if end > start => false,
        seq => end < seq && seq <= start,
    };
    let mut rows: Vec<&Row> = here.iter().filter(fits).copied().collect();
    let count = usize::try_from(limit.min(MAX_LIMIT)).unwrap_or(1);
    match (limit, up && !newest) {
        (0, true) => {}
        (_, true) => rows.truncate(count),
        _ => drop(rows.drain(..rows.len().saturating_sub(count))),
    }
    let more = limit == 0 && (newest || !up) || limit != 0 && rows.len() >= count;
    // Reading backwards keeps the flags.
    let lost = |place: usize| headless && place == 0 && up && !newest;
    let mut shown: Vec<_> = rows.iter().enumerate().map(|(place, row)| row.v2(lost(place))).collect();
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    for (shown, id) in shown.iter_mut().zip(ids) {
        let Some((said, has_ended)) = state.store.streams.get(&id) else { continue };
        shown["setting"] = json!(2);
        if field::<u8>(body, "stream_v2")? == 1 {
            shown["stream_data"] = json!(STANDARD.encode(said));
            // What is 0 is left out.
            if *has_ended {
                shown["end"] = json!(1);
            }
        }
    }
    Some(ok(&json!({
        "start_message_seq": start, "end_message_seq": end, "more": u8::from(more), "messages": shown,
    })))
}

fn max_seq(state: &mut Held, question: &Question<'_>) -> Answer {
    let kind = u8::try_from(question.number("channel_type")).unwrap_or(0);
    match state.store.channels.get(&(kind, question.text("channel_id").to_owned())) {
        Some(channel) => ok(&json!({ "message_seq": channel.last })),
        None => refused("频道不存在！"),
    }
}

fn search(state: &Held, question: &Question<'_>) -> Value {
    let payload = STANDARD.decode(question.text("payload")).unwrap_or_default();
    let (id, client) = (question.number("message_id"), question.text("client_msg_no"));
    let (channel, from) = (question.text("channel_id"), question.text("from_uid"));
    let fits = |row: &&Row| {
        let contains = payload.is_empty() || row.payload.windows(payload.len()).any(|part| part == payload);
        let wanted = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        match id {
            0 => {
                wanted(channel, &row.channel)
                    && wanted(from, &row.from)
                    && wanted(client, &row.client_msg_no)
                    && contains
            }
            id => row.id == id,
        }
    };
    let mut rows: Vec<&Row> = state.store.channels.values().flat_map(|all| all.rows.values()).filter(fits).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.id));
    let limit = match question.number("limit") {
        0 => PAGE,
        limit => limit,
    };
    rows.truncate(usize::try_from(limit).unwrap_or_default());
    json!({ "total": 0, "data": rows.iter().map(|row| row.raw()).collect::<Vec<_>>() })
}

fn listing(state: &Held, question: &Question<'_>, path: &str) -> Answer {
    if path != format!("/cluster/nodes/{NODE}/channels") {
        let other = path.starts_with("/cluster/nodes/") && path.ends_with("/channels");
        return if other { refused("node not found") } else { not_found() };
    }
    let (limit, before) = (question.number("limit"), question.number("offset_created_at"));
    let limit = usize::try_from(if limit <= 0 { PAGE } else { limit }).unwrap_or_default();
    let mut all: Vec<_> = state.store.channels.iter().collect();
    all.retain(|(_, channel)| before <= 0 || channel.created_at < before);
    all.sort_by_key(|(_, channel)| std::cmp::Reverse(channel.created_at));
    let more = all.len() > limit;
    all.truncate(limit);
    let data: Vec<_> = all
        .iter()
        .map(|((kind, id), channel)| {
            let last = if state.switches.led_elsewhere.contains(id) { 0 } else { channel.last };
            json!({ "channel_id": id, "channel_type": kind, "last_message_seq": last, "created_at": channel.created_at })
        })
        .collect();
    ok(&json!({ "total": 0, "more": u8::from(more), "running": 0, "data": data }))
}
