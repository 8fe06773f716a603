//! The keys that are set and have no effect.

use super::Settings;
use super::reading::Reading;

/// The key that is for nothing without a receiver.
const SECRET: &str = "webhook.secret_env";

/// A key that is set and has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The key, such as `webhook.secret_env`.
    pub key: String,
    /// What is to be known of it, in a sentence.
    pub text: String,
}

/// Looks for them in what was read.
pub(super) fn judge(reading: &Reading<'_>, settings: &Settings) -> Vec<Note> {
    let is_recorded = |key: &str| reading.recorded.contains_key(key);
    let signs_nothing = is_recorded(SECRET) && !is_recorded("webhook.url") && !is_recorded("webhook.url_env");
    let admin = &settings.admin;
    let protects_nothing = admin.read_token.is_some() && admin.token.is_none() && settings.listens_here_alone();
    let note = |key: &str, text: &str| Note { key: key.to_owned(), text: text.to_owned() };
    [
        signs_nothing.then(|| {
            note(SECRET, "is set, but nothing is posted: neither webhook.url nor the variable of webhook.url_env is")
        }),
        protects_nothing.then(|| {
            note(
                "admin.read_token",
                "is set without an admin token: on loopback everybody at this machine may read and change all",
            )
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}
