//! How many attempts failed in the last while.

use std::collections::VecDeque;
use std::time::Duration;

use super::ids::Serial;
use super::time::Moment;

/// Into how many slices a window is cut. A success is forgotten up to a slice early, a failure to the instant.
const SLICES: u32 = 20;
/// The most failures that are kept one by one; beyond it the oldest are forgotten.
const MAX_FAILURES: usize = 4096;

/// Successes and failures over a sliding window. Failures are known one by one, so that they can be taken back.
#[derive(Clone, Debug, Default)]
pub struct Window {
    successes: VecDeque<Slice>,
    failures: VecDeque<(Moment, Serial)>,
}

#[derive(Clone, Copy, Debug)]
struct Slice {
    from: Moment,
    count: u32,
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
        let slice_length = length / SLICES;
        match self.successes.back_mut() {
            Some(slice) if at.since(slice.from) < slice_length => slice.count = slice.count.saturating_add(1),
            Some(_) | None => self.successes.push_back(Slice { from: at, count: 1 }),
        }
        self.forget(at, length);
    }

    /// Counts a failure.
    pub fn failure(&mut self, serial: Serial, at: Moment, length: Duration) {
        self.failures.push_back((at, serial));
        if self.failures.len() > MAX_FAILURES {
            self.failures.pop_front();
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
        let successes = self.successes.iter().fold(0_u32, |sum, slice| sum.saturating_add(slice.count));
        Tally { successes, failures: u32::try_from(self.failures.len()).unwrap_or(u32::MAX) }
    }

    fn forget(&mut self, now: Moment, length: Duration) {
        while self.successes.front().is_some_and(|slice| now.since(slice.from) >= length) {
            self.successes.pop_front();
        }
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

    proptest! {
        /// Against the plain reference: a list of everything. Failures agree exactly, successes to within a slice.
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
