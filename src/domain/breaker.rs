//! Circuit breakers: they decide when an endpoint has failed enough. They only judge; they move no endpoint and know no queue.
//!
//! No time-out closes a breaker: it starts anew with the endpoint's next epoch, and in no other way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::ids::{EndpointId, Epoch, Serial, Ticket};
use super::outcome::{Outcome, Reason};
use super::time::Moment;
use super::window::{Tally, Window};

/// When an endpoint has failed enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerPolicy {
    /// Consecutive counted failures that isolate.
    pub failure_threshold: u32,
    /// The share of failures in the window that isolates, above 0 to 1.
    pub failure_rate: f64,
    /// How many attempts the window must hold for the rate to count.
    pub min_requests: u32,
    /// The window's length.
    pub window: Duration,
}

/// A breaker's verdict on a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Not yet enough: the endpoint stays where it is.
    Keep,
    /// Enough: isolate.
    Trip {
        /// Why.
        reason: Reason,
        /// How many failures in a row led to it.
        failures: u32,
    },
}

/// How many failures in a row an endpoint has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureCount {
    /// The epoch whose failures they are.
    pub epoch: Epoch,
    /// How many.
    pub consecutive: u32,
}

/// The failures of one endpoint in one epoch.
#[derive(Clone, Debug, Default)]
pub struct BreakerCore {
    epoch: Epoch,
    /// The leases that failed since the last success.
    consecutive: Vec<Serial>,
    window: Window,
}

impl BreakerCore {
    /// A breaker without failures.
    pub fn new(epoch: Epoch) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// The epoch whose failures it counts.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How many failures in a row.
    pub fn consecutive_failures(&self) -> u32 {
        u32::try_from(self.consecutive.len()).unwrap_or(u32::MAX)
    }

    /// Takes in an outcome, and judges it if it is a failure.
    pub fn observe(&mut self, serial: Serial, outcome: Outcome, at: Moment, policy: &BreakerPolicy) -> Option<Ruling> {
        match outcome {
            Outcome::Success => {
                self.consecutive.clear();
                self.window.success(at, policy.window);
                None
            }
            Outcome::Failure(kind) => {
                self.count(serial, at, policy);
                Some(self.judge(kind.into(), at, policy))
            }
            Outcome::Fatal(fatal) => {
                self.count(serial, at, policy);
                Some(Ruling::Trip { reason: fatal.into(), failures: self.consecutive_failures() })
            }
            Outcome::Neutral | Outcome::Cancelled => None,
        }
    }

    /// Takes back a failure that turned out to be the request's own. One that a success has cleared since is gone already.
    pub fn retract(&mut self, serial: Serial) {
        self.consecutive.retain(|kept| *kept != serial);
        self.window.retract(serial);
    }

    fn count(&mut self, serial: Serial, at: Moment, policy: &BreakerPolicy) {
        self.consecutive.push(serial);
        self.window.failure(serial, at, policy.window);
    }

    fn judge(&mut self, reason: Reason, at: Moment, policy: &BreakerPolicy) -> Ruling {
        let failures = self.consecutive_failures();
        let tally: Tally = self.window.tally(at, policy.window);
        let too_many_in_a_row = failures >= policy.failure_threshold;
        let too_large_a_share = tally.attempts() >= policy.min_requests && tally.failure_rate() >= policy.failure_rate;
        if too_many_in_a_row || too_large_a_share { Ruling::Trip { reason, failures } } else { Ruling::Keep }
    }
}

/// The breakers of all endpoints. A breaker starts anew when it hears of a newer epoch, so it does not matter which comes
/// first: the news of a recovery or the first report after it.
#[derive(Clone, Debug, Default)]
pub struct BreakerBank {
    breakers: HashMap<EndpointId, BreakerCore>,
}

impl BreakerBank {
    /// Takes in an outcome. Every failure gets a ruling, which is always `Keep` if it is of an older epoch than the breaker's.
    pub fn observe(&mut self, ticket: &Ticket, outcome: Outcome, at: Moment, policy: &BreakerPolicy) -> Option<Ruling> {
        let breaker = match self.breakers.get_mut(&ticket.endpoint) {
            Some(breaker) => breaker,
            None => self.breakers.entry(ticket.endpoint.clone()).or_default(),
        };
        if ticket.epoch > breaker.epoch {
            *breaker = BreakerCore::new(ticket.epoch);
        }
        if ticket.epoch < breaker.epoch {
            return match outcome {
                Outcome::Failure(_) | Outcome::Fatal(_) => Some(Ruling::Keep),
                Outcome::Success | Outcome::Neutral | Outcome::Cancelled => None,
            };
        }
        breaker.observe(ticket.serial, outcome, at, policy)
    }

    /// Starts an endpoint's breaker anew for `epoch`. Returns `false` if there is none, or it is of this epoch or a later one.
    pub fn reset(&mut self, endpoint: &EndpointId, epoch: Epoch) -> bool {
        match self.breakers.get_mut(endpoint) {
            Some(breaker) if breaker.epoch < epoch => {
                *breaker = BreakerCore::new(epoch);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Takes back the failure of this lease, unless the breaker is of another epoch.
    pub fn retract(&mut self, ticket: &Ticket) {
        if let Some(breaker) = self.breakers.get_mut(&ticket.endpoint).filter(|breaker| breaker.epoch == ticket.epoch) {
            breaker.retract(ticket.serial);
        }
    }

    /// Forgets the breakers of all other endpoints. A late report on one of these begins a new breaker, of an epoch that is over:
    /// its rulings change nothing, and a report of a newer epoch starts it anew.
    pub fn forget_others(&mut self, known: &BTreeSet<EndpointId>) {
        self.breakers.retain(|endpoint, _| known.contains(endpoint));
    }

    /// What each breaker has counted, without its window, which may hold thousands of attempts.
    pub fn counts(&self) -> BTreeMap<EndpointId, FailureCount> {
        let count = |(endpoint, breaker): (&EndpointId, &BreakerCore)| {
            let count = FailureCount { epoch: breaker.epoch, consecutive: breaker.consecutive_failures() };
            (endpoint.clone(), count)
        };
        self.breakers.iter().map(count).collect()
    }

    /// An endpoint's breaker, if anything was reported of that endpoint.
    pub fn get(&self, endpoint: &EndpointId) -> Option<&BreakerCore> {
        self.breakers.get(endpoint)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::outcome::{FailureKind, Fatal};
    use super::*;

    const POLICY: BreakerPolicy =
        BreakerPolicy { failure_threshold: 3, failure_rate: 0.5, min_requests: 10, window: Duration::from_secs(60) };
    const FAILED: Outcome = Outcome::Failure(FailureKind::UpstreamStatus);

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    /// Feeds outcomes a second apart and tells after how many of them the breaker tripped.
    fn trips_after(outcomes: &[Outcome]) -> Option<usize> {
        let mut breaker = BreakerCore::default();
        outcomes.iter().zip(0_u64..).position(|(outcome, n)| {
            let ruling = breaker.observe(Serial::from_raw(n), *outcome, at(n), &POLICY);
            matches!(ruling, Some(Ruling::Trip { .. }))
        })
    }

    #[test]
    fn trips_at_the_threshold_of_consecutive_failures() {
        use Outcome::{Cancelled, Neutral, Success};
        for (outcomes, expected) in [
            (vec![FAILED, FAILED, FAILED], Some(2)),
            (vec![FAILED, FAILED, Success, FAILED, FAILED], None),
            (vec![FAILED, FAILED, Neutral, Cancelled, FAILED], Some(4)),
            (vec![Outcome::Fatal(Fatal::Credential)], Some(0)),
            (vec![Success, Neutral, Cancelled], None),
        ] {
            assert_eq!(trips_after(&outcomes), expected, "{outcomes:?}");
        }
    }

    #[test]
    fn trips_on_the_share_of_failures_once_the_window_holds_enough() {
        let alternating: Vec<_> = (0..20).map(|n| if n % 2 == 0 { Outcome::Success } else { FAILED }).collect();
        assert_eq!(trips_after(&alternating), Some(9));
        let mostly_sound: Vec<_> = (0..60).map(|n| if n % 3 == 0 { FAILED } else { Outcome::Success }).collect();
        assert_eq!(trips_after(&mostly_sound), None);
    }

    #[test]
    fn a_trip_tells_the_class_of_the_last_failure_and_how_many_led_to_it() {
        let mut breaker = BreakerCore::default();
        breaker.observe(Serial::from_raw(1), FAILED, at(0), &POLICY);
        breaker.observe(Serial::from_raw(2), FAILED, at(0), &POLICY);
        let ruling = breaker.observe(Serial::from_raw(3), Outcome::Failure(FailureKind::Connect), at(0), &POLICY);
        assert_eq!(ruling, Some(Ruling::Trip { reason: Reason::Connect, failures: 3 }));
    }

    fn ticket(epoch: u64, serial: u64) -> Ticket {
        Ticket {
            endpoint: EndpointId::new("a").unwrap(),
            epoch: Epoch::from_raw(epoch),
            serial: Serial::from_raw(serial),
        }
    }

    #[test]
    fn reports_of_one_epoch_are_counted_together() {
        let mut bank = BreakerBank::default();
        let judgements = [1, 2, 3].map(|serial| bank.observe(&ticket(1, serial), FAILED, at(0), &POLICY));
        let trip = Ruling::Trip { reason: Reason::UpstreamStatus, failures: 3 };
        assert_eq!(judgements, [Some(Ruling::Keep), Some(Ruling::Keep), Some(trip)]);
    }

    #[test]
    fn a_newer_epoch_starts_anew_and_an_older_one_changes_nothing() {
        let mut bank = BreakerBank::default();
        for serial in 1..=2 {
            bank.observe(&ticket(1, serial), FAILED, at(0), &POLICY);
        }
        assert_eq!(bank.observe(&ticket(2, 3), FAILED, at(0), &POLICY), Some(Ruling::Keep));
        for serial in 4..=20 {
            assert_eq!(bank.observe(&ticket(1, serial), FAILED, at(0), &POLICY), Some(Ruling::Keep));
        }
        bank.observe(&ticket(1, 21), Outcome::Success, at(0), &POLICY);
        let breaker = bank.get(&EndpointId::new("a").unwrap()).unwrap();
        assert_eq!((breaker.epoch(), breaker.consecutive_failures()), (Epoch::from_raw(2), 1));
    }

    #[test]
    fn a_reset_forgets_what_is_of_an_older_epoch_alone() {
        let mut bank = BreakerBank::default();
        let a = EndpointId::new("a").unwrap();
        assert!(!bank.reset(&a, Epoch::from_raw(1)), "nothing was ever reported");
        bank.observe(&ticket(2, 1), FAILED, at(0), &POLICY);
        for late in [1, 2] {
            assert!(!bank.reset(&a, Epoch::from_raw(late)), "a reset for epoch {late} comes late");
            assert_eq!(bank.get(&a).map(BreakerCore::consecutive_failures), Some(1));
        }
        assert!(bank.reset(&a, Epoch::from_raw(3)));
        let breaker = bank.get(&a).unwrap();
        assert_eq!((breaker.epoch(), breaker.consecutive_failures()), (Epoch::from_raw(3), 0));
    }

    #[test]
    fn of_an_endpoint_that_is_gone_nothing_is_left_and_a_late_report_counts_in_its_own_epoch_alone() {
        let mut bank = BreakerBank::default();
        let b = Ticket { endpoint: EndpointId::new("b").unwrap(), ..ticket(3, 9) };
        for serial in 1..=2 {
            bank.observe(&ticket(2, serial), FAILED, at(0), &POLICY);
        }
        bank.observe(&b, FAILED, at(0), &POLICY);
        bank.forget_others(&[b.endpoint.clone()].into());
        assert_eq!(bank.counts().into_keys().collect::<Vec<_>>(), [b.endpoint]);
        assert_eq!(bank.observe(&ticket(2, 3), FAILED, at(0), &POLICY), Some(Ruling::Keep));
        assert_eq!(bank.observe(&ticket(4, 4), FAILED, at(0), &POLICY), Some(Ruling::Keep));
        let breaker = bank.get(&EndpointId::new("a").unwrap()).unwrap();
        assert_eq!((breaker.epoch(), breaker.consecutive_failures()), (Epoch::from_raw(4), 1));
    }

    #[test]
    fn a_failure_is_taken_back_only_in_its_epoch() {
        let mut bank = BreakerBank::default();
        bank.observe(&ticket(2, 1), FAILED, at(0), &POLICY);
        for (epoch, left) in [(1, 1), (3, 1), (2, 0)] {
            bank.retract(&ticket(epoch, 1));
            let failures = bank.get(&EndpointId::new("a").unwrap()).map(BreakerCore::consecutive_failures);
            assert_eq!(failures, Some(left), "after one of epoch {epoch}");
        }
    }

    #[test]
    fn no_time_closes_a_breaker() {
        let mut breaker = BreakerCore::default();
        for serial in 1..=3 {
            breaker.observe(Serial::from_raw(serial), FAILED, at(0), &POLICY);
        }
        let years_later = at(1_000_000_000);
        let ruling = breaker.observe(Serial::from_raw(4), FAILED, years_later, &POLICY);
        assert!(matches!(ruling, Some(Ruling::Trip { .. })));
    }

    proptest! {
        /// Taking failures back leaves exactly what the same traffic without them would have left.
        #[test]
        fn a_retracted_failure_was_never_there(steps in prop::collection::vec((any::<bool>(), any::<bool>()), 0..40)) {
            let lenient = BreakerPolicy { failure_threshold: u32::MAX, min_requests: u32::MAX, ..POLICY };
            let mut with = BreakerCore::default();
            let mut without = BreakerCore::default();
            let mut doubted = Vec::new();
            for (n, (ok, doubt)) in (0_u64..).zip(steps) {
                let serial = Serial::from_raw(n);
                let outcome = if ok { Outcome::Success } else { FAILED };
                with.observe(serial, outcome, at(n), &lenient);
                if !ok && doubt { doubted.push(serial) } else { without.observe(serial, outcome, at(n), &lenient); }
            }
            for serial in doubted {
                with.retract(serial);
            }
            prop_assert_eq!(with.consecutive_failures(), without.consecutive_failures());
            let now = at(40);
            prop_assert_eq!(with.window.tally(now, POLICY.window), without.window.tally(now, POLICY.window));
        }
    }
}
