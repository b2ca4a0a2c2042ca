//! What each of WeCom's directory APIs answers (reference/wecom-archive.md §4).

use crate::corp::{Customer, Directory, Group, Member};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Which of a corp's two secrets a token was given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Archive,
    Application,
}

/// A request to an API.
pub(super) struct Question<'a> {
    pub path: &'a str,
    pub query: &'a HashMap<String, String>,
    pub body: &'a Value,
    /// Most rows of one answer, so that paging happens with few rows.
    pub page: usize,
}

/// The answer, or the errcode.
pub(super) fn answer(corp: &Directory, right: Right, question: &Question<'_>) -> Result<Value, i64> {
    let needed = if question.path.starts_with("/cgi-bin/msgaudit/") { Right::Archive } else { Right::Application };
    if right != needed {
        return Err(48_002); // the secret is of another application
    }
    let from_query = |name: &str| question.query.get(name).map(String::as_str).unwrap_or_default();
    let from_body = |name: &str| question.body[name].as_str().unwrap_or_default();
    match question.path.trim_start_matches("/cgi-bin/") {
        "user/list_id" => {
            let (rows, next) = page(&corp.staff, question, "cursor")?;
            let users: Vec<_> =
                rows.iter().map(|member| json!({ "userid": member.id, "department": member.department })).collect();
            Ok(json!({ "dept_user": users, "next_cursor": next }))
        }
        "user/get" => {
            let member = corp.staff.iter().find(|member| member.id == from_query("userid")).ok_or(60_111)?;
            Ok(json!({
                "userid": member.id, "name": member.name, "department": [member.department],
                "position": member.position, "status": 1, "avatar": member.avatar, "alias": member.alias,
            }))
        }
        "department/simplelist" => {
            let ids: Vec<_> = corp
                .departments
                .iter()
                .map(|department| json!({ "id": department.id, "parentid": department.parent, "order": department.id }))
                .collect();
            Ok(json!({ "department_id": ids }))
        }
        path @ ("user/simplelist" | "user/list") => {
            let department: u32 = from_query("department_id").parse().map_err(|_| 40_035)?;
            corp.departments.iter().find(|known| known.id == department).ok_or(60_003)?;
            // The first department is the root; with `fetch_child` it has everybody.
            let everybody = department == 1 && from_query("fetch_child") == "1";
            let members = corp.staff.iter().filter(|member| everybody || member.department == department);
            let full = path == "user/list";
            Ok(json!({ "userlist": members.map(|member| in_list(member, full)).collect::<Vec<_>>() }))
        }
        "externalcontact/get_follow_user_list" => {
            let followed =
                |member: &&Member| corp.customers.iter().any(|customer| customer.follow.contains(&member.id));
            let users: Vec<_> = corp.staff.iter().filter(followed).map(|member| &member.id).collect();
            Ok(json!({ "follow_user": users }))
        }
        "externalcontact/list" => {
            let userid = from_query("userid").to_owned();
            let contacts: Vec<_> =
                corp.customers.iter().filter(|known| known.follow.contains(&userid)).map(|known| &known.id).collect();
            if contacts.is_empty() { Err(84_061) } else { Ok(json!({ "external_userid": contacts })) }
        }
        "externalcontact/batch/get_by_user" => {
            let users = question.body["userid_list"].as_array().filter(|list| list.len() <= 100).ok_or(40_058)?;
            let limit = question.body["limit"].as_u64().unwrap_or(50);
            if limit > 100 {
                return Err(40_058);
            }
            let mut pairs = Vec::new();
            for user in users.iter().filter_map(Value::as_str) {
                pairs.extend(
                    corp.customers.iter().filter(|known| known.follow.iter().any(|id| id == user)).map(|c| (user, c)),
                );
            }
            let (rows, next) = page(&pairs, question, "cursor")?;
            let list: Vec<_> = rows
                .iter()
                .map(|(user, customer)| {
                    json!({ "external_contact": contact(customer), "follow_info": { "userid": user, "remark": "" } })
                })
                .collect();
            Ok(json!({ "external_contact_list": list, "next_cursor": next }))
        }
        "externalcontact/get" => {
            let customer =
                corp.customers.iter().find(|known| known.id == from_query("external_userid")).ok_or(84_061)?;
            let follow: Vec<_> = customer.follow.iter().map(|id| json!({ "userid": id, "remark": "" })).collect();
            Ok(json!({ "external_contact": contact(customer), "follow_user": follow }))
        }
        "externalcontact/groupchat/list" => {
            let limit = question.body["limit"].as_u64().ok_or(40_058)?;
            if !(1..=1000).contains(&limit) {
                return Err(40_058);
            }
            let groups: Vec<_> = corp.groups.iter().filter(|group| group.external).collect();
            let (rows, next) = page(&groups, question, "cursor")?;
            let list: Vec<_> = rows.iter().map(|group| json!({ "chat_id": group.id, "status": 0 })).collect();
            Ok(json!({ "group_chat_list": list, "next_cursor": next }))
        }
        "externalcontact/groupchat/get" => {
            let wanted = from_body("chat_id");
            let group = corp.groups.iter().find(|group| group.id == wanted && group.external).ok_or(49_008)?;
            Ok(json!({ "group_chat": external_group(corp, group, question.body["need_name"] == 1) }))
        }
        "msgaudit/groupchat/get" => {
            let wanted = from_body("roomid");
            let group = corp.groups.iter().find(|group| group.id == wanted).ok_or(301_059)?;
            if group.external {
                return Err(301_059);
            }
            let members: Vec<_> =
                group.members.iter().map(|id| json!({ "memberid": id, "jointime": group.created })).collect();
            Ok(json!({
                "roomname": group.name, "creator": group.owner, "room_create_time": group.created,
                "notice": group.notice, "members": members,
            }))
        }
        "msgaudit/get_permit_user_list" => {
            Ok(json!({ "ids": corp.staff.iter().map(|member| &member.id).collect::<Vec<_>>() }))
        }
        "msgaudit/get_robot_info" => {
            let robot = corp.robots.iter().find(|robot| robot.id == from_query("robot_id")).ok_or(301_061)?;
            Ok(json!({ "data": { "robot_id": robot.id, "name": robot.name, "creator_userid": robot.creator } }))
        }
        _ => Err(40_058),
    }
}

fn in_list(member: &Member, full: bool) -> Value {
    let mut row = json!({ "userid": member.id, "name": member.name, "department": [member.department] });
    if full {
        row["position"] = json!(member.position);
        row["status"] = json!(1);
        row["avatar"] = json!(member.avatar);
    }
    row
}

fn contact(customer: &Customer) -> Value {
    let mut contact = json!({
        "external_userid": customer.id, "name": customer.name, "type": customer.kind, "avatar": customer.avatar,
        "gender": 0,
    });
    if !customer.corp_name.is_empty() {
        contact["corp_name"] = json!(customer.corp_name);
        contact["corp_full_name"] = json!(customer.corp_name);
    }
    contact
}

fn external_group(corp: &Directory, group: &Group, names: bool) -> Value {
    let members: Vec<_> = group
        .members
        .iter()
        .map(|id| {
            let kind = if corp.is_external(id) { 2 } else { 1 };
            let mut row = json!({ "userid": id, "type": kind, "join_time": group.created, "join_scene": 1 });
            if names {
                row["name"] = json!(corp.name_of(id).unwrap_or_default());
            }
            row
        })
        .collect();
    json!({
        "chat_id": group.id, "name": group.name, "owner": group.owner, "create_time": group.created,
        "notice": group.notice, "member_list": members, "admin_list": [], "member_version": "1",
    })
}

/// The rows of this request and the cursor of the next one. Cursors are opaque to callers; a made-up one is refused.
fn page<'a, T>(rows: &'a [T], question: &Question<'_>, cursor: &str) -> Result<(&'a [T], String), i64> {
    let start = match question.body[cursor].as_str().unwrap_or_default() {
        "" => 0,
        text => {
            text.strip_prefix("next:").and_then(|text| text.parse().ok()).filter(|at| *at < rows.len()).ok_or(40_035)?
        }
    };
    let asked =
        question.body["limit"].as_u64().map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let end = rows.len().min(start.saturating_add(asked.min(question.page)));
    let next = if end < rows.len() { format!("next:{end}") } else { String::new() };
    Ok((&rows[start..end], next))
}
