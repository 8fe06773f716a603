//! Usage accounts: answers, tokens and cost by client, endpoint and model, in bounded room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::ids::{ClientId, EndpointId};
use super::super::prices::{Cost, add_cost};
use super::super::usage::Usage;

/// No new rows are made beyond this many; what would need one is counted as [`OTHER`], one row for each client and
/// endpoint.
const MOST_ROWS: usize = 10_000;
/// At most this many models get a label of their own in what is scraped.
const MOST_LABELS: usize = 200;
/// The longest model name kept, in bytes. Longer ones are cut.
const LONGEST_NAME: usize = 100;
/// The name for all models without a row or a label of their own.
pub const OTHER: &str = "other";

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// Answers.
    pub requests: u64,
    /// Their tokens.
    pub usage: Usage,
    /// Their cost.
    pub cost: Cost,
    /// Answers without a price, which have no part in the cost.
    pub unpriced: u64,
}

impl Used {
    /// The usage of one answer.
    #[must_use]
    pub fn by_one_answer(usage: Usage, cost: Cost) -> Self {
        Self { requests: 1, usage, cost, unpriced: u64::from(cost.is_none()) }
    }
}

impl std::ops::AddAssign for Used {
    fn add_assign(&mut self, more: Self) {
        self.requests += more.requests;
        self.usage += more.usage;
        add_cost(&mut self.cost, more.cost);
        self.unpriced += more.unpriced;
    }
}

/// Endpoint, and the model that clients name.
type Service = (EndpointId, Option<Arc<str>>);
/// Endpoint, and the model's label.
type Labelled = (EndpointId, Arc<str>);

/// What one client has used. Sums for scraping are kept apart, since a model's label may change with the settings, and a
/// counter must not shrink.
#[derive(Clone, Debug, Default)]
struct Account {
    services: BTreeMap<Service, Used>,
    labelled: BTreeMap<Labelled, Used>,
}

/// What all clients have used. A copy shares with the original whatever does not change.
#[derive(Clone, Debug)]
pub struct Ledger {
    accounts: BTreeMap<Option<ClientId>, Arc<Account>>,
    rows: usize,
    labels: Arc<BTreeSet<Arc<str>>>,
    other: Arc<str>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { accounts: BTreeMap::new(), rows: 0, labels: Arc::default(), other: Arc::from(OTHER) }
    }
}

/// A row: what one client has used of one model of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// The client; `None` if no keys are required.
    pub client: Option<&'a ClientId>,
    /// The endpoint.
    pub endpoint: &'a EndpointId,
    /// The model; `None` if the request named none.
    pub model: Option<&'a str>,
    /// What was used.
    pub used: Used,
}

impl Ledger {
    /// Adds to a row. `is_listed`: an endpoint lists the model, so it may have a label.
    pub fn add(
        &mut self,
        client: Option<&ClientId>,
        endpoint: &EndpointId,
        model: Option<&Arc<str>>,
        used: Used,
        is_listed: bool,
    ) {
        let model = model.map(bounded);
        let label = model.as_ref().filter(|model| is_listed && self.take_label(model)).unwrap_or(&self.other).clone();
        let account = Arc::make_mut(self.accounts.entry(client.cloned()).or_default());
        *account.labelled.entry((endpoint.clone(), label)).or_default() += used;
        let service = (endpoint.clone(), model);
        if let Some(row) = account.services.get_mut(&service) {
            *row += used;
            return;
        }
        let service = if self.rows < MOST_ROWS { service } else { (service.0, Some(Arc::clone(&self.other))) };
        let before = account.services.len();
        *account.services.entry(service).or_default() += used;
        self.rows += account.services.len() - before;
    }

    /// Gives a model a label of its own if it has none and one is left. Returns whether it has one.
    fn take_label(&mut self, model: &Arc<str>) -> bool {
        if self.labels.contains(model) {
            return true;
        }
        let has_room = self.labels.len() < MOST_LABELS;
        if has_room {
            Arc::make_mut(&mut self.labels).insert(Arc::clone(model));
        }
        has_room
    }

    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.accounts.iter().flat_map(|(client, account)| {
            account.services.iter().map(move |((endpoint, model), used)| Row {
                client: client.as_ref(),
                endpoint,
                model: model.as_deref(),
                used: *used,
            })
        })
    }

    /// All rows by label instead of model; there are few labels.
    pub fn labelled(&self) -> impl Iterator<Item = Row<'_>> {
        self.accounts.iter().flat_map(|(client, account)| {
            account.labelled.iter().map(move |((endpoint, label), used)| Row {
                client: client.as_ref(),
                endpoint,
                model: Some(label),
                used: *used,
            })
        })
    }

    /// What a client has used in all.
    pub fn of_client(&self, client: Option<&ClientId>) -> Used {
        let mut sum = Used::default();
        // The map is keyed by an owned client, so a lookup needs a copy.
        let account = self.accounts.get(&client.cloned());
        account.into_iter().flat_map(|account| account.labelled.values()).for_each(|used| sum += *used);
        sum
    }

    /// The clients with a row.
    pub fn clients(&self) -> impl Iterator<Item = Option<&ClientId>> {
        self.accounts.keys().map(Option::as_ref)
    }
}

fn bounded(model: &Arc<str>) -> Arc<str> {
    if model.len() <= LONGEST_NAME {
        return Arc::clone(model);
    }
    let (kept, _) = model.split_at(model.floor_char_boundary(LONGEST_NAME));
    Arc::from(kept)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::id;
    use super::*;

    fn used(input: u64) -> Used {
        Used::by_one_answer(Usage { input, ..Usage::default() }, Some(1.0))
    }

    fn add(ledger: &mut Ledger, client: &str, model: &str, is_listed: bool) {
        let client = ClientId::new(client).ok();
        ledger.add(client.as_ref(), &id("a"), Some(&Arc::from(model)), used(10), is_listed);
    }

    #[test]
    fn rows_are_kept_by_client_endpoint_and_model_and_labels_only_for_listed_models() {
        let mut ledger = Ledger::default();
        add(&mut ledger, "alice", "m", true);
        add(&mut ledger, "alice", "m", true);
        add(&mut ledger, "alice", "made-up", false);
        add(&mut ledger, "", "m", true);
        ledger.add(None, &id("b"), None, used(1), false);
        let shown = |row: Row<'_>| {
            let client = row.client.map_or("-", ClientId::as_str);
            format!("{client} {} {} {}", row.endpoint, row.model.unwrap_or("-"), row.used.usage.input)
        };
        let rows: Vec<String> = ledger.rows().map(shown).collect();
        assert_eq!(rows, ["- a m 10", "- b - 1", "alice a m 20", "alice a made-up 10"]);
        let labelled: Vec<String> = ledger.labelled().map(shown).collect();
        assert_eq!(labelled, ["- a m 10", "- b other 1", "alice a m 20", "alice a other 10"]);
        let alice = ledger.of_client(ClientId::new("alice").ok().as_ref());
        assert_eq!((alice.requests, alice.usage.input, alice.cost), (3, 30, Some(3.0)));
    }

    #[test]
    fn a_counter_does_not_shrink_when_a_model_comes_to_be_listed() {
        let mut ledger = Ledger::default();
        add(&mut ledger, "alice", "m", false);
        add(&mut ledger, "alice", "m", true);
        let labelled: Vec<_> =
            ledger.labelled().map(|row| (row.model.unwrap().to_owned(), row.used.requests)).collect();
        assert_eq!(labelled, [("m".to_owned(), 1), ("other".to_owned(), 1)]);
        assert_eq!(ledger.rows().map(|row| row.used.requests).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn made_up_models_take_no_more_than_the_room_there_is() {
        let mut ledger = Ledger::default();
        for number in 0..MOST_ROWS + 50 {
            add(&mut ledger, "alice", &format!("model-{number}"), true);
        }
        add(&mut ledger, "bob", &"ä".repeat(500), true);
        assert_eq!(ledger.rows().count(), MOST_ROWS + 2, "and one for others for each client");
        assert!(ledger.labelled().count() <= MOST_LABELS + 2);
        let others: u64 = ledger.rows().filter(|row| row.model == Some(OTHER)).map(|row| row.used.requests).sum();
        assert_eq!(others, 51);
        let mut fresh = Ledger::default();
        add(&mut fresh, "bob", &"ä".repeat(500), false);
        assert!(fresh.rows().all(|row| row.model.unwrap().len() <= LONGEST_NAME));
    }
}
