//! What tokens cost: an estimate, by the operator's list of prices.

use std::collections::HashMap;

use globset::GlobMatcher;

use super::endpoint::{Endpoint, ModelFilter};
use super::topology::Topology;
use super::usage::Usage;

/// What a model's tokens cost, in dollars per million.
#[derive(Clone, Debug)]
pub struct Price {
    /// Which models.
    pub models: GlobMatcher,
    /// Tokens read, from no cache.
    pub input: f64,
    /// Tokens written.
    pub output: f64,
    /// Tokens read from a provider's prompt cache.
    pub cache_read: f64,
    /// Tokens written to it.
    pub cache_write: f64,
}

impl Price {
    fn pattern(&self) -> &str {
        self.models.glob().glob()
    }

    /// What this usage costs, in dollars.
    fn of(&self, usage: &Usage) -> f64 {
        let Self { input, output, cache_read, cache_write, .. } = self;
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

/// A sum in dollars; none where no price is known for any of it.
pub type Cost = Option<f64>;

/// Adds to a sum what may have no price.
pub fn add_cost(sum: &mut Cost, more: Cost) {
    if let Some(more) = more {
        *sum = Some(sum.unwrap_or_default() + more);
    }
}

/// What the settings say of models for those who count: their prices, and which of them an endpoint lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    /// Of exact names.
    exact: HashMap<String, Price>,
    /// Of patterns, the longest first.
    globs: Vec<Price>,
    /// Each list of an endpoint once.
    listed: Vec<ModelFilter>,
}

impl Catalog {
    /// The catalog of one reading of the settings.
    #[must_use]
    pub fn new(prices: Vec<Price>, topology: &Topology) -> Self {
        let is_glob = |price: &Price| price.pattern().contains(['*', '?', '[', '{', '\\']);
        let (mut globs, exact): (Vec<Price>, Vec<Price>) = prices.into_iter().partition(is_glob);
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

    /// What an endpoint's answer has cost, in dollars: by the price of the model that was sent upstream, else of the one that
    /// the client named, times the endpoint's factor. None where neither has a price.
    #[must_use]
    pub fn cost(&self, endpoint: &Endpoint, model: Option<&str>, usage: &Usage) -> Cost {
        let model = model?;
        let sent = endpoint.model_map.sent(model);
        let price = sent.and_then(|sent| self.price_of(sent)).or_else(|| self.price_of(model))?;
        Some(price.of(usage) * endpoint.price_factor)
    }

    /// Whether an endpoint lists this model, by its name or by a pattern.
    #[must_use]
    pub fn lists(&self, model: &str) -> bool {
        self.listed.iter().any(|models| models.serves(Some(model)))
    }

    fn price_of(&self, model: &str) -> Option<&Price> {
        self.exact.get(model).or_else(|| self.globs.iter().find(|price| price.models.is_match(model)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate, where a part in 2^52 does not matter")]
const fn to_float(count: u64) -> f64 {
    count as f64
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
        let catalog = Catalog::new(prices, &Topology::default());
        let a = endpoint("a", Home::Primary);
        for (model, dollars) in [("claude-opus-4", 4.0), ("claude-opus-5", 3.0), ("claude-x", 2.0), ("gpt", 1.0)] {
            check(catalog.cost(&a, Some(model), &MILLION), dollars);
        }
        assert_eq!(catalog.cost(&a, None, &MILLION), None);
        assert_eq!(Catalog::default().cost(&a, Some("gpt"), &MILLION), None);
    }

    #[test]
    fn each_kind_of_token_has_its_price_and_each_endpoint_its_factor() {
        let catalog = Catalog::new(vec![price("m", 1.0)], &Topology::default());
        let usage = Usage { input: 1000, output: 1000, cache_read: 1000, cache_write: 1000 };
        let mut a = endpoint("a", Home::Primary);
        check(catalog.cost(&a, Some("m"), &usage), 0.0131);
        a.price_factor = 0.5;
        check(catalog.cost(&a, Some("m"), &usage), 0.00655);
    }

    #[test]
    fn the_model_that_is_sent_is_the_one_that_is_paid() {
        let catalog = Catalog::new(vec![price("cheap", 1.0), price("dear", 9.0)], &Topology::default());
        let mut a = endpoint("a", Home::Primary);
        a.model_map = ModelMap::new([("dear", "cheap"), ("cheap", "unknown")]).unwrap();
        check(catalog.cost(&a, Some("dear"), &MILLION), 1.0);
        check(catalog.cost(&a, Some("cheap"), &MILLION), 1.0);
    }

    #[test]
    fn a_model_is_listed_where_an_endpoint_names_it() {
        let mut a = endpoint("a", Home::Primary);
        a.models = ModelFilter::new(&["claude-*".to_owned(), "gpt-4o".to_owned()]).unwrap();
        let catalog = Catalog::new(Vec::new(), &Topology::new([a, endpoint("b", Home::Primary)]));
        assert!(catalog.lists("claude-opus-4-5") && catalog.lists("gpt-4o") && !catalog.lists("gpt-5"));
        assert!(!Catalog::default().lists("gpt-4o"));
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
