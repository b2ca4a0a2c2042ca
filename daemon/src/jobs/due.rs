//! Whether a job is due: pure, decided from its record.

use super::Schedule;
use stele_archive::JobRecord;
use stele_archive::model::Micros;

/// No pause after a failure is as long: a day and what it is spread by.
const FARTHEST_RETRY: Micros = 2 * 86_400_000_000;
/// A clock is set back by so much without further ado: what was due is not due a second time.
const CLOCK_STEP: Micros = 60_000_000;

/// A run that should begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Why: `schedule`, `catch-up`, `retry`.
    pub trigger: &'static str,
    /// The due time that the run takes care of; `None` for a retry, which belongs to none.
    pub at: Option<Micros>,
}

/// What is due now. Times of the pattern that passed while nobody was there are caught up by one run. After a failure
/// only the retry time counts, so that a pattern of every minute does not defeat the growing pauses. What was asked for, and came to
/// nothing where it was, is due at once.
pub fn due(record: &JobRecord, schedule: Option<&Schedule>, jitter: Micros, now: Micros) -> Option<Due> {
    let again = Due { trigger: "retry", at: None };
    if let Some(retry_at) = record.retry_at {
        return (record.asked || now >= retry_at).then_some(again);
    }
    let of_pattern = schedule.and_then(|schedule| due_by(schedule, record, jitter, now));
    of_pattern.or_else(|| record.asked.then_some(again))
}

fn due_by(schedule: &Schedule, record: &JobRecord, jitter: Micros, now: Micros) -> Option<Due> {
    let Some(last) = record.last_due else {
        return Some(Due { trigger: "schedule", at: Some(schedule.latest_at(now).unwrap_or(now)) });
    };
    let next = schedule.next_after(last)?;
    if next + jitter > now {
        return None;
    }
    let latest = schedule.latest_at(now)?.max(next);
    Some(Due { trigger: if latest > next { "catch-up" } else { "schedule" }, at: Some(latest) })
}

/// Takes back times that only a clock which was wrong can have written: without this a job that ran while the clock was
/// years ahead would not run again for years.
pub(super) fn set_right(record: &mut JobRecord, schedule: Option<&Schedule>, now: Micros) {
    if record.retry_at.is_some_and(|retry_at| retry_at - now > FARTHEST_RETRY) {
        record.retry_at = Some(now);
    }
    if record.last_due.is_some_and(|due| due - now > CLOCK_STEP) {
        record.last_due = Some(schedule.and_then(|schedule| schedule.latest_at(now)).unwrap_or(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stele_archive::JobKey;

    const MINUTE: Micros = 60_000_000;

    /// A job of which this is known; times are minutes.
    fn record(last_due: Option<Micros>, retry_at: Option<Micros>) -> JobRecord {
        JobRecord {
            key: JobKey { instance: "hq".into(), kind: "sync".into(), partition: "c".into() },
            pattern: String::new(),
            zone: String::new(),
            last_due: last_due.map(|minutes| minutes * MINUTE),
            failures: 0,
            retry_at: retry_at.map(|minutes| minutes * MINUTE),
            asked: false,
            lease: None,
            error: None,
            report: None,
        }
    }

    #[test]
    fn due_times() {
        let schedule = Schedule::parse("*/5 * * * *", "UTC").unwrap();
        let check_asked = |asked: bool,
                           last_due: Option<Micros>,
                           retry_at: Option<Micros>,
                           now: Micros,
                           expected: Option<(&str, Option<Micros>)>| {
            let record = JobRecord { asked, ..record(last_due, retry_at) };
            let found = due(&record, Some(&schedule), 0, now * MINUTE).map(|due| (due.trigger, due.at));
            assert_eq!(found, expected.map(|(trigger, at)| (trigger, at.map(|m| m * MINUTE))));
        };
        let check = |last_due, retry_at, now, expected| check_asked(false, last_due, retry_at, now, expected);
        check(None, None, 7, Some(("schedule", Some(5))));
        check(Some(5), None, 9, None);
        check(Some(5), None, 10, Some(("schedule", Some(10))));
        check(Some(5), None, 14, Some(("schedule", Some(10))));
        check(Some(5), None, 31, Some(("catch-up", Some(30))));
        check(Some(5), Some(20), 15, None);
        check(Some(5), Some(20), 20, Some(("retry", None)));
        check_asked(true, Some(5), None, 9, Some(("retry", None)));
        check_asked(true, Some(5), None, 10, Some(("schedule", Some(10))));
        check_asked(true, Some(5), Some(20), 15, Some(("retry", None)));
        let asked = JobRecord { asked: true, ..record(None, None) };
        assert_eq!(due(&asked, None, 0, 0), Some(Due { trigger: "retry", at: None }));
    }

    #[test]
    fn times_of_a_clock_that_was_wrong_are_taken_back() {
        const YEAR: Micros = 365 * 24 * 60;
        let schedule = Schedule::parse("*/5 * * * *", "UTC").unwrap();
        let check = |last_due: Option<Micros>, retry_at: Option<Micros>, expected: (Option<Micros>, Option<Micros>)| {
            let mut found = record(last_due, retry_at);
            set_right(&mut found, Some(&schedule), 12 * MINUTE);
            assert_eq!(found, record(expected.0, expected.1));
        };
        check(Some(YEAR), None, (Some(10), None));
        check(Some(10), Some(YEAR), (Some(10), Some(12)));
        // An ordinary step back, and an ordinary pause.
        check(Some(13), None, (Some(13), None));
        check(Some(10), Some(27), (Some(10), Some(27)));
    }

    #[test]
    fn jitter_delays_but_never_drops() {
        let schedule = Schedule::parse("*/5 * * * *", "UTC").unwrap();
        let record = record(Some(0), None);
        assert_eq!(due(&record, Some(&schedule), MINUTE, 5 * MINUTE), None);
        assert!(due(&record, Some(&schedule), MINUTE, 6 * MINUTE).is_some());
    }
}
