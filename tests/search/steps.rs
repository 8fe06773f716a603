//! What may happen next. Each step is one message that arrives, or one thing that somebody does.
//!
//! What a sender does by itself between two messages is one step with the arrival of the next: nobody else can tell when it
//! was done. So a request's `Acquire`, an attempt's end with its `Settle` and its `Judged`, and a granted lease with the look
//! at the gate are one step each.

use std::fmt;

use super::scope::NAMES;
use super::worker::{End, Stage};
use super::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A worker's `Acquire` arrives, of a new request or of one that goes on.
    Asks(usize),
    /// A worker has its lease, looks at the gate, and writes or withdraws.
    Writes(usize),
    /// A worker's attempt ends, and the `Settle` arrives, after a failure with `Judged`.
    Ends(usize, End),
    /// A client leaves while its request waits.
    Leaves(usize),
    /// A worker's `Doubt` arrives.
    Doubts(usize),
    /// The `Settle` of a lease arrives that nobody took.
    Dropped,
    /// The breakers take in an `Observe` or a `Retract`.
    BreakersHear,
    /// The breakers take in a `ResetBreaker`.
    Reset(usize),
    /// A `Verdict` arrives.
    Verdict,
    /// The verifier takes in a `FailureList`.
    List,
    ListIsLost,
    /// The registry's clock ticks: it looks at who waits, and publishes its list.
    Tick,
    /// The verifier begins the conversations that are due.
    Begins,
    Passes(usize),
    Fails(usize),
    /// What the verifier tells arrives: `Recovered`, `StillFailing`, `Fit` or `Unfit`.
    News,
    NewsIsLost,
    /// An hour passes, and the registry looks at the clock.
    Hour,
    SwitchedOff(usize),
    SwitchedOn(usize),
    /// The settings make another service of an endpoint.
    Redefined(usize),
    Removed(usize),
    Added(usize),
}

impl Step {
    /// Whether it is of what goes on by itself once nothing new comes: messages arrive, requests under way end, and every
    /// verification passes.
    pub(crate) fn is_of_its_own(self) -> bool {
        match self {
            Self::Asks(_)
            | Self::Writes(_)
            | Self::Ends(_, End::Success)
            | Self::Doubts(_)
            | Self::Dropped
            | Self::BreakersHear
            | Self::Reset(_)
            | Self::Verdict
            | Self::List
            | Self::Tick
            | Self::Begins
            | Self::Passes(_)
            | Self::News => true,
            Self::Ends(_, End::Failure | End::Cancelled)
            | Self::Leaves(_)
            | Self::ListIsLost
            | Self::Fails(_)
            | Self::NewsIsLost
            | Self::Hour
            | Self::SwitchedOff(_)
            | Self::SwitchedOn(_)
            | Self::Redefined(_)
            | Self::Removed(_)
            | Self::Added(_) => false,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Asks(worker) => write!(f, "worker {worker} asks for an endpoint"),
            Self::Writes(worker) => write!(f, "worker {worker} looks at the gate"),
            Self::Ends(worker, end) => write!(f, "the attempt of worker {worker} ends: {end:?}"),
            Self::Leaves(worker) => write!(f, "the client of worker {worker} leaves"),
            Self::Doubts(worker) => write!(f, "the doubt of worker {worker} arrives"),
            Self::Dropped => write!(f, "a lease that nobody took gives itself back"),
            Self::BreakersHear => write!(f, "the breakers hear"),
            Self::Reset(endpoint) => write!(f, "the breaker of {} is to start anew", NAMES[endpoint]),
            Self::Verdict => write!(f, "a verdict arrives"),
            Self::List => write!(f, "the verifier gets a list"),
            Self::ListIsLost => write!(f, "a list is lost"),
            Self::Tick => write!(f, "the registry's clock ticks"),
            Self::Begins => write!(f, "what is due begins"),
            Self::Passes(endpoint) => write!(f, "the conversation with {} passes", NAMES[endpoint]),
            Self::Fails(endpoint) => write!(f, "the conversation with {} fails", NAMES[endpoint]),
            Self::News => write!(f, "news of the verifier arrives"),
            Self::NewsIsLost => write!(f, "news of the verifier is lost"),
            Self::Hour => write!(f, "an hour passes"),
            Self::SwitchedOff(endpoint) => write!(f, "an admin switches {} off", NAMES[endpoint]),
            Self::SwitchedOn(endpoint) => write!(f, "an admin switches {} on", NAMES[endpoint]),
            Self::Redefined(endpoint) => write!(f, "{} is redefined", NAMES[endpoint]),
            Self::Removed(endpoint) => write!(f, "{} is removed from the settings", NAMES[endpoint]),
            Self::Added(endpoint) => write!(f, "{} is added to the settings", NAMES[endpoint]),
        }
    }
}

impl World {
    /// Everything that may happen next.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        self.steps_of_workers(&mut steps);
        self.messages(&mut steps);
        self.disturbances(&mut steps);
        steps
    }

    fn steps_of_workers(&self, steps: &mut Vec<Step>) {
        let mut may_begin = self.requests_left != Some(0);
        let may_report = self.to_breakers.len() < self.scope.reports;
        for (number, worker) in self.workers.iter().enumerate() {
            match &worker.stage {
                // Of workers without a request one is like the other.
                Stage::Idle => steps.extend(std::mem::take(&mut may_begin).then_some(Step::Asks(number))),
                Stage::Asks(_) => steps.push(Step::Asks(number)),
                Stage::Waits { .. } | Stage::Failed { .. } => {
                    steps.extend((self.leavers_left > 0).then_some(Step::Leaves(number)));
                }
                Stage::Granted(_) => {
                    steps.extend([Step::Writes(number), Step::Ends(number, End::Cancelled)]);
                    steps.extend(may_report.then_some(Step::Ends(number, End::Failure)));
                }
                Stage::Sent(..) => {
                    steps.push(Step::Ends(number, End::Cancelled));
                    let reported = [End::Success, End::Failure].map(|end| Step::Ends(number, end));
                    steps.extend(reported.into_iter().filter(|_| may_report));
                }
                Stage::Over => steps.extend(may_report.then_some(Step::Doubts(number))),
            }
        }
    }

    fn messages(&self, steps: &mut Vec<Step>) {
        let losses = self.scope.losses;
        steps.extend((!self.dropped.is_empty()).then_some(Step::Dropped));
        let may_judge = self.verdicts.len() < self.scope.reports;
        steps.extend((!self.to_breakers.is_empty() && may_judge).then_some(Step::BreakersHear));
        steps.extend(self.resets.keys().map(|id| Step::Reset(super::scope::index(id))));
        steps.extend((!self.verdicts.is_empty()).then_some(Step::Verdict));
        if self.lists.is_empty() {
            // A list that says nothing new is not sent.
            let is_of_use = !self.left.is_empty() || (losses && self.core.conversations(self.now) != self.heard);
            steps.extend(is_of_use.then_some(Step::Tick));
        } else {
            steps.push(Step::List);
            steps.extend(losses.then_some(Step::ListIsLost));
        }
        steps.extend(self.schedule.next_due().filter(|due| *due <= self.now).map(|_| Step::Begins));
        if self.news.len() < self.scope.news {
            let talks = self.talks.iter().map(|(id, _)| super::scope::index(id));
            steps.extend(talks.flat_map(|endpoint| [Step::Passes(endpoint), Step::Fails(endpoint)]));
        }
        if !self.news.is_empty() {
            steps.push(Step::News);
            steps.extend(losses.then_some(Step::NewsIsLost));
        }
    }

    fn disturbances(&self, steps: &mut Vec<Step>) {
        let waits = self.workers.iter().any(|worker| matches!(worker.stage, Stage::Waits { .. }));
        steps.extend((self.scope.hours && waits).then_some(Step::Hour));
        for (endpoint, service) in self.settings.iter().enumerate() {
            let is_enabled = self.promises.is_enabled(endpoint);
            if is_enabled == Some(true) && self.switches_left > 0 {
                steps.push(Step::SwitchedOff(endpoint));
            }
            if is_enabled == Some(false) {
                steps.push(Step::SwitchedOn(endpoint));
            }
            if self.reloads_left > 0 {
                match service {
                    Some(_) => steps.extend([Step::Redefined(endpoint), Step::Removed(endpoint)]),
                    None => steps.push(Step::Added(endpoint)),
                }
            }
        }
    }
}
