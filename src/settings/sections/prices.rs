//! `[prices.…]`: what tokens cost.

use config::{Map, Value};
use globset::Glob;

use crate::domain::prices::Price;
use crate::settings::reading::{Reading, is_glob};

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
                table.fault_of_absence(key, "nothing", "dollars per million tokens");
            }
        }
        table.finish();
        match Glob::new(&glob).ok().filter(|_| is_glob(&glob)) {
            Some(glob) => prices.push(Price {
                models: glob.compile_matcher(),
                input: input.unwrap_or_default(),
                output: output.unwrap_or_default(),
                cache_read: cache_read.or(input).unwrap_or_default(),
                cache_write: cache_write.or(input).unwrap_or_default(),
            }),
            None => reading.fault(&path, "a name that is no glob", "a glob over models"),
        }
    }
    prices
}
