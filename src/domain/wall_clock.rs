//! What time of day a moment was, also where the machine's clock was set or the machine slept in between.

use std::time::Duration;

use super::time::Moment;

/// Smaller differences between the clocks are not followed, or times would waver each time they are shown.
const SMALLEST_STEP: Duration = Duration::from_secs(1);
/// At most this many steps are kept, oldest dropped first: a machine that sleeps every night must not fill the memory.
const MAX_STEPS: usize = 100;

/// A moment whose time of day is known. It holds for the moments after it, up to the next anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anchor {
    moment: Moment,
    since_1970: Duration,
}

impl Anchor {
    fn time_of(&self, moment: Moment) -> Duration {
        self.since_1970.saturating_add(moment.since(self.moment)).saturating_sub(self.moment.since(moment))
    }
}

/// Tells the time of day of moments.
///
/// Moments follow a clock that is never set and stands still while the machine sleeps. What was told before a step of the wall
/// clock stays as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WallClock {
    first: Anchor,
    steps: Vec<Anchor>,
}

impl WallClock {
    /// A clock that shows this time, since 1970, at this moment.
    #[must_use]
    pub fn starting(moment: Moment, since_1970: Duration) -> Self {
        Self { first: Anchor { moment, since_1970 }, steps: Vec::new() }
    }

    /// The time of day of a moment, as the time since 1970.
    #[must_use]
    pub fn time_of(&self, moment: Moment) -> Duration {
        let began = self.steps.iter().rev().find(|step| step.moment <= moment);
        began.unwrap_or(&self.first).time_of(moment)
    }

    /// The clock with a further step, if the machine's clock shows another time at `now` than this one. The step may
    /// have been at any time since the last look. It is taken for the earliest, because more happens after a pause than
    /// right before it.
    #[must_use]
    pub fn stepped(&self, now: Moment, since_1970: Duration, last_look: Moment) -> Option<Self> {
        if self.time_of(now).abs_diff(since_1970) < SMALLEST_STEP {
            return None;
        }
        let since_then = now.since(last_look);
        let step = Anchor { moment: now.before(since_then), since_1970: since_1970.saturating_sub(since_then) };
        let kept = self.steps.len().saturating_sub(MAX_STEPS - 1);
        let steps = self.steps.iter().skip(kept).copied().chain([step]).collect();
        Some(Self { first: self.first, steps })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::at;
    use super::*;

    const HOUR: u64 = 3600;

    fn clock() -> WallClock {
        WallClock::starting(at(1000), Duration::from_secs(50 * HOUR))
    }

    fn shown(clock: &WallClock, moment: u64) -> u64 {
        clock.time_of(at(moment)).as_secs()
    }

    #[test]
    fn moments_before_and_behind_the_start_are_that_far_from_it() {
        assert_eq!(
            [900, 1000, 1100].map(|moment| shown(&clock(), moment)),
            [50 * HOUR - 100, 50 * HOUR, 50 * HOUR + 100]
        );
        assert_eq!(WallClock::starting(at(1000), Duration::from_secs(1)).time_of(at(0)), Duration::ZERO);
    }

    #[test]
    fn behind_a_step_times_are_the_new_clocks_and_before_it_they_stay_what_they_were() {
        for set_to in [53 * HOUR, 2 * HOUR] {
            let clock = clock().stepped(at(1500), Duration::from_secs(set_to), at(1499)).unwrap();
            assert_eq!([1000, 1498].map(|moment| shown(&clock, moment)), [50 * HOUR, 50 * HOUR + 498]);
            assert_eq!([1499, 1500, 1600].map(|moment| shown(&clock, moment)), [set_to - 1, set_to, set_to + 100]);
        }
    }

    #[test]
    fn what_is_less_than_a_second_is_no_step() {
        for millis in [0, 999] {
            let shown = Duration::from_secs(50 * HOUR + 500) + Duration::from_millis(millis);
            assert_eq!(clock().stepped(at(1500), shown, at(1499)), None);
        }
    }

    #[test]
    fn the_latest_steps_are_kept() {
        let mut clock = clock();
        for step in 1..=1000 {
            let (now, time) = (at(1000 + step * 10), Duration::from_secs((50 + step) * HOUR));
            clock = clock.stepped(now, time, now).unwrap();
        }
        assert_eq!(clock.steps.len(), MAX_STEPS);
        assert_eq!([11_000, 10_990].map(|moment| shown(&clock, moment)), [1050 * HOUR, 1049 * HOUR]);
    }
}
