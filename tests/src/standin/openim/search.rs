//! `search_msg` as the server's own algorithm does it, with what it loses (reference/openim.md §2).

use super::{
    Held, Version,
    store::{BLOCK, Conversation, Row},
    wire::{Answer, Question, Refused, field, list},
};
use chrono::{Days, NaiveDate};
use serde_json::{Value, json};

/// Documents of one look into the database.
const DOCUMENTS: usize = 50;
/// Looks after the page is full.
const LOOKS: i32 = 10;

struct Filter {
    send: String,
    recv: String,
    content_type: i32,
    session: i32,
    /// The first millisecond of the day, and the first of the next.
    day: Option<(i64, i64)>,
}

/// 100 numbers of a conversation.
struct Document<'a> {
    made: u64,
    /// Its places; some hold no message.
    slots: Vec<Option<&'a Row>>,
}

impl Filter {
    fn of(question: &Question<'_>) -> Result<Self, Refused> {
        let body = &question.body;
        let day: String = field(body, "sendTime")?;
        let refused = |cause: &str| {
            Refused::args(&format!("invalid sendTime, req={day}, format=2006-01-02, cause=parsing time {cause}"))
        };
        let day = match day.as_str() {
            "" => None,
            text => {
                let strict = text.len() == 10;
                let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| strict);
                let first = |day: NaiveDate| Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis());
                let both = day.and_then(|day| Some((first(day)?, first(day.checked_add_days(Days::new(1))?)?)));
                Some(both.ok_or_else(|| refused(text))?)
            }
        };
        Ok(Self {
            send: field(body, "sendID")?,
            recv: field(body, "recvID")?,
            content_type: field(body, "contentType")?,
            session: field(body, "sessionType")?,
            day,
        })
    }

    fn is_empty(&self) -> bool {
        let Self { send, recv, content_type, session, day } = self;
        send.is_empty() && recv.is_empty() && *content_type == 0 && *session == 0 && day.is_none()
    }

    /// Whether one of the six conditions holds.
    fn holds(&self, condition: u8, row: &Row) -> bool {
        match condition {
            0 => self.recv.is_empty() || row.said.to == self.recv || row.said.group == self.recv,
            1 => self.send.is_empty() || row.said.from == self.send,
            2 => self.content_type == 0 || row.said.content_type == self.content_type,
            3 => self.session == 0 || row.said.session == self.session,
            4 => self.day.is_none_or(|(first, _)| row.send_time >= first),
            _ => self.day.is_none_or(|(_, end)| row.send_time < end),
        }
    }

    fn fits(&self, row: &Row) -> bool {
        (0..6).all(|condition| self.holds(condition, row))
    }

    /// Whether each condition holds in some message of the document: not one need fulfil all.
    fn may_be_in(&self, document: &Document<'_>) -> bool {
        let rows = || document.slots.iter().flatten();
        (0..6).all(|condition| rows().any(|row| self.holds(condition, row)))
    }
}

fn documents(conversation: &Conversation) -> impl Iterator<Item = Document<'_>> {
    conversation.blocks.iter().map(|(block, made)| {
        let seqs = block * BLOCK + 1..=(block + 1) * BLOCK;
        Document { made: *made, slots: seqs.map(|seq| conversation.readable(seq)).collect() }
    })
}

pub(super) fn search(state: &mut Held, question: &Question<'_>) -> Answer {
    let filter = Filter::of(question)?;
    let pagination: Value = field(&question.body, "pagination")?;
    let (number, rows): (i32, i32) = (field(&pagination, "pageNumber")?, field(&pagination, "showNumber")?);
    if rows < 0 {
        return Err(Refused::panic(question.version, "runtime error: makeslice: cap out of range"));
    }
    let chats = state.store.conversations.iter().filter(|(id, _)| id.starts_with("sg_") || id.starts_with("si_"));
    let mut all: Vec<_> = chats.flat_map(|(_, conversation)| documents(conversation)).collect();
    all.sort_by_key(|document| document.made);
    // Without a condition, servers before HEAD take what is no message for one.
    let counts_empty = filter.is_empty() && question.version != Version::Head;
    let all: Vec<_> = all.into_iter().filter(|document| counts_empty || filter.may_be_in(document)).collect();
    let skip = number.wrapping_sub(1).wrapping_mul(rows);
    let (mut left, mut count, mut found, mut at) = (rows, 0_i32, Vec::new(), 0);
    loop {
        let look = &all[at..all.len().min(at + DOCUMENTS)];
        at += look.len();
        let mut hits = 0;
        for document in look {
            let is_hit = |slot: &&Option<&Row>| slot.map_or(counts_empty, |row| filter.fits(row));
            let mut slots = document.slots.iter().filter(is_hit).peekable();
            hits += usize::from(slots.peek().is_some());
            for slot in slots {
                if left > 0 && count >= skip {
                    found.push(*slot);
                    left -= 1;
                }
                count += 1;
            }
        }
        if left <= 0 {
            left -= 1;
        }
        if hits < DOCUMENTS || left < -LOOKS {
            break;
        }
    }
    state.check_size(question.version, found.iter().flatten().map(|row| row.said.content.len()).sum())?;
    let mut logs = Vec::new();
    for row in found {
        let log = row.and_then(|row| log(state, row));
        let log = log.ok_or_else(|| {
            Refused::panic(question.version, "runtime error: invalid memory address or nil pointer dereference")
        })?;
        logs.push(match (question.version, row) {
            (Version::V380, _) => log,
            (_, row) => json!({ "chatLog": log, "isRevoked": row.is_some_and(|row| row.revoked.is_some()) }),
        });
    }
    Ok(json!({ "chatLogs": list(logs), "chatLogsNum": count }))
}

/// A message as a search shows it; none where its group is unknown.
fn log(state: &Held, row: &Row) -> Option<Value> {
    let said = &row.said;
    let name = |user: &str| state.store.users.get(user).map(|user| user.nickname.clone()).unwrap_or_default();
    let nickname = if said.nickname.is_empty() { name(&said.from) } else { said.nickname.clone() };
    let mut log = json!({
        "serverMsgID": row.server_msg_id, "clientMsgID": row.client_msg_id, "sendID": said.from, "recvID": said.to,
        "groupID": said.group, "recvNickname": "", "senderPlatformID": said.platform, "senderNickname": nickname,
        "senderFaceURL": said.face_url, "groupName": "", "sessionType": said.session, "msgFrom": said.msg_from,
        "contentType": said.content_type, "content": said.content, "status": 2, "sendTime": row.send_time,
        "createTime": row.create_time, "ex": said.ex, "groupFaceURL": "", "groupMemberCount": 0, "seq": row.seq,
        "groupOwner": "", "groupType": 0,
    });
    if said.session == 3 {
        let group = state.store.groups.get(&said.group)?;
        log["recvID"] = json!(said.group);
        log["senderFaceURL"] = json!(group.face_url);
        log["groupName"] = json!(group.name);
        log["groupMemberCount"] = json!(group.members.len());
        log["groupOwner"] = json!(group.owner);
        log["groupType"] = json!(2);
    } else {
        log["recvNickname"] = json!(name(&said.to));
    }
    Some(log)
}
