#![doc = include_str!("PROTOCOL.md")]

pub mod breakers;
pub mod desk;
pub mod keeper;
pub mod lease;
pub mod lifeline;
pub mod messages;
pub mod notifier;
pub mod registry;
pub mod stats;
pub mod tracer;
pub mod verifier;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext};
use actix_rt::{Arbiter, ArbiterHandle};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::domain::breaker::BreakerPolicy;
use crate::domain::memory::Memory;
use crate::domain::registry::RegistryPolicy;
use crate::domain::schedule::SchedulePolicy;
use crate::domain::topology::Topology;
use crate::domain::webhook::Webhook;
use crate::state_file::StateFile;
use crate::upstream::{Client, Courier, Probe, ProbeSettings};

use breakers::Breakers;
use desk::Desk;
use keeper::Keeper;

use lifeline::{Lifeline, OnDeath};
use messages::{Apply, Drain, EndSubscriptions, FinishWithin, StopParking};
use notifier::Notifier;
use registry::Registry;
use stats::StatsCollector;
use verifier::Verifier;

/// How many messages a mailbox holds before `send` waits. Load is shed by limits in the cores, not here.
const MAILBOX_CAPACITY: usize = 1 << 16;

/// How long shutdown waits for each of the last image, the last notices and the threads' end.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the actors need to know of the settings.
#[derive(Clone, Debug)]
pub struct Policies {
    /// For the registry.
    pub registry: RegistryPolicy,
    /// For the breakers.
    pub breaker: BreakerPolicy,
    /// When the verifier holds conversations.
    pub schedule: SchedulePolicy,
    /// How the verifier holds conversations.
    pub probe: ProbeSettings,
    /// How many events are kept.
    pub events: usize,
}

/// The running actors.
#[derive(Clone, Debug)]
pub struct Core {
    /// The owner of every endpoint's standing.
    pub registry: Addr<Registry>,
    /// The circuit breakers.
    pub breakers: Addr<Breakers>,
    /// The failure verifier.
    pub verifier: Addr<Verifier>,
    /// The stats collector.
    pub stats: Addr<StatsCollector>,
    /// The dashboard's logins.
    pub desk: Addr<Desk>,
    /// The keeper of the state file, if there is one.
    pub keeper: Option<Addr<Keeper>>,
    /// The notifier, which posts to the webhook's receiver.
    pub notifier: Addr<Notifier>,
}

/// The threads on which the actors run.
#[derive(Debug)]
pub struct CoreThreads {
    core: Arbiter,
    verifier: Arbiter,
    /// The keeper's thread, which may wait for a disk; `None` if nothing is kept.
    keeper: Option<Arbiter>,
}

/// The core could not be started: an arbiter's thread ended at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the actors' threads could not be started; is the process out of threads or memory?")]
pub struct CoreError;

impl Core {
    /// Starts the actors with their endpoints.
    ///
    /// Registry, breakers and stats share an arbiter, so that a verdict never waits for a thread to wake up; the verifier
    /// and the notifier, which do I/O, share another. `client` is called on the latter, because what it makes can't leave
    /// its thread.
    ///
    /// # Errors
    ///
    /// [`CoreError`] if a thread could not be started.
    pub async fn start(
        policies: Policies,
        topology: Arc<Topology>,
        webhook: Option<Webhook>,
        clock: Clock,
        client: impl FnOnce() -> Client + Clone + Send + 'static,
        (file, memory): (Option<StateFile>, Memory),
        on_death: OnDeath,
    ) -> Result<(Self, CoreThreads), CoreError> {
        let keeper_arbiter = file.is_some().then(Arbiter::new);
        let threads = CoreThreads { core: Arbiter::new(), verifier: Arbiter::new(), keeper: keeper_arbiter };
        let (tell, told) = oneshot::channel();
        let verifier_thread = threads.verifier.handle();
        let keeper_thread = threads.keeper.as_ref().map(Arbiter::handle);
        let events = policies.events;
        let Policies { registry: registry_policy, breaker: breaker_policy, schedule, probe, .. } = policies.clone();
        let stats_line = Lifeline::new("stats collector", Arc::clone(&on_death));
        let stats =
            StatsCollector::start_in_arbiter(&threads.core.handle(), move |_| StatsCollector::new(events, stats_line));
        let desk = Desk::start_in_arbiter(&threads.core.handle(), move |_| Desk::new(clock));
        let couriers_client = client.clone();
        let losses = stats.clone().recipient();
        let notifier = Notifier::start_in_arbiter(&verifier_thread, move |_| {
            Notifier::new(clock, Courier::new(couriers_client()), webhook, losses)
        });
        let (notes, notices) = (stats.clone(), notifier.clone());
        let registry = Registry::start_in_arbiter(&threads.core.handle(), move |ctx| {
            let me = ctx.address();
            let line = |actor| Lifeline::new(actor, Arc::clone(&on_death));
            let breakers = Breakers::new(breaker_policy, me.clone().recipient(), line("breakers' actor")).start();
            let keeper = file.zip(keeper_thread).map(|(file, thread)| {
                let (registry, keeper_line) = (me.clone().recipient(), line("keeper of the state file"));
                let health = notes.clone().recipient();
                Keeper::start_in_arbiter(&thread, move |_| Keeper::new(file, registry, health, keeper_line))
            });
            let verifier_line = line("verifier");
            let verifier_peers = verifier::Peers {
                recovered: me.clone().recipient(),
                concluded: me.recipient(),
                stats: notes.clone().recipient(),
                notices: notices.clone().recipient(),
            };
            let verifier = Verifier::start_in_arbiter(&verifier_thread, move |_| {
                Verifier::new(schedule, clock, Probe::new(client(), probe), verifier_peers, verifier_line)
            });
            let peers = registry::Peers {
                observe: breakers.clone().recipient(),
                reset: breakers.clone().recipient(),
                retract: breakers.clone().recipient(),
                hasten: verifier.clone().recipient(),
                failures: verifier.clone().recipient(),
                converse: verifier.clone().recipient(),
                breaker_policy: breakers.clone().recipient(),
                verifier_policy: verifier.clone().recipient(),
                breakers_known: breakers.clone().recipient(),
                verifier_known: verifier.clone().recipient(),
                keep: keeper.clone().map(actix::Addr::recipient),
                stats: notes.recipient(),
                notices: notices.recipient(),
            };
            drop(tell.send((breakers, verifier, keeper)));
            Registry::new(registry_policy, clock, memory, peers, line("registry"))
        });
        let (breakers, verifier, keeper) = told.await.map_err(|_| CoreError)?;
        let core = Self { registry, breakers, verifier, stats, desk, keeper, notifier };
        // Profiles matter only to requests that came before a reload.
        let profiles = BTreeMap::new();
        core.registry.send(Apply { topology, profiles, policies }).await.map_err(|_| CoreError)?;
        Ok((core, threads))
    }

    /// Ends verification, parking and event subscriptions. Everything else goes on, so that attempts under way can
    /// finish.
    pub async fn stop_verification(&self) {
        let _ = self.stats.send(EndSubscriptions).await;
        let _ = self.registry.send(StopParking).await;
        let _ = self.verifier.send(Drain).await;
    }

    /// Ends the rest, once no request is under way. Notices that still wait are delivered within `patience`, two seconds
    /// at most.
    pub async fn stop(&self, patience: Duration) {
        let _ = self.breakers.send(Drain).await;
        let _ = self.registry.send(Drain).await;
        let _ = self.stats.send(Drain).await;
        // The registry has sent its last image by now.
        if let Some(keeper) = &self.keeper
            && tokio::time::timeout(FAREWELL, keeper.send(Drain)).await.is_err()
        {
            log::error!("stopping without the latest moves in the state file: its disk does not answer");
        }
        let _ = self.notifier.send(FinishWithin(patience)).await;
    }
}

impl CoreThreads {
    /// The thread of the registry, breakers and stats, for work that belongs near them.
    pub fn core(&self) -> ArbiterHandle {
        self.core.handle()
    }

    /// Ends the threads. It waits two seconds at most for one that hangs in a name look-up or on a disk: the process ends
    /// anyway.
    pub async fn stop(self) {
        let (told, ended) = oneshot::channel();
        // The keeper last: its thread holds the state file's lock, which the next gateway needs, but its disk may hang.
        let arbiters: Vec<Arbiter> = [self.verifier, self.core].into_iter().chain(self.keeper).collect();
        for arbiter in &arbiters {
            arbiter.stop();
        }
        let joining = std::thread::Builder::new().name("farewell".to_owned()).spawn(move || {
            for arbiter in arbiters {
                // A thread that panicked has ended too.
                drop(arbiter.join());
            }
            let _ = told.send(());
        });
        if joining.is_ok() {
            let _ = tokio::time::timeout(FAREWELL, ended).await;
        }
    }
}
