//! The stand-in of OpenIM has the quirks of the real one: one test for each, named by the section of reference/openim.md
//! that tells it.
//!
//! | section | quirks | tests |
//! |---|---|---|
//! | §1, §3.1, §3.3 | envelope, order of checks, texts of errors by version | [`envelope`] |
//! | §3.5 | tokens, their store, their ends | [`tokens`] |
//! | §2 | what a search finds, in which order, how it counts, what it loses | [`search`] |
//! | §2.4, §6, §7.1, §8 | sending, revoking, deleting, clearing, and what is left of it | [`write`] |
//! | §7.1, §7.2 | numbers, ranges, placeholders, who may read what | [`pull`] |
//! | §7.2, §8 | lists of users and groups | [`people`] |
//! | §7.3 | webhooks | [`hooks`] |

mod envelope;
mod hooks;
mod people;
mod pull;
mod rig;
mod search;
mod tokens;
mod write;
