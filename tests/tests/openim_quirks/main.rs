//! The stand-in of OpenIM has the quirks of the real one: one test for each, named by the section of reference/openim.md
//! that tells it.
//!
//! | section | quirks | tests |
//! |---|---|---|
//! | §1, §3.1, §3.3 | envelope, order of checks, texts of errors by version | [`envelope`] |
//! | §3.5 | tokens, their store, their ends | [`tokens`] |
//! | §7.1, §7.2 | numbers, ranges, placeholders, who may read what | [`pull`] |

mod envelope;
mod pull;
mod rig;
mod tokens;
