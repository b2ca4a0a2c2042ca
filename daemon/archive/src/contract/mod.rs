//! What every backend must do, as tests it is handed to.
//!
//! One function per behaviour, and [`run_all`] for all of them. A backend's own test hands in a [`Factory`]:
//!
//! ```no_run
//! # use stele_archive::contract::{Backend, Factory, run_all};
//! # async fn example(factory: &dyn Factory) {
//! run_all(factory).await;
//! # }
//! ```
//!
//! The functions panic with what was wrong.

mod pages;
mod sample;

use crate::Archive;
use async_trait::async_trait;
use std::sync::Arc;

/// Makes backends.
#[async_trait]
pub trait Factory: Send + Sync {
    /// A new backend with nothing in it.
    async fn fresh(&self) -> Box<dyn Backend>;
}

/// A backend under test.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The archive.
    fn archive(&self) -> Arc<dyn Archive>;

    /// Close it and open it again: what was committed must still be there.
    async fn restart(&mut self);
}

macro_rules! suite {
    ($($module:ident: $($name:ident),+;)+) => {
        /// The names of all behaviours, in the order [`run_all`] takes them.
        pub const NAMES: &[&str] = &[$($(concat!(stringify!($module), "::", stringify!($name))),+),+];

        /// Every behaviour, each on a fresh backend.
        pub async fn run_all(factory: &dyn Factory) {
            $($(
                Box::pin($module::$name(&mut *factory.fresh().await)).await;
            )+)+
        }
    };
}

suite! {
    pages: a_page_is_stored_with_its_cursor, a_cursor_moves_once, a_page_without_cursor_leaves_it,
        a_known_message_is_left_as_it_is, a_page_may_repeat_itself, numbers_are_given_per_conversation,
        bodies_survive_byte_for_byte, instances_do_not_meet, invalid_pages_change_nothing, ids_go_on_after_a_restart,
        an_unknown_instance_is_refused, large_pages_are_stored_whole;
}
