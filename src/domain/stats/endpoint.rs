//! What is counted for one endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::endpoint::{Endpoint, SharedEndpoint};
use super::super::outcome::{ErrorNote, Outcome, Reason};
use super::super::prices::{Cost, add_cost};
use super::super::usage::Usage;
use super::latencies::{Latencies, LatencySummary};
use super::records::{AllowancesRecord, AttemptRecord, VerificationRecord};

/// The most rate limit headers kept for an endpoint. Providers have about thirty.
const MAX_ALLOWANCES: usize = 64;

/// The verifier's conversations with an endpoint.
#[derive(Clone, Debug, Default)]
pub struct VerificationStats {
    /// Those that were passed.
    pub passed: u64,
    /// Those that were not.
    pub failed: u64,
    /// The tokens of all of them, including those that were broken off.
    pub usage: Usage,
    /// The cost of these tokens, in dollars.
    pub cost: Cost,
}

/// What was last seen of a service. It says nothing of another service that later gets the same name.
#[derive(Clone, Debug, Default)]
pub struct Impression {
    /// The error of its latest failure.
    pub last_error: Option<ErrorNote>,
    /// The latest values of the rate limit headers, by name.
    pub rate_limits: BTreeMap<String, String>,
}

impl Impression {
    /// Keeps the latest value of each name, and no more names than [`MAX_ALLOWANCES`].
    fn allow(&mut self, seen: Vec<(String, String)>) {
        for (name, value) in seen {
            if self.rate_limits.len() < MAX_ALLOWANCES || self.rate_limits.contains_key(&name) {
                self.rate_limits.insert(name, value);
            }
        }
    }
}

/// What is counted for one endpoint.
#[derive(Clone, Debug, Default)]
pub struct EndpointStats {
    /// Attempts that are over.
    pub requests: u64,
    /// Whole answers.
    pub successes: u64,
    /// Counted failures.
    pub failures: u64,
    /// Attempts whose client went away.
    pub cancelled: u64,
    /// The tokens of its answers.
    pub usage: Usage,
    /// The cost of these tokens, in dollars.
    pub cost: Cost,
    /// How many answers have no price, and so no part in the cost.
    pub unpriced: u64,
    /// The verifier's conversations.
    pub verifications: VerificationStats,
    /// How often it was isolated, by reason.
    pub isolations: BTreeMap<Reason, u64>,
    /// How often it has recovered.
    pub recoveries: u64,
    /// How long whole answers took.
    pub durations: Latencies,
    /// How long streams took to their first content.
    pub first_contents: Latencies,
    attempts: BTreeMap<(&'static str, Option<u16>), u64>,
    /// What was last seen, and of which definition of the endpoint.
    seen: Option<(SharedEndpoint, Impression)>,
}

impl EndpointStats {
    /// Successes as a percentage of successes and failures; `None` before the first.
    pub fn success_rate(&self) -> Option<f64> {
        super::percent(self.successes, self.successes + self.failures)
    }

    /// The latencies of whole answers.
    pub fn latency(&self) -> LatencySummary {
        self.durations.summary()
    }

    /// Attempts by what came back, in a word, and by status, which is `None` if there was none.
    pub fn attempts(&self) -> impl Iterator<Item = (&'static str, Option<u16>, u64)> {
        self.attempts.iter().map(|((word, status), count)| (*word, *status, *count))
    }

    /// What was last seen of this service; `None` if it was seen of another one.
    pub fn impression(&self, service: &Endpoint) -> Option<&Impression> {
        let (of, impression) = self.seen.as_ref()?;
        of.same_service(service).then_some(impression)
    }

    /// The impression of this service, to be added to; a fresh one if the last was of another service.
    fn impression_of(&mut self, service: &SharedEndpoint) -> &mut Impression {
        let is_of_it = |(of, _): &(SharedEndpoint, Impression)| Arc::ptr_eq(of, service) || of.same_service(service);
        let before = self.seen.take().filter(is_of_it).map(|(_, impression)| impression).unwrap_or_default();
        let (_, impression) = self.seen.insert((Arc::clone(service), before));
        impression
    }

    /// Takes in the limits that a service reports.
    pub(super) fn allow(&mut self, AllowancesRecord { endpoint, seen }: AllowancesRecord) {
        self.impression_of(&endpoint).allow(seen);
    }

    pub(super) fn take_in(&mut self, attempt: AttemptRecord, cost: Cost) {
        self.requests += 1;
        *self.attempts.entry((attempt.class.word(), attempt.status)).or_default() += 1;
        match attempt.outcome {
            Outcome::Success => {
                self.successes += 1;
                self.durations.note(attempt.elapsed);
            }
            Outcome::Failure(_) | Outcome::Fatal(_) => {
                self.failures += 1;
                self.impression_of(&attempt.endpoint).last_error = attempt.error;
            }
            Outcome::Cancelled => self.cancelled += 1,
            Outcome::Neutral => {}
        }
        if let Some(time) = attempt.first_content {
            self.first_contents.note(time);
        }
        if let Some(usage) = attempt.usage {
            self.usage += usage;
            self.unpriced += u64::from(cost.is_none());
        }
        add_cost(&mut self.cost, cost);
    }

    pub(super) fn verified(&mut self, record: &VerificationRecord, cost: Cost) {
        let counts = &mut self.verifications;
        match record.passed {
            Some(true) => counts.passed += 1,
            Some(false) => counts.failed += 1,
            None => {}
        }
        counts.usage += record.usage;
        add_cost(&mut counts.cost, cost);
    }
}
