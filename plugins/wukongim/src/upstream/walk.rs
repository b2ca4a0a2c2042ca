//! The cursor of the sync: a walk through the listing of channels.
//!
//! There is one partition for all channels: a job for each would cost several writes of the job table a minute for each of them.
//! How far a channel is archived the daemon knows ([`Page::reached`](stele_plugin_api::model::Page::reached)); the cursor has
//! what is under way, since a page is pulled while the one before is being committed.

use super::client::Version;
use super::lists::Place;
use super::reading::Reading;
use super::streams::Open;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stele_plugin_api::model::Micros;

/// The one partition.
pub const PARTITION: &str = "channels";

/// A place in the walk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// Where the listing goes on, behind what is being read; `None` before the beginning, and at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Channels of the listing that are not read to the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reading: Vec<Reading>,
    /// Streams that were open when they were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<Open>,
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

    /// Whether it is one of an upstream of this version. Those of another begin anew.
    pub fn is_of(&self, version: Version) -> bool {
        let place = match self.place {
            Some(Place::V2 { .. }) => version == Version::V2,
            Some(Place::V3 { .. }) => version == Version::V3,
            None => true,
        };
        place && (version == Version::V3 || self.reading.iter().all(|reading| reading.back.is_none()))
    }

    /// Whether it stands before its beginning.
    pub fn is_new(&self) -> bool {
        self.place.is_none() && self.reading.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::native::Native;

    #[test]
    fn cursors_are_short_and_read_back() {
        assert_eq!(Walk::default().write(), r#"{"process":0}"#);
        assert_eq!(Walk::read(None), Walk::default());
        assert_eq!(Walk::read(Some(&"of another age".into())), Walk::default());
        let reading = Reading::new(Native { channel_type: 2, id: "team".into() }, 7, Some(9));
        let walk = Walk {
            place: Some(Place::V2 { node: 1, before: 5 }),
            reading: vec![reading],
            open: Vec::new(),
            process: 3,
        };
        let text = r#"{"place":{"v2":{"node":1,"before":5}},"reading":[{"t":2,"c":"team","f":7,"a":7,"u":true,"l":9,"e":0}],"process":3}"#;
        assert_eq!(walk.write(), text);
        assert_eq!(Walk::read(Some(&walk.write())), walk);
        let open = vec![Open { native: Native { channel_type: 2, id: "team".into() }, seq: 5, until: 9 }];
        let waiting = Walk { open, ..Walk::default() };
        assert_eq!(waiting.write(), r#"{"open":[{"t":2,"c":"team","s":5,"u":9}],"process":0}"#);
        assert_eq!(Walk::read(Some(&waiting.write())), waiting);
        assert!(Walk::default().is_new() && !walk.is_new());
    }
}
