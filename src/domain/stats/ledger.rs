//! Usage accounts: answers, tokens and cost by client, endpoint and model, in bounded room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::ids::{ClientId, EndpointId};
use super::super::prices::{Cost, Listing, add_cost};
use super::super::usage::Usage;

/// At most this many rows are kept, plus one for [`OTHER`] for each client and endpoint; what would need another row is
/// counted there. One client has at most half of the rows that the others leave.
const MAX_ROWS: usize = 10_000;
/// At most this many models get a label of their own because a pattern matches them.
const MAX_LABELS: usize = 200;
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
    /// What was used of endpoints whose rows are forgotten.
    forgotten: Used,
}

impl Account {
    fn sum(&self) -> Used {
        let mut sum = self.forgotten;
        self.labelled.values().for_each(|used| sum += *used);
        sum
    }
}

/// What all clients have used. A copy shares with the original whatever does not change.
#[derive(Clone, Debug)]
pub struct Ledger {
    accounts: BTreeMap<Option<ClientId>, Arc<Account>>,
    rows: usize,
    labels: Arc<BTreeSet<Arc<str>>>,
    other: Arc<str>,
    /// What clients have used that are forgotten.
    forgotten: Used,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            accounts: BTreeMap::new(),
            rows: 0,
            labels: Arc::default(),
            other: Arc::from(OTHER),
            forgotten: Used::default(),
        }
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
    /// Adds to a row. `listing`: how endpoints list the model. One that none lists has no label of its own.
    pub fn add(
        &mut self,
        client: Option<&ClientId>,
        endpoint: &EndpointId,
        model: Option<&Arc<str>>,
        used: Used,
        listing: Listing,
    ) {
        let model = model.map(bounded);
        let label = model.as_ref().filter(|model| self.take_label(model, listing)).unwrap_or(&self.other).clone();
        let account = Arc::make_mut(self.accounts.entry(client.cloned()).or_default());
        *account.labelled.entry((endpoint.clone(), label)).or_default() += used;
        let service = (endpoint.clone(), model);
        if let Some(row) = account.services.get_mut(&service) {
            *row += used;
            return;
        }
        let before = account.services.len();
        // A client that makes up names leaves the others half of the remaining rows.
        let has_room = before < (MAX_ROWS - (self.rows - before).min(MAX_ROWS)) / 2;
        let service = if has_room { service } else { (service.0, Some(Arc::clone(&self.other))) };
        *account.services.entry(service).or_default() += used;
        self.rows += account.services.len() - before;
    }

    /// Whether a model has a label of its own, or gets one now. A model that the settings name always has one, so that
    /// names made up by clients to match a pattern can't take it.
    fn take_label(&mut self, model: &Arc<str>, listing: Listing) -> bool {
        match listing {
            Listing::None => false,
            Listing::ByName => true,
            Listing::ByPattern if self.labels.contains(model) => true,
            Listing::ByPattern => {
                let has_room = self.labels.len() < MAX_LABELS;
                if has_room {
                    Arc::make_mut(&mut self.labels).insert(Arc::clone(model));
                }
                has_room
            }
        }
    }

    /// Forgets the rows of endpoints. What clients have used of them still counts in their sums.
    pub(super) fn forget_endpoints(&mut self, gone: &BTreeSet<EndpointId>) {
        let is_gone = |endpoint: &EndpointId| gone.contains(endpoint);
        let has_used_any = |account: &Account| account.labelled.keys().any(|(endpoint, _)| is_gone(endpoint));
        for account in self.accounts.values_mut().filter(|account| !gone.is_empty() && has_used_any(account)) {
            let account = Arc::make_mut(account);
            let before = account.services.len();
            account.services.retain(|(endpoint, _), _| !is_gone(endpoint));
            self.rows -= before - account.services.len();
            for (_, used) in account.labelled.extract_if(.., |(endpoint, _), _| is_gone(endpoint)) {
                account.forgotten += used;
            }
        }
    }

    /// Forgets clients. What they have used goes on counting in [`Self::sum`].
    pub(super) fn forget_clients(&mut self, gone: &BTreeSet<ClientId>) {
        for client in gone {
            if let Some(account) = self.accounts.remove(&Some(client.clone())) {
                self.rows -= account.services.len();
                self.forgotten += account.sum();
            }
        }
    }

    /// What all have used, those included that are forgotten.
    pub fn sum(&self) -> Used {
        let mut sum = self.forgotten;
        self.accounts.values().for_each(|account| sum += account.sum());
        sum
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
        // The map is keyed by an owned client, so a lookup needs a copy.
        self.accounts.get(&client.cloned()).map(|account| account.sum()).unwrap_or_default()
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

    fn add(ledger: &mut Ledger, client: &str, model: &str, listing: Listing) {
        let client = ClientId::new(client).ok();
        ledger.add(client.as_ref(), &id("a"), Some(&Arc::from(model)), used(10), listing);
    }

    #[test]
    fn rows_are_kept_by_client_endpoint_and_model_and_labels_only_for_listed_models() {
        let mut ledger = Ledger::default();
        add(&mut ledger, "alice", "m", Listing::ByPattern);
        add(&mut ledger, "alice", "m", Listing::ByPattern);
        add(&mut ledger, "alice", "made-up", Listing::None);
        add(&mut ledger, "", "m", Listing::ByPattern);
        ledger.add(None, &id("b"), None, used(1), Listing::None);
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
        add(&mut ledger, "alice", "m", Listing::None);
        add(&mut ledger, "alice", "m", Listing::ByPattern);
        let labelled: Vec<_> =
            ledger.labelled().map(|row| (row.model.unwrap().to_owned(), row.used.requests)).collect();
        assert_eq!(labelled, [("m".to_owned(), 1), ("other".to_owned(), 1)]);
        assert_eq!(ledger.rows().map(|row| row.used.requests).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn made_up_models_take_no_more_than_the_room_there_is() {
        let mut ledger = Ledger::default();
        for number in 0..MAX_ROWS {
            add(&mut ledger, "alice", &format!("model-{number}"), Listing::ByPattern);
        }
        assert_eq!(ledger.rows().count(), MAX_ROWS / 2 + 1, "and one for others");
        add(&mut ledger, "bob", "m", Listing::ByPattern);
        assert!(ledger.rows().any(|row| row.model == Some("m")), "one client leaves room to the others");
        for client in ["bob", "carol", "dave", "erin"] {
            (0..MAX_ROWS).for_each(|number| add(&mut ledger, client, &format!("model-{number}"), Listing::ByPattern));
        }
        assert!(ledger.rows().count() < MAX_ROWS);
        assert!(ledger.labelled().count() <= 5 * (MAX_LABELS + 1));
        add(&mut ledger, "bob", "named", Listing::ByName);
        assert!(ledger.labelled().any(|row| row.model == Some("named")), "what the settings name has its label");
        let all: u64 = ledger.rows().map(|row| row.used.requests).sum();
        assert_eq!((all, ledger.sum().requests), (50_002, 50_002));
        let mut fresh = Ledger::default();
        add(&mut fresh, "bob", &"ä".repeat(500), Listing::None);
        assert!(fresh.rows().all(|row| row.model.unwrap().len() <= LONGEST_NAME));
    }
}
