//! `[prices.…]` and `[[rules]]`.

use config::{Map, Value, ValueKind};
use globset::{Glob, GlobMatcher};

use crate::settings::given::Given;
use crate::settings::reading::Reading;

/// `[prices.…]`: what a model's tokens cost, in dollars per million.
#[derive(Clone, Debug)]
pub struct Price {
    /// Which models.
    pub models: GlobMatcher,
    /// Tokens sent.
    pub input: f64,
    /// Tokens received.
    pub output: f64,
    /// Tokens read from a provider's prompt cache.
    pub cache_read: f64,
    /// Tokens written to it.
    pub cache_write: f64,
}

impl PartialEq for Price {
    fn eq(&self, other: &Self) -> bool {
        let numbers = |price: &Self| [price.input, price.output, price.cache_read, price.cache_write];
        self.models.glob() == other.models.glob() && numbers(self) == numbers(other)
    }
}

pub(super) fn read_prices(reading: &mut Reading<'_>, tree: &mut Map<String, Value>) -> Vec<Price> {
    let mut prices = Vec::new();
    for (glob, value) in reading.entries(tree, "prices") {
        let mut table = reading.entry(&["prices", &glob], value);
        let path = table.path().to_owned();
        let mut price = |key| table.number(key, "a number of dollars of at least 0", |dollars| dollars >= 0.0);
        let (input, output) = (price("input"), price("output"));
        let (cache_read, cache_write) = (price("cache_read"), price("cache_write"));
        for (key, value) in [("input", input), ("output", output)] {
            let is_noted = table.reading.faults.iter().any(|fault| fault.key == table.key(key));
            if value.is_none() && !is_noted {
                table.fault(key, "nothing", "dollars per million tokens");
            }
        }
        table.finish();
        match Glob::new(&glob) {
            Ok(glob) => prices.push(Price {
                models: glob.compile_matcher(),
                input: input.unwrap_or_default(),
                output: output.unwrap_or_default(),
                cache_read: cache_read.unwrap_or_default(),
                cache_write: cache_write.unwrap_or_default(),
            }),
            Err(_) => reading.fault(&path, "a name that is no glob", "a glob over models"),
        }
    }
    prices
}

/// What an answer that fits a rule is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The account is used up.
    Account,
    /// The credential is refused.
    Credential,
    /// The endpoint lacks the model.
    Model,
    /// The request is at fault.
    Client,
    /// The endpoint is overloaded.
    Overloaded,
    /// A failure that counts.
    Failure,
}

/// `[[rules]]`: a relay's dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The answer's status.
    pub status: Option<u16>,
    /// The error's type.
    pub kind: Option<String>,
    /// The error's code.
    pub code: Option<String>,
    /// What the error's message holds.
    pub contains: Option<String>,
    /// What all of these together mean.
    pub meaning: Meaning,
}

pub(super) fn read_rules(reading: &mut Reading<'_>, tree: &mut Map<String, Value>) -> Vec<Rule> {
    let Some(value) = tree.remove("rules") else { return Vec::new() };
    let place = reading.layers.place_of_value(&value);
    let items = match value.kind {
        ValueKind::Array(items) => items,
        kind => {
            reading.fault_at(place, "rules", Given::Typed(&kind).kind(), "a list of tables: [[rules]]");
            return Vec::new();
        }
    };
    let meanings = [
        ("account", Meaning::Account),
        ("credential", Meaning::Credential),
        ("model", Meaning::Model),
        ("client", Meaning::Client),
        ("overloaded", Meaning::Overloaded),
        ("failure", Meaning::Failure),
    ];
    let mut rules = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let mut table = reading.entry(&["rules", &(index + 1).to_string()], item);
        let path = table.path().to_owned();
        let before = table.reading.faults.len();
        let status = table.integer("status", 100..=599);
        let (kind, code, contains) = (table.text("type"), table.text("code"), table.text("contains"));
        let meaning = table.word("as", &meanings);
        let is_sound = table.reading.faults.len() == before;
        table.finish();
        let is_empty = status.is_none() && [&kind, &code, &contains].into_iter().all(Option::is_none);
        match meaning {
            Some(meaning) if !is_empty => rules.push(Rule { status, kind, code, contains, meaning }),
            _ if !is_sound => {}
            Some(_) => {
                reading.fault(&path, "a rule that fits every answer", "one of the keys status, type, code, contains");
            }
            None => reading.fault(&path, "no key 'as'", "what an answer that fits is taken for"),
        }
    }
    rules
}
