//! What plugins ask of the daemon: who is a member, who there is, and messages by their names.

use bytes::Bytes;
use std::net::SocketAddr;
use stele_archive::model::{Conversation, Message, Page};
use stele_host::{Incoming, Services};
use stele_plugin_api::ops::{
    ArchiveAppend, ArchiveGet, ArchiveQuery, ByIds, ConversationJoined, ConversationMembership, JoinedQuery, MAX_IDS,
    MAX_ROWS, MessageQuery, Op, Participation, PersonList, PersonQuery,
};
use stele_plugin_api::{Encoding, Error, ErrorCode, typed};
use steled::config::Config;
use steled::lifecycle::{App, Mode};

/// Asks as the plugin of an instance does.
async fn ask<O: Op>(app: &App, instance: &str, request: O::Request) -> Result<O::Reply, Error> {
    let encoding = Encoding::MessagePack;
    let typed::Parts { payload, body } = typed::encode_request::<O>(encoding, request)?;
    let call = Incoming { op: O::NAME.into(), encoding, payload, body };
    let reply = app.parts().services.call(instance, call).await?;
    typed::decode_reply::<O>(encoding, reply.encode(encoding)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_people_and_messages_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config { data_dir: folder.path().join("data"), ..Config::default() };
    config.admin.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.plugins.dirs = vec![folder.path().to_owned()];
    let app = App::start(config, Mode::Serve).await.unwrap();
    let parts = app.parts();
    for name in ["hq", "branch"] {
        parts.services.register(name, parts.archive.instance(name).await.unwrap());
    }
    let message = |native: &str| Message {
        native_id: native.into(),
        conversation: "c".into(),
        sender: "ann".into(),
        kind: "0".into(),
        body: Bytes::from_static(b"{}"),
        ..Message::default()
    };
    let conversation = Conversation {
        native_id: "c".into(),
        joined: vec!["ann".into(), "bob".into()],
        archived: Some(true),
        ..Conversation::default()
    };
    let messages = vec![message("m1"), message("m2")];
    let page = Page { conversations: vec![conversation], messages, ..Page::default() };
    ask::<ArchiveAppend>(&app, "hq", page).await.unwrap();

    let who = |person: &str| Participation { conversation: "c".into(), person: person.into() };
    for (instance, person, known, member) in
        [("hq", "ann", true, true), ("hq", "cy", true, false), ("branch", "ann", false, false)]
    {
        let found = ask::<ConversationMembership>(&app, instance, who(person)).await.unwrap();
        assert_eq!((found.conversation.is_some(), found.member), (known, member), "{person} at {instance}");
        assert!(found.conversation.is_none_or(|conversation| conversation.archived && conversation.last_seq == 2));
    }
    let joined = |limit| JoinedQuery { person: "bob".into(), after: String::new(), limit };
    assert_eq!(ask::<ConversationJoined>(&app, "hq", joined(MAX_ROWS)).await.unwrap().conversations, ["c"]);
    let people = |limit| PersonQuery { after: "ann".into(), limit };
    let found = ask::<PersonList>(&app, "hq", people(MAX_ROWS)).await.unwrap().people;
    assert_eq!(found.iter().map(|person| person.native_id.as_str()).collect::<Vec<_>>(), ["bob"]);
    let by = |natives: &[&str]| ByIds { native_ids: natives.iter().map(|native| (*native).into()).collect() };
    let found = ask::<ArchiveGet>(&app, "hq", by(&["m2", "m3", "m1"])).await.unwrap().rows;
    assert_eq!(found.iter().map(|row| row.native_id.as_str()).collect::<Vec<_>>(), ["m2", "m1"]);
    assert!(found[0].rev > found[1].rev);
    assert_eq!(ask::<ArchiveGet>(&app, "branch", by(&["m1"])).await.unwrap().rows, []);

    for refused in [
        ask::<ConversationJoined>(&app, "hq", joined(MAX_ROWS + 1)).await.unwrap_err(),
        ask::<PersonList>(&app, "hq", people(MAX_ROWS + 1)).await.unwrap_err(),
        ask::<ArchiveGet>(&app, "hq", by(&[""; MAX_IDS + 1])).await.unwrap_err(),
    ] {
        assert_eq!(refused.code, ErrorCode::TooLarge, "{refused}");
    }

    // Three messages that are too much for one answer.
    let long = |native: &str| Message { body: vec![b'x'; 11 << 20].into(), ..message(native) };
    for native in ["long 1", "long 2", "long 3"] {
        ask::<ArchiveAppend>(&app, "hq", Page { messages: vec![long(native)], ..Page::default() }).await.unwrap();
    }
    let query = |limit| MessageQuery { conversation: "c".into(), descending: true, limit, ..MessageQuery::default() };
    for refused in [
        ask::<ArchiveQuery>(&app, "hq", query(3)).await.unwrap_err(),
        ask::<ArchiveGet>(&app, "hq", by(&["long 1", "long 2", "long 3"])).await.unwrap_err(),
    ] {
        assert_eq!(
            (&refused.code, &*refused.message),
            (&ErrorCode::TooLarge, "the messages hold more than 33554432 bytes; ask for fewer")
        );
    }
    assert_eq!(ask::<ArchiveQuery>(&app, "hq", query(2)).await.unwrap().rows.len(), 2);
    app.stop().await;
}
