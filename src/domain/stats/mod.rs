//! Counts and latencies of the whole gateway, of each endpoint and of each client. They inform; no decision depends on
//! them.

mod departures;
mod endpoint;
mod latencies;
mod ledger;
mod records;
mod series;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::events::{Event, EventKind};
use super::ids::{ClientId, EndpointId, ProfileId};
use super::prices::{Catalog, Listing, PriceBook};
use super::time::Moment;

use departures::Departures;

pub use endpoint::{EndpointStats, Impression, VerificationStats};
pub use latencies::{Latencies, LatencySummary};
pub use ledger::{Ledger, OTHER, Row, Used};
pub use records::{
    AllowancesRecord, AttemptRecord, ReloadRecord, RequestEnd, RequestRecord, StateFileHealth, VerificationRecord,
};
pub use series::{STEP, STEPS, Series, Step};

/// How requests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// With a 2xx answer, passed on whole.
    pub successful: u64,
    /// Answered otherwise, or broken off.
    pub failed: u64,
    /// By the client going away.
    pub cancelled: u64,
    /// By the client's fault.
    pub rejected: u64,
}

impl Ends {
    fn note(&mut self, end: RequestEnd) {
        match end {
            RequestEnd::Successful => self.successful += 1,
            RequestEnd::Rejected => self.rejected += 1,
            RequestEnd::Failed => self.failed += 1,
            RequestEnd::Cancelled => self.cancelled += 1,
        }
    }

    /// All of them.
    pub const fn total(&self) -> u64 {
        self.successful + self.failed + self.cancelled + self.rejected
    }

    /// The counts, each with the contract's word for it.
    pub const fn words(&self) -> [(&'static str, u64); 4] {
        [
            (RequestEnd::Successful.as_str(), self.successful),
            (RequestEnd::Failed.as_str(), self.failed),
            (RequestEnd::Cancelled.as_str(), self.cancelled),
            (RequestEnd::Rejected.as_str(), self.rejected),
        ]
    }

    /// The percentage of successful requests among those not ended by the client's fault or departure; 100 before the
    /// first.
    pub fn success_rate(&self) -> f64 {
        percent(self.successful, self.successful + self.failed).unwrap_or(100.0)
    }
}

impl std::ops::AddAssign for Ends {
    fn add_assign(&mut self, more: Self) {
        self.successful += more.successful;
        self.failed += more.failed;
        self.cancelled += more.cancelled;
        self.rejected += more.rejected;
    }
}

/// How the latest reading of the settings went. The one at the start counts: without it nothing runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloads {
    /// Whether the latest one was valid.
    pub ok: bool,
    /// When the latest valid one was.
    pub last_success: Moment,
}

/// What the gateway failed to deliver, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Notices that the webhook's receiver did not get.
    pub notices: u64,
    /// Spans that the trace collector did not get.
    pub spans: u64,
}

/// Everything counted since the start. A copy is cheap: it shares with the original whatever does not change.
#[derive(Clone, Debug)]
pub struct Stats {
    /// How requests ended.
    pub ends: Ends,
    /// Attempts beyond the first of a request.
    pub retries: u64,
    /// The usage of each client.
    pub ledger: Ledger,
    /// The last ten minutes.
    pub series: Series,
    /// The readings of the settings.
    pub reloads: Reloads,
    /// The health of the state file; `None` if there is none.
    pub state_file: Option<StateFileHealth>,
    /// What could not be delivered.
    pub losses: Losses,
    total_elapsed: Duration,
    endpoints: BTreeMap<EndpointId, Arc<EndpointStats>>,
    by_caller: BTreeMap<Caller, Ends>,
    departed_endpoints: Departures<EndpointId>,
    departed_clients: Departures<ClientId>,
    teams: Arc<BTreeMap<ClientId, String>>,
    prices: PriceBook,
}

/// The profile that serves a caller, and the client; `None` if that is not known, or nobody asks for keys.
type Caller = (Option<ProfileId>, Option<ClientId>);

impl Stats {
    /// Empty counts. `began` is when the process began, with settings that it had read.
    pub fn new(began: Moment) -> Self {
        Self {
            ends: Ends::default(),
            retries: 0,
            ledger: Ledger::default(),
            series: Series::new(began),
            reloads: Reloads { ok: true, last_success: began },
            state_file: None,
            losses: Losses::default(),
            total_elapsed: Duration::ZERO,
            endpoints: BTreeMap::new(),
            by_caller: BTreeMap::new(),
            departed_endpoints: Departures::default(),
            departed_clients: Departures::default(),
            teams: Arc::default(),
            prices: PriceBook::default(),
        }
    }

    /// Uses these prices and model lists from now on. What was counted keeps its cost.
    pub fn set_catalog(&mut self, catalog: Catalog) {
        self.prices = PriceBook::new(catalog);
    }

    /// Counts each client for this team from now on, with all that it has used. A client that has left the settings
    /// stays with its last team, which would lose its usage otherwise.
    pub fn set_teams(&mut self, teams: BTreeMap<ClientId, Option<String>>) {
        let known = Arc::make_mut(&mut self.teams);
        for (client, team) in teams {
            match team {
                Some(team) => known.insert(client, team),
                None => known.remove(&client),
            };
        }
    }

    /// The team for which a client's usage is counted.
    pub fn team_of(&self, client: &ClientId) -> Option<&str> {
        self.teams.get(client).map(String::as_str)
    }

    /// Takes over which endpoints and callers there are. Callers are counted from zero before their first request: a
    /// counter that first appears at 1 hides its first count from anything that watches its growth. Of endpoints and
    /// clients that are gone, only the latest are remembered.
    pub fn expect(
        &mut self,
        endpoints: &BTreeSet<EndpointId>,
        callers: impl IntoIterator<Item = (ProfileId, Option<ClientId>)>,
    ) {
        let callers: BTreeSet<Caller> = callers.into_iter().map(|(profile, client)| (Some(profile), client)).collect();
        for caller in &callers {
            self.by_caller.entry(caller.clone()).or_default();
        }
        let gone = self.departed_endpoints.update(self.endpoints.keys(), |id| endpoints.contains(id));
        self.endpoints.retain(|id, _| !gone.contains(id));
        self.ledger.forget_endpoints(&gone);
        // A client that is there keeps what was counted for it under another profile, or under none while its key had expired.
        let present: BTreeSet<&ClientId> = callers.iter().filter_map(|(_, client)| client.as_ref()).collect();
        let counted: BTreeSet<&ClientId> = self.by_caller.keys().filter_map(|(_, client)| client.as_ref()).collect();
        let gone = self.departed_clients.update(counted.into_iter(), |client| present.contains(client));
        self.by_caller.retain(|(_, client), _| client.as_ref().is_none_or(|client| !gone.contains(client)));
        self.ledger.forget_clients(&gone);
        if !gone.is_empty() {
            Arc::make_mut(&mut self.teams).retain(|client, _| !gone.contains(client));
        }
    }

    /// Counts a request.
    pub fn request(&mut self, record: RequestRecord) {
        let RequestRecord { end, at, elapsed, attempts, client, profile } = record;
        let retries = u64::from(attempts.saturating_sub(1));
        self.ends.note(end);
        self.by_caller.entry((profile, client)).or_default().note(end);
        self.retries += retries;
        self.total_elapsed = self.total_elapsed.saturating_add(elapsed);
        self.series.note(at, end, elapsed, retries);
    }

    /// Counts an attempt.
    pub fn attempt(&mut self, record: AttemptRecord) {
        let AttemptRecord { endpoint, client, model, usage, .. } = &record;
        let mut cost = None;
        if let Some(usage) = *usage {
            cost = self.prices.cost(endpoint, model.as_deref(), &usage);
            let listing = model.as_deref().map_or(Listing::None, |model| self.prices.listing(model));
            let used = Used::by_one_answer(usage, cost);
            self.ledger.add(client.as_ref(), &endpoint.id, model.as_ref(), used, listing);
        }
        let counted = match self.endpoints.get_mut(&endpoint.id) {
            Some(counted) => counted,
            None => self.endpoints.entry(endpoint.id.clone()).or_default(),
        };
        Arc::make_mut(counted).take_in(record, cost);
    }

    /// Counts a conversation of the verifier.
    pub fn verification(&mut self, record: &VerificationRecord) {
        let cost = self.prices.cost(&record.endpoint, record.model.as_deref(), &record.usage);
        self.of(record.endpoint.id.clone()).verified(record, cost);
    }

    /// Counts a queue move.
    pub fn event(&mut self, event: &Event) {
        let Some(id) = &event.endpoint else { return };
        match (event.kind, event.reason) {
            (EventKind::Isolated, Some(reason)) => *self.of(id.clone()).isolations.entry(reason).or_default() += 1,
            (EventKind::Recovered, _) => self.of(id.clone()).recoveries += 1,
            _ => {}
        }
    }

    /// Takes in the rate limits that an answer reported.
    pub fn allowances(&mut self, record: AllowancesRecord) {
        self.of(record.endpoint.id.clone()).allow(record);
    }

    /// Takes in how a reading of the settings went.
    pub fn reload(&mut self, ReloadRecord { ok, at }: ReloadRecord) {
        self.reloads.ok = ok;
        if ok {
            self.reloads.last_success = at;
        }
    }

    fn of(&mut self, endpoint: EndpointId) -> &mut EndpointStats {
        Arc::make_mut(self.endpoints.entry(endpoint).or_default())
    }

    /// The mean time from a request's arrival to its end.
    pub fn average_elapsed(&self) -> Duration {
        let total = self.ends.total();
        match u32::try_from(total) {
            Ok(0) => Duration::ZERO,
            Ok(total) => self.total_elapsed / total,
            Err(_) => Duration::from_secs_f64(self.total_elapsed.as_secs_f64() / to_float(total)),
        }
    }

    /// What is counted for an endpoint, if anything.
    pub fn endpoint(&self, id: &EndpointId) -> Option<&EndpointStats> {
        self.endpoints.get(id).map(|stats| &**stats)
    }

    /// What is counted for each endpoint, including those gone from the settings.
    pub fn endpoints(&self) -> impl Iterator<Item = (&EndpointId, &EndpointStats)> {
        self.endpoints.iter().map(|(id, stats)| (id, &**stats))
    }

    /// How requests ended, by profile and client.
    pub fn by_caller(&self) -> impl Iterator<Item = (Option<&ProfileId>, Option<&ClientId>, &Ends)> {
        self.by_caller.iter().map(|((profile, client), ends)| (profile.as_ref(), client.as_ref(), ends))
    }

    /// The usage of all clients together.
    pub fn used(&self) -> Used {
        self.ledger.sum()
    }
}

fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * to_float(part) / to_float(whole))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts are shown as rates and estimates, where a part in 2^52 does not matter"
)]
pub(super) const fn to_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
