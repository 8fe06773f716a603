//! Clients' requests on their way through the endpoints, each with the plan that the gateway makes of it. What the workers'
//! code does around the plan is done here by hand, in the same order; each step is one for chance to choose, so that requests
//! overtake each other, wait for verdicts, find their endpoint moved, and leave in every state.

mod attempt;

use std::time::Duration;

use qcc_gateway::domain::endpoint::Protocol;
use qcc_gateway::domain::epoch::EpochGate;
use qcc_gateway::domain::ids::{ProfileId, Serial, Ticket};
use qcc_gateway::domain::opinions::{FailedAttempt, Fingerprint};
use qcc_gateway::domain::outcome::{Outcome, Reason, Report};
use qcc_gateway::domain::outcome_table::{LastResort, PathKind};
use qcc_gateway::domain::registry::{Ask, NoEndpoint, Reach, Service, Turn};
use qcc_gateway::domain::retry::{Ending, Plan, RetryPolicy};
use qcc_gateway::domain::time::Moment;

use super::chance::{self, one_in, pick};
use super::itinerary::Itinerary;
use super::world::World;

/// So many are on their way at most.
const MOST: usize = 8;

/// Which request, in the order in which they came.
pub(crate) type JourneyId = u64;

/// What a request does next, or waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It asks for an endpoint.
    Asks,
    /// It waits for one, since then.
    Waits(Moment),
    /// It pauses before it asks for one that has failed it.
    Pauses { until: Moment },
    /// Its attempt is under way.
    Attempts,
    /// Its attempt has failed, and it waits for the verdict on that.
    AwaitsVerdict(Serial),
    /// It is answered, refused or broken off, or its client has left.
    Ends,
}

/// Some requests are the same one again.
fn fingerprint(id: JourneyId) -> Fingerprint {
    Fingerprint(id % 3)
}

/// One request.
pub(crate) struct Journey {
    plan: Plan<LastResort>,
    itinerary: Itinerary,
    ask: Ask,
    path: PathKind,
    /// On other paths some are not repeated once they may have arrived.
    is_repeatable: bool,
    stage: Stage,
    /// Whether something of an answer has reached the client.
    has_begun: bool,
    /// Whether it is over with an answer of an endpoint's, whole or not, or with its client's leaving.
    is_over: bool,
    /// What its client is told that it doubts: nothing where it was served in the end.
    doubts: Vec<FailedAttempt>,
    /// The counted failures so far, with the gates of their endpoints.
    failures: Vec<(Ticket, EpochGate)>,
}

impl World {
    /// A request comes, or one that is on its way goes on.
    pub(crate) fn travel(&mut self) {
        let ready: Vec<JourneyId> = self
            .journeys
            .iter()
            .filter(|(_, journey)| match journey.stage {
                Stage::Asks | Stage::Ends => true,
                Stage::Pauses { until } => until <= self.now,
                Stage::Waits(_) | Stage::Attempts | Stage::AwaitsVerdict(_) => false,
            })
            .map(|(id, _)| *id)
            .collect();
        match pick(&mut self.rng, &ready) {
            Some(id) if self.journeys.len() == MOST || !one_in(&mut self.rng, 4) => self.goes_on(id),
            _ if self.journeys.len() < MOST => self.sets_out(),
            _ => {}
        }
    }

    /// With nothing new to come: the next one that can go on does, and the clock goes with the one that pauses. Tells whether
    /// there was any.
    pub(crate) fn travels_on(&mut self) -> bool {
        let next = self
            .journeys
            .iter()
            .find(|(_, journey)| matches!(journey.stage, Stage::Asks | Stage::Ends | Stage::Pauses { .. }));
        let Some((id, stage)) = next.map(|(id, journey)| (*id, journey.stage)) else { return false };
        if let Stage::Pauses { until } = stage {
            self.now = self.now.max(until);
        }
        self.goes_on(id);
        true
    }

    fn sets_out(&mut self) {
        let mut ask = chance::ask(&mut self.rng, self.now, &[]);
        if !one_in(&mut self.rng, 4) {
            // One like any other, which somebody serves.
            (ask.profile, ask.service) = (ProfileId::default(), Service::Llm(Protocol::Anthropic));
            ask.model = ask.model.filter(|model| **model != *"gpt-x");
        }
        let path = match ask.service {
            Service::Other => PathKind::Other,
            Service::Llm(_) if one_in(&mut self.rng, 8) => PathKind::CountTokens,
            Service::Llm(_) => PathKind::Llm,
        };
        let rng = &mut self.rng;
        let (per_endpoint, park) = (rng.u32(1..4), Duration::from_millis([0, 500, 10_000][rng.usize(..3)]));
        let policy = RetryPolicy {
            max_attempts: rng.u32(1..7),
            max_per_endpoint: if path == PathKind::CountTokens { 1 } else { per_endpoint },
            deadline: ask.deadline,
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
            park: if path == PathKind::CountTokens { Duration::ZERO } else { park },
        };
        ask.fingerprint = None;
        let journey = Journey {
            plan: Plan::new(policy),
            itinerary: Itinerary::new(policy, path),
            ask,
            path,
            is_repeatable: path != PathKind::Other || rng.bool(),
            stage: Stage::Asks,
            has_begun: false,
            is_over: false,
            doubts: Vec::new(),
            failures: Vec::new(),
        };
        let id = self.next_journey;
        self.next_journey += 1;
        self.trace.note(&format!("request {id} comes: {path:?}, {policy:?}"));
        self.journeys.insert(id, journey);
        self.goes_on(id);
    }

    /// It asks for an endpoint, once more or for the first time, or it is over.
    fn goes_on(&mut self, id: JourneyId) {
        self.check_what_it_knows(id);
        let journey = self.journeys.get_mut(&id).unwrap();
        let reach = match journey.stage {
            Stage::Ends => return self.ends(id),
            Stage::Pauses { .. } => Reach::Again,
            Stage::Asks | Stage::Waits(_) | Stage::Attempts | Stage::AwaitsVerdict(_) => {
                let may_try = journey.plan.may_try(self.now);
                assert_eq!(may_try, journey.itinerary.may_try(self.now), "whether request {id} may be sent again");
                if !may_try {
                    return self.ends(id);
                }
                journey.plan.reach(self.now)
            }
        };
        assert!(!journey.has_begun, "request {id} is sent again though its client has something of an answer");
        let Journey { plan, itinerary, ask, .. } = journey;
        (ask.reach, ask.tried, ask.turn, ask.is_last) = (reach, plan.tried(), plan.turn(), plan.is_last());
        if reach != Reach::Again {
            assert_eq!(reach, itinerary.reach(self.now), "how far request {id} may reach");
        }
        assert_eq!(ask.tried, itinerary.tried(), "where request {id} has been");
        assert_eq!((ask.turn, ask.is_last), (itinerary.turn(), itinerary.is_last()), "the how manyth attempt of {id}");
        if ask.turn != Turn::First && ask.fingerprint.is_none() {
            ask.fingerprint = Some(fingerprint(id));
        }
        journey.stage = Stage::Waits(self.now);
        let ask = journey.ask.clone();
        self.asks(ask, Some(id));
    }

    /// Promise 3: whatever its failures have brought about has taken effect before it goes on or ends.
    fn check_what_it_knows(&self, id: JourneyId) {
        let journey = &self.journeys[&id];
        for (ticket, gate) in &journey.failures {
            assert!(!self.shadow.awaits(ticket.serial), "request {id} goes on before the verdict on {ticket:?}");
            let isolates = self.isolating.contains(&ticket.serial);
            assert!(!(isolates && gate.is_at(ticket.epoch)), "request {id} goes on before {ticket:?} has isolated");
        }
        let known: Vec<_> = journey.plan.failures().iter().map(|failed| (&failed.ticket, failed.kind)).collect();
        assert_eq!(known, journey.itinerary.failures(), "the failures of request {id}");
    }

    /// It can't be given any: it ends, or tries one that has failed it after a pause.
    pub(crate) fn journey_refused(&mut self, id: JourneyId, why: &NoEndpoint) {
        let chance = f64::from(self.rng.u32(..=10)) / 10.0;
        let Some(journey) = self.journeys.get_mut(&id) else { return };
        let is_first_time = journey.ask.reach != Reach::Again;
        journey.waited_until(self.now);
        journey.stage = Stage::Ends;
        if *why == NoEndpoint::GivenUp
            && is_first_time
            && let Some(pause) = journey.plan.pause_before_repeat(chance)
        {
            assert!(!journey.itinerary.has_client_error(), "request {id} repeats what its client did wrong");
            assert!(pause <= Duration::from_secs(2));
            journey.stage =
                Stage::Pauses { until: self.now + Duration::from_millis(pause.as_millis().try_into().unwrap()) };
            self.trace.met("a request that pauses and asks the same endpoint again");
        }
    }

    /// Its client leaves, in whichever state it is.
    pub(crate) fn client_leaves(&mut self) {
        let ids: Vec<JourneyId> = self.journeys.keys().copied().collect();
        let Some(id) = pick(&mut self.rng, &ids) else { return };
        self.trace.note(&format!("the client of request {id} leaves"));
        let journey = self.journeys.get_mut(&id).unwrap();
        match std::mem::replace(&mut journey.stage, Stage::Ends) {
            Stage::Attempts => {
                let index = self.leases.iter().position(|lease| lease.journey == Some(id)).unwrap();
                let lease = self.leases.swap_remove(index);
                let opinion = one_in(&mut self.rng, 4).then_some(Reason::Timeout);
                self.settle(lease, Report { opinion, ..Report::of(Outcome::Cancelled) });
                self.trace.met("a client that leaves its attempt");
            }
            Stage::Waits(_) => {
                let waiter = self.waiting.iter().find(|(_, journey)| **journey == id).map(|(waiter, _)| *waiter);
                self.leaves_while_it_waits(waiter.unwrap());
            }
            Stage::Asks | Stage::Pauses { .. } | Stage::AwaitsVerdict(_) | Stage::Ends => {}
        }
        // It hears nothing, so it need not wait for a verdict: what it doubts is told as it goes.
        self.journeys.get_mut(&id).unwrap().is_over = true;
        self.ends(id);
    }

    /// It is answered or refused, or nobody is left to answer: what it doubts is told, unless it was served.
    fn ends(&mut self, id: JourneyId) {
        let Journey { mut plan, itinerary, mut ask, path, is_over, doubts, .. } = self.journeys.remove(&id).unwrap();
        if is_over {
            self.trace.note(&format!("request {id} is over"));
        } else {
            let ending = plan.take_ending();
            self.trace.note(&format!("request {id} ends: {ending:?}"));
            let is_right = match (&ending, itinerary.best()) {
                (Ending::PassOn(rank), Some(best)) => *rank == best && best != LastResort::Overload,
                (Ending::Overloaded(rank), Some(best)) => *rank == best && best == LastResort::Overload,
                (Ending::NoAttempt, None) => itinerary.is_fresh(),
                (Ending::TimedOut { .. }, None) => !itinerary.is_fresh() && itinerary.all_timed_out(),
                (Ending::Failed { .. }, None) => !itinerary.all_timed_out(),
                (_, _) => false,
            };
            assert!(is_right, "request {id} ends in {ending:?}, though the best it has is {:?}", itinerary.best());
            self.trace.met(if itinerary.is_fresh() { "a request without an attempt" } else { "a request in vain" });
        }
        if path != PathKind::Other && !doubts.is_empty() {
            ask.fingerprint = ask.fingerprint.or_else(|| Some(fingerprint(id)));
            self.trace.met("a request that fails and doubts");
            self.doubts(&ask, &doubts);
        }
    }
}

impl Journey {
    /// What it has failed on so far, where that may be its own fault.
    pub(crate) fn doubts_while_waiting(&self) -> Vec<FailedAttempt> {
        if self.path == PathKind::Other { Vec::new() } else { self.doubts.clone() }
    }

    /// Its waiting, if it was that, is over.
    fn waited_until(&mut self, now: Moment) {
        if let Stage::Waits(since) = self.stage
            && self.ask.reach != Reach::Again
        {
            self.plan.waited(now.since(since));
            self.itinerary.waited(now.since(since));
        }
    }
}
