//! What the upstream is asked for (reference/openim.md §7.1 and §7.2).
//!
//! A list that is empty may be there, be null, or be missing, whichever version it is.

use super::client::{CallError, Client};
use super::entry::Entry;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Groups of one answer.
pub const GROUPS: usize = 100;
/// People of one answer. What is read of them is part of the cursor.
pub const USERS: usize = 50;
/// Conversations whose last numbers are asked for at once.
pub const CONVERSATIONS: usize = 500;

/// `appMangerLevel` of an admin.
const ADMIN: i32 = 2;

/// A group in the listing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Group {
    #[serde(rename = "groupInfo", deserialize_with = "lenient")]
    pub info: GroupInfo,
    #[serde(rename = "groupOwnerUserID", deserialize_with = "lenient")]
    owner: String,
}

/// What is said of a group.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GroupInfo {
    #[serde(rename = "groupID", deserialize_with = "lenient")]
    pub group_id: String,
    #[serde(rename = "groupName", deserialize_with = "lenient")]
    pub name: String,
    #[serde(rename = "ownerUserID", deserialize_with = "lenient")]
    owner: String,
    #[serde(rename = "faceURL", deserialize_with = "lenient")]
    pub face_url: String,
    #[serde(rename = "memberCount", deserialize_with = "lenient")]
    pub member_count: u32,
    #[serde(rename = "groupType", deserialize_with = "lenient")]
    pub group_type: i32,
}

impl Group {
    /// Whose it is, where anybody's.
    pub fn owner(&self) -> Option<&str> {
        [&self.owner, &self.info.owner].into_iter().map(String::as_str).find(|owner| !owner.is_empty())
    }
}

/// A person in the listing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct User {
    #[serde(rename = "userID", deserialize_with = "lenient")]
    pub user_id: String,
    #[serde(deserialize_with = "lenient")]
    pub nickname: String,
    #[serde(rename = "faceURL", deserialize_with = "lenient")]
    pub face_url: String,
    #[serde(rename = "appMangerLevel", deserialize_with = "lenient")]
    level: i32,
}

/// A message a search found: its chatLog, and whether it was taken back.
pub struct Found {
    pub chat_log: Box<RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Groups {
    #[serde(deserialize_with = "or_default")]
    groups: Vec<Lenient<Group>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Users {
    #[serde(deserialize_with = "or_default", alias = "usersInfo")]
    users: Vec<Lenient<User>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UserIds {
    #[serde(rename = "userIDs", deserialize_with = "or_default")]
    ids: Vec<Lenient<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MaxSeqs {
    #[serde(rename = "maxSeqs", deserialize_with = "or_default")]
    seqs: BTreeMap<String, i64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Seqs {
    #[serde(deserialize_with = "or_default")]
    seqs: BTreeMap<String, Option<Seq>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Seq {
    #[serde(rename = "maxSeq")]
    max: i64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Pulled {
    #[serde(deserialize_with = "or_default")]
    msgs: BTreeMap<String, Option<Messages>>,
    #[serde(deserialize_with = "or_default")]
    notification_msgs: BTreeMap<String, Option<Messages>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Messages {
    #[serde(rename = "Msgs", deserialize_with = "or_default")]
    elements: Vec<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Searched {
    #[serde(deserialize_with = "or_default")]
    chat_logs: Vec<Box<RawValue>>,
}

/// `null` is what is not there.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What has not the shape it should have is the default: one odd record hides no others.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// Those of the ids that are some.
fn known(ids: Vec<Lenient<String>>) -> Vec<String> {
    ids.into_iter().map(|Lenient(id)| id).filter(|id| !id.is_empty()).collect()
}

/// The same of an element of a list.
#[derive(Default, Deserialize)]
#[serde(bound = "T: DeserializeOwned + Default", transparent)]
struct Lenient<T>(#[serde(deserialize_with = "lenient")] T);

fn page(number: u32, rows: usize) -> Value {
    json!({ "pageNumber": number, "showNumber": rows })
}

impl Client {
    /// Whether it can be asked for what it has, and lets us: if not, what a single conversation answers is not its own affair.
    pub async fn works(&self) -> Result<(), CallError> {
        let body = json!({ "pagination": page(1, 1) });
        self.call::<UserIds>("/user/get_all_users_uid", &body).await.map(drop)
    }

    /// A page of the groups, the first being 1, and whether more follow. Dismissed ones are not among them.
    pub async fn groups(&self, number: u32) -> Result<(Vec<Group>, bool), CallError> {
        let body = json!({ "pagination": page(number, GROUPS), "groupName": "", "groupID": "" });
        let groups = self.call::<Groups>("/group/get_groups", &body).await?.groups;
        let more = groups.len() >= GROUPS;
        Ok((groups.into_iter().map(|Lenient(group)| group).collect(), more))
    }

    /// A page of the ids of all people, and whether more follow.
    pub async fn user_ids(&self, number: u32) -> Result<(Vec<String>, bool), CallError> {
        let body = json!({ "pagination": page(number, USERS) });
        let ids = self.call::<UserIds>("/user/get_all_users_uid", &body).await?.ids;
        let more = ids.len() >= USERS;
        Ok((known(ids), more))
    }

    /// A page of the people, and whether more follow.
    pub async fn users(&self, number: u32, rows: usize) -> Result<(Vec<User>, bool), CallError> {
        let body = json!({ "pagination": page(number, rows), "userID": "", "nickName": "" });
        let users = self.call::<Users>("/user/get_users", &body).await?.users;
        let more = users.len() >= rows;
        Ok((users.into_iter().map(|Lenient(user)| user).collect(), more))
    }

    /// Who of these is an admin by the upstream's own records. It does not say whom else its configuration makes one.
    pub async fn admins_among(&self, people: &[String]) -> Result<Vec<String>, CallError> {
        let told = match self.call::<Users>("/user/get_users_info", &json!({ "userIDs": people })).await {
            Err(CallError::Refused(..)) => Users::default(),
            told => told?,
        };
        let admins = told.users.into_iter().filter(|Lenient(user)| user.level == ADMIN);
        Ok(admins.map(|Lenient(user)| user.user_id).filter(|id| !id.is_empty()).collect())
    }

    /// The conversations somebody has, notices included, and the last number of each.
    pub async fn conversations(&self, user: &str) -> Result<BTreeMap<String, i64>, CallError> {
        Ok(self.call::<MaxSeqs>("/msg/newest_seq", &json!({ "userID": user })).await?.seqs)
    }

    /// The last numbers of these conversations, whoever is in them; those of nobody's are left out, or 0.
    pub async fn last_seqs(&self, conversations: &[String]) -> Result<BTreeMap<String, i64>, CallError> {
        let mut seqs = BTreeMap::new();
        for conversations in conversations.chunks(CONVERSATIONS) {
            // Of somebody who left a group it would be told up to where they may read it.
            let body = json!({ "userID": self.admin(), "conversationIDs": conversations, "returnPinned": false });
            let told = self.call::<Seqs>("/msg/get_conversations_has_read_and_max_seq", &body).await?.seqs;
            seqs.extend(told.into_iter().filter_map(|(conversation, seq)| Some((conversation, seq?.max))));
        }
        Ok(seqs)
    }

    /// Ids of the members of a group.
    pub async fn members(&self, group: &str) -> Result<Vec<String>, CallError> {
        let body = json!({ "groupID": group, "idHash": 0 });
        Ok(known(self.call::<UserIds>("/group/get_full_group_member_user_ids", &body).await?.ids))
    }

    /// What a conversation has from one number to another, as somebody sees it; nothing where they do not. Not more of it than
    /// `most`, and then the last ones. What has no number of these is left out.
    pub async fn pull(
        &self,
        reader: &str,
        conversation: &str,
        (begin, end): (i64, i64),
        most: i64,
    ) -> Result<BTreeMap<i64, Entry>, CallError> {
        let range = json!({ "conversationID": conversation, "begin": begin, "end": end, "num": most });
        let body = json!({ "userID": reader, "order": 0, "seqRanges": [range] });
        let mut pulled = self.call::<Pulled>("/msg/pull_msg_by_seq", &body).await?;
        let found =
            [&mut pulled.msgs, &mut pulled.notification_msgs].into_iter().find_map(|of| of.remove(conversation));
        let elements = found.flatten().unwrap_or_default().elements;
        let entries = elements.into_iter().filter_map(Entry::of);
        Ok(entries.filter(|entry| (begin..=end).contains(&entry.seq)).map(|entry| (entry.seq, entry)).collect())
    }

    /// A page of what a search finds, and whether more follow; 3.8.0 has no object around each message.
    pub async fn search(&self, filter: &Value, number: u32, rows: u32) -> Result<(Vec<Found>, bool), CallError> {
        #[derive(Deserialize)]
        struct Wrapped {
            #[serde(rename = "chatLog")]
            chat_log: Box<RawValue>,
        }
        let mut body = filter.clone();
        body["pagination"] = page(number, rows as usize);
        let logs = self.call::<Searched>("/msg/search_msg", &body).await?.chat_logs;
        let more = logs.len() >= rows as usize;
        let found = logs.into_iter().map(|row| match serde_json::from_str::<Wrapped>(row.get()) {
            Ok(wrapped) => Found { chat_log: wrapped.chat_log },
            Err(_) => Found { chat_log: row },
        });
        Ok((found.collect(), more))
    }
}
