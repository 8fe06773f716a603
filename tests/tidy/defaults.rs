//! `settings/default.toml` is both the document of every key and the binary's first layer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use qcc_gateway::settings::{Loaded, Source, load};

use crate::code::{root, text};

/// The least that settings need, as variables.
const LEAST: [(&str, &str); 2] =
    [("QCC__ENDPOINTS__MAIN__BASE_URL", "https://api.example"), ("QCC__ENDPOINTS__MAIN__API_KEY", "k")];

pub(crate) fn loaded(place: PathBuf, variables: &[(&str, &str)]) -> Loaded {
    let variables: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let source = Source { place: Some(place), environment: None, variables };
    load(&source).unwrap_or_else(|faults| panic!("{faults}"))
}

#[test]
fn the_text_of_the_defaults_is_what_is_built_in() {
    assert!(text("src/settings/layers.rs").contains(r#"include_str!("../../settings/default.toml")"#));
    let nothing = tempfile::NamedTempFile::new().unwrap();
    let built_in = loaded(nothing.path().to_owned(), &LEAST);
    // Were a key in the text unknown, or of another type, this would be a fault.
    let from_text = loaded(root().join("settings/default.toml"), &LEAST);
    assert_eq!(built_in.settings, from_text.settings);
    assert!(built_in.notes.is_empty() && from_text.notes.is_empty(), "{:?}", from_text.notes);
}

#[test]
fn every_key_of_the_examples_is_known() {
    let mut in_force = String::new();
    let mut is_example = false;
    for line in text("settings/default.toml").lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        is_example = line.starts_with("# ") && (bare.starts_with('[') || (is_example && bare.contains(" = ")));
        in_force.push_str(if is_example { bare } else { line });
        in_force.push('\n');
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), in_force).unwrap();
    let loaded = loaded(file.path().to_owned(), &[("ALICE_KEY", "a"), ("ANTHROPIC_API_KEY", "b")]);
    assert_eq!((loaded.topology.iter().count(), loaded.clients.len()), (1, 1));
}
