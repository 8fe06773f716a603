//! Settings that are read while the gateway runs, compared with those that it runs with.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cross::{AN_UPSTREAM, OWN_ADDRESS, is_open_to_everybody, leads_to};
use super::fault::{Fault, Faults};
use super::{Loaded, Settings};
use crate::domain::client::Client;
use crate::domain::endpoint::SharedEndpoint;
use crate::domain::ids::ClientId;

/// What changes among the clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClientsDiff {
    /// Only in the new settings.
    pub added: Vec<ClientId>,
    /// In both, but not the same.
    pub changed: Vec<ClientId>,
    /// Only in the old settings.
    pub removed: Vec<ClientId>,
}

impl ClientsDiff {
    fn between(old: &[Client], new: &[Client]) -> Self {
        let find = |clients: &[Client], id: &ClientId| clients.iter().find(|client| client.id == *id).cloned();
        let mut diff = Self::default();
        for client in new {
            match find(old, &client.id) {
                None => diff.added.push(client.id.clone()),
                Some(before) if before != *client => diff.changed.push(client.id.clone()),
                Some(_) => {}
            }
        }
        diff.removed = old.iter().map(|client| &client.id).filter(|id| find(new, id).is_none()).cloned().collect();
        diff
    }
}

/// New settings as the running gateway can take them over.
#[derive(Clone, Debug)]
pub struct Reread {
    /// The new settings, but with the running values of keys whose change needs a restart.
    pub loaded: Loaded,
    /// What changes among the clients.
    pub clients: ClientsDiff,
    /// The keys that have another value now.
    pub settings: Vec<String>,
    /// The keys whose new value takes effect at the next start.
    pub needs_restart: Vec<String>,
}

impl Reread {
    /// Compares `new` settings with those that the gateway runs with, and with the `port` on which it listens.
    ///
    /// # Errors
    ///
    /// The [`Faults`] that the new settings have only together with what can't change while the gateway runs.
    pub fn against(running: &Loaded, mut new: Loaded, port: u16) -> Result<Self, Faults> {
        let mut needs_restart = Vec::new();
        for pinned in &PINNED {
            if (pinned.keep)(&mut new.settings, &running.settings) {
                needs_restart.push(pinned.key.to_owned());
                // The next reading is compared with what is in force.
                match running.values.get(pinned.key) {
                    Some(value) => new.values.insert(pinned.key.to_owned(), value.clone()),
                    None => new.values.remove(pinned.key),
                };
            }
        }
        check_exposure(&new)?;
        check_loops(&new, port)?;
        let clients = ClientsDiff::between(&running.clients, &new.clients);
        let settings = changed_keys(running, &new);
        Ok(Self { loaded: new, clients, settings, needs_restart })
    }
}

/// A key whose value can't change while the gateway runs.
struct Pinned {
    key: &'static str,
    /// Puts the running value back; tells whether the new one was different.
    keep: fn(&mut Settings, &Settings) -> bool,
}

/// Keeps one field as it is.
macro_rules! pinned {
    ($($key:literal: $section:ident.$field:ident),* $(,)?) => {
        [$(Pinned {
            key: $key,
            keep: |new, running| {
                let kept = running.$section.$field.clone();
                std::mem::replace(&mut new.$section.$field, kept) != running.$section.$field
            },
        }),*]
    };
}

/// The keys of what stays as it was at the start: the sockets, the threads, the log's format, the state file, and where
/// traces go.
const PINNED: [Pinned; 10] = pinned![
    "server.host": server.host,
    "server.port": server.port,
    "server.workers": server.workers,
    "server.max_connections": server.max_connections,
    "server.shutdown_grace": server.shutdown_grace,
    "log.format": log.format,
    "state.file": state.file,
    "admin.listen": admin.listen,
    "otel.endpoint": otel.endpoint,
    "otel.service_name": otel.service_name,
];

/// The source of a value that can't change without a restart.
const RUNNING: &str = "what the gateway runs with";

/// Checks the running address against the new clients: it stays until a restart, and with it what it requires of the
/// clients.
fn check_exposure(new: &Loaded) -> Result<(), Faults> {
    let server = &new.settings.server;
    if !is_open_to_everybody(server, &new.clients) {
        return Ok(());
    }
    Faults::none_or(vec![Fault {
        key: "server.host".to_owned(),
        source: RUNNING.to_owned(),
        found: format!("{:?}, which others can reach until a restart, and no client with a key", server.host.as_str()),
        wanted: "tables [clients.NAME] with keys, or server.allow_anonymous = true, or a restart".to_owned(),
    }])
}

/// Checks the new endpoints against the running port, which also stays, even if the system has picked it.
fn check_loops(new: &Loaded, port: u16) -> Result<(), Faults> {
    let host = &new.settings.server.host;
    let loops = new.topology.iter().filter(|endpoint| leads_to(endpoint, host, port));
    let fault = |endpoint: &SharedEndpoint| Fault {
        key: format!("endpoints.{}.base_url", endpoint.id),
        source: RUNNING.to_owned(),
        found: OWN_ADDRESS.to_owned(),
        wanted: AN_UPSTREAM.to_owned(),
    };
    Faults::none_or(loops.map(fault).collect())
}

/// The keys whose values differ, except those of endpoints and clients.
fn changed_keys(old: &Loaded, new: &Loaded) -> Vec<String> {
    let own = |values: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let is_own = |key: &str| !key.starts_with("endpoints.") && !key.starts_with("clients.");
        values.iter().filter(|(key, _)| is_own(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let (before, after) = (own(&old.values), own(&new.values));
    let mut changed: Vec<String> =
        before.keys().chain(after.keys()).filter(|key| before.get(*key) != after.get(*key)).cloned().collect();
    // A secret's value is not recorded, nor a file's content: that it has changed shows in what was read from it.
    let others = [
        ("admin.token", old.settings.admin.token != new.settings.admin.token),
        ("admin.read_token", old.settings.admin.read_token != new.settings.admin.read_token),
        ("webhook.url", old.settings.webhook.receiver != new.settings.webhook.receiver),
        ("webhook.secret", old.settings.webhook.secret != new.settings.webhook.secret),
        ("otel.endpoint", old.settings.otel.endpoint != new.settings.otel.endpoint),
        ("upstream.ca_file", old.settings.upstream.authorities != new.settings.upstream.authorities),
    ];
    for (key, is_another) in others {
        let is_told = || changed.iter().any(|told| told.starts_with(key));
        if is_another && !is_told() {
            changed.push(key.to_owned());
        }
    }
    changed.sort();
    changed.dedup();
    changed
}
