//! Where a client's requests go that came before its profile had another name.

use std::collections::BTreeMap;

use super::super::ids::{ClientId, ProfileId};
use super::{Ask, RegistryCore};

impl RegistryCore {
    /// These profiles serve these clients from now on. To be told before the endpoints that go with it are applied.
    pub fn set_clients(&mut self, profiles: BTreeMap<ClientId, ProfileId>) {
        self.profile_of = profiles;
    }

    /// A request keeps to the profile that it came with, as long as that is there. A reload that renames it, or has its client
    /// served by another one, is no reason to refuse what is under way.
    pub(super) fn readdress(&self, ask: &mut Ask) {
        if self.pools.contains_key(&ask.profile) {
            return;
        }
        if let Some(profile) = ask.client.as_ref().and_then(|client| self.profile_of.get(client)) {
            ask.profile = profile.clone();
        }
    }
}
