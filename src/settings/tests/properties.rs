//! Whatever is written in files and variables, reading it ends with settings or with faults.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::layers::SECTIONS;
use super::{Directory, ENDPOINT, Source, load};

fn load_both(text: &str, variables: BTreeMap<String, String>) -> usize {
    let directory = Directory::new(&[("local.toml", text)]);
    let source = Source { variables, ..directory.source(&[]) };
    load(&source).map_or_else(|faults| faults.to_string().lines().count(), |_| 0)
}

/// A value as TOML writes it, of any type.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("TOML has other words", |number| number.is_finite())
            .prop_map(|number| format!("{number:?}")),
        any::<bool>().prop_map(|flag| flag.to_string()),
        "[ -!#-\\[\\]-~]{0,12}".prop_map(|text| format!("\"{text}\"")),
        "[0-9]{1,5}(ms|s|m|h|MiB|)".prop_map(|text| format!("\"{text}\"")),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            inner.prop_map(|item| format!("{{ a = {item} }}")),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "port",
        "host",
        "max_body",
        "connect",
        "token",
        "api_key",
        "base_url",
        "weight",
        "profiles",
        "headers",
        "model_map",
        "auth",
        "key",
        "keys_sha256",
        "enabled",
        "as",
        "status",
        "input",
        "events",
        "clients_file",
        "level",
    ]);
    prop_oneof![known.prop_map(ToOwned::to_owned), "[a-z_]{1,8}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_text_and_any_variables_end_in_an_answer(
        text in any::<String>(),
        variables in prop::collection::btree_map("(QCC__|qcc__|)[A-Za-z_-]{0,20}", any::<String>(), 0..6),
    ) {
        load_both(&text, variables);
    }

    #[test]
    fn any_value_at_any_key_ends_in_an_answer(
        section in prop::sample::select(SECTIONS.to_vec()),
        id in prop::option::of("[a-z.-]{1,5}"),
        key in key(),
        value in value(),
        text in any::<String>(),
    ) {
        let header = id.as_ref().map_or_else(|| section.to_owned(), |id| format!("{section}.{id:?}"));
        let name = [Some(section), id.as_deref(), Some(&key)].into_iter().flatten().collect::<Vec<_>>().join("__");
        let variables = BTreeMap::from([(format!("QCC__{}", name.to_uppercase()), text)]);
        load_both(&format!("[{header}]\n{key} = {value}\n"), variables);
        load_both(&format!("{section} = {value}\n"), BTreeMap::new());
    }

    #[test]
    fn any_port_from_a_variable_is_the_one_that_is_read(port: u16) {
        let directory = Directory::new(&[("local.toml", ENDPOINT)]);
        let loaded = load(&directory.source(&[("QCC__SERVER__PORT", &port.to_string())])).unwrap();
        prop_assert_eq!(loaded.settings.server.port, port);
    }
}
