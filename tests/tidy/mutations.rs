//! The guards that `tests/mutations/run` takes out, one at a time: each can be taken out of the source as it is now.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use crate::code::{Source, sources, text};

struct Edit<'a> {
    file: &'a str,
    old: &'a str,
    new: &'a str,
}

struct Mutation<'a> {
    id: &'a str,
    closed_by: Vec<&'a str>,
    tests: Vec<&'a str>,
    edits: Vec<Edit<'a>>,
}

fn word<'a>(of: &'a DeValue<'_>, key: &str) -> &'a str {
    let value = of.get(key).and_then(|value| value.get_ref().as_str());
    value.unwrap_or_else(|| panic!("a text is wanted for {key} in {of:?}"))
}

fn items<'a, 'text>(of: &'a DeValue<'text>, key: &str) -> impl Iterator<Item = &'a DeValue<'text>> {
    let array = of.get(key).and_then(|value| value.get_ref().as_array());
    array.into_iter().flatten().map(toml::Spanned::get_ref)
}

fn mutation<'a>(value: &'a DeValue<'_>) -> Mutation<'a> {
    let words = |key| items(value, key).filter_map(DeValue::as_str).collect();
    let edit =
        |edit: &'a DeValue<'_>| Edit { file: word(edit, "file"), old: word(edit, "old"), new: word(edit, "new") };
    assert!(!word(value, "guard").is_empty() && !word(value, "promise").is_empty());
    Mutation {
        id: word(value, "id"),
        closed_by: words("closed_by"),
        tests: words("tests"),
        edits: items(value, "edits").map(edit).collect(),
    }
}

/// Takes a guard out of the files as they are by then.
fn take_out<'a>(mutation: &Mutation<'a>, files: &mut BTreeMap<&'a str, String>) {
    assert!(!mutation.edits.is_empty(), "{} changes nothing", mutation.id);
    for Edit { file, old, new } in &mutation.edits {
        let source = files.entry(file).or_insert_with(|| text(file));
        let found = source.matches(old).count();
        assert_eq!(found, 1, "{} is at fault: its text stands {found} times in {file}:\n{old}", mutation.id);
        assert_ne!(old, new, "{} changes nothing", mutation.id);
        *source = source.replace(old, new);
    }
}

#[test]
fn every_guard_on_the_list_of_mutations_can_be_taken_out() {
    let list = text("tests/mutations/guards.toml");
    let table = DeTable::parse(&list).unwrap();
    let all = DeValue::Table(table.into_inner());
    let mutations: Vec<Mutation<'_>> = items(&all, "mutation").map(mutation).collect();
    let by_id: BTreeMap<&str, &Mutation<'_>> = mutations.iter().map(|mutation| (mutation.id, mutation)).collect();
    assert_eq!(by_id.len(), mutations.len(), "two guards have the same id");
    assert!(by_id.len() > 50, "{} guards only; has the list lost some?", by_id.len());
    for mutation in &mutations {
        let mut files = BTreeMap::new();
        take_out(mutation, &mut files);
        for other in &mutation.closed_by {
            take_out(by_id.get(other).unwrap_or_else(|| panic!("{other} is on no list")), &mut files);
        }
    }
}

/// The names of a target's tests, as cargo filters them: modules and function. Of documentation: the files that have examples.
fn names(target: &str) -> Vec<String> {
    let folder = if ["lib", "doc"].contains(&target) { "src".to_owned() } else { format!("tests/{target}") };
    let mut names = Vec::new();
    for Source { path, code } in sources(&folder) {
        if target == "doc" {
            names.extend(text(&path).contains("/// ```").then_some(path));
            continue;
        }
        let file = path.trim_start_matches(&folder).trim_start_matches('/').trim_end_matches(".rs");
        let module = file.trim_end_matches("/mod").replace('/', "::");
        for test in code.split("test]").skip(1) {
            let (_, function) = test.split_once("fn ").unwrap_or_else(|| panic!("a test without a function in {path}"));
            names.push(format!("{module}::{}", function.split(['(', '<']).next().unwrap_or_default()));
        }
    }
    names
}

/// Whether a filter of cargo's lets any test of its target run. What was read of a target is read once.
fn runs_any<'a>(test: &'a str, known: &mut BTreeMap<&'a str, Vec<String>>) -> bool {
    // What the run has short names for.
    let test = match test {
        "simulation" => "model simulation::the_promises",
        "properties" => "model properties::",
        other => other,
    };
    let (target, filter) = test.split_once(' ').unwrap_or((test, ""));
    known.entry(target).or_insert_with(|| names(target)).iter().any(|name| name.contains(filter))
}

#[test]
fn the_tests_that_the_list_of_mutations_names_are_there() {
    let list = text("tests/mutations/guards.toml");
    let table = DeTable::parse(&list).unwrap();
    let all = DeValue::Table(table.into_inner());
    let mut named = BTreeMap::new();
    for Mutation { id, tests, .. } in items(&all, "mutation").map(mutation) {
        assert!(!tests.is_empty(), "{id} names no test");
        named.extend(tests.into_iter().map(|test| (test, id)));
    }
    let mut known = BTreeMap::new();
    for (test, id) in named {
        assert!(runs_any(test, &mut known), "{id} names the test `{test}`, of which there is none");
    }
    for test in ["api no_such_test::", "doc no_such_file"] {
        assert!(!runs_any(test, &mut known), "{test}");
    }
}
