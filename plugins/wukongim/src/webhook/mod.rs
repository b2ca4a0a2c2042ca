//! What happens is told to a receiver by HTTP (contract 001, Webhook配置; reference/wukongim.md §9): stored messages in batches
//! (`msg.notify`), and each message with whom it is for (`msg.offline`), since nobody is ever connected here.
//!
//! Stored messages are read from the archive ([`follow`]), whichever way they came, each at least once. What is not stored
//! (`no_persist`) goes from the request that sends it through a bounded queue, and is lost where that is full or the instance ends.

mod config;
mod event;
mod follow;
mod receiver;

pub use config::WebhookConfig;

use crate::Clock;
use crate::config::Config;
use bytes::Bytes;
use event::Event;
use follow::{AT_ONCE, Follower};
use futures::{StreamExt, stream};
use receiver::Receiver;
use std::sync::Arc;
use std::time::Duration;
use stele_plugin_api::Host;
use stele_plugin_api::model::Message;
use stele_plugin_api::ops::MessageView;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

/// Most messages that are not stored and wait to be told, and what is sent of them in bytes.
const MAX_PASSING: usize = 1024;
const MAX_PASSING_BYTES: usize = 16 << 20;
/// Messages taken from the archive at once that are told one by one.
const ONE_BY_ONE: u32 = 100;

/// The webhooks of an instance. They end with it.
pub struct Webhooks {
    receiver: Arc<Receiver>,
    /// Takes what is not stored, where `msg.offline` is told.
    passing: Option<Passing>,
    /// How many tasks have begun, of how many.
    begun: watch::Receiver<usize>,
    followers: usize,
    node: u16,
    _tasks: JoinSet<()>,
}

/// A queue with a bound of bytes, too.
struct Passing {
    queue: mpsc::Sender<(Bytes, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

impl Passing {
    fn take(&self, body: Bytes) -> bool {
        let share =
            u32::try_from(body.len()).ok().and_then(|bytes| Arc::clone(&self.room).try_acquire_many_owned(bytes).ok());
        share.is_some_and(|share| self.queue.try_send((body, share)).is_ok())
    }
}

impl Webhooks {
    /// The webhooks of an instance, if it has some. Starts the tasks that tell, on the current runtime.
    pub fn start(config: &Config, host: &Host, clock: &Clock) -> Option<Self> {
        let (node, config) = (config.shown_node(), config.webhook.as_ref()?);
        let receiver = Arc::new(Receiver::new(host.clone(), clock.clone(), config.address().ok()?, config));
        let (begun, beginning) = watch::channel(0);
        let mut tasks = JoinSet::new();
        let follow = |event, count, interval| Follower {
            host: host.clone(),
            clock: clock.clone(),
            receiver: Arc::clone(&receiver),
            event,
            count,
            interval,
            node,
        };
        if config.tells(Event::Notify) {
            let (count, interval) = (config.msg_notify_event_count_per_push, config.interval()?);
            tasks.spawn(follow(Event::Notify, count, interval).run(begun.clone()));
        }
        if config.tells(Event::Offline) {
            tasks.spawn(follow(Event::Offline, ONE_BY_ONE, Duration::ZERO).run(begun));
        }
        let followers = tasks.len();
        let passing = config.tells(Event::Offline).then(|| {
            let (queue, waiting) = mpsc::channel(MAX_PASSING);
            tasks.spawn(pass(Arc::clone(&receiver), waiting));
            Passing { queue, room: Arc::new(Semaphore::new(MAX_PASSING_BYTES)) }
        });
        Some(Self { receiver, passing, begun: beginning, followers, node, _tasks: tasks })
    }

    /// Waits until it is known which message is the first to be told, or that the daemon does not say yet.
    pub async fn begun(&self) {
        // An error means that all of them ended.
        let _ = self.begun.clone().wait_for(|begun| *begun == self.followers).await;
    }

    /// Tells of a message that is not stored.
    pub fn pass(&self, message: Message) {
        let Some(passing) = &self.passing else { return };
        let Message { native_id, conversation, sender, sent_at, body, .. } = message;
        let view = MessageView { native_id, conversation, sender, sent_at, body, ..MessageView::default() };
        if event::is_told(&view) && !passing.take(event::offline(&view, self.node)) {
            self.receiver.count(Event::Offline, "dropped", 1);
        }
    }

    /// What keeps the receiver from being told, as far as the last try showed.
    pub fn trouble(&self) -> Option<String> {
        self.receiver.trouble().map(|reason| format!("the receiver of webhooks: {reason}"))
    }
}

async fn pass(receiver: Arc<Receiver>, waiting: mpsc::Receiver<(Bytes, OwnedSemaphorePermit)>) {
    let waiting = stream::unfold(waiting, |mut waiting| async { Some((waiting.recv().await?, waiting)) });
    let tell = |(body, _share)| {
        let receiver = Arc::clone(&receiver);
        async move { receiver.tell(Event::Offline, 1, body).await }
    };
    waiting.for_each_concurrent(AT_ONCE, tell).await;
}
