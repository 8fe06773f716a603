//! How long an endpoint has been silent: a client that gives up on a silent one may know something.

use std::cell::Cell;
use std::time::Duration;

use crate::domain::time::Moment;

/// Since when an endpoint has been waited for. While the client is waited for, the endpoint is not silent.
#[derive(Debug)]
pub(super) struct Silence {
    since: Cell<Option<Moment>>,
    /// A longer silence is suspect.
    limit: Duration,
}

impl Silence {
    /// A silence that begins at once.
    pub(super) fn new(limit: Duration, now: Moment) -> Self {
        Self { since: Cell::new(Some(now)), limit }
    }

    /// Notes that the endpoint is waited for from now on.
    pub(super) fn begins(&self, now: Moment) {
        self.since.set(Some(now));
    }

    /// Notes that the endpoint has sent something, and that nothing more is asked of it before the client has taken that.
    /// Returns how long it was waited for.
    pub(super) fn ends(&self, now: Moment) -> Duration {
        self.since.take().map(|since| now.since(since)).unwrap_or_default()
    }

    pub(super) fn is_suspect(&self, now: Moment) -> bool {
        self.since.get().is_some_and(|since| now.since(since) > self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn only_a_silence_beyond_the_limit_is_suspect() {
        let silence = Silence::new(Duration::from_secs(20), at(0));
        assert!(!silence.is_suspect(at(20)) && silence.is_suspect(at(21)));
        silence.begins(at(15));
        assert!(!silence.is_suspect(at(35)) && silence.is_suspect(at(36)));
    }

    #[test]
    fn a_client_that_takes_nothing_says_nothing_about_the_endpoint() {
        let silence = Silence::new(Duration::from_secs(20), at(0));
        assert_eq!(silence.ends(at(3)), Duration::from_secs(3));
        assert!(!silence.is_suspect(at(1000)));
        silence.begins(at(1000));
        assert!(!silence.is_suspect(at(1001)));
    }
}
