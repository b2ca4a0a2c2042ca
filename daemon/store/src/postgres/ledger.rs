//! Tamper evidence: a chain of hashes over the committed pages, see [`hash`](crate::common::hash).

use super::PostgresArchive;
use super::error::Failure;
use crate::common::hash::{Leaf, LedgerReport, NONE, Origin, PageHash};
use crate::common::packing::{labels, unpack};
use crate::common::recent::Recent;
use crate::common::rows::Columns;
use futures::TryStreamExt;
use sqlx::{PgConnection, Row};
use std::collections::{HashMap, HashSet};
use stele_archive::Result;

/// Pages read at a time.
const PAGES: i64 = 1000;
/// Messages of a page whose recipients are known at a time.
const MESSAGES: i64 = 500;
/// Native ids of people that are kept.
const NAMES: usize = 1 << 16;

/// Ids of people to their native ids.
type Names = Recent<i64, std::sync::Arc<str>>;

impl PostgresArchive {
    /// Compute the whole chain again and compare. Reads every message, in one snapshot. `seen` is told the messages and the
    /// hash of each page, as it must be, in their order.
    pub async fn verify_ledger(&self, seen: impl FnMut(u64, &[u8; 32]) + Send) -> Result<LedgerReport> {
        let mut snapshot = self.read_whole().await?;
        Ok(verify(&mut snapshot, seen).await?)
    }
}

async fn verify(
    connection: &mut PgConnection,
    mut seen: impl FnMut(u64, &[u8; 32]) + Send,
) -> Result<LedgerReport, Failure> {
    let mut report = LedgerReport::default();
    let mut names = Names::new(NAMES);
    let (mut before, mut after) = (NONE, 0_i64);
    loop {
        let sql = "SELECT l.* FROM instance AS i CROSS JOIN LATERAL ( \
                       SELECT id, instance, partition, stream, at, first_rev, last_rev, messages, hash FROM ledger \
                       WHERE instance = i.id AND id > $1 ORDER BY id LIMIT $2 \
                   ) AS l ORDER BY l.id LIMIT $2";
        let pages = sqlx::query(sql).bind(after).bind(PAGES).fetch_all(&mut *connection).await?;
        let Some(last) = pages.last() else { break };
        after = last.get(0);
        for page in &pages {
            let (partition, stream) = (page.text(2), page.text(3));
            let origin = Origin {
                instance: page.get(1),
                partition: &partition,
                stream: &stream,
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
    let sql = "SELECT n FROM instance AS i CROSS JOIN LATERAL ( \
                   SELECT count(*) AS n FROM message WHERE instance = i.id) AS m";
    let all: i64 = sqlx::query_scalar::<_, i64>(sql).fetch_all(connection).await?.iter().sum();
    report.uncovered = all.cast_unsigned().saturating_sub(report.messages);
    Ok(report)
}

/// The hash of a page as the tables tell it, and how many messages it has.
async fn hash_page(
    connection: &mut PgConnection,
    before: &[u8],
    origin: &Origin<'_>,
    names: &mut Names,
) -> Result<([u8; 32], u64), Failure> {
    let mut hash = PageHash::new(before, origin);
    let mut count = 0;
    let mut from = origin.first_rev;
    // By revision; the recipients of some are looked up first, then those pass by one by one, however long they are.
    while from <= origin.last_rev {
        let sql =
            "SELECT rev, recipients FROM message WHERE instance = $1 AND rev BETWEEN $2 AND $3 ORDER BY rev LIMIT $4";
        let told = sqlx::query(sql).bind(origin.instance).bind(from).bind(origin.last_rev).bind(MESSAGES);
        let told = told.fetch_all(&mut *connection).await?;
        let Some(last) = told.last() else { break };
        let to: i64 = last.get(0);
        let recipients: HashSet<i64> =
            told.iter().flat_map(|row| unpack(row.get::<Option<&[u8]>, _>(1).unwrap_or_default())).collect();
        let known = natives(connection, origin.instance, recipients, names).await?;

        let sql = "SELECT m.id, m.rev, m.seq, m.sent_at, m.expires_at, m.native_id, m.client_id, c.native_id, p.native_id, \
                   w.word, m.text, m.body, m.recipients, m.labels FROM message AS m \
                   JOIN conversation AS c ON c.instance = $1 AND c.id = m.conversation JOIN word AS w ON w.id = m.kind \
                   LEFT JOIN person AS p ON p.instance = $1 AND p.id = m.sender \
                   WHERE m.instance = $1 AND m.rev BETWEEN $2 AND $3 ORDER BY m.rev";
        let mut rows = sqlx::query(sql).bind(origin.instance).bind(from).bind(to).fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            let native = row.text(5);
            let client_id = row.some_text(6).unwrap_or_default();
            let (conversation, sender) = (row.text(7), row.some_text(8).unwrap_or_default());
            let (kind, text) = (row.text(9), row.text(10));
            let leaf = Leaf {
                id: row.get(0),
                rev: row.get(1),
                seq: row.get(2),
                sent_at: row.get(3),
                expires_at: row.get(4),
                native_id: &native,
                client_id: &client_id,
                conversation: &conversation,
                sender: &sender,
                kind: &kind,
                text: &text,
                body: row.get(11),
            };
            let recipients = unpack(row.get::<Option<&[u8]>, _>(12).unwrap_or_default());
            let recipients = recipients.iter().map(|id| known.get(id).map_or("", |native| native));
            let labels = labels(row.get(13));
            hash.message(&leaf, recipients, labels.iter().map(String::as_str));
            count += 1;
        }
        from = to + 1;
    }
    Ok((hash.done(), count))
}

/// Native ids of people; those that are lost are left out.
async fn natives(
    connection: &mut PgConnection,
    instance: i64,
    people: HashSet<i64>,
    names: &mut Names,
) -> Result<HashMap<i64, std::sync::Arc<str>>, Failure> {
    let mut known = HashMap::with_capacity(people.len());
    let mut unknown = Vec::new();
    for person in people {
        match names.get(&person) {
            Some(native) => _ = known.insert(person, native),
            None => unknown.push(person),
        }
    }
    if !unknown.is_empty() {
        let sql = "SELECT id, native_id FROM person WHERE instance = $1 AND id = ANY($2)";
        for row in sqlx::query(sql).bind(instance).bind(unknown).fetch_all(connection).await? {
            let native: std::sync::Arc<str> = row.text(1).into();
            names.insert(row.get(0), native.clone());
            known.insert(row.get(0), native);
        }
    }
    Ok(known)
}
