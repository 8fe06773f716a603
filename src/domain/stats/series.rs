//! The last ten minutes in steps of ten seconds, for sparklines.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::time::Moment;
use super::latencies::Latencies;
use super::records::RequestEnd;

/// How long a step is.
pub const STEP: Duration = Duration::from_secs(10);
/// How many steps are shown, the one under way included.
pub const STEPS: usize = 60;
/// The number of whole steps that the present rate covers.
const RATE_STEPS: usize = 6;

/// What happened in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// Requests that ended.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Their attempts beyond the first.
    pub retries: u64,
    /// The median time of those that succeeded, in milliseconds; `None` if none did.
    pub latency: Option<f64>,
}

/// The last steps. Only the one under way still needs all its times.
#[derive(Clone, Debug)]
pub struct Series {
    began: Moment,
    /// Past steps in which something happened, with their numbers, oldest first.
    past: VecDeque<(u64, Step)>,
    number: u64,
    step: Step,
    times: Latencies,
}

impl Series {
    /// A series that begins at this moment.
    pub fn new(began: Moment) -> Self {
        let (past, number) = (VecDeque::new(), number(began));
        Self { began, past, number, step: Step::default(), times: Latencies::default() }
    }

    /// Counts a request that ended at this moment.
    pub fn note(&mut self, at: Moment, end: RequestEnd, elapsed: Duration, retries: u64) {
        let number = number(at);
        // Workers' clocks agree, but their messages may overtake each other by a little.
        if number > self.number {
            self.close();
            self.number = number;
        }
        self.step.requests += 1;
        self.step.errors += u64::from(end == RequestEnd::Failed);
        self.step.retries += retries;
        if end == RequestEnd::Successful {
            self.times.note(elapsed);
        }
    }

    fn close(&mut self) {
        if self.step.requests > 0 {
            self.past.push_back((self.number, self.under_way()));
        }
        self.step = Step::default();
        self.times.clear();
        while self.past.len() > STEPS {
            self.past.pop_front();
        }
    }

    fn under_way(&self) -> Step {
        Step { latency: self.times.median(), ..self.step }
    }

    /// The last steps up to this moment, oldest first; the last one is under way.
    pub fn until(&self, now: Moment) -> [Step; STEPS] {
        let mut steps = [Step::default(); STEPS];
        let last = number(now).max(self.number);
        for (number, step) in self.past.iter().copied().chain([(self.number, self.under_way())]) {
            let age = usize::try_from(last - number).unwrap_or(usize::MAX);
            if let Some(shown) = STEPS.checked_sub(1 + age.min(STEPS)).and_then(|place| steps.get_mut(place)) {
                *shown = step;
            }
        }
        steps
    }

    /// The requests that ended per second, over the last minute or so.
    pub fn per_second(&self, now: Moment) -> f64 {
        let steps = self.until(now);
        let counted: u64 = steps.iter().rev().take(RATE_STEPS + 1).map(|step| step.requests).sum();
        let into_step = now.since_start().as_secs_f64() % STEP.as_secs_f64();
        let whole: f64 = (0..RATE_STEPS).map(|_| STEP.as_secs_f64()).sum();
        let covered = (whole + into_step).min(now.since(self.began).as_secs_f64()).max(1.0);
        super::to_float(counted) / covered
    }
}

/// The number of the step in which a moment lies.
const fn number(moment: Moment) -> u64 {
    moment.since_start().as_secs() / STEP.as_secs()
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::at;
    use super::*;

    fn note(series: &mut Series, second: u64, end: RequestEnd) {
        series.note(at(second), end, Duration::from_millis(100), 1);
    }

    #[test]
    fn each_step_has_its_own_counts_and_silence_has_none() {
        let mut series = Series::new(at(0));
        for (second, end) in [
            (1, RequestEnd::Successful),
            (9, RequestEnd::Failed),
            (10, RequestEnd::Rejected),
            (45, RequestEnd::Successful),
        ] {
            note(&mut series, second, end);
        }
        let steps = series.until(at(61));
        let shown: Vec<_> =
            steps.iter().skip(STEPS - 7).map(|step| (step.requests, step.errors, step.retries)).collect();
        assert_eq!(shown, [(2, 1, 2), (1, 0, 1), (0, 0, 0), (0, 0, 0), (1, 0, 1), (0, 0, 0), (0, 0, 0)]);
        let median = steps[STEPS - 7].latency.unwrap();
        assert!((median - 100.0).abs() < 2.0, "{median}");
        assert_eq!(
            (steps[STEPS - 6].latency, steps[0]),
            (None, Step::default()),
            "none of it succeeded; nothing happened"
        );
    }

    #[test]
    fn what_is_older_than_ten_minutes_is_gone_and_what_is_late_is_counted_all_the_same() {
        let mut series = Series::new(at(0));
        for second in (0..2000).step_by(10) {
            note(&mut series, second, RequestEnd::Successful);
        }
        assert!(series.until(at(1990)).iter().all(|step| step.requests == 1));
        assert!(series.past.len() <= STEPS);
        note(&mut series, 1985, RequestEnd::Successful);
        assert_eq!(series.until(at(1990))[STEPS - 1].requests, 2);
        assert_eq!(series.until(at(2585))[0].requests, 2, "the one that was under way is the oldest now");
        assert!(series.until(at(10_000)).iter().all(|step| step.requests == 0));
    }

    #[test]
    fn the_rate_is_that_of_the_last_minute_or_since_the_start() {
        let mut series = Series::new(at(0));
        assert!(series.per_second(at(0)).abs() < 1e-9);
        (0..20).for_each(|_| note(&mut series, 1, RequestEnd::Successful));
        assert!((series.per_second(at(2)) - 10.0).abs() < 1e-9);
        assert!((series.per_second(at(40)) - 0.5).abs() < 1e-9);
        assert!(series.per_second(at(80)).abs() < 1e-9);
        let mut late = Series::new(at(1_000_003));
        note(&mut late, 1_000_004, RequestEnd::Successful);
        assert!((late.per_second(at(1_000_005)) - 0.5).abs() < 1e-9);
    }
}
