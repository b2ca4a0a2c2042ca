//! An archive in memory that can be slow or fail, and a plugin that can be away or fail.

use super::{Hub, Options, Renderer, Source, Unrendered};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stele_archive::{
    ArchiveError, Audience, ConversationId, InstanceId, Live, ManualClock, MessageId, News, PersonId, Portion, Result,
    Rev, Stay, StoredMessage,
};
use stele_plugin_api::Error;
use stele_plugin_api::ops::{LiveEvent, Subscription};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub const INSTANCE: InstanceId = InstanceId(1);
pub const NOW: i64 = 1_800_000_000_000_000;

/// Archive and plugin in one.
#[derive(Default)]
pub struct Fake {
    inner: Mutex<Inner>,
    /// The archive does not answer.
    pub is_down: AtomicBool,
    /// Steps others may take while the archive is asked, one after the other.
    pub dawdles: Mutex<Vec<u8>>,
    /// Times an audience was read.
    pub audiences_read: AtomicUsize,
    /// The plugin does not answer.
    pub is_away: AtomicBool,
    /// What the plugin cannot render.
    pub poison: Mutex<String>,
    /// It dies over that, and how often it has.
    pub is_deadly: AtomicBool,
    pub deaths: AtomicUsize,
    /// What was rendered, in order.
    pub rendered: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Inner {
    last: i64,
    messages: Vec<StoredMessage>,
    audiences: BTreeMap<ConversationId, Audience>,
}

impl Fake {
    /// Stores a message; its text is its revision.
    pub fn say(&self, conversation: i64) -> Rev {
        self.say_at(conversation, NOW)
    }

    /// The same, sent then.
    pub fn say_at(&self, conversation: i64, sent_at: i64) -> Rev {
        let mut inner = self.inner.lock().unwrap();
        inner.last += 1;
        let rev = Rev(inner.last);
        let message = StoredMessage {
            id: MessageId(rev.0),
            rev,
            instance: INSTANCE,
            conversation: ConversationId(conversation),
            sent_at,
            text: rev.to_string(),
            ..StoredMessage::default()
        };
        inner.messages.push(message);
        rev
    }

    /// Lets a person in, or go.
    pub fn turn(&self, conversation: i64, person: i64) {
        let mut inner = self.inner.lock().unwrap();
        let (last, person) = (Rev(inner.last), PersonId(person));
        let audience = inner.audiences.entry(ConversationId(conversation)).or_default();
        audience.version += 1;
        match audience.stays.iter_mut().find(|stay| stay.person == person && stay.until.is_none()) {
            Some(stay) => stay.until = Some(last),
            None => audience.stays.push(Stay { person, after: last, until: None }),
        }
    }

    pub fn last(&self) -> Rev {
        Rev(self.inner.lock().unwrap().last)
    }

    /// What a person hears of what came after this.
    pub fn heard(&self, person: i64, after: Rev) -> Vec<Rev> {
        let inner = self.inner.lock().unwrap();
        let hears = |message: &&StoredMessage| {
            let stays = inner.audiences.get(&message.conversation).map_or(&[][..], |audience| &audience.stays);
            message.rev > after && stays.iter().any(|stay| stay.person.0 == person && stay.hears(message.rev))
        };
        inner.messages.iter().filter(hears).map(|message| message.rev).collect()
    }

    /// What the archive does before it answers.
    async fn answer(&self) -> Result<()> {
        let steps = self.dawdles.lock().unwrap().pop().unwrap_or_default();
        for _ in 0..steps {
            tokio::task::yield_now().await;
        }
        match self.is_down.load(Ordering::SeqCst) {
            true => Err(ArchiveError::Unavailable("down".into())),
            false => Ok(()),
        }
    }

    fn between(&self, after: Rev, upto: Rev, portion: Portion, person: Option<PersonId>) -> News {
        let heard = person.map(|person| self.heard(person.0, after));
        let inner = self.inner.lock().unwrap();
        let is_heard = |rev: &Rev| heard.as_ref().is_none_or(|heard| heard.contains(rev));
        let wanted = |message: &&StoredMessage| message.rev > after && message.rev <= upto && is_heard(&message.rev);
        let mut messages: Vec<_> =
            inner.messages.iter().filter(wanted).take(portion.rows as usize + 1).cloned().collect();
        let mut bytes = 0;
        let fits = |message: &&StoredMessage| {
            bytes += message.text.len() + message.body.len();
            bytes <= portion.bytes
        };
        let kept = messages.iter().take_while(fits).count().max(1).min(portion.rows as usize);
        let is_cut = kept < messages.len();
        messages.truncate(kept);
        let upto = messages.last().map(|message| message.rev).filter(|_| is_cut).unwrap_or(upto);
        News { messages, upto }
    }
}

#[async_trait]
impl Live for Fake {
    async fn news(&self, _: InstanceId, after: Rev, upto: Rev, portion: Portion) -> Result<News> {
        self.answer().await?;
        Ok(self.between(after, upto, portion, None))
    }

    async fn missed(&self, _: InstanceId, person: PersonId, after: Rev, upto: Rev, portion: Portion) -> Result<News> {
        self.answer().await?;
        Ok(self.between(after, upto, portion, Some(person)))
    }

    async fn audience_versions(&self, _: InstanceId, conversations: &[ConversationId]) -> Result<Vec<i64>> {
        self.answer().await?;
        let inner = self.inner.lock().unwrap();
        Ok(conversations.iter().map(|id| inner.audiences.get(id).map_or(0, |audience| audience.version)).collect())
    }

    async fn audience(&self, _: InstanceId, conversation: ConversationId, since: Rev) -> Result<Audience> {
        self.answer().await?;
        self.audiences_read.fetch_add(1, Ordering::SeqCst);
        let mut audience = self.inner.lock().unwrap().audiences.get(&conversation).cloned().unwrap_or_default();
        audience.stays.retain(|stay| stay.until.is_none_or(|until| until >= since));
        Ok(audience)
    }
}

#[async_trait]
impl Source for Fake {
    fn live(&self) -> &dyn Live {
        self
    }

    async fn last_rev(&self) -> Result<Rev> {
        self.answer().await?;
        Ok(self.last())
    }

    async fn person(&self, _: InstanceId, native_id: &str) -> Result<PersonId> {
        self.answer().await?;
        Ok(PersonId(native_id.parse().expect("people are numbers here")))
    }
}

#[async_trait]
impl Renderer for Fake {
    async fn render(&self, messages: &[StoredMessage]) -> Result<Vec<Option<LiveEvent>>, Unrendered> {
        tokio::task::yield_now().await;
        if self.is_away.load(Ordering::SeqCst) {
            return Err(Unrendered::Away(Error::unavailable("away")));
        }
        let poison = self.poison.lock().unwrap().clone();
        if messages.iter().any(|message| message.text == poison) {
            if self.is_deadly.load(Ordering::SeqCst) {
                self.deaths.fetch_add(1, Ordering::SeqCst);
                return Err(Unrendered::Fatal(Error::unavailable("it died")));
            }
            return Err(Unrendered::Failed(Error::internal("a poisonous message")));
        }
        self.rendered.lock().unwrap().extend(messages.iter().map(|message| message.text.clone()));
        let event = |message: &StoredMessage| LiveEvent { data: message.text.clone(), ..LiveEvent::default() };
        Ok(messages.iter().map(|message| Some(event(message))).collect())
    }
}

pub fn options() -> Options {
    Options {
        max_sessions: 100,
        queue: 1000,
        queue_bytes: 1 << 20,
        heartbeat: Duration::from_secs(15),
        sse_heartbeat: Duration::from_secs(10),
        poll_wait: Duration::from_secs(30),
        poll_grace: Duration::from_secs(60),
        readers: 2,
    }
}

pub fn hub(fake: &Arc<Fake>, options: Options) -> Arc<Hub> {
    hub_at(fake, options, Arc::new(ManualClock::new(NOW)))
}

pub fn hub_at(fake: &Arc<Fake>, options: Options, clock: Arc<ManualClock>) -> Arc<Hub> {
    let readers = Arc::new(Semaphore::new(options.readers));
    let hub = Hub::new("im", INSTANCE, Arc::clone(fake) as Arc<_>, clock, options, readers, TaskTracker::new());
    hub.render_by(Some(Arc::clone(fake) as Arc<_>));
    Arc::new(hub)
}

pub fn asked(person: i64, session: &str, since: Option<Rev>) -> Subscription {
    Subscription {
        person: person.to_string(),
        session: session.to_owned(),
        since: since.map(|rev| rev.0),
        ..Subscription::default()
    }
}
