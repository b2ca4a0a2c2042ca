//! A plugin that panics wherever its setting `panics` says: the SDK keeps it inside, and the log of the daemon says where it was.

use stele_plugin_api::{
    Error, ErrorCode, Host, ItemSink, Mistake, Plugin, Result, export_plugin,
    model::{Conversation, ConversationKind, MediaRef, Message, Page, Parked},
    ops::{
        Description, Empty, HealthReport, HttpReply, HttpRequest, LiveCarrier, MediaChunk, MediaRequest, Partition,
        Partitions, PullRequest, RecoverRequest, RenderRequest, Rendered, Subscription,
    },
};

/// The one message it has, and the one it cannot read.
const MESSAGE: &str = "m";
const ENVELOPE: &str = "e";
/// Who may listen.
const PERSON: &str = "ann";

struct Zoo(Config);

#[derive(Clone, serde::Deserialize)]
struct Config {
    panics: Vec<String>,
}

impl Config {
    /// Panics if it shall at this place, which is that of the caller.
    #[track_caller]
    fn at(&self, place: &str) {
        assert!(!self.panics.iter().any(|panics| panics == place), "what nobody else is to know");
    }
}

impl Drop for Zoo {
    fn drop(&mut self) {
        self.0.at("drop");
    }
}

impl Plugin for Zoo {
    type Config = Config;
    const NAME: &'static str = "zoo";
    const VERSION: &'static str = "1.0.0";

    fn mistakes(config: &Config) -> Vec<Mistake> {
        config.at("mistakes");
        Vec::new()
    }

    async fn open(config: Config, _host: Host) -> Result<Self> {
        config.at("open");
        Ok(Self(config))
    }

    fn describe(&self) -> Description {
        self.0.at("describe");
        let operations = [
            "describe",
            "health",
            "http.handle",
            "sync.discover",
            "sync.pull",
            "sync.recover",
            "directory.pull",
            "media.fetch",
            "live.render",
        ];
        let operations = operations.map(String::from).to_vec();
        Description { name: Self::NAME.into(), version: Self::VERSION.into(), operations, ..Description::default() }
    }

    async fn health(&self) -> Result<HealthReport> {
        self.0.at("health");
        Ok(HealthReport { ok: true, findings: Vec::new() })
    }

    async fn sync_discover(&self, _: Empty) -> Result<Partitions> {
        self.0.at("discover");
        Ok(Partitions { partitions: vec![Partition { key: "all".into(), title: String::new() }] })
    }

    async fn sync_pull(&self, request: PullRequest) -> Result<Page> {
        self.0.at("pull");
        let known = Page { caught_up: true, cursor: Some("1".into()), ..Page::default() };
        if request.cursor.is_some() {
            return Ok(known);
        }
        let conversation = Conversation {
            native_id: "c".into(),
            partition: request.partition,
            kind: Some(ConversationKind::Group),
            members: Some(vec![PERSON.into()]),
            ..Conversation::default()
        };
        let message = Message {
            native_id: MESSAGE.into(),
            conversation: "c".into(),
            sender: PERSON.into(),
            sent_at: 1_700_000_000_000_000,
            kind: "text".into(),
            body: "{}".into(),
            media: vec![MediaRef { handle: "file".into(), kind: "file".into(), ..MediaRef::default() }],
            ..Message::default()
        };
        let parked = Parked { native_id: ENVELOPE.into(), reason: "it is sealed".into(), envelope: "e".into() };
        Ok(Page { conversations: vec![conversation], messages: vec![message], parked: vec![parked], ..known })
    }

    async fn sync_recover(&self, _: RecoverRequest) -> Result<Page> {
        self.0.at("recover");
        Ok(Page::default())
    }

    async fn directory_pull(&self, _: PullRequest) -> Result<Page> {
        self.0.at("directory");
        Ok(Page { caught_up: true, ..Page::default() })
    }

    async fn http_handle(&self, request: HttpRequest) -> Result<HttpReply> {
        let config = self.0.clone();
        let mut subscription = None;
        match request.path.as_str() {
            "/http" => config.at("http"),
            "/task" => drop(tokio::spawn(async move { config.at("task") })),
            "/thread" => drop(std::thread::spawn(move || config.at("thread"))),
            "/listen" => {
                let (person, session) = (PERSON.into(), PERSON.into());
                let (carrier, since, wait_ms) = (LiveCarrier::Poll, Some(0), 2000);
                subscription =
                    Some(Subscription { carrier, person, session, since, wait_ms, ..Subscription::default() });
            }
            _ => {}
        }
        Ok(HttpReply { status: 200, subscription, ..HttpReply::default() })
    }

    async fn media_fetch(&self, _: MediaRequest, _: ItemSink<MediaChunk>) -> Result<Empty> {
        self.0.at("media");
        Err(Error::new(ErrorCode::NotFound, "there is none"))
    }

    async fn live_render(&self, request: RenderRequest) -> Result<Rendered> {
        self.0.at("render");
        Ok(Rendered { events: request.messages.iter().map(|_| None).collect() })
    }

    async fn close(&self) {
        self.0.at("close");
    }
}

export_plugin!(Zoo);
