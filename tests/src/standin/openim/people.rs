//! Users and groups (reference/openim.md §7.2, §8).

use super::{
    Held, Version, hook,
    store::{Group, Say, User},
    wire::{Answer, Question, Refused, field, list, page},
    write,
};
use serde_json::{Value, json};

/// The only type of group that can be made.
const WORKING: i32 = 2;

/// A user, or the error that there is none.
pub(super) fn known<'a>(state: &'a Held, user: &str) -> Result<&'a User, Refused> {
    state.store.users.get(user).ok_or_else(|| Refused::not_found(&format!("user {user} not found")))
}

fn user_of(id: &str, user: &User) -> Value {
    json!({
        "userID": id, "nickname": user.nickname, "faceURL": user.face_url, "ex": "", "createTime": user.created,
        "appMangerLevel": user.level, "globalRecvMsgOpt": 0,
    })
}

fn group_of(state: &Held, id: &str, group: &Group) -> Value {
    json!({
        "groupID": id, "groupName": group.name, "notification": "", "introduction": "", "faceURL": group.face_url,
        "ownerUserID": group.owner, "createTime": group.created, "memberCount": group.members.len(), "ex": "",
        "status": if group.dismissed { 2 } else { 0 }, "creatorUserID": group.owner, "groupType": WORKING,
        "needVerification": 0, "lookMemberInfo": 0, "applyMemberFriend": 0, "notificationUpdateTime": 0,
        "notificationUserID": state.switches.admins.first(),
    })
}

pub(super) fn register(state: &mut Held, question: &Question<'_>) -> Answer {
    let users: Vec<Value> = field(&question.body, "users")?;
    if users.is_empty() {
        return Err(Refused::args("users is empty"));
    }
    match question.version {
        Version::V380 if field::<String>(&question.body, "secret")? != state.switches.secret => {
            return Err(Refused::permission("secret invalid"));
        }
        Version::V380 => {}
        _ => question.caller.admin("not an admin")?,
    }
    let mut new = Vec::new();
    for user in &users {
        let id: String = field(user, "userID")?;
        if id.is_empty() || id.contains(':') {
            return Err(Refused::args("userID is empty or contains ':'"));
        }
        if state.store.users.contains_key(&id) {
            return Err(Refused::new(1102, "RegisteredAlreadyError", "userID registered already"));
        }
        let created = i64::try_from(state.store.make()).unwrap_or_default();
        let (nickname, face_url) = (field(user, "nickname")?, field(user, "faceURL")?);
        new.push((id, User { nickname, face_url, level: field(user, "appMangerLevel")?, created }));
    }
    state.store.users.extend(new);
    Ok(Value::Null)
}

/// Ordinary users.
pub(super) fn users(state: &mut Held, question: &Question<'_>) -> Answer {
    let (first, rows) = page(&question.body)?;
    let store = &state.store;
    let all: Vec<_> = store.users_in_order().into_iter().filter(|id| store.users[*id].level == 0).collect();
    let shown = all.iter().skip(first).take(rows).map(|id| user_of(id, &store.users[*id])).collect();
    Ok(json!({ "total": all.len(), "users": list(shown) }))
}

pub(super) fn users_info(state: &mut Held, question: &Question<'_>) -> Answer {
    let ids: Vec<String> = field(&question.body, "userIDs")?;
    let found = ids.iter().filter_map(|id| Some(user_of(id, state.store.users.get(id)?)));
    Ok(json!({ "usersInfo": list(found.collect()) }))
}

/// Everybody, admins and notification accounts, too.
pub(super) fn user_ids(state: &mut Held, question: &Question<'_>) -> Answer {
    let (first, rows) = page(&question.body)?;
    let all = state.store.users_in_order();
    let shown = all.iter().skip(first).take(rows).map(|id| json!(id)).collect();
    Ok(json!({ "total": all.len(), "userIDs": list(shown) }))
}

pub(super) fn create_group(state: &mut Held, question: &Question<'_>) -> Answer {
    let info: Value = field(&question.body, "groupInfo")?;
    if field::<i32>(&info, "groupType")? != WORKING {
        return Err(Refused::args("group type only supports 2"));
    }
    let owner: String = field(&question.body, "ownerUserID")?;
    if owner.is_empty() {
        return Err(Refused::args("no group owner"));
    }
    question.caller.access(&owner)?;
    let mut members = vec![owner.clone()];
    for name in ["adminUserIDs", "memberUserIDs"] {
        members.extend(field::<Vec<String>>(&question.body, name)?);
    }
    for (place, member) in members.iter().enumerate() {
        if members[..place].contains(member) {
            return Err(Refused::args("group member repeated"));
        }
        if !state.store.users.contains_key(member) {
            return Err(Refused::new(1101, "UserIDNotFoundError", "user not found"));
        }
    }
    let created = i64::try_from(state.store.make()).unwrap_or_default();
    let id = match field::<String>(&info, "groupID")? {
        id if id.is_empty() => format!("{}", 1_000_000_000 + created),
        id if state.store.groups.contains_key(&id) => {
            return Err(Refused::new(1202, "GroupIDExisted", "group id existed"));
        }
        id => id,
    };
    let (name, face_url) = (field(&info, "groupName")?, field(&info, "faceURL")?);
    let group = Group { name, face_url, owner: owner.clone(), members, dismissed: false, created };
    let answer = group_of(state, &id, &group);
    state.store.groups.insert(id.clone(), group);
    let detail = json!({ "group": answer, "opUser": { "userID": owner } });
    notice(state, question, &id, &owner, 1501, &detail);
    state.news.push(hook::of_group("callbackAfterCreateGroupCommand", answer.clone()));
    Ok(json!({ "groupInfo": answer }))
}

/// What is said in a group about it.
fn notice(state: &mut Held, question: &Question<'_>, group: &str, from: &str, content_type: i32, detail: &Value) {
    let said = Say { from: from.to_owned(), group: group.to_owned(), session: 3, ..Say::notice(content_type, detail) };
    let row = state.store.row(said);
    write::accept(state, question.version, row, question.operation);
}

/// The newest group first; not those that were dismissed.
pub(super) fn groups(state: &mut Held, question: &Question<'_>) -> Answer {
    let (first, rows) = page(&question.body)?;
    let (id, name): (String, String) = (field(&question.body, "groupID")?, field(&question.body, "groupName")?);
    let mut all: Vec<_> = state.store.groups.iter().collect();
    match id.as_str() {
        "" => all.retain(|(_, group)| !group.dismissed && group.name.contains(&name)),
        id => all.retain(|(is, _)| *is == id),
    }
    all.sort_by_key(|(_, group)| std::cmp::Reverse(group.created));
    let shown = all.iter().skip(first).take(rows).map(|(id, group)| {
        let owner = state.store.users.get(&group.owner).map_or("", |user| &user.nickname);
        json!({
            "groupInfo": group_of(state, id, group), "groupOwnerUserName": owner, "groupOwnerUserID": group.owner,
        })
    });
    Ok(json!({ "total": all.len(), "groups": list(shown.collect()) }))
}

pub(super) fn groups_info(state: &mut Held, question: &Question<'_>) -> Answer {
    let ids: Vec<String> = field(&question.body, "groupIDs")?;
    if ids.is_empty() {
        return Err(Refused::args("groupID is empty"));
    }
    let found = ids.iter().filter_map(|id| Some(group_of(state, id, state.store.groups.get(id)?)));
    Ok(json!({ "groupInfos": list(found.collect()) }))
}

fn group_named(state: &Held, question: &Question<'_>) -> Result<(String, Group), Refused> {
    let id: String = field(&question.body, "groupID")?;
    let group = state.store.groups.get(&id).cloned().ok_or_else(|| Refused::not_found("group not found"))?;
    Ok((id, group))
}

pub(super) fn members(state: &mut Held, question: &Question<'_>) -> Answer {
    let (_, group) = group_named(state, question)?;
    if !question.caller.is_admin && !group.members.contains(&question.caller.user) {
        return Err(Refused::permission("not a member"));
    }
    let ids: Vec<_> = group.members.into_iter().map(Value::from).collect();
    Ok(json!({ "version": 1, "versionID": "0123456789abcdef01234567", "equal": ids.is_empty(), "userIDs": list(ids) }))
}

pub(super) fn quit(state: &mut Held, question: &Question<'_>) -> Answer {
    let (id, group) = group_named(state, question)?;
    let user: String = field(&question.body, "userID")?;
    let user = if user.is_empty() { question.caller.user.clone() } else { user };
    question.caller.access(&user)?;
    if group.owner == user {
        return Err(Refused::permission("group owner can't quit"));
    }
    state.store.leave(&id, &user);
    notice(state, question, &id, &user, 1504, &json!({ "quitUser": { "userID": user } }));
    let told = json!({ "groupID": id, "userID": user });
    state.news.push(hook::of_group("callbackAfterQuitGroupCommand", told));
    Ok(Value::Null)
}

pub(super) fn kick(state: &mut Held, question: &Question<'_>) -> Answer {
    let (id, group) = group_named(state, question)?;
    question.caller.access(&group.owner)?;
    let users: Vec<String> = field(&question.body, "kickedUserIDs")?;
    if users.is_empty() || users.contains(&group.owner) {
        return Err(Refused::args("KickedUserIDs empty, or the owner"));
    }
    users.iter().for_each(|user| state.store.leave(&id, user));
    let detail = json!({ "kickedUserList": users.iter().map(|user| json!({ "userID": user })).collect::<Vec<_>>() });
    notice(state, question, &id, &group.owner, 1508, &detail);
    let told = json!({ "groupID": id, "kickedUserIDs": users, "reason": "" });
    state.news.push(hook::of_group("callbackAfterKickGroupCommand", told));
    Ok(Value::Null)
}
