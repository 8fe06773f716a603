//! How a profile stands, and of which protocol it has nothing usable.

use std::collections::BTreeMap;

use super::super::endpoint::Protocol;
use super::super::ids::ProfileId;
use super::super::queues::{Member, Queues, Standing};
use super::pool::Pool;
use super::{Effect, Outputs, RegistryCore};

/// How many endpoints a profile has, in all or of one protocol.
#[derive(Clone, Copy, Debug, Default)]
struct Supply {
    endpoints: usize,
    /// Those in their home queues.
    usable: usize,
    /// Those in the failure queue.
    isolated: usize,
    /// Those that are to serve, by the settings or an admin's word, whatever became of them.
    meant: usize,
}

impl Supply {
    fn add(&mut self, member: &Member) {
        let standing = member.standing();
        self.endpoints += 1;
        self.meant += usize::from(member.endpoint().enabled || standing != Standing::Disabled);
        match standing {
            Standing::Primary | Standing::Secondary => self.usable += 1,
            Standing::Failure => self.isolated += 1,
            Standing::Disabled => {}
        }
    }
}

/// What a profile has, in all and of each protocol.
fn supply_of(pool: &Pool, queues: &Queues) -> (Supply, BTreeMap<Protocol, Supply>) {
    let (mut all, mut of_each) = (Supply::default(), BTreeMap::<Protocol, Supply>::new());
    for member in pool.members(queues) {
        all.add(member);
        of_each.entry(member.endpoint().protocol).or_default().add(member);
    }
    (all, of_each)
}

impl RegistryCore {
    /// Tells how profiles stand, and of each protocol of which one has lost its last usable endpoint: once, until one is usable again.
    pub(super) fn summarise(&mut self, profiles: Vec<ProfileId>, out: &mut Outputs) {
        for profile in profiles {
            let Some(pool) = self.pools.get_mut(&profile) else { continue };
            let (all, of_each) = supply_of(pool, &self.queues);
            let Supply { endpoints, usable, isolated, meant } = all;
            pool.isolated = isolated;
            out.push(Effect::Summary { profile: profile.clone(), endpoints, usable, isolated });
            // Nobody misses a protocol that the settings have switched off, while they have another one.
            let is_out = |supply: &Supply| supply.usable == 0 && (supply.meant > 0 || meant == 0);
            pool.lacks.retain(|protocol| of_each.get(protocol).is_some_and(is_out));
            for (protocol, supply) in of_each.into_iter().filter(|(_, supply)| is_out(supply)) {
                if pool.lacks.insert(protocol) {
                    let Supply { endpoints, isolated, .. } = supply;
                    out.push(Effect::NothingUsable { profile: profile.clone(), protocol, endpoints, isolated });
                }
            }
        }
    }
}
