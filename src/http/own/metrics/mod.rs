//! The state of the gateway as Prometheus scrapes it.
//!
//! Nothing is counted here: each scrape views each actor once and writes down what it sees, so that a counter grows
//! exactly as the thing it counts.

mod families;
mod process;
mod sheet;

use std::time::Duration;

use actix::MailboxError;
use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_TYPE;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;

use super::super::state::Serving;
use crate::actors::messages::{ViewRegistry, ViewStats, ViewVerifier};
use crate::actors::verifier::VerifierView;
use crate::clock::Clock;
use crate::domain::registry::RegistryView;
use crate::domain::stats::Stats;
use crate::telemetry::lines_lost;
use process::Process;

/// All that a scrape shows.
#[derive(Debug)]
struct Snapshot {
    clock: Clock,
    /// The time of day as the time since 1970.
    now: Duration,
    verifier: VerifierView,
    stats: Stats,
    registry: RegistryView,
    buffered: u64,
    log_lines_lost: u64,
    process: Process,
}

impl Snapshot {
    async fn take(worker: &Serving<'_>) -> Result<Self, MailboxError> {
        let shared = worker.shared;
        let core = &shared.core;
        Ok(Self {
            // It is the first to go when the gateway stops; the rest can still be viewed.
            verifier: core.verifier.send(ViewVerifier).await.unwrap_or_default(),
            stats: core.stats.send(ViewStats).await?,
            registry: core.registry.send(ViewRegistry).await?,
            buffered: shared.buffered.held(),
            log_lines_lost: lines_lost(),
            process: Process::look().await,
            clock: shared.clock,
            now: shared.clock.since_1970(),
        })
    }
}

pub(super) async fn metrics(worker: &Serving<'_>) -> HttpResponse {
    let Ok(snapshot) = Snapshot::take(worker).await else { return super::stopping() };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    match prometheus_text::encode(&mut text, &registry) {
        Ok(()) => HttpResponse::Ok().insert_header((CONTENT_TYPE, prometheus_text::CONTENT_TYPE)).body(text),
        Err(_) => HttpResponse::InternalServerError().body("the metrics can't be written"),
    }
}
