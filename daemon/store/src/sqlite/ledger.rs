//! Tamper evidence: a chain of hashes over the committed pages.
//!
//! Every page that brought messages leaves a row in the ledger: SHA-256 over the hash of the row before, the page's
//! origin, and every message of it as it was stored (native ids, numbers, times, kind, text, body, labels). Whoever changes,
//! removes or adds a message later, or a row of the ledger, breaks every hash from there on; whoever keeps the latest
//! hash elsewhere can tell. What an archive must be able to change is not covered: names of people, marks of revocation, and
//! who is a member.

use super::SqliteArchive;
use super::commit::Txn;
use super::error::Failure;
use super::messages::{NewMessage, labels, unpack};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::{Row, SqliteConnection};
use std::collections::HashMap;
use stele_archive::{Result, Stream};

/// What a check of the ledger found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerReport {
    /// Pages in the ledger.
    pub pages: u64,
    /// Messages they cover.
    pub messages: u64,
    /// Lower-case hex hash of the latest page; empty in an empty archive. Kept elsewhere, it proves the whole.
    pub head: String,
    /// The first page that does not match its hash, counted from 1: what it covers, or its row, was changed.
    pub broken: Option<u64>,
    /// Messages that no page covers.
    pub uncovered: u64,
}

/// The origin of a page.
struct Origin<'a> {
    instance: i64,
    partition: &'a str,
    stream: &'a str,
    at: i64,
    first_rev: i64,
    last_rev: i64,
    messages: i64,
}

/// What is hashed of a message.
struct Leaf<'a> {
    id: i64,
    rev: i64,
    seq: i64,
    sent_at: i64,
    expires_at: Option<i64>,
    native_id: &'a str,
    client_id: &'a str,
    conversation: &'a str,
    sender: &'a str,
    kind: &'a str,
    text: &'a str,
    body: &'a [u8],
}

/// A page's hash, fed field by field; texts and bytes carry their length, so that none can lend bytes to its neighbour.
struct PageHash(Sha256);

impl PageHash {
    fn new(before: &[u8], origin: &Origin<'_>) -> Self {
        let mut hash = Self(Sha256::new());
        hash.bytes(b"stele ledger 1");
        hash.bytes(before);
        hash.bytes(origin.partition.as_bytes());
        hash.bytes(origin.stream.as_bytes());
        hash.numbers(&[origin.instance, origin.at, origin.first_rev, origin.last_rev, origin.messages]);
        hash
    }

    fn message<'r, R, L>(&mut self, leaf: &Leaf<'_>, recipients: R, labels: L)
    where
        R: ExactSizeIterator<Item = &'r str>,
        L: ExactSizeIterator<Item = &'r str>,
    {
        let expires_at = leaf.expires_at.unwrap_or(i64::MIN);
        // Both numbers in one: a message without labels is hashed as it was before there were any.
        let lists = (labels.len() as i64) << 32 | recipients.len() as i64;
        self.numbers(&[leaf.id, leaf.rev, leaf.seq, leaf.sent_at, expires_at, lists]);
        for text in [leaf.native_id, leaf.client_id, leaf.conversation, leaf.sender, leaf.kind, leaf.text] {
            self.bytes(text.as_bytes());
        }
        self.bytes(leaf.body);
        recipients.for_each(|recipient| self.bytes(recipient.as_bytes()));
        labels.for_each(|label| self.bytes(label.as_bytes()));
    }

    fn numbers(&mut self, numbers: &[i64]) {
        numbers.iter().for_each(|number| self.0.update(number.to_le_bytes()));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn done(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// A page's entry in the making. Its messages are hashed bit by bit, while the database is busy with others.
pub(super) struct Entry<'r> {
    origin: Origin<'r>,
    hash: PageHash,
    rows: std::slice::Iter<'r, NewMessage<'r>>,
}

impl<'r> Entry<'r> {
    /// For a page of these messages; nothing for none.
    pub fn new(txn: &Txn<'r>, stream: Stream, rows: &'r [NewMessage<'r>]) -> Option<Self> {
        let origin = Origin {
            instance: txn.instance,
            partition: txn.partition,
            stream: stream.as_str(),
            at: txn.now,
            first_rev: rows.first()?.rev,
            last_rev: rows.last()?.rev,
            messages: rows.len() as i64,
        };
        Some(Self { hash: PageHash::new(&txn.memory.hash, &origin), origin, rows: rows.iter() })
    }

    /// Hash at most so many more messages.
    pub fn hash(&mut self, messages: usize) {
        for row in self.rows.by_ref().take(messages) {
            self.hash.row(row);
        }
    }

    /// Hash the rest and add the page to the chain.
    pub async fn append(mut self, txn: &mut Txn<'_>) -> Result<(), Failure> {
        self.hash(usize::MAX);
        let Self { origin, hash, .. } = self;
        txn.memory.hash = hash.done();
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
            .bind(&txn.memory.hash[..])
            .execute(&mut *txn.connection)
            .await?;
        Ok(())
    }
}

impl PageHash {
    fn row(&mut self, row: &NewMessage<'_>) {
        let message = row.message;
        let leaf = Leaf {
            id: row.id,
            rev: row.rev,
            seq: row.seq,
            sent_at: message.sent_at,
            expires_at: message.expires_at,
            native_id: &message.native_id,
            client_id: message.client_id.as_deref().unwrap_or_default(),
            conversation: &message.conversation,
            sender: &message.sender,
            kind: &message.kind,
            text: &message.text,
            body: &message.body,
        };
        let recipients: Vec<&str> =
            message.recipients.iter().map(String::as_str).filter(|native| !native.is_empty()).collect();
        self.message(&leaf, recipients.into_iter(), row.labels.iter().copied());
    }
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
    let mut before = [0_u8; 32];
    let (mut after, mut stored_head) = (0_i64, Vec::new());
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
            stored_head = page.get(8);
            report.pages += 1;
            report.messages += messages;
            if hash[..] != stored_head && report.broken.is_none() {
                report.broken = Some(report.pages);
            }
            seen(messages, &hash);
            before = hash;
        }
    }
    report.head = stored_head.iter().map(|byte| format!("{byte:02x}")).collect();
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
