//! `[[rules]]`: how relays word their errors.

use config::{Map, Value, ValueKind};

use crate::domain::rules::{Meaning, Rule, Rules};
use crate::settings::given::Given;
use crate::settings::reading::{Reading, Shown, Table};

pub(super) fn read(reading: &mut Reading<'_>, tree: &mut Map<String, Value>) -> Rules {
    let items = match tree.remove("rules").map(|value| value.kind) {
        Some(ValueKind::Array(items)) => items,
        // The layers hold no other kind.
        Some(_) | None => Vec::new(),
    };
    let read = |(index, item): (usize, Value)| {
        let number = (index + 1).to_string();
        if matches!(item.kind, ValueKind::Table(_)) {
            return read_rule(reading.entry(&["rules", &number], item));
        }
        let (place, found) = (reading.layers.place_of_value(&item), Given::Typed(&item.kind).kind());
        reading.fault_at(place, &format!("rules.{number}"), found, "a table: [[rules]]");
        None
    };
    Rules::new(items.into_iter().enumerate().filter_map(read))
}

/// Reads a rule; `None` if it has a fault.
fn read_rule(mut table: Table<'_, '_>) -> Option<Rule> {
    let path = table.path().to_owned();
    let before = table.reading.faults.len();
    let status = table.integer("status", 100..=599);
    let (kind, code, contains) = (words(&mut table, "type"), words(&mut table, "code"), words(&mut table, "contains"));
    let meaning = table.word("as", &Meaning::ALL.map(|meaning| (meaning.as_str(), meaning)));
    let is_sound = table.reading.faults.len() == before;
    let rule = meaning.map(|meaning| Rule { status, kind, code, contains, meaning });
    match &rule {
        _ if !is_sound => {}
        Some(rule) if rule.fits_everything() => {
            let wanted = "one of the keys status, type, code, contains";
            table.reading.fault(&path, "a rule that fits every answer", wanted);
        }
        Some(_) => {}
        None => table.reading.fault(&path, "no key 'as'", "what an answer that fits is taken for"),
    }
    table.finish();
    rule.filter(|_| is_sound)
}

/// Reads a text that is not empty: an empty one would fit everything, or nothing.
fn words(table: &mut Table<'_, '_>, key: &'static str) -> Option<String> {
    table.read(key, Shown::Always, "a text that is not empty; leave the key out where it does not matter", |given| {
        given.text().filter(|text| !text.is_empty()).map(ToOwned::to_owned)
    })
}
