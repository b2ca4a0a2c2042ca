//! An OpenIM on loopback, as the real one is at HTTP (reference/openim.md), what it does by its version and its defects
//! behind [`Switches`]. What is worth knowing of it:
//!
//! * Its checks of headers come before the look at the path: 3.8.0 answers `/auth/get_admin_token` with 1001, not 404.
//! * `/group/get_groups` gives the newest group first, and no dismissed one.
//! * History that is too old is cut off, so that a pull begins later than it was asked; what was deleted one by one leaves
//!   placeholders. 3.8.0 cuts nothing off: there are placeholders, and nothing at all for a range that touches a document
//!   (100 numbers) that is gone.
//! * The placeholders of 3.8.0 have status 0, and its rows come in no order.
//! * An answer whose messages are larger than 4 MiB (HEAD: 8) is an error, code 8.
//! * The event of a revoke is in the channel beside the pair of who revoked and who received, which need not be the
//!   conversation's own: an admin's revoke of a single chat is not beside that chat.

mod auth;
mod hook;
mod people;
mod pull;
mod search;
mod serve;
mod store;
mod wire;
mod write;

pub use auth::Ended;
pub use hook::Told;
pub use store::{Revoked, Row, Say, pair, text_of, twin};

use super::script::{Reply, Script};
use anyhow::{Context, Result};
use auth::Tokens;
use axum::Router;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use store::{Group, Store, User};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use wire::Refused;

/// The servers that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V380,
    V383,
    Head,
}

/// When what is sent can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    AtOnce,
    /// Its number is given out; its place is a placeholder until [`OpenimStandin::arrive`].
    Unreadable,
    /// It has no number until [`OpenimStandin::arrive`].
    Queued,
}

/// Its settings, and what does not come as it should.
#[derive(Clone, Debug)]
pub struct Switches {
    /// What tokens are signed with, and admins' are given for.
    pub secret: String,
    pub admins: Vec<String>,
    /// How long new tokens are good.
    pub token_seconds: i64,
    /// HEAD: requests an admin's token still serves after a newer one took its place; the real server gives it 5 minutes.
    pub ousted_requests: u32,
    pub arrival: Arrival,
    /// Largest content, in bytes, of all messages of an answer; without it as the version has it: more is an error.
    pub max_answer: Option<usize>,
    /// Where webhooks go: the command becomes the last segment of the path.
    pub webhook: Option<String>,
    /// Sends ask the webhook first.
    pub before_hooks: bool,
    /// HEAD: `afterMsgSaveDB` is told, too.
    pub save_hooks: bool,
    /// The next webhooks are not sent.
    pub lose_hooks: u32,
}

/// An OpenIM. Ends when dropped.
pub struct OpenimStandin {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Replies to give instead of true ones, by path. Unless it is a refusal, what was asked for is done all the same.
    pub script: Arc<Script>,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What an OpenIM held at a time.
#[derive(Clone, Debug)]
pub struct Snapshot(Store);

struct Shared {
    version: Version,
    script: Arc<Script>,
    state: Mutex<Held>,
    hooks: mpsc::Sender<hook::Event>,
}

#[derive(Default)]
struct Held {
    store: Store,
    switches: Switches,
    tokens: Tokens,
    calls: HashMap<String, usize>,
    /// To be told to the webhook.
    news: Vec<hook::Event>,
    told: Vec<Told>,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            secret: "openIM123".to_owned(),
            admins: vec!["imAdmin".to_owned()],
            token_seconds: 90 * 24 * 60 * 60,
            ousted_requests: 100,
            arrival: Arrival::AtOnce,
            max_answer: None,
            webhook: None,
            before_hooks: false,
            save_hooks: false,
            lose_hooks: 0,
        }
    }
}

impl OpenimStandin {
    /// Serves on a free port; the default admin is a user.
    pub async fn start(version: Version) -> Result<Self> {
        let script = Arc::new(Script::default());
        let (hooks, events) = mpsc::channel(hook::QUEUE);
        let shared = Arc::new(Shared { version, script: Arc::clone(&script), state: Mutex::default(), hooks });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let router = Router::new().fallback(serve::handle).with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a bound listener serves until it is dropped");
        });
        let telling = tokio::spawn(hook::run(Arc::clone(&shared), events));
        let standin = Self { addr, script, shared, tasks: vec![serving, telling] };
        standin.add_account("imAdmin", "imAdmin", 2);
        Ok(standin)
    }

    /// Scheme and authority of the API.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Changes its settings.
    pub fn set(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.shared.lock().switches);
    }

    /// The `number`th call of this path from now on, the next being 1, gets this reply.
    pub fn fail(&self, path: &str, number: u32, reply: Reply) {
        if number > 1 {
            self.script.push(path, Reply::Delay(Duration::ZERO), number - 1);
        }
        self.script.push(path, reply, 1);
    }

    /// Registers a user, or changes the nickname.
    pub fn add_user(&self, user: &str, nickname: &str) {
        self.add_account(user, nickname, 0);
    }

    /// Registers an account: 0 ordinary, 2 admin, 3 for notifications.
    pub fn add_account(&self, user: &str, nickname: &str, level: i32) {
        let Held { store, switches, .. } = &mut *self.shared.lock();
        if level == 2 && !switches.admins.iter().any(|admin| admin == user) {
            switches.admins.push(user.to_owned());
        }
        let created = i64::try_from(store.make()).unwrap_or_default();
        let new = User { nickname: String::new(), face_url: format!("https://x.example/{user}.png"), level, created };
        nickname.clone_into(&mut store.users.entry(user.to_owned()).or_insert(new).nickname);
    }

    /// Makes a group, the first member its owner; nothing is said in it. Its conversation begins with the first message.
    pub fn add_group(&self, group: &str, name: &str, members: &[&str]) {
        let store = &mut self.shared.lock().store;
        let created = i64::try_from(store.make()).unwrap_or_default();
        let members: Vec<_> = members.iter().map(|&member| member.to_owned()).collect();
        let owner = members.first().cloned().unwrap_or_default();
        let face_url = format!("https://x.example/{group}.png");
        let new = Group { name: name.to_owned(), face_url, owner, members, dismissed: false, created };
        store.groups.insert(group.to_owned(), new);
    }

    /// Somebody comes into a group, and nothing is said about it.
    pub fn join(&self, group: &str, user: &str) {
        self.shared.lock().store.join(group, user);
    }

    /// Somebody leaves a group, and nothing is said about it.
    pub fn leave(&self, group: &str, user: &str) {
        self.shared.lock().store.leave(group, user);
    }

    /// Ends a group; its conversation stays.
    pub fn dismiss(&self, group: &str) {
        if let Some(group) = self.shared.lock().store.groups.get_mut(group) {
            group.dismissed = true;
        }
    }

    /// Sends a message as if a client had, and returns its conversation and number; 0 while it has none.
    pub fn say(&self, said: Say) -> (String, i64) {
        let state = &mut *self.shared.lock();
        let row = state.store.row(said);
        let conversation = row.conversation.clone();
        let seq = write::accept(state, self.shared.version, row, "say");
        self.shared.tell(state);
        (conversation, seq)
    }

    /// What was sent late arrives.
    pub fn arrive(&self) {
        let state = &mut *self.shared.lock();
        write::arrive(state, self.shared.version);
        self.shared.tell(state);
    }

    /// Revokes a message; who is an admin need not have sent it.
    pub fn revoke(&self, conversation: &str, seq: i64, user: &str) -> Result<()> {
        let state = &mut *self.shared.lock();
        write::revoke_row(state, conversation, seq, user).map_err(|refused| anyhow::anyhow!(refused.name))?;
        self.shared.tell(state);
        Ok(())
    }

    /// Deletes messages for everybody: placeholders are left.
    pub fn remove(&self, conversation: &str, seqs: impl IntoIterator<Item = i64>) {
        if let Some(conversation) = self.shared.lock().store.conversations.get_mut(conversation) {
            seqs.into_iter().for_each(|seq| conversation.remove(seq));
        }
    }

    /// Deletes messages for one user.
    pub fn remove_for(&self, user: &str, conversation: &str, seqs: impl IntoIterator<Item = i64>) {
        write::delete_for(&mut self.shared.lock().store, user, conversation, seqs);
    }

    /// The server's retention deletes everything up to a number; since 3.8.1 nobody can read before it any more.
    pub fn forget(&self, conversation: &str, up_to: i64) {
        if let Some(conversation) = self.shared.lock().store.conversations.get_mut(conversation) {
            conversation.forget(up_to, self.shared.version > Version::V380);
        }
    }

    /// Numbers are skipped, as after Redis was lost: the newest number is one that no message has.
    pub fn jump(&self, conversation: &str, by: i64) {
        self.shared.lock().store.conversations.entry(conversation.to_owned()).or_default().max += by;
    }

    /// All that it holds.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.shared.lock().store.clone())
    }

    /// Goes back to what it held then. What is made from now on is not what was made before.
    pub fn restore(&self, Snapshot(store): &Snapshot) {
        let state = &mut *self.shared.lock();
        let made = state.store.made;
        state.store = Store { made, ..store.clone() };
    }

    /// Loses all messages and conversations; users and groups stay.
    pub fn wipe(&self) {
        let state = &mut *self.shared.lock();
        state.store.conversations.clear();
        state.store.owned.clear();
        state.store.queue.clear();
    }

    /// Every message that is stored in a chat, revoked ones with their originals: what a complete archive holds.
    pub fn rows(&self) -> BTreeMap<String, Vec<Row>> {
        let state = self.shared.lock();
        let chats = state.store.conversations.iter().filter(|(id, _)| !store::is_twin(id));
        chats.map(|(id, conversation)| (id.clone(), conversation.rows.values().cloned().collect())).collect()
    }

    /// The newest number of a conversation, as far as it is given out.
    pub fn max_seq(&self, conversation: &str) -> i64 {
        self.shared.lock().store.conversations.get(conversation).map_or(0, |conversation| conversation.max)
    }

    /// How often a path was asked for.
    pub fn calls(&self, path: &str) -> usize {
        self.shared.lock().calls.get(path).copied().unwrap_or(0)
    }

    /// How many tokens were given out.
    pub fn tokens(&self) -> usize {
        self.shared.lock().tokens.count
    }

    /// Ends every token that was given out.
    pub fn end_tokens(&self, ended: Ended) {
        self.shared.lock().tokens.end(ended);
    }

    /// A token as another program gets one for this admin.
    pub fn token(&self, user: &str) -> String {
        let state = &mut *self.shared.lock();
        let platform = if state.is_admin(user) { 10 } else { 5 };
        let given = auth::issue(state, self.shared.version, user, platform);
        given["token"].as_str().unwrap_or_default().to_owned()
    }

    /// Sends this body to the webhook, as this command.
    pub async fn hook(&self, command: &str, body: &Value) -> Result<Told> {
        let url = self.shared.lock().switches.webhook.clone().context("no webhook is set")?;
        let event = hook::Event { command: command.to_owned(), key: None, body: body.clone() };
        hook::post(&url, &event).await
    }

    /// What the webhook was told, with its answers, in order.
    pub fn told(&self) -> Vec<Told> {
        self.shared.lock().told.clone()
    }
}

impl Drop for OpenimStandin {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Held {
    /// The error, if messages of so many bytes do not fit into an answer between services.
    fn check_size(&self, version: Version, size: usize) -> Result<(), Refused> {
        let standard = if version == Version::Head { 8 << 20 } else { 4 << 20 };
        match self.switches.max_answer.unwrap_or(standard) {
            most if size > most => {
                Err(Refused::new(8, &format!("grpc: received message larger than max ({size} vs. {most})"), ""))
            }
            _ => Ok(()),
        }
    }

    fn is_admin(&self, user: &str) -> bool {
        self.switches.admins.iter().any(|admin| admin == user)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands on what is to be told to the webhook. What does not fit into the queue is dropped.
    fn tell(&self, state: &mut Held) {
        let news = std::mem::take(&mut state.news);
        if state.switches.webhook.is_none() {
            return;
        }
        for event in news {
            if state.switches.lose_hooks > 0 {
                state.switches.lose_hooks -= 1;
                continue;
            }
            let _ = self.hooks.try_send(event);
        }
    }
}
