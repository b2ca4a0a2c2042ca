//! Names, pictures and groups, through the plugin's public face, from replies of the shape WeCom sends.

mod inbound_support;

use inbound_support::{CORP, FakeVendor, config, host};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use stele_plugin_api::model::{Conversation, ConversationKind, Page, PersonKind};
use stele_plugin_api::ops::{
    ConversationList, ConversationPage, ConversationRow, ConversationView, FetchReply, FetchRequest, HttpFetch, People,
    PersonGetMany, PersonView, PullRequest,
};
use stele_plugin_api::testing::MockHost;
use stele_plugin_api::{Error, ErrorCode, Plugin};
use stele_wecom::Wecom;

const BASE: &str = "https://api.example";

/// WeCom's API: answers by path, or by path and the words after it that the request must contain.
#[derive(Clone, Default)]
struct Api(Arc<Mutex<Vec<(String, String, Value)>>>);

impl Api {
    /// Answers a path; a later answer goes before an earlier one.
    fn on(&self, path: &str, contains: &str, reply: Value) -> &Self {
        self.0.lock().expect("no test panicked").insert(0, (path.into(), contains.into(), reply));
        self
    }

    fn answer(&self, request: &FetchRequest) -> Value {
        let url = request.url.strip_prefix(BASE).expect("the configured base is used");
        let (path, query) = url.split_once('?').expect("there is always a query");
        let all = format!("{query} {}", String::from_utf8_lossy(&request.body));
        let answers = self.0.lock().expect("no test panicked");
        let known = answers.iter().find(|(known, contains, _)| known == path && all.contains(contains));
        known.map_or_else(|| json!({"errcode": 48002, "errmsg": "api forbidden"}), |(_, _, reply)| reply.clone())
    }

    /// An API that gives tokens, and nothing else.
    fn new() -> Self {
        let api = Self::default();
        api.on(
            "/cgi-bin/gettoken",
            "corpsecret=app",
            json!({"errcode": 0, "access_token": "TAPP", "expires_in": 7200}),
        );
        api.on(
            "/cgi-bin/gettoken",
            "corpsecret=s3cr3t",
            json!({"errcode": 0, "access_token": "TARC", "expires_in": 7200}),
        );
        api
    }
}

/// The archive as the plugin sees it: names by native id, and the conversations of `zhang`.
fn archive(api: &Api, names: &[(&str, &str)], rows: &[ConversationRow]) -> MockHost {
    let names: HashMap<String, String> = names.iter().map(|(id, name)| ((*id).into(), (*name).into())).collect();
    let (api, rows) = (api.clone(), rows.to_vec());
    host()
        .on::<HttpFetch>(move |request| {
            let body = api.answer(&request).to_string().into();
            Ok(FetchReply { status: 200, headers: Vec::new(), body })
        })
        .on::<PersonGetMany>(move |request| {
            let known =
                request.native_ids.iter().filter_map(|id| names.get(id).map(|name| view(id, PersonKind::Staff, name)));
            Ok(People { people: known.collect() })
        })
        .on::<ConversationList>(move |query| {
            let rows: Vec<ConversationRow> = if query.person == "corp123/zhang" { rows.clone() } else { Vec::new() };
            let total = rows.len() as u64;
            let rows =
                rows.into_iter().skip(usize::try_from(query.offset).expect("it is small")).take(query.limit as usize);
            let rows: Vec<_> = rows.collect();
            // Long messages: no more than two of them come at once.
            match rows.len() {
                0..=2 => Ok(ConversationPage { rows, total }),
                _ => Err(Error::new(ErrorCode::TooLarge, "ask for fewer")),
            }
        })
}

fn view(native_id: &str, kind: PersonKind, name: &str) -> PersonView {
    PersonView { native_id: native_id.into(), kind, name: name.into(), avatar: String::new(), attributes: None }
}

fn row(native_id: &str, kind: ConversationKind, peer: Option<PersonView>) -> ConversationRow {
    let conversation = ConversationView {
        id: 1,
        native_id: native_id.into(),
        partition: CORP.into(),
        kind,
        messages: 1,
        ..ConversationView::default()
    };
    ConversationRow { conversation, peer, last: stele_plugin_api::ops::MessageView::default() }
}

fn instance(host: &MockHost, app_secret: &str) -> Wecom {
    let mut settings = config(&[1]);
    settings["api_base"] = json!(format!("{BASE}/"));
    settings["corp"][0]["app_secret"] = json!(app_secret);
    FakeVendor::default().instance(&host.host(), settings)
}

/// A whole run, as the daemon makes it.
async fn run(plugin: &Wecom) -> Result<Page, Error> {
    const MAX_STEPS: usize = 100;
    let mut all = Page::default();
    let mut cursor = None;
    for _ in 0..MAX_STEPS {
        let request = PullRequest { partition: CORP.into(), cursor: cursor.clone(), ..PullRequest::default() };
        let mut page = plugin.directory_pull(request).await?;
        all.people.append(&mut page.people);
        all.conversations.append(&mut page.conversations);
        all.notices.append(&mut page.notices);
        cursor = page.cursor;
        if page.caught_up {
            return Ok(all);
        }
    }
    panic!("the run has no end");
}

/// `id kind name avatar attributes` of everybody, sorted.
fn people(page: &Page) -> Vec<String> {
    let mut lines: Vec<String> = page
        .people
        .iter()
        .map(|person| {
            let kind = person.kind.as_ref().map_or("", PersonKind::as_str);
            let some = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
            format!(
                "{} {kind} {} {} {}",
                person.native_id,
                some(&person.name),
                some(&person.avatar),
                some(&person.attributes)
            )
        })
        .collect();
    lines.sort_unstable();
    lines
}

/// `id title owner members` of every group.
fn groups(page: &Page) -> Vec<String> {
    let line = |group: &Conversation| {
        assert_eq!(group.partition, CORP);
        let title = group.title.clone().unwrap_or_else(|| "-".into());
        let owner = group.owner.clone().unwrap_or_else(|| "-".into());
        format!("{} {title} {owner} {}", group.native_id, group.members.clone().unwrap_or_default().join(","))
    };
    page.conversations.iter().filter(|row| row.kind == Some(ConversationKind::Group)).map(line).collect()
}

fn contact(id: &str, name: &str, kind: u8) -> Value {
    json!({"external_contact": {"external_userid": id, "name": name, "avatar": format!("https://a.example/{id}"), "type": kind,
        "corp_name": if kind == 2 { "伙伴" } else { "" }}, "follow_info": {"userid": "zhang", "remark": "r"}})
}

fn whole_api() -> Api {
    let api = Api::new();
    api.on("/cgi-bin/department/simplelist", "", json!({"errcode": 0, "department_id": [{"id": 2}, {"id": 1}]}))
        .on("/cgi-bin/user/list", "department_id=1&", json!({"errcode": 0, "userlist": [
            {"userid": "zhang", "name": "张三", "avatar": "https://a.example/zhang"}, {"userid": "li", "name": "李四"}]}))
        .on("/cgi-bin/user/simplelist", "department_id=2&", json!({"errcode": 0, "userlist": [{"userid": "wang", "name": "王五"}]}))
        .on("/cgi-bin/msgaudit/get_permit_user_list", "TARC", json!({"errcode": 0, "ids": ["zhang", "zhao"]}))
        .on("/cgi-bin/user/get", "userid=zhang", json!({"errcode": 60111, "errmsg": "userid not found"}))
        .on("/cgi-bin/user/get", "userid=zhao", json!({"errcode": 0, "userid": "zhao", "name": "赵六"}))
        .on("/cgi-bin/externalcontact/get_follow_user_list", "TAPP", json!({"errcode": 0, "follow_user": ["zhang", "li"]}))
        .on("/cgi-bin/externalcontact/batch/get_by_user", "\"cursor\":\"\"", json!({"errcode": 0,
            "external_contact_list": [contact("wmA", "客户甲", 1)], "next_cursor": "C2"}))
        .on("/cgi-bin/externalcontact/batch/get_by_user", "\"cursor\":\"C2\"", json!({"errcode": 0,
            "external_contact_list": [contact("woB", "客户乙", 2)], "next_cursor": ""}))
        .on("/cgi-bin/externalcontact/groupchat/list", "", json!({"errcode": 0, "group_chat_list": [
            {"chat_id": "wrE", "status": 0}, {"chat_id": "wrNameless", "status": 0}], "next_cursor": ""}))
        .on("/cgi-bin/externalcontact/groupchat/get", "wrE", json!({"errcode": 0, "group_chat": {"chat_id": "wrE",
            "name": "客户群", "owner": "zhang", "member_list": [
                {"userid": "zhang", "type": 1, "name": "张三"}, {"userid": "wmStranger", "type": 2, "name": "路人"}]}}))
        .on("/cgi-bin/externalcontact/groupchat/get", "wrNameless", json!({"errcode": 0, "group_chat": {"chat_id": "wrNameless",
            "name": "", "owner": "li", "member_list": [{"userid": "li", "type": 1, "name": "李四"},
                {"userid": "wmA", "type": 2, "name": "客户甲"}, {"userid": "woB", "type": 2, "name": ""},
                {"userid": "zhang", "type": 1, "name": "张三"}, {"userid": "wang", "type": 1, "name": "王五"}]}}))
        .on("/cgi-bin/msgaudit/groupchat/get", "wrInside", json!({"errcode": 0, "roomname": "", "creator": "zhang",
            "room_create_time": 1, "members": [{"memberid": "zhang", "jointime": 1}, {"memberid": "li", "jointime": 1}]}))
        .on("/cgi-bin/msgaudit/groupchat/get", "wrMixed", json!({"errcode": 301_059, "errmsg": "not internal"}))
        .on("/cgi-bin/externalcontact/groupchat/get", "wrMixed", json!({"errcode": 0, "group_chat": {"chat_id": "wrMixed",
            "name": "混合群", "owner": "zhang", "member_list": []}}))
        .on("/cgi-bin/msgaudit/get_robot_info", "robot_id=wbBot", json!({"errcode": 0, "data": {"robot_id": "wbBot", "name": "机器人"}}))
        .on("/cgi-bin/externalcontact/get", "external_userid=wmStray", json!({"errcode": 0,
            "external_contact": {"external_userid": "wmStray", "name": "散客", "type": 1}}))
        .on("/cgi-bin/externalcontact/get", "external_userid=guest", json!({"errcode": 0,
            "external_contact": {"external_userid": "guest", "name": "访客", "type": 2}}));
    api
}

fn conversations() -> Vec<ConversationRow> {
    vec![
        row("corp123/g/wrE", ConversationKind::Group, None),
        row("corp123/g/wrInside", ConversationKind::Group, None),
        row("corp123/g/wrMixed", ConversationKind::Group, None),
        row("corp123/g/wrSecret", ConversationKind::Group, None),
        row("corp123/d/wbBot/zhang", ConversationKind::Direct, Some(view("corp123/wbBot", PersonKind::Bot, ""))),
        row(
            "corp123/d/wmStray/zhang",
            ConversationKind::External,
            Some(view("corp123/wmStray", PersonKind::Customer, "")),
        ),
        row(
            "corp123/d/wmA/zhang",
            ConversationKind::External,
            Some(view("corp123/wmA", PersonKind::Customer, "客户甲")),
        ),
        // Nobody has said of this one yet what they are.
        row("corp123/d/guest/zhang", ConversationKind::External, Some(view("corp123/guest", PersonKind::User, ""))),
        // The messages did not say that this one is a customer; the directory has.
        row(
            "corp123/d/client/zhang",
            ConversationKind::Direct,
            Some(view("corp123/client", PersonKind::Customer, "老客户")),
        ),
    ]
}

#[tokio::test]
async fn a_run_finds_everybody_and_every_group() {
    let api = whole_api();
    let host = archive(&api, &[("corp123/zhang", "张三")], &conversations());
    let page = run(&instance(&host, "app")).await.expect("refusals do not end a run");
    assert_eq!(
        people(&page),
        [
            "corp123/guest customer 访客 - {\"type\":2}",
            "corp123/li staff 李四 - -",
            "corp123/li staff 李四 - -",
            "corp123/wang staff 王五 - -",
            "corp123/wang staff 王五 - -",
            "corp123/wbBot bot 机器人 - -",
            "corp123/wmA customer 客户甲 - -",
            "corp123/wmA customer 客户甲 https://a.example/wmA {\"type\":1}",
            "corp123/wmStranger customer 路人 - -",
            "corp123/wmStray customer 散客 - {\"type\":1}",
            "corp123/woB customer 客户乙 https://a.example/woB {\"type\":2,\"corp_name\":\"伙伴\"}",
            "corp123/zhang staff 张三 - -",
            "corp123/zhang staff 张三 - -",
            "corp123/zhang staff 张三 https://a.example/zhang -",
            "corp123/zhao staff 赵六 - -",
        ]
    );
    assert_eq!(
        groups(&page),
        [
            "corp123/g/wrE 客户群 corp123/zhang corp123/zhang,corp123/wmStranger",
            "corp123/g/wrNameless 李四、客户甲、张三 corp123/li corp123/li,corp123/wmA,corp123/woB,corp123/zhang,corp123/wang",
            "corp123/g/wrInside 张三、li corp123/zhang corp123/zhang,corp123/li",
            "corp123/g/wrMixed 混合群 corp123/zhang ",
        ]
    );
    let others = page.conversations.iter().filter(|row| row.kind != Some(ConversationKind::Group));
    let external = Conversation {
        native_id: "corp123/d/client/zhang".into(),
        kind: Some(ConversationKind::External),
        ..Conversation::default()
    };
    assert_eq!(others.collect::<Vec<_>>(), [&external], "what the messages could not tell is corrected");
    // One group stays unreadable, which is told.
    assert_eq!(page.notices.iter().map(|notice| notice.code.as_str()).collect::<Vec<_>>(), ["directory-refused"]);
    // Each secret's token was fetched once.
    let tokens = host.requests::<HttpFetch>().iter().filter(|request| request.url.contains("gettoken")).count();
    assert_eq!(tokens, 2);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_asked_for_again() {
    let host = archive(&whole_api(), &[], &conversations());
    let asked = |host: &MockHost| {
        let bodies =
            host.requests::<HttpFetch>().into_iter().map(|request| String::from_utf8_lossy(&request.body).into_owned());
        bodies.filter(|body| body.contains("wrSecret")).count()
    };
    run(&instance(&host, "app")).await.expect("refusals do not end a run");
    assert_eq!(asked(&host), 1);
    // Not even by another process.
    run(&instance(&host, "app")).await.expect("refusals do not end a run");
    assert_eq!(asked(&host), 1);
}

#[tokio::test]
async fn without_an_app_secret_members_still_get_their_names() {
    let host = archive(&whole_api(), &[], &conversations());
    let page = run(&instance(&host, "")).await.expect("nothing is wrong");
    assert_eq!(
        people(&page),
        ["corp123/wbBot bot 机器人 - -", "corp123/zhang staff - - -", "corp123/zhao staff 赵六 - -"]
    );
    assert!(page.notices.iter().any(|notice| notice.code == "no-app-secret" && notice.message.contains("app_secret")));
    assert!(host.requests::<HttpFetch>().iter().all(|request| !request.url.contains("externalcontact")));
}

#[tokio::test]
async fn refusals_of_everything_are_told_and_end_the_run_quietly() {
    let host = archive(&Api::new(), &[], &conversations());
    let page = run(&instance(&host, "app")).await.expect("refusals do not end a run");
    assert!(page.people.is_empty() && page.conversations.is_empty());
    let told: String = page.notices.iter().map(|notice| format!("{}\n", notice.message)).collect();
    for part in [
        "departments of corp corp123",
        "members under archive",
        "members with customers",
        "groups with customers",
        "48002",
        "app_secret",
        "archive_secret",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test]
async fn a_stale_token_is_fetched_anew_once() {
    let api = whole_api();
    api.on("/cgi-bin/gettoken", "corpsecret=app", json!({"errcode": 0, "access_token": "OLD", "expires_in": 7200}));
    api.on("/cgi-bin/department/simplelist", "OLD", json!({"errcode": 42001, "errmsg": "expired"}));
    let host = archive(&api, &[], &[]);
    let plugin = instance(&host, "app");
    let request = || PullRequest { partition: CORP.into(), ..PullRequest::default() };
    let page = plugin.directory_pull(request()).await.expect("refusals do not end a run");
    assert_eq!(page.notices[0].code, "directory-refused");
    let urls: Vec<String> = host.requests::<HttpFetch>().into_iter().map(|request| request.url).collect();
    assert_eq!(urls.iter().filter(|url| url.contains("gettoken")).count(), 2, "{urls:?}");
    // The next one gets a token that works.
    api.on("/cgi-bin/gettoken", "corpsecret=app", json!({"errcode": 0, "access_token": "NEW", "expires_in": 7200}));
    let page = plugin.directory_pull(request()).await.expect("nothing is wrong");
    assert_eq!(page.people.len(), 3);
}

#[tokio::test]
async fn what_concerns_every_call_ends_the_pull() {
    for (reply, status, code) in [
        (json!({"errcode": 45009, "errmsg": "freq"}), 200, ErrorCode::RateLimited),
        (json!({"errcode": -1, "errmsg": "busy"}), 200, ErrorCode::Unavailable),
        (json!("no object"), 500, ErrorCode::Unavailable),
        (json!({}), 429, ErrorCode::RateLimited),
        (json!({"errcode": 0, "access_token": ""}), 200, ErrorCode::Unavailable),
    ] {
        let body = reply.to_string();
        let host =
            host().on::<HttpFetch>(move |_| Ok(FetchReply { status, headers: Vec::new(), body: body.clone().into() }));
        let request = PullRequest { partition: CORP.into(), ..PullRequest::default() };
        let error = instance(&host, "app").directory_pull(request).await.expect_err("no call works");
        assert_eq!(error.code, code, "{error}");
    }
}

#[tokio::test]
async fn secrets_and_tokens_are_told_to_nobody() {
    let api = Api::new();
    api.on(
        "/cgi-bin/gettoken",
        "",
        json!({"errcode": 40001, "errmsg": "invalid credential app or s3cr3t, from ip: 203.0.113.5"}),
    );
    let host = archive(&api, &[], &[]);
    let page = run(&instance(&host, "app-5ecret")).await.expect("refusals do not end a run");
    let told = format!("{:?} {:?}", page.notices, host.logs());
    assert!(!told.contains("app-5ecret") && told.contains("40001"), "{told}");
}
