//! Where a corp's archive stands.

use bytes::Bytes;
use stele_plugin_api::{Error, ErrorCode, model::Micros};

/// Version of the encoding.
const VERSION: &str = "1";

/// The highest seq whose envelope is stored, and when the latest message was sent: `1:<seq>:<microseconds>`, as text, so
/// that an operator can read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// WeCom's number; the next pull asks for what comes after it.
    pub seq: u64,
    /// When the latest message up to there was sent; 0 when there was none.
    pub latest: Micros,
}

impl Cursor {
    /// Reads a stored one; nothing stored is the beginning.
    pub fn read(stored: Option<&Bytes>) -> Result<Self, Error> {
        let Some(stored) = stored else { return Ok(Self::default()) };
        std::str::from_utf8(stored)
            .ok()
            .and_then(Self::parse)
            .ok_or_else(|| Error::new(ErrorCode::Invalid, "the stored cursor is not one of the wecom plugin"))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let cursor = match (parts.next()?, parts.next()?.parse(), parts.next()?.parse()) {
            (VERSION, Ok(seq), Ok(latest)) => Self { seq, latest },
            _ => return None,
        };
        parts.next().is_none().then_some(cursor)
    }

    /// For the daemon to store.
    pub fn write(self) -> Bytes {
        Bytes::from(format!("{VERSION}:{}:{}", self.seq, self.latest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encoding_is_frozen() {
        let cursor = Cursor { seq: u64::MAX, latest: 1_700_000_000_000_000 };
        assert_eq!(cursor.write(), "1:18446744073709551615:1700000000000000");
        assert_eq!(Cursor::read(Some(&Bytes::from_static(b"1:7:0"))), Ok(Cursor { seq: 7, latest: 0 }));
        assert_eq!(Cursor::read(None), Ok(Cursor::default()));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["", "7", "1:7", "2:7:0", "1:-7:0", "1:7:0:0", "1:7:x", "\u{fffd}"] {
            let error = Cursor::read(Some(&Bytes::from(text.to_owned()))).expect_err("it is none");
            assert_eq!(error.code, ErrorCode::Invalid, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back(seq in any::<u64>(), latest in any::<i64>()) {
            let cursor = Cursor { seq, latest };
            prop_assert_eq!(Cursor::read(Some(&cursor.write())), Ok(cursor));
        }
    }
}
