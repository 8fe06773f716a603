//! Which module of the crate may use which. A new edge is a decision: it is made here first.

use std::collections::BTreeMap;

use crate::code::{Source, paths, sources, text};

/// Each module with those that it may use, lowest first. Whoever stands further up may never be used by whoever stands
/// further down; among the lower ones not everybody may use everybody either.
const MAY_USE: [(&str, &[&str]); 19] = [
    ("domain", &[]),
    ("authorities", &[]),
    ("clock", &["domain"]),
    ("entropy", &["domain"]),
    ("state_file", &["domain"]),
    ("upstream", &["domain", "authorities", "clock"]),
    ("actors", &["domain", "clock", "state_file", "upstream"]),
    ("settings", &["domain", "authorities"]),
    ("telemetry", &["settings"]),
    ("status", &["domain", "upstream"]),
    ("http", &["domain", "clock", "entropy", "upstream", "actors", "settings", "telemetry"]),
    ("policies", &["domain", "upstream", "actors", "settings"]),
    ("token", &["domain", "entropy", "settings"]),
    ("reload", &["domain", "clock", "upstream", "actors", "settings", "telemetry", "http", "policies", "token"]),
    (
        "app",
        &[
            "domain",
            "clock",
            "entropy",
            "state_file",
            "upstream",
            "actors",
            "settings",
            "http",
            "policies",
            "token",
            "reload",
        ],
    ),
    ("cli", &["domain", "settings"]),
    ("demo", &["domain", "clock", "upstream", "actors", "settings", "telemetry", "http", "app", "cli"]),
    ("live", &["domain", "clock", "upstream", "settings", "policies"]),
    (
        "run",
        &[
            "domain",
            "clock",
            "entropy",
            "state_file",
            "upstream",
            "actors",
            "settings",
            "telemetry",
            "status",
            "app",
            "cli",
            "demo",
            "live",
        ],
    ),
];

/// The module at the crate's top that a file belongs to, and how many modules deep the file is; none for the crate's roots.
fn place(path: &str) -> Option<(&str, usize)> {
    let inner = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let (module, deeper) = inner.split_once('/').unwrap_or((inner, ""));
    let segments = deeper.split('/').filter(|segment| !segment.is_empty() && *segment != "mod").count();
    (!matches!(module, "lib" | "main")).then_some((module, segments + 1))
}

/// The modules at the crate's top that a file uses.
fn used<'a>(source: &'a Source, depth: usize, names: &[&str]) -> Vec<&'a str> {
    let mut used = Vec::new();
    for path in paths(&source.code) {
        let supers = path.iter().take_while(|word| **word == "super").count();
        match path.as_slice() {
            ["crate", module, ..] => used.push(*module),
            // As many steps up as the file is deep lead to the crate's top.
            _ if supers == depth => used.extend(path.get(supers).filter(|module| names.contains(module))),
            _ => {}
        }
    }
    used
}

#[test]
fn every_module_has_its_place_among_the_layers() {
    let library = text("src/lib.rs");
    let declared: Vec<&str> = library
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    assert!(declared.len() > 5, "{declared:?}");
    for module in declared {
        assert!(MAY_USE.iter().any(|(name, _)| *name == module), "{module} has no row in MAY_USE");
    }
}

#[test]
fn the_layers_have_no_circle() {
    let rank: BTreeMap<&str, usize> = MAY_USE.iter().enumerate().map(|(rank, (name, _))| (*name, rank)).collect();
    for (name, allowed) in MAY_USE {
        for used in allowed {
            assert!(rank[used] < rank[name], "{name} may not use {used}, which stands above it");
        }
    }
}

#[test]
fn a_module_uses_only_those_that_it_may() {
    let names = MAY_USE.map(|(name, _)| name);
    let mut edges = 0;
    for source in sources("src").iter().filter(|source| !source.is_test()) {
        let Some((module, depth)) = place(&source.path) else { continue };
        assert!(!source.code.contains("crate::{"), "{}: a path in full for each use of the crate", source.path);
        let (_, allowed) = MAY_USE.iter().find(|(name, _)| *name == module).unwrap();
        for used in used(source, depth, &names) {
            edges += usize::from(used != module);
            assert!(used == module || allowed.contains(&used), "{}: {module} may not use {used}", source.path);
        }
    }
    assert!(edges > 50, "the scan has found {edges} uses only; has it lost its way?");
}

#[test]
fn a_files_place_is_read_from_its_path() {
    for (path, expected) in [
        ("src/http/own/stats.rs", Some(("http", 3))),
        ("src/http/own.rs", Some(("http", 2))),
        ("src/http/mod.rs", Some(("http", 1))),
        ("src/clock.rs", Some(("clock", 1))),
        ("src/lib.rs", None),
    ] {
        assert_eq!(place(path), expected, "{path}");
    }
    let source = Source { path: String::new(), code: "use super::super::http::x; use crate::app::y;".to_owned() };
    assert_eq!(used(&source, 2, &["http", "app"]), ["http", "app"]);
}
