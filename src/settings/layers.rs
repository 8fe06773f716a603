//! The layers that settings come in, and their merged result, in which later ones win.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use config::{Config, Map, Value, ValueKind};

use super::Source;
use super::fault::{Fault, key_part};
use super::given::Given;
use super::origin::Origin;
use super::seen::FilesSeen;
use super::toml_text;

/// The defaults, which are the first layer.
pub(super) const BUILT_IN: &str = include_str!("../../settings/default.toml");

/// Every table (and the one list of tables) that settings may have at their top.
pub(super) const SECTIONS: [&str; 21] = [
    "server",
    "log",
    "timeouts",
    "stream",
    "retry",
    "breaker",
    "rate_limit",
    "overload",
    "verifier",
    "affinity",
    "stats",
    "state",
    "reload",
    "admin",
    "upstream",
    "webhook",
    "otel",
    "rules",
    "clients",
    "endpoints",
    "prices",
];

/// The only section that is a list.
const RULES: &str = "rules";
/// The sections that must be readable before anything can be called missing.
const ENTRIES: [&str; 2] = ["endpoints", "clients"];

/// The settings directory if none is named.
const DEFAULT_PLACE: &str = "settings";
/// How many of the files that are not read are named at most.
const MAX_PASSED_OVER: usize = 10;
/// The name of the layer of variables.
const VARIABLES: &str = "variables";
/// What a file of settings has to be.
const READABLE: &str = "a readable file in UTF-8";
/// The environment if none is named.
const DEFAULT_ENVIRONMENT: &str = "development";

/// One layer: a file, or all variables together.
#[derive(Clone)]
struct Layer {
    name: String,
    table: Map<String, Value>,
}

impl fmt::Debug for Layer {
    /// Without the values, some of which are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Layer").field(&self.name).finish()
    }
}

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.table.clone())
    }
}

/// Where files of settings were looked for.
#[derive(Debug, Default)]
pub(super) enum Place {
    /// Nowhere.
    #[default]
    Nowhere,
    /// A single file.
    File,
    /// In a directory.
    Directory {
        /// The directory.
        path: PathBuf,
        /// The files that would be read from it, but are not there.
        absent: Vec<PathBuf>,
    },
}

/// All layers, lowest first.
#[derive(Debug, Default)]
pub(super) struct Layers {
    stack: Vec<Layer>,
    /// Where the files are.
    pub(super) place: Place,
    /// The files that the layers were read from.
    pub(super) seen: FilesSeen,
    /// Whether part of what was meant is unknown, because a file, or its endpoints or clients, can't be read. Then a
    /// missing key is no fault.
    pub(super) have_gaps: bool,
}

impl Layers {
    /// The built-in defaults alone.
    pub(super) fn built_in(faults: &mut Vec<Fault>) -> Self {
        let mut layers = Self::default();
        layers.add_text("the built-in defaults".to_owned(), BUILT_IN, &SECTIONS, faults);
        layers
    }

    /// Reads a further file over the others. One that can't be read leaves a fault.
    fn add_file(&mut self, path: &Path, faults: &mut Vec<Fault>) {
        if let Err(error) = self.try_to_add_file(path, &SECTIONS, faults) {
            let (source, found) = (path.display().to_string(), error.to_string());
            faults.push(Fault { key: String::new(), source, found, wanted: READABLE.to_owned() });
        }
    }

    /// Adds a file that may only have these tables, and that `key` names in this place. Returns whether it could be
    /// read.
    pub(super) fn add_named_file(
        &mut self,
        key: &str,
        place: String,
        path: &Path,
        tables: &[&str],
        faults: &mut Vec<Fault>,
    ) -> bool {
        let added = self.try_to_add_file(path, tables, faults);
        if let Err(error) = &added {
            let found = format!("{}: {error}", path.display());
            faults.push(Fault { key: key.to_owned(), source: place, found, wanted: READABLE.to_owned() });
        }
        added.is_ok()
    }

    fn try_to_add_file(&mut self, path: &Path, tables: &[&str], faults: &mut Vec<Fault>) -> io::Result<()> {
        let text = self.seen.read_text(path).inspect_err(|_| self.have_gaps = true)?;
        self.add_text(path.display().to_string(), &text, tables, faults);
        Ok(())
    }

    fn add_text(&mut self, name: String, text: &str, tables: &[&str], faults: &mut Vec<Fault>) {
        let mut table = match toml_text::parse(text, self.stack.len()) {
            Ok(table) => table,
            Err(error) => {
                self.have_gaps = true;
                let source = error.line.map_or_else(|| name.clone(), |line| format!("{name} line {line}"));
                let found = format!("a text that is not TOML ({})", error.message);
                faults.push(Fault { key: String::new(), source, found, wanted: "valid TOML".to_owned() });
                Map::new()
            }
        };
        // The merging library takes a top-level key for a path, so an unknown one must not reach it.
        let is_known = |key: &str| tables.contains(&key);
        let (known, unknown): (Map<_, _>, Map<_, _>) = table.drain().partition(|(key, _)| is_known(key));
        // Nor must a value that is no table where one has to be: it would displace everything that the lower layers say
        // there.
        let is_sound = |key: &str, value: &Value| match value.kind {
            ValueKind::Array(_) => key == RULES,
            ValueKind::Table(_) => key != RULES,
            _ => false,
        };
        let (sound, others): (Map<_, _>, Map<_, _>) = known.into_iter().partition(|(key, value)| is_sound(key, value));
        self.stack.push(Layer { name, table: sound });
        self.have_gaps |= ENTRIES.iter().any(|key| others.contains_key(*key));
        for (key, value) in in_order(unknown) {
            let found = "a table or key that does not exist".to_owned();
            let wanted = format!("one of the tables {}", tables.join(", "));
            faults.push(Fault { key: key_part(&key), source: self.place_of_value(&value), found, wanted });
        }
        for (key, value) in in_order(others) {
            let found = Given::Typed(&value.kind).kind().to_owned();
            let wanted = match key.as_str() {
                RULES => format!("a list of tables: [[{key}]]"),
                "endpoints" | "clients" | "prices" => format!("tables: [{key}.NAME]"),
                _ => format!("a table: [{key}]"),
            };
            faults.push(Fault { source: self.place_of_value(&value), key, found, wanted });
        }
    }

    /// Puts the variables over the files.
    pub(super) fn add_variables(&mut self, table: Map<String, Value>) {
        self.stack.push(Layer { name: VARIABLES.to_owned(), table });
    }

    /// Takes the highest layer off again.
    pub(super) fn remove_highest(&mut self) {
        self.stack.pop();
    }

    /// Merges the layers: later ones win, key by key; each value keeps its origin.
    pub(super) fn merged(&self) -> Map<String, Value> {
        let mut builder = Config::builder();
        for layer in self.stack.iter().cloned() {
            builder = builder.add_source(layer);
        }
        // A layer never fails to give its content, so there is always a table.
        match builder.build().map(|config| config.cache.kind) {
            Ok(ValueKind::Table(table)) => table,
            Ok(_) | Err(_) => Map::new(),
        }
    }

    /// The names of the layers, lowest first.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.stack.iter().map(|layer| layer.name.as_str())
    }

    /// The table of this name in the highest layer.
    pub(super) fn in_highest(&self, table: &str) -> Option<&Value> {
        self.stack.last()?.table.get(table)
    }

    /// The place of a value: a file with a line, or a variable's name.
    pub(super) fn place_of_value(&self, value: &Value) -> String {
        origin_of(value).map_or_else(String::new, |origin| self.place(&origin))
    }

    /// The place that an origin names.
    fn place(&self, origin: &Origin) -> String {
        match origin {
            Origin::Variable { name } => format!("variable {name}"),
            Origin::Line { layer, line } => {
                let name = self.stack.get(*layer).map_or("", |layer| layer.name.as_str());
                format!("{name} line {line}")
            }
        }
    }

    /// The place of a table in the highest layer that has it. The merging library forgets it for tables.
    pub(super) fn place_of_table(&self, path: &[String]) -> String {
        let find = |layer: &Layer| {
            let (first, rest) = path.split_first()?;
            let mut value = layer.table.get(first)?;
            for part in rest {
                let ValueKind::Table(table) = &value.kind else { return None };
                value = table.get(part)?;
            }
            origin_of(value)
        };
        self.stack.iter().rev().find_map(find).map_or_else(String::new, |origin| self.place(&origin))
    }

    /// Tells which files were read, which were looked for and are not there, and which TOML files are there but not read.
    pub(super) fn what_was_looked_at(&self) -> String {
        let list =
            |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        let files = self.names().filter(|name| *name != VARIABLES);
        let mut told = format!("read: {}", files.collect::<Vec<_>>().join(", "));
        let Place::Directory { path, absent } = &self.place else { return told };
        if !absent.is_empty() {
            told.push_str("; not there: ");
            told.push_str(&list(absent));
        }
        let passed_over = self.passed_over(path);
        if !passed_over.is_empty() {
            told.push_str("; there, but of no name that is read (see --env, or name one by --settings): ");
            told.push_str(&list(&passed_over));
        }
        told
    }

    /// The TOML files in a directory that are not read, in the order of their names.
    fn passed_over(&self, directory: &Path) -> Vec<PathBuf> {
        let is_toml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
        let is_read = |path: &PathBuf| self.names().any(|name| name == path.display().to_string());
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| is_toml(path) && !is_read(path)).collect();
        paths.sort();
        paths.truncate(MAX_PASSED_OVER);
        paths
    }
}

fn in_order(table: Map<String, Value>) -> BTreeMap<String, Value> {
    table.into_iter().collect()
}

/// Where a value came from; for a merged table, where one of its values did.
pub(super) fn origin_of(value: &Value) -> Option<Origin> {
    if let Some(origin) = value.origin() {
        return Origin::decode(origin);
    }
    let ValueKind::Table(table) = &value.kind else { return None };
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries.into_iter().find_map(|(_, value)| origin_of(value))
}

/// Reads the files that `source` names, over the built-in defaults.
pub(super) fn read_files(source: &Source, faults: &mut Vec<Fault>) -> Layers {
    let mut layers = Layers::built_in(faults);
    let named_place = source.place.as_deref().filter(|place| !place.as_os_str().is_empty());
    let place = named_place.unwrap_or_else(|| Path::new(DEFAULT_PLACE));
    match place.metadata() {
        Ok(found) if found.is_dir() => {}
        // Anything but a directory is read as a file: it may be a pipe.
        Ok(_) => {
            layers.place = Place::File;
            layers.add_file(place, faults);
            return layers;
        }
        Err(error) if named_place.is_some() => {
            layers.have_gaps = true;
            faults.push(Fault {
                key: String::new(),
                source: place.display().to_string(),
                found: match error.kind() {
                    io::ErrorKind::NotFound => "no such directory or file".to_owned(),
                    _ => error.to_string(),
                },
                wanted: "a directory with settings, or a single file (--settings, QCC_SETTINGS_DIR)".to_owned(),
            });
            return layers;
        }
        // Its files are looked for one by one.
        Err(_) => {}
    }
    let before = faults.len();
    let Files { paths, absent } = files_in(place, source, faults);
    layers.have_gaps = faults.len() > before;
    layers.place = Place::Directory { path: place.to_owned(), absent };
    for path in paths {
        layers.add_file(&path, faults);
    }
    layers
}

/// The files to be read from a directory.
#[derive(Default)]
struct Files {
    paths: Vec<PathBuf>,
    absent: Vec<PathBuf>,
}

fn files_in(place: &Path, source: &Source, faults: &mut Vec<Fault>) -> Files {
    let chosen = source.environment.as_deref().filter(|name| !name.is_empty());
    let environment = chosen.unwrap_or(DEFAULT_ENVIRONMENT);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut names = vec!["default"];
    if !environment.chars().all(is_plain) || environment.starts_with('.') {
        faults.push(Fault {
            key: String::new(),
            source: "--env or QCC_ENV".to_owned(),
            found: super::fault::quoted(environment),
            wanted: "a name of letters, digits, '-', '_' and '.': the file NAME.toml in the settings directory"
                .to_owned(),
        });
    } else if !matches!(environment, "default" | "local") {
        names.push(environment);
    }
    names.push("local");
    let mut files = Files::default();
    for name in names {
        let path = place.join(format!("{name}.toml"));
        let is_absent = path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if !is_absent {
            // An unreadable file is a fault, not an absence; so is one that may exist in a directory that can't be
            // searched.
            files.paths.push(path);
            continue;
        }
        if chosen == Some(name) {
            faults.push(Fault {
                key: String::new(),
                source: path.display().to_string(),
                found: "no such file".to_owned(),
                wanted: format!("the file of the environment {name:?} that was named (--env, QCC_ENV)"),
            });
        }
        files.absent.push(path);
    }
    files
}
