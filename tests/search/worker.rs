//! A worker with one request at a time: what it does between two messages.

use qcc_gateway::domain::breaker;
use qcc_gateway::domain::classify::Judgement;
use qcc_gateway::domain::endpoint::Protocol;
use qcc_gateway::domain::ids::{Epoch, ProfileId, Ticket};
use qcc_gateway::domain::opinions::FailedAttempt;
use qcc_gateway::domain::outcome::{Outcome, Report};
use qcc_gateway::domain::outcome_table::{Class, PathKind};
use qcc_gateway::domain::registry::{Ask, Grant, NoEndpoint, Reach, Service, WaiterId};
use qcc_gateway::domain::retry::Plan;
use qcc_gateway::domain::sessions::Origin;
use qcc_gateway::domain::time::Moment;

use super::scope::{NEVER, Scope};

/// How a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// For an endpoint that it has not failed with.
    Usual,
    /// After its back-off, for one that it has.
    Again,
}

/// Where a request is.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// There is none.
    Idle,
    /// It asks for an endpoint next.
    Asks(Way),
    /// It waits for one.
    Waits { waiter: WaiterId, ask: Ask, way: Way, since: Moment },
    /// It was given one, and has not looked at the gate yet.
    Granted(Grant),
    /// It was sent, when the epoch clock stood there.
    Sent(Grant, Epoch),
    /// It has failed, and waits until the verdict is in.
    Failed { ticket: Ticket, verdict: Option<breaker::Ruling> },
    /// It is over, and its doubt is under way.
    Over,
}

/// One worker.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) stage: Stage,
    pub(crate) plan: Option<Plan<()>>,
    /// What it doubts should no endpoint do better.
    pub(crate) doubted: Vec<FailedAttempt>,
}

impl Default for Worker {
    fn default() -> Self {
        Self { stage: Stage::Idle, plan: None, doubted: Vec::new() }
    }
}

impl Worker {
    pub(crate) fn grant(&self) -> Option<&Grant> {
        match &self.stage {
            Stage::Granted(grant) | Stage::Sent(grant, _) => Some(grant),
            Stage::Idle | Stage::Asks(_) | Stage::Waits { .. } | Stage::Failed { .. } | Stage::Over => None,
        }
    }

    pub(crate) fn grant_mut(&mut self) -> Option<&mut Grant> {
        match &mut self.stage {
            Stage::Granted(grant) | Stage::Sent(grant, _) => Some(grant),
            Stage::Idle | Stage::Asks(_) | Stage::Waits { .. } | Stage::Failed { .. } | Stage::Over => None,
        }
    }

    /// What it asks of the registry. A new request begins with it where there is none.
    pub(crate) fn ask(&mut self, scope: &Scope, way: Way, now: Moment) -> Ask {
        let plan = self.plan.get_or_insert_with(|| Plan::new(scope.retry()));
        let reach = match way {
            Way::Usual => plan.reach(now),
            Way::Again => Reach::Again,
        };
        Ask { tried: plan.tried(), turn: plan.turn(), reach, is_last: plan.is_last(), ..plain_ask() }
    }

    pub(crate) fn granted(&mut self, grant: Grant) {
        if let Some(plan) = &mut self.plan {
            plan.begin();
        }
        self.stage = Stage::Granted(grant);
    }

    /// Nothing can be had: it asks again, or is over.
    pub(crate) fn refused(&mut self, why: &NoEndpoint, way: Way) {
        let may_repeat = *why == NoEndpoint::GivenUp && way == Way::Usual;
        match self.plan.as_mut().filter(|_| may_repeat).and_then(|plan| plan.pause_before_repeat(1.0)) {
            Some(_) => self.stage = Stage::Asks(Way::Again),
            None => self.is_over(),
        }
    }

    /// The attempt was sent to nobody, because its endpoint has moved.
    pub(crate) fn withdrawn(&mut self) {
        if let Some(plan) = &mut self.plan {
            plan.withdraw();
        }
        self.stage = Stage::Asks(Way::Usual);
    }

    pub(crate) fn failed(&mut self, ticket: Ticket, now: Moment) {
        if let Some(plan) = &mut self.plan {
            plan.failed(&ticket, &failure(), PathKind::Llm, None, now);
        }
        self.stage = Stage::Failed { ticket, verdict: None };
    }

    /// The verdict on its failure is in: it goes on or is answered.
    pub(crate) fn released(&mut self, scope: &Scope, now: Moment) {
        if scope.doubts {
            self.doubted = self.plan.as_ref().map(|plan| plan.failures().to_vec()).unwrap_or_default();
        }
        if self.plan.as_ref().is_some_and(|plan| plan.may_try(now)) {
            self.stage = Stage::Asks(Way::Usual);
        } else {
            self.is_over();
        }
    }

    /// It has been answered well.
    pub(crate) fn is_served(&mut self) {
        *self = Self::default();
    }

    /// It is over without a success, or its client has left.
    pub(crate) fn is_over(&mut self) {
        if self.doubted.is_empty() { self.is_served() } else { self.stage = Stage::Over }
    }
}

fn plain_ask() -> Ask {
    Ask {
        profile: ProfileId::default(),
        service: Service::Llm(Protocol::Anthropic),
        model: None,
        client: None,
        origin: Origin::Request(0),
        fingerprint: None,
        tried: Vec::new(),
        turn: qcc_gateway::domain::registry::Turn::First,
        reach: Reach::Fresh,
        is_last: false,
        deadline: NEVER,
    }
}

/// What a failed attempt is found to be: nothing that would lead the next one to another host anyway.
fn failure() -> Judgement {
    Judgement::of_fault(Class::Body, "an empty body")
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Success,
    Failure,
    /// Its client leaves.
    Cancelled,
}

impl End {
    /// What the registry is told.
    pub(crate) fn report(self) -> Report {
        match self {
            Self::Success => Report::of(Outcome::Success),
            Self::Failure => {
                let failure = failure();
                Report { error: failure.error.clone(), ..Report::of(failure.rule(PathKind::Llm).outcome) }
            }
            Self::Cancelled => Report::of(Outcome::Cancelled),
        }
    }
}
