//! What a circuit breaker should say, counted the obvious way: over a list of everything that was reported.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use qcc_gateway::domain::breaker::{BreakerPolicy, Ruling};
use qcc_gateway::domain::ids::{EndpointId, Epoch, Serial, Ticket};
use qcc_gateway::domain::outcome::Outcome;
use qcc_gateway::domain::time::Moment;

/// The window's successes are kept in slices of this share, so the oldest slice may be forgotten as a whole.
const SLICES: u32 = 20;

struct Report {
    serial: Serial,
    at: Moment,
    failed: bool,
}

/// All reports of the newest epoch of each endpoint.
#[derive(Default)]
pub(crate) struct Counts {
    reports: BTreeMap<EndpointId, (Epoch, Vec<Report>)>,
}

impl Counts {
    /// The judgements that are right. Two of them only where it depends on successes of the window's oldest slice.
    pub(crate) fn observe(
        &mut self,
        ticket: &Ticket,
        outcome: Outcome,
        at: Moment,
        policy: &BreakerPolicy,
    ) -> Vec<Option<Ruling>> {
        let (epoch, reports) = self.reports.entry(ticket.endpoint.clone()).or_default();
        if ticket.epoch > *epoch {
            *epoch = ticket.epoch;
            reports.clear();
        }
        let is_stale = ticket.epoch < *epoch;
        let failed = match outcome {
            Outcome::Success => false,
            Outcome::Failure(_) | Outcome::Fatal(_) => true,
            Outcome::Neutral | Outcome::Cancelled => return vec![None],
        };
        if !is_stale {
            reports.push(Report { serial: ticket.serial, at, failed });
        }
        let reason = match outcome {
            Outcome::Success | Outcome::Neutral | Outcome::Cancelled => return vec![None],
            Outcome::Failure(_) | Outcome::Fatal(_) if is_stale => return vec![Some(Ruling::Keep)],
            Outcome::Failure(kind) => kind.into(),
            Outcome::Fatal(fatal) => fatal.into(),
        };
        let failures = u32::try_from(reports.iter().rev().take_while(|report| report.failed).count()).unwrap();
        let verdict = |is_enough| {
            let enough = is_enough || matches!(outcome, Outcome::Fatal(_)) || failures >= policy.failure_threshold;
            Some(if enough { Ruling::Trip { reason, failures } } else { Ruling::Keep })
        };
        // Forgetting successes early makes the share larger, but the sample smaller: either may decide.
        let kept_whole = verdict(share_is_too_large(reports, at, policy, policy.window));
        let kept_short = verdict(share_is_too_large(reports, at, policy, policy.window / SLICES * (SLICES - 1)));
        vec![kept_whole, kept_short]
    }

    /// The endpoint starts anew; of one that was never heard of there is nothing to forget.
    pub(crate) fn reset(&mut self, endpoint: &EndpointId, newer: Epoch) {
        if let Some((epoch, reports)) = self.reports.get_mut(endpoint)
            && *epoch < newer
        {
            *epoch = newer;
            reports.clear();
        }
    }

    /// Only these are known still.
    pub(crate) fn forget_others(&mut self, known: &BTreeSet<EndpointId>) {
        self.reports.retain(|endpoint, _| known.contains(endpoint));
    }

    /// A failure was perhaps its request's own: as if it had never been reported.
    pub(crate) fn retract(&mut self, ticket: &Ticket) {
        if let Some((epoch, reports)) = self.reports.get_mut(&ticket.endpoint)
            && *epoch == ticket.epoch
        {
            reports.retain(|report| !(report.failed && report.serial == ticket.serial));
        }
    }

    /// Failures in a row, as the dashboard shows them.
    pub(crate) fn in_a_row(&self, endpoint: &EndpointId) -> Option<(Epoch, u32)> {
        let (epoch, reports) = self.reports.get(endpoint)?;
        let failures = reports.iter().rev().take_while(|report| report.failed).count();
        Some((*epoch, u32::try_from(failures).unwrap()))
    }
}

fn share_is_too_large(reports: &[Report], now: Moment, policy: &BreakerPolicy, success_window: Duration) -> bool {
    let count = |failed: bool, window: Duration| {
        let recent = |report: &&Report| report.failed == failed && now.since(report.at) < window;
        u32::try_from(reports.iter().filter(recent).count()).unwrap()
    };
    let (failures, successes) = (count(true, policy.window), count(false, success_window));
    let all = failures + successes;
    all >= policy.min_requests && f64::from(failures) >= policy.failure_rate * f64::from(all)
}
