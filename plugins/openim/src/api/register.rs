//! Who and what is known: `/user/user_register` and `/group/create_group` (reference/openim.md §8).

use super::send::id;
use super::{Api, Call};
use crate::answer::{self, Failure};
use crate::ids;
use serde_json::json;
use std::collections::BTreeSet;
use stele_plugin_api::model::{Conversation, Page, Person, PersonKind};
use stele_plugin_api::ops::{
    ArchiveAppend, ById, ByIds, ConversationGet, HttpReply, MAX_IDS, PersonGetMany, PersonView,
};
use uuid::Uuid;

/// The only `groupType` of new groups.
const WORKING_GROUP: i32 = 2;

impl Api {
    /// `POST /user/user_register`.
    pub(super) async fn user_register(&self, call: Call<'_>) -> Result<HttpReply, Failure> {
        let users = call.fields.objects("users")?;
        if users.is_empty() {
            return Err(call.fields.wrong("users", "is empty"));
        }
        let (mut people, mut known) = (Vec::with_capacity(users.len()), BTreeSet::new());
        for user in &users {
            let user_id = id(user, "userID")?;
            if user_id.contains(':') {
                return Err(user.wrong("userID", "contains ':'"));
            }
            if !known.insert(user_id.clone()) {
                return Err(user.wrong("userID", "is repeated"));
            }
            people.push(Person {
                native_id: user_id,
                kind: Some(PersonKind::User),
                name: Some(user.text("nickname")?),
                avatar: Some(user.text("faceURL")?),
                attributes: Some(json!({ "registered": true }).to_string()),
            });
        }
        let _alone = self.registering.lock().await;
        for people in people.chunks(MAX_IDS) {
            let native_ids = people.iter().map(|person| person.native_id.clone()).collect();
            let known = self.call::<PersonGetMany>(ByIds { native_ids }).await?.people;
            if let Some(person) = known.iter().find(|person| is_registered(person)) {
                return Err(Failure::registered_already(format!("userID {} registered already", person.native_id)));
            }
        }
        self.call::<ArchiveAppend>(Page { people, ..Page::default() }).await?;
        Ok(answer::done())
    }

    /// `POST /group/create_group`.
    pub(super) async fn create_group(&self, call: Call<'_>) -> Result<HttpReply, Failure> {
        let (fields, info) = (&call.fields, call.fields.object("groupInfo")?);
        let group_type: i32 = info.number("groupType")?;
        if group_type != WORKING_GROUP {
            return Err(info.wrong("groupType", &format!("only supports {WORKING_GROUP}")));
        }
        let owner = id(fields, "ownerUserID")?;
        let mut members = vec![owner.clone()];
        members.extend(fields.texts("adminUserIDs")?);
        members.extend(fields.texts("memberUserIDs")?);
        let count = members.len();
        if members.iter().collect::<BTreeSet<_>>().len() < count || members.iter().any(String::is_empty) {
            return Err(Failure::args("group member repeated, or without an id"));
        }
        // As a real server names them, but of so many that none is named twice.
        let made_up = || (Uuid::new_v4().as_u128() as u64).to_string();
        let group_id = if info.text("groupID")?.is_empty() { made_up() } else { id(&info, "groupID")? };
        let (name, face_url, ex) = (info.text("groupName")?, info.text("faceURL")?, info.text("ex")?);
        let (notification, introduction) = (info.text("notification")?, info.text("introduction")?);
        let native_id = ids::group(&group_id);
        let attributes = json!({ "groupType": group_type, "faceURL": face_url, "memberCount": count });
        let conversation = Conversation {
            title: Some(name.clone()),
            owner: Some(owner.clone()),
            members: Some(members),
            attributes: Some(attributes.to_string()),
            ..ids::described(&native_id)
        };
        let _alone = self.registering.lock().await;
        let known = self.call::<ConversationGet>(ById { native_id }).await?;
        // One without an owner is known by its messages only.
        if known.is_some_and(|known| !known.owner.is_empty()) {
            return Err(Failure::group_existed(format!("group id existed {group_id}")));
        }
        self.call::<ArchiveAppend>(Page { conversations: vec![conversation], ..Page::default() }).await?;
        let created = json!({
            "groupID": group_id, "groupName": name, "notification": notification, "introduction": introduction,
            "faceURL": face_url, "ownerUserID": owner, "createTime": self.now().div_euclid(1000), "memberCount": count, "ex": ex,
            "status": 0, "creatorUserID": owner, "groupType": group_type, "needVerification": 0, "lookMemberInfo": 0,
            "applyMemberFriend": 0, "notificationUpdateTime": 0, "notificationUserID": "",
        });
        Ok(answer::data(&json!({ "groupInfo": created })))
    }
}

/// Whether somebody was told of, here or by an upstream; others are known by their messages only.
fn is_registered(person: &PersonView) -> bool {
    person.attributes.is_some() || !person.name.is_empty() || !person.avatar.is_empty()
}
