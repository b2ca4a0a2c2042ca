//! The cursor of the sync: a walk through the groups, then through what every person has, and then through what is owed.
//!
//! There is one partition for all conversations: a job for each would cost several writes of the job table a minute for each of
//! them. How far a conversation is archived the daemon knows ([`Page::reached`](stele_plugin_api::model::Page::reached)); the
//! cursor has what is under way, since a page is pulled while the one before is being committed.

use super::owed::Debts;
use super::reading::Reading;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stele_plugin_api::model::Micros;

/// The one partition.
pub const PARTITION: &str = "conversations";

/// What is listed next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// This page of the groups.
    Groups(u32),
    /// This page of the people, behind so many of them, and of the conversations the next ones have those behind this one.
    People(u32, usize, String),
    /// So many blocks of what is owed.
    Owed(usize),
}

/// A place in the walk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// What is listed next, behind what is being read; `None` before the beginning, and at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Conversations that are not read to the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reading: Vec<Reading>,
    /// What the upstream has not said yet. It outlives the walk.
    #[serde(default, skip_serializing_if = "Debts::is_empty")]
    pub owed: Debts,
    /// The process of the plugin in which it began.
    #[serde(default)]
    pub process: Micros,
}

impl Walk {
    /// The walk of a cursor; one that cannot be read begins anew, which costs a listing and loses nothing.
    pub fn read(cursor: Option<&Bytes>) -> Self {
        cursor.and_then(|cursor| serde_json::from_slice(cursor).ok()).unwrap_or_default()
    }

    /// As a cursor.
    pub fn write(&self) -> Bytes {
        serde_json::to_vec(self).expect("plain values can be written").into()
    }

    /// From the beginning, with what is owed.
    pub fn begin(process: Micros, owed: Debts) -> Self {
        Self { place: Some(Place::Groups(1)), reading: Vec::new(), owed, process }
    }

    /// Whether it stands before its beginning.
    pub fn is_new(&self) -> bool {
        self.place.is_none() && self.reading.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let mut owed = Debts::default();
        owed.add("sg_g", "a", &[3, 4]);
        for place in
            [None, Some(Place::Groups(3)), Some(Place::People(7, 2, "si_a_b".to_owned())), Some(Place::Owed(1))]
        {
            let walk = Walk {
                place,
                reading: vec![Reading::new("sg_g", "a", 5, 9), Reading::new("n_g", "im", 0, 1)],
                owed: owed.clone(),
                process: 7,
            };
            assert_eq!(Walk::read(Some(&walk.write())), walk);
        }
        assert!(Walk::read(Some(&Bytes::from_static(b"odd"))).is_new());
        assert!(Walk::read(None).is_new() && !Walk::begin(1, Debts::default()).is_new());
    }
}
