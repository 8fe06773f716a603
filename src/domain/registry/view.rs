//! The registry's state as routes and tests see it: a cheap copy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::cooling::{Cooldown, is_exhausted};
use super::super::endpoint::SharedEndpoint;
use super::super::health::Ease;
use super::super::ids::{EndpointId, Epoch, ProfileId};
use super::super::queues::{Isolation, Member, Standing, Switch};
use super::super::time::Moment;
use super::{RegistryCore, Supplies};

/// One cooldown at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CooldownView {
    /// The model; `None` for requests that name none.
    pub model: Option<Arc<str>>,
    /// When it began, when it ends, and why.
    pub cooldown: Cooldown,
    /// Whether it is a used-up window.
    pub exhausted: bool,
}

/// One endpoint at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointView {
    /// Its definition.
    pub endpoint: SharedEndpoint,
    /// Where it stands.
    pub standing: Standing,
    /// The admin's switch, if it overrules the settings.
    pub overruled: Option<Switch>,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its attempts under way.
    pub in_flight: u32,
    /// Its isolation until it recovers, even if it was switched off meanwhile.
    pub isolation: Option<Isolation>,
    /// The weight used for the choice; 0 while no traffic reaches it.
    pub effective_weight: f64,
    /// Whether it has recovered and its share is still growing.
    pub slow_start: bool,
    /// Whether the verdict on a failure is awaited.
    pub held: bool,
    /// Whether it has ever passed a verification or served a request.
    pub proven: bool,
    /// Its cooldowns.
    pub cooldowns: Vec<CooldownView>,
}

/// All endpoints at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistryView {
    /// In the order of their ids.
    pub endpoints: Vec<EndpointView>,
    /// How many attempts were sent to an isolated endpoint.
    pub leaks: u64,
    /// The endpoint that served the latest answer.
    pub last_served: Option<EndpointId>,
    /// How many requests wait, parked or for a verdict.
    pub waiting: usize,
    /// How many of these are parked.
    pub parked: usize,
    /// How many sessions are bound.
    pub sessions: usize,
}

impl RegistryView {
    /// The supply of each profile.
    pub fn supplies(&self) -> BTreeMap<ProfileId, Supplies> {
        let mut of_each = BTreeMap::<ProfileId, Supplies>::new();
        for EndpointView { endpoint, standing, .. } in &self.endpoints {
            for profile in &endpoint.profiles {
                of_each.entry(profile.clone()).or_default().add(endpoint, *standing);
            }
        }
        of_each
    }
}

impl EndpointView {
    /// How much of its share it takes.
    pub fn ease(&self) -> Ease {
        if self.cooldowns.iter().any(|cooldown| cooldown.exhausted) {
            Ease::Exhausted
        } else if !self.cooldowns.is_empty() {
            Ease::Cooling
        } else if self.slow_start {
            Ease::SlowStart
        } else {
            Ease::Whole
        }
    }
}

impl RegistryCore {
    /// A copy of the state.
    pub fn view(&self, now: Moment) -> RegistryView {
        RegistryView {
            endpoints: self.queues.iter().map(|member| self.shown(member, now)).collect(),
            leaks: self.audit.leaks(),
            last_served: self.last_served.and_then(|slot| self.queues.name(slot)).cloned(),
            waiting: self.waiting(),
            parked: self.waiters.parked(),
            sessions: self.sessions.count(now, &self.policy.affinity),
        }
    }

    /// The endpoint of this name, as [`Self::view`] shows it.
    pub fn view_of(&self, id: &EndpointId, now: Moment) -> Option<EndpointView> {
        self.queues.get(id).map(|member| self.shown(member, now))
    }

    /// How many endpoints are in their home queues.
    pub fn usable(&self) -> usize {
        self.queues.iter().filter(|member| member.is_home()).count()
    }

    /// The admin's switches that overrule the settings.
    pub fn overruled(&self) -> impl Iterator<Item = (&EndpointId, Switch)> {
        self.queues.iter().filter_map(|member| {
            let endpoint = member.endpoint();
            Some((&endpoint.id, self.queues.overruled(endpoint)?))
        })
    }

    /// All known names: of endpoints, and of services that left while they were isolated.
    pub fn known(&self) -> BTreeSet<EndpointId> {
        let present = self.queues.iter().map(|member| &member.endpoint().id);
        present.chain(self.queues.departed().map(|(id, _)| id)).cloned().collect()
    }

    fn cooldowns(&self, member: &Member, now: Moment) -> Vec<CooldownView> {
        let Some(cooling) = self.cooling.get(member.slot()) else { return Vec::new() };
        let view = |(model, cooldown): (Option<&Arc<str>>, Cooldown)| CooldownView {
            model: model.cloned(),
            exhausted: is_exhausted(&cooldown, &self.policy.cooling),
            cooldown,
        };
        cooling.all(now).map(view).collect()
    }

    fn shown(&self, member: &Member, now: Moment) -> EndpointView {
        let standing = member.standing();
        let takes_traffic = matches!(standing, Standing::Primary | Standing::Secondary);
        let recovering = |at| now.since(at) < self.policy.slow_start;
        EndpointView {
            endpoint: member.endpoint().clone(),
            standing,
            overruled: self.queues.overruled(member.endpoint()),
            epoch: member.epoch(),
            in_flight: self.leases.in_flight(member.slot()),
            isolation: member.quarantine().cloned(),
            effective_weight: if takes_traffic { self.effective_weight(member, now) } else { 0.0 },
            slow_start: member.recovered().is_some_and(recovering),
            held: member.is_held(),
            proven: member.is_proven(),
            cooldowns: self.cooldowns(member, now),
        }
    }
}
