//! Times of day as text, wherever they come from.

use std::fmt::Display;
use std::time::{Duration, UNIX_EPOCH};

/// The last second that RFC 3339 has a year for, as the time since 1970.
pub const LAST: Duration = Duration::from_secs(253_402_300_799);

/// A time since 1970 as RFC 3339 in UTC, to the millisecond. One of no year that has four digits is shown as the last that is: an
/// upstream may say anything.
pub fn to_the_millisecond(since_1970: Duration) -> impl Display {
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_1970.min(LAST))
}

/// The same to the second.
pub fn to_the_second(since_1970: Duration) -> impl Display {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since_1970.min(LAST))
}

#[cfg(test)]
mod tests {
    use super::*;

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
