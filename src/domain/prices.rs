//! What tokens cost: an estimate by the operator's price list.

use std::collections::HashMap;
use std::sync::Arc;

use globset::GlobMatcher;

use super::endpoint::{Endpoint, ModelFilter, is_glob};
use super::stats::to_float;
use super::topology::Topology;
use super::usage::Usage;

/// The most names whose quotes are cached.
const MAX_KEPT: usize = 256;
/// The longest name whose quote is cached, in bytes.
const LONGEST_KEPT: usize = 100;

/// What a model's tokens cost, in dollars per million.
#[derive(Clone, Debug)]
pub struct Price {
    /// The models that it applies to.
    pub models: GlobMatcher,
    /// Tokens read, but not from a cache.
    pub input: f64,
    /// Tokens written.
    pub output: f64,
    /// Tokens read from a provider's prompt cache.
    pub cache_read: f64,
    /// Tokens written to that cache.
    pub cache_write: f64,
}

impl Price {
    fn pattern(&self) -> &str {
        self.models.glob().glob()
    }

    fn rates(&self) -> Rates {
        let Self { input, output, cache_read, cache_write, .. } = *self;
        Rates { input, output, cache_read, cache_write }
    }
}

/// The numbers of a price, in dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rates {
    input: f64,
    output: f64,
    cache_read: f64,
    cache_write: f64,
}

impl Rates {
    /// What this usage costs, in dollars.
    fn of(&self, usage: &Usage) -> f64 {
        let Self { input, output, cache_read, cache_write } = self;
        let parts = [
            (usage.input, input),
            (usage.output, output),
            (usage.cache_read, cache_read),
            (usage.cache_write, cache_write),
        ];
        parts.into_iter().map(|(tokens, price)| to_float(tokens) * price / 1e6).sum()
    }
}

impl PartialEq for Price {
    fn eq(&self, other: &Self) -> bool {
        let numbers = |price: &Self| [price.input, price.output, price.cache_read, price.cache_write];
        self.models.glob() == other.models.glob() && numbers(self) == numbers(other)
    }
}

/// A sum in dollars; `None` if no price is known for any part of it.
pub type Cost = Option<f64>;

/// Adds a cost, which may be unknown, to a sum.
pub fn add_cost(sum: &mut Cost, more: Cost) {
    if let Some(more) = more {
        *sum = Some(sum.unwrap_or_default() + more);
    }
}

/// What the settings say about models that concerns accounting: their prices, and which of them an endpoint lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    /// The prices of exact names.
    exact: HashMap<String, Price>,
    /// The prices of patterns, the longest pattern first.
    globs: Vec<Price>,
    /// The endpoints' lists of models, without duplicates.
    listed: Vec<ModelFilter>,
}

impl Catalog {
    /// The catalog of these settings.
    #[must_use]
    pub fn new(prices: Vec<Price>, topology: &Topology) -> Self {
        let (mut globs, exact): (Vec<Price>, Vec<Price>) =
            prices.into_iter().partition(|price| is_glob(price.pattern()));
        globs.sort_by_key(|price| std::cmp::Reverse(price.pattern().len()));
        let exact = exact.into_iter().map(|price| (price.pattern().to_owned(), price)).collect();
        let mut listed: Vec<ModelFilter> = Vec::new();
        for models in topology.iter().map(|endpoint| &endpoint.models) {
            if !models.patterns().is_empty() && !listed.contains(models) {
                listed.push(models.clone());
            }
        }
        Self { exact, globs, listed }
    }

    fn quote(&self, model: &str) -> Quote {
        let is_named = |models: &ModelFilter| models.names().any(|name| name == model);
        let listing = if self.listed.iter().any(is_named) {
            Listing::ByName
        } else if self.listed.iter().any(|models| models.serves(Some(model))) {
            Listing::ByPattern
        } else {
            Listing::None
        };
        Quote { rates: self.price_of(model).map(Price::rates), listing }
    }

    fn price_of(&self, model: &str) -> Option<&Price> {
        self.exact.get(model).or_else(|| self.globs.iter().find(|price| price.models.is_match(model)))
    }
}

/// What the catalog says about one name.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Quote {
    rates: Option<Rates>,
    listing: Listing,
}

/// How endpoints' `models` list a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// One has its name. There are as many of these as the operator has written down.
    ByName,
    /// A pattern of one matches it. Clients can make up any number of these.
    ByPattern,
    /// None does.
    None,
}

/// A catalog with a cache of looked-up names, since patterns are slow.
#[derive(Clone, Debug, Default)]
pub struct PriceBook {
    catalog: Arc<Catalog>,
    kept: Arc<HashMap<String, Quote>>,
}

impl PriceBook {
    /// The quotes of this catalog.
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        Self { catalog: Arc::new(catalog), kept: Arc::default() }
    }

    /// What an endpoint's answer has cost, in dollars: by the price of the model that was sent upstream, else of the one that
    /// the client named, times the endpoint's factor. `None` if neither has a price.
    pub fn cost(&mut self, endpoint: &Endpoint, model: Option<&str>, usage: &Usage) -> Cost {
        let model = model?;
        let sent = if endpoint.model_map.is_empty() { None } else { endpoint.model_map.sent(model) };
        let rates = sent.and_then(|sent| self.of(sent).rates).or_else(|| self.of(model).rates)?;
        Some(rates.of(usage) * endpoint.price_factor)
    }

    /// How endpoints list this model.
    pub fn listing(&mut self, model: &str) -> Listing {
        self.of(model).listing
    }

    fn of(&mut self, model: &str) -> Quote {
        if let Some(quote) = self.kept.get(model) {
            return *quote;
        }
        let quote = self.catalog.quote(model);
        if model.len() <= LONGEST_KEPT {
            let kept = Arc::make_mut(&mut self.kept);
            // Clients choose the names: made-up ones push the others out only now and then.
            if kept.len() >= MAX_KEPT {
                kept.clear();
            }
            kept.insert(model.to_owned(), quote);
        }
        quote
    }
}

#[cfg(test)]
mod tests {
    use globset::Glob;

    use super::super::endpoint::{Home, ModelMap};
    use super::super::testing::endpoint;
    use super::*;

    fn price(pattern: &str, input: f64) -> Price {
        let models = Glob::new(pattern).unwrap().compile_matcher();
        Price { models, input, output: 10.0, cache_read: 0.1, cache_write: 2.0 }
    }

    fn check(found: Cost, wanted: f64) {
        assert!((found.unwrap() - wanted).abs() < 1e-9, "{found:?} for {wanted}");
    }

    const MILLION: Usage = Usage { input: 1_000_000, output: 0, cache_read: 0, cache_write: 0 };

    #[test]
    fn an_exact_name_goes_before_the_longest_pattern() {
        let prices =
            vec![price("*", 1.0), price("claude-*", 2.0), price("claude-opus-*", 3.0), price("claude-opus-4", 4.0)];
        let mut prices = PriceBook::new(Catalog::new(prices, &Topology::default()));
        let a = endpoint("a", Home::Primary);
        for (model, dollars) in [("claude-opus-4", 4.0), ("claude-opus-5", 3.0), ("claude-x", 2.0), ("gpt", 1.0)] {
            check(prices.cost(&a, Some(model), &MILLION), dollars);
        }
        assert_eq!(prices.cost(&a, None, &MILLION), None);
        assert_eq!(PriceBook::default().cost(&a, Some("gpt"), &MILLION), None);
    }

    #[test]
    fn each_kind_of_token_has_its_price_and_each_endpoint_its_factor() {
        let mut prices = PriceBook::new(Catalog::new(vec![price("m", 1.0)], &Topology::default()));
        let usage = Usage { input: 1000, output: 1000, cache_read: 1000, cache_write: 1000 };
        let mut a = endpoint("a", Home::Primary);
        check(prices.cost(&a, Some("m"), &usage), 0.0131);
        a.price_factor = 0.5;
        check(prices.cost(&a, Some("m"), &usage), 0.00655);
    }

    #[test]
    fn the_model_that_is_sent_is_the_one_that_is_paid() {
        let prices = vec![price("cheap", 1.0), price("dear", 9.0)];
        let mut prices = PriceBook::new(Catalog::new(prices, &Topology::default()));
        let mut a = endpoint("a", Home::Primary);
        a.model_map = ModelMap::new([("dear", "cheap"), ("cheap", "unknown")]).unwrap();
        check(prices.cost(&a, Some("dear"), &MILLION), 1.0);
        check(prices.cost(&a, Some("cheap"), &MILLION), 1.0);
    }

    #[test]
    fn a_model_is_listed_where_an_endpoint_names_it() {
        let mut a = endpoint("a", Home::Primary);
        a.models = ModelFilter::new(&["claude-*".to_owned(), "gpt-4o".to_owned()]).unwrap();
        let topology = Topology::new([a, endpoint("b", Home::Primary)]);
        let mut prices = PriceBook::new(Catalog::new(Vec::new(), &topology));
        let found = ["gpt-4o", "claude-opus-4-5", "gpt-5"].map(|model| prices.listing(model));
        assert_eq!(found, [Listing::ByName, Listing::ByPattern, Listing::None]);
        assert_eq!(PriceBook::default().listing("gpt-4o"), Listing::None);
    }

    #[test]
    fn what_is_kept_of_a_name_is_what_the_catalog_says_however_many_are_made_up() {
        let mut a = endpoint("a", Home::Primary);
        a.models = ModelFilter::new(&["m-1*".to_owned()]).unwrap();
        let catalog = Catalog::new(vec![price("m-*", 2.0), price("m-7", 7.0)], &Topology::new([a]));
        let mut prices = PriceBook::new(catalog.clone());
        let long = "m".repeat(LONGEST_KEPT + 1);
        for _ in 0..2 {
            for name in (0..MAX_KEPT + 9).map(|number| format!("m-{number}")).chain([long.clone()]) {
                assert_eq!(prices.of(&name), catalog.quote(&name), "{name}");
                assert_eq!(prices.of(&name), catalog.quote(&name), "{name}, as it is kept");
                assert!(prices.kept.len() <= MAX_KEPT && !prices.kept.contains_key(&long));
            }
        }
    }

    #[test]
    fn a_sum_is_unknown_until_something_of_it_has_a_price() {
        let mut sum = None;
        add_cost(&mut sum, None);
        assert_eq!(sum, None);
        add_cost(&mut sum, Some(1.0));
        add_cost(&mut sum, None);
        add_cost(&mut sum, Some(0.5));
        assert_eq!(sum, Some(1.5));
    }
}
