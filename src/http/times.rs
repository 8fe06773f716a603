//! How long an attempt may take, and on whose account.

use std::time::Duration;

use actix_web::http::header::HeaderMap;
use tokio::time::Instant;

use super::names;
use crate::settings::Timeouts;

/// Whose patience ends first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// The operator's: an attempt that takes longer is at fault.
    Gateway,
    /// The client's.
    Client,
}

/// How long an attempt may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptTimes {
    /// When the client gives up on a whole answer, less a margin to tell it; `None` if it doesn't say.
    pub(super) client_leaves: Option<Instant>,
    /// Name, connection and TLS.
    pub(super) connect: Duration,
    /// A streamed answer: to its head and first event.
    pub(super) first_event: Duration,
    /// From there to its first content.
    pub(super) first_content: Duration,
    /// A whole answer that is not streamed.
    pub(super) response: Duration,
    /// Between two pieces of a stream.
    pub(super) stream_idle: Duration,
}

impl AttemptTimes {
    /// The times for a request whose head came at `came` and whose client gives the gateway `told`.
    pub(super) fn of(timeouts: &Timeouts, told: Option<Duration>, came: Instant) -> Self {
        Self {
            client_leaves: told.map(|time| after(came, time)),
            connect: timeouts.connect,
            first_event: timeouts.first_event,
            first_content: timeouts.first_content,
            response: timeouts.response,
            stream_idle: timeouts.stream_idle,
        }
    }
}

/// How long the gateway has, by the first of the client's headers that says how long it waits.
pub(super) fn time_told(headers: &HeaderMap) -> Option<Duration> {
    names::CLIENT_TIMEOUTS.iter().find_map(|name| time_of_client(headers.get(name)?.to_str().ok()?))
}

/// How long the gateway has if the client waits this many seconds: 5 s less, so that it can still tell the client, but at
/// least one second, or half of the client's time if that is less.
fn time_of_client(seconds: &str) -> Option<Duration> {
    const MARGIN: Duration = Duration::from_secs(5);
    const LEAST: Duration = Duration::from_secs(1);
    let waits = Duration::try_from_secs_f64(seconds.trim().parse().ok()?).ok()?;
    (!waits.is_zero()).then(|| waits.saturating_sub(MARGIN).max(LEAST.min(waits / 2)))
}

/// The present moment on the clock that timers run on.
#[expect(clippy::disallowed_methods, reason = "timers run on tokio's clock")]
pub(super) fn present() -> Instant {
    Instant::now()
}

/// The moment after this time.
pub(super) fn deadline(limit: Duration) -> Instant {
    after(present(), limit)
}

/// The moment this long after another one.
pub(super) fn after(moment: Instant, limit: Duration) -> Instant {
    // A limit beyond the clock's range is as good as none.
    moment.checked_add(limit).unwrap_or_else(|| moment + Duration::from_hours(24 * 365))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn either_header_tells_how_long_a_client_waits_and_the_second_where_the_first_does_not() {
        for (headers, seconds) in [
            (&[("x-stainless-timeout", "30"), ("x-stainless-read-timeout", "60")][..], Some(25)),
            (&[("x-stainless-timeout", "NOT_GIVEN"), ("x-stainless-read-timeout", "60.0")], Some(55)),
            (&[("x-stainless-read-timeout", "60")], Some(55)),
            (&[("x-stainless-timeout", "NOT_GIVEN")], None),
        ] {
            let named = headers
                .iter()
                .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect::<HeaderMap>();
            assert_eq!(time_told(&named), seconds.map(Duration::from_secs), "{headers:?}");
        }
    }

    #[test]
    fn a_client_is_told_before_it_gives_up() {
        for (header, millis) in [
            ("600", Some(595_000)),
            ("300.0", Some(295_000)),
            ("10", Some(5_000)),
            ("7", Some(2_000)),
            ("5", Some(1_000)),
            ("0.2", Some(100)),
            ("0", None),
            ("-1", None),
            ("NaN", None),
            ("soon", None),
        ] {
            assert_eq!(time_of_client(header), millis.map(Duration::from_millis), "{header}");
        }
    }
}
