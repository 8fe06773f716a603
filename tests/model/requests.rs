//! What workers do: they ask for leases, write, settle, and doubt in the end.

use std::time::Duration;

use qcc_gateway::domain::opinions::FailedAttempt;
use qcc_gateway::domain::outcome::{Outcome, Report};
use qcc_gateway::domain::registry::{Acquired, Ask, Limit, NoEndpoint, Outputs, Settlement, Turn};
use qcc_gateway::domain::throttle::Throttle;

use super::chance::{self, pick};
use super::effects::Followed;
use super::ends::{self, Weather};
use super::journeys::JourneyId;
use super::shadow::{Look, Spent};
use super::world::{Lease, Taker, World};

/// How many tickets of past leases are kept to bring stale news with.
const PAST: usize = 32;

impl World {
    pub(crate) fn acquire(&mut self) {
        let known: Vec<_> =
            chance::all_ids().filter_map(|id| self.shadow.known(&id).map(|(epoch, _)| (id, epoch))).collect();
        let mut ask = chance::ask(&mut self.rng, self.now, &known);
        for tried in &mut ask.tried {
            // No request is older than the process.
            tried.at = tried.at.max(self.began);
        }
        self.asks(ask, None);
    }

    /// Two sessions have been served; then the limit of the one's endpoint is used up for a moment, and it asks for more than
    /// its share of the places, so that the other one may find none.
    pub(crate) fn crowd(&mut self) {
        let ask = chance::ask(&mut self.rng, self.now, &[]);
        let of = |client| chance::sessions_first(&ask, client, self.now);
        let (crowd, other) = (of("alice"), of("bob"));
        let limit = Some(Throttle::Named(Duration::from_secs(self.rng.u64(1..6))));
        let is_limited = Report { throttle: limit, ..Report::of(Outcome::Neutral) };
        let is_served = || Report::of(Outcome::Success);
        for (ask, report) in [(&other, is_served()), (&crowd, is_served()), (&crowd, is_limited)] {
            let before = self.leases.len();
            self.asks(ask.clone(), None);
            // Its own is the latest: those who waited for this moment were served before.
            if self.leases.len() > before
                && let Some(mut lease) = self.leases.pop_if(|lease| lease.journey.is_none())
            {
                lease.written_at = Some(self.core.epochs().newest());
                self.settle(lease, report);
            }
        }
        for _ in 0..self.rng.u32(2..6) {
            self.asks(crowd.clone(), None);
        }
        self.asks(other, None);
    }

    /// A request asks for an endpoint; `whose` is its journey, if it is on one.
    pub(crate) fn asks(&mut self, ask: Ask, whose: Option<JourneyId>) {
        self.forget_who_left();
        let is_due = self.core.next_wake().is_some_and(|wake| wake <= self.now);
        let mut effects = Outputs::new();
        let acquired = self.core.acquire(ask.clone(), self.now, &mut effects);
        let is_to_wait = matches!(acquired, Acquired::Waiting(_));
        let doubts = whose.filter(|_| is_to_wait).map(|journey| self.journeys[&journey].doubts_while_waiting());
        let doubts = doubts.unwrap_or_default();
        if !doubts.is_empty() {
            self.core.doubt_while_waiting(&ask, &doubts, self.now, &mut effects);
        }
        let (followed, mut told) = self.sort_out(effects);
        assert_eq!(followed, Followed::default());
        if is_due {
            self.look_at_waiters(&mut told);
        }
        self.shadow.count_turn(&ask, self.now);
        if ask.turn != Turn::First && self.shadow.is_poisoned(ask.fingerprint, self.now) {
            self.trace.met("a poisoned request");
            assert!(matches!(acquired, Acquired::Refused(NoEndpoint::Poisoned)), "{acquired:?} for a poisoned request");
            assert!(told.is_empty(), "those who wait were told {told:?}");
            if let Some(journey) = whose {
                self.journey_refused(journey, &NoEndpoint::Poisoned);
            }
            return;
        }
        let (own, parked) = (self.shadow.parked_for(ask.client.as_ref()), self.shadow.parked());
        let has_its_share = own >= self.shadow.share() && parked > own;
        let (expected, look) = self.shadow.look(&ask, self.now, None, self.now);
        self.expect(expected, &mut told);
        assert!(told.is_empty(), "those who wait were told {told:?}");
        let answer = match &acquired {
            Acquired::Granted(grant) => format!("granted {:?}", grant.ticket),
            Acquired::Waiting(_) | Acquired::Refused(_) => format!("{acquired:?}"),
        };
        self.trace.note(&format!("{answer} for {ask:?}"));
        match (acquired, look) {
            (Acquired::Granted(grant), Look::Granted { ids, binds }) => {
                self.granted(grant, &ask, &ids, binds, whose.map_or(Taker::Nobody, Taker::Journey));
            }
            (Acquired::Waiting(id), Look::Waits { parked, until }) => {
                assert!(!(parked && has_its_share), "a client took more than its share while others wait");
                self.trace.met(if parked { "a parked request" } else { "a wait for a verdict" });
                let is_in_doubt = self.shadow.doubt_while_waiting(&ask, &doubts, self.now);
                self.shadow.begins_to_wait(id, ask, (parked, until), self.now);
                self.waiting.extend(whose.map(|journey| (id, journey)));
                if is_in_doubt {
                    self.trace.met("a request that waits for who is in doubt");
                }
            }
            (Acquired::Refused(NoEndpoint::BudgetSpent), Look::Granted { ids, .. }) => {
                self.trace.met(match ids.iter().find_map(|id| self.shadow.spent(&ask, id, self.now)) {
                    Some(Spent::TheBudget) => "a retry beyond the budget",
                    Some(Spent::ItsPart) => "a retry beyond a client's part of the budget",
                    None => panic!("there is a budget left"),
                });
                if let Some(journey) = whose {
                    self.journey_refused(journey, &NoEndpoint::BudgetSpent);
                }
            }
            (Acquired::Refused(why), Look::Refused(expected)) => {
                assert_eq!(why, expected, "why nothing is to be had");
                self.refused(&why, has_its_share);
                if let Some(journey) = whose {
                    self.journey_refused(journey, &why);
                }
            }
            (acquired, look) => panic!("{acquired:?}, though it should be {look:?}"),
        }
    }

    fn refused(&mut self, why: &NoEndpoint, has_its_share: bool) {
        self.trace.met(match why {
            NoEndpoint::Cooling { limit: Limit::Exhausted, .. } => "refused while all windows are used up",
            NoEndpoint::Cooling { .. } => "refused while all rest",
            NoEndpoint::Full { .. } => "refused while all are full",
            NoEndpoint::Isolated { next: None, .. } => "refused until the operator acts",
            NoEndpoint::Isolated { .. } => "refused while all are isolated",
            NoEndpoint::GivenUp => "refused after all were tried",
            NoEndpoint::SwitchedOff { .. } => "refused while all are switched off",
            NoEndpoint::PathUnserved | NoEndpoint::ModelUnserved | NoEndpoint::ProfileGone => {
                "refused what nobody serves"
            }
            NoEndpoint::BudgetSpent | NoEndpoint::Poisoned | NoEndpoint::TooLate => "refused at once",
            NoEndpoint::Stopping => "refused because it stops",
        });
        if has_its_share {
            self.trace.met("refused with a client's share of the places taken");
        }
    }

    /// A worker looks at the gate and writes in the same instant, or withdraws.
    pub(crate) fn write(&mut self) {
        let unwritten = |lease: &&mut Lease| lease.written_at.is_none() && !lease.abandoned;
        let mut leases: Vec<&mut Lease> = self.leases.iter_mut().filter(unwritten).collect();
        if leases.is_empty() {
            return;
        }
        let index = self.rng.usize(..leases.len());
        let lease = leases.swap_remove(index);
        let ticket = lease.grant.ticket.clone();
        let is_open = lease.grant.gate.is_at(ticket.epoch);
        self.trace.note(&format!("the gate of {ticket:?} is open: {is_open}"));
        assert_eq!(is_open, self.shadow.is_in_service(&ticket), "what the gate of {ticket:?} says");
        if is_open {
            lease.written_at = Some(self.core.epochs().newest());
            return;
        }
        let index = self.leases.iter().position(|lease| lease.grant.ticket.serial == ticket.serial).unwrap();
        self.trace.met("an attempt withdrawn at the gate");
        let withdrawn = self.leases.swap_remove(index);
        if let Some(journey) = withdrawn.journey {
            self.withdraws(journey);
        }
        self.settle(withdrawn, Report::of(Outcome::Cancelled));
    }

    /// A lease ends: as chance will have it, but for one that is part of a journey as its attempt ends.
    pub(crate) fn lease_ends(&mut self, lease: Lease) {
        if let Some(journey) = lease.journey {
            self.attempt_ends(journey, lease);
        } else {
            let report = ends::report(&mut self.rng, self.weather);
            self.settle(lease, report);
        }
    }

    pub(crate) fn settle(&mut self, lease: Lease, report: Report) {
        // What was never written can fail to connect, but can't be answered.
        let answered = match report.outcome {
            Outcome::Success | Outcome::Fatal(_) | Outcome::Neutral => true,
            Outcome::Failure(_) | Outcome::Cancelled => false,
        };
        let is_void = lease.abandoned || (answered && lease.written_at.is_none());
        let report = if is_void { Report::of(Outcome::Cancelled) } else { report };
        let (ticket, outcome) = (lease.grant.ticket, report.outcome);
        self.trace.note(&format!("settles {ticket:?} for {:?} as {report:?}", lease.model));
        let settlement = Settlement {
            ticket: ticket.clone(),
            report: report.clone(),
            model: lease.model.clone(),
            written_at: lease.written_at,
        };
        if matches!(outcome, Outcome::Failure(_) | Outcome::Fatal(_)) && !self.shadow.is_in_service(&ticket) {
            self.trace.met("a failure of an older epoch");
        }
        let mut effects = Outputs::new();
        self.core.settle(settlement, self.now, &mut effects);
        let settled = self.shadow.settle(&ticket, &report, &lease.model, self.now);
        let isolated = if settled.isolated { vec![ticket.endpoint.clone()] } else { Vec::new() };
        if settled.isolated {
            self.trace.met("one that was overloaded for too long");
        }
        let expected = Followed {
            observed: usize::from(settled.observed),
            announced: Vec::from_iter(settled.announced),
            isolated,
            ..Followed::default()
        };
        assert_eq!(self.carry_out(effects, settled.looks), expected, "after {outcome:?}");
        assert_eq!(self.core.awaits_verdict(ticket.serial), self.shadow.awaits(ticket.serial));
        if let Outcome::Failure(kind) = outcome {
            self.failed.push((ticket.clone(), kind));
            if self.failed.len() > PAST {
                self.failed.remove(0);
            }
        }
        if self.past.len() == PAST {
            self.past.remove(0);
        }
        self.past.push(ticket);
    }

    /// A lease's end is reported once more: nothing may follow.
    pub(crate) fn settle_again(&mut self) {
        let Some(ticket) = pick(&mut self.rng, &self.past) else { return };
        let report = ends::report(&mut self.rng, Weather { faults: 90, overloads: 0 });
        self.trace.note(&format!("settles {ticket:?} again, as {report:?}"));
        let before = self.core.view(self.now);
        let written_at = Some(self.core.epochs().newest());
        let mut effects = Outputs::new();
        self.core.settle(Settlement { ticket, report, model: None, written_at }, self.now, &mut effects);
        assert!(effects.is_empty(), "a second report was followed by {effects:?}");
        assert_eq!(self.core.view(self.now), before);
    }

    /// A request has failed for good, and may have been the cause.
    pub(crate) fn doubt(&mut self) {
        // The latest failures are those that a request most likely speaks of.
        let latest = self.failed.len().saturating_sub(if self.rng.bool() { 4 } else { PAST });
        let failures = ends::failures(&mut self.rng, &self.failed[latest..]);
        let ask = Ask { tried: Vec::new(), ..chance::ask(&mut self.rng, self.now, &[]) };
        // As one that is to wait does, whether or not it will be served.
        if self.rng.bool() {
            let mut effects = Outputs::new();
            self.core.doubt_while_waiting(&ask, &failures, self.now, &mut effects);
            if self.shadow.doubt_while_waiting(&ask, &failures, self.now) {
                self.trace.met("a request that waits for who is in doubt");
            }
            assert_eq!(self.carry_out(effects, 0), Followed::default());
        } else {
            self.doubts(&ask, &failures);
        }
    }

    pub(crate) fn doubts(&mut self, ask: &Ask, failures: &[FailedAttempt]) {
        self.trace.note(&format!("a request doubts {failures:?}: {ask:?}"));
        let doubted_before = chance::all_ids().filter(|id| self.shadow.is_doubted(id)).count();
        let expected = self.shadow.doubt(ask, failures, self.now);
        if doubted_before < chance::all_ids().filter(|id| self.shadow.is_doubted(id)).count() {
            self.trace.met("a doubted isolation");
        }
        let mut effects = Outputs::new();
        self.core.doubt(ask, failures, self.now, &mut effects);
        let retracted: Vec<_> = expected.into_iter().map(|failed| failed.ticket).collect();
        if retracted.iter().any(|ticket| self.shadow.is_asked(&ticket.endpoint)) {
            self.trace.met("a second opinion asked for");
        }
        assert_eq!(self.carry_out(effects, 0), Followed { retracted, ..Followed::default() });
    }
}
