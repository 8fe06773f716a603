//! The keys that are set and do not what they seem to.

use super::Settings;
use super::credential::Displaced;
use super::reading::Reading;
use crate::domain::client::Client;

/// The key that is for nothing without a receiver.
const SECRET: &str = "webhook.secret_env";

/// A key that is set and does not what it seems to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The key, such as `webhook.secret_env`.
    pub key: String,
    /// What is to be known of it, in a sentence.
    pub text: String,
}

/// Looks for them in what was read.
pub(super) fn judge(reading: &Reading<'_>, settings: &Settings, clients: &[Client]) -> Vec<Note> {
    let is_recorded = |key: &str| reading.recorded.contains_key(key);
    let signs_nothing = is_recorded(SECRET) && !is_recorded("webhook.url") && !is_recorded("webhook.url_env");
    let admin = &settings.admin;
    let protects_nothing = admin.read_token.is_some() && admin.token.is_none() && settings.listens_here_alone();
    let note = |key: &str, text: &str| Note { key: key.to_owned(), text: text.to_owned() };
    let displaced = reading.displaced.iter().map(|Displaced { key, by, variable }| {
        note(
            key,
            &format!(
                "has no effect: {by} of a later layer takes its place, and names {variable}, which is unset or empty"
            ),
        )
    });
    let is_admin = |client: &&Client| admin.token.as_ref().is_some_and(|token| token.is_among(&client.keys));
    let admins = clients.iter().filter(is_admin).map(|client| {
        note(&format!("clients.{}", client.id), "has the admin token for a key: whoever has it may read and change all")
    });
    let of_one_key = [
        signs_nothing.then(|| {
            note(SECRET, "is set, but nothing is posted: neither webhook.url nor the variable of webhook.url_env is")
        }),
        protects_nothing.then(|| {
            note(
                "admin.read_token",
                "is set without an admin token: on loopback everybody at this machine may read and change all",
            )
        }),
    ];
    of_one_key.into_iter().flatten().chain(displaced).chain(admins).collect()
}
