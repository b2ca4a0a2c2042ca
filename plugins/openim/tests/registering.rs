//! `/user/user_register` and `/group/create_group`.

mod support;

use serde_json::{Value, json};
use stele_plugin_api::ErrorCode;
use support::{NOW, Site};

const REGISTER: &str = "/user/user_register";
const CREATE: &str = "/group/create_group";

#[tokio::test]
async fn users_are_told_of_once() {
    let site = Site::new(json!({}));
    let ann = json!({ "userID": "u_1", "nickname": "Ann", "faceURL": "http://x/ann.png" });
    let answer = site.post(REGISTER, &json!({ "users": [ann, { "userID": "u_2", "nickname": "Bob" }] })).await;
    assert_eq!(answer, json!({ "errCode": 0, "errMsg": "", "errDlt": "" }));
    let known = site.stored().people["u_1"].clone();
    assert_eq!((known.name.as_str(), known.avatar.as_str()), ("Ann", "http://x/ann.png"));
    let again = json!({ "users": [{ "userID": "u_3", "nickname": "Carol" }, ann] });
    assert_eq!(site.refused(REGISTER, &again).await, (1102, "userID u_1 registered already".to_owned()));
    assert!(!site.stored().people.contains_key("u_3"), "all of them, or none");
    let nameless = json!({ "users": [{ "userID": "u_0", "nickname": "", "faceURL": "" }] });
    site.ask(REGISTER, &nameless).await;
    assert_eq!(site.refused(REGISTER, &nameless).await, (1102, "userID u_0 registered already".to_owned()));
    for (sent, wrong) in [
        (json!({}), "users is empty"),
        (json!({ "users": [] }), "users is empty"),
        (json!({ "users": "u_1" }), "users has to be a list"),
        (json!({ "users": ["u_1"] }), "users has to be a list of objects"),
        (json!({ "users": [{ "userID": "u_4" }, {}] }), "users[1].userID is missing or empty"),
        (json!({ "users": [{ "userID": "a:b" }] }), "users[0].userID contains ':'"),
        (json!({ "users": [{ "userID": "u_4" }, { "userID": "u_4" }] }), "users[1].userID is repeated"),
        (json!({ "users": [{ "userID": "u_4", "nickname": 7 }] }), "users[0].nickname has to be a string"),
    ] {
        assert_eq!(site.refused(REGISTER, &sent).await, (1001, wrong.to_owned()), "{sent}");
    }
    let many: Vec<_> = (0..2500).map(|n| json!({ "userID": format!("m_{n}"), "nickname": "x" })).collect();
    site.post(REGISTER, &json!({ "users": many })).await;
    assert_eq!(site.stored().people.len(), 2503);
    site.stored().failures = vec![ErrorCode::Unavailable];
    let failed = site.refused(REGISTER, &json!({ "users": [{ "userID": "u_5" }] })).await;
    assert_eq!(failed, (500, "the archive does not answer".to_owned()));
}

fn group(changes: &Value) -> Value {
    let mut info = json!({ "groupID": "team", "groupName": "Ops", "groupType": 2, "faceURL": "http://x/g.png" });
    for (name, value) in changes.as_object().expect("changes are an object") {
        info[name] = value.clone();
    }
    json!({ "ownerUserID": "u_1", "memberUserIDs": ["u_2", "u_3"], "adminUserIDs": ["u_4"], "groupInfo": info })
}

#[tokio::test]
async fn groups_are_told_of_once() {
    let site = Site::new(json!({}));
    // Somebody wrote before anybody told of the group.
    let early = json!({ "sendID": "u_2", "groupID": "team", "content": { "content": "x" }, "contentType": 101, "sessionType": 3 });
    site.ask("/msg/send_msg", &early).await;
    let created = site.ask(CREATE, &group(&json!({}))).await;
    let expected = json!({
        "groupID": "team", "groupName": "Ops", "notification": "", "introduction": "", "faceURL": "http://x/g.png",
        "ownerUserID": "u_1", "createTime": NOW / 1000, "memberCount": 4, "ex": "", "status": 0, "creatorUserID": "u_1",
        "groupType": 2, "needVerification": 0, "lookMemberInfo": 0, "applyMemberFriend": 0, "notificationUpdateTime": 0,
        "notificationUserID": "",
    });
    assert_eq!(created, json!({ "groupInfo": expected }));
    let known = site.stored().conversations["sg_team"].clone();
    assert_eq!((known.title.as_str(), known.owner.as_str(), known.messages), ("Ops", "u_1", 1));
    let attributes: Value = serde_json::from_str(known.attributes.as_deref().unwrap()).unwrap();
    assert_eq!(attributes, json!({ "groupType": 2, "faceURL": "http://x/g.png", "memberCount": 4 }));
    assert_eq!(site.stored().members["sg_team"], ["u_1", "u_4", "u_2", "u_3"]);
    assert_eq!(site.refused(CREATE, &group(&json!({}))).await, (1202, "group id existed team".to_owned()));
    let unnamed = site.ask(CREATE, &group(&json!({ "groupID": null }))).await;
    let made_up = unnamed["groupInfo"]["groupID"].as_str().unwrap();
    assert!(made_up.parse::<u64>().is_ok(), "{made_up}");
}

#[tokio::test]
async fn groups_that_cannot_be_are_refused() {
    let site = Site::new(json!({}));
    let with = |name: &str, value: Value| {
        let mut group = group(&json!({}));
        group[name] = value;
        group
    };
    for (sent, wrong) in [
        (json!({}), "groupInfo.groupType only supports 2"),
        (group(&json!({ "groupType": 0 })), "groupInfo.groupType only supports 2"),
        (group(&json!({ "groupName": 7 })), "groupInfo.groupName has to be a string"),
        (group(&json!({ "groupID": "x".repeat(251) })), "groupInfo.groupID has more than 250 bytes"),
        (with("groupInfo", json!("team")), "groupInfo has to be an object"),
        (with("ownerUserID", json!("")), "ownerUserID is missing or empty"),
        (with("memberUserIDs", json!(["u_1"])), "group member repeated, or without an id"),
        (with("memberUserIDs", json!([""])), "group member repeated, or without an id"),
        (with("adminUserIDs", json!([7])), "adminUserIDs has to be a list of strings"),
    ] {
        assert_eq!(site.refused(CREATE, &sent).await, (1001, wrong.to_owned()), "{sent}");
    }
    assert!(site.stored().conversations.is_empty());
}
