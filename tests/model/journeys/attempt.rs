//! An attempt of a request: it begins, ends in any class of the table, or is withdrawn before anything was written.

use qcc_gateway::domain::ids::Serial;
use qcc_gateway::domain::opinions::FailedAttempt;
use qcc_gateway::domain::outcome::{Outcome, Reason, Report};
use qcc_gateway::domain::outcome_table::{Class, LastResort, Next, PathKind};

use super::{JourneyId, Stage};
use crate::chance::one_in;
use crate::ends;
use crate::itinerary::{Means, meaning};
use crate::world::{Lease, World};

impl World {
    /// It has been given an endpoint.
    pub(crate) fn journey_granted(&mut self, id: JourneyId) {
        let journey = self.journeys.get_mut(&id).unwrap();
        journey.waited_until(self.now);
        journey.plan.begin();
        journey.stage = Stage::Attempts;
    }

    /// Its attempt ends, in whichever way.
    pub(crate) fn attempt_ends(&mut self, id: JourneyId, lease: Lease) {
        let is_written = lease.written_at.is_some();
        let judgement = ends::judgement(&mut self.rng, self.weather, is_written);
        let journey = self.journeys.get_mut(&id).unwrap();
        let (class, path, rule) = (judgement.class, journey.path, judgement.rule(journey.path));
        let means = meaning(class, path);
        let is_fault = matches!(rule.outcome, Outcome::Failure(_) | Outcome::Fatal(_));
        assert_eq!(is_fault, means == Means::Counts, "whether {class:?} counts against an endpoint on {path:?}");
        let is_retried = matches!(rule.next, Next::Elsewhere(_));
        assert_eq!(is_retried, matches!(means, Means::Counts | Means::Elsewhere), "whether {class:?} is retried");
        let is_of_no_model = path != PathKind::Llm && rule.outcome == Outcome::Success;
        let is_suspect = class == Class::Cancelled && one_in(&mut self.rng, 4);
        let report = Report {
            outcome: if is_of_no_model { Outcome::Neutral } else { rule.outcome },
            error: judgement.error.clone(),
            throttle: judgement.throttle,
            opinion: class.opinion(path).or(is_suspect.then_some(Reason::Timeout)),
        };
        let (ticket, gate) = (lease.grant.ticket.clone(), lease.grant.gate.clone());
        let breaks_off = is_written && class == Class::Stream && one_in(&mut self.rng, 2);
        self.trace.note(&format!("the attempt of request {id} ends: {class:?}"));
        match rule.next {
            Next::Answer | Next::Stop => {
                let has_failed_before = !journey.itinerary.is_fresh();
                if class == Class::Success {
                    journey.doubts.clear();
                    self.trace.met(if has_failed_before {
                        "a request served after a failure"
                    } else {
                        "a request served at once"
                    });
                } else {
                    self.trace.met("a request that was its client's fault");
                }
                (journey.is_over, journey.stage) = (true, Stage::Ends);
            }
            Next::Elsewhere(_) if breaks_off => {
                // Its client sees that it broke. Of this failure the plan knows nothing: there is nothing left to plan.
                (journey.has_begun, journey.is_over) = (true, true);
                journey.doubts.extend(FailedAttempt::of(&ticket, &judgement, path));
                journey.stage = Stage::Ends;
                self.trace.met("a request that breaks off in its answer");
            }
            Next::Elsewhere(rank) => {
                let answer = (rank != LastResort::Never && judgement.status.is_some()).then_some((rank, rank));
                journey.plan.failed(&ticket, &judgement, path, answer, self.now);
                journey.itinerary.failed(&ticket, class, answer.map(|(rank, _)| rank), self.now);
                journey.doubts = journey.plan.failures().to_vec();
                let goes_on = !is_written || journey.is_repeatable;
                journey.stage = if goes_on { Stage::Asks } else { Stage::Ends };
            }
        }
        if is_fault {
            journey.failures.push((ticket.clone(), gate));
        }
        self.settle(lease, report);
        self.awaits_its_verdict(id, ticket.serial);
    }

    /// Before anything else it asks for the verdict on its failure, if that is not in.
    fn awaits_its_verdict(&mut self, id: JourneyId, serial: Serial) {
        if !self.core.awaits_verdict(serial) {
            return;
        }
        let journey = self.journeys.get_mut(&id).unwrap();
        let then = std::mem::replace(&mut journey.stage, Stage::AwaitsVerdict(serial));
        self.awaiting_verdict.insert(serial, (id, then == Stage::Ends));
        self.trace.met("a request that awaits the verdict on its failure");
    }

    /// The verdict on a lease has come.
    pub(crate) fn is_judged(&mut self, serial: Serial) {
        let Some((id, ends)) = self.awaiting_verdict.remove(&serial) else { return };
        if let Some(journey) = self.journeys.get_mut(&id).filter(|own| own.stage == Stage::AwaitsVerdict(serial)) {
            journey.stage = if ends { Stage::Ends } else { Stage::Asks };
        }
    }

    /// Its endpoint has moved before anything was written: the attempt is as if it had never been.
    pub(crate) fn withdraws(&mut self, id: JourneyId) {
        let journey = self.journeys.get_mut(&id).unwrap();
        journey.plan.withdraw();
        journey.stage = Stage::Asks;
    }
}
