//! A body of every type of reference/wecom-archive.md §2.2, with its quirks (§2.3).

use super::{MediaPool, media::MediaFile, sentence};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Map, Value, json};

/// Types and how often they occur, of a thousand messages. `text` takes the rest.
pub(super) const FREQUENCIES: &[(&str, u32)] = &[
    ("image", 50),
    ("voice", 24),
    ("file", 24),
    ("emotion", 20),
    ("link", 16),
    ("quote", 16),
    ("video", 10),
    ("revoke", 10),
    ("weapp", 8),
    ("location", 6),
    ("mixed", 6),
    ("chatrecord", 6),
    ("markdown", 6),
    ("news", 4),
    ("meeting", 4),
    ("calendar", 3),
    ("docmsg", 3),
    ("card", 3),
    ("todo", 3),
    ("voiptext", 3),
    ("redpacket", 2),
    ("external_redpacket", 2),
    ("vote", 2),
    ("collect", 2),
    ("meeting_notification", 2),
    ("meeting_voice_call", 2),
    ("voip_doc_share", 2),
    ("sphfeed", 2),
    ("qydiskfile", 2),
    ("agree", 2),
    ("disagree", 2),
    ("switch", 2),
    ("control", 1),
    ("solitaire", 1),
];

/// A message's body before it is put into its envelope.
pub(super) struct Body {
    pub msgtype: &'static str,
    /// The members of the message that its type brings.
    pub fields: Map<String, Value>,
    /// What a search must find it by.
    pub find: Vec<String>,
    /// The files it refers to, nested ones too, in order.
    pub media: Vec<MediaFile>,
    /// A placeholder in the JSON that becomes a raw control byte (§1.7).
    pub raw_control: bool,
}

/// What a body is made from.
pub(super) struct Maker<'a> {
    pub rng: &'a mut StdRng,
    pub pool: &'a MediaPool,
    pub topic: &'a [&'a str],
    /// Turns a file of the pool into one of this message.
    pub own: &'a mut dyn FnMut(&MediaFile) -> MediaFile,
    pub sender: &'a str,
    pub sender_name: &'a str,
    /// What was said before in this conversation.
    pub quoted: &'a str,
    pub pre_msgid: &'a str,
    pub time_ms: i64,
}

/// The placeholder of [`Body::raw_control`], as serialised.
pub(super) const CONTROL_ESCAPE: &str = "\\u0003";

impl Maker<'_> {
    fn line(&mut self) -> String {
        sentence(self.topic, self.rng)
    }

    fn file(&mut self, extension: &str) -> MediaFile {
        let file = self.pool.pick(extension, self.rng).clone();
        (self.own)(&file)
    }

    /// The body of this type; `kind` is a word of [`FREQUENCIES`] or `text`.
    pub fn body(&mut self, kind: &str) -> Body {
        match kind {
            "image" | "voice" | "video" | "emotion" | "file" | "voip_doc_share" | "meeting_voice_call" => {
                self.with_file(kind)
            }
            "chatrecord" | "mixed" | "solitaire" => self.nested(kind),
            "link" | "weapp" | "docmsg" | "news" | "sphfeed" | "card" | "location" | "markdown" | "qydiskfile" => {
                self.shared(kind)
            }
            "todo" | "vote" | "collect" | "meeting" | "meeting_notification" | "calendar" => self.organised(kind),
            _ => self.said(kind),
        }
    }

    fn said(&mut self, kind: &str) -> Body {
        let line = self.line();
        let at = self.time_ms;
        match kind {
            "quote" => {
                let quoted = if self.quoted.is_empty() { "好的" } else { self.quoted };
                let text = match self.rng.random_range(0..3) {
                    0 => format!("这是一条引用/回复消息：\n\"{quoted}\"\n------\n{line}"),
                    1 => format!("This is a quote/reply:\n\"{quoted}\"\n------\n{line}"),
                    _ => format!("「{}：{quoted}」\n- - - - - - - - - - - - - - -\n{line}", self.sender_name),
                };
                plain("text", "text", json!({ "content": text }), vec![quoted.to_owned(), line])
            }
            "control" => {
                let (before, after) = (format!("{line}甲"), "乙以后".to_owned());
                let text = format!("{before}\u{3}{after}");
                let mut body = plain("text", "text", json!({ "content": text }), vec![before, after]);
                body.raw_control = true;
                body
            }
            "revoke" => plain("revoke", "revoke", json!({ "pre_msgid": self.pre_msgid }), vec![]),
            "agree" => plain("agree", "agree", json!({ "userid": self.sender, "agree_time": at }), vec![]),
            "disagree" if self.rng.random_bool(0.5) => {
                plain("disagree", "agree", json!({ "userid": self.sender, "agree_time": at }), vec![])
            }
            "disagree" => plain("disagree", "disagree", json!({ "userid": self.sender, "disagree_time": at }), vec![]),
            "redpacket" | "external_redpacket" => {
                let wish = "恭喜发财，大吉大利🧧".to_owned();
                let body =
                    json!({ "type": self.rng.random_range(1..=3), "wish": wish, "totalcnt": 5, "totalamount": 20_000 });
                let msgtype = if kind == "redpacket" { "redpacket" } else { "external_redpacket" };
                plain(msgtype, "redpacket", body, vec![wish])
            }
            "voiptext" => plain(
                "voiptext",
                "info",
                json!({ "callduration": 73, "invitetype": self.rng.random_range(1..=4) }),
                vec![],
            ),
            _ => plain("text", "text", json!({ "content": line }), vec![line]),
        }
    }

    fn with_file(&mut self, kind: &str) -> Body {
        match kind {
            "image" => {
                let file = self.file("jpg");
                let body = json!({ "md5sum": file.md5, "filesize": file.size, "sdkfileid": file.sdkfileid });
                with_media("image", "image", body, vec![], vec![file])
            }
            "voice" => {
                let file = self.file("amr");
                let body = json!({
                    "md5sum": file.md5, "voice_size": file.size, "play_length": file.seconds, "sdkfileid": file.sdkfileid,
                });
                with_media("voice", "voice", body, vec![], vec![file])
            }
            "video" => {
                let file = self.file("mp4");
                let body = json!({
                    "md5sum": file.md5, "filesize": file.size, "play_length": file.seconds, "sdkfileid": file.sdkfileid,
                });
                with_media("video", "video", body, vec![], vec![file])
            }
            "emotion" => {
                let (kind, extension) = if self.rng.random_bool(0.5) { (1, "gif") } else { (2, "png") };
                let file = self.file(extension);
                let body = json!({
                    "type": kind, "width": 240, "height": 240, "imagesize": file.size, "md5sum": file.md5,
                    "sdkfileid": file.sdkfileid,
                });
                with_media("emotion", "emotion", body, vec![], vec![file])
            }
            "file" => {
                let extension = *["pdf", "csv", "zip"].choose(self.rng).expect("extensions");
                let file = self.file(extension);
                let stem = *["报价单", "合同终稿", "产品介绍", "Q3 报表", "会议纪要", "客户清单"]
                    .choose(self.rng)
                    .expect("names");
                let name = format!("{stem}-{}.{extension}", self.rng.random_range(1..999));
                let body = json!({
                    "md5sum": file.md5, "filename": name, "fileext": extension, "filesize": file.size,
                    "sdkfileid": file.sdkfileid,
                });
                with_media("file", "file", body, vec![name], vec![file])
            }
            "voip_doc_share" => {
                let file = self.file("pdf");
                let name = format!("演示文稿{}.pdf", self.rng.random_range(1..99));
                let body =
                    json!({ "filename": name, "md5sum": file.md5, "filesize": file.size, "sdkfileid": file.sdkfileid });
                let mut body = with_media("voip_doc_share", "voip_doc_share", body, vec![name], vec![file]);
                body.fields.insert("voipid".into(), json!(format!("voip{}", self.time_ms)));
                body
            }
            _ => {
                let file = self.file("amr");
                let (end, name) = (self.time_ms / 1000, "架构图.pdf".to_owned());
                let body = json!({
                    "endtime": end, "sdkfileid": file.sdkfileid,
                    "demofiledata": [{ "filename": name, "demooperator": self.sender, "starttime": end - 200, "endtime": end }],
                    "sharescreendata": [{ "share": self.sender, "starttime": end - 100, "endtime": end }],
                });
                let mut body = with_media("meeting_voice_call", "meeting_voice_call", body, vec![name], vec![file]);
                body.fields.insert("voiceid".into(), json!(format!("voice{}", self.time_ms)));
                body
            }
        }
    }

    fn nested(&mut self, kind: &str) -> Body {
        let (line, file) = (self.line(), self.file("jpg"));
        let text = json!({ "content": line }).to_string();
        let image = json!({ "md5sum": file.md5, "filesize": file.size, "sdkfileid": file.sdkfileid }).to_string();
        if kind == "mixed" {
            let items = json!([{ "type": "text", "content": text }, { "type": "image", "content": image }]);
            return with_media("mixed", "mixed", json!({ "item": items }), vec![line], vec![file]);
        }
        if kind == "solitaire" {
            // No source shows this type's fields: readers must keep it and find what is in it.
            let body =
                json!({ "topic": line, "entries": [{ "who": self.sender, "cover": { "sdkfileid": file.sdkfileid } }] });
            return with_media("solitaire", "solitaire", body, vec![line], vec![file]);
        }
        let inner_line = self.line();
        let seconds = self.time_ms / 1000;
        let inner_items = json!([{ "type": "text", "content": json!({ "content": inner_line }).to_string() }]);
        let mixed = json!({ "item": inner_items }).to_string();
        let title = "群聊的聊天记录".to_owned();
        let body = json!({ "title": title, "item": [
            { "type": "ChatRecordText", "msgtime": seconds - 60, "content": text, "from_chatroom": false },
            { "type": "ChatRecordImage", "msgtime": seconds - 50, "content": image, "from_chatroom": false },
            { "type": "ChatRecordMixed", "msgtime": seconds - 40, "content": mixed, "from_chatroom": true },
        ]});
        with_media("chatrecord", "chatrecord", body, vec![title, line, inner_line], vec![file])
    }

    fn shared(&mut self, kind: &str) -> Body {
        let (title, line) = (self.line(), self.line());
        match kind {
            "link" => {
                let body = json!({
                    "title": title, "description": line, "link_url": "https://example.com/articles/42?from=archive",
                    "image_url": "https://example.com/covers/42.png",
                });
                plain("link", "link", body, vec![title, line])
            }
            "weapp" => {
                let name = "星河商城".to_owned();
                let body = json!({
                    "title": title, "description": line, "username": "gh_0123456789ab@app", "displayname": name,
                });
                plain("weapp", "weapp", body, vec![title, line, name])
            }
            "docmsg" => {
                let body =
                    json!({ "title": title, "link_url": "https://doc.example.com/d/1", "doc_creator": self.sender });
                plain("docmsg", "doc", body, vec![title])
            }
            "news" => {
                let items = json!([
                    { "title": title, "description": line, "url": "https://example.com/n/1", "picurl": "https://example.com/n/1.png" },
                ]);
                plain("news", "info", json!({ "item": items }), vec![title, line])
            }
            "sphfeed" => {
                let name = "星河实验室".to_owned();
                let body = json!({ "feed_type": 4, "sph_name": name, "feed_desc": line });
                plain("sphfeed", "sphfeed", body, vec![name, line])
            }
            "card" => {
                let (corp, userid) = ("蓝海物流", self.sender);
                // The key occurs in both spellings.
                let key = if self.rng.random_bool(0.2) { "Userid" } else { "userid" };
                plain("card", "card", json!({ "corpname": corp, key: userid }), vec![corp.to_owned()])
            }
            "location" => {
                let (address, place) = ("北京市海淀区中关村大街27号".to_owned(), "中关村大厦".to_owned());
                let body = json!({
                    "longitude": 116.316_57, "latitude": 39.983_17, "address": address, "title": place, "zoom": 15,
                });
                plain("location", "location", body, vec![address, place])
            }
            "qydiskfile" => {
                let name = format!("共享盘资料{}.xlsx", self.rng.random_range(1..99));
                plain("qydiskfile", "info", json!({ "filename": name }), vec![name])
            }
            _ => {
                let content = format!("## 日报\n> {line}\n[详情](https://example.com/report)");
                plain("markdown", "info", json!({ "content": content }), vec!["日报".to_owned(), line])
            }
        }
    }

    fn organised(&mut self, kind: &str) -> Body {
        let (title, line) = (self.line(), self.line());
        let start = self.time_ms / 1000 + 3600;
        match kind {
            "todo" => plain("todo", "todo", json!({ "title": title, "content": line }), vec![title, line]),
            "vote" => {
                let body = json!({ "votetitle": title, "voteitem": ["周三", "周四"], "votetype": 101, "voteid": "v1" });
                plain("vote", "vote", body, vec![title, "周四".to_owned()])
            }
            "collect" => {
                let body = json!({
                    "room_name": "全员群", "creator": self.sender, "create_time": "2024-05-06 10:00:00", "title": title,
                    "details": [{ "id": 1, "ques": line, "type": "Text" }],
                });
                plain("collect", "collect", body, vec![title, line])
            }
            "meeting" => {
                let (place, remarks) = ("三号会议室".to_owned(), self.line());
                let body = json!({
                    "topic": title, "starttime": start, "endtime": start + 3600, "address": place, "remarks": remarks,
                    "meetingtype": 102, "meetingid": 9_223_372_036_854_775_807_u64 - 5, "status": 1,
                });
                plain("meeting", "meeting", body, vec![title, place, remarks])
            }
            "meeting_notification" => {
                let body = json!({ "meeting_id": 9_007_199_254_740_993_u64, "notification_type": 2, "content": line });
                plain("meeting_notification", "info", body, vec![line])
            }
            _ => {
                let (place, attendee) = ("杭州分公司".to_owned(), "周文博".to_owned());
                let body = json!({
                    "title": title, "creatorname": self.sender_name, "attendeename": [attendee, "Linda"],
                    "starttime": start, "endtime": start + 1800, "place": place, "remarks": line,
                });
                plain("calendar", "calendar", body, vec![title, place, line, attendee])
            }
        }
    }
}

fn plain(msgtype: &'static str, key: &str, body: Value, find: Vec<String>) -> Body {
    with_media(msgtype, key, body, find, Vec::new())
}

fn with_media(msgtype: &'static str, key: &str, body: Value, find: Vec<String>, media: Vec<MediaFile>) -> Body {
    let mut fields = Map::new();
    fields.insert("msgtype".into(), json!(msgtype));
    fields.insert(key.into(), body);
    Body { msgtype, fields, find, media, raw_control: false }
}
