//! Date ranges across zones: every instant whose local time lies in the range is in it.

use chrono::{DateTime, NaiveDate, TimeZone, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;
use stele_wecom::api::range;

fn utc(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).expect("a time").timestamp_micros()
}

fn check(zone: &str, start: &str, end: &str, since: &str, until: &str) {
    let zone: Tz = zone.parse().expect("a zone");
    let found = range(Some(start), Some(end), zone).expect("a range");
    assert_eq!((found.since, found.until), (Some(utc(since)), Some(utc(until))), "{zone} {start} to {end}");
}

#[test]
fn days_begin_and_end_where_the_zone_says() {
    check("UTC", "2024-01-01", "2024-01-31", "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z");
    check("Asia/Shanghai", "2024-01-01", "2024-01-01", "2023-12-31T16:00:00Z", "2024-01-01T16:00:00Z");
    check("Asia/Kathmandu", "2024-01-01", "2024-01-01", "2023-12-31T18:15:00Z", "2024-01-01T18:15:00Z");
    check("UTC", "2024-02-28", "2024-02-29", "2024-02-28T00:00:00Z", "2024-03-01T00:00:00Z");
    check("UTC", "2024-12-31", "2024-12-31", "2024-12-31T00:00:00Z", "2025-01-01T00:00:00Z");
    // Seconds are whole at both ends.
    check("UTC", "2024-01-01 08:00:00", "2024-01-01 08:00:00", "2024-01-01T08:00:00Z", "2024-01-01T08:00:01Z");
    check("Asia/Shanghai", "2024-01-01 08:30:00", "2024-01-02", "2024-01-01T00:30:00Z", "2024-01-02T16:00:00Z");
}

#[test]
fn days_of_23_and_25_hours() {
    check("Europe/Berlin", "2024-03-31", "2024-03-31", "2024-03-30T23:00:00Z", "2024-03-31T22:00:00Z");
    check("Europe/Berlin", "2024-10-27", "2024-10-27", "2024-10-26T22:00:00Z", "2024-10-27T23:00:00Z");
    // A time that comes twice means both; one that never comes, the jump over it.
    check(
        "Europe/Berlin",
        "2024-10-27 02:30:00",
        "2024-10-27 02:30:00",
        "2024-10-27T00:30:00Z",
        "2024-10-27T01:30:01Z",
    );
    check(
        "Europe/Berlin",
        "2024-03-31 02:30:00",
        "2024-03-31 02:40:00",
        "2024-03-31T01:00:00Z",
        "2024-03-31T01:00:00Z",
    );
    // Shanghai had summer time until 1991.
    check("Asia/Shanghai", "1991-04-14", "1991-04-14", "1991-04-13T16:00:00Z", "1991-04-14T15:00:00Z");
    check("Australia/Lord_Howe", "2024-04-07", "2024-04-07", "2024-04-06T13:00:00Z", "2024-04-07T13:30:00Z");
}

#[test]
fn midnights_that_are_skipped_or_come_twice() {
    // São Paulo jumped from 00:00 to 01:00.
    check("America/Sao_Paulo", "2018-11-04", "2018-11-04", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z");
    check("America/Sao_Paulo", "2018-11-03", "2018-11-03", "2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z");
    // And fell back from 00:00 to 23:00 of the day before.
    check("America/Sao_Paulo", "2018-02-17", "2018-02-17", "2018-02-17T02:00:00Z", "2018-02-18T03:00:00Z");
    // Havana falls back from 01:00 to 00:00: the day begins once and its first hour comes twice.
    check("America/Havana", "2023-11-05", "2023-11-05", "2023-11-05T04:00:00Z", "2023-11-06T05:00:00Z");
    check("America/Havana", "2023-11-04", "2023-11-04", "2023-11-04T04:00:00Z", "2023-11-05T04:00:00Z");
    // Samoa left out the 30th of December 2011.
    check("Pacific/Apia", "2011-12-30", "2011-12-30", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z");
    check("Pacific/Apia", "2011-12-29", "2011-12-31", "2011-12-29T10:00:00Z", "2011-12-31T10:00:00Z");
}

#[test]
fn one_end_is_enough() {
    let open = range(None, None, Tz::UTC).expect("a range");
    assert_eq!((open.since, open.until), (None, None));
    let from = range(Some("2024-01-01"), None, Tz::UTC).expect("a range");
    assert_eq!((from.since, from.until), (Some(utc("2024-01-01T00:00:00Z")), None));
    let to = range(None, Some("2024-01-01"), Tz::UTC).expect("a range");
    assert_eq!((to.since, to.until), (None, Some(utc("2024-01-02T00:00:00Z"))));
}

#[test]
fn an_end_before_the_start_is_refused() {
    for (start, end) in [("2024-01-02", "2024-01-01"), ("2024-01-01 00:00:01", "2024-01-01 00:00:00")] {
        assert_eq!(range(Some(start), Some(end), Tz::UTC).expect_err("refused").code, 1005);
    }
}

/// Zones whose clocks never fall back over midnight since 2012, so that a date is one interval.
const ZONES: [Tz; 12] = [
    Tz::UTC,
    Tz::Asia__Shanghai,
    Tz::Asia__Kolkata,
    Tz::Asia__Tehran,
    Tz::Asia__Beirut,
    Tz::Europe__Berlin,
    Tz::Europe__London,
    Tz::America__New_York,
    Tz::America__St_Johns,
    Tz::America__Havana,
    Tz::Australia__Lord_Howe,
    Tz::Pacific__Kiritimati,
];

proptest! {
    #[test]
    fn an_instant_is_in_the_range_when_its_date_is(
        zone in proptest::sample::select(&ZONES),
        seconds in 1_325_376_000_i64..1_893_456_000,
        before in 0_i64..4,
        length in 0_i64..4,
    ) {
        let instant = Utc.timestamp_opt(seconds, 0).single().expect("in range");
        let date = instant.with_timezone(&zone).date_naive();
        let start: NaiveDate = date + chrono::Duration::days(before - 2);
        let end = start + chrono::Duration::days(length);
        let found = range(Some(&start.to_string()), Some(&end.to_string()), zone).expect("a range");
        let micros = instant.timestamp_micros();
        let is_in = found.since.expect("given") <= micros && micros < found.until.expect("given");
        prop_assert_eq!(is_in, start <= date && date <= end, "{} {} in {} to {}", zone, instant, start, end);
    }

    #[test]
    fn neighbouring_days_touch(zone in proptest::sample::select(&chrono_tz::TZ_VARIANTS[..]), day in 0_i64..20_000) {
        let date = NaiveDate::from_ymd_opt(1970, 1, 2).expect("a date") + chrono::Duration::days(day);
        let (today, tomorrow) = (date.to_string(), (date + chrono::Duration::days(1)).to_string());
        let until = range(None, Some(&today), zone).expect("a range").until;
        let since = range(Some(&tomorrow), None, zone).expect("a range").since;
        // A clock that falls back over midnight makes the days overlap; nothing ever lies between them.
        prop_assert!(until >= since, "{} {}", zone, date);
    }
}
