//! The people of a page: given ids, and what the source says about them.

use super::commit::Txn;
use super::error::Failure;
use super::head::next;
use super::text::written;
use crate::common::Ids;
use crate::common::fold::fold;
use crate::common::message::named;
use crate::common::rows::Columns;
use crate::common::told::{self, KnownPerson};
use sqlx::Row;
use std::collections::HashMap;
use stele_archive::label;
use stele_archive::model::{Message, Page, Person};

/// Ids of everybody the page and its new messages name. Unknown people are created without a name.
pub(super) async fn intern<'a>(txn: &mut Txn<'_>, page: &'a Page, fresh: &[&'a Message]) -> Result<Ids<'a>, Failure> {
    let mut ids = Ids::new();
    let mut unknown: Vec<&str> = Vec::new();
    let remembered = &mut txn.memory.interned(txn.instance).people;
    for native in named(page, fresh) {
        match remembered.get(native) {
            Some(id) => _ = ids.insert(native, id),
            None => unknown.push(native),
        }
    }
    if unknown.is_empty() {
        return Ok(ids);
    }
    let found = sqlx::query("SELECT native_id, id FROM person WHERE instance = $1 AND native_id = ANY($2)")
        .bind(txn.instance)
        .bind(unknown.iter().map(|native| written(native)).collect::<Vec<_>>())
        .fetch_all(&mut *txn.connection)
        .await?;
    let found: HashMap<String, i64> = found.iter().map(|row| (row.text(0), row.get(1))).collect();
    let mut created: Vec<(i64, &str)> = Vec::new();
    for native in unknown {
        let id = found.get(native).copied().unwrap_or_else(|| {
            let id = next(&mut txn.head.next_person);
            created.push((id, native));
            id
        });
        ids.insert(native, id);
        txn.learnt.people.push((native.into(), id));
    }
    if created.is_empty() {
        return Ok(ids);
    }
    let sql = "INSERT INTO person (instance, id, native_id, folded) \
               SELECT $1, j.* FROM unnest($2::bigint[], $3::text[], $4::text[]) AS j";
    let folded: Vec<String> = created.iter().map(|(_, native)| fold(label("", native))).collect();
    sqlx::query(sql)
        .bind(txn.instance)
        .bind(created.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .bind(created.iter().map(|(_, native)| written(native)).collect::<Vec<_>>())
        .bind(folded.iter().map(|folded| written(folded)).collect::<Vec<_>>())
        .execute(&mut *txn.connection)
        .await?;
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
    let mut changed: Vec<(i64, String, KnownPerson)> = Vec::new();
    let mut renamed = Vec::new();
    let stored = "SELECT id, kind, name, avatar, attributes FROM person WHERE instance = $1 AND id = ANY($2)";
    let stored = sqlx::query(stored).bind(txn.instance).bind(told.keys().copied().collect::<Vec<_>>());
    for row in stored.fetch_all(&mut *txn.connection).await? {
        let id: i64 = row.get(0);
        let known = KnownPerson {
            kind: row.some_text(1),
            name: row.text(2),
            avatar: row.text(3),
            attributes: row.some_text(4),
        };
        let person = known.told(told[&id]);
        if person.name != known.name {
            renamed.push(id);
        }
        if person != known {
            changed.push((id, fold(label(&person.name, &told[&id].native_id)), person));
        }
    }
    if changed.is_empty() {
        return Ok(renamed);
    }
    let sql = "UPDATE person AS p SET kind = j.kind, name = j.name, folded = j.folded, avatar = j.avatar, attributes = j.attributes \
               FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) \
               AS j (id, kind, name, folded, avatar, attributes) WHERE p.instance = $1 AND p.id = j.id";
    let people = || changed.iter().map(|(.., person)| person);
    sqlx::query(sql)
        .bind(txn.instance)
        .bind(changed.iter().map(|(id, ..)| *id).collect::<Vec<_>>())
        .bind(people().map(|person| person.kind.as_deref().map(written)).collect::<Vec<_>>())
        .bind(people().map(|person| written(&person.name)).collect::<Vec<_>>())
        .bind(changed.iter().map(|(_, folded, _)| written(folded)).collect::<Vec<_>>())
        .bind(people().map(|person| written(&person.avatar)).collect::<Vec<_>>())
        .bind(people().map(|person| person.attributes.as_deref().map(written)).collect::<Vec<_>>())
        .execute(&mut *txn.connection)
        .await?;
    Ok(renamed)
}
