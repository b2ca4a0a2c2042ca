//! Corps for tests and the demo: what WeCom would hold, written to a folder that the stub library serves.
//!
//! A [`Story`] is what people wrote, as an iterator, the same for the same [`CorpSpec`]; a [`CorpFolder`] seals it into
//! envelopes. Tests that need the truth run the story a second time.

pub mod cipher;
mod folder;
mod kinds;
pub mod media;
mod people;
mod phrases;
mod story;

pub use cipher::{KeyPair, Sealer};
pub use folder::{CorpFolder, Draft};
pub use media::{MediaFile, MediaPool};
pub use people::{Customer, Department, Directory, Group, Member, Robot};
pub use phrases::{TOPICS, sentence};
pub use story::{Entry, Story};

/// Key versions a generated corp has used, oldest first.
pub const KEY_VERSIONS: [u32; 2] = [1, 2];

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

/// What to generate.
#[derive(Clone, Debug)]
pub struct CorpSpec {
    /// Corp id.
    pub id: String,
    /// Name of the company.
    pub name: String,
    /// Secret of the archive.
    pub archive_secret: String,
    /// Secret of the application that may read the directory.
    pub app_secret: String,
    /// Everything but the RSA keys follows from it.
    pub seed: u64,
    /// How many messages, at least [`Story::PARADE`] if every type shall occur.
    pub messages: usize,
    /// Time of the first message, Unix milliseconds.
    pub start_ms: i64,
    /// Time of the last message, Unix milliseconds.
    pub end_ms: i64,
    /// How many members besides `staff123`.
    pub staff: usize,
    /// How many customers besides `customer456`.
    pub customers: usize,
    /// How many groups.
    pub groups: usize,
    /// Whether each message with media has a file of its own; otherwise messages share a pool of files.
    pub own_files: bool,
    /// How many distinct files of each type there are.
    pub files_per_type: usize,
}

impl CorpSpec {
    /// The corp of the contract's examples, with messages of the last four days before `end_ms`.
    pub fn sample(messages: usize, end_ms: i64) -> Self {
        Self {
            id: "corp123".into(),
            name: "星河软件".into(),
            archive_secret: "archive-secret-of-corp123".into(),
            app_secret: "app-secret-of-corp123".into(),
            seed: 1,
            messages,
            start_ms: end_ms - 4 * DAY_MS,
            end_ms,
            staff: 24,
            customers: 60,
            groups: 12,
            own_files: true,
            files_per_type: 6,
        }
    }

    /// The same for another corp.
    #[must_use]
    pub fn with_id(mut self, id: &str, seed: u64) -> Self {
        self.id = id.into();
        self.archive_secret = format!("archive-secret-of-{id}");
        self.app_secret = format!("app-secret-of-{id}");
        self.seed = seed;
        self
    }

    /// A corp of this many messages up to now.
    pub fn recent(messages: usize) -> Self {
        Self::sample(messages, chrono::Utc::now().timestamp_millis())
    }
}
