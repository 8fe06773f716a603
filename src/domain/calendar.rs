//! Dates with times as text, wherever they come from.

use std::fmt::Display;
use std::time::{Duration, UNIX_EPOCH};

/// The last second that RFC 3339 can express, with its four-digit years, as the time since 1970.
pub const LAST: Duration = Duration::from_secs(253_402_300_799);

/// Formats a time since 1970 as RFC 3339 in UTC, to the millisecond. A time beyond [`LAST`] is shown as `LAST`: an upstream may
/// say anything.
pub fn to_the_millisecond(since_1970: Duration) -> impl Display {
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_1970.min(LAST))
}

/// Formats a time since 1970 as RFC 3339 in UTC, to the second; beyond [`LAST`] as `LAST`.
pub fn to_the_second(since_1970: Duration) -> impl Display {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since_1970.min(LAST))
}

/// Reads an RFC 3339 time with its zone, `Z` or an offset such as `+02:00`, as the time since 1970. `None` for a local time
/// before 1970, which nobody means.
pub fn with_zone(text: &str) -> Option<Duration> {
    if let Some(local) = text.strip_suffix(['Z', 'z']) {
        return in_utc(local);
    }
    // The library reads only UTC.
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+02:00".len())?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let number = |digits: &str, below: u64| {
        let is_plain = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|number| is_plain && *number < below)
    };
    let ahead = Duration::from_secs(3600 * number(hours, 24)? + 60 * number(minutes, 60)?);
    let local = in_utc(local)?;
    match offset.get(..1)? {
        "+" => Some(local.saturating_sub(ahead)),
        "-" => local.checked_add(ahead),
        _ => None,
    }
}

/// Reads an RFC 3339 time without a zone as UTC, as the time since 1970.
pub fn in_utc(text: &str) -> Option<Duration> {
    let has_no_zone = !text.ends_with(['Z', 'z']);
    let time = has_no_zone.then(|| humantime::parse_rfc3339_weak(text).ok()).flatten()?;
    time.duration_since(UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_any_offset() {
        for (text, seconds) in [
            ("1970-01-02T00:00:00Z", Some(86_400)),
            ("1970-01-02T00:00:00z", Some(86_400)),
            ("1970-01-02 00:00:00Z", Some(86_400)),
            ("1970-01-02T02:00:00+02:00", Some(86_400)),
            ("1970-01-01T22:30:00-01:30", Some(86_400)),
            ("1969-01-01T00:00:00Z", None),
            ("1970-01-02", None),
            ("1970-01-02T00:00:00", None),
            ("1970-01-02T00:00:00ZZ", None),
            ("1970-01-02T00:00:00Z+02:00", None),
            ("1970-01-02T00:00:00+2:00", None),
            ("1970-01-02T00:00:00*02:00", None),
            ("1970-01-02T00:00:00+99:00", None),
            ("+02:00", None),
            ("ééé", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(with_zone(text), seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn a_time_without_a_zone_is_one_in_utc() {
        assert_eq!(in_utc("1970-01-02T00:00:00"), Some(Duration::from_secs(86_400)));
        assert_eq!(in_utc("1970-01-02T00:00:00Z"), None);
    }

    #[test]
    fn a_time_beyond_all_calendars_is_shown_as_the_last_within() {
        for (since_1970, shown) in [
            (Duration::ZERO, "1970-01-01T00:00:00.000Z"),
            (Duration::from_millis(1_764_384_339_042), "2025-11-29T02:45:39.042Z"),
            (LAST, "9999-12-31T23:59:59.000Z"),
            (LAST + Duration::from_secs(1), "9999-12-31T23:59:59.000Z"),
            (Duration::MAX, "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(to_the_millisecond(since_1970).to_string(), shown);
            assert_eq!(to_the_second(since_1970).to_string(), format!("{}Z", &shown[..19]));
        }
    }
}
