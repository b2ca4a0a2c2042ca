//! The conversations of a page: given ids, described, and moved on by its messages.

use super::DAY;
use super::bulk::{Bulk, Values, id_list};
use super::commit::{Ids, Txn};
use super::error::Failure;
use super::fold::fold;
use super::people::merge;
use sqlx::Row;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::LazyLock;
use stele_archive::label;
use stele_archive::model::{Conversation, ConversationKind, Message};

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

/// What a conversation is while the page's messages are added to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub messages: i64,
    pub last_seq: i64,
    pub last_at: i64,
    pub last_id: i64,
    /// Whether the order by number is not that by id.
    pub own_order: bool,
    /// The same, before the page.
    own_order_before: bool,
    /// The day of the latest message before the page.
    day_before: Option<i64>,
}

impl Standing {
    const NEW: Self = Self {
        messages: 0,
        last_seq: 0,
        last_at: i64::MIN,
        last_id: 0,
        own_order: false,
        own_order_before: false,
        day_before: None,
    };

    /// One more message. Numbers it when the source did not. The `newest` has a greater id than all before.
    pub fn add(&mut self, (id, newest): (i64, bool), sent_at: i64, seq: Option<i64>) -> i64 {
        let seq = seq.unwrap_or(self.last_seq + 1);
        self.own_order |= self.messages > 0 && !(newest && seq > self.last_seq);
        self.messages += 1;
        self.last_seq = self.last_seq.max(seq);
        if self.last_id == 0 || (sent_at, id) > (self.last_at, self.last_id) {
            (self.last_at, self.last_id) = (sent_at, id);
        }
        seq
    }

    /// Whether the page brought a number out of order, the first of its conversation.
    pub fn is_first_astray(&self) -> bool {
        self.own_order && !self.own_order_before
    }

    /// How it stands when the next page comes.
    fn settled(self) -> Self {
        Self { day_before: self.day(), own_order_before: self.own_order, ..self }
    }

    /// The UTC day of the latest message.
    pub fn day(&self) -> Option<i64> {
        (self.last_id > 0).then(|| self.last_at.div_euclid(DAY))
    }

    /// Whether the page brought its first messages.
    pub fn is_first(&self) -> bool {
        self.day_before.is_none() && self.messages > 0
    }

    /// Whether the page brought a latest message of another day, or the first.
    pub fn another_day(&self) -> bool {
        self.day_before != self.day()
    }
}

/// The page's conversations.
pub(super) struct Interned<'a> {
    pub ids: Ids<'a>,
    /// Those that new messages go to.
    pub standing: HashMap<i64, Standing>,
    /// Those that lists show otherwise now: under another title, or as of another kind.
    pub relisted: Vec<i64>,
}

/// Ids and descriptions. Unknown conversations are created.
pub(super) async fn intern<'a>(
    txn: &mut Txn<'_>,
    described: &'a [Conversation],
    fresh: &[&'a Message],
) -> Result<Interned<'a>, Failure> {
    let told = told(described);
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
    Ok(Interned { ids, standing, relisted })
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
        let known = Standing {
            messages: row.get(1),
            last_seq: row.get(2),
            last_at: row.get(3),
            last_id: row.get(4),
            own_order: row.get(5),
            ..Standing::NEW
        };
        standing.insert(row.get(0), known.settled());
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

/// What a page says of a conversation, merged if it describes it twice.
#[derive(Default)]
struct Told<'a> {
    /// Its words on the kind, in order: what they come to depends on what is known.
    kinds: Vec<&'a ConversationKind>,
    /// The rest.
    words: Conversation,
}

impl Told<'_> {
    /// The kind of one known as `known`.
    fn kind<'k>(&'k self, known: &'k ConversationKind) -> &'k ConversationKind {
        self.kinds.iter().fold(known, |known, told| if told.corrects(known) { told } else { known })
    }
}

fn told(described: &[Conversation]) -> HashMap<&str, Told<'_>> {
    let mut told: HashMap<&str, Told<'_>> = HashMap::new();
    for conversation in described {
        let Told { kinds, words: known } = told.entry(&conversation.native_id).or_default();
        kinds.extend(&conversation.kind);
        if !conversation.partition.is_empty() {
            known.partition.clone_from(&conversation.partition);
        }
        merge(&mut known.title, conversation.title.as_ref());
        merge(&mut known.owner, conversation.owner.as_ref());
        merge(&mut known.archived, conversation.archived.as_ref());
        merge(&mut known.deleted, conversation.deleted.as_ref());
        merge(&mut known.attributes, conversation.attributes.as_ref());
    }
    told
}

/// Shown under the name of the other one?
fn is_pair(kind: &ConversationKind) -> bool {
    matches!(kind, ConversationKind::Direct | ConversationKind::External | ConversationKind::Service)
}

async fn create<'a>(
    txn: &mut Txn<'_>,
    unknown: &[&'a str],
    ids: &mut Ids<'a>,
    told: &HashMap<&'a str, Told<'_>>,
) -> Result<HashMap<i64, Standing>, Failure> {
    let nothing = Told::default();
    let mut standing = HashMap::new();
    let mut created = Vec::new();
    for native in unknown {
        let id = ids.get_mut(native).expect("asked for");
        if *id == 0 {
            *id = txn.memory.next_conversation;
            txn.memory.next_conversation += 1;
            let told = told.get(native).unwrap_or(&nothing);
            let kind = told.kind(&ConversationKind::System);
            let word = txn.memory.word(txn.connection, kind.as_str()).await?;
            standing.insert(*id, Standing::NEW);
            created.push((*id, *native, word, is_pair(kind), &told.words));
        }
        txn.memory.interned(txn.instance).conversations.insert((*native).into(), *id);
    }
    for (sql, conversations) in CREATE.cut(&created) {
        let mut values = Values::with_capacity(conversations.len() * 12);
        for (id, native, kind, pair, told) in conversations {
            let title = told.title.as_deref().unwrap_or_default();
            values.put(*id)?;
            values.put(txn.instance)?;
            values.put(*native)?;
            values.put(if told.partition.is_empty() { txn.partition } else { &told.partition })?;
            values.put(*kind)?;
            values.put(i64::from(*pair))?;
            values.put(title)?;
            values.put(fold(label(title, native)))?;
            values.put(told.owner.as_deref().unwrap_or_default())?;
            values.put(told.attributes.as_deref())?;
            values.put(told.archived.unwrap_or_default())?;
            values.put(told.deleted.unwrap_or_default())?;
        }
        sqlx::query_with(sql, values.done()).execute(&mut *txn.connection).await?;
    }
    Ok(standing)
}

/// Merge what the page says into the conversations that were known. Returns those that lists show otherwise now.
async fn describe(
    txn: &mut Txn<'_>,
    ids: &Ids<'_>,
    told: &HashMap<&str, Told<'_>>,
    created: &HashMap<i64, Standing>,
) -> Result<Vec<i64>, Failure> {
    let known: HashMap<i64, (&str, &Told<'_>)> = told
        .iter()
        .map(|(native, told)| (ids[native], (*native, told)))
        .filter(|(id, _)| !created.contains_key(id))
        .collect();
    let mut relisted = Vec::new();
    if known.is_empty() {
        return Ok(relisted);
    }
    for row in sqlx::query(STORED).bind(id_list(known.keys().copied())).fetch_all(&mut *txn.connection).await? {
        let id: i64 = row.get(0);
        let (native, Told { words: told, .. }) = known[&id];
        let (partition, title, owner) = (row.get::<&str, _>(1), row.get::<&str, _>(2), row.get::<&str, _>(3));
        let attributes: Option<&str> = row.get(4);
        let put_away: (bool, bool) = (row.get(6), row.get(7));
        let kind = ConversationKind::from(row.get::<&str, _>(5));
        let new_partition = if told.partition.is_empty() { partition } else { &told.partition };
        let new_title = told.title.as_deref().unwrap_or(title);
        let new_owner = told.owner.as_deref().unwrap_or(owner);
        let new_attributes = told.attributes.as_deref().or(attributes);
        let new_kind = known[&id].1.kind(&kind);
        let new_put_away = (told.archived.unwrap_or(put_away.0), told.deleted.unwrap_or(put_away.1));
        if (new_kind, new_partition, new_title, new_owner, new_attributes, new_put_away)
            == (&kind, partition, title, owner, attributes, put_away)
        {
            continue;
        }
        if new_title != title || *new_kind != kind {
            relisted.push(id);
        }
        let word = txn.memory.word(txn.connection, new_kind.as_str()).await?;
        let update = "UPDATE conversation SET kind = ?, pair = ?, partition = ?, title = ?, folded = ?, owner = ?, \
                      attributes = ?, archived = ?, deleted = ? WHERE id = ?";
        sqlx::query(update)
            .bind(word)
            .bind(is_pair(new_kind))
            .bind(new_partition)
            .bind(new_title)
            .bind(fold(label(new_title, native)))
            .bind(new_owner)
            .bind(new_attributes)
            .bind(new_put_away.0)
            .bind(new_put_away.1)
            .bind(id)
            .execute(&mut *txn.connection)
            .await?;
    }
    Ok(relisted)
}
