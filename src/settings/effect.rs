//! The keys that are set and have no effect.

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
pub(super) fn judge(reading: &Reading<'_>) -> Vec<Note> {
    let is_recorded = |key: &str| reading.recorded.contains_key(key);
    if !is_recorded(SECRET) || is_recorded("webhook.url") || is_recorded("webhook.url_env") {
        return Vec::new();
    }
    let text = "is set, but nothing is posted: neither webhook.url nor the variable of webhook.url_env is";
    vec![Note { key: SECRET.to_owned(), text: text.to_owned() }]
}
