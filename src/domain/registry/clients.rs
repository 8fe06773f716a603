//! Where a client's requests go if its profile was renamed after they came.

use std::collections::BTreeMap;

use super::super::ids::{ClientId, ProfileId};
use super::{Ask, RegistryCore};

impl RegistryCore {
    /// Sets which profile serves each client. Must precede the [`Self::apply`] of the endpoints that go with it.
    pub fn set_clients(&mut self, profiles: BTreeMap<ClientId, ProfileId>) {
        self.profile_of = profiles;
    }

    /// Gives a request its client's present profile if the one it came with is gone. A reload that renames a profile, or
    /// has another one serve the client, is no reason to refuse what is under way.
    pub(super) fn readdress(&self, ask: &mut Ask) {
        if self.pools.contains_key(&ask.profile) {
            return;
        }
        if let Some(profile) = ask.client.as_ref().and_then(|client| self.profile_of.get(client)) {
            ask.profile = profile.clone();
        }
    }
}
