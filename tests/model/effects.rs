//! What follows from an input, carried out as the registry's actor does, and held against what must follow.

use std::collections::{BTreeSet, VecDeque};

use qcc_gateway::domain::endpoint::Protocol;
use qcc_gateway::domain::events::EventKind;
use qcc_gateway::domain::ids::{EndpointId, ProfileId, Ticket};
use qcc_gateway::domain::registry::{Ask, Effect, Grant, Keep, NoEndpoint, Outputs, WaiterId};

use super::shadow::{Announced, Expected, Look, Waiter};
use super::world::{Conversation, Lease, Taker, ToBreakers, ToVerifier, World};

/// What an input was followed by, apart from what those who wait are told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Followed {
    pub(crate) observed: usize,
    pub(crate) judged: usize,
    pub(crate) announced: Vec<Announced>,
    pub(crate) retracted: Vec<Ticket>,
    pub(crate) isolated: Vec<EndpointId>,
    pub(crate) recovered: Vec<EndpointId>,
}

/// What is told to those who wait, or on their behalf.
#[derive(Debug)]
pub(crate) enum Told {
    Granted(WaiterId, Grant),
    Refused(WaiterId, NoEndpoint),
    Hastened(Vec<Conversation>),
}

impl World {
    /// Carries out what follows from an input, in order, as the registry's actor does. `looks` is how often those who wait
    /// must have been looked at.
    pub(crate) fn carry_out(&mut self, effects: Outputs, looks: usize) -> Followed {
        let (followed, mut told) = self.sort_out(effects);
        for _ in 0..looks {
            self.look_at_waiters(&mut told);
        }
        assert!(told.is_empty(), "those who wait were told {told:?}");
        followed
    }

    /// Carries out everything but what those who wait are told.
    pub(crate) fn sort_out(&mut self, effects: Outputs) -> (Followed, VecDeque<Told>) {
        let (mut followed, mut told) = (Followed::default(), VecDeque::new());
        let mut effects = effects.into_iter();
        while let Some(effect) = effects.next() {
            match effect {
                Effect::Observe(observation) => {
                    followed.observed += 1;
                    self.to_breakers.push_back(ToBreakers::Observe(observation, self.now));
                }
                Effect::ResetBreaker(endpoint, epoch) => self.resets.push_back((endpoint, epoch)),
                Effect::Retract(ticket) => {
                    followed.retracted.push(ticket.clone());
                    self.to_breakers.push_back(ToBreakers::Retract(ticket));
                }
                Effect::PublishJobs => self.publish_failures(),
                Effect::Hasten(wanted) => told.push_back(Told::Hastened(wanted)),
                Effect::Granted(waiter, grant) => told.push_back(Told::Granted(waiter, grant)),
                Effect::Refused(waiter, why) => told.push_back(Told::Refused(waiter, why)),
                Effect::Judged(serial) => {
                    followed.judged += 1;
                    assert!(!self.core.awaits_verdict(serial), "judged, and yet awaited");
                    self.is_judged(serial);
                }
                Effect::Note(event, _) => match event.kind {
                    EventKind::Isolated => followed.isolated.extend(event.endpoint),
                    EventKind::Recovered => followed.recovered.extend(event.endpoint),
                    EventKind::Verified | EventKind::SecondOpinion => {
                        panic!("verifications are the verifier's to tell")
                    }
                    EventKind::Reload => panic!("a reload is the reloader's to tell"),
                    EventKind::Cooldown => {
                        self.trace.met("a cooldown");
                        followed.announced.push(Announced::Cooldown);
                    }
                    EventKind::Exhausted => {
                        self.trace.met("a used-up window");
                        followed.announced.push(Announced::UsedUpWindow);
                    }
                    EventKind::Disabled
                    | EventKind::Enabled
                    | EventKind::Added
                    | EventKind::Changed
                    | EventKind::Removed => {}
                },
                Effect::Filtered { profile, excluded } => assert_eq!(self.shadow.summary(&profile).2, excluded),
                Effect::Summary { profile, endpoints, usable, isolated } => {
                    assert_eq!(self.shadow.summary(&profile), (endpoints, usable, isolated));
                    let out: BTreeSet<(ProfileId, Protocol)> =
                        self.shadow.lacking(&profile).into_iter().map(|protocol| (profile.clone(), protocol)).collect();
                    self.outages.retain(|outage| outage.0 != profile || out.contains(outage));
                    for outage in out.into_iter().filter(|outage| self.outages.insert(outage.clone())) {
                        self.trace.met("a profile without a usable endpoint of a protocol");
                        let told = effects.next();
                        let is_told = matches!(
                            &told,
                            Some(Effect::NothingUsable { profile, protocol, .. }) if (profile, protocol) == (&outage.0, &outage.1)
                        );
                        assert!(is_told, "{outage:?} has nothing usable, and then came {told:?}");
                    }
                }
                Effect::NothingUsable { profile, protocol, .. } => {
                    panic!("{profile} was told of again, or too soon: {protocol:?}")
                }
                // A word to the operator, which moves nothing.
                Effect::NeverProven(_) => {}
                Effect::Keep(Keep::Now) => {
                    assert_eq!(followed.judged, 0, "a verdict was told before the move that it led to was kept");
                    self.write_image();
                }
                Effect::Keep(Keep::Soon) => self.disk_is_behind(),
                Effect::Leaked(ticket) => panic!("written to an isolated endpoint: {ticket:?}"),
            }
        }
        (followed, told)
    }

    /// All who wait are looked at, first come first served: whoever can be served is, whoever has nothing to wait for any
    /// more is refused, and nobody else is told anything.
    pub(crate) fn look_at_waiters(&mut self, told: &mut VecDeque<Told>) {
        let ids: Vec<WaiterId> = self.shadow.waiters().iter().map(|waiter| waiter.id).collect();
        for id in ids {
            let Some(waiter) = self.shadow.waiters().iter().find(|waiter| waiter.id == id).cloned() else { continue };
            let (expected, look) = self.shadow.look(&waiter.ask, waiter.since, Some(waiter.parked), self.now);
            self.expect(expected, told);
            match look {
                Look::Waits { parked, until } => self.shadow.stays(&waiter, (parked, until), self.now),
                look @ (Look::Granted { .. } | Look::Refused(_)) => self.ends_waiting(&waiter, look, told),
            }
        }
    }

    /// One who waits must be told this now.
    fn ends_waiting(&mut self, waiter: &Waiter, look: Look, told: &mut VecDeque<Told>) {
        let id = waiter.id;
        self.shadow.stops_waiting(id);
        let taker = match (self.left.remove(&id), self.waiting.remove(&id)) {
            (true, _) => Taker::WhoHasLeft,
            (false, Some(journey)) => Taker::Journey(journey),
            (false, None) => Taker::Nobody,
        };
        match (look, told.pop_front()) {
            (Look::Granted { ids, binds }, Some(Told::Granted(to, grant))) if to == id => {
                self.trace.met(match (taker, waiter.parked) {
                    (Taker::WhoHasLeft, _) => "a lease for one who left",
                    (_, true) => "a lease for one who was parked",
                    (_, false) => "a lease for one who waited for a verdict",
                });
                self.granted(grant, &waiter.ask, &ids, binds, taker);
            }
            (Look::Granted { ids, .. }, Some(Told::Refused(to, NoEndpoint::BudgetSpent))) if to == id => {
                assert!(ids.iter().any(|id| self.shadow.spent(&waiter.ask, id, self.now).is_some()));
                self.hears(taker, &NoEndpoint::BudgetSpent);
            }
            (Look::Refused(why), Some(Told::Refused(to, really))) if to == id => {
                assert_eq!(really, why, "why {id:?} is refused");
                let is_too_late = self.now >= waiter.ask.deadline;
                self.trace.met(match why {
                    NoEndpoint::TooLate => "a waiter too late",
                    NoEndpoint::Stopping => "a waiter refused because it stops",
                    NoEndpoint::Isolated { .. } | NoEndpoint::Cooling { .. } if is_too_late => {
                        "a waiter told what it has waited for until its deadline"
                    }
                    _ => "a waiter refused",
                });
                self.hears(taker, &why);
            }
            (look, other) => panic!("for {id:?} there should be {look:?}, but next came {other:?}"),
        }
    }

    /// A journey hears that nothing is to be had.
    fn hears(&mut self, taker: Taker, why: &NoEndpoint) {
        if let Taker::Journey(journey) = taker {
            self.journey_refused(journey, why);
        }
    }

    /// The gateway stops: whoever is parked is refused, and nobody is parked from now on.
    pub(crate) fn stop_parking(&mut self) {
        self.trace.note("the gateway stops");
        let mut effects = Outputs::new();
        self.core.stop_parking(self.now, &mut effects);
        let (followed, mut told) = self.sort_out(effects);
        for waiter in self.shadow.stop_parking() {
            self.ends_waiting(&waiter, Look::Refused(NoEndpoint::Stopping), &mut told);
        }
        self.look_at_waiters(&mut told);
        assert!(told.is_empty(), "those who wait were told {told:?}");
        assert_eq!(followed, Followed::default());
    }

    /// What a look has led to besides its own answer.
    pub(crate) fn expect(&mut self, expected: Vec<Expected>, told: &mut VecDeque<Told>) {
        for expected in expected {
            match expected {
                Expected::Hastened(mut ids) => {
                    let Some(Told::Hastened(wanted)) = told.pop_front() else { panic!("{ids:?} were not hastened") };
                    assert!(wanted.iter().all(|(id, epoch)| self.shadow.may_have_epoch(id, *epoch)), "{wanted:?}");
                    let mut really: Vec<_> = wanted.iter().map(|(id, _)| id.clone()).collect();
                    ids.sort();
                    really.sort();
                    assert_eq!(really, ids, "whose verification is hastened");
                    self.trace.met("a hastened verification");
                    self.to_verifier.push_back(ToVerifier::Hasten(wanted));
                }
                Expected::GivesUpItsPlace(waiter, look) => {
                    self.trace.met(match look {
                        Look::Granted { .. } => "a place given up for another endpoint",
                        Look::Waits { .. } | Look::Refused(_) => "a place given up for another client",
                    });
                    self.ends_waiting(&waiter, look, told);
                }
            }
        }
    }

    /// A worker is given a lease that it asked for.
    pub(crate) fn granted(&mut self, grant: Grant, ask: &Ask, ids: &[EndpointId], binds: bool, taker: Taker) {
        let id = &grant.ticket.endpoint;
        assert!(ids.contains(id), "{id} was given out, though it was the turn of {ids:?}");
        assert_eq!(self.shadow.spent(ask, id, self.now), None, "a further retry beyond the budget");
        assert!(grant.gate.is_at(grant.ticket.epoch), "a lease came with a closed gate");
        assert_eq!(grant.endpoint.id, *id);
        if let Some(own) = self.shadow.own_if_free(ask, self.now) {
            assert_eq!(*id, own, "a session was not given its own endpoint");
            self.trace.met("a session at its own endpoint");
            if self.shadow.is_elsewhere_with_its_latest_model(ask, id) {
                self.trace.met("a session with its models at two endpoints");
            }
        }
        self.shadow.granted(ask, &grant.ticket, binds, self.now);
        let (journey, abandoned) = match taker {
            Taker::Journey(journey) => (Some(journey), false),
            Taker::Nobody => (None, false),
            Taker::WhoHasLeft => (None, true),
        };
        self.leases.push(Lease { grant, model: ask.model.clone(), written_at: None, abandoned, journey });
        if let Some(journey) = journey {
            self.journey_granted(journey);
        }
    }
}
