//! The bus through notifications of the database. A pooler between may let none pass: then nothing is heard, and that is told.

use super::word::Word;
use super::{Bus, pause};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;
use stele_store::PostgresArchive;
use stele_store::postgres::Notifications;
use tokio::time::Instant;

/// How often a daemon says something even if nothing was committed: what it hears of itself tells it that it hears.
const BEAT: Duration = Duration::from_secs(20);

/// Speaks and listens, for ever.
pub(super) async fn run(bus: &Bus, archive: &PostgresArchive, archive_id: &str) {
    let channel = format!("stele_{archive_id}");
    let mut failures = 0;
    loop {
        let trouble = match archive.notifications(&channel).await {
            Ok(mut words) => {
                failures = 0;
                let heard_at = Mutex::new(Instant::now());
                bus.connected();
                tokio::select! {
                    trouble = hear(bus, &mut words, &heard_at) => trouble,
                    trouble = say(bus, archive, &channel) => trouble,
                    trouble = beat(bus, archive, &channel, &heard_at) => trouble,
                }
            }
            Err(error) => error.to_string(),
        };
        bus.lost(Some(trouble));
        tokio::time::sleep(pause(failures)).await;
        failures += 1;
    }
}

async fn hear(bus: &Bus, words: &mut Notifications, heard_at: &Mutex<Instant>) -> String {
    loop {
        match words.next().await {
            Ok(Some(word)) => {
                *heard_at.lock().expect("no panic happens while it is locked") = Instant::now();
                bus.hear(word.as_bytes());
            }
            Ok(None) => return "the connection was lost".to_owned(),
            Err(error) => return error.to_string(),
        }
    }
}

async fn say(bus: &Bus, archive: &PostgresArchive, channel: &str) -> String {
    loop {
        for word in bus.to_say().await.split() {
            if let Err(error) = archive.notify(channel, &word.to_string()).await {
                bus.unsay(word);
                return error.to_string();
            }
            bus.said();
        }
    }
}

async fn beat(bus: &Bus, archive: &PostgresArchive, channel: &str, heard_at: &Mutex<Instant>) -> String {
    loop {
        let word = Word { from: bus.0.own.clone(), instances: BTreeSet::new() };
        if let Err(error) = archive.notify(channel, &word.to_string()).await {
            return error.to_string();
        }
        tokio::time::sleep(BEAT).await;
        if heard_at.lock().expect("no panic happens while it is locked").elapsed() >= BEAT {
            return "what is said is not heard".to_owned();
        }
    }
}
