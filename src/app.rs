//! The composition root: puts the parts together, runs them, and takes them down in order.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use actix::{Actor, Addr};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::actors::lifeline::OnDeath;
use crate::actors::messages::SetCatalog;
use crate::actors::tracer::{Tracer, TracerThread};
use crate::actors::{Core, CoreError, CoreThreads};
use crate::clock::Clock;
use crate::domain::client::KeyDigest;
use crate::domain::memory::{Memory, Salt};
use crate::domain::secret::Secret;
use crate::domain::tracing::Service;
use crate::entropy::{NoRandomness, random_bytes};
use crate::http::{Config, ConfigCell, Reload, Reloaded, Server, Shared, Worker, time_to_deadline};
use crate::policies::policies;
use crate::reload::{self, Reloader};
use crate::settings::{self, Fault, Faults, Host, Loaded};
use crate::state_file::{StateFile, StateFileError};
use crate::token;
use crate::upstream::tls::Trust;
use crate::upstream::{Client, Limits, tls};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 2048;

/// Why the gateway can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Listening on the address failed.
    #[error("can't listen on {address}: {source}{}; set server.host and server.port", hint(source))]
    Listen {
        /// `host:port` of the settings.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Listening on the address of the gateway's own routes failed.
    #[error("can't listen on {address}: {source}{}; set admin.listen", hint(source))]
    ListenForAdmin {
        /// The address in the settings.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] tls::TlsConfigError),
    /// The actors can't be started.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// No admin token can be made.
    #[error(transparent)]
    Token(#[from] NoRandomness),
    /// The state file can't be used.
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    /// The server can't be started.
    #[error("the server can't be started: {0}")]
    Server(#[source] io::Error),
}

/// Why listening on an address failed, as far as it can be told.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ", another process is there already",
        io::ErrorKind::AddrNotAvailable => ", this machine does not have it",
        io::ErrorKind::PermissionDenied => ", which takes a privilege below port 1024",
        _ => "",
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct App {
    address: SocketAddr,
    clock: Clock,
    core: Core,
    threads: CoreThreads,
    tracer: Option<TracerThread>,
    shared: Arc<Shared>,
    server: Server,
    reloader: Addr<Reloader>,
    made_token: Option<Secret>,
    /// The admin tokens that a reload has had to make.
    made_later: UnboundedReceiver<Secret>,
    admin_address: Option<SocketAddr>,
}

/// A handle that makes a running gateway read its settings anew, even while it stops.
#[derive(Clone, Debug)]
pub struct Reloads(Addr<Reloader>);

impl Reloads {
    /// Reads the settings and takes them over, whole or not at all. The result is logged.
    ///
    /// # Errors
    ///
    /// Every [`Fault`] in the settings; then nothing has changed.
    pub fn reload(&self) -> impl Future<Output = Result<Reloaded, Faults>> + use<> {
        let stopping = || {
            let (found, wanted) = ("a gateway that is stopping".to_owned(), "one that runs".to_owned());
            Faults::one(Fault { key: String::new(), source: String::new(), found, wanted })
        };
        let reloaded = self.0.send(Reload { by: None });
        async move { reloaded.await.unwrap_or_else(|_| Err(stopping())) }
    }
}

impl App {
    /// Starts everything and listens. What happens when a control actor dies is up to the caller: in a process of its own
    /// that ends the process.
    ///
    /// # Errors
    ///
    /// [`StartError`]; then nothing listens.
    pub async fn start(loaded: Loaded, on_death: OnDeath) -> Result<Self, StartError> {
        Self::start_with_journal(loaded, on_death, 0).await
    }

    /// Starts everything as [`App::start`] does, with a registry that keeps a journal of up to `journal` leases and
    /// moves, for tests that check it afterwards.
    ///
    /// # Errors
    ///
    /// [`StartError`]; then nothing listens.
    pub async fn start_with_journal(loaded: Loaded, on_death: OnDeath, journal: usize) -> Result<Self, StartError> {
        let Loaded { settings, topology, clients, .. } = loaded.clone();
        let made_token = token::made_if_needed(&settings)?;
        let made_digest = made_token.as_ref().map(|token| KeyDigest::of(token.expose()));
        let settings = token::with_made(settings, made_digest);
        let trust: Trust = tls::client_config(&settings.upstream.authorities)?.into();
        let listener = listen(&settings.server)?;
        let address = listener.local_addr().map_err(StartError::Server)?;
        let admin = settings.admin.listen.map(listen_for_admin).transpose()?;
        let admin_address = admin.as_ref().map(TcpListener::local_addr).transpose().map_err(StartError::Server)?;
        let clock = Clock::start();
        let client = {
            let trust = trust.clone();
            // Each thread that talks to upstreams builds its own client, which can't leave it.
            move || Client::new(trust.clone(), Limits::default())
        };
        let state = open_state(settings.state.file.as_deref())?;
        let policies = policies(&settings, journal);
        let set_catalog = SetCatalog::new(settings.prices.clone(), &topology, &clients);
        let webhook = settings.webhook.hook();
        let topology = Arc::new(topology);
        let (core, threads) = Core::start(policies, topology, webhook, clock, client.clone(), state, on_death).await?;
        core.stats.do_send(set_catalog);
        let traces = settings.otel.endpoint.clone().map(|collector| {
            let service = Service { name: settings.otel.service_name.clone(), version: env!("CARGO_PKG_VERSION") };
            TracerThread::start(collector, service, clock, core.stats.clone().recipient(), client.clone())
        });
        let config = ConfigCell::new(Config::new(settings, clients));
        let (tell_made, made_later) = unbounded_channel();
        let parts =
            reload::Parts { core: core.clone(), config: config.clone(), trust, clock, port: address.port(), journal };
        let reloader = Reloader::new(parts, loaded, made_digest, tell_made).start();
        let shared = Shared::new(config, core.clone(), reloader.clone().recipient(), clock);
        let shared = Arc::new(shared.with_tracer(traces.as_ref().map(|traces| traces.address().clone())));
        let worker_shared = Arc::clone(&shared);
        let worker = move || Worker::new(Arc::clone(&worker_shared), client());
        let server =
            Server::start(listener, admin, &threads.core(), &shared, worker).await.map_err(StartError::Server)?;
        shared.readiness().set(true);
        if let Some(admin) = admin_address {
            log::info!("own routes on http://{admin}");
        }
        log::info!("listening on http://{address}");
        Ok(Self {
            address,
            clock,
            core,
            threads,
            tracer: traces,
            shared,
            server,
            reloader,
            made_token,
            made_later,
            admin_address,
        })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The link by which an admin reaches the dashboard, if an admin token had to be made: it holds the token, and is to
    /// be shown once. The token follows the `#`, which browsers send to nobody.
    pub fn dashboard_link(&self) -> Option<Secret> {
        self.made_token.as_ref().map(|token| self.link(token))
    }

    /// Waits until a reload has had to make an admin token. Returns the link that holds it, to be shown once.
    pub async fn next_dashboard_link(&mut self) -> Secret {
        match self.made_later.recv().await {
            Some(token) => self.link(&token),
            // Nothing reloads any more.
            None => std::future::pending().await,
        }
    }

    /// The handle that makes it read its settings anew.
    pub fn reloads(&self) -> Reloads {
        Reloads(self.reloader.clone())
    }

    fn link(&self, token: &Secret) -> Secret {
        let address = self.admin_address.unwrap_or(self.address);
        let address = Host::from(address.ip()).from_here().with_port(address.port());
        Secret::new(&format!("http://{address}/__qcc__/#token={}", token.expose()))
    }

    /// The address of its own routes, if they have one of their own.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// The actor that sends its traces to a collector, if one is set.
    pub fn tracer(&self) -> Option<&Addr<Tracer>> {
        self.tracer.as_ref().map(TracerThread::address)
    }

    /// Its actors.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Stops in good order: it is no longer ready, then no longer listens; open requests may go on for the grace period,
    /// and end by themselves shortly before its end; the core stops last.
    pub async fn stop(self) {
        self.shared.readiness().set(false);
        let server = self.shared.config().settings().server.clone();
        tokio::time::sleep(server.shutdown_delay).await;
        let stopping_since = self.clock.now();
        let verification = self.core.stop_verification();
        let grace = server.shutdown_grace;
        let drained = async { tokio::join!(self.server.stop(grace), verification) };
        let drain_deadline = async {
            tokio::time::sleep(time_to_deadline(grace)).await;
            self.shared.drain_deadline().pass();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ((), ()) = drained => {}
            () = drain_deadline => {}
        }
        let time_left = grace.saturating_sub(self.clock.now().since(stopping_since));
        let traces = async {
            if let Some(tracer) = self.tracer {
                tracer.stop().await;
            }
        };
        tokio::join!(self.core.stop(time_left), traces);
        self.threads.stop().await;
        log::info!("stopped");
    }
}

/// What is known from before the start, and the file in which this run's state is kept.
fn open_state(path: Option<&Path>) -> Result<(Option<StateFile>, Memory), StartError> {
    let salt = Salt::new(random_bytes()?);
    let Some(path) = path else { return Ok((None, Memory::Fresh(salt))) };
    let (file, memory) = StateFile::open(path, salt)?;
    if let Memory::Kept(image) | Memory::Outdated(image) = &memory {
        for (id, isolation) in image.isolated() {
            log::warn!("endpoint {id} is still isolated, as before the restart reason={}", isolation.reason);
        }
    }
    Ok((Some(file), memory))
}

fn listen_for_admin(address: SocketAddr) -> Result<TcpListener, StartError> {
    listen_on(address).map_err(|source| StartError::ListenForAdmin { address, source })
}

/// Listens on the first of the host's addresses that allows it.
fn listen(settings: &settings::Server) -> Result<TcpListener, StartError> {
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
