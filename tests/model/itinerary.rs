//! What one request has been through, as one would note it on paper: a list of its attempts, from which everything else is
//! read anew each time.

use std::time::Duration;

use qcc_gateway::domain::ids::Ticket;
use qcc_gateway::domain::outcome::FailureKind;
use qcc_gateway::domain::outcome_table::{Class, LastResort, PathKind};
use qcc_gateway::domain::registry::{Reach, Tried, Turn};
use qcc_gateway::domain::retry::RetryPolicy;
use qcc_gateway::domain::time::Moment;

/// What a class of answers means, as the contract's table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// It is the answer, and nothing is held against the endpoint.
    Answer,
    /// The client's own fault, or it has left: nothing is held against the endpoint, and nothing is sent again.
    TheClients,
    /// Nothing is held against the endpoint, and another one may do better.
    Elsewhere,
    /// A counted failure, or where the table says so more than that.
    Counts,
}

/// Promise 6 and the table's second column, for a request of this kind.
pub(crate) fn meaning(class: Class, path: PathKind) -> Means {
    let counts = match class {
        Class::Success => return Means::Answer,
        Class::ClientCredential | Class::ClientError | Class::Cancelled => return Means::TheClients,
        Class::Forbidden
        | Class::ModelMissing
        | Class::RelayModelMissing
        | Class::Unsupported
        | Class::RateLimited
        | Class::Overloaded
        | Class::OutOfFiles
        | Class::OutOfPorts => return Means::Elsewhere,
        Class::Account | Class::Credential | Class::Body | Class::Stream => path == PathKind::Llm,
        Class::RequestTimeout
        | Class::NotTheApi
        | Class::Redirected
        | Class::UpstreamStatus
        | Class::Connect
        | Class::Timeout => path != PathKind::CountTokens,
    };
    if counts { Means::Counts } else { Means::Elsewhere }
}

/// As which failure it counts, unless it isolates by itself.
fn kind(class: Class, path: PathKind) -> Option<FailureKind> {
    let kind = match class {
        Class::RequestTimeout | Class::Timeout => FailureKind::Timeout,
        Class::NotTheApi | Class::Redirected | Class::UpstreamStatus => FailureKind::UpstreamStatus,
        Class::Body => FailureKind::Body,
        Class::Stream => FailureKind::Stream,
        Class::Connect => FailureKind::Connect,
        _ => return None,
    };
    (meaning(class, path) == Means::Counts).then_some(kind)
}

/// One attempt that did not bring the answer.
struct Attempt {
    ticket: Ticket,
    class: Class,
    in_hand: Option<LastResort>,
    at: Moment,
}

pub(crate) struct Itinerary {
    policy: RetryPolicy,
    path: PathKind,
    attempts: Vec<Attempt>,
    waited: Duration,
}

impl Itinerary {
    pub(crate) fn new(policy: RetryPolicy, path: PathKind) -> Self {
        Self { policy, path, attempts: Vec::new(), waited: Duration::ZERO }
    }

    pub(crate) fn failed(&mut self, ticket: &Ticket, class: Class, in_hand: Option<LastResort>, at: Moment) {
        self.attempts.push(Attempt { ticket: ticket.clone(), class, in_hand, at });
    }

    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.attempts.is_empty()
    }

    /// Its failures that count, with what each counts as.
    pub(crate) fn failures(&self) -> Vec<(&Ticket, FailureKind)> {
        let counts = |attempt: &Attempt| kind(attempt.class, self.path);
        self.attempts.iter().filter_map(|attempt| Some((&attempt.ticket, counts(attempt)?))).collect()
    }

    /// An endpoint that is overloaded costs the request nothing but time.
    fn is_free(&self, attempt: &Attempt) -> bool {
        attempt.class == Class::Overloaded && self.path == PathKind::Llm
    }

    fn counted(&self) -> usize {
        self.attempts.iter().filter(|attempt| !self.is_free(attempt)).count()
    }

    fn most(&self) -> usize {
        usize::try_from(self.policy.max_attempts).unwrap()
    }

    pub(crate) fn may_try(&self, now: Moment) -> bool {
        self.counted() < self.most() && now < self.policy.deadline
    }

    pub(crate) fn is_last(&self) -> bool {
        !self.attempts.is_empty() && self.counted() + 1 >= self.most()
    }

    pub(crate) fn turn(&self) -> Turn {
        match &self.attempts[..] {
            [] => Turn::First,
            [.., last] if self.is_free(last) => Turn::Paced,
            [.., last] if lacks(last.class) => Turn::Onward,
            [..] => Turn::Retry,
        }
    }

    pub(crate) fn reach(&self, now: Moment) -> Reach {
        if self.has_client_error() {
            return Reach::Fresh;
        }
        Reach::Parked { until: now + self.policy.park.saturating_sub(self.waited) }
    }

    pub(crate) fn has_client_error(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.in_hand == Some(LastResort::ClientError))
    }

    /// Where it has been, in the order in which it first came there.
    pub(crate) fn tried(&self) -> Vec<Tried> {
        let mut tried: Vec<Tried> = Vec::new();
        for attempt in &self.attempts {
            let id = &attempt.ticket.endpoint;
            if tried.iter().any(|earlier| earlier.endpoint == *id) {
                continue;
            }
            let here = || self.attempts.iter().filter(|other| other.ticket.endpoint == *id);
            let latest = here().next_back().unwrap();
            let times = here().filter(|attempt| !self.is_free(attempt)).count();
            let doubts_the_host = [FailureKind::Connect, FailureKind::Timeout, FailureKind::UpstreamStatus].map(Some);
            tried.push(Tried {
                endpoint: id.clone(),
                epoch: latest.ticket.epoch,
                at: latest.at,
                spent: times >= usize::try_from(self.policy.max_per_endpoint).unwrap(),
                host_in_doubt: here().any(|attempt| doubts_the_host.contains(&kind(attempt.class, self.path))),
            });
        }
        tried
    }

    pub(crate) fn all_timed_out(&self) -> bool {
        self.attempts.iter().all(|attempt| attempt.class == Class::Timeout)
    }

    /// The best that may be passed on.
    pub(crate) fn best(&self) -> Option<LastResort> {
        self.attempts.iter().filter_map(|attempt| attempt.in_hand).min()
    }
}

/// Whether such an answer says that the endpoint has not got what was asked for.
fn lacks(class: Class) -> bool {
    matches!(class, Class::ModelMissing | Class::RelayModelMissing | Class::Unsupported)
}
