//! Counts and latencies, of the whole gateway and of each endpoint. They inform; nothing is decided by them.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::ids::EndpointId;
use super::outcome::{ErrorNote, Outcome};

/// The longest latency that is told apart, in microseconds: an hour.
const LONGEST_LATENCY: u64 = 3_600_000_000;
/// Latencies are kept to this many significant digits: to one percent.
const LATENCY_DIGITS: u8 = 2;
/// How many headers that tell of rate limits are kept for an endpoint. Providers have about thirty.
const MOST_ALLOWANCES: usize = 64;

/// How a client's request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestEnd {
    /// A 2xx answer, passed on whole.
    Successful,
    /// A 4xx, the client's fault, passed on or the gateway's own.
    Rejected,
    /// Anything else that was answered or broken off.
    Failed,
    /// The client went away.
    Cancelled,
}

/// One client's request, when it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// How it ended.
    pub end: RequestEnd,
    /// From its arrival to its end.
    pub elapsed: Duration,
    /// How many attempts were made.
    pub attempts: u32,
}

/// One attempt, when it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Whom it was sent to.
    pub endpoint: EndpointId,
    /// What its end means.
    pub outcome: Outcome,
    /// From the lease to the end.
    pub elapsed: Duration,
    /// What was seen of a failure.
    pub error: Option<ErrorNote>,
}

/// What an answer's head told of an endpoint's rate limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowancesRecord {
    /// Whose they are.
    pub endpoint: EndpointId,
    /// Names and values, as the headers have them.
    pub seen: Vec<(String, String)>,
}

/// Percentiles of the latencies of whole answers, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LatencySummary {
    /// The mean.
    pub avg: f64,
    /// The median.
    pub p50: f64,
    /// 95 of 100 are no longer.
    pub p95: f64,
    /// 99 of 100 are no longer.
    pub p99: f64,
}

/// What is counted for one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointStats {
    /// Attempts that are over.
    pub requests: u64,
    /// Whole answers.
    pub successes: u64,
    /// Counted failures.
    pub failures: u64,
    /// Attempts whose client went away.
    pub cancelled: u64,
    /// What was seen of the latest failure.
    pub last_error: Option<ErrorNote>,
    /// The latest values of the headers that tell of rate limits, by name.
    pub rate_limits: BTreeMap<String, String>,
    latencies: Option<Histogram<u64>>,
}

impl Default for EndpointStats {
    fn default() -> Self {
        // The bounds are constants that the histogram accepts; should it ever not, latencies stay unknown.
        let latencies = Histogram::new_with_max(LONGEST_LATENCY, LATENCY_DIGITS).ok();
        let rate_limits = BTreeMap::new();
        Self { requests: 0, successes: 0, failures: 0, cancelled: 0, last_error: None, rate_limits, latencies }
    }
}

impl EndpointStats {
    /// The share of whole answers among those that count, in percent; `None` before the first.
    pub fn success_rate(&self) -> Option<f64> {
        percent(self.successes, self.successes + self.failures)
    }

    /// The latencies of whole answers.
    pub fn latency(&self) -> LatencySummary {
        let Some(latencies) = self.latencies.as_ref().filter(|latencies| !latencies.is_empty()) else {
            return LatencySummary::default();
        };
        let at = |quantile| to_millis(latencies.value_at_quantile(quantile));
        LatencySummary { avg: latencies.mean() / 1000.0, p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }

    /// Keeps the latest value of each name, and no more names than [`MOST_ALLOWANCES`].
    fn allow(&mut self, seen: Vec<(String, String)>) {
        for (name, value) in seen {
            if self.rate_limits.len() < MOST_ALLOWANCES || self.rate_limits.contains_key(&name) {
                self.rate_limits.insert(name, value);
            }
        }
    }

    fn take_in(&mut self, attempt: &AttemptRecord) {
        self.requests += 1;
        match attempt.outcome {
            Outcome::Success => {
                self.successes += 1;
                if let Some(latencies) = &mut self.latencies {
                    let micros = u64::try_from(attempt.elapsed.as_micros()).unwrap_or(LONGEST_LATENCY);
                    latencies.saturating_record(micros);
                }
            }
            Outcome::Failure(_) | Outcome::Fatal(_) => {
                self.failures += 1;
                self.last_error.clone_from(&attempt.error);
            }
            Outcome::Cancelled => self.cancelled += 1,
            Outcome::Neutral => {}
        }
    }
}

/// What is counted since the start.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Requests with a 2xx answer, passed on whole.
    pub successful: u64,
    /// Requests that were answered or broken off otherwise.
    pub failed: u64,
    /// Requests whose client went away.
    pub cancelled: u64,
    /// Requests that were the client's fault.
    pub rejected: u64,
    /// Attempts beyond the first of a request.
    pub retries: u64,
    total_elapsed: Duration,
    endpoints: BTreeMap<EndpointId, EndpointStats>,
}

impl Stats {
    /// Counts a request.
    pub fn request(&mut self, record: &RequestRecord) {
        match record.end {
            RequestEnd::Successful => self.successful += 1,
            RequestEnd::Rejected => self.rejected += 1,
            RequestEnd::Failed => self.failed += 1,
            RequestEnd::Cancelled => self.cancelled += 1,
        }
        self.retries += u64::from(record.attempts.saturating_sub(1));
        self.total_elapsed = self.total_elapsed.saturating_add(record.elapsed);
    }

    /// Counts an attempt.
    pub fn attempt(&mut self, record: &AttemptRecord) {
        self.endpoints.entry(record.endpoint.clone()).or_default().take_in(record);
    }

    /// Takes in what an answer told of rate limits.
    pub fn allowances(&mut self, record: AllowancesRecord) {
        self.endpoints.entry(record.endpoint).or_default().allow(record.seen);
    }

    /// All requests that are over.
    pub fn total(&self) -> u64 {
        self.successful + self.failed + self.cancelled + self.rejected
    }

    /// The share of successful requests among those that neither the client's fault nor its leaving ended, in percent;
    /// 100 before the first.
    pub fn success_rate(&self) -> f64 {
        percent(self.successful, self.successful + self.failed).unwrap_or(100.0)
    }

    /// The mean time from a request's arrival to its end.
    pub fn average_elapsed(&self) -> Duration {
        match u32::try_from(self.total()) {
            Ok(0) => Duration::ZERO,
            Ok(total) => self.total_elapsed / total,
            Err(_) => Duration::from_secs_f64(self.total_elapsed.as_secs_f64() / to_float(self.total())),
        }
    }

    /// What is counted for an endpoint, if anything.
    pub fn endpoint(&self, id: &EndpointId) -> Option<&EndpointStats> {
        self.endpoints.get(id)
    }
}

fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * to_float(part) / to_float(whole))
}

#[expect(clippy::cast_precision_loss, reason = "counts are shown as rates, where a part in 2^52 does not matter")]
fn to_float(count: u64) -> f64 {
    count as f64
}

fn to_millis(micros: u64) -> f64 {
    to_float(micros) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::outcome::FailureKind;
    use super::super::testing::id;
    use super::*;

    fn request(end: RequestEnd, attempts: u32) -> RequestRecord {
        RequestRecord { end, elapsed: Duration::from_millis(100), attempts }
    }

    #[test]
    fn the_success_rate_leaves_rejected_and_cancelled_out() {
        let mut stats = Stats::default();
        assert!((stats.success_rate() - 100.0).abs() < 1e-9);
        for (end, attempts) in [
            (RequestEnd::Successful, 1),
            (RequestEnd::Successful, 3),
            (RequestEnd::Successful, 1),
            (RequestEnd::Failed, 2),
            (RequestEnd::Rejected, 0),
            (RequestEnd::Cancelled, 1),
        ] {
            stats.request(&request(end, attempts));
        }
        assert!((stats.success_rate() - 75.0).abs() < 1e-9);
        assert_eq!((stats.total(), stats.retries), (6, 3));
        assert_eq!(stats.average_elapsed(), Duration::from_millis(100));
    }

    #[test]
    fn an_endpoints_counts_and_percentiles_are_its_own() {
        let mut stats = Stats::default();
        let attempt = |outcome, millis, error: Option<&str>| AttemptRecord {
            endpoint: id("a"),
            outcome,
            elapsed: Duration::from_millis(millis),
            error: error.map(ErrorNote::new),
        };
        for millis in 1..=100 {
            stats.attempt(&attempt(Outcome::Success, millis, None));
        }
        stats.attempt(&attempt(Outcome::Failure(FailureKind::UpstreamStatus), 9000, Some("HTTP 500")));
        stats.attempt(&attempt(Outcome::Neutral, 9000, None));
        stats.attempt(&attempt(Outcome::Cancelled, 9000, None));
        let a = stats.endpoint(&id("a")).unwrap();
        assert_eq!((a.requests, a.successes, a.failures, a.cancelled), (103, 100, 1, 1));
        assert_eq!(a.last_error.as_ref().unwrap().as_str(), "HTTP 500");
        let latency = a.latency();
        for (found, wanted) in [(latency.avg, 50.5), (latency.p50, 50.0), (latency.p95, 95.0), (latency.p99, 99.0)] {
            assert!((found - wanted).abs() <= wanted * 0.02, "{found} for {wanted}");
        }
        assert!(stats.endpoint(&id("b")).is_none());
    }

    #[test]
    fn the_latest_value_of_each_allowance_is_kept_and_not_too_many_names() {
        let mut stats = Stats::default();
        let seen = |name: &str, value: &str| AllowancesRecord {
            endpoint: id("a"),
            seen: vec![(name.to_owned(), value.to_owned())],
        };
        stats.allowances(seen("x-ratelimit-limit-tokens", "9"));
        stats.allowances(seen("x-ratelimit-remaining-tokens", "5"));
        stats.allowances(seen("x-ratelimit-remaining-tokens", "4"));
        let kept = |stats: &Stats| stats.endpoint(&id("a")).unwrap().rate_limits.clone();
        assert_eq!(kept(&stats).into_values().collect::<Vec<_>>(), ["9", "4"]);
        assert_eq!(stats.endpoint(&id("a")).unwrap().requests, 0);
        for number in 0..1000 {
            stats.allowances(seen(&format!("x-ratelimit-{number}"), "1"));
        }
        stats.allowances(seen("x-ratelimit-remaining-tokens", "3"));
        assert_eq!(kept(&stats).len(), MOST_ALLOWANCES);
        assert_eq!(kept(&stats)["x-ratelimit-remaining-tokens"], "3");
    }
}
