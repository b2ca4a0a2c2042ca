//! Cron patterns and time zones, checked when they are read.

use super::reader::{Reader, Setting};
use crate::jobs::{Schedule, ScheduleError};
use figment::value::Value;
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A cron pattern of five or six fields (six: seconds first), e.g. `*/5 * * * *`; it has a next time.
#[derive(Clone)]
pub struct Cron(String);

impl Cron {
    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Cron {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        Schedule::parse(text, "UTC").map(|_| Self(text.to_owned()))
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Serialize for Cron {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Setting for Cron {
    fn read(value: &Value, reader: &mut Reader<'_>) -> Option<Self> {
        let text = String::read(value, reader)?;
        text.parse().map_err(|error: ScheduleError| reader.problem(value, error.to_string())).ok()
    }
}

/// An IANA time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(pub chrono_tz::Tz);

impl Zone {
    /// Its name, e.g. `Asia/Shanghai`.
    pub fn name(self) -> &'static str {
        self.0.name()
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.name().serialize(serializer)
    }
}

impl Setting for Zone {
    fn read(value: &Value, reader: &mut Reader<'_>) -> Option<Self> {
        let text = String::read(value, reader)?;
        if let Ok(zone) = text.parse() {
            return Some(Self(zone));
        }
        let near = chrono_tz::TZ_VARIANTS
            .iter()
            .map(|zone| (strsim::levenshtein(&zone.name().to_lowercase(), &text.to_lowercase()), zone.name()))
            .min();
        let hint = match near {
            Some((distance, name)) if distance <= 3 => format!("did you mean {name:?}?"),
            _ => "an IANA zone such as \"Asia/Shanghai\" or \"UTC\" is needed".to_owned(),
        };
        reader.problem(value, format!("unknown time zone {text:?}; {hint}"));
        None
    }
}
