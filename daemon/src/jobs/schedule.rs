//! Cron patterns with their zone.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};
use stele_archive::model::Micros;

/// When a job is due: a cron pattern of five or six fields (the sixth, in front, are seconds) in an IANA zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
    pattern: String,
}

/// Why a pattern or zone is none.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// Not a cron pattern.
    #[error("{pattern:?} is not a cron pattern of five or six fields: {source}")]
    Pattern {
        /// As given.
        pattern: String,
        /// Why.
        source: croner::errors::CronError,
    },
    /// Not an IANA zone.
    #[error("{0:?} is not an IANA time zone, e.g. Asia/Shanghai")]
    Zone(String),
    /// A pattern that never comes.
    #[error("{0:?} never comes")]
    Never(String),
}

impl Schedule {
    /// Parses a pattern and a zone.
    pub fn parse(pattern: &str, zone: &str) -> Result<Self, ScheduleError> {
        let zone = zone.parse().map_err(|_| ScheduleError::Zone(zone.to_owned()))?;
        let cron = CronParser::builder()
            .seconds(Seconds::Optional)
            .build()
            .parse(pattern)
            .map_err(|source| ScheduleError::Pattern { pattern: pattern.to_owned(), source })?;
        let schedule = Self { cron, zone, pattern: pattern.to_owned() };
        match schedule.next_after(0) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never(pattern.to_owned())),
        }
    }

    /// The pattern as given.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Name of the zone.
    pub fn zone(&self) -> &str {
        self.zone.name()
    }

    /// The first time after `at`.
    pub fn next_after(&self, at: Micros) -> Option<Micros> {
        let found = self.cron.find_next_occurrence(&self.local(at)?, false).ok()?;
        Some(found.timestamp_micros())
    }

    /// The latest time at or before `at`.
    pub fn latest_at(&self, at: Micros) -> Option<Micros> {
        let found = self.cron.find_previous_occurrence(&self.local(at)?, true).ok()?;
        Some(found.timestamp_micros())
    }

    fn local(&self, at: Micros) -> Option<DateTime<Tz>> {
        Some(DateTime::<Utc>::from_timestamp_micros(at)?.with_timezone(&self.zone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Micros {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    #[test]
    fn a_pattern_follows_its_zone_through_changes_of_clocks() {
        let check = |pattern, zone, from, expected| {
            let schedule = Schedule::parse(pattern, zone).unwrap();
            assert_eq!(schedule.next_after(at(from)), Some(at(expected)), "{pattern} {zone} after {from}");
        };
        check("30 3 * * *", "Asia/Shanghai", "2026-11-20T00:00:00Z", "2026-11-20T19:30:00Z");
        check("0 8 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T06:00:00Z");
        check("0 8 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T07:00:00Z");
        check("*/15 * * * * *", "UTC", "2026-01-01T00:00:07Z", "2026-01-01T00:00:15Z");
        check("*/5 * * * *", "UTC", "2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z");
    }

    #[test]
    fn the_latest_time_includes_now() {
        let schedule = Schedule::parse("*/5 * * * *", "UTC").unwrap();
        assert_eq!(schedule.latest_at(at("2026-01-01T00:05:00Z")), Some(at("2026-01-01T00:05:00Z")));
        assert_eq!(schedule.latest_at(at("2026-01-01T00:04:59Z")), Some(at("2026-01-01T00:00:00Z")));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (pattern, zone) in
            [("", "UTC"), ("* * *", "UTC"), ("61 * * * *", "UTC"), ("* * * * *", "Mars/Base"), ("0 0 31 2 *", "UTC")]
        {
            assert!(Schedule::parse(pattern, zone).is_err(), "{pattern:?} {zone}");
        }
    }
}
