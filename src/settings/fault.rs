//! What is wrong with the settings, told all at once and without a secret.

use std::fmt;

use serde::Serialize;

/// The longest piece of a faulty value that is shown, in characters.
const MAX_SHOWN: usize = 80;

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The key, such as `server.port`; empty if a file as a whole is at fault.
    pub key: String,
    /// A file with its line, or the name of a variable; empty if the settings as a whole are at fault.
    pub source: String,
    /// What was found, as far as it may be shown: never the value of a key, token, secret or header.
    pub found: String,
    /// What is wanted, or what to do.
    pub wanted: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        line.push_str(&self.key);
        if !self.source.is_empty() {
            line.push_str(if self.key.is_empty() { "" } else { " " });
            line.push('(');
            line.push_str(&self.source);
            line.push(')');
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        for part in ["found ", &self.found, "; wanted: ", &self.wanted] {
            line.push_str(part);
        }
        // A key or a file name may hold anything: each fault stays on its own line.
        for c in line.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

/// Everything that is wrong with the settings: at least one fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn none_or(faults: Vec<Fault>) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self(faults)) }
    }

    /// `1 fault`, `2 faults`, …
    pub fn count(&self) -> String {
        match self.0.len() {
            1 => "1 fault".to_owned(),
            count => format!("{count} faults"),
        }
    }

    /// A fault that only shows when the settings are put to use.
    pub fn one(fault: Fault) -> Self {
        Self(vec![fault])
    }

    /// The faults in the order in which they were found.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(f, "{fault}")?;
        }
        write!(f, "{} in the settings", self.count())
    }
}

impl std::error::Error for Faults {}

/// A text as a fault shows it: quoted, escaped and cut.
pub(super) fn quoted(text: &str) -> String {
    if text.chars().count() <= MAX_SHOWN {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(MAX_SHOWN).collect();
    format!("{start:?}…")
}

/// One part of a key's path, quoted if TOML would need quotes.
pub(super) fn key_part(part: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !part.is_empty() && part.chars().all(is_bare) { part.to_owned() } else { quoted(part) }
}
