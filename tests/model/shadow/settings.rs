//! What the settings and an admin's switches change.

use std::collections::BTreeMap;

use qcc_gateway::domain::endpoint::{Auth, Endpoint};
use qcc_gateway::domain::ids::EndpointId;
use qcc_gateway::domain::queues::SwitchError;
use qcc_gateway::domain::registry::RegistryPolicy;

use super::Shadow;
use super::plain::{Place, Plain, Quarantine};

impl Shadow {
    /// New bounds. Who is parked stays so, even beyond them.
    pub(crate) fn set_policy(&mut self, policy: RegistryPolicy) {
        self.policy = policy;
    }

    /// Another service has the name now, or none: what was known of the one before says nothing any more.
    fn forget(&mut self, id: &EndpointId) {
        self.rests.remove(id);
        self.opinions.forget(id);
        self.sessions.retain(|_, bond| bond.endpoint != *id);
        self.told.remove(id);
    }

    /// New settings. Tells whether one has come back that left while it was isolated.
    pub(crate) fn apply(&mut self, next: &BTreeMap<EndpointId, Endpoint>) -> bool {
        let mut remembered = false;
        let gone: Vec<EndpointId> = self.endpoints.keys().filter(|id| !next.contains_key(*id)).cloned().collect();
        for id in gone {
            self.forget(&id);
            self.hastened.remove(&id);
            let Some(plain) = self.endpoints.remove(&id) else { continue };
            leaves(self.departed.entry(id).or_default(), &plain);
        }
        for (id, definition) in next {
            if self.endpoints.get(id).is_some_and(|plain| plain.definition == *definition) {
                continue;
            }
            if definition.enabled {
                self.switched_on.remove(id);
            }
            let is_wanted = definition.enabled || self.switched_on.contains(id);
            let enabled = is_wanted && definition.auth != Auth::Missing && !self.switched_off.contains(id);
            if let Some(plain) = self.endpoints.get_mut(id) {
                let same_service = plain.definition.same_service(definition);
                if !same_service {
                    plain.recovered = None;
                    let past = self.departed.entry(id.clone()).or_default();
                    leaves(past, plain);
                    let same = past.iter().position(|(departed, _)| departed.same_service(definition));
                    let left_with = same.map(|index| past.remove(index).1);
                    match (plain.quarantine_mut(), left_with) {
                        (Some(quarantine), _) => quarantine.redefined = true,
                        (None, Some(quarantine)) => {
                            remembered = true;
                            plain.come_back(Quarantine { redefined: true, ..quarantine });
                        }
                        (None, None) => {}
                    }
                }
                let changes_queues = plain.place == Place::Home && plain.definition.home != definition.home;
                if !same_service || changes_queues {
                    plain.go(plain.place);
                }
                plain.definition = definition.clone();
                plain.switch(enabled);
                if plain.moved {
                    self.hastened.remove(id);
                }
                if !same_service {
                    self.forget(id);
                }
            } else {
                let past = self.departed.entry(id.clone()).or_default();
                let same = past.iter().position(|(departed, _)| departed.same_service(definition));
                let quarantine = same.map(|index| past.remove(index).1);
                remembered |= quarantine.is_some();
                self.endpoints.insert(id.clone(), Plain::new(definition, enabled, quarantine));
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
            self.switched_off.remove(id);
            if !plain.definition.enabled {
                self.switched_on.insert(id.clone());
            }
        } else {
            self.switched_on.remove(id);
            self.switched_off.insert(id.clone());
        }
        let has_moved = plain.switch(on);
        if has_moved {
            self.moved(id);
        }
        Ok(has_moved)
    }
}

/// A service leaves its name, isolated or not. Its latest departure counts.
fn leaves(past: &mut Vec<(Endpoint, Quarantine)>, plain: &Plain) {
    past.retain(|(earlier, _)| !earlier.same_service(&plain.definition));
    past.extend(plain.quarantine().map(|quarantine| (plain.definition.clone(), *quarantine)));
}
