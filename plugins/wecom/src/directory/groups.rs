//! Groups: those with customers are listed, those inside of the company have to be known.

use super::client::{CallError, Right};
use super::place::Place;
use super::shape::{list, text};
use super::{Directory, Memory, Step, shape};
use crate::ids::{self, Conversation};
use serde_json::json;
use stele_plugin_api::Error;
use stele_plugin_api::ops::{ByIds, PersonGetMany};

/// Groups of one step.
const GROUPS: usize = 40;
/// Members of a group whose names are looked up to name it.
const MAX_NAMES: usize = 10;
/// `errcode` of a group that has members outside of the company.
const NOT_INTERNAL: i64 = 301_059;

impl Directory {
    pub(super) async fn groups(&self, memory: &mut Memory, token: &str, today: i64) -> Result<Step, Error> {
        let mut step = Step::to(Place::Strays(0, 0));
        if !self.client.has(Right::App) {
            return Ok(step);
        }
        let body = json!({"status_filter": 0, "cursor": token, "limit": GROUPS});
        let reply = self.client.post(Right::App, "/cgi-bin/externalcontact/groupchat/list", &body).await;
        let reply = self.or_notice(reply, "groups with customers", &mut step)?.unwrap_or_default();
        let mut refused = Vec::new();
        for room in list(&reply, "group_chat_list").iter().map(|chat| text(chat, "chat_id")) {
            let native_id = Conversation::Group(room.to_owned()).native_id(self.corp.id());
            if memory.asked.insert(native_id.clone()) && !self.external_group(room, &mut step).await? {
                refused.push(native_id);
            }
        }
        self.unreadable.add(refused, today).await;
        let next = text(&reply, "next_cursor");
        if !next.is_empty() && next != token {
            step.next = Some(Place::Groups(next.to_owned()));
        }
        Ok(step)
    }

    /// A group of which it is not known whether it has customers in it (reference/wecom-archive.md §4.4); whether it could
    /// be read.
    pub(super) async fn any_group(&self, room: &str, step: &mut Step) -> Result<bool, Error> {
        let body = json!({"roomid": room});
        let reply = match self.client.post(Right::Archive, "/cgi-bin/msgaudit/groupchat/get", &body).await {
            Err(CallError::Refused(refusal, _)) if refusal.code == NOT_INTERNAL => {
                return if self.client.has(Right::App) { self.external_group(room, step).await } else { Ok(false) };
            }
            reply => self.or_notice(reply, "groups inside of the company", step)?,
        };
        let Some(reply) = reply else { return Ok(false) };
        let members: Vec<&str> = list(&reply, "members").iter().map(|member| text(member, "memberid")).collect();
        let name = text(&reply, "roomname");
        let names = if name.is_empty() { self.names(&members).await? } else { Vec::new() };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let owner = text(&reply, "creator");
        step.page.conversations.push(shape::group_row(self.corp.id(), room, name, &names, owner, &members));
        Ok(true)
    }

    /// A group with customers; whether it could be read.
    async fn external_group(&self, room: &str, step: &mut Step) -> Result<bool, Error> {
        let body = json!({"chat_id": room, "need_name": 1});
        let reply = self.client.post(Right::App, "/cgi-bin/externalcontact/groupchat/get", &body).await;
        let reply = self.or_notice(reply, "a group with customers", step)?;
        let Some((row, people)) = reply.and_then(|reply| shape::group(self.corp.id(), &reply["group_chat"])) else {
            return Ok(false);
        };
        step.page.conversations.push(row);
        step.page.people.extend(people);
        Ok(true)
    }

    /// Names of the first of these people, or their ids.
    async fn names(&self, users: &[&str]) -> Result<Vec<String>, Error> {
        let first = &users[..users.len().min(MAX_NAMES)];
        if first.is_empty() {
            return Ok(Vec::new());
        }
        let native_ids: Vec<String> = first.iter().map(|user| ids::person(self.corp.id(), user)).collect();
        let known = self.host.call::<PersonGetMany>(ByIds { native_ids: native_ids.clone() }).await?.people;
        let name = |(user, native_id): (&&str, &String)| {
            let known = known.iter().find(|person| person.native_id == *native_id && !person.name.is_empty());
            known.map_or_else(|| (*user).to_owned(), |person| person.name.clone())
        };
        Ok(first.iter().zip(&native_ids).map(name).collect())
    }
}
