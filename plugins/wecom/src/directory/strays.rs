//! What the archive holds without a name: groups inside of the company, robots, customers outside of the app's range.
//!
//! No call of WeCom lists them, but the archive knows them: they are in the conversations of the members under archive.

use super::client::Right;
use super::place::Place;
use super::shape::text;
use super::{Directory, Memory, Step, shape};
use crate::ids::{self, Conversation};
use stele_plugin_api::model::{Conversation as Described, ConversationKind, PersonKind};
use stele_plugin_api::ops::{ConversationList, ConversationQuery, ConversationRow, PersonView};
use stele_plugin_api::{Error, ErrorCode};

/// Conversations read at once.
const ROWS: u32 = 100;
/// Conversations looked at in one step.
const MAX_ROWS: u64 = 2_000;
/// Questions to WeCom in one step.
const MAX_QUESTIONS: usize = 40;
/// Members whose conversations are looked at in one step.
const MAX_MEMBERS: usize = 100;

/// Something to ask for.
enum Stray {
    Group(String),
    Person(String, PersonKind),
}

impl Directory {
    pub(super) async fn strays(&self, memory: &mut Memory, at: usize, done: u64, today: i64) -> Result<Step, Error> {
        let mut step = Step::to(Place::START);
        self.load_archived(memory, &mut step).await?;
        let members = memory.archived.clone().unwrap_or_default();
        let last = members.len().min(at + MAX_MEMBERS);
        let (mut at, mut done, mut rows, mut questions, mut limit) = (at, done, 0, 0, ROWS);
        let unreadable = self.unreadable.believed(today).await;
        let mut refused = Vec::new();
        while at < last && rows < MAX_ROWS && questions < MAX_QUESTIONS {
            let query = ConversationQuery {
                person: ids::person(self.corp.id(), &members[at]),
                offset: done,
                limit,
                ..ConversationQuery::default()
            };
            let page = match self.host.call::<ConversationList>(query).await {
                // Each comes with its latest message, and these are long: fewer of them at once.
                Err(Error { code: ErrorCode::TooLarge, .. }) if limit > 1 => {
                    limit /= 2;
                    continue;
                }
                page => page?,
            };
            for row in &page.rows {
                if questions >= MAX_QUESTIONS {
                    break;
                }
                rows += 1;
                done += 1;
                step.page.conversations.extend(mistaken(row));
                let Some((native_id, stray)) = stray(row) else { continue };
                if !memory.asked.insert(native_id.clone()) || unreadable.contains_key(&native_id) {
                    continue;
                }
                questions += 1;
                if !self.look_up(&stray, &mut step).await? {
                    refused.push(native_id);
                }
            }
            if page.rows.is_empty() || done >= page.total {
                (at, done) = (at + 1, 0);
            }
        }
        self.unreadable.add(refused, today).await;
        step.next = (at < members.len()).then_some(Place::Strays(at, done));
        Ok(step)
    }

    /// Asks for one of them; whether WeCom told.
    async fn look_up(&self, stray: &Stray, step: &mut Step) -> Result<bool, Error> {
        let person = match stray {
            Stray::Group(room) => return self.any_group(room, step).await,
            Stray::Person(user, PersonKind::Bot) => {
                let query = [("robot_id", user.as_str())];
                let reply = self.client.get(Right::Archive, "/cgi-bin/msgaudit/get_robot_info", &query).await;
                let reply = self.or_notice(reply, "robots", step)?;
                reply.map(|reply| shape::person(self.corp.id(), user, PersonKind::Bot, text(&reply["data"], "name")))
            }
            Stray::Person(_, PersonKind::Customer) if !self.client.has(Right::App) => return Ok(false),
            Stray::Person(user, PersonKind::Customer) => {
                let query = [("external_userid", user.as_str())];
                let reply = self.client.get(Right::App, "/cgi-bin/externalcontact/get", &query).await;
                let reply = self.or_notice(reply, "customers", step)?;
                reply.and_then(|reply| shape::customer(self.corp.id(), &reply["external_contact"]))
            }
            Stray::Person(user, _) => self.member(user, step, &mut true).await?,
        };
        let is_named = person.as_ref().is_some_and(|person| person.name.is_some());
        step.page.people.extend(person);
        Ok(is_named)
    }
}

/// What of a conversation should be asked for: every group, because groups are renamed, and people without a name.
fn stray(row: &ConversationRow) -> Option<(String, Stray)> {
    let native_id = &row.conversation.native_id;
    if row.conversation.kind == ConversationKind::Group {
        let (_, Conversation::Group(room)) = Conversation::parse(native_id)? else { return None };
        return Some((native_id.clone(), Stray::Group(room)));
    }
    let PersonView { native_id, kind, name, .. } = row.peer.as_ref()?;
    let (_, user) = ids::parse_person(native_id).filter(|_| name.is_empty())?;
    let kind = match kind {
        // Nobody has said yet what they are, but the conversation says that they are no member.
        PersonKind::User if row.conversation.kind == ConversationKind::External => PersonKind::Customer,
        kind => kind.clone(),
    };
    Some((native_id.clone(), Stray::Person(user, kind)))
}

/// What of a conversation messages alone could not tell: that the other one is a customer although their id does not
/// look like it.
fn mistaken(row: &ConversationRow) -> Option<Described> {
    let is_customer = row.peer.as_ref().is_some_and(|peer| peer.kind == PersonKind::Customer);
    (is_customer && row.conversation.kind == ConversationKind::Direct).then(|| Described {
        native_id: row.conversation.native_id.clone(),
        kind: Some(ConversationKind::External),
        ..Described::default()
    })
}
