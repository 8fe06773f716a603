//! The one place that reads the machine's clocks.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use crate::domain::calendar::to_the_millisecond;
use crate::domain::memory::Almanac;
use crate::domain::time::Moment;
use crate::domain::wall_clock::WallClock;

/// How long before the process its clock of moments begins, so that earlier moments, which a state file remembers, can be
/// expressed as well.
const LEAD: Duration = Duration::from_hours(400 * 24);

/// Two readings that are further apart than this are not of the same moment.
const LONGEST_LOOK: Duration = Duration::from_millis(100);

/// Reads moments, and converts them to times of day. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    /// As long-lived as the process, so that a copy is free and a request can hold one.
    wall: &'static ArcSwap<WallClock>,
}

impl Clock {
    /// The moment at which every clock was started.
    pub const BEGAN: Moment = Moment::after_start(LEAD);

    /// A clock that begins now. A process needs one: what it takes is never given back.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        // The wall clock is read last, so that times restored from a state file, which has milliseconds, are not shown
        // as the millisecond before.
        let began = Instant::now();
        let wall = WallClock::starting(Self::BEGAN, since_1970());
        Self { began, wall: Box::leak(Box::new(ArcSwap::from_pointee(wall))) }
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

    /// Follows the machine's clock if that was set, or the machine slept, since the last look. To be called now and then, by one.
    pub fn follow(&self, last_look: Moment) {
        let (before, since_1970, behind) = (self.now(), self.since_1970(), self.now());
        // If the process was held up in between, the two clocks do not tell of the same moment. The next look will do.
        if behind.since(before) < LONGEST_LOOK
            && let Some(stepped) = self.wall.load().stepped(before, since_1970, last_look)
        {
            self.wall.store(Arc::new(stepped));
        }
    }

    /// The time of day of a moment: what the machine's clock showed then, or will show.
    pub fn time_of_day(&self, moment: Moment) -> SystemTime {
        UNIX_EPOCH.checked_add(self.wall.load().time_of(moment)).unwrap_or(UNIX_EPOCH)
    }

    /// The relation of moments to times of day at present, for what another process reads.
    pub fn almanac(&self) -> Almanac {
        Almanac { zero: self.since_1970().saturating_sub(self.now().since(Moment::START)) }
    }

    /// The present time of day as the time since 1970, for comparison with dates that others name: by the machine's own clock,
    /// for the monotonic one stands still while the machine sleeps, and knows nothing of a clock that was set right.
    pub fn since_1970(&self) -> Duration {
        since_1970()
    }

    /// A moment as RFC 3339 in UTC, to the millisecond.
    pub fn rfc3339(&self, moment: Moment) -> String {
        to_the_millisecond(self.wall.load().time_of(moment)).to_string()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_sleep_times_are_those_of_the_machines_clock() {
        let day = Duration::from_hours(24);
        let clock = Clock::start();
        let difference = || {
            let shown = clock.time_of_day(clock.now()).duration_since(UNIX_EPOCH).unwrap();
            clock.since_1970().abs_diff(shown).as_secs()
        };
        assert_eq!(difference(), 0);
        // As if the machine had slept for a day since then.
        clock.wall.store(Arc::new(WallClock::starting(Clock::BEGAN, since_1970().saturating_sub(day))));
        assert_ne!(difference(), 0);
        let kept = clock.almanac().zero + clock.now().since(Moment::START);
        assert_eq!(kept.abs_diff(clock.since_1970()).as_secs(), 0, "the state file has the machine's time in any case");
        clock.follow(clock.now());
        assert_eq!(difference(), 0);
    }
}
