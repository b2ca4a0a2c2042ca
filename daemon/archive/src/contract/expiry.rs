//! What has expired.

use super::Backend;
use super::sample::{DAY, NEW_YEAR, all, instance, natives, page, put, text};
use crate::{Archive, InstanceId, MessageId, MessageList};
use stele_plugin_api::model::Message;
use stele_plugin_api::ops::{MessageOrder, MessageQuery};

async fn ask(archive: &dyn Archive, instance: InstanceId, query: MessageQuery) -> MessageList {
    archive.messages(instance, &query).await.expect("answers")
}

pub(super) async fn what_has_expired_is_left_out(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    // Of every three one never expires, one does at once, and one much later; numbers ascend in `up`, and do not in `astray`.
    let kinds = ["text", "image"];
    let mut said = Vec::new();
    for at in 0..300_i64 {
        for (place, seq) in [("up", at + 1), ("astray", at * 7 % 300)] {
            said.push(Message {
                seq: Some(seq),
                kind: kinds[at as usize / 2 % 2].to_owned(),
                expires_at: [None, Some(NEW_YEAR + at), Some(NEW_YEAR + 1000 + at)][at as usize % 3],
                ..text(&format!("{place} {at}"), place, "a", &["b"], NEW_YEAR + at * DAY / 50)
            });
        }
    }
    said.push(text("never", "plain", "a", &["b"], NEW_YEAR));
    put(&*archive, hq, &page(said.clone())).await;
    let ids: Vec<i64> = ask(&*archive, hq, all("up")).await.rows.iter().map(|row| row.id.0).collect();
    for place in ["up", "astray"] {
        for then in [NEW_YEAR - 1, NEW_YEAR + 1, NEW_YEAR + 150, NEW_YEAR + 1150, i64::MAX] {
            for order in [MessageOrder::SentAt, MessageOrder::Id, MessageOrder::Seq] {
                for (turn, bounds) in [
                    MessageQuery::default(),
                    MessageQuery {
                        since: Some(NEW_YEAR + DAY / 3),
                        until: Some(NEW_YEAR + 5 * DAY),
                        ..Default::default()
                    },
                    MessageQuery {
                        kinds: vec!["image".to_owned()],
                        until: Some(NEW_YEAR + 4 * DAY),
                        ..Default::default()
                    },
                    MessageQuery { from_seq: Some(100), ..Default::default() },
                    MessageQuery { to_seq: Some(200), kinds: vec!["text".to_owned()], ..Default::default() },
                    MessageQuery { from_seq: Some(50), to_seq: Some(90), ..Default::default() },
                    MessageQuery { after: Some(ids[20]), before: Some(ids[250]), ..Default::default() },
                    MessageQuery { before: Some(ids[200]), ..Default::default() },
                ]
                .into_iter()
                .enumerate()
                {
                    let descending = turn % 2 == 0;
                    let whole = MessageQuery { order, descending, ..all(place) };
                    let whole =
                        MessageQuery { kinds: bounds.kinds.clone(), since: bounds.since, until: bounds.until, ..whole };
                    let bound = MessageQuery {
                        from_seq: bounds.from_seq,
                        to_seq: bounds.to_seq,
                        after: bounds.after,
                        before: bounds.before,
                        ..whole.clone()
                    };
                    let unexpired = |list: MessageList| -> Vec<MessageId> {
                        let left = list.rows.into_iter().filter(|row| row.expires_at.is_none_or(|at| at > then));
                        left.map(|row| row.id).collect()
                    };
                    let total = unexpired(ask(&*archive, hq, whole).await).len() as u64;
                    let expected = unexpired(ask(&*archive, hq, bound.clone()).await);
                    let query = MessageQuery { unexpired_at: Some(then), ..bound };
                    let found = ask(&*archive, hq, query.clone()).await;
                    let rows: Vec<_> = found.rows.iter().map(|row| row.id).collect();
                    assert_eq!((&rows, found.total), (&expected, total), "{query:?}");
                    if bounds == MessageQuery::default() {
                        // Pages join, and the last one is short.
                        let mut joined = Vec::new();
                        for offset in (0..total + 20).step_by(23) {
                            let page = ask(&*archive, hq, MessageQuery { offset, limit: 23, ..query.clone() }).await;
                            assert_eq!(page.total, total);
                            joined.extend(page.rows.into_iter().map(|row| row.id));
                        }
                        assert_eq!(joined, expected, "{query:?}");
                    }
                }
            }
        }
    }
    let found = ask(&*archive, hq, MessageQuery { unexpired_at: Some(i64::MAX), ..all("plain") }).await;
    assert_eq!((natives(&found), found.total), (vec!["never"], 1));
}
