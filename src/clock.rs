//! The one place that reads the machine's clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::calendar::to_the_millisecond;
use crate::domain::memory::Almanac;
use crate::domain::time::Moment;

/// How long before the process its clock of moments begins, so that earlier moments, which a state file remembers, can be
/// expressed as well.
const LEAD: Duration = Duration::from_hours(400 * 24);

/// Reads moments, and converts them to times of day. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    began_at: SystemTime,
}

impl Clock {
    /// The moment at which every clock was started.
    pub const BEGAN: Moment = Moment::after_start(LEAD);

    /// A clock that begins now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Self { began: Instant::now(), began_at: SystemTime::now() }
    }

    /// The present moment.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Moment {
        Self::BEGAN + Instant::now().saturating_duration_since(self.began)
    }

    /// A moment on the timers' clock.
    pub fn instant(&self, moment: Moment) -> Instant {
        // A moment before the process began has passed in any case, so it maps to the beginning.
        self.began + moment.since(Self::BEGAN)
    }

    /// The time of day of a moment. It follows the monotonic clock, so that it never runs backwards.
    pub fn time_of_day(&self, moment: Moment) -> SystemTime {
        let time = match moment.since(Self::BEGAN) {
            Duration::ZERO => self.began_at.checked_sub(Self::BEGAN.since(moment)),
            after => self.began_at.checked_add(after),
        };
        time.unwrap_or(self.began_at)
    }

    /// The relation of moments to times of day at present, for what another process reads.
    pub fn almanac(&self) -> Almanac {
        Almanac { zero: self.since_1970().saturating_sub(self.now().since(Moment::START)) }
    }

    /// The present time of day as the time since 1970, for comparison with dates that others name. It is read from the
    /// machine's own clock, because the monotonic one stands still while the machine sleeps, and ignores corrections of
    /// the clock.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn since_1970(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// The time of day of a moment as the time since 1970.
    fn since_1970_at(&self, moment: Moment) -> Duration {
        self.time_of_day(moment).duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// A moment as RFC 3339 in UTC, to the millisecond.
    pub fn rfc3339(&self, moment: Moment) -> String {
        to_the_millisecond(self.since_1970_at(moment)).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the clock is what is tested")]
    fn others_dates_are_compared_with_the_time_that_it_is_and_not_with_what_it_would_be_without_sleep() {
        let day = Duration::from_hours(24);
        let slept = Clock { began: Instant::now(), began_at: SystemTime::now() - day };
        let late = slept.since_1970().abs_diff(slept.since_1970_at(slept.now()));
        assert!(late.abs_diff(day) < Duration::from_hours(1), "{late:?}");
        let kept = slept.almanac().zero + slept.now().since(Moment::START);
        assert!(kept.abs_diff(slept.since_1970()) < Duration::from_hours(1), "{kept:?}");
    }
}
