//! The panic hook: a panic becomes a line in the daemon's log.
//!
//! The line says where, never what: the text of a panic may repeat what was being handled. A plugin's library has its own
//! copy of the standard library, so that the hook concerns nobody else; one library may hold several instances, so each
//! thread knows whose it is. What panics again and again at one place is told of for the first time and then after twice as many
//! each, since it may go on for ever.

use super::Host;
use crate::notify::Level;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Once, PoisonError};

/// The host of an instance. Threads of its runtime may start before there is one, and it goes before they do: the runtime
/// holds the slot, and the host the runtime.
pub(super) type Slot = Arc<Mutex<Option<Host>>>;

thread_local! {
    static HOST: RefCell<Option<Slot>> = const { RefCell::new(None) };
}

/// From now on panics of this thread are logged through the host in `slot`.
pub(super) fn adopt_thread(slot: Slot) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // A thread that is ending, or that panics while logging, has no host any more.
            let slot = HOST.try_with(|host| host.try_borrow_mut().ok().and_then(|mut host| host.take())).ok().flatten();
            let Some(slot) = slot else { return previous(info) };
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let times = count(&place);
            if times.is_power_of_two() {
                let host = slot.try_lock().ok().and_then(|host| host.clone());
                let told = times.to_string();
                let fields = [("at", &*place), ("times", &*told)];
                let is_told = host.is_some_and(|host| host.tell("panic", Level::Error, "the plugin panicked", &fields));
                if !is_told {
                    // Its session is over, or was never there; what a child prints is logged all the same.
                    eprintln!("the plugin panicked at {place}");
                }
            }
            let _ = HOST.try_with(|host| host.replace(Some(slot)));
        }));
    });
    HOST.with(|host| host.replace(Some(slot)));
}

/// Counts a panic at this place of the code, of which there are not many; how many there were, this one included.
fn count(place: &str) -> u64 {
    static PLACES: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());
    // Nothing panics while they are locked.
    let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    let times = places.entry(place.to_owned()).or_default();
    *times += 1;
    *times
}
