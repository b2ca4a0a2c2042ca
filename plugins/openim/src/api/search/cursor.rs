//! Cursors: a place in the order of answers, as a text.

use stele_plugin_api::ops::Place;

/// Which messages come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The oldest ones.
    #[default]
    Asc,
    /// The newest ones.
    Desc,
}

impl Order {
    /// What callers call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Asc => "asc",
            Self::Desc => "desc",
        }
    }
}

/// The cursor of what comes after this place.
pub fn write(order: Order, place: Place) -> String {
    format!("{}.{}.{}", order.word(), place.sent_at, place.id)
}

/// The place of a cursor; `None` where it is none, or one of the other order.
pub fn read(order: Order, text: &str) -> Option<Place> {
    let (sent_at, id) = text.strip_prefix(order.word())?.strip_prefix('.')?.split_once('.')?;
    let place = Place { sent_at: sent_at.parse().ok()?, id: id.parse().ok()? };
    // Numbers have several forms; a cursor has one.
    Some(place).filter(|place| write(order, *place) == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(sent_at: i64, id: i64) {
            let place = Place { sent_at, id };
            prop_assert_eq!(read(Order::Asc, &write(Order::Asc, place)), Some(place));
            prop_assert_eq!(read(Order::Desc, &write(Order::Desc, place)), Some(place));
            prop_assert_eq!(read(Order::Asc, &write(Order::Desc, place)), None);
        }

        #[test]
        fn nothing_else_is(text: String) {
            prop_assert_eq!(read(Order::Asc, &text), None);
        }
    }

    #[test]
    fn a_cursor_has_one_form() {
        for text in ["", "asc", "asc.1", "asc.1.", "asc..1", "asc.+1.1", "asc.01.1", "asc.1.1 ", "asc.1.1.1", "ASC.1.1"]
        {
            assert_eq!(read(Order::Asc, text), None, "{text}");
        }
    }
}
