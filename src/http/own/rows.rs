//! An endpoint's row, as the stats and an admin's acts show it. Standing is the truth; everything else about an endpoint's
//! health is derived from it.

use std::collections::BTreeMap;

use actix::MailboxError;
use serde::Serialize;

use super::super::state::{Config, Serving};
use crate::actors::messages::{ViewBreakers, ViewRegistry, ViewStats, ViewVerifier};
use crate::actors::verifier::VerifierView;
use crate::clock::Clock;
use crate::domain::breaker::FailureCount;
use crate::domain::calendar::to_the_second;
use crate::domain::conversation::Tokens;
use crate::domain::endpoint::{Home, Protocol};
use crate::domain::health::{BreakerState, Status};
use crate::domain::ids::{EndpointId, Epoch, ProfileId};
use crate::domain::outcome::{ErrorNote, Reason};
use crate::domain::prices::Cost;
use crate::domain::queues::{Standing, Switch};
use crate::domain::quota_windows::{QuotaWindow, windows};
use crate::domain::registry::{CooldownView, EndpointView, RegistryView};
use crate::domain::schedule::{AtHome, Progress, Purpose};
use crate::domain::stats::{EndpointStats, LatencySummary, Stats};
use crate::domain::time::{Moment, whole_millis};
use crate::domain::usage::Usage;

/// One endpoint as it is shown.
#[derive(Debug, Serialize)]
pub(super) struct EndpointRow {
    id: EndpointId,
    profiles: Vec<ProfileId>,
    base_url: String,
    protocol: Protocol,
    standing: Standing,
    home: Home,
    epoch: Epoch,
    enabled: bool,
    overruled: Option<Switch>,
    weight: u16,
    effective_weight: f64,
    in_use: bool,
    in_flight: u32,
    status: Status,
    breaker: BreakerState,
    consecutive_failures: u32,
    requests: u64,
    successes: u64,
    failures: u64,
    cancelled: u64,
    success_rate: f64,
    latency_ms: Latency,
    ttft_ms: Latency,
    tokens: Usage,
    cost: Cost,
    unpriced: u64,
    isolated_at: Option<String>,
    isolated_reason: Option<Reason>,
    last_error: Option<ErrorNote>,
    verify_count: u32,
    verification_tokens: Tokens,
    verification_cost: Cost,
    next_verification: Option<String>,
    last_verification: Option<LastVerificationRow>,
    proven: bool,
    cooldowns: Vec<CooldownRow>,
    rate_limits: BTreeMap<String, String>,
    windows: BTreeMap<&'static str, WindowRow>,
}

impl EndpointRow {
    /// How often the endpoint was verified since its isolation, if ever.
    pub(super) fn verified(&self) -> Option<(EndpointId, u32)> {
        (self.verify_count > 0).then(|| (self.id.clone(), self.verify_count))
    }
}

/// What is left of a window, as it is shown.
#[derive(Debug, Serialize)]
struct WindowRow {
    left: f64,
    resets_at: Option<String>,
}

impl From<QuotaWindow> for WindowRow {
    fn from(QuotaWindow { left, resets }: QuotaWindow) -> Self {
        let resets_at = resets.map(|resets| to_the_second(resets).to_string());
        Self { left, resets_at }
    }
}

/// One cooldown as it is shown.
#[derive(Debug, Serialize)]
struct CooldownRow {
    model: Option<String>,
    until: String,
    reason: &'static str,
    exhausted: bool,
}

#[derive(Debug, Serialize)]
struct LastVerificationRow {
    at: String,
    ok: bool,
    ms: u64,
    score: u8,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Latency {
    avg: f64,
    p50: f64,
    p95: f64,
    p99: f64,
}

impl From<LatencySummary> for Latency {
    fn from(LatencySummary { avg, p50, p95, p99 }: LatencySummary) -> Self {
        Self { avg, p50, p95, p99 }
    }
}

/// All actors' states, viewed one after the other. The registry's is the latest, so a row never shows a verdict that its
/// standing does not yet follow.
pub(super) struct Views<'a> {
    pub(super) clock: Clock,
    pub(super) now: Moment,
    pub(super) config: &'a Config,
    pub(super) verifier: VerifierView,
    breakers: BTreeMap<EndpointId, FailureCount>,
    pub(super) stats: Stats,
    pub(super) registry: RegistryView,
    /// The stats of an endpoint for which nothing is counted yet.
    nothing: EndpointStats,
}

impl<'a> Views<'a> {
    pub(super) async fn take(worker: &'a Serving<'_>) -> Result<Self, MailboxError> {
        let core = &worker.shared.core;
        Ok(Self {
            clock: worker.shared.clock,
            config: &worker.config,
            nothing: EndpointStats::default(),
            // It is the first to go when the gateway stops; the rest can still be viewed.
            verifier: core.verifier.send(ViewVerifier).await.unwrap_or_default(),
            breakers: core.breakers.send(ViewBreakers).await?,
            stats: core.stats.send(ViewStats).await?,
            registry: core.registry.send(ViewRegistry).await?,
            now: worker.shared.clock.now(),
        })
    }

    pub(super) fn row(&self, view: &EndpointView) -> EndpointRow {
        let endpoint = &view.endpoint;
        let id = &endpoint.id;
        let counted = self.stats.endpoint(id).unwrap_or(&self.nothing);
        let seen = counted.impression(endpoint).cloned().unwrap_or_default();
        let failures_now = self.consecutive_failures(view);
        let progress = self.verifier.progress.get(id).filter(|progress| progress.epoch == view.epoch);
        let serves = matches!(view.standing, Standing::Primary | Standing::Secondary);
        let served_latest = serves && self.registry.last_served.as_ref() == Some(id);
        let isolated_error = view.isolation.as_ref().and_then(|isolation| isolation.error.clone());
        let last = self.verifier.last.get(id).and_then(|last| last.about(endpoint)).map(|last| LastVerificationRow {
            at: self.clock.rfc3339(last.at),
            ok: last.result.ok,
            ms: whole_millis(last.result.elapsed),
            score: last.result.score,
            error: last.result.error.clone(),
        });
        EndpointRow {
            id: id.clone(),
            profiles: endpoint.profiles.clone(),
            base_url: endpoint.base_url.to_string(),
            protocol: endpoint.protocol,
            standing: view.standing,
            home: endpoint.home,
            epoch: view.epoch,
            enabled: view.standing != Standing::Disabled,
            overruled: view.overruled,
            weight: endpoint.weight,
            effective_weight: view.effective_weight,
            in_use: view.in_flight > 0 || served_latest,
            in_flight: view.in_flight,
            status: Status::of(view.standing, failures_now, view.ease()),
            breaker: BreakerState::of(
                view.isolation.is_some(),
                progress.is_some_and(|progress| progress.next.is_none()),
            ),
            consecutive_failures: failures_now,
            requests: counted.requests,
            successes: counted.successes,
            failures: counted.failures,
            cancelled: counted.cancelled,
            success_rate: counted.success_rate().unwrap_or(100.0),
            latency_ms: counted.latency().into(),
            ttft_ms: counted.first_contents.summary().into(),
            tokens: counted.usage,
            cost: counted.cost.map(rounded),
            unpriced: counted.unpriced,
            isolated_at: view.isolation.as_ref().map(|isolation| self.clock.rfc3339(isolation.at)),
            isolated_reason: view.isolation.as_ref().map(|isolation| isolation.reason),
            windows: windows(&seen.rate_limits, self.clock.since_1970())
                .into_iter()
                .map(|(name, own)| (name, own.into()))
                .collect(),
            rate_limits: seen.rate_limits,
            last_error: isolated_error.or(seen.last_error),
            verify_count: self.verifier.counts.get(id).and_then(|count| count.about(endpoint)).unwrap_or_default(),
            verification_tokens: self.verifier.spent.get(id).copied().unwrap_or_default(),
            verification_cost: counted.verifications.cost.map(rounded),
            next_verification: progress
                .and_then(|progress| next_of(progress, view))
                .map(|next| self.clock.rfc3339(next)),
            last_verification: last,
            proven: view.proven,
            cooldowns: self.cooldowns(view),
        }
    }

    fn cooldowns(&self, view: &EndpointView) -> Vec<CooldownRow> {
        let row = |CooldownView { model, cooldown, exhausted }: &CooldownView| CooldownRow {
            model: model.as_deref().map(str::to_owned),
            until: self.clock.rfc3339(cooldown.until),
            reason: cooldown.reason.as_str(),
            exhausted: *exhausted,
        };
        view.cooldowns.iter().map(row).collect()
    }

    /// The failures that isolated an isolated endpoint; else those that its breaker counts in its present epoch.
    fn consecutive_failures(&self, view: &EndpointView) -> u32 {
        if let Some(isolation) = &view.isolation {
            return isolation.failures;
        }
        let own = self.breakers.get(&view.endpoint.id).filter(|count| count.epoch == view.epoch);
        own.map(|count| count.consecutive).unwrap_or_default()
    }
}

/// Dollars to a millionth, for people.
pub(super) fn rounded(dollars: f64) -> f64 {
    (dollars * 1e6).round() / 1e6
}

/// One endpoint's row.
pub(super) async fn endpoint_row(worker: &Serving<'_>, id: &EndpointId) -> Result<Option<EndpointRow>, MailboxError> {
    let views = Views::take(worker).await?;
    let own = views.registry.endpoints.iter().find(|view| view.endpoint.id == *id);
    Ok(own.map(|view| views.row(view)))
}

/// When the next conversation begins. One that is to end a used-up window early is not held if the window ends before.
fn next_of(progress: &Progress, EndpointView { cooldowns, .. }: &EndpointView) -> Option<Moment> {
    let next = progress.next?;
    match progress.purpose {
        Purpose::Recovery | Purpose::AtHome(AtHome::Opinion) => Some(next),
        Purpose::AtHome(AtHome::EarlyReturn) => {
            let outlasts = |view: &CooldownView| view.exhausted && view.cooldown.until > next;
            cooldowns.iter().any(outlasts).then_some(next)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::cooling::{Cooldown, CooldownReason};
    use crate::domain::testing::{at, endpoint};

    /// Once wrong: a window that ends before its conversation is due was said to be asked about afterwards.
    #[test]
    fn a_conversation_that_the_end_of_its_window_makes_needless_is_not_announced() {
        for (until, purpose, expected) in [
            (600, AtHome::EarlyReturn, None),
            (900, AtHome::EarlyReturn, None),
            (901, AtHome::EarlyReturn, Some(at(900))),
            (600, AtHome::Opinion, Some(at(900))),
        ] {
            let cooldown = Cooldown { since: at(0), until: at(until), reason: CooldownReason::RateLimit };
            let view = EndpointView {
                endpoint: Arc::new(endpoint("a", Home::Primary)),
                standing: Standing::Primary,
                overruled: None,
                epoch: Epoch::from_raw(1),
                in_flight: 0,
                isolation: None,
                effective_weight: 1.0,
                slow_start: false,
                held: false,
                proven: true,
                cooldowns: vec![CooldownView { model: None, cooldown, exhausted: true }],
            };
            let purpose = Purpose::AtHome(purpose);
            let progress = Progress { epoch: view.epoch, purpose, verifications: 0, next: Some(at(900)) };
            assert_eq!(next_of(&progress, &view), expected, "{until} {purpose:?}");
        }
    }
}
