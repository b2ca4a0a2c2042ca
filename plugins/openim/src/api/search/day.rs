//! Days as callers name them: those of the instance's zone.

use chrono::{NaiveDate, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use stele_plugin_api::model::Micros;

/// Minutes of a day.
const MINUTES: i64 = 24 * 60;

/// When a day begins, and when the next one does; `None` unless it is an existing day in the form YYYY-MM-DD.
pub fn day(text: &str, zone: Tz) -> Option<(Micros, Micros)> {
    let is_right = |(at, byte): (usize, u8)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    let has_form = text.len() == 10 && text.bytes().enumerate().all(is_right);
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| has_form)?;
    Some((begin(day, zone), begin(day.succ_opt()?, zone)))
}

/// Where clocks are put forward over midnight a day begins with its first minute; one that was left out altogether is as long as
/// nothing.
fn begin(day: NaiveDate, zone: Tz) -> Micros {
    let midnight = day.and_time(NaiveTime::MIN);
    let mut minutes = (0..=MINUTES).map(|minute| midnight + TimeDelta::minutes(minute));
    let first = minutes.find_map(|local| zone.from_local_datetime(&local).earliest());
    first.map_or_else(|| midnight.and_utc().timestamp_micros(), |first| first.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    #[track_caller]
    fn check(text: &str, zone: Tz, from: &str, to: &str) {
        let micros = |text| DateTime::parse_from_rfc3339(text).expect("a time").timestamp_micros();
        assert_eq!(day(text, zone), Some((micros(from), micros(to))), "{text} in {zone}");
    }

    #[test]
    fn a_day_is_that_of_its_zone() {
        check("2026-04-09", Tz::UTC, "2026-04-09T00:00:00Z", "2026-04-10T00:00:00Z");
        check("2026-04-09", Tz::Asia__Shanghai, "2026-04-08T16:00:00Z", "2026-04-09T16:00:00Z");
        check("2028-02-29", Tz::UTC, "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z");
        check("0000-12-31", Tz::UTC, "0000-12-31T00:00:00Z", "0001-01-01T00:00:00Z");
    }

    #[test]
    fn days_are_as_long_as_clocks_make_them() {
        check("2026-03-29", Tz::Europe__Berlin, "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
        check("2026-10-25", Tz::Europe__Berlin, "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        // Midnight is skipped, and comes twice.
        check("2018-11-04", Tz::America__Sao_Paulo, "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z");
        check("2018-02-17", Tz::America__Sao_Paulo, "2018-02-17T02:00:00Z", "2018-02-18T03:00:00Z");
        // This one was left out.
        check("2011-12-30", Tz::Pacific__Apia, "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z");
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "",
            " ",
            "2026-4-9",
            "2026-04-9",
            "26-04-09",
            "2026/04/09",
            "20260409",
            "2026-02-30",
            "2025-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-01-00",
            " 2026-04-09",
            "2026-04-09 ",
            "2026-04-09T00:00:00Z",
            "+026-04-09",
            "-026-04-09",
            "2026-04-+9",
            "２０２６-04-09",
            "2026-04-0９",
            "yesterday",
            "1775700000000",
            "2026-04-09\n",
        ] {
            assert_eq!(day(text, Tz::UTC), None, "{text:?}");
        }
    }
}
