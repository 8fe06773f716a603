//! The composition root: puts the parts together, runs them, and takes them down in order.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::JoinHandle;

use crate::actors::lifeline::OnDeath;
use crate::actors::{Core, CoreError, CorePolicy, CoreThreads};
use crate::clock::Clock;
use crate::domain::breaker::BreakerPolicy;
use crate::domain::budget::BudgetPolicy;
use crate::domain::client::KeyDigest;
use crate::domain::cooling::CoolingPolicy;
use crate::domain::registry::RegistryPolicy;
use crate::domain::schedule::SchedulePolicy;
use crate::domain::secret::Secret;
use crate::domain::sessions::AffinityPolicy;
use crate::entropy::{NoRandomness, fresh_credential};
use crate::http::{Config, Shared, Worker, server, time_to_deadline};
use crate::settings::{Loaded, Server, Settings};
use crate::upstream::{Client, Limits, Probe, ProbeSettings, tls};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 2048;

/// By which an admin token that was made is recognised where it turns up.
const ADMIN_TOKEN_PREFIX: &str = "qcc_admin_";

/// Why the gateway can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}; is another process there already? set server.host and server.port")]
    Listen {
        /// `host:port` of the settings.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The address of the gateway's own routes can't be listened on.
    #[error("can't listen on {address}: {source}; is another process there already? set admin.listen")]
    ListenForAdmin {
        /// What the settings say.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate authorities can't be used.
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] tls::TlsConfigError),
    /// The actors can't be started.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// No admin token can be made.
    #[error(transparent)]
    Token(#[from] NoRandomness),
    /// The server can't be started.
    #[error("the server can't be started: {0}")]
    Server(#[source] io::Error),
}

/// A running gateway.
#[derive(Debug)]
pub struct App {
    address: SocketAddr,
    core: Core,
    threads: CoreThreads,
    shared: Arc<Shared>,
    server: ServerHandle,
    serving: JoinHandle<io::Result<()>>,
    shutdown_delay: Duration,
    made_token: Option<Secret>,
    admin_address: Option<SocketAddr>,
}

impl App {
    /// Starts everything and listens. What the death of a control actor does is up to the caller: in a process of its own it
    /// ends the process.
    ///
    /// # Errors
    ///
    /// [`StartError`]; then nothing listens.
    pub async fn start(loaded: Loaded, on_death: OnDeath) -> Result<Self, StartError> {
        Self::start_with_journal(loaded, on_death, 0).await
    }

    /// The same with a registry that keeps a journal of so many leases and moves, for tests that check it afterwards.
    ///
    /// # Errors
    ///
    /// [`StartError`]; then nothing listens.
    pub async fn start_with_journal(loaded: Loaded, on_death: OnDeath, journal: usize) -> Result<Self, StartError> {
        let Loaded { mut settings, topology, clients, .. } = loaded;
        // Where others can reach the gateway, nobody is an admin by where they are.
        let made_token = match settings.admin.token {
            None if !listens_here_alone(&settings) => Some(fresh_credential(ADMIN_TOKEN_PREFIX)?),
            None | Some(_) => None,
        };
        if let Some(token) = &made_token {
            settings.admin.token = Some(KeyDigest::of(token.expose()));
        }
        let tls = tls::client_config(settings.upstream.ca_file.as_deref())?;
        let listener = listen(&settings.server)?;
        let address = listener.local_addr().map_err(StartError::Server)?;
        let admin = settings.admin.listen.map(listen_for_admin).transpose()?;
        let admin_address = admin.as_ref().map(TcpListener::local_addr).transpose().map_err(StartError::Server)?;
        let clock = Clock::start();
        let probe_settings = probe_settings(&settings);
        let probe_tls = Arc::clone(&tls);
        let probe = move || Probe::new(Client::new(probe_tls, Limits::default()), probe_settings);
        let (core, threads) =
            Core::start(core_policy(&settings, journal), Arc::new(topology), clock, probe, on_death).await?;
        let shutdown_delay = settings.server.shutdown_delay;
        let shared = Arc::new(Shared::new(Config::new(settings, clients), core.clone(), clock));
        let worker_shared = Arc::clone(&shared);
        let worker = move || {
            // Each worker's thread builds its own client, which can't leave it.
            Worker::new(Arc::clone(&worker_shared), Client::new(Arc::clone(&tls), Limits::default()))
        };
        let server = server::run(listener, admin, &shared, worker).map_err(StartError::Server)?;
        let handle = server.handle();
        let serving = actix_rt::spawn(server);
        shared.readiness().set(true);
        if let Some(admin) = admin_address {
            log::info!("own routes on http://{admin}");
        }
        log::info!("listening on http://{address}");
        Ok(Self { address, core, threads, shared, server: handle, serving, shutdown_delay, made_token, admin_address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The link by which an admin reaches the dashboard, where an admin token had to be made: it holds the token, and is to
    /// be shown once. The token stands behind the `#`, which browsers send to nobody.
    pub fn dashboard_link(&self) -> Option<Secret> {
        let token = self.made_token.as_ref()?;
        let address = self.admin_address.unwrap_or(self.address);
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
        };
        let address = SocketAddr::new(ip, address.port());
        Some(Secret::new(&format!("http://{address}/__qcc__/#token={}", token.expose())))
    }

    /// Where its own routes are, if they have an address of their own.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Its actors.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Stops in good order: no longer ready, then no longer listening; open requests may go on for the
    /// grace, and end by themselves shortly before it does; the core last.
    pub async fn stop(self) {
        self.shared.readiness().set(false);
        tokio::time::sleep(self.shutdown_delay).await;
        let verification = self.core.stop_verification();
        let drained = async { tokio::join!(self.server.stop(true), verification) };
        let grace = self.shared.config().settings().server.shutdown_grace;
        let drain_deadline = async {
            tokio::time::sleep(time_to_deadline(grace)).await;
            self.shared.drain_deadline().pass();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ((), ()) = drained => {}
            () = drain_deadline => {}
        }
        match self.serving.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::warn!("the server did not end well: {error}"),
            Err(error) => log::warn!("the server's task did not end well: {error}"),
        }
        self.core.stop().await;
        self.threads.stop();
        log::info!("stopped");
    }
}

/// Whether nobody but this machine can reach the gateway's own routes, nor the gateway.
fn listens_here_alone(settings: &Settings) -> bool {
    settings.server.host.is_loopback()
        && settings.admin.listen.is_none_or(|address| address.ip().to_canonical().is_loopback())
}

fn listen_for_admin(address: SocketAddr) -> Result<TcpListener, StartError> {
    listen_on(address).map_err(|source| StartError::ListenForAdmin { address, source })
}

/// Listens on the first of the host's addresses that allows it.
fn listen(settings: &Server) -> Result<TcpListener, StartError> {
    let address = settings.host.with_port(settings.port);
    let failed = |source| StartError::Listen { address: address.clone(), source };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in (settings.host.as_str(), settings.port).to_socket_addrs().map_err(failed)? {
        match listen_on(candidate) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old connections' last packets.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn core_policy(settings: &Settings, journal: usize) -> CorePolicy {
    let (breaker, verifier) = (&settings.breaker, &settings.verifier);
    CorePolicy {
        registry: registry_policy(settings, journal),
        breaker: BreakerPolicy {
            failure_threshold: breaker.failure_threshold,
            failure_rate: breaker.failure_rate,
            min_requests: breaker.min_requests,
            window: breaker.window,
        },
        schedule: SchedulePolicy {
            initial_delay: verifier.initial_delay,
            multiplier: verifier.multiplier,
            interval: verifier.interval,
            interval_account: verifier.interval_account,
            jitter: verifier.jitter,
            concurrency: verifier.concurrency,
        },
        events: settings.stats.events,
    }
}

fn registry_policy(settings: &Settings, journal: usize) -> RegistryPolicy {
    let Settings { verifier, rate_limit, overload, affinity, retry, .. } = settings;
    RegistryPolicy {
        slow_start: verifier.slow_start,
        initial_delay: verifier.initial_delay,
        cooling: CoolingPolicy {
            default_cooldown: rate_limit.default_cooldown,
            exhausted_after: rate_limit.exhausted_after,
            overload_cooldown: overload.cooldown,
            overload_max: overload.cooldown_max,
            isolate_after: overload.isolate_after,
        },
        affinity: AffinityPolicy {
            enabled: affinity.enabled,
            ttl: affinity.ttl,
            secondary_ttl: affinity.secondary_ttl,
            patience: affinity.patience,
            max_sessions: affinity.max_sessions,
        },
        budget: BudgetPolicy { ratio: retry.budget_ratio, min_per_second: retry.budget_min },
        park_max: retry.park_max,
        journal,
    }
}

/// How the settings want conversations to be held.
pub fn probe_settings(settings: &Settings) -> ProbeSettings {
    let verifier = &settings.verifier;
    ProbeSettings {
        timeout: verifier.timeout,
        connect_timeout: settings.timeouts.connect,
        model: verifier.model.clone(),
        anthropic_model: verifier.anthropic_model.clone(),
        openai_model: verifier.openai_model.clone(),
        max_tokens: verifier.max_tokens,
        words: settings.log.words(),
    }
}
