//! The settings: built-in defaults, files and variables, layer over layer, read into types that hold valid values only.
//!
//! Only files are read here; variables come in as an argument. All faults are found, not just the first, and no fault
//! shows a secret.

mod clients;
mod contact;
mod credential;
mod cross;
mod effect;
mod endpoints;
mod environment;
mod fault;
mod given;
mod headers;
mod layers;
mod origin;
mod reading;
mod reload;
mod sections;
mod seen;
mod toml_text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Map, Value, ValueKind};

pub use contact::{Contact, Reach, contact, reach};
pub use effect::Note;
pub use fault::{Fault, Faults};
pub use reload::{ClientsDiff, Reread};
pub use sections::*;
pub use seen::FilesSeen;

use layers::Layers;
use reading::Reading;

use crate::domain::client::Client;
use crate::domain::topology::Topology;

/// Where settings come from.
#[derive(Clone, Default)]
pub struct Source {
    /// A directory or a single file, which then must exist; `None`: the directory `settings`, if there is one.
    pub place: Option<PathBuf>,
    /// The environment, whose file then must exist in a directory; `None`: `development`, if there is such a file.
    pub environment: Option<String>,
    /// The process's variables.
    pub variables: BTreeMap<String, String>,
}

impl Source {
    /// What the variable `RUST_LOG` says about the log.
    #[must_use]
    pub fn rust_log(&self) -> RustLog<'_> {
        RustLog::read(self.variables.get(RustLog::NAME).map(String::as_str))
    }
}

impl fmt::Debug for Source {
    /// Without the variables, some of which are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut source = f.debug_struct("Source");
        source.field("place", &self.place).field("environment", &self.environment).finish_non_exhaustive()
    }
}

/// Settings without a fault.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// All but the endpoints and clients.
    pub settings: Settings,
    /// The endpoints.
    pub topology: Topology,
    /// The clients, in the order of their ids. If there are none, everybody is served.
    pub clients: Vec<Client>,
    /// Notes on keys that are set but do not do what they seem to.
    pub notes: Vec<Note>,
    /// The names of the variables that were used, in order.
    pub variables_taken: Vec<String>,
    /// The layers that were read, lowest first.
    pub sources: Vec<String>,
    /// Each key that was read, with its value in one form, however it was written; never a secret's.
    pub values: BTreeMap<String, String>,
    /// The source of all this, so that it can be read again.
    pub source: Source,
    /// The files that were looked at.
    pub files: FilesSeen,
}

/// The result of one reading of the settings, sound or not.
#[derive(Clone, Debug)]
pub struct Look {
    /// The settings, or every fault in them.
    pub found: Result<Loaded, Faults>,
    /// The files that were looked at.
    pub files: FilesSeen,
}

/// Reads the settings.
///
/// # Errors
///
/// Every [`Fault`] in them.
pub fn load(source: &Source) -> Result<Loaded, Faults> {
    look(source).found
}

/// Reads the settings, and remembers which files they came from and what those held.
#[must_use]
pub fn look(source: &Source) -> Look {
    let mut files = FilesSeen::default();
    let found = read(source, &mut files);
    Look { found, files }
}

fn read(source: &Source, files: &mut FilesSeen) -> Result<Loaded, Faults> {
    let mut faults = Vec::new();
    let mut layers = layers::read_files(source, &mut faults);
    add_clients_file(&mut layers, source, &mut faults);
    let variables = environment::read(&source.variables, &layers.merged());
    faults.extend(variables.faults);
    let mut sources: Vec<String> = layers.names().map(ToOwned::to_owned).collect();
    if !variables.taken.is_empty() {
        sources.push("variables".to_owned());
    }
    layers.add_variables(variables.table);

    let mut tree = layers.merged();
    let mut reading = Reading::new(&layers, &source.variables);
    cross::check_ids(&mut reading, &tree);
    let settings = Settings::read(&mut reading, &mut tree);
    let endpoints = endpoints::read(&mut reading, &mut tree);
    let clients = clients::read(&mut reading, &mut tree);
    let notes = effect::judge(&reading, &settings, &endpoints.sound, &clients, source);
    cross::check(&mut reading, &settings, &endpoints, &clients);
    faults.append(&mut reading.faults);
    let Reading { seen, recorded: values, variables_taken: named, .. } = reading;
    files.extend(seen);
    files.extend(layers.seen);
    Faults::none_or(faults)?;

    let mut variables_taken = variables.taken;
    variables_taken.extend(named);
    variables_taken.extend(source.rust_log().filter().map(|_| RustLog::NAME.to_owned()));
    variables_taken.sort();
    variables_taken.dedup();
    let topology = Topology::new(endpoints.sound);
    let source = source.clone();
    Ok(Loaded { settings, topology, clients, notes, variables_taken, sources, values, source, files: files.clone() })
}

/// Puts the file that `server.clients_file` names over the other files.
fn add_clients_file(layers: &mut Layers, source: &Source, faults: &mut Vec<Fault>) {
    let files = layers.merged();
    layers.add_variables(environment::read(&source.variables, &files).table);
    let named = clients_file(layers.merged()).map(|(path, value)| (path, layers.place_of_value(&value)));
    layers.remove_highest();
    let Some((path, place)) = named else { return };
    if !layers.add_named_file("server.clients_file", place, &path, &["clients"], faults) {
        return;
    }
    let ids = |value: Option<&Value>| match value.map(|value| &value.kind) {
        Some(ValueKind::Table(entries)) => entries.clone(),
        Some(_) | None => Map::new(),
    };
    let before = ids(files.get("clients"));
    let added = ids(layers.in_highest("clients"));
    let mut clashing: Vec<(&String, &Value)> = added.iter().filter(|(id, _)| before.contains_key(*id)).collect();
    clashing.sort_by_key(|(id, _)| *id);
    for (id, value) in clashing {
        faults.push(Fault {
            key: format!("clients.{}", fault::key_part(id)),
            source: layers.place_of_value(value),
            found: "a client that another file has too".to_owned(),
            wanted: "each client in one file only".to_owned(),
        });
    }
}

/// The path of the file of clients, and the value that names it.
fn clients_file(mut tree: Map<String, Value>) -> Option<(PathBuf, Value)> {
    let ValueKind::Table(mut server) = tree.remove("server")?.kind else { return None };
    let value = server.remove("clients_file")?;
    let ValueKind::String(path) = &value.kind else { return None };
    (!path.is_empty()).then(|| (Path::new(path).to_owned(), value.clone()))
}
