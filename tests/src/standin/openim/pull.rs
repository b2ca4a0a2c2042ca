//! Reading by number (reference/openim.md §7.1, §7.2).

use super::{
    Held, Version,
    store::{Conversation, Own, Row, is_twin, now, pair, twin},
    wire::{Answer, Question, field, list, put_map},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

/// Of a message nobody can read.
const DELETED: i32 = 4;
const SENT: i32 = 2;
/// The type of a revoke, and of what is left of the message.
pub(super) const REVOKED: i32 = 2101;

pub(super) fn server_time(_: &mut Held, _: &Question<'_>) -> Answer {
    Ok(json!({ "serverTime": now() }))
}

pub(super) fn conversation_ids(state: &mut Held, question: &Question<'_>) -> Answer {
    let user: String = field(&question.body, "userID")?;
    question.caller.access(&user)?;
    let ids: Vec<_> = state.store.of(&user).into_iter().map(Value::from).collect();
    Ok(
        json!({ "version": 1, "versionID": "0123456789abcdef01234567", "equal": ids.is_empty(), "conversationIDs": list(ids) }),
    )
}

/// The newest numbers of everything a user has a record of, with the channels beside, and his own one.
pub(super) fn newest(state: &mut Held, question: &Question<'_>) -> Answer {
    let user: String = field(&question.body, "userID")?;
    question.caller.access(&user)?;
    let mut ids = state.store.of(&user);
    let twins: Vec<_> = ids.iter().map(|id| twin(id)).collect();
    ids.extend(twins);
    ids.push(format!("n_{}", pair(&user, &user)));
    let newest = |id: String| (state.store.conversations.get(&id).map_or(0, |conversation| conversation.max), id);
    // 3.8.0 tells what is empty, too.
    let is_told = |(max, _): &(i64, String)| *max > 0 || question.version == Version::V380;
    let all: Map<_, _> = ids.into_iter().map(newest).filter(is_told).map(|(max, id)| (id, json!(max))).collect();
    let mut answer = json!({});
    put_map(&mut answer, "maxSeqs", all, question.version);
    put_map(&mut answer, "minSeqs", Map::new(), question.version);
    Ok(answer)
}

/// The newest numbers of what is named; of what this user left, the number at which he did.
pub(super) fn max_seqs(state: &mut Held, question: &Question<'_>) -> Answer {
    let user: String = field(&question.body, "userID")?;
    if question.version == Version::Head {
        question.caller.access(&user)?;
    }
    let named: Vec<String> = field(&question.body, "conversationIDs")?;
    let ids = if named.is_empty() { state.store.of(&user) } else { named };
    let told = |id: String| {
        let (max, time) = state.store.conversations.get(&id).map_or((0, 0), |conversation| {
            (conversation.max, conversation.rows.values().next_back().map_or(0, |row| row.send_time))
        });
        let frozen = state.store.owned.get(&(user.clone(), id.clone())).map_or(0, |own| own.max);
        let max = if frozen > 0 { frozen } else { max };
        let mut told = json!({ "maxSeq": max, "hasReadSeq": 0 });
        if question.version > Version::V380 {
            told["maxSeqTime"] = json!(time);
        }
        (id, told)
    };
    let seqs: Map<_, _> = ids.into_iter().map(told).collect();
    Ok(json!({ "seqs": seqs, "pinnedConversationIDs": null }))
}

pub(super) fn pull(state: &mut Held, question: &Question<'_>) -> Answer {
    let user: String = field(&question.body, "userID")?;
    if question.version == Version::Head {
        question.caller.access(&user)?;
    }
    let (order, ranges): (i32, Vec<Value>) = (field(&question.body, "order")?, field(&question.body, "seqRanges")?);
    let (mut chats, mut twins, mut size) = (Map::new(), Map::new(), 0);
    for range in &ranges {
        let id: String = field(range, "conversationID")?;
        let (begin, end, num): (i64, i64, i64) = (field(range, "begin")?, field(range, "end")?, field(range, "num")?);
        let own = state.store.owned.get(&(user.clone(), id.clone())).copied();
        let Some(own) = own.or_else(|| is_twin(&id).then(Own::default)) else { continue };
        let Some(conversation) = state.store.conversations.get(&id) else { continue };
        let min = conversation.min.max(own.min);
        let max = if own.max > 0 { own.max.min(conversation.max) } else { conversation.max };
        let (first, last) = (begin.max(min).max(1), end.min(max));
        // Whatever the order: the last ones of the range.
        let first = if is_twin(&id) { first } else { first.max(last.saturating_sub(num).saturating_add(1)) };
        let mut seqs: Vec<_> = (first..=last).collect();
        if question.version == Version::V380 {
            // A document that is not there fails the whole range.
            if !seqs.iter().all(|seq| conversation.is_documented(*seq)) {
                continue;
            }
            // What is in the cache comes after what is not.
            seqs.sort_by_key(|seq| seq % 2);
        }
        if seqs.is_empty() {
            continue;
        }
        let contents = seqs.iter().filter_map(|seq| conversation.readable(*seq));
        size += contents.map(|row| row.said.content.len()).sum::<usize>();
        let rows: Vec<_> = seqs.into_iter().map(|seq| conversation.pulled(seq, &user, question.version)).collect();
        let is_end = if order == 0 { max <= end } else { begin <= min };
        let pulled = json!({ "Msgs": rows, "isEnd": is_end, "endSeq": 0 });
        if is_twin(&id) {
            twins.insert(id, pulled)
        } else {
            chats.insert(id, pulled)
        };
    }
    state.check_size(question.version, size)?;
    let mut answer = json!({});
    put_map(&mut answer, "msgs", chats, question.version);
    put_map(&mut answer, "notificationMsgs", twins, question.version);
    Ok(answer)
}

impl Conversation {
    /// A message as this user pulls it; what there is not is a placeholder.
    fn pulled(&self, seq: i64, user: &str, version: Version) -> Value {
        let mut pulled = match self.readable(seq) {
            Some(row) => row.pulled(user),
            None => {
                let before = self.rows.range(..seq).rev().find(|(_, row)| !row.pending);
                let before = before.map_or(0, |(_, row)| row.send_time);
                match version {
                    Version::V380 => placeholder(seq, 0, 0),
                    Version::V383 => placeholder(seq, DELETED, 0),
                    Version::Head => placeholder(seq, DELETED, before),
                }
            }
        };
        // Between services what is empty is nothing.
        if pulled["content"] == "" && version < Version::Head {
            pulled["content"] = Value::Null;
        }
        if pulled["options"].as_object().is_none_or(Map::is_empty) && version == Version::Head {
            pulled.as_object_mut().map(|fields| fields.shift_remove("options"));
        }
        if let Some(Value::Object(odd)) = self.readable(seq).and_then(|row| row.said.odd.as_ref()) {
            odd.iter().for_each(|(name, value)| pulled[name] = value.clone());
        }
        pulled
    }
}

fn placeholder(seq: i64, status: i32, send_time: i64) -> Value {
    json!({
        "sendID": "", "recvID": "", "groupID": "", "clientMsgID": "", "serverMsgID": "", "senderPlatformID": 0,
        "senderNickname": "", "senderFaceURL": "", "sessionType": 0, "msgFrom": 0, "contentType": 0, "content": null,
        "seq": seq, "sendTime": send_time, "createTime": 0, "status": status, "isRead": false, "options": null,
        "offlinePushInfo": null, "atUserIDList": null, "attachedInfo": "", "ex": "",
    })
}

impl Row {
    fn pulled(&self, user: &str) -> Value {
        let said = &self.said;
        let mut content = said.content.clone();
        let (mut content_type, mut status) = (said.content_type, SENT);
        if self.deleted_by.contains(user) {
            content.clear();
            status = DELETED;
        }
        if let Some(revoked) = &self.revoked {
            let detail = json!({
                "revokerID": revoked.user, "revokerRole": revoked.role, "clientMsgID": self.client_msg_id,
                "revokerNickname": revoked.nickname, "revokeTime": revoked.time,
                "sourceMessageSendTime": self.send_time, "sourceMessageSendID": said.from,
                "sourceMessageSenderNickname": said.nickname, "sessionType": said.session, "seq": self.seq,
                "ex": said.ex,
            });
            content = json!({ "detail": detail.to_string() }).to_string();
            content_type = REVOKED;
        }
        json!({
            "sendID": said.from, "recvID": said.to, "groupID": said.group, "clientMsgID": self.client_msg_id,
            "serverMsgID": self.server_msg_id, "senderPlatformID": said.platform, "senderNickname": said.nickname,
            "senderFaceURL": said.face_url, "sessionType": said.session, "msgFrom": said.msg_from,
            "contentType": content_type, "content": STANDARD.encode(content), "seq": self.seq,
            "sendTime": self.send_time, "createTime": self.create_time, "status": status, "isRead": false,
            "options": {}, "offlinePushInfo": null, "atUserIDList": null, "attachedInfo": said.attached_info,
            "ex": said.ex,
        })
    }
}
