//! The keys that are read and checked but whose feature is still to come. A feature that arrives deletes its rows here.

use std::collections::BTreeMap;

use super::reading::Reading;

/// Keys, where one `*` stands for anything.
const PENDING: [&str; 1] = ["otel.*"];

/// The key that is for nothing without a receiver.
const SECRET: &str = "webhook.secret_env";

/// A key that is set away from its default and has no effect yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The key, such as `state.file`.
    pub key: String,
    /// What is to be known of it, in a sentence.
    pub text: String,
}

/// Compares what was read with the defaults.
pub(super) fn judge(reading: &Reading<'_>, defaults: &BTreeMap<String, String>) -> Vec<Note> {
    let away = reading.recorded.iter().filter(|(key, value)| defaults.get(*key) != Some(*value));
    let mut notes = Vec::new();
    let is_recorded = |key: &str| reading.recorded.contains_key(key);
    if is_recorded(SECRET) && !is_recorded("webhook.url") && !is_recorded("webhook.url_env") {
        let text = "is set, but nothing is posted: neither webhook.url nor the variable of webhook.url_env is";
        notes.push(Note { key: SECRET.to_owned(), text: text.to_owned() });
    }
    for key in away.map(|(key, _)| key.clone()) {
        if PENDING.iter().any(|pattern| fits(pattern, &key)) {
            notes.push(Note { text: "is set, but this version does not act on it yet".to_owned(), key });
        }
    }
    notes
}

fn fits(pattern: &str, key: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == key,
        Some((start, end)) => key.len() >= start.len() + end.len() && key.starts_with(start) && key.ends_with(end),
    }
}
