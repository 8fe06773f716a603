//! What the registry promises, written down as plainly as possible: no epochs compared in passing, no ranks prepared, no
//! effects. Each input says what must be so afterwards, and [`Shadow::compare`] holds the real state against it.

use std::collections::{BTreeMap, BTreeSet};

use qcc_gateway::domain::breaker::Judgement;
use qcc_gateway::domain::endpoint::{Auth, Endpoint, Home};
use qcc_gateway::domain::ids::{EndpointId, Epoch, ProfileId, Serial, Ticket};
use qcc_gateway::domain::outcome::{Outcome, Reason};
use qcc_gateway::domain::queues::{Standing, SwitchError};
use qcc_gateway::domain::registry::{Ask, NoEndpoint, RegistryView, Service};
use qcc_gateway::domain::time::Moment;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Home,
    Isolated(Reason),
    Off { isolated_for: Option<Reason> },
}

struct Plain {
    definition: Endpoint,
    place: Place,
    epoch: Epoch,
    /// Whether the present input must give it a fresh epoch.
    moved: bool,
    /// Its failed leases of the present epoch whose verdict is not in.
    holds: BTreeSet<Serial>,
}

impl Plain {
    fn new(definition: &Endpoint, enabled: bool, isolated_for: Option<Reason>) -> Self {
        let place = match (enabled, isolated_for) {
            (false, isolated_for) => Place::Off { isolated_for },
            (true, Some(reason)) => Place::Isolated(reason),
            (true, None) => Place::Home,
        };
        let definition = definition.clone();
        Self { definition, place, epoch: Epoch::NONE, moved: true, holds: BTreeSet::new() }
    }

    fn go(&mut self, place: Place) {
        self.place = place;
        self.moved = true;
        self.holds.clear();
    }

    fn isolated_for(&self) -> Option<Reason> {
        match self.place {
            Place::Home => None,
            Place::Isolated(reason) => Some(reason),
            Place::Off { isolated_for } => isolated_for,
        }
    }

    fn switch(&mut self, on: bool) -> bool {
        let place = match (self.place, on) {
            (Place::Off { isolated_for: Some(reason) }, true) => Place::Isolated(reason),
            (Place::Off { isolated_for: None }, true) => Place::Home,
            (Place::Home | Place::Isolated(_), false) => Place::Off { isolated_for: self.isolated_for() },
            (Place::Home | Place::Isolated(_), true) | (Place::Off { .. }, false) => return false,
        };
        self.go(place);
        true
    }

    fn standing(&self) -> Standing {
        match (self.place, self.definition.home) {
            (Place::Home, Home::Primary) => Standing::Primary,
            (Place::Home, Home::Secondary) => Standing::Secondary,
            (Place::Isolated(_), _) => Standing::Failure,
            (Place::Off { .. }, _) => Standing::Disabled,
        }
    }
}

/// What a request must be answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    OneOf(Vec<EndpointId>),
    Wait,
    No(NoEndpoint),
}

#[derive(Default)]
pub(crate) struct Shadow {
    endpoints: BTreeMap<EndpointId, Plain>,
    /// What left the settings while it was isolated.
    departed: BTreeMap<EndpointId, Vec<(Endpoint, Reason)>>,
    /// What an admin has switched off.
    switched_off: BTreeSet<EndpointId>,
    open: BTreeMap<Serial, Ticket>,
    awaited: BTreeSet<Serial>,
    newest_epoch: Epoch,
}

impl Shadow {
    /// New settings. Tells whether one has come back that left while it was isolated.
    pub(crate) fn apply(&mut self, next: &BTreeMap<EndpointId, Endpoint>) -> bool {
        let mut remembered = false;
        let gone: Vec<EndpointId> = self.endpoints.keys().filter(|id| !next.contains_key(*id)).cloned().collect();
        for id in gone {
            let plain = self.endpoints.remove(&id).unwrap();
            let reason = plain.isolated_for();
            let past = self.departed.entry(id).or_default();
            past.retain(|(earlier, _)| !earlier.same_service(&plain.definition));
            past.extend(reason.map(|reason| (plain.definition, reason)));
        }
        for (id, definition) in next {
            match self.endpoints.get_mut(id) {
                Some(plain) if plain.definition == *definition => {}
                Some(plain) => {
                    let same_service = plain.definition.same_service(definition);
                    if !same_service || plain.definition.home != definition.home {
                        plain.go(plain.place);
                    }
                    plain.definition = definition.clone();
                    plain.switch(definition.enabled && !self.switched_off.contains(id));
                }
                None => {
                    let past = self.departed.entry(id.clone()).or_default();
                    let same = past.iter().position(|(departed, _)| departed.same_service(definition));
                    let isolated_for = same.map(|index| past.remove(index).1);
                    remembered |= isolated_for.is_some();
                    let enabled = definition.enabled && !self.switched_off.contains(id);
                    self.endpoints.insert(id.clone(), Plain::new(definition, enabled, isolated_for));
                }
            }
        }
        remembered
    }

    pub(crate) fn set_enabled(&mut self, id: &EndpointId, on: bool) -> Result<bool, SwitchError> {
        let plain = self.endpoints.get_mut(id).ok_or(SwitchError::Unknown)?;
        if on && plain.definition.auth == Auth::Missing {
            return Err(SwitchError::NoCredential);
        }
        if on {
            self.switched_off.remove(id)
        } else {
            self.switched_off.insert(id.clone())
        };
        Ok(plain.switch(on))
    }

    pub(crate) fn isolate_by_admin(&mut self, id: &EndpointId) -> Result<bool, SwitchError> {
        let plain = self.endpoints.get_mut(id).ok_or(SwitchError::Unknown)?;
        match plain.place {
            Place::Off { .. } => Err(SwitchError::Disabled),
            Place::Isolated(_) => Ok(false),
            Place::Home => {
                plain.go(Place::Isolated(Reason::Admin));
                Ok(true)
            }
        }
    }

    /// A lease ends. Tells whether the breakers must hear of it.
    pub(crate) fn settle(&mut self, ticket: &Ticket, outcome: Outcome) -> bool {
        let is_first = self.open.remove(&ticket.serial).is_some();
        if !is_first || !self.is_in_service(ticket) {
            return false;
        }
        match outcome {
            Outcome::Success => true,
            Outcome::Failure(_) | Outcome::Fatal(_) => {
                self.endpoints.get_mut(&ticket.endpoint).unwrap().holds.insert(ticket.serial);
                self.awaited.insert(ticket.serial);
                true
            }
            Outcome::Neutral | Outcome::Cancelled => false,
        }
    }

    /// A verdict comes in. Tells whether it must isolate.
    pub(crate) fn judge(&mut self, ticket: &Ticket, judgement: Judgement) -> bool {
        if !self.awaited.remove(&ticket.serial) || !self.is_in_service(ticket) {
            return false;
        }
        let plain = self.endpoints.get_mut(&ticket.endpoint).unwrap();
        plain.holds.remove(&ticket.serial);
        match judgement {
            Judgement::Keep => false,
            Judgement::Trip { reason, .. } => {
                plain.go(Place::Isolated(reason));
                true
            }
        }
    }

    pub(crate) fn awaits(&self, serial: Serial) -> bool {
        self.awaited.contains(&serial)
    }

    /// A code has come back. Tells whether it must restore.
    pub(crate) fn restore(&mut self, id: &EndpointId, epoch: Epoch) -> bool {
        match self.endpoints.get_mut(id) {
            Some(plain) if plain.epoch == epoch && matches!(plain.place, Place::Isolated(_)) => {
                plain.go(Place::Home);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Whether a lease's endpoint is where it was when the lease was given, so that it may be written and its end counts.
    pub(crate) fn is_in_service(&self, ticket: &Ticket) -> bool {
        self.endpoints
            .get(&ticket.endpoint)
            .is_some_and(|plain| plain.epoch == ticket.epoch && !plain.moved && plain.place == Place::Home)
    }

    pub(crate) fn granted(&mut self, ticket: &Ticket) {
        let plain = &self.endpoints[&ticket.endpoint];
        assert!(plain.place == Place::Home && plain.holds.is_empty(), "{} was given out", ticket.endpoint);
        // While an input is being carried out, the fresh epoch is not yet known here.
        assert!(if plain.moved { ticket.epoch > plain.epoch } else { ticket.epoch == plain.epoch }, "{ticket:?}");
        assert!(self.open.insert(ticket.serial, ticket.clone()).is_none(), "a lease's number came twice");
    }

    pub(crate) fn open_leases(&self, id: &EndpointId) -> u32 {
        u32::try_from(self.open.values().filter(|ticket| ticket.endpoint == *id).count()).unwrap()
    }

    /// What a request must be answered at this moment.
    pub(crate) fn answer(&self, ask: &Ask, now: Moment) -> Answer {
        if now >= ask.deadline {
            return Answer::No(NoEndpoint::TooLate);
        }
        let mut fit: Vec<&Plain> = self.endpoints.values().filter(|plain| fits(&plain.definition, ask)).collect();
        fit.sort_by_key(|plain| rank(plain));
        let at_home = |plain: &Plain| plain.place == Place::Home;
        let given_up = |plain: &Plain| ask.given_up.contains(&plain.definition.id);
        let held = |plain: &Plain| !plain.holds.is_empty();
        let full = |plain: &Plain| {
            let most = plain.definition.max_in_flight;
            most.is_some_and(|most| self.open_leases(&plain.definition.id) >= most.get())
        };
        let wanted: Vec<&Plain> =
            fit.iter().copied().filter(|p| at_home(p) && !given_up(p) && p.definition.weight > 0).collect();
        let candidates: Vec<&Plain> = wanted.iter().copied().filter(|p| held(p) || !full(p)).collect();
        if let Some(best) = candidates.first() {
            let considered: Vec<&Plain> = match ask.service {
                Service::Other => vec![best],
                Service::Llm(_) => candidates.iter().copied().filter(|p| rank(p) == rank(best)).collect(),
            };
            let free: Vec<_> =
                considered.iter().filter(|plain| !held(plain)).map(|plain| plain.definition.id.clone()).collect();
            return if free.is_empty() { Answer::Wait } else { Answer::OneOf(free) };
        }
        let isolated: Vec<&Plain> =
            fit.iter().copied().filter(|plain| matches!(plain.place, Place::Isolated(_))).collect();
        Answer::No(if !wanted.is_empty() {
            NoEndpoint::Full { usable: wanted.len() }
        } else if fit.iter().any(|plain| at_home(plain) && given_up(plain)) {
            NoEndpoint::GivenUp
        } else if !isolated.is_empty() {
            NoEndpoint::Isolated {
                isolated: isolated.iter().map(|plain| plain.definition.id.clone()).collect(),
                total: fit.len(),
                needs_operator: isolated.iter().all(|plain| plain.isolated_for().is_some_and(Reason::needs_operator)),
            }
        } else if !fit.is_empty() {
            NoEndpoint::SwitchedOff { total: fit.len() }
        } else if self.endpoints.values().any(|plain| serves_path(&plain.definition, ask)) {
            NoEndpoint::ModelUnserved
        } else {
            NoEndpoint::PathUnserved
        })
    }

    /// Whether there is a verdict that this request may wait for.
    pub(crate) fn has_reason_to_wait(&self, ask: &Ask) -> bool {
        self.endpoints.values().any(|plain| fits(&plain.definition, ask) && !plain.holds.is_empty())
    }

    /// How many endpoints a profile has, how many are in their home queues, and how many are isolated.
    pub(crate) fn summary(&self, profile: &ProfileId) -> (usize, usize, usize) {
        let members = || self.endpoints.values().filter(|plain| plain.definition.in_profile(profile));
        let isolated = members().filter(|plain| matches!(plain.place, Place::Isolated(_))).count();
        (members().count(), members().filter(|plain| plain.place == Place::Home).count(), isolated)
    }

    pub(crate) fn isolated(&self) -> Vec<EndpointId> {
        let isolated = self.endpoints.iter().filter(|(_, plain)| matches!(plain.place, Place::Isolated(_)));
        isolated.map(|(id, _)| id.clone()).collect()
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.open.is_empty() && self.awaited.is_empty() && self.endpoints.values().all(|plain| plain.holds.is_empty())
    }

    /// Holds the real state against this one, and takes over the epochs: fresh where something moved, else the same.
    pub(crate) fn compare(&mut self, real: &RegistryView) {
        assert_eq!(real.leaks, 0, "something was written to an isolated endpoint");
        let named: Vec<&EndpointId> = real.endpoints.iter().map(|view| &view.endpoint.id).collect();
        assert_eq!(named, self.endpoints.keys().collect::<Vec<_>>());
        let newest_before = self.newest_epoch;
        for view in &real.endpoints {
            let id = &view.endpoint.id;
            let open = self.open_leases(id);
            let plain = self.endpoints.get_mut(id).unwrap();
            assert_eq!(view.standing, plain.standing(), "standing of {id}");
            assert_eq!(*view.endpoint, plain.definition, "definition of {id}");
            assert_eq!(view.held, !plain.holds.is_empty(), "hold of {id}");
            assert_eq!(view.in_flight, open, "in flight of {id}");
            if std::mem::take(&mut plain.moved) {
                assert!(view.epoch > newest_before, "{id} moved without an epoch of its own");
            } else {
                assert_eq!(view.epoch, plain.epoch, "{id} did not move");
            }
            plain.epoch = view.epoch;
            self.newest_epoch = self.newest_epoch.max(view.epoch);
        }
    }
}

fn serves_path(endpoint: &Endpoint, ask: &Ask) -> bool {
    let speaks = match ask.service {
        Service::Llm(protocol) => endpoint.protocol == protocol,
        Service::Other => true,
    };
    endpoint.in_profile(&ask.profile) && speaks
}

fn fits(endpoint: &Endpoint, ask: &Ask) -> bool {
    serves_path(endpoint, ask) && endpoint.models.serves(ask.model.as_deref())
}

fn rank(plain: &Plain) -> (Home, u8) {
    (plain.definition.home, plain.definition.priority)
}
