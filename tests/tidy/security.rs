//! The threat model names the tests that hold it: they exist, and keys and routes that it names do too.

use std::collections::BTreeSet;

use crate::code::{sources, text, toml_keys};

/// What stands in backticks and looks like a test's name: a sentence of small words.
fn tests_named(page: &str) -> BTreeSet<&str> {
    let is_sentence = |code: &&str| {
        code.split('_').count() > 3 && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    page.split('`').skip(1).step_by(2).filter(is_sentence).collect()
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let page = text(".github/SECURITY.md");
    let named = tests_named(&page);
    assert!(named.len() > 20, "{} names only; has the scan lost its way?", named.len());
    let all: Vec<_> = [sources("src"), sources("tests")].into_iter().flatten().collect();
    for name in named {
        let function = format!("fn {name}(");
        assert!(
            all.iter().any(|source| source.code.contains(&function)),
            "SECURITY.md names `{name}`, which is no test"
        );
    }
}

#[test]
fn the_keys_that_the_threat_model_names_exist() {
    let defaults = toml_keys("settings/default.toml");
    let page = text(".github/SECURITY.md");
    let mut seen = 0;
    for code in page.split('`').skip(1).step_by(2) {
        let Some((section, key)) = code.split_once('.') else { continue };
        let Some(keys) = defaults.get(section) else { continue };
        assert!(keys.contains(key), "SECURITY.md names `{code}`, which is no key");
        seen += 1;
    }
    assert!(seen >= 5, "{seen} keys only");
}

#[test]
fn a_tests_name_is_a_sentence() {
    let page = "`only_clients_with_a_key_are_served`, `max_in_flight`, `server.max_body`, `x-qcc-…`, `GET /a_b_c_d`";
    assert_eq!(tests_named(page).into_iter().collect::<Vec<_>>(), ["only_clients_with_a_key_are_served"]);
}
