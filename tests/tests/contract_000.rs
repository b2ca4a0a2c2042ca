//! Contract 000 on the real binary: every endpoint, every field and its order, every type of message, files, paging,
//! dates, the sync, the rate. What is right is known from the story the corp was generated from.

use anyhow::{Context, Result, bail, ensure};
use md5::{Digest, Md5};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use stele_search::fold::fold;
use stele_tests::{
    backing::Backing,
    client::{Answer, Client, Style},
    corp::{CorpFolder, CorpSpec, Entry, Story},
    daemon::{Site, wait_for},
    report::Report,
    settings::Settings,
    standin::DirectoryStandin,
};

const CORP: (&str, &str) = ("ext_corp_id", "corp123");
const STAFF: (&str, &str) = ("ext_staff_id", "staff123");
const CUSTOMER: (&str, &str) = ("receiver_id", "customer456");
const PEER: (&str, &str) = ("ext_peer_id", "customer456");
const DAY_MS: i64 = 86_400_000;

/// A daemon that has archived a corp, and the truth about it.
struct Archived {
    site: Site,
    client: Client,
    folder: CorpFolder,
    entries: Vec<Entry>,
}

impl Archived {
    /// What staff123 and customer456 wrote to each other, in order.
    fn pair(&self) -> Vec<&Entry> {
        let people = ["staff123", "customer456"];
        let of_pair = |entry: &&Entry| {
            entry.room.is_empty()
                && people.contains(&entry.from.as_str())
                && entry.to.len() == 1
                && people.contains(&entry.to[0].as_str())
        };
        self.entries.iter().filter(of_pair).collect()
    }

    async fn messages(&self, more: &[(&str, &str)]) -> Result<Vec<Value>> {
        let params = [&[STAFF, CUSTOMER, CORP], more].concat();
        self.client.all("session-msgs", &params).await
    }

    async fn page(&self, more: &[(&str, &str)]) -> Result<Answer> {
        let params = [&[STAFF, CUSTOMER, CORP], more].concat();
        self.client.get("session-msgs", &params).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds() -> Result<()> {
    let spec = CorpSpec::recent(900);
    for backing in Backing::all() {
        holds(&spec, backing).await.with_context(|| backing.to_string())?;
    }
    Ok(())
}

async fn holds(spec: &CorpSpec, backing: Backing) -> Result<()> {
    let upstream = tempfile::tempdir()?;
    let folder = CorpFolder::generate(spec, upstream.path())?;
    let directory = DirectoryStandin::start(vec![folder.directory.clone()]).await?;
    directory.limit_pages(7);
    let site = Site::new(|dir| {
        let mut settings = Settings::of(&folder, dir, "", "");
        settings.api_base = Some(directory.api_base());
        settings.instance = "rate_limit = 0".into();
        Ok(settings)
    })?
    .backed_by(backing)?;
    let daemon = site.start().await?;
    let run = site.sync().await?;
    let entries: Vec<_> = Story::new(spec).collect();
    ensure!(run.stored == entries.len() as u64, "{} of {} messages stored", run.stored, entries.len());
    site.media_done().await?;
    let refreshed = site.run_job("directory").await?;
    ensure!(refreshed.outcome == "succeeded", "directory: {}", refreshed.complaints());
    let archived = Archived { client: site.client(), site, folder, entries };
    let mut report = Report::default();
    report.check("fields of sessions", session_fields(&archived)).await;
    report.check("fields of messages", message_fields(&archived)).await;
    report.check("every message of a conversation", conversation(&archived)).await;
    report.check("every session", sessions(&archived)).await;
    report.check("history of a group", group(&archived)).await;
    report.check("names of peers", names(&archived)).await;
    report.check("attachments of every type", attachments(&archived)).await;
    report.check("types as a filter", kinds(&archived)).await;
    report.check("dates", dates(&archived)).await;
    report.check("anchors", anchors(&archived)).await;
    report.check("paging and order", paging(&archived)).await;
    report.check("search", search(&archived)).await;
    report.check("both samples' signatures", signatures(&archived)).await;
    report.check("files", files(&archived)).await;
    report.check("a revoked message", revoked(&archived)).await;
    report.check("sync", sync(&archived)).await;
    report.finish(&format!("{backing}\n{}", archived.site.log_tail()));
    let status = daemon.stop().await?;
    ensure!(status.success(), "the daemon ended with {status}");
    Ok(())
}

/// The members of an object, in order.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// The members the contract shows come first and in its order; more may follow.
fn starts_with(value: &Value, expected: &[&str]) -> Result<()> {
    let found = keys(value);
    ensure!(found.len() >= expected.len() && found[..expected.len()] == *expected, "members {found:?}");
    Ok(())
}

const SESSION: [&str; 18] = [
    "id",
    "ext_corp_id",
    "msgid",
    "action",
    "from",
    "tolist",
    "room_id",
    "msg_time",
    "msg_type",
    "content_text",
    "seq",
    "session_id",
    "session_type",
    "peer_avatar",
    "peer_name",
    "peer_ext_id",
    "peer_type",
    "group_chat_name",
];
const MESSAGE: [&str; 17] = [
    "id",
    "ext_corp_id",
    "msgid",
    "action",
    "from",
    "tolist",
    "room_id",
    "msg_time",
    "msg_type",
    "content_text",
    "seq",
    "session_id",
    "session_type",
    "sender_name",
    "sender_avatar",
    "chat_msg_content",
    "attachments",
];
const CONTENT: [&str; 6] = ["id", "chat_msg_id", "content_type", "content", "file_url", "file_name"];

async fn session_fields(archived: &Archived) -> Result<()> {
    let external = ("session_type", "external");
    let answer = archived.client.get("sessions", &[STAFF, external, CORP, ("page", "1"), ("page_size", "20")]).await?;
    let reply = answer.json();
    ensure!(answer.status == 200 && keys(&reply) == ["code", "message", "data"], "{}", answer.text);
    ensure!(reply["code"] == 0 && reply["message"] == "success", "{}", answer.text);
    starts_with(&reply["data"], &["items", "total", "page", "page_size"])?;
    ensure!(reply["data"]["page"] == 1 && reply["data"]["page_size"] == 20, "paging {}", answer.text);
    let rows = answer.items();
    let row = rows.iter().find(|row| row["peer_ext_id"] == "customer456").context("no session with customer456")?;
    starts_with(row, &SESSION)?;
    let latest =
        archived.pair().into_iter().max_by_key(|entry| (entry.time_ms, entry.seq)).context("they have talked")?;
    ensure!(row["msgid"] == latest.msgid && row["msg_time"] == latest.time_ms, "latest is {}, got {row}", latest.msgid);
    ensure!(row["seq"] == latest.seq && row["msg_type"] == latest.kind && row["from"] == latest.from.as_str(), "{row}");
    ensure!(row["tolist"].as_array().is_some_and(|to| to.len() == 1) && row["room_id"] == "", "{row}");
    ensure!(row["session_type"] == "external" && row["ext_corp_id"] == "corp123", "{row}");
    ensure!(row["peer_name"] == "张三" && row["peer_type"] == "1" && row["group_chat_name"] == "", "{row}");
    ensure!(row["peer_avatar"] == "https://example.com/avatars/customer456.jpg", "{row}");
    ensure!(row["id"].is_string() && row["session_id"].is_string(), "ids are strings: {row}");
    for (ours, theirs) in [("room_id", "roomid"), ("msg_time", "msgtime"), ("msg_type", "msgtype")] {
        ensure!(row[ours] == row[theirs], "{theirs} beside {ours}: {row}");
    }
    Ok(())
}

async fn message_fields(archived: &Archived) -> Result<()> {
    let text = archived.pair().into_iter().find(|entry| entry.kind == "text").context("a text")?;
    let rows = archived.messages(&[]).await?;
    let find =
        |msgid: &str| rows.iter().find(|row| row["msgid"] == msgid).with_context(|| format!("{msgid} is missing"));
    let row = find(&text.msgid)?;
    starts_with(row, &MESSAGE)?;
    starts_with(&row["chat_msg_content"], &CONTENT)?;
    let content = &row["chat_msg_content"];
    ensure!(row["action"] == "send" && row["attachments"].is_null(), "{row}");
    ensure!(row["content_text"] == text.find[0].as_str(), "{row}");
    ensure!(content["chat_msg_id"] == row["id"] && content["content_type"] == "text", "{row}");
    ensure!(content["file_url"] == "" && content["file_name"] == "", "{row}");
    let body: Value = serde_json::from_str(content["content"].as_str().context("content is text")?)?;
    ensure!(body == serde_json::json!({ "content": text.find[0] }), "{row}");
    let names = BTreeSet::from_iter(rows.iter().map(|row| (row["from"].as_str(), row["sender_name"].as_str())));
    ensure!(
        names == BTreeSet::from([(Some("customer456"), Some("张三")), (Some("staff123"), Some("客服小王"))]),
        "{names:?}"
    );
    ensure!(rows.iter().all(|row| row["sender_avatar"].as_str().is_some_and(|url| url.starts_with("http"))), "avatars");
    Ok(())
}

async fn conversation(archived: &Archived) -> Result<()> {
    let mut expected: Vec<_> = archived.pair();
    expected.sort_by_key(|entry| std::cmp::Reverse((entry.time_ms, entry.seq)));
    let expected: Vec<_> = expected.iter().map(|entry| entry.msgid.as_str()).collect();
    let rows = archived.messages(&[]).await?;
    let found: Vec<_> = rows.iter().filter_map(|row| row["msgid"].as_str()).collect();
    ensure!(found == expected, "{} messages, expected {}", found.len(), expected.len());
    let sessions: BTreeSet<_> = rows.iter().map(|row| row["session_id"].as_str()).collect();
    ensure!(sessions.len() == 1, "one conversation has one session id, not {sessions:?}");
    for entry in archived.pair() {
        let row = rows.iter().find(|row| row["msgid"] == entry.msgid.as_str()).context("just seen")?;
        ensure!(row["seq"] == entry.seq && row["msg_time"] == entry.time_ms && row["msg_type"] == entry.kind, "{row}");
        let action = if entry.kind == "revoke" { "recall" } else { "send" };
        ensure!(row["action"] == action && row["tolist"][0] == entry.to[0].as_str(), "{row}");
    }
    Ok(())
}

/// Peers (and rooms) of staff123 with the msgid of the latest message, as the story has them.
fn expected_sessions(archived: &Archived, session_type: &str) -> BTreeMap<String, String> {
    let mut latest: BTreeMap<String, (i64, u64, String)> = BTreeMap::new();
    for entry in archived.entries.iter().filter(|entry| entry.kind != "switch") {
        let mut everybody = entry.to.iter().chain([&entry.from]);
        if !everybody.clone().any(|id| id == "staff123") {
            continue;
        }
        let (kind, peer) = if !entry.room.is_empty() {
            ("group", entry.room.clone())
        } else {
            let peer = everybody.find(|id| *id != "staff123").cloned().unwrap_or_default();
            (if entry.msgid.ends_with("_external") { "external" } else { "internal" }, peer)
        };
        if kind == session_type {
            let this = (entry.time_ms, entry.seq, entry.msgid.clone());
            let known = latest.entry(peer).or_insert_with(|| this.clone());
            *known = this.max(known.clone());
        }
    }
    latest.into_iter().map(|(peer, (_, _, msgid))| (peer, msgid)).collect()
}

async fn sessions(archived: &Archived) -> Result<()> {
    for session_type in ["external", "internal", "group"] {
        let rows = archived.client.all("sessions", &[STAFF, ("session_type", session_type), CORP]).await?;
        let found: BTreeMap<_, _> = rows
            .iter()
            .map(|row| {
                (row["peer_ext_id"].as_str().unwrap_or("?").to_owned(), row["msgid"].as_str().unwrap_or("?").to_owned())
            })
            .collect();
        ensure!(found.len() == rows.len(), "a peer of {session_type} occurs twice");
        let expected = expected_sessions(archived, session_type);
        ensure!(!expected.is_empty(), "the story has no {session_type} session");
        ensure!(found == expected, "{session_type}: found {found:?}, expected {expected:?}");
        ensure!(rows.iter().all(|row| row["session_type"] == session_type), "{session_type}");
        let times: Vec<_> = rows.iter().map(|row| row["msg_time"].as_i64()).collect();
        ensure!(times.is_sorted_by(|a, b| a >= b), "{session_type}: latest first");
    }
    let room = archived.client.all("sessions", &[STAFF, ("session_type", "room"), CORP]).await?;
    ensure!(room.len() == expected_sessions(archived, "group").len(), "`room` means `group`");
    Ok(())
}

async fn group(archived: &Archived) -> Result<()> {
    let rows = archived.client.all("sessions", &[STAFF, ("session_type", "group"), CORP]).await?;
    for row in &rows {
        let room = row["peer_ext_id"].as_str().context("a room id")?;
        ensure!(row["room_id"] == room && row["peer_type"] == "", "{row}");
        let known = archived.folder.directory.groups.iter().find(|group| group.id == room).context("a known group")?;
        if !known.name.is_empty() {
            ensure!(row["group_chat_name"] == known.name.as_str() && row["peer_name"] == known.name.as_str(), "{row}");
        }
        ensure!(
            row["peer_name"].as_str().is_some_and(|name| !name.is_empty()),
            "an unnamed group has a made name: {row}"
        );
        let messages = archived.client.all("session-msgs", &[STAFF, ("receiver_id", room), CORP]).await?;
        let found: BTreeSet<_> = messages.iter().filter_map(|row| row["msgid"].as_str()).collect();
        let expected: BTreeSet<_> =
            archived.entries.iter().filter(|entry| entry.room == room).map(|entry| entry.msgid.as_str()).collect();
        ensure!(found == expected && messages.len() == found.len(), "{room}: {} of {}", found.len(), expected.len());
        ensure!(messages.iter().all(|row| row["room_id"] == room && row["session_type"] == "group"), "{room}");
    }
    // A room somebody is not in shows nothing of it.
    let outsider =
        archived.folder.directory.groups.iter().find(|group| !group.members.contains(&"staff123".to_owned()));
    let room = outsider.context("a room without staff123")?.id.as_str();
    let answer = archived.client.get("session-msgs", &[STAFF, ("receiver_id", room), CORP]).await?;
    ensure!(answer.code() == 0 && answer.total() == 0, "a room staff123 is not in: {}", answer.text);
    Ok(())
}

async fn names(archived: &Archived) -> Result<()> {
    for session_type in ["external", "internal", "group"] {
        let all = archived.client.all("sessions", &[STAFF, ("session_type", session_type), CORP]).await?;
        let name = all.iter().filter_map(|row| row["peer_name"].as_str()).find(|name| name.chars().count() > 1);
        let part: String = name.context("a name")?.chars().skip(1).collect();
        let part = part.to_lowercase();
        let rows =
            archived.client.all("sessions", &[STAFF, ("session_type", session_type), CORP, ("name", &part)]).await?;
        let expected =
            all.iter().filter(|row| row["peer_name"].as_str().is_some_and(|name| name.to_lowercase().contains(&part)));
        ensure!(rows.len() == expected.count(), "{session_type} with {part:?} in the name");
        let none =
            archived.client.get("sessions", &[STAFF, ("session_type", session_type), CORP, ("name", "%")]).await?;
        ensure!(none.total() == 0, "a percent sign is a character: {}", none.text);
    }
    Ok(())
}

async fn attachments(archived: &Archived) -> Result<()> {
    // The contract's table, and what it says of text.
    let listed: [(&str, &[&str]); 8] = [
        ("image", &["md5sum", "sdkfileid", "filesize"]),
        ("file", &["md5sum", "filename", "fileext", "filesize"]),
        ("voice", &["md5sum", "voice_size", "play_length", "sdkfileid"]),
        ("card", &["corpname", "userid"]),
        ("location", &["longitude", "latitude", "address", "title", "zoom"]),
        ("emotion", &["type", "width", "height", "imagesize", "md5sum", "sdkfileid"]),
        ("link", &["title", "description", "link_url", "image_url"]),
        ("revoke", &["pre_msgid"]),
    ];
    let rows = archived.messages(&[]).await?;
    let kinds: BTreeSet<_> = archived.pair().iter().map(|entry| entry.kind).collect();
    ensure!(kinds.len() > 30, "the conversation has every type, not only {kinds:?}");
    for row in &rows {
        let kind = row["msg_type"].as_str().context("a type")?;
        let attachments = &row["attachments"];
        if kind == "text" {
            ensure!(attachments.is_null(), "{row}");
            continue;
        }
        ensure!(attachments.is_object(), "{kind} has an object: {row}");
        if let Some((_, fields)) = listed.iter().find(|(known, _)| *known == kind) {
            for field in *fields {
                ensure!(attachments.get(field).is_some_and(|value| !value.is_null()), "{kind} lacks {field}: {row}");
            }
        }
        let content = row["chat_msg_content"]["content"].as_str().context("content is text")?;
        let body: Value = serde_json::from_str(content).with_context(|| format!("content of {kind}: {content}"))?;
        ensure!(body.is_object(), "{kind}: {content}");
        ensure!(row["chat_msg_content"]["content_type"] == kind, "{row}");
    }
    let entry = archived.pair().into_iter().find(|entry| entry.kind == "meeting").context("a meeting")?;
    let row = rows.iter().find(|row| row["msgid"] == entry.msgid.as_str()).context("the meeting's row")?;
    ensure!(row["attachments"]["meetingid"] == 9_223_372_036_854_775_802_u64, "numbers keep every digit: {row}");
    Ok(())
}

async fn kinds(archived: &Archived) -> Result<()> {
    let kinds: BTreeSet<_> = archived.pair().iter().map(|entry| entry.kind).collect();
    for kind in kinds.into_iter().filter(|kind| *kind != "solitaire") {
        let rows = archived.messages(&[("msg_type", kind)]).await?;
        let expected = archived.pair().iter().filter(|entry| entry.kind == kind).count();
        ensure!(
            rows.len() == expected && rows.iter().all(|row| row["msg_type"] == kind),
            "{kind}: {} of {expected}",
            rows.len()
        );
    }
    let answer = archived.page(&[("msg_type", "no-such-type")]).await?;
    ensure!(answer.code() == 1004, "{}", answer.text);
    Ok(())
}

async fn dates(archived: &Archived) -> Result<()> {
    let day_of = |ms: i64| {
        let time = chrono::DateTime::from_timestamp_millis(ms).context("a time")?;
        anyhow::Ok(time.format("%Y-%m-%d").to_string())
    };
    let (first, last) = (archived.folder.spec.start_ms, archived.folder.spec.end_ms);
    let mut days = Vec::new();
    for day in first.div_euclid(DAY_MS) - 1..=last.div_euclid(DAY_MS) + 1 {
        days.push((day, day_of(day * DAY_MS)?));
    }
    let count = |from: i64, to: i64| {
        archived.pair().iter().filter(|entry| (from..=to).contains(&entry.time_ms.div_euclid(DAY_MS))).count() as i64
    };
    for (index, (day, text)) in days.iter().enumerate() {
        let one = archived.page(&[("send_at_start", text), ("send_at_end", text)]).await?;
        ensure!(one.total() == count(*day, *day), "{text} alone: {} of {}", one.total(), count(*day, *day));
        let since = archived.page(&[("send_at_start", text)]).await?;
        ensure!(since.total() == count(*day, i64::MAX / 2), "since {text}: {}", since.total());
        let until = archived.page(&[("send_at_end", text)]).await?;
        ensure!(until.total() == count(0, *day), "until {text}: {}", until.total());
        if let Some((before, earlier)) = index.checked_sub(1).map(|index| &days[index]) {
            let both = archived.page(&[("send_at_start", earlier), ("send_at_end", text)]).await?;
            ensure!(both.total() == count(*before, *day), "{earlier} to {text}: {}", both.total());
            let backwards = archived.page(&[("send_at_start", text), ("send_at_end", earlier)]).await?;
            ensure!(backwards.code() == 1005, "a range that ends before it begins: {}", backwards.text);
        }
    }
    Ok(())
}

async fn anchors(archived: &Archived) -> Result<()> {
    let rows = archived.messages(&[("sort_field", "id"), ("sort_type", "asc")]).await?;
    let ids: Vec<i64> = rows.iter().filter_map(|row| row["id"].as_str()?.parse().ok()).collect();
    ensure!(ids.len() == rows.len() && ids.is_sorted(), "ids are ascending numbers in text");
    let seqs: Vec<_> = rows.iter().map(|row| row["seq"].as_u64()).collect();
    ensure!(seqs.is_sorted(), "ids follow the order of arrival");
    let middle = ids.len() / 2;
    let anchor = ids[middle].to_string();
    let parse = |answer: &Answer| -> Vec<i64> {
        answer.items().iter().filter_map(|row| row["id"].as_str()?.parse().ok()).collect()
    };
    let newer = archived.page(&[("max_id", &anchor), ("page_size", "5")]).await?;
    let mut found = parse(&newer);
    found.sort_unstable();
    ensure!(found == ids[middle + 1..middle + 6], "the five next after the anchor: {found:?}");
    let older = archived.page(&[("min_id", &anchor), ("page_size", "5")]).await?;
    let mut found = parse(&older);
    found.sort_unstable();
    ensure!(found == ids[middle - 5..middle], "the five nearest before the anchor: {found:?}");
    ensure!(newer.total() > 0 && older.total() > 0, "totals with an anchor: {} and {}", newer.total(), older.total());
    let (low, high) = (ids[middle - 3].to_string(), ids[middle + 3].to_string());
    let between = archived.page(&[("max_id", &low), ("min_id", &high)]).await?;
    let mut found = parse(&between);
    found.sort_unstable();
    ensure!(found == ids[middle - 2..middle + 3], "the open interval: {found:?}");
    for wrong in ["abc", "-", "1e3", "99999999999999999999999"] {
        let answer = archived.page(&[("max_id", wrong)]).await?;
        ensure!(answer.code() == 400, "max_id={wrong}: {}", answer.text);
    }
    Ok(())
}

async fn paging(archived: &Archived) -> Result<()> {
    let total = archived.pair().len() as i64;
    for (size, expected) in [("1", 1), ("7", 7), ("100", 100), ("101", 100), ("5000", 100), ("0", 20)] {
        let answer = archived.page(&[("page_size", size)]).await?;
        let expected = expected.min(total) as usize;
        ensure!(
            answer.items().len() == expected && answer.total() == total,
            "page_size={size}: {}",
            answer.items().len()
        );
    }
    ensure!(archived.page(&[]).await?.items().len() == 20.min(total) as usize, "20 by default");
    let beyond = archived.page(&[("page", "100000")]).await?;
    ensure!(beyond.code() == 0 && beyond.items().is_empty() && beyond.total() == total, "{}", beyond.text);
    ensure!(beyond.json()["data"]["items"].is_array(), "an empty list is a list: {}", beyond.text);
    for (field, key) in [("msg_time", "msg_time"), ("seq", "seq")] {
        for direction in ["asc", "desc"] {
            let rows = archived.messages(&[("sort_field", field), ("sort_type", direction)]).await?;
            let values: Vec<_> = rows.iter().map(|row| row[key].as_i64()).collect();
            let sorted = if direction == "asc" { values.is_sorted() } else { values.is_sorted_by(|a, b| a >= b) };
            ensure!(sorted, "{field} {direction}: {values:?}");
        }
    }
    Ok(())
}

async fn search(archived: &Archived) -> Result<()> {
    let texts: Vec<_> =
        archived.pair().into_iter().flat_map(|entry| entry.find.iter().map(move |text| (entry, text))).collect();
    let mut keywords: BTreeSet<String> = BTreeSet::from(["产品介绍".into(), "的".into(), "e".into(), "，".into()]);
    for (index, (_, text)) in texts.iter().enumerate() {
        let characters: Vec<char> = text.chars().collect();
        let start = index * 7 % characters.len();
        let piece: String = characters[start..characters.len().min(start + 1 + index % 5)].iter().collect();
        if !piece.trim().is_empty() {
            keywords.insert(piece.trim().to_owned());
        }
    }
    ensure!(keywords.len() > 50, "{} keywords", keywords.len());
    for keyword in &keywords {
        let rows = archived.client.all("search", &[("keyword", keyword), STAFF, PEER, CORP]).await?;
        let found: BTreeSet<_> = rows.iter().filter_map(|row| row["msgid"].as_str()).collect();
        let folded = fold(keyword);
        let expected: BTreeSet<_> = texts
            .iter()
            .filter(|(_, text)| fold(text).contains(&folded))
            .map(|(entry, _)| entry.msgid.as_str())
            .collect();
        let missing: Vec<_> = expected.difference(&found).collect();
        ensure!(missing.is_empty(), "{keyword:?} does not find {missing:?}");
        ensure!(found.len() == rows.len(), "{keyword:?} finds a message twice");
        for row in &rows {
            let text = fold(row["content_text"].as_str().unwrap_or_default());
            ensure!(text.contains(&folded), "{keyword:?} finds {row}");
        }
        let times: Vec<_> = rows.iter().map(|row| row["msg_time"].as_i64()).collect();
        ensure!(times.is_sorted_by(|a, b| a >= b), "{keyword:?}: newest first");
        if let Some(row) = rows.first() {
            starts_with(row, &MESSAGE)?;
        }
    }
    let nothing = archived.client.get("search", &[("keyword", "没有人写过的话语"), STAFF, PEER, CORP]).await?;
    ensure!(
        nothing.code() == 0 && nothing.total() == 0 && nothing.json()["data"]["items"] == serde_json::json!([]),
        "{}",
        nothing.text
    );
    Ok(())
}

async fn signatures(archived: &Archived) -> Result<()> {
    for keyword in ["产品介绍", "a b/c+d~e*", "100%", "x&y=z"] {
        let mut totals = Vec::new();
        for style in [Style::Raw, Style::UrlEncoded] {
            let client = archived.client.clone().with_style(style);
            let params = [("keyword", keyword), STAFF, PEER, CORP, ("page", "1"), ("page_size", "20")];
            let answer = client.get("search", &params).await?;
            ensure!(answer.code() == 0, "{style:?} {keyword}: {}", answer.text);
            totals.push(answer.total());
        }
        ensure!(totals[0] == totals[1], "{keyword}: {totals:?}");
    }
    let stranger = archived.site.client_with("another key");
    let answer = stranger.get("search", &[("keyword", "产品介绍"), STAFF, PEER, CORP]).await?;
    ensure!(answer.code() == 401 && answer.json()["message"] == "签名验证失败", "{}", answer.text);
    ensure!(stranger.sync("corp123").await?.code() == 400, "the sync's example says 400");
    Ok(())
}

async fn files(archived: &Archived) -> Result<()> {
    let rows = archived.messages(&[]).await?;
    let http = stele_tests::client::http();
    let mut kinds = BTreeSet::new();
    for entry in archived.pair() {
        let [file] = &entry.media[..] else { continue };
        let row = rows.iter().find(|row| row["msgid"] == entry.msgid.as_str()).context("a row")?;
        let link = row["chat_msg_content"]["file_url"].as_str().unwrap_or_default();
        ensure!(link.starts_with("http://"), "{} has a link: {row}", entry.kind);
        if !kinds.insert((entry.kind, file.extension)) {
            continue;
        }
        let response = http.get(link).send().await?;
        ensure!(response.status() == 200, "{link}: {}", response.status());
        let bytes = response.bytes().await?;
        ensure!(
            hex::encode(Md5::digest(&bytes)) == file.md5 && bytes.len() == file.size,
            "{} is not the file",
            entry.kind
        );
        if entry.kind == "file" {
            let name = row["attachments"]["filename"].as_str();
            ensure!(row["chat_msg_content"]["file_name"].as_str() == name, "{row}");
        }
        let mut url = url::Url::parse(link)?;
        let expires: i64 = url.query_pairs().find(|(name, _)| name == "expires").context("expires")?.1.parse()?;
        let left = (expires - chrono::Utc::now().timestamp()) / 86_400;
        ensure!((363..=366).contains(&left), "valid for a year, not {left} days");
        let tampered = link.replace(&expires.to_string(), &(expires + 1).to_string());
        ensure!(http.get(&tampered).send().await?.status() == 403, "another expiry");
        let path = url.path().to_owned();
        let other = rows.iter().filter_map(|row| row["chat_msg_content"]["file_url"].as_str());
        let other = other
            .filter_map(|link| url::Url::parse(link).ok())
            .find(|other| other.path() != path)
            .context("another file")?;
        url.set_path(other.path());
        ensure!(http.get(url.clone()).send().await?.status() == 403, "the signature of another file");
        url.set_path(&path);
        url.set_query(None);
        ensure!(http.get(url).send().await?.status() == 403, "no signature");
    }
    ensure!(kinds.len() >= 7, "files of {kinds:?}");
    let md5s: BTreeSet<_> = archived.entries.iter().flat_map(|entry| &entry.media).map(|file| &file.md5).collect();
    let blobs = archived.site.media("blobs").await?;
    ensure!(blobs == md5s.len() as u64, "{blobs} contents stored, there are {} different ones", md5s.len());
    let seen = archived.site.admin("/api/v1/instances").await?;
    ensure!(seen["instances"][0]["late_frames"] == 0, "files were read to their end: {seen}");
    Ok(())
}

async fn revoked(archived: &Archived) -> Result<()> {
    let revokes = archived.pair().into_iter().filter_map(|entry| entry.revokes.clone()).find(|msgid| !msgid.is_empty());
    let msgid = revokes.context("somebody took something back")?;
    let rows = archived.messages(&[]).await?;
    let row = rows.iter().find(|row| row["msgid"] == msgid.as_str()).context("the original stays")?;
    ensure!(row["revoked"] == true, "the original is marked: {row}");
    Ok(())
}

async fn sync(archived: &Archived) -> Result<()> {
    archived.folder.set_faults(&["chat delay 1500 times 1"])?;
    let first = archived.client.sync("corp123").await?;
    let reply = first.json();
    ensure!(keys(&reply) == ["code", "message", "data"] && reply["data"].is_null(), "{}", first.text);
    ensure!(first.code() == 0 && reply["message"] == "同步任务已启动", "{}", first.text);
    let second = archived.client.sync("corp123").await?;
    ensure!(second.code() == 0, "a second one while it runs is a success: {}", second.text);
    ensure!(second.json()["message"] != reply["message"], "and says that it runs: {}", second.text);
    wait_for("end of the sync", || async {
        match archived.site.is_running("sync").await {
            Ok(false) => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await?;
    archived.folder.set_faults(&[])?;
    let unknown = archived.client.sync("corp999").await?;
    ensure!(unknown.code() == 1001, "{}", unknown.text);
    Ok(())
}

/// The rate of the contract, for one caller; in a daemon of its own because it leaves no requests for others.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_a_second() -> Result<()> {
    let upstream = tempfile::tempdir()?;
    let folder = CorpFolder::generate(&CorpSpec::recent(60), upstream.path())?;
    let site = Site::new(|dir| Ok(Settings::of(&folder, dir, "", "")))?;
    let _daemon = site.start().await?;
    site.sync().await?;
    let client = site.client();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..400 {
        let client = client.clone();
        tasks.spawn(async move { client.get("sessions", &[STAFF, ("session_type", "external"), CORP]).await });
    }
    let (mut good, mut refused) = (0, 0);
    while let Some(answer) = tasks.join_next().await {
        let answer = answer??;
        match (answer.status, answer.code()) {
            (200, 0) => good += 1,
            (429, 429) => {
                ensure!(answer.retry_after.is_some(), "it says when to come back");
                refused += 1;
            }
            _ => bail!("{}: {}", answer.status, answer.text),
        }
    }
    ensure!(good >= 100 && refused > 0, "{good} answered, {refused} refused");
    wait_for("an answer after the rush", || async {
        match client.get("sessions", &[STAFF, ("session_type", "external"), CORP]).await {
            Ok(answer) if answer.code() == 0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}
