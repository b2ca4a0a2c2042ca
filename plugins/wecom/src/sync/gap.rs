//! Noticing that history was lost.
//!
//! WeCom keeps messages for five days and answers an older seq with the oldest message it still has, without a word
//! (reference/wecom-archive.md §1.10). So the plugin watches the time since the last contact (§6), which every pull
//! renews, also one that brings nothing. A seq that follows on directly proves that nothing is missing; a jump proves
//! nothing, because numbers have gaps of their own.

use super::cursor::Cursor;
use stele_plugin_api::model::{Micros, Notice};

const HOUR: Micros = 3_600 * 1_000_000;
/// What WeCom keeps.
const KEPT: Micros = 5 * 24 * HOUR;
/// From here on it is getting late.
const LATE: Micros = 4 * 24 * HOUR;

/// The cursor after a pull at `now` that brought nothing. A long silence before it is remembered: the next message tells
/// whether anything was lost in it.
pub fn confirmed(cursor: Cursor, last_commit: Option<Micros>, now: Micros) -> Cursor {
    let silence = last_commit.map_or(0, |last_commit| now.saturating_sub(last_commit));
    let silence = if silence > LATE { silence.max(cursor.silence) } else { cursor.silence };
    Cursor { silence, ..cursor }
}

/// What to tell about the first message after a pull at `now`; `last_commit` is the last contact, as far as it is known.
pub fn notice(
    cursor: Cursor,
    last_commit: Option<Micros>,
    first_seq: u64,
    first_time: Micros,
    now: Micros,
) -> Option<Notice> {
    if cursor.seq == 0 || cursor.seq.checked_add(1) == Some(first_seq) {
        return None;
    }
    // Without a known contact the silence between the messages themselves stands in for it.
    let silence = match last_commit {
        Some(last_commit) => now.saturating_sub(last_commit).max(cursor.silence),
        None if cursor.latest > 0 => first_time.saturating_sub(cursor.latest),
        None => 0,
    };
    let (code, what) = if silence > KEPT {
        ("gap", "messages are probably lost")
    } else if silence > LATE {
        ("gap-risk", "close to losing messages")
    } else {
        return None;
    };
    let message = format!(
        "{what}: {} hours without contact, and WeCom keeps {} hours; stored up to seq {} (sent {}), going on with seq \
         {first_seq} (sent {})",
        silence / HOUR,
        KEPT / HOUR,
        cursor.seq,
        readable(cursor.latest),
        readable(first_time),
    );
    Some(Notice { code: code.to_owned(), message })
}

fn readable(time: Micros) -> String {
    match chrono::DateTime::from_timestamp_micros(time) {
        Some(time) if time.timestamp() > 0 => time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        _ => "at an unknown time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_700_000_000_000_000;

    fn check(seq: u64, latest_days_ago: i64, contact_days_ago: Option<i64>, first_seq: u64, expected: Option<&str>) {
        let cursor = Cursor { seq, latest: NOW - latest_days_ago * 24 * HOUR, silence: 0 };
        let contact = contact_days_ago.map(|days| NOW - days * 24 * HOUR - 1);
        let notice = notice(cursor, contact, first_seq, NOW - HOUR, NOW);
        assert_eq!(notice.as_ref().map(|notice| notice.code.as_str()), expected, "{notice:?}");
        if let Some(notice) = notice {
            for part in [format!("seq {seq}"), format!("seq {first_seq}"), "2023-11-14T21:13:20Z".to_owned()] {
                assert!(notice.message.contains(&part), "{}", notice.message);
            }
        }
    }

    #[test]
    fn silence_is_told_unless_the_numbers_follow_on() {
        check(100, 6, Some(5), 900, Some("gap"));
        check(100, 6, Some(4), 900, Some("gap-risk"));
        check(100, 6, Some(3), 900, None);
        check(100, 6, Some(9), 101, None);
        check(0, 6, Some(9), 900, None);
        check(100, 6, None, 900, Some("gap"));
        check(100, 1, None, 900, None);
    }

    #[test]
    fn a_pull_that_brings_nothing_confirms_the_contact_and_hides_no_silence() {
        let cursor = Cursor { seq: 100, latest: NOW - 40 * 24 * HOUR, silence: 0 };
        let told = |cursor, first_seq| notice(cursor, Some(NOW), first_seq, NOW, NOW).map(|notice| notice.code);
        // Quiet weeks, looked at every minute.
        let quiet = confirmed(cursor, Some(NOW - HOUR / 60), NOW);
        assert_eq!((quiet, told(quiet, 900)), (cursor, None));
        // An outage, after which there is nothing at first.
        let outage = confirmed(cursor, Some(NOW - KEPT - 1), NOW);
        let later = confirmed(outage, Some(NOW), NOW);
        assert_eq!((outage, later.silence), (later, KEPT + 1));
        assert_eq!((told(later, 900).as_deref(), told(later, 101)), (Some("gap"), None));
        let shorter = confirmed(later, Some(NOW - LATE - 1), NOW);
        assert_eq!(shorter, later);
        assert_eq!(told(confirmed(cursor, Some(NOW - LATE - 1), NOW), 900).as_deref(), Some("gap-risk"));
    }
}
