//! Tamper evidence: a chain of hashes over the committed pages, see [`hash`](crate::common::hash).

use super::SqliteArchive;
use super::commit::Txn;
use super::error::Failure;
use crate::common::hash::{Entry, Leaf, LedgerReport, NONE, Origin, PageHash};
use crate::common::packing::{labels, unpack};
use futures::TryStreamExt;
use sqlx::{Row, SqliteConnection};
use std::collections::HashMap;
use stele_archive::Result;

/// Add the page to the chain.
pub(super) async fn append(txn: &mut Txn<'_>, entry: Entry<'_>) -> Result<(), Failure> {
    let (origin, hash) = entry.done();
    txn.memory.hash = hash;
    let sql = "INSERT INTO ledger (instance, partition, stream, at, first_rev, last_rev, messages, hash) \
               VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(sql)
        .bind(origin.instance)
        .bind(origin.partition)
        .bind(origin.stream)
        .bind(origin.at)
        .bind(origin.first_rev)
        .bind(origin.last_rev)
        .bind(origin.messages)
        .bind(&hash[..])
        .execute(&mut *txn.connection)
        .await?;
    Ok(())
}

impl SqliteArchive {
    /// Compute the whole chain again and compare. Reads every message, in one snapshot. `seen` is told the messages and the
    /// hash of each page, as it must be, in their order.
    pub async fn verify_ledger(&self, seen: impl FnMut(u64, &[u8; 32]) + Send) -> Result<LedgerReport> {
        let mut snapshot = self.read().await?;
        Ok(verify(&mut snapshot, seen).await?)
    }
}

async fn verify(
    connection: &mut SqliteConnection,
    mut seen: impl FnMut(u64, &[u8; 32]) + Send,
) -> Result<LedgerReport, Failure> {
    /// Pages read at a time.
    const BATCH: i64 = 1000;
    let mut report = LedgerReport::default();
    let mut names = HashMap::new();
    let mut before = NONE;
    let mut after = 0_i64;
    loop {
        let sql = "SELECT id, instance, partition, stream, at, first_rev, last_rev, messages, hash FROM ledger \
                   WHERE id > ? ORDER BY id LIMIT ?";
        let pages = sqlx::query(sql).bind(after).bind(BATCH).fetch_all(&mut *connection).await?;
        let Some(last) = pages.last() else { break };
        after = last.get(0);
        for page in &pages {
            let origin = Origin {
                instance: page.get(1),
                partition: page.get(2),
                stream: page.get(3),
                at: page.get(4),
                first_rev: page.get(5),
                last_rev: page.get(6),
                messages: page.get(7),
            };
            let (hash, messages) = hash_page(connection, &before, &origin, &mut names).await?;
            report.page(messages, &hash, page.get(8));
            seen(messages, &hash);
            before = hash;
        }
    }
    let all: i64 = sqlx::query_scalar("SELECT count(*) FROM message").fetch_one(connection).await?;
    report.uncovered = all.cast_unsigned().saturating_sub(report.messages);
    Ok(report)
}

/// The hash of a page as the tables tell it, and how many messages it has.
async fn hash_page(
    connection: &mut SqliteConnection,
    before: &[u8],
    origin: &Origin<'_>,
    names: &mut HashMap<i64, String>,
) -> Result<([u8; 32], u64), Failure> {
    let mut hash = PageHash::new(before, origin);
    // Revisions that are ids come from the table, the others from the index of late ones; together they are in order.
    let sql = "SELECT m.id, ifnull(m.late, m.id) AS rev, m.seq, m.sent_at, m.expires_at, m.native_id, \
               ifnull(m.client_id, ''), c.native_id, ifnull(p.native_id, ''), w.word, m.text, m.body, m.recipients, m.labels \
               FROM (SELECT id FROM message WHERE id BETWEEN ?1 AND ?2 AND late IS NULL \
                     UNION ALL SELECT id FROM message WHERE late BETWEEN ?1 AND ?2) AS r \
               CROSS JOIN message m ON m.id = r.id JOIN conversation c ON c.id = m.conversation \
               JOIN word w ON w.id = m.kind LEFT JOIN person p ON p.id = m.sender ORDER BY rev";
    let mut late = Vec::new();
    {
        let mut rows = sqlx::query(sql).bind(origin.first_rev).bind(origin.last_rev).fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            late.push(row);
        }
    }
    for row in &late {
        let recipients = unpack(row.get::<Option<&[u8]>, _>(12).unwrap_or_default());
        for id in &recipients {
            if !names.contains_key(id) {
                let sql = "SELECT native_id FROM person WHERE id = ?";
                let name: Option<String> = sqlx::query_scalar(sql).bind(*id).fetch_optional(&mut *connection).await?;
                names.insert(*id, name.unwrap_or_default());
            }
        }
        let leaf = Leaf {
            id: row.get(0),
            rev: row.get(1),
            seq: row.get(2),
            sent_at: row.get(3),
            expires_at: row.get(4),
            native_id: row.get(5),
            client_id: row.get(6),
            conversation: row.get(7),
            sender: row.get(8),
            kind: row.get(9),
            text: row.get(10),
            body: row.get(11),
        };
        let labels = labels(row.get(13));
        hash.message(&leaf, recipients.iter().map(|id| names[id].as_str()), labels.iter().map(String::as_str));
    }
    Ok((hash.done(), late.len() as u64))
}
