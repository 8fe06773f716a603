//! `[clients.…]`: who may use the gateway.

use std::num::NonZeroU32;

use config::{Map, Value};

use super::credential::{CLIENT_KEY, Credential, Unset};
use super::reading::{Reading, Shown};
use crate::domain::calendar;
use crate::domain::client::Client;
use crate::domain::ids::{ClientId, InvalidId, ProfileId};

/// Reads all clients. One with a faulty id is left out.
pub(super) fn read(reading: &mut Reading<'_>, tree: &mut Map<String, Value>) -> Vec<Client> {
    let entries = reading.entries(tree, "clients");
    entries.into_iter().filter_map(|(id, value)| read_one(reading, &id, value)).collect()
}

fn read_one(reading: &mut Reading<'_>, id: &str, value: Value) -> Option<Client> {
    let mut table = reading.entry(&["clients", id], value);
    let path = table.path().to_owned();
    let id = ClientId::new(id);
    if let Err(InvalidId) = id {
        table.reading.fault(&path, "a name that is no id", InvalidId.to_string());
    }
    let enabled = table.flag("enabled").unwrap_or(true);
    let credential = table.credential(&CLIENT_KEY, Unset::Fault);
    if let Credential::Absent = credential {
        table.fault_of_absence(
            "key_env",
            "no key",
            format!("one of {}: a client is known by its key", CLIENT_KEY.names()),
        );
    }
    let mut keys = Vec::new();
    for digest in credential.digests() {
        if !keys.contains(&digest) {
            keys.push(digest);
        }
    }
    let wanted = format!("the name of a profile; {InvalidId}");
    let profile =
        table.read("profile", Shown::Always, &wanted, |given| ProfileId::new(given.text()?).ok()).unwrap_or_default();
    let team = table.optional_text("team");
    let wanted = "a time as of RFC 3339 such as \"2030-01-01T00:00:00Z\", or \"\" for none";
    let expires = table.read("expires", Shown::Always, wanted, |given| match given.text()? {
        "" => Some(None),
        text => calendar::with_zone(text).map(Some),
    });
    let expires = table.or("expires", expires, None);
    let max_in_flight = table.integer::<u32>("max_in_flight", 0..=1_000_000);
    let max_in_flight = NonZeroU32::new(table.or("max_in_flight", max_in_flight, 0));
    table.finish();
    Some(Client { id: id.ok()?, profile, team, keys, enabled, expires, max_in_flight })
}
