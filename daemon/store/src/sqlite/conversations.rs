//! The conversations of a page: given ids, described, and moved on by its messages.

use super::bulk::{Bulk, Values, id_list};
use super::commit::Txn;
use super::error::Failure;
use crate::common::Ids;
use crate::common::fold::fold;
use crate::common::standing::{Conversations, Standing};
use crate::common::told::{self, KnownConversation, ToldConversation};
use sqlx::Row;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::LazyLock;
use stele_archive::label;
use stele_archive::model::{Conversation, Message};

static FIND: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new("SELECT native_id, id FROM conversation WHERE instance = ? AND native_id IN (", "?", ")")
});
static CREATE: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT OR FAIL INTO conversation \
         (id, instance, native_id, partition, kind, pair, title, folded, owner, attributes, archived, deleted) VALUES",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "",
    )
});
static ADVANCE: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH j (id, messages, last_seq, last_at, last_id, own_order) AS (VALUES",
        "(?, ?, ?, ?, ?, ?)",
        ") UPDATE OR FAIL conversation SET messages = j.messages, last_seq = j.last_seq, last_at = j.last_at, \
         last_id = j.last_id, own_order = j.own_order FROM j WHERE conversation.id = j.id",
    )
});

/// What is known of conversations a page describes. Parameter: their ids.
const STORED: &str = "SELECT c.id, c.partition, c.title, c.owner, c.attributes, w.word, c.archived, c.deleted \
    FROM json_each(?) AS j CROSS JOIN conversation AS c ON c.id = j.value CROSS JOIN word AS w ON w.id = c.kind";

/// Ids and descriptions. Unknown conversations are created.
pub(super) async fn intern<'a>(
    txn: &mut Txn<'_>,
    described: &'a [Conversation],
    fresh: &[&'a Message],
) -> Result<Conversations<'a>, Failure> {
    let told = told::conversations(described);
    let mut ids = Ids::new();
    let mut unknown: Vec<&'a str> = Vec::new();
    {
        let remembered = &mut txn.memory.interned(txn.instance).conversations;
        let mut want = |native: &'a str| {
            if !ids.contains_key(native) {
                let id = remembered.get(native).unwrap_or_else(|| {
                    unknown.push(native);
                    0
                });
                ids.insert(native, id);
            }
        };
        fresh.iter().for_each(|message| want(&message.conversation));
        described.iter().for_each(|conversation| want(&conversation.native_id));
    }
    for (sql, natives) in FIND.cut(&unknown) {
        let mut values = Values::with_capacity(natives.len() + 1);
        values.put(txn.instance)?;
        for native in natives {
            values.put(*native)?;
        }
        for row in sqlx::query_with(sql, values.done()).fetch_all(&mut *txn.connection).await? {
            *ids.get_mut(row.get::<&str, _>(0)).expect("asked for") = row.get(1);
        }
    }
    let created = create(txn, &unknown, &mut ids, &told).await?;
    let relisted = describe(txn, &ids, &told, &created).await?;
    let standing = stand(txn, &ids, created, fresh).await?;
    Ok(Conversations { ids, standing, relisted })
}

/// How the conversations stand that new messages go to: as created, as remembered, or as the file tells.
async fn stand(
    txn: &mut Txn<'_>,
    ids: &Ids<'_>,
    created: HashMap<i64, Standing>,
    fresh: &[&Message],
) -> Result<HashMap<i64, Standing>, Failure> {
    let mut standing = HashMap::with_capacity(ids.len());
    let mut unknown = Vec::new();
    for message in fresh {
        let id = ids[message.conversation.as_str()];
        if let Entry::Vacant(place) = standing.entry(id) {
            let known = created.get(&id).copied().or_else(|| txn.memory.standing.get(&id));
            if known.is_none() {
                unknown.push(id);
            }
            place.insert(known.unwrap_or(Standing::NEW));
        }
    }
    if unknown.is_empty() {
        return Ok(standing);
    }
    let stored = "SELECT id, messages, last_seq, last_at, last_id, own_order FROM conversation \
                  WHERE id IN (SELECT value FROM json_each(?))";
    for row in sqlx::query(stored).bind(id_list(unknown)).fetch_all(&mut *txn.connection).await? {
        standing.insert(row.get(0), Standing::stored([row.get(1), row.get(2), row.get(3), row.get(4)], row.get(5)));
    }
    Ok(standing)
}

/// Write down how far the page's messages moved their conversations.
pub(super) async fn advance(txn: &mut Txn<'_>, standing: &HashMap<i64, Standing>) -> Result<(), Failure> {
    let mut rows: Vec<_> = standing.iter().collect();
    rows.sort_unstable_by_key(|(id, _)| **id);
    for (sql, rows) in ADVANCE.cut(&rows) {
        let mut values = Values::with_capacity(rows.len() * 6);
        for (id, standing) in rows {
            for number in [**id, standing.messages, standing.last_seq, standing.last_at, standing.last_id] {
                values.put(number)?;
            }
            values.put(standing.own_order)?;
        }
        sqlx::query_with(sql, values.done()).execute(&mut *txn.connection).await?;
    }
    for (id, standing) in rows {
        txn.memory.standing.insert(*id, standing.settled());
    }
    Ok(())
}

async fn create<'a>(
    txn: &mut Txn<'_>,
    unknown: &[&'a str],
    ids: &mut Ids<'a>,
    told: &HashMap<&'a str, ToldConversation<'_>>,
) -> Result<HashMap<i64, Standing>, Failure> {
    let mut standing = HashMap::new();
    let mut created = Vec::new();
    for native in unknown {
        let id = ids.get_mut(native).expect("asked for");
        if *id == 0 {
            *id = txn.memory.next_conversation;
            txn.memory.next_conversation += 1;
            let new = KnownConversation::new(txn.partition);
            let new = told.get(native).map(|told| new.told(told)).unwrap_or(new);
            let word = txn.memory.word(txn.connection, new.kind.as_str()).await?;
            standing.insert(*id, Standing::NEW);
            created.push((*id, *native, word, new));
        }
        txn.memory.interned(txn.instance).conversations.insert((*native).into(), *id);
    }
    for (sql, conversations) in CREATE.cut(&created) {
        let mut values = Values::with_capacity(conversations.len() * 12);
        for (id, native, kind, new) in conversations {
            values.put(*id)?;
            values.put(txn.instance)?;
            values.put(*native)?;
            values.put(new.partition.as_str())?;
            values.put(*kind)?;
            values.put(new.is_pair())?;
            values.put(new.title.as_str())?;
            values.put(fold(label(&new.title, native)))?;
            values.put(new.owner.as_str())?;
            values.put(new.attributes.as_deref())?;
            values.put(new.archived)?;
            values.put(new.deleted)?;
        }
        sqlx::query_with(sql, values.done()).execute(&mut *txn.connection).await?;
    }
    Ok(standing)
}

/// Merge what the page says into the conversations that were known. Returns those that lists show otherwise now.
async fn describe(
    txn: &mut Txn<'_>,
    ids: &Ids<'_>,
    told: &HashMap<&str, ToldConversation<'_>>,
    created: &HashMap<i64, Standing>,
) -> Result<Vec<i64>, Failure> {
    let told: HashMap<i64, (&str, &ToldConversation<'_>)> = told
        .iter()
        .map(|(native, told)| (ids[native], (*native, told)))
        .filter(|(id, _)| !created.contains_key(id))
        .collect();
    let mut relisted = Vec::new();
    if told.is_empty() {
        return Ok(relisted);
    }
    for row in sqlx::query(STORED).bind(id_list(told.keys().copied())).fetch_all(&mut *txn.connection).await? {
        let id: i64 = row.get(0);
        let (native, told) = told[&id];
        let known = KnownConversation {
            partition: row.get(1),
            title: row.get(2),
            owner: row.get(3),
            attributes: row.get(4),
            kind: row.get::<&str, _>(5).into(),
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
        let word = txn.memory.word(txn.connection, new.kind.as_str()).await?;
        let update = "UPDATE conversation SET kind = ?, pair = ?, partition = ?, title = ?, folded = ?, owner = ?, \
                      attributes = ?, archived = ?, deleted = ? WHERE id = ?";
        sqlx::query(update)
            .bind(word)
            .bind(new.is_pair())
            .bind(&new.partition)
            .bind(&new.title)
            .bind(fold(label(&new.title, native)))
            .bind(&new.owner)
            .bind(&new.attributes)
            .bind(new.archived)
            .bind(new.deleted)
            .bind(id)
            .execute(&mut *txn.connection)
            .await?;
    }
    Ok(relisted)
}
