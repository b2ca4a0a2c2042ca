//! Date ranges of requests: local dates in, instants out.
//!
//! A date means its whole day in the configured zone, at both ends (reference/wecom-archive.md §8-26), so the range ends
//! with the first instant after its last day. Zones with summer time have days of 23 and 25 hours, midnights that never
//! come and midnights that come twice; a zone that moved over the date line lacks a whole day. Each has one answer here:
//! a range covers every instant whose local time lies in it.

use super::errors::ApiError;
use chrono::{Duration, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;
use stele_plugin_api::model::Micros;

/// Seconds within which any local time is found around the same number read as UTC; offsets never exceed 15 hours.
const SEARCH_S: i64 = 16 * 3600;

/// Instants from `since` on and before `until`; `None` leaves an end open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first instant.
    pub since: Option<Micros>,
    /// The first instant after.
    pub until: Option<Micros>,
}

/// The range from `start` to `end`, both included: `2006-01-02`, or `2006-01-02 15:04:05` as the old clients' type lets
/// through.
///
/// # Errors
///
/// 1005 for anything else, and for an end before the start.
pub fn range(start: Option<&str>, end: Option<&str>, zone: Tz) -> Result<Range, ApiError> {
    let start = start.map(|text| parse(text).ok_or_else(|| ApiError::time("send_at_start"))).transpose()?;
    let end = end.map(|text| parse(text).ok_or_else(|| ApiError::time("send_at_end"))).transpose()?;
    if let (Some(start), Some(end)) = (start, end)
        && start.first_second() > end.last_second()
    {
        return Err(ApiError::time("send_at_start 晚于 send_at_end"));
    }
    Ok(Range {
        since: start.map(|moment| first_instant(zone, moment.first_second())),
        until: end.map(|moment| instant_after(zone, moment.last_second())),
    })
}

/// A local date, or a second of one.
#[derive(Clone, Copy)]
struct Moment {
    date: NaiveDate,
    time: Option<NaiveTime>,
}

impl Moment {
    fn first_second(self) -> NaiveDateTime {
        self.date.and_time(self.time.unwrap_or(NaiveTime::MIN))
    }

    fn last_second(self) -> NaiveDateTime {
        // Times of day wrap around: a second before midnight is the day's last.
        self.date.and_time(self.time.unwrap_or(NaiveTime::MIN - Duration::seconds(1)))
    }
}

/// Exactly `YYYY-MM-DD` or `YYYY-MM-DD hh:mm:ss`, digits in every place.
fn parse(text: &str) -> Option<Moment> {
    let (date, time) = match text.split_once(' ') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    let time = match time {
        None => None,
        Some(time) => {
            let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
            Some(NaiveTime::from_hms_opt(hour, minute, second)?)
        }
    };
    Some(Moment { date, time })
}

fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[u32; 3]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; 3];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// The first instant whose local time is `local`; when that time is skipped, the instant of the jump.
fn first_instant(zone: Tz, local: NaiveDateTime) -> Micros {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => time.timestamp_micros(),
        LocalResult::None => end_of_gap(zone, local),
    }
}

/// The first instant after the second `local`, however often that second comes.
fn instant_after(zone: Tz, local: NaiveDateTime) -> Micros {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(time) | LocalResult::Ambiguous(_, time) => (time + Duration::seconds(1)).timestamp_micros(),
        LocalResult::None => end_of_gap(zone, local),
    }
}

/// The instant at which the clocks jumped over `local`: the first one whose local time is later.
fn end_of_gap(zone: Tz, local: NaiveDateTime) -> Micros {
    let middle = local.and_utc().timestamp();
    let (mut early, mut late) = (middle - SEARCH_S, middle + SEARCH_S);
    while late - early > 1 {
        let second = early + (late - early) / 2;
        let is_later = zone.timestamp_opt(second, 0).single().is_none_or(|time| time.naive_local() >= local);
        if is_later { late = second } else { early = second }
    }
    late * 1_000_000
}
