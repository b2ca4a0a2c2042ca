//! The plugin itself between a stand-in of its upstream and an archive that fits into a test; its requests are sent as they are.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, MutexGuard},
};
use stele_plugin_api::{
    Error, Host, Plugin,
    model::Page,
    ops::{HttpReply, HttpRequest},
    testing::MockHost,
};
use stele_tests::{
    kept::{Keeper, Kept},
    standin::wukongim::{Say, Version, WukongimStandin},
};
use stele_wukongim::Wukongim;

/// What the path of webhooks has.
pub const HOOK_SECRET: &str = "a-secret-of-webhooks";
/// All channels.
const PARTITION: &str = "channels";

/// The plugin between a stand-in and what it keeps.
pub struct Rig {
    pub standin: WukongimStandin,
    keeper: Keeper,
    pub mock: MockHost,
    config: Value,
    pub plugin: Wukongim,
}

impl Rig {
    /// A stand-in of this version; `more` is added to the section of the upstream.
    pub async fn new(version: Version, more: Value) -> Result<Self> {
        let standin = WukongimStandin::start(version).await?;
        let mut config = json!({
            "url": standin.url(), "manager_url": standin.manager_url(), "hook_secret": HOOK_SECRET, "timeout_seconds": 2,
        });
        config.as_object_mut().context("an object")?.extend(more.as_object().context("an object")?.clone());
        let keeper = Keeper::default();
        let mock = keeper.host();
        let plugin = open(mock.host(), &config)?;
        Ok(Self { standin, keeper, mock, config, plugin })
    }

    /// What it keeps, as it is now.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.keeper.kept()
    }

    /// The plugin after a restart.
    pub fn reopen(&mut self) -> Result<()> {
        self.plugin = open(self.mock.host(), &self.config)?;
        Ok(())
    }

    /// The plugin of another daemon on the same archive, of this number.
    pub fn at_node(&self, node: u16) -> Result<Wukongim> {
        open(self.mock.host().at_node(node), &self.config)
    }

    /// Messages in this channel.
    pub fn say(&self, kind: u8, channel: &str, count: usize) {
        for number in 0..count {
            let payload = format!("{{\"type\":1,\"content\":\"{channel} 第 {number} 条\"}}");
            let said = Say { from: "alice", payload: payload.as_bytes(), red_dot: 1, ..Say::default() };
            self.standin.say(kind, channel, &said);
        }
    }

    /// One page, which is not committed.
    pub async fn pull(&self, limit: u32) -> Result<Page, Error> {
        self.keeper.pull(&self.plugin, PARTITION, limit).await
    }

    /// Commits a page, as the daemon does.
    pub fn commit(&self, page: Page) {
        self.keeper.commit(page);
    }

    /// A run: pages until nothing is left. Returns the notices as text.
    pub async fn sync(&self, limit: u32) -> Result<Vec<String>> {
        self.keeper.sync(&self.plugin, PARTITION, limit).await
    }

    /// Everything the stand-in stores is kept and read rightly, and nothing else is.
    pub fn complete(&self) -> Result<()> {
        let kept = self.kept();
        let channels = self.standin.channels();
        let rows: Vec<_> = channels.values().flatten().filter(|row| !row.channel.ends_with("____cmd")).collect();
        let expected: BTreeSet<_> = rows.iter().map(|row| row.id.to_string()).collect();
        let found: BTreeSet<_> = kept.messages.keys().cloned().collect();
        ensure!(found == expected, "{} kept, {} there", found.len(), expected.len());
        for row in rows {
            let message = &kept.messages[&row.id.to_string()];
            ensure!(message.seq == i64::try_from(row.seq).ok(), "{message:?} is not {row:?}");
            ensure!(message.conversation == format!("{}/{}", row.kind, row.channel), "{message:?} is not {row:?}");
            ensure!(message.sender == row.from && !message.once, "{message:?} is not {row:?}");
            ensure!(message.client_id.as_ref() == Some(&row.client_msg_no), "{message:?} is not {row:?}");
            ensure!(message.sent_at.div_euclid(1_000_000) == row.timestamp, "{message:?} is not {row:?}");
            let body: Value = serde_json::from_slice(&message.body)?;
            if let Some(header) = body.get("header") {
                // The flags of the very first one can never be read (trap 41).
                let is_first =
                    channels[&(row.kind, row.channel.clone())].first().is_some_and(|first| first.id == row.id);
                let dot = if is_first { 0 } else { row.red_dot };
                ensure!(header["red_dot"] == dot, "{body} is not {row:?}");
            }
        }
        for ((kind, channel), rows) in channels {
            if let Some(last) = rows.last().filter(|_| !channel.ends_with("____cmd")) {
                let reached = kept.reached.get(&format!("{kind}/{channel}")).copied();
                ensure!(reached == i64::try_from(last.seq).ok(), "{channel}: {reached:?} of {}", last.seq);
            }
        }
        Ok(())
    }

    /// What the plugin answers.
    pub async fn ask(&self, path: &str, body: Value) -> Result<HttpReply> {
        ask(&self.plugin, path, body).await
    }
}

/// What this plugin answers.
pub async fn ask(plugin: &Wukongim, path: &str, body: Value) -> Result<HttpReply> {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
    let request = HttpRequest {
        method: "POST".into(),
        path: path.into(),
        query,
        body: body.to_string().into(),
        ..HttpRequest::default()
    };
    Ok(plugin.http_handle(request).await?)
}

fn open(host: Host, upstream: &Value) -> Result<Wukongim> {
    let config = serde_json::from_value(json!({ "upstream": upstream }))?;
    let now = Arc::new(|| chrono::Utc::now().timestamp_micros());
    Ok(Wukongim::with_clock(config, host, now))
}
