//! Where a run through the directory stands.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stele_plugin_api::{Error, ErrorCode};

/// Version of the encoding.
const VERSION: &str = "1:";

/// The next thing to do. A run goes through all of them in this order, and then begins again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Members by department, from this one on.
    Departments(usize),
    /// Members under archive whose name is unknown, from this one on.
    Archived(usize),
    /// Customers of members, from this one on; where their list goes on.
    Customers(usize, String),
    /// Groups with customers; where their list goes on.
    Groups(String),
    /// What the archive holds without a name: conversations of members, from this one on; rows of it that are done.
    Strays(usize, u64),
}

impl Place {
    /// Where a run begins.
    pub const START: Self = Self::Departments(0);

    /// Reads a cursor; none is the beginning.
    pub fn read(stored: Option<&Bytes>) -> Result<Self, Error> {
        let Some(stored) = stored else { return Ok(Self::START) };
        std::str::from_utf8(stored)
            .ok()
            .and_then(|text| serde_json::from_str(text.strip_prefix(VERSION)?).ok())
            .ok_or_else(|| {
                Error::new(ErrorCode::Invalid, "the stored cursor is not one of the wecom plugin's directory")
            })
    }

    /// For the daemon to store.
    pub fn write(&self) -> Bytes {
        Bytes::from(format!("{VERSION}{}", serde_json::to_string(self).expect("a place is plain data")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_is_frozen() {
        for (place, text) in [
            (Place::Departments(0), "1:{\"departments\":0}"),
            (Place::Archived(50), "1:{\"archived\":50}"),
            (Place::Customers(100, "c/1".into()), "1:{\"customers\":[100,\"c/1\"]}"),
            (Place::Groups(String::new()), "1:{\"groups\":\"\"}"),
            (Place::Strays(3, 40), "1:{\"strays\":[3,40]}"),
        ] {
            assert_eq!(place.write(), text);
            assert_eq!(Place::read(Some(&Bytes::from_static(text.as_bytes()))), Ok(place));
        }
        assert_eq!(Place::read(None), Ok(Place::START));
        for text in ["", "{}", "2:{\"archived\":50}", "1:{}"] {
            assert!(Place::read(Some(&Bytes::from_static(text.as_bytes()))).is_err(), "{text}");
        }
    }
}
