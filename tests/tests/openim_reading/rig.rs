//! The plugin itself between a stand-in of its upstream and an archive that fits into a test; its requests are sent as they are.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, MutexGuard},
};
use stele_openim::{Openim, message::MsgData};
use stele_plugin_api::{
    Error, Plugin,
    model::Page,
    ops::{HttpReply, HttpRequest, PullRequest},
    testing::MockHost,
};
use stele_tests::{
    daemon::wait_for,
    kept::{Keeper, Kept},
    standin::openim::{OpenimStandin, Row, Version},
};

/// What the path of webhooks has.
pub const HOOK_SECRET: &str = "a-secret-of-webhooks";
/// All conversations.
const PARTITION: &str = "conversations";
/// All there are.
pub const VERSIONS: [Version; 3] = [Version::V380, Version::V383, Version::Head];

/// The plugin between a stand-in and what it keeps.
pub struct Rig {
    pub standin: OpenimStandin,
    keeper: Keeper,
    pub mock: MockHost,
    config: Value,
    pub plugin: Openim,
}

impl Rig {
    /// A stand-in of this version; `more` is added to the section of the upstream.
    pub async fn new(version: Version, more: Value) -> Result<Self> {
        let standin = OpenimStandin::start(version).await?;
        let mut upstream = json!({
            "url": standin.url(), "hook_secret": HOOK_SECRET, "timeout_seconds": 2, "grace_seconds": 3600,
        });
        upstream.as_object_mut().context("an object")?.extend(more.as_object().context("an object")?.clone());
        let config = json!({ "secret": "openIM123", "upstream": upstream });
        let keeper = Keeper::default();
        let mock = keeper.host();
        let plugin = open(&mock, &config)?;
        Ok(Self { standin, keeper, mock, config, plugin })
    }

    /// What it keeps, as it is now.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.keeper.kept()
    }

    /// The plugin after a restart.
    pub fn reopen(&mut self) -> Result<()> {
        self.plugin = open(&self.mock, &self.config)?;
        Ok(())
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

    /// Runs until a notice has these words.
    pub async fn sync_until(&self, words: &str) -> Result<Vec<String>> {
        wait_for(words, || async {
            match self.sync(100).await {
                Ok(notices) if notices.iter().any(|notice| notice.contains(words)) => Ok(notices),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await
    }

    /// Runs until this is kept.
    pub async fn sync_until_complete(&self) -> Result<()> {
        wait_for("everything", || async {
            let synced = self.sync(100).await.map(drop);
            synced.and_then(|()| self.complete()).map_err(|error| format!("{error:#}"))
        })
        .await
    }

    /// The directory, all pages of it.
    pub async fn directory(&self) -> Result<()> {
        let mut cursor = None;
        loop {
            let request = PullRequest { partition: PARTITION.to_owned(), cursor, limit: 0, last_commit: None };
            let page = self.plugin.directory_pull(request).await?;
            let caught_up = page.caught_up;
            cursor = page.cursor.clone();
            self.kept().store(page);
            if caught_up {
                return Ok(());
            }
        }
    }

    /// Everything the stand-in stores is kept and read rightly, and nothing else is.
    pub fn complete(&self) -> Result<()> {
        let rows = self.standin.rows();
        let there = rows.values().flatten().filter(|row| !row.pending);
        let expected: BTreeSet<_> = there.clone().map(|row| row.server_msg_id.clone()).collect();
        let found: BTreeSet<_> = self.kept().messages.keys().cloned().collect();
        ensure!(found == expected, "{} kept, {} there", found.len(), expected.len());
        there.clone().try_for_each(|row| self.is_kept(row))?;
        for (conversation, rows) in &rows {
            let reached = self.kept().reached.get(conversation).copied();
            let last = rows.iter().rfind(|row| !row.pending).map(|row| row.seq);
            ensure!(reached >= last, "{conversation}: {reached:?} of {last:?}");
        }
        Ok(())
    }

    /// A message is kept as it is there.
    pub fn is_kept(&self, row: &Row) -> Result<()> {
        let kept = self.kept();
        let message = kept.messages.get(&row.server_msg_id).with_context(|| format!("no {row:?}"))?;
        let wrong = || format!("{message:?} is not {row:?}");
        ensure!(message.seq == Some(row.seq) && message.conversation == row.conversation, wrong());
        ensure!(message.sender == row.said.from && !message.once, wrong());
        ensure!(message.client_id.as_ref() == Some(&row.client_msg_id), wrong());
        ensure!(message.sent_at == row.send_time * 1000, wrong());
        ensure!(message.kind == row.said.content_type.to_string(), wrong());
        let data = MsgData::read(&message.body).with_context(wrong)?;
        ensure!(data.content == row.said.content, wrong());
        ensure!((&data.recv_id, &data.group_id) == (&row.said.to, &row.said.group), wrong());
        let revocation = kept.revocations.get(&row.server_msg_id).map(|known| (known.by.clone(), known.at));
        let revoked = row.revoked.as_ref().map(|revoked| (revoked.user.clone(), revoked.time * 1000));
        ensure!(revocation == revoked, "{revocation:?}: {}", wrong());
        let described = kept.conversations.get(&row.conversation).with_context(wrong)?;
        ensure!(described.kind.is_some(), "{described:?}");
        Ok(())
    }

    /// What the plugin answers.
    pub async fn ask(&self, path: &str, token: &str, body: Value) -> Result<HttpReply> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let request = HttpRequest {
            method: "POST".into(),
            path: path.into(),
            query,
            headers: vec![header("operationid", "op"), header("token", token)],
            body: body.to_string().into(),
            ..HttpRequest::default()
        };
        Ok(self.plugin.http_handle(request).await?)
    }
}

fn open(mock: &MockHost, config: &Value) -> Result<Openim> {
    let now = Arc::new(|| chrono::Utc::now().timestamp_micros());
    Ok(Openim::with_clock(serde_json::from_value(config.clone())?, mock.host(), now))
}
