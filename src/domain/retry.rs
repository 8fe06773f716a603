//! The attempts of one request: whether another one may be made, and what to answer if none may.

use std::time::Duration;

use super::backoff::{Growth, full_jitter};
use super::classify::Judgement;
use super::ids::Ticket;
use super::opinions::FailedAttempt;
use super::outcome::FailureKind;
use super::outcome_table::{Class, LastResort, PathKind};
use super::registry::{Reach, Tried, Turn};
use super::throttle::Throttle;
use super::time::Moment;

/// The limits on the attempts of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most attempts in all, at least one. Those that met an overload are not counted.
    pub max_attempts: u32,
    /// The most attempts with one endpoint, at least one.
    pub max_per_endpoint: u32,
    /// No attempt starts later than this.
    pub deadline: Moment,
    /// The bound on the pause before the first retry with an endpoint that has failed; doubles with each further one.
    pub backoff: Duration,
    /// The limit to which that bound grows.
    pub backoff_max: Duration,
    /// How long the request may be parked in all.
    pub park: Duration,
}

/// An endpoint that the request was sent to.
#[derive(Clone, Debug)]
struct Visit {
    ticket: Ticket,
    times: u32,
    at: Moment,
    host_in_doubt: bool,
}

/// An answer that may be passed on if no endpoint does better.
#[derive(Clone, Debug)]
struct InHand<A> {
    rank: LastResort,
    /// How long until the rate limit ends, if it names a time.
    ends_in: Option<Duration>,
    answer: A,
}

/// The attempts of one request so far. `A` is an answer that may be passed on.
#[derive(Clone, Debug)]
pub struct Plan<A> {
    policy: RetryPolicy,
    attempts: u32,
    /// The attempts without those that met an overload.
    counted: u32,
    timed_out: u32,
    repeats: u32,
    visits: Vec<Visit>,
    failures: Vec<FailedAttempt>,
    next_turn: Turn,
    park_left: Duration,
    in_hand: Option<InHand<A>>,
}

/// How to answer a request that no endpoint served well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending<A> {
    /// The best answer that an upstream gave.
    PassOn(A),
    /// The gateway's own answer that the providers are overloaded, with what the last of them said.
    Overloaded(A),
    /// Every attempt timed out.
    TimedOut {
        /// How many there were.
        attempts: u32,
    },
    /// Attempts were made, but no answer came that may be passed on.
    Failed {
        /// How many there were.
        attempts: u32,
    },
    /// No attempt was made.
    NoAttempt,
}

impl<A> Plan<A> {
    /// A plan for a request that has just come.
    pub fn new(policy: RetryPolicy) -> Self {
        Self {
            policy,
            attempts: 0,
            counted: 0,
            timed_out: 0,
            repeats: 0,
            visits: Vec::new(),
            failures: Vec::new(),
            next_turn: Turn::First,
            park_left: policy.park,
            in_hand: None,
        }
    }

    /// Whether another attempt may start now.
    pub fn may_try(&self, now: Moment) -> bool {
        self.counted < self.policy.max_attempts && now < self.policy.deadline
    }

    /// Whether the next attempt is the last one.
    pub fn is_last(&self) -> bool {
        self.counted.saturating_add(1) >= self.policy.max_attempts && self.attempts > 0
    }

    /// The endpoints that the request was sent to.
    pub fn tried(&self) -> Vec<Tried> {
        self.visits
            .iter()
            .map(|visit| Tried {
                endpoint: visit.ticket.endpoint.clone(),
                epoch: visit.ticket.epoch,
                at: visit.at,
                spent: visit.times >= self.policy.max_per_endpoint,
                host_in_doubt: visit.host_in_doubt,
            })
            .collect()
    }

    /// The kind of the next attempt.
    pub fn turn(&self) -> Turn {
        self.next_turn
    }

    /// Which endpoints the next attempt may be sent to. With a client error in hand the request does not wait: the endpoints that
    /// were asked would say the same again.
    pub fn reach(&self, now: Moment) -> Reach {
        if self.has_client_error() { Reach::Fresh } else { Reach::Parked { until: now + self.park_left } }
    }

    /// Notes how long the request has waited for an endpoint.
    pub fn waited(&mut self, time: Duration) {
        self.park_left = self.park_left.saturating_sub(time);
    }

    /// The pause before an endpoint that has failed is tried again; `None` if none may be. `chance` is a random number from 0
    /// to 1 that decides all of the pause, so that many requests don't come back in step.
    pub fn pause_before_repeat(&mut self, chance: f64) -> Option<Duration> {
        let has_unspent = self.visits.iter().any(|visit| visit.times < self.policy.max_per_endpoint);
        if self.has_client_error() || !has_unspent {
            return None;
        }
        let RetryPolicy { backoff, backoff_max, .. } = self.policy;
        let longest = Growth { initial: backoff, multiplier: 2.0, limit: backoff_max }.delay(self.repeats);
        self.repeats = self.repeats.saturating_add(1);
        Some(full_jitter(longest, chance))
    }

    fn has_client_error(&self) -> bool {
        self.in_hand.as_ref().is_some_and(|in_hand| in_hand.rank == LastResort::ClientError)
    }

    /// Counts an attempt that is about to be made.
    pub fn begin(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
        self.counted = self.counted.saturating_add(1);
    }

    /// Takes back an attempt of which nothing was sent, because its endpoint moved to another epoch meanwhile.
    pub fn withdraw(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
        self.counted = self.counted.saturating_sub(1);
    }

    /// Notes that an attempt failed. Keeps the best answer that may be passed on: the last among equals, but among rate limits
    /// the one that ends soonest.
    pub fn failed(
        &mut self,
        ticket: &Ticket,
        judgement: &Judgement,
        path: PathKind,
        answer: Option<(LastResort, A)>,
        now: Moment,
    ) {
        self.next_turn = match judgement.class {
            // On other paths an overload starts no cooldown that would pace the attempts.
            Class::Overloaded if path == PathKind::Llm => Turn::Paced,
            class if class.lacks_what_is_asked() => Turn::Onward,
            _ => Turn::Retry,
        };
        if self.next_turn == Turn::Paced {
            self.counted = self.counted.saturating_sub(1);
        }
        if judgement.class == Class::Timeout {
            self.timed_out = self.timed_out.saturating_add(1);
        }
        let failure = FailedAttempt::of(ticket, judgement, path);
        self.visit(ticket, failure.as_ref().map(|failed| failed.kind), now);
        self.failures.extend(failure);
        let Some((rank, answer)) = answer else { return };
        let ends_in = match judgement.throttle {
            Some(Throttle::Named(time)) => Some(time),
            Some(Throttle::Unnamed | Throttle::Overload(_)) | None => None,
        };
        let is_better = self.in_hand.as_ref().is_none_or(|best| {
            // A limit that names no time may be over at once.
            let is_sooner =
                rank != LastResort::RateLimit || ends_in.unwrap_or_default() <= best.ends_in.unwrap_or_default();
            rank < best.rank || (rank == best.rank && is_sooner)
        });
        if is_better {
            self.in_hand = Some(InHand { rank, ends_in, answer });
        }
    }

    /// Notes that the client's own time was up before the latest attempt ended.
    pub fn timed_out(&mut self) {
        self.timed_out = self.timed_out.saturating_add(1);
    }

    fn visit(&mut self, ticket: &Ticket, failure: Option<FailureKind>, now: Moment) {
        let times = u32::from(self.next_turn != Turn::Paced);
        let host_in_doubt = match failure {
            Some(FailureKind::Connect | FailureKind::Timeout | FailureKind::UpstreamStatus) => true,
            Some(FailureKind::Body | FailureKind::Stream) | None => false,
        };
        match self.visits.iter_mut().find(|visit| visit.ticket.endpoint == ticket.endpoint) {
            Some(visit) => {
                visit.ticket = ticket.clone();
                visit.times = visit.times.saturating_add(times);
                visit.at = now;
                visit.host_in_doubt |= host_in_doubt;
            }
            None => self.visits.push(Visit { ticket: ticket.clone(), times, at: now, host_in_doubt }),
        }
    }

    /// The failures so far that count against endpoints.
    pub fn failures(&self) -> &[FailedAttempt] {
        &self.failures
    }

    /// Takes what is to be answered if there is no further attempt.
    pub fn take_ending(&mut self) -> Ending<A> {
        let attempts = self.attempts;
        match self.in_hand.take() {
            Some(InHand { rank, answer, .. }) => match rank {
                LastResort::ClientError | LastResort::ServerError | LastResort::RateLimit => Ending::PassOn(answer),
                LastResort::Overload => Ending::Overloaded(answer),
                LastResort::Never => Ending::Failed { attempts },
            },
            None if attempts == 0 => Ending::NoAttempt,
            None if self.timed_out == attempts => Ending::TimedOut { attempts },
            None => Ending::Failed { attempts },
        }
    }
}

#[cfg(test)]
mod tests;
