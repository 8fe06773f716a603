//! What every worker of the server knows.

use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::{Addr, Recipient};
use arc_swap::ArcSwap;

use super::auth::ClientBook;
use super::drain::DrainDeadline;
use super::intake::BodyBudget;
use super::reload::Reload;
use crate::actors::Core;
use crate::actors::tracer::Tracer;
use crate::clock::Clock;
use crate::domain::client::Client;
use crate::settings::Settings;
use crate::upstream;

/// Whether the gateway takes new work.
#[derive(Debug, Default)]
pub struct Readiness {
    ready: AtomicBool,
}

impl Readiness {
    /// Sets whether the gateway takes new work.
    pub fn set(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    pub(super) fn get(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

/// What a request is served by: the settings and clients of one reading. A request keeps those that were in force when it
/// came, whatever is read meanwhile.
#[derive(Debug)]
pub struct Config {
    pub(super) settings: Settings,
    pub(super) clients: ClientBook,
}

impl Config {
    /// The first config of a run.
    pub fn new(settings: Settings, clients: Vec<Client>) -> Self {
        Self { settings, clients: ClientBook::new(clients) }
    }

    /// The config of a newer reading.
    #[must_use]
    pub fn after(earlier: &Self, settings: Settings, clients: Vec<Client>) -> Self {
        Self { settings, clients: ClientBook::after(&earlier.clients, clients) }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// Holds what new requests are served by. A clone is the same cell.
#[derive(Clone, Debug)]
pub struct ConfigCell(Arc<ArcSwap<Config>>);

impl ConfigCell {
    /// A cell that holds this config.
    pub fn new(config: Config) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(config)))
    }

    /// The present config.
    pub fn get(&self) -> Arc<Config> {
        self.0.load_full()
    }

    /// Makes new requests be served by another config.
    pub fn set(&self, config: Config) {
        self.0.store(Arc::new(config));
    }
}

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    config: ConfigCell,
    pub(super) reload: Recipient<Reload>,
    pub(super) clock: Clock,
    pub(super) core: Arc<Core>,
    /// The tracer that spans are sent to, if traces are wanted.
    pub(super) tracer: Option<Addr<Tracer>>,
    pub(super) buffered: BodyBudget,
    /// The hash keys that tell requests apart; nobody outside can foresee them.
    pub(super) fingerprints: RandomState,
    /// The hash keys that tell sessions apart.
    pub(super) sessions: RandomState,
    pub(super) readiness: Readiness,
    pub(super) drain: DrainDeadline,
}

impl Shared {
    /// What all workers share at the start.
    pub fn new(config: ConfigCell, core: Core, reload: Recipient<Reload>, clock: Clock) -> Self {
        Self {
            buffered: BodyBudget::default(),
            config,
            reload,
            readiness: Readiness::default(),
            drain: DrainDeadline::default(),
            fingerprints: RandomState::new(),
            sessions: RandomState::new(),
            clock,
            core: Arc::new(core),
            tracer: None,
        }
    }

    /// Sets the tracer that spans are sent to.
    #[must_use]
    pub fn with_tracer(self, tracer: Option<Addr<Tracer>>) -> Self {
        Self { tracer, ..self }
    }

    /// What new requests are served by.
    pub fn config(&self) -> Arc<Config> {
        self.config.get()
    }

    /// The signal that tells open answers that their time is up.
    pub fn drain_deadline(&self) -> &DrainDeadline {
        &self.drain
    }

    /// Whether the gateway takes new work.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

/// The address that requests come to, by what is served there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Everything.
    Common,
    /// Everything but the gateway's own routes, which have a door of their own; health is at both.
    Clients,
    /// The gateway's own routes alone.
    Admin,
}

/// One worker: what all share, and a client that can't leave the worker's thread.
#[derive(Debug)]
pub struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) client: upstream::Client,
}

impl Worker {
    /// A worker with its own connections to the upstreams.
    pub fn new(shared: Arc<Shared>, client: upstream::Client) -> Self {
        Self { shared, client }
    }

    /// The worker, as it serves a request that has just come.
    pub(super) fn serving(&self) -> Serving<'_> {
        Serving { shared: &self.shared, config: self.shared.config(), client: &self.client }
    }
}

/// A worker as it serves one request.
#[derive(Debug)]
pub(super) struct Serving<'a> {
    pub(super) shared: &'a Shared,
    pub(super) config: Arc<Config>,
    pub(super) client: &'a upstream::Client,
}
