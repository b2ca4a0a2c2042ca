//! People and groups as WeCom's API describes them.

use crate::ids::{self, Conversation};
use serde_json::{Value, json};
use stele_plugin_api::model::{Conversation as ConversationRow, ConversationKind, Person, PersonKind};

/// Members a nameless group is named after.
const NAMED_AFTER: usize = 3;
/// What stands between their names.
const BETWEEN_NAMES: &str = "、";

/// A text of an object; empty when it has none.
pub fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// The elements of a list; none when there is no list.
pub fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// The texts of a list, sorted, so that a position in it stays what it was.
pub fn texts(value: &Value, name: &str) -> Vec<String> {
    let mut texts: Vec<String> = list(value, name).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    texts.sort_unstable();
    texts
}

/// A person of this name; an empty one leaves what is known.
pub fn person(corp: &str, user: &str, kind: PersonKind, name: &str) -> Person {
    Person {
        native_id: ids::person(corp, user),
        kind: Some(kind),
        name: some(name).map(str::to_owned),
        ..Person::default()
    }
}

/// A member (`user/get`, `user/list`, `user/simplelist`). Most apps are shown no picture
/// (reference/wecom-archive.md §4.2).
pub fn member(corp: &str, user: &Value) -> Option<Person> {
    let userid = some(text(user, "userid"))?;
    let avatar = some(text(user, "avatar")).or_else(|| some(text(user, "thumb_avatar")));
    Some(Person { avatar: avatar.map(str::to_owned), ..person(corp, userid, PersonKind::Staff, text(user, "name")) })
}

/// A customer (`external_contact`). Its `type`, 1 for WeChat and 2 for WeCom, is an attribute: contract 000 shows it.
pub fn customer(corp: &str, contact: &Value) -> Option<Person> {
    let userid = some(text(contact, "external_userid"))?;
    let attributes = contact["type"].as_u64().map(|kind| match some(text(contact, "corp_name")) {
        Some(corp_name) => json!({"type": kind, "corp_name": corp_name}),
        None => json!({"type": kind}),
    });
    Some(Person {
        avatar: some(text(contact, "avatar")).map(str::to_owned),
        attributes: attributes.map(|attributes| attributes.to_string()),
        ..person(corp, userid, PersonKind::Customer, text(contact, "name"))
    })
}

/// A group with customers (`externalcontact/groupchat/get`), and its members as far as they have names.
pub fn group(corp: &str, chat: &Value) -> Option<(ConversationRow, Vec<Person>)> {
    let room = some(text(chat, "chat_id"))?;
    let members = list(chat, "member_list");
    let names: Vec<&str> = members.iter().map(|member| text(member, "name")).collect();
    let people = members.iter().filter_map(|member| {
        let kind = if member["type"] == 1 { PersonKind::Staff } else { PersonKind::Customer };
        let name = some(text(member, "name"))?;
        some(text(member, "userid")).map(|userid| person(corp, userid, kind, name))
    });
    let users: Vec<&str> = members.iter().filter_map(|member| some(text(member, "userid"))).collect();
    let row = group_row(corp, room, text(chat, "name"), &names, text(chat, "owner"), &users);
    Some((row, people.collect()))
}

/// A group's row; one without a name is named after its first members.
pub fn group_row(corp: &str, room: &str, name: &str, names: &[&str], owner: &str, members: &[&str]) -> ConversationRow {
    let title = some(name).map(str::to_owned).unwrap_or_else(|| {
        let first: Vec<&str> = names.iter().copied().filter(|name| !name.is_empty()).take(NAMED_AFTER).collect();
        first.join(BETWEEN_NAMES)
    });
    ConversationRow {
        native_id: Conversation::Group(room.to_owned()).native_id(corp),
        partition: corp.to_owned(),
        kind: Some(ConversationKind::Group),
        title: some(&title).map(str::to_owned),
        owner: some(owner).map(|owner| ids::person(corp, owner)),
        members: (!members.is_empty()).then(|| members.iter().map(|member| ids::person(corp, member)).collect()),
        attributes: None,
        ..ConversationRow::default()
    }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
