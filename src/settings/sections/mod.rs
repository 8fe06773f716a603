//! The typed settings, a struct for each table.
//!
//! Defaults are not here but in `settings/default.toml`, which is always the first layer: a value that is missing
//! nevertheless is a fault, and its placeholder here is never used.

mod health;
mod operation;
mod prices;
mod rules;
mod server;
mod traffic;

use config::{Map, Value};

pub use health::{Affinity, Breaker, Overload, RateLimit, Verifier};
pub use operation::{Admin, Log, LogFormat, Otel, Reload, RustLog, State, Stats, Upstream, Webhook};
pub use server::{Host, Server};
pub use traffic::{OnBreak, Retry, Stream, Timeouts};

use super::reading::Reading;
use crate::domain::prices::Price;
use crate::domain::rules::Rules;

/// All settings but the endpoints and clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `[server]`
    pub server: Server,
    /// `[log]`
    pub log: Log,
    /// `[timeouts]`
    pub timeouts: Timeouts,
    /// `[stream]`
    pub stream: Stream,
    /// `[retry]`
    pub retry: Retry,
    /// `[breaker]`
    pub breaker: Breaker,
    /// `[rate_limit]`
    pub rate_limit: RateLimit,
    /// `[overload]`
    pub overload: Overload,
    /// `[verifier]`
    pub verifier: Verifier,
    /// `[affinity]`
    pub affinity: Affinity,
    /// `[stats]`
    pub stats: Stats,
    /// `[state]`
    pub state: State,
    /// `[reload]`
    pub reload: Reload,
    /// `[admin]`
    pub admin: Admin,
    /// `[upstream]`
    pub upstream: Upstream,
    /// `[webhook]`
    pub webhook: Webhook,
    /// `[otel]`
    pub otel: Otel,
    /// `[prices.…]`, by globs over models, in the order of their texts.
    pub prices: Vec<Price>,
    /// `[[rules]]`, in the order in which they are tried.
    pub rules: Rules,
}

impl Settings {
    /// Whether only this machine can reach the gateway and its own routes.
    #[must_use]
    pub fn listens_here_alone(&self) -> bool {
        self.server.host.is_loopback()
            && self.admin.listen.is_none_or(|address| address.ip().to_canonical().is_loopback())
    }

    pub(super) fn read(reading: &mut Reading<'_>, tree: &mut Map<String, Value>) -> Self {
        Self {
            server: Server::read(reading.section(tree, "server")),
            log: Log::read(reading.section(tree, "log")),
            timeouts: Timeouts::read(reading.section(tree, "timeouts")),
            stream: Stream::read(reading.section(tree, "stream")),
            retry: Retry::read(reading.section(tree, "retry")),
            breaker: Breaker::read(reading.section(tree, "breaker")),
            rate_limit: RateLimit::read(reading.section(tree, "rate_limit")),
            overload: Overload::read(reading.section(tree, "overload")),
            verifier: Verifier::read(reading.section(tree, "verifier")),
            affinity: Affinity::read(reading.section(tree, "affinity")),
            stats: Stats::read(reading.section(tree, "stats")),
            state: State::read(reading.section(tree, "state")),
            reload: Reload::read(reading.section(tree, "reload")),
            admin: Admin::read(reading.section(tree, "admin")),
            upstream: Upstream::read(reading.section(tree, "upstream")),
            webhook: Webhook::read(reading.section(tree, "webhook")),
            otel: Otel::read(reading.section(tree, "otel")),
            prices: prices::read_prices(reading, tree),
            rules: rules::read(reading, tree),
        }
    }
}
