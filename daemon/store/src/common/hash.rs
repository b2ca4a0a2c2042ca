//! The hashes of pages: what the chain of the ledger is made of.
//!
//! Every page that brought messages leaves a row in the ledger: SHA-256 over the hash of the row before, the page's
//! origin, and every message of it as it was stored (native ids, numbers, times, kind, text, body, labels). Whoever changes,
//! removes or adds a message later, or a row of the ledger, breaks every hash from there on; whoever keeps the latest
//! hash elsewhere can tell. What an archive must be able to change is not covered: names of people, marks of revocation, and
//! who is a member. All backends hash alike, so a chain goes on where an archive moves to another.

use super::message::NewMessage;
use sha2::{Digest, Sha256};
use stele_archive::Commit;

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

/// The hash of the page before the first one.
pub(crate) const NONE: [u8; 32] = [0; 32];

impl LedgerReport {
    /// One more page of so many messages: the hash it must have, and the one the ledger says it has.
    pub(crate) fn page(&mut self, messages: u64, hash: &[u8; 32], stored: &[u8]) {
        self.pages += 1;
        self.messages += messages;
        if hash[..] != *stored && self.broken.is_none() {
            self.broken = Some(self.pages);
        }
        self.head = stored.iter().map(|byte| format!("{byte:02x}")).collect();
    }
}

/// The origin of a page.
pub(crate) struct Origin<'a> {
    pub instance: i64,
    pub partition: &'a str,
    pub stream: &'a str,
    pub at: i64,
    pub first_rev: i64,
    pub last_rev: i64,
    pub messages: i64,
}

/// What is hashed of a message.
pub(crate) struct Leaf<'a> {
    pub id: i64,
    pub rev: i64,
    pub seq: i64,
    pub sent_at: i64,
    pub expires_at: Option<i64>,
    pub native_id: &'a str,
    pub client_id: &'a str,
    pub conversation: &'a str,
    pub sender: &'a str,
    pub kind: &'a str,
    pub text: &'a str,
    pub body: &'a [u8],
}

/// A page's hash, fed field by field; texts and bytes carry their length, so that none can lend bytes to its neighbour.
pub(crate) struct PageHash(Sha256);

impl PageHash {
    /// Of a page after the page of the hash `before`.
    pub fn new(before: &[u8], origin: &Origin<'_>) -> Self {
        let mut hash = Self(Sha256::new());
        hash.bytes(b"stele ledger 1");
        hash.bytes(before);
        hash.bytes(origin.partition.as_bytes());
        hash.bytes(origin.stream.as_bytes());
        hash.numbers(&[origin.instance, origin.at, origin.first_rev, origin.last_rev, origin.messages]);
        hash
    }

    /// The next message.
    pub fn message<'r, R, L>(&mut self, leaf: &Leaf<'_>, recipients: R, labels: L)
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

    /// The hash.
    pub fn done(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// A page's entry in the making. Its messages are hashed bit by bit, while the database is busy with others.
pub(crate) struct Entry<'r> {
    origin: Origin<'r>,
    hash: PageHash,
    rows: std::slice::Iter<'r, NewMessage<'r>>,
}

impl<'r> Entry<'r> {
    /// For a page of these messages, after the page of the hash `before`; nothing for none.
    pub fn new(commit: &Commit<'r>, before: &[u8], rows: &'r [NewMessage<'r>]) -> Option<Self> {
        let origin = Origin {
            instance: commit.instance.0,
            partition: commit.partition,
            stream: commit.stream.as_str(),
            at: commit.now,
            first_rev: rows.first()?.rev,
            last_rev: rows.last()?.rev,
            messages: rows.len() as i64,
        };
        Some(Self { hash: PageHash::new(before, &origin), origin, rows: rows.iter() })
    }

    /// Hash at most so many more messages.
    pub fn hash(&mut self, messages: usize) {
        for row in self.rows.by_ref().take(messages) {
            self.hash.row(row);
        }
    }

    /// Hash the rest: where the page is from, and its hash.
    pub fn done(mut self) -> (Origin<'r>, [u8; 32]) {
        self.hash(usize::MAX);
        (self.origin, self.hash.done())
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
