//! Who has used the gateway: a row for each client, and one for each team.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::auth::Shown;
use super::super::state::Config;
use super::rows::rounded;
use crate::domain::ids::ClientId;
use crate::domain::prices::Cost;
use crate::domain::stats::{Ends, Stats, Used};
use crate::domain::usage::Usage;

/// What is counted for one client or team, as it is shown.
#[derive(Debug, Serialize)]
pub(super) struct CallerRow {
    /// The client; null for requests without one. A team's row has none.
    #[serde(skip_serializing_if = "Name::is_absent")]
    id: Name,
    team: Option<String>,
    requests: u64,
    successes: u64,
    failures: u64,
    rejected: u64,
    cancelled: u64,
    in_flight: u32,
    tokens: Usage,
    cost: Cost,
    unpriced: u64,
}

/// The name in a row.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Name {
    Client(Option<ClientId>),
    /// The row is a team's.
    Absent,
}

impl Name {
    const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// The counts of one caller.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    ends: Ends,
    used: Used,
    in_flight: u32,
}

impl CallerRow {
    fn new(id: Name, team: Option<&str>, counted: &Counted) -> Self {
        let Counted { ends, used, in_flight } = *counted;
        Self {
            id,
            team: team.map(str::to_owned),
            requests: ends.total(),
            successes: ends.successful,
            failures: ends.failed,
            rejected: ends.rejected,
            cancelled: ends.cancelled,
            in_flight,
            tokens: used.usage,
            cost: used.cost.map(rounded),
            unpriced: used.unpriced,
        }
    }
}

/// Everybody who is in the settings or has a count, with the team.
fn everybody<'a>(stats: &'a Stats, config: &'a Config) -> BTreeMap<Option<&'a ClientId>, (Option<&'a str>, Counted)> {
    let mut rows: BTreeMap<Option<&ClientId>, (Option<&str>, Counted)> = BTreeMap::new();
    for Shown { client, team, in_flight } in config.clients.shown() {
        if client.is_some() || in_flight > 0 {
            rows.insert(client, (team, Counted { in_flight, ..Counted::default() }));
        }
    }
    let gone = |client: Option<&ClientId>| (client.and_then(|client| stats.team_of(client)), Counted::default());
    // Whoever was expected is counted from the start, used or not, but is shown only while it may come.
    for (_, client, ends) in stats.by_caller().filter(|(.., ends)| ends.total() > 0) {
        rows.entry(client).or_insert_with(|| gone(client)).1.ends += *ends;
    }
    for client in stats.ledger.clients() {
        rows.entry(client).or_insert_with(|| gone(client)).1.used = stats.ledger.of_client(client);
    }
    rows
}

/// A row for each client that is in the settings or has a count, in the order of their names; requests without a client
/// come first.
pub(super) fn clients(stats: &Stats, config: &Config) -> Vec<CallerRow> {
    let rows = everybody(stats, config).into_iter();
    rows.map(|(client, (team, counted))| CallerRow::new(Name::Client(client.cloned()), team, &counted)).collect()
}

/// A row for each team, in the order of their names.
pub(super) fn teams(stats: &Stats, config: &Config) -> Vec<CallerRow> {
    let mut teams: BTreeMap<&str, Counted> = BTreeMap::new();
    for (team, counted) in everybody(stats, config).into_values() {
        let Some(team) = team else { continue };
        let sum = teams.entry(team).or_default();
        sum.ends += counted.ends;
        sum.used += counted.used;
        sum.in_flight = sum.in_flight.saturating_add(counted.in_flight);
    }
    teams.into_iter().map(|(team, counted)| CallerRow::new(Name::Absent, Some(team), &counted)).collect()
}
