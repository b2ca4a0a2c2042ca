//! A frame of every kind and of every operation.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use stele_plugin_api::frame::{FLAG_STREAM, Frame, Kind};
use stele_plugin_api::hello::{Config, Credit, Hello, Limits};
use stele_plugin_api::model::*;
use stele_plugin_api::notify::{LOG, Level, LogRecord, METRIC, MetricKind, MetricRecord};
use stele_plugin_api::ops::{self, *};
use stele_plugin_api::typed::{self, Parts};
use stele_plugin_api::{Encoding, Error, ErrorCode, Mistake};

/// Decodes a payload as its current type and writes it again.
pub type Again = fn(Encoding, Parts) -> Result<Parts, Error>;

pub struct Sample {
    pub name: String,
    pub frame: fn(Encoding) -> Frame,
    pub again: Again,
}

fn again<T: Serialize + DeserializeOwned>(encoding: Encoding, parts: Parts) -> Result<Parts, Error> {
    Ok(Parts { payload: encoding.encode(&encoding.decode::<T>(&parts.payload)?)?, body: parts.body })
}

fn again_request<O: Op>(encoding: Encoding, parts: Parts) -> Result<Parts, Error> {
    typed::encode_request::<O>(encoding, typed::decode_request::<O>(encoding, parts)?)
}

fn again_reply<O: Op>(encoding: Encoding, parts: Parts) -> Result<Parts, Error> {
    typed::encode_reply::<O>(encoding, typed::decode_reply::<O>(encoding, parts)?)
}

fn frame(kind: Kind, id: u64, flags: u32, op: &'static str, encoding: Encoding, parts: Parts) -> Frame {
    Frame { kind, id, flags: encoding.flags() | flags, op: op.into(), payload: parts.payload, body: parts.body }
}

fn parts<T: Serialize>(encoding: Encoding, value: &T) -> Parts {
    Parts { payload: encoding.encode(value).expect("a sample can be written"), body: Bytes::new() }
}

fn s(text: &str) -> String {
    text.to_owned()
}

const AT: Micros = 1_700_000_000_123_456;

fn page() -> Page {
    let media = MediaRef {
        handle: s("corp123/file1"),
        kind: s("image"),
        name: Some(s("图.png")),
        size: Some(2048),
        md5: Some(s("900150983cd24fb0d6963f7d28e17f72")),
        deadline: Some(AT + 1),
    };
    let message = Message {
        native_id: s("corp123/m1"),
        client_id: Some(s("c1")),
        conversation: s("corp123/g/r1"),
        seq: Some(-7),
        sender: s("corp123/zhang"),
        recipients: vec![s("corp123/li")],
        sent_at: AT,
        kind: s("image"),
        text: s("看图"),
        body: Bytes::from_static(b"{\"a\": 1}"),
        media: vec![media],
        expires_at: Some(AT + 2),
        ..Message::default()
    };
    let person = Person {
        native_id: s("corp123/zhang"),
        kind: Some(PersonKind::Staff),
        name: Some(s("张三")),
        avatar: Some(s("https://a.example/z.png")),
        attributes: Some(s("{}")),
    };
    let conversation = Conversation {
        native_id: s("corp123/g/r1"),
        partition: s("corp123"),
        kind: Some(ConversationKind::Group),
        title: Some(s("项目")),
        owner: Some(s("corp123/zhang")),
        members: Some(vec![s("corp123/zhang"), s("corp123/li")]),
        attributes: Some(s("{}")),
        ..Conversation::default()
    };
    Page {
        messages: vec![message],
        people: vec![person],
        conversations: vec![conversation],
        revocations: vec![Revocation { native_id: s("corp123/m0"), by: s("corp123/li"), at: AT }],
        parked: vec![parked()],
        notices: vec![Notice { code: s("gap"), message: s("five days are missing") }],
        cursor: Some(Bytes::from_static(&[0xff, 0x00])),
        caught_up: true,
        ..Page::default()
    }
}

fn parked() -> Parked {
    Parked { native_id: s("corp123/m2"), reason: s("no key 3"), envelope: Bytes::from_static(&[0xfe, 1]) }
}

fn pull() -> PullRequest {
    PullRequest { partition: s("corp123"), cursor: Some(Bytes::from_static(b"41")), limit: 1000, last_commit: Some(AT) }
}

fn person() -> PersonView {
    PersonView {
        native_id: s("corp123/zhang"),
        kind: PersonKind::Other(s("robot")),
        name: s("张三"),
        avatar: s("https://a.example/z.png"),
        attributes: Some(s("{}")),
    }
}

fn conversation() -> ConversationView {
    ConversationView {
        id: 3,
        native_id: s("corp123/g/r1"),
        partition: s("corp123"),
        kind: ConversationKind::Group,
        title: s("项目"),
        owner: s("corp123/zhang"),
        messages: 12,
        attributes: Some(s("{}")),
        ..ConversationView::default()
    }
}

fn message() -> MessageView {
    let link = s("/file/1?sign=x");
    MessageView {
        id: i64::MAX,
        native_id: s("corp123/m1"),
        conversation: s("corp123/g/r1"),
        seq: 5,
        sender: s("corp123/zhang"),
        sender_name: s("张三"),
        sender_avatar: s("https://a.example/z.png"),
        sent_at: AT,
        kind: s("image"),
        text: s("看图"),
        body: Bytes::from_static(b"{\"a\": 1}"),
        media: vec![MediaView { handle: s("corp123/file1"), kind: s("image"), name: s("图.png"), size: 2048, link }],
        revoked_at: Some(AT),
        revoked_by: Some(s("corp123/li")),
        highlights: vec![(0, 6)],
        ..MessageView::default()
    }
}

fn headers() -> Vec<(String, String)> {
    vec![(s("content-type"), s("text/plain"))]
}

pub fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    macro_rules! ops {
        ($($op:ident: $request:expr => $reply:expr;)+) => {$(
            samples.push(Sample {
                name: format!("call.{}", ops::$op::NAME),
                frame: |encoding| {
                    let parts = typed::encode_request::<ops::$op>(encoding, $request).expect("writes");
                    let flags = if ops::$op::NAME == MediaFetch::NAME { FLAG_STREAM } else { 0 };
                    frame(Kind::Call, 7, flags, ops::$op::NAME, encoding, parts)
                },
                again: again_request::<ops::$op>,
            });
            samples.push(Sample {
                name: format!("reply.{}", ops::$op::NAME),
                frame: |encoding| {
                    let parts = typed::encode_reply::<ops::$op>(encoding, $reply).expect("writes");
                    frame(Kind::Reply, 7, 0, "", encoding, parts)
                },
                again: again_reply::<ops::$op>,
            });
        )+};
    }
    macro_rules! others {
        ($($name:literal: $kind:expr, $id:expr, $op:expr, $type:ty = $value:expr;)+) => {$(
            samples.push(Sample {
                name: s($name),
                frame: |encoding| {
                    let value: $type = $value;
                    frame($kind, $id, 0, $op, encoding, parts(encoding, &value))
                },
                again: again::<$type>,
            });
        )+};
    }
    others! {
        "hello.host": Kind::Hello, 0, "", Hello = Hello {
            abi_minor: 0, name: s("steled"), version: s("0.1.0"), limits: Limits { max_frame: 1 << 26, max_calls: 256, credit: 8 },
            instance: s("hq"), config: Config(serde_json::json!({ "key": "value", "list": [1, true, null, "x"] })),
            isolated: true, ..Hello::default()
        };
        "hello.texts": Kind::Hello, 0, "", Hello = Hello {
            abi_minor: 0, name: s("steled"), version: s("0.1.0"), instance: s("hq"),
            config: Config(serde_json::json!({ "limit": "500", "key": ["x"] })),
            texts: vec![s("/limit"), s("/key/0")], ..Hello::default()
        };
        "hello.plugin": Kind::Hello, 0, "", Hello = Hello {
            abi_minor: 0, name: s("wecom"), version: s("1.0.0"), limits: Limits { max_frame: 1 << 20, max_calls: 16, credit: 4 },
            threads: 2, ..Hello::default()
        };
        "error": Kind::Error, 7, "", Error = Error {
            at: Some(AT), retry_after_ms: Some(1500), ..Error::new(ErrorCode::RateLimited, "600 calls a minute")
        };
        "error.mistakes": Kind::Error, 0, "", Error = Error::misconfigured(vec![
            Mistake::new("corp[0].id", "is empty"), Mistake::new("", "too much of it"),
        ]);
        "error.unknown-code": Kind::Error, 7, "", Error = Error::new(ErrorCode::Other(s("future")), "");
        "credit": Kind::Credit, 7, "", Credit = Credit { items: 4 };
        "notify.log": Kind::Notify, 0, LOG, LogRecord = LogRecord {
            level: Level::Warn, target: s("sync"), message: s("a gap"), fields: vec![(s("corp"), s("corp123"))]
        };
        "notify.metric": Kind::Notify, 0, METRIC, MetricRecord = MetricRecord {
            name: s("calls_total"), kind: MetricKind::Counter, value: 1.5, labels: vec![(s("code"), s("0"))]
        };
    }
    samples.push(Sample {
        name: s("item.media.fetch"),
        frame: |encoding| {
            let chunk = MediaChunk { resume: s("next"), last: true };
            let parts = Parts { body: Bytes::from_static(b"bytes of a file"), ..parts(encoding, &chunk) };
            frame(Kind::Item, 7, 0, "", encoding, parts)
        },
        again: again::<MediaChunk>,
    });
    let bare = |name: &str, frame: fn(Encoding) -> Frame| Sample { name: s(name), frame, again: |_, parts| Ok(parts) };
    samples.push(bare("cancel", |_| Frame::bare(Kind::Cancel, 7)));
    samples.push(bare("goodbye", |_| Frame::bare(Kind::Goodbye, 0)));
    ops! {
        Describe: Empty {} => Description {
            name: s("wecom"), version: s("1.0.0"), summary: s("企业微信会话存档"),
            operations: vec![s("describe"), s("sync.pull")], default_listen: Some(s("127.0.0.1:9002")),
            default_sync: Some(s("*/5 * * * *")), default_directory: Some(s("0 3 * * *")), default_rate: Some(100),
            error_template: Some(s("{\"code\":{status},\"message\":\"{message}\"}")), ..Description::default()
        };
        Health: Empty {} => HealthReport { ok: false, findings: vec![s("the secret is refused")] };
        SyncDiscover: Empty {} => Partitions { partitions: vec![Partition { key: s("corp123"), title: s("总部") }] };
        SyncPull: pull() => page();
        SyncRecover: RecoverRequest { partition: s("corp123"), parked: vec![parked()] } => page();
        DirectoryPull: pull() => page();
        MediaFetch: MediaRequest { partition: s("corp123"), handle: s("corp123/file1"), resume: s("r") } => Empty {};
        HttpHandle: HttpRequest {
            method: s("GET"), path: s("/sessions"), query: Some(s("a=%E5%A5%BD")), headers: headers(),
            remote: s("127.0.0.1:5"), request_id: s("r1"), base_url: s("http://127.0.0.1:9002"),
            body: Bytes::from_static(b"the request's body"),
        } => HttpReply {
            status: 200, headers: headers(), body: Bytes::from_static(b"the reply's body"), ..HttpReply::default()
        };
        HttpFetch: FetchRequest {
            method: s("POST"), url: s("https://a.example/x?y=z"), headers: headers(), timeout_ms: 1500,
            body: Bytes::from_static(b"the request's body"),
        } => FetchReply { status: 503, headers: headers(), body: Bytes::from_static(b"the reply's body") };
        ConversationList: ConversationQuery {
            person: s("corp123/zhang"), kind: Some(ConversationKind::Direct), name: Some(s("李")), offset: 20, limit: 10,
        } => ConversationPage {
            rows: vec![ConversationRow { conversation: conversation(), peer: Some(person()), last: message() }], total: 1,
        };
        ConversationGet: ById { native_id: s("corp123/g/r1") } => Some(conversation());
        ConversationTakesPart: Participation { conversation: s("corp123/g/r1"), person: s("corp123/zhang") } => true;
        PersonGet: ById { native_id: s("corp123/zhang") } => Some(person());
        PersonGetMany: ByIds { native_ids: vec![s("a"), s("b")] } => People { people: vec![person()] };
        ArchiveQuery: MessageQuery {
            conversation: s("corp123/g/r1"), kinds: vec![s("text")], since: Some(AT), until: Some(AT + 1), after: Some(1),
            before: Some(9), order: MessageOrder::Seq, descending: true, offset: 2, limit: 100, ..MessageQuery::default()
        } => MessagePage { rows: vec![message()], total: 1 };
        ArchiveSearch: SearchQuery {
            text: s("产品介绍"), conversation: Some(s("corp123/g/r1")), sender: Some(s("corp123/zhang")),
            kinds: vec![s("text")], since: Some(AT), until: Some(AT + 1), offset: 2, limit: 100, ..SearchQuery::default()
        } => MessagePage { rows: vec![message()], total: u64::MAX };
        ArchiveAppend: page() => AppendReport {
            stored: vec![AppendedMessage { id: 9, native_id: s("corp123/m1"), seq: 5 }], known: 3, ..AppendReport::default()
        };
        JobStart: JobRequest { kind: s("sync"), partition: Some(s("corp123")) } => JobStarted { started: true, running: true };
        StateGet: StateKey { key: s("k") } => StateValue { value: Some(Bytes::from_static(&[0, 0xff])) };
        StatePut: StateEntry { key: s("k"), value: Some(Bytes::from_static(b"v")) } => Empty {};
        LiveRender: RenderRequest { messages: vec![message(), MessageView { rev: 8, ..MessageView::default() }] } => Rendered {
            events: vec![Some(LiveEvent { id: s("m1"), name: s("message"), data: s("{}\n") }), None],
        };
        ConversationMembership: Participation { conversation: s("g"), person: s("zhang") } => Membership {
            conversation: Some(ConversationView { last_seq: 9, archived: true, deleted: true, ..conversation() }),
            member: true,
        };
        ConversationJoined: JoinedQuery { person: s("zhang"), after: s("g"), limit: 10 } => Joined {
            conversations: vec![s("h")],
        };
        PersonList: PersonQuery { after: s("corp123/li"), limit: 10 } => People { people: vec![person()] };
        ArchiveGet: ByIds { native_ids: vec![s("a"), s("b")] } => Messages { rows: vec![message()] };
        ArchiveFind: FindQuery {
            conversation: Some(s("2/g")), seqs: vec![1, i64::MAX], client_ids: vec![s("c1")], limit: 10,
        } => Messages { rows: vec![MessageView { client_id: Some(s("c1")), expires_at: Some(AT), ..message() }] };
        ArchiveFeed: FeedQuery { after: Some(7), limit: 100, wait_ms: 500 } => Feed { rows: vec![message()], upto: 9 };
        ConversationGetMany: ByIds { native_ids: vec![s("a"), s("b")] } => Conversations {
            conversations: vec![conversation()],
        };
        LeaseHold: HoldRequest { key: s("follow"), seconds: 20 } => HoldReply { held: true };
        PartitionReached: PartitionKeys { partitions: vec![s("2/g"), s("1/b@a")] } => PartitionNumbers { seqs: vec![41, 0] };
    }
    others! {
        "fields.hello": Kind::Hello, 0, "", Hello = Hello {
            abi_minor: 0, name: s("steled"), version: s("0.1.0"), instance: s("hq"), node: Some(1023), ..Hello::default()
        };
        "fields.conversation": Kind::Reply, 7, "", Conversation = Conversation {
            native_id: s("g"), joined: vec![s("zhang")], left: vec![s("li")], archived: Some(true), deleted: Some(false),
            ..Conversation::default()
        };
        "fields.message_query": Kind::Call, 7, ArchiveQuery::NAME, MessageQuery = MessageQuery {
            conversation: s("g"), from_seq: Some(1), to_seq: Some(9), ..MessageQuery::default()
        };
        "fields.message": Kind::Reply, 7, "", Message = Message {
            native_id: s("m1"), client_id: Some(s("c1")), once: true, conversation: s("2/g"), ..Message::default()
        };
        "fields.message.labels": Kind::Reply, 7, "", Message = Message {
            native_id: s("m1"), conversation: s("si_a_b"), labels: vec![s("to:b"), s("session:1")], ..Message::default()
        };
        "fields.page": Kind::Reply, 7, "", Page = Page {
            reached: vec![Reached { partition: s("2/g"), seq: 41 }], ..Page::default()
        };
        "fields.append_report": Kind::Reply, 7, "", AppendReport = AppendReport {
            known: 1, repeated: vec![Repeated { native_id: s("m2"), first: s("m1") }], ..AppendReport::default()
        };
        "fields.unexpired": Kind::Call, 7, ArchiveQuery::NAME, MessageQuery = MessageQuery {
            conversation: s("g"), unexpired_at: Some(AT), ..MessageQuery::default()
        };
        "fields.search_query": Kind::Call, 7, ArchiveSearch::NAME, SearchQuery = SearchQuery {
            except_kinds: vec![s("part")], unexpired_at: Some(AT), oldest_first: true,
            beyond: Some(Place { sent_at: AT, id: 9 }), limit: 10, ..SearchQuery::default()
        };
        "fields.search_query.labels": Kind::Call, 7, ArchiveSearch::NAME, SearchQuery = SearchQuery {
            labels: vec![s("to:b"), s("session:1")], limit: 10, ..SearchQuery::default()
        };
        "fields.description": Kind::Reply, 7, "", Description = Description {
            secret_paths: vec![s("/hook/")], ..Description::default()
        };
        "fields.description.http": Kind::Reply, 7, "", Description = Description {
            error_headers: vec![(s("access-control-allow-origin"), s("*"))], default_max_body: Some(8 << 20),
            ..Description::default()
        };
        "fields.http_reply": Kind::Reply, 7, "", HttpReply = HttpReply {
            status: 200,
            subscription: Some(Subscription {
                carrier: LiveCarrier::Sse, person: s("zhang"), session: s("zhang/1"), since: Some(7), wait_ms: 30_000,
                expires_at: Some(AT),
            }),
            ..HttpReply::default()
        };
    }
    samples
}
