//! Where a corp's archive stands.

use bytes::Bytes;
use stele_plugin_api::{Error, ErrorCode, model::Micros};

/// Version of the encoding.
const VERSION: &str = "1";
/// The same with a silence.
const VERSION_WITH_SILENCE: &str = "2";

/// The highest seq whose envelope is stored, and when the latest message was sent: `1:<seq>:<microseconds>`, as text, so
/// that an operator can read it. A silence makes it `2:<seq>:<microseconds>:<silence>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// WeCom's number; the next pull asks for what comes after it.
    pub seq: u64,
    /// When the latest message up to there was sent; 0 when there was none.
    pub latest: Micros,
    /// How long there was no contact since then, if so long that messages may be lost. Pulls that bring nothing confirm
    /// the contact, but say nothing about what was lost before: only the number of the next message does.
    pub silence: Micros,
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
        let (version, seq, latest) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let silence = match version {
            VERSION => 0,
            VERSION_WITH_SILENCE => parts.next()?.parse().ok()?,
            _ => return None,
        };
        let cursor = Self { seq, latest, silence };
        parts.next().is_none().then_some(cursor)
    }

    /// For the daemon to store.
    pub fn write(self) -> Bytes {
        let Self { seq, latest, silence } = self;
        Bytes::from(match silence {
            0 => format!("{VERSION}:{seq}:{latest}"),
            _ => format!("{VERSION_WITH_SILENCE}:{seq}:{latest}:{silence}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encoding_is_frozen() {
        let cursor = Cursor { seq: u64::MAX, latest: 1_700_000_000_000_000, silence: 0 };
        assert_eq!(cursor.write(), "1:18446744073709551615:1700000000000000");
        assert_eq!(Cursor { silence: 5, ..cursor }.write(), "2:18446744073709551615:1700000000000000:5");
        assert_eq!(Cursor::read(Some(&Bytes::from_static(b"1:7:0"))), Ok(Cursor { seq: 7, ..Cursor::default() }));
        assert_eq!(Cursor::read(None), Ok(Cursor::default()));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["", "7", "1:7", "2:7:0", "2:7:0:x", "2:7:0:1:1", "3:7:0", "1:-7:0", "1:7:0:0", "1:7:x", "\u{fffd}"]
        {
            let error = Cursor::read(Some(&Bytes::from(text.to_owned()))).expect_err("it is none");
            assert_eq!(error.code, ErrorCode::Invalid, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back(seq in any::<u64>(), latest in any::<i64>(), silence in any::<i64>()) {
            let cursor = Cursor { seq, latest, silence };
            prop_assert_eq!(Cursor::read(Some(&cursor.write())), Ok(cursor));
        }
    }
}
