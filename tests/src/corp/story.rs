//! What the people of a corp wrote, in the order WeCom would deliver it.

use super::{
    CorpSpec, Directory, KEY_VERSIONS, MediaPool,
    kinds::{Body, CONTROL_ESCAPE, FREQUENCIES, Maker},
    media::{MediaFile, sdkfileid},
    phrases::{OUTSIDE, TOPICS},
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Map, Value, json};

/// One message of a story.
#[derive(Clone, Debug)]
pub struct Entry {
    pub seq: u64,
    pub msgid: String,
    /// `msgtype`; `switch` for the action that has none.
    pub kind: &'static str,
    /// The key version it is encrypted for.
    pub key_version: u32,
    pub from: String,
    pub to: Vec<String>,
    /// Empty outside of groups.
    pub room: String,
    /// Unix milliseconds.
    pub time_ms: i64,
    /// Texts that a search must find it by.
    pub find: Vec<String>,
    /// Its files, nested ones too.
    pub media: Vec<MediaFile>,
    /// For a revoke: the message taken back.
    pub revokes: Option<String>,
    /// What decryption yields.
    pub plaintext: Vec<u8>,
}

/// Two people, or a group.
struct Thread {
    members: Vec<String>,
    room: String,
    external: bool,
    topic: &'static [&'static str],
    /// Messages until the topic changes.
    left: u32,
    last_text: String,
    /// Sender and msgid of the last message that can be taken back.
    last: Option<(String, String)>,
}

/// A story: an iterator over its messages.
pub struct Story {
    spec: CorpSpec,
    rng: StdRng,
    directory: Directory,
    pool: MediaPool,
    threads: Vec<Thread>,
    written: usize,
    seq: u64,
}

impl Story {
    /// Messages at the beginning of a story that together have every type, all between `staff123` and `customer456`.
    pub const PARADE: usize = FREQUENCIES.len() + 6;

    /// The story of this corp.
    pub fn new(spec: &CorpSpec) -> Self {
        let mut rng = StdRng::seed_from_u64(spec.seed);
        let directory = Directory::generate(spec, &mut rng);
        let pool = MediaPool::generate(&mut rng, spec.files_per_type.max(2));
        let threads = vec![Thread::pair("staff123", "customer456", true)];
        Self { spec: spec.clone(), rng, directory, pool, threads, written: 0, seq: 0 }
    }

    /// The people in it.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The files in it.
    pub fn pool(&self) -> &MediaPool {
        &self.pool
    }

    /// The thread that goes on, and the type of its next message. The first thread is the one of the contract's examples.
    fn next_turn(&mut self) -> (usize, &'static str) {
        if self.written < Self::PARADE {
            let introduction = ["text", "text", "introduction", "text", "text", "long"];
            let kind = match self.written.checked_sub(introduction.len()) {
                None => introduction[self.written],
                Some(index) => FREQUENCIES[index].0,
            };
            return (0, kind);
        }
        let roll = self.rng.random_range(0..1000);
        let mut sum = 0;
        let kind = FREQUENCIES.iter().find(|(_, share)| {
            sum += share;
            roll < sum
        });
        let kind = kind.map_or("text", |(kind, _)| kind);
        let thread = if self.rng.random_bool(0.05) { 0 } else { self.pick_thread() };
        if thread == 0 && self.rng.random_bool(0.03) {
            return (0, "introduction");
        }
        (thread, kind)
    }

    /// A thread that is going on, or a new one.
    fn pick_thread(&mut self) -> usize {
        const ACTIVE: usize = 24;
        if self.threads.len() > ACTIVE && self.rng.random_bool(0.97) {
            return self.threads.len() - 1 - self.rng.random_range(0..ACTIVE);
        }
        let (directory, rng) = (&self.directory, &mut self.rng);
        let thread = match rng.random_range(0..10) {
            0..5 => {
                let customer = directory.customers.choose(rng).expect("customers");
                let staff = customer.follow.choose(rng).expect("somebody follows every customer").clone();
                Thread::pair(&staff, &customer.id, true)
            }
            5..7 => {
                let pair: Vec<_> = directory.staff[1..].choose_multiple(rng, 2).collect();
                // The member of the contract's examples talks to colleagues, too.
                let one = if rng.random_bool(0.3) { &directory.staff[0] } else { pair[0] };
                Thread::pair(&one.id, &pair[1].id, false)
            }
            _ => match directory.groups.choose(rng) {
                Some(group) => Thread::new(group.members.clone(), &group.id, group.external),
                None => Thread::pair("staff123", "customer456", true),
            },
        };
        self.threads.push(thread);
        self.threads.len() - 1
    }

    fn switch_event(&mut self, time_ms: i64) -> Entry {
        let user = self.directory.staff.choose(&mut self.rng).expect("staff").id.clone();
        let msgid = format!("{}_{time_ms}", self.seq);
        let plaintext = json!({ "msgid": msgid, "action": "switch", "time": time_ms, "user": user }).to_string();
        Entry {
            seq: self.seq,
            msgid,
            kind: "switch",
            key_version: 0,
            from: user,
            to: Vec::new(),
            room: String::new(),
            time_ms,
            find: Vec::new(),
            media: Vec::new(),
            revokes: None,
            plaintext: plaintext.into_bytes(),
        }
    }

    fn message(&mut self, thread: usize, kind: &str, time_ms: i64) -> Entry {
        let (seq, own_files) = (self.seq, self.spec.own_files);
        let thread = &mut self.threads[thread];
        if thread.left == 0 {
            let topics: &[&[&str]] = if thread.external { &OUTSIDE } else { &TOPICS };
            thread.topic = topics.choose(&mut self.rng).expect("topics");
            thread.left = self.rng.random_range(3..15);
        }
        thread.left -= 1;
        let robot = !thread.room.is_empty() && self.rng.random_bool(0.05);
        let mut sender = if robot {
            self.directory.robots.choose(&mut self.rng).expect("robots").id.clone()
        } else {
            thread.members.choose(&mut self.rng).expect("members").clone()
        };
        // Somebody takes back their own message, if they wrote one that is still there to take back.
        let revoked = if kind == "revoke" { thread.last.take() } else { None };
        let kind = if kind == "revoke" && revoked.is_none() { "text" } else { kind };
        if let Some((author, _)) = &revoked {
            sender.clone_from(author);
        }
        if matches!(kind, "agree" | "disagree") {
            let outsider = thread.members.iter().find(|member| self.directory.is_external(member));
            sender = outsider.cloned().unwrap_or(sender);
        }
        let pre_msgid = revoked.map(|(_, msgid)| msgid).unwrap_or_default();
        let mut number = 0;
        let mut own = |file: &MediaFile| {
            if !own_files {
                return file.clone();
            }
            number += 1;
            let fileid = format!("m{seq}-{number}.{}", file.fileid);
            MediaFile { sdkfileid: sdkfileid(&fileid), fileid, ..file.clone() }
        };
        let mut maker = Maker {
            rng: &mut self.rng,
            pool: &self.pool,
            topic: thread.topic,
            own: &mut own,
            sender: &sender,
            sender_name: self.directory.name_of(&sender).unwrap_or("客户"),
            quoted: &thread.last_text,
            pre_msgid: &pre_msgid,
            time_ms,
        };
        let body = match kind {
            "introduction" => introduction(&mut maker),
            "long" => long_text(&mut maker),
            kind => maker.body(kind),
        };
        let to: Vec<String> = thread.members.iter().filter(|member| **member != sender).cloned().collect();
        let mut msgid = format!("{seq}_{time_ms}");
        if thread.external {
            msgid.push_str("_external");
        }
        let plaintext = envelope_json(&body, &msgid, &sender, &to, &thread.room, time_ms);
        if body.msgtype == "text" {
            thread.last_text = body.find.last().cloned().unwrap_or_default();
        }
        if matches!(body.msgtype, "text" | "image" | "file") {
            thread.last = Some((sender.clone(), msgid.clone()));
        }
        Entry {
            seq,
            msgid,
            kind: body.msgtype,
            key_version: 0,
            from: sender,
            to,
            room: thread.room.clone(),
            time_ms,
            find: body.find,
            media: body.media,
            revokes: (body.msgtype == "revoke").then_some(pre_msgid),
            plaintext,
        }
    }
}

impl Iterator for Story {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.written == self.spec.messages {
            return None;
        }
        // Numbers ascend with gaps.
        self.seq += if self.written > 0 && self.rng.random_bool(0.02) { self.rng.random_range(2..6) } else { 1 };
        let span = self.spec.end_ms - self.spec.start_ms;
        let share = span as i128 * self.written as i128 / self.spec.messages.max(1) as i128;
        // Times follow the numbers loosely: two people's clocks, and several messages in a second.
        let time_ms = self.spec.start_ms
            + i64::try_from(share).expect("within the span") / 1000 * 1000
            + if self.rng.random_bool(0.3) { 0 } else { self.rng.random_range(-400..1000) };
        let (thread, kind) = self.next_turn();
        let mut entry = if kind == "switch" { self.switch_event(time_ms) } else { self.message(thread, kind, time_ms) };
        // The newer key is uploaded when a third is written; a few late messages still come under the older one.
        let rotated = self.written * 3 >= self.spec.messages && !self.rng.random_bool(0.02);
        entry.key_version = KEY_VERSIONS[usize::from(rotated)];
        self.written += 1;
        Some(entry)
    }
}

impl Thread {
    fn new(members: Vec<String>, room: &str, external: bool) -> Self {
        let (last_text, last) = (String::new(), None);
        Self { members, room: room.into(), external, topic: TOPICS[0], left: 0, last_text, last }
    }

    fn pair(one: &str, other: &str, external: bool) -> Self {
        Self::new(vec![one.into(), other.into()], "", external)
    }
}

/// The message the contract's example searches for.
fn introduction(maker: &mut Maker<'_>) -> Body {
    let openings = [
        "这是我们最新的产品介绍，请您查看",
        "产品介绍已经更新，第三页有新价格",
        "请把产品介绍再发我一份，谢谢",
        "您要的《产品介绍》PDF 版稍后发您",
    ];
    let text = (*openings.choose(maker.rng).expect("openings")).to_owned();
    let mut body = maker.body("text");
    body.fields.insert("text".into(), json!({ "content": text }));
    body.find = vec![text];
    body
}

/// A text as long as WeCom allows, about 4,000 bytes.
fn long_text(maker: &mut Maker<'_>) -> Body {
    let mut text = String::new();
    while text.len() < 3_900 {
        let mut line = maker.body("text");
        text.push_str(&line.find.remove(0));
        text.push('\n');
    }
    let mut body = maker.body("text");
    body.find = vec![text.lines().last().expect("lines").to_owned()];
    body.fields.insert("text".into(), json!({ "content": text }));
    body
}

/// The message's JSON with the members that all types share (§2.1); some that may be missing are.
fn envelope_json(body: &Body, msgid: &str, from: &str, to: &[String], room: &str, time_ms: i64) -> Vec<u8> {
    let mut message: Map<String, Value> = Map::new();
    message.insert("msgid".into(), json!(msgid));
    message.insert("action".into(), json!(if body.msgtype == "revoke" { "recall" } else { "send" }));
    message.insert("from".into(), json!(from));
    message.insert("tolist".into(), json!(to));
    if !room.is_empty() || time_ms % 2 == 0 {
        message.insert("roomid".into(), json!(room));
    }
    message.insert("msgtime".into(), json!(time_ms));
    message.extend(body.fields.clone());
    let text = Value::Object(message).to_string();
    if !body.raw_control {
        return text.into_bytes();
    }
    text.replace(CONTROL_ESCAPE, "\u{3}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_story_is_the_same_for_the_same_seed_and_has_every_type() {
        let spec = CorpSpec::sample(400, 1_704_067_200_000);
        let one: Vec<_> = Story::new(&spec).collect();
        let other: Vec<_> = Story::new(&spec).collect();
        assert_eq!(one.len(), 400);
        assert!(one.iter().zip(&other).all(|(a, b)| a.plaintext == b.plaintext && a.seq == b.seq));
        assert!(one.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        let kinds: BTreeSet<_> = one.iter().map(|entry| entry.kind).collect();
        for (kind, _) in FREQUENCIES {
            assert!(matches!(*kind, "quote" | "control") || kinds.contains(kind), "no {kind}");
        }
        assert_eq!(one.iter().map(|entry| entry.key_version).collect::<BTreeSet<_>>(), BTreeSet::from(KEY_VERSIONS));
        let parade = &one[..Story::PARADE];
        assert!(parade.iter().any(|entry| entry.find.iter().any(|text| text.contains("产品介绍"))));
        assert!(parade.iter().any(|entry| entry.plaintext.contains(&3)), "a raw control byte");
        assert!(one.iter().any(|entry| entry.revokes.as_ref().is_some_and(|id| !id.is_empty())));
    }
}
