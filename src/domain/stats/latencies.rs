//! How long things took: percentiles for people, bucket counts for scraping.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest time recorded, in microseconds: an hour. Longer ones count as this.
const LONGEST: u64 = 3_600_000_000;
/// How many significant digits of a time are kept: one percent of precision.
const DIGITS: u8 = 2;

/// The upper bounds of the buckets for scraping.
const BOUNDS: [Duration; 18] = [
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1_000),
    Duration::from_millis(2_000),
    Duration::from_millis(3_000),
    Duration::from_millis(5_000),
    Duration::from_millis(7_500),
    Duration::from_millis(10_000),
    Duration::from_millis(15_000),
    Duration::from_millis(20_000),
    Duration::from_millis(30_000),
    Duration::from_millis(60_000),
    Duration::from_millis(120_000),
    Duration::from_millis(300_000),
    Duration::from_millis(600_000),
];

/// Percentiles of times, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LatencySummary {
    /// The mean.
    pub avg: f64,
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
}

/// Times that were noted.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// In microseconds. It takes some 30 KB, so that it is made with the first time.
    percentiles: Option<Histogram<u64>>,
    /// How many lie above the previous bound and not above this one.
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: Duration,
}

impl Latencies {
    /// Records a time.
    pub fn note(&mut self, time: Duration) {
        if self.percentiles.is_none() {
            // The bounds are constants that the histogram accepts; should it ever not, percentiles stay unknown.
            self.percentiles = Histogram::new_with_max(LONGEST, DIGITS).ok();
        }
        if let Some(percentiles) = &mut self.percentiles {
            percentiles.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST));
        }
        let place = BOUNDS.partition_point(|bound| *bound < time);
        if let Some(bucket) = self.buckets.get_mut(place) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(time);
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        if let Some(percentiles) = &mut self.percentiles {
            percentiles.reset();
        }
        (self.buckets, self.count, self.sum) = ([0; BOUNDS.len()], 0, Duration::ZERO);
    }

    /// The percentiles; zeros if there are no times.
    pub fn summary(&self) -> LatencySummary {
        let Some(percentiles) = self.percentiles.as_ref().filter(|percentiles| !percentiles.is_empty()) else {
            return LatencySummary::default();
        };
        let at = |quantile| to_millis(percentiles.value_at_quantile(quantile));
        LatencySummary { avg: percentiles.mean() / 1000.0, p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }

    /// The median in milliseconds; `None` if there are no times.
    pub fn median(&self) -> Option<f64> {
        let percentiles = self.percentiles.as_ref().filter(|percentiles| !percentiles.is_empty())?;
        Some(to_millis(percentiles.value_at_quantile(0.5)))
    }

    /// The number of times.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all times.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Each bound with the number of times above the previous bound and not above it. Times above the last bound are in no
    /// bucket.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        BOUNDS.into_iter().zip(self.buckets)
    }
}

fn to_millis(micros: u64) -> f64 {
    super::to_float(micros) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn percentiles_are_true_to_two_digits() {
        let mut latencies = Latencies::default();
        assert_eq!((latencies.summary(), latencies.median()), (LatencySummary::default(), None));
        (1..=100).for_each(|time| latencies.note(millis(time)));
        let summary = latencies.summary();
        for (found, wanted) in [(summary.avg, 50.5), (summary.p50, 50.0), (summary.p95, 95.0), (summary.p99, 99.0)] {
            assert!((found - wanted).abs() <= wanted * 0.02, "{found} for {wanted}");
        }
        latencies.clear();
        assert_eq!((latencies.median(), latencies.count(), latencies.sum()), (None, 0, Duration::ZERO));
    }

    #[test]
    fn a_time_is_counted_up_to_the_first_bound_that_it_does_not_exceed() {
        let mut latencies = Latencies::default();
        for time in [0, 25, 26, 50, 600_000, 600_001, u64::MAX] {
            latencies.note(millis(time));
        }
        let counted: Vec<(Duration, u64)> = latencies.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(millis(25), 2), (millis(50), 2), (millis(600_000), 1)]);
        assert_eq!(latencies.count(), 7);
    }

    #[test]
    fn the_bounds_rise() {
        assert!(BOUNDS.is_sorted_by(|a, b| a < b));
    }
}
