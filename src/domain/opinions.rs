//! Second opinions: failures that may be the request's own fault, the endpoints that are therefore asked, and the requests that
//! turned out to be the cause.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::classify::Judgement;
use super::conversation::Manner;
use super::ids::{EndpointId, Epoch, Ticket};
use super::outcome::{ErrorNote, FailureKind, Outcome, Reason};
use super::outcome_table::PathKind;
use super::schedule::{Subject, Suffices, Task, VerifyJob};
use super::time::Moment;

/// For how long a request that was the cause of its failures gets only a single attempt.
const POISON_LASTS: Duration = Duration::from_mins(1);
/// How many such requests are remembered.
const MAX_POISONED: usize = 10_000;
/// How many requests are remembered for one opinion.
const MAX_ABOUT: usize = 100;

/// Identifies a request by its content and its client: the same request sent again has the same fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

/// One failed attempt of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Its lease.
    pub ticket: Ticket,
    /// How it failed.
    pub kind: FailureKind,
    /// The status of the answer, if one came.
    pub status: Option<u16>,
    /// What was seen of it.
    pub error: Option<ErrorNote>,
}

impl FailedAttempt {
    /// The failure with which an attempt ended, if it counts against the endpoint.
    #[must_use]
    pub fn of(ticket: &Ticket, judgement: &Judgement, path: PathKind) -> Option<Self> {
        match judgement.rule(path).outcome {
            Outcome::Failure(kind) => {
                let (status, error) = (judgement.status, judgement.error.clone());
                Some(Self { ticket: ticket.clone(), kind, status, error })
            }
            Outcome::Success | Outcome::Fatal(_) | Outcome::Neutral | Outcome::Cancelled => None,
        }
    }

    /// Whether the request itself can be the cause of such a failure. It never is if no connection could be opened.
    fn may_be_the_requests_own(&self) -> bool {
        match self.kind {
            FailureKind::UpstreamStatus | FailureKind::Timeout | FailureKind::Body | FailureKind::Stream => true,
            FailureKind::Connect => false,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.kind, self.status) == (other.kind, other.status)
    }
}

/// Whether there was another endpoint to ask when a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Another endpoint could have been asked.
    Some,
    /// There was no other.
    None,
}

/// The failures of a failed request that may be its own fault: those that are alike on two or more endpoints; or all of these
/// kinds, if there was only one endpoint to ask, or the request is known as the cause of such failures.
pub fn in_doubt(failures: &[FailedAttempt], others: Others, is_known: bool) -> Vec<&FailedAttempt> {
    let first = failures.first().map(|failed| &failed.ticket.endpoint);
    let asked_one = failures.iter().all(|failed| Some(&failed.ticket.endpoint) == first);
    let had_one_to_ask = asked_one && others == Others::None;
    let is_alike_elsewhere = |failed: &FailedAttempt| {
        failures.iter().any(|other| other.is_like(failed) && other.ticket.endpoint != failed.ticket.endpoint)
    };
    failures
        .iter()
        .filter(|failed| failed.may_be_the_requests_own())
        .filter(|failed| is_known || had_one_to_ask || is_alike_elsewhere(failed))
        .collect()
}

/// What a second opinion on an endpoint is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its epoch when the doubt came up.
    pub epoch: Epoch,
    /// Why it is isolated should it fail.
    pub reason: Reason,
    /// The model of the request in doubt.
    pub model: Option<Arc<str>>,
    /// What was seen of the failure in doubt.
    pub error: Option<ErrorNote>,
    about: Vec<Fingerprint>,
}

impl Asked {
    /// How the conversation is held.
    fn manner(&self) -> Manner {
        manner_of_opinion(self.reason, self.error.as_ref())
    }
}

fn manner_of_opinion(reason: Reason, error: Option<&ErrorNote>) -> Manner {
    reason.manner_of_proof(error, false)
}

/// The opinions that are asked for, and what is remembered of those given.
#[derive(Clone, Debug, Default)]
pub struct Opinions {
    asked: BTreeMap<EndpointId, Asked>,
    /// The requests in doubt whose failures had isolated an endpoint already, with the epoch of that isolation.
    about_isolated: BTreeMap<EndpointId, (Epoch, Vec<Fingerprint>)>,
    passed: BTreeMap<EndpointId, Moment>,
    /// The requests found to be the cause, with the time of the latest verdict.
    poisoned: HashMap<Fingerprint, Moment>,
    poisoned_since: VecDeque<(Moment, Fingerprint)>,
}

impl Opinions {
    /// Asks for an opinion on an endpoint in its home queue. An endpoint that has passed within `rest` is not asked again: it is
    /// known to be sound. Returns whether the opinion is newly asked for.
    pub fn ask(&mut self, endpoint: &EndpointId, asked: NewlyAsked, rest: Duration, now: Moment) -> bool {
        let NewlyAsked { epoch, reason, model, error, about } = asked;
        // While it is asked, an earlier pass answers nothing.
        if let Some(asked) = self.asked.get_mut(endpoint).filter(|asked| asked.epoch == epoch) {
            remember(&mut asked.about, about);
            // A stream is the harder question: an endpoint that passes it passes the other one too.
            if asked.manner() < manner_of_opinion(reason, error.as_ref()) {
                (asked.reason, asked.error) = (reason, error);
            }
            return false;
        }
        if self.passed.get(endpoint).is_some_and(|passed| now.since(*passed) < rest) {
            self.note_cause(about, now);
            return false;
        }
        let about = about.into_iter().collect();
        self.asked.insert(endpoint.clone(), Asked { epoch, reason, model, error, about });
        true
    }

    /// Remembers a request whose failures had isolated the endpoint already, in this epoch of its isolation.
    pub fn doubt_isolation(&mut self, endpoint: &EndpointId, isolation: Epoch, about: Option<Fingerprint>) {
        let (epoch, requests) = self.about_isolated.entry(endpoint.clone()).or_default();
        if *epoch != isolation {
            (*epoch, *requests) = (isolation, Vec::new());
        }
        remember(requests, about);
    }

    /// Notes that an isolated endpoint has failed a conversation: the requests in doubt were not the cause.
    pub fn isolation_was_right(&mut self, endpoint: &EndpointId, isolation: Epoch) {
        if self.about_isolated.get(endpoint).is_some_and(|(epoch, _)| *epoch == isolation) {
            self.about_isolated.remove(endpoint);
        }
    }

    /// Notes that the endpoint has passed a conversation about something else. Opinions asked for meanwhile stay asked for.
    pub fn passed_unasked(&mut self, endpoint: &EndpointId, now: Moment) {
        self.passed.insert(endpoint.clone(), now);
    }

    /// Notes that the endpoint has passed in this epoch: so the requests that it was asked about were the cause.
    pub fn passed(&mut self, endpoint: &EndpointId, epoch: Epoch, now: Moment) {
        self.passed_unasked(endpoint, now);
        let asked = self.asked.remove(endpoint).filter(|asked| asked.epoch == epoch).map(|asked| asked.about);
        let isolated =
            self.about_isolated.remove(endpoint).filter(|(isolation, _)| *isolation == epoch).map(|(_, about)| about);
        for request in [asked, isolated].into_iter().flatten().flatten() {
            self.poison(request, now);
        }
    }

    /// Notes that the endpoint has failed its second opinion of this epoch. Returns what it was asked about.
    pub fn failed(&mut self, endpoint: &EndpointId, epoch: Epoch) -> Option<Asked> {
        if self.asked.get(endpoint)?.epoch != epoch {
            return None;
        }
        self.asked.remove(endpoint)
    }

    /// Forgets what the endpoint was asked, because it has moved to another epoch.
    pub fn forget(&mut self, endpoint: &EndpointId) {
        self.asked.remove(endpoint);
    }

    /// Forgets everything about the endpoint, because it is redefined: what it has passed says nothing any more.
    pub fn forget_all(&mut self, endpoint: &EndpointId) {
        self.forget(endpoint);
        self.about_isolated.remove(endpoint);
        self.passed.remove(endpoint);
    }

    /// Notes that the request was the cause of its failures, because the endpoint had passed before the doubt came up.
    pub fn note_cause(&mut self, request: Option<Fingerprint>, now: Moment) {
        if let Some(request) = request {
            self.poison(request, now);
        }
    }

    /// Whether this request was found, within the last minute, to be the cause of its failures.
    pub fn is_poisoned(&mut self, request: Fingerprint, now: Moment) -> bool {
        while let Some((since, oldest)) = self.poisoned_since.front()
            && (now.since(*since) >= POISON_LASTS || self.poisoned_since.len() > MAX_POISONED)
        {
            // A later verdict has an entry of its own.
            if self.poisoned.get(oldest) == Some(since) {
                self.poisoned.remove(oldest);
            }
            self.poisoned_since.pop_front();
        }
        self.poisoned.contains_key(&request)
    }

    fn poison(&mut self, request: Fingerprint, now: Moment) {
        self.poisoned.insert(request, now);
        self.poisoned_since.push_back((now, request));
        // Called for its side effect: it makes room.
        self.is_poisoned(request, now);
    }

    /// The conversation to hold with this endpoint for an opinion, if one is asked for.
    pub fn job(&self, endpoint: &super::endpoint::SharedEndpoint, epoch: Epoch) -> Option<VerifyJob> {
        let asked = self.asked.get(&endpoint.id).filter(|asked| asked.epoch == epoch)?;
        let endpoint = Arc::clone(endpoint);
        let (manner, model) = (asked.manner(), asked.model.clone());
        let subject = Subject { endpoint, epoch, manner, model, suffices: Suffices::AnyModel };
        Some(VerifyJob { subject, task: Task::Opinion { reason: asked.reason } })
    }
}

/// A doubt that has just come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewlyAsked {
    /// The endpoint's epoch.
    pub epoch: Epoch,
    /// Why it is isolated should it fail.
    pub reason: Reason,
    /// The model of the request in doubt.
    pub model: Option<Arc<str>>,
    /// What was seen of the failure in doubt.
    pub error: Option<ErrorNote>,
    /// The request in doubt, if it is the request that is doubted.
    pub about: Option<Fingerprint>,
}

fn remember(requests: &mut Vec<Fingerprint>, request: Option<Fingerprint>) {
    if let Some(request) = request
        && requests.len() < MAX_ABOUT
        && !requests.contains(&request)
    {
        requests.push(request);
    }
}

#[cfg(test)]
mod tests;
