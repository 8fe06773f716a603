//! The queues: the single source of truth about every endpoint's standing.
//!
//! Only [`Queues::isolate`], [`Queues::restore`], [`Queues::set_enabled`] and [`Queues::apply`] change it. With each change the
//! endpoint gets a fresh epoch, so that whatever was under way before is stale afterwards.

mod member;
mod members;
mod past;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub use member::{Doubted, Evidence, Fault, Isolation, Member, Standing, Switch};
pub use past::{Departed, Switched, Was};

use member::{Place, Proven, Returned};
use members::Members;
use past::{Before, Departures};

use super::challenge::RecoveryProof;
use super::endpoint::{Auth, Endpoint, SharedEndpoint};
use super::epoch::{EpochClock, EpochGate, EpochReader};
use super::ids::{EndpointId, Epoch, Serial};
use super::memory::{Salt, ServiceDigest};
use super::outcome::Reason;
use super::schedule::{Suffices, Urgency};
use super::slots::Slot;
use super::time::Moment;
use super::topology::{Topology, TopologyDiff};

/// Why an endpoint can't be switched on or off, or isolated by an admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// No endpoint has this id.
    #[error("no endpoint has this id; the stats route lists them")]
    Unknown,
    /// Its credential could not be read when the settings were loaded.
    #[error("its credential is missing; set it in the settings and reload them")]
    NoCredential,
    /// It is switched off, so there is nothing to isolate.
    #[error("it is disabled; no request reaches it")]
    Disabled,
}

/// All endpoints with their places.
#[derive(Debug, Default)]
pub struct Queues {
    members: Members,
    topology: Arc<Topology>,
    departed: Departures,
    /// What is known of endpoints from before the start; taken up when they first come.
    before: Before,
    /// The endpoints that an admin has switched off, which outlives reloads and restarts.
    switched_off: BTreeSet<EndpointId>,
    /// The endpoints that an admin has switched on although the settings disable them.
    switched_on: BTreeSet<EndpointId>,
    salt: Salt,
    clock: EpochClock,
}

impl Queues {
    /// An independent copy, with its own clock and gates.
    #[must_use]
    pub fn fork(&self) -> Self {
        let Self { members, topology, departed, before, switched_off, switched_on, salt, clock } = self;
        Self {
            members: members.fork(),
            topology: Arc::clone(topology),
            departed: departed.clone(),
            before: before.clone(),
            switched_off: switched_off.clone(),
            switched_on: switched_on.clone(),
            salt: *salt,
            clock: clock.fork(),
        }
    }

    /// Every endpoint, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// The endpoint of this name.
    pub fn get(&self, id: &EndpointId) -> Option<&Member> {
        self.members.get(id)
    }

    /// The slot of this name, if there is or ever was an endpoint of this name.
    pub fn slot(&self, id: &EndpointId) -> Option<Slot> {
        self.members.slot(id)
    }

    /// The name that has this slot.
    pub fn name(&self, slot: Slot) -> Option<&EndpointId> {
        self.members.name(slot)
    }

    /// The endpoint of this slot.
    pub fn at(&self, slot: Slot) -> Option<&Member> {
        self.members.at(slot)
    }

    /// Takes up what is known from before the start. The endpoints come with the first [`Self::apply`]. `others` is given if that
    /// knowledge is incomplete: the isolation of all endpoints that were not isolated.
    pub fn remember(
        &mut self,
        salt: Salt,
        places: BTreeMap<EndpointId, (ServiceDigest, Was)>,
        others: Option<Isolation>,
        departed: Vec<(EndpointId, Departed)>,
        switched: Switched,
    ) {
        self.salt = salt;
        self.before = Before { places, others };
        self.departed = Departures::new(departed);
        (self.switched_off, self.switched_on) = (switched.off, switched.on);
    }

    /// Begins without knowledge from before the start. If that is `lost`, every endpoint of the first [`Self::apply`] gets this
    /// isolation, until it has proved itself.
    pub fn begin(&mut self, salt: Salt, lost: Option<Isolation>) {
        self.salt = salt;
        self.before = Before { places: BTreeMap::new(), others: lost };
    }

    /// The salt of the digests by which kept services are identified.
    pub fn salt(&self) -> Salt {
        self.salt
    }

    /// What admins have switched off, and what they have switched on against the settings.
    pub fn switched(&self) -> Switched {
        Switched { off: self.switched_off.clone(), on: self.switched_on.clone() }
    }

    /// How an admin's switch overrules the settings for an endpoint. `None` if it does not.
    pub fn overruled(&self, endpoint: &Endpoint) -> Option<Switch> {
        match endpoint.enabled {
            true if self.switched_off.contains(&endpoint.id) => Some(Switch::Off),
            false if self.switched_on.contains(&endpoint.id) && endpoint.auth != Auth::Missing => Some(Switch::On),
            true | false => None,
        }
    }

    /// The endpoints that have failed and not yet recovered; also those of the last run that are still to come.
    pub fn quarantined(&self) -> BTreeSet<EndpointId> {
        let now = self.iter().filter(|member| member.quarantine().is_some()).map(|member| &member.endpoint.id);
        now.chain(self.before.isolated()).cloned().collect()
    }

    /// The services that left the settings while they were isolated, in the order in which they left.
    pub fn departed(&self) -> impl Iterator<Item = (&EndpointId, &Departed)> {
        self.departed.iter()
    }

    /// A reader of the epoch clock for other threads.
    pub fn epochs(&self) -> EpochReader {
        self.clock.reader()
    }

    /// Keeps an endpoint from being given out until the verdict on this failed lease is in. Does nothing and returns `false` if
    /// the lease is of another epoch, or the endpoint is not in its home queue.
    pub fn hold(&mut self, id: &EndpointId, epoch: Epoch, serial: Serial) -> bool {
        match self.members.get_mut(id) {
            Some(Member { epoch: present, place: Place::Home { holds, .. }, .. }) if *present == epoch => {
                holds.insert(serial)
            }
            _ => false,
        }
    }

    /// Ends a hold, whatever the verdict was.
    pub fn release(&mut self, id: &EndpointId, serial: Serial) {
        if let Some(Member { place: Place::Home { holds, .. }, .. }) = self.members.get_mut(id) {
            holds.remove(&serial);
        }
    }

    /// Notes that the endpoint has served a request or passed a test conversation. Returns whether that was not known before.
    pub fn note_proven(&mut self, slot: Slot) -> bool {
        let member = self.members.at_mut(slot);
        member.is_some_and(|member| std::mem::replace(&mut member.proven, Proven::Yes) != Proven::Yes)
    }

    /// Whether to warn that the endpoint has never been known to work: `true` only the first time.
    pub fn take_never_proven_warning(&mut self, id: &EndpointId) -> bool {
        match self.members.get_mut(id) {
            Some(Member { proven: proven @ Proven::No, .. }) => {
                *proven = Proven::NoAndSaid;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Moves an endpoint from its home queue to the failure queue, if it is there in this epoch. Returns its new epoch.
    ///
    /// `slow_start` is how long after a recovery a further isolation counts as a relapse.
    pub fn isolate(
        &mut self,
        id: &EndpointId,
        epoch: Epoch,
        evidence: Evidence,
        now: Moment,
        slow_start: Duration,
    ) -> Option<Epoch> {
        let member = self.members.get_mut(id).filter(|member| member.epoch == epoch)?;
        let Place::Home { recovered, .. } = &member.place else { return None };
        let Evidence { reason, failures, error, model, suffices } = evidence;
        let in_slow_start = recovered.is_some_and(|returned| now.since(returned.at) < slow_start);
        // An isolation by an admin is no relapse: nothing has failed again.
        let relapse = in_slow_start && reason != Reason::Admin;
        let fault = Fault::of(reason, epoch);
        let isolation =
            Isolation { reason, at: now, failures, error, model, relapse, fault, suffices, urgency: Urgency::Delayed };
        Some(enter(&mut self.clock, member, Place::Failure(isolation)))
    }

    /// Moves a verified endpoint back to its home queue, if the proof is of its present isolation. Returns its new epoch
    /// and the isolation that ended.
    pub fn restore(&mut self, proof: &RecoveryProof, now: Moment) -> Option<(Epoch, Isolation)> {
        let member = self.members.get_mut(proof.endpoint()).filter(|member| member.epoch == proof.epoch())?;
        let Place::Failure(isolation) = &member.place else { return None };
        let ended = isolation.clone();
        member.proven = Proven::Yes;
        let recovered = match ended.fault {
            Fault::Settled => Some(Returned { at: now, pardonable: None }),
            Fault::Presumed { ended } => Some(Returned { at: now, pardonable: Some(ended) }),
            Fault::Doubted { .. } => None,
        };
        let back = Place::Home { recovered, holds: BTreeSet::new() };
        Some((enter(&mut self.clock, member, back), ended))
    }

    /// Notes that a failure of this epoch, which may have helped to isolate the endpoint, was perhaps the request's own fault.
    pub fn doubt(&mut self, id: &EndpointId, epoch: Epoch) -> Doubted {
        let Some(member) = self.members.get_mut(id) else { return Doubted::Nothing };
        match &mut member.place {
            Place::Failure(isolation) => match isolation.fault {
                Fault::Presumed { ended } | Fault::Doubted { ended } if ended == epoch => {
                    (isolation.fault, isolation.suffices) = (Fault::Doubted { ended }, Suffices::AnyModel);
                    Doubted::Isolated(member.epoch)
                }
                Fault::Settled | Fault::Presumed { .. } | Fault::Doubted { .. } => Doubted::Nothing,
            },
            Place::Home { recovered, .. } => match recovered.take_if(|returned| returned.pardonable == Some(epoch)) {
                Some(_) => Doubted::Forgiven,
                None => Doubted::Nothing,
            },
            Place::Disabled { .. } => Doubted::Nothing,
        }
    }

    /// Notes that an isolated endpoint has failed a conversation. The verification that was due at once is done,
    /// and no request was the cause of its failures, neither one in doubt now nor one that comes into doubt later.
    pub fn note_failed(&mut self, id: &EndpointId, epoch: Epoch) {
        if let Some(Member { place: Place::Failure(isolation), .. }) =
            self.members.get_mut(id).filter(|member| member.epoch == epoch)
        {
            (isolation.fault, isolation.urgency) = (Fault::Settled, Urgency::Delayed);
        }
    }

    /// Switches an endpoint on or off. If it was isolated when it was switched off, it is isolated when it is switched on again.
    /// Returns its new epoch, or `None` if nothing changes.
    ///
    /// # Errors
    ///
    /// [`SwitchError`] if there is no such endpoint, or it can't be switched on.
    pub fn set_enabled(&mut self, id: &EndpointId, enabled: bool) -> Result<Option<Epoch>, SwitchError> {
        let member = self.members.get_mut(id).ok_or(SwitchError::Unknown)?;
        if enabled && member.endpoint.auth == Auth::Missing {
            return Err(SwitchError::NoCredential);
        }
        if enabled {
            self.switched_off.remove(id);
            if !member.endpoint.enabled {
                self.switched_on.insert(id.clone());
            }
        } else {
            self.switched_on.remove(id);
            self.switched_off.insert(id.clone());
        }
        Ok(switch(&mut self.clock, member, enabled))
    }

    /// Takes over a new set of endpoints. Those that stay keep their standing, as far as their new definition allows.
    pub fn apply(&mut self, next: Arc<Topology>) -> TopologyDiff {
        let diff = self.topology.diff(&next);
        for id in &diff.removed {
            self.remove(id);
        }
        for endpoint in diff.changed.iter().filter_map(|id| next.get(id)) {
            self.redefine(endpoint);
        }
        for endpoint in diff.added.iter().filter_map(|id| next.get(id)) {
            self.add(endpoint);
        }
        // Endpoints of the last run that have not come by now are out of the settings.
        for (id, (service, was)) in std::mem::take(&mut self.before).places {
            if let Was::Isolated(isolation) = was {
                self.departed.leave(&id, service, Some(isolation));
            }
        }
        self.topology = next;
        diff
    }

    fn remove(&mut self, id: &EndpointId) {
        let Some(mut member) = self.members.remove(id) else { return };
        let isolation = member.quarantine().cloned();
        // A fresh epoch moves the gate, so that a lease whose request is not yet written is withdrawn.
        enter(&mut self.clock, &mut member, Place::Disabled { recovered: None, beneath: None });
        let service = ServiceDigest::of(&member.endpoint, self.salt);
        self.departed.leave(id, service, isolation);
    }

    /// Whether an endpoint is enabled, by the settings or an admin's switch. Switching on is forgotten if the settings do so too.
    fn resolve_enabled(&mut self, endpoint: &SharedEndpoint) -> bool {
        if endpoint.enabled {
            self.switched_on.remove(&endpoint.id);
        }
        let by_settings = endpoint.enabled || self.switched_on.contains(&endpoint.id);
        by_settings && endpoint.auth != Auth::Missing && !self.switched_off.contains(&endpoint.id)
    }

    fn redefine(&mut self, endpoint: &SharedEndpoint) {
        let enabled = self.resolve_enabled(endpoint);
        let service = ServiceDigest::of(endpoint, self.salt);
        let Some(member) = self.members.get_mut(&endpoint.id) else { return };
        let before = std::mem::replace(&mut member.endpoint, Arc::clone(endpoint));
        let other_service = !before.same_service(endpoint);
        if other_service {
            member.proven = Proven::No;
            self.departed.leave(&endpoint.id, ServiceDigest::of(&before, self.salt), member.quarantine().cloned());
            // It may be a service that left while it was isolated.
            let place = member.place.of_another_service(self.departed.take(&endpoint.id, service));
            enter(&mut self.clock, member, place);
        } else if let Place::Home { recovered, .. } = member.place
            && before.home != endpoint.home
        {
            enter(&mut self.clock, member, Place::Home { recovered, holds: BTreeSet::new() });
        }
        switch(&mut self.clock, member, enabled);
    }

    fn add(&mut self, endpoint: &SharedEndpoint) {
        let was = self.was_before(endpoint);
        let place = match (self.resolve_enabled(endpoint), was) {
            (true, Some(Was::Isolated(isolation))) => Place::Failure(isolation),
            (false, Some(Was::Isolated(isolation))) => Place::Disabled { recovered: None, beneath: Some(isolation) },
            (enabled, was) => {
                let recovered = was.and_then(Was::returned);
                if enabled {
                    Place::Home { recovered, holds: BTreeSet::new() }
                } else {
                    Place::Disabled { recovered, beneath: None }
                }
            }
        };
        let epoch = self.clock.draw();
        let gate = EpochGate::new(epoch);
        self.clock.announce(epoch);
        let slot = self.members.give_slot(&endpoint.id);
        let member = Member { slot, endpoint: Arc::clone(endpoint), epoch, gate, place, proven: Proven::No };
        self.members.insert(member);
    }

    /// Where a new endpoint was before: at the end of the last run, or when it left the settings.
    fn was_before(&mut self, endpoint: &SharedEndpoint) -> Option<Was> {
        let service = ServiceDigest::of(endpoint, self.salt);
        let departed = self.departed.take(&endpoint.id, service);
        let others = self.before.others.clone().map(Was::Isolated);
        match self.before.places.remove(&endpoint.id) {
            Some((same, was @ Was::Isolated(_))) if same == service => return Some(was),
            Some((same, was @ Was::Recovered(_))) if same == service => return Some(others.unwrap_or(was)),
            // Its URL or key has changed: it stays isolated, and is verified at once.
            Some((earlier, Was::Isolated(isolation))) => {
                self.departed.leave(&endpoint.id, earlier, Some(isolation.clone()));
                return Some(Was::Isolated(Isolation { urgency: Urgency::AtOnce, ..isolation }));
            }
            Some((_, Was::Recovered(_))) | None => {}
        }
        departed.map(Was::Isolated).or(others)
    }
}

/// Sets an endpoint's place, as nothing else does: with a fresh epoch, and the gate moved before the epoch is announced.
fn enter(clock: &mut EpochClock, member: &mut Member, place: Place) -> Epoch {
    let epoch = clock.draw();
    member.place = place;
    member.epoch = epoch;
    member.gate.move_to(epoch);
    clock.announce(epoch);
    epoch
}

fn switch(clock: &mut EpochClock, member: &mut Member, enabled: bool) -> Option<Epoch> {
    let place = match (&member.place, enabled) {
        (Place::Home { recovered, .. }, false) => Place::Disabled { recovered: *recovered, beneath: None },
        (Place::Failure(isolation), false) => Place::Disabled { recovered: None, beneath: Some(isolation.clone()) },
        (Place::Disabled { recovered, beneath: None }, true) => {
            Place::Home { recovered: *recovered, holds: BTreeSet::new() }
        }
        (Place::Disabled { beneath: Some(isolation), .. }, true) => Place::Failure(isolation.clone()),
        (Place::Home { .. } | Place::Failure(_), true) | (Place::Disabled { .. }, false) => return None,
    };
    Some(enter(clock, member, place))
}
