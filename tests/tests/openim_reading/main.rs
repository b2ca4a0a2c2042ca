//! The openim plugin against an OpenIM and what is peculiar about it, one by one (reference/openim.md §7 and §12): the plugin
//! itself, its requests sent as they are, and an archive that fits into a test. `openim_upstream.rs` does the same with the daemon.

mod failures;
mod missing;
mod revokes;
mod rig;
mod tokens;
mod webhooks;

use anyhow::{Result, ensure};
use rig::{Rig, VERSIONS};
use serde_json::json;
use stele_plugin_api::{ErrorCode, Plugin};
use stele_tests::standin::{
    Reply,
    openim::{OpenimStandin, Say},
};

const GROUPS: &str = "/group/get_groups";
const MEMBERS: &str = "/group/get_full_group_member_user_ids";
const PEOPLE: &str = "/user/get_all_users_uid";
const INFO: &str = "/user/get_users_info";
const NEWEST: &str = "/msg/newest_seq";
const LAST: &str = "/msg/get_conversations_has_read_and_max_seq";
const PULL: &str = "/msg/pull_msg_by_seq";
const SEARCH: &str = "/msg/search_msg";
const SEND: &str = "/msg/send_msg";

/// The notices are these, each told with its words, and no others.
fn has(notices: &[String], words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(notices.iter().any(|notice| notice.contains(word)), "no {word} in {notices:#?}");
    }
    ensure!(words.is_empty() == notices.is_empty(), "{notices:#?}");
    Ok(())
}

/// People whose ids hold what separates them.
fn people(standin: &OpenimStandin) {
    for person in ["alice", "bob", "u_1", "u_10", "u", "张三"] {
        standin.add_user(person, &format!("{person}, by name"));
    }
}

/// Says something in a single chat.
fn chat(standin: &OpenimStandin, from: &str, to: &str, count: usize) -> String {
    let say = |number| standin.say(Say::to(from, to, &format!("{from} 说 {to} 第 {number} 条"))).0;
    (0..count).fold(String::new(), |_, number| say(number))
}

/// The same in a group.
fn tell(standin: &OpenimStandin, from: &str, group: &str, count: usize) -> String {
    let say = |number| standin.say(Say::group(from, group, &format!("{from} 说 {group} 第 {number} 条"))).0;
    (0..count).fold(String::new(), |_, number| say(number))
}

#[tokio::test]
async fn everything_each_version_holds_is_archived() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({})).await?;
        let standin = &rig.standin;
        people(standin);
        standin.add_account("notices", "系统", 3);
        standin.add_group("g_1_2", "Ops", &["alice", "bob", "u_1"]);
        standin.add_group("empty", "", &["bob"]);
        tell(standin, "bob", "g_1_2", 250);
        for (from, to, count) in [("alice", "bob", 7), ("u_1", "u_10", 101), ("u_10", "u", 3), ("张三", "张三", 5)]
        {
            chat(standin, from, to, count);
        }
        let notice = Say {
            from: "alice".into(),
            group: "g_1_2".into(),
            session: 3,
            ..Say::notice(1520, &json!({ "group": {} }))
        };
        standin.say(notice);
        standin.say(Say { session: 4, content_type: 1400, ..Say::to("notices", "bob", "x") });
        for limit in [1000, 40, 7] {
            has(&rig.sync(limit).await?, &[])?;
            rig.complete()?;
            // What is new, and what was not there.
            tell(standin, "alice", "g_1_2", limit as usize);
            chat(standin, "bob", &format!("new{limit}"), 3);
            standin.add_user(&format!("new{limit}"), "");
            standin.add_group(&format!("new{limit}"), "new", &["u"]);
            tell(standin, "u", &format!("new{limit}"), 60);
        }
        has(&rig.sync(3).await?, &[])?;
        rig.complete()?;
        let calls = standin.calls(PULL);
        has(&rig.sync(1000).await?, &[])?;
        ensure!(standin.calls(PULL) == calls, "nothing is new, nothing is read");
        ensure!(standin.tokens() == 1, "{} tokens", standin.tokens());
    }
    Ok(())
}

#[tokio::test]
async fn many_groups_and_people_are_walked() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({})).await?;
        let standin = &rig.standin;
        for number in 0..220 {
            let person = format!("p{number}");
            standin.add_user(&person, &person);
            standin.add_group(&format!("g{number}"), "", &[&person]);
            tell(standin, &person, &format!("g{number}"), number % 3);
            chat(standin, &person, &format!("p{}", number / 2), 1);
        }
        has(&rig.sync(50).await?, &[])?;
        rig.complete()?;
    }
    Ok(())
}

#[tokio::test]
async fn people_and_groups_are_known_by_their_latest_names() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({})).await?;
        people(&rig.standin);
        rig.standin.add_group("team", "Ops", &["alice", "bob"]);
        for number in 0..700 {
            rig.standin.add_user(&format!("p{number}"), "many");
        }
        rig.directory().await?;
        ensure!(rig.kept().people.len() == 706, "{}", rig.kept().people.len());
        ensure!(rig.kept().people["alice"].name.as_deref() == Some("alice, by name"));
        let team = rig.kept().conversations["sg_team"].clone();
        ensure!((team.title.as_deref(), team.owner.as_deref()) == (Some("Ops"), Some("alice")), "{team:?}");
        let attributes: serde_json::Value = serde_json::from_str(&team.attributes.unwrap_or_default())?;
        ensure!(attributes == json!({ "groupType": 2, "faceURL": "https://x.example/team.png", "memberCount": 2 }));
        rig.standin.add_user("alice", "Alicia");
        rig.standin.add_group("team", "Operations", &["alice"]);
        tell(&rig.standin, "alice", "team", 1);
        rig.sync(10).await?;
        rig.directory().await?;
        ensure!(rig.kept().people["alice"].name.as_deref() == Some("Alicia"));
        ensure!(rig.kept().conversations["sg_team"].title.as_deref() == Some("Operations"));
    }
    Ok(())
}

#[tokio::test]
async fn a_message_is_archived_whatever_is_odd_of_it() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({})).await?;
        people(&rig.standin);
        let odd =
            json!({ "senderPlatformID": "five", "options": [], "createTime": null, "atUserIDList": {}, "new": 1 });
        rig.standin.say(Say { odd: Some(odd), ..Say::to("alice", "bob", "x") });
        rig.standin.say(Say { content: "no json".into(), content_type: 9999, ..Say::to("alice", "bob", "") });
        has(&rig.sync(10).await?, &[])?;
        rig.complete()?;
        // One without an id is known by its number.
        rig.standin.say(Say { odd: Some(json!({ "serverMsgID": "" })), ..Say::to("alice", "bob", "y") });
        rig.sync(10).await?;
        ensure!(rig.kept().messages.contains_key("si_alice_bob:3"));
    }
    Ok(())
}

#[tokio::test]
async fn a_time_of_any_size_stops_nobody() -> Result<()> {
    let rig = Rig::new(VERSIONS[2], json!({})).await?;
    people(&rig.standin);
    let times = [i64::MIN, i64::MIN + 1, i64::MIN / 1000, -1, i64::MAX / 1000, i64::MAX];
    for send_time in times {
        rig.standin.say(Say { odd: Some(json!({ "sendTime": send_time })), ..Say::to("alice", "bob", "odd") });
    }
    has(&rig.sync(10).await?, &[])?;
    let kept = rig.kept();
    ensure!(kept.messages.len() == times.len());
    // The archive has no place for it.
    ensure!(kept.messages.values().all(|message| message.sent_at > i64::MIN));
    Ok(())
}

#[tokio::test]
async fn one_odd_record_hides_no_others() -> Result<()> {
    let rig = Rig::new(VERSIONS[2], json!({})).await?;
    people(&rig.standin);
    rig.standin.add_group("team", "Ops", &["alice", "bob"]);
    tell(&rig.standin, "bob", "team", 5);
    chat(&rig.standin, "alice", "bob", 5);
    let of_team =
        json!({ "groupInfo": { "groupID": "team", "groupName": 5, "memberCount": -1, "ownerUserID": "alice" } });
    let groups = json!([null, 7, { "groupInfo": null }, { "groupInfo": { "groupID": {} } }, of_team]);
    let odd = |name: &str, records: serde_json::Value| {
        let mut data = serde_json::Map::new();
        data.insert(name.to_owned(), records);
        Reply::Body(json!({ "errCode": 0, "errMsg": "", "errDlt": "", "data": data }).to_string())
    };
    let users = json!([null, "x", { "userID": 5 }, { "userID": "alice", "nickname": [], "faceURL": null }]);
    rig.standin.script.push(GROUPS, odd("groups", groups.clone()), 2);
    rig.standin.script.push(PEOPLE, odd("userIDs", json!([5, null, "alice"])), 1);
    rig.standin.script.push("/user/get_users", odd("users", users), 1);
    has(&rig.sync(1000).await?, &[])?;
    rig.complete()?;
    rig.directory().await?;
    ensure!(rig.kept().people["alice"].name.as_deref() == Some("") && rig.kept().people.len() == 1);
    ensure!(rig.kept().conversations["sg_team"].owner.as_deref() == Some("alice"));
    Ok(())
}

#[tokio::test]
async fn large_messages_are_asked_for_in_fewer() -> Result<()> {
    // Too large for what is between the upstream's own services, or for the daemon.
    for (version, of_upstream) in VERSIONS.map(|version| (version, true)).into_iter().chain([(VERSIONS[2], false)]) {
        let rig = Rig::new(version, json!({})).await?;
        people(&rig.standin);
        let large = "x".repeat(30_000);
        let say = || rig.standin.say(Say::to("alice", "bob", &large)).0;
        let pair = (0..110).fold(String::new(), |_, _| say());
        rig.standin.revoke(&pair, 5, "alice")?;
        // The one who is asked first sees nothing of it, and of some only the search knows.
        rig.standin.remove_for("alice", &pair, 1..=110);
        rig.standin.remove_for("bob", &pair, 11..=15);
        if of_upstream {
            rig.standin.set(|switches| switches.max_answer = Some(150_000));
        } else {
            rig.kept().max_reply = 200_000;
        }
        has(&rig.sync(1000).await?, &[])?;
        rig.complete()?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_about_the_configuration_is_told() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({ "secret": "another secret" })).await?;
        let error = rig.pull(10).await.map(drop).expect_err("no token is given");
        ensure!(error.code == ErrorCode::Denied && error.message.contains("upstream.secret"), "{error}");
        ensure!(!error.to_string().contains("another secret"), "{error}");
        let health = rig.plugin.health().await?;
        ensure!(!health.ok && health.findings.iter().any(|finding| finding.contains("upstream.secret")), "{health:?}");
        let nobody = Rig::new(version, json!({ "admin": "nobody" })).await?;
        ensure!(nobody.pull(10).await.is_err());
    }
    Ok(())
}
