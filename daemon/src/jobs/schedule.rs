//! Cron patterns with their zone.

use chrono::{DateTime, TimeDelta, Utc};
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

    /// The first time after `at`. A time of day that the clocks leap over comes when they have, one that they repeat comes
    /// once; patterns of several times a day go by the clocks as they are.
    pub fn next_after(&self, at: Micros) -> Option<Micros> {
        let mut found = self.local(at)?;
        loop {
            found = self.cron.find_next_occurrence(&found, false).ok()?;
            if self.is_meant(&found)? {
                return Some(found.timestamp_micros());
            }
        }
    }

    /// The latest time at or before `at`.
    pub fn latest_at(&self, at: Micros) -> Option<Micros> {
        let mut found = self.cron.find_previous_occurrence(&self.local(at)?, true).ok()?;
        while !self.is_meant(&found)? {
            found = self.cron.find_previous_occurrence(&found, false).ok()?;
        }
        Some(found.timestamp_micros())
    }

    /// Whether the pattern means a time that was found for it. Where clocks are put forward one is found at the end of the
    /// gap, also when the pattern has none within the gap.
    fn is_meant(&self, found: &DateTime<Tz>) -> Option<bool> {
        if self.cron.is_time_matching(found).ok()? {
            return Some(true);
        }
        let second = TimeDelta::seconds(1);
        let (gap, end) = ((*found - second).naive_local() + second, found.naive_local());
        // As if the clocks had gone on.
        let next = self.cron.find_next_occurrence(&gap.and_utc(), true).ok()?;
        Some(next.naive_utc() < end)
    }

    fn local(&self, at: Micros) -> Option<DateTime<Tz>> {
        Some(DateTime::<Utc>::from_timestamp_micros(at)?.with_timezone(&self.zone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Days, NaiveDate, NaiveTime, Timelike};

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

    /// All times of a pattern within some days, by `next_after`; `latest_at` must agree with each.
    fn times(pattern: &str, zone: Tz, from: NaiveDate, days: u64) -> Vec<DateTime<Utc>> {
        let schedule = Schedule::parse(pattern, zone.name()).unwrap();
        let end = (from + Days::new(days)).and_time(NaiveTime::MIN).and_utc().timestamp_micros();
        let mut times = vec![from.and_time(NaiveTime::MIN).and_utc().timestamp_micros()];
        while let Some(next) = schedule.next_after(*times.last().unwrap()).filter(|next| *next < end) {
            assert_eq!(schedule.latest_at(next), Some(next), "{pattern} {zone} at {next}");
            let before = schedule.latest_at(next - 1_000_000).unwrap();
            assert!(times.len() == 1 || before == *times.last().unwrap(), "{pattern} {zone} before {next}: {before}");
            times.push(next);
        }
        times.remove(0);
        times.into_iter().map(|at| DateTime::from_timestamp_micros(at).unwrap()).collect()
    }

    /// Clocks that are put forward at two, at midnight, by half an hour, by two hours, and never.
    const ZONES: &[(Tz, i32)] = &[
        (Tz::Europe__Berlin, 2026),
        (Tz::America__New_York, 2026),
        (Tz::America__Santiago, 2026),
        (Tz::Australia__Lord_Howe, 2026),
        (Tz::Antarctica__Troll, 2026),
        (Tz::Asia__Shanghai, 2026),
    ];

    #[test]
    fn a_time_of_day_comes_once_a_day() {
        for &(zone, year) in ZONES {
            let from = NaiveDate::from_ymd_opt(year, 1, 1).unwrap();
            for (hour, minute) in [(0, 0), (0, 30), (1, 15), (2, 15), (2, 30), (3, 0), (23, 45)] {
                // Where the clocks leapt over it: when they have.
                let on = |date: NaiveDate| {
                    let wall = date.and_hms_opt(hour, minute, 0).unwrap();
                    let mut minutes = (0..).map(|minutes| wall + TimeDelta::minutes(minutes));
                    minutes.find_map(|wall| wall.and_local_timezone(zone).earliest()).unwrap().to_utc()
                };
                let end = (from + Days::new(364)).and_time(NaiveTime::MIN).and_utc();
                let mut expected: Vec<DateTime<Utc>> = from.pred_opt().unwrap().iter_days().take(367).map(on).collect();
                expected.retain(|at| *at > from.and_time(NaiveTime::MIN).and_utc() && *at < end);
                expected.dedup();
                assert_eq!(
                    times(&format!("{minute} {hour} * * *"), zone, from, 364),
                    expected,
                    "{hour}:{minute} {zone}"
                );
            }
        }
    }

    #[test]
    fn times_within_a_day_go_by_the_clocks() {
        for (zone, year, month, day) in [
            (Tz::Europe__Berlin, 2026, 3, 28),
            (Tz::Europe__Berlin, 2026, 10, 24),
            (Tz::Australia__Lord_Howe, 2026, 4, 3),
            (Tz::Australia__Lord_Howe, 2026, 10, 2),
        ] {
            let from = NaiveDate::from_ymd_opt(year, month, day).unwrap();
            let start = from.and_time(NaiveTime::MIN).and_utc();
            for (pattern, is_due) in [
                ("*/15 * * * *", (|_, minute| minute % 15 == 0) as fn(u32, u32) -> bool),
                ("7-59/15 * * * *", |_, minute| minute % 15 == 7),
                ("10,40 1-2 * * *", |hour, minute| (1..3).contains(&hour) && (minute == 10 || minute == 40)),
            ] {
                let minutes = (1..3 * 1440).map(|minutes| start + TimeDelta::minutes(minutes));
                let due = |at: &DateTime<Utc>| {
                    let local = at.with_timezone(&zone);
                    is_due(local.hour(), local.minute())
                };
                assert_eq!(times(pattern, zone, from, 3), minutes.filter(due).collect::<Vec<_>>(), "{pattern} {zone}");
            }
        }
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
