//! A second registry in the same state, for finding out what would follow from several inputs.

use super::super::epoch::EpochGate;
use super::{Grant, RegistryCore};

impl RegistryCore {
    /// An independent copy. What was granted before holds in the copy too: `grants`, which are copies of this registry's
    /// grants, get the copy's gates.
    #[must_use]
    pub fn fork<'a>(&self, grants: impl IntoIterator<Item = &'a mut Grant>) -> Self {
        let Self {
            policy,
            queues,
            leases,
            audit,
            pools,
            profile_of,
            lanes,
            turns,
            pending,
            cooling,
            sessions,
            budget,
            opinions,
            verifications,
            before,
            waiters,
            stopping,
            last_served,
            journal,
        } = self;
        let fork = Self {
            policy: *policy,
            queues: queues.fork(),
            leases: leases.clone(),
            audit: audit.clone(),
            pools: pools.clone(),
            profile_of: profile_of.clone(),
            lanes: lanes.clone(),
            turns: turns.clone(),
            pending: pending.clone(),
            cooling: cooling.clone(),
            sessions: sessions.clone(),
            budget: budget.clone(),
            opinions: opinions.clone(),
            verifications: verifications.clone(),
            before: before.clone(),
            waiters: waiters.clone(),
            stopping: *stopping,
            last_served: *last_served,
            journal: journal.clone(),
        };
        for grant in grants {
            grant.gate = self.counterpart(&grant.gate, &fork, grant);
        }
        fork
    }

    /// The copy's counterpart of this gate. The gate of an endpoint that has left the settings never moves again.
    fn counterpart(&self, gate: &EpochGate, fork: &Self, grant: &Grant) -> EpochGate {
        let id = &grant.ticket.endpoint;
        let is_present = self.queues.get(id).is_some_and(|member| member.gate().is_same(gate));
        match fork.queues.get(id).filter(|_| is_present) {
            Some(member) => member.gate().clone(),
            None => gate.fork(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::testing::{at, endpoint, id, registry_policy};
    use super::super::super::topology::Topology;
    use super::super::{Acquired, Outputs};
    use super::*;
    use crate::domain::endpoint::Home;

    #[test]
    fn what_happens_to_a_copy_happens_to_the_grants_of_the_copy_alone() {
        let mut core = RegistryCore::new(registry_policy());
        let topology = Arc::new(Topology::new([endpoint("a", Home::Primary)]));
        core.apply(topology, at(0), &mut Outputs::new());
        let ask = super::super::super::testing::ask();
        let Acquired::Granted(grant) = core.acquire(ask, at(0), &mut Outputs::new()) else { panic!("a is free") };
        let mut copied = grant.clone();
        let mut copy = core.fork([&mut copied]);
        let by = std::net::Ipv4Addr::LOCALHOST.into();
        assert_eq!(copy.set_enabled(&id("a"), false, by, at(0), &mut Outputs::new()), Ok(true));
        let is_open = |grant: &Grant| grant.gate.is_at(grant.ticket.epoch);
        assert_eq!((is_open(&grant), is_open(&copied)), (true, false));
        assert!(copy.epochs().newest() > core.epochs().newest());
        copy.apply(Arc::new(Topology::default()), at(0), &mut Outputs::new());
        let again = copy.fork([&mut copied]);
        assert!(!is_open(&copied), "a gate stays closed whose endpoint has left");
        drop((core, again));
    }
}
