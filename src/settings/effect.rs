//! The keys that are read and checked but whose feature is still to come. A feature that arrives deletes its rows here.

use std::collections::BTreeMap;

use super::reading::Reading;

/// Keys, where one `*` stands for anything.
const PENDING: [&str; 4] = ["webhook.*", "otel.*", "prices.*", "endpoints.*.price_factor"];

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
