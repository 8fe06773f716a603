//! The state of the gateway as JSON.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use serde::Serialize;

use super::super::state::Serving;
use super::callers::{CallerRow, clients, teams};
use super::rows::{EndpointRow, Views, rounded};
use crate::clock::Clock;
use crate::domain::ids::EndpointId;
use crate::domain::prices::Cost;
use crate::domain::queues::Standing;
use crate::domain::stats::{STEP, StateFileHealth, Used};
use crate::domain::usage::Usage;
use crate::telemetry::lines_lost;

#[derive(Debug, Serialize)]
struct Body {
    version: &'static str,
    start_time: String,
    uptime: f64,
    total_requests: u64,
    successful_requests: u64,
    failed_requests: u64,
    cancelled_requests: u64,
    rejected_requests: u64,
    success_rate: f64,
    avg_response_time: f64,
    requests_per_second: f64,
    retries: u64,
    parked: usize,
    sessions: usize,
    tokens: Usage,
    cost: Cost,
    /// How many of the answers whose tokens are counted have no price.
    unpriced: u64,
    last_used_endpoint_id: Option<EndpointId>,
    total_endpoints: usize,
    healthy_endpoints: usize,
    failed_endpoints: Vec<EndpointId>,
    failure_queue_size: usize,
    endpoint_verify_counts: BTreeMap<EndpointId, u32>,
    leaks: u64,
    config_last_reload_successful: bool,
    /// `None` if there is no state file.
    state_file_writable: Option<bool>,
    notices_lost: u64,
    log_lines_lost: u64,
    spans_lost: u64,
    queues: Queues,
    endpoints: Vec<EndpointRow>,
    clients: Vec<CallerRow>,
    teams: Vec<CallerRow>,
    series: SeriesRow,
}

/// The last ten minutes, oldest first; the last step is under way.
#[derive(Debug, Default, Serialize)]
struct SeriesRow {
    /// In seconds.
    step: u64,
    requests: Vec<u64>,
    errors: Vec<u64>,
    latency_ms: Vec<Option<f64>>,
    retries: Vec<u64>,
}

#[derive(Debug, Default, Serialize)]
struct Queues {
    primary: Vec<EndpointId>,
    secondary: Vec<EndpointId>,
    failure: Vec<EndpointId>,
    disabled: Vec<EndpointId>,
}

impl Views<'_> {
    fn series(&self) -> SeriesRow {
        let mut series = SeriesRow { step: STEP.as_secs(), ..SeriesRow::default() };
        for step in self.stats.series.until(self.now) {
            series.requests.push(step.requests);
            series.errors.push(step.errors);
            series.latency_ms.push(step.latency);
            series.retries.push(step.retries);
        }
        series
    }

    fn body(&self) -> Body {
        let mut queues = Queues::default();
        for view in &self.registry.endpoints {
            let queue = match view.standing {
                Standing::Primary => &mut queues.primary,
                Standing::Secondary => &mut queues.secondary,
                Standing::Failure => &mut queues.failure,
                Standing::Disabled => &mut queues.disabled,
            };
            queue.push(view.endpoint.id.clone());
        }
        let ends = self.stats.ends;
        let Used { usage, cost, unpriced, .. } = self.stats.used();
        let endpoints: Vec<EndpointRow> = self.registry.endpoints.iter().map(|view| self.row(view)).collect();
        Body {
            version: env!("CARGO_PKG_VERSION"),
            start_time: self.clock.rfc3339(Clock::BEGAN),
            uptime: self.now.since(Clock::BEGAN).as_secs_f64(),
            total_requests: ends.total(),
            successful_requests: ends.successful,
            failed_requests: ends.failed,
            cancelled_requests: ends.cancelled,
            rejected_requests: ends.rejected,
            success_rate: ends.success_rate(),
            avg_response_time: self.stats.average_elapsed().as_secs_f64(),
            requests_per_second: self.stats.series.per_second(self.now),
            retries: self.stats.retries,
            parked: self.registry.parked,
            sessions: self.registry.sessions,
            tokens: usage,
            cost: cost.map(rounded),
            unpriced,
            last_used_endpoint_id: self.registry.last_served.clone(),
            total_endpoints: endpoints.len(),
            healthy_endpoints: queues.primary.len() + queues.secondary.len(),
            failed_endpoints: queues.failure.clone(),
            failure_queue_size: queues.failure.len(),
            // Only of present endpoints, as everything else about endpoints.
            endpoint_verify_counts: endpoints.iter().filter_map(EndpointRow::verified).collect(),
            leaks: self.registry.leaks,
            config_last_reload_successful: self.stats.reloads.ok,
            state_file_writable: self.stats.state_file.map(|health| health == StateFileHealth::Writable),
            notices_lost: self.stats.losses.notices,
            log_lines_lost: lines_lost(),
            spans_lost: self.stats.losses.spans,
            queues,
            endpoints,
            clients: clients(&self.stats, self.config),
            teams: teams(&self.stats, self.config),
            series: self.series(),
        }
    }
}

/// The whole state.
pub(super) async fn stats(worker: &Serving<'_>) -> HttpResponse {
    match Views::take(worker).await {
        Ok(views) => HttpResponse::Ok().json(views.body()),
        Err(_) => super::stopping(),
    }
}
