//! Notices of what became of friends and groups, as a sentence: who, what, whom, and where.

use serde_json::Value;

/// Who did it, the first of these that is there.
const ACTORS: [&str; 6] = ["opUser", "quitUser", "entrantUser", "groupOwnerUser", "oldGroupOwnerInfo", "applicant"];
/// Whom it was done to: people, or lists of them.
const OTHERS: [&str; 8] = [
    "invitedUserList",
    "kickedUserList",
    "joinedUserList",
    "memberList",
    "mutedUser",
    "changedUser",
    "newGroupOwner",
    "friend",
];
/// What else was said.
const SAID: [&str; 3] = ["handleMsg", "reqMsg", "remark"];

/// What happened, by `contentType`.
const VERBS: [(i32, &str); 38] = [
    (1201, "accepted a friend request"),
    (1202, "rejected a friend request"),
    (1203, "asked to be friends"),
    (1204, "became friends"),
    (1205, "ended a friendship"),
    (1206, "set a remark"),
    (1207, "blocked"),
    (1208, "unblocked"),
    (1209, "changed what friends see"),
    (1210, "changed what friends see"),
    (1300, "changed a conversation"),
    (1303, "changed their profile"),
    (1501, "created the group"),
    (1502, "changed the group"),
    (1503, "asked to join the group"),
    (1504, "left the group"),
    (1505, "accepted an application"),
    (1506, "rejected an application"),
    (1507, "handed the group over to"),
    (1508, "removed"),
    (1509, "invited"),
    (1510, "joined the group"),
    (1511, "dismissed the group"),
    (1512, "muted"),
    (1513, "unmuted"),
    (1514, "muted the group"),
    (1515, "unmuted the group"),
    (1516, "changed a member"),
    (1517, "made an admin"),
    (1518, "made an ordinary member"),
    (1519, "announced"),
    (1520, "renamed the group"),
    (1650, "changed a super group"),
    (1651, "changed a super group"),
    (1701, "switched private chat"),
    (1702, "changed what is unread"),
    (1703, "cleared a conversation"),
    (1704, "deleted conversations"),
];

/// The sentence of a notice; `None` where nobody is named in the places for it.
pub fn sentence(content_type: i32, detail: &Value) -> Option<String> {
    let (_, verb) = VERBS.iter().find(|(known, _)| *known == content_type)?;
    let actor =
        ACTORS.iter().find_map(|name| called(&detail[name])).or_else(|| id(&detail["fromToUserID"]["fromUserID"]));
    let mut others: Vec<_> = OTHERS.iter().flat_map(|name| people(&detail[name])).collect();
    others.extend(id(&detail["fromToUserID"]["toUserID"]));
    // Who creates a group is one of its members.
    others.retain(|other| actor.as_ref() != Some(other));
    let group = id(&detail["group"]["groupName"]);
    if actor.is_none() && others.is_empty() && group.is_none() {
        return None;
    }
    let mut said: Vec<_> = SAID.iter().filter_map(|name| id(&detail[name])).collect();
    if content_type == 1519 {
        said.extend(id(&detail["group"]["notification"]));
    }
    let mut parts: Vec<_> = actor.into_iter().chain([(*verb).to_owned()]).collect();
    if !others.is_empty() {
        parts.push(others.join(", "));
    }
    parts.extend(group.map(|group| format!("({group})")));
    let sentence = parts.join(" ");
    Some(if said.is_empty() { sentence } else { format!("{sentence}: {}", said.join(", ")) })
}

/// What the people of a list, or the one person, are called.
fn people(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().filter_map(called).collect(),
        one => called(one).into_iter().collect(),
    }
}

/// What a person is called, or else their id.
fn called(person: &Value) -> Option<String> {
    id(&person["nickname"]).or_else(|| id(&person["userID"]))
}

fn id(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}
