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
//! The functions panic with what was wrong. [`model`] compares a backend with a plain in-memory archive over random
//! histories; it needs a runtime of its own per case, so it is a separate call.

mod concurrency;
mod daemons;
mod directory;
mod expiry;
mod feed;
mod find;
mod jobs;
mod lists;
mod live;
mod media;
mod messages;
pub mod model;
mod once;
mod pages;
mod parked;
mod revocations;
mod sample;
mod state;

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
        a_known_message_is_left_as_it_is, labels_are_kept_in_order, a_page_may_repeat_itself, numbers_are_given_per_conversation,
        bodies_survive_byte_for_byte, instances_do_not_meet, invalid_pages_change_nothing, ids_go_on_after_a_restart,
        an_unknown_instance_is_refused, large_pages_are_stored_whole, partitions_are_reached;
    once: a_repeated_message_is_not_stored, another_place_sender_or_key_is_another_message, a_page_repeats_itself_once,
        a_known_message_repeats_nothing, what_cannot_be_told_apart_is_refused, a_repeated_message_is_parked_no_more;
    parked: an_envelope_keeps_its_place, parking_again_counts_an_attempt, a_readable_message_is_not_parked,
        partitions_are_listed_apart, what_cannot_be_looked_up_is_parked;
    revocations: a_revocation_marks_the_original, a_revocation_waits_for_its_message,
        a_revocation_takes_every_copy_back, the_first_revocation_counts;
    directory: descriptions_are_merged, a_kind_is_corrected, members_are_replaced, undescribed_ones_are_created,
        conversations_are_put_away, members_are_told_from_participants, people_are_listed,
        conversations_are_found_by_native_id;
    lists: the_latest_comes_first, a_late_message_does_not_lead, kinds_are_told_apart,
        a_corrected_kind_moves_lists, names_are_searched_literally,
        names_follow_their_people, pages_of_lists_join, members_see_what_was_said_before, a_stranger_has_nothing;
    messages: orders_and_ties, anchors_take_the_nearest, two_anchors_are_an_interval, bounds_of_the_number_take_the_nearest, filters_and_exact_totals,
        days_before_1970_count, pages_join, many_kinds_are_one_order, by_id_keeps_the_order,
        by_native_keeps_the_order, what_is_too_much_is_refused;
    expiry: what_has_expired_is_left_out;
    find: numbers_are_found, client_ids_are_found, what_is_found_may_be_too_much;
    feed: revisions_ascend, day_counts_follow;
    live: news_come_in_order, members_hear_what_is_said_while_they_are, what_was_missed_in_many_places_is_one_order,
        a_late_message_is_heard_when_it_can_be_read,
        words_on_members_are_merged, an_audience_has_a_version, a_coming_and_going_is_one_stay;
    media: files_go_their_way, contents_are_stored_once, due_files_are_ordered;
    jobs: leases_exclude_and_fence, runs_are_kept_and_bounded, a_sweep_marks_what_was_lost, definitions_keep_history,
        what_was_asked_for_is_left_until_somebody_was_at_it, a_job_tells_of_its_latest_runs;
    state: values_come_and_go;
    daemons: whoever_comes_first_is_agreed_with, every_daemon_has_a_number_of_its_own;
    concurrency: one_of_two_rivals_wins, one_of_many_repeats_is_stored, readers_see_whole_pages;
}
