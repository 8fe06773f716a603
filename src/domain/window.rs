//! How many attempts succeeded and failed within a sliding window.

use std::collections::VecDeque;
use std::time::Duration;

use super::ids::Serial;
use super::time::Moment;

/// How many slices a window has. What is counted by slices is forgotten up to a slice early, all else at the exact instant.
const SLICES: u32 = 20;
/// The most failures that are kept one by one; beyond this the oldest are only counted.
const MAX_FAILURES: usize = 4096;

/// Successes and failures over a sliding window. The latest failures are kept one by one, so that they can be taken back.
#[derive(Clone, Debug, Default)]
pub struct Window {
    successes: Counts,
    failures: VecDeque<(Moment, Serial)>,
    /// The failures before these.
    earlier_failures: Counts,
}

/// Counts by slices of time.
#[derive(Clone, Debug, Default)]
struct Counts(VecDeque<Slice>);

#[derive(Clone, Copy, Debug)]
struct Slice {
    from: Moment,
    count: u32,
}

impl Counts {
    /// Counts one more, in the order of time.
    fn add(&mut self, at: Moment, length: Duration) {
        let slice_length = length / SLICES;
        match self.0.back_mut() {
            Some(slice) if at.since(slice.from) < slice_length => slice.count = slice.count.saturating_add(1),
            Some(_) | None => self.0.push_back(Slice { from: at, count: 1 }),
        }
    }

    fn forget(&mut self, now: Moment, length: Duration) {
        while self.0.front().is_some_and(|slice| now.since(slice.from) >= length) {
            self.0.pop_front();
        }
    }

    fn sum(&self) -> u32 {
        self.0.iter().fold(0_u32, |sum, slice| sum.saturating_add(slice.count))
    }
}

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Whole answers.
    pub successes: u32,
    /// Counted failures.
    pub failures: u32,
}

impl Tally {
    /// All attempts that count.
    pub fn attempts(self) -> u32 {
        self.successes.saturating_add(self.failures)
    }

    /// The share of failures, 0 to 1; 0 for an empty window.
    pub fn failure_rate(self) -> f64 {
        if self.attempts() == 0 { 0.0 } else { f64::from(self.failures) / f64::from(self.attempts()) }
    }
}

impl Window {
    /// Counts a success.
    pub fn success(&mut self, at: Moment, length: Duration) {
        self.successes.add(at, length);
        self.forget(at, length);
    }

    /// Counts a failure.
    pub fn failure(&mut self, serial: Serial, at: Moment, length: Duration) {
        self.failures.push_back((at, serial));
        if self.failures.len() > MAX_FAILURES
            && let Some((earliest, _)) = self.failures.pop_front()
        {
            self.earlier_failures.add(earliest, length);
        }
        self.forget(at, length);
    }

    /// Takes a failure back, as if it had never been.
    pub fn retract(&mut self, serial: Serial) {
        self.failures.retain(|(_, kept)| *kept != serial);
    }

    /// What the window held at `now`.
    pub fn tally(&mut self, now: Moment, length: Duration) -> Tally {
        self.forget(now, length);
        let latest = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        Tally { successes: self.successes.sum(), failures: self.earlier_failures.sum().saturating_add(latest) }
    }

    fn forget(&mut self, now: Moment, length: Duration) {
        self.successes.forget(now, length);
        self.earlier_failures.forget(now, length);
        while self.failures.front().is_some_and(|(at, _)| now.since(*at) >= length) {
            self.failures.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(60);

    fn at(millis: u64) -> Moment {
        Moment::after_start(Duration::from_millis(millis))
    }

    #[test]
    fn an_empty_window_has_no_failures() {
        assert_eq!(Window::default().tally(at(0), LENGTH), Tally::default());
        assert!(Tally::default().failure_rate() < f64::EPSILON);
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut window = Window::default();
        window.failure(Serial::from_raw(1), at(0), LENGTH);
        window.success(at(0), LENGTH);
        window.failure(Serial::from_raw(2), at(30_000), LENGTH);
        assert_eq!(window.tally(at(59_999), LENGTH), Tally { successes: 1, failures: 2 });
        assert_eq!(window.tally(at(60_000), LENGTH), Tally { successes: 0, failures: 1 });
    }

    #[test]
    fn a_failure_can_be_taken_back() {
        let mut window = Window::default();
        window.failure(Serial::from_raw(1), at(0), LENGTH);
        window.failure(Serial::from_raw(2), at(0), LENGTH);
        window.retract(Serial::from_raw(1));
        window.retract(Serial::from_raw(9));
        assert_eq!(window.tally(at(0), LENGTH).failures, 1);
    }

    /// In a flood the oldest failures are no longer kept one by one, but still count.
    #[test]
    fn a_flood_of_failures_counts_in_full() {
        let mut window = Window::default();
        for serial in 0..30_000 {
            let now = at(serial * 2);
            if serial % 3 == 0 {
                window.success(now, LENGTH);
            } else {
                window.failure(Serial::from_raw(serial), now, LENGTH);
            }
        }
        let tally = window.tally(at(59_998), LENGTH);
        assert_eq!(tally, Tally { successes: 10_000, failures: 20_000 });
        window.retract(Serial::from_raw(29_999));
        assert_eq!(window.tally(at(59_998), LENGTH).failures, 19_999, "the latest can still be taken back");
        let half_gone = window.tally(at(90_000), LENGTH).failures;
        assert!((9_000..=10_000).contains(&half_gone), "{half_gone}");
        assert_eq!(window.tally(at(119_999), LENGTH), Tally::default());
    }

    proptest! {
        /// Compares with the plain reference, a list of everything: failures agree exactly, successes to within a slice.
        #[test]
        fn agrees_with_a_list_of_everything(steps in prop::collection::vec((0_u64..5_000, any::<bool>()), 1..200)) {
            let mut window = Window::default();
            let mut all: Vec<(u64, bool)> = Vec::new();
            let mut now = 0;
            for (serial, (gap, ok)) in (0_u64..).zip(steps) {
                now += gap;
                if ok { window.success(at(now), LENGTH) } else { window.failure(Serial::from_raw(serial), at(now), LENGTH) }
                all.push((now, ok));
            }
            let tally = window.tally(at(now), LENGTH);
            let within = |millis: u64, wanted: bool| {
                u32::try_from(all.iter().filter(|(when, ok)| now - when < millis && *ok == wanted).count()).unwrap()
            };
            prop_assert_eq!(tally.failures, within(60_000, false));
            prop_assert!(tally.successes <= within(60_000, true));
            prop_assert!(tally.successes >= within(57_000, true));
        }
    }
}
