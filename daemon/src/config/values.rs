//! Plain values: how each type is read, and the checks they share.

use super::places::Step;
use super::reader::{Reader, Setting};
use figment::value::Value;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// The value lies within these bounds.
pub fn within<T: PartialOrd + Display>(bounds: RangeInclusive<T>) -> impl Fn(&T) -> Result<(), String> {
    move |value| {
        if bounds.contains(value) {
            return Ok(());
        }
        Err(format!("must be between {} and {}, is {value}", bounds.start(), bounds.end()))
    }
}

/// The same for a value that may be unset.
pub fn unset_or_within<T: PartialOrd + Display>(
    bounds: RangeInclusive<T>,
) -> impl Fn(&Option<T>) -> Result<(), String> {
    let check = within(bounds);
    move |value| value.as_ref().map_or(Ok(()), &check)
}

/// The text or path is not empty.
pub fn not_empty<T: AsRef<std::ffi::OsStr>>(text: &T) -> Result<(), String> {
    if text.as_ref().is_empty() { Err("must not be empty".into()) } else { Ok(()) }
}

impl Setting for String {
    fn read(value: &Value, reader: &mut Reader<'_>) -> Option<Self> {
        match value {
            Value::String(_, text) => Some(text.clone()),
            // A variable that looks like a number or a truth value is the text it was written as.
            Value::Num(..) | Value::Bool(..) if reader.raw_variable(value).is_some() => {
                reader.raw_variable(value).map(str::to_owned)
            }
            _ => {
                reader.mismatch(value, "text");
                None
            }
        }
    }
}

impl Setting for bool {
    fn read(value: &Value, reader: &mut Reader<'_>) -> Option<Self> {
        let read = match value {
            Value::Bool(_, truth) => Some(*truth),
            _ => None,
        };
        if read.is_none() {
            reader.mismatch(value, "true or false");
        }
        read
    }
}

macro_rules! whole_numbers {
    ($($type:ty),+) => {$(
        impl Setting for $type {
            fn read(value: &Value, reader: &mut Reader<'_>) -> Option<Self> {
                let Some(number) = value.to_i128() else {
                    reader.mismatch(value, "a whole number");
                    return None;
                };
                let read = <$type>::try_from(number).ok();
                if read.is_none() {
                    reader.problem(value, format!("must be between 0 and {}, is {number}", <$type>::MAX));
                }
                read
            }
        }
    )+};
}
whole_numbers!(u8, u16, u32, u64, usize);

impl Setting for PathBuf {
    fn read(value: &Value, reader: &mut Reader<'_>) -> Option<Self> {
        let text = String::read(value, reader)?;
        Some(reader.resolve(value, &text))
    }
}

impl Setting for SocketAddr {
    fn read(value: &Value, reader: &mut Reader<'_>) -> Option<Self> {
        let text = String::read(value, reader)?;
        let read = text.parse().ok();
        if read.is_none() {
            reader.problem(value, format!("expected an address and port such as \"127.0.0.1:9002\", found {text:?}"));
        }
        read
    }
}

/// Empty text means unset, so that a variable can unset what the file sets.
impl<T: Setting> Setting for Option<T> {
    fn read(value: &Value, reader: &mut Reader<'_>) -> Option<Self> {
        match value {
            Value::String(_, text) if text.is_empty() => Some(None),
            _ => T::read(value, reader).map(Some),
        }
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(value: &Value, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Array(_, values) = value else {
            reader.mismatch(value, "an array");
            return None;
        };
        let read = values
            .iter()
            .enumerate()
            .map(|(index, value)| reader.within(Step::Index(index), |reader| T::read(value, reader)));
        // Every element is read, whatever became of the ones before it.
        let read: Vec<Option<T>> = read.collect();
        read.into_iter().collect()
    }
}

/// Declares a setting that is one of a few words.
macro_rules! words {
    ($($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
        pub enum $name {
            $($(#[$vmeta])* #[serde(rename = $word)] $variant,)+
        }

        impl $crate::config::reader::Setting for $name {
            fn read(value: &figment::value::Value, reader: &mut $crate::config::reader::Reader<'_>) -> Option<Self> {
                let text = <String as $crate::config::reader::Setting>::read(value, reader)?;
                match text.as_str() {
                    $($word => Some(Self::$variant),)+
                    _ => {
                        let known = [$($word),+].map(|word| format!("{word:?}")).join(" or ");
                        reader.problem(value, format!("expected {known}, found {text:?}"));
                        None
                    }
                }
            }
        }
    )+};
}
pub(crate) use words;
