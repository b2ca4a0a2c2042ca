//! SQL backends of the archive.
//!
//! One backend, one folder: [`sqlite`] is the default one, a single file and nothing to install; [`postgres`] is one that several
//! daemons may share. [`mod@transfer`] moves an archive from the one to the other. A backend implements the traits of `stele-archive` and passes its contract suite; nothing else is asked of it.

mod common;
pub mod postgres;
pub mod sqlite;
pub mod transfer;

pub use common::hash::LedgerReport;
pub use postgres::{PostgresArchive, PostgresOptions, PostgresUrl};
pub use sqlite::{Durability, Options, SqliteArchive};
