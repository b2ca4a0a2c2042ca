//! How `/msg/search_msg` asks the archive, and what it makes of rows of any kind and size.

mod support;

use serde_json::{Value, json};
use std::sync::Arc;
use stele_plugin_api::model::{Micros, PersonKind};
use stele_plugin_api::ops::{
    ArchiveSearch, ConversationGetMany, ConversationView, Conversations, MessagePage, MessageView, People,
    PersonGetMany, PersonView, Place, SearchQuery,
};
use stele_plugin_api::testing::MockHost;
use stele_plugin_api::{Error, ErrorCode};
use support::Site;

const SEARCH: &str = "/msg/search_msg";
/// 2026-04-09T02:00:00Z
const AT: Micros = 1_775_700_000_000_000;

/// A row in a group, with this content.
fn row(id: i64, content: &str) -> MessageView {
    said(id, content, "")
}

/// The same, with more from its sender.
fn said(id: i64, content: &str, ex: &str) -> MessageView {
    use stele_openim::message::MsgData;
    let message = MsgData {
        send_id: "u_1001".into(),
        group_id: "group_001".into(),
        client_msg_id: format!("c{id}"),
        server_msg_id: format!("s{id}"),
        sender_platform_id: 5,
        session_type: 3,
        msg_from: 100,
        content_type: 101,
        content: content.into(),
        send_time: AT / 1000 + id,
        create_time: AT / 1000 - 200,
        status: 2,
        ex: ex.into(),
        ..MsgData::default()
    };
    MessageView {
        id,
        native_id: format!("s{id}"),
        conversation: "sg_group_001".into(),
        seq: id,
        sender: "u_1001".into(),
        sender_name: "Ann".into(),
        sender_avatar: "https://x.example/ann.png".into(),
        sent_at: AT + id * 1000,
        kind: "101".into(),
        text: "hello".into(),
        body: message.body(),
        client_id: Some(format!("c{id}")),
        ..MessageView::default()
    }
}

/// An archive of these rows that answers so many at once, and knows a group and a person.
fn archive(rows: Vec<MessageView>, at_once: u32) -> MockHost {
    let search = move |query: SearchQuery| {
        let total = rows.len() as u64;
        let behind =
            |row: &&MessageView| query.beyond.is_none_or(|place| (row.sent_at, row.id) > (place.sent_at, place.id));
        let found = rows.iter().filter(behind).skip(query.offset as usize).take(query.limit as usize);
        let rows: Vec<_> = found.cloned().collect();
        if rows.len() > at_once as usize {
            return Err(Error::new(ErrorCode::TooLarge, "as the test wants it"));
        }
        Ok(MessagePage { rows, total })
    };
    let group = ConversationView {
        native_id: "sg_group_001".into(),
        title: "Ops".into(),
        owner: "u_0001".into(),
        attributes: Some(r#"{"groupType":2,"faceURL":"https://x.example/g.png","memberCount":12}"#.into()),
        ..ConversationView::default()
    };
    let person = PersonView {
        native_id: "u_2".into(),
        kind: PersonKind::User,
        name: "Bob".into(),
        avatar: String::new(),
        attributes: None,
    };
    MockHost::new()
        .on::<ArchiveSearch>(search)
        .on::<ConversationGetMany>(move |by| {
            let is_known = by.native_ids.contains(&group.native_id);
            Ok(Conversations { conversations: is_known.then(|| group.clone()).into_iter().collect() })
        })
        .on::<PersonGetMany>(move |by| {
            let is_known = by.native_ids.contains(&person.native_id);
            Ok(People { people: is_known.then(|| person.clone()).into_iter().collect() })
        })
}

fn site(mock: &MockHost) -> Site {
    Site::over(json!({}), Arc::default(), mock.clone())
}

fn ids(found: &Value) -> Vec<&str> {
    let logs = found["chatLogs"].as_array().expect("a list");
    logs.iter().map(|log| log["chatLog"]["serverMsgID"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn a_message_has_all_its_keys_in_their_order() {
    let site = site(&archive(vec![row(7, r#"{"content":"hello"}"#)], 1000));
    let found = site.ask(SEARCH, &json!({})).await;
    let expected = concat!(
        r#"{"chatLogsNum":1,"chatLogs":[{"isRevoked":false,"chatLog":{"serverMsgID":"s7","clientMsgID":"c7","sendID":"u_1001","#,
        r#""recvID":"group_001","groupID":"group_001","recvNickname":"","senderPlatformID":5,"senderNickname":"Ann","#,
        r#""senderFaceURL":"https://x.example/ann.png","groupName":"Ops","sessionType":3,"msgFrom":100,"contentType":101,"#,
        r#""content":"{\"content\":\"hello\"}","status":2,"sendTime":1775700000007,"createTime":1775699999800,"ex":"","#,
        r#""groupFaceURL":"https://x.example/g.png","groupMemberCount":12,"seq":7,"groupOwner":"u_0001","groupType":2}}]}"#,
    );
    assert_eq!(found.to_string(), expected);
}

#[tokio::test]
async fn every_filter_is_asked_of_the_archive() {
    let mock = archive(Vec::new(), 1000);
    let site = site(&mock);
    let all = json!({
        "sendID": "u", "recvID": "g", "contentType": 101, "sessionType": 3, "sendTime": "2026-04-09", "keyword": "word",
        "startTime": 1_775_692_800_001_i64, "endTime": i64::MAX, "order": "desc", "pagination": { "pageNumber": 3, "showNumber": 7 },
    });
    assert_eq!(site.ask(SEARCH, &all).await, json!({ "chatLogsNum": 0, "chatLogs": [] }));
    site.ask(SEARCH, &json!({ "cursor": "asc.5.6" })).await;
    let expected = SearchQuery {
        text: "word".into(),
        sender: Some("u".into()),
        kinds: vec!["101".into()],
        labels: vec!["to:g".into(), "session:3".into()],
        since: Some(1_775_692_800_001_000),
        until: Some(1_775_779_200_000_000),
        offset: 14,
        limit: 7,
        ..SearchQuery::default()
    };
    let nothing = SearchQuery {
        oldest_first: true,
        beyond: Some(Place { sent_at: 5, id: 6 }),
        limit: 20,
        ..SearchQuery::default()
    };
    assert_eq!(mock.requests::<ArchiveSearch>(), [expected, nothing]);
    assert_eq!(mock.calls(), ["archive.search", "archive.search"], "nobody is named, and nobody asked for");
}

#[tokio::test]
async fn a_page_that_is_too_large_at_once_is_read_in_parts() {
    let mock = archive((1..=12).map(|id| row(id, "{}")).collect(), 3);
    let site = site(&mock);
    let found = site.ask(SEARCH, &json!({ "pagination": { "pageNumber": 2, "showNumber": 5 } })).await;
    assert_eq!((ids(&found), &found["chatLogsNum"]), (vec!["s6", "s7", "s8", "s9", "s10"], &json!(12)));
    let asked: Vec<_> = mock.requests::<ArchiveSearch>().iter().map(|query| (query.offset, query.limit)).collect();
    assert_eq!(asked, [(5, 5), (5, 2), (0, 2), (0, 1)]);
}

#[tokio::test]
async fn a_page_begins_where_the_one_before_ended() {
    let mock = archive((1..=12).map(|id| row(id, "{}")).collect(), 1000);
    let site = site(&mock);
    let page = async |page: i32, sender: &str| {
        let asked = json!({ "sendID": sender, "pagination": { "pageNumber": page, "showNumber": 5 } });
        site.ask(SEARCH, &asked).await;
        let query = mock.requests::<ArchiveSearch>().pop().unwrap();
        (query.beyond.map(|place| place.id), query.offset)
    };
    assert_eq!(page(2, "a").await, (None, 5), "it is counted from the beginning");
    assert_eq!(page(1, "a").await, (None, 0));
    assert_eq!(page(2, "a").await, (Some(5), 0));
    assert_eq!(page(2, "b").await, (None, 5), "that is another question");
    assert_eq!(page(3, "a").await, (Some(10), 0));
    assert_eq!(page(2, "a").await, (Some(5), 0), "again");
    assert_eq!(page(5, "a").await, (Some(10), 10), "two pages behind that");
}

/// `while (rows.length < data.chatLogsNum)` is how a client of the contract walks.
#[tokio::test]
async fn a_walk_until_it_has_as_many_as_there_are_ends() {
    for order in ["asc", "desc"] {
        let site = Site::new(json!({}));
        let send = async |at: i64| {
            let message = json!({
                "sendID": "ann", "recvID": "bob", "sessionType": 1, "contentType": 101, "content": { "content": "x" }, "sendTime": at,
            });
            site.ask("/msg/send_msg", &message).await;
        };
        for at in 101..=130 {
            send(at).await;
        }
        let page = async |page: i32| {
            let asked = json!({ "order": order, "pagination": { "pageNumber": page, "showNumber": 10 } });
            let found = site.ask(SEARCH, &asked).await;
            (ids(&found).len(), found["chatLogsNum"].as_i64().unwrap())
        };
        assert_eq!(page(1).await, (10, 30), "{order}");
        // Where the walk was already.
        send(if order == "asc" { 1 } else { 200 }).await;
        assert_eq!([page(2).await, page(3).await, page(4).await], [(10, 31), (10, 31), (0, 30)], "{order}");
        assert_eq!(page(9).await, (0, 31), "{order}: that is no page of the walk");
        // Where it was not yet.
        send(if order == "asc" { 200 } else { 1 }).await;
        assert_eq!([page(4).await, page(5).await], [(1, 31), (0, 31)], "{order}");
    }
}

#[tokio::test]
async fn an_answer_has_a_bound() {
    // Six bytes each, as they are written.
    let long = "\u{1}".repeat(5 << 19);
    let mock = archive((1..=3).map(|id| row(id, &long)).collect(), 1);
    let site = site(&mock);
    let told = "the messages are too large for one answer: ask for fewer, or with a cursor";
    assert_eq!(site.refused(SEARCH, &json!({})).await, (1001, told.to_owned()));
    let first = site.ask(SEARCH, &json!({ "cursor": "" })).await;
    assert_eq!((ids(&first), &first["chatLogsNum"]), (vec!["s1", "s2"], &json!(3)));
    let second = site.ask(SEARCH, &json!({ "cursor": first["nextCursor"] })).await;
    assert_eq!((ids(&second), &second["nextCursor"]), (vec!["s3"], &json!("")));
    let pages = site.ask(SEARCH, &json!({ "pagination": { "showNumber": 2 } })).await;
    assert_eq!(ids(&pages), ["s1", "s2"]);
}

#[tokio::test]
async fn what_is_known_of_nobody_is_empty_and_odd_messages_are_shown() {
    let unknown = MessageView { conversation: "sg_gone".into(), sender_name: String::new(), ..row(1, "{}") };
    let single = MessageView {
        conversation: "si_u_1001_u_2".into(),
        body: r#"{"sendID":"u_1001","recvID":"u_2","sessionType":1,"contentType":101,"content":"e30="}"#.into(),
        ..row(2, "")
    };
    let odd = MessageView { conversation: "si_u_1001_u_3".into(), body: "no JSON".into(), ..row(3, "") };
    let mock = archive(vec![unknown, single, odd], 1000);
    let site = site(&mock);
    let found = site.ask(SEARCH, &json!({})).await;
    let of = |index: usize, names: &[&str]| -> Vec<Value> {
        let log = found["chatLogs"][index]["chatLog"].as_object().unwrap();
        assert_eq!(log.len(), 23);
        names.iter().map(|name| log[*name].clone()).collect()
    };
    let group = ["recvID", "groupID", "groupName", "groupOwner", "groupMemberCount", "groupType", "senderNickname"];
    assert_eq!(json!(of(0, &group)), json!(["gone", "gone", "", "", 0, 0, ""]));
    let single = ["recvID", "groupID", "recvNickname", "content", "serverMsgID", "groupType"];
    assert_eq!(json!(of(1, &single)), json!(["u_2", "", "Bob", "{}", "s2", 0]));
    let odd = ["sendID", "recvID", "recvNickname", "content", "seq", "sendTime"];
    assert_eq!(json!(of(2, &odd)), json!(["u_1001", "", "", "", 3, 1_775_700_000_003_i64]));
    assert_eq!(mock.calls(), ["archive.search", "conversation.get_many", "person.get_many"]);
}

#[tokio::test]
async fn failures_of_the_archive_are_told_without_its_reasons() {
    for (code, told) in [
        (ErrorCode::Unavailable, "the archive does not answer"),
        (ErrorCode::RateLimited, "too much is asked at once, try again"),
        (ErrorCode::Internal, "the archive failed"),
        (ErrorCode::TooLarge, "the archive failed"),
    ] {
        let mock = MockHost::new().on::<ArchiveSearch>(move |_| Err(Error::new(code.clone(), "disk /dev/sda is full")));
        assert_eq!(site(&mock).refused(SEARCH, &json!({})).await, (500, told.to_owned()));
    }
    let mock = MockHost::new().on::<ArchiveSearch>(|_| Err(Error::invalid("the text is odd")));
    let told = "keyword cannot be searched for: the text is odd";
    assert_eq!(site(&mock).refused(SEARCH, &json!({ "keyword": "x" })).await, (1001, told.to_owned()));
    assert_eq!(site(&mock).refused(SEARCH, &json!({})).await, (500, "the archive failed".to_owned()));
}

#[tokio::test]
async fn what_was_taken_back_is_not_told_where_it_is_hidden() {
    let message =
        MessageView { text: "a secret".into(), highlights: vec![(2, 8)], ..said(1, "a secret", "more of it") };
    let taken = MessageView { revoked_at: Some(AT), revoked_by: Some("u_1001".into()), ..message.clone() };
    let mock = archive(vec![MessageView { id: 2, ..message }, taken], 1000);
    let told = async |settings: Value| {
        let site = Site::over(settings, Arc::default(), mock.clone());
        let found = site.ask(SEARCH, &json!({ "keyword": "secret" })).await;
        let hits = found["chatLogs"].as_array().unwrap().iter();
        let told = |hit: &Value| {
            let log = &hit["chatLog"];
            json!([hit["isRevoked"], log["content"], log["ex"], log["contentType"], hit["highlight"]])
        };
        hits.map(told).collect::<Vec<_>>()
    };
    let said = |revoked| json!([revoked, "a secret", "more of it", 101, "a <em>secret</em>"]);
    assert_eq!(told(json!({})).await, [said(false), said(true)]);
    assert_eq!(told(json!({ "revoked": "hidden" })).await, [said(false), json!([true, "{}", "", 101, ""])]);
}

#[tokio::test]
async fn more_than_can_be_told_are_told_as_the_most() {
    let mock = MockHost::new().on::<ArchiveSearch>(|_| Ok(MessagePage { rows: Vec::new(), total: 1 << 31 }));
    let far = json!({ "pagination": { "pageNumber": i32::MAX } });
    assert_eq!(site(&mock).ask(SEARCH, &far).await, json!({ "chatLogsNum": i32::MAX, "chatLogs": [] }));
}

/// Two large answers wait for the archive for ever, and hold what room there is.
#[tokio::test(start_paused = true)]
async fn a_large_answer_waits_for_its_turn_but_not_for_ever() {
    let large = row(1, &"x".repeat(2 << 20));
    let mock = MockHost::new().on_async::<ArchiveSearch, _>(move |query| {
        let large = large.clone();
        async move {
            match query.beyond {
                None if query.limit == 1 => Ok(MessagePage { rows: vec![large], total: 2 }),
                None => Err(Error::new(ErrorCode::TooLarge, "as the test wants it")),
                Some(_) => std::future::pending().await,
            }
        }
    });
    let mock = mock.on::<ConversationGetMany>(|_| Ok(Conversations::default()));
    let site = Arc::new(site(&mock));
    let ask = |shown: u32| json!({ "pagination": { "showNumber": shown } });
    assert_eq!(ids(&site.ask(SEARCH, &ask(1)).await), ["s1"]);
    for _ in 0..2 {
        let (site, ask) = (Arc::clone(&site), ask(2));
        tokio::spawn(async move { site.post(SEARCH, &ask).await });
    }
    while mock.requests::<ArchiveSearch>().iter().filter(|query| query.beyond.is_some()).count() < 2 {
        tokio::task::yield_now().await;
    }
    let told = "too much is asked at once, try again";
    assert_eq!(site.refused(SEARCH, &ask(1)).await, (500, told.to_owned()));
}
