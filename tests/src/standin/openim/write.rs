//! Sending, revoking and deleting (reference/openim.md §2.4, §8).

use super::{
    Arrival, Held, Version, hook, people,
    pull::REVOKED,
    store::{Revoked, Row, Say, Store, now, pair, twin},
    wire::{Answer, Question, Refused, field, go},
};
use serde_json::{Map, Value, json};

/// What `send_msg` takes.
const TYPES: [i32; 10] = [101, 102, 103, 104, 105, 106, 110, 114, 118, 1400];

/// Takes a message in, and returns its number; 0 while it has none.
pub(super) fn accept(state: &mut Held, version: Version, mut row: Row, operation: &str) -> i64 {
    state.news.extend(hook::after_send(&row, operation, version));
    match state.switches.arrival {
        Arrival::Queued => {
            state.store.queue.push(row);
            return 0;
        }
        arrival => row.pending = arrival == Arrival::Unreadable,
    }
    let is_late = row.pending;
    row.seq = state.store.place(row.clone());
    if !is_late {
        written(state, version, &row, operation);
    }
    row.seq
}

/// What was sent late is there.
pub(super) fn arrive(state: &mut Held, version: Version) {
    let rows = state.store.conversations.values_mut().flat_map(|conversation| conversation.rows.values_mut());
    let mut late: Vec<_> = rows
        .filter(|row| row.pending)
        .map(|row| {
            row.pending = false;
            row.clone()
        })
        .collect();
    for mut row in std::mem::take(&mut state.store.queue) {
        row.seq = state.store.place(row.clone());
        late.push(row);
    }
    late.iter().for_each(|row| written(state, version, row, "late"));
}

/// A message is in the database.
fn written(state: &mut Held, version: Version, row: &Row, operation: &str) {
    if state.switches.save_hooks && version == Version::Head {
        state.news.push(hook::after_save(row, operation));
    }
}

/// What a request to `send_msg` says.
pub(super) fn said(state: &Held, question: &Question<'_>) -> Result<Say, Refused> {
    let body = &question.body;
    question.caller.admin("only app manager can send message")?;
    let (content_type, session): (i32, i32) = (field(body, "contentType")?, field(body, "sessionType")?);
    let (from, content): (String, Map<String, Value>) = (field(body, "sendID")?, field(body, "content")?);
    if from.is_empty() || content_type == 0 || session == 0 || content.is_empty() {
        return Err(Refused::args("sendID, content, contentType and sessionType are required").local());
    }
    if !TYPES.contains(&content_type) {
        return Err(Refused::args(&format!("unsupported content type, contentType={content_type}")).local());
    }
    if content_type == 101 && content.get("content").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(Refused::new(500, "ServerInternalError", "validation error").local());
    }
    let content = Value::Object(content);
    let (session, content) = match content_type {
        1400 if people::known(state, &from)?.level < 3 => return Err(Refused::args("not a notification account")),
        1400 => (4, json!({ "detail": go(&sorted(content)) })),
        _ => (session, sorted(content)),
    };
    let send_time: i64 = field(body, "sendTime")?;
    Ok(Say {
        from,
        to: field(body, "recvID")?,
        group: field(body, "groupID")?,
        session,
        content_type,
        content: go(&content),
        send_time: (send_time != 0).then_some(send_time),
        nickname: field(body, "senderNickname")?,
        face_url: field(body, "senderFaceURL")?,
        platform: field(body, "senderPlatformID")?,
        msg_from: 200,
        ex: field(body, "ex")?,
        ..Say::default()
    })
}

/// JSON with its keys in order, as Go writes maps.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

pub(super) fn send(state: &mut Held, question: &Question<'_>) -> Answer {
    let said = said(state, question)?;
    let is_admin = state.is_admin(&said.from);
    match said.session {
        1 => {
            if !is_admin {
                people::known(state, &said.from)?;
            }
            people::known(state, &said.to)?;
        }
        3 => {
            let group = state.store.groups.get(&said.group).ok_or_else(|| Refused::not_found("group not found"))?;
            if group.dismissed {
                return Err(Refused::new(1204, "DismissedAlreadyError", ""));
            }
            if !is_admin && !group.members.contains(&said.from) {
                return Err(Refused::new(1203, "NotInGroupYetError", ""));
            }
        }
        4 => {}
        _ => return Err(Refused::args("unknown sessionType")),
    }
    let mut row = state.store.row(said);
    // Only the time of sending can be given.
    row.create_time = now();
    let answer =
        json!({ "serverMsgID": row.server_msg_id, "clientMsgID": row.client_msg_id, "sendTime": row.send_time });
    if field::<bool>(&question.body, "isOnlineOnly")? {
        // It is told like any other, and not stored.
        state.news.extend(hook::after_send(&row, question.operation, question.version));
    } else {
        accept(state, question.version, row, question.operation);
    }
    Ok(answer)
}

pub(super) fn revoke(state: &mut Held, question: &Question<'_>) -> Answer {
    let (user, id): (String, String) = (field(&question.body, "userID")?, field(&question.body, "conversationID")?);
    let seq: i64 = field(&question.body, "seq")?;
    if user.is_empty() || id.is_empty() || seq < 0 {
        return Err(Refused::args("user_id or conversation_id is empty, or seq is invalid"));
    }
    question.caller.access(&user)?;
    if !question.caller.is_admin {
        let row = state.store.conversations.get(&id).and_then(|conversation| conversation.readable(seq));
        let sender = row.map(|row| row.said.from.clone()).unwrap_or_default();
        question.caller.access(&sender)?;
    }
    revoke_row(state, &id, seq, &user)?;
    Ok(Value::Null)
}

/// Revokes a message: it is marked, and the channel beside the pair of who revoked and who received is told.
pub(super) fn revoke_row(state: &mut Held, id: &str, seq: i64, user: &str) -> Result<(), Refused> {
    let nickname = people::known(state, user)?.nickname.clone();
    let is_admin = state.is_admin(user);
    let time = now();
    let row = state.store.conversations.get_mut(id).and_then(|conversation| conversation.rows.get_mut(&seq));
    let row = row.filter(|row| !row.pending).ok_or_else(|| Refused::not_found("msg not found"))?;
    if row.revoked.is_some() {
        return Err(Refused::new(1404, "MsgAlreadyRevoke", "msg already revoke"));
    }
    row.revoked = Some(Revoked { user: user.to_owned(), nickname, role: 0, time });
    let (session, client_msg_id, said) = (row.said.session, row.client_msg_id.clone(), row.said.clone());
    let detail = json!({
        "revokerUserID": user, "clientMsgID": client_msg_id, "revokeTime": time, "sesstionType": session,
        "seq": seq, "conversationID": id, "isAdminRevoke": is_admin,
    });
    let (to, group, channel) = match session {
        3 => (String::new(), said.group.clone(), format!("n_{}", said.group)),
        _ => (said.to.clone(), String::new(), format!("n_{}", pair(user, &said.to))),
    };
    let notice = Say { from: user.to_owned(), to, group, session, ..Say::notice(REVOKED, &detail) };
    state.store.tell(&channel, notice);
    state.news.push(hook::after_revoke(id, seq, user));
    Ok(())
}

pub(super) fn delete_for(store: &mut Store, user: &str, id: &str, seqs: impl IntoIterator<Item = i64>) {
    let Some(conversation) = store.conversations.get_mut(id) else { return };
    for seq in seqs {
        if let Some(row) = conversation.rows.get_mut(&seq) {
            row.deleted_by.insert(user.to_owned());
        }
    }
}

/// Whether the user's own devices, and the others, are to know.
fn sync_of(question: &Question<'_>) -> Result<(bool, bool), Refused> {
    let option: Value = field(&question.body, "deleteSyncOpt")?;
    Ok((field(&option, "isSyncSelf")?, field(&option, "isSyncOther")?))
}

pub(super) fn delete(state: &mut Held, question: &Question<'_>) -> Answer {
    let (user, id): (String, String) = (field(&question.body, "userID")?, field(&question.body, "conversationID")?);
    let seqs: Vec<i64> = field(&question.body, "seqs")?;
    question.caller.access(&user)?;
    let (own, others) = sync_of(question)?;
    let notice = Say::notice(2102, &json!({ "userID": user, "conversationID": id, "seqs": seqs }));
    let notice = Say { from: user.clone(), ..notice };
    if others {
        remove(state, &id, &seqs);
        state.store.tell(&twin(&id), notice);
    } else {
        delete_for(&mut state.store, &user, &id, seqs);
        if own {
            state.store.tell(&format!("n_{}", pair(&user, &user)), notice);
        }
    }
    Ok(Value::Null)
}

fn remove(state: &mut Held, id: &str, seqs: &[i64]) {
    if let Some(conversation) = state.store.conversations.get_mut(id) {
        seqs.iter().for_each(|seq| conversation.remove(*seq));
    }
}

pub(super) fn delete_physically(state: &mut Held, question: &Question<'_>) -> Answer {
    question.caller.admin("not an admin")?;
    let (id, seqs): (String, Vec<i64>) = (field(&question.body, "conversationID")?, field(&question.body, "seqs")?);
    remove(state, &id, &seqs);
    Ok(Value::Null)
}

pub(super) fn clear(state: &mut Held, question: &Question<'_>) -> Answer {
    let ids: Vec<String> = field(&question.body, "conversationIDs")?;
    clear_these(state, question, ids)
}

pub(super) fn clear_all(state: &mut Held, question: &Question<'_>) -> Answer {
    let user: String = field(&question.body, "userID")?;
    let ids = state.store.of(&user);
    clear_these(state, question, ids)
}

/// Who clears a conversation reads from its end on, and for the others as well nobody reads before.
fn clear_these(state: &mut Held, question: &Question<'_>, ids: Vec<String>) -> Answer {
    let user: String = field(&question.body, "userID")?;
    question.caller.access(&user)?;
    let (own, others) = sync_of(question)?;
    for id in ids {
        let Some(record) = state.store.owned.get_mut(&(user.clone(), id.clone())) else { continue };
        let Some(conversation) = state.store.conversations.get_mut(&id) else { continue };
        let min = conversation.max + 1;
        let notice = Say::notice(1703, &json!({ "userID": user, "conversationIDs": [id] }));
        let notice = Say { from: user.clone(), ..notice };
        if others {
            conversation.min = min;
            state.store.tell(&twin(&id), notice);
        } else {
            record.min = min;
            if own {
                state.store.tell(&format!("n_{}", pair(&user, &user)), notice);
            }
        }
    }
    Ok(Value::Null)
}
