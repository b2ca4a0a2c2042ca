//! Members and customers.

use super::client::{CallError, Right};
use super::place::Place;
use super::shape::{list, text, texts};
use super::{Directory, Memory, Step, shape};
use crate::ids;
use serde_json::json;
use std::collections::HashSet;
use stele_plugin_api::Error;
use stele_plugin_api::model::{Person, PersonKind};
use stele_plugin_api::ops::{ByIds, PersonGetMany};

/// Departments of one step.
const DEPARTMENTS: usize = 10;
/// Members looked up one by one in one step.
const MEMBERS: usize = 50;
/// Members whose customers are asked for at once, and customers of one reply: the most WeCom allows.
const BATCH: usize = 100;
/// `errcode`s of a member that is there no more; others would meet every member alike.
const NO_SUCH_MEMBER: [i64; 2] = [60111, 40003];

impl Directory {
    pub(super) async fn departments(&self, memory: &mut Memory, at: usize) -> Result<Step, Error> {
        if at == 0 {
            *memory = Memory::default();
        }
        let mut step = Step::to(Place::Archived(0));
        if !self.client.has(Right::App) {
            let message = format!("corp {} has no app_secret: customers stay without names", self.corp.id());
            step.notice("no-app-secret", message);
            return Ok(step);
        }
        if memory.departments.is_none() {
            let reply = self.client.get(Right::App, "/cgi-bin/department/simplelist", &[]).await;
            let Some(reply) = self.or_notice(reply, "departments", &mut step)? else { return Ok(step) };
            let departments = list(&reply, "department_id").iter().filter_map(|department| department["id"].as_u64());
            let mut departments: Vec<u64> = departments.collect();
            departments.sort_unstable();
            memory.departments = Some(departments.iter().map(u64::to_string).collect());
        }
        let departments = memory.departments.as_deref().unwrap_or_default();
        for department in departments.iter().skip(at).take(DEPARTMENTS) {
            let query = [("department_id", department.as_str())];
            let mut reply = self.client.get(Right::App, "/cgi-bin/user/list", &query).await;
            if let Err(CallError::Refused(..)) = reply {
                reply = self.client.get(Right::App, "/cgi-bin/user/simplelist", &query).await;
            }
            if let Some(reply) = self.or_notice(reply, "members of a department", &mut step)? {
                let members = list(&reply, "userlist").iter().filter_map(|user| shape::member(self.corp.id(), user));
                step.page.people.extend(members);
            }
        }
        if at + DEPARTMENTS < departments.len() {
            step.next = Some(Place::Departments(at + DEPARTMENTS));
        }
        Ok(step)
    }

    pub(super) async fn archived(&self, memory: &mut Memory, at: usize) -> Result<Step, Error> {
        let mut step = Step::to(Place::Customers(0, String::new()));
        self.load_archived(memory, &mut step).await?;
        let archived = memory.archived.as_deref().unwrap_or_default();
        if at + MEMBERS < archived.len() {
            step.next = Some(Place::Archived(at + MEMBERS));
        }
        let members: Vec<&String> = archived.iter().skip(at).take(MEMBERS).collect();
        let named = self.named(members.iter().map(|user| ids::person(self.corp.id(), user)).collect()).await?;
        let mut may_ask = true;
        for user in members {
            if named.contains(&ids::person(self.corp.id(), user)) {
                continue;
            }
            let found = if may_ask { self.member(user, &mut step, &mut may_ask).await? } else { None };
            let nameless = || shape::person(self.corp.id(), user, PersonKind::Staff, "");
            step.page.people.push(found.unwrap_or_else(nameless));
        }
        Ok(step)
    }

    /// Fetches the list of members under archive, unless it is there.
    pub(super) async fn load_archived(&self, memory: &mut Memory, step: &mut Step) -> Result<(), Error> {
        if memory.archived.is_some() || !self.client.has(Right::Archive) {
            return Ok(());
        }
        let reply = self.client.post(Right::Archive, "/cgi-bin/msgaudit/get_permit_user_list", &json!({})).await;
        let reply = self.or_notice(reply, "members under archive", step)?;
        memory.archived = Some(reply.map(|reply| texts(&reply, "ids")).unwrap_or_default());
        Ok(())
    }

    /// One member by id. A refusal that would meet every other one as well ends the asking.
    pub(super) async fn member(
        &self,
        user: &str,
        step: &mut Step,
        may_ask: &mut bool,
    ) -> Result<Option<Person>, Error> {
        let right = if self.client.has(Right::App) { Right::App } else { Right::Archive };
        let reply = self.client.get(right, "/cgi-bin/user/get", &[("userid", user)]).await;
        if let Err(CallError::Refused(refusal, _)) = &reply {
            *may_ask = NO_SUCH_MEMBER.contains(&refusal.code);
        }
        let reply = self.or_notice(reply, "members", step)?;
        Ok(reply.and_then(|reply| shape::member(self.corp.id(), &reply)))
    }

    pub(super) async fn customers(&self, memory: &mut Memory, at: usize, token: &str) -> Result<Step, Error> {
        let mut step = Step::to(Place::Groups(String::new()));
        if !self.client.has(Right::App) {
            return Ok(step);
        }
        if memory.followers.is_none() {
            let reply = self.client.get(Right::App, "/cgi-bin/externalcontact/get_follow_user_list", &[]).await;
            let reply = self.or_notice(reply, "members with customers", &mut step)?;
            memory.followers = Some(reply.map(|reply| texts(&reply, "follow_user")).unwrap_or_default());
        }
        let followers = memory.followers.as_deref().unwrap_or_default();
        let batch: Vec<&String> = followers.iter().skip(at).take(BATCH).collect();
        if batch.is_empty() {
            return Ok(step);
        }
        let body = json!({"userid_list": batch, "cursor": token, "limit": BATCH});
        let reply = self.client.post(Right::App, "/cgi-bin/externalcontact/batch/get_by_user", &body).await;
        let reply = self.or_notice(reply, "customers", &mut step)?.unwrap_or_default();
        let contacts = list(&reply, "external_contact_list").iter().map(|contact| &contact["external_contact"]);
        step.page.people.extend(contacts.filter_map(|contact| shape::customer(self.corp.id(), contact)));
        match text(&reply, "next_cursor") {
            // One that does not move would walk in a circle.
            next if !next.is_empty() && next != token => step.next = Some(Place::Customers(at, next.to_owned())),
            _ if at + BATCH < followers.len() => step.next = Some(Place::Customers(at + BATCH, String::new())),
            _ => {}
        }
        Ok(step)
    }

    /// Which of these people the archive has a name of.
    async fn named(&self, native_ids: Vec<String>) -> Result<HashSet<String>, Error> {
        if native_ids.is_empty() {
            return Ok(HashSet::new());
        }
        let known = self.host.call::<PersonGetMany>(ByIds { native_ids }).await?;
        Ok(known.people.into_iter().filter(|person| !person.name.is_empty()).map(|person| person.native_id).collect())
    }
}
