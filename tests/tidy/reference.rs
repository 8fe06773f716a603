//! `docs/reference.md` says what is exported.

use std::collections::BTreeSet;

use crate::code::text;

const SOURCE: &str = "src/http/own/metrics/families.rs";
const PREFIXES: [&str; 2] = ["qcc_", "process_"];

/// The names that are scraped, as the source has them: a counter's goes without its `_total` there.
fn exported() -> BTreeSet<String> {
    let source = text(SOURCE);
    // Strings are every other part: none of them holds a quotation mark.
    let parts: Vec<&str> = source.split('"').collect();
    let mut is_counter = false;
    let mut names = BTreeSet::new();
    for pair in parts.chunks(2) {
        let [code, string] = pair else { continue };
        if let Some((_, call)) = code.rsplit_once("sheet.") {
            is_counter = call.starts_with("counter");
        }
        if PREFIXES.iter().any(|prefix| string.starts_with(prefix)) {
            names.insert(format!("{string}{}", if is_counter { "_total" } else { "" }));
        }
    }
    names
}

#[test]
fn its_table_of_metrics_is_what_is_exported() {
    let page = text("docs/reference.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let is_metric = |name: &&str| PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let told: BTreeSet<String> = rows.map(|(name, _)| name).filter(is_metric).map(str::to_owned).collect();
    let exported = exported();
    assert!(exported.len() > 30 && exported.contains("qcc_leaks_total"), "{SOURCE} is not read: {exported:?}");
    assert_eq!(told, exported);
}
