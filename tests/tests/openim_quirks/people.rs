//! reference/openim.md §7.2 and §8.

use crate::rig::{ALL, Rig};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use stele_tests::standin::openim::Version;

fn page(number: i64, rows: i64) -> Value {
    json!({ "pagination": { "pageNumber": number, "showNumber": rows } })
}

#[tokio::test]
async fn lists_come_in_pages_that_begin_at_one() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    rig.standin.add_account("news", "News", 3);
    let ids = rig.data("/user/get_all_users_uid", &page(1, 10)).await?;
    ensure!(ids == json!({ "total": 5, "userIDs": ["imAdmin", "alice", "bob", "c_d", "news"] }), "{ids}");
    ensure!(rig.data("/user/get_all_users_uid", &page(2, 3)).await?["userIDs"] == json!(["c_d", "news"]), "the rest");
    ensure!(rig.data("/user/get_all_users_uid", &page(9, 3)).await?["userIDs"].is_null(), "nothing is null");
    // Only ordinary users.
    let users = rig.data("/user/get_users", &page(1, 10)).await?;
    ensure!(users["total"] == 3 && users["users"][0]["nickname"] == "ALICE", "{users}");
    for path in ["/user/get_all_users_uid", "/user/get_users", "/group/get_groups"] {
        for bad in [page(0, 10), page(1, 0), json!({})] {
            ensure!(rig.ask(path, &bad).await?["errCode"] == 1001, "{path} {bad}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn groups_come_newest_first_and_without_dismissed_ones() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    for group in ["h", "i"] {
        rig.standin.add_group(group, group, &["bob"]);
    }
    let groups = async || -> Result<Vec<Value>> {
        let listed = rig.data("/group/get_groups", &page(1, 10)).await?;
        let listed = listed["groups"].as_array().cloned().unwrap_or_default();
        Ok(listed.iter().map(|group| group["groupInfo"]["groupID"].clone()).collect())
    };
    ensure!(groups().await? == ["i", "h", "g"], "newest first");
    rig.standin.dismiss("h");
    ensure!(groups().await? == ["i", "g"], "not the dismissed one");
    let info = rig.data("/group/get_groups_info", &json!({ "groupIDs": ["h", "unknown"] })).await?;
    let info = info["groupInfos"].as_array().cloned().unwrap_or_default();
    ensure!(info.len() == 1 && info[0]["status"] == 2 && info[0]["memberCount"] == 1, "{info:?}");
    Ok(())
}

#[tokio::test]
async fn a_group_that_is_made_says_so_in_its_chat() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        let path = "/group/create_group";
        let with = |group: &str, kind: i64, members: Value| {
            json!({
                "ownerUserID": "alice", "memberUserIDs": members,
                "groupInfo": { "groupID": group, "groupName": "New", "groupType": kind },
            })
        };
        for (request, code) in [
            (with("new", 0, json!([])), 1001),
            (with("new", 2, json!(["alice"])), 1001),
            (with("new", 2, json!(["nobody"])), 1101),
            (with("g", 2, json!([])), 1202),
        ] {
            ensure!(rig.ask(path, &request).await?["errCode"] == code, "{request}");
        }
        let made = rig.data(path, &with("new", 2, json!(["bob"]))).await?;
        ensure!(made["groupInfo"]["memberCount"] == 2 && made["groupInfo"]["groupID"] == "new", "{made}");
        let row = rig.pulled("bob", "sg_new", (1, 9), 9).await?.remove(0);
        ensure!(row["contentType"] == 1501 && row["msgFrom"] == 200, "{row}");
        let (path, asked) = ("/group/get_full_group_member_user_ids", json!({ "groupID": "new" }));
        let members = rig.data(path, &asked).await?;
        ensure!(members["userIDs"] == json!(["alice", "bob"]), "{members}");
        ensure!(rig.with(&rig.standin.token("c_d"), path, &asked).await?["errCode"] == 1002, "no member");
    }
    Ok(())
}

#[tokio::test]
async fn users_are_registered_as_the_version_wants_it() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        let path = "/user/user_register";
        let body = json!({ "users": [{ "userID": "eve", "nickname": "Eve" }], "secret": "openIM123" });
        let bare = rig.raw(path, &[("operationID", "op")], &body.to_string()).await?.json()?;
        let by_user = rig.with(&rig.standin.token("bob"), path, &json!({ "users": [{ "userID": "x" }] })).await?;
        ensure!(by_user["errCode"] == 1002, "{version:?} {by_user}");
        match version {
            Version::V380 => ensure!(bare["errCode"] == 0, "{bare}"),
            _ => ensure!(bare["errCode"] == 1001 && rig.ask(path, &body).await?["errCode"] == 0, "{bare}"),
        }
        let known = rig.data("/user/get_users_info", &json!({ "userIDs": ["eve", "nobody"] })).await?;
        ensure!(known["usersInfo"].as_array().is_some_and(|users| users.len() == 1), "{known}");
        let bad = json!({ "users": [{ "userID": "a:b" }], "secret": "openIM123" });
        ensure!(rig.ask(path, &bad).await?["errCode"] == 1001, "{version:?}");
    }
    Ok(())
}
