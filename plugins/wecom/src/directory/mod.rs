//! `directory.pull`: names, pictures and groups, over WeCom's own API.
//!
//! WeCom spreads them over a dozen calls and two secrets (reference/wecom-archive.md §4), and whatever a corp's
//! administrator has not granted is refused. So a run is a walk through places ([`Place`]), one bounded step per pull, and a
//! refusal costs what it refuses: it is told in a notice, and the walk goes on. Only what concerns every call (network, too
//! many calls) ends a pull with an error; the walk then goes on where it stood.
//!
//! Without an app secret, names of members are asked for with the archive's, and customers stay ids.

mod client;
mod groups;
mod people;
mod place;
mod shape;
mod strays;
mod unreadable;

use crate::corp::Corp;
use client::{CallError, Client};
use place::Place;
use std::collections::HashSet;
use std::sync::Arc;
use stele_plugin_api::model::{Micros, Notice, Page};
use stele_plugin_api::ops::PullRequest;
use stele_plugin_api::{Error, Host};
use tokio::sync::Mutex;
use unreadable::Unreadable;

const DAY: Micros = 24 * 3_600 * 1_000_000;

/// The directory of one corp.
pub struct Directory {
    corp: Arc<Corp>,
    host: Host,
    client: Client,
    unreadable: Unreadable,
    /// Held by the pull that uses it: there is one at a time.
    memory: Mutex<Memory>,
}

/// Lists that a run walks along; fetched again when the plugin was restarted meanwhile.
#[derive(Default)]
struct Memory {
    departments: Option<Vec<String>>,
    archived: Option<Vec<String>>,
    followers: Option<Vec<String>>,
    /// Native ids of the groups and people this run has asked for one by one.
    asked: HashSet<String>,
}

/// What a step brings, and where the walk goes on; `None` is the end.
struct Step {
    page: Page,
    next: Option<Place>,
}

impl Step {
    fn to(next: Place) -> Self {
        Self { page: Page::default(), next: Some(next) }
    }

    /// Tells something, once.
    fn notice(&mut self, code: &str, message: String) {
        if !self.page.notices.iter().any(|notice| notice.message == message) {
            self.page.notices.push(Notice { code: code.to_owned(), message });
        }
    }
}

impl Directory {
    /// The directory of this corp, from the API at `base`.
    pub fn new(corp: Arc<Corp>, host: &Host, base: &str) -> Self {
        Self {
            client: Client::new(Arc::clone(&corp), host.clone(), base),
            unreadable: Unreadable::new(host.clone(), corp.id()),
            host: host.clone(),
            corp,
            memory: Mutex::default(),
        }
    }

    /// The next step of the walk.
    pub async fn pull(&self, request: &PullRequest, now: Micros) -> Result<Page, Error> {
        let mut memory = self.memory.lock().await;
        let step = match Place::read(request.cursor.as_ref())? {
            Place::Departments(at) => self.departments(&mut memory, at).await?,
            Place::Archived(at) => self.archived(&mut memory, at).await?,
            Place::Customers(at, token) => self.customers(&mut memory, at, &token).await?,
            Place::Groups(token) => self.groups(&mut memory, &token, now / DAY).await?,
            Place::Strays(at, done) => self.strays(&mut memory, at, done, now / DAY).await?,
        };
        let caught_up = step.next.is_none();
        let next = step.next.unwrap_or(Place::START);
        Ok(Page { cursor: Some(next.write()), caught_up, ..step.page })
    }

    /// The reply; `None` with a notice if WeCom refused this call; an error if no call works.
    fn or_notice<T>(&self, reply: Result<T, CallError>, what: &str, step: &mut Step) -> Result<Option<T>, Error> {
        match reply {
            Ok(reply) => Ok(Some(reply)),
            Err(CallError::Refused(refusal, right)) => {
                let reason = self.client.explain(&refusal, right);
                step.notice("directory-refused", format!("{what} of corp {}: {}", self.corp.id(), reason.message));
                Ok(None)
            }
            Err(CallError::Failed(error)) => Err(error),
        }
    }
}
