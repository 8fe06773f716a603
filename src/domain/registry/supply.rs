//! How a profile stands, and for which protocols it has nothing usable.

use std::collections::BTreeMap;

use super::super::endpoint::{Endpoint, Protocol};
use super::super::ids::ProfileId;
use super::super::queues::{Queues, Standing};
use super::pool::Pool;
use super::{Effect, Outputs, RegistryCore};

/// How many endpoints a profile has, in all or of one protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supply {
    /// All of them.
    pub endpoints: usize,
    /// Those in their home queues.
    pub usable: usize,
    /// Those in the failure queue.
    pub isolated: usize,
    /// Those meant to serve, by the settings or an admin's word, whatever became of them.
    meant: usize,
}

impl Supply {
    fn add(&mut self, endpoint: &Endpoint, standing: Standing) {
        self.endpoints += 1;
        self.meant += usize::from(endpoint.enabled || standing != Standing::Disabled);
        match standing {
            Standing::Primary | Standing::Secondary => self.usable += 1,
            Standing::Failure => self.isolated += 1,
            Standing::Disabled => {}
        }
    }
}

/// What a profile has, in all and of each protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supplies {
    all: Supply,
    of_each: BTreeMap<Protocol, Supply>,
}

impl Supplies {
    /// Counts one of the profile's endpoints.
    pub fn add(&mut self, endpoint: &Endpoint, standing: Standing) {
        self.all.add(endpoint, standing);
        self.of_each.entry(endpoint.protocol).or_default().add(endpoint, standing);
    }

    /// The supply of each protocol that clients may miss. One that the settings have switched off is left out, unless they
    /// have switched off all of them.
    pub fn missable(&self) -> impl Iterator<Item = (Protocol, Supply)> {
        let none_is_meant = self.all.meant == 0;
        let of_each = self.of_each.iter().map(|(protocol, supply)| (*protocol, *supply));
        of_each.filter(move |(_, supply)| supply.meant > 0 || none_is_meant)
    }
}

fn supplies_of(pool: &Pool, queues: &Queues) -> Supplies {
    let mut supplies = Supplies::default();
    for member in pool.members(queues) {
        supplies.add(member.endpoint(), member.standing());
    }
    supplies
}

impl RegistryCore {
    /// Reports how profiles stand, and each protocol that has lost its last usable endpoint: once, until one is usable
    /// again.
    pub(super) fn summarise(&mut self, profiles: Vec<ProfileId>, out: &mut Outputs) {
        for profile in profiles {
            let Some(pool) = self.pools.get_mut(&profile) else { continue };
            let supplies = supplies_of(pool, &self.queues);
            let Supply { endpoints, usable, isolated, .. } = supplies.all;
            pool.isolated = isolated;
            out.push(Effect::Summary { profile: profile.clone(), endpoints, usable, isolated });
            let out_of: BTreeMap<Protocol, Supply> =
                supplies.missable().filter(|(_, supply)| supply.usable == 0).collect();
            pool.lacks.retain(|protocol| out_of.contains_key(protocol));
            for (protocol, supply) in out_of {
                if pool.lacks.insert(protocol) {
                    let Supply { endpoints, isolated, .. } = supply;
                    out.push(Effect::NothingUsable { profile: profile.clone(), protocol, endpoints, isolated });
                }
            }
        }
    }
}
