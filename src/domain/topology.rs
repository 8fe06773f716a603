//! The set of endpoints, and what changes from one set to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::endpoint::{Endpoint, SharedEndpoint};
use super::ids::{EndpointId, ProfileId};

/// All endpoints that the settings define, by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topology {
    endpoints: BTreeMap<EndpointId, SharedEndpoint>,
}

impl Topology {
    /// The set of these endpoints. Of two with the same id the later one wins; the settings refuse such a pair.
    #[must_use]
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        Self { endpoints: endpoints.into_iter().map(|endpoint| (endpoint.id.clone(), Arc::new(endpoint))).collect() }
    }

    /// The endpoints in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &SharedEndpoint> {
        self.endpoints.values()
    }

    /// The endpoint of this name.
    #[must_use]
    pub fn get(&self, id: &EndpointId) -> Option<&SharedEndpoint> {
        self.endpoints.get(id)
    }

    /// All profiles that some endpoint serves.
    #[must_use]
    pub fn profiles(&self) -> BTreeSet<ProfileId> {
        self.iter().flat_map(|endpoint| endpoint.profiles.iter().cloned()).collect()
    }

    /// What changes from this set to `next`.
    #[must_use]
    pub fn diff(&self, next: &Self) -> TopologyDiff {
        let mut diff = TopologyDiff::default();
        for (id, endpoint) in &next.endpoints {
            match self.endpoints.get(id) {
                None => diff.added.push(id.clone()),
                Some(before) if before != endpoint => diff.changed.push(id.clone()),
                Some(_) => {}
            }
        }
        diff.removed = self.endpoints.keys().filter(|id| !next.endpoints.contains_key(*id)).cloned().collect();
        diff
    }
}

/// What changes from one set of endpoints to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopologyDiff {
    /// Only in the new set.
    pub added: Vec<EndpointId>,
    /// In both, with another definition.
    pub changed: Vec<EndpointId>,
    /// Only in the old set.
    pub removed: Vec<EndpointId>,
}
