//! The attempts of one request: whether there may be a further one, and what is answered when there is none.

use super::ids::EndpointId;
use super::outcome_table::{Class, LastResort};
use super::time::Moment;

/// How far one request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most attempts in all, at least one.
    pub max_attempts: u32,
    /// No attempt starts later than this.
    pub deadline: Moment,
}

/// The attempts of one request so far. `A` is an answer that may be passed on.
#[derive(Clone, Debug)]
pub struct Plan<A> {
    policy: RetryPolicy,
    attempts: u32,
    timed_out: u32,
    given_up: Vec<EndpointId>,
    in_hand: Option<(LastResort, A)>,
}

/// What a request that no endpoint served well is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending<A> {
    /// The best answer that an upstream gave.
    PassOn(A),
    /// The gateway's own word that the providers are overloaded, with what the last of them said.
    Overloaded(A),
    /// Every attempt timed out.
    TimedOut {
        /// How many there were.
        attempts: u32,
    },
    /// Attempts were made, and no answer came that may be passed on.
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
        Self { policy, attempts: 0, timed_out: 0, given_up: Vec::new(), in_hand: None }
    }

    /// Whether another attempt may start now.
    pub fn may_try(&self, now: Moment) -> bool {
        self.attempts < self.policy.max_attempts && now < self.policy.deadline
    }

    /// The endpoints that have failed this request.
    pub fn given_up(&self) -> &[EndpointId] {
        &self.given_up
    }

    /// Counts an attempt that is about to be made.
    pub fn begin(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Takes an attempt back of which nothing was sent, because its endpoint was isolated meanwhile.
    pub fn withdraw(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
    }

    /// Notes that an attempt failed; of the answers that may be passed on it keeps the best, and of equals the last.
    pub fn failed(&mut self, endpoint: EndpointId, class: Class, answer: Option<(LastResort, A)>) {
        if matches!(class, Class::Timeout) {
            self.timed_out = self.timed_out.saturating_add(1);
        }
        self.given_up.push(endpoint);
        if let Some((rank, answer)) = answer
            && self.in_hand.as_ref().is_none_or(|(best, _)| rank <= *best)
        {
            self.in_hand = Some((rank, answer));
        }
    }

    /// What is answered when there is no further attempt.
    pub fn ending(self) -> Ending<A> {
        let attempts = self.attempts;
        match self.in_hand {
            Some((LastResort::ClientError | LastResort::ServerError | LastResort::RateLimit, answer)) => {
                Ending::PassOn(answer)
            }
            Some((LastResort::Overload, answer)) => Ending::Overloaded(answer),
            Some((LastResort::Never, _)) | None if attempts == 0 => Ending::NoAttempt,
            Some((LastResort::Never, _)) | None if self.timed_out == attempts => Ending::TimedOut { attempts },
            Some((LastResort::Never, _)) | None => Ending::Failed { attempts },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, id};
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy { max_attempts: 3, deadline: Moment::START };

    fn plan(steps: &[(Class, Option<LastResort>)]) -> Plan<usize> {
        let mut plan = Plan::new(POLICY);
        for (number, (class, rank)) in steps.iter().enumerate() {
            plan.begin();
            plan.failed(id("a"), *class, rank.map(|rank| (rank, number)));
        }
        plan
    }

    #[test]
    fn attempts_end_at_their_number_and_at_the_deadline() {
        let policy = RetryPolicy { max_attempts: 2, deadline: at(10) };
        let mut plan = Plan::<()>::new(policy);
        assert!(plan.may_try(at(0)) && !plan.may_try(at(10)));
        plan.begin();
        plan.begin();
        assert!(!plan.may_try(at(0)));
        plan.withdraw();
        assert!(plan.may_try(at(0)));
    }

    #[test]
    fn the_best_answer_in_hand_is_passed_on_and_of_equals_the_last() {
        use Class::{Connect, Credential, Forbidden, Overloaded, RateLimited, Timeout, UpstreamStatus};
        use LastResort::{ClientError, Never, Overload, RateLimit, ServerError};
        for (steps, ending) in [
            (vec![(UpstreamStatus, Some(ServerError)), (UpstreamStatus, Some(ServerError))], Ending::PassOn(1)),
            (vec![(Forbidden, Some(ClientError)), (UpstreamStatus, Some(ServerError))], Ending::PassOn(0)),
            (vec![(RateLimited, Some(RateLimit)), (UpstreamStatus, Some(ServerError))], Ending::PassOn(1)),
            (vec![(Overloaded, Some(Overload)), (RateLimited, Some(RateLimit))], Ending::PassOn(1)),
            (vec![(Overloaded, Some(Overload)), (Connect, None)], Ending::Overloaded(0)),
            (vec![(Credential, Some(Never))], Ending::Failed { attempts: 1 }),
            (vec![(Connect, None), (Timeout, None)], Ending::Failed { attempts: 2 }),
            (vec![(Timeout, None), (Timeout, None)], Ending::TimedOut { attempts: 2 }),
            (vec![], Ending::NoAttempt),
        ] {
            assert_eq!(plan(&steps).ending(), ending, "{steps:?}");
        }
    }
}
