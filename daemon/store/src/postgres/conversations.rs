//! The conversations of a page: given ids, described, and moved on by its messages.

use super::commit::Txn;
use super::error::Failure;
use super::head::next;
use super::participation;
use super::text::written;
use crate::common::Ids;
use crate::common::fold::fold;
use crate::common::rows::Columns;
use crate::common::standing::{Conversations, Standing};
use crate::common::told::{self, KnownConversation, ToldConversation};
use sqlx::Row;
use std::collections::{HashMap, HashSet};
use stele_archive::label;
use stele_archive::model::{Conversation, Message};

/// Ids and descriptions. Unknown conversations are created.
pub(super) async fn intern<'a>(
    txn: &mut Txn<'_>,
    described: &'a [Conversation],
    fresh: &[&'a Message],
) -> Result<Conversations<'a>, Failure> {
    let told = told::conversations(described);
    let mut ids = Ids::new();
    let mut unknown: Vec<&'a str> = Vec::new();
    let mut seen = HashSet::new();
    let remembered = &mut txn.memory.interned(txn.instance).conversations;
    let described = described.iter().map(|conversation| conversation.native_id.as_str());
    for native in fresh.iter().map(|message| message.conversation.as_str()).chain(described) {
        if !seen.insert(native) {
            continue;
        }
        match remembered.get(native) {
            Some(id) => _ = ids.insert(native, id),
            None => unknown.push(native),
        }
    }
    let created = find_or_create(txn, &unknown, &mut ids, &told).await?;
    let relisted = describe(txn, &ids, &told, &created).await?;
    let standing = stand(txn, &ids, &created, fresh).await?;
    Ok(Conversations { ids, standing, relisted })
}

/// Ids of conversations that are not remembered; those that are new are returned as well.
async fn find_or_create<'a>(
    txn: &mut Txn<'_>,
    unknown: &[&'a str],
    ids: &mut Ids<'a>,
    told: &HashMap<&'a str, ToldConversation<'_>>,
) -> Result<HashSet<i64>, Failure> {
    if unknown.is_empty() {
        return Ok(HashSet::new());
    }
    let found = sqlx::query("SELECT native_id, id FROM conversation WHERE instance = $1 AND native_id = ANY($2)")
        .bind(txn.instance)
        .bind(unknown.iter().map(|native| written(native)).collect::<Vec<_>>())
        .fetch_all(&mut *txn.connection)
        .await?;
    let found: HashMap<String, i64> = found.iter().map(|row| (row.text(0), row.get(1))).collect();
    let mut created: Vec<New<'_>> = Vec::new();
    for native in unknown.iter().copied() {
        let id = match found.get(native) {
            Some(id) => *id,
            None => {
                let id = next(&mut txn.head.next_conversation);
                let known = KnownConversation::new(txn.partition);
                let known = told.get(native).map(|told| known.told(told)).unwrap_or(known);
                let kind = txn.word(known.kind.as_str()).await?;
                created.push(New { id, native, kind, folded: fold(label(&known.title, native)), known });
                id
            }
        };
        ids.insert(native, id);
        txn.learnt.conversations.push((native.into(), id));
    }
    create(txn, &created).await?;
    Ok(created.iter().map(|new| new.id).collect())
}

/// A conversation as it is written.
struct New<'a> {
    id: i64,
    native: &'a str,
    kind: i64,
    folded: String,
    known: KnownConversation,
}

async fn create(txn: &mut Txn<'_>, created: &[New<'_>]) -> Result<(), Failure> {
    if created.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO conversation \
        (instance, id, native_id, partition, kind, pair, title, folded, owner, attributes, archived, deleted) \
        SELECT $1, j.* FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::boolean[], $7::text[], $8::text[], \
        $9::text[], $10::text[], $11::boolean[], $12::boolean[]) AS j";
    sqlx::query(sql)
        .bind(txn.instance)
        .bind(created.iter().map(|new| new.id).collect::<Vec<_>>())
        .bind(created.iter().map(|new| written(new.native)).collect::<Vec<_>>())
        .bind(created.iter().map(|new| written(&new.known.partition)).collect::<Vec<_>>())
        .bind(created.iter().map(|new| new.kind).collect::<Vec<_>>())
        .bind(created.iter().map(|new| new.known.is_pair()).collect::<Vec<_>>())
        .bind(created.iter().map(|new| written(&new.known.title)).collect::<Vec<_>>())
        .bind(created.iter().map(|new| written(&new.folded)).collect::<Vec<_>>())
        .bind(created.iter().map(|new| written(&new.known.owner)).collect::<Vec<_>>())
        .bind(created.iter().map(|new| new.known.attributes.as_deref().map(written)).collect::<Vec<_>>())
        .bind(created.iter().map(|new| new.known.archived).collect::<Vec<_>>())
        .bind(created.iter().map(|new| new.known.deleted).collect::<Vec<_>>())
        .execute(&mut *txn.connection)
        .await?;
    Ok(())
}

/// Merge what the page says into the conversations that were known. Returns those that lists show otherwise now.
async fn describe(
    txn: &mut Txn<'_>,
    ids: &Ids<'_>,
    told: &HashMap<&str, ToldConversation<'_>>,
    created: &HashSet<i64>,
) -> Result<Vec<i64>, Failure> {
    let told: HashMap<i64, (&str, &ToldConversation<'_>)> = told
        .iter()
        .map(|(native, told)| (ids[native], (*native, told)))
        .filter(|(id, _)| !created.contains(id))
        .collect();
    let mut relisted = Vec::new();
    if told.is_empty() {
        return Ok(relisted);
    }
    let stored = "SELECT c.id, c.partition, c.title, c.owner, c.attributes, w.word, c.archived, c.deleted \
                  FROM conversation AS c JOIN word AS w ON w.id = c.kind WHERE c.instance = $1 AND c.id = ANY($2)";
    let stored = sqlx::query(stored).bind(txn.instance).bind(told.keys().copied().collect::<Vec<_>>());
    for row in stored.fetch_all(&mut *txn.connection).await? {
        let id: i64 = row.get(0);
        let (native, told) = told[&id];
        let known = KnownConversation {
            partition: row.text(1),
            title: row.text(2),
            owner: row.text(3),
            attributes: row.some_text(4),
            kind: row.text(5).as_str().into(),
            archived: row.get(6),
            deleted: row.get(7),
        };
        let new = known.told(told);
        if new == known {
            continue;
        }
        if (&new.title, &new.kind) != (&known.title, &known.kind) {
            relisted.push(id);
        }
        let kind = txn.word(new.kind.as_str()).await?;
        if new.kind != known.kind {
            let old = txn.word(known.kind.as_str()).await?;
            participation::move_kind(txn, id, old, kind).await?;
        }
        let update = "UPDATE conversation SET kind = $3, pair = $4, partition = $5, title = $6, folded = $7, owner = $8, \
                      attributes = $9, archived = $10, deleted = $11 WHERE instance = $1 AND id = $2";
        let folded = fold(label(&new.title, native));
        sqlx::query(update)
            .bind(txn.instance)
            .bind(id)
            .bind(kind)
            .bind(new.is_pair())
            .bind(written(&new.partition))
            .bind(written(&new.title))
            .bind(written(&folded))
            .bind(written(&new.owner))
            .bind(new.attributes.as_deref().map(written))
            .bind(new.archived)
            .bind(new.deleted)
            .execute(&mut *txn.connection)
            .await?;
    }
    Ok(relisted)
}

/// How the conversations stand that new messages go to: as created, as remembered, or as the tables tell.
async fn stand(
    txn: &mut Txn<'_>,
    ids: &Ids<'_>,
    created: &HashSet<i64>,
    fresh: &[&Message],
) -> Result<HashMap<i64, Standing>, Failure> {
    let mut standing = HashMap::with_capacity(ids.len());
    let mut unknown = Vec::new();
    for message in fresh {
        let id = ids[message.conversation.as_str()];
        standing.entry(id).or_insert_with(|| {
            let known = created.contains(&id).then_some(Standing::NEW).or_else(|| txn.memory.standing.get(&id));
            known.unwrap_or_else(|| {
                unknown.push(id);
                Standing::NEW
            })
        });
    }
    if unknown.is_empty() {
        return Ok(standing);
    }
    let stored = "SELECT id, messages, last_seq, last_at, last_id, own_order FROM conversation \
                  WHERE instance = $1 AND id = ANY($2)";
    let stored = sqlx::query(stored).bind(txn.instance).bind(unknown);
    for row in stored.fetch_all(&mut *txn.connection).await? {
        standing.insert(row.get(0), Standing::stored([row.get(1), row.get(2), row.get(3), row.get(4)], row.get(5)));
    }
    Ok(standing)
}

/// Write down how far the page's messages moved their conversations.
pub(super) async fn advance(txn: &mut Txn<'_>, standing: &HashMap<i64, Standing>) -> Result<(), Failure> {
    if standing.is_empty() {
        return Ok(());
    }
    let mut rows: Vec<(i64, Standing)> = standing.iter().map(|(id, standing)| (*id, *standing)).collect();
    rows.sort_unstable_by_key(|(id, _)| *id);
    let sql = "UPDATE conversation AS c SET messages = j.messages, last_seq = j.last_seq, last_at = j.last_at, \
               last_id = j.last_id, own_order = j.own_order \
               FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[]) \
               AS j (id, messages, last_seq, last_at, last_id, own_order) WHERE c.instance = $1 AND c.id = j.id";
    let numbers = |number: fn(&Standing) -> i64| rows.iter().map(|(_, row)| number(row)).collect::<Vec<i64>>();
    sqlx::query(sql)
        .bind(txn.instance)
        .bind(rows.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .bind(numbers(|row| row.messages))
        .bind(numbers(|row| row.last_seq))
        .bind(numbers(|row| row.last_at))
        .bind(numbers(|row| row.last_id))
        .bind(rows.iter().map(|(_, row)| row.own_order).collect::<Vec<_>>())
        .execute(&mut *txn.connection)
        .await?;
    txn.learnt.standing.extend(rows.into_iter().map(|(id, standing)| (id, standing.settled())));
    Ok(())
}
