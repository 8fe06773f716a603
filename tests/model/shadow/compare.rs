//! The shadow held against what can be seen of the real state.

use qcc_gateway::domain::conversation::Manner;
use qcc_gateway::domain::ids::{EndpointId, Epoch};
use qcc_gateway::domain::outcome::Reason;
use qcc_gateway::domain::queues::Fault;
use qcc_gateway::domain::registry::{EndpointView, RegistryView};
use qcc_gateway::domain::schedule::{AtHome, Purpose, Recovery, Suffices, Task, Urgency, VerifyJob};
use qcc_gateway::domain::time::Moment;

use super::Shadow;
use super::plain::{Cause, Place, Quarantine};
use super::rests::Model;

/// With whom, what for, in which epoch; and for what, and how it has to be disproved.
type Talk = (EndpointId, Purpose, Epoch, Option<(Reason, Manner)>);

impl Shadow {
    /// Holds the real state against this one, and takes over the epochs: fresh where something moved, else the same.
    pub(crate) fn compare(&mut self, real: &RegistryView, now: Moment) {
        assert_eq!(real.leaks, 0, "something was written to an isolated endpoint");
        assert!(real.endpoints.iter().map(|view| &view.endpoint.id).eq(self.endpoints.keys()), "other endpoints");
        let latest =
            self.latest_models.iter().filter_map(|(session, model)| self.sessions.get(&(*session, model.clone())));
        let bound = latest.filter(|bond| now.since(bond.used) < self.policy.affinity.ttl).count();
        assert_eq!(real.sessions, bound, "bound sessions");
        assert_eq!(real.waiting, self.waiters.len(), "a waiter was forgotten");
        assert_eq!(real.parked, self.parked(), "parked requests");
        let places = self.policy.park_max.max(self.parked_before);
        assert!(real.parked <= places, "more are parked than there are places");
        self.parked_before = real.parked;
        let newest_before = self.newest_epoch;
        for view in &real.endpoints {
            self.compare_endpoint(view, newest_before, now);
        }
    }

    fn compare_endpoint(&mut self, view: &EndpointView, newest_before: Epoch, now: Moment) {
        let id = &view.endpoint.id;
        let open = self.open_leases(id);
        let policy = self.policy;
        let plain = self.endpoints.get_mut(id).unwrap();
        assert_eq!(view.standing, plain.standing(), "standing of {id}");
        assert_eq!(*view.endpoint, plain.definition, "definition of {id}");
        assert_eq!(view.held, !plain.holds.is_empty(), "hold of {id}");
        assert_eq!(view.in_flight, open, "in flight of {id}");
        let isolation = view.isolation.as_ref().map(|isolation| {
            let (ended, doubted) = match isolation.fault {
                Fault::Settled => (Epoch::NONE, false),
                Fault::Presumed { ended } => (ended, false),
                Fault::Doubted { ended } => (ended, true),
            };
            Quarantine {
                cause: Cause::of(isolation.reason, isolation.error.as_ref()),
                since: isolation.at,
                ended,
                relapse: isolation.relapse,
                redefined: isolation.urgency == Urgency::AtOnce,
                doubted,
            }
        });
        assert_eq!(isolation.as_ref(), plain.quarantine(), "isolation of {id}");
        if plain.place == Place::Home {
            let slow = plain.recovered.filter(|(at, _)| now.since(*at) < policy.slow_start);
            assert_eq!(view.slow_start, slow.is_some(), "slow start of {id}");
            let whole = f64::from(plain.definition.weight);
            let has_whole = (view.effective_weight - whole).abs() < 1e-9;
            assert!(has_whole || slow.is_some(), "{id} has no whole share, though it is not in slow start");
        } else {
            assert!(view.effective_weight == 0.0, "{id} has a share of the traffic");
        }
        let shown = self.rests.get(id).map(|rests| rests.shown(now, &policy.cooling)).unwrap_or_default();
        assert_eq!(view.cooldowns, shown, "cooldowns of {id}");
        if std::mem::take(&mut plain.moved) {
            assert!(view.epoch > newest_before, "{id} moved without an epoch of its own");
            if let Some(told) = self.told.get_mut(id).filter(|told| told.epoch == Epoch::NONE) {
                // It was told before a restart.
                told.epoch = view.epoch;
            }
        } else {
            assert_eq!(view.epoch, plain.epoch, "{id} did not move");
        }
        plain.epoch = view.epoch;
        self.newest_epoch = self.newest_epoch.max(view.epoch);
    }

    /// Each isolated endpoint is to be verified, exactly once; of the others those that are asked for their opinion, and
    /// those with a used-up window.
    pub(crate) fn compare_conversations(&self, jobs: &[VerifyJob], now: Moment) {
        let expected: Vec<Talk> = self
            .endpoints
            .iter()
            .filter_map(|(id, plain)| {
                let (purpose, cause) = match plain.place {
                    Place::Isolated(quarantine) => {
                        (Purpose::Recovery, Some((quarantine.cause.reason, quarantine.cause.proof(quarantine.relapse))))
                    }
                    Place::Off { .. } => return None,
                    Place::Home => match self.asked_for(id) {
                        Some(cause) => (Purpose::AtHome(AtHome::Opinion), Some((cause.reason, cause.proof(false)))),
                        None if self.used_up(id, now).is_some() => (Purpose::AtHome(AtHome::EarlyReturn), None),
                        None => return None,
                    },
                };
                Some((id.clone(), purpose, plain.epoch, cause))
            })
            .collect();
        let named = jobs.iter().map(|VerifyJob { subject, task }| {
            let cause = match *task {
                Task::Recovery(Recovery { reason, .. }) | Task::Opinion { reason } => Some((reason, subject.manner)),
                Task::EarlyReturn { .. } => None,
            };
            (subject.endpoint.id.clone(), task.purpose(), subject.epoch, cause)
        });
        assert_eq!(named.collect::<Vec<_>>(), expected, "who is to be talked to, and what for");
        for VerifyJob { subject, task } in jobs {
            let id = &subject.endpoint.id;
            match *task {
                Task::Recovery(Recovery { relapse, urgency, .. }) => {
                    let quarantine = self.endpoints[id].isolated().unwrap();
                    assert_eq!(relapse, quarantine.relapse);
                    assert_eq!(urgency == Urgency::AtOnce, quarantine.redefined || quarantine.doubted);
                }
                Task::EarlyReturn { .. } => {
                    assert_eq!(
                        Some(&subject.model),
                        self.used_up(id, now).as_ref(),
                        "whose window {id} is asked about"
                    );
                    assert_eq!(subject.suffices, Suffices::ItAlone);
                }
                Task::Opinion { .. } => {}
            }
        }
    }

    /// The model whose used-up window this endpoint is to be asked about.
    pub(crate) fn used_up(&self, id: &EndpointId, now: Moment) -> Option<Model> {
        self.rests.get(id)?.to_be_asked(now, &self.policy.cooling)
    }
}
