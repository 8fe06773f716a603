//! A profile's endpoints, in the order in which they are used.

use std::collections::{BTreeMap, BTreeSet};

use super::super::endpoint::Home;
use super::super::ids::EndpointId;
use super::super::queues::{Member, Queues};

/// A profile's endpoints of the same queue and priority.
#[derive(Clone, Debug)]
pub(super) struct Rank {
    pub(super) home: Home,
    pub(super) priority: u8,
    pub(super) endpoints: Vec<EndpointId>,
}

/// A profile's ranks in the order in which they are used.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    pub(super) ranks: Vec<Rank>,
    /// How many isolated endpoints the filter's last line told of.
    pub(super) reported_excluded: usize,
    /// Whether the last word on it was that nothing is usable.
    pub(super) supply: Supply,
}

/// Whether any endpoint of a profile is in its home queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Supply {
    /// At least one is, or nobody has looked yet.
    #[default]
    Usable,
    /// None is.
    Nothing,
}

impl Pool {
    pub(super) fn excluded(&self, queues: &Queues) -> usize {
        self.members(queues).filter(|member| member.isolation().is_some()).count()
    }

    pub(super) fn members<'a>(&'a self, queues: &'a Queues) -> impl Iterator<Item = &'a Member> {
        self.ranks.iter().flat_map(|rank| &rank.endpoints).filter_map(|id| queues.get(id))
    }

    /// Sorts a profile's endpoints into ranks: primaries before secondaries, lower priority first, then by id.
    pub(super) fn new<'a>(members: impl Iterator<Item = &'a Member>) -> Self {
        let mut ranks: BTreeMap<(Home, u8), BTreeSet<EndpointId>> = BTreeMap::new();
        for endpoint in members.map(Member::endpoint) {
            ranks.entry((endpoint.home, endpoint.priority)).or_default().insert(endpoint.id.clone());
        }
        let ranks = ranks
            .into_iter()
            .map(|((home, priority), ids)| Rank { home, priority, endpoints: ids.into_iter().collect() })
            .collect();
        Self { ranks, ..Self::default() }
    }
}
