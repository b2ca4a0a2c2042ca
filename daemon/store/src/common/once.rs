//! Messages that are to be stored once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use stele_archive::model::Message;
use stele_archive::ops::Repeated;

/// What tells the messages of a sender apart: conversation, sender, client id.
pub(crate) type Key<'a> = (&'a str, &'a str, &'a str);

/// What tells a message apart, if it has a client id.
pub(crate) fn key(message: &Message) -> Option<Key<'_>> {
    Some((&message.conversation, &message.sender, message.client_id.as_deref()?))
}

/// Take those out of the new messages of a page that are to be stored once and repeat one that is stored, or one of the page.
/// `first` names the stored ones. Returns what was taken out.
pub(crate) fn leave_out<'a>(
    fresh: &mut Vec<&'a Message>,
    mut first: HashMap<Key<'a>, String>,
) -> (Vec<&'a Message>, Vec<Repeated>) {
    let mut again = Vec::new();
    let mut repeated = Vec::new();
    fresh.retain(|&message| {
        let Some(key) = key(message) else { return true };
        match first.entry(key) {
            Entry::Occupied(first) if message.once => {
                again.push(message);
                repeated.push(Repeated { native_id: message.native_id.clone(), first: first.get().clone() });
                false
            }
            Entry::Occupied(_) => true,
            Entry::Vacant(place) => {
                place.insert(message.native_id.clone());
                true
            }
        }
    });
    (again, repeated)
}
