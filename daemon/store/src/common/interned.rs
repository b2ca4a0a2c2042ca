//! What is remembered between commits, and how much of it.

use super::recent::Recent;

/// People, and as many conversations, remembered per instance.
const INTERNED: usize = 1 << 16;
/// Conversations whose standing is remembered, over all instances.
pub(crate) const STANDING: usize = 1 << 16;
/// Pairs of conversation and participant remembered.
pub(crate) const PARTICIPANTS: usize = 1 << 18;
/// Kinds remembered; a plugin that invents more of them has lost its mind, and works on more slowly.
pub(crate) const WORDS: usize = 4096;

/// Ids by native id, of one instance, and what its pages are like.
#[derive(Debug)]
pub(crate) struct Interned {
    pub people: Recent<Box<str>, i64>,
    pub conversations: Recent<Box<str>, i64>,
    pub novelty: Novelty,
}

impl Default for Interned {
    fn default() -> Self {
        Self { people: Recent::new(INTERNED), conversations: Recent::new(INTERNED), novelty: Novelty::default() }
    }
}

/// Whether a page of an instance is likely to bring nothing that is known. Most pages are behind a cursor and all new:
/// looking up their native ids costs as much as one index more. Pages that overlap come in rows, so after one of them
/// the next ones are looked up.
#[derive(Debug, Default)]
pub(crate) struct Novelty {
    /// Pages to look up before pages are trusted again.
    wary: u8,
}

impl Novelty {
    /// Pages in a row that must have been all new.
    const PROOF: u8 = 64;

    /// Whether the next page may be taken for new.
    pub fn expected(&self) -> bool {
        self.wary == 0
    }

    /// A page was stored. Did it bring something that was known?
    pub fn note(&mut self, known: bool) {
        self.wary = if known { Self::PROOF } else { self.wary.saturating_sub(1) };
    }
}
