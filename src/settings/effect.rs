//! The keys that are read and checked but whose feature is still to come. A feature that arrives deletes its rows here.

use std::collections::BTreeMap;

use super::reading::Reading;

/// What it means that a key has no effect yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    /// `check` says so.
    Noted,
    /// The key protects something, and nobody may believe in a protection that is not there: setting it is a fault.
    Refused,
}

/// Keys, where one `*` stands for anything.
const PENDING: [(&str, Pending); 7] = [
    ("state.file", Pending::Noted),
    ("reload.watch", Pending::Noted),
    ("webhook.*", Pending::Noted),
    ("otel.*", Pending::Noted),
    ("prices.*", Pending::Noted),
    ("endpoints.*.price_factor", Pending::Noted),
    ("admin.listen", Pending::Refused),
];

/// A key that is set away from its default and has no effect yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The key, such as `state.file`.
    pub key: String,
    /// What is to be known of it, in a sentence.
    pub text: String,
}

/// Compares what was read with the defaults: gives the notes, and notes the faults.
pub(super) fn judge(reading: &mut Reading<'_>, defaults: &BTreeMap<String, String>) -> Vec<Note> {
    let away: Vec<(String, String)> = reading
        .recorded
        .iter()
        .filter(|(key, value)| defaults.get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut notes = Vec::new();
    for (key, value) in away {
        match PENDING.iter().find(|(pattern, _)| fits(pattern, &key)).map(|(_, pending)| *pending) {
            None => {}
            Some(Pending::Noted) => {
                notes.push(Note { text: "is set, but this version does not act on it yet".to_owned(), key });
            }
            Some(Pending::Refused) => {
                let (found, what) = if key.ends_with("_env") {
                    (format!("{value}, which is set"), "this variable unset")
                } else {
                    ("a protection".to_owned(), "this key left out")
                };
                let wanted = format!("{what}: it would protect something, and this version does not enforce it yet");
                reading.fault(&key, found, wanted);
            }
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
