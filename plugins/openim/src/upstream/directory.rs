//! `directory.pull`: who is who, and what groups are called. Messages do not say it.

use super::Upstream;
use crate::ids;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use stele_plugin_api::Error;
use stele_plugin_api::model::{Conversation, Page, Person, PersonKind};
use stele_plugin_api::ops::PullRequest;

/// People of one answer.
const USERS: usize = 500;

/// What is asked for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    /// This page of the people.
    People(u32),
    /// This page of the groups.
    Groups(u32),
}

impl Place {
    /// The place of a cursor; from one that cannot be read it begins anew.
    fn read(cursor: Option<&Bytes>) -> Self {
        cursor.and_then(|cursor| serde_json::from_slice(cursor).ok()).unwrap_or(Self::People(1))
    }

    fn write(self) -> Bytes {
        serde_json::to_vec(&self).expect("plain values can be written").into()
    }
}

impl Upstream {
    /// The next page of people and groups.
    ///
    /// # Errors
    ///
    /// As [`pull`](Self::pull) has them.
    pub async fn directory(&self, request: &PullRequest) -> Result<Page, Error> {
        let mut page = Page::default();
        let next = match Place::read(request.cursor.as_ref()) {
            Place::People(number) => {
                let (users, more) = self.client.users(number, USERS).await?;
                let known = users.into_iter().filter(|user| !user.user_id.is_empty());
                page.people.extend(known.map(|user| Person {
                    native_id: user.user_id,
                    kind: Some(PersonKind::User),
                    name: Some(user.nickname),
                    avatar: Some(user.face_url),
                    attributes: None,
                }));
                Some(if more { Place::People(number + 1) } else { Place::Groups(1) })
            }
            Place::Groups(number) => {
                let (groups, more) = self.client.groups(number).await?;
                let known = groups.into_iter().filter(|group| !group.info.group_id.is_empty());
                page.conversations.extend(known.map(|group| {
                    Conversation {
                        title: Some(group.info.name.clone()),
                        owner: group.owner().map(str::to_owned),
                        attributes: Some(
                            json!({
                                "groupType": group.info.group_type,
                                "faceURL": group.info.face_url,
                                "memberCount": group.info.member_count,
                            })
                            .to_string(),
                        ),
                        ..ids::described(&ids::group(&group.info.group_id))
                    }
                }));
                more.then_some(Place::Groups(number + 1))
            }
        };
        page.caught_up = next.is_none();
        page.cursor = Some(next.unwrap_or(Place::People(1)).write());
        Ok(page)
    }
}
