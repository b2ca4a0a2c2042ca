//! A plugin with much to do: pages of messages, and calls of which none is answered before all of them have come. For the bench,
//! and for tests of what a call costs.

use bytes::Bytes;
use stele_plugin_api::{
    Host, Plugin, Result, export_plugin,
    model::{Message, Page},
    ops::{Description, HttpReply, HttpRequest, PullRequest},
};
use tokio::sync::Barrier;

struct Busy {
    /// Where calls wait for each other.
    all: Barrier,
}

#[derive(serde::Deserialize)]
struct Config {
    /// Calls of `http.handle` that are answered at once, when all of them have come.
    #[serde(default)]
    calls: usize,
}

impl Plugin for Busy {
    type Config = Config;
    const NAME: &'static str = "busy";
    const VERSION: &'static str = "1.0.0";
    const MAX_CALLS: u32 = 16_384;

    async fn open(config: Config, _host: Host) -> Result<Self> {
        Ok(Self { all: Barrier::new(config.calls) })
    }

    fn describe(&self) -> Description {
        let operations = ["describe", "health", "http.handle", "sync.pull"].map(String::from).to_vec();
        Description { name: Self::NAME.into(), version: Self::VERSION.into(), operations, ..Description::default() }
    }

    /// The request's body, and where in memory it was.
    async fn http_handle(&self, request: HttpRequest) -> Result<HttpReply> {
        self.all.wait().await;
        let address = format!("{:p}", request.body.as_ptr());
        Ok(HttpReply {
            status: 200,
            headers: vec![("address".into(), address)],
            body: request.body,
            ..HttpReply::default()
        })
    }

    /// As many messages as are asked for.
    async fn sync_pull(&self, request: PullRequest) -> Result<Page> {
        let message = |number: u32| Message {
            native_id: format!("corp123/{number:032x}"),
            conversation: "corp123/g/r1".into(),
            sender: "corp123/zhang".into(),
            sent_at: 1_700_000_000_000_000 + i64::from(number),
            kind: "text".into(),
            text: "项目的进度请大家今天下班之前更新到表格里".into(),
            body: Bytes::from_static(
                r#"{"msgtype":"text","text":{"content":"项目的进度请大家今天下班之前更新到表格里"}}"#.as_bytes(),
            ),
            ..Message::default()
        };
        Ok(Page { messages: (0..request.limit).map(message).collect(), ..Page::default() })
    }
}

export_plugin!(Busy);
