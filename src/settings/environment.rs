//! The layer of variables: `QCC__SERVER__PORT=8080`, `QCC__ENDPOINTS__MAIN__API_KEY=…`.

use std::collections::BTreeMap;

use config::{Map, Value, ValueKind};

use super::fault::Fault;
use super::layers::SECTIONS;
use super::origin::Origin;

const PREFIX: &str = "QCC__";
/// The prefix with an underscore too few.
const NEARLY_PREFIX: &str = "QCC_";
const SEPARATOR: &str = "__";
/// Tables whose entries have names of their own.
const NAMED: [&str; 3] = ["endpoints", "clients", "prices"];
/// Keys that a variable can't express.
const FILES_ONLY: [&str; 3] = ["model_map", "headers", "verify_headers"];

/// What the variables amount to.
#[derive(Default)]
pub(super) struct Variables {
    /// The variables as a layer: every value is a text.
    pub(super) table: Map<String, Value>,
    /// The names that were understood.
    pub(super) taken: Vec<String>,
    pub(super) faults: Vec<Fault>,
}

/// Reads the variables over `files`, whose ids they may write with other separators.
pub(super) fn read(variables: &BTreeMap<String, String>, files: &Map<String, Value>) -> Variables {
    let mut result = Variables::default();
    for (name, text) in variables {
        let is_ours = name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
        let Some(rest) = name.get(PREFIX.len()..).filter(|_| is_ours) else { continue };
        let path = match path(rest, files) {
            Ok(path) => path,
            Err((found, wanted)) => {
                result.faults.push(Fault { key: String::new(), source: format!("variable {name}"), found, wanted });
                continue;
            }
        };
        let value = Value::new(Some(&Origin::Variable { name: name.clone() }.encode()), text.clone());
        if insert(&mut result.table, &path, value) {
            result.taken.push(name.clone());
        } else {
            result.faults.push(Fault {
                key: path.join("."),
                source: format!("variable {name}"),
                found: "a key that another variable sets too".to_owned(),
                wanted: "one of them: names are the same in upper and lower case".to_owned(),
            });
        }
    }
    result
}

/// The setting that is meant by a name with an underscore too few after `QCC`, if it names a section.
pub(super) fn meant_by(name: &str) -> Option<String> {
    let begins_so = name.get(..NEARLY_PREFIX.len())?.eq_ignore_ascii_case(NEARLY_PREFIX);
    let rest = name.get(NEARLY_PREFIX.len()..).filter(|_| begins_so)?;
    let (section, _) = rest.split_once(SEPARATOR)?;
    SECTIONS.contains(&section.to_lowercase().as_str()).then(|| format!("{PREFIX}{rest}"))
}

/// Turns the part of a name after the prefix into a key's path, or into what was found and what is wanted.
fn path(rest: &str, files: &Map<String, Value>) -> Result<Vec<String>, (String, String)> {
    let lower = rest.to_lowercase();
    let parts: Vec<&str> = lower.split(SEPARATOR).collect();
    let section = parts.first().copied().unwrap_or_default();
    if section == "rules" || parts.get(3..).is_some_and(|_| parts.get(2).is_some_and(|key| FILES_ONLY.contains(key))) {
        return Err(("a key that one variable can't express".to_owned(), "this key in a file".to_owned()));
    }
    if !SECTIONS.contains(&section) {
        let wanted = format!("{PREFIX}SECTION{SEPARATOR}KEY with a section of {}", SECTIONS.join(", "));
        return Err(("a section that does not exist".to_owned(), wanted));
    }
    match (NAMED.contains(&section), parts.as_slice()) {
        (false, [section, key]) if !key.is_empty() => Ok(vec![(*section).to_owned(), (*key).to_owned()]),
        (true, [_, _, key]) if FILES_ONLY.contains(key) => {
            Err(("a key that one variable can't express".to_owned(), "this key in a file".to_owned()))
        }
        (true, [section, id, key]) if !id.is_empty() && !key.is_empty() => {
            let id = existing_id(section, id, files).unwrap_or_else(|| (*id).to_owned());
            Ok(vec![(*section).to_owned(), id, (*key).to_owned()])
        }
        (false, _) => Err(("a name of another form".to_owned(), format!("{PREFIX}SECTION{SEPARATOR}KEY"))),
        (true, _) => Err(("a name of another form".to_owned(), format!("{PREFIX}SECTION{SEPARATOR}ID{SEPARATOR}KEY"))),
    }
}

/// An id with its separators made alike, so that ids are equal if variables can't tell them apart.
pub(super) fn alike(id: &str) -> String {
    id.replace('-', "_")
}

fn existing_id(section: &str, id: &str, files: &Map<String, Value>) -> Option<String> {
    let ValueKind::Table(entries) = &files.get(section)?.kind else { return None };
    if entries.contains_key(id) {
        return Some(id.to_owned());
    }
    // Any of several that coincide will do: that they coincide is a fault already.
    entries.keys().filter(|existing| alike(&existing.to_lowercase()) == alike(id)).min().cloned()
}

/// Puts the value where the path leads; `false` if there is one already.
fn insert(table: &mut Map<String, Value>, path: &[String], value: Value) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    if rest.is_empty() {
        return match table.entry(first.clone()) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(value);
                true
            }
        };
    }
    let child = table.entry(first.clone()).or_insert_with(|| Value::new(None, Map::<String, Value>::new()));
    let ValueKind::Table(child) = &mut child.kind else { return false };
    insert(child, rest, value)
}
