//! What the settings accept, what they refuse, and what they say about it.

mod defaults;
mod faults;
mod layering;
mod notes;
mod properties;
mod reload;
mod secrecy;

use std::collections::BTreeMap;
use std::path::Path;

use super::{Faults, Loaded, Source, load};

/// A sound endpoint, to which a test adds its subject.
const ENDPOINT: &str = "[endpoints.main]\nbase_url = \"https://a.example\"\napi_key = \"k\"\n";

/// A directory of settings files of one test's own.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn source(&self, variables: &[(&str, &str)]) -> Source {
        let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Source { place: Some(self.path().to_owned()), environment: None, variables: variables.collect() }
    }
}

/// Loads one file with variables.
fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Faults> {
    load(&Directory::new(&[("local.toml", text)]).source(variables))
}

/// The faults of one file with variables, as text; empty if there are none.
fn faults_of(text: &str, variables: &[(&str, &str)]) -> String {
    load_text(text, variables).map_or_else(|faults| faults.to_string(), |_| String::new())
}

/// Loads settings that are sound.
#[track_caller]
fn sound(text: &str, variables: &[(&str, &str)]) -> Loaded {
    match load_text(text, variables) {
        Ok(loaded) => loaded,
        Err(faults) => panic!("{text}\n{faults}"),
    }
}

/// Checks that there is exactly one fault, and that its line holds all of `parts`.
#[track_caller]
fn one_fault(text: &str, variables: &[(&str, &str)], parts: &[&str]) {
    let Err(faults) = load_text(text, variables) else { panic!("no fault: {text} {variables:?}") };
    assert_eq!(faults.iter().len(), 1, "{text} {variables:?}\n{faults}");
    for part in parts {
        assert!(faults.to_string().contains(part), "{part:?} is missing: {faults}\n{text}");
    }
}

/// No variables.
fn none() -> BTreeMap<String, String> {
    BTreeMap::new()
}
