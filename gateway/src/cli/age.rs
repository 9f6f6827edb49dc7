//! How long ago something was, as kubectl writes it: `45s`, `7m12s`, `3h`, `8d`.
//!
//! For tables; JSON has the time itself. Time is an argument. Used by `cli`.

use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// The time of this machine.
pub(super) fn now() -> Timestamp {
    Timestamp::try_from(crate::id::wall_clock()).unwrap_or_default()
}

/// The age of a time of RFC 3339; the text itself where it is none.
pub(super) fn age(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(then) => written(now.as_second() - then.as_second()),
        Err(_) => time.to_owned(),
    }
}

/// Two units at most, the smaller one only while it says something.
fn written(seconds: i64) -> String {
    // The clocks of two machines may differ a little.
    let seconds = seconds.max(0);
    let pair = |unit: i64, name: char, part: i64, part_name: char| match seconds % unit / part {
        0 => format!("{}{name}", seconds / unit),
        rest => format!("{}{name}{rest}{part_name}", seconds / unit),
    };
    match seconds {
        _ if seconds < 120 => format!("{seconds}s"),
        _ if seconds < 600 => pair(MINUTE, 'm', 1, 's'),
        _ if seconds < 10_800 => format!("{}m", seconds / MINUTE),
        _ if seconds < 28_800 => pair(HOUR, 'h', MINUTE, 'm'),
        _ if seconds < 172_800 => format!("{}h", seconds / HOUR),
        _ if seconds < 691_200 => pair(DAY, 'd', HOUR, 'h'),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => pair(YEAR, 'y', DAY, 'd'),
        _ => format!("{}y", seconds / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: i64, expected: &str) {
        assert_eq!(written(seconds), expected);
    }

    #[test]
    fn ages_are_written_as_kubectl_does() {
        check(-3, "0s");
        check(0, "0s");
        check(119, "119s");
        check(120, "2m");
        check(125, "2m5s");
        check(600, "10m");
        check(3 * HOUR - 1, "179m");
        check(3 * HOUR, "3h");
        check(3 * HOUR + 5 * MINUTE, "3h5m");
        check(8 * HOUR, "8h");
        check(47 * HOUR, "47h");
        check(2 * DAY + 3 * HOUR, "2d3h");
        check(8 * DAY, "8d");
        check(2 * YEAR + 3 * DAY, "2y3d");
        check(9 * YEAR, "9y");
    }

    #[test]
    fn a_time_becomes_an_age_and_anything_else_stands() {
        let now: Timestamp = "2026-11-27T10:00:00Z".parse().unwrap();
        assert_eq!(age("2026-11-27T09:58:30.5Z", now), "90s");
        assert_eq!(age("", now), "");
        assert_eq!(age("soon", now), "soon");
    }
}
