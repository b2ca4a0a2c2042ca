//! The people of a page: given ids, and what the source says about them.

use super::bulk::{Bulk, Values, id_list};
use super::commit::Txn;
use super::error::Failure;
use crate::common::Ids;
use crate::common::fold::fold;
use crate::common::message::named;
use crate::common::told::{self, KnownPerson};
use sqlx::Row;
use std::collections::HashMap;
use std::sync::LazyLock;
use stele_archive::label;
use stele_archive::model::{Message, Page, Person};

static FIND: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::new("SELECT native_id, id FROM person WHERE instance = ? AND native_id IN (", "?", ")"));
static CREATE: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new("INSERT OR FAIL INTO person (id, instance, native_id, folded) VALUES", "(?, ?, ?, ?)", "")
});
static DESCRIBE: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT OR FAIL INTO person (id, instance, native_id, kind, name, folded, avatar, attributes) VALUES",
        "(?, ?, ?, ?, ?, ?, ?, ?)",
        "ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, name = excluded.name, folded = excluded.folded, \
         avatar = excluded.avatar, attributes = excluded.attributes",
    )
});

/// Ids of everybody the page and its new messages name. Unknown people are created without a name.
pub(super) async fn intern<'a>(txn: &mut Txn<'_>, page: &'a Page, fresh: &[&'a Message]) -> Result<Ids<'a>, Failure> {
    let mut ids = Ids::new();
    let mut unknown: Vec<&str> = Vec::new();
    let remembered = &mut txn.memory.interned(txn.instance).people;
    for native in named(page, fresh) {
        let id = remembered.get(native).unwrap_or_else(|| {
            unknown.push(native);
            0
        });
        ids.insert(native, id);
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
    let mut created = Vec::new();
    for native in &unknown {
        let id = ids.get_mut(native).expect("asked for");
        if *id == 0 {
            *id = txn.memory.next_person;
            txn.memory.next_person += 1;
            created.push((*id, *native));
        }
        txn.memory.interned(txn.instance).people.insert((*native).into(), *id);
    }
    for (sql, people) in CREATE.cut(&created) {
        let mut values = Values::with_capacity(people.len() * 4);
        for (id, native) in people {
            values.put(*id)?;
            values.put(txn.instance)?;
            values.put(*native)?;
            values.put(fold(label("", native)))?;
        }
        sqlx::query_with(sql, values.done()).execute(&mut *txn.connection).await?;
    }
    txn.counters.people += created.len() as i64;
    Ok(ids)
}

/// Merge what the page says about people into what is known. Returns the ids of those whose name changed.
pub(super) async fn describe(txn: &mut Txn<'_>, people: &[Person], ids: &Ids<'_>) -> Result<Vec<i64>, Failure> {
    if people.is_empty() {
        return Ok(Vec::new());
    }
    let told = told::people(people);
    let told: HashMap<i64, &Person> = told.iter().map(|(native, person)| (ids[native], person)).collect();
    let mut changed = Vec::new();
    let mut renamed = Vec::new();
    let stored = "SELECT id, kind, name, avatar, attributes FROM person WHERE id IN (SELECT value FROM json_each(?))";
    for row in sqlx::query(stored).bind(id_list(told.keys().copied())).fetch_all(&mut *txn.connection).await? {
        let id: i64 = row.get(0);
        let known = KnownPerson { kind: row.get(1), name: row.get(2), avatar: row.get(3), attributes: row.get(4) };
        let person = known.told(told[&id]);
        if person.name != known.name {
            renamed.push(id);
        }
        if person != known {
            changed.push((id, told[&id].native_id.as_str(), person));
        }
    }
    for (sql, people) in DESCRIBE.cut(&changed) {
        let mut values = Values::with_capacity(people.len() * 8);
        for (id, native, KnownPerson { kind, name, avatar, attributes }) in people {
            values.put(*id)?;
            values.put(txn.instance)?;
            values.put(*native)?;
            values.put(kind.as_deref())?;
            values.put(name.as_str())?;
            values.put(fold(label(name, native)))?;
            values.put(avatar.as_str())?;
            values.put(attributes.as_deref())?;
        }
        sqlx::query_with(sql, values.done()).execute(&mut *txn.connection).await?;
    }
    Ok(renamed)
}
