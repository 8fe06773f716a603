//! What the registry promises, written down as plainly as possible: no epochs compared in passing, no ranks prepared, no
//! effects. Each input says what must be so afterwards, and [`Shadow::compare`] holds the real state against it.

mod compare;
mod opinions;
mod plain;
mod restart;
mod rests;
mod search;
mod settings;
mod waiters;

use std::collections::{BTreeMap, BTreeSet};

use qcc_gateway::domain::breaker::Ruling;
use qcc_gateway::domain::endpoint::{Endpoint, Protocol};
use qcc_gateway::domain::ids::{EndpointId, Epoch, ProfileId, Serial, Ticket};
use qcc_gateway::domain::outcome::{ErrorNote, Outcome, Reason, Report};
use qcc_gateway::domain::queues::SwitchError;
use qcc_gateway::domain::registry::RegistryPolicy;
use qcc_gateway::domain::sessions::{Origin, SessionKey};
use qcc_gateway::domain::time::Moment;

use opinions::Opinions;
use plain::{Cause, Place, Plain, Quarantine};
pub(crate) use rests::Announced;
use rests::{Leads, Rests};
pub(crate) use search::Finding;
use waiters::Counted;
pub(crate) use waiters::{Expected, Look, Spent, Waiter};

/// Where a session is at home with one of its models.
struct Bond {
    endpoint: EndpointId,
    used: Moment,
    has_served: bool,
}

/// A lease that is not settled.
struct Open {
    ticket: Ticket,
    origin: Origin,
    since: Moment,
}

/// What the verifier has told of an isolated endpoint.
#[derive(Clone, Copy)]
struct Told {
    epoch: Epoch,
    began: Moment,
    next: Moment,
}

/// What must follow from a settlement.
#[derive(Default)]
pub(crate) struct Settled {
    pub(crate) observed: bool,
    pub(crate) isolated: bool,
    /// What is announced of a cooldown, if anything.
    pub(crate) announced: Option<Announced>,
    /// How often those who wait must be looked at.
    pub(crate) looks: usize,
}

pub(crate) struct Shadow {
    policy: RegistryPolicy,
    endpoints: BTreeMap<EndpointId, Plain>,
    /// What left the settings while it was isolated.
    departed: BTreeMap<EndpointId, Vec<(Endpoint, Quarantine)>>,
    /// What an admin has switched off.
    switched_off: BTreeSet<EndpointId>,
    /// What an admin has switched on although the settings have it off.
    switched_on: BTreeSet<EndpointId>,
    open: BTreeMap<Serial, Open>,
    /// The failures whose verdict is not in, and what was seen of each.
    awaited: BTreeMap<Serial, Option<ErrorNote>>,
    newest_epoch: Epoch,
    rests: BTreeMap<EndpointId, Rests>,
    opinions: Opinions,
    sessions: BTreeMap<(SessionKey, rests::Model), Bond>,
    /// The model that each session was given an endpoint for last.
    latest_models: BTreeMap<SessionKey, rests::Model>,
    told: BTreeMap<EndpointId, Told>,
    /// Whose verification was hastened in its present epoch and has not been held since.
    hastened: BTreeSet<EndpointId>,
    waiters: Vec<Waiter>,
    /// How many of them were parked at the latest look.
    parked_before: usize,
    /// First turns, and further retries.
    turns: Vec<Counted>,
    /// The gateway is stopping: nobody is parked any more.
    stopping: bool,
}

impl Shadow {
    pub(crate) fn new(policy: RegistryPolicy) -> Self {
        Self {
            policy,
            endpoints: BTreeMap::new(),
            departed: BTreeMap::new(),
            switched_off: BTreeSet::new(),
            switched_on: BTreeSet::new(),
            open: BTreeMap::new(),
            awaited: BTreeMap::new(),
            newest_epoch: Epoch::NONE,
            rests: BTreeMap::new(),
            opinions: Opinions::default(),
            sessions: BTreeMap::new(),
            latest_models: BTreeMap::new(),
            told: BTreeMap::new(),
            hastened: BTreeSet::new(),
            waiters: Vec::new(),
            parked_before: 0,
            turns: Vec::new(),
            stopping: false,
        }
    }

    /// What every move is followed by: questions of before are void.
    fn moved(&mut self, id: &EndpointId) {
        self.opinions.asked.remove(id);
        self.opinions.about_isolated.remove(id);
        self.hastened.remove(id);
    }

    fn isolate(&mut self, id: &EndpointId, cause: Cause, now: Moment) {
        let plain = self.endpoints.get_mut(id).expect("an endpoint that is isolated exists");
        assert!(plain.place == Place::Home, "{id} is isolated from where it is not");
        let in_slow_start = plain.recovered.is_some_and(|(at, _)| now.since(at) < self.policy.slow_start);
        let relapse = in_slow_start && cause.reason != Reason::Admin;
        let quarantine = Quarantine::new(cause, now, plain.epoch, relapse);
        plain.recovered = None;
        plain.go(Place::Isolated(quarantine));
        self.moved(id);
    }

    pub(crate) fn isolate_by_admin(&mut self, id: &EndpointId, now: Moment) -> Result<bool, SwitchError> {
        match self.endpoints.get(id).ok_or(SwitchError::Unknown)?.place {
            Place::Off { .. } => Err(SwitchError::Disabled),
            Place::Isolated(_) => Ok(false),
            Place::Home => {
                self.isolate(id, Cause::of(Reason::Admin, None), now);
                Ok(true)
            }
        }
    }

    /// A lease ends. Tells what must follow.
    pub(crate) fn settle(&mut self, ticket: &Ticket, report: &Report, model: &rests::Model, now: Moment) -> Settled {
        let mut settled = Settled::default();
        let Some(lease) = self.open.remove(&ticket.serial) else { return settled };
        // Only where there may be room now, or less than before, is it of use to who waits.
        let plain = self.endpoints.get(&ticket.endpoint);
        let may_make_room = plain.is_some_and(|plain| plain.definition.max_in_flight.is_some());
        settled.looks = usize::from(may_make_room || report.throttle.is_some());
        let bond = lease.origin.session().and_then(|session| self.sessions.get_mut(&(session, model.clone())));
        if let Some(bond) = bond.filter(|bond| bond.endpoint == ticket.endpoint) {
            bond.used = now;
            bond.has_served |= report.outcome == Outcome::Success;
        }
        if !self.is_in_service(ticket) {
            return settled;
        }
        match report.outcome {
            Outcome::Success => {
                settled.observed = true;
                if let Some(rests) = self.rests.get_mut(&ticket.endpoint) {
                    rests.success(model);
                }
            }
            Outcome::Failure(_) | Outcome::Fatal(_) => {
                settled.observed = true;
                self.endpoints.get_mut(&ticket.endpoint).unwrap().holds.insert(ticket.serial);
                self.awaited.insert(ticket.serial, report.error.clone());
            }
            Outcome::Neutral | Outcome::Cancelled => {
                if let Some(reason) = report.opinion {
                    let cause = Cause::of(reason, report.error.as_ref());
                    self.ask_for_opinion(&ticket.endpoint, ticket.epoch, cause, None, now);
                }
                let Some(throttle) = report.throttle else { return settled };
                let rests = self.rests.entry(ticket.endpoint.clone()).or_default();
                let whose = (lease.origin, lease.since);
                match rests.throttle(model, throttle, whose, now, &self.policy.cooling) {
                    Leads::Nowhere => {}
                    Leads::Rests(announced) => settled.announced = announced,
                    Leads::Isolates => {
                        let cause = Cause::of(Reason::Overloaded, report.error.as_ref());
                        self.isolate(&ticket.endpoint, cause, now);
                        settled.isolated = true;
                        settled.looks = 2;
                    }
                }
            }
        }
        settled
    }

    /// A verdict comes in. Tells whether it must isolate.
    pub(crate) fn judge(&mut self, ticket: &Ticket, ruling: Ruling, now: Moment) -> bool {
        let Some(error) = self.awaited.remove(&ticket.serial) else { return false };
        let doubt = self.opinions.unjudged.remove(&ticket.serial);
        if !self.is_in_service(ticket) {
            return false;
        }
        self.endpoints.get_mut(&ticket.endpoint).unwrap().holds.remove(&ticket.serial);
        match ruling {
            Ruling::Keep => false,
            Ruling::Trip { reason, .. } => {
                self.isolate(&ticket.endpoint, Cause::of(reason, error.as_ref()), now);
                let plain = self.endpoints.get_mut(&ticket.endpoint).unwrap();
                if let (Some(request), Place::Isolated(quarantine)) = (doubt, &mut plain.place)
                    && quarantine.is_for_failures_of(ticket.epoch)
                {
                    // What was in doubt before the verdict stays so.
                    quarantine.doubted = true;
                    self.opinions.about_isolated.entry(ticket.endpoint.clone()).or_default().extend(request);
                }
                true
            }
        }
    }

    pub(crate) fn awaits(&self, serial: Serial) -> bool {
        self.awaited.contains_key(&serial)
    }

    /// A code has come back after so long. Tells whether it must restore.
    pub(crate) fn restore(&mut self, id: &EndpointId, epoch: Epoch, began: Moment, now: Moment) -> bool {
        let Some(plain) = self.endpoints.get_mut(id).filter(|plain| plain.is_in(epoch)) else { return false };
        let Place::Isolated(quarantine) = plain.place else { return false };
        // One whose isolation was in doubt is as if it had never been out.
        plain.recovered = (!quarantine.doubted).then_some((now, quarantine));
        plain.go(Place::Home);
        if let Some(rests) = self.rests.get_mut(id) {
            rests.recover();
        }
        self.opinions.passed(id, epoch, now);
        self.moved(id);
        self.told.insert(id.clone(), Told { epoch, began, next: now });
        true
    }

    /// A verification has failed, and the verifier tells when the next one is due.
    pub(crate) fn still_failing(&mut self, id: &EndpointId, epoch: Epoch, began: Moment, next: Moment) {
        // What its new definition called for has been done.
        if let Some(plain) = self.endpoints.get_mut(id).filter(|plain| plain.is_in(epoch))
            && let Place::Isolated(quarantine) = &mut plain.place
        {
            // It was the endpoint: neither what was doubted nor what will be was a request's doing.
            (quarantine.redefined, quarantine.doubted, quarantine.ended) = (false, false, Epoch::NONE);
            self.opinions.about_isolated.remove(id);
        }
        if self.endpoints.contains_key(id) {
            self.told.insert(id.clone(), Told { epoch, began, next });
            self.hastened.remove(id);
        }
    }

    fn is_home_in(&self, id: &EndpointId, epoch: Epoch) -> bool {
        self.endpoints.get(id).is_some_and(|plain| plain.is_in(epoch) && plain.place == Place::Home)
    }

    /// Whether a lease's endpoint is where it was when the lease was given, so that it may be written and its end counts.
    pub(crate) fn is_in_service(&self, ticket: &Ticket) -> bool {
        self.is_home_in(&ticket.endpoint, ticket.epoch)
    }

    pub(crate) fn open_leases(&self, id: &EndpointId) -> u32 {
        u32::try_from(self.open.values().filter(|open| open.ticket.endpoint == *id).count()).unwrap()
    }

    /// How many endpoints a profile has, how many are in their home queues, and how many are isolated.
    pub(crate) fn summary(&self, profile: &ProfileId) -> (usize, usize, usize) {
        let members = || self.endpoints.values().filter(|plain| plain.definition.in_profile(profile));
        let isolated = members().filter(|plain| plain.isolated().is_some()).count();
        (members().count(), members().filter(|plain| plain.place == Place::Home).count(), isolated)
    }

    /// The protocols of which a profile has endpoints, but none in its home queue: those that are meant to serve, if any is.
    pub(crate) fn lacking(&self, profile: &ProfileId) -> BTreeSet<Protocol> {
        let members = || self.endpoints.values().filter(|plain| plain.definition.in_profile(profile));
        let is_meant = |plain: &&Plain| plain.definition.enabled || !matches!(plain.place, Place::Off { .. });
        let of = |plain: &Plain| plain.definition.protocol;
        let meant: BTreeSet<Protocol> = members().filter(is_meant).map(of).collect();
        let served: BTreeSet<Protocol> = members().filter(|plain| plain.place == Place::Home).map(of).collect();
        let wanted = if meant.is_empty() { members().map(of).collect() } else { meant };
        &wanted - &served
    }

    pub(crate) fn isolated(&self) -> Vec<EndpointId> {
        let isolated = self.endpoints.iter().filter(|(_, plain)| plain.isolated().is_some());
        isolated.map(|(id, _)| id.clone()).collect()
    }

    /// Those that have failed and not recovered, switched off or not.
    pub(crate) fn quarantined(&self) -> Vec<EndpointId> {
        let quarantined = self.endpoints.iter().filter(|(_, plain)| plain.quarantine().is_some());
        quarantined.map(|(id, _)| id.clone()).collect()
    }

    /// The epoch and the definition of one that exists.
    pub(crate) fn known(&self, id: &EndpointId) -> Option<(Epoch, &Endpoint)> {
        self.endpoints.get(id).map(|plain| (plain.epoch, &plain.definition))
    }

    pub(crate) fn is_doubted(&self, id: &EndpointId) -> bool {
        self.endpoints.get(id).and_then(Plain::isolated).is_some_and(|quarantine| quarantine.doubted)
    }

    /// Whether nothing is under way but these leases.
    pub(crate) fn is_at_rest_but_for(&self, stuck: &BTreeSet<Serial>) -> bool {
        self.open.keys().all(|serial| stuck.contains(serial))
            && self.awaited.is_empty()
            && self.endpoints.values().all(|plain| plain.holds.is_empty())
    }
}
